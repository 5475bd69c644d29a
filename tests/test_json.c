/* SPDX-License-Identifier: MIT
 *
 * base/json.c: what is not JSON, or not what was promised, is an error that says where.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/json.h"
#include "tests/support.h"

static paro_status parse(paro_error *err, const char *text, json_t **out)
{
    return paro_json_parse(err, "f.json", text, strlen(text), out);
}

static void test_broken_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "f.json: not valid JSON: it is empty"},
        {"{", "f.json: not valid JSON"},
        {"{\"a\": 1,}", "f.json: not valid JSON"},
        {"{\"a\": 1} x", "f.json: not valid JSON"},
        {"{\n\n\"a\": tru}", "line 3"},
        {"{\"a\": 1, \"b\": 2, \"a\": 3}", "duplicate"},
        {"{\"o\": {\"a\": 1, \"a\": 3}}", "duplicate"},
        {"{\"a\": 99999999999999999999}", "too big"},
        {"{\"a\": 1e999}", "real number overflow"},
        {"{\"a\": \"\\u0000\"}", "\\u0000"},
        {"{\"a\": \"\xff\"}", "f.json: not valid JSON"},
        {"{\"a\": \"\\ud800\"}", "f.json: not valid JSON"},
        {"{\"a\": NaN}", "f.json: not valid JSON"},
        {"[1, 2]", "expected a JSON object at the top, found an array"},
        {"\"text\"", "f.json: "},
        {"null", "f.json: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        paro_error err;
        json_t *root = NULL;
        assert_fails(parse(&err, cases[i].text, &root), PARO_STATUS_FORMAT, cases[i].words);
        assert_null(root);
    }
}

static void test_depth(void **state)
{
    (void)state;
    paro_error err;
    json_t *root = NULL;
    for (int depth = 127; depth <= 129; depth++) { /* arrays, in one object */
        paro_buffer text = {0};
        assert_true(paro_buffer_append_text(&text, "{\"a\":"));
        for (int i = 1; i < depth; i++)
            assert_true(paro_buffer_append_text(&text, "["));
        for (int i = 1; i < depth; i++)
            assert_true(paro_buffer_append_text(&text, "]"));
        assert_true(paro_buffer_append_text(&text, "}"));
        if (depth <= 128) {
            assert_ok(parse(&err, text.data, &root));
            json_decref(root);
        } else {
            assert_fails(parse(&err, text.data, &root), PARO_STATUS_FORMAT, "nested more than 128");
        }
        paro_buffer_free(&text);
    }

    /* Ten million open brackets must cost neither the stack nor much time. */
    size_t n = 10000000;
    char *brackets = malloc(n);
    assert_non_null(brackets);
    memset(brackets, '[', n);
    assert_fails(paro_json_parse(&err, "f.json", brackets, n, &root), PARO_STATUS_FORMAT, "nested");
    memcpy(brackets, "{\"a\":", 5);
    assert_fails(paro_json_parse(&err, "f.json", brackets, n, &root), PARO_STATUS_FORMAT, "nested");
    free(brackets);

    /* Brackets in strings do not count, escaped quotes do not end one. */
    paro_buffer text = {0};
    assert_true(paro_buffer_append_text(&text, "{\"a\": \"\\\""));
    for (int i = 0; i < 500; i++)
        assert_true(paro_buffer_append_text(&text, "[{\\\\\\\""));
    assert_true(paro_buffer_append_text(&text, "\"}"));
    assert_ok(parse(&err, text.data, &root));
    json_decref(root);
    paro_buffer_free(&text);
}

