/* SPDX-License-Identifier: MIT
 *
 * Round to nearest against the reference, and the groups that are not like others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/dtype.h"
#include "base/reference.h"
#include "base/rng.h"
#include "calib/method.h"
#include "tests/support.h"

static float through_f16(float value)
{
    return paro_f32_from_f16(paro_f16_from_f32(value));
}

static void test_same_as_reference(void **state)
{
    (void)state;
    enum { N_OUT = 37, N_IN = 256 };
    static float w[N_OUT * N_IN];
    static uint8_t codes[N_OUT * N_IN];
    static uint8_t zeros[N_OUT * N_IN];
    static float scales[N_OUT * N_IN];
    paro_error err;
    paro_rng rng;
    paro_rng_seed(&rng, 7);
    for (size_t i = 0; i < N_OUT * N_IN; i++)
        w[i] = 0.02F * paro_rng_normal(&rng);
    paro_pool *pool = NULL;
    assert_ok(paro_pool_new(&err, 3, &pool));
    for (uint32_t bits = 2; bits <= 8; bits++) {
        for (uint32_t group_size = 8; group_size <= 256; group_size *= 2) {
            paro_quantised q = {
                .n_out = N_OUT, .n_in = N_IN, .bits = bits, .group_size = group_size};
            assert_ok(paro_quantised_alloc(&err, &q));
            assert_ok(paro_rtn_quantise(&err, pool, w, &q));
            paro_ref_quantise_f32(w, N_OUT, N_IN, group_size, bits, through_f16, codes, scales,
                                  zeros);
            size_t n_groups = N_OUT * N_IN / group_size;
            assert_memory_equal(q.codes, codes, sizeof codes);
            assert_memory_equal(q.zeros, zeros, n_groups);
            assert_memory_equal(q.scales, scales, n_groups * sizeof *scales);
            for (size_t i = 0; i < n_groups; i++)
                assert_true(through_f16(q.scales[i]) == q.scales[i]);
            double sums[2 * N_OUT];
            double error = paro_quantised_error(&q, pool, w, sums);
            assert_true(error > 0 && error < 0.8 / (double)(1 << (bits - 2)));
            paro_quantised_release(&q);
        }
    }
    paro_pool_free(pool);
}

/* Quantises one group of eight at 4 bits and gives its largest error. */
static float largest_error(const float w[8], float *scale)
{
    paro_error err;
    paro_quantised q = {.n_out = 1, .n_in = 8, .bits = 4, .group_size = 8};
    assert_ok(paro_quantised_alloc(&err, &q));
    assert_ok(paro_rtn_quantise(&err, NULL, w, &q));
    float worst = 0;
    for (int i = 0; i < 8; i++) {
        float back = (float)(q.codes[i] - q.zeros[0]) * q.scales[0];
        worst = fmaxf(worst, fabsf(back - w[i]));
    }
    *scale = q.scales[0];
    paro_quantised_release(&q);
    return worst;
}

static void test_odd_groups(void **state)
{
    (void)state;
    const float zero[8] = {0};
    const float constant[8] = {0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F};
    const float negative[8] = {-3, -3, -3, -3, -3, -3, -3, -3};
    const float one_sign[8] = {1.00F, 1.02F, 1.04F, 1.06F, 1.08F, 1.1F, 1.01F, 1.03F};
    const float tiny[8] = {1e-7F, -1e-7F, 2e-7F, 0, 1e-30F, -1e-38F, 1e-45F, 3e-7F};
    const float outlier[8] = {1000, 0.01F, -0.01F, 0.02F, 0, 0, 0, 0.03F};
    float scale = 0;
    assert_true(largest_error(zero, &scale) == 0 && scale > 0);
    assert_true(largest_error(constant, &scale) < 1e-3F && scale > 0);
    assert_true(largest_error(negative, &scale) < 5e-3F && scale > 0);
    assert_true(largest_error(one_sign, &scale) <= 0.51F * scale && scale < 0.08F);
    assert_true(largest_error(tiny, &scale) <= 3e-7F && scale > 0);
    /* The scale is rounded to F16 (2^-11 relative), so 15 steps may miss the end by so much. */
    assert_true(largest_error(outlier, &scale) <= 0.51F * scale);
}

static void test_zero_matrix_has_no_error(void **state)
{
    (void)state;
    paro_error err;
    const float zero[16] = {0};
    double sums[4];
    paro_quantised q = {.n_out = 2, .n_in = 8, .bits = 2, .group_size = 8};
    assert_ok(paro_quantised_alloc(&err, &q));
    assert_ok(paro_rtn_quantise(&err, NULL, zero, &q));
    assert_true(paro_quantised_error(&q, NULL, zero, sums) == 0);
    paro_quantised_release(&q);
    paro_quantised_release(&q);
    paro_quantised_release(NULL);
}

static void test_scale_too_large_for_f16(void **state)
{
    (void)state;
    paro_error err;
    float w[16] = {0};
    w[12] = 3e6F;
    paro_quantised q = {.n_out = 2, .n_in = 8, .bits = 4, .group_size = 4};
    assert_ok(paro_quantised_alloc(&err, &q));
    assert_fails(paro_rtn_quantise(&err, NULL, w, &q), PARO_STATUS_UNSUPPORTED,
                 "row 1, group 1: expected weights whose scale fits F16");
    paro_quantised_release(&q);
}

static void test_methods(void **state)
{
    (void)state;
    assert_string_equal(paro_method_get(0)->name, "keep");
    assert_null(paro_method_find("keep")->quantise);
    assert_non_null(paro_method_find("rtn")->quantise);
    assert_null(paro_method_find("gptq"));
    assert_null(paro_method_get(1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_reference),
        cmocka_unit_test(test_odd_groups),
        cmocka_unit_test(test_zero_matrix_has_no_error),
        cmocka_unit_test(test_scale_too_large_for_f16),
        cmocka_unit_test(test_methods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
