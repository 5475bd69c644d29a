/* SPDX-License-Identifier: MIT
 *
 * attention_grad: gradients of attention_train's queries, keys and values
 * (templates/attention_grad.cu).
 */
#ifndef PARO_FAMILIES_ATTENTION_GRAD_H
#define PARO_FAMILIES_ATTENTION_GRAD_H

#include "families/family.h"

enum {
    PARO_ATTENTION_GRAD_ARG_Q,
    PARO_ATTENTION_GRAD_ARG_KEYS,
    PARO_ATTENTION_GRAD_ARG_VALUES,
    PARO_ATTENTION_GRAD_ARG_Y,
    PARO_ATTENTION_GRAD_ARG_LSE,
    PARO_ATTENTION_GRAD_ARG_DY,
    PARO_ATTENTION_GRAD_ARG_SAMPLES,
    PARO_ATTENTION_GRAD_ARG_TOKENS,
    PARO_ATTENTION_GRAD_ARG_DELTA,
    PARO_ATTENTION_GRAD_ARG_D_Q,
    PARO_ATTENTION_GRAD_ARG_D_KEYS,
    PARO_ATTENTION_GRAD_ARG_D_VALUES
};

extern const paro_family paro_family_attention_grad;

#endif
