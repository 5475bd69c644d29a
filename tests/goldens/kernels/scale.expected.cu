#line 1 "scale.cu"
// SPDX-License-Identifier: MIT
//
// A template for tests/test_render.c: every construct that the generator knows.
#line 1 "lib/first.cuh"
// SPDX-License-Identifier: MIT

using u32 = unsigned int;
#line 1 "lib/third.cuh"
// SPDX-License-Identifier: MIT

__device__ inline u32 thread_index() { return threadIdx.x; }
#line 5 "lib/first.cuh"
#line 5 "scale.cu"
#line 1 "lib/second.cuh"
// SPDX-License-Identifier: MIT


template <class T> __device__ T twice(T v) { return v + v; }
#line 6 "scale.cu"


using scalar = f16;               // hole: dtype
constexpr int N_THREADS = 256;       // hole: n_threads
constexpr u32 PARTS[] = {4096, 1024, 1024};     // hole: parts
static_assert(N_THREADS % 32 == 0, "whole warps"); // = is not a hole; nor is this

extern "C" __global__ void __launch_bounds__(N_THREADS, 1) scale(const scalar *__restrict__ x, scalar *y, u32 m)
{
    if (thread_index() < m)
        y[thread_index()] = twice(x[thread_index()]); /* == */
}
