// SPDX-License-Identifier: MIT
//
// The id of the highest logit of every row, the lowest such id; -1 where a logit of the row is not
// finite. The grid's x goes over SPLITS pieces of a row, its y over rows; where there are more
// pieces than one, each leaves its best and a second kernel, one warp a row, picks among them.
#include "lib/core.cuh"
#include "lib/vector.cuh"

constexpr u32 VOCAB = 128256;  // hole: vocab
constexpr u32 SPLITS = 16;     // hole: splits
constexpr u32 N_THREADS = 256; // hole: threads
constexpr u32 VECTOR = 4;      // hole: vector
constexpr u32 SHARED = 64;     // hole: shared_bytes

constexpr u32 WARPS = N_THREADS / 32;
constexpr u32 PIECE = (VOCAB / VECTOR + SPLITS - 1) / SPLITS * VECTOR;
constexpr i32 NOT_FINITE = -1;
constexpr i32 NOTHING = 0x7fffffff; // of a thread that has seen no logit
static_assert(VOCAB % VECTOR == 0 && SHARED >= WARPS * 8, "as families/sample.c plans");

struct best {
    float logit;
    i32 id;
};

__device__ __forceinline__ best better(best a, best b)
{
    if (a.id == NOT_FINITE || b.id == NOT_FINITE)
        return best{0.0f, NOT_FINITE};
    return b.logit > a.logit || (b.logit == a.logit && b.id < a.id) ? b : a;
}

__device__ __forceinline__ best warp_best(best mine)
{
#pragma unroll
    for (u32 mask = 16; mask > 0; mask /= 2) {
        const float logit = shuffle_xor(mine.logit, mask);
        const i32 id = shuffle_xor(mine.id, mask);
        mine = better(mine, best{logit, id});
    }
    return mine;
}

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
sample(const float *__restrict__ logits, float *__restrict__ piece_logits,
       i32 *__restrict__ piece_ids, i32 *__restrict__ ids)
{
    float *shared_logits = shared_memory<float>();
    i32 *shared_ids = (i32 *)(shared_logits + WARPS);
    const u32 split = block_index_x(), row = block_index_y();
    const u32 begin = split * PIECE;
    const u32 end = begin + PIECE < VOCAB ? begin + PIECE : VOCAB;
    best mine = {-f32_infinity(), NOTHING};
    for (u32 at = begin + thread_index() * VECTOR; at < end; at += N_THREADS * VECTOR) {
        float v[VECTOR];
        load_vector<VECTOR>(logits + (u64)row * VOCAB + at, v);
#pragma unroll
        for (u32 i = 0; i < VECTOR; i++)
            mine = better(mine, f32_is_finite(v[i]) ? best{v[i], (i32)(at + i)}
                                                    : best{0.0f, NOT_FINITE});
    }
    mine = warp_best(mine);
    if (lane_index() == 0) {
        shared_logits[warp_index()] = mine.logit;
        shared_ids[warp_index()] = mine.id;
    }
    block_barrier();
    if (warp_index() == 0) {
        mine = best{-f32_infinity(), NOTHING};
        if (lane_index() < WARPS)
            mine = best{shared_logits[lane_index()], shared_ids[lane_index()]};
        mine = warp_best(mine);
        if (lane_index() == 0) {
            if constexpr (SPLITS == 1) {
                ids[row] = mine.id;
            } else {
                piece_logits[(u64)row * SPLITS + split] = mine.logit;
                piece_ids[(u64)row * SPLITS + split] = mine.id;
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(32, 1)
sample_pick(const float *__restrict__ piece_logits, const i32 *__restrict__ piece_ids,
            i32 *__restrict__ ids)
{
    const u32 row = block_index_x();
    best mine = {-f32_infinity(), NOTHING};
    for (u32 split = lane_index(); split < SPLITS; split += 32) {
        const u64 at = (u64)row * SPLITS + split;
        mine = better(mine, best{piece_logits[at], piece_ids[at]});
    }
    mine = warp_best(mine);
    if (lane_index() == 0)
        ids[row] = mine.id;
}
