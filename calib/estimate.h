/* SPDX-License-Identifier: MIT
 *
 * What calibrating would cost, found by rehearsing one block: its long stages only say what they
 * would do to so many samples, everything else runs, on a handful of tokens.
 */
#ifndef PARO_CALIB_ESTIMATE_H
#define PARO_CALIB_ESTIMATE_H

#include "base/buffer.h"
#include "calib/calib_block.h"

/* A rehearsal (paro_calib_block's `estimate`). */
typedef struct paro_calib_estimate {
    size_t n_train, n_validation, n_tokens; /* of the real run */
    double operations;                      /* floating-point, of the stages so far */
    uint64_t memory_bytes;                  /* the most that one of them needs */
    paro_buffer steps;                      /* in words, "; " between them */
} paro_calib_estimate;

/* Adds a stage: to be called by one that finds block->estimate set, once its options are checked,
 * instead of its work. */
paro_status paro_estimate_add(paro_error *err, const paro_calib_block *block, double operations,
                              uint64_t memory_bytes, const char *format, ...) PARO_PRINTF(5, 6);

/* Floating-point operations of a forward pass of n_samples of the real run through the block; a
 * backward pass takes twice as many. */
double paro_estimate_pass(const paro_calib_block *block, size_t n_samples);

/* Weights of the block's linears that are not kept. */
double paro_estimate_weights(const paro_calib_block *block);

/* Bytes of a pass of `batch` samples of the real run. */
uint64_t paro_estimate_pass_bytes(const paro_calib_block *block, size_t batch, bool backward);

#endif
