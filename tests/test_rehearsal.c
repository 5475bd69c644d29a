/* SPDX-License-Identifier: MIT
 *
 * calib/rehearsal.c and calib/estimate.c: what calibrating would take, without doing it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/model.h"
#include "tests/quantise.h"

static paro_plan *plan_of(const paro_model *model, const char *name, const char *const *set,
                          size_t n_set)
{
    paro_error err;
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    const paro_recipe_options options = {.set = set, .n_set = n_set};
    assert_ok(paro_recipe_open(&err, name, &options, &recipe));
    assert_ok(paro_plan_make(&err, recipe, model, &plan));
    paro_recipe_free(recipe);
    return plan;
}

static paro_plan_estimate estimate(const paro_model *model, const char *name,
                                   const char *const *set, size_t n_set, uint64_t memory_bytes)
{
    paro_error err;
    paro_plan_estimate found;
    const paro_quantize_options options = {.memory_bytes = memory_bytes};
    paro_plan *plan = plan_of(model, name, set, n_set);
    memset(&found, 0xee, sizeof found);
    assert_ok(paro_plan_estimate_cost(&err, model, plan, &options, &found));
    paro_plan_free(plan);
    return found;
}

static void test_what_is_said(void **state)
{
    (void)state;
    static const char *const set[] = {"epochs=3", "samples=40"};
    paro_model *model = open_model(demo);
    const paro_plan_estimate rtn = estimate(model, "rtn", NULL, 0, 0);
    assert_true(rtn.seconds == 0 && rtn.memory_bytes == 0 && rtn.disk_bytes == 0);
    assert_string_equal(rtn.steps, "");

    const paro_plan_estimate trained = estimate(model, "paroquant", set, 2, 0);
    assert_string_equal(trained.steps, "optimise angles, channel_scales: 3 epochs of 40 samples; "
                                       "optimise weight, quantizer: 3 epochs of 40 samples");
    assert_true(trained.seconds > 0 && trained.memory_bytes > 0);
    uint64_t n_weights = 0;
    for (size_t i = 0; i < paro_model_n_linears(model); i++)
        n_weights +=
            (uint64_t)paro_model_linear(model, i)->n_out * paro_model_linear(model, i)->n_in;
    assert_int_equal(trained.disk_bytes, n_weights); /* codes */

    /* What does not fit goes to the disk. */
    const paro_plan_estimate spilled = estimate(model, "paroquant", set, 2, 1 << 20);
    const uint64_t activations = trained.memory_bytes - spilled.memory_bytes;
    assert_int_equal(spilled.disk_bytes - trained.disk_bytes, activations);
    assert_int_equal(activations, 2 * sizeof(float) * (40 + 32) * 512 * model->config.hidden);

    const paro_plan_estimate awq = estimate(model, "awq", NULL, 0, 0);
    assert_non_null(strstr(awq.steps, "AWQ: 20 exponents over 2048 tokens, clipping"));
    const paro_plan_estimate gptq = estimate(model, "gptq", NULL, 0, 0);
    assert_non_null(strstr(gptq.steps, "GPTQ: 7 linears"));
    const paro_plan_estimate own = estimate(model, "awq_lua", NULL, 0, 0);
    assert_string_equal(own.steps, "what the recipe does by itself");
    paro_model_free(model);
}

/* More of everything costs more. */
static void test_more_costs_more(void **state)
{
    (void)state;
    static const char *const few[] = {"samples=64", "epochs=1"};
    static const char *const many[] = {"samples=64", "epochs=16"};
    paro_model *model = open_model(demo);
    const double a = estimate(model, "paroquant", few, 2, 0).seconds;
    const double b = estimate(model, "paroquant", many, 2, 0).seconds;
    if (!(b > 2 * a)) /* the machine's speed is measured each time */
        fail_msg("1 epoch: %g s, 16 epochs: %g s", a, b);
    paro_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_said),
                                       cmocka_unit_test(test_more_costs_more)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
