// SPDX-License-Identifier: MIT
//
// A checkpoint's INT4 weight to the layout that a kernel reads (families/w4_layout.h). The parts'
// tensors (base/pack.h: qweight [k][rows / 8], qzeros [k / group][rows / 8], scales [k / group][rows])
// follow one another. Two launches: pack_codes; pack_groups (zero points and scales).
#include "lib/core.cuh"
#include "lib/w4.cuh"

using zero_word = u8;               // hole: zero_word
constexpr u32 N = 6144;             // hole: n
constexpr u32 K = 4096;             // hole: k
constexpr u32 GROUP = 128;          // hole: group
constexpr u32 N_PARTS = 3;          // hole: n_parts
constexpr u32 PARTS[] = {4096, 1024, 1024}; // hole: parts
constexpr bool MMA16 = true;        // hole: mma16
constexpr u32 N_THREADS = 256;      // hole: threads
constexpr u32 SHARED_BYTES = 4352;  // hole: shared_bytes

constexpr u32 N_GROUPS = K / GROUP;
constexpr u32 N_BLOCKS = (K + 63) / 64;
constexpr u32 TILE_GROUPS = (N_BLOCKS * 64 + GROUP - 1) / GROUP; // padded, for groups of 32
constexpr u32 BLOCK_TILES = 8, BLOCK_WORDS = BLOCK_TILES * 2;    // of pack_codes
constexpr u32 STRIDE = BLOCK_WORDS + 1;
static_assert(!MMA16 || SHARED_BYTES >= 64 * STRIDE * 4, "the plan's shared memory");

// Where item `item` of a part is, where each part has ceil(rows / ROWS_OF_ITEM) items.
struct place {
    u32 item; // of the part
    u32 rows;
    u32 first_row;
    u32 first_tile;
};
template <u32 ROWS_OF_ITEM, u32 PART>
__device__ __forceinline__ place find_part(u32 item, u32 first_row, u32 first_tile)
{
    constexpr u32 ROWS = PARTS[PART], N_ITEMS = (ROWS + ROWS_OF_ITEM - 1) / ROWS_OF_ITEM;
    if constexpr (PART + 1 < N_PARTS)
        if (item >= N_ITEMS)
            return find_part<ROWS_OF_ITEM, PART + 1>(item - N_ITEMS, first_row + ROWS,
                                                     first_tile + (ROWS + 15) / 16);
    return {item, ROWS, first_row, first_tile};
}

// A block: 64 columns of up to 8 row tiles of a part.
__device__ __forceinline__ void pack_codes_mma16(const u32 *__restrict__ qweight,
                                                 u32 *__restrict__ codes)
{
    const place at = find_part<BLOCK_TILES * 16, 0>(block_index_x(), 0, 0);
    const u32 first_k = block_index_y() * 64, first_word = at.item * BLOCK_WORDS;
    const u32 *from = qweight + (u64)K * (at.first_row / 8);
    u32 *words = shared_memory<u32>();
    for (u32 i = thread_index(); i < 64 * BLOCK_WORDS; i += N_THREADS) {
        const u32 k = first_k + i / BLOCK_WORDS, word = first_word + i % BLOCK_WORDS;
        words[i / BLOCK_WORDS * STRIDE + i % BLOCK_WORDS] =
            k < K && word < at.rows / 8 ? from[(u64)k * (at.rows / 8) + word] : 0;
    }
    block_barrier();
    for (u32 i = thread_index(); i < BLOCK_TILES * 128; i += N_THREADS) {
        const u32 tile = i / 128, lane = i % 128 / 4, j = i % 4, g = lane / 4, t = lane % 4;
        if (at.item * BLOCK_TILES + tile >= (at.rows + 15) / 16)
            continue;
        u32 word = 0;
#pragma unroll
        for (u32 nibble = 0; nibble < 8; nibble++) {
            const u32 r = nibble % 4;
            const u32 column = 32 * (j / 2) + 8 * t + 4 * (j % 2) + 2 * (r / 2) + nibble / 4;
            const u32 code = words[column * STRIDE + tile * 2 + r % 2] >> w4_awq_shift(g) & 15;
            word |= code << (4 * nibble);
        }
        const u64 to = at.first_tile + at.item * BLOCK_TILES + tile;
        codes[(to * N_BLOCKS + block_index_y()) * 128 + i % 128] = word;
    }
}

