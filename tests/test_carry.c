/* SPDX-License-Identifier: MIT
 *
 * The files that go along unchanged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/carry.h"
#include "tests/support.h"

static void test_names(void **state)
{
    (void)state;
    static const char *const wanted[] = {"generation_config.json",
                                         "tokenizer.json",
                                         "special_tokens_map.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "tokenizer.model",
                                         "chat_template.jinja",
                                         "README.md",
                                         "LICENSE",
                                         "LICENSE.txt",
                                         "NOTICE"};
    static const char *const unwanted[] = {"config.json",
                                           "model.safetensors",
                                           "model.safetensors.index.json",
                                           "pytorch_model.bin.index.json",
                                           "pytorch_model.bin",
                                           "x.pt",
                                           "x.gguf",
                                           "quant_config.json",
                                           ".hidden.json",
                                           "modeling.py"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_true(paro_carry_wants(wanted[i]));
    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++)
        assert_false(paro_carry_wants(unwanted[i]));
}

static void test_copies(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *from = test_path(dir, "from");
    char *to = test_path(dir, "to");
    assert_int_equal(mkdir(from, 0777), 0);
    assert_int_equal(mkdir(to, 0777), 0);
    test_file_write(from, "a.json", "x\0y", 3);
    test_file_write(from, "empty.txt", "", 0);
    test_file_write(from, "b.bin", "no", 2);
    test_file_write(dir, "elsewhere", "linked", 6);
    char *link = test_path(from, "link.json");
    char *folder = test_path(from, "folder.json");
    assert_int_equal(symlink("../elsewhere", link), 0);
    assert_int_equal(mkdir(folder, 0777), 0);
    assert_ok(paro_carry_files(&err, from, to));

    static const struct {
        const char *name;
        const char *data; /* NULL: not there */
        size_t n_bytes;
    } files[] = {{"a.json", "x\0y", 3},
                 {"empty.txt", "", 0},
                 {"link.json", "linked", 6},
                 {"b.bin", NULL, 0},
                 {"folder.json", NULL, 0}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = test_path(to, files[i].name);
        assert_int_equal(paro_path_exists(path), files[i].data != NULL);
        if (files[i].data != NULL) {
            char *data = NULL;
            size_t n_bytes = 0;
            assert_ok(paro_file_read(&err, path, 100, &data, &n_bytes));
            assert_int_equal(n_bytes, files[i].n_bytes);
            assert_memory_equal(data, files[i].data, n_bytes);
            free(data);
        }
        free(path);
    }
    free(link);
    free(folder);
    free(from);
    free(to);
    test_dir_remove(dir);
}

static void test_failures(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *nothing = test_path(dir, "nothing");
    assert_fails(paro_carry_files(&err, nothing, dir), PARO_STATUS_NOT_FOUND, nothing);
    test_file_write(dir, "a.json", "{}", 2);
    assert_fails(paro_carry_files(&err, dir, nothing), PARO_STATUS_NOT_FOUND, "nothing/a.json");
    /* A link to nothing is not passed over in silence. */
    char *link = test_path(dir, "b.json");
    char *to = test_path(dir, "to");
    assert_int_equal(symlink("gone", link), 0);
    assert_int_equal(mkdir(to, 0777), 0);
    assert_fails(paro_carry_files(&err, dir, to), PARO_STATUS_NOT_FOUND, "b.json");
    free(link);
    free(to);
    free(nothing);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
