/* SPDX-License-Identifier: MIT
 *
 * CUDA modules, launches and graphs. See cuda.h.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/cuda.h"

static void free_kernels(cuda_kernel *kernel)
{
    while (kernel != NULL) {
        cuda_kernel *next = kernel->next;
        free(kernel);
        kernel = next;
    }
}

/* A cubin's kernels with their parameters; those that it tells nothing of are left out. */
static paro_status read_kernels(paro_error *err, const paro_gpu_image *image, cuda_kernel **out)
{
    cuda_kernel *list = NULL;
    paro_cubin *cubin = malloc(sizeof *cubin);
    if (cubin == NULL)
        return paro_fail_memory(err, sizeof *cubin, "a cubin's kernels");
    paro_status status = paro_cubin_read(err, image->data, image->n_bytes, cubin);
    for (size_t i = 0; status == PARO_STATUS_OK && i < cubin->n_kernels; i++) {
        const char *name = cubin->kernels[i].name;
        size_t n_bytes = strlen(name) + 1;
        cuda_kernel *kernel = calloc(1, sizeof *kernel + n_bytes);
        if (kernel == NULL) {
            status = paro_fail_memory(err, sizeof *kernel + n_bytes, "a kernel's parameters");
            break;
        }
        memcpy(kernel->name, name, n_bytes);
        status = paro_cubin_params(err, image->data, image->n_bytes, name, kernel->sizes,
                                   PARO_CUBIN_MAX_PARAMS, &kernel->n_params);
        if (status == PARO_STATUS_OK) {
            kernel->next = list;
            list = kernel;
        } else {
            free(kernel);
            if (status == PARO_STATUS_NOT_FOUND)
                status = PARO_STATUS_OK;
        }
    }
    free(cubin);
    if (status != PARO_STATUS_OK) {
        free_kernels(list);
        return status;
    }
    *out = list;
    return PARO_STATUS_OK;
}

/* The driver is given no size: an image that ends before its own header says would be read past its
 * end. */
static paro_status check_image(paro_error *err, const paro_gpu_image *image, cuda_kernel **kernels)
{
    const unsigned char *bytes = image->data;
    if (!image->is_ptx)
        return read_kernels(err, image, kernels);
    if (image->n_bytes == 0 || bytes[image->n_bytes - 1] != 0)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "kernel code: expected PTX that ends in a zero byte");
    *kernels = NULL;
    return PARO_STATUS_OK;
}

paro_status paro_cuda_module_load(paro_error *err, paro_gpu *gpu, const paro_gpu_image *image,
                                  paro_gpu_module **out)
{
    cuda_device *d = (cuda_device *)gpu;
    paro_gpu_module *module = calloc(1, sizeof *module);
    if (module == NULL)
        return paro_fail_memory(err, sizeof *module, "a module");
    module->gpu = gpu;
    module->is_ptx = image->is_ptx;
    paro_status status = check_image(err, image, &module->kernels);
    if (status == PARO_STATUS_OK)
        status = paro_cuda_enter(err, d);
    if (status == PARO_STATUS_OK) {
        status = paro_cuda_result(err, d, d->api.module_load(&module->handle, image->data),
                                  image->is_ptx ? "loading PTX" : "loading a cubin");
        paro_cuda_leave(d);
    }
    if (status != PARO_STATUS_OK) {
        free_kernels(module->kernels);
        free(module);
        return status;
    }
    *out = module;
    return PARO_STATUS_OK;
}

void paro_cuda_module_free(paro_gpu_module *module)
{
    cuda_device *d = paro_cuda_device(module);
    while (module->functions != NULL) {
        paro_gpu_function *next = module->functions->next;
        free(module->functions);
        module->functions = next;
    }
    if (paro_cuda_enter(NULL, d) == PARO_STATUS_OK) {
        d->api.module_free(module->handle);
        paro_cuda_leave(d);
    }
    free_kernels(module->kernels);
    free(module);
}

static uint32_t function_attribute(const cuda_device *d, cu_function function, int which)
{
    int value = 0;
    return d->api.function_get(&value, which, function) == 0 && value > 0 ? (uint32_t)value : 0;
}

