// SPDX-License-Identifier: MIT
//
// From the gradient dy of y = gate / (1 + exp(-gate)) * up those of gate and up, which lie side by
// side in a row; where FORWARD also y again. The grid's x goes over a row, its y over rows.
#include "lib/core.cuh"
#include "lib/vector.cuh"

using scalar = f16;             // hole: dtype
constexpr u32 N = 14336;        // hole: n
constexpr bool FORWARD = false; // hole: forward
constexpr u32 N_THREADS = 256;  // hole: threads
constexpr u32 VECTOR = 8;       // hole: vector
static_assert(N % VECTOR == 0, "as families/swiglu_grad.c plans");

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
swiglu_grad(const scalar *__restrict__ gate_up, const scalar *__restrict__ dy,
            scalar *__restrict__ d_gate_up, scalar *__restrict__ y)
{
    const u32 at = (block_index_x() * N_THREADS + thread_index()) * VECTOR;
    const u64 row = block_index_y();
    if (at < N) {
        float gate[VECTOR], up[VECTOR], d[VECTOR], again[VECTOR];
        load_vector<VECTOR>(gate_up + row * 2 * N + at, gate);
        load_vector<VECTOR>(gate_up + row * 2 * N + N + at, up);
        load_vector<VECTOR>(dy + row * N + at, d);
#pragma unroll
        for (u32 i = 0; i < VECTOR; i++) {
            const float share = 1.0f / (1.0f + f32_exp(-gate[i]));
            const float silu = gate[i] * share;
            again[i] = silu * up[i];
            gate[i] = d[i] * up[i] * share * (1.0f + gate[i] * (1.0f - share));
            up[i] = d[i] * silu;
        }
        store_vector<VECTOR>(d_gate_up + row * 2 * N + at, gate);
        store_vector<VECTOR>(d_gate_up + row * 2 * N + N + at, up);
        if constexpr (FORWARD)
            store_vector<VECTOR>(y + row * N + at, again);
    }
}
