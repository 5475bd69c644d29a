/* SPDX-License-Identifier: MIT
 *
 * Tests of cpu/cpu_kernels*.c: each function of every table this machine can run.
 */
#include "tests/linear_fixture.h"

static void tables(void **state)
{
    (void)state;
    const paro_cpu_kernels *kernels;
    size_t n = 0;
    for (; (kernels = paro_cpu_kernels_get(n)); n++)
        assert_ptr_equal(paro_cpu_kernels_find(kernels->name), kernels);
    assert_true(n >= 1);
    assert_ptr_equal(paro_cpu_kernels_get(n - 1), paro_cpu_kernels_generic());
    assert_ptr_equal(paro_cpu_kernels_best(), paro_cpu_kernels_get(0));
    assert_string_equal(paro_cpu_isa(), paro_cpu_kernels_best()->name);
    assert_null(paro_cpu_kernels_find("no such set"));
}

/* Every bit pattern of both 16-bit types, at odd lengths. */
static void convert(const paro_cpu_kernels *kernels)
{
    enum { N = 65536 };
    uint16_t *bits = fixture_alloc(N * sizeof *bits);
    float *found = fixture_alloc((N + 1) * sizeof *found);
    for (size_t i = 0; i < N; i++)
        bits[i] = (uint16_t)i;
    for (int half = 0; half < 2; half++)
        for (size_t n = N - 37; n <= N; n += 37) {
            found[n] = 5;
            kernels->convert(found, bits, half ? PARO_DTYPE_F16 : PARO_DTYPE_BF16, n);
            for (size_t i = 0; i < n; i++) {
                float expected =
                    half ? paro_f32_from_f16((uint16_t)i) : paro_f32_from_bf16((uint16_t)i);
                if (isnan(expected))
                    assert_true(isnan(found[i]));
                else
                    assert_memory_equal(&found[i], &expected, sizeof expected);
            }
            assert_true(found[n] == 5);
        }
    float source[41], copy[42];
    for (size_t i = 0; i < 41; i++)
        source[i] = (float)i;
    copy[41] = 5;
    kernels->convert(copy, source, PARO_DTYPE_F32, 41);
    assert_memory_equal(copy, source, sizeof source);
    assert_true(copy[41] == 5);
    free(bits);
    free(found);
}

/* Writes its rows and nothing else, with a stride. */
static void dot(const paro_cpu_kernels *kernels)
{
    enum { STRIDE = 13, M = 2 };
    for (uint32_t n_rows = 1; n_rows <= 9; n_rows++)
        for (uint32_t n = 1; n <= 70; n += 3) {
            fixture f;
            fixture_dense(&f, PARO_DTYPE_F16, n, n_rows, n);
            float *x = fixture_normals(&f.rng, (size_t)M * n);
            double *expected = fixture_expected(&f, x, M);
            float y[M * STRIDE];
            for (size_t i = 0; i < M * STRIDE; i++)
                y[i] = 5;
            kernels->dot(f.weight.data, PARO_DTYPE_F16, n_rows, n, x, M, y, STRIDE);
            for (size_t i = 0; i < M; i++)
                for (size_t row = 0; row < STRIDE; row++) {
                    float found = y[i * STRIDE + row];
                    if (row < n_rows)
                        assert_true(fabs(found - expected[i * n_rows + row]) < 1e-5);
                    else
                        assert_true(found == 5);
                }
            free(x);
            free(expected);
            fixture_free(&f);
        }
}

/* A panel in lane order, put back in column order, is the dequantised weight; exactly: one product
 * of small integers and a half is exact in fp32. */
static void panels(const paro_cpu_kernels *kernels)
{
    fixture f;
    fixture_w4(&f, 96, 328, 32, 0, 3);
    assert_int_equal(paro_linear_prepare(NULL, &f.linear), PARO_STATUS_OK);
    const paro_w4 *w = &atomic_load(&f.linear.tables)->w4;
    for (size_t n_words = 1; n_words <= 40; n_words += 13)
        for (size_t first_row = 0; first_row < 90; first_row += 29) {
            size_t n_rows = 96 - first_row < 50 ? 96 - first_row : 50;
            size_t padded = paro_cpu_padded_columns(kernels, n_words);
            float *panel = fixture_alloc(n_rows * padded * sizeof *panel);
            float *columns = fixture_alloc(8 * n_words * sizeof *columns);
            kernels->w4_panel(w, 1, n_words, first_row, n_rows, panel);
            for (size_t row = 0; row < n_rows; row++) {
                kernels->w4_columns(panel + row * padded, n_words, columns);
                for (size_t column = 0; column < 8 * n_words; column++)
                    assert_true(columns[column] == f.w[(8 + column) * 96 + first_row + row]);
            }
            free(panel);
            free(columns);
        }
    fixture_free(&f);
}

