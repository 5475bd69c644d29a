/* SPDX-License-Identifier: MIT
 *
 * AWQ's two searches over given inputs: of channel scales and of clipped ranges.
 */
#ifndef PARO_CALIB_AWQ_SEARCH_H
#define PARO_CALIB_AWQ_SEARCH_H

#include "calib/train_linear.h"

/* What came into linears that share an input. */
typedef struct paro_awq_inputs {
    const float *x; /* [n_rows, n_in] what outputs are compared on */
    size_t n_rows;
    const float *magnitudes; /* [n_in] mean |x|, of these rows or of more; finite */
} paro_awq_inputs;

/* Scales s = magnitudes^(i / n_grid), at least 1e-4, over sqrt(max s * min s), as the reciprocal
 * of an F16; the i of 0 .. n_grid - 1 is chosen for which the squared errors of the outputs of all
 * `linears`, whose weight is Q(W s) / s (to nearest, ranges of min and max), have the least sum.
 * errors [n_grid] has these sums; 0 is round to nearest. Linears have no rotation; their own
 * scales, steps and zeros are not looked at. The result does not depend on the number of threads.
 */
paro_status paro_awq_search_scales(paro_error *err, paro_pool *pool,
                                   const paro_train_linear *const *linears, size_t n_linears,
                                   const paro_awq_inputs *inputs, uint32_t n_grid, float *scales,
                                   double *errors);

/* step and zero [n_out, n_in / group_size] of ranges of u = R(W s): the min and max of each group,
 * both times 1 - i / n_grid, i from 0 up to max_shrink. The i with the least squared error of the
 * group's part of the output is chosen, row by row. steps are F16 values, zeros integers. Does not
 * depend on the number of threads. */
paro_status paro_awq_search_clip(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                                 const paro_awq_inputs *inputs, uint32_t n_grid, double max_shrink,
                                 float *step, float *zero);

#endif
