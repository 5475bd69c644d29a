// SPDX-License-Identifier: MIT
//
// y [m][n] = x [m][k] W^T + bias, W [n][k] of 16 bits. One launch, or two where k is split over blocks
// (reduce_slices).
//
// With tensor cores (k a multiple of 8): a warp multiplies TILES tiles of 16 rows with TILE_M tokens;
// WARPS_K warps of a block share its columns, unit by unit of UNIT_K, WARPS_N its rows. Weights go from
// memory to registers, STAGES units ahead; activations through shared memory in chunks of CHUNK_UNITS
// units. Else a warp has FMA_ROWS rows, its lanes the columns.
#include "lib/async.cuh"
#include "lib/core.cuh"
#include "lib/linear.cuh"
#include "lib/mma.cuh"

using scalar = f16;                 // hole: dtype
using output = float;               // hole: out
constexpr u32 N = 4096;             // hole: n
constexpr u32 K = 4096;             // hole: k
constexpr bool USES_MMA = true;     // hole: uses_mma
constexpr u32 TILE_M = 8;           // hole: tile_m
constexpr u32 TILES = 1;            // hole: tiles
constexpr u32 WARPS_N = 1;          // hole: warps_n
constexpr u32 WARPS_K = 8;          // hole: warps_k
constexpr u32 SPLIT_K = 1;          // hole: split_k
constexpr u32 STAGES = 2;           // hole: stages
constexpr u32 UNIT_K = 64;          // hole: unit_k
constexpr u32 SLICE_UNITS = 64;     // hole: slice_units
constexpr u32 CHUNK_UNITS = 16;     // hole: chunk_units
constexpr u32 SHARED_BYTES = 33792; // hole: shared_bytes

constexpr u32 N_WARPS = WARPS_N * WARPS_K;
constexpr u32 N_THREADS = N_WARPS * 32;
constexpr u32 N_UNITS = linear_ceil_div(K, UNIT_K);
constexpr u32 N_CHUNKS = linear_ceil_div(SLICE_UNITS, CHUNK_UNITS);
constexpr u32 CHUNK_K = CHUNK_UNITS * UNIT_K;
constexpr u32 FMA_ROWS = 4;
constexpr u32 BLOCK_ROWS = USES_MMA ? WARPS_N * TILES * 16 : WARPS_N * FMA_ROWS;

// Tensor cores ---------------------------------------------------------------------------------------

constexpr u32 HALVES = UNIT_K / 32;
constexpr u32 N_TILES_M = (TILE_M + 7) / 8;
constexpr u32 CHAINS = N_TILES_M * TILES <= 2 ? 2 : 1; // of dependent products, each

// Lane 4g + t: columns 8t .. 8t + 7 of each 32, of rows g and g + 8.
struct unit_weights {
    u32x4 rows[TILES][HALVES][2];
};

// Rows that are not there are the last row again; columns that are not, zero.
template <class T>
__device__ __forceinline__ void load_unit(unit_weights &to, const T *__restrict__ weight,
                                          u32 first_row, u32 unit)
{
    const u32 g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
    for (u32 r = 0; r < TILES; r++)
#pragma unroll
        for (u32 side = 0; side < 2; side++) {
            const u32 row = first_row + r * 16 + side * 8 + g;
            const T *from = weight + (u64)(row < N ? row : N - 1) * K;
#pragma unroll
            for (u32 half = 0; half < HALVES; half++) {
                const u32 column = unit * UNIT_K + half * 32 + 8 * t;
                to.rows[r][half][side] = u32x4{0, 0, 0, 0};
                if (K % UNIT_K == 0 || column < K)
                    to.rows[r][half][side] =
                        load_stream(reinterpret_cast<const u32x4 *>(from + column));
            }
        }
}

