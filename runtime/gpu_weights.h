/* SPDX-License-Identifier: MIT
 *
 * Weights on their way to a device: converted, packed and put together.
 */
#ifndef PARO_RUNTIME_GPU_WEIGHTS_H
#define PARO_RUNTIME_GPU_WEIGHTS_H

#include "runtime/gpu_model.h"

/* Memory that lives as long as the model. */
paro_status paro_gpu_model_alloc(paro_error *err, paro_gpu_model *device, uint64_t n_bytes,
                                 paro_gpu_ptr *out);

/* A tensor of 16 or 32 bits as `dtype` (F16, BF16, F32) at `to`. */
paro_status paro_gpu_upload_tensor(paro_error *err, paro_gpu_model *device,
                                   const paro_tensor *tensor, paro_dtype dtype, paro_gpu_ptr to);

/* One weight of the parts, in their order, for `kernel` (any bucket's, of the layout). `pack` packs
 * quantised ones; NULL for others. */
paro_status paro_gpu_linear_upload(paro_error *err, paro_gpu_model *device, paro_gpu_stream *stream,
                                   paro_linear *const *parts, size_t n_parts,
                                   const paro_kernel *kernel, const paro_kernel *pack,
                                   paro_gpu_linear *out);

#endif
