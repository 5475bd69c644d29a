/* SPDX-License-Identifier: MIT
 *
 * Problems timed as the runtime would run them, beside a pure read of their bytes
 * (include/paro/tune.h): plain graphs of many launches, whose arguments rotate through more device
 * memory than the L2 holds, replayed between two events.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <paro/tune.h>

#include "base/log.h"
#include "cache/cache.h"
#include "codegen/codegen.h"
#include "tuner/baseline.h"
#include "tuner/problems.h"
#include "tuner/trial.h"

enum { DEFAULT_SAMPLES = 50, MIN_LAUNCHES = 32, MAX_SETS = 512, WARM_UP = 3 };

typedef struct bench {
    const paro_bench_options *options;
    paro_cache *cache; /* NULL: none */
    paro_gpu *gpu;
    paro_gpu_stream *stream;
    paro_gpu_event *from, *to;
    paro_pool *pool;
    paro_nvrtc *nvrtc; /* NULL: none here */
    paro_error no_nvrtc;
    paro_arch arch;
    bool wants_ptx;
    paro_cublaslt *library; /* NULL: not asked for, or none here */
} bench;

/* ---- a config's code ---- */

static paro_status compile(paro_error *err, const bench *b, const paro_variant *variant,
                           paro_binary *out)
{
    paro_buffer source = {0};
    if (b->nvrtc == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "the kernel is not in the cache and cannot be compiled: %s",
                         b->no_nvrtc.message);
    paro_status status = paro_render(err, variant, &source);
    if (status == PARO_STATUS_OK)
        status = paro_nvrtc_compile(
            err, b->nvrtc, source.data,
            b->wants_ptx ? b->arch.virtual_name : paro_target_of(source.data, variant->arch), out);
    paro_buffer_free(&source);
    return status;
}

/* Which config the runtime would take; its code from the cache where it is there. */
static paro_status find_kernel(paro_error *err, const bench *b, const paro_problem *problem,
                               paro_arena *arena, paro_lookup *lookup, paro_binary *binary)
{
    char hash[PARO_SHA256_HEX_BYTES];
    paro_cache_kernel cached = {0};
    paro_status status = paro_template_hash(err, problem->family, hash);
    if (status == PARO_STATUS_OK && b->cache != NULL) {
        status = paro_cache_lookup(err, b->cache, problem, &b->arch, paro_gpu_info(b->gpu), hash,
                                   NULL, arena, lookup);
    } else if (status == PARO_STATUS_OK) {
        lookup->grade = PARO_GRADE_DEFAULT;
        problem->family->default_config(problem, &b->arch, &lookup->config);
    }
    if (status != PARO_STATUS_OK)
        return status;
    if (lookup->has_kernel &&
        paro_cache_get_kernel(NULL, b->cache, lookup->key, arena, &cached) == PARO_STATUS_OK) {
        binary->data = malloc(cached.n_bytes);
        if (binary->data == NULL)
            return paro_fail_memory(err, cached.n_bytes, "a kernel");
        memcpy(binary->data, cached.binary, cached.n_bytes);
        binary->n_bytes = cached.n_bytes;
        binary->is_ptx = cached.is_ptx;
        return PARO_STATUS_OK;
    }
    const paro_variant variant = {problem, &lookup->config, &b->arch};
    return compile(err, b, &variant, binary);
}

/* ---- timing ---- */

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A graph of n launches through the trial's sets. */
static paro_status capture(paro_error *err, const bench *b, paro_trial *trial, size_t n,
                           paro_gpu_graph **out)
{
    paro_gpu_graph *graph = NULL;
    paro_status status = paro_gpu_graph_begin(err, b->stream);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++)
        status = paro_trial_launch(err, trial, b->stream, i);
    paro_status ended =
        paro_gpu_graph_end(status == PARO_STATUS_OK ? err : NULL, b->stream, &graph);
    if (status != PARO_STATUS_OK || ended != PARO_STATUS_OK) {
        paro_gpu_graph_free(graph);
        return status != PARO_STATUS_OK ? status : ended;
    }
    *out = graph;
    return PARO_STATUS_OK;
}

