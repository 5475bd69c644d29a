// SPDX-License-Identifier: MIT
//
// What the forward and backward of attention over whole samples share: tiles of rows in shared
// memory, products of them, and sums over the lanes that have a row.
//
// A tile's rows are one head of neighbouring tokens, HEAD_DIM elements each, padded to STRIDE so
// that the lanes of a fragment's load use different banks. A warp has 16 rows of its block's tile
// and takes the other side's 16 at a time.
#pragma once
#include "lib/async.cuh"
#include "lib/core.cuh"
#include "lib/fragments.cuh"

// Rows first .. first + ROWS - 1 of a head; those from n_tokens on become zeros. They are there
// after the block's next wait_rows().
template <u32 ROWS, u32 HEAD_DIM, u32 STRIDE, class T>
__device__ __forceinline__ void fetch_rows(const T *head, u64 row_stride, u32 first, u32 n_tokens,
                                           T *tile)
{
    constexpr u32 PIECES = HEAD_DIM / 8; // of 16 bytes
    for (u32 i = thread_index(); i < ROWS * PIECES; i += block_size()) {
        const u32 row = i / PIECES, channel = i % PIECES * 8;
        const bool valid = first + row < n_tokens;
        copy_async_zero16(tile + row * STRIDE + channel,
                          head + (valid ? first + row : 0) * row_stride + channel, valid);
    }
}

__device__ __forceinline__ void wait_rows()
{
    copy_async_commit();
    copy_async_wait<0>();
    block_barrier();
}

// out[16][8 N] += rows[16][HEAD_DIM] columns[8 N][HEAD_DIM]^T
template <u32 N, u32 HEAD_DIM, u32 STRIDE, class T>
__device__ __forceinline__ void add_products(const T *rows, const T *columns, float (&out)[N][4])
{
#pragma unroll
    for (u32 channel = 0; channel < HEAD_DIM; channel += 16) {
        u32 a[4];
        load_a(rows + channel, STRIDE, a);
#pragma unroll
        for (u32 n = 0; n < N; n++) {
            u32 b[2];
            load_b(columns + 8 * n * STRIDE + channel, STRIDE, b);
            mma_16x8x16<T>(out[n], a, b);
        }
    }
}

// out[16][8 N] += a[16][16] rows[16][8 N]
template <u32 N, u32 STRIDE, class T>
__device__ __forceinline__ void add_weighted(const u32 (&a)[4], const T *rows, float (&out)[N][4])
{
#pragma unroll
    for (u32 n = 0; n < N; n++) {
        u32 b[2];
        load_b_rows(rows + 8 * n, STRIDE, b);
        mma_16x8x16<T>(out[n], a, b);
    }
}

// Two rows of D, `high` the one 8 below, times factor, to a row in memory; T's pairs.
template <u32 N, class T>
__device__ __forceinline__ void store_row(const float (&out)[N][4], u32 high, float factor, T *row)
{
#pragma unroll
    for (u32 n = 0; n < N; n++)
        *reinterpret_cast<u32 *>(row + 8 * n + lane_index() % 4 * 2) =
            pack2<T>(out[n][2 * high] * factor, out[n][2 * high + 1] * factor);
}

// Over the four lanes that have a row of D.
__device__ __forceinline__ float row_sum(float v)
{
    v += shuffle_xor(v, 1);
    return v + shuffle_xor(v, 2);
}
__device__ __forceinline__ float row_max(float v)
{
    v = f32_max(v, shuffle_xor(v, 1));
    return f32_max(v, shuffle_xor(v, 2));
}
