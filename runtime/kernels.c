/* SPDX-License-Identifier: MIT
 *
 * The table of kernels: requests answered from it, what is missing made in parallel, launches.
 */
#include "runtime/kernels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "runtime/kernel_code.h"

/* Code on the device; problems that render to the same source share it. */
typedef struct module {
    char source_hash[PARO_SHA256_HEX_BYTES];
    paro_gpu_module *module;
    struct module *next;
} module;

typedef struct entry {
    paro_kernel kernel;
    struct entry *next;
} entry;

struct paro_kernels {
    pthread_mutex_t mutex;
    paro_kernel_world world;
    module *modules;
    entry *entries;
};

/* One kernel on its way into the table. */
typedef struct job {
    entry *entry; /* made at the end */
    const char *layout;
    paro_problem problem;
    paro_kernel_config config;
    paro_grade grade;
    paro_kernel_code code;
    paro_gpu_module *module; /* loaded, of `modules` or of an earlier job */
    struct job *same;        /* an earlier job with the same source; it has the module */
    bool owns_module;        /* loaded here, not yet in the table */
    paro_status status;
    paro_error err;
} job;

/* ---- the table ----------------------------------------------------------------------------------
 */

paro_status paro_kernels_new(paro_error *err, paro_gpu *gpu, const paro_kernels_options *options,
                             paro_kernels **out)
{
    paro_kernels *kernels = calloc(1, sizeof *kernels);
    if (kernels == NULL)
        return paro_fail_memory(err, sizeof *kernels, "a table of kernels");
    if (pthread_mutex_init(&kernels->mutex, NULL) != 0) {
        free(kernels);
        return paro_fail(err, PARO_STATUS_IO, "cannot make a mutex");
    }
    paro_status status = paro_kernel_world_init(err, gpu, options, &kernels->world);
    if (status != PARO_STATUS_OK) {
        paro_kernels_free(kernels);
        return status;
    }
    *out = kernels;
    return status;
}

void paro_kernels_free(paro_kernels *kernels)
{
    if (kernels == NULL)
        return;
    for (entry *e = kernels->entries, *next; e != NULL; e = next) {
        next = e->next;
        free(e);
    }
    for (module *m = kernels->modules, *next; m != NULL; m = next) {
        next = m->next;
        paro_gpu_module_free(m->module);
        free(m);
    }
    paro_kernel_world_release(&kernels->world);
    pthread_mutex_destroy(&kernels->mutex);
    free(kernels);
}

static const paro_kernel *find_entry(const paro_kernels *kernels, const paro_problem *problem,
                                     const char *layout)
{
    for (const entry *e = kernels->entries; e != NULL; e = e->next)
        if (paro_problem_equal(&e->kernel.problem, problem) &&
            (layout == NULL || e->kernel.layout[0] == 0 || strcmp(e->kernel.layout, layout) == 0))
            return &e->kernel;
    return NULL;
}

static paro_gpu_module *find_module(const paro_kernels *kernels, const char *source_hash)
{
    for (const module *m = kernels->modules; m != NULL; m = m->next)
        if (strcmp(m->source_hash, source_hash) == 0)
            return m->module;
    return NULL;
}

/* ---- making kernels -----------------------------------------------------------------------------
 */

/* Config and source; binary where the table or the cache has it. */
static paro_status begin_job(paro_error *err, paro_kernels *kernels, job *j)
{
    paro_kernel_world *world = &kernels->world;
    paro_status status =
        paro_kernel_choose(err, world, &j->problem, j->layout, &j->config, &j->grade);
    if (status == PARO_STATUS_OK)
        status = paro_kernel_code_render(err, world, &j->problem, &j->config, &j->code);
    if (status != PARO_STATUS_OK)
        return status;
    j->module = find_module(kernels, j->code.source_hash);
    bool found = j->module != NULL || j->code.binary != NULL;
    if (!found)
        status = paro_kernel_code_find(err, world, &j->code, &found);
    return status;
}

