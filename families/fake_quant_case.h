/* SPDX-License-Identifier: MIT
 *
 * Data and references of fake quantisation, for the families of its forward and its backward.
 */
#ifndef PARO_FAMILIES_FAKE_QUANT_CASE_H
#define PARO_FAMILIES_FAKE_QUANT_CASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/thread.h"

/* Of a group's turns in shared memory: group_turns of templates/lib/fake_quant.cuh, on 16 bytes. */
static inline uint32_t paro_turns_bytes(uint32_t group, uint32_t krot)
{
    return ((krot > 0 ? krot : 1) * group / 2 * 10 + 15) / 16 * 16;
}

/* A weight and its transform as kernels read them; shapes are those of the families' arguments. */
typedef struct paro_fake_quant_case {
    uint32_t n, k, group, krot, bits;
    float *w;
    uint8_t *pairs; /* as in rotation_tables.h */
    float *theta;   /* 0 for empty slots */
    float *channel_scales;
    float *step, *zero;  /* both NULL: from the extremes */
    const void *d_w_hat; /* of a backward */
    paro_dtype d_w_hat_dtype;
    bool clamp_passes; /* calib/fake_quant.h's reference_zero */
} paro_fake_quant_case;

/* Fills everything but d_w_hat. No u / d and no zero is near the middle of two integers, and
 * extremes stand alone: fp32 and fp64 round alike. Among the groups are some of one sign, of zeros
 * only, with steps below the bound, and (where learned) with clamped values. */
void paro_fake_quant_case_fill(const paro_fake_quant_case *c, uint64_t seed, paro_pool *pool);

/* w_hat [n, k] */
void paro_fake_quant_case_forward(const paro_fake_quant_case *c, paro_pool *pool, double *w_hat);

/* Members that are NULL are not computed. */
typedef struct paro_fake_quant_case_gradients {
    double *w, *theta, *channel_scales, *step, *zero;
} paro_fake_quant_case_gradients;

void paro_fake_quant_case_backward(const paro_fake_quant_case *c, paro_pool *pool,
                                   const paro_fake_quant_case_gradients *out);

#endif
