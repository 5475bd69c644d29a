/* SPDX-License-Identifier: MIT
 *
 * Models quantised in memory: the same as what a file gives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/model.h"
#include "tests/quantise.h"

static void test_in_memory_is_the_file(void **state)
{
    (void)state;
    static const struct {
        paro_format format;
        const char *set;
    } cases[] = {{PARO_FORMAT_PAROQUANT, "keep=*.layers.1.*"},
                 {PARO_FORMAT_AWQ, "group_size=32"},
                 {PARO_FORMAT_PSEUDO, "bits=3"}};
    enum { VOCAB = 2048 };
    static float memory_logits[VOCAB];
    static float file_logits[VOCAB];
    static float source_logits[VOCAB];
    paro_error err;
    for (size_t i = 0; i < 3; i++) {
        char *dir = test_dir_new();
        char *out = test_path(dir, "out");
        paro_model *source = open_model(demo);
        paro_plan *plan = make_plan(source, &cases[i].set, 1);
        const paro_quantize_options options = {.format = cases[i].format};
        paro_model *in_memory = NULL;
        assert_ok(paro_quantize_in_memory(&err, source, plan, &options, &in_memory));
        assert_ok(paro_model_check(&err, in_memory));
        assert_ok(paro_quantize(&err, source, plan, out, &options, NULL));
        paro_model *file = open_model(out);
        logits_of(in_memory, memory_logits);
        logits_of(file, file_logits);
        logits_of(source, source_logits);
        assert_memory_equal(memory_logits, file_logits, sizeof file_logits);
        assert_memory_not_equal(memory_logits, source_logits, sizeof file_logits);
        paro_model_info a;
        paro_model_info b;
        paro_model_get_info(in_memory, &a);
        paro_model_get_info(file, &b);
        assert_string_equal(a.quant_method, b.quant_method);
        assert_int_equal(a.group_size, b.group_size);
        assert_int_equal(a.n_weight_bytes, b.n_weight_bytes);
        assert_int_equal(a.n_parameters, b.n_parameters);

        /* A model that lies over another cannot be the source of a third. */
        paro_plan *again = make_plan(in_memory, NULL, 0);
        assert_fails(paro_quantize_in_memory(&err, in_memory, again, &options, &file),
                     PARO_STATUS_UNSUPPORTED, "was quantised in memory");
        paro_plan_free(again);
        paro_model_free(file);
        paro_model_free(in_memory);
        paro_plan_free(plan);
        paro_model_free(source);
        free(out);
        test_dir_remove(dir);
    }
}

/* F32 tensors that F16 does not hold exactly are rounded in memory too. */
static void test_rounding_in_memory(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *source_dir = demo_with(dir, "model.norm.weight", 3, 1.00017F);
    paro_model *source = open_model(source_dir);
    paro_plan *plan = make_plan(source, NULL, 0);
    paro_model *in_memory = NULL;
    assert_ok(paro_quantize_in_memory(&err, source, plan, NULL, &in_memory));
    assert_int_equal(in_memory->norm->dtype, PARO_DTYPE_F16);
    /* What is exact is shared. */
    assert_ptr_equal(in_memory->embedding, source->embedding);
    paro_model_free(in_memory);
    paro_plan_free(plan);
    paro_model_free(source);
    free(source_dir);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_memory_is_the_file),
        cmocka_unit_test(test_rounding_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
