/* SPDX-License-Identifier: MIT
 *
 * The calls of gpu.h, handed to the backend of the device they belong to.
 */
#include "gpu/gpu.h"

#include "gpu/backend.h"

/* Every handle begins with the paro_gpu that made it. */
static paro_gpu *gpu_of(const void *handle)
{
    return *(paro_gpu *const *)handle;
}

void paro_gpu_free(paro_gpu *gpu)
{
    if (gpu != NULL)
        gpu->backend->free(gpu);
}

paro_gpu_kind paro_gpu_get_kind(const paro_gpu *gpu)
{
    return gpu->backend->kind;
}

bool paro_gpu_is_lost(const paro_gpu *gpu)
{
    return gpu->backend->is_lost(gpu);
}

const paro_device_info *paro_gpu_info(const paro_gpu *gpu)
{
    return &gpu->info;
}

const char *paro_gpu_driver_version(const paro_gpu *gpu)
{
    return gpu->driver_version;
}

paro_status paro_gpu_alloc(paro_error *err, paro_gpu *gpu, size_t n_bytes, paro_gpu_ptr *out)
{
    return gpu->backend->alloc(err, gpu, n_bytes, out);
}

void paro_gpu_release(paro_gpu *gpu, paro_gpu_ptr ptr)
{
    if (ptr != 0)
        gpu->backend->release(gpu, ptr);
}

paro_status paro_gpu_upload(paro_error *err, paro_gpu *gpu, paro_gpu_ptr to, const void *from,
                            size_t n_bytes)
{
    return n_bytes == 0 ? PARO_STATUS_OK : gpu->backend->upload(err, gpu, to, from, n_bytes);
}

paro_status paro_gpu_download(paro_error *err, paro_gpu *gpu, void *to, paro_gpu_ptr from,
                              size_t n_bytes)
{
    return n_bytes == 0 ? PARO_STATUS_OK : gpu->backend->download(err, gpu, to, from, n_bytes);
}

paro_status paro_gpu_copy(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream, paro_gpu_ptr to,
                          paro_gpu_ptr from, size_t n_bytes)
{
    return n_bytes == 0 ? PARO_STATUS_OK : gpu->backend->copy(err, gpu, stream, to, from, n_bytes);
}

paro_status paro_gpu_upload_async(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                                  paro_gpu_ptr to, const void *from, size_t n_bytes)
{
    return n_bytes == 0 ? PARO_STATUS_OK
                        : gpu->backend->upload_async(err, gpu, stream, to, from, n_bytes);
}

paro_status paro_gpu_fill(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream, paro_gpu_ptr to,
                          uint8_t byte, size_t n_bytes)
{
    return n_bytes == 0 ? PARO_STATUS_OK : gpu->backend->fill(err, gpu, stream, to, byte, n_bytes);
}

paro_status paro_gpu_stream_new(paro_error *err, paro_gpu *gpu, paro_gpu_stream **out)
{
    return gpu->backend->stream_new(err, gpu, out);
}

void paro_gpu_stream_free(paro_gpu_stream *stream)
{
    if (stream != NULL)
        gpu_of(stream)->backend->stream_free(stream);
}

paro_status paro_gpu_stream_wait(paro_error *err, paro_gpu_stream *stream)
{
    return gpu_of(stream)->backend->stream_wait(err, stream);
}

paro_status paro_gpu_module_load(paro_error *err, paro_gpu *gpu, const paro_gpu_image *image,
                                 paro_gpu_module **out)
{
    return gpu->backend->module_load(err, gpu, image, out);
}

void paro_gpu_module_free(paro_gpu_module *module)
{
    if (module != NULL)
        gpu_of(module)->backend->module_free(module);
}

paro_status paro_gpu_module_function(paro_error *err, paro_gpu_module *module, const char *name,
                                     paro_gpu_function **out)
{
    return gpu_of(module)->backend->module_function(err, module, name, out);
}

void paro_gpu_function_get_info(const paro_gpu_function *function, paro_gpu_function_info *out)
{
    gpu_of(function)->backend->function_info(function, out);
}

paro_status paro_gpu_function_params(paro_error *err, const paro_gpu_function *function,
                                     size_t *sizes, size_t capacity, size_t *n_params)
{
    return gpu_of(function)->backend->function_params(err, function, sizes, capacity, n_params);
}

uint32_t paro_gpu_occupancy(const paro_gpu_function *function, uint32_t n_threads,
                            uint32_t shared_bytes)
{
    return gpu_of(function)->backend->occupancy(function, n_threads, shared_bytes);
}

paro_status paro_gpu_launch_kernel(paro_error *err, paro_gpu_stream *stream,
                                   const paro_gpu_launch *launch)
{
    return gpu_of(stream)->backend->launch(err, stream, launch);
}

paro_status paro_gpu_graph_begin(paro_error *err, paro_gpu_stream *stream)
{
    return gpu_of(stream)->backend->graph_begin(err, stream);
}

paro_status paro_gpu_graph_end(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph **out)
{
    return gpu_of(stream)->backend->graph_end(err, stream, out);
}

paro_status paro_gpu_graph_launch(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph *graph)
{
    return gpu_of(stream)->backend->graph_launch(err, stream, graph);
}

void paro_gpu_graph_free(paro_gpu_graph *graph)
{
    if (graph != NULL)
        gpu_of(graph)->backend->graph_free(graph);
}

paro_status paro_gpu_event_new(paro_error *err, paro_gpu *gpu, paro_gpu_event **out)
{
    return gpu->backend->event_new(err, gpu, out);
}

void paro_gpu_event_free(paro_gpu_event *event)
{
    if (event != NULL)
        gpu_of(event)->backend->event_free(event);
}

paro_status paro_gpu_event_record(paro_error *err, paro_gpu_stream *stream, paro_gpu_event *event)
{
    return gpu_of(stream)->backend->event_record(err, stream, event);
}

paro_status paro_gpu_event_elapsed(paro_error *err, const paro_gpu_event *from,
                                   const paro_gpu_event *to, double *us)
{
    return gpu_of(from)->backend->event_elapsed(err, from, to, us);
}
