/* SPDX-License-Identifier: MIT
 *
 * Hessians against sums in fp64 over rows that the reference transforms.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/reference.h"
#include "base/rng.h"
#include "calib/hessian.h"
#include "tests/support.h"

enum { N = 160, GROUP = 32, KROT = 3, ROWS = 600 };

static float x[ROWS * N];
static float scales[N];
static int16_t pairs[KROT * N];
static float theta[KROT * N / 2];
static double theta_f64[KROT * N / 2];

/* Rounds of neighbours, of halves, and of neighbours again with the last slot of a group empty. */
static paro_train_linear make_linear(uint32_t krot)
{
    paro_rng rng;
    paro_rng_seed(&rng, 11);
    for (size_t i = 0; i < ROWS * N; i++)
        x[i] = paro_rng_normal(&rng) * (float)(1 + i % 7);
    for (size_t i = 0; i < N; i++)
        scales[i] = 0.5F + (float)paro_rng_f64(&rng);
    for (size_t slot = 0; slot < KROT * N / 2; slot++) {
        size_t round = slot / (N / 2), t = slot % (GROUP / 2);
        pairs[2 * slot] = (int16_t)(round == 1 ? t : 2 * t);
        pairs[2 * slot + 1] = (int16_t)(round == 1 ? t + GROUP / 2 : 2 * t + 1);
        theta[slot] = paro_rng_normal(&rng);
        if (round == 2 && t == GROUP / 2 - 1) {
            pairs[2 * slot + 1] = pairs[2 * slot];
            theta[slot] = 0;
        }
        theta_f64[slot] = (double)theta[slot];
    }
    return (paro_train_linear){.name = "l",
                               .n_in = N,
                               .group_size = GROUP,
                               .krot = krot,
                               .pairs = pairs,
                               .theta = theta,
                               .weight_channel_scales = scales};
}

static double *expected_hessian(const paro_train_linear *linear)
{
    double *sums = calloc((size_t)N * N, sizeof *sums);
    assert_non_null(sums);
    const paro_rotation rotation = {N, GROUP, linear->krot, pairs, theta_f64};
    for (size_t row = 0; row < ROWS; row++) {
        double z[N];
        for (size_t i = 0; i < N; i++)
            z[i] = (double)x[row * N + i] / (double)scales[i];
        paro_ref_rotate_f64(&rotation, z, 1);
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < N; j++)
                sums[i * N + j] += 2 * z[i] * z[j] / ROWS;
    }
    return sums;
}

static void check(uint32_t krot)
{
    paro_error err;
    const paro_train_linear linear = make_linear(krot);
    double *expected = expected_hessian(&linear);
    double *found = calloc((size_t)N * N, sizeof *found);
    double *alone = calloc((size_t)N * N, sizeof *alone);
    assert_true(found != NULL && alone != NULL);
    paro_pool *pool = NULL;
    assert_ok(paro_pool_new(&err, 2, &pool));
    for (int threads = 1; threads <= 2; threads++) {
        paro_hessian hessian;
        assert_ok(paro_hessian_new(&err, threads == 2 ? pool : NULL, N, &hessian));
        paro_hessian_add(&hessian, threads == 2 ? pool : NULL, x, 300);
        paro_hessian_add(&hessian, threads == 2 ? pool : NULL, x + (size_t)300 * N, ROWS - 300);
        assert_int_equal(hessian.n_rows, ROWS);
        assert_ok(paro_hessian_of_linear(&err, &hessian, threads == 2 ? pool : NULL, &linear,
                                         threads == 2 ? found : alone));
        assert_ok(paro_hessian_of_linear(&err, &hessian, NULL, &linear, hessian.sums));
        assert_memory_equal(hessian.sums, alone, sizeof *alone * N * N);
        paro_hessian_release(&hessian);
    }
    assert_memory_equal(found, alone, sizeof *alone * N * N);
    double worst = 0, largest = 0;
    for (size_t i = 0; i < (size_t)N * N; i++) {
        worst = fmax(worst, fabs(found[i] - expected[i]));
        largest = fmax(largest, fabs(expected[i]));
    }
    assert_true(worst < 1e-6 * largest && largest > 0);
    free(expected);
    free(found);
    free(alone);
    paro_pool_free(pool);
}

static void test_scaled(void **state)
{
    (void)state;
    check(0);
}

static void test_rotated(void **state)
{
    (void)state;
    check(KROT);
}

static void test_too_large(void **state)
{
    (void)state;
    paro_error err;
    paro_hessian hessian = {0};
    assert_fails(paro_hessian_new(&err, NULL, SIZE_MAX / 2, &hessian), PARO_STATUS_OUT_OF_MEMORY,
                 "a Hessian");
    paro_hessian_release(&hessian);
    paro_hessian_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scaled),
        cmocka_unit_test(test_rotated),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
