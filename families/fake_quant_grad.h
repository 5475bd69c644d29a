/* SPDX-License-Identifier: MIT
 *
 * fake_quant_grad: the gradients of what is trained, from that of fake_quant's w_hat
 * (templates/fake_quant_grad.cu; calib/fake_quant.h says what they are).
 */
#ifndef PARO_FAMILIES_FAKE_QUANT_GRAD_H
#define PARO_FAMILIES_FAKE_QUANT_GRAD_H

#include "families/family.h"

/* Up to zero as in fake_quant.h. */
enum {
    PARO_FAKE_QUANT_GRAD_ARG_W,
    PARO_FAKE_QUANT_GRAD_ARG_PAIRS,
    PARO_FAKE_QUANT_GRAD_ARG_THETA,
    PARO_FAKE_QUANT_GRAD_ARG_CHANNEL_SCALES,
    PARO_FAKE_QUANT_GRAD_ARG_STEP,
    PARO_FAKE_QUANT_GRAD_ARG_ZERO,
    PARO_FAKE_QUANT_GRAD_ARG_D_W_HAT,
    PARO_FAKE_QUANT_GRAD_ARG_D_W,
    PARO_FAKE_QUANT_GRAD_ARG_D_STEP,
    PARO_FAKE_QUANT_GRAD_ARG_D_ZERO,
    PARO_FAKE_QUANT_GRAD_ARG_D_THETA,
    PARO_FAKE_QUANT_GRAD_ARG_D_CHANNEL_SCALES,
    PARO_FAKE_QUANT_GRAD_ARG_ANGLE_SUMS,
    PARO_FAKE_QUANT_GRAD_ARG_SCALE_SUMS
};

extern const paro_family paro_family_fake_quant_grad;

#endif
