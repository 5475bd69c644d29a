/* SPDX-License-Identifier: MIT
 *
 * See timer.h.
 *
 * Invariants: 1. all kernels of a timer go into its one stream, so that records in order of start
 * are in order of launch; 2. nothing else in the process launches kernels meanwhile.
 */
#include "tuner/timer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "families/read.h"
#include "gpu/nvml.h"

enum {
    MOST_SETS = 16,
    MOST_SAMPLES = 256,
    PROBE_PATTERN_WORDS = 1024,
    PROBE_READS = 5,
    LOST_BATCHES = 5 /* without a record, before CUPTI is given up */
};

static const double lowest_clock = 0.93; /* of the highest seen: below it samples do not count */
static const double look_seconds = 0.5; /* between two looks for other processes, which take long */

typedef enum clock_kind { CLOCK_CUPTI, CLOCK_GRAPH, CLOCK_EVENTS, CLOCK_HOST } clock_kind;

struct paro_timer {
    paro_gpu *gpu;
    paro_cupti *cupti;
    paro_nvml *nvml; /* may be NULL */
    paro_gpu_stream *stream;
    paro_gpu_event *events[2];
    clock_kind clock;
    uint32_t highest_mhz;
    uint32_t n_others; /* when the timer was made */
    double looked_at;
    bool has_company; /* more than those, when last looked for */
    paro_gpu_module *probe_module;
    paro_launch_plan probe_plan;
    paro_gpu_function *probe[PARO_MAX_LAUNCHES];
    paro_gpu_ptr probe_x, probe_y;
    size_t probe_bytes, n_probe_words; /* of x; of y */
    bool has_probe;
    size_t flush_bytes; /* twice the L2 */
    size_t next_set;
};

paro_status paro_timer_new(paro_error *err, paro_gpu *gpu, paro_cupti *cupti, paro_timer **out)
{
    paro_timer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return paro_fail_memory(err, sizeof *t, "a timer");
    t->gpu = gpu;
    t->cupti = cupti;
    t->flush_bytes = (size_t)(2 * paro_gpu_info(gpu)->l2_bytes);
    paro_status status = paro_gpu_stream_new(err, gpu, &t->stream);
    if (paro_gpu_get_kind(gpu) == PARO_GPU_KIND_EMULATED) {
        t->clock = CLOCK_HOST;
    } else {
        t->clock = cupti != NULL ? CLOCK_CUPTI : CLOCK_GRAPH;
        for (size_t i = 0; i < 2 && status == PARO_STATUS_OK; i++)
            status = paro_gpu_event_new(err, gpu, &t->events[i]);
        if (status == PARO_STATUS_OK && paro_nvml_new(NULL, gpu, &t->nvml) == PARO_STATUS_OK) {
            uint32_t n = paro_nvml_n_processes(t->nvml);
            t->n_others = n > 1 ? n - 1 : 0;
        }
    }
    if (status != PARO_STATUS_OK) {
        paro_timer_free(t);
        return status;
    }
    *out = t;
    return PARO_STATUS_OK;
}

void paro_timer_free(paro_timer *t)
{
    if (t == NULL)
        return;
    paro_gpu_release(t->gpu, t->probe_x);
    paro_gpu_release(t->gpu, t->probe_y);
    paro_gpu_module_free(t->probe_module);
    paro_gpu_event_free(t->events[0]);
    paro_gpu_event_free(t->events[1]);
    paro_gpu_stream_free(t->stream);
    paro_nvml_free(t->nvml);
    free(t);
}

const char *paro_timer_clock(const paro_timer *t)
{
    static const char *const names[] = {"cupti", "graph", "events", "host"};
    return names[t->clock];
}

uint32_t paro_timer_n_others(const paro_timer *t)
{
    return t->n_others;
}

/* ---- the probe --------------------------------------------------------------------------------
 */

paro_status paro_probe_variant(paro_error *err, const paro_device_info *info, const paro_arch *arch,
                               paro_problem *problem, paro_kernel_config *config)
{
    char text[PARO_PROBLEM_TEXT_BYTES];
    uint64_t n_bytes = (uint64_t)512 << 20;
    if (info->l2_bytes == 0)
        n_bytes = (uint64_t)1 << 20; /* nothing to flush */
    while (n_bytes < 2 * info->l2_bytes)
        n_bytes *= 2;
    while (n_bytes > info->memory_bytes / 8 && n_bytes > 4096)
        n_bytes /= 2;
    snprintf(text, sizeof text, "read:bytes=%" PRIu64, n_bytes);
    paro_status status = paro_problem_parse(err, text, problem);
    if (status != PARO_STATUS_OK)
        return status;
    problem->family->default_config(problem, arch, config);
    const paro_param *blocks = &problem->family->params[0];
    for (size_t i = 0; i < blocks->n_values; i++) { /* four for each multiprocessor, or more */
        config->values[0] = blocks->values[i];
        if ((uint64_t)blocks->values[i] >= 4 * (uint64_t)info->n_sms)
            break;
    }
    return PARO_STATUS_OK;
}

