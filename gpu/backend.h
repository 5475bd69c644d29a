/* SPDX-License-Identifier: MIT
 *
 * The table behind gpu.h: what a kind of device provides. gpu.c calls it; users of devices do not.
 * Each handle of gpu.h is the backend's own struct, whose first member is a pointer to the
 * paro_gpu, and paro_gpu is the first member of the backend's device struct.
 */
#ifndef PARO_GPU_BACKEND_H
#define PARO_GPU_BACKEND_H

#include "gpu/gpu.h"

typedef struct paro_gpu_backend {
    paro_gpu_kind kind;
    void (*free)(paro_gpu *gpu);
    bool (*is_lost)(const paro_gpu *gpu);
    paro_status (*alloc)(paro_error *err, paro_gpu *gpu, size_t n_bytes, paro_gpu_ptr *out);
    void (*release)(paro_gpu *gpu, paro_gpu_ptr ptr);
    paro_status (*upload)(paro_error *err, paro_gpu *gpu, paro_gpu_ptr to, const void *from,
                          size_t n_bytes);
    paro_status (*download)(paro_error *err, paro_gpu *gpu, void *to, paro_gpu_ptr from,
                            size_t n_bytes);
    paro_status (*copy)(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream, paro_gpu_ptr to,
                        paro_gpu_ptr from, size_t n_bytes);
    paro_status (*upload_async)(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                                paro_gpu_ptr to, const void *from, size_t n_bytes);
    paro_status (*fill)(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream, paro_gpu_ptr to,
                        uint8_t byte, size_t n_bytes);
    paro_status (*stream_new)(paro_error *err, paro_gpu *gpu, paro_gpu_stream **out);
    void (*stream_free)(paro_gpu_stream *stream);
    paro_status (*stream_wait)(paro_error *err, paro_gpu_stream *stream);
    paro_status (*module_load)(paro_error *err, paro_gpu *gpu, const paro_gpu_image *image,
                               paro_gpu_module **out);
    void (*module_free)(paro_gpu_module *module);
    paro_status (*module_function)(paro_error *err, paro_gpu_module *module, const char *name,
                                   paro_gpu_function **out);
    void (*function_info)(const paro_gpu_function *function, paro_gpu_function_info *out);
    paro_status (*function_params)(paro_error *err, const paro_gpu_function *function,
                                   size_t *sizes, size_t capacity, size_t *n_params);
    uint32_t (*occupancy)(const paro_gpu_function *function, uint32_t n_threads,
                          uint32_t shared_bytes);
    paro_status (*launch)(paro_error *err, paro_gpu_stream *stream, const paro_gpu_launch *launch);
    paro_status (*graph_begin)(paro_error *err, paro_gpu_stream *stream);
    paro_status (*graph_end)(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph **out);
    paro_status (*graph_launch)(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph *graph);
    void (*graph_free)(paro_gpu_graph *graph);
    paro_status (*event_new)(paro_error *err, paro_gpu *gpu, paro_gpu_event **out);
    void (*event_free)(paro_gpu_event *event);
    paro_status (*event_record)(paro_error *err, paro_gpu_stream *stream, paro_gpu_event *event);
    paro_status (*event_elapsed)(paro_error *err, const paro_gpu_event *from,
                                 const paro_gpu_event *to, double *us);
} paro_gpu_backend;

struct paro_gpu {
    const paro_gpu_backend *backend;
    paro_device_info info;
    char driver_version[64];
    char pci_id[32]; /* "0000:0f:00.0"; "": none (the emulator) */
};

#endif
