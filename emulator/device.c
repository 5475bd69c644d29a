/* SPDX-License-Identifier: MIT
 *
 * The emulator as a device of gpu.h: the table, memory, streams, modules. Launches are in launch.c.
 *
 * Invariants: 1. what is put into a stream has run when the call returns, unless the stream
 * records; 2. `lock` is held while a kernel runs: workers' memory serves one launch at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "emulator/device.h"
#include "emulator/emulator.h"

enum { MEMORY_ALIGNMENT = 256, POISON = 0xFF };

/* ---- memory ------------------------------------------------------------------------------------
 */

static paro_status device_alloc(paro_error *err, paro_gpu *gpu, size_t n_bytes, paro_gpu_ptr *out)
{
    void *data = NULL;
    /* Not rounded up: AddressSanitizer then sees the first byte behind the end. */
    if (posix_memalign(&data, MEMORY_ALIGNMENT, n_bytes > 0 ? n_bytes : 1) != 0)
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY,
                         "%s: no memory for %zu bytes; the host's memory is what is free",
                         gpu->info.name, n_bytes);
    memset(data, POISON, n_bytes);
    *out = (paro_gpu_ptr)(uintptr_t)data;
    return PARO_STATUS_OK;
}

static void device_release(paro_gpu *gpu, paro_gpu_ptr ptr)
{
    (void)gpu;
    free((void *)(uintptr_t)ptr);
}

static paro_status device_upload(paro_error *err, paro_gpu *gpu, paro_gpu_ptr to, const void *from,
                                 size_t n_bytes)
{
    (void)err;
    (void)gpu;
    memcpy((void *)(uintptr_t)to, from, n_bytes);
    return PARO_STATUS_OK;
}

static paro_status device_download(paro_error *err, paro_gpu *gpu, void *to, paro_gpu_ptr from,
                                   size_t n_bytes)
{
    (void)err;
    (void)gpu;
    memcpy(to, (const void *)(uintptr_t)from, n_bytes);
    return PARO_STATUS_OK;
}

static paro_status device_copy(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                               paro_gpu_ptr to, paro_gpu_ptr from, size_t n_bytes)
{
    (void)gpu;
    return paro_emu_do(
        err, (paro_emu_stream *)stream,
        &(paro_emu_step){.kind = PARO_EMU_COPY, .to = to, .from = from, .n_bytes = n_bytes});
}

static paro_status device_upload_async(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                                       paro_gpu_ptr to, const void *from, size_t n_bytes)
{
    paro_emu_stream *own = (paro_emu_stream *)stream;
    if (own->recording != NULL) {
        own->has_failed = true;
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "upload of %zu bytes while a graph is recorded: keep changing inputs in "
                         "device memory",
                         n_bytes);
    }
    return device_upload(err, gpu, to, from, n_bytes);
}

static paro_status device_fill(paro_error *err, paro_gpu *gpu, paro_gpu_stream *stream,
                               paro_gpu_ptr to, uint8_t byte, size_t n_bytes)
{
    (void)gpu;
    return paro_emu_do(
        err, (paro_emu_stream *)stream,
        &(paro_emu_step){.kind = PARO_EMU_FILL, .to = to, .byte = byte, .n_bytes = n_bytes});
}

/* ---- streams, events ---------------------------------------------------------------------------
 */

static paro_status stream_new(paro_error *err, paro_gpu *gpu, paro_gpu_stream **out)
{
    paro_emu_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "%s: out of memory for a stream",
                         gpu->info.name);
    stream->gpu = gpu;
    *out = (paro_gpu_stream *)stream;
    return PARO_STATUS_OK;
}

static void stream_free(paro_gpu_stream *stream)
{
    paro_emu_stream *own = (paro_emu_stream *)stream;
    if (own->recording != NULL)
        paro_emu_graph_free((paro_gpu_graph *)own->recording);
    free(own);
}

static paro_status stream_wait(paro_error *err, paro_gpu_stream *stream)
{
    if (((paro_emu_stream *)stream)->recording != NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "stream: a wait while a graph is recorded");
    return PARO_STATUS_OK;
}

