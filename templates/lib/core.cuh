// SPDX-License-Identifier: MIT
//
// Types, indices, barriers, shuffles, conversions, arithmetic: what every template includes. Each
// function has a device body and a host body (PARO_HOST: emulator/host.hpp, in front of the
// source, declares what those call). No CUDA header is needed or included.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i32 = int;
using i64 = long long;

struct f16 { u16 bits; };
struct bf16 { u16 bits; };
struct alignas(8) u32x2 { u32 x, y; };
struct alignas(16) u32x4 { u32 x, y, z, w; };
struct alignas(8) f32x2 { float x, y; };
struct alignas(16) f32x4 { float x, y, z, w; };

// ---- where a thread is -------------------------------------------------------------------------

#ifdef PARO_HOST
__device__ __forceinline__ u32 thread_index() { return emulator_self->thread; }
__device__ __forceinline__ u32 block_size() { return emulator_self->block->n_threads; }
__device__ __forceinline__ u32 block_index_x() { return emulator_self->block->index[0]; }
__device__ __forceinline__ u32 block_index_y() { return emulator_self->block->index[1]; }
__device__ __forceinline__ u32 block_index_z() { return emulator_self->block->index[2]; }
__device__ __forceinline__ u32 grid_size_x() { return emulator_self->block->grid[0]; }
__device__ __forceinline__ u32 grid_size_y() { return emulator_self->block->grid[1]; }
__device__ __forceinline__ u32 grid_size_z() { return emulator_self->block->grid[2]; }
#else
__device__ __forceinline__ u32 thread_index() { return threadIdx.x; }
__device__ __forceinline__ u32 block_size() { return blockDim.x; }
__device__ __forceinline__ u32 block_index_x() { return blockIdx.x; }
__device__ __forceinline__ u32 block_index_y() { return blockIdx.y; }
__device__ __forceinline__ u32 block_index_z() { return blockIdx.z; }
__device__ __forceinline__ u32 grid_size_x() { return gridDim.x; }
__device__ __forceinline__ u32 grid_size_y() { return gridDim.y; }
__device__ __forceinline__ u32 grid_size_z() { return gridDim.z; }
#endif
__device__ __forceinline__ u32 lane_index() { return thread_index() % 32; }
__device__ __forceinline__ u32 warp_index() { return thread_index() / 32; }

// The block's dynamic shared memory; its base is aligned to 1024 bytes. Contents undefined at first.
template <class T> __device__ __forceinline__ T *shared_memory()
{
#ifdef PARO_HOST
    return reinterpret_cast<T *>(emulator_self->block->shared);
#else
    extern __shared__ __align__(1024) unsigned char paro_shared_memory[];
    return reinterpret_cast<T *>(paro_shared_memory);
#endif
}

// ---- meeting other threads ---------------------------------------------------------------------

// All threads of the block, none of which has ended. Orders all memory between them.
__device__ __forceinline__ void block_barrier()
{
#ifdef PARO_HOST
    EMULATE(block_barrier);
#else
    __syncthreads();
#endif
}

// All 32 lanes; orders shared and global memory between them.
__device__ __forceinline__ void warp_barrier()
{
#ifdef PARO_HOST
    EMULATE(warp_barrier);
#else
    __syncwarp();
#endif
}

// n_threads (a multiple of 32, whole warps) of the block; ids 1 to 15.
__device__ __forceinline__ void named_barrier(u32 id, u32 n_threads)
{
#ifdef PARO_HOST
    EMULATE(named_barrier, id, n_threads);
#else
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(n_threads) : "memory");
#endif
}

// What this thread wrote is seen by all of the device before what it writes after this.
__device__ __forceinline__ void thread_fence()
{
#ifdef PARO_HOST
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#else
    __threadfence();
#endif
}

// ---- bits --------------------------------------------------------------------------------------

