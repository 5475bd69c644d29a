/* SPDX-License-Identifier: MIT
 *
 * Fake quantisation of a weight, forward and backward: W^ of train_linear.h as a differentiable
 * function of w, theta, weight_channel_scales, step and zero.
 *
 * With top = 2^bits - 1, per row and group, in the notation of train_linear.h:
 *
 *     learned       d = step(step), z = clamp(round(zero), 0, top)
 *     step is NULL  low = min(u, 0), high = max(u, 0)
 *                   d = step((high - low) / top), z = round(-low / d), at every call
 *     step(v)       paro_train_step: F16(max(v, PARO_STEP_MIN))
 *     both          r = round(u / d) + z, c = clamp(r, 0, top), q^ = (c - z) d
 *
 * Gradients are exact but for this: every round passes them straight through, and so do the bounds
 * of a learned step and zero. What is left is the clamp of r.
 *     0 <= r <= top   dq^/du = 1, dq^/dd = (c - z) - u / d, dq^/dz = 0
 *     elsewhere       dq^/du = 0, dq^/dd = c - z, dq^/dz = -d: the true gradient; or, with
 *                     reference_zero (arXiv 2511.10645, v0.1.16), as inside
 * low and high pass theirs on to the first element that is equal to them, where it is not the 0; d
 * at its bound passes nothing on to them.
 */
#ifndef PARO_CALIB_FAKE_QUANT_H
#define PARO_CALIB_FAKE_QUANT_H

#include "calib/train_linear.h"

/* w_hat [n_out, n_in]. For linears that are neither kept nor rounded, as all here. */
paro_status paro_fake_quant_forward(paro_error *err, const paro_train_linear *linear,
                                    paro_pool *pool, float *w_hat);

/* What to compute; NULL members are not. All are written, not added to. Only w may overlap. */
typedef struct paro_fake_quant_gradients {
    float *w;                     /* [n_out, n_in]; may be d_w_hat itself */
    float *theta;                 /* [krot, n_in / 2]; 0 for empty slots */
    float *weight_channel_scales; /* [n_in] */
    float *step;                  /* [n_out, n_in / group_size]; NULL where it is not learned */
    float *zero;                  /* likewise */
} paro_fake_quant_gradients;

typedef struct paro_fake_quant_options {
    bool reference_zero; /* clamping passes all of the gradient: zero gets none */
} paro_fake_quant_options;

/* From the gradient of w_hat, d_w_hat [n_out, n_in]. The result does not depend on the number of
 * threads. `options` may be NULL. */
paro_status paro_fake_quant_backward(paro_error *err, const paro_train_linear *linear,
                                     paro_pool *pool, const float *d_w_hat,
                                     const paro_fake_quant_options *options,
                                     const paro_fake_quant_gradients *out);

#endif
