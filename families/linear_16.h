/* SPDX-License-Identifier: MIT
 *
 * linear_16: the product with weights of 16 bits (templates/linear_16.cu).
 */
#ifndef PARO_FAMILIES_LINEAR_16_H
#define PARO_FAMILIES_LINEAR_16_H

#include "families/family.h"

enum {
    PARO_LINEAR_16_ARG_X,
    PARO_LINEAR_16_ARG_WEIGHT,
    PARO_LINEAR_16_ARG_BIAS,
    PARO_LINEAR_16_ARG_Y,
    PARO_LINEAR_16_ARG_PARTIAL,
    PARO_LINEAR_16_ARG_M
};

extern const paro_family paro_family_linear_16;

#endif
