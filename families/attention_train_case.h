/* SPDX-License-Identifier: MIT
 *
 * The reference in fp64 of attention over whole samples, for the families of its forward and its
 * backward: causal, each sample alone, grouped heads, scores times 1 / sqrt(head_dim).
 */
#ifndef PARO_FAMILIES_ATTENTION_TRAIN_CASE_H
#define PARO_FAMILIES_ATTENTION_TRAIN_CASE_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/thread.h"

enum { PARO_ATTENTION_TRAIN_MAX_HEAD_DIM = 256 };

/* Inputs as they lie in memory; shapes are those of the families' arguments. */
typedef struct paro_attention_train_case {
    size_t samples, tokens, heads, kv_heads, head_dim;
    paro_dtype dtype;
    const void *q, *keys, *values, *dy; /* dy: of a backward */
} paro_attention_train_case;

/* One row: y [head_dim] and the logarithm of its sum of exponentials. */
double paro_attention_train_case_row(const paro_attention_train_case *c, size_t sample, size_t head,
                                     size_t token, double *y);

/* y [samples, tokens, heads, head_dim], lse [samples, heads, tokens] */
void paro_attention_train_case_forward(const paro_attention_train_case *c, paro_pool *pool,
                                       double *y, double *lse);

/* All are written. */
void paro_attention_train_case_backward(const paro_attention_train_case *c, paro_pool *pool,
                                        double *d_q, double *d_keys, double *d_values);

#endif
