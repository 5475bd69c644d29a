/* SPDX-License-Identifier: MIT
 *
 * cli/report.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "cli/report.h"
#include "tests/cli_capture.h"

static json_t *print_and_parse(paro_report *report, capture *c)
{
    json_error_t error;
    assert_true(paro_report_print(report, c->stream));
    json_t *root = json_loads(capture_text(c), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!root)
        fail_msg("%s in %s", error.text, c->text);
    return root;
}

static void test_values_come_back_exactly(void **state)
{
    (void)state;
    paro_report *report = paro_report_new();
    paro_report_node *root = paro_report_root(report);
    capture *c = capture_new();

    paro_report_text(root, "text", "a \"quoted\"\n漢");
    paro_report_bytes(root, "zero", "a\0b", 3);
    paro_report_integer(root, "integer", 9007199254740993);
    paro_report_signed(root, "signed", -5);
    paro_report_real(root, "real", 0.1 + 0.2);
    paro_report_bool(root, "bool", true);
    paro_report_node *list = paro_report_array(root, "list");
    paro_report_integer(list, NULL, 1);
    paro_report_text(paro_report_object(list, NULL), "inner", "x");

    json_t *parsed = print_and_parse(report, c);
    assert_string_equal(json_string_value(json_object_get(parsed, "text")), "a \"quoted\"\n漢");
    assert_int_equal(json_string_length(json_object_get(parsed, "zero")), 3);
    assert_int_equal(json_integer_value(json_object_get(parsed, "integer")), 9007199254740993);
    assert_int_equal(json_integer_value(json_object_get(parsed, "signed")), -5);
    assert_true(json_real_value(json_object_get(parsed, "real")) == 0.1 + 0.2);
    assert_true(json_is_true(json_object_get(parsed, "bool")));
    json_t *array = json_object_get(parsed, "list");
    assert_int_equal(json_array_size(array), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(array, 1), "inner")), "x");
    assert_int_equal(c->text[c->n_bytes - 1], '\n');
    json_decref(parsed);
    paro_report_free(report);
    capture_free(c);
}

static void test_what_json_cannot_say(void **state)
{
    (void)state;
    paro_report *report = paro_report_new();
    paro_report_node *root = paro_report_root(report);
    capture *c = capture_new();

    paro_report_real(root, "nan", NAN);
    paro_report_real(root, "inf", INFINITY);
    paro_report_text(root, "null", NULL);
    paro_report_text(root, "wrong", "a\xff\xc3");
    paro_report_text(root, "key \xff", "k");
    paro_report_integer(root, "large", UINT64_MAX);

    json_t *parsed = print_and_parse(report, c);
    assert_true(json_is_null(json_object_get(parsed, "nan")));
    assert_true(json_is_null(json_object_get(parsed, "inf")));
    assert_true(json_is_null(json_object_get(parsed, "null")));
    assert_string_equal(json_string_value(json_object_get(parsed, "wrong")),
                        "a\xef\xbf\xbd\xef\xbf\xbd");
    assert_non_null(json_object_get(parsed, "key \xef\xbf\xbd"));
    assert_true(json_real_value(json_object_get(parsed, "large")) == 18446744073709551615.0);
    json_decref(parsed);
    paro_report_free(report);
    capture_free(c);
}

static void test_null_report(void **state)
{
    (void)state;
    capture *c = capture_new();
    paro_report_node *root = paro_report_root(NULL);
    assert_null(root);
    paro_report_text(root, "a", "b");
    paro_report_integer(paro_report_array(root, "list"), NULL, 3);
    paro_report_null(paro_report_object(root, "object"), "x");
    assert_false(paro_report_print(NULL, c->stream));
    assert_string_equal(capture_text(c), "");
    paro_report_free(NULL);
    capture_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values_come_back_exactly),
                                       cmocka_unit_test(test_what_json_cannot_say),
                                       cmocka_unit_test(test_null_report)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
