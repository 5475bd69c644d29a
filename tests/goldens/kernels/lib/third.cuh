// SPDX-License-Identifier: MIT
#pragma once
__device__ inline u32 thread_index() { return threadIdx.x; }
