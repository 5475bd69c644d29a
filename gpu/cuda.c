/* SPDX-License-Identifier: MIT
 *
 * CUDA devices: opening, memory, streams, events. See cuda.h.
 *
 * Invariants: 1. every call enters the device's primary context and leaves it, whatever was current
 * before; 2. streams do not block with the default stream, so that a synchronous copy (through a
 * stream of its own) waits for nothing else; 3. `lost` is set once and never taken back.
 */
#include "gpu/cuda.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvml.h"

/* Errors after which every call in the context fails. */
static bool is_fatal(cu_result result)
{
    switch (result) {
    case CU_DEVICE_UNAVAILABLE:
    case CU_ECC_UNCORRECTABLE:
    case CU_NVLINK_UNCORRECTABLE:
    case CU_CONTAINED:
    case CU_ILLEGAL_ADDRESS:
    case CU_LAUNCH_TIMEOUT:
    case CU_CONTEXT_IS_DESTROYED:
    case CU_ASSERT:
    case CU_TENSOR_MEMORY_LEAK:
    case CU_UNKNOWN:
        return true;
    default:
        return result >= CU_HARDWARE_STACK_ERROR && result <= CU_LAUNCH_FAILED;
    }
}

static paro_status status_of(cu_result result)
{
    switch (result) {
    case CU_INVALID_VALUE:
        return PARO_STATUS_INVALID_ARGUMENT;
    case CU_OUT_OF_MEMORY:
        return PARO_STATUS_OUT_OF_MEMORY;
    case CU_NO_DEVICE:
    case CU_INVALID_DEVICE:
    case CU_NOT_FOUND:
        return PARO_STATUS_NOT_FOUND;
    case CU_INVALID_IMAGE:
    case CU_INVALID_PTX:
        return PARO_STATUS_FORMAT;
    case CU_NO_BINARY_FOR_GPU:
    case CU_UNSUPPORTED_PTX_VERSION:
    case CU_LAUNCH_OUT_OF_RESOURCES:
    case CU_INVALID_CLUSTER_SIZE:
        return PARO_STATUS_UNSUPPORTED;
    default:
        return PARO_STATUS_IO;
    }
}

static const char *text_of(const paro_cuda_api *api, cu_result result)
{
    const char *text = NULL;
    if (api->error_text(result, &text) != 0 || text == NULL)
        text = "unknown error";
    return text;
}

paro_status paro_cuda_result(paro_error *err, cuda_device *d, cu_result result, const char *what)
{
    if (result == 0)
        return PARO_STATUS_OK;
    const char *text = text_of(&d->api, result);
    if (is_fatal(result)) {
        pthread_mutex_lock(&d->lock);
        if (!atomic_load(&d->lost)) {
            snprintf(d->lost_message, sizeof d->lost_message,
                     "cuda:%d (%s) is lost: %s failed: %s (CUDA error %d); the process must be "
                     "started again",
                     d->ordinal, d->gpu.info.name, what, text, result);
            atomic_store(&d->lost, true);
        }
        pthread_mutex_unlock(&d->lock);
        return paro_fail(err, PARO_STATUS_IO, "%s", d->lost_message);
    }
    return paro_fail(err, status_of(result), "cuda:%d: %s failed: %s (CUDA error %d)", d->ordinal,
                     what, text, result);
}

paro_status paro_cuda_enter(paro_error *err, cuda_device *d)
{
    if (atomic_load(&d->lost))
        return paro_fail(err, PARO_STATUS_IO, "%s", d->lost_message);
    return paro_cuda_result(err, d, d->api.context_push(d->context), "making the device current");
}

void paro_cuda_leave(cuda_device *d)
{
    cu_context context = NULL;
    d->api.context_pop(&context);
}

static bool cuda_is_lost(const paro_gpu *gpu)
{
    return atomic_load(&((const cuda_device *)gpu)->lost);
}

