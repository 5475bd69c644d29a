// SPDX-License-Identifier: MIT
//
// y [m][n] = R(x * channel_scales) W^T + bias, W of INT4 codes with group scales and zero points; row
// ranges (parts) have a rotation each. One to three launches: rotate_input (where the rotation is
// separate), linear_w4, reduce_slices (where k is split over blocks).
//
// ALGORITHM mma: layout mma16 (families/w4_layout.h). A warp multiplies TILES tiles of 16 rows with
// TILE_M tokens; WARPS_K warps of a block share its columns, unit by unit of UNIT_K, WARPS_N its rows.
// Codes go from memory to registers, STAGES units ahead; activations through shared memory in chunks
// of CHUNK_UNITS units. A group's sum is scaled in fp32. `fma`: layout awq, one word (8 rows) a lane.
#include "lib/async.cuh"
#include "lib/core.cuh"
#include "lib/linear.cuh"
#include "lib/mma.cuh"
#include "lib/rotate.cuh"
#include "lib/w4.cuh"

using scalar = f16;                 // hole: dtype
using zero_word = u8;               // hole: zero_word
constexpr u32 N = 6144;             // hole: n
constexpr u32 K = 4096;             // hole: k
constexpr u32 GROUP = 128;          // hole: group
constexpr u32 KROT = 8;             // hole: krot
constexpr u32 N_PARTS = 3;          // hole: n_parts
constexpr u32 PARTS[] = {4096, 1024, 1024}; // hole: parts
constexpr bool USES_MMA = true;     // hole: uses_mma
constexpr bool FUSED = false;       // hole: fused
constexpr u32 TILE_M = 8;           // hole: tile_m
constexpr u32 TILES = 1;            // hole: tiles
constexpr u32 WARPS_N = 1;          // hole: warps_n
constexpr u32 WARPS_K = 8;          // hole: warps_k
constexpr u32 SPLIT_K = 1;          // hole: split_k
constexpr u32 STAGES = 2;           // hole: stages
constexpr u32 UNIT_K = 128;         // hole: unit_k
constexpr u32 SLICE_UNITS = 32;     // hole: slice_units
constexpr u32 CHUNK_UNITS = 16;     // hole: chunk_units
constexpr u32 SHARED_BYTES = 66560; // hole: shared_bytes

constexpr u32 N_WARPS = WARPS_N * WARPS_K;
constexpr u32 N_THREADS = N_WARPS * 32;
constexpr u32 N_UNITS = linear_ceil_div(K, UNIT_K);
constexpr u32 N_CHUNKS = linear_ceil_div(SLICE_UNITS, CHUNK_UNITS);
constexpr u32 CHUNK_K = CHUNK_UNITS * UNIT_K;
constexpr bool SEPARATE = KROT > 0 && !FUSED;
constexpr u32 BLOCK_ROWS = USES_MMA ? WARPS_N * TILES * 16 : WARPS_N * 256;

// Rotation -----------------------------------------------------------------------------------------

constexpr u32 ROTATE_WARPS = 2;
constexpr u32 ROTATE_TOKENS = TILE_M < 4 ? TILE_M : 4;

// One warp rotates one group of TOKENS tokens of x (zero beyond m) to rows of `to`; those beyond m
// are written where writes_all. `tile` is [GROUP] of shared memory.
template <u32 TOKENS>
__device__ __forceinline__ void rotate_group(scalar *to, u64 to_stride, bool writes_all,
                                             const scalar *__restrict__ x,
                                             const u8 *__restrict__ pairs,
                                             const float *__restrict__ cossin,
                                             const float *__restrict__ channel_scales,
                                             token_run<TOKENS> *tile, u32 part, u32 group,
                                             u32 first_token, u32 m)
{
    const u64 table = (u64)part * KROT * K;
    for (u32 i = lane_index(); i < GROUP; i += 32) {
        const u32 channel = group * GROUP + i;
        const float scale = channel_scales[(u64)part * K + channel];
        token_run<TOKENS> run;
#pragma unroll
        for (u32 token = 0; token < TOKENS; token++)
            run.of[token] = first_token + token < m
                                ? to_f32(x[(u64)(first_token + token) * K + channel]) * scale
                                : 0.0f;
        tile[i] = run;
    }
    rotate_by_warp<GROUP, KROT, GROUP, false, TOKENS>(tile, pairs + table, cossin + table, K,
                                                      group * GROUP, GROUP);
    for (u32 i = lane_index(); i < GROUP; i += 32) {
        const token_run<TOKENS> run = tile[i];
#pragma unroll
        for (u32 token = 0; token < TOKENS; token++)
            if (writes_all || first_token + token < m)
                to[token * to_stride + i] = from_f32<scalar>(run.of[token]);
    }
    warp_barrier();
}

