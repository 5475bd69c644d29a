/* SPDX-License-Identifier: MIT
 *
 * Fake quantisation against the function that its header defines, in fp64: values, and gradients by
 * central differences with every rounding and bound frozen where it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/dtype.h"
#include "calib/fake_quant.h"
#include "tests/train_fixture.h"

/* Parameters in fp64, and what is frozen. */
typedef struct surrogate {
    const paro_train_linear *linear;
    bool clamp_passes;
    double *w, *theta, *scales, *step, *zero; /* step and zero NULL where they are not learned */
    const float *d_w_hat;
    double *round_offset; /* [n_out, n_in] round(u / d) - u / d, and what clamping adds to r */
    double *bound;        /* [n_out, n_in] c where it is cut off; NaN inside */
    double *zero_offset;  /* [n_out, n_groups] z less what it is rounded from */
    double *step_offset;  /* likewise, of d */
    double *w_hat;        /* [n_out, n_in] of the last value */
} surrogate;

static double *doubles(const float *from, size_t n)
{
    double *to = calloc(n + 1, sizeof *to);
    assert_non_null(to);
    for (size_t i = 0; from != NULL && i < n; i++)
        to[i] = (double)from[i];
    return to;
}

static void turn(const surrogate *s, size_t group, size_t round, double sign, double *v)
{
    const paro_train_linear *l = s->linear;
    size_t first = (round * l->n_in + group * l->group_size) / 2;
    for (size_t slot = first; slot < first + l->group_size / 2; slot++) {
        int i = l->pairs[2 * slot], j = l->pairs[2 * slot + 1];
        if (i == j)
            continue;
        double cosine = cos(s->theta[slot]), sine = sign * sin(s->theta[slot]);
        double x = v[i], y = v[j];
        v[i] = x * cosine + y * sine;
        v[j] = y * cosine - x * sine;
    }
}

/* The part of sum(d_w_hat * w_hat) that a row of a group has. */
static double cell(surrogate *s, size_t row, size_t group, bool freeze)
{
    const paro_train_linear *l = s->linear;
    enum { MAX_GROUP = 128 };
    size_t n = l->group_size, n_groups = l->n_in / n, at = row * n_groups + group;
    size_t first = row * l->n_in + group * n;
    double top = (double)((1U << l->bits) - 1), u[MAX_GROUP], low = 0, high = 0;
    for (size_t c = 0; c < n; c++)
        u[c] = s->w[first + c] * s->scales[group * n + c];
    for (size_t round = 0; round < l->krot; round++)
        turn(s, group, round, 1, u);
    for (size_t c = 0; c < n; c++) {
        low = fmin(low, u[c]);
        high = fmax(high, u[c]);
    }
    double d = s->step != NULL ? s->step[at] : fmax((high - low) / top, 1e-5);
    if (freeze)
        s->step_offset[at] = (double)paro_f32_through_f16((float)d) - d;
    d += s->step_offset[at];
    double zero = s->step != NULL ? s->zero[at] : -low / d;
    if (freeze)
        s->zero_offset[at] = fmin(fmax(rint(zero), 0), top) - zero;
    zero += s->zero_offset[at];
    for (size_t c = 0; c < n; c++) {
        double ratio = u[c] / d;
        double *offset = &s->round_offset[first + c], *bound = &s->bound[first + c];
        if (freeze) {
            double code = rint(ratio) + zero, cut = fmin(fmax(code, 0), top);
            *bound = cut == code || s->clamp_passes ? NAN : cut;
            *offset = cut - zero - ratio;
        }
        double code = isnan(*bound) ? ratio + *offset + zero : *bound;
        u[c] = (code - zero) * d;
    }
    for (size_t round = l->krot; round-- > 0;)
        turn(s, group, round, -1, u);
    double sum = 0;
    for (size_t c = 0; c < n; c++) {
        s->w_hat[first + c] = u[c] / s->scales[group * n + c];
        sum += (double)s->d_w_hat[first + c] * s->w_hat[first + c];
    }
    return sum;
}

