// SPDX-License-Identifier: MIT
//
// copy_async: sums of tiles of 512 numbers through two buffers in shared memory.
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
