/* SPDX-License-Identifier: MIT
 *
 * See gpu_model.h.
 */
#include "runtime/gpu_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "runtime/gpu_weights.h"
#include "runtime/shape.h"

/* ---- linears and their steps --------------------------------------------------------------------
 */

enum { MAX_PARTS = 3 };

/* Steps that multiply with a weight, and the slots whose rows it has. */
static const struct linear_step {
    paro_step step;
    paro_slot slots[MAX_PARTS];
    size_t n_slots;
} linear_steps[] = {
    {PARO_STEP_QKV, {PARO_SLOT_Q, PARO_SLOT_K, PARO_SLOT_V}, 3},
    {PARO_STEP_Q, {PARO_SLOT_Q}, 1},
    {PARO_STEP_K, {PARO_SLOT_K}, 1},
    {PARO_STEP_V, {PARO_SLOT_V}, 1},
    {PARO_STEP_O, {PARO_SLOT_O}, 1},
    {PARO_STEP_GATE_UP, {PARO_SLOT_GATE, PARO_SLOT_UP}, 2},
    {PARO_STEP_GATE, {PARO_SLOT_GATE}, 1},
    {PARO_STEP_UP, {PARO_SLOT_UP}, 1},
    {PARO_STEP_DOWN, {PARO_SLOT_DOWN}, 1},
};
enum { N_LINEAR_STEPS = sizeof linear_steps / sizeof linear_steps[0] };

static bool is_quantised(const paro_problem *problem)
{
    return strcmp(problem->family->name, "linear_w4") == 0;
}

/* The step's problems for all buckets; 0 where the layer has no such step. */
static size_t bucket_problems(const paro_gpu_model *device, size_t layer, paro_step step,
                              paro_problem out[PARO_GPU_MAX_BUCKETS])
{
    size_t n = 0;
    for (uint32_t m; n < PARO_GPU_MAX_BUCKETS && (m = paro_bucket_get(n)) != 0; n++)
        if (!paro_model_problem(&device->shape, layer, step, m, &out[n]))
            return 0;
    return n;
}

/* Every weight's layout, before any of its kernels is asked for. */
static paro_status choose_layouts(paro_error *err, paro_gpu_model *device)
{
    for (size_t layer = 0; layer < device->shape.n_layers; layer++)
        for (size_t i = 0; i < N_LINEAR_STEPS; i++) {
            const paro_step step = linear_steps[i].step;
            paro_gpu_linear *linear = &device->blocks[layer].linears[step];
            paro_problem problems[PARO_GPU_MAX_BUCKETS], other;
            const size_t n = bucket_problems(device, layer, step, problems);
            if (n == 0 || !is_quantised(&problems[0]))
                continue;
            if (layer > 0 && /* layers are alike, mostly */
                paro_model_problem(&device->shape, layer - 1, step, 1, &other) &&
                paro_problem_equal(&other, &problems[0])) {
                linear->layout = device->blocks[layer - 1].linears[step].layout;
                continue;
            }
            paro_status status =
                paro_kernels_layout(err, device->kernels, problems, n, &linear->layout);
            if (status != PARO_STATUS_OK)
                return status;
        }
    return PARO_STATUS_OK;
}

/* ---- buckets ------------------------------------------------------------------------------------
 */

