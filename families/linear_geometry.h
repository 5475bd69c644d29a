/* SPDX-License-Identifier: MIT
 *
 * How the linear families divide a product among blocks and warps: the numbers that source,
 * launches, arguments and constraints agree on. None depends on m: they are the same for a bucket's
 * source and for a launch with fewer tokens.
 */
#ifndef PARO_FAMILIES_LINEAR_GEOMETRY_H
#define PARO_FAMILIES_LINEAR_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "families/arch.h"
#include "families/elementwise.h"
#include "families/problem.h"

typedef struct paro_linear_geometry {
    /* What the config says. */
    bool mma;   /* tensor cores; else fp32 multiply and add */
    bool fused; /* a block rotates what it reads */
    uint32_t tile_m, tiles, warps_n, warps_k, split_k, stages;
    /* What the problem says. */
    uint32_t k;
    uint32_t group;    /* columns that stay together */
    uint32_t fma_rows; /* of a warp, without tensor cores */
    const uint32_t *parts;
    uint32_t n_parts;
    /* What follows. */
    uint32_t n_threads;
    uint32_t unit_k;      /* columns of a step of a warp */
    uint32_t n_units;     /* of k */
    uint32_t slice_units; /* of a block: whole groups */
    uint32_t chunk_units; /* of activations staged at a time */
    uint32_t n_chunks;
    uint32_t block_rows;
    uint32_t row_blocks;
    uint32_t shared_bytes;
} paro_linear_geometry;

/* Fills in what follows; unit_k is given. */
void paro_linear_geometry_complete(paro_linear_geometry *g);

/* Constraints of all linear families; NULL where they hold for at most m tokens. */
const char *paro_linear_constraint(const paro_linear_geometry *g, uint32_t m,
                                   const paro_arch *arch);
const char *paro_linear_mma_constraint(const paro_linear_geometry *g, uint32_t m,
                                       const paro_arch *arch);

/* Tokens of a block: the power of two that holds m, at most `most`. */
uint32_t paro_linear_token_tile(uint32_t m, uint32_t most);

/* Blocks of a launch for m tokens, slices of k not counted. */
uint64_t paro_linear_blocks(const paro_linear_geometry *g, uint32_t m);

/* What the device gives to the launch: blocks resident on a multiprocessor, waves, and the share of
 * all their places that is used. */
typedef struct paro_linear_occupancy {
    double resident, waves, share;
} paro_linear_occupancy;
paro_linear_occupancy paro_linear_occupy(const paro_linear_geometry *g, uint32_t m,
                                         double registers, uint32_t n_sms,
                                         uint32_t sm_shared_bytes);

#endif
