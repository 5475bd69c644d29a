/* SPDX-License-Identifier: MIT
 *
 * norm_grad: the gradient of RMSNorm's input, added to the residual stream's
 * (templates/norm_grad.cu).
 */
#ifndef PARO_FAMILIES_NORM_GRAD_H
#define PARO_FAMILIES_NORM_GRAD_H

#include "families/family.h"

enum {
    PARO_NORM_GRAD_ARG_X,
    PARO_NORM_GRAD_ARG_WEIGHT,
    PARO_NORM_GRAD_ARG_DY,
    PARO_NORM_GRAD_ARG_EPSILON,
    PARO_NORM_GRAD_ARG_D_RESIDUAL,
    PARO_NORM_GRAD_ARG_D_X
};

extern const paro_family paro_family_norm_grad;

#endif
