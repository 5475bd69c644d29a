/* SPDX-License-Identifier: MIT
 *
 * rope: norms of queries and keys, rotary embedding, append to the cache (templates/rope.cu).
 */
#ifndef PARO_FAMILIES_ROPE_H
#define PARO_FAMILIES_ROPE_H

#include "families/family.h"

enum {
    PARO_ROPE_ARG_QKV,
    PARO_ROPE_ARG_Q_NORM,
    PARO_ROPE_ARG_K_NORM,
    PARO_ROPE_ARG_EPSILON,
    PARO_ROPE_ARG_COSSIN,
    PARO_ROPE_ARG_STATE,
    PARO_ROPE_ARG_CAPACITY,
    PARO_ROPE_ARG_M,
    PARO_ROPE_ARG_Q,
    PARO_ROPE_ARG_KEYS,
    PARO_ROPE_ARG_VALUES
};

extern const paro_family paro_family_rope;

#endif
