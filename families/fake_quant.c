/* SPDX-License-Identifier: MIT
 *
 * The family of fake quantisation, forward: w_hat = R^-1(Q(R(w * s))) / s.
 */
#include "families/fake_quant.h"

#include <string.h>

#include "families/elementwise.h"
#include "families/fake_quant_case.h"
#include "families/rotation_tables.h"

enum { KEY_N, KEY_K, KEY_GROUP, KEY_KROT, KEY_BITS, KEY_LEARNED, KEY_DTYPE };
enum { PARAM_ROWS, PARAM_WARPS, PARAM_STRIP };

static const paro_problem_key keys[] = {
    {"n", PARO_KEY_INTEGER, 1, 1 << 20, NULL, false, 0, "rows: outputs of the linear"},
    {"k", PARO_KEY_INTEGER, PARO_ROTATION_MIN_GROUP, 1 << 18, NULL, false, 0,
     "channels, a multiple of group"},
    {"group", PARO_KEY_INTEGER, PARO_ROTATION_MIN_GROUP, PARO_ROTATION_MAX_GROUP, NULL, false, 0,
     "channels of a group: 32, 64, 128, 256"},
    {"krot", PARO_KEY_INTEGER, 0, PARO_ROTATION_MAX_ROUNDS, NULL, false, 0, "rounds"},
    {"bits", PARO_KEY_INTEGER, 2, 8, NULL, true, 4, "of a code"},
    {"learned", PARO_KEY_INTEGER, 0, 1, NULL, false, 0,
     "1: step and zero are given, 0: they follow from a group's extremes"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of w_hat"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"rows", {1, 2, 4, 8}, 4, NULL, "rows that share a fetch of a turn"},
    {"warps", {1, 2, 4, 8}, 4, NULL, "warps of a block"},
    {"strip", {32, 64, 128, 256, 512}, 5, NULL, "rows of a block, which makes its turns once"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"w", PARO_ARG_INPUT, "[n, k] weight"},
    {"pairs", PARO_ARG_WEIGHT, "[krot, k / 2, 2] channels within their group"},
    {"theta", PARO_ARG_INPUT, "[krot, k / 2] angles in radians"},
    {"channel_scales", PARO_ARG_INPUT, "[k] factors of the weight's channels"},
    {"step", PARO_ARG_INPUT, "[n, k / group] (learned)"},
    {"zero", PARO_ARG_INPUT, "[n, k / group] any real number (learned)"},
    {"w_hat", PARO_ARG_OUTPUT, "[n, k] what the quantised layer computes with"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    uint32_t k = (uint32_t)problem->values[KEY_K], group = (uint32_t)problem->values[KEY_GROUP];
    if (!paro_rotation_group_fits(k, group))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "fake_quant: expected group 32, 64, 128 or 256 and k a multiple of it, "
                         "found group=%u, k=%u",
                         group, k);
    return PARO_STATUS_OK;
}

static uint32_t value(const paro_kernel_config *config, size_t param)
{
    return (uint32_t)config->values[param];
}

static uint32_t shared_bytes(const paro_problem *problem, const paro_kernel_config *config)
{
    uint32_t group = (uint32_t)problem->values[KEY_GROUP];
    return paro_turns_bytes(group, (uint32_t)problem->values[KEY_KROT]) +
           value(config, PARAM_WARPS) * value(config, PARAM_ROWS) * group * (uint32_t)sizeof(float);
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    uint32_t strip = value(config, PARAM_STRIP);
    if (value(config, PARAM_ROWS) * value(config, PARAM_WARPS) > strip)
        return "warps without rows";
    if (strip > 32 && strip / 2 >= problem->values[KEY_N])
        return "half of the strip would have no rows";
    if (shared_bytes(problem, config) > arch->max_shared_bytes)
        return "more shared memory than a block may have";
    return NULL;
}

/* Strips as long as leave blocks for a large device. */
static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    (void)arch;
    const uint32_t n_groups = (uint32_t)(problem->values[KEY_K] / problem->values[KEY_GROUP]);
    const uint32_t n = (uint32_t)problem->values[KEY_N];
    int32_t strip = 256;
    while (strip > 32 && n_groups * paro_divide_up(n, (uint32_t)strip) < 512)
        strip /= 2;
    while (strip > 32 && (uint32_t)strip / 2 >= n)
        strip /= 2;
    memset(out, 0, sizeof *out);
    out->values[PARAM_ROWS] = 4;
    out->values[PARAM_WARPS] = 4;
    out->values[PARAM_STRIP] = strip;
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_text(list, "dtype", "%s", paro_scalar_text(problem->values[KEY_DTYPE]));
    paro_hole_integer(list, "n", problem->values[KEY_N]);
    paro_hole_integer(list, "k", problem->values[KEY_K]);
    paro_hole_integer(list, "group", problem->values[KEY_GROUP]);
    paro_hole_integer(list, "krot", problem->values[KEY_KROT]);
    paro_hole_integer(list, "top", (1 << problem->values[KEY_BITS]) - 1);
    paro_hole_text(list, "learned", "%s", problem->values[KEY_LEARNED] != 0 ? "true" : "false");
    for (size_t i = 0; params[i].name != NULL; i++)
        paro_hole_integer(list, params[i].name, config->values[i]);
    paro_hole_integer(list, "shared_bytes", shared_bytes(problem, config));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    *out = (paro_launch_plan){
        .n_launches = 1,
        .launches = {
            {.kernel = "fake_quant",
             .grid = {(uint32_t)(problem->values[KEY_K] / problem->values[KEY_GROUP]),
                      paro_divide_up((uint64_t)problem->values[KEY_N], value(config, PARAM_STRIP)),
                      1},
             .n_threads = 32 * value(config, PARAM_WARPS),
             .shared_bytes = shared_bytes(problem, config),
             .args = {PARO_FAKE_QUANT_ARG_W, PARO_FAKE_QUANT_ARG_PAIRS, PARO_FAKE_QUANT_ARG_THETA,
                      PARO_FAKE_QUANT_ARG_CHANNEL_SCALES, PARO_FAKE_QUANT_ARG_STEP,
                      PARO_FAKE_QUANT_ARG_ZERO, PARO_FAKE_QUANT_ARG_W_HAT},
             .n_args = 7}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    const uint64_t n = (uint64_t)problem->values[KEY_N], k = (uint64_t)problem->values[KEY_K];
    const uint64_t krot = (uint64_t)problem->values[KEY_KROT];
    const uint64_t n_groups = k / (uint64_t)problem->values[KEY_GROUP];
    (void)config;
    *out = (paro_arg_info){PARO_DTYPE_F32, n * k};
    switch (arg) {
    case PARO_FAKE_QUANT_ARG_PAIRS:
        *out = (paro_arg_info){PARO_DTYPE_U8, krot * k};
        break;
    case PARO_FAKE_QUANT_ARG_THETA:
        out->n = krot * k / 2;
        break;
    case PARO_FAKE_QUANT_ARG_CHANNEL_SCALES:
        out->n = k;
        break;
    case PARO_FAKE_QUANT_ARG_STEP:
    case PARO_FAKE_QUANT_ARG_ZERO:
        out->n = problem->values[KEY_LEARNED] != 0 ? n * n_groups : 0;
        break;
    case PARO_FAKE_QUANT_ARG_W_HAT:
        out->dtype = paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
        break;
    default:
        break;
    }
}

static paro_fake_quant_case case_of(const paro_case *c)
{
    const int64_t *v = c->problem->values;
    return (paro_fake_quant_case){
        .n = (uint32_t)v[KEY_N],
        .k = (uint32_t)v[KEY_K],
        .group = (uint32_t)v[KEY_GROUP],
        .krot = (uint32_t)v[KEY_KROT],
        .bits = (uint32_t)v[KEY_BITS],
        .w = c->data[PARO_FAKE_QUANT_ARG_W],
        .pairs = c->data[PARO_FAKE_QUANT_ARG_PAIRS],
        .theta = c->data[PARO_FAKE_QUANT_ARG_THETA],
        .channel_scales = c->data[PARO_FAKE_QUANT_ARG_CHANNEL_SCALES],
        .step = c->data[PARO_FAKE_QUANT_ARG_STEP],
        .zero = c->data[PARO_FAKE_QUANT_ARG_ZERO],
    };
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    const paro_fake_quant_case data = case_of(c);
    paro_fake_quant_case_fill(&data, seed, pool);
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    const paro_fake_quant_case data = case_of(c);
    (void)err;
    paro_fake_quant_case_forward(&data, pool, expected[PARO_FAKE_QUANT_ARG_W_HAT]);
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    const double n = (double)problem->values[KEY_N], k = (double)problem->values[KEY_K];
    const double krot = (double)problem->values[KEY_KROT];
    const double quantisers =
        problem->values[KEY_LEARNED] != 0 ? 2 * n * k / (double)problem->values[KEY_GROUP] : 0;
    const double element = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    out->bytes = n * k * (4 + element) + k * (4 + 3 * krot) + 4 * quantisers;
    out->operations = n * k * (8 + 6 * krot);
}

/* The slower of memory and the multiprocessors' shared memory, through which every round passes;
 * then what a block does before its first row. */
static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_cost moved;
    cost(problem, &moved);
    const double rows = value(config, PARAM_ROWS), krot = (double)problem->values[KEY_KROT];
    const double elements = (double)problem->values[KEY_N] * (double)problem->values[KEY_K];
    const double blocks =
        elements / (double)problem->values[KEY_GROUP] / value(config, PARAM_STRIP);
    const double cycles = elements / 32 * (12 + 2 * krot * (2.5 + 2 / rows)) +
                          blocks * krot * (double)problem->values[KEY_GROUP] / 2;
    const double memory_us = moved.bytes / (device->bandwidth_gbs * 1e3);
    const double compute_us = cycles / (device->n_sms * (double)device->clock_mhz);
    return paro_launch_us + paro_latency_us + (memory_us > compute_us ? memory_us : compute_us) +
           0.05 * krot / value(config, PARAM_WARPS);
}

const paro_family paro_family_fake_quant = {
    .name = "fake_quant",
    .summary = "a weight as its quantised layer computes with it",
    .template_name = "fake_quant.cu",
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
