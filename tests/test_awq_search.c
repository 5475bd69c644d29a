/* SPDX-License-Identifier: MIT
 *
 * AWQ's searches against searches written plainly with base/reference.h, and what they gain.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/dtype.h"
#include "base/reference.h"
#include "calib/awq_search.h"
#include "tests/train_fixture.h"

enum { N_IN = 128, GROUP = 32, N_GROUPS = N_IN / GROUP, ROWS = 90, GRID = 20, MAX_OUT = 48 };

static float x[ROWS * N_IN];
static float magnitudes[N_IN];

static float through_f16(float value)
{
    return paro_f32_from_f16(paro_f16_from_f32(value));
}

/* Correlated inputs, with some channels far larger than others. */
static paro_awq_inputs make_inputs(uint64_t seed)
{
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    memset(magnitudes, 0, sizeof magnitudes);
    for (size_t row = 0; row < ROWS; row++) {
        float shared = paro_rng_normal(&rng);
        for (size_t i = 0; i < N_IN; i++) {
            float value = paro_rng_normal(&rng) + 0.5F * shared * (float)(i % 3);
            x[row * N_IN + i] = value * (i % 13 == 2 ? 20 : i % 5 == 0 ? 0.2F : 1);
            magnitudes[i] += fabsf(x[row * N_IN + i]) / ROWS;
        }
    }
    return (paro_awq_inputs){x, ROWS, magnitudes};
}

/* sum ((w' - w) x)^2 over rows of x and w, in fp64. */
static double output_error(const float *w, const float *w_hat, size_t n_out)
{
    double sum = 0;
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t out = 0; out < n_out; out++) {
            double y = 0;
            for (size_t i = 0; i < N_IN; i++)
                y += ((double)w_hat[out * N_IN + i] - (double)w[out * N_IN + i]) *
                     (double)x[row * N_IN + i];
            sum += y * y;
        }
    }
    return sum;
}

/* Q(W s) / s by the reference. */
static void quantise_scaled(const paro_train_linear *linear, const float *s, float *w_hat)
{
    static uint8_t codes[MAX_OUT * N_IN], zeros[MAX_OUT * N_GROUPS];
    static float steps[MAX_OUT * N_GROUPS], scaled[MAX_OUT * N_IN];
    for (size_t i = 0; i < linear->n_out * N_IN; i++)
        scaled[i] = linear->w[i] * s[i % N_IN];
    paro_ref_quantise_f32(scaled, linear->n_out, N_IN, GROUP, linear->bits, through_f16, codes,
                          steps, zeros);
    paro_ref_dequantise_f32(codes, steps, zeros, linear->n_out, N_IN, GROUP, w_hat);
    for (size_t i = 0; i < linear->n_out * N_IN; i++)
        w_hat[i] /= s[i % N_IN];
}

static void plain_scales(double exponent, float *s)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < N_IN; i++) {
        double value = fmax(pow((double)magnitudes[i], exponent), 1e-4);
        s[i] = (float)value;
        low = fmin(low, value);
        high = fmax(high, value);
    }
    for (size_t i = 0; i < N_IN; i++)
        s[i] = 1 / through_f16(1 / (float)((double)s[i] / sqrt(low * high)));
}

static void test_scales(void **state)
{
    (void)state;
    paro_error err;
    paro_awq_inputs inputs = make_inputs(1);
    paro_train_linear a = random_linear(MAX_OUT, N_IN, 4, GROUP, 0, 2);
    paro_train_linear b = random_linear(21, N_IN, 3, GROUP, 0, 3);
    const paro_train_linear *both[2] = {&a, &b};
    float scales[N_IN], alone[N_IN], expected[N_IN], w_hat[MAX_OUT * N_IN];
    double errors[GRID], errors_alone[GRID];
    paro_pool *pool = new_pool(2);
    assert_ok(paro_awq_search_scales(&err, pool, both, 2, &inputs, GRID, scales, errors));
    assert_ok(paro_awq_search_scales(&err, NULL, both, 2, &inputs, GRID, alone, errors_alone));
    assert_memory_equal(scales, alone, sizeof scales);
    assert_memory_equal(errors, errors_alone, sizeof errors);
    size_t best = 0;
    for (size_t i = 0; i < GRID; i++) {
        plain_scales((double)i / GRID, expected);
        double sum = 0;
        for (size_t k = 0; k < 2; k++) {
            quantise_scaled(both[k], expected, w_hat);
            sum += output_error(both[k]->w, w_hat, both[k]->n_out);
        }
        if (fabs(sum - errors[i]) > 1e-3 * sum)
            fail_msg("exponent %zu/%d: expected %g, found %g", i, GRID, sum, errors[i]);
        best = errors[i] < errors[best] ? i : best;
    }
    print_message("exponent %zu/%d: %.3f of the error of round to nearest\n", best, GRID,
                  errors[best] / errors[0]);
    assert_true(best > 0 && errors[best] < 0.5 * errors[0]);
    plain_scales((double)best / GRID, expected);
    for (size_t i = 0; i < N_IN; i++) {
        assert_true(fabsf(scales[i] - expected[i]) < 1e-3F * expected[i]);
        assert_true(through_f16(1 / scales[i]) == 1 / scales[i] ||
                    1 / through_f16(1 / scales[i]) == scales[i]);
    }
    paro_train_linear_release(&a);
    paro_train_linear_release(&b);
    paro_pool_free(pool);
}