// A warp: one part, group, and ROTATE_TOKENS tokens.
extern "C" __global__ void __launch_bounds__(ROTATE_WARPS * 32, 1)
    rotate_input(const scalar *__restrict__ x, const u8 *__restrict__ pairs,
                 const float *__restrict__ cossin, const float *__restrict__ channel_scales,
                 scalar *__restrict__ rotated, u32 m)
{
    if constexpr (SEPARATE) {
        constexpr u32 N_GROUPS = K / GROUP;
        const u32 item = block_index_x() * ROTATE_WARPS + warp_index();
        const u32 group = item % N_GROUPS, part = item / N_GROUPS % N_PARTS;
        const u32 first_token = item / (N_GROUPS * N_PARTS) * ROTATE_TOKENS;
        token_run<ROTATE_TOKENS> *tile =
            shared_memory<token_run<ROTATE_TOKENS>>() + warp_index() * GROUP;
        scalar *to = rotated + ((u64)part * m + first_token) * K + group * GROUP;
        if (first_token < m)
            rotate_group<ROTATE_TOKENS>(to, K, false, x, pairs, cossin, channel_scales, tile, part,
                                        group, first_token, m);
    }
}

// Which rows -----------------------------------------------------------------------------------------

struct block_rows {
    u32 part;
    u32 n_rows;     // that are the block's, at most BLOCK_ROWS
    u32 first_row;  // of y
    u32 first_tile; // of codes
    u32 n_tiles;
};

template <u32 PART>
__device__ __forceinline__ block_rows find_rows(u32 block, u32 rows_before, u32 tiles_before)
{
    constexpr u32 ROWS = PARTS[PART], N_TILES = linear_ceil_div(ROWS, 16);
    constexpr u32 N_BLOCKS = linear_ceil_div(ROWS, BLOCK_ROWS);
    if constexpr (PART + 1 < N_PARTS)
        if (block >= N_BLOCKS)
            return find_rows<PART + 1>(block - N_BLOCKS, rows_before + ROWS, tiles_before + N_TILES);
    const u32 row = block * BLOCK_ROWS;
    return {PART, ROWS - row < BLOCK_ROWS ? ROWS - row : BLOCK_ROWS, rows_before + row,
            tiles_before + row / 16, N_TILES - row / 16};
}

// Tensor cores ---------------------------------------------------------------------------------------

constexpr u32 WORDS = UNIT_K / 64;             // of 16 bytes, of a lane and unit
constexpr u32 UNIT_GROUPS = GROUP == 32 ? 2 : 1; // in a unit; larger groups have several units
constexpr u32 TILE_GROUPS = N_UNITS * UNIT_K / GROUP;
constexpr u32 N_TILES_M = (TILE_M + 7) / 8;
constexpr u32 CHAINS = N_TILES_M * TILES <= 2 ? 2 : 1; // of dependent products, each

struct unit_codes {
    u32x4 codes[TILES][WORDS];
    u32 scales[TILES][UNIT_GROUPS];
    u32 zeros[TILES][UNIT_GROUPS];
};

__device__ __forceinline__ void load_unit(unit_codes &to, const u32 *__restrict__ codes,
                                          const u8 *__restrict__ zeros, const f16 *__restrict__ scales,
                                          u32 first_tile, u32 n_tiles, u32 unit)
{
#pragma unroll
    for (u32 r = 0; r < TILES; r++) {
        const u64 tile = first_tile + (r < n_tiles ? r : 0);
        const u32x4 *from = reinterpret_cast<const u32x4 *>(codes) +
                            (tile * (N_UNITS * WORDS) + unit * WORDS) * 32 + lane_index();
#pragma unroll
        for (u32 w = 0; w < WORDS; w++)
            to.codes[r][w] = load_stream(from + w * 32);
#pragma unroll
        for (u32 i = 0; i < UNIT_GROUPS; i++) {
            const u64 at = (tile * TILE_GROUPS + (u64)unit * UNIT_K / GROUP + i) * 8 +
                           lane_index() / 4;
            to.scales[r][i] = reinterpret_cast<const u32 *>(scales)[at];
            to.zeros[r][i] = zeros[at];
        }
    }
}

