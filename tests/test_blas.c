/* SPDX-License-Identifier: MIT
 *
 * Tests of cpu/blas.c: the arguments mean what the header says.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cpu/blas.h"

enum { M = 5, N = 7, K = 9, A_STRIDE = 11, B_STRIDE = 13, C_STRIDE = 12 };

static void products(void **state)
{
    (void)state;
    paro_rng rng;
    paro_rng_seed(&rng, 1);
    float a[M * A_STRIDE], b[16 * B_STRIDE], before[M * C_STRIDE], c[M * C_STRIDE];
    for (size_t i = 0; i < sizeof a / sizeof *a; i++)
        a[i] = paro_rng_normal(&rng);
    for (size_t i = 0; i < sizeof b / sizeof *b; i++)
        b[i] = paro_rng_normal(&rng);
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        before[i] = paro_rng_normal(&rng);
    for (int transposed = 0; transposed < 2; transposed++)
        for (int keep = 0; keep < 2; keep++) {
            for (size_t i = 0; i < sizeof c / sizeof *c; i++)
                c[i] = keep || i % C_STRIDE >= N ? before[i] : NAN; /* keep 0 reads nothing */
            (transposed ? paro_blas_product_transposed : paro_blas_product)(
                M, N, K, 0.5f, a, A_STRIDE, b, B_STRIDE, (float)keep, c, C_STRIDE);
            for (size_t i = 0; i < M; i++)
                for (size_t j = 0; j < C_STRIDE; j++) {
                    double sum = keep ? before[i * C_STRIDE + j] : 0;
                    for (size_t k = 0; k < K; k++)
                        sum += 0.5 * a[i * A_STRIDE + k] *
                               b[transposed ? j * B_STRIDE + k : k * B_STRIDE + j];
                    float found = c[i * C_STRIDE + j];
                    if (j < N)
                        assert_true(fabs(found - sum) < 1e-5);
                    else
                        assert_true(found == before[i * C_STRIDE + j]);
                }
        }
}

static void outer_product(void **state)
{
    (void)state;
    paro_rng rng;
    paro_rng_seed(&rng, 2);
    float a[K * A_STRIDE], b[K * B_STRIDE], before[M * C_STRIDE], c[M * C_STRIDE];
    for (size_t i = 0; i < sizeof a / sizeof *a; i++)
        a[i] = paro_rng_normal(&rng);
    for (size_t i = 0; i < sizeof b / sizeof *b; i++)
        b[i] = paro_rng_normal(&rng);
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        before[i] = paro_rng_normal(&rng);
    for (int keep = 0; keep < 2; keep++) {
        for (size_t i = 0; i < sizeof c / sizeof *c; i++)
            c[i] = keep || i % C_STRIDE >= N ? before[i] : NAN;
        paro_blas_product_outer(M, N, K, 0.5f, a, A_STRIDE, b, B_STRIDE, (float)keep, c, C_STRIDE);
        for (size_t i = 0; i < M; i++)
            for (size_t j = 0; j < C_STRIDE; j++) {
                double sum = keep ? before[i * C_STRIDE + j] : 0;
                for (size_t k = 0; k < K; k++)
                    sum += 0.5 * a[k * A_STRIDE + i] * b[k * B_STRIDE + j];
                if (j < N)
                    assert_true(fabs(c[i * C_STRIDE + j] - sum) < 1e-5);
                else
                    assert_true(c[i * C_STRIDE + j] == before[i * C_STRIDE + j]);
            }
    }
}

static void product_f64(void **state)
{
    (void)state;
    paro_rng rng;
    paro_rng_seed(&rng, 3);
    double a[M * A_STRIDE], b[16 * B_STRIDE], before[M * C_STRIDE], c[M * C_STRIDE];
    for (size_t i = 0; i < sizeof a / sizeof *a; i++)
        a[i] = (double)paro_rng_normal(&rng);
    for (size_t i = 0; i < sizeof b / sizeof *b; i++)
        b[i] = (double)paro_rng_normal(&rng);
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        before[i] = (double)paro_rng_normal(&rng);
    for (int keep = 0; keep < 2; keep++) {
        for (size_t i = 0; i < sizeof c / sizeof *c; i++)
            c[i] = keep || i % C_STRIDE >= N ? before[i] : (double)NAN;
        paro_blas_product_transposed_f64(M, N, K, 0.5, a, A_STRIDE, b, B_STRIDE, keep, c, C_STRIDE);
        for (size_t i = 0; i < M; i++)
            for (size_t j = 0; j < C_STRIDE; j++) {
                double sum = keep ? before[i * C_STRIDE + j] : 0;
                for (size_t k = 0; k < K; k++)
                    sum += 0.5 * a[i * A_STRIDE + k] * b[j * B_STRIDE + k];
                if (j < N)
                    assert_true(fabs(c[i * C_STRIDE + j] - sum) < 1e-13);
                else
                    assert_true(c[i * C_STRIDE + j] == before[i * C_STRIDE + j]);
            }
    }
}

/* More rows than one call of OpenBLAS takes: their sum goes on. */
static void long_outer_product(void **state)
{
    (void)state;
    enum { ROWS = (1 << 20) + 3 };
    float *ones = malloc(ROWS * sizeof *ones), c = 5;
    assert_non_null(ones);
    for (size_t i = 0; i < ROWS; i++)
        ones[i] = 1;
    paro_blas_product_outer(1, 1, ROWS, 0.5f, ones, 1, ones, 1, 0, &c, 1);
    assert_true(c == ROWS / 2.0f);
    free(ones);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),
        cmocka_unit_test(outer_product),
        cmocka_unit_test(long_outer_product),
        cmocka_unit_test(product_f64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
