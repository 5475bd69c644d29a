/* SPDX-License-Identifier: MIT
 *
 * cuBLASLt's product of 16-bit matrices, loaded from libcublasLt.so at run time: a baseline for
 * benchmarks, nothing else uses it.
 */
#ifndef PARO_GPU_CUBLASLT_H
#define PARO_GPU_CUBLASLT_H

#include <stdint.h>

#include "base/dtype.h"
#include "gpu/gpu.h"

typedef struct paro_cublaslt paro_cublaslt;
typedef struct paro_cublaslt_product paro_cublaslt_product;

/* `library` NULL: libcublasLt.so.13, .12. UNSUPPORTED names what was looked for, and on a device
 * that is not CUDA's. */
paro_status paro_cublaslt_new(paro_error *err, paro_gpu *gpu, const char *library,
                              paro_cublaslt **out);
void paro_cublaslt_free(paro_cublaslt *lt);

/* y [m, n] = x [m, k] * w [n, k] transposed, sums in fp32: the library's first choice of kernel.
 * dtype (of x and w) F16 or BF16; out F16, BF16 or F32. Belongs to lt. */
paro_status paro_cublaslt_product_new(paro_error *err, paro_cublaslt *lt, uint32_t m, uint32_t n,
                                      uint32_t k, paro_dtype dtype, paro_dtype out_dtype,
                                      paro_cublaslt_product **out);
void paro_cublaslt_product_free(paro_cublaslt_product *product);
paro_status paro_cublaslt_product_launch(paro_error *err, const paro_cublaslt_product *product,
                                         paro_gpu_stream *stream, paro_gpu_ptr x, paro_gpu_ptr w,
                                         paro_gpu_ptr y);

#endif
