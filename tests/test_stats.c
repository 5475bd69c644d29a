/* SPDX-License-Identifier: MIT
 *
 * calib/stats.c against definitions written out in fp64.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/rng.h"
#include "calib/stats.h"
#include "tests/support.h"

enum { N_ROWS = 501, N_CHANNELS = 70 };

/* Normal values; some channels wide, some far from 0, some of few large values, one constant. */
static float *make_values(void)
{
    paro_rng rng;
    float *values = malloc(N_ROWS * N_CHANNELS * sizeof *values);
    assert_non_null(values);
    paro_rng_seed(&rng, 9);
    for (size_t r = 0; r < N_ROWS; r++) {
        for (size_t c = 0; c < N_CHANNELS; c++) {
            float v = paro_rng_normal(&rng);
            if (c % 17 == 3)
                v *= 30;
            if (c % 19 == 4)
                v += 1000;
            if (c % 23 == 5 && paro_rng_below(&rng, 50) == 0)
                v *= 400;
            values[r * N_CHANNELS + c] = c == 40 ? -2.5F : v;
        }
    }
    return values;
}

/* The kurtosis of the finite ones of n values, `stride` apart; 0 where they do not vary. */
static double kurtosis_of(const float *values, size_t n, size_t stride)
{
    double mean = 0, m2 = 0, m4 = 0, n_finite = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i * stride]))
            continue;
        mean += (double)values[i * stride];
        n_finite++;
    }
    mean /= n_finite;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)values[i * stride] - mean;
        m2 += isfinite(values[i * stride]) ? d * d : 0;
        m4 += isfinite(values[i * stride]) ? d * d * d * d : 0;
    }
    return m2 > 0 ? n_finite * m4 / (m2 * m2) : 0;
}

static void refer(const float *values, paro_stats_summary *s, float mean_abs[N_CHANNELS])
{
    double squares = 0;
    size_t n_varying = 0;
    *s = (paro_stats_summary){.min = INFINITY, .max = -INFINITY};
    for (size_t i = 0; i < N_ROWS * N_CHANNELS; i++) {
        const double v = (double)values[i];
        s->n_not_finite += !isfinite(v);
        if (!isfinite(v))
            continue;
        s->n_values++;
        s->min = fmin(s->min, v);
        s->max = fmax(s->max, v);
        s->mean += v;
        squares += v * v;
    }
    s->mean /= (double)s->n_values;
    s->rms = sqrt(squares / (double)s->n_values);
    s->kurtosis = kurtosis_of(values, N_ROWS * N_CHANNELS, 1);
    for (size_t i = 0; i < N_ROWS * N_CHANNELS; i++)
        s->outliers += isfinite(values[i]) && fabs((double)values[i]) > 6 * s->rms;
    s->outliers /= (double)s->n_values;
    for (size_t c = 0; c < N_CHANNELS; c++) {
        const double k = kurtosis_of(values + c, N_ROWS, N_CHANNELS);
        double sum = 0;
        size_t n = 0;
        for (size_t r = 0; r < N_ROWS; r++) {
            const float v = values[r * N_CHANNELS + c];
            sum += isfinite(v) ? fabs((double)v) : 0;
            n += isfinite(v);
        }
        mean_abs[c] = n == 0 ? 0 : (float)(sum / (double)n);
        n_varying += k > 0;
        s->kurtosis_mean += k;
        if (k > s->kurtosis_max) {
            s->kurtosis_max = k;
            s->kurtosis_where = c;
        }
    }
    s->kurtosis_mean /= (double)n_varying;
}

static void assert_near(double found, double expected, double relative)
{
    if (!(fabs(found - expected) <= relative * fabs(expected)))
        fail_msg("expected %.12g within %g, found %.12g", expected, relative, found);
}

static void assert_matches(const float *values, const paro_stats *stats)
{
    paro_stats_summary found, expected;
    float abs_found[N_CHANNELS], abs_expected[N_CHANNELS];
    refer(values, &expected, abs_expected);
    paro_stats_summarise(stats, &found);
    paro_stats_mean_abs(stats, abs_found);
    assert_int_equal(found.n_values, expected.n_values);
    assert_int_equal(found.n_not_finite, expected.n_not_finite);
    assert_true(found.min == expected.min && found.max == expected.max);
    assert_near(found.mean, expected.mean, 1e-10);
    assert_near(found.rms, expected.rms, 1e-12);
    assert_near(found.kurtosis, expected.kurtosis, 1e-9);
    assert_near(found.kurtosis_mean, expected.kurtosis_mean, 1e-9);
    assert_near(found.kurtosis_max, expected.kurtosis_max, 1e-9);
    assert_int_equal(found.kurtosis_where, expected.kurtosis_where);
    assert_near(found.outliers, expected.outliers, 0); /* none so near to 6 rms as to be rounded */
    assert_true(found.outliers > 0);
    for (size_t c = 0; c < N_CHANNELS; c++)
        assert_near((double)abs_found[c], (double)abs_expected[c], 1e-7);
}

static paro_stats *new_stats(paro_pool *pool, size_t n_channels)
{
    paro_error err;
    paro_stats *stats = NULL;
    assert_ok(paro_stats_new(&err, pool, n_channels, &stats));
    return stats;
}

