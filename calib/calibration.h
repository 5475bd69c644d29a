/* SPDX-License-Identifier: MIT
 *
 * All blocks of a model in order: what goes into each, what should come out, and what a recipe
 * makes of it.
 *
 * Inputs of a block are the outputs of the already quantised blocks before it; its target is the
 * output of the original block on the outputs of the original ones (the reference's rule, arXiv
 * 2511.10645, v0.1.16). Two sets of activations and one block's weights are in memory, or the
 * activations in a file.
 */
#ifndef PARO_CALIB_CALIBRATION_H
#define PARO_CALIB_CALIBRATION_H

#include "calib/block_store.h"
#include "calib/calib_block.h"
#include "calib/dataset.h"
#include "calib/plan.h"

#define PARO_CALIBRATION_MEMORY_BYTES (UINT64_C(8) << 30) /* the default, see below */

typedef struct paro_calibration_options {
    const char *work_dir;  /* finished blocks are kept there, and a later call goes on after them;
                              NULL: in memory */
    uint64_t memory_bytes; /* of each of the two sets of activations, above which it lies in a file
                              in work_dir; 0: 8 GiB */
    const paro_observer *observer; /* may be NULL */
    /* Not NULL: a rehearsal of the first block (estimate.h); the store stays empty. */
    struct paro_calib_estimate *estimate;
} paro_calibration_options;

/* Runs the plan's block function (plan.h) on every block and rounds what it leaves unrounded; the
 * results are in *out, which the caller frees. Reports progress as "calibrate", in blocks, beside
 * what the stages report. Cancelled or failed, the finished blocks stay in work_dir. The same plan,
 * model and data give the same bits, whether interrupted or not, on any number of threads. */
paro_status paro_calibrate(paro_error *err, const paro_model *model, const paro_plan *plan,
                           const paro_dataset *dataset, const paro_calibration_options *options,
                           paro_block_store **out);

/* paro_calibrate on the data that the plan asks for, from options' texts or by the model itself.
 * *out is NULL where the plan has no block function. work_dir as above. */
paro_status paro_calibrate_plan(paro_error *err, const paro_model *model, const paro_plan *plan,
                                const paro_quantize_options *options, const char *work_dir,
                                paro_block_store **out);

/* The n-th linear of the plan as calibrated (paro_block_store_get). */
paro_status paro_calibrated_get(paro_error *err, const paro_block_store *store,
                                const paro_plan *plan, size_t n, paro_train_linear *out);

#endif
