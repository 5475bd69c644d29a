/* SPDX-License-Identifier: MIT
 *
 * Models on an emulated device. Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_GPU_FIXTURE_H
#define PARO_TESTS_GPU_FIXTURE_H

#include <math.h>

#include "base/rng.h"
#include "runtime/gpu_model.h"
#include "tests/emulated.h"
#include "tests/quantise.h"

/* The model's sessions run on an emulated device of an arch from now on. `options` may be NULL. */
static inline void emulate_arch(paro_model *model, const char *arch,
                                const paro_kernels_options *options)
{
    paro_error err;
    paro_kernels_options o = {0};
    if (options != NULL)
        o = *options;
    o.pool = model->pool;
    assert_null(model->device);
    assert_ok(paro_gpu_model_new(&err, model, emulated_gpu(model->pool, arch), &o, &model->device));
}

static inline void emulate(paro_model *model, const paro_kernels_options *options)
{
    emulate_arch(model, "sm_90", options);
}

/* A tensor of the set below with other contents, malloc'd by the caller. */
static inline void replace_tensor(paro_tensor_set *set, const paro_tensor *like, void *data)
{
    paro_error err;
    assert_ok(paro_tensor_set_put(&err, set, like, data));
}

/* Random pairs, some channels without a partner; small angles; scales around 1. */
static inline void rotate_linear(paro_tensor_set *set, const paro_linear *linear, paro_rng *rng)
{
    const uint32_t k = linear->n_in, group = linear->group_size;
    int16_t *pairs = malloc(linear->pairs->n_bytes);
    uint16_t *theta = malloc(linear->theta->n_bytes);
    uint16_t *scales = malloc(linear->channel_scales->n_bytes);
    assert_true(pairs != NULL && theta != NULL && scales != NULL && linear->krot > 0);
    for (size_t first = 0; first < (size_t)linear->krot * k; first += group) {
        int16_t *order = pairs + first;
        for (uint32_t c = 0; c < group; c++)
            order[c] = (int16_t)c;
        for (uint32_t c = group - 1; c > 0; c--) {
            const size_t other = paro_rng_below(rng, c + 1);
            const int16_t swapped = order[c];
            order[c] = order[other];
            order[other] = swapped;
        }
        order[1] = order[0]; /* an empty slot */
        for (uint32_t t = 0; t < group / 2; t++)
            theta[first / 2 + t] = paro_f16_from_f32(t == 0 ? 0 : 0.3f * paro_rng_normal(rng));
    }
    for (uint32_t c = 0; c < k; c++)
        scales[c] = paro_f16_from_f32(0.75f + 0.5f * (float)paro_rng_f64(rng));
    replace_tensor(set, linear->pairs, pairs);
    replace_tensor(set, linear->theta, theta);
    replace_tensor(set, linear->channel_scales, scales);
}

/* The ParoQuant model in `dir`, its rotations replaced by random ones. *under must outlive it. */
static inline paro_model *open_rotated(const char *dir, paro_tensor_set **under)
{
    paro_error err;
    paro_rng rng;
    paro_tensor_set *set = NULL;
    paro_model *plain = open_model(dir), *model = NULL;
    paro_rng_seed(&rng, 21);
    assert_ok(paro_tensor_set_open(&err, dir, under));
    assert_ok(paro_tensor_set_new(&err, *under, &set));
    for (size_t i = 0; i < paro_model_n_linears(plain); i++)
        rotate_linear(set, paro_model_linear(plain, i), &rng);
    assert_ok(paro_model_new(&err, dir, &plain->config, set, NULL, &model));
    paro_model_free(plain);
    return model;
}

/* |found - expected| / |expected|. */
static inline double relative_error(const float *found, const float *expected, size_t n)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += pow((double)found[i] - (double)expected[i], 2);
        size += pow((double)expected[i], 2);
    }
    return sqrt(difference / size);
}

#endif
