// SPDX-License-Identifier: MIT
//
// Causal attention over whole samples, each alone, with grouped heads: y, and the logarithm of
// every row's sum of exponentials, from which the backward has the weights again.
//
// Grid: x tiles of 16 WARPS queries, y heads, z samples. A warp has 16 queries; a block goes through
// the keys that its queries see, TILE at a time, with an online softmax in fp32.
#include "lib/attention_train.cuh"
#include "lib/core.cuh"

using scalar = f16;           // hole: dtype
constexpr u32 HEADS = 32;     // hole: heads
constexpr u32 KV_HEADS = 8;   // hole: kv_heads
constexpr u32 HEAD_DIM = 128; // hole: head_dim
constexpr u32 WARPS = 4;      // hole: warps
constexpr u32 TILE = 64;      // hole: tile
constexpr u32 SHARED = 52224; // hole: shared_bytes

constexpr u32 GROUP = HEADS / KV_HEADS;
constexpr u32 ROWS = 16 * WARPS;
constexpr u32 STRIDE = HEAD_DIM + 8;
static_assert(SHARED == (ROWS + 2 * TILE) * STRIDE * sizeof(scalar) && HEAD_DIM % 16 == 0,
              "as families/attention_train.c plans");

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
attention_train(const scalar *__restrict__ q, const scalar *__restrict__ keys,
                const scalar *__restrict__ values, u32 tokens, scalar *__restrict__ y,
                float *__restrict__ lse)
{
    scalar *q_tile = shared_memory<scalar>();
    scalar *key_tile = q_tile + ROWS * STRIDE, *value_tile = key_tile + TILE * STRIDE;
    const scalar *my_queries = q_tile + 16 * warp_index() * STRIDE;
    const u32 head = block_index_y(), sample = block_index_z();
    const u32 block_first = block_index_x() * ROWS, first = block_first + 16 * warp_index();
    const u64 kv_at = ((u64)sample * KV_HEADS + head / GROUP) * tokens * HEAD_DIM;
    const u64 q_at = ((u64)sample * tokens * HEADS + head) * HEAD_DIM;
    const u32 end = tokens - block_first < ROWS ? tokens : block_first + ROWS; // of keys
    const float scale = 1.44269504f * f32_rsqrt((float)HEAD_DIM);

    float out[HEAD_DIM / 8][4] = {};
    float highest[2] = {-f32_infinity(), -f32_infinity()}; // in powers of two
    float total[2] = {0, 0};                               // of this lane's weights
    fetch_rows<ROWS, HEAD_DIM, STRIDE>(q + q_at, HEADS * HEAD_DIM, block_first, tokens, q_tile);
    for (u32 key = 0; key < end; key += TILE) {
        block_barrier(); // all are done with the tile before
        fetch_rows<TILE, HEAD_DIM, STRIDE>(keys + kv_at, HEAD_DIM, key, tokens, key_tile);
        fetch_rows<TILE, HEAD_DIM, STRIDE>(values + kv_at, HEAD_DIM, key, tokens, value_tile);
        wait_rows();
        if (key >= first + 16) // none that the warp sees
            continue;
        float score[TILE / 8][4] = {};
        add_products<TILE / 8, HEAD_DIM, STRIDE>(my_queries, key_tile, score);
#pragma unroll
        for (u32 high = 0; high < 2; high++) {
            const u32 row = first + 8 * high + lane_index() / 4;
            float most = highest[high];
#pragma unroll
            for (u32 n = 0; n < TILE / 8; n++) {
#pragma unroll
                for (u32 i = 0; i < 2; i++) {
                    const u32 column = key + 8 * n + lane_index() % 4 * 2 + i;
                    float &v = score[n][2 * high + i];
                    v = column <= row ? v * scale : -f32_infinity();
                    most = f32_max(most, v);
                }
            }
            most = row_max(most); // finite: every row sees key 0, in the first tile
            const float shrink = f32_exp2(highest[high] - most);
            highest[high] = most;
            total[high] *= shrink;
#pragma unroll
            for (u32 n = 0; n < TILE / 8; n++) {
#pragma unroll
                for (u32 i = 0; i < 2; i++) {
                    float &v = score[n][2 * high + i];
                    v = f32_exp2(v - most);
                    total[high] += v;
                }
            }
#pragma unroll
            for (u32 n = 0; n < HEAD_DIM / 8; n++) {
                out[n][2 * high] *= shrink;
                out[n][2 * high + 1] *= shrink;
            }
        }
#pragma unroll
        for (u32 n = 0; n < TILE / 16; n++) {
            u32 weights[4];
            a_from_d<scalar>(score[2 * n], score[2 * n + 1], weights);
            add_weighted<HEAD_DIM / 8, STRIDE>(weights, value_tile + 16 * n * STRIDE, out);
        }
    }
#pragma unroll
    for (u32 high = 0; high < 2; high++) {
        const u32 row = first + 8 * high + lane_index() / 4;
        const float sum = row_sum(total[high]);
        if (row < tokens) {
            store_row(out, high, 1.0f / sum, y + q_at + (u64)row * HEADS * HEAD_DIM);
            if (lane_index() % 4 == 0)
                lse[((u64)sample * HEADS + head) * tokens + row] =
                    highest[high] * 0.693147181f + f32_log(sum);
        }
    }
}
