// SPDX-License-Identifier: MIT
//
// What core.cu leaves out: grids, parts of a block that meet, the last block of a grid, atomics of
// many threads, pairs of narrow numbers, arithmetic, vectors.
#include "lib/core.cuh"
#include "lib/reduce.cuh"
#include "lib/vector.cuh"

// Where every thread is, in 10 words.
extern "C" __global__ void where(u32 *__restrict__ out)
{
    const u32 block = (block_index_z() * grid_size_y() + block_index_y()) * grid_size_x() + block_index_x();
    const u32 words[10] = {block_index_x(), block_index_y(), block_index_z(), grid_size_x(), grid_size_y(),
                           grid_size_z(), block_size(), thread_index(), warp_index(), lane_index()};
    for (u32 i = 0; i < 10; i++)
        out[(block * block_size() + thread_index()) * 10 + i] = words[i];
}

// Two teams of a block, of two and three warps, meet 10 and 20 times; then lanes of a warp.
extern "C" __global__ void __launch_bounds__(160) teams(const u32 *__restrict__ x, u32 *__restrict__ out)
{
    u32 *shared = shared_memory<u32>();
    const u32 team = warp_index() < 2 ? 0 : 1, first = 64 * team, n = 64 + 32 * team;
    u32 v = x[thread_index()];
    for (u32 round = 0; round < 10 + 10 * team; round++) {
        shared[thread_index()] = v;
        named_barrier(1 + 14 * team, n);
        v = v * 5 + shared[first + (thread_index() - first + 33) % n];
        named_barrier(1 + 14 * team, n);
    }
    for (u32 distance = 1; distance < 32; distance *= 2) {
        shared[thread_index()] = v;
        warp_barrier();
        v = v * 3 + shared[thread_index() ^ distance];
        warp_barrier();
    }
    out[thread_index()] = v;
}

// total[0]: the sum of x, added up by the block that is the last to write its own; total[1]: the
// same as a float. count is 0 at first.
extern "C" __global__ void last_block(const u32 *__restrict__ x, u32 *__restrict__ sums, u32 *__restrict__ count,
                                      u32 *__restrict__ total)
{
    u32 *shared = shared_memory<u32>();
    if (thread_index() < 3)
        shared[thread_index()] = 0;
    block_barrier();
    const u32 v = x[block_index_x() * block_size() + thread_index()];
    atomic_add(&shared[0], v);
    atomic_add(reinterpret_cast<float *>(&shared[1]), (float)v);
    block_barrier();
    if (thread_index() == 0) {
        sums[block_index_x()] = shared[0];
        thread_fence();
        shared[2] = atomic_add(count, 1) == grid_size_x() - 1;
        atomic_add(reinterpret_cast<float *>(&total[1]), float_of(shared[1]));
    }
    block_barrier();
    if (shared[2] != 0) {
        thread_fence();
        for (u32 block = thread_index(); block < grid_size_x(); block += block_size())
            atomic_add(&total[0], sums[block]);
    }
}

// What an atomic gives back is given to one thread: tickets [2][threads] becomes 1.
extern "C" __global__ void draw(u32 *__restrict__ count, u32 *__restrict__ tickets)
{
    const u32 n = grid_size_x() * block_size();
    atomic_add(&tickets[atomic_add(&count[0], 1)], 1);
    atomic_add(&tickets[n + (u32)atomic_add(reinterpret_cast<float *>(&count[1]), 1.0F)], 1);
}

template <class T>
__device__ __forceinline__ void pairs(const float *x, const u32 *bits, u32 *packed, float *wide, u32 n)
{
    for (u32 i = thread_index(); i < n; i += block_size()) {
        packed[i] = pack2<T>(x[2 * i], x[2 * i + 1]);
        const f32x2 two = unpack2<T>(bits[i]);
        wide[2 * i] = two.x;
        wide[2 * i + 1] = two.y;
    }
}
extern "C" __global__ void pairs_f16(const float *__restrict__ x, const u32 *__restrict__ bits,
                                     u32 *__restrict__ packed, float *__restrict__ wide, u32 n)
{
    pairs<f16>(x, bits, packed, wide, n);
}
extern "C" __global__ void pairs_bf16(const float *__restrict__ x, const u32 *__restrict__ bits,
                                      u32 *__restrict__ packed, float *__restrict__ wide, u32 n)
{
    pairs<bf16>(x, bits, packed, wide, n);
}

