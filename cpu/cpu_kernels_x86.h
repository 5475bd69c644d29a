/* SPDX-License-Identifier: MIT
 *
 * What the AVX2 and AVX-512 kernels share: a transpose.
 */
#ifndef PARO_CPU_KERNELS_X86_H
#define PARO_CPU_KERNELS_X86_H

#include <immintrin.h>

/* row[8] of eight 16-bit values to column[8], in every 128 bits; P is the prefix of the intrinsics
 * (_mm or _mm256), V the type. `column` comes in nibble order: 0, 2, 4, 6, 1, 3, 5, 7. */
#define X86_TRANSPOSE_TO_NIBBLES(V, P, row, column)                                                \
    do {                                                                                           \
        V a[8], b[8];                                                                              \
        for (int t = 0; t < 8; t += 2) {                                                           \
            a[t] = P##_unpacklo_epi16(row[t], row[t + 1]);     /* columns 0 .. 3 of two rows */    \
            a[t + 1] = P##_unpackhi_epi16(row[t], row[t + 1]); /* columns 4 .. 7 */                \
        }                                                                                          \
        for (int t = 0; t < 2; t++) {                                                              \
            b[4 * t] = P##_unpacklo_epi32(a[4 * t], a[4 * t + 2]);         /* 0, 1 of four rows */ \
            b[4 * t + 1] = P##_unpackhi_epi32(a[4 * t], a[4 * t + 2]);     /* 2, 3 */              \
            b[4 * t + 2] = P##_unpacklo_epi32(a[4 * t + 1], a[4 * t + 3]); /* 4, 5 */              \
            b[4 * t + 3] = P##_unpackhi_epi32(a[4 * t + 1], a[4 * t + 3]); /* 6, 7 */              \
        }                                                                                          \
        for (int t = 0; t < 4; t++) {                                                              \
            column[t] = P##_unpacklo_epi64(b[t], b[t + 4]);     /* 0, 2, 4, 6 of eight rows */     \
            column[t + 4] = P##_unpackhi_epi64(b[t], b[t + 4]); /* 1, 3, 5, 7 */                   \
        }                                                                                          \
    } while (0)

#endif
