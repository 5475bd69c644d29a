// SPDX-License-Identifier: MIT
//
// Products of tiles by a warpgroup (128 threads, four whole warps from a multiple of four on) that
// run beside the threads: sm_90a alone, hence the line that codegen looks for:
// needs: own
//
// D[64][N] += A[64][16] B[16][N], T = f16 or bf16, sums in fp32, N a multiple of 8 up to 256.
// Warp w of the four has rows 16w to 16w+15 of A and D; with g = lane / 4, t = lane % 4:
//     a[0..3]: the 16x16 part of A as in mma_16x8x16 (lib/mma.cuh)
//     d[4j], d[4j+1] = D[16w+g][8j+2t, 8j+2t+1]    d[4j+2], d[4j+3] = D[16w+g+8][the same]
//
// Tiles in shared memory are [rows][64] elements of T in the order of wgmma_index, at a multiple
// of 1024 bytes: 64 rows of A; N rows of B transposed (row n has B[0..63][n]). k16 chooses 16 of
// the 64.
//
// The order of calls: wgmma_fence(d), products, wgmma_commit(), wgmma_wait<n>(d). In between
// neither d nor a may be touched, and the tiles must stay. Before the first product on tiles that threads
// wrote: fence_async_shared() (lib/async.cuh) by the writers, then a barrier.
#pragma once
#include "lib/core.cuh"

// Where element k (0 to 63) of a row lies in a tile, in elements: pieces of 8 stay together.
__device__ __forceinline__ u32 wgmma_index(u32 row, u32 k)
{
    return row * 64 + ((k / 8 ^ row % 8) * 8 | k % 8);
}

template <class T> constexpr bool wgmma_is_bf16 = false;
template <> constexpr bool wgmma_is_bf16<bf16> = true;

#ifndef PARO_HOST
// Base address / 16; 1024 bytes from 8 rows to the next 8; 128-byte swizzle.
__device__ __forceinline__ u64 wgmma_descriptor(const void *tile, u32 k16)
{
    u64 address;
    asm("cvta.to.shared.u64 %0, %1;" : "=l"(address) : "l"(tile));
    return ((address + 32 * k16) >> 4 & 0x3fff) | (u64)1 << 16 | (u64)64 << 32 | (u64)1 << 62;
}

