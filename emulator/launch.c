/* SPDX-License-Identifier: MIT
 *
 * Launches on the emulated device: an arch's limits, clusters over the pool's threads, graphs.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "emulator/device.h"

enum { MAX_CLUSTER = 8, MAX_GRID_YZ = 65535 };

/* ---- limits ------------------------------------------------------------------------------------
 */

static paro_status check_launch(paro_error *err, const paro_arch *arch,
                                const paro_gpu_launch *launch)
{
    const paro_emu_kernel *kernel = ((const paro_emu_function *)launch->function)->kernel;
    const char *name = kernel->name;
    const uint32_t cluster = launch->cluster > 1 ? launch->cluster : 1;
    const uint32_t *grid = launch->grid;
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || grid[0] > INT32_MAX ||
        grid[1] > MAX_GRID_YZ || grid[2] > MAX_GRID_YZ)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "kernel %s: a grid of %u x %u x %u blocks, expected 1 to 2^31 - 1, 65535, "
                         "65535",
                         name, grid[0], grid[1], grid[2]);
    if (launch->n_threads == 0 || launch->n_threads % PARO_EMU_WARP != 0 ||
        launch->n_threads > PARO_EMU_MAX_THREADS || launch->n_threads > kernel->max_threads)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "kernel %s: blocks of %u threads, expected a multiple of 32 up to %u",
                         name, launch->n_threads,
                         kernel->max_threads < PARO_EMU_MAX_THREADS ? kernel->max_threads
                                                                    : PARO_EMU_MAX_THREADS);
    if (launch->shared_bytes > arch->max_shared_bytes)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "kernel %s: %u bytes of shared memory, %s has %u for a block", name,
                         launch->shared_bytes, arch->name, arch->max_shared_bytes);
    if (cluster > 1 && (arch->features & PARO_ARCH_CLUSTER) == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "kernel %s: clusters of %u blocks, %s has none", name, cluster,
                         arch->name);
    if (cluster > MAX_CLUSTER || grid[0] % cluster != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "kernel %s: clusters of %u blocks in a grid %u wide, expected at most %d "
                         "and a divisor of it",
                         name, cluster, grid[0], MAX_CLUSTER);
    if (launch->n_args != kernel->n_params)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "kernel %s: %zu arguments, it has %zu",
                         name, launch->n_args, kernel->n_params);
    return PARO_STATUS_OK;
}

/* ---- running -----------------------------------------------------------------------------------
 */

typedef struct work {
    paro_emu_device *device;
    paro_emu_launch launch;
    uint64_t n_clusters;
    uint64_t factor, offset; /* the order of clusters: (i * factor + offset) % n_clusters */
    bool has_failed;
    pthread_mutex_t lock; /* over the three below; has_failed is also read without, atomically */
    uint64_t failed_at;
    paro_status status;
    paro_error err;
} work;