static paro_status event_new(paro_error *err, paro_gpu *gpu, paro_gpu_event **out)
{
    (void)out;
    return paro_fail(err, PARO_STATUS_UNSUPPORTED, "%s: an emulated device has no clock",
                     gpu->info.name);
}

static void event_free(paro_gpu_event *event)
{
    (void)event;
}

static paro_status event_record(paro_error *err, paro_gpu_stream *stream, paro_gpu_event *event)
{
    (void)stream;
    (void)event;
    return paro_fail(err, PARO_STATUS_UNSUPPORTED, "an emulated device has no clock");
}

static paro_status event_elapsed(paro_error *err, const paro_gpu_event *from,
                                 const paro_gpu_event *to, double *us)
{
    (void)from;
    (void)to;
    (void)us;
    return paro_fail(err, PARO_STATUS_UNSUPPORTED, "an emulated device has no clock");
}

/* ---- modules -----------------------------------------------------------------------------------
 */

static void module_free(paro_gpu_module *module)
{
    paro_emu_module *own = (paro_emu_module *)module;
    paro_emu_object_close(&own->object);
    free(own->functions);
    free(own);
}

static paro_status module_load(paro_error *err, paro_gpu *gpu, const paro_gpu_image *image,
                               paro_gpu_module **out)
{
    paro_emu_device *device = (paro_emu_device *)gpu;
    paro_status status = PARO_STATUS_OK;
    paro_emu_module *module = calloc(1, sizeof *module);
    if (module == NULL)
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory for a module");
    module->gpu = gpu;
    size_t n_bytes = image->n_bytes;
    while (n_bytes > 0 && ((const char *)image->data)[n_bytes - 1] == 0)
        n_bytes--;
    status = paro_emu_object_open(err, &device->compiler, image->data, n_bytes, &module->object);
    if (status != PARO_STATUS_OK)
        goto done;
    module->functions = calloc(module->object.n_kernels + 1, sizeof *module->functions);
    if (module->functions == NULL) {
        status = paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory for a module");
        goto done;
    }
    for (size_t i = 0; i < module->object.n_kernels; i++)
        module->functions[i] =
            (paro_emu_function){.gpu = gpu, .module = module, .kernel = &module->object.kernels[i]};
    *out = (paro_gpu_module *)module;
    module = NULL;
done:
    if (module != NULL)
        module_free((paro_gpu_module *)module);
    return status;
}

static paro_status module_function(paro_error *err, paro_gpu_module *module, const char *name,
                                   paro_gpu_function **out)
{
    paro_emu_module *own = (paro_emu_module *)module;
    for (size_t i = 0; i < own->object.n_kernels; i++)
        if (strcmp(own->functions[i].kernel->name, name) == 0) {
            *out = (paro_gpu_function *)&own->functions[i];
            return PARO_STATUS_OK;
        }
    return paro_fail(err, PARO_STATUS_NOT_FOUND,
                     "kernel %s: not among the %zu kernels of the module", name,
                     own->object.n_kernels);
}

static void function_info(const paro_gpu_function *function, paro_gpu_function_info *out)
{
    *out = (paro_gpu_function_info){.max_threads =
                                        ((const paro_emu_function *)function)->kernel->max_threads};
}

static paro_status function_params(paro_error *err, const paro_gpu_function *function,
                                   size_t *sizes, size_t capacity, size_t *n_params)
{
    (void)err;
    const paro_emu_kernel *kernel = ((const paro_emu_function *)function)->kernel;
    for (size_t i = 0; i < kernel->n_params && i < capacity; i++)
        sizes[i] = kernel->sizes[i];
    *n_params = kernel->n_params;
    return PARO_STATUS_OK;
}

static uint32_t occupancy(const paro_gpu_function *function, uint32_t n_threads,
                          uint32_t shared_bytes)
{
    (void)function;
    (void)n_threads;
    (void)shared_bytes;
    return 0;
}

/* ---- the device --------------------------------------------------------------------------------
 */

static bool is_lost(const paro_gpu *gpu)
{
    (void)gpu;
    return false;
}

