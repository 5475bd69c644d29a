/* SPDX-License-Identifier: MIT
 *
 * The CUDA backend's structs, shared by its files (cuda.c: the device, memory, streams and events;
 * cuda_module.c: modules, launches and graphs).
 */
#ifndef PARO_GPU_CUDA_H
#define PARO_GPU_CUDA_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/cubin.h"
#include "gpu/backend.h"
#include "gpu/cuda_api.h"

typedef struct cuda_device {
    paro_gpu gpu; /* first */
    paro_cuda_api api;
    cu_device device;
    cu_context context; /* the device's primary one */
    cu_stream copies;   /* for synchronous copies: no other stream waits for it */
    int ordinal;
    pthread_mutex_t lock; /* of `lost_message` while it is written, and of modules' functions */
    atomic_bool lost;
    char lost_message[512];
} cuda_device;

struct paro_gpu_stream {
    paro_gpu *gpu;
    cu_stream handle;
};

struct paro_gpu_event {
    paro_gpu *gpu;
    cu_event handle;
};

/* What a cubin tells of a kernel. */
typedef struct cuda_kernel {
    struct cuda_kernel *next; /* of its module */
    size_t n_params;
    size_t sizes[PARO_CUBIN_MAX_PARAMS];
    char name[];
} cuda_kernel;

struct paro_gpu_function {
    paro_gpu *gpu;
    cu_function handle;
    bool is_ptx;               /* the module's image */
    const cuda_kernel *kernel; /* the module's; NULL where nothing is known of it */
    paro_gpu_function_info info;
    struct paro_gpu_function *next; /* of its module */
    char name[];
};

struct paro_gpu_module {
    paro_gpu *gpu;
    cu_module handle;
    bool is_ptx;
    cuda_kernel *kernels; /* of a cubin */
    paro_gpu_function *functions;
};

struct paro_gpu_graph {
    paro_gpu *gpu;
    cu_graph_exec handle;
};

static inline cuda_device *paro_cuda_device(const void *handle)
{
    return *(cuda_device *const *)handle;
}

/* Makes the context current for this thread; every success is followed by a leave. Fails where the
 * device is lost. */
paro_status paro_cuda_enter(paro_error *err, cuda_device *d);
void paro_cuda_leave(cuda_device *d);

/* A driver call's result as a status: the message has `what` failed, the driver's text and number.
 * Errors that end the context mark the device lost. */
paro_status paro_cuda_result(paro_error *err, cuda_device *d, cu_result result, const char *what);

/* cuda_module.c */
paro_status paro_cuda_module_load(paro_error *err, paro_gpu *gpu, const paro_gpu_image *image,
                                  paro_gpu_module **out);
void paro_cuda_module_free(paro_gpu_module *module);
paro_status paro_cuda_module_function(paro_error *err, paro_gpu_module *module, const char *name,
                                      paro_gpu_function **out);
void paro_cuda_function_info(const paro_gpu_function *function, paro_gpu_function_info *out);
paro_status paro_cuda_function_params(paro_error *err, const paro_gpu_function *function,
                                      size_t *sizes, size_t capacity, size_t *n_params);
uint32_t paro_cuda_occupancy(const paro_gpu_function *function, uint32_t n_threads,
                             uint32_t shared_bytes);
paro_status paro_cuda_launch(paro_error *err, paro_gpu_stream *stream,
                             const paro_gpu_launch *launch);
paro_status paro_cuda_graph_begin(paro_error *err, paro_gpu_stream *stream);
paro_status paro_cuda_graph_end(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph **out);
paro_status paro_cuda_graph_launch(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph *graph);
void paro_cuda_graph_free(paro_gpu_graph *graph);

#endif
