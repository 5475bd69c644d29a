// SPDX-License-Identifier: MIT
//
// Rotating groups of channels that lie in shared memory as fp32. Tables are families/rotation_tables.h's.
//
// A run is one channel's values for TOKENS tokens, side by side: a tile of C channels is run[C]. One pair's
// turn reads and writes two runs, and its indexes and angle serve all their tokens.
#pragma once
#include "lib/core.cuh"

struct alignas(2) rotation_pair {
    u8 i, j;
};

template <int TOKENS> struct alignas(TOKENS % 4 == 0 ? 16 : TOKENS % 2 == 0 ? 8 : 4) token_run {
    float of[TOKENS];
};

// Turns channels i and j of a group. sine: negative to turn back.
template <int TOKENS>
__device__ __forceinline__ void rotate_pair(token_run<TOKENS> *group, rotation_pair pair, float cosine, float sine)
{
    token_run<TOKENS> a = group[pair.i], b = group[pair.j], c, d;
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        c.of[t] = a.of[t] * cosine + b.of[t] * sine;
        d.of[t] = b.of[t] * cosine - a.of[t] * sine;
    }
    group[pair.i] = c;
    group[pair.j] = d; // an empty slot (i == j): c and d are equal
}

// All rounds on one tile by one warp: `tile` has CHANNELS channels (whole groups) that begin at channel
// `first` of k, of which n_channels (not 0) exist. What the warp wrote into the tile is seen after warp_barrier(): this begins
// and ends with one. pairs, cossin: the part's tables.
//
// Tables are fetched some rounds ahead of their use: nothing in a round waits for global memory.
template <int GROUP, int KROT, int CHANNELS, bool INVERSE, int TOKENS>
__device__ __forceinline__ void rotate_by_warp(token_run<TOKENS> *tile, const u8 *pairs, const float *cossin, u32 k,
                                               u32 first, u32 n_channels)
{
    if constexpr (KROT > 0) {
        constexpr int SLOTS = (CHANNELS / 2 + 31) / 32;          // of a lane
        constexpr int AHEAD = SLOTS >= 16 ? 1 : 16 / SLOTS;      // rounds fetched at a time
        constexpr int BATCH = KROT == 0 ? 1 : AHEAD < KROT ? AHEAD : KROT;
        const rotation_pair *pair_at = reinterpret_cast<const rotation_pair *>(pairs) + first / 2;
        const f32x2 *turn_at = reinterpret_cast<const f32x2 *>(cossin) + first / 2;
        const u32 lane = lane_index(), n_slots = n_channels / 2;

        for (int done = 0; done < KROT; done += BATCH) {
            rotation_pair pair[BATCH][SLOTS];
            f32x2 turn[BATCH][SLOTS];
#pragma unroll
            for (int r = 0; r < BATCH; r++) {
                const int round = done + r < KROT ? done + r : KROT - 1;
                const u32 row = (INVERSE ? KROT - 1 - round : round) * (k / 2);
#pragma unroll
                for (int s = 0; s < SLOTS; s++) {
                    const u32 slot = lane + 32 * s < n_slots ? lane + 32 * s : 0;
                    pair[r][s] = pair_at[row + slot];
                    turn[r][s] = turn_at[row + slot];
                }
            }
#pragma unroll
            for (int r = 0; r < BATCH; r++) {
                warp_barrier();
#pragma unroll
                for (int s = 0; s < SLOTS; s++) {
                    const u32 slot = lane + 32 * s;
                    if (slot < n_slots && done + r < KROT)
                        rotate_pair(tile + slot / (GROUP / 2) * GROUP, pair[r][s], turn[r][s].x,
                                    INVERSE ? -turn[r][s].y : turn[r][s].y);
                }
            }
        }
    }
    warp_barrier();
}

// The same by `n_workers` threads of which the caller is number `worker`, on as many tokens and groups as there are,
// where they lie apart: token t's channel c is tile[t * stride + c], c < n_channels. One round; the caller
// puts barriers between rounds, before the first, and after the last. pairs, cossin: of this round, of the
// tile's first channel.
template <int GROUP>
__device__ __forceinline__ void rotate_round(float *tile, u32 n_tokens, u32 stride, u32 n_channels, const u8 *pairs,
                                             const float *cossin, u32 worker, u32 n_workers)
{
    const u32 n_slots = n_channels / 2;
    const u32 lanes = n_workers > n_slots ? n_workers / n_slots : 1; // tokens worked on side by side
    for (u32 item = worker; item < n_slots * lanes; item += n_workers) {
        const u32 slot = item % n_slots;
        const rotation_pair pair = reinterpret_cast<const rotation_pair *>(pairs)[slot];
        const f32x2 turn = reinterpret_cast<const f32x2 *>(cossin)[slot];
        float *group = tile + slot / (GROUP / 2) * GROUP;
        for (u32 t = item / n_slots; t < n_tokens; t += lanes) {
            const float a = group[t * stride + pair.i], b = group[t * stride + pair.j];
            group[t * stride + pair.i] = a * turn.x + b * turn.y;
            group[t * stride + pair.j] = b * turn.x - a * turn.y;
        }
    }
}

// All rounds by the whole block, on such a tile whose first channel is channel `first` of k. Begins and ends with a
// barrier of the block.
template <int GROUP, int KROT>
__device__ __forceinline__ void rotate_by_block(float *tile, u32 n_tokens, u32 stride, u32 n_channels, const u8 *pairs,
                                                const float *cossin, u32 k, u32 first)
{
    for (u32 round = 0; round < KROT; round++) {
        block_barrier();
        rotate_round<GROUP>(tile, n_tokens, stride, n_channels, pairs + round * k + first, cossin + round * k + first,
                            thread_index(), block_size());
    }
    block_barrier();
}
