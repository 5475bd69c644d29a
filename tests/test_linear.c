/* SPDX-License-Identifier: MIT
 *
 * Tests of cpu/linear.c: every way through it against fp64, on every instruction set here.
 */
#include "tests/linear_fixture.h"

/* Rows of x on both sides of where the ways part, and odd ones. */
static const size_t row_counts[] = {1, 2, 3, 4, 5, 16, 17, 33, 70};
enum { N_ROW_COUNTS = sizeof row_counts / sizeof *row_counts };

/* fp32 sums of up to some thousand products; bf16 or int8 activations would give 1e-3. */
static const double tolerance = 1e-6;

static void expect_right(fixture *f)
{
    for (size_t i = 0; i < N_ROW_COUNTS; i++) {
        size_t m = row_counts[i], n_out = f->linear.n_out;
        float *x = fixture_normals(&f->rng, m * f->linear.n_in);
        double *expected = fixture_expected(f, x, m);
        float *y = fixture_alloc(m * n_out * sizeof *y);
        const paro_cpu_kernels *kernels;
        for (size_t n = 0; (kernels = paro_cpu_kernels_get(n)); n++) {
            for (size_t j = 0; j < m * n_out; j++)
                y[j] = NAN; /* whatever stood there must not matter */
            paro_error err;
            assert_int_equal(paro_linear_forward_with(&err, &f->linear, NULL, kernels, x, m, y),
                             PARO_STATUS_OK);
            double error = fixture_error(y, expected, m * n_out);
            if (!(error < tolerance))
                fail_msg("%s, %zu rows, %u -> %u: error %g", kernels->name, m, f->linear.n_in,
                         f->linear.n_out, error);
        }
        free(x);
        free(expected);
        free(y);
    }
}

static void dense_is_right(void **state)
{
    (void)state;
    static const paro_dtype dtypes[] = {PARO_DTYPE_F32, PARO_DTYPE_F16, PARO_DTYPE_BF16};
    static const uint32_t shapes[][2] = {{1, 1},    {7, 3},     {16, 5},     {33, 64},
                                         {64, 257}, {1030, 70}, {2100, 300}, {511, 129}};
    for (size_t d = 0; d < 3; d++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            fixture f;
            fixture_dense(&f, dtypes[d], shapes[s][0], shapes[s][1], 100 + s);
            if (s % 2)
                fixture_bias(&f, dtypes[(d + s) % 3]);
            expect_right(&f);
            fixture_free(&f);
        }
}

static void w4_is_right(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_in, n_out, group_size, krot;
    } cases[] = {
        {128, 128, 128, 0}, {128, 8, 128, 8},    {256, 136, 64, 8},   {96, 264, 32, 3},
        {512, 520, 256, 1}, {1152, 384, 128, 8}, {36, 1000, 12, 2},   {2, 8, 2, 1},
        {35, 24, 7, 0},     {2048, 72, 128, 8},  {1408, 512, 128, 0}, {130, 2312, 130, 4},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        fixture f;
        fixture_w4(&f, cases[c].n_in, cases[c].n_out, cases[c].group_size, cases[c].krot, 200 + c);
        if (c % 2)
            fixture_bias(&f, PARO_DTYPE_F16);
        expect_right(&f);
        fixture_free(&f);
    }
}

/* A ParoQuant file may say krot 0 and still scale channels. */
static void scales_without_turns(void **state)
{
    (void)state;
    fixture f;
    fixture_w4(&f, 256, 64, 128, 2, 9);
    f.linear.krot = 0;
    f.linear.theta = NULL;
    f.linear.pairs = NULL;
    expect_right(&f);
    fixture_free(&f);
}