static paro_status load_probe(paro_error *err, paro_timer *t, const paro_gpu_image *image)
{
    const paro_device_info *info = paro_gpu_info(t->gpu);
    paro_problem problem;
    paro_kernel_config config;
    paro_arch arch;
    paro_arg_info x, y;
    bool wants_ptx;
    paro_status status = paro_device_arch(err, info, &arch, &wants_ptx);
    if (status == PARO_STATUS_OK)
        status = paro_probe_variant(err, info, &arch, &problem, &config);
    if (status != PARO_STATUS_OK)
        return status;
    problem.family->plan(&problem, &config, &t->probe_plan);
    problem.family->arg_info(&problem, &config, PARO_READ_ARG_X, &x);
    problem.family->arg_info(&problem, &config, PARO_READ_ARG_Y, &y);
    t->probe_bytes = (size_t)x.n * 4;
    t->n_probe_words = (size_t)y.n;
    if (t->flush_bytes > t->probe_bytes)
        t->flush_bytes = t->probe_bytes;
    status = paro_gpu_module_load(err, t->gpu, image, &t->probe_module);
    if (status == PARO_STATUS_OK)
        status = paro_launch_plan_functions(err, t->probe_module, &t->probe_plan, t->probe);
    if (status == PARO_STATUS_OK)
        status = paro_launch_plan_check(err, problem.family, &t->probe_plan, t->probe);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_alloc(err, t->gpu, t->probe_bytes, &t->probe_x);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_alloc(err, t->gpu, t->n_probe_words * 4, &t->probe_y);
    return status;
}

static paro_status read_memory(paro_error *err, paro_timer *t)
{
    paro_gpu_value values[PARO_MAX_ARGS] = {
        [PARO_READ_ARG_X] = {.ptr = t->probe_x}, [PARO_READ_ARG_Y] = {.ptr = t->probe_y}};
    return paro_launch_plan_launch(err, t->stream, &t->probe_plan, t->probe, values);
}

/* Known contents: a pattern at the start, zeros behind it; what the words of the result are to make
 * together. */
static paro_status fill_probe(paro_error *err, paro_timer *t, uint32_t *expected)
{
    uint32_t pattern[PROBE_PATTERN_WORDS], sum = 0;
    for (uint32_t i = 0; i < PROBE_PATTERN_WORDS; i++) {
        pattern[i] = (i + 1) * 2654435761u;
        sum ^= pattern[i];
    }
    paro_status status = paro_gpu_fill(err, t->gpu, t->stream, t->probe_x, 0, t->probe_bytes);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_fill(err, t->gpu, t->stream, t->probe_y, 0xFF, t->n_probe_words * 4);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, t->stream);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_upload(err, t->gpu, t->probe_x, pattern, sizeof pattern);
    *expected = sum;
    return status;
}

static paro_status time_read(paro_error *err, paro_timer *t, double *us)
{
    const paro_kernel_record *records = NULL;
    size_t n = 0;
    double best = 0;
    paro_status status = PARO_STATUS_OK;
    if (t->clock == CLOCK_CUPTI)
        status = paro_cupti_take(err, t->cupti, 0, &records, &n);
    for (int i = 0; i < PROBE_READS && status == PARO_STATUS_OK; i++) {
        double one = 0;
        if (t->clock != CLOCK_CUPTI)
            status = paro_gpu_event_record(err, t->stream, t->events[0]);
        if (status == PARO_STATUS_OK)
            status = read_memory(err, t);
        if (status == PARO_STATUS_OK && t->clock != CLOCK_CUPTI)
            status = paro_gpu_event_record(err, t->stream, t->events[1]);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_stream_wait(err, t->stream);
        if (status != PARO_STATUS_OK)
            return status;
        if (t->clock == CLOCK_CUPTI) {
            status = paro_cupti_take(err, t->cupti, 1, &records, &n);
            if (status == PARO_STATUS_OK && n == 1)
                one = (double)(records[0].end_ns - records[0].start_ns) / 1e3;
            else
                t->clock = CLOCK_GRAPH; /* it records nothing here: do without */
        } else {
            status = paro_gpu_event_elapsed(err, t->events[0], t->events[1], &one);
        }
        if (one > 0 && (best == 0 || one < best))
            best = one;
    }
    *us = best;
    return status;
}

