// SPDX-License-Identifier: MIT
//
// One step of AdamW on one parameter, all in one pass: moments, and
// p <- p (1 - lr decay) - lr m^ / (sqrt(v^) + epsilon). What changes from step to step is read from
// device memory: `step` is the number of steps done, and row `step` of `schedule` has lr,
// 1 / (1 - beta1^t) and 1 / (1 - beta2^t) for t = step + 1.
#include "lib/core.cuh"
#include "lib/vector.cuh"

using scalar = float;          // hole: dtype
constexpr u32 N_THREADS = 256; // hole: threads
constexpr u32 VECTOR = 4;      // hole: vector

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
adamw(const scalar *__restrict__ gradient, u32 *__restrict__ step,
      const float *__restrict__ schedule, float gradient_scale, float beta1, float beta2,
      float epsilon, float decay, u32 n, float *__restrict__ parameter, float *__restrict__ first,
      float *__restrict__ second)
{
    const u64 at = ((u64)block_index_x() * N_THREADS + thread_index()) * VECTOR;
    const float *row = schedule + (u64)step[0] * 3;
    const float lr = row[0], first_factor = row[1], second_factor = row[2];
    if (at < n) {
        float g[VECTOR], p[VECTOR], m[VECTOR], v[VECTOR];
        load_vector<VECTOR>(gradient + at, g);
        load_vector<VECTOR>(parameter + at, p);
        load_vector<VECTOR>(first + at, m);
        load_vector<VECTOR>(second + at, v);
#pragma unroll
        for (u32 i = 0; i < VECTOR; i++) {
            g[i] *= gradient_scale;
            m[i] = beta1 * m[i] + (1.0f - beta1) * g[i];
            v[i] = beta2 * v[i] + (1.0f - beta2) * g[i] * g[i];
            p[i] = p[i] * (1.0f - lr * decay) -
                   lr * (m[i] * first_factor) / (f32_sqrt(v[i] * second_factor) + epsilon);
        }
        store_vector<VECTOR>(parameter + at, p);
        store_vector<VECTOR>(first + at, m);
        store_vector<VECTOR>(second + at, v);
    }
}

// Behind the last parameter of a step: one more is done.
extern "C" __global__ void __launch_bounds__(32, 1) adamw_advance(u32 *__restrict__ step)
{
    if (thread_index() == 0)
        step[0] += 1;
}