static void cuda_free(paro_gpu *gpu)
{
    cuda_device *d = (cuda_device *)gpu;
    if (d->context != NULL) {
        if (d->copies != NULL && paro_cuda_enter(NULL, d) == PARO_STATUS_OK) {
            d->api.stream_free(d->copies);
            paro_cuda_leave(d);
        }
        d->api.context_release(d->device);
    }
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static paro_status cuda_alloc(paro_error *err, paro_gpu *gpu, size_t n_bytes, paro_gpu_ptr *out)
{
    cuda_device *d = (cuda_device *)gpu;
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    cu_ptr ptr = 0;
    cu_result result = d->api.alloc(&ptr, n_bytes > 0 ? n_bytes : 1);
    if (result == CU_OUT_OF_MEMORY) {
        size_t n_free = 0, n_total = 0;
        d->api.memory_info(&n_free, &n_total);
        status = paro_fail(err, PARO_STATUS_OUT_OF_MEMORY,
                           "cuda:%d: out of device memory: asked for %zu MiB, %zu of %zu MiB are "
                           "free",
                           d->ordinal, n_bytes >> 20, n_free >> 20, n_total >> 20);
    } else {
        status = paro_cuda_result(err, d, result, "allocating device memory");
    }
    paro_cuda_leave(d);
    if (status == PARO_STATUS_OK)
        *out = ptr;
    return status;
}

static void cuda_release(paro_gpu *gpu, paro_gpu_ptr ptr)
{
    cuda_device *d = (cuda_device *)gpu;
    if (paro_cuda_enter(NULL, d) != PARO_STATUS_OK)
        return; /* lost: the memory goes with the context */
    paro_cuda_result(NULL, d, d->api.release(ptr), "releasing device memory");
    paro_cuda_leave(d);
}

static paro_status cuda_upload(paro_error *err, paro_gpu *gpu, paro_gpu_ptr to, const void *from,
                               size_t n_bytes)
{
    cuda_device *d = (cuda_device *)gpu;
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    cu_result result = d->api.upload(to, from, n_bytes, d->copies);
    if (result == 0) /* from pageable memory it may return before the bytes are there */
        result = d->api.stream_wait(d->copies);
    status = paro_cuda_result(err, d, result, "copying to the device");
    paro_cuda_leave(d);
    return status;
}

static paro_status cuda_download(paro_error *err, paro_gpu *gpu, void *to, paro_gpu_ptr from,
                                 size_t n_bytes)
{
    cuda_device *d = (cuda_device *)gpu;
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    cu_result result = d->api.download(to, from, n_bytes, d->copies);
    if (result == 0)
        result = d->api.stream_wait(d->copies);
    status = paro_cuda_result(err, d, result, "copying from the device");
    paro_cuda_leave(d);
    return status;
}

static paro_status cuda_copy(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                             paro_gpu_ptr to, paro_gpu_ptr from, size_t n_bytes)
{
    cuda_device *d = (cuda_device *)gpu;
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_cuda_result(err, d, d->api.copy(to, from, n_bytes, stream->handle),
                              "copying on the device");
    paro_cuda_leave(d);
    return status;
}

static paro_status cuda_upload_async(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                                     paro_gpu_ptr to, const void *from, size_t n_bytes)
{
    cuda_device *d = (cuda_device *)gpu;
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_cuda_result(err, d, d->api.upload(to, from, n_bytes, stream->handle),
                              "copying to the device");
    paro_cuda_leave(d);
    return status;
}

static paro_status cuda_fill(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                             paro_gpu_ptr to, uint8_t byte, size_t n_bytes)
{
    cuda_device *d = (cuda_device *)gpu;
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_cuda_result(err, d, d->api.fill(to, byte, n_bytes, stream->handle),
                              "filling device memory");
    paro_cuda_leave(d);
    return status;
}

/* ---- streams and events -----------------------------------------------------------------------
 */

static paro_status cuda_stream_new(paro_error *err, paro_gpu *gpu, paro_gpu_stream **out)
{
    cuda_device *d = (cuda_device *)gpu;
    paro_gpu_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return paro_fail_memory(err, sizeof *stream, "a stream");
    stream->gpu = gpu;
    paro_status status = paro_cuda_enter(err, d);
    if (status == PARO_STATUS_OK) {
        status = paro_cuda_result(
            err, d, d->api.stream_new(&stream->handle, CU_STREAM_NON_BLOCKING), "making a stream");
        paro_cuda_leave(d);
    }
    if (status != PARO_STATUS_OK) {
        free(stream);
        return status;
    }
    *out = stream;
    return PARO_STATUS_OK;
}

static void cuda_stream_free(paro_gpu_stream *stream)
{
    cuda_device *d = paro_cuda_device(stream);
    if (paro_cuda_enter(NULL, d) == PARO_STATUS_OK) {
        d->api.stream_free(stream->handle);
        paro_cuda_leave(d);
    }
    free(stream);
}

static paro_status cuda_stream_wait(paro_error *err, paro_gpu_stream *stream)
{
    cuda_device *d = paro_cuda_device(stream);
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_cuda_result(err, d, d->api.stream_wait(stream->handle), "running kernels");
    paro_cuda_leave(d);
    return status;
}

static paro_status cuda_event_new(paro_error *err, paro_gpu *gpu, paro_gpu_event **out)
{
    cuda_device *d = (cuda_device *)gpu;
    paro_gpu_event *event = calloc(1, sizeof *event);
    if (event == NULL)
        return paro_fail_memory(err, sizeof *event, "an event");
    event->gpu = gpu;
    paro_status status = paro_cuda_enter(err, d);
    if (status == PARO_STATUS_OK) {
        status = paro_cuda_result(err, d, d->api.event_new(&event->handle, 0), "making an event");
        paro_cuda_leave(d);
    }
    if (status != PARO_STATUS_OK) {
        free(event);
        return status;
    }
    *out = event;
    return PARO_STATUS_OK;
}

static void cuda_event_free(paro_gpu_event *event)
{
    cuda_device *d = paro_cuda_device(event);
    if (paro_cuda_enter(NULL, d) == PARO_STATUS_OK) {
        d->api.event_free(event->handle);
        paro_cuda_leave(d);
    }
    free(event);
}

static paro_status cuda_event_record(paro_error *err, paro_gpu_stream *stream,
                                     paro_gpu_event *event)
{
    cuda_device *d = paro_cuda_device(stream);
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_cuda_result(err, d, d->api.event_record(event->handle, stream->handle),
                              "recording an event");
    paro_cuda_leave(d);
    return status;
}

static paro_status cuda_event_elapsed(paro_error *err, const paro_gpu_event *from,
                                      const paro_gpu_event *to, double *us)
{
    cuda_device *d = paro_cuda_device(from);
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    float ms = 0;
    cu_result result = d->api.event_wait(to->handle);
    if (result == 0)
        result = d->api.event_elapsed(&ms, from->handle, to->handle);
    status = paro_cuda_result(err, d, result, "timing by events");
    paro_cuda_leave(d);
    if (status == PARO_STATUS_OK)
        *us = (double)ms * 1e3;
    return status;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static const paro_gpu_backend cuda_backend = {
    .kind = PARO_GPU_KIND_CUDA,
    .free = cuda_free,
    .is_lost = cuda_is_lost,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .upload_async = cuda_upload_async,
    .fill = cuda_fill,
    .stream_new = cuda_stream_new,
    .stream_free = cuda_stream_free,
    .stream_wait = cuda_stream_wait,
    .module_load = paro_cuda_module_load,
    .module_free = paro_cuda_module_free,
    .module_function = paro_cuda_module_function,
    .function_info = paro_cuda_function_info,
    .function_params = paro_cuda_function_params,
    .occupancy = paro_cuda_occupancy,
    .launch = paro_cuda_launch,
    .graph_begin = paro_cuda_graph_begin,
    .graph_end = paro_cuda_graph_end,
    .graph_launch = paro_cuda_graph_launch,
    .graph_free = paro_cuda_graph_free,
    .event_new = cuda_event_new,
    .event_free = cuda_event_free,
    .event_record = cuda_event_record,
    .event_elapsed = cuda_event_elapsed,
};

static uint32_t attribute(const cuda_device *d, int which)
{
    int value = 0;
    return d->api.device_attribute(&value, which, d->device) == 0 && value > 0 ? (uint32_t)value
                                                                               : 0;
}

static void read_info(cuda_device *d)
{
    paro_device_info *info = &d->gpu.info;
    size_t n_bytes = 0;
    if (d->api.device_name(info->name, (int)sizeof info->name, d->device) != 0)
        snprintf(info->name, sizeof info->name, "cuda:%d", d->ordinal);
    info->name[sizeof info->name - 1] = '\0';
    if (d->api.device_memory(&n_bytes, d->device) == 0)
        info->memory_bytes = n_bytes;
    info->capability = attribute(d, CU_ATTRIBUTE_CAPABILITY_MAJOR) * 10 +
                       attribute(d, CU_ATTRIBUTE_CAPABILITY_MINOR);
    info->n_sms = attribute(d, CU_ATTRIBUTE_N_SMS);
    info->clock_mhz = attribute(d, CU_ATTRIBUTE_CLOCK_KHZ) / 1000;
    info->l2_bytes = attribute(d, CU_ATTRIBUTE_L2_BYTES);
    info->sm_shared_bytes = attribute(d, CU_ATTRIBUTE_SM_SHARED_BYTES);
    info->max_shared_bytes = attribute(d, CU_ATTRIBUTE_MAX_SHARED_BYTES);
    info->bandwidth_gbs = (uint32_t)((uint64_t)attribute(d, CU_ATTRIBUTE_MEMORY_CLOCK_KHZ) * 2 *
                                     attribute(d, CU_ATTRIBUTE_MEMORY_BUS_BITS) / 8 / 1000000);
    if (d->api.device_pci_id(d->gpu.pci_id, (int)sizeof d->gpu.pci_id, d->device) != 0)
        d->gpu.pci_id[0] = '\0';
    int version = 0;
    if (!paro_nvml_driver_version(d->gpu.driver_version, sizeof d->gpu.driver_version) &&
        d->api.driver_version(&version) == 0)
        snprintf(d->gpu.driver_version, sizeof d->gpu.driver_version, "cuda %d.%d", version / 1000,
                 version % 1000 / 10);
}

paro_status paro_gpu_open_cuda(paro_error *err, int ordinal, paro_gpu **out)
{
    cuda_device *d = calloc(1, sizeof *d);
    if (d == NULL)
        return paro_fail_memory(err, sizeof *d, "a device");
    d->gpu.backend = &cuda_backend;
    d->ordinal = ordinal;
    pthread_mutex_init(&d->lock, NULL);
    atomic_init(&d->lost, false);
    int n_devices = 0;
    paro_status status = paro_cuda_api_load(err, NULL, &d->api);
    if (status != PARO_STATUS_OK)
        goto done;
    cu_result result = d->api.init(0);
    if (result == 0)
        result = d->api.device_count(&n_devices);
    if (result != 0) {
        status =
            paro_fail(err, result == CU_NO_DEVICE ? PARO_STATUS_NOT_FOUND : PARO_STATUS_UNSUPPORTED,
                      "the CUDA driver cannot be used: %s (CUDA error %d); see nvidia-smi",
                      text_of(&d->api, result), result);
        goto done;
    }
    if (ordinal < 0 || ordinal >= n_devices) {
        status = paro_fail(err, PARO_STATUS_NOT_FOUND,
                           "device cuda:%d: the driver reports %d device(s), cuda:0 to cuda:%d",
                           ordinal, n_devices, n_devices - 1);
        goto done;
    }
    status = paro_cuda_result(err, d, d->api.device_get(&d->device, ordinal), "opening the device");
    if (status != PARO_STATUS_OK)
        goto done;
    read_info(d);
    status =
        paro_cuda_result(err, d, d->api.context_retain(&d->context, d->device), "making a context");
    if (status != PARO_STATUS_OK)
        goto done;
    status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        goto done;
    status = paro_cuda_result(err, d, d->api.stream_new(&d->copies, CU_STREAM_NON_BLOCKING),
                              "making a stream");
    paro_cuda_leave(d);
done:
    if (status != PARO_STATUS_OK) {
        cuda_free(&d->gpu);
        return status;
    }
    *out = &d->gpu;
    return PARO_STATUS_OK;
}

int paro_gpu_count(void)
{
    paro_cuda_api api;
    int n = 0;
    if (paro_cuda_api_load(NULL, NULL, &api) != PARO_STATUS_OK || api.init(0) != 0 ||
        api.device_count(&n) != 0)
        return 0;
    return n;
}
