/* SPDX-License-Identifier: MIT
 *
 * Random linears for tests of training. Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_TRAIN_FIXTURE_H
#define PARO_TESTS_TRAIN_FIXTURE_H

#include <math.h>

#include "base/rng.h"
#include "calib/train_linear.h"
#include "tests/support.h"

static inline paro_pool *new_pool(int n_threads)
{
    paro_error err;
    paro_pool *pool = NULL;
    assert_ok(paro_pool_new(&err, n_threads, &pool));
    return pool;
}

/* Disjoint pairs over the channels of each group but, where it has four or more, two: their slot is
 * empty. Angles that matter. */
static inline void random_turns(paro_train_linear *linear, paro_rng *rng)
{
    uint32_t group_size = linear->group_size;
    for (size_t first = 0; first < (size_t)linear->krot * linear->n_in; first += group_size) {
        int16_t *pairs = linear->pairs + first;
        for (uint32_t c = 0; c < group_size; c++)
            pairs[c] = (int16_t)c;
        for (uint32_t c = group_size - 1; c > 0; c--) {
            size_t other = paro_rng_below(rng, c + 1);
            int16_t swapped = pairs[c];
            pairs[c] = pairs[other];
            pairs[other] = swapped;
        }
        if (group_size >= 4)
            pairs[3] = pairs[2];
        for (uint32_t t = 0; t < group_size / 2; t++)
            linear->theta[first / 2 + t] =
                pairs[2 * t] == pairs[2 * t + 1] ? 0 : paro_rng_normal(rng);
    }
}

/* Weights as models have them, channels of different sizes, scales about one. */
static inline paro_train_linear random_linear(uint32_t n_out, uint32_t n_in, uint32_t bits,
                                              uint32_t group_size, uint32_t krot, uint64_t seed)
{
    paro_error err;
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    paro_train_linear linear = {.name = "layer",
                                .n_out = n_out,
                                .n_in = n_in,
                                .bits = bits,
                                .group_size = group_size,
                                .krot = krot};
    assert_ok(paro_train_linear_alloc(&err, &linear));
    for (size_t i = 0; i < (size_t)n_out * n_in; i++)
        linear.w[i] = paro_rng_normal(&rng) * (i % n_in % 7 == 0 ? 0.1F : 0.03F);
    for (size_t c = 0; bits != 0 && c < n_in; c++)
        linear.weight_channel_scales[c] = expf(0.2F * paro_rng_normal(&rng));
    random_turns(&linear, &rng);
    return linear;
}

/* Learned steps and zeros near the ranges', some of which cut values off at either end. */
static inline void random_quantiser(paro_train_linear *linear, uint64_t seed)
{
    paro_error err;
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    assert_ok(paro_train_linear_start_quantiser(&err, NULL, linear));
    for (size_t i = 0; i < (size_t)linear->n_out * (linear->n_in / linear->group_size); i++) {
        linear->step[i] *= 0.6F + 0.5F * (float)paro_rng_f64(&rng);
        linear->zero[i] += paro_rng_normal(&rng);
    }
}

/* |a - b| / |b| */
static inline double relative_distance(const float *a, const double *b, size_t n)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += b[i] * b[i];
    }
    return size > 0 ? sqrt(difference / size) : sqrt(difference);
}

#endif
