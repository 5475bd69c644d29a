/* SPDX-License-Identifier: MIT
 *
 * norm: RMSNorm of the residual stream (templates/norm.cu).
 */
#ifndef PARO_FAMILIES_NORM_H
#define PARO_FAMILIES_NORM_H

#include "families/family.h"

enum {
    PARO_NORM_ARG_RESIDUAL,
    PARO_NORM_ARG_DELTA,
    PARO_NORM_ARG_WEIGHT,
    PARO_NORM_ARG_EPSILON,
    PARO_NORM_ARG_Y
};

extern const paro_family paro_family_norm;

#endif
