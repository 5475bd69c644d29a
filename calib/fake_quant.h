/* SPDX-License-Identifier: MIT
 *
 * Fake quantisation of a weight, forward and backward: W^ of train_linear.h as a differentiable
 * function of w, theta, weight_channel_scales, step and zero.
 *
 * Rounding and clamping pass gradients straight through, as in the reference (arXiv 2511.10645,
 * v0.1.16). Where step and zero are NULL they come from each group's min and max (and 0) at every
 * call, unrounded, and gradients flow through these too:
 *     step = max((max - min) / (2^bits - 1), 1e-5), zero = -min / step, rounded straight through.
 * Learned ones: zero is rounded and clamped to 0 .. 2^bits - 1 straight through.
 */
#ifndef PARO_CALIB_FAKE_QUANT_H
#define PARO_CALIB_FAKE_QUANT_H

#include "calib/train_linear.h"

/* w_hat [n_out, n_in]. */
void paro_fake_quant_forward(const paro_train_linear *linear, paro_pool *pool, float *w_hat);

/* What to compute; NULL members are not. All are written, not added to. */
typedef struct paro_fake_quant_gradients {
    float *w;                     /* [n_out, n_in] */
    float *theta;                 /* [krot, n_in / 2]; 0 for empty slots */
    float *weight_channel_scales; /* [n_in] */
    float *step;                  /* [n_out, n_in / group_size]; only where it is learned */
    float *zero;                  /* likewise */
} paro_fake_quant_gradients;

typedef struct paro_fake_quant_options {
    bool reference_zero; /* zero gets no gradient, as in the reference: clamping passes all of it */
} paro_fake_quant_options;

/* From the gradient of w_hat, d_w_hat [n_out, n_in]. The result does not depend on the number of
 * threads. `options` may be NULL. */
paro_status paro_fake_quant_backward(paro_error *err, const paro_train_linear *linear,
                                     paro_pool *pool, const float *d_w_hat,
                                     const paro_fake_quant_options *options,
                                     const paro_fake_quant_gradients *out);

#endif
