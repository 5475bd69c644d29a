// SPDX-License-Identifier: MIT
//
// y = gate / (1 + exp(-gate)) * up, element by element; gate and up lie side by side in a row. The
// grid's x goes over a row, its y over rows.
#include "lib/core.cuh"
#include "lib/vector.cuh"

using scalar = f16;            // hole: dtype
constexpr u32 N = 14336;       // hole: n
constexpr u32 N_THREADS = 256; // hole: threads
constexpr u32 VECTOR = 8;      // hole: vector
static_assert(N % VECTOR == 0, "as families/swiglu.c plans");

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
swiglu(const scalar *__restrict__ gate_up, scalar *__restrict__ y)
{
    const u32 at = (block_index_x() * N_THREADS + thread_index()) * VECTOR;
    const u64 row = block_index_y();
    if (at < N) {
        const scalar *here = gate_up + row * 2 * N + at;
        float gate[VECTOR], up[VECTOR];
        load_vector<VECTOR>(here, gate);
        load_vector<VECTOR>(here + N, up);
#pragma unroll
        for (u32 i = 0; i < VECTOR; i++)
            gate[i] = gate[i] / (1.0f + f32_exp(-gate[i])) * up[i];
        store_vector<VECTOR>(y + row * N + at, gate);
    }
}
