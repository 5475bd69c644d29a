// SPDX-License-Identifier: MIT
//
// A template for tests/test_render.c: every construct that the generator knows.
#include "lib/first.cuh"
#include "lib/second.cuh"
	#include "lib/first.cuh"

using scalar = float;               // hole: dtype
constexpr int N_THREADS = 32;       // hole: n_threads
constexpr u32 PARTS[] = {1, 2};     // hole: parts
static_assert(N_THREADS % 32 == 0, "whole warps"); // = is not a hole; nor is this

extern "C" __global__ void __launch_bounds__(N_THREADS, 1) scale(const scalar *__restrict__ x, scalar *y, u32 m)
{
    if (thread_index() < m)
        y[thread_index()] = twice(x[thread_index()]); /* == */
}
