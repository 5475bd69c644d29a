/* SPDX-License-Identifier: MIT
 *
 * The door to OpenBLAS.
 */
#include "cpu/blas.h"

#include <cblas.h>
#include <pthread.h>

/* Rows of one call: blasint may be 32 bits, and m (of outer products k) is the number of tokens. */
enum { MAX_ROWS = 1 << 20 };

static void use_one_thread(void)
{
    openblas_set_num_threads(1);
}

static void set_up(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_one_thread);
}

static void product(CBLAS_TRANSPOSE transpose, size_t m, size_t n, size_t k, float scale,
                    const float *a, size_t a_stride, const float *b, size_t b_stride, float keep,
                    float *c, size_t c_stride)
{
    set_up();
    for (size_t row = 0; row < m; row += MAX_ROWS) {
        size_t n_rows = m - row < MAX_ROWS ? m - row : MAX_ROWS;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, transpose, (blasint)n_rows, (blasint)n, (blasint)k,
                    scale, a + row * a_stride, (blasint)a_stride, b, (blasint)b_stride, keep,
                    c + row * c_stride, (blasint)c_stride);
    }
}

void paro_blas_product(size_t m, size_t n, size_t k, float scale, const float *a, size_t a_stride,
                       const float *b, size_t b_stride, float keep, float *c, size_t c_stride)
{
    product(CblasNoTrans, m, n, k, scale, a, a_stride, b, b_stride, keep, c, c_stride);
}

void paro_blas_product_transposed(size_t m, size_t n, size_t k, float scale, const float *a,
                                  size_t a_stride, const float *b, size_t b_stride, float keep,
                                  float *c, size_t c_stride)
{
    product(CblasTrans, m, n, k, scale, a, a_stride, b, b_stride, keep, c, c_stride);
}

void paro_blas_product_outer(size_t m, size_t n, size_t k, float scale, const float *a,
                             size_t a_stride, const float *b, size_t b_stride, float keep, float *c,
                             size_t c_stride)
{
    set_up();
    for (size_t row = 0; row < k; row += MAX_ROWS) {
        size_t n_rows = k - row < MAX_ROWS ? k - row : MAX_ROWS;
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)m, (blasint)n,
                    (blasint)n_rows, scale, a + row * a_stride, (blasint)a_stride,
                    b + row * b_stride, (blasint)b_stride, row == 0 ? keep : 1, c,
                    (blasint)c_stride);
    }
}

void paro_blas_product_transposed_f64(size_t m, size_t n, size_t k, double scale, const double *a,
                                      size_t a_stride, const double *b, size_t b_stride,
                                      double keep, double *c, size_t c_stride)
{
    set_up();
    for (size_t row = 0; row < m; row += MAX_ROWS) {
        size_t n_rows = m - row < MAX_ROWS ? m - row : MAX_ROWS;
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)n_rows, (blasint)n,
                    (blasint)k, scale, a + row * a_stride, (blasint)a_stride, b, (blasint)b_stride,
                    keep, c + row * c_stride, (blasint)c_stride);
    }
}
