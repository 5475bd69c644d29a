// SPDX-License-Identifier: MIT
//
// Kernels with one mistake each, which the emulator has to find.
#include "lib/async.cuh"
#include "lib/mma.cuh"

// A warp that never comes to the barrier.
extern "C" __global__ void half_barrier(u32 *out)
{
    if (warp_index() == 0)
        block_barrier();
    else
        named_barrier(2, 64);
    out[thread_index()] = 1;
}

// Lane 5 has ended when the others shuffle.
extern "C" __global__ void missing_lane(u32 *out)
{
    if (lane_index() != 5)
        out[thread_index()] = shuffle(thread_index(), 3);
}

// Lanes of a warp at different meetings.
extern "C" __global__ void divergent(u32 *out)
{
    out[thread_index()] = lane_index() < 16 ? shuffle(1U, 3) : ballot(true);
}

// No barrier between a write and another warp's read.
extern "C" __global__ void race(u32 *out)
{
    u32 *shared = shared_memory<u32>();
    shared[thread_index()] = thread_index();
    out[thread_index()] = shared[(thread_index() + 32) % block_size()];
}

// No warp_barrier between a write and another lane's read.
extern "C" __global__ void lane_race(u32 *out)
{
    u32 *shared = shared_memory<u32>();
    shared[lane_index()] = lane_index();
    out[lane_index()] = shared[lane_index() ^ 1];
}

// The copies' wait is missing where `wait` is 0; one group too few is waited for where it is 1.
extern "C" __global__ void no_wait(const float *__restrict__ x, float *__restrict__ out, u32 wait)
{
    float *shared = shared_memory<float>();
    copy_async16(shared + 4 * lane_index(), x + 4 * lane_index());
    copy_async_commit();
    if (wait == 1)
        copy_async_wait<1>();
    if (wait == 2)
        copy_async_wait<0>();
    warp_barrier();
    for (u32 i = 0; i < 4; i++)
        out[4 * lane_index() + i] = shared[4 * lane_index() + i];
}

// Writes element `at` of its n_threads elements of shared memory, and of global memory.
extern "C" __global__ void beyond_shared(u32 *out, u32 at)
{
    if (thread_index() == 0)
        shared_memory<u32>()[at] = 1;
    block_barrier();
    out[thread_index()] = shared_memory<u32>()[0];
}
extern "C" __global__ void beyond_global(u32 *out, u32 at)
{
    if (thread_index() == 0)
        out[at] = 1;
}

// Wrong ids and numbers of threads.
extern "C" __global__ void wrong_named(u32 id, u32 n_threads)
{
    named_barrier(id, warp_index() == 0 ? n_threads : 64);
}

// What a barrier of bulk copies may be used for wrongly.
extern "C" __global__ void wrong_bulk(const u32 *x, u32 *out, u32 mistake)
{
    u64 *barrier = shared_memory<u64>();
    u32 *data = shared_memory<u32>() + 4;
    if (thread_index() == 0) {
        if (mistake != 1)
            barrier_init(barrier, 1);
        if (mistake != 2)
            barrier_expect(barrier, mistake == 3 ? 32 : 16);
        if (mistake == 4)
            barrier_arrive(barrier);
        bulk_load(mistake == 5 ? data + 1 : data, x, mistake == 6 ? 8 : 16, barrier);
    }
    block_barrier();
    if (mistake != 7)
        barrier_wait(barrier, 0);
    if (mistake == 8)
        barrier_wait(barrier, 1);
    out[thread_index()] = data[thread_index() % 4];
}
