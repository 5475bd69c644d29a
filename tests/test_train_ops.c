/* SPDX-License-Identifier: MIT
 *
 * Tests of cpu/train_ops*.c: each function of every table this machine can run, against fp64.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reference.h"
#include "base/rng.h"
#include "cpu/train_ops.h"

enum { MAX = 2048 };

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

static void softmax(const paro_train_ops *ops)
{
    static float x[MAX], d[MAX];
    static double p[MAX], wide[MAX], expected[MAX];
    for (size_t n = 1; n <= MAX; n = n < 40 ? n + 1 : 3 * n + 5)
        for (int far = 0; far < 2; far++) { /* far: exponentials would overflow */
            normals(n, 3, n, x, p);
            normals(n + 1, 1, n, d, wide);
            double max = -INFINITY, sum = 0, mean = 0;
            for (size_t i = 0; i < n; i++) {
                x[i] += far ? 200 : 0;
                max = fmax(max, (double)x[i]);
            }
            for (size_t i = 0; i < n; i++)
                sum += p[i] = exp((double)x[i] - max);
            for (size_t i = 0; i < n; i++) {
                p[i] /= sum;
                mean += p[i] * wide[i];
            }
            ops->softmax(x, n);
            expect_near(x, p, n, 1e-6);
            for (size_t i = 0; i < n; i++)
                expected[i] = 0.25 * p[i] * (wide[i] - mean);
            ops->softmax_backward(x, n, 0.25f, d);
            double difference = 0,
                   size = 0; /* before sum(p d) is taken off, which may leave little */
            for (size_t i = 0; i < n; i++) {
                difference += pow((double)d[i] - expected[i], 2);
                size += pow(0.25 * p[i] * wide[i], 2);
            }
            assert_true(sqrt(difference) <= 1e-6 * sqrt(size));
        }
}

static void swiglu(const paro_train_ops *ops)
{
    static float gate[MAX], up[MAX], y[MAX], d[MAX];
    static double wide_gate[MAX], wide_up[MAX], wide_d[MAX], expected[MAX], d_gate[MAX], d_up[MAX];
    for (size_t n = 1; n <= MAX; n = 5 * n + 2) {
        normals(n, 8, n, gate, wide_gate);
        normals(n + 1, 1, n, up, wide_up);
        normals(n + 2, 1, n, d, wide_d);
        paro_ref_swiglu_f64(wide_gate, wide_up, n, expected);
        ops->swiglu(gate, up, n, y);
        expect_near(y, expected, n, 3e-7);
        const double h = 1e-6;
        for (size_t i = 0; i < n; i++) {
            double above = wide_gate[i] + h, below = wide_gate[i] - h, one = 1;
            paro_ref_swiglu_f64(&above, &one, 1, &above);
            paro_ref_swiglu_f64(&below, &one, 1, &below);
            d_gate[i] = wide_d[i] * wide_up[i] * (above - below) / (2 * h);
            d_up[i] = wide_d[i] * expected[i] / wide_up[i];
        }
        ops->swiglu_backward(d, n, gate, up);
        expect_near(gate, d_gate, n, 1e-6);
        expect_near(up, d_up, n, 1e-6);
    }
    float far_gate[] = {-1000, 1000, 0}, far_up[] = {1, 1, 1};
    const float ones[] = {1, 1, 1};
    ops->swiglu_backward(ones, 3, far_gate, far_up);
    assert_true(fabsf(far_gate[0]) < 1e-30f && far_gate[1] == 1 && far_gate[2] == 0.5f);
    assert_true(fabsf(far_up[0]) < 1e-30f && far_up[1] == 1000 && far_up[2] == 0);
}

