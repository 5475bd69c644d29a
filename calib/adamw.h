/* SPDX-License-Identifier: MIT
 *
 * AdamW (Loshchilov and Hutter 2019) and the cosine schedule of its learning rate.
 */
#ifndef PARO_CALIB_ADAMW_H
#define PARO_CALIB_ADAMW_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/thread.h"

typedef struct paro_adamw_options {
    double beta1, beta2, epsilon, weight_decay;
} paro_adamw_options;

/* One parameter's moments. */
typedef struct paro_adamw {
    size_t n;
    float *first, *second; /* [n] */
} paro_adamw;

paro_status paro_adamw_new(paro_error *err, size_t n, paro_adamw *out);
void paro_adamw_release(paro_adamw *adamw); /* NULL and zeroed are fine */

/* Step number `step` (from 1): p <- p (1 - lr decay) - lr m^ / (sqrt(v^) + epsilon), with
 * bias-corrected moments. */
void paro_adamw_step(paro_adamw *adamw, paro_pool *pool, const paro_adamw_options *options,
                     double lr, uint64_t step, const float *gradient, float *parameter);

/* lr at step `step` (from 0) of n_steps: from lr down to lr * last along half a cosine. */
double paro_cosine_lr(double lr, double last, uint64_t step, uint64_t n_steps);

#endif
