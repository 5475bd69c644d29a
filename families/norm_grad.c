/* SPDX-License-Identifier: MIT
 *
 * The family of RMSNorms' backward: d_residual (where add: +)= the gradient of x from that of
 * y = norm(x) * weight. The weight has none.
 */
#include "families/norm_grad.h"

#include <math.h>
#include <string.h>

#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_H, KEY_M, KEY_DTYPE, KEY_ADD, KEY_COPY };
enum { PARAM_THREADS };

static const paro_problem_key keys[] = {
    {"h", PARO_KEY_INTEGER, 1, 1 << 20, NULL, false, 0, "channels"},
    {"m", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "tokens"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of dy and d_x"},
    {"add", PARO_KEY_INTEGER, 0, 1, NULL, false, 0, "1: d_residual is added to, 0: written"},
    {"copy", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: d_residual is rounded into d_x too"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"threads", {32, 64, 128, 256, 512, 1024}, 6, NULL, "threads of a block, which has one row"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"x", PARO_ARG_INPUT, "[m, h] residual stream that was normalised"},
    {"weight", PARO_ARG_WEIGHT, "[h] factors of the normalised channels"},
    {"dy", PARO_ARG_INPUT, "[m, h] gradient of the normalised activations"},
    {"epsilon", PARO_ARG_SCALAR, "added to the mean of squares"},
    {"d_residual", PARO_ARG_INOUT, "[m, h] gradient of the residual stream"},
    {"d_x", PARO_ARG_OUTPUT, "[m, h] the same, rounded (with copy)"},
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
    return (uint32_t)config->values[PARAM_THREADS] / 32 * 2 * (uint32_t)sizeof(float);
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
    paro_hole_text(list, "copy", "%s", problem->values[KEY_COPY] != 0 ? "true" : "false");
    paro_hole_integer(list, "threads", config->values[PARAM_THREADS]);
    paro_hole_integer(list, "vector", vector_of(problem));
    paro_hole_integer(list, "shared_bytes", shared_bytes(config));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    *out = (paro_launch_plan){
        .n_launches = 1,
        .launches = {{.kernel = "norm_grad",
                      .grid = {(uint32_t)problem->values[KEY_M], 1, 1},
                      .n_threads = (uint32_t)config->values[PARAM_THREADS],
                      .shared_bytes = shared_bytes(config),
                      .args = {PARO_NORM_GRAD_ARG_X, PARO_NORM_GRAD_ARG_WEIGHT,
                               PARO_NORM_GRAD_ARG_DY, PARO_NORM_GRAD_ARG_EPSILON,
                               PARO_NORM_GRAD_ARG_D_RESIDUAL, PARO_NORM_GRAD_ARG_D_X},
                      .n_args = 6}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    (void)config;
    uint64_t h = (uint64_t)problem->values[KEY_H], m = (uint64_t)problem->values[KEY_M];
    paro_dtype dtype = paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
    *out = (paro_arg_info){PARO_DTYPE_F32, h * m};
    if (arg == PARO_NORM_GRAD_ARG_WEIGHT)
        out->n = h;
    else if (arg == PARO_NORM_GRAD_ARG_EPSILON)
        out->n = 1;
    else if (arg == PARO_NORM_GRAD_ARG_DY)
        out->dtype = dtype;
    else if (arg == PARO_NORM_GRAD_ARG_D_X)
        *out = (paro_arg_info){dtype, problem->values[KEY_COPY] != 0 ? h * m : 0};
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    const struct {
        size_t arg;
        double mean, deviation;
    } rows[] = {{PARO_NORM_GRAD_ARG_X, 0.1, 1},
                {PARO_NORM_GRAD_ARG_WEIGHT, 1, 0.25},
                {PARO_NORM_GRAD_ARG_DY, 0.1, 1},
                {PARO_NORM_GRAD_ARG_D_RESIDUAL, 0, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const size_t arg = rows[i].arg;
        paro_random_normal(c->data[arg], c->info[arg].dtype, c->info[arg].n, rows[i].mean,
                           rows[i].deviation, paro_random_seed(seed, arg), pool);
    }
    c->scalars[PARO_NORM_GRAD_ARG_EPSILON].f32 =
        0.5F; /* so large that rows of one have gradients */
}

typedef struct work {
    const paro_case *c;
    double *const *expected;
} work;

static double get(const paro_case *c, size_t arg, uint64_t i)
{
    return paro_element_get(c->data[arg], c->info[arg].dtype, i);
}

static void do_row(void *context, size_t row, int worker)
{
    const work *w = context;
    const paro_case *c = w->c;
    const size_t h = (size_t)c->problem->values[KEY_H], first = row * h;
    double squares = 0, products = 0;
    (void)worker;
    for (size_t i = 0; i < h; i++) {
        const double x = get(c, PARO_NORM_GRAD_ARG_X, first + i);
        squares += x * x;
        products +=
            x * get(c, PARO_NORM_GRAD_ARG_WEIGHT, i) * get(c, PARO_NORM_GRAD_ARG_DY, first + i);
    }
    const double scale =
        1 / sqrt(squares / (double)h + (double)c->scalars[PARO_NORM_GRAD_ARG_EPSILON].f32);
    for (size_t i = first; i < first + h; i++) {
        const double d =
            get(c, PARO_NORM_GRAD_ARG_WEIGHT, i - first) * get(c, PARO_NORM_GRAD_ARG_DY, i);
        double sum =
            scale * d - pow(scale, 3) * products / (double)h * get(c, PARO_NORM_GRAD_ARG_X, i);
        if (c->problem->values[KEY_ADD] != 0)
            sum += get(c, PARO_NORM_GRAD_ARG_D_RESIDUAL, i);
        w->expected[PARO_NORM_GRAD_ARG_D_RESIDUAL][i] = sum;
        if (w->expected[PARO_NORM_GRAD_ARG_D_X] != NULL)
            w->expected[PARO_NORM_GRAD_ARG_D_X][i] = sum;
    }
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    work w = {.c = c, .expected = expected};
    (void)err;
    paro_pool_run(pool, (size_t)c->problem->values[KEY_M], do_row, &w);
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    double h = (double)problem->values[KEY_H], n = h * (double)problem->values[KEY_M];
    double size = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    double residual = problem->values[KEY_ADD] != 0 ? 8 : 4;
    double copy = problem->values[KEY_COPY] != 0 ? size : 0;
    *out = (paro_cost){.bytes = n * (4 + size + residual + copy) + 4 * h, .operations = 9 * n};
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

const paro_family paro_family_norm_grad = {.name = "norm_grad",
                                           .summary = "gradient of RMSNorm's input",
                                           .template_name = "norm_grad.cu",
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
