/* SPDX-License-Identifier: MIT
 *
 * What the tests of fake quantisation's families share: a case's data as calibration on the CPU has
 * them. Include after family_fixture.h.
 */
#ifndef PARO_TESTS_FAKE_QUANT_FIXTURE_H
#define PARO_TESTS_FAKE_QUANT_FIXTURE_H

#include "calib/train_linear.h"
#include "families/fake_quant.h"

/* Copies. The arguments up to zero are the same ones in both families. */
static inline void test_train_linear(const paro_problem *problem, void *const *data,
                                     paro_train_linear *out)
{
    paro_error err;
    const uint32_t n = (uint32_t)paro_problem_get(problem, "n");
    const uint32_t k = (uint32_t)paro_problem_get(problem, "k");
    const uint32_t group = (uint32_t)paro_problem_get(problem, "group");
    const uint32_t krot = (uint32_t)paro_problem_get(problem, "krot");
    *out = (paro_train_linear){.name = "case",
                               .n_out = n,
                               .n_in = k,
                               .bits = (uint32_t)paro_problem_get(problem, "bits"),
                               .group_size = group,
                               .krot = krot};
    assert_ok(paro_train_linear_alloc(&err, out));
    memcpy(out->w, data[PARO_FAKE_QUANT_ARG_W], (size_t)n * k * sizeof(float));
    memcpy(out->weight_channel_scales, data[PARO_FAKE_QUANT_ARG_CHANNEL_SCALES], k * sizeof(float));
    const uint8_t *pairs = data[PARO_FAKE_QUANT_ARG_PAIRS];
    for (size_t i = 0; i < (size_t)krot * k; i++)
        out->pairs[i] = pairs[i];
    if (krot > 0)
        memcpy(out->theta, data[PARO_FAKE_QUANT_ARG_THETA], (size_t)krot * (k / 2) * sizeof(float));
    if (data[PARO_FAKE_QUANT_ARG_STEP] == NULL)
        return;
    const size_t n_bytes = (size_t)n * (k / group) * sizeof(float);
    out->step = malloc(n_bytes);
    out->zero = malloc(n_bytes);
    assert_non_null(out->step);
    assert_non_null(out->zero);
    memcpy(out->step, data[PARO_FAKE_QUANT_ARG_STEP], n_bytes);
    memcpy(out->zero, data[PARO_FAKE_QUANT_ARG_ZERO], n_bytes);
}

/* Relative L2. */
static inline double test_relative_error(const float *found, const double *expected, size_t n)
{
    double difference = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        const double away = (double)found[i] - expected[i];
        difference += away * away;
        square += expected[i] * expected[i];
    }
    return sqrt(difference / square);
}

#endif
