// SPDX-License-Identifier: MIT
//
// A plain read of n_vectors 16-byte words: what any kernel that must read as many bytes can be
// measured against. Every warp leaves the exclusive or of what it read, so that nothing is left out.
#include "lib/core.cuh"

constexpr u32 N_THREADS = 256;        // hole: n_threads
constexpr u32 UNROLL = 8;             // hole: unroll
constexpr u32 N_VECTORS = 1024 * 1024; // hole: n_vectors

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
read(const u32 *__restrict__ x, u32 *__restrict__ y)
{
    const u32x4 *vectors = reinterpret_cast<const u32x4 *>(x);
    const u64 stride = static_cast<u64>(grid_size_x()) * N_THREADS;
    u64 i = static_cast<u64>(block_index_x()) * N_THREADS + thread_index();
    u32 sum = 0;
    for (; i + (UNROLL - 1) * stride < N_VECTORS; i += UNROLL * stride) {
        u32x4 v[UNROLL];
#pragma unroll
        for (u32 k = 0; k < UNROLL; k++)
            v[k] = load_stream(vectors + i + k * stride);
#pragma unroll
        for (u32 k = 0; k < UNROLL; k++)
            sum ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
    }
    for (; i < N_VECTORS; i += stride) {
        const u32x4 v = load_stream(vectors + i);
        sum ^= v.x ^ v.y ^ v.z ^ v.w;
    }
#pragma unroll
    for (u32 mask = 16; mask > 0; mask /= 2)
        sum ^= shuffle_xor(sum, mask);
    if (lane_index() == 0)
        y[(block_index_x() * N_THREADS + thread_index()) / 32] = sum;
}
