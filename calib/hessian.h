/* SPDX-License-Identifier: MIT
 *
 * The Hessian of a linear layer's squared output error, 2 X^T X / n of its inputs X [n, n_in]: what
 * GPTQ weighs rounding errors with.
 */
#ifndef PARO_CALIB_HESSIAN_H
#define PARO_CALIB_HESSIAN_H

#include "base/thread.h"
#include "calib/train_linear.h"

/* The sum over the rows seen so far. Products of a few hundred rows are formed in fp32, their sums
 * in fp64. */
typedef struct paro_hessian {
    size_t n; /* n_in */
    uint64_t n_rows;
    double *sums;  /* [n, n] X^T X, its upper triangle */
    float *rows;   /* scratch: some rows of x, transposed */
    float *tiles;  /* scratch: a tile for each thread */
    int n_threads; /* of the pool it was made for */
} paro_hessian;

paro_status paro_hessian_new(paro_error *err, paro_pool *pool, size_t n, paro_hessian *out);
void paro_hessian_release(paro_hessian *hessian); /* NULL and zeroed are fine */

/* Adds rows x [n_rows, n]; the pool is the one it was made for, or has no more threads. Does not
 * depend on the number of threads. */
void paro_hessian_add(paro_hessian *hessian, paro_pool *pool, const float *x, size_t n_rows);

/* out [n, n], both triangles: the Hessian of what the linear's quantised weight multiplies,
 * R(x / s), from that of x: R S^-1 H S^-1 R^T. n_rows is not 0. `out` may be hessian->sums, which
 * are then used up. */
paro_status paro_hessian_of_linear(paro_error *err, const paro_hessian *hessian, paro_pool *pool,
                                   const paro_train_linear *linear, double *out);

#endif
