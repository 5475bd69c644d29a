/* SPDX-License-Identifier: MIT
 *
 * Every kernel of many problems on many archs: does it compile, spill, agree with the host's
 * arguments, and (emulated) compute what it should (include/paro/kernel.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <paro/kernel.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "cache/cache.h"
#include "codegen/codegen.h"
#include "emulator/emulator.h"
#include "tuner/problems.h"
#include "tuner/trial.h"

enum { MAX_ARCHS = 64, BATCH = 64, REASON_BYTES = 512 };

static const double DEFAULT_MAX_OPERATIONS = 2e7;
static const uint64_t EMULATION_SEED = 1;

/* One config of one problem on one arch. */
typedef struct job {
    const paro_problem *problem;
    paro_kernel_config config;
    const paro_arch *arch;
    paro_kernel_check_step result;
    char reason[REASON_BYTES];
    uint32_t n_registers;
    uint32_t spill_bytes;
    char source_hash[PARO_SHA256_HEX_BYTES];
    size_t same; /* an earlier job of the arch with the same source; SIZE_MAX: none */
} job;

typedef struct checking {
    const paro_kernel_check_options *options;
    const paro_problems *problems;
    paro_kernel_check_summary *summary;
    paro_checker *checker; /* NULL: none here */
    paro_nvrtc *nvrtc;
    paro_pool *pool;
    paro_cache *cache; /* NULL: none asked for */
    job *jobs;
    size_t n_jobs;
    size_t capacity;
    size_t n_done; /* compiled, of all archs so far */
} checking;

static void report(const checking *c, const paro_kernel_check_row *row)
{
    if (c->options->row != NULL)
        c->options->row(c->options->row_context, row);
}

/* ---- compiling ---- */

/* On any thread: everything but libclang's check, which takes one at a time. */
static void compile(void *context, size_t i, int worker)
{
    (void)worker;
    const checking *c = context;
    job *j = &c->jobs[i];
    paro_error err;
    paro_build build = {0};
    const paro_variant variant = {.problem = j->problem, .config = &j->config, .arch = j->arch};
    if (j->same != SIZE_MAX)
        return;
    if (paro_build_variant(&err, &variant, NULL, c->nvrtc, NULL, NULL, &build) != PARO_STATUS_OK) {
        j->result = PARO_KERNEL_CHECK_REFUSED;
        snprintf(j->reason, sizeof j->reason, "%.500s", err.message);
        return;
    }
    j->result = PARO_KERNEL_CHECK_OK;
    for (size_t k = 0; k < build.resources.n_kernels; k++) {
        const paro_kernel_resources *r = &build.resources.kernels[k];
        if (r->n_registers > j->n_registers)
            j->n_registers = r->n_registers;
        j->spill_bytes += r->spill_store_bytes + r->spill_load_bytes;
    }
    if (j->spill_bytes > 0) {
        j->result = PARO_KERNEL_CHECK_SPILLS;
        snprintf(j->reason, sizeof j->reason, "%u bytes of registers spill (%u registers)",
                 j->spill_bytes, j->n_registers);
    }
    paro_build_release(&build);
}

static void check_signature(const checking *c, job *j)
{
    paro_error err;
    paro_build build = {0};
    const paro_variant variant = {.problem = j->problem, .config = &j->config, .arch = j->arch};
    if (paro_build_variant(&err, &variant, c->checker, NULL, NULL, NULL, &build) !=
        PARO_STATUS_OK) {
        j->result = PARO_KERNEL_CHECK_SIGNATURE;
        snprintf(j->reason, sizeof j->reason, "%.500s", err.message);
        return;
    }
    paro_build_release(&build);
}

static void count(paro_kernel_check_summary *summary, const job *j)
{
    switch (j->result) {
    case PARO_KERNEL_CHECK_NO_PATH:
        summary->n_no_path++;
        break;
    case PARO_KERNEL_CHECK_OK:
        summary->n_compiled++;
        break;
    case PARO_KERNEL_CHECK_SPILLS:
        summary->n_compiled++;
        summary->n_spilling++;
        break;
    case PARO_KERNEL_CHECK_SIGNATURE:
        summary->n_wrong_signature++;
        break;
    case PARO_KERNEL_CHECK_REFUSED:
    case PARO_KERNEL_CHECK_WRONG:
        summary->n_refused++;
        break;
    }
}