/* Whether samples taken just now count: the device is not throttled, and no process has come to it
 * since the timer was made. *mhz is the SM clock (0: unknown). */
static bool device_is_calm(paro_timer *t, uint32_t *mhz)
{
    paro_nvml_state state;
    *mhz = 0;
    if (t->nvml == NULL)
        return true;
    const double now = paro_clock_seconds();
    if (now - t->looked_at >= look_seconds) {
        t->has_company = paro_nvml_n_processes(t->nvml) > t->n_others + 1;
        t->looked_at = now;
    }
    paro_nvml_read(t->nvml, &state);
    *mhz = state.sm_clock_mhz;
    if (state.sm_clock_mhz > t->highest_mhz)
        t->highest_mhz = state.sm_clock_mhz;
    return !t->has_company && !state.is_throttled &&
           state.sm_clock_mhz >= lowest_clock * t->highest_mhz;
}

/* Whether the device computes right. */
static paro_status check_probe(paro_error *err, paro_timer *t)
{
    uint32_t expected = 0, found = 0;
    uint32_t *words = malloc(t->n_probe_words * sizeof *words);
    if (words == NULL)
        return paro_fail_memory(err, t->n_probe_words * sizeof *words, "the probe's result");
    paro_status status = fill_probe(err, t, &expected);
    if (status == PARO_STATUS_OK)
        status = read_memory(err, t);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, t->stream);
    if (status == PARO_STATUS_OK)
        status =
            paro_gpu_download(err, t->gpu, words, t->probe_y, t->n_probe_words * sizeof *words);
    for (size_t i = 0; i < t->n_probe_words && status == PARO_STATUS_OK; i++)
        found ^= words[i];
    if (status == PARO_STATUS_OK && found != expected)
        status = paro_fail(err, PARO_STATUS_IO,
                           "%s does not compute right: a kernel that reads known data made %08x of "
                           "it, not %08x",
                           paro_gpu_info(t->gpu)->name, found, expected);
    free(words);
    return status;
}

paro_status paro_timer_probe(paro_error *err, paro_timer *t, const paro_gpu_image *image,
                             double *read_gbs)
{
    double us = 0;
    uint32_t mhz = 0;
    paro_status status = PARO_STATUS_OK;
    if (t->probe_module == NULL)
        status = load_probe(err, t, image);
    if (status == PARO_STATUS_OK)
        status = check_probe(err, t);
    if (status == PARO_STATUS_OK && t->clock != CLOCK_HOST)
        status = time_read(err, t, &us);
    if (status != PARO_STATUS_OK)
        return status;
    t->has_probe = true;
    device_is_calm(t, &mhz); /* under load: what later clocks are held against */
    *read_gbs = us > 0 ? (double)t->probe_bytes / us / 1e3 : 0;
    return PARO_STATUS_OK;
}

/* ---- samples ----------------------------------------------------------------------------------
 */

typedef struct batch {
    double us[MOST_SETS];                /* by launch of the plan */
    double kernel_us[PARO_MAX_LAUNCHES]; /* of the plan's kernels, where the clock tells */
    size_t n;
} batch;

static bool needs_flush(const paro_timer *t, const paro_trial *trial)
{
    return t->has_probe && t->clock != CLOCK_HOST &&
           paro_trial_set_bytes(trial) * paro_trial_n_sets(trial) < t->flush_bytes;
}

static paro_status launch_sets(paro_error *err, paro_timer *t, paro_trial *trial, size_t n)
{
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++)
        status = paro_trial_launch(err, trial, t->stream, t->next_set++);
    return status;
}

/* n launches of the plan as a graph, behind a read that empties the L2 of their data. */
static paro_status record_graph(paro_error *err, paro_timer *t, paro_trial *trial, size_t n,
                                bool flush, paro_gpu_graph **graph)
{
    paro_status status = paro_gpu_graph_begin(err, t->stream);
    if (status != PARO_STATUS_OK)
        return status;
    if (flush)
        status = read_memory(err, t);
    if (status == PARO_STATUS_OK)
        status = launch_sets(err, t, trial, n);
    paro_status end = paro_gpu_graph_end(status == PARO_STATUS_OK ? err : NULL, t->stream, graph);
    return status == PARO_STATUS_OK ? end : status;
}

