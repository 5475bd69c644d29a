/* SPDX-License-Identifier: MIT
 *
 * Sums of products of input rows, tile by tile, and their change of basis.
 */
#include "calib/hessian.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/blas.h"

enum { CHUNK_ROWS = 256, TILE = 128, COPY_COLUMNS = 32 };

paro_status paro_hessian_new(paro_error *err, paro_pool *pool, size_t n, paro_hessian *out)
{
    if (n == 0 || n > SIZE_MAX / n / sizeof(double) || n > SIZE_MAX / CHUNK_ROWS / sizeof(float))
        return paro_fail_memory(err, SIZE_MAX, "a Hessian");
    paro_hessian hessian = {.n = n, .n_threads = paro_pool_n_threads(pool)};
    hessian.sums = calloc(n * n, sizeof *hessian.sums);
    hessian.rows = malloc(n * CHUNK_ROWS * sizeof *hessian.rows);
    hessian.tiles = malloc((size_t)hessian.n_threads * TILE * TILE * sizeof *hessian.tiles);
    if (hessian.sums == NULL || hessian.rows == NULL || hessian.tiles == NULL) {
        paro_hessian_release(&hessian);
        return paro_fail_memory(err, n * n * sizeof *hessian.sums, "a Hessian");
    }
    *out = hessian;
    return PARO_STATUS_OK;
}

void paro_hessian_release(paro_hessian *hessian)
{
    if (hessian == NULL)
        return;
    free(hessian->sums);
    free(hessian->rows);
    free(hessian->tiles);
    memset(hessian, 0, sizeof *hessian);
}

static size_t end_of(size_t part, size_t size, size_t n)
{
    return (part + 1) * size < n ? (part + 1) * size : n;
}

/* The part-th of the pairs (i, j), i <= j, of parts: (0, 0), (0, 1), (1, 1), (0, 2), … */
static void find_pair(size_t part, size_t *i, size_t *j)
{
    size_t column = 0;
    while ((column + 1) * (column + 2) / 2 <= part)
        column++;
    *i = part - column * (column + 1) / 2;
    *j = column;
}

typedef struct adding {
    const paro_hessian *hessian;
    const float *x;
    size_t n_rows; /* at most CHUNK_ROWS */
} adding;

static void transpose_columns(void *context, size_t part, int worker)
{
    (void)worker;
    const adding *a = context;
    size_t n = a->hessian->n, end = end_of(part, COPY_COLUMNS, n);
    for (size_t row = 0; row < a->n_rows; row++)
        for (size_t i = part * COPY_COLUMNS; i < end; i++)
            a->hessian->rows[i * CHUNK_ROWS + row] = a->x[row * n + i];
}

static void add_tile(void *context, size_t part, int worker)
{
    const adding *a = context;
    size_t n = a->hessian->n, i = 0, j = 0;
    find_pair(part, &i, &j);
    size_t n_i = end_of(i, TILE, n) - i * TILE, n_j = end_of(j, TILE, n) - j * TILE;
    const float *rows = a->hessian->rows;
    float *tile = a->hessian->tiles + (size_t)worker * TILE * TILE;
    paro_blas_product_transposed(n_i, n_j, a->n_rows, 1, rows + i * TILE * CHUNK_ROWS, CHUNK_ROWS,
                                 rows + j * TILE * CHUNK_ROWS, CHUNK_ROWS, 0, tile, TILE);
    for (size_t r = 0; r < n_i; r++) {
        double *sums = a->hessian->sums + (i * TILE + r) * n + j * TILE;
        for (size_t c = 0; c < n_j; c++)
            sums[c] += (double)tile[r * TILE + c];
    }
}

void paro_hessian_add(paro_hessian *hessian, paro_pool *pool, const float *x, size_t n_rows)
{
    size_t n_tiles = (hessian->n + TILE - 1) / TILE;
    for (size_t row = 0; row < n_rows; row += CHUNK_ROWS) {
        adding a = {hessian, x + row * hessian->n,
                    n_rows - row < CHUNK_ROWS ? n_rows - row : CHUNK_ROWS};
        paro_pool_run(pool, (hessian->n + COPY_COLUMNS - 1) / COPY_COLUMNS, transpose_columns, &a);
        paro_pool_run(pool, n_tiles * (n_tiles + 1) / 2, add_tile, &a);
    }
    hessian->n_rows += n_rows;
}

typedef struct turn {
    double cosine, sine;
    uint16_t i, j; /* within the group */
} turn;