__device__ __forceinline__ u32 bits_of(float x)
{
#ifdef PARO_HOST
    u32 bits;
    __builtin_memcpy(&bits, &x, 4);
    return bits;
#else
    return __float_as_uint(x);
#endif
}
__device__ __forceinline__ float float_of(u32 bits)
{
#ifdef PARO_HOST
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
#else
    return __uint_as_float(bits);
#endif
}

// ---- between the lanes of a warp: all 32 take part, without exception --------------------------

// v of `lane` (modulo 32).
__device__ __forceinline__ u32 shuffle(u32 v, u32 lane)
{
#ifdef PARO_HOST
    return EMULATE(shuffle, v, lane % 32);
#else
    return __shfl_sync(0xffffffffU, v, (int)lane);
#endif
}
// v of lane ^ mask.
__device__ __forceinline__ u32 shuffle_xor(u32 v, u32 mask)
{
#ifdef PARO_HOST
    return EMULATE(shuffle, v, (lane_index() ^ mask) % 32);
#else
    return __shfl_xor_sync(0xffffffffU, v, (int)mask);
#endif
}
// v of lane + d; the last d lanes keep their own.
__device__ __forceinline__ u32 shuffle_down(u32 v, u32 d)
{
#ifdef PARO_HOST
    return EMULATE(shuffle, v, lane_index() + d < 32 ? lane_index() + d : lane_index());
#else
    return __shfl_down_sync(0xffffffffU, v, d);
#endif
}
__device__ __forceinline__ i32 shuffle(i32 v, u32 lane) { return (i32)shuffle((u32)v, lane); }
__device__ __forceinline__ i32 shuffle_xor(i32 v, u32 mask) { return (i32)shuffle_xor((u32)v, mask); }
__device__ __forceinline__ i32 shuffle_down(i32 v, u32 d) { return (i32)shuffle_down((u32)v, d); }
__device__ __forceinline__ float shuffle(float v, u32 lane)
{
    return float_of(shuffle(bits_of(v), lane));
}
__device__ __forceinline__ float shuffle_xor(float v, u32 mask)
{
    return float_of(shuffle_xor(bits_of(v), mask));
}
__device__ __forceinline__ float shuffle_down(float v, u32 d)
{
    return float_of(shuffle_down(bits_of(v), d));
}

// Bit i: the predicate of lane i.
__device__ __forceinline__ u32 ballot(bool predicate)
{
#ifdef PARO_HOST
    return EMULATE(ballot, predicate);
#else
    return __ballot_sync(0xffffffffU, predicate);
#endif
}

// ---- arithmetic in fp32 ------------------------------------------------------------------------

