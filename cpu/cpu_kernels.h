/* SPDX-License-Identifier: MIT
 *
 * The inner loops of linears and attention, once per instruction set.
 *
 * A table of functions per set; cpu_kernels_body.h has their one source. All arithmetic is fp32
 * with fp32 accumulators. Every output is computed by the same operations in the same order
 * wherever a caller cuts rows, columns or tasks, so results do not depend on the number of threads;
 * they may differ in the last bits between instruction sets. Arguments are trusted.
 */
#ifndef PARO_CPU_KERNELS_H
#define PARO_CPU_KERNELS_H

#include <stddef.h>

#include "base/dtype.h"

/* A packed 4-bit weight as base/pack.h lays it out; the three may be unaligned. */
typedef struct paro_w4 {
    const unsigned char *qweight; /* [n_in, n_out / 8] words */
    const unsigned char *qzeros;  /* [n_in / group_size, n_out / 8] words */
    const unsigned char *scales;  /* [n_in / group_size, n_out] F16 */
    size_t n_in;
    size_t n_out;
    size_t group_size;
} paro_w4;

typedef struct paro_cpu_kernels {
    const char *name; /* "avx512", "avx2" or "generic" */

    /* Words of a packed row that are worked on together. The columns of such a block stand in lane
     * order while they are computed: nibble 0 of every word, then nibble 1 of every word, … */
    size_t words_per_block;

    /* Rows of x up to which dot and w4_dot are faster than OpenBLAS on an expanded weight. */
    size_t few_rows;

    /* dst [n] <- src [n] of type F32, F16 or BF16. */
    void (*convert)(float *dst, const void *src, paro_dtype dtype, size_t n);

    /* y [m, n_rows], rows y_stride apart, = x [m, n] w^T; w [n_rows, n] of that type. */
    void (*dot)(const void *w, paro_dtype dtype, size_t n_rows, size_t n, const float *x, size_t m,
                float *y, size_t y_stride);

    /* The columns of words first_word .. + n_words of y [m, n_out] = x [m, n_in] times the weight.
     * sums [m, n_groups]: the sum of each group of x. scratch: 2 * m * padded columns. */
    void (*w4_dot)(const paro_w4 *w, size_t first_word, size_t n_words, const float *x, size_t m,
                   const float *sums, float *scratch, float *y);

    /* panel [n_rows, padded columns] <- rows first_row .. of those columns, in lane order. */
    void (*w4_panel)(const paro_w4 *w, size_t first_word, size_t n_words, size_t first_row,
                     size_t n_rows, float *panel);

    /* columns [8 * n_words] <- lanes [padded columns]: from lane order to the columns' own. */
    void (*w4_columns)(const float *lanes, size_t n_words, float *columns);

    /* scores [n_keys] = scale * q [head_dim] . keys [n_keys, head_dim] */
    void (*scores)(const float *q, const float *keys, size_t n_keys, size_t head_dim, float scale,
                   float *scores);

    /* scores [n] <- exp(scores - max); returns their sum. max is not below any of them. */
    float (*exponentials)(float *scores, size_t n, float max);

    /* out [head_dim] <- sum over keys of weights [n_keys] * values [n_keys, head_dim] */
    void (*weighted)(const float *weights, const float *values, size_t n_keys, size_t head_dim,
                     float *out);
} paro_cpu_kernels;

/* Columns that n_words words take in lane order: the last block is filled up. */
static inline size_t paro_cpu_padded_columns(const paro_cpu_kernels *kernels, size_t n_words)
{
    size_t block = kernels->words_per_block;
    return (n_words + block - 1) / block * block * 8;
}

/* The best that this machine has; never NULL. */
const paro_cpu_kernels *paro_cpu_kernels_best(void);

/* By name; NULL where this build or this machine does not have it. */
const paro_cpu_kernels *paro_cpu_kernels_find(const char *name);

/* The n-th that this machine has, best first; NULL past the last. */
const paro_cpu_kernels *paro_cpu_kernels_get(size_t n);

/* The table of each set; NULL where the build is for another processor. */
const paro_cpu_kernels *paro_cpu_kernels_generic(void);
const paro_cpu_kernels *paro_cpu_kernels_avx2(void);
const paro_cpu_kernels *paro_cpu_kernels_avx512(void);

#endif