static void test_definitions(void **state)
{
    (void)state;
    float *values = make_values();
    for (size_t c = 4; c < N_CHANNELS; c += 19) /* the reference is worse off, far from 0 */
        for (size_t r = 0; r < N_ROWS; r++)
            values[r * N_CHANNELS + c] -= 990;
    paro_stats *stats = new_stats(NULL, N_CHANNELS);
    paro_stats_add(stats, values, N_ROWS);
    assert_matches(values, stats);
    paro_stats_free(stats);
    paro_stats_free(NULL);

    /* From the first row on, and in all of a channel. */
    values[0] = NAN;
    values[N_CHANNELS] = -INFINITY;
    values[20 * N_CHANNELS + 33] = INFINITY;
    for (size_t r = 0; r < N_ROWS; r++)
        values[r * N_CHANNELS + 69] = NAN;
    stats = new_stats(NULL, N_CHANNELS);
    paro_stats_add(stats, values, N_ROWS);
    assert_matches(values, stats);
    paro_stats_free(stats);
    free(values);
}

/* Rows in parts, and two threads: the same to the last bit. */
static void test_parts_and_threads(void **state)
{
    (void)state;
    paro_error err;
    paro_pool *pool = NULL;
    paro_stats_summary one = {0}, two = {0};
    float abs_one[N_CHANNELS], abs_two[N_CHANNELS];
    float *values = make_values();
    assert_ok(paro_pool_new(&err, 2, &pool));
    paro_stats *whole = new_stats(NULL, N_CHANNELS), *parts = new_stats(pool, N_CHANNELS);
    paro_stats_add(whole, values, N_ROWS);
    paro_stats_add(parts, values, 1);
    paro_stats_add(parts, values + N_CHANNELS, 0);
    paro_stats_add(parts, values + N_CHANNELS, 300);
    paro_stats_add(parts, values + 301 * N_CHANNELS, N_ROWS - 301);
    paro_stats_summarise(whole, &one);
    paro_stats_summarise(parts, &two);
    paro_stats_mean_abs(whole, abs_one);
    paro_stats_mean_abs(parts, abs_two);
    assert_memory_equal(&one, &two, sizeof one);
    assert_memory_equal(abs_one, abs_two, sizeof abs_one);
    paro_stats_free(whole);
    paro_stats_free(parts);
    paro_pool_free(pool);
    free(values);
}

/* Known values, and a mean a million times the spread. */
static void test_known(void **state)
{
    (void)state;
    static const float two[] = {-1, 7, 1, 7, -1, 7, 1, 7}; /* two channels */
    paro_stats_summary s;
    float mean_abs[2];
    paro_stats *stats = new_stats(NULL, 2);
    paro_stats_add(stats, two, 4);
    paro_stats_summarise(stats, &s);
    paro_stats_mean_abs(stats, mean_abs);
    assert_true(s.min == -1 && s.max == 7 && s.mean == 3.5 && s.rms == 5 && s.outliers == 0);
    assert_true(s.kurtosis_mean == 1 && s.kurtosis_max == 1 && s.kurtosis_where == 0);
    assert_true(mean_abs[0] == 1 && mean_abs[1] == 7);
    paro_stats_free(stats);

    stats = new_stats(NULL, 1);
    for (int i = 0; i < 100000; i++) { /* uniform over 0 .. 99: kurtosis 1.8 (1 - 1 / 9999 …) */
        const float v = 1e6F + (float)(i % 100);
        paro_stats_add(stats, &v, 1);
    }
    paro_stats_summarise(stats, &s);
    assert_near(s.mean, 1e6 + 49.5, 1e-12);
    assert_near(s.kurtosis, 3 * (3 * 1e4 - 7) / (5 * (1e4 - 1)), 1e-9);
    assert_near(s.kurtosis_max, s.kurtosis, 1e-12);
    paro_stats_free(stats);

    stats = new_stats(NULL, 1);
    for (int i = 0; i < 1000; i++) { /* rms 1: 6 is out, the BF16 below it is not */
        const float v = i == 0 ? 6 : i == 1 ? -5.96875F : sqrtf((1000 - 36 - 35.626F) / 998);
        paro_stats_add(stats, &v, 1);
    }
    paro_stats_summarise(stats, &s);
    assert_near(s.rms, 1, 1e-6);
    assert_near(s.outliers, 0.001, 1e-12);
    paro_stats_free(stats);
}

static void test_empty(void **state)
{
    (void)state;
    static const float nothing[] = {NAN, INFINITY};
    static const float zeros[4] = {0};
    const paro_stats_summary none = {.n_not_finite = 2}, zero = {.n_values = 4};
    paro_error err;
    paro_stats_summary s;
    float mean_abs[2] = {5, 5};
    paro_stats *stats = new_stats(NULL, 2);
    paro_stats_add(stats, nothing, 1);
    paro_stats_summarise(stats, &s);
    paro_stats_mean_abs(stats, mean_abs);
    assert_memory_equal(&s, &none, sizeof s);
    assert_true(mean_abs[0] == 0 && mean_abs[1] == 0);
    paro_stats_free(stats);
    stats = new_stats(NULL, 2);
    paro_stats_add(stats, zeros, 2);
    paro_stats_summarise(stats, &s);
    assert_memory_equal(&s, &zero, sizeof s);
    paro_stats_free(stats);
    stats = NULL;
    assert_fails(paro_stats_new(&err, NULL, 0, &stats), PARO_STATUS_INVALID_ARGUMENT,
                 "channels: expected 1 to 4294967295, found 0");
    assert_null(stats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definitions),
        cmocka_unit_test(test_parts_and_threads),
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
