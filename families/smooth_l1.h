/* SPDX-License-Identifier: MIT
 *
 * smooth_l1: a block's loss and its gradient (templates/smooth_l1.cu): paro_smooth_l1 of
 * calib/block_pass.h.
 */
#ifndef PARO_FAMILIES_SMOOTH_L1_H
#define PARO_FAMILIES_SMOOTH_L1_H

#include "families/family.h"

enum {
    PARO_SMOOTH_L1_ARG_Y,
    PARO_SMOOTH_L1_ARG_TARGET,
    PARO_SMOOTH_L1_ARG_N,
    PARO_SMOOTH_L1_ARG_SCALE,
    PARO_SMOOTH_L1_ARG_DY,
    PARO_SMOOTH_L1_ARG_SUMS,
    PARO_SMOOTH_L1_ARG_LOSS
};

extern const paro_family paro_family_smooth_l1;

#endif
