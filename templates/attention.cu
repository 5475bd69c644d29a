// SPDX-License-Identifier: MIT
//
// Causal attention of m tokens over a cache of keys and values that has them already, with grouped
// heads: an online softmax in fp32.
//
// A row is one head of one token; the rows of a kv head are numbered token by token, so that a
// block's rows share its keys. Grid: x tiles of rows, y kv heads, z SPLITS pieces of the keys (how
// many keys there are is known on the device only: state has the number of tokens before the m). A
// block brings KEYS keys and values at a time to shared memory, where STAGES tiles have room: all but
// one are on their way while one is worked on. Its warps are ROW_WARPS by
// KEY_WARPS: each has ROWS rows and takes every KEY_WARPS-th run of the tile's keys, one key a lane;
// then, for the sums over keys, one or more pairs of channels a lane. In the end the warps of the
// same rows are merged through shared memory. With SPLITS > 1 a block leaves maximum, sum and
// vector, and attention_combine makes y of them.
//
// Keys at and behind position + m are never read.
#include "lib/async.cuh"
#include "lib/core.cuh"
#include "lib/vector.cuh"

using scalar = f16;           // hole: dtype
constexpr u32 HEADS = 32;     // hole: heads
constexpr u32 KV_HEADS = 8;   // hole: kv_heads
constexpr u32 HEAD_DIM = 128; // hole: head_dim
constexpr u32 SPLITS = 1;     // hole: splits
constexpr u32 ROWS = 4;       // hole: rows
constexpr u32 ROW_WARPS = 1;  // hole: row_warps
constexpr u32 KEY_WARPS = 2;  // hole: key_warps
constexpr u32 KEYS = 64;      // hole: keys
constexpr u32 STAGES = 1;     // hole: stages
constexpr u32 VECTOR = 8;     // hole: vector
constexpr u32 STRIDE = 136;   // hole: stride
constexpr u32 SHARED = 37888; // hole: shared_bytes

constexpr u32 GROUP = HEADS / KV_HEADS;
constexpr u32 WARPS = ROW_WARPS * KEY_WARPS;
constexpr u32 N_THREADS = WARPS * 32;
constexpr u32 TILE_ROWS = ROWS * ROW_WARPS;
constexpr u32 RUN = KEYS < 32 ? KEYS : 32; // keys that a warp takes at a time
constexpr u32 PAIRS = HEAD_DIM / 2;
constexpr u32 LANE_PAIRS = (PAIRS + 31) / 32;
constexpr u32 PIECES = HEAD_DIM / VECTOR; // of a row, each one access
constexpr u32 COMBINE_THREADS = 128;

// Shared memory: each stage's keys and values, STRIDE elements a row; the weights that a warp found,
// which are read 16 bytes at a time; the queries. Afterwards, from its start, what the warps merge:
// vectors; maximum and sum.
constexpr u32 TILE = KEYS * STRIDE;
constexpr u32 TILE_BYTES = STAGES * 2 * TILE * sizeof(scalar);
constexpr bool ASYNC = VECTOR * sizeof(scalar) == 16;
constexpr int BEHIND = STAGES > 1 ? (int)STAGES - 2 : 0; // tiles on their way behind the next
constexpr u32 LOOP_BYTES = TILE_BYTES + 4 * (TILE_ROWS * HEAD_DIM + WARPS * ROWS * RUN);
constexpr u32 MERGE_BYTES = KEY_WARPS > 1 ? 4 * WARPS * ROWS * (HEAD_DIM + 2) : 0;
static_assert(SHARED >= LOOP_BYTES && SHARED >= MERGE_BYTES, "as families/attention.c plans");
static_assert(HEADS % KV_HEADS == 0 && HEAD_DIM % VECTOR == 0 && KEYS % RUN == 0 && RUN % 4 == 0 &&
                  STRIDE % VECTOR == 0 && TILE_BYTES % 16 == 0 && SPLITS <= 32 &&
                  (ASYNC || STAGES == 1),
              "as families/attention.c plans");

// Of a warp's rows. Sums over keys are each lane's own until the end.
struct rows {
    float highest[ROWS]; // score so far, in powers of two; -infinity before the first key
    float total[ROWS];   // of the weights
    float sum[ROWS][LANE_PAIRS][2];
    u32 n_keys[ROWS]; // that the row sees; 0 where there is no such row
};