// A unit's codes as operands: [halves of 64 columns][tiles][two fragments].
template <class T>
__device__ __forceinline__ void unit_fragments(u32 (&a)[TILES][2][4], const unit_codes &unit,
                                               u32 half)
{
#pragma unroll
    for (u32 r = 0; r < TILES; r++) {
        const u32x4 words = unit.codes[r][half / 2];
        const w4_zeros zeros = w4_spread_zeros<T>(unit.zeros[r][half % UNIT_GROUPS]);
        w4_fragment<T>(a[r][0], half % 2 == 0 ? words.x : words.z, zeros);
        w4_fragment<T>(a[r][1], half % 2 == 0 ? words.y : words.w, zeros);
    }
}

// d += 32 columns of a tile times 8 tokens; a group's first clears d, its last goes to sums.
template <class T>
__device__ __forceinline__ void multiply_half(float (&sums)[4], float (&d)[4], const u32 (&a)[2][4],
                                              const u32x4 &b, u32 scales, bool begins, bool ends)
{
    const u32 b0[2] = {b.x, b.y}, b1[2] = {b.z, b.w};
    if (begins)
        d[0] = d[1] = d[2] = d[3] = 0.0f;
    mma_16x8x16<T>(d, a[0], b0);
    mma_16x8x16<T>(d, a[1], b1);
    if (ends) {
        const f32x2 scale = unpack2<f16>(scales);
        sums[0] += scale.x * d[0];
        sums[1] += scale.x * d[1];
        sums[2] += scale.y * d[2];
        sums[3] += scale.y * d[3];
    }
}

// sums += the unit's product with the activations at x (in shared memory); `next` loads what comes
// into `unit` after it. With many tokens all operands are made first: few group sums are alive at a
// time, and the loads run beside the products.
template <class T, class NEXT>
__device__ __forceinline__ void multiply_unit(float (&sums)[TILES][N_TILES_M][4], unit_codes &unit,
                                              const T *x, NEXT next)
{
    constexpr u32 STRIDE = linear_stride(CHUNK_K), HALVES = 2 * WORDS;
    if constexpr (N_TILES_M >= 4) {
        u32 a[HALVES][TILES][2][4], scales[TILES][UNIT_GROUPS];
#pragma unroll
        for (u32 half = 0; half < HALVES; half++)
            unit_fragments<T>(a[half], unit, half);
#pragma unroll
        for (u32 r = 0; r < TILES; r++)
#pragma unroll
            for (u32 i = 0; i < UNIT_GROUPS; i++)
                scales[r][i] = unit.scales[r][i];
        next();
#pragma unroll
        for (u32 n = 0; n < N_TILES_M; n++) {
            float d[TILES][4];
#pragma unroll
            for (u32 half = 0; half < HALVES; half++) {
                const u32x4 b = linear_operand<T, TILE_M, STRIDE>(x, n, half * 32);
#pragma unroll
                for (u32 r = 0; r < TILES; r++)
                    multiply_half<T>(sums[r][n], d[r], a[half][r], b, scales[r][half % UNIT_GROUPS],
                                     half == 0 || UNIT_GROUPS == 2,
                                     half + 1 == HALVES || UNIT_GROUPS == 2);
            }
        }
    } else {
        float d[CHAINS][TILES][N_TILES_M][4];
#pragma unroll
        for (u32 half = 0; half < HALVES; half++) {
            u32 a[TILES][2][4];
            unit_fragments<T>(a, unit, half);
#pragma unroll
            for (u32 n = 0; n < N_TILES_M; n++) {
                const u32x4 b = linear_operand<T, TILE_M, STRIDE>(x, n, half * 32);
#pragma unroll
                for (u32 r = 0; r < TILES; r++)
                    multiply_half<T>(sums[r][n], d[half % CHAINS][r][n], a[r], b,
                                     unit.scales[r][half % UNIT_GROUPS],
                                     half < CHAINS || UNIT_GROUPS == 2,
                                     half + CHAINS >= HALVES || UNIT_GROUPS == 2);
            }
        }
        next();
    }
}

