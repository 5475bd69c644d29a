// SPDX-License-Identifier: MIT
//
// One product of a warp: d [16][8] += a [16][16] b [16][8].
#include "lib/mma.cuh"

using scalar = f16; // hole: dtype

extern "C" __global__ void product(const scalar *__restrict__ a, const scalar *__restrict__ b, float *__restrict__ d)
{
    u32 g = lane_index() / 4, t = lane_index() % 4;
    u32 fa[4], fb[2];
    for (u32 i = 0; i < 4; i++) {
        u32 row = g + (i & 1) * 8, k = 2 * t + (i >> 1) * 8;
        fa[i] = (u32)a[row * 16 + k].bits | (u32)a[row * 16 + k + 1].bits << 16;
    }
    for (u32 i = 0; i < 2; i++) {
        u32 k = 2 * t + i * 8;
        fb[i] = (u32)b[k * 8 + g].bits | (u32)b[(k + 1) * 8 + g].bits << 16;
    }
    float fd[4];
    for (u32 i = 0; i < 4; i++)
        fd[i] = d[(g + (i >> 1) * 8) * 8 + 2 * t + (i & 1)];
    mma_16x8x16<scalar>(fd, fa, fb);
    for (u32 i = 0; i < 4; i++)
        d[(g + (i >> 1) * 8) * 8 + 2 * t + (i & 1)] = fd[i];
}
