/* SPDX-License-Identifier: MIT
 *
 * sample: the ids of the highest logits (templates/sample.cu).
 */
#ifndef PARO_FAMILIES_SAMPLE_H
#define PARO_FAMILIES_SAMPLE_H

#include "families/family.h"

enum {
    PARO_SAMPLE_ARG_LOGITS,
    PARO_SAMPLE_ARG_PIECE_LOGITS,
    PARO_SAMPLE_ARG_PIECE_IDS,
    PARO_SAMPLE_ARG_IDS
};

extern const paro_family paro_family_sample;

#endif
