/* SPDX-License-Identifier: MIT
 *
 * A block on its way: its linears, what goes in, what should come out. Stages (optimise, AWQ, GPTQ,
 * rounding, recipes) work on this; calibration.h makes one for every block in order.
 */
#ifndef PARO_CALIB_CALIB_BLOCK_H
#define PARO_CALIB_CALIB_BLOCK_H

#include <paro/observer.h>

#include "calib/activations.h"
#include "calib/train_linear.h"
#include "runtime/model.h"

struct paro_calib_estimate;

typedef struct paro_calib_block {
    const paro_model *model; /* the original */
    uint32_t layer;
    paro_pool *pool;
    const paro_observer *observer; /* may be NULL */
    paro_train_linear linears[PARO_SLOT_COUNT];
    /* x: outputs of the already quantised blocks before; target: the original block's output on the
     * original blocks' outputs. Training samples first, then n_validation held out. */
    const paro_activations *x, *target;
    size_t n_train, n_validation;
    size_t batch; /* samples that passes take at a time where nothing says otherwise; 0: all */
    /* NULL, or this is a rehearsal (estimate.h): long stages change nothing and add to it. */
    struct paro_calib_estimate *estimate;
} paro_calib_block;

/* Loss (smooth L1, block_pass.h) of the block on samples first .. first + n_samples - 1, with each
 * linear as it stands: rounded ones by their codes, kept ones by w, others fake-quantised
 * (`quantised` false: these by w too). */
paro_status paro_calib_block_loss(paro_error *err, const paro_calib_block *block, size_t first,
                                  size_t n_samples, bool quantised, double *loss);

/* Rounds every linear that is not kept and not rounded yet, to nearest (paro_train_linear_round).
 */
paro_status paro_calib_block_round(paro_error *err, paro_calib_block *block);

#endif
