// SPDX-License-Identifier: MIT
//
// N neighbouring elements of memory to and from floats, in accesses of up to 16 bytes. The address
// is a multiple of the access: N elements, or 16 bytes where those are more.
#pragma once
#include "lib/core.cuh"

template <u32 N, class T> __device__ __forceinline__ void load_vector(const T *p, float (&out)[N])
{
    static_assert(N == 1 || N == 2 || N % 4 == 0, "N is a power of two");
    if constexpr (N == 1) {
        out[0] = to_f32(p[0]);
    } else if constexpr (sizeof(T) == 4) {
        if constexpr (N == 2) {
            const f32x2 two = *(const f32x2 *)p;
            out[0] = two.x;
            out[1] = two.y;
        } else {
#pragma unroll
            for (u32 i = 0; i < N; i += 4) {
                const f32x4 four = *(const f32x4 *)(p + i);
                out[i] = four.x;
                out[i + 1] = four.y;
                out[i + 2] = four.z;
                out[i + 3] = four.w;
            }
        }
    } else {
        u32 words[N / 2];
        if constexpr (N == 2) {
            words[0] = *(const u32 *)p;
        } else if constexpr (N == 4) {
            const u32x2 two = *(const u32x2 *)p;
            words[0] = two.x;
            words[1] = two.y;
        } else {
#pragma unroll
            for (u32 i = 0; i < N / 2; i += 4) {
                const u32x4 four = *(const u32x4 *)(p + 2 * i);
                words[i] = four.x;
                words[i + 1] = four.y;
                words[i + 2] = four.z;
                words[i + 3] = four.w;
            }
        }
#pragma unroll
        for (u32 i = 0; i < N / 2; i++) {
            const f32x2 two = unpack2<T>(words[i]);
            out[2 * i] = two.x;
            out[2 * i + 1] = two.y;
        }
    }
}

template <u32 N, class T> __device__ __forceinline__ void store_vector(T *p, const float (&in)[N])
{
    static_assert(N == 1 || N == 2 || N % 4 == 0, "N is a power of two");
    if constexpr (N == 1) {
        p[0] = from_f32<T>(in[0]);
    } else if constexpr (sizeof(T) == 4) {
        if constexpr (N == 2) {
            *(f32x2 *)p = f32x2{in[0], in[1]};
        } else {
#pragma unroll
            for (u32 i = 0; i < N; i += 4)
                *(f32x4 *)(p + i) = f32x4{in[i], in[i + 1], in[i + 2], in[i + 3]};
        }
    } else {
        u32 words[N / 2];
#pragma unroll
        for (u32 i = 0; i < N / 2; i++)
            words[i] = pack2<T>(in[2 * i], in[2 * i + 1]);
        if constexpr (N == 2) {
            *(u32 *)p = words[0];
        } else if constexpr (N == 4) {
            *(u32x2 *)p = u32x2{words[0], words[1]};
        } else {
#pragma unroll
            for (u32 i = 0; i < N / 2; i += 4)
                *(u32x4 *)(p + 2 * i) =
                    u32x4{words[i], words[i + 1], words[i + 2], words[i + 3]};
        }
    }
}

// N elements as they are, in one access.
template <u32 N, class T> __device__ __forceinline__ void copy_vector(T *to, const T *from)
{
    constexpr u32 BYTES = N * sizeof(T);
    static_assert(BYTES <= 16, "one access");
    if constexpr (BYTES == 16)
        *(u32x4 *)to = *(const u32x4 *)from;
    else if constexpr (BYTES == 8)
        *(u32x2 *)to = *(const u32x2 *)from;
    else if constexpr (BYTES == 4)
        *(u32 *)to = *(const u32 *)from;
    else
        *to = *from;
}