static paro_status make_bucket(paro_error *err, paro_gpu_model *device, uint32_t m,
                               paro_gpu_bucket *out)
{
    const size_t n = device->shape.n_layers * PARO_STEP_COUNT;
    paro_gpu_bucket bucket = {.m = m};
    paro_kernel_request *requests = calloc(n, sizeof *requests);
    size_t *places = calloc(n, sizeof *places), n_requests = 0;
    paro_status status = PARO_STATUS_OK;
    if (requests == NULL || places == NULL) {
        status = paro_fail_memory(err, n * sizeof *requests, "a table of kernels");
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        const size_t layer = i / PARO_STEP_COUNT, step = i % PARO_STEP_COUNT;
        paro_kernel_request *request = &requests[n_requests];
        if (!paro_model_problem(&device->shape, layer, (paro_step)step, m, &request->problem))
            continue;
        request->layout = device->blocks[layer].linears[step].layout;
        places[n_requests++] = i;
    }
    status = paro_kernels_load(err, device->kernels, requests, n_requests);
    if (status != PARO_STATUS_OK)
        goto done;
    bucket.kernels = paro_arena_array(&device->arena, n, sizeof *bucket.kernels);
    if (bucket.kernels == NULL) {
        status = paro_fail_memory(err, n * sizeof *bucket.kernels, "a table of kernels");
        goto done;
    }
    for (size_t i = 0; i < n_requests; i++) {
        bucket.kernels[places[i]] = requests[i].kernel;
        if (requests[i].kernel->scratch_bytes > bucket.scratch_bytes)
            bucket.scratch_bytes = requests[i].kernel->scratch_bytes;
    }
    *out = bucket;
done:
    free(requests);
    free(places);
    return status;
}

const paro_kernel *paro_gpu_bucket_kernel(const paro_gpu_bucket *bucket, size_t layer,
                                          paro_step step)
{
    return bucket->kernels[layer * PARO_STEP_COUNT + (size_t)step];
}

/* Under the mutex. */
static paro_status find_bucket(paro_error *err, paro_gpu_model *device, uint32_t m,
                               const paro_gpu_bucket **out)
{
    size_t n = 0;
    while (paro_bucket_get(n + 1) != 0 && paro_bucket_get(n) < m)
        n++;
    for (;; n--) {
        paro_error reason = {0};
        if (device->has_bucket[n])
            break;
        if (device->lacks_bucket[n] && n > 0)
            continue;
        paro_status status = make_bucket(&reason, device, paro_bucket_get(n), &device->buckets[n]);
        device->has_bucket[n] = status == PARO_STATUS_OK;
        if (status == PARO_STATUS_OK)
            break;
        if (status != PARO_STATUS_UNSUPPORTED || n == 0)
            return paro_fail(err, status, "%s", reason.message);
        device->lacks_bucket[n] = true;
        paro_log(device->observer, PARO_LOG_LEVEL_WARNING, "reads %u tokens at a time, not %u: %s",
                 paro_bucket_get(n - 1), paro_bucket_get(n), reason.message);
    }
    *out = &device->buckets[n];
    return PARO_STATUS_OK;
}

paro_status paro_gpu_model_bucket(paro_error *err, paro_gpu_model *device, uint32_t m,
                                  const paro_gpu_bucket **out)
{
    pthread_mutex_lock(&device->mutex);
    paro_status status = find_bucket(err, device, m, out);
    pthread_mutex_unlock(&device->mutex);
    return status;
}

/* ---- weights ------------------------------------------------------------------------------------
 */

static paro_status upload_norm(paro_error *err, paro_gpu_model *device, const paro_tensor *tensor,
                               paro_gpu_ptr *out)
{
    if (tensor == NULL)
        return PARO_STATUS_OK;
    paro_status status = paro_gpu_model_alloc(err, device, tensor->n_values * sizeof(float), out);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_upload_tensor(err, device, tensor, PARO_DTYPE_F32, *out);
    return status;
}