#ifdef PARO_HOST
__device__ __forceinline__ float f32_exp(float x) { return __builtin_expf(x); }
__device__ __forceinline__ float f32_exp2(float x) { return __builtin_exp2f(x); }
__device__ __forceinline__ float f32_log(float x) { return __builtin_logf(x); }
__device__ __forceinline__ float f32_sqrt(float x) { return __builtin_sqrtf(x); }
__device__ __forceinline__ float f32_rsqrt(float x) { return 1.0F / __builtin_sqrtf(x); }
__device__ __forceinline__ float f32_max(float a, float b) { return __builtin_fmaxf(a, b); }
__device__ __forceinline__ float f32_min(float a, float b) { return __builtin_fminf(a, b); }
__device__ __forceinline__ float f32_abs(float x) { return __builtin_fabsf(x); }
__device__ __forceinline__ float f32_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
__device__ __forceinline__ float f32_exp(float x) { return expf(x); }
__device__ __forceinline__ float f32_exp2(float x) { return exp2f(x); }
__device__ __forceinline__ float f32_log(float x) { return logf(x); }
__device__ __forceinline__ float f32_sqrt(float x) { return sqrtf(x); }
__device__ __forceinline__ float f32_rsqrt(float x) { return rsqrtf(x); }
__device__ __forceinline__ float f32_max(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ float f32_min(float a, float b) { return fminf(a, b); }
__device__ __forceinline__ float f32_abs(float x) { return fabsf(x); }
__device__ __forceinline__ float f32_fma(float a, float b, float c) { return fmaf(a, b, c); }
#endif
__device__ __forceinline__ bool f32_is_finite(float x)
{
    return (bits_of(x) & 0x7f800000U) != 0x7f800000U;
}
__device__ __forceinline__ float f32_infinity() { return float_of(0x7f800000U); }

__device__ __forceinline__ float warp_sum(float v)
{
#pragma unroll
    for (u32 mask = 16; mask > 0; mask /= 2)
        v += shuffle_xor(v, mask);
    return v;
}
__device__ __forceinline__ float warp_max(float v)
{
#pragma unroll
    for (u32 mask = 16; mask > 0; mask /= 2)
        v = f32_max(v, shuffle_xor(v, mask));
    return v;
}

// ---- half and bfloat16 -------------------------------------------------------------------------

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(f16 x)
{
#ifdef PARO_HOST
    return emulator_f32_from_f16(x.bits);
#else
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#endif
}
__device__ __forceinline__ float to_f32(bf16 x) { return float_of((u32)x.bits << 16); }

// Round to nearest, ties to even; overflow to infinity.
template <class T> __device__ __forceinline__ T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x) { return x; }
template <> __device__ __forceinline__ f16 from_f32<f16>(float x)
{
    f16 y;
#ifdef PARO_HOST
    y.bits = emulator_f16_from_f32(x);
#else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#endif
    return y;
}
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float x)
{
    bf16 y;
#if !defined(PARO_HOST) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    u32 bits = bits_of(x);
    y.bits = (bits & 0x7fffffffU) > 0x7f800000U ? (u16)(bits >> 16 | 0x40)
                                                : (u16)((bits + 0x7fffU + (bits >> 16 & 1)) >> 16);
#endif
    return y;
}

// Two of T in a word, `lo` in its low half. T: f16 or bf16.
template <class T> __device__ __forceinline__ u32 pack2(float lo, float hi)
{
    return (u32)from_f32<T>(lo).bits | (u32)from_f32<T>(hi).bits << 16;
}
#if !defined(PARO_HOST) && __CUDA_ARCH__ >= 800
template <> __device__ __forceinline__ u32 pack2<f16>(float lo, float hi)
{
    u32 y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(hi), "f"(lo));
    return y;
}
template <> __device__ __forceinline__ u32 pack2<bf16>(float lo, float hi)
{
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(hi), "f"(lo));
    return y;
}
#endif
template <class T> __device__ __forceinline__ f32x2 unpack2(u32 pair)
{
    T lo, hi;
    lo.bits = (u16)(pair & 0xffffU);
    hi.bits = (u16)(pair >> 16);
    return {to_f32(lo), to_f32(hi)};
}

// ---- memory ------------------------------------------------------------------------------------

// From global memory that no one writes during the kernel, read once: no place in L1 is taken.
__device__ __forceinline__ u32 load_stream(const u32 *p)
{
#ifdef PARO_HOST
    return *p;
#else
    u32 v;
    asm("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
#endif
}
__device__ __forceinline__ u32x2 load_stream(const u32x2 *p)
{
#ifdef PARO_HOST
    return *p;
#else
    u32x2 v;
    asm("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
#endif
}
__device__ __forceinline__ u32x4 load_stream(const u32x4 *p)
{
#ifdef PARO_HOST
    return *p;
#else
    u32x4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(p));
    return v;
#endif
}

// Global or shared; the value before. Relaxed: thread_fence orders.
__device__ __forceinline__ u32 atomic_add(u32 *p, u32 v)
{
#ifdef PARO_HOST
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
#else
    return atomicAdd(p, v);
#endif
}
__device__ __forceinline__ float atomic_add(float *p, float v)
{
#ifdef PARO_HOST
    return emulator_atomic_add(p, v);
#else
    return atomicAdd(p, v);
#endif
}
