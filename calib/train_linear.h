/* SPDX-License-Identifier: MIT
 *
 * One linear on its way to a quantised one: its weight, its transform, its quantiser, and at the
 * end its codes.
 *
 *     u = R(W * s)         s: weight_channel_scales, R: krot rounds of rotations (base/reference.h)
 *     q = clamp(round(u / step) + zero, 0, 2^bits - 1)            per row and group
 *     W^ = R^-1((q - zero) * step) / s                            what the layer computes with
 *
 * The checkpoint stores 1 / s as channel_scales: it multiplies the activation.
 */
#ifndef PARO_CALIB_TRAIN_LINEAR_H
#define PARO_CALIB_TRAIN_LINEAR_H

#include <stdbool.h>

#include "calib/method.h"

/* A step below this counts as this, as in base/reference.h. */
#define PARO_STEP_MIN 1e-5F

/* A step as it is computed with: at least that, and as F16 holds it, which is what a checkpoint
 * stores. */
float paro_train_step(float step);

/* Invariants: 1. everything is finite, scales are > 0; 2. theta of an empty pair slot (both
 * channels the same) is 0 and stays 0; 3. step and zero are both there or both NULL. */
typedef struct paro_train_linear {
    const char *name;
    uint32_t n_out, n_in;
    uint32_t bits;       /* 2 .. 8; 0: the linear is kept, and only w is there */
    uint32_t group_size; /* divides n_in; even */
    uint32_t krot;       /* rounds; 0: no rotation, pairs and theta are NULL */
    float *w;            /* [n_out, n_in] */
    int16_t *pairs;      /* [krot, n_in] channels within their group, as in paro_rotation */
    float *theta;        /* [krot, n_in / 2] radians */
    float *weight_channel_scales; /* [n_in] s */
    float *step;     /* [n_out, n_in / group_size] learned; NULL: from min and max of a group */
    float *zero;     /* [n_out, n_in / group_size] learned, any real number; or NULL */
    bool is_rounded; /* codes is the result, nothing of the above changes it any more */
    paro_quantised codes;
} paro_train_linear;

/* Everything for the sizes in it (n_out .. krot): w and theta zero, scales one, pairs all empty;
 * step and zero stay NULL, codes empty. */
paro_status paro_train_linear_alloc(paro_error *err, paro_train_linear *linear);
void paro_train_linear_release(paro_train_linear *linear); /* NULL and zeroed are fine */

/* Changes krot: other pairs and angles are allocated, as after alloc. */
paro_status paro_train_linear_set_krot(paro_error *err, paro_train_linear *linear, uint32_t krot);

/* step and zero from the min and max of every group of u, where they are NULL. */
paro_status paro_train_linear_start_quantiser(paro_error *err, paro_pool *pool,
                                              paro_train_linear *linear);

/* theta and s become what a checkpoint can hold: theta (less whole turns) and 1 / s rounded to F16.
 * What does not fit is PARO_STATUS_UNSUPPORTED, and nothing is changed then. Weights that are
 * trained afterwards are trained for the transform that they will have. Nothing to do for a linear
 * that is kept or rounded. */
paro_status paro_train_linear_round_transform(paro_error *err, paro_train_linear *linear);

/* Rounds to nearest: what a checkpoint can hold. theta (less whole turns) and 1 / s are rounded to
 * F16 first (and the linear's own set to what came out), u is computed from them, step rounded to
 * F16, zero to an integer in 0 .. 2^bits - 1; where they are NULL by base/reference.h's rule. Sets
 * is_rounded. What does not fit F16 is PARO_STATUS_UNSUPPORTED, and nothing is changed then. */
paro_status paro_train_linear_round(paro_error *err, paro_pool *pool, paro_train_linear *linear);

/* W^ [n_out, n_in] of a rounded linear: from codes, pairs, theta and 1 / s as F16 holds it. Of one
 * that is kept: its w. */
paro_status paro_train_linear_effective(paro_error *err, const paro_train_linear *linear,
                                        paro_pool *pool, float *w);

#endif