static surrogate new_surrogate(const paro_train_linear *l, const float *d_w_hat, bool clamp_passes)
{
    size_t n = (size_t)l->n_out * l->n_in, n_cells = n / l->group_size;
    surrogate s = {.linear = l, .d_w_hat = d_w_hat, .clamp_passes = clamp_passes};
    s.w = doubles(l->w, n);
    s.theta = doubles(l->theta, (size_t)l->krot * (l->n_in / 2));
    s.scales = doubles(l->weight_channel_scales, l->n_in);
    s.step = l->step != NULL ? doubles(l->step, n_cells) : NULL;
    s.zero = l->step != NULL ? doubles(l->zero, n_cells) : NULL;
    s.round_offset = doubles(NULL, n);
    s.bound = doubles(NULL, n);
    s.zero_offset = doubles(NULL, n_cells);
    s.step_offset = doubles(NULL, n_cells);
    s.w_hat = doubles(NULL, n);
    for (size_t row = 0; row < l->n_out; row++)
        for (size_t group = 0; group < l->n_in / l->group_size; group++)
            cell(&s, row, group, true);
    return s;
}

static void free_surrogate(surrogate *s)
{
    double *all[] = {s->w,     s->theta,       s->scales,      s->step, s->zero, s->round_offset,
                     s->bound, s->zero_offset, s->step_offset, s->w_hat};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* d/d parameter of the rows first .. end - 1 of a group. */
static double slope(surrogate *s, double *parameter, double h, size_t first, size_t end,
                    size_t group)
{
    double sum[2] = {0, 0}, value = *parameter;
    for (int side = 0; side < 2; side++) {
        *parameter = value + (side == 0 ? -h : h);
        for (size_t row = first; row < end; row++)
            sum[side] += cell(s, row, group, false);
    }
    *parameter = value;
    return (sum[1] - sum[0]) / (2 * h);
}

static paro_fake_quant_gradients new_gradients(const paro_train_linear *l)
{
    size_t n = (size_t)l->n_out * l->n_in, n_cells = n / l->group_size;
    paro_fake_quant_gradients g = {.w = calloc(n, sizeof(float)),
                                   .theta =
                                       calloc((size_t)l->krot * (l->n_in / 2) + 1, sizeof(float)),
                                   .weight_channel_scales = calloc(l->n_in, sizeof(float)),
                                   .step = l->step != NULL ? calloc(n_cells, sizeof(float)) : NULL,
                                   .zero = l->step != NULL ? calloc(n_cells, sizeof(float)) : NULL};
    assert_true(g.w != NULL && g.theta != NULL && g.weight_channel_scales != NULL);
    return g;
}

static void free_gradients(paro_fake_quant_gradients *g)
{
    free(g->w);
    free(g->theta);
    free(g->weight_channel_scales);
    free(g->step);
    free(g->zero);
}

static float *random_floats(size_t n, uint64_t seed)
{
    float *values = malloc(n * sizeof *values);
    assert_non_null(values);
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++)
        values[i] = paro_rng_normal(&rng);
    return values;
}

static double worst_gradient; /* of all that were compared, for the report */

static void compare(const char *what, const paro_train_linear *l, const float *found,
                    const double *expected, size_t n)
{
    double distance = relative_distance(found, expected, n);
    worst_gradient = fmax(worst_gradient, distance);
    if (!(distance <= 1e-3))
        fail_msg("%u bits, group %u, krot %u, %s: gradient of %s: relative distance %g", l->bits,
                 l->group_size, l->krot, l->step != NULL ? "learned" : "from the range", what,
                 distance);
}

