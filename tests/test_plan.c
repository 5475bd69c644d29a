/* SPDX-License-Identifier: MIT
 *
 * calib/plan.c: which rule decides, and what comes out of it. (Rules as recipes write them are in
 * test_recipe.c.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/plan.h"
#include "tests/quantise.h"

typedef struct rule_row {
    const char *pattern, *method;
    uint32_t bits, group_size;
} rule_row;

/* Resolves rules written as rows, for the demo model. */
static paro_status resolve(paro_error *err, const paro_model *model, const rule_row *rows, size_t n,
                           paro_plan **out)
{
    paro_arena arena = {0};
    paro_plan_rule rules[4] = {{.bits = 0}};
    char sha256[PARO_SHA256_HEX_BYTES];
    paro_sha256_hex("text", 4, sha256);
    paro_status status = PARO_STATUS_OK;
    assert_true(n <= 4);
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++) {
        status = paro_glob_compile(err, &arena, rows[i].pattern, &rules[i].glob);
        rules[i].method = paro_method_find(rows[i].method);
        rules[i].bits = rows[i].bits;
        rules[i].group_size = rows[i].group_size;
        rules[i].where = "here";
    }
    const paro_plan_spec spec = {.recipe = "r.lua",
                                 .text = "text",
                                 .n_text_bytes = 4,
                                 .sha256 = sha256,
                                 .options = "{}",
                                 .rules = rules,
                                 .n_rules = n};
    if (status == PARO_STATUS_OK)
        status = paro_plan_resolve(err, &spec, model, out);
    paro_arena_release(&arena);
    return status;
}

/* The last rule that matches decides, alone; what none matches is kept. */
static void test_order(void **state)
{
    (void)state;
    paro_error err;
    paro_plan *plan = NULL;
    paro_plan_linear linear;
    paro_model *model = open_model(demo);
    const rule_row rows[] = {{"*", "rtn", 4, 128},
                             {"*.mlp.*", "rtn", 3, 64},
                             {"*.down_proj", "keep", 0, 0},
                             {"model.layers.3.*", "rtn", 8, 32}};
    assert_ok(resolve(&err, model, rows, 4, &plan));
    assert_int_equal(paro_plan_n_linears(plan), 28);
    static const struct {
        size_t at;
        const char *name, *method, *rule;
        uint32_t bits, group_size;
        uint64_t before, after;
    } expected[] = {
        {0, "model.layers.0.self_attn.q_proj", "rtn", "*", 4, 128, 131072, 32768 + 1024 + 256},
        {4, "model.layers.0.mlp.gate_proj", "rtn", "*.mlp.*", 3, 64, 393216, 73728 + 6144 + 1152},
        {6, "model.layers.0.mlp.down_proj", "keep", "", 16, 0, 393216, 393216},
        {27, "model.layers.3.mlp.down_proj", "rtn", "model.layers.3.*", 8, 32, 393216,
         196608 + 12288 + 6144},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        paro_plan_get(plan, expected[i].at, &linear);
        assert_string_equal(linear.name, expected[i].name);
        assert_string_equal(linear.method, expected[i].method);
        assert_string_equal(linear.rule, expected[i].rule);
        assert_int_equal(linear.bits, expected[i].bits);
        assert_int_equal(linear.group_size, expected[i].group_size);
        assert_int_equal(linear.n_bytes_before, expected[i].before);
        assert_int_equal(linear.n_bytes_after, expected[i].after);
    }
    paro_plan_free(plan);
    paro_plan_free(NULL);

    assert_ok(resolve(&err, model, rows + 2, 1, &plan));
    assert_int_equal(plan->n_quantised, 0);
    paro_plan_free(plan);
    paro_model_free(model);
}

static void test_refused(void **state)
{
    (void)state;
    paro_error err;
    paro_plan *plan = NULL;
    paro_model *model = open_model(demo);
    const rule_row nothing[] = {{"*", "rtn", 4, 128}, {"*.q_prj", "rtn", 4, 128}};
    assert_fails(resolve(&err, model, nothing, 2, &plan), PARO_STATUS_NOT_FOUND,
                 "pattern \"*.q_prj\" matches no linear");
    assert_non_null(strstr(err.message, "q_proj")); /* the nearest */
    const rule_row uneven[] = {{"*", "rtn", 4, 96}};
    assert_fails(resolve(&err, model, uneven, 1, &plan), PARO_STATUS_INVALID_ARGUMENT,
                 "group_size 96 does not divide the 256 input channels of "
                 "model.layers.0.self_attn.q_proj");
    assert_null(plan);
    paro_model_free(model);
}

static void test_check(void **state)
{
    (void)state;
    paro_error err;
    paro_plan *plan = NULL;
    paro_model *model = open_model(demo);
    const rule_row three[] = {{"*", "rtn", 3, 128}}, four[] = {{"*", "rtn", 4, 32}};
    assert_ok(resolve(&err, model, three, 1, &plan));
    assert_ok(paro_format_check_plan(&err, plan, PARO_FORMAT_PSEUDO));
    assert_fails(paro_format_check_plan(&err, plan, PARO_FORMAT_AWQ), PARO_STATUS_INVALID_ARGUMENT,
                 "q_proj");
    assert_fails(paro_format_check_plan(&err, plan, PARO_FORMAT_PAROQUANT),
                 PARO_STATUS_INVALID_ARGUMENT, "4 bits");
    paro_plan_free(plan);
    assert_ok(resolve(&err, model, four, 1, &plan));
    assert_ok(paro_format_check_plan(&err, plan, PARO_FORMAT_AWQ));
    assert_fails(paro_format_check_plan(&err, plan, PARO_FORMAT_PAROQUANT),
                 PARO_STATUS_INVALID_ARGUMENT, "32");
    paro_plan_free(plan);
    paro_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