// A chunk of activations to shared memory, rotated on the way where that is fused.
__device__ __forceinline__ void stage_chunk(scalar *to, token_run<1> *tile, const scalar *__restrict__ x,
                                            const u8 *__restrict__ pairs,
                                            const float *__restrict__ cossin,
                                            const float *__restrict__ channel_scales, u32 part,
                                            u32 first_token, u32 m, u32 first_k, u32 end_k)
{
    if constexpr (FUSED && KROT > 0) {
        constexpr u32 N_GROUPS = CHUNK_K / GROUP;
        for (u32 i = warp_index(); i < TILE_M * N_GROUPS; i += N_WARPS) {
            const u32 token = i % TILE_M, group = i / TILE_M;
            scalar *row = to + token * linear_stride(CHUNK_K) + group * GROUP;
            if (first_k + group * GROUP < end_k)
                rotate_group<1>(row, 0, true, x, pairs, cossin, channel_scales,
                                tile + warp_index() * GROUP, part, first_k / GROUP + group,
                                first_token + token, m);
            else
                for (u32 c = lane_index(); c < GROUP; c += 32)
                    row[c] = from_f32<scalar>(0.0f);
        }
    } else {
        linear_stage<scalar, TILE_M, CHUNK_K, N_THREADS>(to, x, K, first_token, m, first_k, end_k);
        copy_async_commit();
    }
}

template <class Z> __device__ __forceinline__ void
multiply_mma(const scalar *__restrict__ x, const u32 *__restrict__ codes,
             const Z *__restrict__ zeros, const f16 *__restrict__ scales,
             const scalar *__restrict__ bias, const u8 *__restrict__ pairs,
             const float *__restrict__ cossin, const float *__restrict__ channel_scales,
             const scalar *__restrict__ rotated, scalar *__restrict__ y,
             float *__restrict__ partial, u32 m)
{
    constexpr u32 N_BUFFERS = N_CHUNKS > 1 ? 2 : 1;
    constexpr u32 BUFFER = TILE_M * linear_stride(CHUNK_K);
    constexpr u32 SUMS_STRIDE = BLOCK_ROWS + 4;
    static_assert(!USES_MMA || CHUNK_UNITS % (WARPS_K * STAGES) == 0, "whole turns of the stages");
    static_assert(!USES_MMA ||
                      (SHARED_BYTES >= N_BUFFERS * BUFFER * 2 + (FUSED ? N_WARPS * GROUP * 4 : 0) &&
                       SHARED_BYTES >= WARPS_K * TILE_M * SUMS_STRIDE * 4),
                  "the plan's shared memory");

    const u32 n_token_blocks = linear_ceil_div(m, TILE_M);
    const u32 first_token = block_index_x() % n_token_blocks * TILE_M;
    const block_rows rows = find_rows<0>(block_index_x() / n_token_blocks, 0, 0);
    const u32 slice = block_index_y();
    const u32 first_unit = slice * SLICE_UNITS;
    const u32 n_units = N_UNITS - first_unit < SLICE_UNITS ? N_UNITS - first_unit : SLICE_UNITS;
    const u32 end_k = (first_unit + n_units) * UNIT_K < K ? (first_unit + n_units) * UNIT_K : K;
    const u32 warp_k = warp_index() % WARPS_K, warp_n = warp_index() / WARPS_K;
    const bool active = warp_n * TILES < rows.n_tiles;
    const u32 first_tile = rows.first_tile + warp_n * TILES;
    const u32 n_tiles = rows.n_tiles - warp_n * TILES;
    scalar *buffers = shared_memory<scalar>();
    token_run<1> *tile = reinterpret_cast<token_run<1> *>(buffers + N_BUFFERS * BUFFER);
    const scalar *from = SEPARATE ? rotated + (u64)rows.part * m * K : x;

    unit_codes stages[STAGES];
#pragma unroll
    for (u32 s = 0; s < STAGES; s++)
        if (active && warp_k + s * WARPS_K < n_units)
            load_unit(stages[s], codes, zeros, scales, first_tile, n_tiles,
                      first_unit + warp_k + s * WARPS_K);
    stage_chunk(buffers, tile, from, pairs, cossin, channel_scales, rows.part, first_token, m,
                first_unit * UNIT_K, end_k);

    float sums[TILES][N_TILES_M][4] = {};
#pragma unroll 1
    for (u32 chunk = 0; chunk < N_CHUNKS; chunk++) {
        const scalar *buffer = buffers + chunk % N_BUFFERS * BUFFER;
        if (chunk + 1 < N_CHUNKS) {
            stage_chunk(buffers + (chunk + 1) % N_BUFFERS * BUFFER, tile, from, pairs, cossin,
                        channel_scales, rows.part, first_token, m,
                        (first_unit + (chunk + 1) * CHUNK_UNITS) * UNIT_K, end_k);
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
                    multiply_unit(sums, stages[s], buffer + local * UNIT_K, [&] {
                        if (unit + STAGES * WARPS_K < n_units)
                            load_unit(stages[s], codes, zeros, scales, first_tile, n_tiles,
                                      first_unit + unit + STAGES * WARPS_K);
                    });
                }
            }
        }
        block_barrier();
    }

    float *shared = shared_memory<float>();
    linear_put<TILE_M, SUMS_STRIDE>(shared + warp_k * TILE_M * SUMS_STRIDE, sums,
                                    warp_n * TILES * 16);
    block_barrier();
    linear_write<scalar, TILE_M, BLOCK_ROWS, SUMS_STRIDE, WARPS_K, N_THREADS, (SPLIT_K > 1)>(
        y, partial + (SPLIT_K > 1 ? (u64)slice * m * N : 0), bias, shared, N, rows.first_row,
        rows.n_rows, first_token, m);
}

