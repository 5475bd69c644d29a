/* SPDX-License-Identifier: MIT
 *
 * Tiles of a weight: 16 rows of one group, transposed, so that a channel is a vector of rows. What
 * is done to a weight row by row is done to these, once per instruction set.
 *
 * A tile is [n_columns, PARO_TILE_ROWS] fp32, aligned to 64 bytes; n_columns is the group's size.
 * Every row is computed by the same operations in the same order wherever it stands. Arguments are
 * trusted; different tiles do not overlap.
 */
#ifndef PARO_CALIB_WEIGHT_TILE_H
#define PARO_CALIB_WEIGHT_TILE_H

#include "calib/train_linear.h"

enum { PARO_TILE_ROWS = 16 };

/* One turn of two channels of a group; empty slots have none. */
typedef struct paro_tile_turn {
    float cosine, sine;
    uint32_t i, j; /* columns of the tile */
    size_t slot;   /* of theta */
} paro_tile_turn;

/* Turns of a linear: those of a group stand together, round after round. */
typedef struct paro_tile_turns {
    size_t capacity;       /* of a group: krot * group_size / 2 */
    size_t *n;             /* [n_groups] */
    paro_tile_turn *turns; /* [n_groups][capacity] */
} paro_tile_turns;

paro_status paro_tile_turns_new(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                                paro_tile_turns *out);
void paro_tile_turns_release(paro_tile_turns *turns); /* NULL and zeroed are fine */

/* A group's values of a tile with 0 among them: extremes, and the first column that has them, or -1
 * where it is the 0. */
typedef struct paro_tile_range {
    float low[PARO_TILE_ROWS], high[PARO_TILE_ROWS];
    int32_t low_at[PARO_TILE_ROWS], high_at[PARO_TILE_ROWS];
} paro_tile_range;

/* How the rows of a tile are quantised: fake_quant.h's d, z and top. */
typedef struct paro_tile_quantiser {
    float step[PARO_TILE_ROWS], zero[PARO_TILE_ROWS];
    float top;
    bool clamp_passes; /* gradients, as inside the bounds */
} paro_tile_quantiser;

/* dL/dd and dL/dz. */
typedef struct paro_tile_quantiser_gradient {
    float step[PARO_TILE_ROWS], zero[PARO_TILE_ROWS];
} paro_tile_quantiser_gradient;

/* What a backward pass looks at together. */
typedef struct paro_tile_set {
    float *u, *du; /* before quantisation, and its gradient */
    float *q, *dq; /* after */
} paro_tile_set;

typedef struct paro_tile_kernels {
    const char *name; /* as paro_cpu_isa */

    /* tile <- rows [n_rows, n_columns], `stride` apart, times scales [n_columns]; rows past n_rows
     * are 0. And back. */
    void (*load)(const float *rows, size_t stride, size_t n_rows, size_t n_columns,
                 const float *scales, float *tile);
    void (*store)(const float *tile, size_t n_columns, const float *scales, float *rows,
                  size_t stride, size_t n_rows);

    /* tile <- R(tile), R^-1(tile) */
    void (*rotate)(const paro_tile_turn *turns, size_t n_turns, float *tile);
    void (*unrotate)(const paro_tile_turn *turns, size_t n_turns, float *tile);

    void (*range)(const float *u, size_t n_columns, paro_tile_range *out);

    /* q^ from u; both may be the same tile. */
    void (*quantise)(const paro_tile_quantiser *quantiser, const float *u, size_t n_columns,
                     float *q);

    /* du from u and dq. */
    void (*quantise_back)(const paro_tile_quantiser *quantiser, const float *u, const float *dq,
                          size_t n_columns, float *du, paro_tile_quantiser_gradient *out);

    /* All four <- R^-1; sums [n_turns, PARO_TILE_ROWS] += the gradients of the turns' angles. */
    void (*unwind)(const paro_tile_turn *turns, size_t n_turns, const paro_tile_set *set,
                   float *sums);

    /* sums [n_columns, PARO_TILE_ROWS] += du u - dq q */
    void (*add_products)(const paro_tile_set *set, size_t n_columns, float *sums);
} paro_tile_kernels;

/* The best that this machine has; never NULL. */
const paro_tile_kernels *paro_tile_kernels_best(void);

/* By name; NULL where this build or this machine does not have it. */
const paro_tile_kernels *paro_tile_kernels_find(const char *name);

/* The table of each set; NULL where the build is for another processor. */
const paro_tile_kernels *paro_tile_kernels_generic(void);
const paro_tile_kernels *paro_tile_kernels_avx2(void);
const paro_tile_kernels *paro_tile_kernels_avx512(void);

#endif
