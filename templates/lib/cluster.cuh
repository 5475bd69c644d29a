// SPDX-License-Identifier: MIT
//
// Blocks of a cluster: sm_90.
#pragma once
#include "lib/core.cuh"

__device__ __forceinline__ u32 cluster_rank()
{
#ifdef PARO_HOST
    return emulator_self->block->cluster_rank;
#else
    u32 rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
#endif
}

__device__ __forceinline__ u32 cluster_size()
{
#ifdef PARO_HOST
    return emulator_self->block->cluster_size;
#else
    u32 size;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    return size;
#endif
}

// All threads of all blocks of the cluster; orders all memory between them. A block whose shared
// memory others use must not end before their last use: meet once more at the end.
__device__ __forceinline__ void cluster_barrier()
{
#ifdef PARO_HOST
    EMULATE(cluster_barrier);
#else
    asm volatile("barrier.cluster.arrive.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
#endif
}

// What `mine`, an address in this block's shared memory, is in that of the cluster's block `rank`.
template <class T> __device__ __forceinline__ T *cluster_shared(T *mine, u32 rank)
{
#ifdef PARO_HOST
    return static_cast<T *>(EMULATE(cluster_shared, (void *)mine, rank));
#else
    u64 address;
    asm("mapa.u64 %0, %1, %2;" : "=l"(address) : "l"(mine), "r"(rank));
    return reinterpret_cast<T *>(address);
#endif
}
