/* SPDX-License-Identifier: MIT
 *
 * Element types of tensors, half and bfloat16.
 */
#ifndef PARO_BASE_DTYPE_H
#define PARO_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One row a type: enum suffix, safetensors name, bytes an element. */
#define PARO_DTYPE_TABLE(X)                                                                        \
    X(F64, "F64", 8)                                                                               \
    X(F32, "F32", 4)                                                                               \
    X(F16, "F16", 2)                                                                               \
    X(BF16, "BF16", 2)                                                                             \
    X(F8_E4M3, "F8_E4M3", 1)                                                                       \
    X(F8_E5M2, "F8_E5M2", 1)                                                                       \
    X(I64, "I64", 8)                                                                               \
    X(U64, "U64", 8)                                                                               \
    X(I32, "I32", 4)                                                                               \
    X(U32, "U32", 4)                                                                               \
    X(I16, "I16", 2)                                                                               \
    X(U16, "U16", 2)                                                                               \
    X(I8, "I8", 1)                                                                                 \
    X(U8, "U8", 1)                                                                                 \
    X(BOOL, "BOOL", 1)

typedef enum paro_dtype {
#define PARO_DTYPE_ENUM(suffix, name, bytes) PARO_DTYPE_##suffix,
    PARO_DTYPE_TABLE(PARO_DTYPE_ENUM)
#undef PARO_DTYPE_ENUM
        PARO_DTYPE_COUNT
} paro_dtype;

const char *paro_dtype_name(paro_dtype dtype);
size_t paro_dtype_bytes(paro_dtype dtype);
bool paro_dtype_parse(const char *name, paro_dtype *out);

/* F32, F16 or BF16: what weights may be. */
bool paro_dtype_is_weight(paro_dtype dtype);

/* IEEE 754 binary16 and bfloat16 as bit patterns; to narrower: round to nearest, ties to even,
 * overflow to infinity; NaN stays NaN. */
uint16_t paro_f16_from_f32(float value);
float paro_f32_from_f16(uint16_t bits);
uint16_t paro_bf16_from_f32(float value);
float paro_f32_from_bf16(uint16_t bits);

/* A value as F16 holds it. */
float paro_f32_through_f16(float value);

/* Arrays; src may be unaligned (it may point into a mapped file). dtype must be F32, F16, BF16. */
void paro_f32_from_array(float *dst, const void *src, paro_dtype dtype, size_t n);
void paro_array_from_f32(void *dst, paro_dtype dtype, const float *src, size_t n);

#endif
