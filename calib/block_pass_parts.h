/* SPDX-License-Identifier: MIT
 *
 * The inside of a block's pass, for the files that make it up.
 *
 * Rows are the tokens of all samples, m = n_samples * n_tokens. Work on them is cut into tasks by
 * shape alone: blocks of PARO_PASS_ROWS rows go through all that needs no other row while they are
 * in the cache; attention is cut by sample and head; gradients of weights by rows of the weight, so
 * that their sums over m run in one order.
 *
 * Invariants: 1. n_samples > 0: every buffer has what the last forward computed, nothing was
 * destroyed by a backward; 2. what backward = false does not need is not allocated: gated is gate,
 * raw_q and raw_k are NULL.
 */
#ifndef PARO_CALIB_BLOCK_PASS_PARTS_H
#define PARO_CALIB_BLOCK_PASS_PARTS_H

#include "calib/attention_pass.h"
#include "calib/block_pass.h"

enum { PARO_PASS_ROWS = 256 };

struct paro_block_pass {
    const paro_model *model;
    uint32_t layer;
    paro_block_pass_options options;
    paro_attention_pass attention;
    const float *weights[PARO_SLOT_COUNT]; /* borrowed; NULL: not set yet */
    size_t n_samples;                      /* of the last forward; 0: none */

    float *input_norm, *post_attention_norm; /* [hidden] */
    float *q_norm, *k_norm;                  /* [head_dim]; NULL without qk_norm */
    float *cosines, *sines;                  /* [n_tokens, head_dim / 2] */
    float *minus_sines;                      /* turns back */
    float *biases[PARO_SLOT_COUNT];          /* [n_out]; NULL: none */

    float *normed;     /* [m, hidden], read by q, k, v */
    float *q, *k, *v;  /* [m, heads, head_dim], as attention reads them; backward: their gradients,
                          in the end those of the linears' outputs */
    float *raw_q;      /* before q_norm */
    float *raw_k;      /* before k_norm */
    float *attended;   /* [m, n_heads * head_dim], read by o */
    float *d_attended; /* its gradient */
    float *residual;   /* [m, hidden], x + o; backward: its gradient */
    float *mlp_normed; /* [m, hidden], read by gate and up */
    float *gate, *up;  /* [m, intermediate]; backward: their gradients */
    float *gated;      /* [m, intermediate], read by down */
    float *scratch;    /* of all workers */
    size_t scratch_count; /* of one */
};

static inline size_t paro_pass_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline float *paro_pass_scratch(const paro_block_pass *pass, int worker)
{
    return pass->scratch + (size_t)worker * pass->scratch_count;
}

/* A block of rows. */
typedef struct paro_pass_rows {
    size_t first, n;
} paro_pass_rows;

static inline size_t paro_pass_n_row_blocks(const paro_block_pass *pass)
{
    return (pass->n_samples * pass->options.n_tokens + PARO_PASS_ROWS - 1) / PARO_PASS_ROWS;
}

static inline paro_pass_rows paro_pass_row_block(const paro_block_pass *pass, size_t i)
{
    size_t first = i * PARO_PASS_ROWS;
    size_t m = pass->n_samples * pass->options.n_tokens;
    return (paro_pass_rows){first, paro_pass_min(PARO_PASS_ROWS, m - first)};
}

/* x [rows, n_heads, head_dim] turned to the rows' positions, or with minus_sines back. */
void paro_pass_rope(const paro_block_pass *pass, paro_pass_rows rows, uint32_t n_heads,
                    const float *sines, float *x);

#endif
