// SPDX-License-Identifier: MIT
//
// Operands of mma_16x8x16 from tiles in shared memory whose rows are `stride` elements apart, a
// multiple of 8: rows begin on 16 bytes. All 32 lanes.
#pragma once
#include "lib/async.cuh"
#include "lib/mma.cuh"

// A[i][j] = tile[i][j]
template <class T>
__device__ __forceinline__ void load_a(const T *tile, u32 stride, u32 (&a)[4])
{
    const T *at = tile + lane_index() / 4 * stride + lane_index() % 4 * 2;
    a[0] = *reinterpret_cast<const u32 *>(at);
    a[1] = *reinterpret_cast<const u32 *>(at + 8 * stride);
    a[2] = *reinterpret_cast<const u32 *>(at + 8);
    a[3] = *reinterpret_cast<const u32 *>(at + 8 * stride + 8);
}

// B[i][j] = tile[j][i]
template <class T>
__device__ __forceinline__ void load_b(const T *tile, u32 stride, u32 (&b)[2])
{
    const T *at = tile + lane_index() / 4 * stride + lane_index() % 4 * 2;
    b[0] = *reinterpret_cast<const u32 *>(at);
    b[1] = *reinterpret_cast<const u32 *>(at + 8);
}

// B[i][j] = tile[i][j]
template <class T>
__device__ __forceinline__ void load_b_rows(const T *tile, u32 stride, u32 (&b)[2])
{
#ifdef PARO_HOST
    const T *at = tile + lane_index() % 4 * 2 * stride + lane_index() / 4;
    b[0] = (u32)at[0].bits | (u32)at[stride].bits << 16;
    b[1] = (u32)at[8 * stride].bits | (u32)at[9 * stride].bits << 16;
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(b[0]), "=r"(b[1])
                 : "r"(shared_address(tile + lane_index() % 16 * stride))
                 : "memory");
#endif
}

// D[16][16], in two tiles of mma_16x8x16, as the A of the next product.
template <class T>
__device__ __forceinline__ void a_from_d(const float (&left)[4], const float (&right)[4],
                                         u32 (&a)[4])
{
    a[0] = pack2<T>(left[0], left[1]);
    a[1] = pack2<T>(left[2], left[3]);
    a[2] = pack2<T>(right[0], right[1]);
    a[3] = pack2<T>(right[2], right[3]);
}