/* The kernels that pack this model's weights, by layer and step; NULL for weights of 16 bits. */
static paro_status load_packers(paro_error *err, paro_gpu_model *device,
                                const paro_kernel **packers)
{
    const size_t n = device->shape.n_layers * N_LINEAR_STEPS;
    paro_kernel_request *requests = calloc(n, sizeof *requests);
    size_t *places = calloc(n, sizeof *places), n_requests = 0;
    paro_status status = PARO_STATUS_OK;
    if (requests == NULL || places == NULL)
        status = paro_fail_memory(err, n * sizeof *requests, "a table of kernels");
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++) {
        const size_t layer = i / N_LINEAR_STEPS;
        const paro_step step = linear_steps[i % N_LINEAR_STEPS].step;
        paro_problem problem;
        if (!paro_model_problem(&device->shape, layer, step, 1, &problem) ||
            !is_quantised(&problem))
            continue;
        status = paro_pack_problem(err, &problem, device->blocks[layer].linears[step].layout,
                                   &requests[n_requests].problem);
        places[n_requests++] = i;
    }
    if (status == PARO_STATUS_OK)
        status = paro_kernels_load(err, device->kernels, requests, n_requests);
    for (size_t i = 0; i < n_requests && status == PARO_STATUS_OK; i++)
        packers[places[i]] = requests[i].kernel;
    free(requests);
    free(places);
    return status;
}

static paro_status upload_block(paro_error *err, paro_gpu_model *device, paro_gpu_stream *stream,
                                size_t layer, const paro_kernel *const *packers)
{
    paro_block *from = &device->model->blocks[layer];
    paro_gpu_block *block = &device->blocks[layer];
    const paro_gpu_bucket *bucket = &device->buckets[0];
    paro_status status = upload_norm(err, device, from->input_norm, &block->input_norm);
    if (status == PARO_STATUS_OK)
        status = upload_norm(err, device, from->post_attention_norm, &block->post_attention_norm);
    if (status == PARO_STATUS_OK)
        status = upload_norm(err, device, from->q_norm, &block->q_norm);
    if (status == PARO_STATUS_OK)
        status = upload_norm(err, device, from->k_norm, &block->k_norm);
    for (size_t i = 0; i < N_LINEAR_STEPS && status == PARO_STATUS_OK; i++) {
        const struct linear_step *step = &linear_steps[i];
        const paro_kernel *kernel = paro_gpu_bucket_kernel(bucket, layer, step->step);
        paro_linear *parts[MAX_PARTS];
        if (kernel == NULL)
            continue;
        for (size_t k = 0; k < step->n_slots; k++)
            parts[k] = &from->linears[step->slots[k]];
        /* What the checkpoint promises holds before anything of it reaches the device. */
        for (size_t k = 0; k < step->n_slots && status == PARO_STATUS_OK; k++)
            status = paro_linear_prepare(err, parts[k]);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_linear_upload(err, device, stream, parts, step->n_slots, kernel,
                                            packers[i], &block->linears[step->step]);
        for (size_t k = 0; k < step->n_slots; k++)
            paro_linear_release(parts[k]); /* the CPU's tables */
    }
    return status;
}

static paro_status upload_outside(paro_error *err, paro_gpu_model *device, paro_gpu_stream *stream)
{
    const paro_model *model = device->model;
    const paro_dtype dtype = paro_kernel_dtype_storage(device->shape.dtype);
    const paro_kernel *head = paro_gpu_bucket_kernel(&device->buckets[0], 0, PARO_STEP_HEAD);
    paro_linear *parts[1] = {model->head};
    paro_status status = upload_norm(err, device, model->norm, &device->norm);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_model_alloc(
            err, device, model->embedding->n_values * paro_dtype_bytes(dtype), &device->embedding);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_upload_tensor(err, device, model->embedding, dtype, device->embedding);
    if (status == PARO_STATUS_OK)
        status = paro_linear_prepare(err, model->head);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_linear_upload(err, device, stream, parts, 1, head, NULL, &device->head);
    paro_linear_release(model->head);
    return status;
}

