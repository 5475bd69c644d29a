/* SPDX-License-Identifier: MIT
 *
 * GPTQ (Frantar et al. 2022, arXiv 2210.17323): rounding column by column, the error of each
 * carried into those that are still to come by the inverse Hessian of the layer's inputs. After a
 * transform it works in the rotated, scaled basis: error-compensating rounding of u = R(W s).
 */
#ifndef PARO_CALIB_GPTQ_H
#define PARO_CALIB_GPTQ_H

#include "calib/calib_block.h"

typedef struct paro_gptq_options {
    double damping; /* of the Hessian's mean diagonal; 0: 0.01 */
    bool act_order; /* columns by falling diagonal of the Hessian; groups stay where they are */
    bool true_sequential; /* inputs of later linears of the block come from the rounded ones before
                           */
    size_t max_tokens;    /* the first so many of the training samples; 0: all */
} paro_gptq_options;

/* Rounds every linear of the block that is neither kept nor rounded: codes, with step and zero as
 * learned, or from the min and max of each group of the weights as updated when its turn comes
 * (with act_order: beforehand, of the weights as they are). Theta and 1 / s are rounded to F16
 * first, as by paro_train_linear_round. Inputs are what linear_inputs.h gives; reports progress as
 * "block L: gptq" besides. On failure linears rounded by then stay so, others are as they were.
 * Fewer tokens than a linear has inputs are worth a warning. `options` may be NULL. */
paro_status paro_gptq(paro_error *err, paro_calib_block *block, const paro_gptq_options *options);

#endif
