/* SPDX-License-Identifier: MIT
 *
 * fake_quant: a weight as its quantised layer will compute with it, from what is trained
 * (templates/fake_quant.cu; the function is calib/fake_quant.h's).
 */
#ifndef PARO_FAMILIES_FAKE_QUANT_H
#define PARO_FAMILIES_FAKE_QUANT_H

#include "families/family.h"

enum {
    PARO_FAKE_QUANT_ARG_W,
    PARO_FAKE_QUANT_ARG_PAIRS,
    PARO_FAKE_QUANT_ARG_THETA,
    PARO_FAKE_QUANT_ARG_CHANNEL_SCALES,
    PARO_FAKE_QUANT_ARG_STEP,
    PARO_FAKE_QUANT_ARG_ZERO,
    PARO_FAKE_QUANT_ARG_W_HAT
};

extern const paro_family paro_family_fake_quant;

#endif
