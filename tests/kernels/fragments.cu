// SPDX-License-Identifier: MIT
//
// The product of mma.cu with operands that come from tiles in shared memory: B as its rows, and as
// its columns.
#include "lib/fragments.cuh"

using scalar = f16; // hole: dtype

constexpr u32 STRIDE = 24;

__device__ __forceinline__ void multiply(const scalar *a, const u32 (&fb)[2], float *d)
{
    const u32 at = lane_index() / 4 * 8 + lane_index() % 4 * 2;
    u32 fa[4];
    float fd[4] = {d[at], d[at + 1], d[at + 64], d[at + 65]};
    load_a(a, STRIDE, fa);
    mma_16x8x16<scalar>(fd, fa, fb);
    d[at] = fd[0];
    d[at + 1] = fd[1];
    d[at + 64] = fd[2];
    d[at + 65] = fd[3];
}

extern "C" __global__ void rows(const scalar *__restrict__ a, const scalar *__restrict__ b,
                                float *__restrict__ d)
{
    scalar *a_tile = shared_memory<scalar>(), *b_tile = a_tile + 16 * STRIDE;
    u32 fb[2];
    for (u32 i = lane_index(); i < 256; i += 32)
        a_tile[i / 16 * STRIDE + i % 16] = a[i];
    for (u32 i = lane_index(); i < 128; i += 32)
        b_tile[i / 8 * STRIDE + i % 8] = b[i];
    warp_barrier();
    load_b_rows(b_tile, STRIDE, fb);
    multiply(a_tile, fb, d);
}

extern "C" __global__ void columns(const scalar *__restrict__ a, const scalar *__restrict__ b,
                                   float *__restrict__ d)
{
    scalar *a_tile = shared_memory<scalar>(), *b_tile = a_tile + 16 * STRIDE;
    u32 fb[2];
    for (u32 i = lane_index(); i < 256; i += 32)
        a_tile[i / 16 * STRIDE + i % 16] = a[i];
    for (u32 i = lane_index(); i < 128; i += 32)
        b_tile[i % 8 * STRIDE + i / 8] = b[i];
    warp_barrier();
    load_b(b_tile, STRIDE, fb);
    multiply(a_tile, fb, d);
}
