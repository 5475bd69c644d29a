/* SPDX-License-Identifier: MIT
 *
 * Element types, and conversions between fp32, half and bfloat16.
 */
#include "base/dtype.h"

#include <string.h>

static const struct {
    const char *name;
    size_t n_bytes;
} dtypes[PARO_DTYPE_COUNT] = {
#define PARO_DTYPE_ROW(suffix, name, bytes) {name, bytes},
    PARO_DTYPE_TABLE(PARO_DTYPE_ROW)
#undef PARO_DTYPE_ROW
};

const char *paro_dtype_name(paro_dtype dtype)
{
    return (unsigned)dtype < PARO_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

size_t paro_dtype_bytes(paro_dtype dtype)
{
    return (unsigned)dtype < PARO_DTYPE_COUNT ? dtypes[dtype].n_bytes : 0;
}

bool paro_dtype_parse(const char *name, paro_dtype *out)
{
    for (int i = 0; i < PARO_DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = (paro_dtype)i;
            return true;
        }
    }
    return false;
}

bool paro_dtype_is_weight(paro_dtype dtype)
{
    return dtype == PARO_DTYPE_F32 || dtype == PARO_DTYPE_F16 || dtype == PARO_DTYPE_BF16;
}

static uint32_t f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float f32_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Drops the low `n` bits of `bits`, rounding to nearest, ties to even. */
static uint32_t round_off(uint32_t bits, unsigned n)
{
    uint32_t half = UINT32_C(1) << (n - 1);
    uint32_t kept = bits >> n;
    uint32_t dropped = bits & ((half << 1) - 1);
    return kept + (dropped > half || (dropped == half && (kept & 1)));
}

uint16_t paro_f16_from_f32(float value)
{
    uint32_t bits = f32_bits(value);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7FFFFFFF;
    uint32_t exponent = magnitude >> 23; /* biased by 127; half's bias is 15 */

    if (magnitude > 0x7F800000) /* NaN: quiet, top payload bits kept */
        return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x1FF));
    if (exponent >= 127 + 16)
        return (uint16_t)(sign | 0x7C00);
    if (exponent >= 127 - 14) /* normal; a carry out of the mantissa raises the exponent rightly */
        return (uint16_t)(sign | round_off(magnitude - ((127 - 15) << 23), 13));
    if (exponent < 127 - 25)
        return (uint16_t)sign;
    /* Subnormal: the value in units of 2^-24. */
    uint32_t mantissa = (magnitude & 0x7FFFFF) | 0x800000;
    return (uint16_t)(sign | round_off(mantissa, 126 - exponent));
}

float paro_f32_from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    uint32_t exponent = bits >> 10 & 0x1F;
    uint32_t mantissa = bits & 0x3FF;
    if (exponent == 0x1F)
        return f32_of_bits(sign | 0x7F800000 | mantissa << 13);
    if (exponent != 0)
        return f32_of_bits(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24F;
    return f32_of_bits(sign | f32_bits(magnitude));
}

float paro_f32_through_f16(float value)
{
    return paro_f32_from_f16(paro_f16_from_f32(value));
}

uint16_t paro_bf16_from_f32(float value)
{
    uint32_t bits = f32_bits(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)round_off(bits, 16);
}

float paro_f32_from_bf16(uint16_t bits)
{
    return f32_of_bits((uint32_t)bits << 16);
}

void paro_f32_from_array(float *dst, const void *src, paro_dtype dtype, size_t n)
{
    if (dtype == PARO_DTYPE_F32) {
        memcpy(dst, src, n * sizeof *dst);
        return;
    }
    const unsigned char *bytes = src;
    for (size_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, bytes + 2 * i, sizeof bits);
        dst[i] = dtype == PARO_DTYPE_F16 ? paro_f32_from_f16(bits) : paro_f32_from_bf16(bits);
    }
}

void paro_array_from_f32(void *dst, paro_dtype dtype, const float *src, size_t n)
{
    if (dtype == PARO_DTYPE_F32) {
        memcpy(dst, src, n * sizeof *src);
        return;
    }
    unsigned char *bytes = dst;
    for (size_t i = 0; i < n; i++) {
        uint16_t bits =
            dtype == PARO_DTYPE_F16 ? paro_f16_from_f32(src[i]) : paro_bf16_from_f32(src[i]);
        memcpy(bytes + 2 * i, &bits, sizeof bits);
    }
}