static void norm_backward(const paro_train_ops *ops)
{
    static const size_t shapes[][2] = {{1, 1}, {3, 7}, {2, 64}, {5, 21}, {1, 300}};
    static float x[MAX], weight[MAX], d[MAX], add[MAX], found[MAX];
    static double wide_x[MAX], wide_weight[MAX], wide_d[MAX], wide_add[MAX], expected[MAX], y[MAX];
    const double epsilon = 1e-2, h = 1e-5;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int kind = 0; kind < 4; kind++) { /* dx elsewhere, without add; dx is x, d, add */
            size_t n_rows = shapes[s][0], n = shapes[s][1];
            normals(s, 1, n_rows * n, x, wide_x);
            normals(s + 50, 1, n, weight, wide_weight);
            normals(s + 60, 1, n_rows * n, d, wide_d);
            normals(s + 70, 1, n_rows * n, add, wide_add);
            for (size_t i = 0; i < n_rows * n; i++) {
                double kept = wide_x[i], sum = kind == 0 ? 0 : 2 * h * wide_add[i];
                for (int sign = 1; sign >= -1; sign -= 2) {
                    wide_x[i] = kept + sign * h;
                    size_t row = i / n * n;
                    paro_ref_norm_f64(wide_x + row, wide_weight, 1, n, epsilon, y);
                    for (size_t k = 0; k < n; k++)
                        sum += sign * y[k] * wide_d[row + k];
                }
                wide_x[i] = kept;
                expected[i] = sum / (2 * h);
            }
            float *dx = kind == 0 ? found : kind == 1 ? x : kind == 2 ? d : add;
            ops->norm_backward(x, weight, d, n_rows, n, epsilon, kind == 0 ? NULL : add, dx);
            expect_near(dx, expected, n_rows * n, 2e-6);
        }
}

static void smooth_l1(const paro_train_ops *ops)
{
    static float y[MAX], target[MAX], dy[MAX + 1];
    static double wide_y[MAX], wide_target[MAX], expected[MAX];
    for (size_t n = 1; n <= MAX; n = n < 20 ? n + 1 : 3 * n) {
        double sum = 0;
        normals(n, 1, n, y, wide_y);
        normals(n + 1, 1, n, target, wide_target);
        for (size_t i = 0; i < n; i++) {
            double d = wide_y[i] - wide_target[i];
            sum += fabs(d) < 1 ? 0.5 * d * d : fabs(d) - 0.5;
            expected[i] = 0.5 * (d > 1 ? 1 : d < -1 ? -1 : d);
        }
        dy[n] = 7;
        assert_true(fabs(ops->smooth_l1(y, target, n, 0.5f, dy) - sum) < 1e-6 * sum);
        expect_near(dy, expected, n, 3e-7);
        assert_true(dy[n] == 7);
        assert_true(fabs(ops->smooth_l1(y, target, n, 0.5f, NULL) - sum) < 1e-6 * sum);
    }
    const float far[] = {INFINITY, -INFINITY, 1, -1}, zeros[] = {0, 0, 0, 0};
    assert_true(isinf(ops->smooth_l1(far, zeros, 1, 1, dy)) && dy[0] == 1);
    assert_true(ops->smooth_l1(far + 1, zeros, 1, 1, dy) == INFINITY && dy[0] == -1);
    assert_true(ops->smooth_l1(far + 2, zeros, 2, 1, dy) == 1);
}

static void every_table(void **state)
{
    (void)state;
    const paro_train_ops *ops;
    for (size_t n = 0; (ops = paro_train_ops_get(n)); n++) {
        print_message("%s\n", ops->name);
        softmax(ops);
        swiglu(ops);
        norm_backward(ops);
        smooth_l1(ops);
    }
}

static void tables(void **state)
{
    (void)state;
    size_t n = 0;
    while (paro_train_ops_get(n) != NULL)
        n++;
    assert_true(n >= 1);
    assert_ptr_equal(paro_train_ops_get(n - 1), paro_train_ops_generic());
    assert_ptr_equal(paro_train_ops_best(), paro_train_ops_get(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables),
        cmocka_unit_test(every_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
