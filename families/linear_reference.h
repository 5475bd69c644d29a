/* SPDX-License-Identifier: MIT
 *
 * What the tests' side of the linear families shares: a product in fp64, and random activations.
 */
#ifndef PARO_FAMILIES_LINEAR_REFERENCE_H
#define PARO_FAMILIES_LINEAR_REFERENCE_H

#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/thread.h"

enum { PARO_LINEAR_BLOCK = 16 };

/* Weights of rows first .. first + n_rows - 1 (n_rows <= PARO_LINEAR_BLOCK), transposed: w [k] of
 * PARO_LINEAR_BLOCK, of which n_rows are written. scratch: of the caller's size, of the worker. */
typedef void paro_linear_rows_fn(const void *context, uint64_t first, uint32_t n_rows,
                                 void *scratch, double *w);

/* y [m][y_stride], columns 0 .. n - 1, = x [m][k] W^T (+ bias [n]; may be NULL). */
typedef struct paro_linear_product {
    uint64_t n, k, m, y_stride;
    const double *x;
    const double *bias;
    paro_linear_rows_fn *rows;
    const void *context;
    size_t scratch_bytes;
    double *y;
} paro_linear_product;
paro_status paro_linear_reference(paro_error *err, const paro_linear_product *product,
                                  paro_pool *pool);

/* data [n] of F16, BF16 or F32 as fp64. */
void paro_linear_widen(double *out, const void *data, paro_dtype dtype, uint64_t n);

/* Activations: normal, and one of about 500 twenty times as large. */
void paro_linear_activations(void *data, paro_dtype dtype, uint64_t n, uint64_t seed,
                             paro_pool *pool);

/* Weights of F16 or BF16 of about `size` either way; fast, for heads of gigabytes. */
void paro_linear_weights(void *data, paro_dtype dtype, uint64_t n, double size, uint64_t seed,
                         paro_pool *pool);

#endif
