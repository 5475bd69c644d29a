/* SPDX-License-Identifier: MIT
 *
 * pack_w4: a checkpoint's INT4 weight to the layout that kernels read (templates/pack_w4.cu).
 */
#ifndef PARO_FAMILIES_PACK_W4_H
#define PARO_FAMILIES_PACK_W4_H

#include "families/family.h"

enum {
    PARO_PACK_W4_ARG_QWEIGHT,
    PARO_PACK_W4_ARG_QZEROS,
    PARO_PACK_W4_ARG_SCALES,
    PARO_PACK_W4_ARG_CODES,
    PARO_PACK_W4_ARG_ZEROS,
    PARO_PACK_W4_ARG_PACKED_SCALES
};

extern const paro_family paro_family_pack_w4;

#endif
