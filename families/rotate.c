/* SPDX-License-Identifier: MIT
 *
 * The family of stand-alone rotations: y = R(x * channel_scales), one output for each of several
 * rotations of the same input; or the inverse, y = R^-1(x) / channel_scales.
 */
#include "families/rotate.h"

#include <string.h>

#include "families/elementwise.h"
#include "families/random.h"
#include "families/rotation_tables.h"

enum { KEY_H, KEY_M, KEY_GROUP, KEY_KROT, KEY_DTYPE, KEY_OUTPUTS, KEY_INVERSE };
enum { PARAM_TOKENS, PARAM_WARPS };

static const paro_problem_key keys[] = {
    {"h", PARO_KEY_INTEGER, PARO_ROTATION_MIN_GROUP, 1 << 18, NULL, false, 0,
     "channels, a multiple of group"},
    {"m", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "tokens"},
    {"group", PARO_KEY_INTEGER, PARO_ROTATION_MIN_GROUP, PARO_ROTATION_MAX_GROUP, NULL, false, 0,
     "channels of a group: 32, 64, 128, 256"},
    {"krot", PARO_KEY_INTEGER, 0, PARO_ROTATION_MAX_ROUNDS, NULL, false, 0, "rounds"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of x and y"},
    {"outputs", PARO_KEY_INTEGER, 1, 8, NULL, true, 1, "rotations of the same input"},
    {"inverse", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: undo the rotation and the scales"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"tokens", {1, 2, 4, 8}, 4, NULL, "tokens that share a fetch of the tables"},
    {"warps", {1, 2, 4, 8}, 4, NULL, "warps of a block"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"x", PARO_ARG_INPUT, "[m, h] activations"},
    {"pairs", PARO_ARG_WEIGHT, "[outputs, krot, h / 2, 2] channels within their group"},
    {"cossin", PARO_ARG_WEIGHT, "[outputs, krot, h / 2, 2] cosine and sine of the angles"},
    {"channel_scales", PARO_ARG_WEIGHT, "[outputs, h] factors of the input's channels"},
    {"y", PARO_ARG_OUTPUT, "[outputs, m, h] rotated activations"},
    {"m", PARO_ARG_SCALAR, "tokens"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    uint32_t h = (uint32_t)problem->values[KEY_H], group = (uint32_t)problem->values[KEY_GROUP];
    if (!paro_rotation_group_fits(h, group))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "rotate: expected group 32, 64, 128 or 256 and h a multiple of it, found "
                         "group=%u, h=%u",
                         group, h);
    return PARO_STATUS_OK;
}

/* Channels of a warp. */
static uint32_t warp_channels(const paro_problem *problem)
{
    uint32_t group = (uint32_t)problem->values[KEY_GROUP];
    return group < 64 ? 64 : group;
}

static uint32_t shared_bytes(const paro_problem *problem, const paro_kernel_config *config)
{
    return (uint32_t)(config->values[PARAM_WARPS] * config->values[PARAM_TOKENS]) *
           warp_channels(problem) * (uint32_t)sizeof(float);
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    uint32_t tokens = (uint32_t)config->values[PARAM_TOKENS];
    uint32_t warps = (uint32_t)config->values[PARAM_WARPS];
    if (shared_bytes(problem, config) > arch->max_shared_bytes)
        return "more shared memory than a block may have";
    if (tokens > 1 && tokens / 2 >= problem->values[KEY_M])
        return "half of the tokens would be none";
    if (warps > 1 && warps / 2 * warp_channels(problem) >= problem->values[KEY_H])
        return "half of the warps would have no channels";
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    (void)arch;
    int64_t m = problem->values[KEY_M];
    memset(out, 0, sizeof *out);
    out->values[PARAM_TOKENS] = m < 8 ? 1 : m < 64 ? 2 : 4;
    out->values[PARAM_WARPS] = m < 8 ? 1 : 4;
    while (out->values[PARAM_WARPS] > 1 &&
           out->values[PARAM_WARPS] / 2 * warp_channels(problem) >= problem->values[KEY_H])
        out->values[PARAM_WARPS] /= 2;
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_text(list, "dtype", "%s", paro_scalar_text(problem->values[KEY_DTYPE]));
    paro_hole_integer(list, "h", problem->values[KEY_H]);
    paro_hole_integer(list, "group", problem->values[KEY_GROUP]);
    paro_hole_integer(list, "krot", problem->values[KEY_KROT]);
    paro_hole_text(list, "inverse", "%s", problem->values[KEY_INVERSE] != 0 ? "true" : "false");
    paro_hole_integer(list, "tokens", config->values[PARAM_TOKENS]);
    paro_hole_integer(list, "warps", config->values[PARAM_WARPS]);
    paro_hole_integer(list, "shared_bytes", shared_bytes(problem, config));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    uint32_t warps = (uint32_t)config->values[PARAM_WARPS];
    *out = (paro_launch_plan){
        .n_launches = 1,
        .launches = {
            {.kernel = "rotate",
             .grid = {paro_divide_up((uint32_t)problem->values[KEY_H],
                                     warps * warp_channels(problem)),
                      paro_divide_up((uint32_t)problem->values[KEY_M],
                                     (uint32_t)config->values[PARAM_TOKENS]),
                      (uint32_t)problem->values[KEY_OUTPUTS]},
             .n_threads = 32 * warps,
             .shared_bytes = shared_bytes(problem, config),
             .args = {PARO_ROTATE_ARG_X, PARO_ROTATE_ARG_PAIRS, PARO_ROTATE_ARG_COSSIN,
                      PARO_ROTATE_ARG_CHANNEL_SCALES, PARO_ROTATE_ARG_Y, PARO_ROTATE_ARG_M},
             .n_args = 6}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    const paro_dtype dtype =
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
    const uint64_t h = (uint64_t)problem->values[KEY_H], m = (uint64_t)problem->values[KEY_M];
    const uint64_t outputs = (uint64_t)problem->values[KEY_OUTPUTS];
    const uint64_t slots = outputs * (uint64_t)problem->values[KEY_KROT] * h;
    (void)config;
    switch (arg) {
    case PARO_ROTATE_ARG_X:
        *out = (paro_arg_info){dtype, m * h};
        break;
    case PARO_ROTATE_ARG_PAIRS:
        *out = (paro_arg_info){PARO_DTYPE_U8, slots};
        break;
    case PARO_ROTATE_ARG_COSSIN:
        *out = (paro_arg_info){PARO_DTYPE_F32, slots};
        break;
    case PARO_ROTATE_ARG_CHANNEL_SCALES:
        *out = (paro_arg_info){PARO_DTYPE_F32, outputs * h};
        break;
    case PARO_ROTATE_ARG_Y:
        *out = (paro_arg_info){dtype, outputs * m * h};
        break;
    default:
        *out = (paro_arg_info){PARO_DTYPE_U32, 1};
        break;
    }
}

/* The tables of one output, of a case. */
static paro_rotation_tables tables_of(const paro_case *c, uint32_t output)
{
    const uint32_t h = (uint32_t)c->problem->values[KEY_H];
    const uint32_t krot = (uint32_t)c->problem->values[KEY_KROT];
    const size_t first = (size_t)output * krot * h;
    paro_rotation_tables tables = {.k = h,
                                   .group = (uint32_t)c->problem->values[KEY_GROUP],
                                   .krot = krot,
                                   .channel_scales =
                                       (const float *)c->data[PARO_ROTATE_ARG_CHANNEL_SCALES] +
                                       (size_t)output * h};
    if (krot > 0) {
        tables.pairs = (const uint8_t *)c->data[PARO_ROTATE_ARG_PAIRS] + first;
        tables.cossin = (const float *)c->data[PARO_ROTATE_ARG_COSSIN] + first;
    }
    return tables;
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    const paro_arg_info *x = &c->info[PARO_ROTATE_ARG_X];
    const uint32_t h = (uint32_t)c->problem->values[KEY_H];
    const uint32_t krot = (uint32_t)c->problem->values[KEY_KROT];
    paro_random_normal(c->data[PARO_ROTATE_ARG_X], x->dtype, x->n, 0, 1,
                       paro_random_seed(seed, PARO_ROTATE_ARG_X), pool);
    for (uint32_t output = 0; output < c->problem->values[KEY_OUTPUTS]; output++) {
        const size_t first = (size_t)output * krot * h;
        uint8_t *pairs = c->data[PARO_ROTATE_ARG_PAIRS];
        float *cossin = c->data[PARO_ROTATE_ARG_COSSIN];
        float *scales = c->data[PARO_ROTATE_ARG_CHANNEL_SCALES];
        paro_rotation_tables_random(paro_random_seed(seed, PARO_ROTATE_ARG_M + 1 + output), h,
                                    (uint32_t)c->problem->values[KEY_GROUP], krot,
                                    krot == 0 ? NULL : pairs + first,
                                    krot == 0 ? NULL : cossin + first, scales + (size_t)output * h);
    }
    c->scalars[PARO_ROTATE_ARG_M].u32 = (uint32_t)c->problem->values[KEY_M];
}

typedef struct reference_job {
    const paro_case *c;
    double *y;
} reference_job;

/* Row i of [outputs, m]. */
static void reference_row(void *context, size_t i, int worker)
{
    const reference_job *job = context;
    const paro_case *c = job->c;
    const size_t h = (size_t)c->problem->values[KEY_H], m = (size_t)c->problem->values[KEY_M];
    double *row = job->y + i * h;
    (void)worker;
    for (size_t channel = 0; channel < h; channel++)
        row[channel] = paro_element_get(c->data[PARO_ROTATE_ARG_X],
                                        c->info[PARO_ROTATE_ARG_X].dtype, i % m * h + channel);
    paro_rotation_tables tables = tables_of(c, (uint32_t)(i / m));
    if (c->problem->values[KEY_INVERSE] != 0)
        paro_rotation_tables_unrotate(&tables, row);
    else
        paro_rotation_tables_rotate(&tables, row);
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    reference_job job = {c, expected[PARO_ROTATE_ARG_Y]};
    (void)err;
    paro_pool_run(pool, (size_t)(c->problem->values[KEY_OUTPUTS] * c->problem->values[KEY_M]),
                  reference_row, &job);
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    const double h = (double)problem->values[KEY_H], m = (double)problem->values[KEY_M];
    const double outputs = (double)problem->values[KEY_OUTPUTS];
    const double krot = (double)problem->values[KEY_KROT];
    const double element = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    out->bytes = (1 + outputs) * m * h * element + outputs * h * (4 + krot * (1 + 4));
    out->operations = outputs * m * h * (1 + 3 * krot);
}

/* The slower of memory, the schedulers (four a multiprocessor, of which shared memory lets half be
 * used), and one warp's chain of rounds. */
static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_launch_plan p;
    paro_cost moved;
    plan(problem, config, &p);
    cost(problem, &moved);
    const double tokens = config->values[PARAM_TOKENS], krot = (double)problem->values[KEY_KROT];
    const double slots = warp_channels(problem) / 64.0; /* of a lane */
    const double warp = slots * (tokens * (10 + 7 * krot) + 8 * krot) + 60;
    const double n_warps = (double)p.launches[0].grid[0] * p.launches[0].grid[1] *
                           p.launches[0].grid[2] * config->values[PARAM_WARPS];
    const double memory = moved.bytes / (device->bandwidth_gbs * 1e3);
    const double issue = n_warps * warp / (device->n_sms * 2.0) / device->clock_mhz;
    const double chain = (1200 + krot * (60 + 8 * slots * tokens)) / device->clock_mhz;
    return 1 + (memory > issue ? memory : issue) + chain;
}

const paro_family paro_family_rotate = {
    .name = "rotate",
    .summary = "scaled pairwise rotation of activations",
    .template_name = "rotate.cu",
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
