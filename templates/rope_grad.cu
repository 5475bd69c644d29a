// SPDX-License-Identifier: MIT
//
// Backward of rope over whole samples, one warp a head of a token: gradients of turned queries and
// keys are turned back and (where QK_NORM) taken back through the norm over head_dim, those of
// values are as they are; all lie in d_qkv as the products that made queries, keys and values.
// Pairs are (i, i + head_dim / 2); every sample's positions begin at 0.
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
static_assert(HALF % VECTOR == 0, "as families/rope_grad.c plans");

// A lane's elements: i of the first half, and their partners in the second.
struct halves {
    float low[STEPS][VECTOR];
    float high[STEPS][VECTOR];
};

__device__ __forceinline__ u32 index_of(u32 step)
{
    return (step * 32 + lane_index()) * VECTOR;
}

template <class T> __device__ __forceinline__ void load_head(const T *from, halves &v)
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

// cossin: of the token's position.
__device__ __forceinline__ void turn_back(halves &v, const float *cossin)
{
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        if (index_of(step) < HALF) {
            float angle[2 * VECTOR];
            load_vector<2 * VECTOR>(cossin + 2 * index_of(step), angle);
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++) {
                const float low = v.low[step][i], high = v.high[step][i];
                v.low[step][i] = low * angle[2 * i] + high * angle[2 * i + 1];
                v.high[step][i] = high * angle[2 * i] - low * angle[2 * i + 1];
            }
        }
    }
}

// d <- r weight d - x r^3 mean(x weight d), with r = 1 / sqrt(mean(x^2) + epsilon)
__device__ __forceinline__ void norm_back(halves &d, const scalar *raw, const float *weight,
                                          float epsilon)
{
    halves x, w;
    float squares = 0, products = 0;
    load_head(raw, x);
    load_head(weight, w);
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
#pragma unroll
        for (u32 i = 0; i < VECTOR; i++) {
            d.low[step][i] *= w.low[step][i];
            d.high[step][i] *= w.high[step][i];
            squares += x.low[step][i] * x.low[step][i] + x.high[step][i] * x.high[step][i];
            products += x.low[step][i] * d.low[step][i] + x.high[step][i] * d.high[step][i];
        }
    }
    const float scale = f32_rsqrt(warp_sum(squares) / (float)HEAD_DIM + epsilon);
    const float along = scale * scale * scale * warp_sum(products) / (float)HEAD_DIM;
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
#pragma unroll
        for (u32 i = 0; i < VECTOR; i++) {
            d.low[step][i] = scale * d.low[step][i] - along * x.low[step][i];
            d.high[step][i] = scale * d.high[step][i] - along * x.high[step][i];
        }
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32, 1)
rope_grad(const scalar *__restrict__ d_q, const scalar *__restrict__ d_keys,
          const scalar *__restrict__ d_values, const scalar *__restrict__ qkv,
          const float *__restrict__ q_norm, const float *__restrict__ k_norm, float epsilon,
          const float *__restrict__ cossin, u32 samples, u32 tokens, scalar *__restrict__ d_qkv)
{
    const u64 work = (u64)block_index_x() * WARPS + warp_index();
    const u32 row = (u32)(work / SLOTS), slot = (u32)(work % SLOTS);
    const u32 sample = row / tokens, position = row % tokens;
    if (sample < samples) {
        const bool is_value = slot >= HEADS + KV_HEADS;
        halves d;
        if (slot < HEADS) {
            load_head(d_q + ((u64)row * HEADS + slot) * HEAD_DIM, d);
        } else {
            const u32 kv_head = (slot - HEADS) % KV_HEADS;
            const u64 at = ((u64)sample * KV_HEADS + kv_head) * tokens + position;
            load_head((is_value ? d_values : d_keys) + at * HEAD_DIM, d);
        }
        if (!is_value) {
            turn_back(d, cossin + (u64)position * HEAD_DIM);
            if constexpr (QK_NORM)
                norm_back(d, qkv + work * HEAD_DIM, slot < HEADS ? q_norm : k_norm, epsilon);
        }
        store_head(d, d_qkv + work * HEAD_DIM);
    }
}