static size_t n_graph_launches(const paro_trial *trial)
{
    return paro_trial_n_sets(trial) < 4 ? 4 : paro_trial_n_sets(trial);
}

/* The graph that the clock replays. Where none can be recorded, events time launch by launch, for
 * as long as the timer lives. */
static paro_status make_graph(paro_error *err, paro_timer *t, paro_trial *trial,
                              paro_gpu_graph **graph)
{
    paro_error problem = {0};
    const bool flush = t->clock == CLOCK_CUPTI && needs_flush(t, trial);
    paro_status status = record_graph(&problem, t, trial, n_graph_launches(trial), flush, graph);
    if (status == PARO_STATUS_OK)
        return status;
    if (paro_gpu_is_lost(t->gpu))
        return paro_fail(err, status, "%s", problem.message);
    t->clock = CLOCK_EVENTS;
    return PARO_STATUS_OK;
}

/* A replay, every kernel of which has its record. Launched one by one instead, the kernels of a
 * plan would wait for the host between them, as they do not where models run. */
static paro_status batch_cupti(paro_error *err, paro_timer *t, paro_trial *trial,
                               paro_gpu_graph *graph, batch *out)
{
    const size_t n_launches = paro_trial_plan(trial)->n_launches;
    const bool flush = needs_flush(t, trial);
    const paro_kernel_record *records = NULL;
    const size_t n_all = n_graph_launches(trial);
    size_t n = 0, at = flush ? 1 : 0;
    paro_status status = paro_gpu_graph_launch(err, t->stream, graph);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, t->stream);
    if (status == PARO_STATUS_OK)
        status = paro_cupti_take(err, t->cupti, at + n_all * n_launches, &records, &n);
    if (status != PARO_STATUS_OK)
        return status;
    if (n != at + n_all * n_launches)
        out->n = 0; /* records were lost: the batch does not count */
    for (size_t i = 0; i < out->n; i++, at += n_launches) {
        out->us[i] = (double)(records[at + n_launches - 1].end_ns - records[at].start_ns) / 1e3;
        for (size_t k = 0; k < n_launches; k++)
            out->kernel_us[k] += (double)(records[at + k].end_ns - records[at + k].start_ns) / 1e3;
    }
    return PARO_STATUS_OK;
}

/* One sample: the mean of a launch in a replay. */
static paro_status batch_graph(paro_error *err, paro_timer *t, paro_trial *trial,
                               paro_gpu_graph *graph, batch *out)
{
    double us = 0;
    const size_t n = n_graph_launches(trial);
    paro_status status = PARO_STATUS_OK;
    if (needs_flush(t, trial))
        status = read_memory(err, t);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_event_record(err, t->stream, t->events[0]);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_graph_launch(err, t->stream, graph);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_event_record(err, t->stream, t->events[1]);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, t->stream);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_event_elapsed(err, t->events[0], t->events[1], &us);
    out->n = 1;
    out->us[0] = us / (double)n;
    return status;
}

static paro_status batch_events(paro_error *err, paro_timer *t, paro_trial *trial, batch *out)
{
    paro_status status = PARO_STATUS_OK;
    if (needs_flush(t, trial))
        status = read_memory(err, t);
    for (size_t i = 0; i < out->n && status == PARO_STATUS_OK; i++) {
        status = paro_gpu_event_record(err, t->stream, t->events[0]);
        if (status == PARO_STATUS_OK)
            status = launch_sets(err, t, trial, 1);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_event_record(err, t->stream, t->events[1]);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_stream_wait(err, t->stream);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_event_elapsed(err, t->events[0], t->events[1], &out->us[i]);
    }
    return status;
}

static paro_status batch_host(paro_error *err, paro_timer *t, paro_trial *trial, batch *out)
{
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < out->n && status == PARO_STATUS_OK; i++) {
        double start = paro_clock_seconds();
        status = launch_sets(err, t, trial, 1);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_stream_wait(err, t->stream);
        out->us[i] = (paro_clock_seconds() - start) * 1e6;
    }
    return status;
}

