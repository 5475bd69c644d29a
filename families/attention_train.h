/* SPDX-License-Identifier: MIT
 *
 * attention_train: causal attention over whole samples, each alone, as its backward wants it
 * (templates/attention_train.cu).
 */
#ifndef PARO_FAMILIES_ATTENTION_TRAIN_H
#define PARO_FAMILIES_ATTENTION_TRAIN_H

#include "families/family.h"

enum {
    PARO_ATTENTION_TRAIN_ARG_Q,
    PARO_ATTENTION_TRAIN_ARG_KEYS,
    PARO_ATTENTION_TRAIN_ARG_VALUES,
    PARO_ATTENTION_TRAIN_ARG_TOKENS,
    PARO_ATTENTION_TRAIN_ARG_Y,
    PARO_ATTENTION_TRAIN_ARG_LSE
};

extern const paro_family paro_family_attention_train;

#endif
