/* SPDX-License-Identifier: MIT
 *
 * Tests of cpu/ops.c against fp64.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/reference.h"
#include "base/rng.h"
#include "cpu/exp.h"
#include "cpu/ops.h"

enum { MAX = 4096 };

static void normals(uint64_t seed, float factor, size_t n, float *x, double *wide)
{
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++)
        wide[i] = x[i] = factor * paro_rng_normal(&rng);
}

static void expect_near(const float *found, const double *expected, size_t n, double tolerance)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += (found[i] - expected[i]) * (found[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    assert_true(sqrt(difference) <= tolerance * sqrt(size));
}

static void norm(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{1, 1}, {3, 7}, {2, 64}, {5, 515}, {1, MAX}};
    static float x[MAX], weight[MAX], y[MAX];
    static double wide_x[MAX], wide_weight[MAX], expected[MAX];
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int small = 0; small < 2; small++) { /* small: epsilon matters */
            size_t n_rows = shapes[s][0], n = shapes[s][1];
            normals(s, small ? 1e-3f : 3, n_rows * n, x, wide_x);
            normals(s + 50, 1, n, weight, wide_weight);
            paro_ref_norm_f64(wide_x, wide_weight, n_rows, n, 1e-6, expected);
            paro_ops_norm(x, weight, n_rows, n, 1e-6, y);
            expect_near(y, expected, n_rows * n, 3e-7);
            paro_ops_norm(x, weight, n_rows, n, 1e-6, x);
            assert_memory_equal(x, y, n_rows * n * sizeof *x);
        }
}

static void rope(void **state)
{
    (void)state;
    static float x[MAX], cosines[MAX], sines[MAX];
    static double wide[MAX];
    static const size_t shapes[][3] = {{1, 1, 2}, {3, 2, 6}, {7, 4, 64}, {2, 3, 128}};
    for (size_t s = 0; s < 4; s++) {
        size_t n_rows = shapes[s][0], n_heads = shapes[s][1], head_dim = shapes[s][2];
        size_t row_count = n_heads * head_dim;
        double frequencies[64];
        normals(s, 1, n_rows * row_count, x, wide);
        paro_rope rule = {.type = PARO_ROPE_TYPE_DEFAULT, .theta = 10000};
        paro_ref_rope_frequencies(&rule, head_dim, frequencies);
        for (size_t row = 0; row < n_rows; row++) {
            size_t position = 1000 + 3 * row;
            for (size_t i = 0; i < head_dim / 2; i++) {
                cosines[row * head_dim / 2 + i] = (float)cos((double)position * frequencies[i]);
                sines[row * head_dim / 2 + i] = (float)sin((double)position * frequencies[i]);
            }
            paro_ref_rope_f64(wide + row * row_count, n_heads, head_dim, frequencies, position);
        }
        paro_ops_rope(x, n_rows, n_heads, head_dim, cosines, sines);
        expect_near(x, wide, n_rows * row_count, 3e-7);
    }
}

static void swiglu(void **state)
{
    (void)state;
    static float gate[MAX], up[MAX];
    static double wide_gate[MAX], wide_up[MAX];
    for (size_t n = 1; n <= MAX; n = 5 * n + 2) {
        normals(n, 8, n, gate, wide_gate);
        normals(n + 1, 1, n, up, wide_up);
        paro_ref_swiglu_f64(wide_gate, wide_up, n, wide_gate);
        paro_ops_swiglu(gate, up, n);
        expect_near(gate, wide_gate, n, 3e-7);
    }
    float far[] = {-1000, 1000, -INFINITY, NAN, 0};
    const float ones[] = {1, 1, 1, 1, 1};
    paro_ops_swiglu(far, ones, 5);
    assert_true(fabsf(far[0]) < 1e-30f && far[1] == 1000 && isnan(far[3]) && far[4] == 0);
}

static void add(void **state)
{
    (void)state;
    float x[5] = {1, 2, 3, 4, 5};
    const float y[5] = {10, 20, 30, 40, 50};
    paro_ops_add(x, y, 4);
    const float expected[5] = {11, 22, 33, 44, 5};
    assert_memory_equal(x, expected, sizeof x);
}

static void exponential(void **state)
{
    (void)state;
    for (double x = -87; x <= 88; x += 0.00731) {
        float rounded = (float)x;
        double expected = exp((double)rounded);
        assert_true(fabs(paro_exp_f32(rounded) - expected) < 1.5e-7 * expected);
    }
    assert_true(paro_exp_f32(0) == 1);
    assert_true(paro_exp_f32(-INFINITY) < 2e-38f && paro_exp_f32(-INFINITY) >= 0);
    assert_true(isnan(paro_exp_f32(NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norm), cmocka_unit_test(rope),        cmocka_unit_test(swiglu),
        cmocka_unit_test(add),  cmocka_unit_test(exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
