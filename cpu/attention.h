/* SPDX-License-Identifier: MIT
 *
 * Causal attention with grouped heads on the CPU, over an fp32 KV cache.
 */
#ifndef PARO_CPU_ATTENTION_H
#define PARO_CPU_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/thread.h"

/* Keys and values of one layer: [n_kv_heads][capacity][head_dim] each, n_keys positions filled. */
typedef struct paro_kv_view {
    const float *keys;
    const float *values;
    size_t capacity;
    size_t n_keys;
    uint32_t n_kv_heads;
    uint32_t head_dim;
} paro_kv_view;

/* q, out [n_queries, n_heads, head_dim]; the queries' own keys and values are already in the cache:
 * query i stands at position n_keys - n_queries + i. What paro_ref_attention_f32 defines. */
paro_status paro_attention_forward(paro_error *err, paro_pool *pool, const paro_kv_view *kv,
                                   const float *q, size_t n_queries, uint32_t n_heads, float *out);

#endif