#define PARO_R8 "%0, %1, %2, %3"
#define PARO_R16 PARO_R8 ", %4, %5, %6, %7"
#define PARO_R24 PARO_R16 ", %8, %9, %10, %11"
#define PARO_R32 PARO_R24 ", %12, %13, %14, %15"
#define PARO_R40 PARO_R32 ", %16, %17, %18, %19"
#define PARO_R48 PARO_R40 ", %20, %21, %22, %23"
#define PARO_R56 PARO_R48 ", %24, %25, %26, %27"
#define PARO_R64 PARO_R56 ", %28, %29, %30, %31"
#define PARO_R72 PARO_R64 ", %32, %33, %34, %35"
#define PARO_R80 PARO_R72 ", %36, %37, %38, %39"
#define PARO_R88 PARO_R80 ", %40, %41, %42, %43"
#define PARO_R96 PARO_R88 ", %44, %45, %46, %47"
#define PARO_R104 PARO_R96 ", %48, %49, %50, %51"
#define PARO_R112 PARO_R104 ", %52, %53, %54, %55"
#define PARO_R120 PARO_R112 ", %56, %57, %58, %59"
#define PARO_R128 PARO_R120 ", %60, %61, %62, %63"
#define PARO_R136 PARO_R128 ", %64, %65, %66, %67"
#define PARO_R144 PARO_R136 ", %68, %69, %70, %71"
#define PARO_R152 PARO_R144 ", %72, %73, %74, %75"
#define PARO_R160 PARO_R152 ", %76, %77, %78, %79"
#define PARO_R168 PARO_R160 ", %80, %81, %82, %83"
#define PARO_R176 PARO_R168 ", %84, %85, %86, %87"
#define PARO_R184 PARO_R176 ", %88, %89, %90, %91"
#define PARO_R192 PARO_R184 ", %92, %93, %94, %95"
#define PARO_R200 PARO_R192 ", %96, %97, %98, %99"
#define PARO_R208 PARO_R200 ", %100, %101, %102, %103"
#define PARO_R216 PARO_R208 ", %104, %105, %106, %107"
#define PARO_R224 PARO_R216 ", %108, %109, %110, %111"
#define PARO_R232 PARO_R224 ", %112, %113, %114, %115"
#define PARO_R240 PARO_R232 ", %116, %117, %118, %119"
#define PARO_R248 PARO_R240 ", %120, %121, %122, %123"
#define PARO_R256 PARO_R248 ", %124, %125, %126, %127"
#define PARO_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define PARO_D8 PARO_D4(0)
#define PARO_D16 PARO_D8, PARO_D4(4)
#define PARO_D24 PARO_D16, PARO_D4(8)
#define PARO_D32 PARO_D24, PARO_D4(12)
#define PARO_D40 PARO_D32, PARO_D4(16)
#define PARO_D48 PARO_D40, PARO_D4(20)
#define PARO_D56 PARO_D48, PARO_D4(24)
#define PARO_D64 PARO_D56, PARO_D4(28)
#define PARO_D72 PARO_D64, PARO_D4(32)
#define PARO_D80 PARO_D72, PARO_D4(36)
#define PARO_D88 PARO_D80, PARO_D4(40)
#define PARO_D96 PARO_D88, PARO_D4(44)
#define PARO_D104 PARO_D96, PARO_D4(48)
#define PARO_D112 PARO_D104, PARO_D4(52)
#define PARO_D120 PARO_D112, PARO_D4(56)
#define PARO_D128 PARO_D120, PARO_D4(60)
#define PARO_D136 PARO_D128, PARO_D4(64)
#define PARO_D144 PARO_D136, PARO_D4(68)
#define PARO_D152 PARO_D144, PARO_D4(72)
#define PARO_D160 PARO_D152, PARO_D4(76)
#define PARO_D168 PARO_D160, PARO_D4(80)
#define PARO_D176 PARO_D168, PARO_D4(84)
#define PARO_D184 PARO_D176, PARO_D4(88)
#define PARO_D192 PARO_D184, PARO_D4(92)
#define PARO_D200 PARO_D192, PARO_D4(96)
#define PARO_D208 PARO_D200, PARO_D4(100)
#define PARO_D216 PARO_D208, PARO_D4(104)
#define PARO_D224 PARO_D216, PARO_D4(108)
#define PARO_D232 PARO_D224, PARO_D4(112)
#define PARO_D240 PARO_D232, PARO_D4(116)
#define PARO_D248 PARO_D240, PARO_D4(120)
#define PARO_D256 PARO_D248, PARO_D4(124)

#define PARO_WGMMA(TEXT_N, N, TYPE, A, B, TRANSPOSE, ...)                                          \
    asm volatile("{\n\t.reg .pred p;\n\tsetp.eq.u32 p, 0, 0;\n\t"                                \
                 "wgmma.mma_async.sync.aligned.m64n" TEXT_N "k16.f32." TYPE "." TYPE " {" PARO_R##N \
                 "}, " A ", " B ", p, 1, 1, " TRANSPOSE ";\n\t}"                                   \
                 : PARO_D##N                                                                       \
                 : __VA_ARGS__)
#define PARO_WGMMA_A_REGISTERS(N, A0, A1, A2, A3, B)                                               \
    if constexpr (N_COLUMNS == N && wgmma_is_bf16<T>)                                              \
        PARO_WGMMA(#N, N, "bf16", "{%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}", "%" #B, "0",         \
                   "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_at));                         \
    else if constexpr (N_COLUMNS == N)                                                             \
        PARO_WGMMA(#N, N, "f16", "{%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}", "%" #B, "0",          \
                   "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_at));
