/* SPDX-License-Identifier: MIT
 *
 * See trial.h.
 *
 * Invariants: 1. the host's case keeps the inputs as they were filled: nothing is downloaded into
 * it; 2. inputs and weights of set 0 are uploaded once, inouts again before every check; 3. sets
 * from 1 on lie in one allocation, copied from set 0.
 */
#include "tuner/trial.h"

#include <stdlib.h>
#include <string.h>

enum { SET_ALIGNMENT = 256 };

struct paro_trial {
    paro_gpu *gpu;
    paro_pool *pool;
    paro_gpu_stream *stream;
    paro_problem problem; /* with the m that is run */
    paro_problem bucket;
    paro_kernel_config config;
    paro_launch_plan plan;
    paro_case data;
    bool has_data;
    double *expected[PARO_MAX_ARGS]; /* made by the first check */
    bool has_expected;
    size_t n_args;
    paro_gpu_ptr buffers[PARO_MAX_ARGS]; /* set 0 */
    size_t capacities[PARO_MAX_ARGS];    /* of `buffers`, guards included */
    paro_gpu_ptr copies;                 /* sets 1 .. n_sets - 1 */
    size_t copies_bytes;
    size_t n_sets;
    paro_gpu_module *module;
    paro_gpu_function *functions[PARO_MAX_LAUNCHES];
};

static size_t arg_bytes(const paro_arg_info *info)
{
    return (size_t)info->n * paro_dtype_bytes(info->dtype);
}

static bool is_buffer(const paro_trial *t, size_t i)
{
    return t->problem.family->args[i].role != PARO_ARG_SCALAR && t->data.info[i].n > 0;
}

/* Device memory for argument i of set 0, grown where it is too small. */
static paro_status make_buffer(paro_error *err, paro_trial *t, size_t i)
{
    size_t n_bytes = arg_bytes(&t->data.info[i]) + PARO_CASE_GUARD_BYTES;
    if (t->capacities[i] >= n_bytes)
        return PARO_STATUS_OK;
    paro_gpu_release(t->gpu, t->buffers[i]);
    t->buffers[i] = 0;
    t->capacities[i] = 0;
    paro_status status = paro_gpu_alloc(err, t->gpu, n_bytes, &t->buffers[i]);
    if (status == PARO_STATUS_OK)
        t->capacities[i] = n_bytes;
    return status;
}

static void drop_sets(paro_trial *t)
{
    paro_gpu_release(t->gpu, t->copies);
    t->copies = 0;
    t->copies_bytes = 0;
    t->n_sets = 1;
}

paro_status paro_trial_new(paro_error *err, paro_gpu *gpu, const paro_problem *problem, uint32_t m,
                           const paro_kernel_config *config, uint64_t seed, paro_pool *pool,
                           paro_trial **out)
{
    paro_trial *t = calloc(1, sizeof *t);
    if (t == NULL)
        return paro_fail_memory(err, sizeof *t, "a trial");
    t->gpu = gpu;
    t->pool = pool;
    t->bucket = *problem;
    t->problem = m == 0 ? *problem : paro_problem_with_m(problem, m);
    t->config = *config;
    t->n_sets = 1;
    t->n_args = paro_family_n_args(problem->family);
    t->problem.family->plan(&t->problem, &t->config, &t->plan);
    paro_status status = paro_gpu_stream_new(err, gpu, &t->stream);
    if (status != PARO_STATUS_OK)
        goto done;
    status = paro_case_new(err, &t->problem, &t->config, seed, pool, &t->data);
    if (status != PARO_STATUS_OK)
        goto done;
    t->has_data = true;
    for (size_t i = 0; i < t->n_args && status == PARO_STATUS_OK; i++) {
        if (!is_buffer(t, i))
            continue;
        status = make_buffer(err, t, i);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_upload(err, gpu, t->buffers[i], t->data.data[i],
                                     arg_bytes(&t->data.info[i]) + PARO_CASE_GUARD_BYTES);
    }
done:
    if (status != PARO_STATUS_OK) {
        paro_trial_free(t);
        return status;
    }
    *out = t;
    return PARO_STATUS_OK;
}

void paro_trial_free(paro_trial *t)
{
    if (t == NULL)
        return;
    paro_gpu_module_free(t->module);
    drop_sets(t);
    for (size_t i = 0; i < t->n_args; i++)
        paro_gpu_release(t->gpu, t->buffers[i]);
    paro_gpu_stream_free(t->stream);
    paro_case_expect_release(t->expected);
    if (t->has_data)
        paro_case_release(&t->data);
    free(t);
}

