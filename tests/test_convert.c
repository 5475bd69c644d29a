/* SPDX-License-Identifier: MIT
 *
 * From a model to tensors: sources that are quantised already, and values that do not fit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

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
             "bad/model.safetensors: model.layers.2.mlp.up_proj.weight: row 5, group 0: expected "
             "weights whose scale fits F16");
    fails_on(linear, 256 * 5 + 7, 3e5F, PARO_FORMAT_PSEUDO, PARO_STATUS_UNSUPPORTED,
             "model.layers.2.mlp.up_proj.weight: [5, 7]: the dequantised weight");
    fails_on(linear, 256 * 5 + 7, NAN, PARO_FORMAT_AWQ, PARO_STATUS_FORMAT,
             "bad/model.safetensors: model.layers.2.mlp.up_proj.weight: the weight at [5, 7] "
             "is");
}

static void test_kept_values_that_are_not_finite(void **state)
{
    (void)state;
    fails_on("model.norm.weight", 3, NAN, PARO_FORMAT_PAROQUANT, PARO_STATUS_FORMAT,
             "bad/model.safetensors: model.norm.weight: value 3 (in row-major order) is nan: "
             "expected finite numbers");
    fails_on("model.layers.1.input_layernorm.weight", 255, -INFINITY, PARO_FORMAT_PSEUDO,
             PARO_STATUS_FORMAT,
             "model.layers.1.input_layernorm.weight: value 255 (in row-major "
             "order) is -inf");
    fails_on("model.embed_tokens.weight", 70000, INFINITY, PARO_FORMAT_AWQ, PARO_STATUS_FORMAT,
             "model.embed_tokens.weight: value 70000");
}

/* Also where the source is F16, which is passed on as it is. */
static void test_f16_that_is_not_finite(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *source = test_path(dir, "f16");
    char *file = test_path(source, "model.safetensors");
    char *out = test_path(dir, "out");
    write_to(demo, source, PARO_FORMAT_PSEUDO, NULL, 0);
    paro_tensor_set *set = NULL;
    paro_mapping mapping;
    assert_ok(paro_tensor_set_open(&err, source, &set));
    assert_ok(paro_mapping_open(&err, file, &mapping));
    const paro_tensor *norm = paro_tensor_set_find(set, "model.norm.weight");
    assert_non_null(norm);
    assert_int_equal(norm->dtype, PARO_DTYPE_F16);
    /* Where it is in the file. */
    const unsigned char *at = memmem(mapping.data, mapping.n_bytes, norm->data, norm->n_bytes);
    assert_non_null(at);
    long offset = (long)(at - (const unsigned char *)mapping.data);
    paro_mapping_close(&mapping);
    paro_tensor_set_free(set);
    FILE *f = fopen(file, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, offset + 2 * 9, SEEK_SET), 0);
    assert_int_equal(fwrite("\x00\xfe", 1, 2, f), 2);
    assert_int_equal(fclose(f), 0);

    paro_model *model = open_model(source);
    paro_plan *plan = make_plan(model, NULL, 0);
    const paro_quantize_options options = {.format = PARO_FORMAT_AWQ};
    paro_model *in_memory = NULL;
    const char *words = "f16/model.safetensors: model.norm.weight: value 9 (in row-major order)";
    assert_fails(paro_quantize(&err, model, plan, out, &options, NULL), PARO_STATUS_FORMAT, words);
    assert_false(paro_path_exists(out));
    assert_fails(paro_quantize_in_memory(&err, model, plan, &options, &in_memory),
                 PARO_STATUS_FORMAT, words);
    paro_plan_free(plan);
    paro_model_free(model);
    free(source);
    free(file);
    free(out);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantised_source),
        cmocka_unit_test(test_values_that_do_not_fit),
        cmocka_unit_test(test_kept_values_that_are_not_finite),
        cmocka_unit_test(test_f16_that_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
