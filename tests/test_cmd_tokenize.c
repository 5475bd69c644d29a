/* SPDX-License-Identifier: MIT
 *
 * cli/cmd_tokenize.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support.h"

#include "tests/cli_process.h"

/* The first golden prompt: ids with the begin token. */
static const char prompt[] = "The history of the city begins in";
static const char prompt_ids[] = "2046 496 294 1637 288 263 271 454 1760 1156 283\n";

static void test_ids_on_one_line(void **state)
{
    (void)state;
    process p = RUN_INPUT(prompt, "tokenize", DEMO_MODEL, "--special");
    assert_exit(p, 0);
    assert_string_equal(p.out, prompt_ids);
    assert_string_equal(p.err, "");
    process_free(&p);
    p = RUN_INPUT(prompt, "tokenize", DEMO_MODEL);
    assert_exit(p, 0);
    assert_string_equal(p.out, prompt_ids + 5);
    process_free(&p);
    p = RUN("tokenize", DEMO_MODEL "/tokenizer.json");
    assert_exit(p, 0);
    assert_string_equal(p.out, "\n");
    process_free(&p);
}

static void test_text_comes_back_exactly(void **state)
{
    (void)state;
    static const char text[] = "Grüße, 漢字 😀!\n\n\tint main(void);  \n";
    process a = RUN_INPUT(text, "tokenize", DEMO_MODEL);
    assert_exit(a, 0);
    process b = RUN_INPUT(a.out, "tokenize", DEMO_MODEL, "--decode", "-");
    assert_exit(b, 0);
    assert_string_equal(b.out, text);
    process_free(&a);
    process_free(&b);
}

static void test_special_tokens_are_decoded_on_demand(void **state)
{
    (void)state;
    process p = RUN_INPUT(prompt_ids, "tokenize", DEMO_MODEL, "-d");
    assert_exit(p, 0);
    assert_string_equal(p.out, prompt);
    process_free(&p);
    p = RUN_INPUT(prompt_ids, "tokenize", DEMO_MODEL, "-d", "--special");
    assert_exit(p, 0);
    assert_contains(p.out, "<|");
    assert_contains(p.out, prompt);
    process_free(&p);
}

static void test_pieces(void **state)
{
    (void)state;
    process p = RUN_INPUT("in\\the\n", "tokenize", DEMO_MODEL, "--pieces");
    assert_exit(p, 0);
    assert_contains(p.out, "\t\\\\");
    assert_contains(p.out, "\t\\n");
    for (const char *line = p.out; *line; line = strchr(line, '\n') + 1)
        assert_int_equal(line[strspn(line, "0123456789")], '\t');
    process_free(&p);
}

static void test_json(void **state)
{
    (void)state;
    char *dir = test_dir_new(), *path = sample_text_file(dir);
    process p = RUN_INPUT(prompt, "tokenize", DEMO_MODEL, "-o", "json", "--pieces", "-", path);
    assert_exit(p, 0);
    json_t *root = process_json(&p), *texts = json_object_get(root, "texts");
    assert_int_equal(json_integer_value(json_object_get(root, "vocab")), 2048);
    assert_int_equal(json_array_size(texts), 2);
    json_t *first = json_array_get(texts, 0), *ids = json_object_get(first, "ids");
    assert_string_equal(json_string_value(json_object_get(first, "text")), "stdin");
    assert_int_equal(json_array_size(ids), 10);
    assert_int_equal(json_integer_value(json_array_get(ids, 0)), 496);
    assert_int_equal(json_array_size(json_object_get(first, "pieces")), 10);
    json_t *second = json_array_get(texts, 1);
    assert_string_equal(json_string_value(json_object_get(second, "text")), path);
    assert_true(json_integer_value(json_object_get(second, "n_tokens")) > 500);
    json_decref(root);
    process_free(&p);
    p = RUN_INPUT(prompt_ids, "tokenize", DEMO_MODEL, "--decode", "-o", "json");
    assert_exit(p, 0);
    root = process_json(&p);
    first = json_array_get(json_object_get(root, "texts"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "decoded")), prompt);
    assert_int_equal(json_integer_value(json_object_get(first, "n_tokens")), 11);
    json_decref(root);
    process_free(&p);
    free(path);
    test_dir_remove(dir);
}

static void test_failures(void **state)
{
    (void)state;
    process p = RUN_INPUT(prompt, "tokenize", DEMO_MODEL, "--special", "no-such-file", "-");
    assert_exit(p, 3);
    assert_string_equal(p.out, prompt_ids);
    assert_contains(p.err, "no-such-file");
    process_free(&p);
    p = RUN("tokenize", DEMO_MODEL, "no-such-file", "nor-this", "-o", "json");
    assert_exit(p, 1);
    json_t *root = process_json(&p);
    json_t *second = json_array_get(json_object_get(root, "texts"), 1);
    assert_contains(json_string_value(json_object_get(second, "error")), "nor-this");
    json_decref(root);
    process_free(&p);
    p = RUN_INPUT("12 x", "tokenize", DEMO_MODEL, "--decode");
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    assert_contains(p.err, "stdin: byte 3: expected a token id");
    process_free(&p);
    p = RUN_INPUT("5 2048", "tokenize", DEMO_MODEL, "--decode");
    assert_exit(p, 1);
    assert_contains(p.err, "stdin: byte 2: the tokenizer has no token 2048 (its vocabulary has");
    process_free(&p);
    p = RUN("tokenize", "no-such-folder");
    assert_exit(p, 1);
    assert_contains(p.err, "no-such-folder");
    process_free(&p);
    USAGE_ERROR("--plain has no meaning with --decode", "tokenize", DEMO_MODEL, "--plain", "-d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ids_on_one_line),
                                       cmocka_unit_test(test_text_comes_back_exactly),
                                       cmocka_unit_test(test_special_tokens_are_decoded_on_demand),
                                       cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_json),
                                       cmocka_unit_test(test_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