/* Without a compiler, the best that the cache has code for; j is unchanged where it has none. */
static paro_status retry_compiled(paro_error *err, paro_kernels *kernels, job *j)
{
    paro_kernel_world *world = &kernels->world;
    paro_kernel_code code = {0};
    paro_kernel_config config;
    paro_grade grade;
    bool found = false;
    paro_status status =
        paro_kernel_choose_compiled(err, world, &j->problem, j->layout, &config, &grade, &found);
    if (status != PARO_STATUS_OK || !found)
        return status;
    status = paro_kernel_code_render(err, world, &j->problem, &config, &code);
    found = false;
    if (status == PARO_STATUS_OK)
        status = paro_kernel_code_find(err, world, &code, &found);
    if (status != PARO_STATUS_OK || !found) {
        paro_kernel_code_release(&code);
        return status;
    }
    paro_kernel_code_release(&j->code);
    j->code = code;
    j->config = config;
    j->grade = grade;
    return status;
}

static paro_status say_missing(paro_error *err, const paro_kernels *kernels, const job *j,
                               const paro_error *compiler)
{
    const paro_kernel_world *world = &kernels->world;
    char text[PARO_PROBLEM_TEXT_BYTES], config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_problem_print(&j->problem, text);
    paro_kernel_config_print(j->problem.family, &j->config, config);
    return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                     "%s: found no kernel for %s (%s): looked in the cache %s for %s, and there is "
                     "nothing to compile it with: %s. Run 'paro tune' where NVRTC is, and bring "
                     "its kernels with 'paro cache export' and 'paro cache import'",
                     text, paro_gpu_info(world->gpu)->name, world->arch.name,
                     world->cache == NULL                ? "(there is none)"
                     : world->options.cache_path != NULL ? world->options.cache_path
                                                         : world->options.system_cache_path,
                     config, compiler->message);
}

/* After begin_job, for those that still lack code: a compiler, or another config. */
static paro_status want_code(paro_error *err, paro_kernels *kernels, job *j)
{
    paro_error compiler = {0};
    if (j->module != NULL || j->code.binary != NULL || j->same != NULL)
        return PARO_STATUS_OK;
    if (paro_kernel_code_can_compile(&compiler, &kernels->world, &j->code) == PARO_STATUS_OK)
        return PARO_STATUS_OK;
    paro_status status = retry_compiled(err, kernels, j);
    if (status != PARO_STATUS_OK || j->code.binary != NULL)
        return status;
    return say_missing(err, kernels, j, &compiler);
}

typedef struct batch {
    paro_kernels *kernels;
    job *jobs;
} batch;

/* A paro_task_fn: what takes time. On the emulator loading is compiling. */
static void compile_job(void *context, size_t i, int worker)
{
    (void)worker;
    const batch *b = context;
    job *j = &b->jobs[i];
    const paro_kernel_world *world = &b->kernels->world;
    if (j->status != PARO_STATUS_OK || j->module != NULL || j->same != NULL)
        return;
    if (j->code.binary == NULL)
        j->status = paro_kernel_code_compile(&j->err, world, &j->code);
    if (j->status != PARO_STATUS_OK)
        return;
    const paro_gpu_image image = {j->code.binary, j->code.n_bytes, j->code.is_ptx};
    j->status = paro_gpu_module_load(&j->err, world->gpu, &image, &j->module);
    j->owns_module = j->status == PARO_STATUS_OK;
}

/* Functions, and all that can be checked about them. */
static paro_status check_job(paro_error *err, const job *j, paro_kernel *out)
{
    const paro_family *family = j->problem.family;
    paro_launch_plan plan;
    family->plan(&j->problem, &j->config, &plan);
    paro_kernel kernel = {
        .problem = j->problem,
        .config = j->config,
        .grade = j->grade,
        .layout = family->layout == NULL ? "" : family->layout(&j->problem, &j->config)};
    for (size_t i = 0; i < paro_family_n_args(family); i++) {
        paro_arg_info info;
        if (family->args[i].role != PARO_ARG_SCRATCH)
            continue;
        family->arg_info(&j->problem, &j->config, i, &info);
        kernel.scratch_bytes += (info.n * paro_dtype_bytes(info.dtype) + 255) & ~(uint64_t)255;
    }
    if (j->code.signature != NULL && j->code.signature[0] != 0) {
        paro_arena arena = {0};
        paro_signature signature;
        paro_status status =
            paro_signature_parse(err, "a cached kernel's signature", j->code.signature,
                                 strlen(j->code.signature), &arena, &signature);
        if (status == PARO_STATUS_OK)
            status = paro_signature_check(err, &signature, &j->problem, &j->config);
        paro_arena_release(&arena);
        if (status != PARO_STATUS_OK)
            return status;
    }
    paro_status status = paro_launch_plan_functions(err, j->module, &plan, kernel.functions);
    if (status == PARO_STATUS_OK)
        status = paro_launch_plan_check(err, family, &plan, kernel.functions);
    if (status == PARO_STATUS_OK)
        *out = kernel;
    return status;
}

