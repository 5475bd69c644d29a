// SPDX-License-Identifier: MIT
//
// Backward of attention_train: from the gradient dy of y those of queries, keys and values. The
// weights p come again from scores and lse; with delta = dy y, summed over a row,
// ds = p (dy v - delta).
//
// Three kernels, none of which adds to what another block writes: attention_grad_delta, one warp a
// row; attention_grad_keys, a block 16 WARPS keys of a kv head, through the queries that see them,
// head by head; attention_grad_queries, a block 16 WARPS queries of a head, through their keys. The
// other side comes TILE rows at a time. Where a head has more channels than accumulators have room
// for, PARTS blocks do the same rows and each a part of the output's channels.
#include "lib/attention_train.cuh"
#include "lib/core.cuh"

using scalar = f16;           // hole: dtype
constexpr u32 HEADS = 32;     // hole: heads
constexpr u32 KV_HEADS = 8;   // hole: kv_heads
constexpr u32 HEAD_DIM = 128; // hole: head_dim
constexpr u32 PARTS = 1;      // hole: parts
constexpr u32 WARPS = 4;      // hole: warps
constexpr u32 TILE = 32;      // hole: tile
constexpr u32 SHARED = 52480; // hole: shared_bytes

constexpr u32 GROUP = HEADS / KV_HEADS;
constexpr u32 ROWS = 16 * WARPS;
constexpr u32 STRIDE = HEAD_DIM + 8;
constexpr u32 OUT = HEAD_DIM / PARTS; // channels of a block
constexpr u32 DELTA_WARPS = 4;
static_assert(SHARED == 2 * (ROWS + TILE) * STRIDE * sizeof(scalar) + 2 * TILE * sizeof(float) &&
                  HEAD_DIM % (16 * PARTS) == 0,
              "as families/attention_grad.c plans");

constexpr float LOG2_E = 1.44269504f;

