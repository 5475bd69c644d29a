// SPDX-License-Identifier: MIT
//
// Copies from global to shared memory that run beside the threads. The destination holds nothing
// of use until the wait; the emulator fills it with NaN until then.
#pragma once
#include "lib/core.cuh"

#ifndef PARO_HOST
__device__ __forceinline__ u32 shared_address(const void *p)
{
    u64 address;
    asm("cvta.to.shared.u64 %0, %1;" : "=l"(address) : "l"(p));
    return (u32)address;
}
#endif

// ---- 16 bytes by each thread; below sm_80 plain copies -----------------------------------------

// Both addresses are multiples of 16. Where !valid, zeros are written and nothing is read.
__device__ __forceinline__ void copy_async_zero16(void *shared, const void *global, bool valid)
{
#ifdef PARO_HOST
    EMULATE(copy_async16, shared, global, valid);
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
#else
    u32x4 v = {0, 0, 0, 0};
    if (valid)
        v = *reinterpret_cast<const u32x4 *>(global);
    *reinterpret_cast<u32x4 *>(shared) = v;
#endif
}
__device__ __forceinline__ void copy_async16(void *shared, const void *global)
{
#if !defined(PARO_HOST) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)),
                 "l"(global)
                 : "memory");
#else
    copy_async_zero16(shared, global, true);
#endif
}

// Closes the thread's group of copies since the last commit (which may be empty).
__device__ __forceinline__ void copy_async_commit()
{
#ifdef PARO_HOST
    EMULATE(copy_async_commit);
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until all but the last N groups of this thread have landed. Other threads see them after a barrier.
template <int N> __device__ __forceinline__ void copy_async_wait()
{
#ifdef PARO_HOST
    EMULATE(copy_async_wait, N);
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

// ---- bulk copies that count their bytes on a barrier in shared memory: sm_90 -------------------
//
// A barrier's phase ends when `count` arrivals are there and all expected bytes have landed. Phases
// have parity 0, 1, 0, …: a thread waits for the parity of the phase it wants to have ended.

// By one thread; then a block_barrier (or cluster_barrier) before others use it.
__device__ __forceinline__ void barrier_init(u64 *barrier, u32 count)
{
#ifdef PARO_HOST
    EMULATE(barrier_init, barrier, count);
#else
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n\t"
                 "fence.mbarrier_init.release.cluster;" ::"r"(shared_address(barrier)),
                 "r"(count)
                 : "memory");
#endif
}

// One arrival, which also says that the phase has `bytes` more to wait for.
__device__ __forceinline__ void barrier_expect(u64 *barrier, u32 bytes)
{
#ifdef PARO_HOST
    EMULATE(barrier_arrive, barrier, bytes);
#else
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
#endif
}

// One arrival.
__device__ __forceinline__ void barrier_arrive(u64 *barrier)
{
#ifdef PARO_HOST
    EMULATE(barrier_arrive, barrier, 0);
#else
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
#endif
}

// Until the phase of this parity has ended.
__device__ __forceinline__ void barrier_wait(u64 *barrier, u32 parity)
{
#ifdef PARO_HOST
    EMULATE(barrier_wait, barrier, parity);
#else
    u32 done;
    do {
        asm volatile("{\n\t.reg .pred p;\n\t"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
                     "selp.u32 %0, 1, 0, p;\n\t}"
                     : "=r"(done)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
    } while (done == 0);
#endif
}

// By one thread, after its barrier_expect: addresses and bytes are multiples of 16.
__device__ __forceinline__ void bulk_load(void *shared, const void *global, u32 bytes, u64 *barrier)
{
#ifdef PARO_HOST
    EMULATE(bulk_load, shared, global, bytes, barrier);
#else
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
#endif
}

// Between this thread's plain access to shared memory and bulk copies (or wgmma) that touch it.
__device__ __forceinline__ void fence_async_shared()
{
#ifndef PARO_HOST
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
