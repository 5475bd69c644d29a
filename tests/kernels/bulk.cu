// SPDX-License-Identifier: MIT
//
// bulk_load: a warp that brings tiles, four that add them up, through a ring of three stages.
#include "lib/async.cuh"

constexpr u32 N_STAGES = 3;
constexpr u32 TILE = 256;

extern "C" __global__ void __launch_bounds__(160)
    ring(const float *__restrict__ x, float *__restrict__ out, u32 n_tiles)
{
    u64 *full = shared_memory<u64>();
    u64 *empty = full + N_STAGES;
    float *tiles = reinterpret_cast<float *>(shared_memory<u8>() + 128);
    if (thread_index() == 0)
        for (u32 i = 0; i < N_STAGES; i++) {
            barrier_init(&full[i], 1);
            barrier_init(&empty[i], 128);
        }
    block_barrier();
    if (warp_index() == 4) {
        if (lane_index() == 0)
            for (u32 i = 0; i < n_tiles; i++) {
                const u32 stage = i % N_STAGES;
                barrier_wait(&empty[stage], (i / N_STAGES & 1) ^ 1);
                barrier_expect(&full[stage], 4 * TILE);
                bulk_load(tiles + stage * TILE, x + i * TILE, 2 * TILE, &full[stage]);
                bulk_load(tiles + stage * TILE + TILE / 2, x + i * TILE + TILE / 2, 2 * TILE,
                          &full[stage]);
            }
    } else {
        float sum = 0;
        for (u32 i = 0; i < n_tiles; i++) {
            const u32 stage = i % N_STAGES;
            barrier_wait(&full[stage], i / N_STAGES & 1);
            sum += tiles[stage * TILE + 2 * thread_index()];
            sum += tiles[stage * TILE + 2 * thread_index() + 1];
            barrier_arrive(&empty[stage]);
        }
        out[thread_index()] = sum;
    }
}
