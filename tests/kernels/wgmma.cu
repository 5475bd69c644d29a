// SPDX-License-Identifier: MIT
//
// d [64][n] = a [64][64] b [64][n] by one warpgroup: from shared memory, and with A in registers.
#include "lib/async.cuh"
#include "lib/wgmma.cuh"

using scalar = f16; // hole: dtype
constexpr int N = 24;

template <int N>
__device__ __forceinline__ void fill(const scalar *a, const scalar *b, scalar *a_tile, scalar *b_tile)
{
    for (u32 i = thread_index(); i < 64 * 64; i += block_size())
        a_tile[wgmma_index(i / 64, i % 64)] = a[i];
    for (u32 i = thread_index(); i < N * 64; i += block_size())
        b_tile[wgmma_index(i % N, i / N)] = b[i];
    fence_async_shared();
    block_barrier();
}

// The warp's part of A for one k16.
__device__ __forceinline__ void fragments_of(const scalar *a, u32 k16, u32 (&out)[4])
{
    const u32 row = 16 * warp_index() + lane_index() / 4, column = 2 * (lane_index() % 4);
    for (u32 i = 0; i < 4; i++) {
        const scalar *at = a + (row + i % 2 * 8) * 64 + 16 * k16 + column + i / 2 * 8;
        out[i] = (u32)at[0].bits | (u32)at[1].bits << 16;
    }
}

template <int N> __device__ __forceinline__ void store(const float (&d)[N / 2], float *out)
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
    fill<N>(a, b, a_tile, b_tile);
    float d[N / 2] = {}, e[N / 2] = {};
    wgmma_fence(d);
    for (u32 k16 = 0; k16 < 4; k16++)
        wgmma_64<scalar, N>(d, a_tile, b_tile, k16);
    wgmma_commit();
    u32 fragments[4][4];
    for (u32 k16 = 0; k16 < 4; k16++)
        fragments_of(a, k16, fragments[k16]);
    wgmma_fence(e);
#pragma unroll
    for (u32 k16 = 0; k16 < 4; k16++)
        wgmma_64<scalar, N>(e, fragments[k16], b_tile, k16);
    wgmma_commit();
    if (wait != 0) {
        wgmma_wait<1>(d);
        store<N>(d, d_shared);
        wgmma_wait<0>(e);
    }
    store<N>(e, d_registers);
}

// One product of a width.
template <int N, bool FROM_REGISTERS>
__device__ __forceinline__ void product(const scalar *a, const scalar *b, float *out)
{
    scalar *a_tile = shared_memory<scalar>(), *b_tile = a_tile + 64 * 64;
    fill<N>(a, b, a_tile, b_tile);
    float d[N / 2] = {};
    u32 fragments[4][4];
    if constexpr (FROM_REGISTERS)
        for (u32 k16 = 0; k16 < 4; k16++)
            fragments_of(a, k16, fragments[k16]);
    wgmma_fence(d);
#pragma unroll
    for (u32 k16 = 0; k16 < 4; k16++)
        if constexpr (FROM_REGISTERS)
            wgmma_64<scalar, N>(d, fragments[k16], b_tile, k16);
        else
            wgmma_64<scalar, N>(d, a_tile, b_tile, k16);
    wgmma_commit();
    wgmma_wait<0>(d);
    store<N>(d, out);
}
extern "C" __global__ void __launch_bounds__(128)
    shared_8(const scalar *__restrict__ a, const scalar *__restrict__ b, float *__restrict__ d)
{
    product<8, false>(a, b, d);
}
extern "C" __global__ void __launch_bounds__(128)
    registers_8(const scalar *__restrict__ a, const scalar *__restrict__ b, float *__restrict__ d)
{
    product<8, true>(a, b, d);
}
extern "C" __global__ void __launch_bounds__(128)
    shared_64(const scalar *__restrict__ a, const scalar *__restrict__ b, float *__restrict__ d)
{
    product<64, false>(a, b, d);
}
extern "C" __global__ void __launch_bounds__(128)
    registers_64(const scalar *__restrict__ a, const scalar *__restrict__ b, float *__restrict__ d)
{
    product<64, true>(a, b, d);
}
extern "C" __global__ void __launch_bounds__(128)
    shared_136(const scalar *__restrict__ a, const scalar *__restrict__ b, float *__restrict__ d)
{
    product<136, false>(a, b, d);
}
extern "C" __global__ void __launch_bounds__(128)
    registers_136(const scalar *__restrict__ a, const scalar *__restrict__ b, float *__restrict__ d)
{
    product<136, true>(a, b, d);
}
extern "C" __global__ void __launch_bounds__(128)
    shared_256(const scalar *__restrict__ a, const scalar *__restrict__ b, float *__restrict__ d)
{
    product<256, false>(a, b, d);
}
extern "C" __global__ void __launch_bounds__(128)
    registers_256(const scalar *__restrict__ a, const scalar *__restrict__ b, float *__restrict__ d)
{
    product<256, true>(a, b, d);
}