static paro_status add_module(paro_error *err, paro_kernels *kernels, job *j)
{
    module *added = calloc(1, sizeof *added);
    if (added == NULL)
        return paro_fail_memory(err, sizeof *added, "a table of kernels");
    memcpy(added->source_hash, j->code.source_hash, sizeof added->source_hash);
    added->module = j->module;
    added->next = kernels->modules;
    kernels->modules = added;
    j->owns_module = false;
    return PARO_STATUS_OK;
}

/* Into the table. */
static paro_status finish_job(paro_error *err, paro_kernels *kernels, job *j)
{
    if (j->status == PARO_STATUS_OK && j->same != NULL) {
        if (j->same->status != PARO_STATUS_OK) /* its module goes with it */
            return paro_fail(err, j->same->status, "%s", j->same->err.message);
        j->module = j->same->module;
    }
    if (j->status != PARO_STATUS_OK)
        return j->status;
    entry *added = calloc(1, sizeof *added);
    if (added == NULL)
        return paro_fail_memory(err, sizeof *added, "a table of kernels");
    paro_status status = check_job(err, j, &added->kernel);
    if (status == PARO_STATUS_OK && j->owns_module)
        status = add_module(err, kernels, j);
    if (status != PARO_STATUS_OK) {
        free(added);
        return status;
    }
    kernels->world.n_compiled += j->code.is_compiled;
    added->next = kernels->entries;
    kernels->entries = added;
    j->entry = added;
    return PARO_STATUS_OK;
}

/* What was compiled goes into the cache, in one transaction; a cache that does not take it is no
 * reason not to run. */
static void keep_jobs(paro_kernels *kernels, const job *jobs, size_t n_jobs)
{
    paro_kernel_world *world = &kernels->world;
    paro_error err = {0};
    size_t n_compiled = 0;
    for (size_t i = 0; i < n_jobs; i++)
        n_compiled += jobs[i].status == PARO_STATUS_OK && jobs[i].code.is_compiled;
    if (n_compiled == 0 || !world->is_cache_writable)
        return;
    paro_status status = paro_cache_begin(&err, world->cache);
    const bool has_begun = status == PARO_STATUS_OK;
    for (size_t i = 0; i < n_jobs && status == PARO_STATUS_OK; i++) {
        const job *j = &jobs[i], *from = j->same == NULL ? j : j->same;
        if (j->status == PARO_STATUS_OK && from->code.is_compiled)
            status =
                paro_kernel_code_keep(&err, world, &j->problem, &j->config, &from->code, from == j);
    }
    if (status == PARO_STATUS_OK)
        status = paro_cache_commit(&err, world->cache);
    else if (has_begun)
        paro_cache_rollback(world->cache);
    if (status != PARO_STATUS_OK)
        paro_log(world->options.observer, PARO_LOG_LEVEL_WARNING,
                 "%zu compiled kernels could not be kept: %s", n_compiled, err.message);
}

/* Names the problem, where the message does not yet. */
static paro_status name_problem(paro_error *err, const job *j)
{
    char text[PARO_PROBLEM_TEXT_BYTES];
    paro_problem_print(&j->problem, text);
    if (strstr(j->err.message, text) != NULL)
        return paro_fail(err, j->status, "%s", j->err.message);
    return paro_fail(err, j->status, "%s: %s", text, j->err.message);
}

