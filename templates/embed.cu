// SPDX-License-Identifier: MIT
//
// Rows of the embedding table, by token id, to the residual stream in fp32. The grid's x goes over a
// row, its y over tokens. Where an id is outside the table, nothing is read and the row is NaN.
#include "lib/core.cuh"
#include "lib/vector.cuh"

using scalar = f16;            // hole: dtype
constexpr u32 VOCAB = 128256;  // hole: vocab
constexpr u32 H = 4096;        // hole: h
constexpr u32 N_THREADS = 256; // hole: threads
constexpr u32 VECTOR = 8;      // hole: vector
static_assert(H % VECTOR == 0, "as families/embed.c plans");

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
embed(const i32 *__restrict__ ids, const scalar *__restrict__ table, float *__restrict__ residual)
{
    const u32 at = (block_index_x() * N_THREADS + thread_index()) * VECTOR;
    const u32 token = block_index_y();
    if (at < H) {
        const u32 id = (u32)ids[token];
        float v[VECTOR];
        if (id < VOCAB) {
            load_vector<VECTOR>(table + (u64)id * H + at, v);
        } else {
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++)
                v[i] = f32_infinity() - f32_infinity();
        }
        store_vector<VECTOR>(residual + (u64)token * H + at, v);
    }
}
