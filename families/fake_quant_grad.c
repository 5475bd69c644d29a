/* SPDX-License-Identifier: MIT
 *
 * The family of fake quantisation, backward: of what is asked for, the gradients.
 */
#include "families/fake_quant_grad.h"

#include <string.h>

#include "families/elementwise.h"
#include "families/fake_quant_case.h"
#include "families/random.h"
#include "families/rotation_tables.h"

enum {
    KEY_N,
    KEY_K,
    KEY_GROUP,
    KEY_KROT,
    KEY_BITS,
    KEY_LEARNED,
    KEY_DTYPE,
    KEY_ANGLES,
    KEY_SCALES,
    KEY_WEIGHT,
    KEY_QUANTIZER,
    KEY_REFERENCE_ZERO
};
enum { PARAM_ROWS, PARAM_WARPS, PARAM_STRIP };
enum { SUM_THREADS = 256 };

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
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of d_w_hat"},
    {"angles", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: the gradient of theta"},
    {"scales", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: that of channel_scales"},
    {"weight", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: that of w"},
    {"quantizer", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: those of step and zero (learned)"},
    {"reference_zero", PARO_KEY_INTEGER, 0, 1, NULL, true, 0,
     "1: clamping passes all of the gradient, and zero gets none"},
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
    {"d_w_hat", PARO_ARG_INPUT, "[n, k] gradient of w_hat"},
    {"d_w", PARO_ARG_OUTPUT, "[n, k] (weight)"},
    {"d_step", PARO_ARG_OUTPUT, "[n, k / group] (quantizer)"},
    {"d_zero", PARO_ARG_OUTPUT, "[n, k / group] (quantizer)"},
    {"d_theta", PARO_ARG_OUTPUT, "[krot, k / 2]; 0 for empty slots (angles)"},
    {"d_channel_scales", PARO_ARG_OUTPUT, "[k] (scales)"},
    {"angle_sums", PARO_ARG_SCRATCH, "[strips, krot, k / 2] sums of blocks"},
    {"scale_sums", PARO_ARG_SCRATCH, "[strips, k] likewise"},
    {NULL, PARO_ARG_INPUT, NULL}};

static bool wants(const paro_problem *problem, size_t key)
{
    return problem->values[key] != 0;
}

static paro_status complete(paro_error *err, paro_problem *problem)
{
    uint32_t k = (uint32_t)problem->values[KEY_K], group = (uint32_t)problem->values[KEY_GROUP];
    if (!paro_rotation_group_fits(k, group))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "fake_quant_grad: expected group 32, 64, 128 or 256 and k a multiple of "
                         "it, found group=%u, k=%u",
                         group, k);
    if (!wants(problem, KEY_ANGLES) && !wants(problem, KEY_SCALES) && !wants(problem, KEY_WEIGHT) &&
        !wants(problem, KEY_QUANTIZER))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "fake_quant_grad: expected one or more of angles=1, scales=1, weight=1, "
                         "quantizer=1, found none");
    if (wants(problem, KEY_QUANTIZER) && !wants(problem, KEY_LEARNED))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "fake_quant_grad: expected quantizer=1 with learned=1 only, found "
                         "learned=0");
    if (wants(problem, KEY_ANGLES) && problem->values[KEY_KROT] == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "fake_quant_grad: expected angles=1 with rounds only, found krot=0");
    return PARO_STATUS_OK;
}

static uint32_t value(const paro_kernel_config *config, size_t param)
{
    return (uint32_t)config->values[param];
}

static bool has_sums(const paro_problem *problem)
{
    return wants(problem, KEY_ANGLES) || wants(problem, KEY_SCALES);
}

static uint32_t shared_bytes(const paro_problem *problem, const paro_kernel_config *config)
{
    const uint32_t group = (uint32_t)problem->values[KEY_GROUP];
    const uint32_t krot = (uint32_t)problem->values[KEY_KROT];
    const uint32_t n_tiles = has_sums(problem) ? 4 : 2;
    const uint32_t angles = wants(problem, KEY_ANGLES) ? krot * group / 2 : 0;
    const uint32_t warp = n_tiles * group * value(config, PARAM_ROWS) + angles; /* floats */
    return paro_turns_bytes(group, krot) +
           value(config, PARAM_WARPS) * warp * (uint32_t)sizeof(float);
}

