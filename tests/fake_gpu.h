/* SPDX-License-Identifier: MIT
 *
 * A device that runs nothing: it counts, keeps what it is given, and fails on demand. Include after
 * <cmocka.h>.
 */
#ifndef PARO_TESTS_FAKE_GPU_H
#define PARO_TESTS_FAKE_GPU_H

#include <stdatomic.h>

#include "families/arch.h"
#include "gpu/backend.h"
#include "tests/support.h"

enum { FAKE_IMAGES = 256 };

typedef struct fake_gpu {
    paro_gpu gpu;
    paro_gpu_backend backend;
    char images[FAKE_IMAGES][64];       /* the beginnings of what was loaded */
    atomic_size_t n_images, n_unloaded; /* atomic: devices are used by many threads */
    size_t n_params;                    /* what a function says it has; 0: it does not say */
    atomic_size_t n_allocated;          /* live */
    atomic_size_t n_calls; /* that can fail: allocations, copies, launches, modules, streams, … */
    size_t fail_at;        /* the call, from 1, that fails; 0: none */
    paro_status failure;
    bool is_freed;
    bool has_no_graphs;       /* no capture succeeds */
    atomic_size_t n_launches; /* not those of captured graphs */
    size_t n_graph_launches;
} fake_gpu;

struct paro_gpu_module {
    paro_gpu *gpu;
};
struct paro_gpu_function {
    paro_gpu *gpu;
};
struct paro_gpu_stream {
    paro_gpu *gpu;
    bool is_capturing;
};
struct paro_gpu_graph {
    paro_gpu *gpu;
};
struct paro_gpu_event {
    paro_gpu *gpu;
};

static inline paro_status fake_call(paro_error *err, paro_gpu *gpu)
{
    fake_gpu *fake = (fake_gpu *)gpu;
    if (++fake->n_calls != fake->fail_at)
        return PARO_STATUS_OK;
    return paro_fail(err, fake->failure, "the device failed on demand");
}

/* An object that begins with the device. */
static inline void *fake_object(paro_gpu *gpu)
{
    paro_gpu **object = malloc(sizeof *object);
    assert_non_null(object);
    *object = gpu;
    return object;
}

static inline void fake_free(paro_gpu *gpu)
{
    ((fake_gpu *)gpu)->is_freed = true;
}

static inline paro_status fake_alloc(paro_error *err, paro_gpu *gpu, size_t n_bytes,
                                     paro_gpu_ptr *out)
{
    paro_status status = fake_call(err, gpu);
    if (status == PARO_STATUS_OK) {
        void *memory = calloc(1, n_bytes + 1);
        assert_non_null(memory);
        ((fake_gpu *)gpu)->n_allocated++;
        *out = (paro_gpu_ptr)(uintptr_t)memory;
    }
    return status;
}

static inline void fake_release(paro_gpu *gpu, paro_gpu_ptr ptr)
{
    ((fake_gpu *)gpu)->n_allocated--;
    free((void *)(uintptr_t)ptr);
}

static inline paro_status fake_upload(paro_error *err, paro_gpu *gpu, paro_gpu_ptr to,
                                      const void *from, size_t n_bytes)
{
    paro_status status = fake_call(err, gpu);
    if (status == PARO_STATUS_OK)
        memcpy((void *)(uintptr_t)to, from, n_bytes);
    return status;
}

static inline paro_status fake_download(paro_error *err, paro_gpu *gpu, void *to, paro_gpu_ptr from,
                                        size_t n_bytes)
{
    paro_status status = fake_call(err, gpu);
    if (status == PARO_STATUS_OK)
        memcpy(to, (const void *)(uintptr_t)from, n_bytes);
    return status;
}

static inline paro_status fake_copy(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                                    paro_gpu_ptr to, paro_gpu_ptr from, size_t n_bytes)
{
    (void)stream;
    return fake_upload(err, gpu, to, (const void *)(uintptr_t)from, n_bytes);
}

static inline paro_status fake_upload_async(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                                            paro_gpu_ptr to, const void *from, size_t n_bytes)
{
    (void)stream;
    return fake_upload(err, gpu, to, from, n_bytes);
}

static inline paro_status fake_fill(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                                    paro_gpu_ptr to, uint8_t byte, size_t n_bytes)
{
    (void)stream;
    paro_status status = fake_call(err, gpu);
    if (status == PARO_STATUS_OK)
        memset((void *)(uintptr_t)to, byte, n_bytes);
    return status;
}

static inline paro_status fake_stream_new(paro_error *err, paro_gpu *gpu, paro_gpu_stream **out)
{
    paro_status status = fake_call(err, gpu);
    if (status == PARO_STATUS_OK) {
        *out = calloc(1, sizeof **out);
        assert_non_null(*out);
        (*out)->gpu = gpu;
    }
    return status;
}

static inline void fake_stream_free(paro_gpu_stream *stream)
{
    free(stream);
}

static inline paro_status fake_stream_wait(paro_error *err, paro_gpu_stream *stream)
{
    return fake_call(err, stream->gpu);
}

static inline paro_status fake_load(paro_error *err, paro_gpu *gpu, const paro_gpu_image *image,
                                    paro_gpu_module **out)
{
    fake_gpu *fake = (fake_gpu *)gpu;
    paro_status status = fake_call(err, gpu);
    if (status != PARO_STATUS_OK)
        return status;
    const size_t at = fake->n_images++;
    assert_true(at < FAKE_IMAGES);
    snprintf(fake->images[at], sizeof fake->images[0], "%.*s", (int)image->n_bytes,
             (const char *)image->data);
    *out = fake_object(gpu);
    return status;
}

