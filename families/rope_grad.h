/* SPDX-License-Identifier: MIT
 *
 * rope_grad: from the gradients of attention's inputs to those of the products q, k, v
 * (templates/rope_grad.cu).
 */
#ifndef PARO_FAMILIES_ROPE_GRAD_H
#define PARO_FAMILIES_ROPE_GRAD_H

#include "families/family.h"

enum {
    PARO_ROPE_GRAD_ARG_D_Q,
    PARO_ROPE_GRAD_ARG_D_KEYS,
    PARO_ROPE_GRAD_ARG_D_VALUES,
    PARO_ROPE_GRAD_ARG_QKV,
    PARO_ROPE_GRAD_ARG_Q_NORM,
    PARO_ROPE_GRAD_ARG_K_NORM,
    PARO_ROPE_GRAD_ARG_EPSILON,
    PARO_ROPE_GRAD_ARG_COSSIN,
    PARO_ROPE_GRAD_ARG_SAMPLES,
    PARO_ROPE_GRAD_ARG_TOKENS,
    PARO_ROPE_GRAD_ARG_D_QKV
};

extern const paro_family paro_family_rope_grad;

#endif
