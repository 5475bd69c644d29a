/* SPDX-License-Identifier: MIT
 *
 * What a vendor's library takes for a linear of the same shape with 16-bit weights: a baseline.
 */
#ifndef PARO_TUNER_BASELINE_H
#define PARO_TUNER_BASELINE_H

#include "families/family.h"
#include "gpu/cublaslt.h"

/* Whether the problem is a linear (has n, k and m). */
bool paro_baseline_applies(const paro_problem *problem);

/* Median microseconds of a product in replays of a graph whose weights rotate through more device
 * memory than twice the L2. x and w are random bytes that are numbers. */
paro_status paro_baseline_time(paro_error *err, paro_gpu *gpu, paro_cublaslt *lt,
                               const paro_problem *problem, uint32_t n_samples, double *us);

#endif
