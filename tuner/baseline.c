/* SPDX-License-Identifier: MIT
 *
 * See baseline.h.
 */
#include "tuner/baseline.h"

#include <stdlib.h>
#include <string.h>

#include "families/random.h"
#include "tuner/tuner.h"

enum { MOST_SETS = 64, LEAST_LAUNCHES = 16, MOST_SAMPLES = 200, BLOCK_ELEMENTS = 1 << 22 };

typedef struct baseline {
    paro_gpu *gpu;
    paro_gpu_stream *stream;
    paro_gpu_event *from, *to;
    paro_gpu_graph *graph;
    paro_cublaslt_product *product;
    paro_gpu_ptr x, y, w; /* w: n_sets of them */
    size_t w_bytes, n_sets, n_launches;
} baseline;

bool paro_baseline_applies(const paro_problem *problem)
{
    return strncmp(problem->family->name, "linear_", 7) == 0;
}

/* n_bytes at `to`, from a block again and again. */
static paro_status upload_blocks(paro_error *err, const baseline *b, paro_gpu_ptr to,
                                 size_t n_bytes, const void *block, size_t block_bytes)
{
    paro_status status = PARO_STATUS_OK;
    for (size_t at = 0; at < n_bytes && status == PARO_STATUS_OK; at += block_bytes)
        status = paro_gpu_upload(err, b->gpu, to + at, block,
                                 n_bytes - at < block_bytes ? n_bytes - at : block_bytes);
    return status;
}

static paro_status make_data(paro_error *err, baseline *b, size_t x_bytes, size_t y_bytes,
                             paro_dtype dtype)
{
    const size_t block_bytes = (size_t)BLOCK_ELEMENTS * 2;
    uint16_t *block = malloc(block_bytes);
    if (block == NULL)
        return paro_fail_memory(err, block_bytes, "a matrix");
    paro_random_normal(block, dtype, BLOCK_ELEMENTS, 0, 0.05, 1, NULL);
    paro_status status = paro_gpu_alloc(err, b->gpu, x_bytes, &b->x);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_alloc(err, b->gpu, y_bytes, &b->y);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_alloc(err, b->gpu, b->w_bytes * b->n_sets, &b->w);
    if (status == PARO_STATUS_OK)
        status = upload_blocks(err, b, b->x, x_bytes, block, block_bytes);
    if (status == PARO_STATUS_OK)
        status = upload_blocks(err, b, b->w, b->w_bytes, block, block_bytes);
    for (size_t i = 1; i < b->n_sets && status == PARO_STATUS_OK; i++)
        status = paro_gpu_copy(err, b->gpu, b->stream, b->w + i * b->w_bytes, b->w, b->w_bytes);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, b->stream);
    free(block);
    return status;
}

static paro_status launch(paro_error *err, baseline *b, size_t i)
{
    return paro_cublaslt_product_launch(err, b->product, b->stream, b->x,
                                        b->w + i % b->n_sets * b->w_bytes, b->y);
}

static paro_status capture(paro_error *err, baseline *b)
{
    paro_status status = launch(err, b, 0); /* once before: code is loaded at the first launch */
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, b->stream);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_graph_begin(err, b->stream);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; i < b->n_launches && status == PARO_STATUS_OK; i++)
        status = launch(err, b, i);
    paro_status ended =
        paro_gpu_graph_end(status == PARO_STATUS_OK ? err : NULL, b->stream, &b->graph);
    return status != PARO_STATUS_OK ? status : ended;
}

static paro_status replay(paro_error *err, baseline *b, double *us)
{
    paro_status status = paro_gpu_event_record(err, b->stream, b->from);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_graph_launch(err, b->stream, b->graph);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_event_record(err, b->stream, b->to);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, b->stream);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_event_elapsed(err, b->from, b->to, us);
    *us /= (double)b->n_launches;
    return status;
}

static void release(baseline *b)
{
    paro_gpu_graph_free(b->graph);
    paro_cublaslt_product_free(b->product);
    paro_gpu_release(b->gpu, b->x);
    paro_gpu_release(b->gpu, b->y);
    paro_gpu_release(b->gpu, b->w);
    paro_gpu_event_free(b->from);
    paro_gpu_event_free(b->to);
    paro_gpu_stream_free(b->stream);
}

paro_status paro_baseline_time(paro_error *err, paro_gpu *gpu, paro_cublaslt *lt,
                               const paro_problem *problem, uint32_t n_samples, double *us)
{
    baseline b = {.gpu = gpu};
    double samples[MOST_SAMPLES] = {0};
    paro_measurement m = {0};
    uint32_t n = (uint32_t)paro_problem_get(problem, "n");
    uint32_t k = (uint32_t)paro_problem_get(problem, "k");
    uint32_t tokens = (uint32_t)paro_problem_get(problem, "m");
    paro_dtype dtype =
        paro_kernel_dtype_storage((paro_kernel_dtype)paro_problem_get(problem, "dtype"));
    int64_t out = paro_problem_get(problem, "out");
    paro_dtype out_dtype = out < 0 ? dtype : paro_kernel_dtype_storage((paro_kernel_dtype)out);
    if (!paro_baseline_applies(problem) || dtype == PARO_DTYPE_F32)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "no baseline for %s", problem->family->name);
    if (n_samples < 1 || n_samples > MOST_SAMPLES)
        n_samples = n_samples < 1 ? 1 : MOST_SAMPLES;
    b.w_bytes = (size_t)n * k * 2;
    b.n_sets = (size_t)(2 * paro_gpu_info(gpu)->l2_bytes / b.w_bytes) + 1;
    if (b.n_sets > MOST_SETS)
        b.n_sets = MOST_SETS;
    b.n_launches = b.n_sets < LEAST_LAUNCHES ? LEAST_LAUNCHES : b.n_sets;
    paro_status status = paro_gpu_stream_new(err, gpu, &b.stream);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_event_new(err, gpu, &b.from);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_event_new(err, gpu, &b.to);
    if (status == PARO_STATUS_OK)
        status = paro_cublaslt_product_new(err, lt, tokens, n, k, dtype, out_dtype, &b.product);
    if (status == PARO_STATUS_OK)
        status = make_data(err, &b, (size_t)tokens * k * 2,
                           (size_t)tokens * n * paro_dtype_bytes(out_dtype), dtype);
    if (status == PARO_STATUS_OK)
        status = capture(err, &b);
    for (int i = 0; i < 3 && status == PARO_STATUS_OK; i++)
        status = replay(err, &b, &samples[0]);
    for (uint32_t i = 0; i < n_samples && status == PARO_STATUS_OK; i++)
        status = replay(err, &b, &samples[i]);
    if (status == PARO_STATUS_OK) {
        paro_measurement_set_samples(&m, samples, n_samples);
        *us = m.median_us;
    }
    release(&b);
    return status;
}