#define PARO_WGMMA_A_SHARED(N, A, B, U2, U3, U4)                                                   \
    if constexpr (N_COLUMNS == N && wgmma_is_bf16<T>)                                              \
        PARO_WGMMA(#N, N, "bf16", "%" #A, "%" #B, "0, 0", "l"(a_at), "l"(b_at));                   \
    else if constexpr (N_COLUMNS == N)                                                             \
        PARO_WGMMA(#N, N, "f16", "%" #A, "%" #B, "0, 0", "l"(a_at), "l"(b_at));
// N, and the numbers of the five operands after the N / 2 sums.
#define PARO_WGMMA_TABLE(X)                                                                        \
    X(8, 4, 5, 6, 7, 8) X(16, 8, 9, 10, 11, 12)                                                    \
    X(24, 12, 13, 14, 15, 16) X(32, 16, 17, 18, 19, 20)                                            \
    X(40, 20, 21, 22, 23, 24) X(48, 24, 25, 26, 27, 28)                                            \
    X(56, 28, 29, 30, 31, 32) X(64, 32, 33, 34, 35, 36)                                            \
    X(72, 36, 37, 38, 39, 40) X(80, 40, 41, 42, 43, 44)                                            \
    X(88, 44, 45, 46, 47, 48) X(96, 48, 49, 50, 51, 52)                                            \
    X(104, 52, 53, 54, 55, 56) X(112, 56, 57, 58, 59, 60)                                          \
    X(120, 60, 61, 62, 63, 64) X(128, 64, 65, 66, 67, 68)                                          \
    X(136, 68, 69, 70, 71, 72) X(144, 72, 73, 74, 75, 76)                                          \
    X(152, 76, 77, 78, 79, 80) X(160, 80, 81, 82, 83, 84)                                          \
    X(168, 84, 85, 86, 87, 88) X(176, 88, 89, 90, 91, 92)                                          \
    X(184, 92, 93, 94, 95, 96) X(192, 96, 97, 98, 99, 100)                                         \
    X(200, 100, 101, 102, 103, 104) X(208, 104, 105, 106, 107, 108)                                \
    X(216, 108, 109, 110, 111, 112) X(224, 112, 113, 114, 115, 116)                                \
    X(232, 116, 117, 118, 119, 120) X(240, 120, 121, 122, 123, 124)                                \
    X(248, 124, 125, 126, 127, 128) X(256, 128, 129, 130, 131, 132)
#endif

// A in registers.
template <class T, int N_COLUMNS>
__device__ __forceinline__ void wgmma_64(float (&d)[N_COLUMNS / 2], const u32 (&a)[4], const T *b,
                                         u32 k16)
{
    static_assert(N_COLUMNS % 8 == 0 && N_COLUMNS > 0 && N_COLUMNS <= 256, "wgmma: columns");
#ifdef PARO_HOST
    EMULATE(wgmma, wgmma_is_bf16<T>, N_COLUMNS, d, a, nullptr, b, k16);
#else
    u64 b_at = wgmma_descriptor(b, k16);
    PARO_WGMMA_TABLE(PARO_WGMMA_A_REGISTERS)
#endif
}

// A in shared memory.
template <class T, int N_COLUMNS>
__device__ __forceinline__ void wgmma_64(float (&d)[N_COLUMNS / 2], const T *a, const T *b, u32 k16)
{
    static_assert(N_COLUMNS % 8 == 0 && N_COLUMNS > 0 && N_COLUMNS <= 256, "wgmma: columns");
#ifdef PARO_HOST
    EMULATE(wgmma, wgmma_is_bf16<T>, N_COLUMNS, d, nullptr, a, b, k16);
#else
    u64 a_at = wgmma_descriptor(a, k16), b_at = wgmma_descriptor(b, k16);
    PARO_WGMMA_TABLE(PARO_WGMMA_A_SHARED)
#endif
}

// Before the first product, and after threads wrote d or a.
template <int N> __device__ __forceinline__ void wgmma_fence(float (&d)[N])
{
#ifndef PARO_HOST
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i])::"memory");
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
    (void)d;
#endif
}

// Closes the group of products since the last commit.
__device__ __forceinline__ void wgmma_commit()
{
#ifdef PARO_HOST
    EMULATE(wgmma_commit);
#else
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

// Until all but the last PENDING groups are done; d is among what they made.
template <int PENDING, int N> __device__ __forceinline__ void wgmma_wait(float (&d)[N])
{
#ifdef PARO_HOST
    (void)d;
    EMULATE(wgmma_wait, PENDING);
#else
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i])::"memory");
#endif
}
