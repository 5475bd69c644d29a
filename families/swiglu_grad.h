/* SPDX-License-Identifier: MIT
 *
 * swiglu_grad: gradients of gate and up from that of swiglu's y (templates/swiglu_grad.cu).
 */
#ifndef PARO_FAMILIES_SWIGLU_GRAD_H
#define PARO_FAMILIES_SWIGLU_GRAD_H

#include "families/family.h"

enum {
    PARO_SWIGLU_GRAD_ARG_GATE_UP,
    PARO_SWIGLU_GRAD_ARG_DY,
    PARO_SWIGLU_GRAD_ARG_D_GATE_UP,
    PARO_SWIGLU_GRAD_ARG_Y
};

extern const paro_family paro_family_swiglu_grad;

#endif
