// SPDX-License-Identifier: MIT
//
// RMSNorm of the residual stream, one block a row: residual += delta (where ADD), stored in fp32;
// y = residual / sqrt(mean(residual^2) + epsilon) * weight, rounded once.
#include "lib/core.cuh"
#include "lib/reduce.cuh"
#include "lib/vector.cuh"

using scalar = f16;            // hole: dtype
constexpr u32 H = 4096;        // hole: h
constexpr bool ADD = true;     // hole: add
constexpr u32 N_THREADS = 256; // hole: threads
constexpr u32 VECTOR = 4;      // hole: vector
constexpr u32 SHARED = 32;     // hole: shared_bytes

constexpr u32 WARPS = N_THREADS / 32;
constexpr u32 STRIDE = N_THREADS * VECTOR;
constexpr u32 STEPS = (H + STRIDE - 1) / STRIDE;
// A short row stays in registers; a long one is read again.
constexpr bool KEPT = STEPS * VECTOR <= 16;
static_assert(H % VECTOR == 0 && SHARED >= WARPS * sizeof(float), "as families/norm.c plans");

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
norm_rows(float *__restrict__ residual, const scalar *__restrict__ delta,
     const float *__restrict__ weight, float epsilon, scalar *__restrict__ y)
{
    float *shared = shared_memory<float>();
    const u64 row = (u64)block_index_x() * H;
    const u32 first = thread_index() * VECTOR;
    float kept[KEPT ? STEPS : 1][VECTOR];
    float squares = 0;
#pragma unroll(KEPT ? STEPS : 1)
    for (u32 step = 0; step < STEPS; step++) {
        const u32 at = first + step * STRIDE;
        float (&v)[VECTOR] = kept[KEPT ? step : 0];
        if (at < H) {
            load_vector<VECTOR>(residual + row + at, v);
            if constexpr (ADD) {
                float more[VECTOR];
                load_vector<VECTOR>(delta + row + at, more);
#pragma unroll
                for (u32 i = 0; i < VECTOR; i++)
                    v[i] += more[i];
                store_vector<VECTOR>(residual + row + at, v);
            }
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++)
                squares += v[i] * v[i];
        }
    }
    const float mean = block_sum<WARPS>(squares, shared) / (float)H;
    const float scale = f32_rsqrt(mean + epsilon);
#pragma unroll(KEPT ? STEPS : 1)
    for (u32 step = 0; step < STEPS; step++) {
        const u32 at = first + step * STRIDE;
        float (&v)[VECTOR] = kept[KEPT ? step : 0];
        if (at < H) {
            if constexpr (!KEPT)
                load_vector<VECTOR>(residual + row + at, v);
            float w[VECTOR];
            load_vector<VECTOR>(weight + at, w);
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++)
                w[i] *= v[i] * scale;
            store_vector<VECTOR>(y + row + at, w);
        }
    }
}