/* Channels where nothing ever comes in have a scale all the same. */
static void test_dead_channels(void **state)
{
    (void)state;
    paro_error err;
    paro_awq_inputs inputs = make_inputs(4);
    for (size_t row = 0; row < ROWS; row++)
        x[row * N_IN + 7] = 0;
    magnitudes[7] = 0;
    paro_train_linear a = random_linear(MAX_OUT, N_IN, 4, GROUP, 0, 2);
    const paro_train_linear *linears[1] = {&a};
    float scales[N_IN];
    double errors[GRID];
    assert_ok(paro_awq_search_scales(&err, NULL, linears, 1, &inputs, GRID, scales, errors));
    for (size_t i = 0; i < N_IN; i++)
        assert_true(scales[i] > 0 && isfinite(scales[i]));
    memset(magnitudes, 0, sizeof magnitudes);
    memset(x, 0, sizeof x);
    assert_ok(paro_awq_search_scales(&err, NULL, linears, 1, &inputs, GRID, scales, errors));
    for (size_t i = 0; i < N_IN; i++)
        assert_true(scales[i] == 1);
    paro_train_linear_release(&a);
}

/* Every row's and group's choice is the best of all, by outputs computed in fp64 in the rotated
 * basis, but for ties; and what is gained by it. */
static void test_clip(void **state)
{
    (void)state;
    enum { TRIES = 11, BITS = 3, KROT = 2 };
    paro_error err;
    paro_awq_inputs inputs = make_inputs(5);
    paro_train_linear linear = random_linear(37, N_IN, BITS, GROUP, KROT, 6);
    float step[37 * N_GROUPS], zero[37 * N_GROUPS], step2[37 * N_GROUPS], zero2[37 * N_GROUPS];
    paro_pool *pool = new_pool(2);
    assert_ok(paro_awq_search_clip(&err, pool, &linear, &inputs, GRID, 0.5, step, zero));
    assert_ok(paro_awq_search_clip(&err, NULL, &linear, &inputs, GRID, 0.5, step2, zero2));
    assert_memory_equal(step, step2, sizeof step);
    assert_memory_equal(zero, zero2, sizeof zero);

    double theta[KROT * N_IN / 2];
    for (size_t i = 0; i < KROT * N_IN / 2; i++)
        theta[i] = (double)linear.theta[i];
    const paro_rotation rotation = {N_IN, GROUP, KROT, linear.pairs, theta};
    static double u[37 * N_IN], z[ROWS * N_IN];
    for (size_t i = 0; i < 37 * N_IN; i++)
        u[i] = (double)linear.w[i] * (double)linear.weight_channel_scales[i % N_IN];
    for (size_t i = 0; i < ROWS * N_IN; i++)
        z[i] = (double)x[i] / (double)linear.weight_channel_scales[i % N_IN];
    paro_ref_rotate_f64(&rotation, u, 37);
    paro_ref_rotate_f64(&rotation, z, ROWS);
    double before = 0, after = 0;
    size_t n_clipped = 0;
    for (size_t at = 0; at < 37 * N_GROUPS; at++) {
        const double *values = u + at * GROUP, top = (1 << BITS) - 1;
        double low = 0, high = 0, errors[TRIES], best = INFINITY, chosen = INFINITY;
        for (size_t i = 0; i < GROUP; i++) {
            low = fmin(low, values[i]);
            high = fmax(high, values[i]);
        }
        for (size_t t = 0; t < TRIES; t++) {
            double keep = 1 - (double)t / GRID;
            double d = (double)through_f16((float)(keep * (high - low) / top));
            double o = -rint(keep * low / d);
            errors[t] = 0;
            for (size_t row = 0; row < ROWS; row++) {
                double y = 0;
                for (size_t i = 0; i < GROUP; i++) {
                    double code = fmin(fmax(rint(values[i] / d) + o, 0), top);
                    y += ((code - o) * d - values[i]) * z[row * N_IN + at % N_GROUPS * GROUP + i];
                }
                errors[t] += y * y;
            }
            best = fmin(best, errors[t]);
            if (fabs(d - (double)step[at]) < 1e-6 * d && fabs(o - (double)zero[at]) < 0.5)
                chosen = errors[t];
        }
        assert_true(through_f16(step[at]) == step[at]);
        assert_true(zero[at] >= 0 && zero[at] <= top && rintf(zero[at]) == zero[at]);
        assert_true(chosen <= 1.01 * best);
        before += errors[0];
        after += chosen;
        n_clipped += chosen < errors[0];
    }
    print_message("%zu of %d ranges clipped: %.3f of the error\n", n_clipped, 37 * N_GROUPS,
                  after / before);
    assert_true(after < 0.9 * before && n_clipped > 37);
    paro_train_linear_release(&linear);
    paro_pool_free(pool);
}

static void test_errors(void **state)
{
    (void)state;
    paro_error err;
    paro_awq_inputs inputs = make_inputs(7);
    paro_train_linear a = random_linear(8, N_IN, 4, GROUP, 0, 2);
    const paro_train_linear *linears[1] = {&a};
    float scales[N_IN], step[8 * N_GROUPS], zero[8 * N_GROUPS];
    double errors[GRID];
    inputs.n_rows = 0;
    assert_fails(paro_awq_search_scales(&err, NULL, linears, 1, &inputs, GRID, scales, errors),
                 PARO_STATUS_INVALID_ARGUMENT, "layer: expected inputs to compare outputs on");
    inputs.n_rows = ROWS;
    magnitudes[9] = INFINITY;
    assert_fails(paro_awq_search_scales(&err, NULL, linears, 1, &inputs, GRID, scales, errors),
                 PARO_STATUS_UNSUPPORTED,
                 "layer: expected finite inputs, found a mean magnitude of inf in channel 9");
    assert_fails(paro_awq_search_clip(&err, NULL, &a, &inputs, GRID, 0.5, step, zero),
                 PARO_STATUS_UNSUPPORTED, "channel 9");
    paro_train_linear_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_dead_channels),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
