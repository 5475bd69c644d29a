// SPDX-License-Identifier: MIT
//
// copy_async: sums of tiles of 512 numbers through two buffers in shared memory; groups.
#include "lib/async.cuh"

constexpr u32 N_THREADS = 128;

extern "C" __global__ void __launch_bounds__(N_THREADS)
    ring(const float *__restrict__ x, float *__restrict__ out, u32 n_tiles, u32 n)
{
    float *shared = shared_memory<float>();
    const u32 at = 4 * thread_index();
    float sum = 0;
    for (u32 tile = 0; tile <= n_tiles; tile++) {
        if (tile < n_tiles) {
            const u32 i = tile * 4 * N_THREADS + at;
            copy_async_zero16(shared + tile % 2 * 4 * N_THREADS + at, x + i, i < n);
        }
        copy_async_commit();
        copy_async_wait<1>();
        block_barrier();
        if (tile > 0)
            for (u32 i = 0; i < 4; i++) // another warp's part
                sum += shared[(tile - 1) % 2 * 4 * N_THREADS + (at + 128) % (4 * N_THREADS) + i];
        block_barrier();
    }
    out[thread_index()] = sum;
}

// Four groups of copies of every thread, taken as they land: out [4][threads].
extern "C" __global__ void __launch_bounds__(N_THREADS)
    groups(const float *__restrict__ x, float *__restrict__ out)
{
    float *mine = shared_memory<float>() + 4 * thread_index();
    for (u32 group = 0; group < 4; group++) {
        copy_async16(mine + group * 4 * N_THREADS, x + 4 * (group * N_THREADS + thread_index()));
        copy_async_commit();
    }
    for (u32 group = 0; group < 4; group++) {
        if (group == 0)
            copy_async_wait<3>();
        else if (group == 1)
            copy_async_wait<2>();
        else if (group == 2)
            copy_async_wait<1>();
        else
            copy_async_wait<0>();
        float sum = 0;
        for (u32 i = 0; i < 4; i++)
            sum = 8 * sum + mine[group * 4 * N_THREADS + i];
        out[group * N_THREADS + thread_index()] = sum;
    }
}
