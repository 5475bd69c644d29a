/* SPDX-License-Identifier: MIT
 *
 * The kernels for x86-64 with AVX2, FMA and F16C.
 */
#include "cpu/cpu_kernels.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "cpu/cpu_kernels_x86.h"

#define ISA_NAME      "avx2"
#define LANES         8
#define PAIRED_BLOCKS 0
#define FEW_ROWS      16
typedef __m256 vector;
typedef __m256i words;

#define load(p)        _mm256_loadu_ps(p)
#define store(p, v)    _mm256_storeu_ps(p, v)
#define splat(value)   _mm256_set1_ps(value)
#define zero()         _mm256_setzero_ps()
#define add(a, b)      _mm256_add_ps(a, b)
#define sub(a, b)      _mm256_sub_ps(a, b)
#define mul(a, b)      _mm256_mul_ps(a, b)
#define fused(a, b, c) _mm256_fmadd_ps(a, b, c)
#define load_f32(p)    _mm256_loadu_ps((const float *)(const void *)(p))
#define load_f16(p)    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define load_bf16(p)                                                                               \
    _mm256_castsi256_ps(_mm256_slli_epi32(                                                         \
        _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p))), 16))
#define load_words(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define prefetch(p)   _mm_prefetch((const char *)(p), _MM_HINT_T0)
#define nibble_in_place(codes, n)                                                                  \
    _mm256_cvtepi32_ps((n) == 7                                                                    \
                           ? _mm256_srli_epi32(codes, 28)                                          \
                           : _mm256_and_si256(codes, _mm256_set1_epi32(0xf << (4 * (n) % 28))))

static inline float total(vector v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline void load_scales(const unsigned char *p, vector out[8])
{
    __m128i row[8], column[8];
    for (int t = 0; t < 8; t++)
        row[t] = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * t));
    X86_TRANSPOSE_TO_NIBBLES(__m128i, _mm, row, column);
    for (int n = 0; n < 8; n++)
        out[n] = _mm256_cvtph_ps(column[n]);
}

#include "cpu/cpu_kernels_body.h"

const paro_cpu_kernels *paro_cpu_kernels_avx2(void)
{
    return &table;
}

#else

const paro_cpu_kernels *paro_cpu_kernels_avx2(void)
{
    return NULL;
}

#endif