static paro_status run_jobs(paro_error *err, paro_kernels *kernels, job *jobs, size_t n_jobs)
{
    batch b = {kernels, jobs};
    const double start = paro_clock_seconds();
    const size_t n_before = kernels->world.n_compiled;
    const bool is_reading = kernels->world.cache != NULL &&
                            paro_cache_read_begin(NULL, kernels->world.cache) == PARO_STATUS_OK;
    for (size_t i = 0; i < n_jobs; i++) {
        job *j = &jobs[i];
        j->status = begin_job(&j->err, kernels, j);
        for (size_t k = 0; k < i && j->status == PARO_STATUS_OK && j->same == NULL; k++)
            if (jobs[k].same == NULL && jobs[k].status == PARO_STATUS_OK &&
                jobs[k].module == NULL &&
                strcmp(jobs[k].code.source_hash, j->code.source_hash) == 0)
                j->same = &jobs[k];
        if (j->status == PARO_STATUS_OK)
            j->status = want_code(&j->err, kernels, j);
    }
    if (is_reading) /* faster, and all from one moment; without it slower, not wrong */
        paro_cache_read_end(kernels->world.cache);
    paro_pool_run(kernels->world.options.pool, n_jobs, compile_job, &b);
    const job *failed = NULL;
    for (size_t i = 0; i < n_jobs; i++) {
        jobs[i].status = finish_job(&jobs[i].err, kernels, &jobs[i]);
        if (jobs[i].status != PARO_STATUS_OK && failed == NULL)
            failed = &jobs[i];
    }
    keep_jobs(kernels, jobs, n_jobs);
    if (kernels->world.n_compiled > n_before)
        paro_log(kernels->world.options.observer, PARO_LOG_LEVEL_INFO,
                 "compiled %zu kernels in %.1f s", kernels->world.n_compiled - n_before,
                 paro_clock_seconds() - start);
    return failed == NULL ? PARO_STATUS_OK : name_problem(err, failed);
}

static void release_jobs(job *jobs, size_t n_jobs)
{
    for (size_t i = 0; i < n_jobs && jobs != NULL; i++) {
        if (jobs[i].owns_module)
            paro_gpu_module_free(jobs[i].module);
        paro_kernel_code_release(&jobs[i].code);
    }
    free(jobs);
}

/* Whether another job already makes what is asked for. One for any layout need not make the one
 * that is asked for. */
static bool is_wanted(const job *jobs, size_t n_jobs, const paro_kernel_request *request)
{
    for (size_t i = 0; i < n_jobs; i++)
        if (paro_problem_equal(&jobs[i].problem, &request->problem) &&
            (request->layout == NULL ||
             (jobs[i].layout != NULL && strcmp(jobs[i].layout, request->layout) == 0)))
            return true;
    return false;
}

static paro_status load(paro_error *err, paro_kernels *kernels, const paro_kernel_request *requests,
                        size_t n_requests)
{
    const paro_kernels_options *options = &kernels->world.options;
    size_t n_jobs = 0;
    job *jobs = calloc(n_requests + 1, sizeof *jobs);
    if (jobs == NULL)
        return paro_fail_memory(err, (n_requests + 1) * sizeof *jobs, "kernels to load");
    for (size_t i = 0; i < n_requests; i++) {
        if (options->asked != NULL)
            options->asked(options->asked_context, &requests[i].problem);
        if (find_entry(kernels, &requests[i].problem, requests[i].layout) == NULL &&
            !is_wanted(jobs, n_jobs, &requests[i]))
            jobs[n_jobs++] = (job){.problem = requests[i].problem, .layout = requests[i].layout};
    }
    paro_status status = n_jobs == 0 ? PARO_STATUS_OK : run_jobs(err, kernels, jobs, n_jobs);
    release_jobs(jobs, n_jobs);
    return status;
}

paro_status paro_kernels_load(paro_error *err, paro_kernels *kernels, paro_kernel_request *requests,
                              size_t n_requests)
{
    pthread_mutex_lock(&kernels->mutex);
    paro_status status = load(err, kernels, requests, n_requests);
    for (size_t i = 0; i < n_requests && status == PARO_STATUS_OK; i++)
        requests[i].kernel = find_entry(kernels, &requests[i].problem, requests[i].layout);
    pthread_mutex_unlock(&kernels->mutex);
    return status;
}

/* ---- layouts ------------------------------------------------------------------------------------
 */

/* The family's own constant for a layout's name: that of some config which has it. */
static const char *constant_layout(const paro_kernel_world *world, const paro_problem *problem,
                                   const char *name)
{
    paro_kernel_config config;
    if (paro_kernel_default(NULL, world, problem, name, &config) != PARO_STATUS_OK)
        return NULL;
    return problem->family->layout(problem, &config);
}

