// SPDX-License-Identifier: MIT
//
// Sums over a block.
#pragma once
#include "lib/core.cuh"

// The sum of v over WARPS warps, in every thread and in the same order every time. All threads of
// the block call it; `shared` has WARPS floats that nothing else uses until the next barrier.
template <u32 WARPS> __device__ __forceinline__ float block_sum(float v, float *shared)
{
    v = warp_sum(v);
    if constexpr (WARPS > 1) {
        if (lane_index() == 0)
            shared[warp_index()] = v;
        block_barrier();
        v = 0;
#pragma unroll
        for (u32 warp = 0; warp < WARPS; warp++)
            v += shared[warp];
    }
    return v;
}