extern "C" __global__ void __launch_bounds__(32 * DELTA_WARPS, 1)
attention_grad_delta(const scalar *__restrict__ y, const scalar *__restrict__ dy, u32 samples,
                     u32 tokens, float *__restrict__ delta)
{
    const u64 row = (u64)block_index_x() * DELTA_WARPS + warp_index(); // [samples, tokens, HEADS]
    const u64 n_rows = (u64)samples * tokens * HEADS;
    float sum = 0;
    if (row < n_rows)
        for (u32 i = 2 * lane_index(); i < HEAD_DIM; i += 64) {
            const f32x2 a = unpack2<scalar>(*reinterpret_cast<const u32 *>(y + row * HEAD_DIM + i));
            const f32x2 b =
                unpack2<scalar>(*reinterpret_cast<const u32 *>(dy + row * HEAD_DIM + i));
            sum += a.x * b.x + a.y * b.y;
        }
    sum = warp_sum(sum);
    if (row < n_rows && lane_index() == 0) {
        const u64 sample = row / HEADS / tokens, token = row / HEADS % tokens;
        delta[(sample * HEADS + row % HEADS) * tokens + token] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
attention_grad_keys(const scalar *__restrict__ q, const scalar *__restrict__ keys,
                    const scalar *__restrict__ values, const scalar *__restrict__ dy,
                    const float *__restrict__ lse, const float *__restrict__ delta, u32 tokens,
                    scalar *__restrict__ d_keys, scalar *__restrict__ d_values)
{
    scalar *key_tile = shared_memory<scalar>(), *value_tile = key_tile + ROWS * STRIDE;
    scalar *q_tile = value_tile + ROWS * STRIDE, *dy_tile = q_tile + TILE * STRIDE;
    float *lse_tile = reinterpret_cast<float *>(dy_tile + TILE * STRIDE);
    float *delta_tile = lse_tile + TILE;
    const u32 kv_head = block_index_y() / PARTS, part = block_index_y() % PARTS;
    const u32 sample = block_index_z();
    const u32 block_first = block_index_x() * ROWS, first = block_first + 16 * warp_index();
    const u64 kv_at = ((u64)sample * KV_HEADS + kv_head) * tokens * HEAD_DIM;
    const scalar *my_keys = key_tile + 16 * warp_index() * STRIDE;
    const scalar *my_values = value_tile + 16 * warp_index() * STRIDE;
    const float root = f32_rsqrt((float)HEAD_DIM);

    float dk[OUT / 8][4] = {}, dv[OUT / 8][4] = {};
    fetch_rows<ROWS, HEAD_DIM, STRIDE>(keys + kv_at, HEAD_DIM, block_first, tokens, key_tile);
    fetch_rows<ROWS, HEAD_DIM, STRIDE>(values + kv_at, HEAD_DIM, block_first, tokens, value_tile);
    for (u32 head = kv_head * GROUP; head < (kv_head + 1) * GROUP; head++) {
        const u64 q_at = ((u64)sample * tokens * HEADS + head) * HEAD_DIM;
        const u64 row_at = ((u64)sample * HEADS + head) * tokens;
        for (u32 query = block_first / TILE * TILE; query < tokens; query += TILE) {
            block_barrier(); // all are done with the tile before
            fetch_rows<TILE, HEAD_DIM, STRIDE>(q + q_at, HEADS * HEAD_DIM, query, tokens, q_tile);
            fetch_rows<TILE, HEAD_DIM, STRIDE>(dy + q_at, HEADS * HEAD_DIM, query, tokens,
                                               dy_tile);
            for (u32 i = thread_index(); i < TILE; i += 32 * WARPS) {
                const bool valid = query + i < tokens;
                lse_tile[i] = valid ? lse[row_at + query + i] * LOG2_E : 0.0f;
                delta_tile[i] = valid ? delta[row_at + query + i] : 0.0f;
            }
            wait_rows();
#pragma unroll 1
            for (u32 at = 0; at < TILE; at += 16) {
                if (query + at + 15 < first) // none that sees the warp's keys
                    continue;
                float p[2][4] = {}, ds[2][4] = {}; // of keys by queries
                add_products<2, HEAD_DIM, STRIDE>(my_keys, q_tile + at * STRIDE, p);
                add_products<2, HEAD_DIM, STRIDE>(my_values, dy_tile + at * STRIDE, ds);
#pragma unroll
                for (u32 n = 0; n < 2; n++) {
#pragma unroll
                    for (u32 i = 0; i < 4; i++) {
                        const u32 column = at + 8 * n + lane_index() % 4 * 2 + i % 2;
                        const u32 key = first + lane_index() / 4 + 8 * (i / 2);
                        const bool seen = key <= query + column && query + column < tokens;
                        const float power = p[n][i] * (LOG2_E * root) - lse_tile[column];
                        p[n][i] = seen ? f32_exp2(power) : 0.0f;
                        ds[n][i] = p[n][i] * (ds[n][i] - delta_tile[column]);
                    }
                }
                u32 weights[4];
                a_from_d<scalar>(p[0], p[1], weights);
                add_weighted<OUT / 8, STRIDE>(weights, dy_tile + at * STRIDE + part * OUT, dv);
                a_from_d<scalar>(ds[0], ds[1], weights);
                add_weighted<OUT / 8, STRIDE>(weights, q_tile + at * STRIDE + part * OUT, dk);
            }
        }
    }
#pragma unroll
    for (u32 high = 0; high < 2; high++) {
        const u32 row = first + 8 * high + lane_index() / 4;
        const u64 to = kv_at + (u64)row * HEAD_DIM + part * OUT;
        if (row < tokens) {
            store_row(dk, high, root, d_keys + to);
            store_row(dv, high, 1.0f, d_values + to);
        }
    }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
attention_grad_queries(const scalar *__restrict__ q, const scalar *__restrict__ keys,
                       const scalar *__restrict__ values, const scalar *__restrict__ dy,
                       const float *__restrict__ lse, const float *__restrict__ delta, u32 tokens,
                       scalar *__restrict__ d_q)
{
    scalar *q_tile = shared_memory<scalar>(), *dy_tile = q_tile + ROWS * STRIDE;
    scalar *key_tile = dy_tile + ROWS * STRIDE, *value_tile = key_tile + TILE * STRIDE;
    const u32 head = block_index_y() / PARTS, part = block_index_y() % PARTS;
    const u32 sample = block_index_z();
    const u32 block_first = block_index_x() * ROWS, first = block_first + 16 * warp_index();
    const u64 kv_at = ((u64)sample * KV_HEADS + head / GROUP) * tokens * HEAD_DIM;
    const u64 q_at = ((u64)sample * tokens * HEADS + head) * HEAD_DIM;
    const u64 row_at = ((u64)sample * HEADS + head) * tokens;
    const scalar *my_queries = q_tile + 16 * warp_index() * STRIDE;
    const scalar *my_dy = dy_tile + 16 * warp_index() * STRIDE;
    const u32 end = tokens - block_first < ROWS ? tokens : block_first + ROWS; // of keys
    const float root = f32_rsqrt((float)HEAD_DIM);

    float dq[OUT / 8][4] = {}, my_lse[2], my_delta[2];
#pragma unroll
    for (u32 high = 0; high < 2; high++) {
        const u32 row = first + 8 * high + lane_index() / 4;
        my_lse[high] = row < tokens ? lse[row_at + row] * LOG2_E : 0.0f;
        my_delta[high] = row < tokens ? delta[row_at + row] : 0.0f;
    }
    fetch_rows<ROWS, HEAD_DIM, STRIDE>(q + q_at, HEADS * HEAD_DIM, block_first, tokens, q_tile);
    fetch_rows<ROWS, HEAD_DIM, STRIDE>(dy + q_at, HEADS * HEAD_DIM, block_first, tokens, dy_tile);
    for (u32 key = 0; key < end; key += TILE) {
        block_barrier(); // all are done with the tile before
        fetch_rows<TILE, HEAD_DIM, STRIDE>(keys + kv_at, HEAD_DIM, key, tokens, key_tile);
        fetch_rows<TILE, HEAD_DIM, STRIDE>(values + kv_at, HEAD_DIM, key, tokens, value_tile);
        wait_rows();
#pragma unroll 1
        for (u32 at = 0; at < TILE; at += 16) {
            if (key + at >= first + 16) // none that the warp sees
                continue;
            float p[2][4] = {}, ds[2][4] = {};
            add_products<2, HEAD_DIM, STRIDE>(my_queries, key_tile + at * STRIDE, p);
            add_products<2, HEAD_DIM, STRIDE>(my_dy, value_tile + at * STRIDE, ds);
#pragma unroll
            for (u32 n = 0; n < 2; n++) {
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    const u32 column = key + at + 8 * n + lane_index() % 4 * 2 + i % 2;
                    const u32 row = first + lane_index() / 4 + 8 * (i / 2);
                    const bool seen = column <= row && row < tokens;
                    const float power = p[n][i] * (LOG2_E * root) - my_lse[i / 2];
                    ds[n][i] = seen ? f32_exp2(power) * (ds[n][i] - my_delta[i / 2]) : 0.0f;
                }
            }
            u32 weights[4];
            a_from_d<scalar>(ds[0], ds[1], weights);
            add_weighted<OUT / 8, STRIDE>(weights, key_tile + at * STRIDE + part * OUT, dq);
        }
    }
#pragma unroll
    for (u32 high = 0; high < 2; high++) {
        const u32 row = first + 8 * high + lane_index() / 4;
        if (row < tokens)
            store_row(dq, high, root, d_q + q_at + (u64)row * HEADS * HEAD_DIM + part * OUT);
    }
}
