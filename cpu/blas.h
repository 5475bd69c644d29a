/* SPDX-License-Identifier: MIT
 *
 * Matrix products of OpenBLAS, one thread each, to be called from tasks of a pool.
 *
 * OpenBLAS counts its threads for the whole process: the first call sets that number to 1.
 */
#ifndef PARO_CPU_BLAS_H
#define PARO_CPU_BLAS_H

#include <stddef.h>

/* c [m, n] = scale * a [m, k] b + keep * c, with b [k, n]; rows a_stride, b_stride and c_stride
 * values apart. With keep 0, c is written only. Any thread may call it. */
void paro_blas_product(size_t m, size_t n, size_t k, float scale, const float *a, size_t a_stride,
                       const float *b, size_t b_stride, float keep, float *c, size_t c_stride);

/* The same with b [n, k] transposed. */
void paro_blas_product_transposed(size_t m, size_t n, size_t k, float scale, const float *a,
                                  size_t a_stride, const float *b, size_t b_stride, float keep,
                                  float *c, size_t c_stride);

/* The same with a [k, m] transposed: the sum of the outer products of the rows of a and b. */
void paro_blas_product_outer(size_t m, size_t n, size_t k, float scale, const float *a,
                             size_t a_stride, const float *b, size_t b_stride, float keep, float *c,
                             size_t c_stride);

/* The second in fp64. */
void paro_blas_product_transposed_f64(size_t m, size_t n, size_t k, double scale, const double *a,
                                      size_t a_stride, const double *b, size_t b_stride,
                                      double keep, double *c, size_t c_stride);

#endif
