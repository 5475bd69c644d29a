/* SPDX-License-Identifier: MIT
 *
 * linear_w4: the product with INT4 weights, rotated activations (templates/linear_w4.cu).
 */
#ifndef PARO_FAMILIES_LINEAR_W4_H
#define PARO_FAMILIES_LINEAR_W4_H

#include "families/family.h"

enum {
    PARO_LINEAR_W4_ARG_X,
    PARO_LINEAR_W4_ARG_CODES,
    PARO_LINEAR_W4_ARG_ZEROS,
    PARO_LINEAR_W4_ARG_SCALES,
    PARO_LINEAR_W4_ARG_BIAS,
    PARO_LINEAR_W4_ARG_PAIRS,
    PARO_LINEAR_W4_ARG_COSSIN,
    PARO_LINEAR_W4_ARG_CHANNEL_SCALES,
    PARO_LINEAR_W4_ARG_ROTATED,
    PARO_LINEAR_W4_ARG_Y,
    PARO_LINEAR_W4_ARG_PARTIAL,
    PARO_LINEAR_W4_ARG_M
};

/* Members of the family that are in linear_w4_case.c. */
void paro_linear_w4_fill(paro_case *c, uint64_t seed, paro_pool *pool);
paro_status paro_linear_w4_reference(paro_error *err, const paro_case *c, paro_pool *pool,
                                     double *const *expected);

extern const paro_family paro_family_linear_w4;

#endif
