/* SPDX-License-Identifier: MIT
 *
 * GPTQ's rounding of one matrix, given the Hessian of what it multiplies.
 */
#ifndef PARO_CALIB_GPTQ_ROUND_H
#define PARO_CALIB_GPTQ_ROUND_H

#include "calib/gptq.h"

/* Fills `quantised` (allocated) from u [n_out, n_in], all finite. hessian [n_in, n_in], both
 * triangles, is used up. In columns whose diagonal is 0 (nothing ever came in) u becomes 0.
 * With has_ranges, quantised has its scales and zeros already; else they are found.
 *
 * PARO_STATUS_UNSUPPORTED where the damped Hessian is not positive definite, or a scale does not
 * fit F16. The result does not depend on the number of threads. Of the options damping and
 * act_order count. */
paro_status paro_gptq_round(paro_error *err, paro_pool *pool, float *u, double *hessian,
                            const paro_gptq_options *options, bool has_ranges,
                            paro_quantised *quantised);

#endif
