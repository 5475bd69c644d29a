/* SPDX-License-Identifier: MIT
 *
 * paro_tune: problems one after the other, the next one compiled while this one is measured.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tuner/session.h"
#include "tuner/timer.h"

const char *paro_tune_strategy(size_t n, const char **summary)
{
    const paro_strategy *strategy = paro_strategy_get(n);
    if (strategy == NULL)
        return NULL;
    if (summary != NULL)
        *summary = strategy->summary;
    return strategy->name;
}

/* ---- the session ------------------------------------------------------------------------------
 */

/* The probe is compiled here and run in every worker. */
static paro_status probe(paro_error *err, paro_tune_session *s, paro_binary *binary)
{
    paro_problem problem;
    paro_kernel_config config;
    paro_buffer source = {0};
    const paro_variant variant = {&problem, &config, &s->arch};
    paro_status status = paro_probe_variant(err, &paro_process_get_info(s->process)->device,
                                            &s->arch, &problem, &config);
    if (status == PARO_STATUS_OK)
        status = paro_render(err, &variant, &source);
    if (status == PARO_STATUS_OK)
        status = paro_nvrtc_compile(
            err, s->nvrtc, source.data,
            s->wants_ptx ? s->arch.virtual_name : paro_target_of(source.data, &s->arch), binary);
    paro_buffer_free(&source);
    if (status != PARO_STATUS_OK)
        return paro_fail_in(err, status, "the probe");
    paro_gpu_image image = {binary->data, binary->n_bytes, binary->is_ptx};
    return paro_process_probe(err, s->process, &image);
}

static paro_status session_open(paro_error *err, paro_tune_session *s, paro_cache *cache,
                                const paro_tune_options *options, const paro_tune_limits *limits,
                                paro_binary *probe_binary)
{
    const char *strategy = options->strategy != NULL ? options->strategy : "default";
    s->options = options;
    s->strategy = paro_strategy_find(strategy);
    if (s->strategy == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "strategy: expected \"default\" or \"exhaustive\", found \"%s\"",
                         strategy);
    if (options->worker == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "tuning needs a program to run as worker process");
    paro_process_options process = {
        .program = options->worker,
        .arguments = options->worker_args,
        .device = options->device,
        .open_seconds = limits->open_seconds,
        .prepare_seconds = limits->prepare_seconds,
        .measure_seconds = limits->measure_seconds,
        .observer = options->observer,
    };
    paro_status status = PARO_STATUS_OK;
    if (options->device >= 0) {
        status = paro_nvrtc_new(err, options->nvrtc_library, &s->nvrtc);
        if (status != PARO_STATUS_OK)
            return status;
    }
    status = paro_process_new(err, &process, &s->process);
    if (status != PARO_STATUS_OK)
        return status;
    const paro_process_info *info = paro_process_get_info(s->process);
    status = paro_device_arch(err, &info->device, &s->arch, &s->wants_ptx);
    if (status == PARO_STATUS_OK && s->nvrtc != NULL)
        status = probe(err, s, probe_binary);
    if (status == PARO_STATUS_OK)
        status = paro_compiler_new(err, s->nvrtc, options->n_jobs, &s->compiler);
    if (status != PARO_STATUS_OK)
        return status;
    if (paro_checker_new(NULL, &s->checker) != PARO_STATUS_OK)
        s->checker = NULL;
    if (info->n_others > 0)
        paro_log(options->observer, PARO_LOG_LEVEL_WARNING,
                 "%u other process(es) use %s: timings may be worse than they need be",
                 info->n_others, info->device.name);
    paro_device_class(&info->device, s->device_class);
    s->seed = options->seed != 0 ? options->seed
                                 : paro_hash_mix((uint64_t)time(NULL) ^ ((uint64_t)getpid() << 32));
    s->seed &= ~UINT64_C(1);
    s->store = (paro_store){
        .cache = cache,
        .device_class = s->device_class,
        .device = info->device.name,
        .driver = info->driver,
        .strategy = s->strategy->name,
        .nvrtc = s->nvrtc != NULL ? paro_nvrtc_version(s->nvrtc) : "",
        .checker = s->checker,
        .observer = options->observer,
    };
    return PARO_STATUS_OK;
}

static void session_close(paro_tune_session *s)
{
    paro_process_free(s->process);
    paro_compiler_free(s->compiler);
    paro_checker_free(s->checker);
    paro_nvrtc_free(s->nvrtc);
}

/* ---- problems ---------------------------------------------------------------------------------
 */

/* A row from the cache, where the problem was tuned already with today's template and the winner's
 * code is still there. */
static bool recall(paro_tune_session *s, const char *text, const paro_problem *problem,
                   paro_arena *arena, paro_tune_row *row)
{
    char hash[PARO_SHA256_HEX_BYTES];
    paro_cache_winner winner;
    paro_cache_kernel kernel;
    if (s->options->again || paro_template_hash(NULL, problem->family, hash) != PARO_STATUS_OK ||
        paro_cache_get_winner(NULL, s->store.cache, text, s->device_class, hash, NULL, arena,
                              &winner) != PARO_STATUS_OK ||
        winner.n_samples == 0 ||
        (s->nvrtc != NULL && paro_cache_get_kernel(NULL, s->store.cache, winner.kernel, arena,
                                                   &kernel) != PARO_STATUS_OK))
        return false;
    *row = (paro_tune_row){
        .problem = text,
        .config = winner.config,
        .layout = winner.layout,
        .median_us = winner.median_us,
        .spread_us = winner.spread_us,
        .default_us = winner.default_us,
        .floor_us = paro_tune_floor_us(s, problem),
        .n_candidates = winner.n_candidates,
        .n_ties = winner.n_ties,
        .clock = winner.clock,
        .from_cache = true,
    };
    return true;
}

