/* SPDX-License-Identifier: MIT
 *
 * attention: m queries over a cache of keys and values (templates/attention.cu).
 *
 * Cases: capacity is ctx; an even seed puts the queries at the end of it, an odd one anywhere. Rows
 * of the cache behind the queries are poison.
 */
#ifndef PARO_FAMILIES_ATTENTION_H
#define PARO_FAMILIES_ATTENTION_H

#include "families/family.h"

enum {
    PARO_ATTENTION_ARG_Q,
    PARO_ATTENTION_ARG_KEYS,
    PARO_ATTENTION_ARG_VALUES,
    PARO_ATTENTION_ARG_STATE,
    PARO_ATTENTION_ARG_CAPACITY,
    PARO_ATTENTION_ARG_M,
    PARO_ATTENTION_ARG_Y,
    PARO_ATTENTION_ARG_SPLIT_VECTORS,
    PARO_ATTENTION_ARG_SPLIT_SUMS
};

extern const paro_family paro_family_attention;

#endif
