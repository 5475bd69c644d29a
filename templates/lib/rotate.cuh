// SPDX-License-Identifier: MIT
//
// Rotating groups of channels that lie in shared memory as fp32. The tables are those of
// families/rotation_tables.h.
//
// A run is one channel's values for TOKENS tokens, side by side: a tile of C channels is run[C].
// One pair's turn reads and writes two runs; its channels and its angle serve all their tokens.
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
__device__ __forceinline__ void rotate_pair(token_run<TOKENS> *group, rotation_pair pair,
                                            float cosine, float sine)
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

// All rounds on one tile by one warp: `tile` has CHANNELS channels (whole groups) that begin at
// channel `first` of k, of which n_channels (not 0) exist. Begins and ends with a warp_barrier():
// what the warp's lanes wrote before is seen, what they read after is there. pairs, cossin: the
// part's tables, fetched some rounds ahead of their use: no round waits for global memory.
template <int GROUP, int KROT, int CHANNELS, bool INVERSE, int TOKENS>
__device__ __forceinline__ void rotate_by_warp(token_run<TOKENS> *tile, const u8 *pairs,
                                               const float *cossin, u32 k, u32 first,
                                               u32 n_channels)
{
    if constexpr (KROT > 0) {
        constexpr int SLOTS = (CHANNELS / 2 + 31) / 32;     // of a lane
        constexpr int AHEAD = SLOTS >= 16 ? 1 : 16 / SLOTS; // rounds fetched at a time
        constexpr int BATCH = AHEAD < KROT ? AHEAD : KROT;
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
