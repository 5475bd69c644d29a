/* SPDX-License-Identifier: MIT
 *
 * paro_tune_compile: the default of every problem for every arch, without a device.
 */
#include <stdlib.h>
#include <string.h>

#include <paro/tune.h>

#include "base/clock.h"
#include "base/log.h"
#include "tuner/compile.h"
#include "tuner/store.h"

enum { AHEAD = 256 }; /* jobs given to the compiler before the first is waited for */

typedef struct item {
    size_t problem;
    const paro_arch *arch;
    paro_kernel_config config;
    char template_hash[PARO_SHA256_HEX_BYTES];
    paro_compile_job *job;
} item;

typedef struct run {
    const paro_tune_options *options;
    const paro_problems *texts;
    paro_problem *problems;
    item *items;
    size_t n;
    paro_nvrtc *nvrtc;
    paro_checker *checker;
    paro_compiler *compiler;
    paro_store store;
    paro_compile_summary summary;
} run;

static bool is_cached(const run *r, const char *text, const paro_arch *arch, const char *hash)
{
    paro_arena arena = {0};
    paro_cache_winner winner;
    paro_cache_kernel kernel;
    bool found = !r->options->again &&
                 paro_cache_get_winner(NULL, r->store.cache, text, arch->name, hash, NULL, &arena,
                                       &winner) == PARO_STATUS_OK &&
                 paro_cache_get_kernel(NULL, r->store.cache, winner.kernel, &arena, &kernel) ==
                     PARO_STATUS_OK;
    paro_arena_release(&arena);
    return found;
}

/* What is to be compiled. */
static paro_status plan(paro_error *err, run *r, const char *const *archs, size_t n_archs)
{
    size_t n_problems = paro_problems_count(r->texts);
    for (size_t i = 0; i < n_problems; i++) {
        const char *text = paro_problems_get(r->texts, i);
        paro_status status = paro_problem_parse(err, text, &r->problems[i]);
        if (status != PARO_STATUS_OK)
            return status;
        const paro_family *family = r->problems[i].family;
        for (size_t j = 0; j < n_archs; j++) {
            item *it = &r->items[r->n];
            memset(it, 0, sizeof *it);
            it->problem = i;
            it->arch = paro_arch_find(archs[j]);
            if (it->arch == NULL)
                return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                                 "arch: expected one of sm_75 to sm_121, found \"%s\"", archs[j]);
            status = paro_template_hash(err, family, it->template_hash);
            if (status != PARO_STATUS_OK)
                return status;
            family->default_config(&r->problems[i], it->arch, &it->config);
            if (family->constraint(&r->problems[i], &it->config, it->arch) != NULL)
                r->summary.n_no_path++;
            else if (is_cached(r, text, it->arch, it->template_hash))
                r->summary.n_from_cache++;
            else
                r->n++;
        }
    }
    return PARO_STATUS_OK;
}

static paro_status submit(paro_error *err, run *r, size_t i)
{
    item *it = &r->items[i];
    return paro_compiler_submit(err, r->compiler, &r->problems[it->problem], &it->config, it->arch,
                                false, &it->job);
}

static paro_status finish(paro_error *err, run *r, size_t i)
{
    item *it = &r->items[i];
    const char *text = paro_problems_get(r->texts, it->problem);
    const paro_problem *problem = &r->problems[it->problem];
    paro_status status = PARO_STATUS_OK;
    paro_compiler_wait(r->compiler, it->job);
    if (it->job->status != PARO_STATUS_OK) {
        r->summary.n_failed++;
        paro_log(r->options->observer, PARO_LOG_LEVEL_WARNING, "%s on %s: %s", text, it->arch->name,
                 it->job->error.message);
    } else {
        if (it->job->spill_bytes > 0) {
            r->summary.n_spilling++;
            paro_log(r->options->observer, PARO_LOG_LEVEL_WARNING,
                     "%s on %s: the default spills %u bytes of registers", text, it->arch->name,
                     it->job->spill_bytes);
        }
        paro_store store = r->store;
        store.device_class = it->arch->name;
        store.device = it->arch->name;
        paro_store_winner winner = {
            .problem = text,
            .template_hash = it->template_hash,
            .layout = problem->family->layout != NULL
                          ? problem->family->layout(problem, &it->config)
                          : "",
            .family = problem->family,
            .config = &it->config,
            .n_candidates = 1,
            .job = it->job,
        };
        status = paro_cache_begin(err, r->store.cache);
        if (status == PARO_STATUS_OK) {
            status = paro_store_put_winner(err, &store, &winner);
            if (status == PARO_STATUS_OK)
                status = paro_cache_commit(err, r->store.cache);
            if (status != PARO_STATUS_OK)
                paro_cache_rollback(r->store.cache);
        }
        r->summary.n_kernels += status == PARO_STATUS_OK;
    }
    paro_compiler_release(r->compiler, it->job);
    it->job = NULL;
    return status;
}

static paro_status compile_all(paro_error *err, run *r)
{
    paro_status status = PARO_STATUS_OK;
    size_t n_submitted = 0;
    for (size_t i = 0; i < r->n && status == PARO_STATUS_OK; i++) {
        while (n_submitted < r->n && n_submitted < i + AHEAD && status == PARO_STATUS_OK)
            status = submit(err, r, n_submitted++);
        if (status == PARO_STATUS_OK)
            status = paro_report(err, r->options->observer, "compile", i, r->n);
        if (status == PARO_STATUS_OK)
            status = finish(err, r, i);
    }
    if (status == PARO_STATUS_OK)
        status = paro_report(err, r->options->observer, "compile", r->n, r->n);
    return status;
}

paro_status paro_tune_compile(paro_error *err, paro_cache *cache, const paro_problems *problems,
                              const char *const *archs, size_t n_archs,
                              const paro_tune_options *options, paro_compile_summary *out)
{
    const double start = paro_clock_seconds();
    run r = {.options = options, .texts = problems};
    size_t n = paro_problems_count(problems);
    paro_status status;
    if (n_archs == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "compiling without a device: expected at least one arch");
    r.problems = calloc(n + 1, sizeof *r.problems);
    r.items = calloc(n * n_archs + 1, sizeof *r.items);
    if (r.problems == NULL || r.items == NULL) {
        status = paro_fail_memory(err, n * n_archs * sizeof *r.items, "problems");
        goto done;
    }
    status = paro_nvrtc_new(err, options->nvrtc_library, &r.nvrtc);
    if (status != PARO_STATUS_OK)
        goto done;
    if (paro_checker_new(NULL, &r.checker) != PARO_STATUS_OK)
        r.checker = NULL;
    status = paro_compiler_new(err, r.nvrtc, options->n_jobs, &r.compiler);
    if (status != PARO_STATUS_OK)
        goto done;
    r.store = (paro_store){
        .cache = cache,
        .driver = "",
        .strategy = "",
        .nvrtc = paro_nvrtc_version(r.nvrtc),
        .checker = r.checker,
        .observer = options->observer,
    };
    status = plan(err, &r, archs, n_archs);
    if (status == PARO_STATUS_OK)
        status = compile_all(err, &r);
    if (status == PARO_STATUS_OK) {
        r.summary.seconds = paro_clock_seconds() - start;
        *out = r.summary;
    }
done:
    for (size_t i = 0; r.items != NULL && i < r.n; i++)
        paro_compiler_release(r.compiler, r.items[i].job);
    paro_compiler_free(r.compiler);
    paro_checker_free(r.checker);
    paro_nvrtc_free(r.nvrtc);
    free(r.items);
    free(r.problems);
    return status;
}