static double occupancy_of(const paro_timer *t, const paro_trial *trial,
                           const double kernel_us[PARO_MAX_LAUNCHES])
{
    const paro_launch_plan *plan = paro_trial_plan(trial);
    bool exact = false;
    const paro_arch *arch = paro_arch_for_capability(paro_gpu_info(t->gpu)->capability, &exact);
    size_t longest = 0;
    for (size_t i = 1; i < plan->n_launches; i++)
        if (kernel_us[i] > kernel_us[longest])
            longest = i;
    const paro_launch *launch = &plan->launches[longest];
    uint32_t n_blocks = paro_gpu_occupancy(paro_trial_function(trial, longest), launch->n_threads,
                                           launch->shared_bytes);
    return arch != NULL ? (double)n_blocks * launch->n_threads / arch->sm_threads : 0;
}

paro_status paro_timer_run(paro_error *err, paro_timer *t, paro_trial *trial, uint32_t n_samples,
                           paro_measurement *out)
{
    double samples[MOST_SAMPLES], poor[MOST_SAMPLES], kernel_us[PARO_MAX_LAUNCHES] = {0};
    uint32_t n = 0, n_poor = 0, mhz = 0;
    paro_gpu_graph *graph = NULL;
    if (n_samples < 1 || n_samples > MOST_SAMPLES)
        n_samples = n_samples < 1 ? 1 : MOST_SAMPLES;
    paro_status status =
        paro_trial_make_sets(err, trial, t->flush_bytes, t->clock == CLOCK_HOST ? 1 : MOST_SETS);
    /* Once for nothing: code and translations come into their caches. */
    if (status == PARO_STATUS_OK)
        status = launch_sets(err, t, trial, 1);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, t->stream);
    if (status == PARO_STATUS_OK && t->clock == CLOCK_CUPTI) {
        const paro_kernel_record *records = NULL;
        size_t n_records = 0;
        status = paro_cupti_take(err, t->cupti, 0, &records, &n_records);
    }
    if (status == PARO_STATUS_OK && (t->clock == CLOCK_CUPTI || t->clock == CLOCK_GRAPH))
        status = make_graph(err, t, trial, &graph);
    uint32_t most_batches = 3 * n_samples + 4;
    for (uint32_t i = 0; status == PARO_STATUS_OK && n < n_samples && i < most_batches; i++) {
        batch b = {.n = n_graph_launches(trial)};
        if (b.n > n_samples - n)
            b.n = n_samples - n;
        if (t->clock == CLOCK_CUPTI)
            status = batch_cupti(err, t, trial, graph, &b);
        else if (t->clock == CLOCK_GRAPH)
            status = batch_graph(err, t, trial, graph, &b);
        else if (t->clock == CLOCK_EVENTS)
            status = batch_events(err, t, trial, &b);
        else
            status = batch_host(err, t, trial, &b);
        if (status != PARO_STATUS_OK)
            break;
        if (t->clock == CLOCK_CUPTI && n + n_poor == 0 && b.n == 0 && i == LOST_BATCHES) {
            t->clock = CLOCK_GRAPH;     /* it has stopped to record */
            paro_gpu_graph_free(graph); /* that one may read before the launches */
            graph = NULL;
            status = make_graph(err, t, trial, &graph);
            if (status != PARO_STATUS_OK)
                break;
        }
        bool is_good = device_is_calm(t, &mhz);
        for (size_t j = 0; j < b.n; j++) {
            if (is_good)
                samples[n++] = b.us[j];
            else if (n_poor < MOST_SAMPLES)
                poor[n_poor++] = b.us[j];
        }
        for (size_t k = 0; k < PARO_MAX_LAUNCHES; k++)
            kernel_us[k] += b.kernel_us[k];
    }
    paro_gpu_graph_free(graph);
    if (status != PARO_STATUS_OK)
        return status;
    /* A device that is never calm still has its fastest kernel; the row says how it was timed. */
    uint32_t n_kept = 0;
    for (; n < n_samples && n_poor > 0; n_kept++)
        samples[n++] = poor[--n_poor];
    if (n == 0)
        return paro_fail(err, PARO_STATUS_IO, "no kernel was recorded by the clock \"%s\"",
                         paro_timer_clock(t));
    paro_measurement_set_samples(out, samples, n);
    if (n_kept > 0)
        snprintf(out->reason, sizeof out->reason,
                 "%u of %u samples are of a device that was throttled or shared", n_kept, n);
    out->clock_mhz = mhz;
    snprintf(out->clock, sizeof out->clock, "%s", paro_timer_clock(t));
    out->occupancy = occupancy_of(t, trial, kernel_us);
    return PARO_STATUS_OK;
}