/* Words from the middle of a row write their own columns only. */
static void w4_dot(const paro_cpu_kernels *kernels)
{
    enum { N_IN = 96, N_OUT = 1208, M = 2 };
    fixture f;
    fixture_w4(&f, N_IN, N_OUT, 48, 0, 3);
    assert_int_equal(paro_linear_prepare(NULL, &f.linear), PARO_STATUS_OK);
    const paro_w4 *w = &atomic_load(&f.linear.tables)->w4;
    float *x = fixture_normals(&f.rng, (size_t)M * N_IN);
    double *expected = fixture_expected(&f, x, M);
    float sums[M * 2] = {0};
    for (size_t i = 0; i < (size_t)M * N_IN; i++)
        sums[i / 48] += x[i];
    float *y = fixture_alloc(M * N_OUT * sizeof *y);
    for (size_t n_words = 1; n_words < 150; n_words = 2 * n_words + 3) {
        float *scratch =
            fixture_alloc(2 * M * paro_cpu_padded_columns(kernels, n_words) * sizeof *scratch);
        for (size_t i = 0; i < (size_t)M * N_OUT; i++)
            y[i] = 50;
        kernels->w4_dot(w, 2, n_words, x, M, sums, scratch, y);
        for (size_t i = 0; i < (size_t)M * N_OUT; i++) {
            size_t column = i % N_OUT;
            if (column >= 16 && column < 16 + 8 * n_words)
                assert_true(fabs(y[i] - expected[i]) < 1e-4);
            else
                assert_true(y[i] == 50);
        }
        free(scratch);
    }
    free(x);
    free(expected);
    free(y);
    fixture_free(&f);
}

static void softmax_parts(const paro_cpu_kernels *kernels)
{
    paro_rng rng;
    paro_rng_seed(&rng, 8);
    for (size_t n = 0; n < 70; n++)
        for (size_t head_dim = 2; head_dim < 150; head_dim += 31) {
            float *q = fixture_normals(&rng, head_dim);
            float *keys = fixture_normals(&rng, n * head_dim);
            float *scores = fixture_alloc((n + 1) * sizeof *scores);
            float *out = fixture_alloc((head_dim + 1) * sizeof *out);
            scores[n] = out[head_dim] = 5;
            kernels->scores(q, keys, n, head_dim, 0.25f, scores);
            double sum = 0;
            float max = 0;
            for (size_t i = 0; i < n; i++) {
                double score = 0;
                for (size_t c = 0; c < head_dim; c++)
                    score += 0.25 * q[c] * keys[i * head_dim + c];
                assert_true(fabs(scores[i] - score) < 1e-5);
                sum += exp((double)scores[i] - 20);
                max = fmaxf(max, scores[i]);
            }
            assert_true(max < 20);
            double found = kernels->exponentials(scores, n, 20);
            assert_true(fabs(found - sum) <= 2e-6 * sum);
            kernels->weighted(scores, keys, n, head_dim, out);
            for (size_t c = 0; c < head_dim; c++) {
                double value = 0, size = 0;
                for (size_t i = 0; i < n; i++) {
                    value += (double)scores[i] * keys[i * head_dim + c];
                    size += fabs((double)scores[i] * keys[i * head_dim + c]);
                }
                assert_true(fabs(out[c] - value) <= 1e-5 * size);
            }
            assert_true(scores[n] == 5 && out[head_dim] == 5);
            free(q);
            free(keys);
            free(scores);
            free(out);
        }
}

static void every_table(void **state)
{
    (void)state;
    const paro_cpu_kernels *kernels;
    for (size_t n = 0; (kernels = paro_cpu_kernels_get(n)); n++) {
        print_message("%s\n", kernels->name);
        convert(kernels);
        dot(kernels);
        panels(kernels);
        w4_dot(kernels);
        softmax_parts(kernels);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables),
        cmocka_unit_test(every_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
