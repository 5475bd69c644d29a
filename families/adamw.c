/* SPDX-License-Identifier: MIT
 *
 * The family of AdamW's steps. Number of steps and schedule lie in device memory: an epoch's
 * launches are the same every time.
 */
#include "families/adamw.h"

#include <math.h>
#include <string.h>

#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_N, KEY_DTYPE, KEY_STEPS, KEY_ADVANCE };
enum { PARAM_THREADS };

static const paro_problem_key keys[] = {
    {"n", PARO_KEY_INTEGER, 1, (int64_t)1 << 31, NULL, false, 0, "numbers of the parameter"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, true, PARO_KERNEL_DTYPE_F32,
     "of the gradient"},
    {"steps", PARO_KEY_INTEGER, 1, 1 << 24, NULL, true, 1, "rows of the schedule"},
    {"advance", PARO_KEY_INTEGER, 0, 1, NULL, true, 0,
     "1: the step's last parameter: the number of steps is raised afterwards"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {{"threads", {64, 128, 256, 512}, 4, NULL, "threads of a block"},
                                    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"gradient", PARO_ARG_INPUT, "[n] gradient of the loss, not yet times gradient_scale"},
    {"step", PARO_ARG_INOUT, "[1] steps done, below the schedule's rows"},
    {"schedule", PARO_ARG_INPUT, "[steps, 3] lr, 1 / (1 - beta1^t), 1 / (1 - beta2^t)"},
    {"gradient_scale", PARO_ARG_SCALAR, "factor of the gradient"},
    {"beta1", PARO_ARG_SCALAR, "share of the first moment that stays"},
    {"beta2", PARO_ARG_SCALAR, "share of the second moment that stays"},
    {"epsilon", PARO_ARG_SCALAR, "added to the root of the second moment"},
    {"decay", PARO_ARG_SCALAR, "weight decay, times lr"},
    {"n", PARO_ARG_SCALAR, "numbers of the parameter"},
    {"parameter", PARO_ARG_INOUT, "[n]"},
    {"first", PARO_ARG_INOUT, "[n] first moments"},
    {"second", PARO_ARG_INOUT, "[n] second moments"},
    {NULL, PARO_ARG_INPUT, NULL}};

void paro_adamw_schedule_row(double lr, double beta1, double beta2, uint64_t t,
                             float row[PARO_ADAMW_SCHEDULE_ROW])
{
    row[0] = (float)lr;
    row[1] = (float)(1 / (1 - pow(beta1, (double)t)));
    row[2] = (float)(1 / (1 - pow(beta2, (double)t)));
}

static paro_status complete(paro_error *err, paro_problem *problem)
{
    (void)err;
    (void)problem;
    return PARO_STATUS_OK;
}

static uint32_t vector_of(const paro_problem *problem)
{
    return paro_vector_of((uint32_t)problem->values[KEY_N], PARO_KERNEL_DTYPE_F32);
}

static uint32_t n_vectors(const paro_problem *problem)
{
    return (uint32_t)problem->values[KEY_N] / vector_of(problem);
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    (void)arch;
    uint32_t threads = (uint32_t)config->values[PARAM_THREADS];
    if (threads > 64 && threads / 2 >= n_vectors(problem))
        return "half of the threads would have no numbers";
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    (void)arch;
    memset(out, 0, sizeof *out);
    int32_t threads = 256;
    while (threads > 64 && (uint32_t)threads / 2 >= n_vectors(problem))
        threads /= 2;
    out->values[PARAM_THREADS] = threads;
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_text(list, "dtype", "%s", paro_scalar_text(problem->values[KEY_DTYPE]));
    paro_hole_integer(list, "threads", config->values[PARAM_THREADS]);
    paro_hole_integer(list, "vector", vector_of(problem));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    uint32_t threads = (uint32_t)config->values[PARAM_THREADS];
    *out = (paro_launch_plan){
        .n_launches = problem->values[KEY_ADVANCE] != 0 ? 2 : 1,
        .launches = {
            {.kernel = "adamw",
             .grid = {paro_divide_up(n_vectors(problem), threads), 1, 1},
             .n_threads = threads,
             .args = {PARO_ADAMW_ARG_GRADIENT, PARO_ADAMW_ARG_STEP, PARO_ADAMW_ARG_SCHEDULE,
                      PARO_ADAMW_ARG_GRADIENT_SCALE, PARO_ADAMW_ARG_BETA1, PARO_ADAMW_ARG_BETA2,
                      PARO_ADAMW_ARG_EPSILON, PARO_ADAMW_ARG_DECAY, PARO_ADAMW_ARG_N,
                      PARO_ADAMW_ARG_PARAMETER, PARO_ADAMW_ARG_FIRST, PARO_ADAMW_ARG_SECOND},
             .n_args = 12}}};
    if (problem->values[KEY_ADVANCE] != 0)
        out->launches[1] = (paro_launch){.kernel = "adamw_advance",
                                         .grid = {1, 1, 1},
                                         .n_threads = 32,
                                         .args = {PARO_ADAMW_ARG_STEP},
                                         .n_args = 1};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    const uint64_t n = (uint64_t)problem->values[KEY_N];
    (void)config;
    *out = (paro_arg_info){PARO_DTYPE_F32, 1};
    switch (arg) {
    case PARO_ADAMW_ARG_GRADIENT:
        *out = (paro_arg_info){
            paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]), n};
        break;
    case PARO_ADAMW_ARG_STEP:
    case PARO_ADAMW_ARG_N:
        out->dtype = PARO_DTYPE_U32;
        break;
    case PARO_ADAMW_ARG_SCHEDULE:
        out->n = PARO_ADAMW_SCHEDULE_ROW * (uint64_t)problem->values[KEY_STEPS];
        break;
    case PARO_ADAMW_ARG_PARAMETER:
    case PARO_ADAMW_ARG_FIRST:
    case PARO_ADAMW_ARG_SECOND:
        out->n = n;
        break;
    default:
        break;
    }
}

