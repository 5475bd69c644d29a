// SPDX-License-Identifier: MIT
//
// Fake quantisation of a weight in one pass: scaled, rotated, quantised by row and group, rotated
// back, unscaled. Step and zero of a row's group are given (LEARNED) or follow from its extremes.
//
// Grid: x groups of channels, y strips of STRIP rows. A block makes its group's turns once; its
// warps then go through the strip, ROWS rows at a time, and no warp waits for another.
#include "lib/core.cuh"
#include "lib/fake_quant.cuh"

using scalar = f16;             // hole: dtype
constexpr u32 N = 4096;         // hole: n
constexpr u32 K = 4096;         // hole: k
constexpr int GROUP = 128;      // hole: group
constexpr int KROT = 8;         // hole: krot
constexpr float TOP = 15;       // hole: top
constexpr bool LEARNED = false; // hole: learned
constexpr int ROWS = 4;         // hole: rows
constexpr u32 WARPS = 4;        // hole: warps
constexpr u32 STRIP = 128;      // hole: strip
constexpr u32 SHARED = 13312;  // hole: shared_bytes

using turns_type = group_turns<GROUP, KROT>;
constexpr u32 TURNS_BYTES = (sizeof(turns_type) + 15) / 16 * 16;
constexpr int CHANNELS = GROUP / 32; // of a lane
static_assert(SHARED == TURNS_BYTES + WARPS * GROUP * ROWS * sizeof(float) && K % GROUP == 0,
              "as families/fake_quant.c plans");

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
fake_quant(const float *__restrict__ w, const u8 *__restrict__ pairs,
           const float *__restrict__ theta, const float *__restrict__ channel_scales,
           const float *__restrict__ step, const float *__restrict__ zero,
           scalar *__restrict__ w_hat)
{
    turns_type &turns = *shared_memory<turns_type>();
    token_run<ROWS> *tile =
        reinterpret_cast<token_run<ROWS> *>(shared_memory<u8>() + TURNS_BYTES) +
        warp_index() * GROUP;
    const u32 group = block_index_x(), first = group * GROUP + lane_index();
    float scale[CHANNELS];
#pragma unroll
    for (int i = 0; i < CHANNELS; i++)
        scale[i] = channel_scales[first + 32 * i];
    load_turns(pairs, theta, K, group, turns);
    block_barrier();

    const u32 begin = block_index_y() * STRIP;
    const u32 end = N - begin < STRIP ? N : begin + STRIP;
    for (u32 row = begin + warp_index() * ROWS; row < end; row += WARPS * ROWS) {
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            token_run<ROWS> u;
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                u.of[r] =
                    row + r < end ? w[(u64)(row + r) * K + first + 32 * i] * scale[i] : 0.0f;
            tile[lane_index() + 32 * i] = u;
        }
        turn_tile<false>(turns, tile);

        row_quantiser q[ROWS];
        if constexpr (LEARNED) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const u64 at = (u64)(row + r < end ? row + r : row) * (K / GROUP) + group;
                q[r] = learned_quantiser(step[at], zero[at], TOP);
            }
        } else {
            float low[ROWS], high[ROWS];
            tile_range<GROUP>(tile, low, high);
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                q[r] = range_quantiser(low[r], high[r], TOP);
        }
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            token_run<ROWS> u = tile[lane_index() + 32 * i];
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                u.of[r] = quantise(u.of[r], q[r], TOP).code * q[r].step;
            tile[lane_index() + 32 * i] = u;
        }

        turn_tile<true>(turns, tile);
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            const token_run<ROWS> v = tile[lane_index() + 32 * i];
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                if (row + r < end)
                    w_hat[(u64)(row + r) * K + first + 32 * i] =
                        from_f32<scalar>(v.of[r] / scale[i]);
        }
    }
}