static void run_one(void *context, size_t i, int worker)
{
    work *w = context;
    if (__atomic_load_n(&w->has_failed, __ATOMIC_RELAXED))
        return;
    paro_error err = {0};
    const uint64_t index = ((uint64_t)i * w->factor + w->offset) % w->n_clusters;
    paro_status status = paro_emu_run_cluster(&err, &w->device->workers[worker], &w->launch, index);
    if (status == PARO_STATUS_OK)
        return;
    (void)pthread_mutex_lock(&w->lock);
    if (!w->has_failed || i < w->failed_at) {
        w->failed_at = i;
        w->status = status;
        w->err = err;
    }
    __atomic_store_n(&w->has_failed, true, __ATOMIC_RELAXED);
    (void)pthread_mutex_unlock(&w->lock);
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static paro_status run_kernel(paro_error *err, paro_emu_device *device,
                              const paro_gpu_launch *launch)
{
    const paro_emu_function *function = (const paro_emu_function *)launch->function;
    work w = {.device = device,
              .launch = {.kernel = function->kernel->name,
                         .fn = function->kernel->fn,
                         .self_at = function->module->object.self_at,
                         .args = launch->args,
                         .n_threads = launch->n_threads,
                         .cluster = launch->cluster > 1 ? launch->cluster : 1,
                         .shared_bytes = launch->shared_bytes,
                         .seed = device->seed,
                         .arch = device->arch}};
    memcpy(w.launch.grid, launch->grid, sizeof w.launch.grid);
    w.n_clusters = (uint64_t)launch->grid[0] / w.launch.cluster * launch->grid[1] * launch->grid[2];
    w.offset = paro_hash_mix(device->seed + 1) % w.n_clusters;
    w.factor = paro_hash_mix(device->seed + 2) % w.n_clusters;
    if (w.n_clusters > UINT32_MAX) /* the product above must not overflow */
        w.factor = 1;
    while (common_divisor(w.factor, w.n_clusters) != 1)
        w.factor++;
    (void)pthread_mutex_init(&w.lock, NULL);
    (void)pthread_mutex_lock(&device->lock);
    paro_pool_run(device->pool, w.n_clusters, run_one, &w);
    (void)pthread_mutex_unlock(&device->lock);
    (void)pthread_mutex_destroy(&w.lock);
    return w.has_failed ? paro_fail(err, w.status, "%s", w.err.message) : PARO_STATUS_OK;
}

static paro_status run_step(paro_error *err, paro_emu_device *device, const paro_emu_step *step)
{
    switch (step->kind) {
    case PARO_EMU_LAUNCH:
        return run_kernel(err, device, &step->launch);
    case PARO_EMU_COPY:
        memmove((void *)(uintptr_t)step->to, (const void *)(uintptr_t)step->from, step->n_bytes);
        break;
    case PARO_EMU_FILL:
        memset((void *)(uintptr_t)step->to, step->byte, step->n_bytes);
        break;
    }
    return PARO_STATUS_OK;
}

/* ---- recording ---------------------------------------------------------------------------------
 */

static paro_status record(paro_error *err, paro_emu_graph *graph, const paro_emu_step *step)
{
    if (graph->n_steps == graph->capacity) {
        const size_t capacity = graph->capacity == 0 ? 16 : 2 * graph->capacity;
        paro_emu_step *steps = realloc(graph->steps, capacity * sizeof *steps);
        if (steps == NULL)
            return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory for a graph");
        graph->steps = steps;
        graph->capacity = capacity;
    }
    paro_emu_step copy = *step;
    if (step->kind == PARO_EMU_LAUNCH) {
        const paro_emu_kernel *kernel = ((const paro_emu_function *)step->launch.function)->kernel;
        copy.launch.args =
            paro_arena_array(&graph->arena, kernel->n_params, sizeof *copy.launch.args);
        for (size_t i = 0; copy.launch.args != NULL && i < kernel->n_params; i++) {
            copy.launch.args[i] = paro_arena_alloc(&graph->arena, kernel->sizes[i]);
            if (copy.launch.args[i] == NULL)
                copy.launch.args = NULL;
            else
                memcpy(copy.launch.args[i], step->launch.args[i], kernel->sizes[i]);
        }
        if (copy.launch.args == NULL)
            return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory for a graph");
    }
    graph->steps[graph->n_steps++] = copy;
    return PARO_STATUS_OK;
}

paro_status paro_emu_do(paro_error *err, paro_emu_stream *stream, const paro_emu_step *step)
{
    if (stream->recording == NULL)
        return run_step(err, (paro_emu_device *)stream->gpu, step);
    paro_status status = record(err, stream->recording, step);
    if (status != PARO_STATUS_OK)
        stream->has_failed = true;
    return status;
}

paro_status paro_emu_launch_kernel(paro_error *err, paro_gpu_stream *stream,
                                   const paro_gpu_launch *launch)
{
    paro_emu_stream *own = (paro_emu_stream *)stream;
    paro_status status = check_launch(err, ((paro_emu_device *)own->gpu)->arch, launch);
    if (status != PARO_STATUS_OK) {
        own->has_failed = own->recording != NULL;
        return status;
    }
    return paro_emu_do(err, own, &(paro_emu_step){.kind = PARO_EMU_LAUNCH, .launch = *launch});
}

/* ---- graphs ------------------------------------------------------------------------------------
 */

paro_status paro_emu_graph_begin(paro_error *err, paro_gpu_stream *stream)
{
    paro_emu_stream *own = (paro_emu_stream *)stream;
    if (own->recording != NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "graph: the stream records one already: end it first");
    own->recording = calloc(1, sizeof *own->recording);
    if (own->recording == NULL)
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory for a graph");
    own->recording->gpu = own->gpu;
    own->has_failed = false;
    return PARO_STATUS_OK;
}

paro_status paro_emu_graph_end(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph **out)
{
    paro_emu_stream *own = (paro_emu_stream *)stream;
    paro_gpu_graph *graph = (paro_gpu_graph *)own->recording;
    if (graph == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "graph: the stream records none");
    own->recording = NULL;
    if (own->has_failed) {
        paro_emu_graph_free(graph);
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "graph: something put into the stream while it was recorded failed");
    }
    *out = graph;
    return PARO_STATUS_OK;
}

paro_status paro_emu_graph_launch(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph *graph)
{
    const paro_emu_graph *own = (const paro_emu_graph *)graph;
    if (((paro_emu_stream *)stream)->recording != NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "graph: launched into a stream that records another");
    for (size_t i = 0; i < own->n_steps; i++) {
        paro_status status = run_step(err, (paro_emu_device *)own->gpu, &own->steps[i]);
        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}

void paro_emu_graph_free(paro_gpu_graph *graph)
{
    paro_emu_graph *own = (paro_emu_graph *)graph;
    if (own == NULL)
        return;
    paro_arena_release(&own->arena);
    free(own->steps);
    free(own);
}
