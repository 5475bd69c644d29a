/* SPDX-License-Identifier: MIT
 *
 * The kernels for x86-64 with AVX-512 (F, BW, VL, DQ).
 */
#include "cpu/cpu_kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)

#include "cpu/cpu_kernels_x86.h"

#define ISA_NAME      "avx512"
#define LANES         16
#define PAIRED_BLOCKS 1
#define FEW_ROWS      32
typedef __m512 vector;
typedef __m512i words;

#define load(p)        _mm512_loadu_ps(p)
#define store(p, v)    _mm512_storeu_ps(p, v)
#define splat(value)   _mm512_set1_ps(value)
#define zero()         _mm512_setzero_ps()
#define add(a, b)      _mm512_add_ps(a, b)
#define sub(a, b)      _mm512_sub_ps(a, b)
#define mul(a, b)      _mm512_mul_ps(a, b)
#define fused(a, b, c) _mm512_fmadd_ps(a, b, c)
#define total(v)       _mm512_reduce_add_ps(v)
#define load_f32(p)    _mm512_loadu_ps(p)
#define load_f16(p)    _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define load_bf16(p)                                                                               \
    _mm512_castsi512_ps(_mm512_slli_epi32(                                                         \
        _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(p))), 16))
#define load_words(p) _mm512_loadu_si512(p)
#define prefetch(p)   _mm_prefetch((const char *)(p), _MM_HINT_T0)
#define nibble_in_place(codes, n)                                                                  \
    _mm512_cvtepi32_ps((n) == 7                                                                    \
                           ? _mm512_srli_epi32(codes, 28)                                          \
                           : _mm512_and_si512(codes, _mm512_set1_epi32(0xf << (4 * (n) % 28))))

static inline void load_scales(const unsigned char *p, vector out[8])
{
    __m256i row[8], column[8]; /* row t: words t and t + 8 */
    for (int t = 0; t < 8; t++)
        row[t] = _mm256_inserti128_si256(
            _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * t))),
            _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * (t + 8))), 1);
    X86_TRANSPOSE_TO_NIBBLES(__m256i, _mm256, row, column);
    for (int n = 0; n < 8; n++)
        out[n] = _mm512_cvtph_ps(column[n]);
}

#include "cpu/cpu_kernels_body.h"

const paro_cpu_kernels *paro_cpu_kernels_avx512(void)
{
    return &table;
}

#else

const paro_cpu_kernels *paro_cpu_kernels_avx512(void)
{
    return NULL;
}

#endif