typedef struct queue {
    const char *const *texts; /* of this shard, not in the cache */
    paro_problem *problems;
    size_t n;
} queue;

static void tell(const paro_tune_options *options, const paro_tune_row *row)
{
    if (options->row != NULL)
        options->row(options->row_context, row);
}

static void tell_failure(const paro_tune_options *options, const char *text, const char *reason,
                         const char *clock)
{
    paro_tune_row row = {.problem = text, .layout = "", .reason = reason, .clock = clock};
    tell(options, &row);
}

/* Runs what was begun, beginning the next one first; one at least, whatever the budget. */
static paro_status run_all(paro_error *err, paro_tune_session *s, const queue *q, double start,
                           paro_tune_summary *summary)
{
    const char *clock = paro_process_get_info(s->process)->clock;
    const double budget = s->options->budget_seconds;
    paro_tune_work *now = NULL, *next = NULL;
    paro_error next_error = {0};
    paro_status status = PARO_STATUS_OK, next_status = PARO_STATUS_OK;
    if (q->n > 0)
        next_status = paro_tune_work_begin(&next_error, s, &q->problems[0], &next);
    for (size_t i = 0; i < q->n && status == PARO_STATUS_OK; i++) {
        paro_error now_error = next_error;
        paro_status now_status = next_status;
        now = next;
        next = NULL;
        status = paro_report(err, s->options->observer, "tune", s->n_done, s->n_total);
        if (status != PARO_STATUS_OK ||
            (i > 0 && budget > 0 && paro_clock_seconds() - start > budget))
            break;
        if (i + 1 < q->n)
            next_status = paro_tune_work_begin(&next_error, s, &q->problems[i + 1], &next);
        paro_tune_row row;
        if (now_status == PARO_STATUS_OK) {
            now_status = paro_tune_work_run(&now_error, now, &row);
            if (now_status == PARO_STATUS_OK)
                tell(s->options, &row);
        }
        if (now_status == PARO_STATUS_CANCELLED ||
            (now_status != PARO_STATUS_OK && !paro_process_is_alive(s->process))) {
            status = paro_fail(err, now_status, "%s", now_error.message);
        } else if (now_status != PARO_STATUS_OK) {
            tell_failure(s->options, q->texts[i], now_error.message, clock);
            summary->n_failed++;
        } else {
            *(row.config != NULL ? &summary->n_tuned : &summary->n_failed) += 1;
        }
        paro_tune_work_free(now);
        now = NULL;
        s->n_done++;
    }
    paro_tune_work_free(now);
    paro_tune_work_free(next);
    if (status == PARO_STATUS_OK)
        status = paro_report(err, s->options->observer, "tune", s->n_done, s->n_total);
    return status;
}

static void summarise(const paro_tune_session *s, double start, paro_tune_summary *summary)
{
    const paro_process_info *info = paro_process_get_info(s->process);
    summary->n_workers_lost = paro_process_n_lost(s->process);
    summary->seconds = paro_clock_seconds() - start;
    summary->read_gbs = info->read_gbs;
    snprintf(summary->device_class, sizeof summary->device_class, "%s", s->device_class);
    snprintf(summary->device_name, sizeof summary->device_name, "%s", info->device.name);
    snprintf(summary->clock, sizeof summary->clock, "%s", info->clock);
}

paro_status paro_tune(paro_error *err, paro_cache *cache, const paro_problems *problems,
                      const paro_tune_options *options, paro_tune_summary *out)
{
    const paro_tune_limits limits = {0};
    return paro_tune_within(err, cache, problems, options, &limits, out);
}

paro_status paro_tune_within(paro_error *err, paro_cache *cache, const paro_problems *problems,
                             const paro_tune_options *options, const paro_tune_limits *limits,
                             paro_tune_summary *out)
{
    const double start = paro_clock_seconds();
    const size_t n = paro_problems_count(problems);
    const uint32_t n_shards = options->n_shards > 0 ? options->n_shards : 1;
    paro_tune_session s = {0};
    paro_tune_summary summary = {0};
    paro_binary probe_binary = {0};
    paro_arena arena = {0};
    queue q = {0};
    paro_status status;
    if (options->shard >= n_shards)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "shard: expected 0 to %u of %u shards, found %u", n_shards - 1, n_shards,
                         options->shard);
    const char **texts = calloc(n > 0 ? n : 1, sizeof *texts);
    q.problems = calloc(n > 0 ? n : 1, sizeof *q.problems);
    q.texts = texts;
    if (texts == NULL || q.problems == NULL) {
        status = paro_fail_memory(err, n * sizeof *q.problems, "problems");
        goto done;
    }
    status = session_open(err, &s, cache, options, limits, &probe_binary);
    if (status != PARO_STATUS_OK)
        goto done;
    for (size_t i = options->shard; i < n; i += n_shards) {
        paro_tune_row row;
        const char *text = paro_problems_get(problems, i);
        status = paro_problem_parse(err, text, &q.problems[q.n]);
        if (status != PARO_STATUS_OK)
            goto done;
        summary.n_problems++;
        if (recall(&s, text, &q.problems[q.n], &arena, &row)) {
            summary.n_from_cache++;
            tell(options, &row);
            continue;
        }
        texts[q.n++] = text;
    }
    s.n_done = summary.n_from_cache;
    s.n_total = summary.n_problems;
    status = run_all(err, &s, &q, start, &summary);
    if (status != PARO_STATUS_OK)
        goto done;
    summarise(&s, start, &summary);
    *out = summary;
done:
    session_close(&s);
    if (probe_binary.data != NULL)
        paro_binary_release(&probe_binary);
    paro_arena_release(&arena);
    free(texts);
    free(q.problems);
    return status;
}