static void report_job(const checking *c, const job *j)
{
    char problem[PARO_PROBLEM_TEXT_BYTES], config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_problem_print(j->problem, problem);
    paro_kernel_config_print(j->problem->family, &j->config, config);
    const paro_kernel_check_row row = {.problem = problem,
                                       .config = config,
                                       .arch = j->arch->name,
                                       .result = j->result,
                                       .reason = j->reason,
                                       .n_registers = j->n_registers,
                                       .spill_bytes = j->spill_bytes};
    report(c, &row);
    count(c->summary, j);
}

static paro_status add_job(paro_error *err, checking *c, const paro_problem *problem,
                           const paro_kernel_config *config, const paro_arch *arch)
{
    for (size_t i = c->n_jobs; i-- > 0 && c->jobs[i].problem == problem;)
        if (c->jobs[i].arch == arch && memcmp(&c->jobs[i].config, config, sizeof *config) == 0)
            return PARO_STATUS_OK;
    if (c->n_jobs == c->capacity) {
        const size_t capacity = c->capacity == 0 ? 256 : 2 * c->capacity;
        job *grown = realloc(c->jobs, capacity * sizeof *grown);
        if (grown == NULL)
            return paro_fail_memory(err, capacity * sizeof *grown, "a list of kernels");
        c->jobs = grown;
        c->capacity = capacity;
    }
    c->jobs[c->n_jobs++] = (job){.problem = problem, .config = *config, .arch = arch};
    return PARO_STATUS_OK;
}

/* Winners of one problem in the cache, of every device whose arch is asked for. */
typedef struct winners {
    checking *c;
    paro_error *err;
    const paro_problem *problem;
    const paro_arch *arch;
    const char *text;
    paro_status status;
} winners;

static bool add_winner(void *context, const paro_cache_winner *winner)
{
    winners *w = context;
    const paro_family *family = w->problem->family;
    paro_kernel_config config = {0};
    paro_error err;
    unsigned capability = 0;
    if (strcmp(winner->problem, w->text) != 0 ||
        (sscanf(winner->device_class, "cc%u-", &capability) == 1 &&
         capability != w->arch->capability))
        return true;
    family->default_config(w->problem, w->arch, &config);
    if (paro_kernel_config_parse(&err, family, winner->config, &config) != PARO_STATUS_OK ||
        family->constraint(w->problem, &config, w->arch) != NULL)
        return true; /* of another arch, or an older paro */
    w->status = add_job(w->err, w->c, w->problem, &config, w->arch);
    return w->status == PARO_STATUS_OK;
}

static paro_status list_jobs(paro_error *err, checking *c, const paro_arch *arch)
{
    const paro_problem *problems = paro_problems_array(c->problems);
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < paro_problems_count(c->problems) && status == PARO_STATUS_OK; i++) {
        const paro_problem *problem = &problems[i];
        paro_kernel_config config = {0};
        problem->family->default_config(problem, arch, &config);
        const char *why = problem->family->constraint(problem, &config, arch);
        status = add_job(err, c, problem, &config, arch);
        if (status == PARO_STATUS_OK && why != NULL) {
            job *j = &c->jobs[c->n_jobs - 1];
            j->result = PARO_KERNEL_CHECK_NO_PATH;
            snprintf(j->reason, sizeof j->reason, "%s", why);
        }
        if (status != PARO_STATUS_OK || why != NULL || c->cache == NULL)
            continue;
        char text[PARO_PROBLEM_TEXT_BYTES];
        paro_problem_print(problem, text);
        winners w = {.c = c, .err = err, .problem = problem, .arch = arch, .text = text};
        status = paro_cache_each_winner(err, c->cache, problem->family->name, NULL, add_winner, &w);
        if (status == PARO_STATUS_OK)
            status = w.status;
    }
    return status;
}

/* Jobs without a path are reported; the others move to the front, their number is returned. */
static size_t drop_without_path(checking *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_jobs; i++) {
        if (c->jobs[i].result == PARO_KERNEL_CHECK_NO_PATH && c->jobs[i].reason[0] != 0)
            report_job(c, &c->jobs[i]);
        else
            c->jobs[n++] = c->jobs[i];
    }
    return n;
}

