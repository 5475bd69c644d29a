/* SPDX-License-Identifier: MIT
 *
 * codegen/signature.c: text and back, and against a plan.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/codegen.h"
#include "tests/support.h"

static paro_signature_param params[] = {
    {"x", "const f16 *", PARO_PARAM_POINTER, true, 2},
    {"y", "f16 *", PARO_PARAM_POINTER, false, 2},
    {"sums", "const float *", PARO_PARAM_POINTER, true, 4},
    {"bias", "const f16 *", PARO_PARAM_POINTER, true, 2},
    {"m", "unsigned int", PARO_PARAM_SCALAR, false, 4},
};
static paro_signature_kernel kernels[] = {{"planted", params, 5}, {"second", NULL, 0}};
static const paro_signature whole = {kernels, 2};

/* A family for the plan. */
static const paro_arg args[] = {
    {"x", PARO_ARG_INPUT, ""},     {"y", PARO_ARG_OUTPUT, ""}, {"sums", PARO_ARG_SCRATCH, ""},
    {"bias", PARO_ARG_WEIGHT, ""}, {"m", PARO_ARG_SCALAR, ""}, {NULL, PARO_ARG_INPUT, NULL},
};

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    static const paro_arg_info infos[] = {{PARO_DTYPE_F16, 8},
                                          {PARO_DTYPE_F16, 8},
                                          {PARO_DTYPE_F32, 8},
                                          {PARO_DTYPE_F64, 0}, /* absent */
                                          {PARO_DTYPE_U32, 1}};
    (void)problem, (void)config;
    *out = infos[arg];
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    (void)problem, (void)config;
    out->n_launches = 2;
    out->launches[0] = (paro_launch){.kernel = "planted", .args = {0, 1, 2, 3, 4}, .n_args = 5};
    out->launches[1] = (paro_launch){.kernel = "second"};
}

static const paro_family family = {
    .name = "plant", .template_name = "plant.cu", .args = args, .plan = plan, .arg_info = arg_info};

static paro_status check(paro_error *err, const paro_signature *signature)
{
    paro_problem problem = {.family = &family};
    paro_kernel_config config = {{0}};
    return paro_signature_check(err, signature, &problem, &config);
}

static void test_check(void **state)
{
    (void)state;
    paro_error err;
    assert_ok(check(&err, &whole));

    paro_signature less = {kernels, 1};
    assert_fails(check(&err, &less), PARO_STATUS_FORMAT,
                 "plant.cu: expected a __global__ function 'second', which plant's plan launches");

    const struct {
        size_t at;
        paro_signature_param param;
        const char *words;
    } rows[] = {
        {0,
         {"z", "const f16 *", PARO_PARAM_POINTER, true, 2},
         "plant.cu: planted: parameter 0: expected 'x', found 'z'"},
        {0,
         {"x", "f16 *", PARO_PARAM_POINTER, false, 2},
         "parameter 'x': expected a pointer to const, found 'f16 *'"},
        {0,
         {"x", "const float *", PARO_PARAM_POINTER, true, 4},
         "parameter 'x': expected elements of 2 bytes (F16), found 'const float *' of 4"},
        {1,
         {"y", "const f16 *", PARO_PARAM_POINTER, true, 2},
         "parameter 'y': expected a pointer to what is not const"},
        {2, {"sums", "float", PARO_PARAM_SCALAR, false, 4}, "'sums': expected a pointer, found"},
        {4, {"m", "unsigned long", PARO_PARAM_SCALAR, false, 8}, "expected elements of 4 bytes"},
        {4, {"m", "unsigned *", PARO_PARAM_POINTER, false, 4}, "'m': expected a scalar"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        paro_signature_param kept = params[rows[i].at];
        params[rows[i].at] = rows[i].param;
        assert_fails(check(&err, &whole), PARO_STATUS_FORMAT, rows[i].words);
        params[rows[i].at] = kept;
    }
    kernels[0].n_params = 4;
    assert_fails(check(&err, &whole), PARO_STATUS_FORMAT,
                 "planted: expected 5 parameters, as many as the plan's arguments, found 4");
    kernels[0].n_params = 5;
}

static void test_text(void **state)
{
    (void)state;
    paro_error err;
    paro_arena arena = {0};
    paro_buffer text = {0}, again = {0};
    paro_signature read = {0};
    assert_ok(paro_signature_print(&err, &whole, &text));
    assert_non_null(strstr(text.data, "\"type\": \"const f16 *\""));
    assert_ok(paro_signature_parse(&err, "row", text.data, text.n_bytes, &arena, &read));
    assert_ok(check(&err, &read));
    assert_ok(paro_signature_print(&err, &read, &again));
    assert_string_equal(text.data, again.data);

    /* Every prefix is an error (but for the line's end). */
    for (size_t n = 0; n + 2 < text.n_bytes; n++) {
        paro_arena scratch = {0};
        assert_int_not_equal(paro_signature_parse(&err, "row", text.data, n, &scratch, &read),
                             PARO_STATUS_OK);
        paro_arena_release(&scratch);
    }
    paro_buffer_free(&text);
    paro_buffer_free(&again);
    paro_arena_release(&arena);
}

static void test_bad_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"{}", "row: kernels: missing"},
        {"{\"kernels\": 1}", "row: kernels: expected an array"},
        {"{\"kernels\": [1]}", "row: kernels[0]: expected an object"},
        {"{\"kernels\": [{}]}", "row: name: missing"},
        {"{\"kernels\": [{\"name\": \"a\"}]}", "row: params: missing"},
        {"{\"kernels\": [{\"name\": \"a\", \"params\": [{\"name\": \"b\"}]}]}",
         "row: type: missing"},
        {"{\"kernels\": [{\"name\": \"a\", \"params\": [{\"name\": \"b\", \"type\": \"c\"}]}]}",
         "row: kind: missing"},
        {"{\"kernels\": [{\"name\": \"a\", \"params\": [{\"name\": \"b\", \"type\": \"c\", "
         "\"kind\": \"d\", \"bytes\": 1}]}]}",
         "row: kind: expected \"pointer\" or \"scalar\", found \"d\""},
        {"{\"kernels\": [{\"name\": \"a\", \"params\": [{\"name\": \"b\", \"type\": \"c\", "
         "\"kind\": \"scalar\"}]}]}",
         "row: bytes: missing"},
        {"{\"kernels\": [{\"name\": \"a\", \"params\": [{\"name\": \"b\", \"type\": \"c\", "
         "\"kind\": \"scalar\", \"bytes\": -1}]}]}",
         "row: bytes: expected"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        paro_error err;
        paro_arena arena = {0};
        paro_signature read = {0};
        assert_fails(
            paro_signature_parse(&err, "row", rows[i].text, strlen(rows[i].text), &arena, &read),
            PARO_STATUS_FORMAT, rows[i].words);
        assert_null(read.kernels);
        paro_arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_bad_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
