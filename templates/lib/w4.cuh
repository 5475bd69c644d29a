// SPDX-License-Identifier: MIT
//
// INT4 weights: from packed codes to operands (layouts: families/w4_layout.h).
//
// A code q becomes a 16-bit float without conversion: the bits of 1024 (f16, 0x6400) or of 128 (bf16,
// 0x4300) or'ed with q are 1024 + q and 128 + q; 0x5400 | q << 4 is 64 + q. Then 1024 + z is taken
// off, which is exact.
#pragma once
#include "lib/core.cuh"

// a - b for two f16, a + b for two bf16; exact for the values here.
#ifndef PARO_HOST
__device__ __forceinline__ u32 w4_subtract_f16(u32 a, u32 b)
{
    u32 d;
    asm("sub.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
}
__device__ __forceinline__ u32 w4_add_bf16(u32 a, u32 b)
{
    u32 d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(0x3f803f80u), "r"(b));
    return d;
}
#else
__device__ __forceinline__ u32 w4_subtract_f16(u32 a, u32 b)
{
    const f32x2 left = unpack2<f16>(a), right = unpack2<f16>(b);
    return pack2<f16>(left.x - right.x, left.y - right.y);
}
__device__ __forceinline__ u32 w4_add_bf16(u32 a, u32 b)
{
    const f32x2 left = unpack2<bf16>(a), right = unpack2<bf16>(b);
    return pack2<bf16>(left.x + right.x, left.y + right.y);
}
#endif

// What is taken off the two rows (g, g + 8) of a lane; `zeros` is their byte.
struct w4_zeros {
    u32 low, high;
};
template <class T> __device__ __forceinline__ w4_zeros w4_spread_zeros(u32 zeros);
template <> __device__ __forceinline__ w4_zeros w4_spread_zeros<f16>(u32 zeros)
{
    return {0x64006400u | (zeros & 15u) * 0x00010001u, 0x54005400u | (zeros & 240u) * 0x00010001u};
}
template <> __device__ __forceinline__ w4_zeros w4_spread_zeros<bf16>(u32 zeros)
{
    return {0xc300c300u | (zeros & 15u) * 0x00010001u,
            0xc300c300u | (zeros >> 4 & 15u) * 0x00010001u};
}

// A word's 8 codes to the A fragment (row.col m16n8k16) of q - z.
template <class T>
__device__ __forceinline__ void w4_fragment(u32 (&a)[4], u32 word, const w4_zeros &zeros);
template <>
__device__ __forceinline__ void w4_fragment<f16>(u32 (&a)[4], u32 word, const w4_zeros &zeros)
{
    const u32 upper = word >> 8;
    a[0] = w4_subtract_f16((word & 0x000f000fu) | 0x64006400u, zeros.low);
    a[1] = w4_subtract_f16((word & 0x00f000f0u) | 0x54005400u, zeros.high);
    a[2] = w4_subtract_f16((upper & 0x000f000fu) | 0x64006400u, zeros.low);
    a[3] = w4_subtract_f16((upper & 0x00f000f0u) | 0x54005400u, zeros.high);
}
template <>
__device__ __forceinline__ void w4_fragment<bf16>(u32 (&a)[4], u32 word, const w4_zeros &zeros)
{
    a[0] = w4_add_bf16((word & 0x000f000fu) | 0x43004300u, zeros.low);
    a[1] = w4_add_bf16((word >> 4 & 0x000f000fu) | 0x43004300u, zeros.high);
    a[2] = w4_add_bf16((word >> 8 & 0x000f000fu) | 0x43004300u, zeros.low);
    a[3] = w4_add_bf16((word >> 12 & 0x000f000fu) | 0x43004300u, zeros.high);
}

// The nibble in which the awq order has row r of a word's eight, as a shift.
__device__ __forceinline__ constexpr u32 w4_awq_shift(u32 row)
{
    return 4 * (row / 2 + 4 * (row % 2));
}

// A nibble of a word as 2^23 + q: the difference of two of these is exact.
__device__ __forceinline__ float w4_large(u32 word, u32 shift)
{
    return float_of(0x4b000000u | (word >> shift & 15u));
}
