// SPDX-License-Identifier: MIT
//
// Smooth L1 (beta 1) of y against target: the mean loss, and where GRADIENT dy = its gradient times
// scale. A block sums BLOCK_VALUES values; smooth_l1_sum adds up the blocks' sums. The order of all
// sums is fixed.
#include "lib/core.cuh"
#include "lib/reduce.cuh"
#include "lib/vector.cuh"

using scalar = f16;              // hole: dtype
using target_scalar = f16;       // hole: target
constexpr bool GRADIENT = true;  // hole: gradient
constexpr u32 N_THREADS = 256;   // hole: threads
constexpr u32 STEPS = 8;         // hole: steps
constexpr u32 VECTOR = 8;        // hole: vector
constexpr u32 SHARED = 32;       // hole: shared_bytes
constexpr u32 SUM_THREADS = 256; // hole: sum_threads

constexpr u32 STRIDE = N_THREADS * VECTOR;
constexpr u32 BLOCK_VALUES = STRIDE * STEPS;
static_assert(SHARED >= N_THREADS / 32 * sizeof(float), "as families/smooth_l1.c plans");

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
smooth_l1(const scalar *__restrict__ y, const target_scalar *__restrict__ target, u32 n,
          float scale, scalar *__restrict__ dy, float *__restrict__ sums)
{
    const u64 first = (u64)block_index_x() * BLOCK_VALUES + thread_index() * VECTOR;
    const float factor = scale / (float)n;
    float sum = 0;
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        const u64 at = first + step * STRIDE;
        if (at < n) {
            float v[VECTOR], t[VECTOR];
            load_vector<VECTOR>(y + at, v);
            load_vector<VECTOR>(target + at, t);
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++) {
                const float d = v[i] - t[i], size = f32_abs(d);
                sum += size < 1.0f ? 0.5f * d * d : size - 0.5f;
                v[i] = factor * f32_max(f32_min(d, 1.0f), -1.0f);
            }
            if constexpr (GRADIENT)
                store_vector<VECTOR>(dy + at, v);
        }
    }
    sum = block_sum<N_THREADS / 32>(sum, shared_memory<float>());
    if (thread_index() == 0)
        sums[block_index_x()] = sum;
}

// One block.
extern "C" __global__ void __launch_bounds__(SUM_THREADS, 1)
smooth_l1_sum(const float *__restrict__ sums, u32 n, float *__restrict__ loss)
{
    const u32 n_blocks = (u32)(((u64)n + BLOCK_VALUES - 1) / BLOCK_VALUES);
    float sum = 0;
    for (u32 i = thread_index(); i < n_blocks; i += SUM_THREADS)
        sum += sums[i];
    sum = block_sum<SUM_THREADS / 32>(sum, shared_memory<float>());
    if (thread_index() == 0)
        loss[0] = sum / (float)n;
}
