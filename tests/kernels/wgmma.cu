// SPDX-License-Identifier: MIT
//
// d [64][N] = a [64][64] b [64][N] by one warpgroup: from shared memory, and with A in registers.
#include "lib/async.cuh"
#include "lib/wgmma.cuh"

using scalar = f16; // hole: dtype
constexpr int N = 24;

__device__ __forceinline__ void store(const float (&d)[N / 2], float *out)
{
    const u32 g = lane_index() / 4, t = lane_index() % 4;
    for (u32 j = 0; j < N / 8; j++)
        for (u32 i = 0; i < 4; i++)
            out[(16 * warp_index() + g + i / 2 * 8) * N + 8 * j + 2 * t + i % 2] = d[4 * j + i];
}

extern "C" __global__ void __launch_bounds__(128)
    products(const scalar *__restrict__ a, const scalar *__restrict__ b, float *__restrict__ d_shared,
             float *__restrict__ d_registers, u32 wait)
{
    scalar *a_tile = shared_memory<scalar>(), *b_tile = a_tile + 64 * 64;
    for (u32 i = thread_index(); i < 64 * 64; i += block_size())
        a_tile[wgmma_index(i / 64, i % 64)] = a[i];
    for (u32 i = thread_index(); i < N * 64; i += block_size())
        b_tile[wgmma_index(i % N, i / N)] = b[i];
    fence_async_shared();
    block_barrier();

    float d[N / 2] = {}, e[N / 2] = {};
    wgmma_fence(d);
    for (u32 k16 = 0; k16 < 4; k16++)
        wgmma_64<scalar, N>(d, a_tile, b_tile, k16);
    wgmma_commit();
    u32 fragments[4][4];
    const u32 row = 16 * warp_index() + lane_index() / 4, column = 2 * (lane_index() % 4);
    for (u32 k16 = 0; k16 < 4; k16++)
        for (u32 i = 0; i < 4; i++) {
            const scalar *at = a + (row + i % 2 * 8) * 64 + 16 * k16 + column + i / 2 * 8;
            fragments[k16][i] = (u32)at[0].bits | (u32)at[1].bits << 16;
        }
    wgmma_fence(e);
#pragma unroll
    for (u32 k16 = 0; k16 < 4; k16++)
        wgmma_64<scalar, N>(e, fragments[k16], b_tile, k16);
    wgmma_commit();
    if (wait != 0) {
        wgmma_wait<1>(d);
        store(d, d_shared);
        wgmma_wait<0>(e);
    }
    store(e, d_registers);
}