static inline void fake_unload(paro_gpu_module *module)
{
    ((fake_gpu *)module->gpu)->n_unloaded++;
    free(module);
}

static inline paro_status fake_function(paro_error *err, paro_gpu_module *module, const char *name,
                                        paro_gpu_function **out)
{
    (void)name;
    paro_status status = fake_call(err, module->gpu);
    if (status == PARO_STATUS_OK)
        *out = (paro_gpu_function *)module; /* the same first member */
    return status;
}

static inline paro_status fake_params(paro_error *err, const paro_gpu_function *function,
                                      size_t *sizes, size_t capacity, size_t *n_params)
{
    const fake_gpu *fake = (const fake_gpu *)function->gpu;
    if (fake->n_params == 0)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "cannot tell");
    for (size_t i = 0; i < fake->n_params && i < capacity; i++)
        sizes[i] = sizeof(paro_gpu_ptr);
    *n_params = fake->n_params;
    return PARO_STATUS_OK;
}

static inline paro_status fake_launch(paro_error *err, paro_gpu_stream *stream,
                                      const paro_gpu_launch *launch)
{
    fake_gpu *fake = (fake_gpu *)stream->gpu;
    (void)launch;
    fake->n_launches += !stream->is_capturing;
    return fake_call(err, stream->gpu);
}

static inline paro_status fake_graph_begin(paro_error *err, paro_gpu_stream *stream)
{
    stream->is_capturing = true;
    return fake_call(err, stream->gpu);
}

static inline paro_status fake_graph_end(paro_error *err, paro_gpu_stream *stream,
                                         paro_gpu_graph **out)
{
    fake_gpu *fake = (fake_gpu *)stream->gpu;
    stream->is_capturing = false;
    paro_status status = fake->has_no_graphs
                             ? paro_fail(err, PARO_STATUS_UNSUPPORTED, "no capture here")
                             : fake_call(err, stream->gpu);
    if (status == PARO_STATUS_OK)
        *out = fake_object(stream->gpu);
    return status;
}

static inline paro_status fake_graph_launch(paro_error *err, paro_gpu_stream *stream,
                                            paro_gpu_graph *graph)
{
    (void)graph;
    ((fake_gpu *)stream->gpu)->n_graph_launches++;
    return fake_call(err, stream->gpu);
}

static inline void fake_graph_free(paro_gpu_graph *graph)
{
    free(graph);
}

static inline paro_status fake_event_new(paro_error *err, paro_gpu *gpu, paro_gpu_event **out)
{
    paro_status status = fake_call(err, gpu);
    if (status == PARO_STATUS_OK)
        *out = fake_object(gpu);
    return status;
}

static inline void fake_event_free(paro_gpu_event *event)
{
    free(event);
}

static inline paro_status fake_event_record(paro_error *err, paro_gpu_stream *stream,
                                            paro_gpu_event *event)
{
    (void)event;
    return fake_call(err, stream->gpu);
}

/* 8 us, whatever was between. */
static inline paro_status fake_event_elapsed(paro_error *err, const paro_gpu_event *from,
                                             const paro_gpu_event *to, double *us)
{
    (void)to;
    *us = 8;
    return fake_call(err, from->gpu);
}

static inline bool fake_is_lost(const paro_gpu *gpu)
{
    (void)gpu;
    return false;
}

static inline uint32_t fake_occupancy(const paro_gpu_function *function, uint32_t n_threads,
                                      uint32_t shared_bytes)
{
    (void)function;
    (void)n_threads;
    (void)shared_bytes;
    return 1;
}

/* A device of a capability; it must not move, and paro_gpu_free leaves its memory alone. */
static inline void fake_gpu_init(fake_gpu *fake, paro_gpu_kind kind, uint32_t capability)
{
    *fake = (fake_gpu){.failure = PARO_STATUS_IO,
                       .backend = {.kind = kind,
                                   .free = fake_free,
                                   .alloc = fake_alloc,
                                   .release = fake_release,
                                   .upload = fake_upload,
                                   .download = fake_download,
                                   .copy = fake_copy,
                                   .upload_async = fake_upload_async,
                                   .fill = fake_fill,
                                   .stream_new = fake_stream_new,
                                   .stream_free = fake_stream_free,
                                   .stream_wait = fake_stream_wait,
                                   .module_load = fake_load,
                                   .module_free = fake_unload,
                                   .module_function = fake_function,
                                   .function_params = fake_params,
                                   .launch = fake_launch,
                                   .graph_begin = fake_graph_begin,
                                   .graph_end = fake_graph_end,
                                   .graph_launch = fake_graph_launch,
                                   .graph_free = fake_graph_free,
                                   .event_new = fake_event_new,
                                   .event_free = fake_event_free,
                                   .event_record = fake_event_record,
                                   .event_elapsed = fake_event_elapsed,
                                   .is_lost = fake_is_lost,
                                   .occupancy = fake_occupancy}};
    fake->gpu.backend = &fake->backend;
    paro_device_typical(paro_arch_find("sm_90"), &fake->gpu.info);
    fake->gpu.info.capability = capability;
}

#endif