__device__ __forceinline__ u32 lower(u32 a, u32 b)
{
    return a < b ? a : b;
}

// 2^(score - reference), where no score at all is -infinity.
__device__ __forceinline__ float weight_of(float score, float reference)
{
    return f32_exp2(score - (reference == -f32_infinity() ? 0.0f : reference));
}

// The channel of a lane's i-th pair; lanes beyond the last pair double it.
__device__ __forceinline__ u32 channel_of(u32 i)
{
    return 2 * lower(lane_index() + 32 * i, PAIRS - 1);
}

__device__ __forceinline__ void load_queries(const scalar *q, u32 kv_head, u32 first_row,
                                             u32 n_rows, float *shared)
{
    for (u32 i = thread_index(); i < TILE_ROWS * PIECES; i += N_THREADS) {
        const u32 row = first_row + i / PIECES, channel = i % PIECES * VECTOR;
        float v[VECTOR];
#pragma unroll
        for (u32 j = 0; j < VECTOR; j++)
            v[j] = 0;
        if (row < n_rows) {
            const u64 head = (u64)(row / GROUP) * HEADS + kv_head * GROUP + row % GROUP;
            load_vector<VECTOR>(q + head * HEAD_DIM + channel, v);
        }
        store_vector<VECTOR>(shared + i * VECTOR, v);
    }
}

// KEYS rows from `first` on; those behind n_keys become zeros. They are there after a wait for this
// thread's copies, and a barrier.
__device__ __forceinline__ void load_tile(const scalar *from, u32 first, u32 n_keys, scalar *shared)
{
    for (u32 i = thread_index(); i < KEYS * PIECES; i += N_THREADS) {
        const u32 key = i / PIECES, channel = i % PIECES * VECTOR;
        const scalar *source = from + (u64)(first + key) * HEAD_DIM + channel;
        scalar *to = shared + key * STRIDE + channel;
        const bool valid = first + key < n_keys;
        if constexpr (ASYNC) {
            copy_async_zero16(to, valid ? source : from, valid);
        } else if (valid) {
            copy_vector<VECTOR>(to, source);
        } else {
            float zeros[VECTOR];
#pragma unroll
            for (u32 j = 0; j < VECTOR; j++)
                zeros[j] = 0;
            store_vector<VECTOR>(to, zeros);
        }
    }
}

// The scores of a run of keys, one a lane, become weights; what was summed before shrinks where a
// row has a new maximum.
__device__ __forceinline__ void score_run(const float *q, const scalar *key, u32 index, rows &mine,
                                          float *weights)
{
    const float scale = 1.44269504f * f32_rsqrt((float)HEAD_DIM);
    float score[ROWS];
#pragma unroll
    for (u32 row = 0; row < ROWS; row++)
        score[row] = 0;
#pragma unroll 4
    for (u32 channel = 0; channel < HEAD_DIM; channel += VECTOR) {
        float k[VECTOR];
        load_vector<VECTOR>(key + channel, k);
#pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            float v[VECTOR];
            load_vector<VECTOR>(q + row * HEAD_DIM + channel, v);
#pragma unroll
            for (u32 j = 0; j < VECTOR; j++)
                score[row] += v[j] * k[j];
        }
    }
#pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        const bool seen = index < mine.n_keys[row] && lane_index() < RUN;
        const float here = seen ? score[row] * scale : -f32_infinity();
        const float highest = f32_max(mine.highest[row], warp_max(here));
        const float shrink = weight_of(mine.highest[row], highest);
        const float weight = weight_of(here, highest);
        mine.highest[row] = highest;
        mine.total[row] = mine.total[row] * shrink + weight;
#pragma unroll
        for (u32 i = 0; i < LANE_PAIRS; i++) {
            mine.sum[row][i][0] *= shrink;
            mine.sum[row][i][1] *= shrink;
        }
        if (lane_index() < RUN)
            weights[row * RUN + lane_index()] = weight;
    }
}

__device__ __forceinline__ void sum_run(const float *weights, const scalar *value, rows &mine)
{
#pragma unroll 2
    for (u32 key = 0; key < RUN; key += 4) {
        float weight[ROWS][4];
#pragma unroll
        for (u32 row = 0; row < ROWS; row++)
            load_vector<4>(weights + row * RUN + key, weight[row]);
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
#pragma unroll
            for (u32 i = 0; i < LANE_PAIRS; i++) {
                float v[2];
                load_vector<2>(value + (key + j) * STRIDE + channel_of(i), v);
#pragma unroll
                for (u32 row = 0; row < ROWS; row++) {
                    mine.sum[row][i][0] += weight[row][j] * v[0];
                    mine.sum[row][i][1] += weight[row][j] * v[1];
                }
            }
        }
    }
}