/* Second moments are squares of random numbers. */
static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    static const struct {
        size_t arg;
        double mean, deviation;
    } rows[] = {{PARO_ADAMW_ARG_GRADIENT, 0, 2},
                {PARO_ADAMW_ARG_PARAMETER, 0.5, 1},
                {PARO_ADAMW_ARG_FIRST, 0, 1},
                {PARO_ADAMW_ARG_SECOND, 0, 1}};
    const double beta1 = 0.9, beta2 = 0.95;
    const uint64_t n_steps = (uint64_t)c->problem->values[KEY_STEPS];
    float *schedule = c->data[PARO_ADAMW_ARG_SCHEDULE], *second = c->data[PARO_ADAMW_ARG_SECOND];
    paro_rng rng;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const size_t arg = rows[i].arg;
        paro_random_normal(c->data[arg], c->info[arg].dtype, c->info[arg].n, rows[i].mean,
                           rows[i].deviation, paro_random_seed(seed, arg), pool);
    }
    for (uint64_t i = 0; i < c->info[PARO_ADAMW_ARG_SECOND].n; i++)
        second[i] *= second[i];
    for (uint64_t i = 0; i < n_steps; i++)
        paro_adamw_schedule_row(0.1 / (double)(i + 1), beta1, beta2, i + 1,
                                schedule + i * PARO_ADAMW_SCHEDULE_ROW);
    paro_rng_seed(&rng, paro_random_seed(seed, PARO_ADAMW_ARG_STEP));
    *(uint32_t *)c->data[PARO_ADAMW_ARG_STEP] = (uint32_t)paro_rng_below(&rng, n_steps);
    c->scalars[PARO_ADAMW_ARG_GRADIENT_SCALE].f32 = 0.25F;
    c->scalars[PARO_ADAMW_ARG_BETA1].f32 = (float)beta1;
    c->scalars[PARO_ADAMW_ARG_BETA2].f32 = (float)beta2;
    c->scalars[PARO_ADAMW_ARG_EPSILON].f32 = 1e-10F;
    c->scalars[PARO_ADAMW_ARG_DECAY].f32 = 0.01F;
    c->scalars[PARO_ADAMW_ARG_N].u32 = (uint32_t)c->problem->values[KEY_N];
}