/* Problems of several m, and layers of one shape, often have one source: it is compiled once. */
static paro_status find_same(paro_error *err, checking *c, size_t n)
{
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++) {
        job *j = &c->jobs[i];
        paro_buffer source = {0};
        const paro_variant variant = {.problem = j->problem, .config = &j->config, .arch = j->arch};
        status = paro_render(err, &variant, &source);
        j->same = SIZE_MAX;
        if (status != PARO_STATUS_OK)
            break;
        paro_sha256_hex(source.data, source.n_bytes, j->source_hash);
        paro_buffer_free(&source);
        for (size_t k = 0; k < i && j->same == SIZE_MAX; k++)
            if (c->jobs[k].same == SIZE_MAX && strcmp(c->jobs[k].source_hash, j->source_hash) == 0)
                j->same = k;
    }
    return status;
}

/* Compiled jobs are checked and told. The signature is checked for each: it is about the plan too.
 */
static void finish_batch(checking *c, job *all, size_t at, size_t n)
{
    for (size_t i = at; i < at + n; i++) {
        job *j = &all[i];
        if (j->same != SIZE_MAX) {
            const job *done = &all[j->same];
            j->result = done->result;
            j->n_registers = done->n_registers;
            j->spill_bytes = done->spill_bytes;
            memcpy(j->reason, done->reason, sizeof j->reason);
        }
        if (c->checker != NULL && j->result == PARO_KERNEL_CHECK_OK)
            check_signature(c, j);
        report_job(c, j);
    }
}

/* n_left: archs after this one, whose jobs are not listed yet: a problem has one at least. */
static paro_status check_arch(paro_error *err, checking *c, const paro_arch *arch, size_t n_left)
{
    c->n_jobs = 0;
    if (!paro_nvrtc_supports(c->nvrtc, arch)) {
        paro_log(c->options->observer, PARO_LOG_LEVEL_WARNING,
                 "NVRTC %s does not know %s: left out", paro_nvrtc_version(c->nvrtc), arch->name);
        return PARO_STATUS_OK;
    }
    paro_status status = list_jobs(err, c, arch);
    const size_t n = status == PARO_STATUS_OK ? drop_without_path(c) : 0;
    if (status == PARO_STATUS_OK)
        status = find_same(err, c, n);
    job *jobs = c->jobs;
    for (size_t at = 0; at < n && status == PARO_STATUS_OK; at += BATCH) {
        const size_t n_batch = n - at < BATCH ? n - at : BATCH;
        c->jobs = jobs + at;
        paro_pool_run(c->pool, n_batch, compile, c);
        finish_batch(c, jobs, at, n_batch);
        c->n_done += n_batch;
        status =
            paro_report(err, c->options->observer, "compile", c->n_done,
                        c->n_done + (n - at - n_batch) + n_left * paro_problems_count(c->problems));
    }
    c->jobs = jobs;
    return status;
}

static paro_status check_archs(paro_error *err, checking *c)
{
    const paro_kernel_check_options *o = c->options;
    const paro_arch *archs[MAX_ARCHS];
    size_t n = 0;
    for (size_t i = 0; i < o->n_archs && o->archs != NULL && n < MAX_ARCHS; i++) {
        archs[n] = paro_arch_find(o->archs[i]);
        if (archs[n] == NULL)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "arch: expected one of sm_75 … sm_121, found '%s'", o->archs[i]);
        n++;
    }
    if (o->archs == NULL || o->n_archs == 0)
        while (n < MAX_ARCHS && (archs[n] = paro_arch_get(n)) != NULL)
            n++;
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++)
        status = check_arch(err, c, archs[i], n - i - 1);
    return status;
}

/* ---- emulating ---- */

