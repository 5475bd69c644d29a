/* SPDX-License-Identifier: MIT
 *
 * AWQ (Lin et al. 2023, arXiv 2306.00978): channel scales by a search over how strongly the
 * activations' magnitudes count, and clipping of the weights' ranges, both by the error of outputs.
 */
#ifndef PARO_CALIB_AWQ_H
#define PARO_CALIB_AWQ_H

#include "calib/calib_block.h"

typedef struct paro_awq_options {
    uint32_t n_grid;   /* exponents 0, 1/n, … (n-1)/n, and ranges in steps of 1/n; 0: 20 */
    bool no_scales;    /* clip only */
    bool no_clip;      /* scales only */
    double max_shrink; /* clip down to 1 - this of the range; 0: 0.5 */
    size_t max_tokens; /* of the activations the search looks at, evenly taken; 0: 2048 */
} paro_awq_options;

/* For every linear of the block that is neither kept nor rounded: weight_channel_scales, then step
 * and zero of clipped ranges. Linears that share an input share one search of scales, of the sum of
 * their outputs' errors. q and k are not clipped: as in the published implementation. On top of a
 * rotation scales are left alone, and ranges are those of the rotated weight. Steps and zeros that
 * were there give way. Rounds nothing; on failure the block is as it was. Inputs are what
 * linear_inputs.h gives; reports progress as "block L: awq" besides. `options` may be NULL. */
paro_status paro_awq(paro_error *err, paro_calib_block *block, const paro_awq_options *options);

#endif