/* Median and spread (90th - 10th percentile) of a launch, in microseconds. */
static paro_status time_trial(paro_error *err, const bench *b, paro_trial *trial, double *median_us,
                              double *spread_us)
{
    const size_t n_samples = b->options->n_samples > 0 ? b->options->n_samples : DEFAULT_SAMPLES;
    double *samples = calloc(n_samples, sizeof *samples);
    paro_gpu_graph *graph = NULL;
    if (samples == NULL)
        return paro_fail_memory(err, n_samples * sizeof *samples, "samples");
    paro_status status =
        paro_trial_make_sets(err, trial, 2 * paro_gpu_info(b->gpu)->l2_bytes, MAX_SETS);
    size_t n = paro_trial_n_sets(trial);
    while (n < MIN_LAUNCHES)
        n += paro_trial_n_sets(trial);
    if (status == PARO_STATUS_OK)
        status = capture(err, b, trial, n, &graph);
    for (size_t i = 0; i < WARM_UP && status == PARO_STATUS_OK; i++)
        status = paro_gpu_graph_launch(err, b->stream, graph);
    for (size_t i = 0; i < n_samples && status == PARO_STATUS_OK; i++) {
        status = paro_gpu_event_record(err, b->stream, b->from);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_graph_launch(err, b->stream, graph);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_event_record(err, b->stream, b->to);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_stream_wait(err, b->stream);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_event_elapsed(err, b->from, b->to, &samples[i]);
        samples[i] /= (double)n;
    }
    if (status == PARO_STATUS_OK) {
        qsort(samples, n_samples, sizeof *samples, compare_doubles);
        *median_us = samples[n_samples / 2];
        *spread_us = samples[n_samples * 9 / 10] - samples[n_samples / 10];
    }
    paro_gpu_graph_free(graph);
    free(samples);
    return status;
}

/* The fastest of the `read` family's numbers of blocks for so many bytes. */
static paro_status time_read(paro_error *err, const bench *b, double bytes, double *read_us)
{
    paro_problem problem;
    paro_kernel_config config;
    char text[64];
    double best = 0;
    snprintf(text, sizeof text, "read:bytes=%.0f",
             bytes < 16 ? 16.0 : (double)((uint64_t)bytes / 16 * 16));
    paro_status status = paro_problem_parse(err, text, &problem);
    if (status != PARO_STATUS_OK)
        return status;
    const paro_param *blocks = &problem.family->params[0];
    for (size_t i = 0; i < blocks->n_values && status == PARO_STATUS_OK; i++) {
        paro_binary binary = {0};
        paro_trial *trial = NULL;
        double us = 0, spread = 0;
        problem.family->default_config(&problem, &b->arch, &config);
        config.values[0] = blocks->values[i];
        const paro_variant variant = {&problem, &config, &b->arch};
        status = compile(err, b, &variant, &binary);
        if (status == PARO_STATUS_OK)
            status = paro_trial_new(err, b->gpu, &problem, 0, &config, 1, b->pool, &trial);
        const paro_gpu_image image = {binary.data, binary.n_bytes, binary.is_ptx};
        if (status == PARO_STATUS_OK)
            status = paro_trial_load(err, trial, &image);
        if (status == PARO_STATUS_OK)
            status = time_trial(err, b, trial, &us, &spread);
        if (status == PARO_STATUS_OK && (best == 0 || us < best))
            best = us;
        paro_trial_free(trial);
        paro_binary_release(&binary);
    }
    if (status == PARO_STATUS_OK)
        *read_us = best;
    return status;
}

/* ---- rows ---- */

