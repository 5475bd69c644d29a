/* SPDX-License-Identifier: MIT
 *
 * Blocks from the last to the first: a block of the diagonal is factored, the columns above it are
 * solved for, and their products leave the triangle that remains.
 */
#include "calib/cholesky.h"

#include <math.h>
#include <stdlib.h>

#include "cpu/blas.h"

enum { BLOCK = 128, SOLVE_ROWS = 32 };

typedef struct factoring {
    double *matrix;
    size_t n;
    size_t first, size; /* columns of the block in turn */
    double *factor;     /* [size, BLOCK] its factor, transposed: a row is a column of it */
} factoring;

/* Factors the block, without what stands right of it (that is subtracted already). Where a pivot
 * is not positive, its row; else n. */
static size_t factor_block(const factoring *f)
{
    for (size_t j = f->size; j-- > 0;) {
        double *column = f->factor + j * BLOCK;
        for (size_t i = 0; i <= j; i++)
            column[i] = f->matrix[(f->first + i) * f->n + f->first + j];
    }
    for (size_t j = f->size; j-- > 0;) {
        double *column = f->factor + j * BLOCK;
        if (!(column[j] > 0) || !isfinite(column[j]))
            return f->first + j;
        double pivot = sqrt(column[j]);
        for (size_t i = 0; i < j; i++)
            column[i] /= pivot;
        column[j] = pivot;
        for (size_t t = 0; t < j; t++)
            for (size_t i = 0; i <= t; i++)
                f->factor[t * BLOCK + i] -= column[t] * column[i];
    }
    for (size_t j = 0; j < f->size; j++)
        for (size_t i = 0; i <= j; i++)
            f->matrix[(f->first + i) * f->n + f->first + j] = f->factor[j * BLOCK + i];
    return f->n;
}

/* Rows above the block: x M^T = row, from the last column to the first. */
static void solve_rows(void *context, size_t part, int worker)
{
    (void)worker;
    const factoring *f = context;
    size_t end = (part + 1) * SOLVE_ROWS < f->first ? (part + 1) * SOLVE_ROWS : f->first;
    for (size_t row = part * SOLVE_ROWS; row < end; row++) {
        double *x = f->matrix + row * f->n + f->first;
        for (size_t j = f->size; j-- > 0;) {
            const double *column = f->factor + j * BLOCK;
            double value = x[j] / column[j];
            x[j] = value;
            for (size_t i = 0; i < j; i++)
                x[i] -= value * column[i];
        }
    }
}

/* One tile of what remains: of the pair-th pair (i, j), i <= j, of tiles. */
static void subtract_tile(void *context, size_t pair, int worker)
{
    (void)worker;
    const factoring *f = context;
    size_t j = 0;
    while ((j + 1) * (j + 2) / 2 <= pair)
        j++;
    size_t i = pair - j * (j + 1) / 2;
    const double *columns = f->matrix + f->first;
    paro_blas_product_transposed_f64(BLOCK, BLOCK, f->size, -1, columns + i * BLOCK * f->n, f->n,
                                     columns + j * BLOCK * f->n, f->n, 1,
                                     f->matrix + i * BLOCK * f->n + j * BLOCK, f->n);
}

paro_status paro_cholesky_upper(paro_error *err, paro_pool *pool, double *matrix, size_t n)
{
    double *factor = malloc(sizeof *factor * BLOCK * BLOCK);
    if (factor == NULL)
        return paro_fail_memory(err, sizeof *factor * BLOCK * BLOCK, "a block of a factor");
    paro_status status = PARO_STATUS_OK;
    for (size_t block = (n + BLOCK - 1) / BLOCK; block-- > 0;) {
        size_t first = block * BLOCK;
        factoring f = {matrix, n, first, n - first < BLOCK ? n - first : BLOCK, factor};
        size_t bad = factor_block(&f);
        if (bad < n) {
            status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                               "row %zu of %zu: expected a positive pivot, found %g", bad, n,
                               factor[(bad - first) * (BLOCK + 1)]);
            break;
        }
        paro_pool_run(pool, (first + SOLVE_ROWS - 1) / SOLVE_ROWS, solve_rows, &f);
        paro_pool_run(pool, block * (block + 1) / 2, subtract_tile, &f);
    }
    free(factor);
    return status;
}
