/* SPDX-License-Identifier: MIT
 *
 * What comes into the linears of a block, a batch of samples at a time: for searches and sums that
 * need no more of it in memory.
 */
#ifndef PARO_CALIB_LINEAR_INPUTS_H
#define PARO_CALIB_LINEAR_INPUTS_H

#include "calib/calib_block.h"

/* q, k and v read the same input, as do gate and up: the first of those that share a slot's. */
paro_slot paro_slot_first(paro_slot slot);

/* A batch: rows [n_rows, n_in] of every slot's input, those of training tokens first_row .. of the
 * block, counted over samples. Valid during the call only. */
typedef struct paro_linear_inputs {
    size_t first_row, n_rows;
    const float *rows[PARO_SLOT_COUNT];
} paro_linear_inputs;

/* PARO_STATUS_OK to go on; anything else ends the pass with that status. */
typedef paro_status paro_linear_inputs_fn(paro_error *err, void *context,
                                          const paro_linear_inputs *inputs);

/* Runs the block on its first n_samples training samples and hands their inputs to fn, in order.
 * Linears that are rounded compute with their codes, all others with w as it is. Reports progress
 * as "block L: inputs", in samples. */
paro_status paro_linear_inputs_each(paro_error *err, const paro_calib_block *block,
                                    size_t n_samples, paro_linear_inputs_fn *fn, void *context);

#endif
