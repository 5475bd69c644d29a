/* SPDX-License-Identifier: MIT
 *
 * The small operations of a block that is trained, forward and backward, once per instruction set.
 *
 * A table of functions per set; train_ops_body.h has their one source. All is fp32 but the sum of
 * smooth_l1. Results may differ in the last bits between instruction sets. Arguments are trusted.
 */
#ifndef PARO_CPU_TRAIN_OPS_H
#define PARO_CPU_TRAIN_OPS_H

#include <stddef.h>

typedef struct paro_train_ops {
    const char *name; /* "avx2" or "generic" */

    /* x [n] <- exp(x - max) / sum of them; n > 0 */
    void (*softmax)(float *x, size_t n);

    /* d [n], the gradient of p [n] = softmax(scale * x), <- that of x: scale p (d - sum(p d)) */
    void (*softmax_backward)(const float *p, size_t n, float scale, float *d);

    /* y [n] = gate / (1 + exp(-gate)) * up; y may be gate or up */
    void (*swiglu)(const float *gate, const float *up, size_t n, float *y);

    /* gate, up [n] <- their gradients from that of swiglu's y, d [n] */
    void (*swiglu_backward)(const float *d, size_t n, float *gate, float *up);

    /* dx [n_rows, n] = add + the gradient of x from d [n_rows, n], that of paro_ops_norm's y; add
     * [n_rows, n] may be NULL. dx may be x, d or add. */
    void (*norm_backward)(const float *x, const float *weight, const float *d, size_t n_rows,
                          size_t n, double epsilon, const float *add, float *dx);

    /* Sum over n of 0.5 d^2 where |d| < 1, else |d| - 0.5, with d = y - target. dy [n], where it is
     * not NULL, = scale * d clamped to -1 .. 1. */
    double (*smooth_l1)(const float *y, const float *target, size_t n, float scale, float *dy);
} paro_train_ops;

/* The best that this machine has; never NULL. */
const paro_train_ops *paro_train_ops_best(void);

/* The n-th that this machine has, best first; NULL past the last. */
const paro_train_ops *paro_train_ops_get(size_t n);

/* The table of each set; NULL where the build is for another processor. */
const paro_train_ops *paro_train_ops_generic(void);
const paro_train_ops *paro_train_ops_avx2(void);

#endif