typedef struct changing {
    const paro_train_linear *linear;
    double scale;
    double *matrix; /* [n, n] */
    size_t n;
    turn *turns; /* [n_groups][krot][group_size / 2] */
} changing;

/* Scales the upper triangle's tile and writes its mirror image. */
static void scale_tile(void *context, size_t part, int worker)
{
    (void)worker;
    const changing *c = context;
    size_t i = 0, j = 0;
    find_pair(part, &i, &j);
    for (size_t row = i * TILE; row < end_of(i, TILE, c->n); row++) {
        double scale = c->scale / (double)c->linear->weight_channel_scales[row];
        for (size_t k = i == j ? row : j * TILE; k < end_of(j, TILE, c->n); k++) {
            double value =
                c->matrix[row * c->n + k] * scale / (double)c->linear->weight_channel_scales[k];
            c->matrix[row * c->n + k] = value;
            c->matrix[k * c->n + row] = value;
        }
    }
}

/* Exchanges a tile and its mirror image. */
static void transpose_tile(void *context, size_t part, int worker)
{
    (void)worker;
    const changing *c = context;
    size_t i = 0, j = 0;
    find_pair(part, &i, &j);
    for (size_t row = i * TILE; row < end_of(i, TILE, c->n); row++) {
        for (size_t k = i == j ? row : j * TILE; k < end_of(j, TILE, c->n); k++) {
            double value = c->matrix[row * c->n + k];
            c->matrix[row * c->n + k] = c->matrix[k * c->n + row];
            c->matrix[k * c->n + row] = value;
        }
    }
}

/* All turns of a group, round after round, on one row after another: group and turns stay in the
 * cache. */
static void rotate_rows(void *context, size_t part, int worker)
{
    (void)worker;
    const changing *c = context;
    size_t n_pairs = c->linear->group_size / 2, n_turns = c->linear->krot * n_pairs;
    for (size_t group = 0; group < c->n / c->linear->group_size; group++) {
        const turn *turns = c->turns + group * n_turns;
        for (size_t row = part * TILE; row < end_of(part, TILE, c->n); row++) {
            double *values = c->matrix + row * c->n + group * c->linear->group_size;
            for (size_t t = 0; t < n_turns; t++) {
                double x = values[turns[t].i], y = values[turns[t].j];
                values[turns[t].i] = x * turns[t].cosine + y * turns[t].sine;
                values[turns[t].j] = -x * turns[t].sine + y * turns[t].cosine;
            }
        }
    }
}

/* An empty slot, of one channel twice with angle 0, leaves it as it is. */
static void make_turns(const paro_train_linear *linear, turn *turns)
{
    size_t n_pairs = linear->group_size / 2;
    for (size_t group = 0; group < linear->n_in / linear->group_size; group++) {
        for (size_t round = 0; round < linear->krot; round++) {
            size_t first = round * (linear->n_in / 2) + group * n_pairs;
            for (size_t slot = first; slot < first + n_pairs; slot++) {
                double angle = (double)linear->theta[slot];
                *turns++ = (turn){cos(angle), sin(angle), (uint16_t)linear->pairs[2 * slot],
                                  (uint16_t)linear->pairs[2 * slot + 1]};
            }
        }
    }
}

paro_status paro_hessian_of_linear(paro_error *err, const paro_hessian *hessian, paro_pool *pool,
                                   const paro_train_linear *linear, double *out)
{
    size_t n = hessian->n, n_tiles = (n + TILE - 1) / TILE;
    size_t n_pairs = n_tiles * (n_tiles + 1) / 2, n_turns = linear->krot * (n / 2);
    changing c = {linear, 2 / (double)hessian->n_rows, out, n, NULL};
    if (n_turns > 0) {
        c.turns = malloc(n_turns * sizeof *c.turns);
        if (c.turns == NULL)
            return paro_fail_memory(err, n_turns * sizeof *c.turns, "a rotation's turns");
        make_turns(linear, c.turns);
    }
    if (out != hessian->sums)
        memcpy(out, hessian->sums, n * n * sizeof *out);
    paro_pool_run(pool, n_pairs, scale_tile, &c);
    if (n_turns > 0) {
        paro_pool_run(pool, n_tiles, rotate_rows, &c);
        paro_pool_run(pool, n_pairs, transpose_tile, &c);
        paro_pool_run(pool, n_tiles, rotate_rows, &c);
    }
    free(c.turns);
    return PARO_STATUS_OK;
}
