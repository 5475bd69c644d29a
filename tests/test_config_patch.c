/* SPDX-License-Identifier: MIT
 *
 * config.json, changed in two members and otherwise the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "calib/config_patch.h"
#include "tests/support.h"

static void patches(const char *text, bool quantised, const char *expected)
{
    paro_error err;
    paro_buffer out = {0};
    json_t *config = quantised ? json_pack("{s:s, s:i}", "quant_method", "awq", "bits", 4) : NULL;
    assert_ok(paro_config_patch(&err, "config.json", text, strlen(text), config, &out));
    assert_string_equal(out.data, expected);
    json_t *parsed = json_loads(out.data, 0, NULL);
    assert_non_null(parsed);
    json_decref(parsed);
    json_decref(config);
    paro_buffer_free(&out);
}

static void test_patch(void **state)
{
    (void)state;
    patches("{}", false, "{\n  \"torch_dtype\": \"float16\"\n}\n");
    patches("{\"a\": 1e-05, \"torch_dtype\": \"bfloat16\",\n\n \"b\" : [1, {\"c\": \"}\\\"]\"}] }",
            false,
            "{\n  \"a\": 1e-05,\n  \"torch_dtype\": \"float16\",\n"
            "  \"b\": [1, {\"c\": \"}\\\"]\"}]\n}\n");
    patches(
        " \n{ \"dtype\" :null,\"x\":-1.50,\"t\":true}\n", true,
        "{\n  \"dtype\": \"float16\",\n  \"x\": -1.50,\n  \"t\": true,\n"
        "  \"quantization_config\": {\n    \"quant_method\": \"awq\",\n    \"bits\": 4\n  }\n}\n");
    /* What the source was quantised as goes; only the outermost member is meant. */
    patches(
        "{\"quantization_config\": {\"bits\": 8, \"x\": [\"]\"]}, \"dtype\": \"float32\","
        " \"n\": {\"quantization_config\": 1, \"dtype\": 2}}",
        false,
        "{\n  \"dtype\": \"float16\",\n  \"n\": {\"quantization_config\": 1, \"dtype\": 2}\n}\n");
    patches("{\"k\\\"ey\\\\\": \"v\\\\\", \"dtype\": 1}", false,
            "{\n  \"k\\\"ey\\\\\": \"v\\\\\",\n  \"dtype\": \"float16\"\n}\n");
}

static void test_not_json(void **state)
{
    (void)state;
    paro_error err;
    paro_buffer out = {0};
    assert_fails(paro_config_patch(&err, "d/config.json", "{\"a\": ", 6, NULL, &out),
                 PARO_STATUS_FORMAT, "d/config.json");
    assert_fails(paro_config_patch(&err, "d/config.json", "[]", 2, NULL, &out), PARO_STATUS_FORMAT,
                 "d/config.json");
    assert_int_equal(out.n_bytes, 0);
    paro_buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patch),
        cmocka_unit_test(test_not_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
