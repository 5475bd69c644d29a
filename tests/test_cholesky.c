/* SPDX-License-Identifier: MIT
 *
 * Cholesky factors: their products against the matrix, sizes around those of blocks, threads, and
 * matrices that have none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "calib/cholesky.h"
#include "tests/support.h"

/* B B^T + I / 10 with B [n, n] normal. */
static double *positive_definite(size_t n)
{
    paro_rng rng;
    paro_rng_seed(&rng, n);
    double *b = malloc(n * n * sizeof *b);
    double *matrix = malloc(n * n * sizeof *matrix);
    assert_true(b != NULL && matrix != NULL);
    for (size_t i = 0; i < n * n; i++)
        b[i] = (double)paro_rng_normal(&rng);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = i == j ? 0.1 : 0;
            for (size_t k = 0; k < n; k++)
                sum += b[i * n + k] * b[j * n + k];
            matrix[i * n + j] = sum;
        }
    }
    free(b);
    return matrix;
}

static void test_product_is_matrix(void **state)
{
    (void)state;
    paro_error err;
    static const size_t sizes[] = {1, 2, 31, 127, 128, 129, 256, 300};
    paro_pool *pool = NULL;
    assert_ok(paro_pool_new(&err, 2, &pool));
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        double *matrix = positive_definite(n), *factor = positive_definite(n),
               *alone = positive_definite(n);
        for (size_t i = 0; i < n; i++) /* not read */
            for (size_t j = 0; j < i; j++)
                factor[i * n + j] = alone[i * n + j] = NAN;
        assert_ok(paro_cholesky_upper(&err, pool, factor, n));
        assert_ok(paro_cholesky_upper(&err, NULL, alone, n));
        for (size_t i = 0; i < n; i++) {
            assert_true(factor[i * n + i] > 0);
            assert_memory_equal(factor + i * n + i, alone + i * n + i, (n - i) * sizeof *factor);
            for (size_t j = i; j < n; j++) {
                double sum = 0;
                for (size_t k = j; k < n; k++)
                    sum += factor[i * n + k] * factor[j * n + k];
                assert_true(fabs(sum - matrix[i * n + j]) < 1e-12 * (double)n * (double)n);
            }
        }
        free(matrix);
        free(factor);
        free(alone);
    }
    paro_pool_free(pool);
}

static void test_identity_is_exact(void **state)
{
    (void)state;
    paro_error err;
    enum { N = 200 };
    double *matrix = calloc((size_t)N * N, sizeof *matrix);
    assert_non_null(matrix);
    for (size_t i = 0; i < N; i++)
        matrix[i * N + i] = 4;
    assert_ok(paro_cholesky_upper(&err, NULL, matrix, N));
    for (size_t i = 0; i < N; i++)
        for (size_t j = i; j < N; j++)
            assert_true(matrix[i * N + j] == (i == j ? 2 : 0));
    free(matrix);
}

static void test_not_positive_definite(void **state)
{
    (void)state;
    paro_error err;
    enum { N = 150 };
    double *matrix = positive_definite(N);
    matrix[141 * N + 141] = -3;
    assert_fails(paro_cholesky_upper(&err, NULL, matrix, N), PARO_STATUS_UNSUPPORTED,
                 "row 141 of 150: expected a positive pivot, found -");
    free(matrix);
    matrix = positive_definite(N);
    matrix[3 * N + 149] = NAN;
    assert_fails(paro_cholesky_upper(&err, NULL, matrix, N), PARO_STATUS_UNSUPPORTED,
                 "row 3 of 150: expected a positive pivot, found ");
    free(matrix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product_is_matrix),
        cmocka_unit_test(test_identity_is_exact),
        cmocka_unit_test(test_not_positive_definite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