typedef struct work {
    const paro_case *c;
    double *const *expected;
} work;

enum { CHUNK = 4096 };

static void do_chunk(void *context, size_t chunk, int worker)
{
    const work *w = context;
    const paro_case *c = w->c;
    const uint64_t n = c->info[PARO_ADAMW_ARG_PARAMETER].n;
    const uint64_t end = n - chunk * CHUNK < CHUNK ? n : (chunk + 1) * CHUNK;
    const float *row =
        (const float *)c->data[PARO_ADAMW_ARG_SCHEDULE] +
        (size_t) * (const uint32_t *)c->data[PARO_ADAMW_ARG_STEP] * PARO_ADAMW_SCHEDULE_ROW;
    const double lr = (double)row[0];
    const double beta1 = (double)c->scalars[PARO_ADAMW_ARG_BETA1].f32;
    const double beta2 = (double)c->scalars[PARO_ADAMW_ARG_BETA2].f32;
    (void)worker;
    for (uint64_t i = chunk * CHUNK; i < end; i++) {
        const double g = (double)c->scalars[PARO_ADAMW_ARG_GRADIENT_SCALE].f32 *
                         paro_element_get(c->data[PARO_ADAMW_ARG_GRADIENT],
                                          c->info[PARO_ADAMW_ARG_GRADIENT].dtype, i);
        const double p = (double)((const float *)c->data[PARO_ADAMW_ARG_PARAMETER])[i];
        const double m =
            beta1 * (double)((const float *)c->data[PARO_ADAMW_ARG_FIRST])[i] + (1 - beta1) * g;
        const double v = beta2 * (double)((const float *)c->data[PARO_ADAMW_ARG_SECOND])[i] +
                         (1 - beta2) * g * g;
        const double root =
            sqrt(v * (double)row[2]) + (double)c->scalars[PARO_ADAMW_ARG_EPSILON].f32;
        w->expected[PARO_ADAMW_ARG_FIRST][i] = m;
        w->expected[PARO_ADAMW_ARG_SECOND][i] = v;
        w->expected[PARO_ADAMW_ARG_PARAMETER][i] =
            p * (1 - lr * (double)c->scalars[PARO_ADAMW_ARG_DECAY].f32) -
            lr * m * (double)row[1] / root;
    }
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    work w = {.c = c, .expected = expected};
    (void)err;
    paro_pool_run(pool, paro_divide_up(c->info[PARO_ADAMW_ARG_PARAMETER].n, CHUNK), do_chunk, &w);
    expected[PARO_ADAMW_ARG_STEP][0] =
        paro_element_get(c->data[PARO_ADAMW_ARG_STEP], PARO_DTYPE_U32, 0) +
        (double)c->problem->values[KEY_ADVANCE];
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    double n = (double)problem->values[KEY_N];
    double size = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    *out = (paro_cost){.bytes = n * (24 + size) + 16, .operations = 15 * n};
}

static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_cost bytes;
    cost(problem, &bytes);
    double us = paro_estimate_stream_us(device, bytes.bytes, n_vectors(problem), 64) +
                1e-3 * config->values[PARAM_THREADS] / 64;
    return problem->values[KEY_ADVANCE] != 0 ? us + paro_launch_us : us;
}

const paro_family paro_family_adamw = {
    .name = "adamw",
    .summary = "one step of AdamW on one parameter, its schedule on the device",
    .template_name = "adamw.cu",
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