// Multiply and add -----------------------------------------------------------------------------------

constexpr u32 STEP_K = GROUP < UNIT_K ? GROUP : UNIT_K;

// sums += 8 rows (of one word) times the activations x [STEP_K][TILE_M] in shared memory.
template <class Z>
__device__ __forceinline__ void multiply_step(float (&sums)[TILE_M][8], const u32 *__restrict__ codes,
                                              const Z *__restrict__ zeros,
                                              const f16 *__restrict__ scales, const float *x,
                                              u32 word, u32 k)
{
    if (k >= K)
        return;
    const u32 zero = zeros[(u64)(k / GROUP) * (N / 8) + word];
    const u32x4 packed =
        *reinterpret_cast<const u32x4 *>(scales + (u64)(k / GROUP) * N + word * 8);
    const u32 words[4] = {packed.x, packed.y, packed.z, packed.w};
    const u32 *at = codes + (u64)k * (N / 8) + word;
#pragma unroll 8
    for (u32 i = 0; i < STEP_K; i++) {
        const u32 eight = load_stream(at + (u64)i * (N / 8));
#pragma unroll
        for (u32 r = 0; r < 8; r++) {
            const f32x2 two = unpack2<f16>(words[r / 2]);
            const u32 shift = w4_awq_shift(r);
            const float w =
                (w4_large(eight, shift) - w4_large(zero, shift)) * (r % 2 == 0 ? two.x : two.y);
#pragma unroll
            for (u32 token = 0; token < TILE_M; token++)
                sums[token][r] += w * x[i * TILE_M + token];
        }
    }
}