// sums += the unit's product with the activations at x (in shared memory).
template <class T>
__device__ __forceinline__ void multiply_unit(float (&sums)[CHAINS][TILES][N_TILES_M][4],
                                              const unit_weights &unit, const T *x)
{
#pragma unroll
    for (u32 half = 0; half < HALVES; half++) {
#pragma unroll
        for (u32 n = 0; n < N_TILES_M; n++) {
            const u32x4 b =
                linear_operand<T, TILE_M, linear_stride(CHUNK_K)>(x, n, half * 32);
            const u32 b0[2] = {b.x, b.y}, b1[2] = {b.z, b.w};
#pragma unroll
            for (u32 r = 0; r < TILES; r++) {
                const u32x4 upper = unit.rows[r][half][0], lower = unit.rows[r][half][1];
                const u32 first[4] = {upper.x, lower.x, upper.y, lower.y};
                const u32 second[4] = {upper.z, lower.z, upper.w, lower.w};
                mma_16x8x16<T>(sums[half % CHAINS][r][n], first, b0);
                mma_16x8x16<T>(sums[half % CHAINS][r][n], second, b1);
            }
        }
    }
}

template <class T>
__device__ __forceinline__ void multiply_mma(const T *__restrict__ x, const T *__restrict__ weight,
                                             const T *__restrict__ bias, output *__restrict__ y,
                                             float *__restrict__ partial, u32 m)
{
    constexpr u32 N_BUFFERS = N_CHUNKS > 1 ? 2 : 1;
    constexpr u32 BUFFER = TILE_M * linear_stride(CHUNK_K);
    constexpr u32 SUMS_STRIDE = BLOCK_ROWS + 4;
    static_assert(!USES_MMA || K % 8 == 0, "rows of 16 bytes");
    static_assert(!USES_MMA || CHUNK_UNITS % (WARPS_K * STAGES) == 0, "whole turns of the stages");
    static_assert(!USES_MMA || (SHARED_BYTES >= N_BUFFERS * BUFFER * 2 &&
                                SHARED_BYTES >= WARPS_K * TILE_M * SUMS_STRIDE * 4),
                  "the plan's shared memory");

    const u32 n_token_blocks = linear_ceil_div(m, TILE_M);
    const u32 first_token = block_index_x() % n_token_blocks * TILE_M;
    const u32 block_row = block_index_x() / n_token_blocks * BLOCK_ROWS;
    const u32 first_unit = block_index_y() * SLICE_UNITS;
    const u32 n_units = N_UNITS - first_unit < SLICE_UNITS ? N_UNITS - first_unit : SLICE_UNITS;
    const u32 end_k = (first_unit + n_units) * UNIT_K < K ? (first_unit + n_units) * UNIT_K : K;
    const u32 warp_k = warp_index() % WARPS_K, warp_n = warp_index() / WARPS_K;
    const u32 first_row = block_row + warp_n * TILES * 16;
    const bool active = first_row < N;
    T *buffers = shared_memory<T>();

    unit_weights stages[STAGES];
#pragma unroll
    for (u32 s = 0; s < STAGES; s++)
        if (active && warp_k + s * WARPS_K < n_units)
            load_unit<T>(stages[s], weight, first_row, first_unit + warp_k + s * WARPS_K);
    linear_stage<T, TILE_M, CHUNK_K, N_THREADS>(buffers, x, K, first_token, m, first_unit * UNIT_K,
                                                end_k);
    copy_async_commit();

    float sums[CHAINS][TILES][N_TILES_M][4] = {};
#pragma unroll 1
    for (u32 chunk = 0; chunk < N_CHUNKS; chunk++) {
        const T *buffer = buffers + chunk % N_BUFFERS * BUFFER;
        if (chunk + 1 < N_CHUNKS) {
            linear_stage<T, TILE_M, CHUNK_K, N_THREADS>(
                buffers + (chunk + 1) % N_BUFFERS * BUFFER, x, K, first_token, m,
                (first_unit + (chunk + 1) * CHUNK_UNITS) * UNIT_K, end_k);
            copy_async_commit();
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        block_barrier();
#pragma unroll 1
        for (u32 turn = 0; turn < CHUNK_UNITS; turn += WARPS_K * STAGES) {
#pragma unroll
            for (u32 s = 0; s < STAGES; s++) {
                const u32 local = turn + s * WARPS_K + warp_k;
                const u32 unit = chunk * CHUNK_UNITS + local;
                if (active && unit < n_units) {
                    multiply_unit<T>(sums, stages[s], buffer + local * UNIT_K);
                    if (unit + STAGES * WARPS_K < n_units)
                        load_unit<T>(stages[s], weight, first_row,
                                     first_unit + unit + STAGES * WARPS_K);
                }
            }
        }
        block_barrier();
    }
#pragma unroll
    for (u32 r = 0; r < TILES; r++)
#pragma unroll
        for (u32 n = 0; n < N_TILES_M; n++)
#pragma unroll
            for (u32 i = 0; i < 4; i++)
                if (CHAINS == 2)
                    sums[0][r][n][i] += sums[CHAINS - 1][r][n][i];

    float *shared = shared_memory<float>();
    linear_put<TILE_M, SUMS_STRIDE>(shared + warp_k * TILE_M * SUMS_STRIDE, sums[0],
                                    warp_n * TILES * 16);
    block_barrier();
    linear_write<output, TILE_M, BLOCK_ROWS, SUMS_STRIDE, WARPS_K, N_THREADS, (SPLIT_K > 1)>(
        y, partial + (SPLIT_K > 1 ? (u64)block_index_y() * m * N : 0), bias, shared, N, block_row,
        N - block_row < BLOCK_ROWS ? N - block_row : BLOCK_ROWS, first_token, m);
}

// Multiply and add -----------------------------------------------------------------------------------

// A lane has every 32nd column, or, where rows are multiples of 16 bytes, every 32nd eight.
template <class T>
__device__ __forceinline__ void multiply_fma(const T *__restrict__ x, const T *__restrict__ weight,
                                             const T *__restrict__ bias, output *__restrict__ y,
                                             u32 m)
{
    constexpr u32 WIDTH = K % 8 == 0 ? 8 : 1;
    const u32 n_token_blocks = linear_ceil_div(m, TILE_M);
    const u32 first_token = block_index_x() % n_token_blocks * TILE_M;
    const u32 first_row =
        block_index_x() / n_token_blocks * BLOCK_ROWS + warp_index() * FMA_ROWS;
    float sums[FMA_ROWS][TILE_M] = {};
    for (u32 column = lane_index() * WIDTH; column < K; column += 32 * WIDTH) {
        float w[FMA_ROWS][WIDTH];
#pragma unroll
        for (u32 r = 0; r < FMA_ROWS; r++) {
            const u32 row = first_row + r < N ? first_row + r : N - 1;
            linear_widen<T, WIDTH>(w[r], weight + (u64)row * K + column);
        }
#pragma unroll
        for (u32 token = 0; token < TILE_M; token++) {
            const u32 at = first_token + token < m ? first_token + token : m - 1;
            float v[WIDTH];
            linear_widen<T, WIDTH>(v, x + (u64)at * K + column);
#pragma unroll
            for (u32 r = 0; r < FMA_ROWS; r++)
#pragma unroll
                for (u32 i = 0; i < WIDTH; i++)
                    sums[r][token] += w[r][i] * v[i];
        }
    }
#pragma unroll
    for (u32 r = 0; r < FMA_ROWS; r++)
#pragma unroll
        for (u32 token = 0; token < TILE_M; token++) {
            const float sum = warp_sum(sums[r][token]);
            const u32 row = first_row + r;
            if (lane_index() == 0 && row < N && first_token + token < m)
                y[(u64)(first_token + token) * N + row] =
                    from_f32<output>(bias != nullptr ? sum + to_f32(bias[row]) : sum);
        }
}

template <bool MMA, class T>
__device__ __forceinline__ void multiply(const T *__restrict__ x, const T *__restrict__ weight,
                                         const T *__restrict__ bias, output *__restrict__ y,
                                         float *__restrict__ partial, u32 m)
{
    if constexpr (MMA)
        multiply_mma<T>(x, weight, bias, y, partial, m);
    else
        multiply_fma<T>(x, weight, bias, y, m);
}

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
    linear_16(const scalar *__restrict__ x, const scalar *__restrict__ weight,
              const scalar *__restrict__ bias, output *__restrict__ y, float *__restrict__ partial,
              u32 m)
{
    multiply<USES_MMA, scalar>(x, weight, bias, y, partial, m);
}

extern "C" __global__ void __launch_bounds__(256, 1)
    reduce_slices(const float *__restrict__ partial, const scalar *__restrict__ bias,
                  output *__restrict__ y, u32 m)
{
    linear_reduce<output, scalar, SPLIT_K, 256>(y, partial, bias, N, m);
}