static void test_members(void **state)
{
    (void)state;
    paro_error err;
    json_t *root = NULL;
    assert_ok(parse(&err,
                    "{\"n\": 7, \"x\": 2.5, \"yes\": true, \"no\": false, \"s\": \"text\", \"z\": "
                    "null, \"o\": {}, \"a\": [], \"neg\": -1, \"big\": 4294967296}",
                    &root));
    uint32_t n = 0;
    double x = 0;
    bool b = false;
    const char *s = NULL;
    json_t *c = NULL;

    assert_ok(paro_json_get_u32(&err, "w", root, "n", 7, 7, 1, &n));
    assert_int_equal(n, 7);
    assert_ok(paro_json_get_u32(&err, "w", root, "missing", 0, 9, 3, &n));
    assert_int_equal(n, 3);
    assert_ok(paro_json_get_u32(&err, "w", root, "z", 0, 9, 4, &n));
    assert_int_equal(n, 4);
    assert_fails(paro_json_get_u32(&err, "w", root, "n", 8, 9, 1, &n), PARO_STATUS_FORMAT,
                 "w: n: expected 8 to 9, found 7");
    assert_fails(paro_json_get_u32(&err, "w", root, "n", 0, 6, 1, &n), PARO_STATUS_FORMAT,
                 "expected 0 to 6");
    assert_fails(paro_json_get_u32(&err, "w", root, "neg", 0, UINT32_MAX, 1, &n),
                 PARO_STATUS_FORMAT, "found -1");
    assert_fails(paro_json_get_u32(&err, "w", root, "big", 0, UINT32_MAX, 1, &n),
                 PARO_STATUS_FORMAT, "found 4294967296");
    assert_fails(paro_json_get_u32(&err, "w", root, "x", 0, 9, 1, &n), PARO_STATUS_FORMAT,
                 "w: x: expected an integer, found a number");
    assert_fails(paro_json_get_u32(&err, "w", root, "s", 0, 9, 1, &n), PARO_STATUS_FORMAT,
                 "found a string");
    assert_int_equal(n, 4); /* untouched by failures */

    assert_ok(paro_json_get_f64(&err, "w", root, "x", 0, 3, 1, &x));
    assert_true(x == 2.5);
    assert_ok(paro_json_get_f64(&err, "w", root, "n", 0, 9, 1, &x));
    assert_true(x == 7);
    assert_ok(paro_json_get_f64(&err, "w", root, "z", 0, 9, 0.5, &x));
    assert_true(x == 0.5);
    assert_fails(paro_json_get_f64(&err, "w", root, "x", 3, 4, 1, &x), PARO_STATUS_FORMAT,
                 "w: x: expected 3 to 4, found 2.5");
    assert_fails(paro_json_get_f64(&err, "w", root, "yes", 3, 4, 1, &x), PARO_STATUS_FORMAT,
                 "expected a number, found a boolean");
    assert_true(x == 0.5);

    assert_ok(paro_json_get_bool(&err, "w", root, "yes", false, &b));
    assert_true(b);
    assert_ok(paro_json_get_bool(&err, "w", root, "no", true, &b));
    assert_false(b);
    assert_ok(paro_json_get_bool(&err, "w", root, "z", true, &b));
    assert_true(b);
    assert_fails(paro_json_get_bool(&err, "w", root, "n", true, &b), PARO_STATUS_FORMAT,
                 "w: n: expected true or false, found an integer");

    assert_ok(paro_json_get_string(&err, "w", root, "s", NULL, &s));
    assert_string_equal(s, "text");
    assert_ok(paro_json_get_string(&err, "w", root, "z", "other", &s));
    assert_string_equal(s, "other");
    assert_fails(paro_json_get_string(&err, "w", root, "o", NULL, &s), PARO_STATUS_FORMAT,
                 "w: o: expected a string, found an object");
    assert_string_equal(s, "other");

    assert_ok(paro_json_get_container(&err, "w", root, "o", JSON_OBJECT, &c));
    assert_true(json_is_object(c));
    assert_ok(paro_json_get_container(&err, "w", root, "a", JSON_ARRAY, &c));
    assert_true(json_is_array(c));
    assert_ok(paro_json_get_container(&err, "w", root, "z", JSON_ARRAY, &c));
    assert_null(c);
    assert_fails(paro_json_get_container(&err, "w", root, "a", JSON_OBJECT, &c), PARO_STATUS_FORMAT,
                 "w: a: expected an object, found an array");
    assert_fails(paro_json_missing(&err, "w", "k", "an integer"), PARO_STATUS_FORMAT,
                 "w: k: missing (expected an integer)");
    json_decref(root);
}

static void test_type_names(void **state)
{
    (void)state;
    assert_string_equal(paro_json_type_name(NULL), "nothing");
    assert_string_equal(paro_json_type_name(json_null()), "null");
    assert_string_equal(paro_json_type_name(json_true()), "a boolean");
}

static void test_load(void **state)
{
    (void)state;
    paro_error err;
    json_t *root = NULL;
    char *dir = test_dir_new();
    char *good = test_path(dir, "good.json"), *bad = test_path(dir, "bad.json");
    test_file_write(dir, "good.json", "{\"a\": 1}", 8);
    test_file_write(dir, "bad.json", "{\"a\": 1", 7);
    assert_ok(paro_json_load(&err, good, 8, &root));
    assert_int_equal(json_integer_value(json_object_get(root, "a")), 1);
    json_decref(root);
    root = NULL;
    assert_fails(paro_json_load(&err, good, 7, &root), PARO_STATUS_LIMIT, good);
    assert_fails(paro_json_load(&err, bad, 100, &root), PARO_STATUS_FORMAT, bad);
    assert_fails(paro_json_load(&err, dir, 100, &root), PARO_STATUS_INVALID_ARGUMENT, "a folder");
    assert_fails(paro_json_load(&err, "/no/such/file", 100, &root), PARO_STATUS_NOT_FOUND,
                 "/no/such/file");
    assert_null(root);
    free(good), free(bad);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broken_texts), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_members),      cmocka_unit_test(test_type_names),
        cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