static uint32_t n_strips(const paro_problem *problem, const paro_kernel_config *config)
{
    return paro_divide_up((uint64_t)problem->values[KEY_N], value(config, PARAM_STRIP));
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
    while (shared_bytes(problem, out) > arch->max_shared_bytes)
        out->values[out->values[PARAM_ROWS] > 1 ? PARAM_ROWS : PARAM_WARPS] /= 2;
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
    for (size_t key = KEY_LEARNED; keys[key].name != NULL; key++)
        if (key != KEY_DTYPE)
            paro_hole_text(list, keys[key].name, "%s", wants(problem, key) ? "true" : "false");
    for (size_t i = 0; params[i].name != NULL; i++)
        paro_hole_integer(list, params[i].name, config->values[i]);
    paro_hole_integer(list, "shared_bytes", shared_bytes(problem, config));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    const uint32_t k = (uint32_t)problem->values[KEY_K];
    const uint32_t n_angles =
        wants(problem, KEY_ANGLES) ? (uint32_t)problem->values[KEY_KROT] * (k / 2) : 0;
    const uint32_t n_scales = wants(problem, KEY_SCALES) ? k : 0;
    *out = (paro_launch_plan){
        .n_launches = 1,
        .launches = {
            {.kernel = "fake_quant_grad",
             .grid = {k / (uint32_t)problem->values[KEY_GROUP], n_strips(problem, config), 1},
             .n_threads = 32 * value(config, PARAM_WARPS),
             .shared_bytes = shared_bytes(problem, config),
             .args = {PARO_FAKE_QUANT_GRAD_ARG_W, PARO_FAKE_QUANT_GRAD_ARG_PAIRS,
                      PARO_FAKE_QUANT_GRAD_ARG_THETA, PARO_FAKE_QUANT_GRAD_ARG_CHANNEL_SCALES,
                      PARO_FAKE_QUANT_GRAD_ARG_STEP, PARO_FAKE_QUANT_GRAD_ARG_ZERO,
                      PARO_FAKE_QUANT_GRAD_ARG_D_W_HAT, PARO_FAKE_QUANT_GRAD_ARG_D_W,
                      PARO_FAKE_QUANT_GRAD_ARG_D_STEP, PARO_FAKE_QUANT_GRAD_ARG_D_ZERO,
                      PARO_FAKE_QUANT_GRAD_ARG_ANGLE_SUMS, PARO_FAKE_QUANT_GRAD_ARG_SCALE_SUMS},
             .n_args = 12}}};
    if (has_sums(problem))
        out->launches[out->n_launches++] = (paro_launch){
            .kernel = "fake_quant_grad_sum",
            .grid = {paro_divide_up(n_angles + n_scales, SUM_THREADS), 1, 1},
            .n_threads = SUM_THREADS,
            .args = {PARO_FAKE_QUANT_GRAD_ARG_ANGLE_SUMS, PARO_FAKE_QUANT_GRAD_ARG_SCALE_SUMS,
                     PARO_FAKE_QUANT_GRAD_ARG_CHANNEL_SCALES, PARO_FAKE_QUANT_GRAD_ARG_D_THETA,
                     PARO_FAKE_QUANT_GRAD_ARG_D_CHANNEL_SCALES},
            .n_args = 5};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    const uint64_t n = (uint64_t)problem->values[KEY_N], k = (uint64_t)problem->values[KEY_K];
    const uint64_t krot = (uint64_t)problem->values[KEY_KROT];
    const uint64_t n_quantisers = n * (k / (uint64_t)problem->values[KEY_GROUP]);
    const uint64_t strips = n_strips(problem, config);
    const uint64_t n_angles = wants(problem, KEY_ANGLES) ? krot * k / 2 : 0;
    const uint64_t n_scales = wants(problem, KEY_SCALES) ? k : 0;
    *out = (paro_arg_info){PARO_DTYPE_F32, n * k};
    switch (arg) {
    case PARO_FAKE_QUANT_GRAD_ARG_PAIRS:
        *out = (paro_arg_info){PARO_DTYPE_U8, krot * k};
        break;
    case PARO_FAKE_QUANT_GRAD_ARG_THETA:
        out->n = krot * k / 2;
        break;
    case PARO_FAKE_QUANT_GRAD_ARG_CHANNEL_SCALES:
        out->n = k;
        break;
    case PARO_FAKE_QUANT_GRAD_ARG_STEP:
    case PARO_FAKE_QUANT_GRAD_ARG_ZERO:
        out->n = wants(problem, KEY_LEARNED) ? n_quantisers : 0;
        break;
    case PARO_FAKE_QUANT_GRAD_ARG_D_W_HAT:
        out->dtype = paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
        break;
    case PARO_FAKE_QUANT_GRAD_ARG_D_W:
        out->n = wants(problem, KEY_WEIGHT) ? n * k : 0;
        break;
    case PARO_FAKE_QUANT_GRAD_ARG_D_STEP:
    case PARO_FAKE_QUANT_GRAD_ARG_D_ZERO:
        out->n = wants(problem, KEY_QUANTIZER) ? n_quantisers : 0;
        break;
    case PARO_FAKE_QUANT_GRAD_ARG_D_THETA:
    case PARO_FAKE_QUANT_GRAD_ARG_ANGLE_SUMS:
        out->n = n_angles * (arg == PARO_FAKE_QUANT_GRAD_ARG_ANGLE_SUMS ? strips : 1);
        break;
    case PARO_FAKE_QUANT_GRAD_ARG_D_CHANNEL_SCALES:
    case PARO_FAKE_QUANT_GRAD_ARG_SCALE_SUMS:
        out->n = n_scales * (arg == PARO_FAKE_QUANT_GRAD_ARG_SCALE_SUMS ? strips : 1);
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
        .w = c->data[PARO_FAKE_QUANT_GRAD_ARG_W],
        .pairs = c->data[PARO_FAKE_QUANT_GRAD_ARG_PAIRS],
        .theta = c->data[PARO_FAKE_QUANT_GRAD_ARG_THETA],
        .channel_scales = c->data[PARO_FAKE_QUANT_GRAD_ARG_CHANNEL_SCALES],
        .step = c->data[PARO_FAKE_QUANT_GRAD_ARG_STEP],
        .zero = c->data[PARO_FAKE_QUANT_GRAD_ARG_ZERO],
        .d_w_hat = c->data[PARO_FAKE_QUANT_GRAD_ARG_D_W_HAT],
        .d_w_hat_dtype = c->info[PARO_FAKE_QUANT_GRAD_ARG_D_W_HAT].dtype,
        .clamp_passes = v[KEY_REFERENCE_ZERO] != 0,
    };
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    const paro_fake_quant_case data = case_of(c);
    const paro_arg_info *d_w_hat = &c->info[PARO_FAKE_QUANT_GRAD_ARG_D_W_HAT];
    paro_fake_quant_case_fill(&data, seed, pool);
    paro_random_normal(c->data[PARO_FAKE_QUANT_GRAD_ARG_D_W_HAT], d_w_hat->dtype, d_w_hat->n, 0, 1,
                       paro_random_seed(seed, PARO_FAKE_QUANT_GRAD_ARG_D_W_HAT), pool);
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    const paro_fake_quant_case data = case_of(c);
    (void)err;
    const paro_fake_quant_case_gradients gradients = {
        .w = expected[PARO_FAKE_QUANT_GRAD_ARG_D_W],
        .theta = expected[PARO_FAKE_QUANT_GRAD_ARG_D_THETA],
        .channel_scales = expected[PARO_FAKE_QUANT_GRAD_ARG_D_CHANNEL_SCALES],
        .step = expected[PARO_FAKE_QUANT_GRAD_ARG_D_STEP],
        .zero = expected[PARO_FAKE_QUANT_GRAD_ARG_D_ZERO],
    };
    paro_fake_quant_case_backward(&data, pool, &gradients);
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    const double n = (double)problem->values[KEY_N], k = (double)problem->values[KEY_K];
    const double krot = (double)problem->values[KEY_KROT];
    const double quantisers =
        n * k / (double)problem->values[KEY_GROUP] *
        ((wants(problem, KEY_LEARNED) ? 2 : 0) + (wants(problem, KEY_QUANTIZER) ? 2 : 0));
    const double element = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    const double turned = has_sums(problem) ? 6 : wants(problem, KEY_WEIGHT) ? 3 : 2;
    out->bytes = n * k * (4 + element + (wants(problem, KEY_WEIGHT) ? 4 : 0)) + k * (8 + 5 * krot) +
                 4 * quantisers;
    out->operations = n * k * (12 + krot * (3 * turned + (wants(problem, KEY_ANGLES) ? 4 : 0)));
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
    const double cycles =
        elements / 32 * (16 + (has_sums(problem) ? 6 : 3) * krot * (2.5 + 2 / rows)) +
        blocks * krot * (double)problem->values[KEY_GROUP] / 2;
    const double memory_us = moved.bytes / (device->bandwidth_gbs * 1e3);
    const double compute_us = cycles / (device->n_sms * (double)device->clock_mhz);
    return paro_launch_us + paro_latency_us + (memory_us > compute_us ? memory_us : compute_us) +
           0.05 * krot / value(config, PARAM_WARPS);
}

const paro_family paro_family_fake_quant_grad = {
    .name = "fake_quant_grad",
    .summary = "gradients of angles, channel scales, weight, step and zero from that of fake_quant",
    .template_name = "fake_quant_grad.cu",
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