/* With the context current. */
static paro_status look_up(paro_error *err, cuda_device *d, paro_gpu_module *module,
                           const char *name, paro_gpu_function *function)
{
    cu_result result = d->api.module_function(&function->handle, module->handle, name);
    if (result == CU_NOT_FOUND)
        return paro_fail(err, PARO_STATUS_NOT_FOUND, "the kernel code has no function %s", name);
    if (result == 0 && d->api.function_load != NULL)
        result = d->api.function_load(function->handle); /* now, not in the first launch */
    if (result != 0)
        return paro_cuda_result(err, d, result, "looking up a kernel");
    paro_gpu_function_info *info = &function->info;
    info->n_registers = function_attribute(d, function->handle, CU_FUNCTION_N_REGISTERS);
    info->local_bytes = function_attribute(d, function->handle, CU_FUNCTION_LOCAL_BYTES);
    info->static_shared_bytes =
        function_attribute(d, function->handle, CU_FUNCTION_STATIC_SHARED_BYTES);
    info->max_threads = function_attribute(d, function->handle, CU_FUNCTION_MAX_THREADS);
    /* The limit costs nothing until a launch asks for as much. */
    uint32_t limit = d->gpu.info.max_shared_bytes;
    if (limit > info->static_shared_bytes)
        result = d->api.function_set(function->handle, CU_FUNCTION_MAX_DYNAMIC_SHARED_BYTES,
                                     (int)(limit - info->static_shared_bytes));
    return paro_cuda_result(err, d, result, "raising a kernel's shared memory limit");
}

paro_status paro_cuda_module_function(paro_error *err, paro_gpu_module *module, const char *name,
                                      paro_gpu_function **out)
{
    cuda_device *d = paro_cuda_device(module);
    paro_gpu_function *function = NULL;
    paro_status status = PARO_STATUS_OK;
    pthread_mutex_lock(&d->lock);
    for (function = module->functions; function != NULL; function = function->next)
        if (strcmp(function->name, name) == 0)
            break;
    pthread_mutex_unlock(&d->lock);
    if (function != NULL) {
        *out = function;
        return PARO_STATUS_OK;
    }
    size_t n_bytes = strlen(name) + 1;
    function = calloc(1, sizeof *function + n_bytes);
    if (function == NULL)
        return paro_fail_memory(err, sizeof *function + n_bytes, "a kernel");
    function->gpu = module->gpu;
    function->is_ptx = module->is_ptx;
    for (const cuda_kernel *k = module->kernels; k != NULL && function->kernel == NULL; k = k->next)
        if (strcmp(k->name, name) == 0)
            function->kernel = k;
    memcpy(function->name, name, n_bytes);
    status = paro_cuda_enter(err, d);
    if (status == PARO_STATUS_OK) {
        status = look_up(err, d, module, name, function);
        paro_cuda_leave(d);
    }
    if (status != PARO_STATUS_OK) {
        free(function);
        return status;
    }
    pthread_mutex_lock(&d->lock); /* two threads may each have made one: both live on */
    function->next = module->functions;
    module->functions = function;
    pthread_mutex_unlock(&d->lock);
    *out = function;
    return PARO_STATUS_OK;
}

void paro_cuda_function_info(const paro_gpu_function *function, paro_gpu_function_info *out)
{
    *out = function->info;
}

/* Of code that the driver compiled. Asking for one more than there are is an error to the driver,
 * which tools that watch its calls report: only where it tells their number. */
static paro_status ask_params(paro_error *err, const paro_gpu_function *function, size_t *sizes,
                              size_t capacity, size_t *n_params)
{
    cuda_device *d = paro_cuda_device(function);
    if (d->api.function_n_params == NULL || d->api.function_param == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "cuda:%d: the driver is too old to tell a kernel's parameters",
                         d->ordinal);
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    size_t n = 0;
    cu_result result = d->api.function_n_params(function->handle, &n);
    for (size_t i = 0; result == 0 && i < n && i < capacity; i++) {
        size_t offset = 0;
        result = d->api.function_param(function->handle, i, &offset, &sizes[i]);
    }
    paro_cuda_leave(d);
    status = paro_cuda_result(err, d, result, "asking for a kernel's parameters");
    if (status == PARO_STATUS_OK)
        *n_params = n;
    return status;
}

paro_status paro_cuda_function_params(paro_error *err, const paro_gpu_function *function,
                                      size_t *sizes, size_t capacity, size_t *n_params)
{
    const cuda_kernel *kernel = function->kernel;
    if (function->is_ptx)
        return ask_params(err, function, sizes, capacity, n_params);
    if (kernel == NULL)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "kernel %s: expected its parameters in the cubin, found none; compile it "
                         "again",
                         function->name);
    for (size_t i = 0; i < kernel->n_params && i < capacity; i++)
        sizes[i] = kernel->sizes[i];
    *n_params = kernel->n_params;
    return PARO_STATUS_OK;
}

