/* SPDX-License-Identifier: MIT
 *
 * rotate: one input to one or several rotated outputs (templates/rotate.cu).
 */
#ifndef PARO_FAMILIES_ROTATE_H
#define PARO_FAMILIES_ROTATE_H

#include "families/family.h"

enum {
    PARO_ROTATE_ARG_X,
    PARO_ROTATE_ARG_PAIRS,
    PARO_ROTATE_ARG_COSSIN,
    PARO_ROTATE_ARG_CHANNEL_SCALES,
    PARO_ROTATE_ARG_Y,
    PARO_ROTATE_ARG_M
};

extern const paro_family paro_family_rotate;

#endif
