// SPDX-License-Identifier: MIT
//
// Blocks of a cluster add up what all of them hold in shared memory.
#include "lib/cluster.cuh"

extern "C" __global__ void all_sum(const u32 *__restrict__ x, u32 *__restrict__ out, u32 meet_at_end)
{
    u32 *shared = shared_memory<u32>();
    const u32 at = block_index_x() * block_size() + thread_index();
    shared[thread_index()] = x[at];
    cluster_barrier();
    u32 sum = 0;
    for (u32 rank = 0; rank < cluster_size(); rank++)
        sum += *cluster_shared(&shared[thread_index()], rank);
    atomic_add(cluster_shared(&shared[block_size()], 0), 0);
    out[at] = 100 * sum + cluster_rank();
    if (meet_at_end != 0)
        cluster_barrier();
}