static paro_status upload_all(paro_error *err, paro_gpu_model *device)
{
    const size_t n_layers = device->shape.n_layers;
    paro_gpu_stream *stream = NULL;
    const paro_kernel **packers = calloc(n_layers * N_LINEAR_STEPS, sizeof *packers);
    paro_status status =
        packers == NULL
            ? paro_fail_memory(err, n_layers * N_LINEAR_STEPS * sizeof *packers, "kernels")
            : load_packers(err, device, packers);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_new(err, device->gpu, &stream);
    if (status == PARO_STATUS_OK)
        status = upload_outside(err, device, stream);
    for (size_t layer = 0; layer < n_layers && status == PARO_STATUS_OK; layer++) {
        status = paro_report(err, device->observer, "load", layer, n_layers);
        if (status == PARO_STATUS_OK)
            status = upload_block(err, device, stream, layer, packers + layer * N_LINEAR_STEPS);
    }
    if (status == PARO_STATUS_OK)
        status = paro_report(err, device->observer, "load", n_layers, n_layers);
    paro_gpu_stream_free(stream);
    free(packers);
    return status;
}

/* ---- all of it ----------------------------------------------------------------------------------
 */

static paro_status choose_shape(paro_error *err, paro_gpu_model *device)
{
    const paro_tensor *which = NULL;
    const paro_kernel_dtype dtype = paro_model_kernel_dtype(device->model, &which);
    if (which != NULL)
        paro_log(device->observer, PARO_LOG_LEVEL_INFO,
                 "%s: computes in bf16, because %s is beyond what f16 holds", device->model->dir,
                 which->name);
    paro_status status =
        paro_shape_of_model(err, device->model, dtype, &device->arena, &device->shape);
    /* Only this says why there is no kernel for a step. */
    const uint32_t one = paro_bucket_get(0);
    paro_problem *problems = NULL;
    size_t n_problems = 0;
    if (status == PARO_STATUS_OK)
        status = paro_model_problems(err, &device->shape, &one, 1, &problems, &n_problems);
    free(problems);
    return status;
}

paro_status paro_gpu_model_new(paro_error *err, const paro_model *model, paro_gpu *gpu,
                               const paro_kernels_options *options, paro_gpu_model **out)
{
    const double start = paro_clock_seconds();
    const size_t n_layers = model->config.n_layers;
    paro_gpu_model *device = calloc(1, sizeof *device);
    if (device == NULL) {
        paro_gpu_free(gpu);
        return paro_fail_memory(err, sizeof *device, "a model");
    }
    device->model = model;
    device->gpu = gpu;
    device->name = paro_gpu_info(gpu)->name;
    device->observer = options == NULL ? NULL : options->observer;
    device->has_mutex = pthread_mutex_init(&device->mutex, NULL) == 0;
    device->blocks = paro_arena_array(&device->arena, n_layers, sizeof *device->blocks);
    paro_status status = PARO_STATUS_OK;
    if (!device->has_mutex || device->blocks == NULL)
        status = paro_fail_memory(err, n_layers * sizeof *device->blocks, "a model");
    if (status == PARO_STATUS_OK)
        status = choose_shape(err, device);
    if (status == PARO_STATUS_OK)
        status = paro_kernels_new(err, gpu, options, &device->kernels);
    if (status == PARO_STATUS_OK)
        status = choose_layouts(err, device);
    if (status == PARO_STATUS_OK)
        status = make_bucket(err, device, paro_bucket_get(0), &device->buckets[0]);
    device->has_bucket[0] = status == PARO_STATUS_OK;
    if (status == PARO_STATUS_OK)
        status = upload_all(err, device);
    if (status != PARO_STATUS_OK) {
        paro_gpu_model_free(device);
        return status;
    }
    paro_log(device->observer, PARO_LOG_LEVEL_DEBUG, "%.1f MB of weights loaded in %.2f s",
             (double)device->n_weight_bytes / 1e6, paro_clock_seconds() - start);
    *out = device;
    return status;
}

void paro_gpu_model_free(paro_gpu_model *device)
{
    if (device == NULL)
        return;
    for (size_t i = 0; i < device->n_memory; i++)
        paro_gpu_release(device->gpu, device->memory[i]);
    free(device->memory);
    paro_kernels_free(device->kernels);
    paro_gpu_free(device->gpu);
    paro_arena_release(&device->arena);
    if (device->has_mutex)
        pthread_mutex_destroy(&device->mutex);
    free(device);
}