/* Codes and zeros at their ends, where what is left in place of a nibble would show. */
static void extreme_codes(void **state)
{
    (void)state;
    static const unsigned char fills[][2] = {{0x00, 0xFF}, {0xFF, 0x00}, {0xF0, 0x0F}};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        fixture_w4(&f, 128, 256, 128, 0, 10);
        memset(fixture_bytes(&f.qweight), fills[i][0], f.qweight.n_bytes);
        memset(fixture_bytes(&f.qzeros), fills[i][1], f.qzeros.n_bytes);
        for (size_t row = 0; row < 256; row++)
            for (size_t k = 0; k < 128; k++) {
                static const unsigned char order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
                unsigned nibble = 0;
                while (order[nibble] != row % 8)
                    nibble++;
                int shift = nibble % 2 ? 4 : 0;
                f.w[row * 128 + k] = ((fills[i][0] >> shift & 15) - (fills[i][1] >> shift & 15)) *
                                     fixture_get(&f.scales, row);
            }
        expect_right(&f);
        fixture_free(&f);
    }
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        fixture f;
        if (kind < 3)
            fixture_dense(&f, (paro_dtype[]){PARO_DTYPE_F32, PARO_DTYPE_F16, PARO_DTYPE_BF16}[kind],
                          600, 1000, 5);
        else
            fixture_w4(&f, 1024, 1416, 128, 8, 6);
        fixture_bias(&f, PARO_DTYPE_F32);
        for (size_t i = 0; i < N_ROW_COUNTS; i++) {
            size_t m = row_counts[i], n = m * f.linear.n_out;
            float *x = fixture_normals(&f.rng, m * f.linear.n_in);
            float *first = fixture_alloc(n * sizeof *first);
            float *y = fixture_alloc(n * sizeof *y);
            const paro_cpu_kernels *kernels;
            for (size_t k = 0; (kernels = paro_cpu_kernels_get(k)); k++)
                for (int n_threads = 1; n_threads <= 3; n_threads++) {
                    paro_pool *pool = NULL;
                    assert_int_equal(paro_pool_new(NULL, n_threads, &pool), PARO_STATUS_OK);
                    assert_int_equal(paro_linear_forward_with(NULL, &f.linear, pool, kernels, x, m,
                                                              n_threads == 1 ? first : y),
                                     PARO_STATUS_OK);
                    if (n_threads > 1)
                        assert_memory_equal(first, y, n * sizeof *y);
                    paro_pool_free(pool);
                }
            free(x);
            free(first);
            free(y);
        }
        fixture_free(&f);
    }
}

/* Up to few_rows rows, a row's result is the same alone and in company: decoding several texts at
 * once changes none of them. */
static void company_does_not_matter(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        fixture f;
        if (kind == 0)
            fixture_dense(&f, PARO_DTYPE_BF16, 300, 90, 7);
        else
            fixture_w4(&f, 256, 392, 128, 8, 8);
        size_t n_in = f.linear.n_in, n_out = f.linear.n_out;
        float *x = fixture_normals(&f.rng, 3 * n_in);
        float *together = fixture_alloc(3 * n_out * sizeof *together);
        float *alone = fixture_alloc(n_out * sizeof *alone);
        assert_int_equal(paro_linear_forward(NULL, &f.linear, NULL, x, 3, together),
                         PARO_STATUS_OK);
        for (size_t row = 0; row < 3; row++) {
            assert_int_equal(paro_linear_forward(NULL, &f.linear, NULL, x + row * n_in, 1, alone),
                             PARO_STATUS_OK);
            assert_memory_equal(alone, together + row * n_out, n_out * sizeof *alone);
        }
        free(x);
        free(together);
        free(alone);
        fixture_free(&f);
    }
}

static void no_rows(void **state)
{
    (void)state;
    fixture f;
    fixture_dense(&f, PARO_DTYPE_F32, 8, 8, 1);
    float x = 0, y = 3;
    assert_int_equal(paro_linear_forward(NULL, &f.linear, NULL, &x, 0, &y), PARO_STATUS_OK);
    assert_true(y == 3);
    fixture_free(&f);
}

static void failure_leaves_output(void **state)
{
    (void)state;
    fixture f;
    fixture_w4(&f, 128, 8, 128, 8, 1);
    fixture_set(&f.channel_scales, 5, 0);
    float *x = fixture_normals(&f.rng, 128);
    float y[8] = {1, 2, 3, 4, 5, 6, 7, 8}, before[8];
    memcpy(before, y, sizeof y);
    paro_error err;
    assert_int_equal(paro_linear_forward(&err, &f.linear, NULL, x, 1, y), PARO_STATUS_FORMAT);
    assert_non_null(strstr(err.message, "layer.channel_scales: channel 5"));
    assert_memory_equal(before, y, sizeof y);
    free(x);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_is_right),
        cmocka_unit_test(w4_is_right),
        cmocka_unit_test(scales_without_turns),
        cmocka_unit_test(extreme_codes),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(company_does_not_matter),
        cmocka_unit_test(no_rows),
        cmocka_unit_test(failure_leaves_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
