/* SPDX-License-Identifier: MIT
 *
 * The family of RMSNorms: residual += delta (where add), y = norm(residual) * weight.
 */
#include "families/norm.h"

#include <stdlib.h>
#include <string.h>

#include "base/reference.h"
#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_H, KEY_M, KEY_DTYPE, KEY_ADD };
enum { PARAM_THREADS };

static const paro_problem_key keys[] = {
    {"h", PARO_KEY_INTEGER, 1, 1 << 20, NULL, false, 0, "channels"},
    {"m", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "tokens"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of delta and y"},
    {"add", PARO_KEY_INTEGER, 0, 1, NULL, false, 0, "1: delta is added to the residual first"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"threads", {32, 64, 128, 256, 512, 1024}, 6, NULL, "threads of a block, which has one row"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"residual", PARO_ARG_INOUT, "[m, h] residual stream"},
    {"delta", PARO_ARG_INPUT, "[m, h] what is added to it (with add)"},
    {"weight", PARO_ARG_WEIGHT, "[h] factors of the normalised channels"},
    {"epsilon", PARO_ARG_SCALAR, "added to the mean of squares"},
    {"y", PARO_ARG_OUTPUT, "[m, h] normalised activations"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    (void)err;
    (void)problem;
    return PARO_STATUS_OK;
}

static uint32_t vector_of(const paro_problem *problem)
{
    return paro_vector_of((uint32_t)problem->values[KEY_H], PARO_KERNEL_DTYPE_F32);
}

static uint32_t n_vectors(const paro_problem *problem)
{
    return (uint32_t)problem->values[KEY_H] / vector_of(problem);
}

static uint32_t shared_bytes(const paro_kernel_config *config)
{
    return (uint32_t)config->values[PARAM_THREADS] / 32 * (uint32_t)sizeof(float);
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    (void)arch;
    uint32_t threads = (uint32_t)config->values[PARAM_THREADS];
    if (threads > 32 && threads / 2 >= n_vectors(problem))
        return "half of the threads would have no channels";
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    (void)arch;
    memset(out, 0, sizeof *out);
    int32_t threads = problem->values[KEY_M] < 64 ? 1024 : 256;
    while (threads > 32 && (uint32_t)threads / 2 >= n_vectors(problem))
        threads /= 2;
    out->values[PARAM_THREADS] = threads;
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_text(list, "dtype", "%s", paro_scalar_text(problem->values[KEY_DTYPE]));
    paro_hole_integer(list, "h", problem->values[KEY_H]);
    paro_hole_text(list, "add", "%s", problem->values[KEY_ADD] != 0 ? "true" : "false");
    paro_hole_integer(list, "threads", config->values[PARAM_THREADS]);
    paro_hole_integer(list, "vector", vector_of(problem));
    paro_hole_integer(list, "shared_bytes", shared_bytes(config));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    *out = (paro_launch_plan){
        .n_launches = 1,
        .launches = {{.kernel = "norm_rows",
                      .grid = {(uint32_t)problem->values[KEY_M], 1, 1},
                      .n_threads = (uint32_t)config->values[PARAM_THREADS],
                      .shared_bytes = shared_bytes(config),
                      .args = {PARO_NORM_ARG_RESIDUAL, PARO_NORM_ARG_DELTA, PARO_NORM_ARG_WEIGHT,
                               PARO_NORM_ARG_EPSILON, PARO_NORM_ARG_Y},
                      .n_args = 5}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    (void)config;
    uint64_t h = (uint64_t)problem->values[KEY_H], m = (uint64_t)problem->values[KEY_M];
    paro_dtype dtype = paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
    *out = (paro_arg_info){.dtype = PARO_DTYPE_F32, .n = h};
    if (arg == PARO_NORM_ARG_RESIDUAL)
        out->n = h * m;
    else if (arg == PARO_NORM_ARG_DELTA)
        *out = (paro_arg_info){dtype, problem->values[KEY_ADD] != 0 ? h * m : 0};
    else if (arg == PARO_NORM_ARG_EPSILON)
        out->n = 1;
    else if (arg == PARO_NORM_ARG_Y)
        *out = (paro_arg_info){dtype, h * m};
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    const struct {
        size_t arg;
        double mean, deviation;
    } rows[] = {{PARO_NORM_ARG_RESIDUAL, 0.1, 2},
                {PARO_NORM_ARG_DELTA, 0, 0.5},
                {PARO_NORM_ARG_WEIGHT, 1, 0.25}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const size_t arg = rows[i].arg;
        paro_random_normal(c->data[arg], c->info[arg].dtype, c->info[arg].n, rows[i].mean,
                           rows[i].deviation, paro_random_seed(seed, arg), pool);
    }
    c->scalars[PARO_NORM_ARG_EPSILON].f32 = 1e-5F;
}

typedef struct work {
    const paro_case *c;
    const double *weight;
    double *residual, *y;
} work;

static void do_row(void *context, size_t row, int worker)
{
    const work *w = context;
    const paro_case *c = w->c;
    const size_t h = (size_t)c->problem->values[KEY_H];
    double *sum = w->residual + row * h;
    (void)worker;
    for (size_t i = 0; i < h; i++) {
        sum[i] = paro_element_get(c->data[PARO_NORM_ARG_RESIDUAL], PARO_DTYPE_F32, row * h + i);
        if (c->info[PARO_NORM_ARG_DELTA].n > 0)
            sum[i] += paro_element_get(c->data[PARO_NORM_ARG_DELTA],
                                       c->info[PARO_NORM_ARG_DELTA].dtype, row * h + i);
    }
    paro_ref_norm_f64(sum, w->weight, 1, h, (double)c->scalars[PARO_NORM_ARG_EPSILON].f32,
                      w->y + row * h);
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    const size_t h = (size_t)c->problem->values[KEY_H];
    double *weight = malloc(h * sizeof *weight);
    if (weight == NULL)
        return paro_fail_memory(err, h * sizeof *weight, "the reference of norm");
    for (size_t i = 0; i < h; i++)
        weight[i] = paro_element_get(c->data[PARO_NORM_ARG_WEIGHT], PARO_DTYPE_F32, i);
    work w = {.c = c,
              .weight = weight,
              .residual = expected[PARO_NORM_ARG_RESIDUAL],
              .y = expected[PARO_NORM_ARG_Y]};
    paro_pool_run(pool, (size_t)c->problem->values[KEY_M], do_row, &w);
    free(weight);
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    double h = (double)problem->values[KEY_H], n = h * (double)problem->values[KEY_M];
    double size = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    bool add = problem->values[KEY_ADD] != 0;
    *out = (paro_cost){.bytes = n * (add ? 8 + 2 * size : 4 + size) + 4 * h,
                       .operations = n * (add ? 5 : 4)};
}

static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_cost bytes;
    cost(problem, &bytes);
    double threads = config->values[PARAM_THREADS];
    double steps = (double)paro_divide_up(n_vectors(problem), (uint32_t)threads);
    double under_way = steps < 4 ? 16 * steps : 64;
    return paro_estimate_stream_us(device, bytes.bytes, threads * (double)problem->values[KEY_M],
                                   under_way) +
           paro_latency_us / 2 + 0.01 * threads / 32; /* the second pass, the barrier */
}

const paro_family paro_family_norm = {.name = "norm",
                                      .summary =
                                          "RMSNorm of the residual stream, after an addition",
                                      .template_name = "norm.cu",
                                      .keys = keys,
                                      .params = params,
                                      .args = args,
                                      .complete = complete,
                                      .constraint = constraint,
                                      .default_config = default_config,
                                      .holes = holes,
                                      .plan = plan,
                                      .arg_info = arg_info,
                                      .fill = fill,
                                      .reference = reference,
                                      .cost = cost,
                                      .estimate_us = estimate_us};
