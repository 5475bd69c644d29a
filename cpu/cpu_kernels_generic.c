/* SPDX-License-Identifier: MIT
 *
 * The kernels for any processor, in vectors of four that gcc and clang turn into what it has.
 */
#include <stdint.h>
#include <string.h>

#include "base/pack.h"
#include "cpu/cpu_kernels.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are used as they are mapped, which is little-endian"
#endif

#define ISA_NAME      "generic"
#define LANES         4
#define PAIRED_BLOCKS 0
#define FEW_ROWS      4
typedef float vector __attribute__((vector_size(16)));
typedef uint32_t words __attribute__((vector_size(16)));
typedef int32_t integers __attribute__((vector_size(16)));
typedef uint16_t halves __attribute__((vector_size(8)));

#define splat(value)   ((vector){(value), (value), (value), (value)})
#define zero()         ((vector){0, 0, 0, 0})
#define add(a, b)      ((a) + (b))
#define sub(a, b)      ((a) - (b))
#define mul(a, b)      ((a) * (b))
#define fused(a, b, c) ((a) * (b) + (c))
#define total(v)       (((v)[0] + (v)[2]) + ((v)[1] + (v)[3]))
#define prefetch(p)    __builtin_prefetch(p)

static inline vector load_f32(const void *p)
{
    vector v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline vector load(const float *p)
{
    return load_f32(p);
}

static inline void store(float *p, vector v)
{
    memcpy(p, &v, sizeof v);
}

static inline words load_words(const void *p)
{
    words w;
    memcpy(&w, p, sizeof w);
    return w;
}

static inline words load_halves(const void *p)
{
    halves h;
    memcpy(&h, p, sizeof h);
    return __builtin_convertvector(h, words);
}

static inline vector load_bf16(const void *p)
{
    return (vector)(load_halves(p) << 16);
}

/* Exponent and mantissa moved to where fp32 has them, and the exponent's bias changed: twice for
 * infinities and NaN, whose exponent is the largest. Subnormals are small integers times 2^-24. */
static inline vector load_f16(const void *p)
{
    const uint32_t rebias = (127 - 15) << 23;
    words bits = load_halves(p);
    words magnitude = (bits & 0x7fff) << 13;
    words special = (words)((integers)magnitude >= 0x0f800000) & rebias;
    words subnormal = (words)((integers)magnitude < 0x00800000);
    vector small = __builtin_convertvector((integers)(bits & 0x3ff), vector) * splat(0x1p-24f);
    words value = (subnormal & (words)small) | (~subnormal & (magnitude + rebias + special));
    return (vector)(value | (bits & 0x8000) << 16);
}

static inline vector nibble_in_place(words codes, int n)
{
    words masked = n == 7 ? codes >> 28 : codes & (0xfu << 4 * n % 28);
    return __builtin_convertvector((integers)masked, vector);
}

static inline void load_scales(const unsigned char *p, vector out[8])
{

    float columns[8 * LANES];
    for (int i = 0; i < 8; i++)
        store(columns + LANES * i, load_f16(p + 2 * LANES * i));
    for (int n = 0; n < 8; n++) {
        const float *column = columns + paro_awq_order[n];
        out[n] = (vector){column[0], column[8], column[16], column[24]};
    }
}

#include "cpu/cpu_kernels_body.h"

const paro_cpu_kernels *paro_cpu_kernels_generic(void)
{
    return &table;
}
