/* SPDX-License-Identifier: MIT
 *
 * From a model to tensors: sources that are quantised already, and values that do not fit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/inspect.h>

#include "tests/quantise.h"

/* A quantised source is dequantised; kept linears become plain F16. */
static void test_quantised_source(void **state)
{
    (void)state;
    enum { VOCAB = 2048 };
    static float before[VOCAB];
    static float after[VOCAB];
    paro_error err;
    char *dir = test_dir_new();
    char *first = test_path(dir, "first");
    char *second = test_path(dir, "second");
    char *third = test_path(dir, "third");
    const char *const keep[] = {"keep=*.{q,k,v,o}_proj"};
    write_to(demo, first, PARO_FORMAT_AWQ, NULL, 0);
    /* 4 bits again: the same groups give the same codes but for rounding of the scales. */
    write_to(first, second, PARO_FORMAT_PAROQUANT, keep, 1);
    write_to(second, third, PARO_FORMAT_PSEUDO, NULL, 0);
    paro_tensors *tensors = NULL;
    assert_ok(paro_tensors_open(&err, second, &tensors));
    for (size_t i = 0; i < paro_tensors_count(tensors); i++) {
        paro_tensor_info info;
        paro_tensors_get(tensors, i, &info);
        assert_true(strstr(info.name, "q_proj.qweight") == NULL);
    }
    paro_tensors_free(tensors);
    paro_model *a = open_model(first);
    paro_model *b = open_model(second);
    paro_model *c = open_model(third);
    assert_ok(paro_model_check(&err, b));
    assert_ok(paro_model_check(&err, c));
    logits_of(a, before);
    logits_of(b, after);
    double difference = 0;
    double size = 0;
    for (int i = 0; i < VOCAB; i++) {
        difference += (before[i] - after[i]) * (before[i] - after[i]);
        size += before[i] * before[i];
    }
    assert_true(difference < 0.01 * size);
    paro_model_free(a);
    paro_model_free(b);
    paro_model_free(c);
    free(first);
    free(second);
    free(third);
    test_dir_remove(dir);
}

static void fails_on(const char *name, size_t at, float value, paro_format format,
                     paro_status expected, const char *words)
{
    paro_error err;
    char *dir = test_dir_new();
    char *bad = demo_with(dir, name, at, value);
    char *out = test_path(dir, "out");
    paro_model *model = open_model(bad);
    paro_plan *plan = make_plan(model, NULL, 0);
    const paro_quantize_options options = {.format = format};
    assert_fails(paro_quantize(&err, model, plan, out, &options, NULL), expected, words);
    assert_false(paro_path_exists(out));
    paro_plan_free(plan);
    paro_model_free(model);
    free(bad);
    free(out);
    test_dir_remove(dir);
}

static void test_values_that_do_not_fit(void **state)
{
    (void)state;
    const char *linear = "model.layers.2.mlp.up_proj.weight";
    fails_on("model.norm.weight", 3, 1e5F, PARO_FORMAT_AWQ, PARO_STATUS_UNSUPPORTED,
             "model.norm.weight: value 3 (in row-major order) is 100000");
    fails_on(linear, 256 * 5 + 7, 1e30F, PARO_FORMAT_AWQ, PARO_STATUS_UNSUPPORTED,
             "model.layers.2.mlp.up_proj: row 5, group 0: expected weights whose scale fits F16");
    fails_on(linear, 256 * 5 + 7, 3e5F, PARO_FORMAT_PSEUDO, PARO_STATUS_UNSUPPORTED,
             "model.layers.2.mlp.up_proj.weight: [5, 7]: the dequantised weight");
    fails_on(linear, 256 * 5 + 7, (float)(0.0 / strtod("0", NULL)), PARO_FORMAT_AWQ,
             PARO_STATUS_FORMAT, "model.layers.2.mlp.up_proj: the weight at [5, 7] is");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantised_source),
        cmocka_unit_test(test_values_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