uint32_t paro_cuda_occupancy(const paro_gpu_function *function, uint32_t n_threads,
                             uint32_t shared_bytes)
{
    cuda_device *d = paro_cuda_device(function);
    int n_blocks = 0;
    if (paro_cuda_enter(NULL, d) != PARO_STATUS_OK)
        return 0;
    if (d->api.occupancy(&n_blocks, function->handle, (int)n_threads, shared_bytes) != 0)
        n_blocks = 0;
    paro_cuda_leave(d);
    return n_blocks > 0 ? (uint32_t)n_blocks : 0;
}

paro_status paro_cuda_launch(paro_error *err, paro_gpu_stream *stream,
                             const paro_gpu_launch *launch)
{
    cuda_device *d = paro_cuda_device(stream);
    const paro_gpu_function *function = launch->function;
    if (launch->n_threads == 0 || launch->n_threads > function->info.max_threads)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "cuda:%d: a block of %u threads; the kernel was compiled for 1 to %u",
                         d->ordinal, launch->n_threads, function->info.max_threads);
    if (launch->shared_bytes + (uint64_t)function->info.static_shared_bytes >
        d->gpu.info.max_shared_bytes)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "cuda:%d: a block with %u bytes of shared memory; the device has %u",
                         d->ordinal, launch->shared_bytes, d->gpu.info.max_shared_bytes);
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    cu_result result;
    if (launch->cluster > 1) {
        cu_launch_attribute attribute = {.id = CU_LAUNCH_CLUSTER};
        attribute.value.cluster.x = launch->cluster;
        attribute.value.cluster.y = 1;
        attribute.value.cluster.z = 1;
        cu_launch_config config = {
            .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
            .block = {launch->n_threads, 1, 1},
            .shared_bytes = launch->shared_bytes,
            .stream = stream->handle,
            .attributes = &attribute,
            .n_attributes = 1,
        };
        result = d->api.launch_ex != NULL
                     ? d->api.launch_ex(&config, function->handle, launch->args, NULL)
                     : CU_INVALID_CLUSTER_SIZE;
    } else {
        result = d->api.launch(function->handle, launch->grid[0], launch->grid[1], launch->grid[2],
                               launch->n_threads, 1, 1, launch->shared_bytes, stream->handle,
                               launch->args, NULL);
    }
    status = paro_cuda_result(err, d, result, "launching a kernel");
    paro_cuda_leave(d);
    return status;
}

/* Relaxed: other threads, and uploads of this one, go on as they do outside a capture. */
paro_status paro_cuda_graph_begin(paro_error *err, paro_gpu_stream *stream)
{
    cuda_device *d = paro_cuda_device(stream);
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_cuda_result(err, d, d->api.capture_begin(stream->handle, CU_CAPTURE_RELAXED),
                              "beginning a graph");
    paro_cuda_leave(d);
    return status;
}

paro_status paro_cuda_graph_end(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph **out)
{
    cuda_device *d = paro_cuda_device(stream);
    paro_gpu_graph *graph = calloc(1, sizeof *graph);
    cu_graph recorded = NULL;
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK) {
        free(graph);
        return status;
    }
    cu_result result = d->api.capture_end(stream->handle, &recorded);
    if (graph == NULL)
        status = paro_fail_memory(err, sizeof *graph, "a graph");
    else if (result != 0 || recorded == NULL)
        status =
            paro_cuda_result(err, d, result != 0 ? result : CU_INVALID_VALUE, "recording a graph");
    else
        status = paro_cuda_result(err, d, d->api.graph_instantiate(&graph->handle, recorded, 0),
                                  "making a graph");
    if (recorded != NULL)
        d->api.graph_free(recorded);
    paro_cuda_leave(d);
    if (status != PARO_STATUS_OK) {
        free(graph);
        return status;
    }
    graph->gpu = &d->gpu;
    *out = graph;
    return PARO_STATUS_OK;
}

paro_status paro_cuda_graph_launch(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph *graph)
{
    cuda_device *d = paro_cuda_device(stream);
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_cuda_result(err, d, d->api.graph_launch(graph->handle, stream->handle),
                              "launching a graph");
    paro_cuda_leave(d);
    return status;
}

void paro_cuda_graph_free(paro_gpu_graph *graph)
{
    cuda_device *d = paro_cuda_device(graph);
    if (paro_cuda_enter(NULL, d) == PARO_STATUS_OK) {
        d->api.graph_exec_free(graph->handle);
        paro_cuda_leave(d);
    }
    free(graph);
}
