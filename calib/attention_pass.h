/* SPDX-License-Identifier: MIT
 *
 * Causal attention of one sample, forward and backward: the part of a block's pass that is done
 * head by head. What paro_ref_attention_f32 defines.
 */
#ifndef PARO_CALIB_ATTENTION_PASS_H
#define PARO_CALIB_ATTENTION_PASS_H

#include <stdbool.h>
#include <stddef.h>

#include "cpu/train_ops.h"

/* q, out [n_tokens, n_heads, head_dim]; k, v [n_tokens, n_kv_heads, head_dim]. */
typedef struct paro_attention_pass {
    const paro_train_ops *ops;
    size_t n_tokens, n_heads, n_kv_heads, head_dim;
} paro_attention_pass;

/* Values of scratch that forward takes, and backward; SIZE_MAX where that is over the address
 * space. */
size_t paro_attention_pass_scratch(const paro_attention_pass *pass, bool backward);

/* The columns of `head` of out. */
void paro_attention_pass_forward(const paro_attention_pass *pass, size_t head, const float *q,
                                 const float *k, const float *v, float *scratch, float *out);

/* From d_out, the gradient of out: the columns of kv_head in k and v, and of the heads that read it
 * in q, <- their gradients. */
void paro_attention_pass_backward(const paro_attention_pass *pass, size_t kv_head,
                                  const float *d_out, float *scratch, float *q, float *k, float *v);

#endif
