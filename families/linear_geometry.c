/* SPDX-License-Identifier: MIT
 *
 * Tiles, chunks, slices and shared memory of the linear families.
 */
#include "families/linear_geometry.h"

#include "families/w4_layout.h"

enum {
    CHUNK_BYTES = 20 << 10, /* of one of two buffers of activations, where a turn is less */
    WHOLE_BYTES = 40 << 10  /* activations that are staged in one go */
};

static uint32_t round_up(uint32_t n, uint32_t to)
{
    return paro_divide_up(n, to) * to;
}

/* Shared memory of activations, one buffer: as linear_stage (templates/lib/linear.cuh) lays it out;
 * without tensor cores fp32. */
static uint64_t buffer_bytes(const paro_linear_geometry *g, uint32_t units)
{
    if (!g->mma)
        return (uint64_t)g->tile_m * units * g->unit_k * 4;
    return (uint64_t)g->tile_m * ((uint64_t)units * g->unit_k + 32) * 2;
}

void paro_linear_geometry_complete(paro_linear_geometry *g)
{
    uint32_t units_of_group = paro_divide_up(g->group, g->unit_k);
    g->n_threads = 32 * g->warps_n * g->warps_k;
    g->n_units = paro_divide_up(g->k, g->unit_k);
    g->slice_units = round_up(paro_divide_up(g->n_units, g->split_k), units_of_group);
    g->block_rows = g->warps_n * (g->mma ? g->tiles * PARO_W4_TILE : g->fma_rows);
    g->row_blocks = 0;
    for (uint32_t i = 0; i < g->n_parts; i++)
        g->row_blocks += paro_divide_up(g->parts[i], g->block_rows);

    /* Chunks are whole turns of a block's warps and stages, and whole groups. */
    uint32_t turn = round_up(g->warps_k * g->stages, units_of_group);
    uint32_t whole = round_up(g->slice_units, turn), n_buffers = g->mma ? 2 : 1;
    uint64_t turn_bytes = buffer_bytes(g, turn), whole_bytes = buffer_bytes(g, whole);
    uint32_t turns = turn_bytes < CHUNK_BYTES ? (uint32_t)(CHUNK_BYTES / turn_bytes) : 1;
    g->chunk_units =
        whole_bytes <= WHOLE_BYTES || whole_bytes <= n_buffers * turn_bytes ? whole : turn * turns;
    g->n_chunks = paro_divide_up(g->slice_units, g->chunk_units);
    uint64_t bytes = (g->n_chunks == 1 ? 1 : n_buffers) * buffer_bytes(g, g->chunk_units);
    if (g->fused)
        bytes += (uint64_t)(g->n_threads / 32) * g->group * 4;
    uint64_t sums = g->mma ? (uint64_t)g->warps_k * g->tile_m * (g->block_rows + 4) * 4
                           : (uint64_t)g->warps_k * g->block_rows * 4;
    bytes = bytes > sums ? bytes : sums;
    g->shared_bytes = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
}

uint32_t paro_linear_token_tile(uint32_t m, uint32_t most)
{
    uint32_t tile = 1;
    while (tile < most && tile < m)
        tile *= 2;
    return tile;
}

uint64_t paro_linear_blocks(const paro_linear_geometry *g, uint32_t m)
{
    return (uint64_t)g->row_blocks * paro_divide_up(m, g->tile_m);
}

const char *paro_linear_constraint(const paro_linear_geometry *g, uint32_t m, const paro_arch *arch)
{
    if (g->shared_bytes > arch->max_shared_bytes)
        return "more shared memory than a block may have";
    if ((uint64_t)(g->split_k - 1) * g->slice_units >= g->n_units)
        return "a slice of k would be empty";
    if (g->split_k > 1) {
        if (g->warps_k * g->stages > g->slice_units)
            return "slices of k too short for the block's warps";
        if (paro_linear_blocks(g, m) * g->split_k > 1024)
            return "blocks enough without splitting k";
    }
    if (g->warps_k > 4 && g->warps_k / 2 >= g->slice_units)
        return "half of the warps would have no columns";
    return NULL;
}

const char *paro_linear_mma_constraint(const paro_linear_geometry *g, uint32_t m,
                                       const paro_arch *arch)
{
    uint32_t n_warps = g->n_threads / 32, tile = paro_linear_token_tile(m, 64), largest = 0;
    for (uint32_t i = 0; i < g->n_parts; i++)
        largest = g->parts[i] > largest ? g->parts[i] : largest;
    if (g->tile_m != tile && !(tile == 64 && g->tile_m == 32))
        return "tokens of a block do not fit the bucket";
    if (n_warps != 4 && n_warps != 8)
        return "4 or 8 warps fill a multiprocessor best";
    if (g->tile_m <= 16 && g->warps_n > 2)
        return "with few tokens warps share columns";
    if (g->tile_m >= 32 && g->warps_k > 4)
        return "sums of too many warps";
    if ((g->tiles > 1 && g->tiles * PARO_W4_TILE >= 2 * largest) ||
        (g->warps_n > 2 && g->block_rows >= 2 * largest))
        return "more than half of the block's rows would be none";
    return paro_linear_constraint(g, m, arch);
}

paro_linear_occupancy paro_linear_occupy(const paro_linear_geometry *g, uint32_t m,
                                         double registers, uint32_t n_sms, uint32_t sm_shared_bytes)
{
    double blocks = (double)paro_linear_blocks(g, m) * g->split_k;
    double by_shared = sm_shared_bytes / (g->shared_bytes + 1024.0);
    double by_registers = 65536 / (registers * g->n_threads);
    double resident = by_shared < by_registers ? by_shared : by_registers;
    paro_linear_occupancy o = {.resident = resident < 1 ? 1 : (double)(uint32_t)resident};
    double places = o.resident * n_sms;
    o.waves = (double)paro_divide_up((uint64_t)blocks, (uint64_t)places);
    o.share = blocks / (o.waves * places);
    return o;
}
