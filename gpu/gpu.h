/* SPDX-License-Identifier: MIT
 *
 * A device that runs kernels: memory, streams, modules, launches, graphs. Two kinds: `cuda` (the
 * driver, loaded with dlopen: gpu/cuda*.c) and the emulator (emulator/device.c), behind one table.
 *
 * Invariants: 1. an object belongs to the paro_gpu that made it and is freed before it; 2. a
 * stream, and what runs in it, is used by one thread at a time; paro_gpu, modules and memory by
 * any; 3. every call makes the device current by itself: no state of a thread is needed or left
 * changed; 4. after an error that the device does not recover from (an illegal address) every call
 * fails with the same message, and paro_gpu_is_lost tells.
 */
#ifndef PARO_GPU_GPU_H
#define PARO_GPU_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "families/device.h"

typedef struct paro_gpu paro_gpu;
typedef struct paro_gpu_stream paro_gpu_stream;
typedef struct paro_gpu_module paro_gpu_module;
typedef struct paro_gpu_function paro_gpu_function; /* lives as long as its module */
typedef struct paro_gpu_graph paro_gpu_graph;       /* an executable graph */

typedef uint64_t paro_gpu_ptr; /* an address in device memory; 0: none */

typedef enum paro_gpu_kind { PARO_GPU_KIND_CUDA, PARO_GPU_KIND_EMULATED } paro_gpu_kind;

/* Code for a module. CUDA: a cubin, or PTX (zero-terminated) where is_ptx; the emulator: the
 * rendered source. */
typedef struct paro_gpu_image {
    const void *data;
    size_t n_bytes;
    bool is_ptx;
} paro_gpu_image;

typedef struct paro_gpu_launch {
    paro_gpu_function *function;
    uint32_t grid[3];
    uint32_t n_threads;    /* of a block: blocks are one-dimensional */
    uint32_t cluster;      /* along x; 0 or 1: none */
    uint32_t shared_bytes; /* dynamic */
    void **args;           /* by parameter: pointers to the values (paro_gpu_ptr or 4-byte scalars),
                              read during the call */
    size_t n_args;
} paro_gpu_launch;

/* What a kernel costs on the device, from the driver. 0 where unknown (the emulator). */
typedef struct paro_gpu_function_info {
    uint32_t n_registers;
    uint32_t local_bytes; /* of a thread: stack and spills */
    uint32_t static_shared_bytes;
    uint32_t max_threads;
} paro_gpu_function_info;

/* CUDA device `ordinal`. PARO_STATUS_UNSUPPORTED where there is no driver, and NOT_FOUND where
 * there is no such device; the message names what was looked for. */
paro_status paro_gpu_open_cuda(paro_error *err, int ordinal, paro_gpu **out);

/* Devices the driver reports: 0 where there is no driver (no error). Initialises the driver in this
 * process: not for a process that is to fork workers afterwards. */
int paro_gpu_count(void);

void paro_gpu_free(paro_gpu *gpu);
paro_gpu_kind paro_gpu_get_kind(const paro_gpu *gpu);
bool paro_gpu_is_lost(const paro_gpu *gpu);
const paro_device_info *paro_gpu_info(const paro_gpu *gpu);

/* "580.159.4" (from NVML where there is one, else the CUDA version the driver supports,
 * "cuda 13.0"); "emulator". Lives as long as the gpu. */
const char *paro_gpu_driver_version(const paro_gpu *gpu);

/* Memory, aligned to 256 bytes, contents undefined (the emulator: poisoned). OUT_OF_MEMORY says how
 * much is free. Synchronous copies: from and to pageable memory; they do not wait for other
 * streams. */
paro_status paro_gpu_alloc(paro_error *err, paro_gpu *gpu, size_t n_bytes, paro_gpu_ptr *out);
void paro_gpu_release(paro_gpu *gpu, paro_gpu_ptr ptr); /* 0 is fine; waits for the device */
paro_status paro_gpu_upload(paro_error *err, paro_gpu *gpu, paro_gpu_ptr to, const void *from,
                            size_t n_bytes);
paro_status paro_gpu_download(paro_error *err, paro_gpu *gpu, void *to, paro_gpu_ptr from,
                              size_t n_bytes);

/* In the order of the stream. Uploads of at most 64 KiB may be captured into a graph only as device
 * to device copies: keep changing inputs in device memory. */
paro_status paro_gpu_copy(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream, paro_gpu_ptr to,
                          paro_gpu_ptr from, size_t n_bytes);
paro_status paro_gpu_upload_async(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                                  paro_gpu_ptr to, const void *from, size_t n_bytes);
paro_status paro_gpu_fill(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream, paro_gpu_ptr to,
                          uint8_t byte, size_t n_bytes);

paro_status paro_gpu_stream_new(paro_error *err, paro_gpu *gpu, paro_gpu_stream **out);
void paro_gpu_stream_free(paro_gpu_stream *stream);
paro_status paro_gpu_stream_wait(paro_error *err, paro_gpu_stream *stream);

/* Modules. The function's shared memory limit is raised to what a launch asks for at the launch. */
paro_status paro_gpu_module_load(paro_error *err, paro_gpu *gpu, const paro_gpu_image *image,
                                 paro_gpu_module **out);
void paro_gpu_module_free(paro_gpu_module *module);
paro_status paro_gpu_module_function(paro_error *err, paro_gpu_module *module, const char *name,
                                     paro_gpu_function **out);
void paro_gpu_function_get_info(const paro_gpu_function *function, paro_gpu_function_info *out);

/* Sizes in bytes of the kernel's parameters as the module has them; n_params receives their number
 * (at most capacity are written). UNSUPPORTED where the driver is too old to tell (PTX only). */
paro_status paro_gpu_function_params(paro_error *err, const paro_gpu_function *function,
                                     size_t *sizes, size_t capacity, size_t *n_params);

/* Blocks of a launch that fit on a multiprocessor at a time; 0 where unknown. */
uint32_t paro_gpu_occupancy(const paro_gpu_function *function, uint32_t n_threads,
                            uint32_t shared_bytes);

paro_status paro_gpu_launch_kernel(paro_error *err, paro_gpu_stream *stream,
                                   const paro_gpu_launch *launch);

/* Graphs: what is put into `stream` between begin and end is recorded and not run. After a failed
 * launch in between call end all the same (it fails) to leave the capture. */
paro_status paro_gpu_graph_begin(paro_error *err, paro_gpu_stream *stream);
paro_status paro_gpu_graph_end(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph **out);
paro_status paro_gpu_graph_launch(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph *graph);
void paro_gpu_graph_free(paro_gpu_graph *graph);

/* Time between two points of a stream, by events; microseconds. UNSUPPORTED on the emulator. */
typedef struct paro_gpu_event paro_gpu_event;
paro_status paro_gpu_event_new(paro_error *err, paro_gpu *gpu, paro_gpu_event **out);
void paro_gpu_event_free(paro_gpu_event *event);
paro_status paro_gpu_event_record(paro_error *err, paro_gpu_stream *stream, paro_gpu_event *event);
paro_status paro_gpu_event_elapsed(paro_error *err, const paro_gpu_event *from,
                                   const paro_gpu_event *to, double *us);

#endif
