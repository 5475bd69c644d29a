/* SPDX-License-Identifier: MIT
 *
 * Tests of cpu/linear_weight.c: the effective weight gives what the layer gives.
 */
#include "tests/linear_fixture.h"

static void expect_weight(fixture *f)
{
    enum { M = 5 };
    size_t n_in = f->linear.n_in, n_out = f->linear.n_out;
    float *w = fixture_alloc(n_in * n_out * sizeof *w);
    double *wide = fixture_alloc(n_in * n_out * sizeof *wide);
    float *x = fixture_normals(&f->rng, M * n_in);
    double *wide_x = fixture_alloc(M * n_in * sizeof *wide_x);
    double *y = fixture_alloc(M * n_out * sizeof *y);
    double *expected = fixture_expected(f, x, M);
    paro_pool *pool = NULL;
    assert_int_equal(paro_pool_new(NULL, 2, &pool), PARO_STATUS_OK);
    assert_int_equal(paro_linear_weight(NULL, &f->linear, pool, w), PARO_STATUS_OK);
    for (size_t i = 0; i < n_in * n_out; i++)
        wide[i] = w[i];
    for (size_t i = 0; i < M * n_in; i++)
        wide_x[i] = x[i];
    paro_ref_linear_f64(wide_x, wide, f->bias_values, M, n_in, n_out, y);
    double difference = 0, size = 0;
    for (size_t i = 0; i < M * n_out; i++) {
        difference += (y[i] - expected[i]) * (y[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    assert_true(sqrt(difference / size) < 1e-6);
    if (f->linear.kind == PARO_LINEAR_KIND_DENSE)
        for (size_t i = 0; i < n_in * n_out; i++)
            assert_true(wide[i] == f->w[i]);
    paro_pool_free(pool);
    free(w);
    free(wide);
    free(x);
    free(wide_x);
    free(y);
    free(expected);
}

static void dense(void **state)
{
    (void)state;
    static const paro_dtype dtypes[] = {PARO_DTYPE_F32, PARO_DTYPE_F16, PARO_DTYPE_BF16};
    for (size_t d = 0; d < 3; d++) {
        fixture f;
        fixture_dense(&f, dtypes[d], 77, 33, d);
        expect_weight(&f);
        fixture_free(&f);
    }
}

static void w4(void **state)
{
    (void)state;
    static const uint32_t cases[][4] = {
        {128, 128, 128, 0}, {256, 136, 64, 8}, {96, 264, 32, 3}, {36, 1000, 12, 2}, {2, 8, 2, 1},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        fixture f;
        fixture_w4(&f, cases[c][0], cases[c][1], cases[c][2], cases[c][3], c);
        expect_weight(&f);
        fixture_free(&f);
    }
}

static void failure_leaves_output(void **state)
{
    (void)state;
    fixture f;
    fixture_w4(&f, 2, 8, 2, 1, 1);
    fixture_set(&f.theta, 0, INFINITY);
    float w[16] = {7};
    paro_error err;
    assert_int_equal(paro_linear_weight(&err, &f.linear, NULL, w), PARO_STATUS_FORMAT);
    assert_non_null(strstr(err.message, "layer.theta: round 0"));
    assert_true(w[0] == 7 && w[15] == 0);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense),
        cmocka_unit_test(w4),
        cmocka_unit_test(failure_leaves_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
