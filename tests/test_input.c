/* SPDX-License-Identifier: MIT
 *
 * cli/input.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/input.h"
#include "tests/support.h"

static void test_files_are_read_whole(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new(), *text = NULL;
    size_t n_bytes = 0;
    enum { N = 200001 };
    char *data = malloc(N);
    assert_non_null(data);
    for (int i = 0; i < N; i++)
        data[i] = (char)(i * 7);
    test_file_write(dir, "large", data, N);
    test_file_write(dir, "empty", "", 0);

    char *path = test_path(dir, "large");
    assert_ok(paro_input_read(&err, path, &text, &n_bytes));
    assert_int_equal(n_bytes, N);
    assert_memory_equal(text, data, N);
    assert_int_equal(text[N], 0);
    free(text);
    free(path);
    path = test_path(dir, "empty");
    assert_ok(paro_input_read(&err, path, &text, &n_bytes));
    assert_int_equal(n_bytes, 0);
    assert_string_equal(text, "");
    free(text);
    free(path);
    free(data);
    test_dir_remove(dir);
}

static void test_failures_name_the_file(void **state)
{
    (void)state;
    paro_error err;
    char *text = NULL;
    size_t n_bytes = 7;
    assert_fails(paro_input_read(&err, "no-such-file", &text, &n_bytes), PARO_STATUS_NOT_FOUND,
                 "no-such-file: cannot be opened: No such file");
    assert_fails(paro_input_read(&err, "tests", &text, &n_bytes), PARO_STATUS_IO,
                 "tests: cannot be read: Is a directory");
    assert_int_equal(paro_input_read(NULL, "no-such-file", &text, &n_bytes), PARO_STATUS_NOT_FOUND);
    assert_null(text);
    assert_int_equal(n_bytes, 7);
}

static void test_ids(void **state)
{
    (void)state;
    paro_error err;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    const char *text = " 1 22,333\n\t2147483647, 0\n";
    static const int32_t expected[] = {1, 22, 333, 2147483647, 0};
    assert_ok(paro_input_ids(&err, "x", text, strlen(text), NULL, &ids, &n_ids));
    assert_int_equal(n_ids, 5);
    assert_memory_equal(ids, expected, sizeof expected);
    free(ids);
    assert_ok(paro_input_ids(&err, "x", "", 0, NULL, &ids, &n_ids));
    assert_int_equal(n_ids, 0);
    assert_non_null(ids);
    free(ids);
}

static void test_what_is_not_an_id_is_shown(void **state)
{
    (void)state;
    paro_error err;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    static const char *const wrong[] = {"1 x",  "1 -2", "2147483648", "3.5", "99999999999999999999",
                                        "0x10", "1 2a"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_fails(
            paro_input_ids(&err, "list.txt", wrong[i], strlen(wrong[i]), NULL, &ids, &n_ids),
            PARO_STATUS_FORMAT, "list.txt: byte ");
    assert_fails(paro_input_ids(&err, "l", "1\0002", 3, NULL, &ids, &n_ids), PARO_STATUS_FORMAT,
                 "byte 1");
    assert_null(ids);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(paro_input_name("-"), "stdin");
    assert_string_equal(paro_input_name("a.txt"), "a.txt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_are_read_whole), cmocka_unit_test(test_failures_name_the_file),
        cmocka_unit_test(test_ids), cmocka_unit_test(test_what_is_not_an_id_is_shown),
        cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
