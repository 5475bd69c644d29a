/* SPDX-License-Identifier: MIT
 *
 * Causal attention of one sample, forward and backward.
 *
 * A head's queries are taken a block at a time, against the keys up to the block's last query: what
 * lies above the diagonal is computed only within a block. A block's weights are made whole, so its
 * softmax needs no second look; backward makes them again rather than keeping them, which would
 * take n_heads * n_tokens^2 values a sample.
 */
#include "calib/attention_pass.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cpu/blas.h"

enum { QUERIES = 64 }; /* of a block */

size_t paro_attention_pass_scratch(const paro_attention_pass *pass, bool backward)
{
    /* Weights; their gradient, the gradients of k and v. */
    size_t a_token = QUERIES;
    if (backward && __builtin_add_overflow(2 * a_token, 2 * pass->head_dim, &a_token))
        return SIZE_MAX;
    size_t n;
    return __builtin_mul_overflow(a_token, pass->n_tokens, &n) ? SIZE_MAX : n;
}

static float score_scale(const paro_attention_pass *pass)
{
    return (float)(1 / sqrt((double)pass->head_dim));
}

static size_t n_queries_of(const paro_attention_pass *pass, size_t first)
{
    return pass->n_tokens - first < QUERIES ? pass->n_tokens - first : QUERIES;
}

/* weights [n_queries, n_tokens] of queries first .. on, q and k at their head; keys that a query
 * does not see have weight 0. */
static void make_weights(const paro_attention_pass *pass, size_t first, const float *q,
                         const float *k, float *weights)
{
    size_t n_queries = n_queries_of(pass, first), n_keys = first + n_queries;
    size_t q_stride = pass->n_heads * pass->head_dim, k_stride = pass->n_kv_heads * pass->head_dim;
    paro_blas_product_transposed(n_queries, n_keys, pass->head_dim, score_scale(pass),
                                 q + first * q_stride, q_stride, k, k_stride, 0, weights,
                                 pass->n_tokens);
    for (size_t i = 0; i < n_queries; i++) {
        float *row = weights + i * pass->n_tokens;
        pass->ops->softmax(row, first + i + 1);
        memset(row + first + i + 1, 0, (n_queries - i - 1) * sizeof *row);
    }
}

void paro_attention_pass_forward(const paro_attention_pass *pass, size_t head, const float *q,
                                 const float *k, const float *v, float *scratch, float *out)
{
    size_t head_dim = pass->head_dim, kv_head = head / (pass->n_heads / pass->n_kv_heads);
    size_t q_stride = pass->n_heads * head_dim, k_stride = pass->n_kv_heads * head_dim;
    for (size_t first = 0; first < pass->n_tokens; first += QUERIES) {
        size_t n_queries = n_queries_of(pass, first);
        make_weights(pass, first, q + head * head_dim, k + kv_head * head_dim, scratch);
        paro_blas_product(n_queries, head_dim, first + n_queries, 1, scratch, pass->n_tokens,
                          v + kv_head * head_dim, k_stride, 0,
                          out + first * q_stride + head * head_dim, q_stride);
    }
}

/* One block of queries; q, k, v, d_out at their head. dk, dv [n_tokens, head_dim] grow. */
static void block_backward(const paro_attention_pass *pass, size_t first, const float *d_out,
                           float *scratch, float *q, const float *k, const float *v, float *dk,
                           float *dv)
{
    size_t n_tokens = pass->n_tokens, head_dim = pass->head_dim;
    size_t n_queries = n_queries_of(pass, first), n_keys = first + n_queries;
    size_t q_stride = pass->n_heads * head_dim, k_stride = pass->n_kv_heads * head_dim;
    float *weights = scratch, *d_weights = scratch + QUERIES * n_tokens;
    make_weights(pass, first, q, k, weights);
    q += first * q_stride;
    d_out += first * q_stride;
    paro_blas_product_outer(n_keys, head_dim, n_queries, 1, weights, n_tokens, d_out, q_stride, 1,
                            dv, head_dim);
    paro_blas_product_transposed(n_queries, n_keys, head_dim, 1, d_out, q_stride, v, k_stride, 0,
                                 d_weights, n_tokens);
    for (size_t i = 0; i < n_queries; i++)
        pass->ops->softmax_backward(weights + i * n_tokens, n_keys, score_scale(pass),
                                    d_weights + i * n_tokens);
    paro_blas_product_outer(n_keys, head_dim, n_queries, 1, d_weights, n_tokens, q, q_stride, 1, dk,
                            head_dim);
    paro_blas_product(n_queries, head_dim, n_keys, 1, d_weights, n_tokens, k, k_stride, 0, q,
                      q_stride);
}

void paro_attention_pass_backward(const paro_attention_pass *pass, size_t kv_head,
                                  const float *d_out, float *scratch, float *q, float *k, float *v)
{
    size_t n_tokens = pass->n_tokens, head_dim = pass->head_dim;
    size_t heads_per_kv = pass->n_heads / pass->n_kv_heads;
    size_t k_stride = pass->n_kv_heads * head_dim;
    float *dk = scratch + 2 * QUERIES * n_tokens, *dv = dk + n_tokens * head_dim;
    memset(dk, 0, 2 * n_tokens * head_dim * sizeof *dk);
    k += kv_head * head_dim;
    v += kv_head * head_dim;
    for (size_t head = kv_head * heads_per_kv; head < (kv_head + 1) * heads_per_kv; head++)
        for (size_t first = 0; first < n_tokens; first += QUERIES)
            block_backward(pass, first, d_out + head * head_dim, scratch, q + head * head_dim, k, v,
                           dk, dv);
    for (size_t token = 0; token < n_tokens; token++) {
        memcpy(k + token * k_stride, dk + token * head_dim, head_dim * sizeof *k);
        memcpy(v + token * k_stride, dv + token * head_dim, head_dim * sizeof *v);
    }
}
