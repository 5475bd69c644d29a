// SPDX-License-Identifier: MIT
//
// One warp a head of a token: queries are normalised over head_dim (where QK_NORM), turned, and
// written to q; keys likewise, and values as they are, are appended to the cache. Pairs are
// (i, i + head_dim / 2). The position is read from device memory. A token that has no place in the
// cache is left out.
#include "lib/core.cuh"
#include "lib/vector.cuh"

using scalar = f16;            // hole: dtype
constexpr u32 HEADS = 32;      // hole: heads
constexpr u32 KV_HEADS = 8;    // hole: kv_heads
constexpr u32 HEAD_DIM = 128;  // hole: head_dim
constexpr bool QK_NORM = true; // hole: qk_norm
constexpr u32 WARPS = 4;       // hole: warps
constexpr u32 VECTOR = 2;      // hole: vector

constexpr u32 SLOTS = HEADS + 2 * KV_HEADS; // heads of a token
constexpr u32 HALF = HEAD_DIM / 2;
constexpr u32 STEPS = (HALF + 32 * VECTOR - 1) / (32 * VECTOR);
static_assert(HALF % VECTOR == 0, "as families/rope.c plans");

// A lane's elements: i of the first half, and their partners in the second.
struct halves {
    float low[STEPS][VECTOR];
    float high[STEPS][VECTOR];
};

__device__ __forceinline__ u32 index_of(u32 step)
{
    return (step * 32 + lane_index()) * VECTOR;
}

__device__ __forceinline__ void load_head(const scalar *from, halves &v)
{
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        if (index_of(step) < HALF) {
            load_vector<VECTOR>(from + index_of(step), v.low[step]);
            load_vector<VECTOR>(from + HALF + index_of(step), v.high[step]);
        } else {
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++)
                v.low[step][i] = v.high[step][i] = 0;
        }
    }
}

__device__ __forceinline__ void store_head(const halves &v, scalar *to)
{
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        if (index_of(step) < HALF) {
            store_vector<VECTOR>(to + index_of(step), v.low[step]);
            store_vector<VECTOR>(to + HALF + index_of(step), v.high[step]);
        }
    }
}

__device__ __forceinline__ void normalise(halves &v, const float *weight, float epsilon)
{
    float squares = 0;
#pragma unroll
    for (u32 step = 0; step < STEPS; step++)
#pragma unroll
        for (u32 i = 0; i < VECTOR; i++)
            squares += v.low[step][i] * v.low[step][i] + v.high[step][i] * v.high[step][i];
    const float scale = f32_rsqrt(warp_sum(squares) / (float)HEAD_DIM + epsilon);
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        if (index_of(step) < HALF) {
            float low[VECTOR], high[VECTOR];
            load_vector<VECTOR>(weight + index_of(step), low);
            load_vector<VECTOR>(weight + HALF + index_of(step), high);
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++) {
                v.low[step][i] *= scale * low[i];
                v.high[step][i] *= scale * high[i];
            }
        }
    }
}

// cossin: of the token's position.
__device__ __forceinline__ void turn(halves &v, const float *cossin)
{
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        if (index_of(step) < HALF) {
            float angle[2 * VECTOR];
            load_vector<2 * VECTOR>(cossin + 2 * index_of(step), angle);
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++) {
                const float low = v.low[step][i], high = v.high[step][i];
                v.low[step][i] = low * angle[2 * i] - high * angle[2 * i + 1];
                v.high[step][i] = high * angle[2 * i] + low * angle[2 * i + 1];
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32, 1)
rope(const scalar *__restrict__ qkv, const float *__restrict__ q_norm,
     const float *__restrict__ k_norm, float epsilon, const float *__restrict__ cossin,
     const u32 *__restrict__ state, u32 capacity, u32 m, scalar *__restrict__ q,
     scalar *__restrict__ keys, scalar *__restrict__ values)
{
    const u32 work = block_index_x() * WARPS + warp_index();
    const u32 token = work / SLOTS, slot = work % SLOTS;
    const u64 position = (u64)state[0] + token;
    if (token < m && position < capacity) {
        halves v;
        load_head(qkv + (u64)work * HEAD_DIM, v);
        const bool is_value = slot >= HEADS + KV_HEADS;
        if (!is_value) {
            if constexpr (QK_NORM)
                normalise(v, slot < HEADS ? q_norm : k_norm, epsilon);
            turn(v, cossin + position * HEAD_DIM);
        }
        if (slot < HEADS) {
            store_head(v, q + ((u64)token * HEADS + slot) * HEAD_DIM);
        } else {
            const u32 kv_head = (slot - HEADS) % KV_HEADS;
            scalar *cache = is_value ? values : keys;
            store_head(v, cache + ((u64)kv_head * capacity + position) * HEAD_DIM);
        }
    }
}