bool paro_trial_fits(const paro_trial *t, const paro_kernel_config *config)
{
    const paro_family *family = t->problem.family;
    if (family->layout != NULL) {
        const char *mine = family->layout(&t->problem, &t->config);
        const char *theirs = family->layout(&t->problem, config);
        if (strcmp(mine, theirs) != 0)
            return false;
    }
    for (size_t i = 0; i < t->n_args; i++) {
        if (family->args[i].role == PARO_ARG_SCRATCH)
            continue;
        paro_arg_info info;
        family->arg_info(&t->problem, config, i, &info);
        if (info.n != t->data.info[i].n || info.dtype != t->data.info[i].dtype)
            return false;
    }
    return true;
}

paro_status paro_trial_set_config(paro_error *err, paro_trial *t, const paro_kernel_config *config)
{
    const paro_family *family = t->problem.family;
    if (!paro_trial_fits(t, config))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "trial of %s: the config has another layout than the data", family->name);
    paro_gpu_module_free(t->module);
    t->module = NULL;
    t->config = *config;
    family->plan(&t->problem, &t->config, &t->plan);
    for (size_t i = 0; i < t->n_args; i++) {
        if (family->args[i].role != PARO_ARG_SCRATCH)
            continue;
        family->arg_info(&t->problem, config, i, &t->data.info[i]);
        if (t->data.info[i].n == 0)
            continue;
        if (arg_bytes(&t->data.info[i]) + PARO_CASE_GUARD_BYTES > t->capacities[i])
            drop_sets(t); /* their scratch is too small, too */
        paro_status status = make_buffer(err, t, i);
        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}

paro_status paro_trial_load(paro_error *err, paro_trial *t, const paro_gpu_image *image)
{
    paro_gpu_module_free(t->module);
    t->module = NULL;
    paro_status status = paro_gpu_module_load(err, t->gpu, image, &t->module);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_launch_plan_functions(err, t->module, &t->plan, t->functions);
    if (status != PARO_STATUS_OK)
        return status;
    return paro_launch_plan_check(err, t->problem.family, &t->plan, t->functions);
}

/* Argument values of the n-th set. */
static void set_values(const paro_trial *t, size_t n, paro_gpu_value values[PARO_MAX_ARGS])
{
    uint64_t at = t->copies + (n > 0 ? (n - 1) * (t->copies_bytes / (t->n_sets - 1)) : 0);
    for (size_t i = 0; i < t->n_args; i++) {
        values[i].ptr = 0;
        if (t->problem.family->args[i].role == PARO_ARG_SCALAR) {
            values[i].scalar = t->data.scalars[i];
        } else if (is_buffer(t, i)) {
            values[i].ptr = n == 0 ? t->buffers[i] : at;
        }
        at += (t->capacities[i] + SET_ALIGNMENT - 1) / SET_ALIGNMENT * SET_ALIGNMENT;
    }
}

static paro_status poison_buffer(paro_error *err, paro_trial *t, size_t i)
{
    unsigned char guard[PARO_CASE_GUARD_BYTES];
    paro_case_guard(i, guard);
    paro_status status =
        paro_gpu_fill(err, t->gpu, t->stream, t->buffers[i], PARO_CASE_POISON, t->capacities[i]);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, t->stream); /* an upload is in no stream */
    if (status != PARO_STATUS_OK)
        return status;
    return paro_gpu_upload(err, t->gpu, t->buffers[i] + arg_bytes(&t->data.info[i]), guard,
                           sizeof guard);
}

/* What a kernel may not have left behind: poison outputs and scratch, upload inouts again. */
static paro_status poison(paro_error *err, paro_trial *t)
{
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < t->n_args && status == PARO_STATUS_OK; i++) {
        if (!is_buffer(t, i))
            continue;
        paro_arg_role role = t->problem.family->args[i].role;
        if (role == PARO_ARG_OUTPUT || role == PARO_ARG_SCRATCH)
            status = poison_buffer(err, t, i);
        else if (role == PARO_ARG_INOUT)
            status = paro_gpu_upload(err, t->gpu, t->buffers[i], t->data.data[i],
                                     arg_bytes(&t->data.info[i]) + PARO_CASE_GUARD_BYTES);
    }
    if (status != PARO_STATUS_OK)
        return status;
    return paro_gpu_stream_wait(err, t->stream);
}

