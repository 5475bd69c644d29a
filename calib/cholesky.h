/* SPDX-License-Identifier: MIT
 *
 * Cholesky factors of large symmetric matrices, in fp64, on all threads of a pool.
 */
#ifndef PARO_CALIB_CHOLESKY_H
#define PARO_CALIB_CHOLESKY_H

#include <stddef.h>

#include "base/error.h"
#include "base/thread.h"

/* The upper triangle of matrix [n, n] becomes that of M, upper triangular with matrix = M M^T (the
 * factor that begins at the last row; its inverse is the transposed usual factor of the inverse).
 * What is below the diagonal is not read, and is of no meaning afterwards.
 * PARO_STATUS_UNSUPPORTED, with the row, where the matrix is not positive definite; it is then of
 * no use any more. The result does not depend on the number of threads. */
paro_status paro_cholesky_upper(paro_error *err, paro_pool *pool, double *matrix, size_t n);

#endif