static paro_status emulate_one(paro_error *err, checking *c, paro_gpu *gpu,
                               const paro_problem *problem)
{
    const paro_arch *arch = paro_arch_find("sm_90");
    paro_kernel_config config = {0};
    paro_cost cost = {0};
    paro_buffer source = {0};
    paro_error why;
    double error = 0;
    problem->family->cost(problem, &cost);
    const double limit =
        c->options->max_operations > 0 ? c->options->max_operations : DEFAULT_MAX_OPERATIONS;
    problem->family->default_config(problem, arch, &config);
    if (cost.operations + cost.bytes > limit) {
        c->summary->n_not_emulated++;
        return PARO_STATUS_OK;
    }
    const paro_variant variant = {.problem = problem, .config = &config, .arch = arch};
    paro_status status = paro_render(&why, &variant, &source);
    const paro_gpu_image image = {.data = source.data, .n_bytes = source.n_bytes};
    if (status == PARO_STATUS_OK)
        status = paro_trial_run_once(&why, gpu, problem, 0, &config, &image, EMULATION_SEED,
                                     c->pool, &error);
    paro_buffer_free(&source);
    if (status == PARO_STATUS_OUT_OF_MEMORY)
        return paro_fail(err, status, "%s", why.message);
    char text[PARO_PROBLEM_TEXT_BYTES], config_text[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_problem_print(problem, text);
    paro_kernel_config_print(problem->family, &config, config_text);
    const bool ok = status == PARO_STATUS_OK;
    const paro_kernel_check_row row = {.problem = text,
                                       .config = config_text,
                                       .result =
                                           ok ? PARO_KERNEL_CHECK_OK : PARO_KERNEL_CHECK_WRONG,
                                       .reason = ok ? "" : why.message,
                                       .error = error};
    c->summary->n_emulated++;
    c->summary->n_wrong += !ok;
    report(c, &row);
    return PARO_STATUS_OK;
}

static paro_status emulate_all(paro_error *err, checking *c)
{
    const paro_problem *problems = paro_problems_array(c->problems);
    const size_t n = paro_problems_count(c->problems);
    const paro_emulator_options options = {.pool = c->pool};
    paro_gpu *gpu = NULL;
    paro_status status = paro_gpu_open_emulator(err, &options, &gpu);
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++) {
        status = emulate_one(err, c, gpu, &problems[i]);
        if (status == PARO_STATUS_OK)
            status = paro_report(err, c->options->observer, "emulate", i + 1, n);
    }
    paro_gpu_free(gpu);
    return status;
}

/* ---- all ---- */

static paro_status open_all(paro_error *err, checking *c)
{
    const paro_kernel_check_options *o = c->options;
    paro_error why;
    paro_status status = paro_nvrtc_new(err, o->nvrtc_library, &c->nvrtc);
    if (status == PARO_STATUS_OK)
        status = paro_pool_new(err, o->n_jobs, &c->pool);
    if (status == PARO_STATUS_OK && o->cache != NULL) {
        const paro_cache_options cache = {
            .path = o->cache, .read_only = true, .observer = o->observer};
        status = paro_cache_open(err, &cache, &c->cache);
    }
    if (status == PARO_STATUS_OK && paro_checker_new(&why, &c->checker) != PARO_STATUS_OK)
        paro_log(o->observer, PARO_LOG_LEVEL_WARNING, "signatures are not checked: %s",
                 why.message);
    return status;
}

paro_status paro_kernels_check(paro_error *err, const paro_problems *problems,
                               const paro_kernel_check_options *options,
                               paro_kernel_check_summary *out)
{
    static const paro_kernel_check_options none = {0};
    paro_kernel_check_summary summary = {0};
    checking c = {
        .options = options != NULL ? options : &none, .problems = problems, .summary = &summary};
    const double started = paro_clock_seconds();
    paro_status status = open_all(err, &c);
    summary.has_checker = c.checker != NULL;
    if (status == PARO_STATUS_OK)
        status = check_archs(err, &c);
    if (status == PARO_STATUS_OK && c.options->emulate)
        status = emulate_all(err, &c);
    free(c.jobs);
    paro_cache_free(c.cache);
    paro_checker_free(c.checker);
    paro_nvrtc_free(c.nvrtc);
    paro_pool_free(c.pool);
    if (status != PARO_STATUS_OK)
        return status;
    summary.seconds = paro_clock_seconds() - started;
    *out = summary;
    return PARO_STATUS_OK;
}
