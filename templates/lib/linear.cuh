// SPDX-License-Identifier: MIT
//
// What products of activations and weights share: activations to shared memory, operand B from there,
// and sums from fragments to the output.
//
// Sums are transposed: weights are operand A (16 rows), tokens are the 8 columns of operand B. k is
// permuted inside 32 columns (families/w4_layout.h): lane 4g + t has columns 8t .. 8t + 7 of token g,
// which are B of two fragments.
#pragma once
#include "lib/async.cuh"
#include "lib/core.cuh"

__device__ __forceinline__ constexpr u32 linear_ceil_div(u32 a, u32 b)
{
    return (a + b - 1) / b;
}

// Elements between tokens in shared memory: 64 bytes more than a multiple of 128, so that 8 lanes (two
// tokens, four pieces of 16 bytes) meet all banks.
__device__ __forceinline__ constexpr u32 linear_stride(u32 chunk_k)
{
    return chunk_k + 32;
}

// Tokens first_token .. + TILE_M - 1 and columns first_k .. + CHUNK_K - 1 of x [m][k] to
// to [TILE_M][linear_stride(CHUNK_K)], zero beyond m and end_k (multiples of 8, as k is). Asynchronous:
// for the caller to commit and wait.
template <class T, u32 TILE_M, u32 CHUNK_K, u32 N_THREADS>
__device__ __forceinline__ void linear_stage(T *to, const T *x, u32 k, u32 first_token, u32 m,
                                             u32 first_k, u32 end_k)
{
    constexpr u32 PIECES = CHUNK_K / 8;
    for (u32 i = thread_index(); i < TILE_M * PIECES; i += N_THREADS) {
        const u32 token = i / PIECES, column = i % PIECES * 8;
        const bool valid = first_token + token < m && first_k + column < end_k;
        const T *from = x + (valid ? (u64)(first_token + token) * k + first_k + column : 0);
        copy_async_zero16(to + token * linear_stride(CHUNK_K) + column, from, valid);
    }
}

// B of two fragments for tokens 8n .. 8n + 7 of a tile: 32 columns from `column` on.
template <class T, u32 TILE_M, u32 STRIDE>
__device__ __forceinline__ u32x4 linear_operand(const T *x, u32 n, u32 column)
{
    const u32 g = lane_index() / 4, t = lane_index() % 4;
    u32x4 b = {0, 0, 0, 0};
    if (TILE_M % 8 == 0 || n * 8 + g < TILE_M)
        b = *reinterpret_cast<const u32x4 *>(x + (n * 8 + g) * STRIDE + column + 8 * t);
    return b;
}

// WIDTH (1 or 8, then on a multiple of 16 bytes) elements as fp32.
template <class T, u32 WIDTH>
__device__ __forceinline__ void linear_widen(float (&to)[WIDTH], const T *from)
{
    if constexpr (WIDTH == 8) {
        const u32x4 packed = *reinterpret_cast<const u32x4 *>(from);
        const u32 words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const f32x2 two = unpack2<T>(words[i]);
            to[2 * i] = two.x;
            to[2 * i + 1] = two.y;
        }
    } else {
        to[0] = to_f32(*from);
    }
}

// A lane's sums of TILES tiles of 16 rows to shared [TILE_M][stride]; `row` is the warp's first.
template <u32 TILE_M, u32 STRIDE, u32 TILES, u32 N_TILES>
__device__ __forceinline__ void linear_put(float *shared, const float (&sums)[TILES][N_TILES][4],
                                           u32 row)
{
    const u32 g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
    for (u32 r = 0; r < TILES; r++)
#pragma unroll
        for (u32 n = 0; n < N_TILES; n++)
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const u32 token = n * 8 + 2 * t + i % 2;
                if (TILE_M % 8 == 0 || token < TILE_M)
                    shared[token * STRIDE + row + r * 16 + g + i / 2 * 8] = sums[r][n][i];
            }
}

// Sums over a block's parts of k, shared [N_PARTS_K][TILE_M][STRIDE], to rows of y [m][n] (with bias,
// which may be null) or, where SPLIT, of partial [m][n].
template <class T, u32 TILE_M, u32 ROWS, u32 STRIDE, u32 N_PARTS_K, u32 N_THREADS, bool SPLIT, class B>
__device__ __forceinline__ void linear_write(T *y, float *partial, const B *bias,
                                             const float *shared, u32 n, u32 first_row, u32 n_rows,
                                             u32 first_token, u32 m)
{
    for (u32 i = thread_index(); i < TILE_M * ROWS; i += N_THREADS) {
        const u32 token = i / ROWS, row = i % ROWS;
        if (row >= n_rows || first_token + token >= m)
            continue;
        float sum = 0.0f;
#pragma unroll
        for (u32 part = 0; part < N_PARTS_K; part++)
            sum += shared[(part * TILE_M + token) * STRIDE + row];
        const u64 at = (u64)(first_token + token) * n + first_row + row;
        if constexpr (SPLIT)
            partial[at] = sum;
        else
            y[at] = from_f32<T>(bias != nullptr ? sum + to_f32(bias[first_row + row]) : sum);
    }
}

// y [m][n] = the sum of partial [SPLIT_K][m][n], and bias: one element a thread.
template <class T, class B, u32 SPLIT_K, u32 N_THREADS>
__device__ __forceinline__ void linear_reduce(T *y, const float *partial, const B *bias, u32 n, u32 m)
{
    const u64 n_elements = (u64)m * n;
    const u64 i = (u64)block_index_x() * N_THREADS + thread_index();
    if (i < n_elements) {
        float sum = 0.0f;
#pragma unroll
        for (u32 slice = 0; slice < SPLIT_K; slice++)
            sum += partial[slice * n_elements + i];
        y[i] = from_f32<T>(bias != nullptr ? sum + to_f32(bias[i % n]) : sum);
    }
}