static paro_status choose_layout(paro_error *err, paro_kernels *kernels,
                                 const paro_problem *problems, size_t n_problems,
                                 const char **layout)
{
    paro_kernel_world *world = &kernels->world;
    char template_hash[PARO_SHA256_HEX_BYTES];
    paro_arena arena = {0};
    const char *name = NULL, *found = NULL;
    paro_status status = PARO_STATUS_OK;
    if (world->cache != NULL) {
        status = paro_template_hash(err, problems[0].family, template_hash);
        if (status == PARO_STATUS_OK)
            status =
                paro_cache_choose_layout(err, world->cache, problems, n_problems, &world->arch,
                                         paro_gpu_info(world->gpu), template_hash, &arena, &name);
    }
    paro_kernel_config config;
    if (status == PARO_STATUS_OK && name == NULL)
        status = paro_kernel_default(err, world, &problems[0], NULL, &config);
    if (status == PARO_STATUS_OK)
        found = name == NULL ? problems[0].family->layout(&problems[0], &config)
                             : constant_layout(world, &problems[0], name);
    if (status == PARO_STATUS_OK && found == NULL)
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED, "layout %s: no config of %s has it", name,
                           problems[0].family->name);
    paro_arena_release(&arena);
    if (status == PARO_STATUS_OK)
        *layout = found;
    return status;
}

paro_status paro_kernels_layout(paro_error *err, paro_kernels *kernels,
                                const paro_problem *problems, size_t n_problems,
                                const char **layout)
{
    pthread_mutex_lock(&kernels->mutex);
    paro_status status = choose_layout(err, kernels, problems, n_problems, layout);
    pthread_mutex_unlock(&kernels->mutex);
    return status;
}

void paro_kernels_get_info(paro_kernels *kernels, paro_kernels_info *out)
{
    paro_kernels_info info = {0};
    pthread_mutex_lock(&kernels->mutex);
    for (const entry *e = kernels->entries; e != NULL; e = e->next)
        info.n_by_grade[e->kernel.grade]++;
    for (const module *m = kernels->modules; m != NULL; m = m->next)
        info.n_modules++;
    info.n_compiled = kernels->world.n_compiled;
    pthread_mutex_unlock(&kernels->mutex);
    *out = info;
}

/* ---- launches -----------------------------------------------------------------------------------
 */

static const paro_kernel_value *find_value(const paro_kernel_value *values, size_t n_values,
                                           const char *name)
{
    for (size_t i = 0; i < n_values; i++)
        if (strcmp(values[i].name, name) == 0)
            return &values[i];
    return NULL;
}

static paro_status unknown_value(paro_error *err, const paro_family *family,
                                 const paro_kernel_value *values, size_t n_values)
{
    for (size_t i = 0; i < n_values; i++) {
        bool known = false;
        for (const paro_arg *arg = family->args; arg->name != NULL && !known; arg++)
            known = strcmp(arg->name, values[i].name) == 0;
        if (!known)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s: has no argument %s",
                             family->name, values[i].name);
    }
    return PARO_STATUS_OK;
}

paro_status paro_kernel_launch(paro_error *err, const paro_kernel *kernel, paro_gpu_stream *stream,
                               uint32_t m, paro_gpu_ptr scratch, const paro_kernel_value *values,
                               size_t n_values)
{
    const paro_family *family = kernel->problem.family;
    const paro_problem problem = paro_problem_with_m(&kernel->problem, m);
    paro_gpu_value args[PARO_MAX_ARGS] = {{0}};
    paro_launch_plan plan;
    size_t n_used = 0;
    for (size_t i = 0; i < paro_family_n_args(family); i++) {
        const paro_arg *arg = &family->args[i];
        const paro_kernel_value *given = find_value(values, n_values, arg->name);
        paro_arg_info info;
        n_used += given != NULL;
        family->arg_info(&problem, &kernel->config, i, &info);
        if (arg->role == PARO_ARG_SCRATCH) {
            args[i].ptr = info.n == 0 ? 0 : scratch;
            scratch += (info.n * paro_dtype_bytes(info.dtype) + 255) & ~(uint64_t)255;
        } else if (given != NULL && info.n > 0) {
            args[i] = given->value;
        } else if (arg->role == PARO_ARG_SCALAR && strcmp(arg->name, "m") == 0) {
            args[i].scalar.u32 = m;
        } else if (info.n > 0) {
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s: argument %s is missing",
                             family->name, arg->name);
        }
        if (arg->role != PARO_ARG_SCALAR && arg->role != PARO_ARG_SCRATCH && info.n > 0 &&
            args[i].ptr == 0)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s: argument %s is no address",
                             family->name, arg->name);
    }
    if (n_used != n_values)
        return unknown_value(err, family, values, n_values);
    family->plan(&problem, &kernel->config, &plan);
    return paro_launch_plan_launch(err, stream, &plan, kernel->functions, args);
}
