/* SPDX-License-Identifier: MIT
 *
 * Training a block: one stage of the reference's two (arXiv 2511.10645, v0.1.16), or any other set
 * of parameters.
 *
 * Loss: smooth L1 on the block's output. AdamW, cosine decay of every learning rate to
 * `last_lr` of it over the stage. The validation loss is taken before the first epoch and after
 * each; the best state seen is what the block is left with.
 */
#ifndef PARO_CALIB_OPTIMISE_H
#define PARO_CALIB_OPTIMISE_H

#include "calib/adamw.h"
#include "calib/calib_block.h"
#include "calib/fake_quant.h"

typedef enum paro_trainable {
    PARO_TRAINABLE_ANGLES,
    PARO_TRAINABLE_CHANNEL_SCALES,
    PARO_TRAINABLE_WEIGHT,
    PARO_TRAINABLE_QUANTIZER, /* step and zero: from then on learned */
    PARO_TRAINABLE_COUNT
} paro_trainable;

const char *paro_trainable_name(paro_trainable trainable); /* "angles", "channel_scales", … */

typedef struct paro_optimise_options {
    double lr[PARO_TRAINABLE_COUNT]; /* 0: frozen */
    uint32_t epochs;
    uint32_t batch;           /* samples of one step's gradient; 0: 16 */
    uint32_t accumulate;      /* a step's batch in so many parts, one after another; 0: 1 */
    double last_lr;           /* share of lr at the end; 0: 1/20 */
    paro_adamw_options adamw; /* all 0: beta 0.9 and 0.95, epsilon 1e-10, decay 0.01 */
    bool reference_zero;      /* fake_quant.h */
    uint64_t seed;            /* of the order of samples */
} paro_optimise_options;

typedef enum paro_optimise_end {
    PARO_OPTIMISE_END_DONE,
    PARO_OPTIMISE_END_NOT_FINITE, /* a loss or gradient was NaN or infinite */
    PARO_OPTIMISE_END_COLLAPSED,  /* many of a linear's scales or steps came down to nothing */
    PARO_OPTIMISE_END_ONLY_ROSE   /* the validation loss never came below its start */
} paro_optimise_end;

enum { PARO_OPTIMISE_MAX_EPOCHS = 1000, PARO_OPTIMISE_DIAGNOSIS_BYTES = 256 };

typedef struct paro_optimise_report {
    paro_optimise_end end;
    char diagnosis[PARO_OPTIMISE_DIAGNOSIS_BYTES]; /* "" where all went well */
    double first_loss, best_loss, last_loss;       /* of validation */
    uint32_t best_epoch;                           /* 0: the start */
    uint32_t n_epochs;                             /* run */
    double seconds;
} paro_optimise_report;

/* Trains what is neither kept nor rounded; the others are constants. Channel scales stay within
 * 1/10000 .. 10000 and steps above PARO_STEP_MIN, whatever AdamW would do with a channel that does
 * not matter; where more than one in 20 of a linear's come down to that, it is COLLAPSED.
 *
 * Reports progress as "block L: optimise", in steps. On failure, and where it is asked to stop, the
 * block is as it was. Ends other than DONE are no failure: the block has its best state, the log
 * has a warning with the diagnosis. Without validation samples the last state counts, the losses
 * are means over an epoch's steps, and after NOT_FINITE and COLLAPSED all values are as before. The
 * result does not depend on the number of threads, nor, but for rounding, on `accumulate`. */
paro_status paro_optimise(paro_error *err, paro_calib_block *block,
                          const paro_optimise_options *options, paro_optimise_report *report);

#endif