/* Outputs and inouts with what lies behind them, for paro_case_compare. */
static paro_status download(paro_error *err, paro_trial *t, void *results[PARO_MAX_ARGS])
{
    const paro_family *family = t->problem.family;
    for (size_t i = 0; i < t->n_args; i++) {
        paro_arg_role role = family->args[i].role;
        if (!is_buffer(t, i))
            continue;
        size_t n_bytes = arg_bytes(&t->data.info[i]);
        paro_status status = PARO_STATUS_OK;
        if (role == PARO_ARG_OUTPUT || role == PARO_ARG_INOUT) {
            results[i] = malloc(n_bytes + PARO_CASE_GUARD_BYTES);
            if (results[i] == NULL)
                return paro_fail_memory(err, n_bytes, "results");
            status = paro_gpu_download(err, t->gpu, results[i], t->buffers[i],
                                       n_bytes + PARO_CASE_GUARD_BYTES);
        } else if (role == PARO_ARG_SCRATCH) {
            unsigned char guard[PARO_CASE_GUARD_BYTES], right[PARO_CASE_GUARD_BYTES];
            paro_case_guard(i, right);
            status = paro_gpu_download(err, t->gpu, guard, t->buffers[i] + n_bytes, sizeof guard);
            for (size_t j = 0; status == PARO_STATUS_OK && j < sizeof guard; j++)
                if (guard[j] != right[j])
                    status = paro_fail(err, PARO_STATUS_FORMAT,
                                       "%s: %s: expected %zu bytes, found byte %zu behind its end "
                                       "written",
                                       family->name, family->args[i].name, n_bytes, j);
        }
        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}

paro_status paro_trial_check(paro_error *err, paro_trial *t, double *error)
{
    void *results[PARO_MAX_ARGS] = {NULL};
    paro_gpu_value values[PARO_MAX_ARGS];
    paro_status status = paro_trial_expect(err, t);
    if (status != PARO_STATUS_OK)
        goto done;
    status = poison(err, t);
    if (status != PARO_STATUS_OK)
        goto done;
    set_values(t, 0, values);
    status = paro_launch_plan_launch(err, t->stream, &t->plan, t->functions, values);
    if (status != PARO_STATUS_OK)
        goto done;
    status = paro_gpu_stream_wait(err, t->stream);
    if (status != PARO_STATUS_OK)
        goto done;
    status = download(err, t, results);
    if (status == PARO_STATUS_OK)
        status = paro_case_compare(err, &t->data, t->expected, results, error);
done:
    for (size_t i = 0; i < PARO_MAX_ARGS; i++)
        free(results[i]);
    return status;
}

paro_status paro_trial_expect(paro_error *err, paro_trial *t)
{
    if (t->has_expected)
        return PARO_STATUS_OK;
    paro_status status = paro_case_expect(err, &t->data, t->pool, t->expected);
    t->has_expected = status == PARO_STATUS_OK;
    return status;
}

uint64_t paro_trial_set_bytes(const paro_trial *t)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < t->n_args; i++)
        sum += (t->capacities[i] + SET_ALIGNMENT - 1) / SET_ALIGNMENT * SET_ALIGNMENT;
    return sum;
}

paro_status paro_trial_make_sets(paro_error *err, paro_trial *t, uint64_t n_bytes, size_t max)
{
    uint64_t one = paro_trial_set_bytes(t);
    uint64_t n = one == 0 ? 1 : (n_bytes + one - 1) / one;
    if (n > max)
        n = max;
    if (n < 1)
        n = 1;
    if (n == t->n_sets)
        return PARO_STATUS_OK;
    drop_sets(t);
    if (n == 1)
        return PARO_STATUS_OK;
    paro_status status = paro_gpu_alloc(err, t->gpu, (size_t)((n - 1) * one), &t->copies);
    if (status != PARO_STATUS_OK)
        return status;
    t->copies_bytes = (size_t)((n - 1) * one);
    t->n_sets = (size_t)n;
    for (size_t s = 1; s < t->n_sets && status == PARO_STATUS_OK; s++) {
        uint64_t at = t->copies + (s - 1) * one;
        for (size_t i = 0; i < t->n_args && status == PARO_STATUS_OK; i++) {
            status = paro_gpu_copy(err, t->gpu, t->stream, at, t->buffers[i], t->capacities[i]);
            at += (t->capacities[i] + SET_ALIGNMENT - 1) / SET_ALIGNMENT * SET_ALIGNMENT;
        }
    }
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, t->stream);
    if (status != PARO_STATUS_OK)
        drop_sets(t);
    return status;
}

size_t paro_trial_n_sets(const paro_trial *t)
{
    return t->n_sets;
}

paro_status paro_trial_launch(paro_error *err, paro_trial *t, paro_gpu_stream *stream, size_t n)
{
    paro_gpu_value values[PARO_MAX_ARGS];
    set_values(t, n % t->n_sets, values);
    return paro_launch_plan_launch(err, stream, &t->plan, t->functions, values);
}

const paro_launch_plan *paro_trial_plan(const paro_trial *t)
{
    return &t->plan;
}

const paro_gpu_function *paro_trial_function(const paro_trial *t, size_t n)
{
    return t->functions[n];
}

paro_status paro_trial_run_once(paro_error *err, paro_gpu *gpu, const paro_problem *problem,
                                uint32_t m, const paro_kernel_config *config,
                                const paro_gpu_image *image, uint64_t seed, paro_pool *pool,
                                double *error)
{
    paro_trial *trial = NULL;
    paro_status status = paro_trial_new(err, gpu, problem, m, config, seed, pool, &trial);
    if (status == PARO_STATUS_OK)
        status = paro_trial_load(err, trial, image);
    if (status == PARO_STATUS_OK)
        status = paro_trial_check(err, trial, error);
    paro_trial_free(trial);
    return status;
}
