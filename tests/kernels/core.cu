// SPDX-License-Identifier: MIT
//
// Every function of lib/core.cuh.
#include "lib/core.cuh"

constexpr u32 N_THREADS = 96; // hole: threads

// out[i] of a block: the sum of all x of the block before thread i (an exclusive scan, all ways).
extern "C" __global__ void __launch_bounds__(N_THREADS) meet(const u32 *__restrict__ x, u32 *__restrict__ out)
{
    u32 *sums = shared_memory<u32>();
    u32 at = block_index_x() * block_size() + thread_index();
    u32 v = x[at], before = 0;
    for (u32 lane = 0; lane < 32; lane++) {
        u32 other = shuffle(v, lane);
        if (lane < lane_index())
            before += other;
    }
    if (lane_index() == 31)
        sums[warp_index()] = before + v;
    block_barrier();
    for (u32 warp = 0; warp < warp_index(); warp++)
        before += sums[warp];
    out[at] = before;
}

template <class T> __device__ __forceinline__ void round_trip(const float *x, T *y, float *z, u32 n)
{
    for (u32 i = thread_index(); i < n; i += block_size()) {
        y[i] = from_f32<T>(x[i]);
        z[i] = to_f32(y[i]);
    }
}
extern "C" __global__ void round_f16(const float *__restrict__ x, f16 *__restrict__ y, float *__restrict__ z, u32 n)
{
    round_trip(x, y, z, n);
}
extern "C" __global__ void round_bf16(const float *__restrict__ x, bf16 *__restrict__ y, float *__restrict__ z, u32 n)
{
    round_trip(x, y, z, n);
}

// One warp: results of every shuffle and of ballot.
extern "C" __global__ void lanes(float *__restrict__ out, u32 *__restrict__ count, const u32x4 *__restrict__ words)
{
    u32 lane = lane_index();
    float v = (float)(lane * lane);
    out[lane] = shuffle(v, 31 - lane);
    out[32 + lane] = shuffle_xor(v, 5);
    out[64 + lane] = shuffle_down(v, 3);
    out[96 + lane] = warp_sum(v);
    out[128 + lane] = warp_max(-v);
    out[160 + lane] = (float)ballot(lane % 3 == 0);
    f32x2 pair = unpack2<f16>(pack2<f16>(v, -v));
    out[192 + lane] = pair.x - pair.y;
    pair = unpack2<bf16>(pack2<bf16>(1.0F, -v));
    out[224 + lane] = pair.x;
    out[256 + lane] = (float)shuffle_down((i32)lane - 40, 1) + (float)shuffle_xor((i32)lane, 1) + (float)shuffle((i32)lane, 7);
    out[288 + lane] = f32_exp(v / 961) + f32_exp2(v / 961) + f32_log(v + 1) + f32_rsqrt(v + 1) + f32_sqrt(v) + f32_max(v, 2) +
                      f32_min(v, 2) + f32_abs(-v) + f32_fma(v, 2, 1) + (f32_is_finite(v * f32_infinity()) ? 1 : 0);
    atomic_add(&count[0], lane);
    atomic_add(reinterpret_cast<float *>(&count[1]), v);
    u32x4 four = load_stream(words);
    u32x2 two = load_stream(reinterpret_cast<const u32x2 *>(words));
    u32 one = load_stream(reinterpret_cast<const u32 *>(words));
    warp_barrier();
    named_barrier(1, 32);
    thread_fence();
    if (lane == 0)
        count[2] = four.x + four.y + four.z + four.w + two.x + two.y + one + block_index_y() + block_index_z() + grid_size_x() + grid_size_y() + grid_size_z();
}
