// SPDX-License-Identifier: MIT
//
// One group of a weight on its way to a quantised one and back: what fake quantisation's forward and
// backward share. The function is that of calib/fake_quant.h.
//
// A warp takes ROWS rows of the group at a time: a tile is token_run<ROWS>[GROUP] in shared memory,
// of which a lane loads and stores channels lane, lane + 32, …. The block's turns lie in shared
// memory, made from the angles.
#pragma once
#include "lib/core.cuh"
#include "lib/rotate.cuh"

#ifdef PARO_HOST
__device__ __forceinline__ float f32_cos(float x) { return __builtin_cosf(x); }
__device__ __forceinline__ float f32_sin(float x) { return __builtin_sinf(x); }
__device__ __forceinline__ float f32_round(float x) { return __builtin_rintf(x); } // ties to even
#else
__device__ __forceinline__ float f32_cos(float x) { return cosf(x); }
__device__ __forceinline__ float f32_sin(float x) { return sinf(x); }
__device__ __forceinline__ float f32_round(float x) { return rintf(x); }
#endif

constexpr float STEP_MIN = 1e-5f; // as PARO_STEP_MIN

template <int GROUP, int KROT> struct group_turns {
    f32x2 turn[KROT > 0 ? KROT : 1][GROUP / 2]; // cosine and sine
    rotation_pair pair[KROT > 0 ? KROT : 1][GROUP / 2];
};

// All threads of the block; then a block_barrier(). group: which of the k / GROUP.
template <int GROUP, int KROT>
__device__ __forceinline__ void load_turns(const u8 *pairs, const float *theta, u32 k, u32 group,
                                           group_turns<GROUP, KROT> &turns)
{
    for (u32 i = thread_index(); i < KROT * GROUP / 2; i += block_size()) {
        const u32 round = i / (GROUP / 2), slot = i % (GROUP / 2);
        const u64 at = (u64)round * (k / 2) + group * (GROUP / 2) + slot;
        const float angle = theta[at];
        turns.turn[round][slot] = f32x2{f32_cos(angle), f32_sin(angle)};
        turns.pair[round][slot] = reinterpret_cast<const rotation_pair *>(pairs)[at];
    }
}

// All rounds on a warp's tile; begins and ends with a warp_barrier().
template <bool INVERSE, int GROUP, int KROT, int ROWS>
__device__ __forceinline__ void turn_tile(const group_turns<GROUP, KROT> &turns,
                                          token_run<ROWS> *tile)
{
    for (int done = 0; done < KROT; done++) {
        const int round = INVERSE ? KROT - 1 - done : done;
        warp_barrier();
#pragma unroll
        for (u32 slot = lane_index(); slot < GROUP / 2; slot += 32) {
            const f32x2 turn = turns.turn[round][slot];
            rotate_pair(tile, turns.pair[round][slot], turn.x, INVERSE ? -turn.y : turn.y);
        }
    }
    warp_barrier();
}

// d and z of a row.
struct row_quantiser {
    float step, zero;
};

// d as a checkpoint stores it.
__device__ __forceinline__ float step_of(float step)
{
    return to_f32(from_f32<f16>(f32_max(step, STEP_MIN)));
}

__device__ __forceinline__ row_quantiser learned_quantiser(float step, float zero, float top)
{
    return {step_of(step), f32_min(f32_max(f32_round(zero), 0.0f), top)};
}

// low <= 0 <= high: the row's extremes, with 0 among its values.
__device__ __forceinline__ row_quantiser range_quantiser(float low, float high, float top)
{
    const float step = step_of((high - low) / top);
    return {step, f32_round(-low / step)};
}

// The extremes of every row of a tile and 0, in all lanes.
template <int GROUP, int ROWS>
__device__ __forceinline__ void tile_range(const token_run<ROWS> *tile, float (&low)[ROWS],
                                           float (&high)[ROWS])
{
#pragma unroll
    for (int row = 0; row < ROWS; row++)
        low[row] = high[row] = 0;
#pragma unroll
    for (int i = 0; i < GROUP / 32; i++) {
        const token_run<ROWS> u = tile[lane_index() + 32 * i];
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            low[row] = f32_min(low[row], u.of[row]);
            high[row] = f32_max(high[row], u.of[row]);
        }
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        low[row] = -warp_max(-low[row]);
        high[row] = warp_max(high[row]);
    }
}

// What became of one value.
struct quantised {
    float ratio; // u / d
    float code;  // less z, clamped: q^ is code d
    bool inside; // it was not clamped
};

__device__ __forceinline__ quantised quantise(float u, row_quantiser q, float top)
{
    const float ratio = u / q.step, code = f32_round(ratio) + q.zero;
    const float bound = f32_min(f32_max(code, 0.0f), top);
    return {ratio, bound - q.zero, bound == code};
}