static void check_gradients(const paro_train_linear *l, bool reference_zero)
{
    paro_error err;
    size_t n = (size_t)l->n_out * l->n_in, size = l->group_size, n_groups = l->n_in / size;
    size_t n_theta = (size_t)l->krot * (l->n_in / 2), n_cells = l->n_out * n_groups;
    float *d_w_hat = random_floats(n, 99);
    surrogate s = new_surrogate(l, d_w_hat, reference_zero);
    paro_fake_quant_gradients g = new_gradients(l);
    const paro_fake_quant_options options = {.reference_zero = reference_zero};
    assert_ok(paro_fake_quant_backward(&err, l, NULL, d_w_hat, &options, &g));
    double *expected = doubles(NULL, n + n_theta);

    for (size_t i = 0; i < n; i++)
        expected[i] = slope(&s, &s.w[i], 1e-6, i / l->n_in, i / l->n_in + 1, i % l->n_in / size);
    compare("w", l, g.w, expected, n);
    for (size_t i = 0; i < n_theta; i++) {
        bool empty = l->pairs[2 * i] == l->pairs[2 * i + 1];
        expected[i] = slope(&s, &s.theta[i], 1e-5, 0, l->n_out, i % (l->n_in / 2) / (size / 2));
        if (empty)
            assert_true(g.theta[i] == 0);
    }
    compare("theta", l, g.theta, expected, n_theta);
    for (size_t i = 0; i < l->n_in; i++)
        expected[i] = slope(&s, &s.scales[i], 1e-5, 0, l->n_out, i / size);
    compare("weight_channel_scales", l, g.weight_channel_scales, expected, l->n_in);
    for (size_t i = 0; l->step != NULL && i < n_cells; i++)
        expected[i] =
            slope(&s, &s.step[i], 1e-5 * s.step[i], i / n_groups, i / n_groups + 1, i % n_groups);
    if (l->step != NULL)
        compare("step", l, g.step, expected, n_cells);
    for (size_t i = 0; l->step != NULL && i < n_cells; i++)
        expected[i] = slope(&s, &s.zero[i], 1e-4, i / n_groups, i / n_groups + 1, i % n_groups);
    if (l->step != NULL && !reference_zero)
        compare("zero", l, g.zero, expected, n_cells);
    for (size_t i = 0; l->step != NULL && reference_zero && i < n_cells; i++)
        assert_true(g.zero[i] == 0 && fabs(expected[i]) < 1e-8);
    free(expected);
    free_gradients(&g);
    free_surrogate(&s);
    free(d_w_hat);
}

static const uint32_t all_bits[] = {2, 3, 4, 8}, group_sizes[] = {32, 64, 128},
                      all_krot[] = {0, 1, 8};

static void check_all(bool learned)
{
    for (size_t b = 0; b < 4; b++)
        for (size_t g = 0; g < 3; g++)
            for (size_t k = 0; k < 3; k++)
                for (int reference = 0; reference < 2; reference++) {
                    paro_train_linear linear = random_linear(
                        2, group_sizes[g], all_bits[b], group_sizes[g], all_krot[k], b + g + k);
                    if (learned)
                        random_quantiser(&linear, 5);
                    check_gradients(&linear, reference == 1);
                    paro_train_linear_release(&linear);
                }
}

static void test_gradients_through_ranges(void **state)
{
    (void)state;
    check_all(false);
}

static void test_gradients_of_learned_quantisers(void **state)
{
    (void)state;
    check_all(true);
    printf("largest relative distance of a gradient so far: %.2g\n", worst_gradient);
}

/* More than a tile of rows and two groups; a group size that is no multiple of four; a group of one
 * sign, whose low is the 0, and one whose range is below the smallest step. */
static void test_gradients_of_odd_shapes(void **state)
{
    (void)state;
    paro_train_linear linear = random_linear(19, 64, 4, 32, 2, 3);
    check_gradients(&linear, false);
    random_quantiser(&linear, 6);
    check_gradients(&linear, false);
    paro_train_linear_release(&linear);

    linear = random_linear(5, 12, 3, 6, 1, 4);
    check_gradients(&linear, false);
    paro_train_linear_release(&linear);

    linear = random_linear(4, 64, 4, 32, 0, 5);
    for (size_t c = 0; c < 64; c++) {
        linear.w[c] = fabsf(linear.w[c]) + 0.01F;
        linear.w[64 + c] = -fabsf(linear.w[64 + c]) - 0.01F;
        linear.w[128 + c] *= 1e-4F;
    }
    check_gradients(&linear, false);
    paro_train_linear_release(&linear);
}

/* Cells whose values are those of fp64; in a few a value next to the middle of two codes falls to
 * the other side. */
static void test_forward(void **state)
{
    (void)state;
    paro_error err;
    paro_pool *pool = new_pool(2);
    size_t n_cells = 0, n_other = 0;
    for (size_t b = 0; b < 4; b++)
        for (size_t k = 0; k < 3; k++)
            for (int learned = 0; learned < 2; learned++) {
                paro_train_linear linear =
                    random_linear(37, 128, all_bits[b], 64, all_krot[k], 10 + b);
                if (learned)
                    random_quantiser(&linear, 7);
                float *w_hat = random_floats((size_t)37 * 128, 1);
                surrogate s = new_surrogate(&linear, w_hat, false);
                assert_ok(paro_fake_quant_forward(&err, &linear, pool, w_hat));
                for (size_t first = 0; first < (size_t)37 * 128; first += 64) {
                    n_cells++;
                    n_other += relative_distance(w_hat + first, s.w_hat + first, 64) > 2e-6;
                }
                free_surrogate(&s);
                free(w_hat);
                paro_train_linear_release(&linear);
            }
    assert_true(n_other * 500 < n_cells);
    paro_pool_free(pool);
}