// Adds up what the KEY_WARPS warps of the same rows have: each does some of the rows.
__device__ __forceinline__ void merge_warps(float *shared, u32 row_warp, u32 key_warp, rows &mine)
{
    float *vectors = shared, *heads = shared + WARPS * ROWS * HEAD_DIM;
    block_barrier();
#pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        const u32 slot = (key_warp * ROW_WARPS + row_warp) * ROWS + row;
#pragma unroll
        for (u32 i = 0; i < LANE_PAIRS; i++)
            store_vector<2>(vectors + slot * HEAD_DIM + channel_of(i), mine.sum[row][i]);
        if (lane_index() == 0) {
            heads[2 * slot] = mine.highest[row];
            heads[2 * slot + 1] = mine.total[row];
        }
    }
    block_barrier();
#pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        if (row % KEY_WARPS == key_warp) {
            float highest = -f32_infinity(), total = 0, sum[LANE_PAIRS][2] = {};
            for (u32 other = 0; other < KEY_WARPS; other++)
                highest =
                    f32_max(highest, heads[2 * ((other * ROW_WARPS + row_warp) * ROWS + row)]);
            for (u32 other = 0; other < KEY_WARPS; other++) {
                const u32 slot = (other * ROW_WARPS + row_warp) * ROWS + row;
                const float weight = weight_of(heads[2 * slot], highest);
                total += weight * heads[2 * slot + 1];
#pragma unroll
                for (u32 i = 0; i < LANE_PAIRS; i++) {
                    float v[2];
                    load_vector<2>(vectors + slot * HEAD_DIM + channel_of(i), v);
                    sum[i][0] += weight * v[0];
                    sum[i][1] += weight * v[1];
                }
            }
            mine.highest[row] = highest;
            mine.total[row] = total;