// exact [n][6]: what has one right answer; close [n][4]: the rest.
extern "C" __global__ void arithmetic(const float *__restrict__ x, float *__restrict__ exact,
                                      float *__restrict__ close, u32 n)
{
    for (u32 i = thread_index(); i < n; i += block_size()) {
        const float a = x[i], b = x[(7 * i + 3) % n];
        exact[6 * i] = f32_sqrt(a);
        exact[6 * i + 1] = f32_max(a, b);
        exact[6 * i + 2] = f32_min(a, b);
        exact[6 * i + 3] = f32_abs(a);
        exact[6 * i + 4] = f32_fma(a, b, a);
        exact[6 * i + 5] = f32_is_finite(a) ? 1 : 0;
        close[4 * i] = f32_exp(a);
        close[4 * i + 1] = f32_exp2(a);
        close[4 * i + 2] = f32_log(a);
        close[4 * i + 3] = f32_rsqrt(a);
    }
}

// y [11][n]: x as it went through vectors of all sizes.
template <u32 N, class T> __device__ __forceinline__ void through(const T *x, T *y, u32 n)
{
    for (u32 i = N * thread_index(); i < n; i += N * block_size()) {
        float v[N];
        load_vector<N>(x + i, v);
        store_vector<N>(y + i, v);
    }
}
template <u32 N, class T> __device__ __forceinline__ void copied(const T *x, T *y, u32 n)
{
    for (u32 i = N * thread_index(); i < n; i += N * block_size())
        copy_vector<N>(y + i, x + i);
}
template <class T> __device__ __forceinline__ void vectors(const T *x, T *y, u32 n)
{
    through<1>(x, y, n);
    through<2>(x, y + n, n);
    through<4>(x, y + 2 * n, n);
    through<8>(x, y + 3 * n, n);
    through<16>(x, y + 4 * n, n);
    copied<1>(x, y + 5 * n, n);
    copied<4 / sizeof(T)>(x, y + 6 * n, n);
    copied<8 / sizeof(T)>(x, y + 7 * n, n);
    copied<16 / sizeof(T)>(x, y + 8 * n, n);
    const u32 words = n * sizeof(T) / 4;
    u32 *streamed = reinterpret_cast<u32 *>(y + 9 * n);
    for (u32 i = thread_index(); i < words; i += block_size())
        streamed[i] = load_stream(reinterpret_cast<const u32 *>(x) + i);
    streamed += words;
    for (u32 i = thread_index(); i < words / 4; i += block_size()) {
        if (i % 2 == 0) {
            const u32x4 four = load_stream(reinterpret_cast<const u32x4 *>(x) + i);
            *(reinterpret_cast<u32x4 *>(streamed) + i) = four;
        } else
            for (u32 j = 2 * i; j < 2 * i + 2; j++)
                *(reinterpret_cast<u32x2 *>(streamed) + j) = load_stream(reinterpret_cast<const u32x2 *>(x) + j);
    }
}
extern "C" __global__ void vectors_f16(const f16 *__restrict__ x, f16 *__restrict__ y, u32 n) { vectors(x, y, n); }
extern "C" __global__ void vectors_bf16(const bf16 *__restrict__ x, bf16 *__restrict__ y, u32 n) { vectors(x, y, n); }
extern "C" __global__ void vectors_f32(const float *__restrict__ x, float *__restrict__ y, u32 n) { vectors(x, y, n); }

extern "C" __global__ void __launch_bounds__(128) block_sums(const float *__restrict__ x, float *__restrict__ out)
{
    const u32 at = block_index_x() * block_size() + thread_index();
    out[at] = block_sum<4>(x[at], shared_memory<float>());
}