static void device_free(paro_gpu *gpu)
{
    paro_emu_device *device = (paro_emu_device *)gpu;
    for (int i = 0; i < device->n_workers; i++)
        paro_emu_run_release(&device->workers[i]);
    free(device->workers);
    if (device->has_own_folder)
        (void)paro_remove_tree(NULL, device->folder);
    (void)pthread_mutex_destroy(&device->lock);
    free(device->folder);
    free(device->program);
    free(device->sanitize);
    free(device);
}

static const paro_gpu_backend backend = {
    .kind = PARO_GPU_KIND_EMULATED,
    .free = device_free,
    .is_lost = is_lost,
    .alloc = device_alloc,
    .release = device_release,
    .upload = device_upload,
    .download = device_download,
    .copy = device_copy,
    .upload_async = device_upload_async,
    .fill = device_fill,
    .stream_new = stream_new,
    .stream_free = stream_free,
    .stream_wait = stream_wait,
    .module_load = module_load,
    .module_free = module_free,
    .module_function = module_function,
    .function_info = function_info,
    .function_params = function_params,
    .occupancy = occupancy,
    .launch = paro_emu_launch_kernel,
    .graph_begin = paro_emu_graph_begin,
    .graph_end = paro_emu_graph_end,
    .graph_launch = paro_emu_graph_launch,
    .graph_free = paro_emu_graph_free,
    .event_new = event_new,
    .event_free = event_free,
    .event_record = event_record,
    .event_elapsed = event_elapsed,
};

static paro_status fill_device(paro_error *err, paro_emu_device *device,
                               const paro_emulator_options *options)
{
    device->pool = options->pool;
    device->seed = options->seed;
    device->arch = options->arch != NULL ? options->arch : paro_arch_find("sm_90");
    device->n_workers = options->pool != NULL ? paro_pool_n_threads(options->pool) : 1;
    device->workers = calloc((size_t)device->n_workers, sizeof *device->workers);
    device->program = strdup(options->compiler != NULL ? options->compiler : "c++");
    device->folder =
        strdup(options->folder != NULL ? options->folder : "/tmp/paro-emulator-XXXXXX");
    device->sanitize = options->sanitize != NULL ? strdup(options->sanitize) : NULL;
    if (device->workers == NULL || device->program == NULL || device->folder == NULL ||
        (options->sanitize != NULL && device->sanitize == NULL))
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory");
    if (options->folder == NULL) {
        if (mkdtemp(device->folder) == NULL)
            return paro_fail(err, PARO_STATUS_IO, "%s: cannot be made: %s", device->folder,
                             strerror(errno));
        device->has_own_folder = true;
    } else if (!paro_path_is_dir(options->folder)) {
        return paro_fail(err, PARO_STATUS_NOT_FOUND, "%s: not a folder, expected one for kernels",
                         options->folder);
    }
    device->compiler = (paro_emu_compiler){
        .program = device->program, .folder = device->folder, .sanitize = device->sanitize};
    return paro_emu_compiler_check(err, &device->compiler);
}

paro_status paro_gpu_open_emulator(paro_error *err, const paro_emulator_options *options,
                                   paro_gpu **out)
{
    const paro_emulator_options defaults = {0};
    paro_emu_device *device = calloc(1, sizeof *device);
    if (device == NULL)
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory");
    (void)pthread_mutex_init(&device->lock, NULL);
    paro_status status = fill_device(err, device, options != NULL ? options : &defaults);
    if (status != PARO_STATUS_OK) {
        device_free(&device->gpu);
        return status;
    }
    device->gpu.backend = &backend;
    paro_device_typical(device->arch, &device->gpu.info);
    (void)snprintf(device->gpu.info.name, sizeof device->gpu.info.name, "emulated %s",
                   device->arch->name);
    (void)snprintf(device->gpu.driver_version, sizeof device->gpu.driver_version, "emulator");
    *out = &device->gpu;
    return PARO_STATUS_OK;
}

void paro_emulator_set_seed(paro_gpu *gpu, uint64_t seed)
{
    ((paro_emu_device *)gpu)->seed = seed;
}