/* A learned quantiser starts as what the ranges gave. */
static void test_start_changes_nothing(void **state)
{
    (void)state;
    paro_error err;
    paro_train_linear linear = random_linear(40, 256, 4, 128, 8, 20);
    float *before = random_floats((size_t)40 * 256, 1), *after = random_floats((size_t)40 * 256, 2);
    assert_ok(paro_fake_quant_forward(&err, &linear, NULL, before));
    assert_ok(paro_train_linear_start_quantiser(&err, NULL, &linear));
    assert_ok(paro_fake_quant_forward(&err, &linear, NULL, after));
    assert_memory_equal(before, after, (size_t)40 * 256 * sizeof *before);
    free(before);
    free(after);
    paro_train_linear_release(&linear);
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    paro_error err;
    enum { N_OUT = 1100, N_IN = 128 };
    paro_train_linear linear = random_linear(N_OUT, N_IN, 4, 64, 3, 30);
    random_quantiser(&linear, 8);
    float *d_w_hat = random_floats((size_t)N_OUT * N_IN, 31);
    paro_fake_quant_gradients g[2];
    float *w_hat[2];
    for (int i = 0; i < 2; i++) {
        paro_pool *pool = new_pool(i == 0 ? 1 : 3);
        g[i] = new_gradients(&linear);
        w_hat[i] = random_floats((size_t)N_OUT * N_IN, 1);
        assert_ok(paro_fake_quant_forward(&err, &linear, pool, w_hat[i]));
        assert_ok(paro_fake_quant_backward(&err, &linear, pool, d_w_hat, NULL, &g[i]));
        paro_pool_free(pool);
    }
    assert_memory_equal(w_hat[0], w_hat[1], (size_t)N_OUT * N_IN * sizeof(float));
    assert_memory_equal(g[0].w, g[1].w, (size_t)N_OUT * N_IN * sizeof(float));
    assert_memory_equal(g[0].theta, g[1].theta, (size_t)3 * N_IN / 2 * sizeof(float));
    assert_memory_equal(g[0].weight_channel_scales, g[1].weight_channel_scales,
                        N_IN * sizeof(float));
    assert_memory_equal(g[0].step, g[1].step, (size_t)N_OUT * 2 * sizeof(float));
    assert_memory_equal(g[0].zero, g[1].zero, (size_t)N_OUT * 2 * sizeof(float));

    /* Asked for alone, a gradient is the same to rounding. */
    float *w = random_floats((size_t)N_OUT * N_IN, 2);
    const paro_fake_quant_gradients alone = {.w = w};
    assert_ok(paro_fake_quant_backward(&err, &linear, NULL, d_w_hat, NULL, &alone));
    for (size_t i = 0; i < (size_t)N_OUT * N_IN; i++)
        assert_true(fabsf(w[i] - g[0].w[i]) <= 1e-5F);
    free(w);
    for (int i = 0; i < 2; i++) {
        free(w_hat[i]);
        free_gradients(&g[i]);
    }
    free(d_w_hat);
    paro_train_linear_release(&linear);
}

static void test_what_cannot_be_asked(void **state)
{
    (void)state;
    paro_error err;
    float values[64] = {0};
    paro_train_linear linear = random_linear(2, 32, 4, 32, 1, 1);
    const paro_fake_quant_gradients step = {.step = values};
    assert_fails(paro_fake_quant_backward(&err, &linear, NULL, values, NULL, &step),
                 PARO_STATUS_INVALID_ARGUMENT,
                 "layer: gradients of step and zero: expected a learned quantiser, found none");
    assert_ok(paro_train_linear_round(&err, NULL, &linear));
    assert_fails(paro_fake_quant_forward(&err, &linear, NULL, values), PARO_STATUS_INVALID_ARGUMENT,
                 "found one that is rounded");
    paro_train_linear_release(&linear);
    linear = random_linear(2, 32, 0, 32, 0, 1);
    assert_fails(paro_fake_quant_forward(&err, &linear, NULL, values), PARO_STATUS_INVALID_ARGUMENT,
                 "found one that is kept");
    paro_train_linear_release(&linear);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_through_ranges),
        cmocka_unit_test(test_gradients_of_learned_quantisers),
        cmocka_unit_test(test_gradients_of_odd_shapes),
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_start_changes_nothing),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_what_cannot_be_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
