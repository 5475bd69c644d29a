/* SPDX-License-Identifier: MIT
 *
 * One transformer block over a batch of whole samples in fp32, forward and backward: what
 * calibration trains through. On the CPU; matrix products by OpenBLAS through cpu/blas.h.
 *
 * Every sample stands alone: causal attention over its own tokens, positions from 0. What a block
 * computes is runtime/session_cpu.c's (the reference of each operation is base/reference.h).
 * Results do not depend on the number of threads.
 */
#ifndef PARO_CALIB_BLOCK_PASS_H
#define PARO_CALIB_BLOCK_PASS_H

#include "base/thread.h"
#include "runtime/model.h"

/* Parameters in fp32. The linears' weights are replaced at will between passes; the rest belongs to
 * the model's block and is copied by paro_block_pass_new. */
typedef struct paro_block_pass paro_block_pass;

typedef struct paro_block_pass_options {
    size_t max_samples; /* in one call */
    size_t n_tokens;    /* of every sample */
    bool backward;      /* keeps what backward needs */
} paro_block_pass_options;

/* For block `layer` of the model: its norms, biases and rope. Linears have no weights yet. */
paro_status paro_block_pass_new(paro_error *err, const paro_model *model, uint32_t layer,
                                const paro_block_pass_options *options, paro_block_pass **out);
void paro_block_pass_free(paro_block_pass *pass);

/* The bytes that paro_block_pass_new would allocate for a model that has so many threads;
 * UINT64_MAX where that is over the address space. */
uint64_t paro_block_pass_bytes(const paro_config *config, int n_threads,
                               const paro_block_pass_options *options);

/* weight [n_out, n_in] (row-major, borrowed: stays where it is until the next call that uses it).
 */
void paro_block_pass_set_weight(paro_block_pass *pass, paro_slot slot, const float *weight);

/* y [n_samples, n_tokens, hidden] from x, likewise; not the same memory. */
paro_status paro_block_pass_forward(paro_error *err, paro_block_pass *pass, const float *x,
                                    size_t n_samples, float *y);

/* After a forward: the input rows [n_samples * n_tokens, n_in] of a slot's linear, valid until the
 * next forward. q, k and v share theirs, as do gate and up. */
const float *paro_block_pass_input(const paro_block_pass *pass, paro_slot slot);

/* After a forward with the same x and weights: from dy [n_samples, n_tokens, hidden] the gradients
 * of the weights [n_out, n_in], added to d_weights[slot] where that is not NULL, and of x into dx
 * (may be NULL). Destroys what it needs: one backward for each forward. */
paro_status paro_block_pass_backward(paro_error *err, paro_block_pass *pass, const float *x,
                                     const float *dy, float *const d_weights[PARO_SLOT_COUNT],
                                     float *dx);

/* Loss of y against target, both [n]: smooth L1 with beta 1, the mean over elements
 * (0.5 d^2 where |d| < 1, else |d| - 0.5). dy (may be NULL): its gradient times `scale`. The sum is
 * formed in fp64, in an order that does not depend on threads. */
double paro_smooth_l1(paro_pool *pool, const float *y, const float *target, size_t n, float scale,
                      float *dy);

#endif