static paro_status measure(paro_error *err, const bench *b, const paro_problem *problem)
{
    paro_arena arena = {0};
    paro_lookup lookup = {0};
    paro_binary binary = {0};
    paro_trial *trial = NULL;
    paro_cost cost = {0};
    paro_error no_read;
    char text[PARO_PROBLEM_TEXT_BYTES], config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_problem_print(problem, text);
    problem->family->cost(problem, &cost);
    paro_bench_row row = {
        .problem = text, .config = config, .bytes = cost.bytes, .operations = cost.operations};
    const uint64_t seed = b->options->seed & ~UINT64_C(1);
    paro_status status = find_kernel(err, b, problem, &arena, &lookup, &binary);
    if (status == PARO_STATUS_OK)
        status = paro_trial_new(err, b->gpu, problem, 0, &lookup.config, seed, b->pool, &trial);
    const paro_gpu_image image = {binary.data, binary.n_bytes, binary.is_ptx};
    if (status == PARO_STATUS_OK)
        status = paro_trial_load(err, trial, &image);
    if (status == PARO_STATUS_OK)
        status = paro_trial_check(err, trial, &row.error);
    if (status == PARO_STATUS_OK)
        status = time_trial(err, b, trial, &row.median_us, &row.spread_us);
    if (status == PARO_STATUS_OK &&
        time_read(&no_read, b, cost.bytes, &row.read_us) != PARO_STATUS_OK)
        paro_log(b->options->observer, PARO_LOG_LEVEL_WARNING, "no read of %.0f bytes: %s",
                 cost.bytes, no_read.message);
    if (status == PARO_STATUS_OK && b->library != NULL && paro_baseline_applies(problem) &&
        paro_baseline_time(&no_read, b->gpu, b->library, problem,
                           b->options->n_samples > 0 ? b->options->n_samples : DEFAULT_SAMPLES,
                           &row.library_us) != PARO_STATUS_OK)
        paro_log(b->options->observer, PARO_LOG_LEVEL_WARNING, "no baseline for %s: %s", text,
                 no_read.message);
    if (status == PARO_STATUS_OK) {
        row.grade = paro_grade_name(lookup.grade);
        paro_kernel_config_print(problem->family, &lookup.config, config);
        if (b->options->row != NULL)
            b->options->row(b->options->row_context, &row);
    } else {
        status = paro_fail_in(err, status, "%s", text);
    }
    paro_trial_free(trial);
    paro_binary_release(&binary);
    paro_arena_release(&arena);
    return status;
}

static paro_status open_device(paro_error *err, bench *b)
{
    paro_status status = paro_gpu_open_cuda(err, b->options->device, &b->gpu);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_device_arch(err, paro_gpu_info(b->gpu), &b->arch, &b->wants_ptx);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_new(err, b->gpu, &b->stream);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_event_new(err, b->gpu, &b->from);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_event_new(err, b->gpu, &b->to);
    if (status == PARO_STATUS_OK)
        status = paro_pool_new(err, 0, &b->pool);
    if (status == PARO_STATUS_OK)
        paro_nvrtc_new(&b->no_nvrtc, b->options->nvrtc_library, &b->nvrtc);
    if (status == PARO_STATUS_OK && b->options->library) {
        paro_error no_library;
        if (paro_cublaslt_new(&no_library, b->gpu, NULL, &b->library) != PARO_STATUS_OK)
            paro_log(b->options->observer, PARO_LOG_LEVEL_WARNING, "%s", no_library.message);
    }
    return status;
}

paro_status paro_bench_kernels(paro_error *err, paro_cache *cache, const paro_problems *problems,
                               const paro_bench_options *options)
{
    static const paro_bench_options none = {0};
    bench b = {.options = options != NULL ? options : &none, .cache = cache};
    const size_t n = paro_problems_count(problems);
    size_t n_failed = 0;
    paro_error first = {.status = PARO_STATUS_OK}, why;
    paro_status status = open_device(err, &b);
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++) {
        if (measure(&why, &b, &paro_problems_array(problems)[i]) != PARO_STATUS_OK) {
            paro_log(b.options->observer, PARO_LOG_LEVEL_WARNING, "%s", why.message);
            first = n_failed++ == 0 ? why : first;
        }
        status = paro_report(err, b.options->observer, "bench", i + 1, n);
    }
    if (status == PARO_STATUS_OK && n_failed > 0)
        status =
            paro_fail(err, first.status, "%zu of %zu problems could not be measured; the first: %s",
                      n_failed, n, first.message);
    paro_cublaslt_free(b.library);
    paro_nvrtc_free(b.nvrtc);
    paro_pool_free(b.pool);
    paro_gpu_event_free(b.to);
    paro_gpu_event_free(b.from);
    paro_gpu_stream_free(b.stream);
    paro_gpu_free(b.gpu);
    return status;
}