#pragma unroll
            for (u32 i = 0; i < LANE_PAIRS; i++) {
                mine.sum[row][i][0] = sum[i][0];
                mine.sum[row][i][1] = sum[i][1];
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
attention(const scalar *__restrict__ q, const scalar *__restrict__ keys,
          const scalar *__restrict__ values, const u32 *__restrict__ state, u32 capacity, u32 m,
          scalar *__restrict__ y, float *__restrict__ split_vectors,
          float *__restrict__ split_sums)
{
    scalar *tiles = shared_memory<scalar>();
    float *weight_tile = (float *)(tiles + STAGES * 2 * TILE);
    float *query_tile = weight_tile + WARPS * ROWS * RUN;
    const u32 row_warp = warp_index() % ROW_WARPS, key_warp = warp_index() / ROW_WARPS;
    float *my_queries = query_tile + row_warp * ROWS * HEAD_DIM;
    float *my_weights = weight_tile + warp_index() * ROWS * RUN;
    const u32 kv_head = block_index_y(), split = block_index_z();
    const u32 n_rows = m * GROUP, first_row = block_index_x() * TILE_ROWS;
    const u32 position = state[0];

    rows mine;
#pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        const u32 index = first_row + row_warp * ROWS + row;
        mine.n_keys[row] = index < n_rows ? lower(position + index / GROUP + 1, capacity) : 0;
        mine.highest[row] = -f32_infinity();
        mine.total[row] = 0;
#pragma unroll
        for (u32 i = 0; i < LANE_PAIRS; i++)
            mine.sum[row][i][0] = mine.sum[row][i][1] = 0;
    }
    load_queries(q, kv_head, first_row, n_rows, query_tile);

    // What the block's last row sees, this split's share of its tiles.
    const u32 last_row = lower(first_row + TILE_ROWS, n_rows) - 1;
    const u32 n_keys = lower(position + last_row / GROUP + 1, capacity);
    const u32 n_tiles = (n_keys + KEYS - 1) / KEYS;
    const u32 share = (n_tiles + SPLITS - 1) / SPLITS;
    const u32 end = lower((split + 1) * share, n_tiles);
    const scalar *my_keys = keys + (u64)kv_head * capacity * HEAD_DIM;
    const scalar *my_values = values + (u64)kv_head * capacity * HEAD_DIM;
    const u32 begin = split * share;
    const auto fetch = [&](u32 tile) {
        scalar *to = tiles + tile % STAGES * 2 * TILE;
        if (tile < end) {
            load_tile(my_keys, tile * KEYS, n_keys, to);
            load_tile(my_values, tile * KEYS, n_keys, to + TILE);
        }
        copy_async_commit();
    };
#pragma unroll
    for (u32 i = 0; i + 1 < STAGES; i++)
        fetch(begin + i);
    for (u32 tile = begin; tile < end; tile++) {
        if constexpr (STAGES == 1) {
            block_barrier(); // all are done with the tile before
            fetch(tile);
            copy_async_wait<0>();
            block_barrier();
        } else {
            copy_async_wait<BEHIND>();
            block_barrier(); // the tile is there, and all are done with the one before
            fetch(tile + STAGES - 1);
        }
        const scalar *key_tile = tiles + tile % STAGES * 2 * TILE;
        const scalar *value_tile = key_tile + TILE;
        for (u32 run = key_warp * RUN; run < KEYS; run += KEY_WARPS * RUN) {
            const u32 key = run + lane_index() % RUN;
            score_run(my_queries, key_tile + key * STRIDE, tile * KEYS + key, mine, my_weights);
            warp_barrier();
            sum_run(my_weights, value_tile + run * STRIDE, mine);
            warp_barrier();
        }
    }
    copy_async_wait<0>();
#pragma unroll
    for (u32 row = 0; row < ROWS; row++)
        mine.total[row] = warp_sum(mine.total[row]);
    if constexpr (KEY_WARPS > 1)
        merge_warps(shared_memory<float>(), row_warp, key_warp, mine);

#pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        const u32 index = first_row + row_warp * ROWS + row;
        if (index < n_rows && row % KEY_WARPS == key_warp) {
            const u64 head = (u64)(index / GROUP) * HEADS + kv_head * GROUP + index % GROUP;
            const u64 slot = (u64)split * m * HEADS + head;
#pragma unroll
            for (u32 i = 0; i < LANE_PAIRS; i++) {
                if (lane_index() + 32 * i < PAIRS) {
                    if constexpr (SPLITS == 1) {
                        const float out[2] = {mine.sum[row][i][0] / mine.total[row],
                                              mine.sum[row][i][1] / mine.total[row]};
                        store_vector<2>(y + head * HEAD_DIM + channel_of(i), out);
                    } else {
                        store_vector<2>(split_vectors + slot * HEAD_DIM + channel_of(i),
                                        mine.sum[row][i]);
                    }
                }
            }
            if (SPLITS > 1 && lane_index() == 0) {
                split_sums[2 * slot] = mine.highest[row];
                split_sums[2 * slot + 1] = mine.total[row];
            }
        }
    }
}

// One warp a row. A split without keys has maximum -infinity and weighs nothing.
extern "C" __global__ void __launch_bounds__(COMBINE_THREADS, 1)
attention_combine(const float *__restrict__ split_vectors, const float *__restrict__ split_sums,
                  u32 m, scalar *__restrict__ y)
{
    const u32 n_rows = m * HEADS;
    const u32 row = block_index_x() * (COMBINE_THREADS / 32) + warp_index();
    if (row < n_rows) {
        float highest = -f32_infinity(), total = 0;
        if (lane_index() < SPLITS) {
            const u64 slot = (u64)lane_index() * n_rows + row;
            highest = split_sums[2 * slot];
            total = split_sums[2 * slot + 1];
        }
        const float weight = weight_of(highest, warp_max(highest));
        const float scale = 1.0f / warp_sum(weight * total);
        float sum[LANE_PAIRS][2] = {};
#pragma unroll 4
        for (u32 split = 0; split < SPLITS; split++) {
            const float here = shuffle(weight, split) * scale;
            const u64 slot = (u64)split * n_rows + row;
#pragma unroll
            for (u32 i = 0; i < LANE_PAIRS; i++) {
                float v[2];
                load_vector<2>(split_vectors + slot * HEAD_DIM + channel_of(i), v);
                sum[i][0] += here * v[0];
                sum[i][1] += here * v[1];
            }
        }
#pragma unroll
        for (u32 i = 0; i < LANE_PAIRS; i++)
            if (lane_index() + 32 * i < PAIRS)
                store_vector<2>(y + (u64)row * HEAD_DIM + channel_of(i), sum[i]);
    }
}
