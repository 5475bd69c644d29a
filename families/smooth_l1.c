/* SPDX-License-Identifier: MIT
 *
 * The family of smooth L1: the mean over n numbers, and its gradient.
 */
#include "families/smooth_l1.h"

#include <math.h>
#include <string.h>

#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_N, KEY_DTYPE, KEY_TARGET, KEY_GRADIENT };
enum { PARAM_THREADS, PARAM_STEPS };
enum { SUM_THREADS = 1024 };

static const paro_problem_key keys[] = {
    {"n", PARO_KEY_INTEGER, 1, (int64_t)1 << 31, NULL, false, 0, "numbers of y"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of y and dy"},
    {"target", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "dtype of the target"},
    {"gradient", PARO_KEY_INTEGER, 0, 1, NULL, true, 1, "0: the loss only"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {{"threads", {128, 256, 512}, 3, NULL, "threads of a block"},
                                    {"steps", {1, 2, 4, 8, 16}, 5, NULL, "accesses of a thread"},
                                    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"y", PARO_ARG_INPUT, "[n] output of a block"},
    {"target", PARO_ARG_INPUT, "[n] what it should be"},
    {"n", PARO_ARG_SCALAR, "numbers of y"},
    {"scale", PARO_ARG_SCALAR, "factor of dy, not of the loss"},
    {"dy", PARO_ARG_OUTPUT, "[n] gradient of the loss, times scale (with gradient)"},
    {"sums", PARO_ARG_SCRATCH, "[blocks] sums of blocks"},
    {"loss", PARO_ARG_OUTPUT, "[1] the mean"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    (void)err;
    (void)problem;
    return PARO_STATUS_OK;
}

/* Of the narrower of the two: 16 bytes at a time, and 32 of the other. */
static uint32_t vector_of(const paro_problem *problem)
{
    const uint32_t n = (uint32_t)problem->values[KEY_N];
    const uint32_t y = paro_vector_of(n, problem->values[KEY_DTYPE]);
    const uint32_t target = paro_vector_of(n, problem->values[KEY_TARGET]);
    return y > target ? y : target;
}

static uint32_t block_values(const paro_problem *problem, const paro_kernel_config *config)
{
    return (uint32_t)(config->values[PARAM_THREADS] * config->values[PARAM_STEPS]) *
           vector_of(problem);
}

static uint32_t n_blocks(const paro_problem *problem, const paro_kernel_config *config)
{
    return paro_divide_up((uint64_t)problem->values[KEY_N], block_values(problem, config));
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    (void)arch;
    const uint64_t n = (uint64_t)problem->values[KEY_N];
    if (config->values[PARAM_STEPS] > 1 && block_values(problem, config) / 2 >= n)
        return "half of the accesses would have no numbers";
    if (config->values[PARAM_THREADS] > 128 && config->values[PARAM_STEPS] == 1 &&
        block_values(problem, config) / 2 >= n)
        return "half of the threads would have no numbers";
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    (void)arch;
    memset(out, 0, sizeof *out);
    out->values[PARAM_THREADS] = 256;
    out->values[PARAM_STEPS] = 8;
    while (out->values[PARAM_STEPS] > 1 && n_blocks(problem, out) < 512)
        out->values[PARAM_STEPS] /= 2;
    if (block_values(problem, out) / 2 >= (uint64_t)problem->values[KEY_N])
        out->values[PARAM_THREADS] = 128;
}

static uint32_t shared_bytes(uint32_t threads)
{
    return threads / 32 * (uint32_t)sizeof(float);
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_text(list, "dtype", "%s", paro_scalar_text(problem->values[KEY_DTYPE]));
    paro_hole_text(list, "target", "%s", paro_scalar_text(problem->values[KEY_TARGET]));
    paro_hole_text(list, "gradient", "%s", problem->values[KEY_GRADIENT] != 0 ? "true" : "false");
    paro_hole_integer(list, "threads", config->values[PARAM_THREADS]);
    paro_hole_integer(list, "steps", config->values[PARAM_STEPS]);
    paro_hole_integer(list, "vector", vector_of(problem));
    paro_hole_integer(list, "shared_bytes", shared_bytes((uint32_t)config->values[PARAM_THREADS]));
    paro_hole_integer(list, "sum_threads", SUM_THREADS);
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    const uint32_t threads = (uint32_t)config->values[PARAM_THREADS];
    *out = (paro_launch_plan){
        .n_launches = 2,
        .launches = {
            {.kernel = "smooth_l1",
             .grid = {n_blocks(problem, config), 1, 1},
             .n_threads = threads,
             .shared_bytes = shared_bytes(threads),
             .args = {PARO_SMOOTH_L1_ARG_Y, PARO_SMOOTH_L1_ARG_TARGET, PARO_SMOOTH_L1_ARG_N,
                      PARO_SMOOTH_L1_ARG_SCALE, PARO_SMOOTH_L1_ARG_DY, PARO_SMOOTH_L1_ARG_SUMS},
             .n_args = 6},
            {.kernel = "smooth_l1_sum",
             .grid = {1, 1, 1},
             .n_threads = SUM_THREADS,
             .shared_bytes = shared_bytes(SUM_THREADS),
             .args = {PARO_SMOOTH_L1_ARG_SUMS, PARO_SMOOTH_L1_ARG_N, PARO_SMOOTH_L1_ARG_LOSS},
             .n_args = 3}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    const uint64_t n = (uint64_t)problem->values[KEY_N];
    const paro_dtype dtype =
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
    *out = (paro_arg_info){PARO_DTYPE_F32, 1};
    switch (arg) {
    case PARO_SMOOTH_L1_ARG_Y:
        *out = (paro_arg_info){dtype, n};
        break;
    case PARO_SMOOTH_L1_ARG_TARGET:
        *out = (paro_arg_info){
            paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_TARGET]), n};
        break;
    case PARO_SMOOTH_L1_ARG_N:
        out->dtype = PARO_DTYPE_U32;
        break;
    case PARO_SMOOTH_L1_ARG_DY:
        *out = (paro_arg_info){dtype, problem->values[KEY_GRADIENT] != 0 ? n : 0};
        break;
    case PARO_SMOOTH_L1_ARG_SUMS:
        out->n = n_blocks(problem, config);
        break;
    default:
        break;
    }
}

/* Differences on both sides of 1; a scale that keeps dy within what f16 holds. */
static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    static const size_t inputs[] = {PARO_SMOOTH_L1_ARG_Y, PARO_SMOOTH_L1_ARG_TARGET};
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        const size_t arg = inputs[i];
        paro_random_normal(c->data[arg], c->info[arg].dtype, c->info[arg].n, 0, 0.7,
                           paro_random_seed(seed, arg), pool);
    }
    c->scalars[PARO_SMOOTH_L1_ARG_N].u32 = (uint32_t)c->problem->values[KEY_N];
    c->scalars[PARO_SMOOTH_L1_ARG_SCALE].f32 = (float)c->problem->values[KEY_N];
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    const uint64_t n = (uint64_t)c->problem->values[KEY_N];
    double sum = 0;
    (void)err;
    (void)pool;
    for (uint64_t i = 0; i < n; i++) {
        const double d = paro_element_get(c->data[PARO_SMOOTH_L1_ARG_Y],
                                          c->info[PARO_SMOOTH_L1_ARG_Y].dtype, i) -
                         paro_element_get(c->data[PARO_SMOOTH_L1_ARG_TARGET],
                                          c->info[PARO_SMOOTH_L1_ARG_TARGET].dtype, i);
        sum += fabs(d) < 1 ? 0.5 * d * d : fabs(d) - 0.5;
        if (expected[PARO_SMOOTH_L1_ARG_DY] != NULL)
            expected[PARO_SMOOTH_L1_ARG_DY][i] =
                (double)c->scalars[PARO_SMOOTH_L1_ARG_SCALE].f32 / (double)n * fmax(fmin(d, 1), -1);
    }
    expected[PARO_SMOOTH_L1_ARG_LOSS][0] = sum / (double)n;
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    const double n = (double)problem->values[KEY_N];
    const double y = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    const double target = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_TARGET]));
    const double written = problem->values[KEY_GRADIENT] != 0 ? y : 0;
    *out = (paro_cost){.bytes = n * (y + target + written) + 4, .operations = 6 * n};
}

static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_cost bytes;
    cost(problem, &bytes);
    const double blocks = n_blocks(problem, config);
    const double threads = blocks * config->values[PARAM_THREADS];
    return paro_estimate_stream_us(device, bytes.bytes, threads, 64) + paro_launch_us +
           paro_latency_us * (1 + blocks / SUM_THREADS / 8);
}

const paro_family paro_family_smooth_l1 = {
    .name = "smooth_l1",
    .summary = "smooth L1 loss of a block's output and its gradient",
    .template_name = "smooth_l1.cu",
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
    .estimate_us = estimate_us,
};
