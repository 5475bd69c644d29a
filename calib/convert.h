/* SPDX-License-Identifier: MIT
 *
 * From a model and a plan to the tensors of a checkpoint, one at a time, into a file or into
 * memory.
 */
#ifndef PARO_CALIB_CONVERT_H
#define PARO_CALIB_CONVERT_H

#include <paro/quantize.h>

#include "base/safetensors.h"
#include "calib/block_store.h"
#include "calib/format.h"

/* Where the tensors go. The members of `tensor` that say what it is (name, dtype, rank, shape) are
 * filled in; its name lives during the call only. Members that are NULL are not called. */
typedef struct paro_sink {
    void *context;
    /* All tensors, in the order in which they come later, before any comes. */
    paro_status (*declare)(paro_error *err, void *context, const paro_tensor *tensor);
    /* A new tensor; `data` (n_bytes from malloc) is the sink's from here on, also on failure. */
    paro_status (*put)(paro_error *err, void *context, const paro_tensor *tensor, void *data,
                       size_t n_bytes);
    /* A tensor of the source that stays as it is. */
    paro_status (*pass)(paro_error *err, void *context, const paro_tensor *source);
    /* A tensor of the source that is not part of the result. */
    paro_status (*hide)(paro_error *err, void *context, const paro_tensor *source);
    /* Pass F32 and BF16 tensors whose values F16 holds exactly, instead of putting a copy. */
    bool pass_exact;
} paro_sink;

/* `calibrated` has the linears of a plan with a block function (calibration.h), else it is NULL.
 * Fills n_quantized, n_kept and the errors of *result, untouched on failure. */
paro_status paro_convert(paro_error *err, const paro_model *model, const paro_plan *plan,
                         const paro_block_store *calibrated, const paro_format_row *format,
                         const paro_observer *observer, const paro_sink *sink,
                         paro_quantize_result *result);

/* memory.c: paro_quantize_in_memory with what paro_quantize says of its result, but n_shards, which
 * is 0. */
paro_status paro_convert_in_memory(paro_error *err, const paro_model *model, const paro_plan *plan,
                                   const paro_quantize_options *options,
                                   paro_quantize_result *result, paro_model **out);

#endif