// A block: N_THREADS words.
__device__ __forceinline__ void pack_codes_awq(const u32 *__restrict__ qweight,
                                               u32 *__restrict__ codes)
{
    const u64 i = (u64)block_index_x() * N_THREADS + thread_index();
    if (i >= (u64)K * (N / 8))
        return;
    const u32 k = (u32)(i / (N / 8)), word = (u32)(i % (N / 8));
    const place at = find_part<8, 0>(word, 0, 0);
    codes[i] = qweight[(u64)K * (at.first_row / 8) + (u64)k * (at.rows / 8) + at.item];
}

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
    pack_codes(const u32 *__restrict__ qweight, u32 *__restrict__ codes)
{
    if constexpr (MMA16)
        pack_codes_mma16(qweight, codes);
    else
        pack_codes_awq(qweight, codes);
}

// A thread: two rows (g and g + 8) of a tile, of one group.
template <class Z>
__device__ __forceinline__ void
pack_groups_mma16(const u32 *__restrict__ qzeros, const f16 *__restrict__ scales,
                  Z *__restrict__ zeros, f16 *__restrict__ packed_scales)
{
    const u64 i = (u64)block_index_x() * N_THREADS + thread_index();
    const u32 g = (u32)(i % 8), group = (u32)(i / 8 % TILE_GROUPS);
    const place at = find_part<16, 0>((u32)(i / 8 / TILE_GROUPS), 0, 0);
    if (at.item >= (at.rows + 15) / 16)
        return;
    const u64 first = (u64)N_GROUPS * at.first_row + (u64)group * at.rows;
    u32 zero = 0;
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        const u32 row = at.item * 16 + half * 8 + g;
        const bool valid = group < N_GROUPS && row < at.rows;
        f16 scale = {0};
        if (valid) {
            scale = scales[first + row];
            zero |= (qzeros[(first + row) / 8] >> w4_awq_shift(g) & 15) << (4 * half);
        }
        packed_scales[2 * i + half] = scale;
    }
    zeros[i] = (Z)zero;
}

// A thread: one scale; an eighth of them a word of zero points too.
template <class Z>
__device__ __forceinline__ void
pack_groups_awq(const u32 *__restrict__ qzeros, const f16 *__restrict__ scales,
                Z *__restrict__ zeros, f16 *__restrict__ packed_scales)
{
    const u64 i = (u64)block_index_x() * N_THREADS + thread_index();
    if (i >= (u64)N_GROUPS * N)
        return;
    const u32 group = (u32)(i / N), row = (u32)(i % N);
    const place at = find_part<8, 0>(row / 8, 0, 0);
    const u64 from = (u64)N_GROUPS * at.first_row + (u64)group * at.rows + at.item * 8 + row % 8;
    packed_scales[i] = scales[from];
    if (row % 8 == 0)
        zeros[i / 8] = qzeros[from / 8];
}

template <bool TILES, class Z>
__device__ __forceinline__ void pack_groups_of(const u32 *__restrict__ qzeros,
                                               const f16 *__restrict__ scales,
                                               Z *__restrict__ zeros,
                                               f16 *__restrict__ packed_scales)
{
    if constexpr (TILES)
        pack_groups_mma16<Z>(qzeros, scales, zeros, packed_scales);
    else
        pack_groups_awq<Z>(qzeros, scales, zeros, packed_scales);
}

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
    pack_groups(const u32 *__restrict__ qzeros, const f16 *__restrict__ scales,
                zero_word *__restrict__ zeros, f16 *__restrict__ packed_scales)
{
    pack_groups_of<MMA16, zero_word>(qzeros, scales, zeros, packed_scales);
}