// A lane has the 8 rows of one word for TILE_M tokens; a warp of WARPS_K the units warp_k,
// warp_k + WARPS_K, … of the slice.
template <class Z> __device__ __forceinline__ void
multiply_fma(const scalar *__restrict__ x, const u32 *__restrict__ codes,
             const Z *__restrict__ zeros, const f16 *__restrict__ scales,
             const scalar *__restrict__ bias, const scalar *__restrict__ rotated,
             scalar *__restrict__ y, float *__restrict__ partial, u32 m)
{
    static_assert(USES_MMA || (SHARED_BYTES >= CHUNK_K * TILE_M * 4 &&
                               SHARED_BYTES >= WARPS_K * BLOCK_ROWS * 4),
                  "the plan's shared memory");
    const u32 n_token_blocks = linear_ceil_div(m, TILE_M);
    const u32 first_token = block_index_x() % n_token_blocks * TILE_M;
    const block_rows rows = find_rows<0>(block_index_x() / n_token_blocks, 0, 0);
    const u32 slice = block_index_y();
    const u32 first_unit = slice * SLICE_UNITS;
    const u32 n_units = N_UNITS - first_unit < SLICE_UNITS ? N_UNITS - first_unit : SLICE_UNITS;
    const u32 warp_k = warp_index() % WARPS_K, warp_n = warp_index() / WARPS_K;
    const u32 row = (warp_n * 32 + lane_index()) * 8; // of the block
    const bool active = row < rows.n_rows;
    const u32 word = (rows.first_row + row) / 8;
    const scalar *from = SEPARATE ? rotated + (u64)rows.part * m * K : x;
    float *shared = shared_memory<float>(); // [CHUNK_K][TILE_M]

    float sums[TILE_M][8] = {};
#pragma unroll 1
    for (u32 chunk = 0; chunk < N_CHUNKS; chunk++) {
        const u32 chunk_unit = chunk * CHUNK_UNITS;
        for (u32 i = thread_index(); i < CHUNK_K * TILE_M; i += N_THREADS) {
            const u32 token = i / CHUNK_K, column = i % CHUNK_K;
            const u32 k = (first_unit + chunk_unit) * UNIT_K + column;
            const bool valid = first_token + token < m && k < K;
            shared[column * TILE_M + token] =
                valid ? to_f32(from[(u64)(first_token + token) * K + k]) : 0.0f;
        }
        block_barrier();
#pragma unroll 1
        for (u32 local = warp_k; local < CHUNK_UNITS; local += WARPS_K) {
            if (active && chunk_unit + local < n_units) {
#pragma unroll 1
                for (u32 step = 0; step < UNIT_K; step += STEP_K)
                    multiply_step(sums, codes, zeros, scales, shared + (local * UNIT_K + step) * TILE_M,
                                  word, (first_unit + chunk_unit + local) * UNIT_K + step);
            }
        }
        block_barrier();
    }
#pragma unroll
    for (u32 token = 0; token < TILE_M; token++) {
#pragma unroll
        for (u32 r = 0; r < 8; r++)
            shared[warp_k * BLOCK_ROWS + row + r] = sums[token][r];
        block_barrier();
        linear_write<scalar, 1, BLOCK_ROWS, BLOCK_ROWS, WARPS_K, N_THREADS, (SPLIT_K > 1)>(
            y, partial + (SPLIT_K > 1 ? (u64)slice * m * N : 0), bias, shared, N, rows.first_row,
            rows.n_rows, first_token + token, m);
        block_barrier();
    }
}

template <bool MMA, class Z> __device__ __forceinline__ void
multiply(const scalar *__restrict__ x, const u32 *__restrict__ codes, const Z *__restrict__ zeros,
         const f16 *__restrict__ scales, const scalar *__restrict__ bias,
         const u8 *__restrict__ pairs, const float *__restrict__ cossin,
         const float *__restrict__ channel_scales, const scalar *__restrict__ rotated,
         scalar *__restrict__ y, float *__restrict__ partial, u32 m)
{
    if constexpr (MMA)
        multiply_mma<Z>(x, codes, zeros, scales, bias, pairs, cossin, channel_scales, rotated, y,
                        partial, m);
    else
        multiply_fma<Z>(x, codes, zeros, scales, bias, rotated, y, partial, m);
}

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
    linear_w4(const scalar *__restrict__ x, const u32 *__restrict__ codes,
              const zero_word *__restrict__ zeros, const f16 *__restrict__ scales,
              const scalar *__restrict__ bias, const u8 *__restrict__ pairs,
              const float *__restrict__ cossin, const float *__restrict__ channel_scales,
              const scalar *__restrict__ rotated, scalar *__restrict__ y,
              float *__restrict__ partial, u32 m)
{
    multiply<USES_MMA, zero_word>(x, codes, zeros, scales, bias, pairs, cossin, channel_scales,
                                  rotated, y, partial, m);
}

extern "C" __global__ void __launch_bounds__(256, 1)
    reduce_slices(const float *__restrict__ partial, const scalar *__restrict__ bias,
                  scalar *__restrict__ y, u32 m)
{
    linear_reduce<scalar, scalar, SPLIT_K, 256>(y, partial, bias, N, m);
}
