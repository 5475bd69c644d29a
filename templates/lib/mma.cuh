// SPDX-License-Identifier: MIT
//
// Products of small tiles by a warp.
#pragma once
#include "lib/core.cuh"

#if !defined(PARO_HOST) && __CUDA_ARCH__ >= 800
#define PARO_MMA_16816(TYPE)                                                                       \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 {%0, %1, %2, %3}, "           \
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                            \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                           \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#endif

// D[16][8] += A[16][16] B[16][8], T = f16 or bf16 (bf16 from sm_80), sums in fp32. All 32 lanes.
// With g = lane / 4, t = lane % 4, the low half of a word first:
//     a[0] = A[g][2t, 2t+1]      a[1] = A[g+8][2t, 2t+1]
//     a[2] = A[g][2t+8, 2t+9]    a[3] = A[g+8][2t+8, 2t+9]
//     b[0] = B[2t, 2t+1][g]      b[1] = B[2t+8, 2t+9][g]
//     d[0], d[1] = D[g][2t, 2t+1]    d[2], d[3] = D[g+8][2t, 2t+1]
template <class T>
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]);

template <>
__device__ __forceinline__ void mma_16x8x16<f16>(float (&d)[4], const u32 (&a)[4],
                                                 const u32 (&b)[2])
{
#ifdef PARO_HOST
    EMULATE(mma_16x8x16, 0, d, a, b);
#elif __CUDA_ARCH__ >= 800
    PARO_MMA_16816("f16");
#else
#define PARO_MMA_1688(A0, A1, B)                                                                   \
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "      \
        "{%0, %1, %2, %3};"                                                                        \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                           \
        : "r"(A0), "r"(A1), "r"(B))
    PARO_MMA_1688(a[0], a[1], b[0]);
    PARO_MMA_1688(a[2], a[3], b[1]);
#endif
}

#if defined(PARO_HOST) || __CUDA_ARCH__ >= 800
template <>
__device__ __forceinline__ void mma_16x8x16<bf16>(float (&d)[4], const u32 (&a)[4],
                                                  const u32 (&b)[2])
{
#ifdef PARO_HOST
    EMULATE(mma_16x8x16, 1, d, a, b);
#else
    PARO_MMA_16816("bf16");
#endif
}
#endif
