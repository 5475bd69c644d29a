// SPDX-License-Identifier: MIT
//
// Backward of RMSNorm, one block a row: from the gradient dy of y = x r weight, with
// r = 1 / sqrt(mean(x^2) + epsilon), that of x, r weight dy - x r^3 mean(x weight dy). It is added
// to d_residual (where ADD) or stored there; where COPY the result is rounded into d_x too, for a
// product.
#include "lib/core.cuh"
#include "lib/reduce.cuh"
#include "lib/vector.cuh"

using scalar = f16;            // hole: dtype
constexpr u32 H = 4096;        // hole: h
constexpr bool ADD = true;     // hole: add
constexpr bool COPY = true;    // hole: copy
constexpr u32 N_THREADS = 256; // hole: threads
constexpr u32 VECTOR = 4;      // hole: vector
constexpr u32 SHARED = 64;     // hole: shared_bytes

constexpr u32 WARPS = N_THREADS / 32;
constexpr u32 STRIDE = N_THREADS * VECTOR;
constexpr u32 STEPS = (H + STRIDE - 1) / STRIDE;
// A short row stays in registers; a long one is read again.
constexpr bool KEPT = STEPS * VECTOR <= 16;
static_assert(H % VECTOR == 0 && SHARED >= 2 * WARPS * sizeof(float),
              "as families/norm_grad.c plans");

// v <- x; d <- weight dy
__device__ __forceinline__ void load(const float *x, const float *weight, const scalar *dy, u64 row,
                                     u32 at, float (&v)[VECTOR], float (&d)[VECTOR])
{
    float w[VECTOR];
    load_vector<VECTOR>(x + row + at, v);
    load_vector<VECTOR>(dy + row + at, d);
    load_vector<VECTOR>(weight + at, w);
#pragma unroll
    for (u32 i = 0; i < VECTOR; i++)
        d[i] *= w[i];
}

extern "C" __global__ void __launch_bounds__(N_THREADS, 1)
norm_grad(const float *__restrict__ x, const float *__restrict__ weight,
          const scalar *__restrict__ dy, float epsilon, float *__restrict__ d_residual,
          scalar *__restrict__ d_x)
{
    float *shared = shared_memory<float>();
    const u64 row = (u64)block_index_x() * H;
    const u32 first = thread_index() * VECTOR;
    float kept_x[KEPT ? STEPS : 1][VECTOR], kept_d[KEPT ? STEPS : 1][VECTOR];
    float squares = 0, products = 0;
#pragma unroll(KEPT ? STEPS : 1)
    for (u32 step = 0; step < STEPS; step++) {
        const u32 at = first + step * STRIDE;
        float (&v)[VECTOR] = kept_x[KEPT ? step : 0];
        float (&d)[VECTOR] = kept_d[KEPT ? step : 0];
        if (at < H) {
            load(x, weight, dy, row, at, v, d);
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++) {
                squares += v[i] * v[i];
                products += v[i] * d[i];
            }
        }
    }
    const float mean = block_sum<WARPS>(squares, shared) / (float)H;
    const float product = block_sum<WARPS>(products, shared + WARPS) / (float)H;
    const float scale = f32_rsqrt(mean + epsilon);
    const float along = scale * scale * scale * product;
#pragma unroll(KEPT ? STEPS : 1)
    for (u32 step = 0; step < STEPS; step++) {
        const u32 at = first + step * STRIDE;
        float (&v)[VECTOR] = kept_x[KEPT ? step : 0];
        float (&d)[VECTOR] = kept_d[KEPT ? step : 0];
        if (at < H) {
            if constexpr (!KEPT)
                load(x, weight, dy, row, at, v, d);
            float out[VECTOR];
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++)
                out[i] = scale * d[i] - along * v[i];
            if constexpr (ADD) {
                float before[VECTOR];
                load_vector<VECTOR>(d_residual + row + at, before);
#pragma unroll
                for (u32 i = 0; i < VECTOR; i++)
                    out[i] += before[i];
            }
            store_vector<VECTOR>(d_residual + row + at, out);
            if constexpr (COPY)
                store_vector<VECTOR>(d_x + row + at, out);
        }
    }
}
