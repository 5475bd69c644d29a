/* SPDX-License-Identifier: MIT
 *
 * The family of products with 16-bit weights: linears that are not quantised, and the head.
 */
#include "families/linear_16.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "families/linear_geometry.h"
#include "families/linear_reference.h"
#include "families/random.h"
#include "families/w4_layout.h"

enum { KEY_N, KEY_K, KEY_M, KEY_DTYPE, KEY_OUT, KEY_BIAS };
enum {
    PARAM_ALGO,
    PARAM_TILE_M,
    PARAM_ROWS,
    PARAM_WARPS_N,
    PARAM_WARPS_K,
    PARAM_SPLIT_K,
    PARAM_STAGES
};
enum { ALGO_MMA, ALGO_FMA };

/* As in the template. */
enum { UNIT_K = 64, FMA_ROWS = 4, REDUCE_THREADS = 256 };

static const char *const dtype_choices[] = {"f16", "bf16", NULL};
static const char *const algo_choices[] = {"mma", "fma", NULL};

static const paro_problem_key keys[] = {
    {"n", PARO_KEY_INTEGER, 1, 1 << 20, NULL, false, 0, "rows (outputs)"},
    {"k", PARO_KEY_INTEGER, 1, 1 << 18, NULL, false, 0, "columns (inputs)"},
    {"m", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "tokens"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, dtype_choices, false, 0, "of x, weight and bias"},
    {"out", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "dtype of y"},
    {"bias", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: there is a bias"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"algo", {ALGO_MMA, ALGO_FMA}, 2, algo_choices, "tensor cores, or fp32 multiply and add"},
    {"tile_m", {1, 2, 4, 8, 16, 32, 64}, 7, NULL, "tokens of a block"},
    {"rows", {16, 32}, 2, NULL, "rows of a warp"},
    {"warps_n", {1, 2, 4}, 3, NULL, "warps of a block side by side in rows"},
    {"warps_k", {1, 2, 4, 8}, 4, NULL, "warps of a block that share columns"},
    {"split_k", {1, 2, 4}, 3, NULL, "blocks that share columns"},
    {"stages", {1, 2, 4}, 3, NULL, "units of columns a warp loads ahead"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"x", PARO_ARG_INPUT, "[m, k] activations"},
    {"weight", PARO_ARG_WEIGHT, "[n, k]"},
    {"bias", PARO_ARG_WEIGHT, "[n]"},
    {"y", PARO_ARG_OUTPUT, "[m, n]"},
    {"partial", PARO_ARG_SCRATCH, "[split_k, m, n] sums of slices of k"},
    {"m", PARO_ARG_SCALAR, "tokens"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    int64_t out = problem->values[KEY_OUT];
    if (out != PARO_KERNEL_DTYPE_F32 && out != problem->values[KEY_DTYPE])
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "linear_16: out: expected f32 or the problem's dtype (%s), found %s",
                         dtype_choices[problem->values[KEY_DTYPE]], paro_problem_dtypes[out]);
    return PARO_STATUS_OK;
}

/* `n` receives the one part. */
static paro_linear_geometry geometry_of(const paro_problem *problem,
                                        const paro_kernel_config *config, uint32_t *n)
{
    const int32_t *v = config->values;
    *n = (uint32_t)problem->values[KEY_N];
    paro_linear_geometry g = {.mma = v[PARAM_ALGO] == ALGO_MMA,
                              .tile_m = (uint32_t)v[PARAM_TILE_M],
                              .tiles = (uint32_t)v[PARAM_ROWS] / PARO_W4_TILE,
                              .warps_n = (uint32_t)v[PARAM_WARPS_N],
                              .warps_k = (uint32_t)v[PARAM_WARPS_K],
                              .split_k = (uint32_t)v[PARAM_SPLIT_K],
                              .stages = (uint32_t)v[PARAM_STAGES],
                              .k = (uint32_t)problem->values[KEY_K],
                              .group = UNIT_K,
                              .fma_rows = FMA_ROWS,
                              .parts = n,
                              .n_parts = 1,
                              .unit_k = UNIT_K};
    paro_linear_geometry_complete(&g);
    if (!g.mma)
        g.shared_bytes = 0;
    return g;
}

static bool has_mma(const paro_problem *problem, const paro_arch *arch)
{
    bool bf16 = problem->values[KEY_DTYPE] == PARO_KERNEL_DTYPE_BF16;
    return problem->values[KEY_K] % 8 == 0 &&
           (arch->features & (bf16 ? PARO_ARCH_MMA_BF16 : PARO_ARCH_MMA_F16)) != 0;
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    uint32_t n, m = (uint32_t)problem->values[KEY_M];
    paro_linear_geometry g = geometry_of(problem, config, &n);
    bool mma = has_mma(problem, arch);
    if (!g.mma) {
        if (mma)
            return "tensor cores do it with less";
        if (g.tile_m != paro_linear_token_tile(m, 8))
            return "tokens of a block do not fit the bucket";
        if (g.tiles != 1 || g.stages != 1 || g.split_k != 1 || g.warps_k != 1 || g.warps_n == 1)
            return "no meaning in this algorithm";
        return NULL;
    }
    if (!mma)
        return "no tensor cores for the dtype, or rows that are not multiples of 16 bytes";
    uint32_t ahead = g.tiles * g.stages; /* units on their way, of a warp: 2 KiB each */
    if (g.tile_m <= 16 && (ahead < 2 || ahead > 4))
        return "too few or too many bytes on their way";
    if (g.tile_m >= 32 && ahead > 2)
        return "more registers than there are";
    return paro_linear_mma_constraint(&g, m, arch);
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    /* rows, warps_n, warps_k, stages: the first that fits */
    static const int32_t few[][4] = {
        {32, 2, 4, 1}, {16, 2, 4, 2}, {16, 1, 8, 2}, {16, 1, 4, 2}, {16, 2, 2, 2}};
    static const int32_t one[][4] = {{16, 1, 8, 2}, {16, 1, 4, 2}, {16, 2, 2, 2}};
    static const int32_t many[][4] = {{32, 4, 1, 1}, {16, 4, 1, 1}, {16, 2, 2, 1}, {16, 1, 4, 1}};
    uint32_t m = (uint32_t)problem->values[KEY_M];
    memset(out, 0, sizeof *out);
    out->values[PARAM_SPLIT_K] = 1;
    if (!has_mma(problem, arch)) {
        static const int32_t fma[] = {ALGO_FMA, 0, 16, 4, 1, 1, 1};
        memcpy(out->values, fma, sizeof fma);
        out->values[PARAM_TILE_M] = (int32_t)paro_linear_token_tile(m, 8);
        return;
    }
    for (int32_t tile = (int32_t)paro_linear_token_tile(m, 64); tile >= 1; tile /= 2) {
        const int32_t(*rows)[4] = tile <= 2 ? one : tile <= 16 ? few : many;
        size_t n_rows = tile <= 2    ? sizeof one / sizeof one[0]
                        : tile <= 16 ? sizeof few / sizeof few[0]
                                     : sizeof many / sizeof many[0];
        for (size_t i = 0; i < n_rows; i++) {
            out->values[PARAM_TILE_M] = tile;
            out->values[PARAM_ROWS] = rows[i][0];
            out->values[PARAM_WARPS_N] = rows[i][1];
            out->values[PARAM_WARPS_K] = rows[i][2];
            out->values[PARAM_STAGES] = rows[i][3];
            if (constraint(problem, out, arch) == NULL)
                return;
        }
    }
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    uint32_t n;
    paro_linear_geometry g = geometry_of(problem, config, &n);
    paro_hole_text(list, "dtype", "%s", dtype_choices[problem->values[KEY_DTYPE]]);
    paro_hole_text(list, "out", "%s", paro_scalar_text(problem->values[KEY_OUT]));
    paro_hole_integer(list, "n", n);
    paro_hole_integer(list, "k", g.k);
    paro_hole_text(list, "uses_mma", "%s", g.mma ? "true" : "false");
    paro_hole_integer(list, "tile_m", g.tile_m);
    paro_hole_integer(list, "tiles", g.tiles);
    paro_hole_integer(list, "warps_n", g.warps_n);
    paro_hole_integer(list, "warps_k", g.warps_k);
    paro_hole_integer(list, "split_k", g.split_k);
    paro_hole_integer(list, "stages", g.stages);
    paro_hole_integer(list, "unit_k", g.unit_k);
    paro_hole_integer(list, "slice_units", g.slice_units);
    paro_hole_integer(list, "chunk_units", g.chunk_units);
    paro_hole_integer(list, "shared_bytes", g.shared_bytes);
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    uint32_t n, m = (uint32_t)problem->values[KEY_M];
    paro_linear_geometry g = geometry_of(problem, config, &n);
    memset(out, 0, sizeof *out);
    out->launches[out->n_launches++] = (paro_launch){
        .kernel = "linear_16",
        .grid = {(uint32_t)paro_linear_blocks(&g, m), g.split_k, 1},
        .n_threads = g.n_threads,
        .shared_bytes = g.shared_bytes,
        .args = {PARO_LINEAR_16_ARG_X, PARO_LINEAR_16_ARG_WEIGHT, PARO_LINEAR_16_ARG_BIAS,
                 PARO_LINEAR_16_ARG_Y, PARO_LINEAR_16_ARG_PARTIAL, PARO_LINEAR_16_ARG_M},
        .n_args = 6};
    if (g.split_k > 1)
        out->launches[out->n_launches++] =
            (paro_launch){.kernel = "reduce_slices",
                          .grid = {paro_divide_up((uint64_t)m * n, REDUCE_THREADS), 1, 1},
                          .n_threads = REDUCE_THREADS,
                          .args = {PARO_LINEAR_16_ARG_PARTIAL, PARO_LINEAR_16_ARG_BIAS,
                                   PARO_LINEAR_16_ARG_Y, PARO_LINEAR_16_ARG_M},
                          .n_args = 4};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    const paro_dtype dtype =
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
    const uint64_t k = (uint64_t)problem->values[KEY_K], m = (uint64_t)problem->values[KEY_M];
    const uint64_t n = (uint64_t)problem->values[KEY_N];
    const uint64_t split_k = (uint64_t)config->values[PARAM_SPLIT_K];
    const paro_arg_info infos[] = {
        [PARO_LINEAR_16_ARG_X] = {dtype, m * k},
        [PARO_LINEAR_16_ARG_WEIGHT] = {dtype, n * k},
        [PARO_LINEAR_16_ARG_BIAS] = {dtype, problem->values[KEY_BIAS] != 0 ? n : 0},
        [PARO_LINEAR_16_ARG_Y] = {paro_kernel_dtype_storage(
                                      (paro_kernel_dtype)problem->values[KEY_OUT]),
                                  m * n},
        [PARO_LINEAR_16_ARG_PARTIAL] = {PARO_DTYPE_F32, split_k > 1 ? split_k * m * n : 0},
        [PARO_LINEAR_16_ARG_M] = {PARO_DTYPE_U32, 1}};
    *out = infos[arg];
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    const paro_arg_info *info = c->info;
    paro_linear_activations(c->data[PARO_LINEAR_16_ARG_X], info[PARO_LINEAR_16_ARG_X].dtype,
                            info[PARO_LINEAR_16_ARG_X].n,
                            paro_random_seed(seed, PARO_LINEAR_16_ARG_X), pool);
    paro_linear_weights(c->data[PARO_LINEAR_16_ARG_WEIGHT], info[PARO_LINEAR_16_ARG_WEIGHT].dtype,
                        info[PARO_LINEAR_16_ARG_WEIGHT].n,
                        1 / sqrt((double)c->problem->values[KEY_K]),
                        paro_random_seed(seed, PARO_LINEAR_16_ARG_WEIGHT), pool);
    if (info[PARO_LINEAR_16_ARG_BIAS].n > 0)
        paro_random_normal(c->data[PARO_LINEAR_16_ARG_BIAS], info[PARO_LINEAR_16_ARG_BIAS].dtype,
                           info[PARO_LINEAR_16_ARG_BIAS].n, 0, 1,
                           paro_random_seed(seed, PARO_LINEAR_16_ARG_BIAS), pool);
    c->scalars[PARO_LINEAR_16_ARG_M].u32 = (uint32_t)c->problem->values[KEY_M];
}

/* Scratch: one row in fp64. */
static void weight_rows(const void *context, uint64_t first, uint32_t n_rows, void *scratch,
                        double *w)
{
    const paro_case *c = context;
    const paro_arg_info *info = &c->info[PARO_LINEAR_16_ARG_WEIGHT];
    const uint64_t k = (uint64_t)c->problem->values[KEY_K];
    float *row = scratch;
    for (uint32_t r = 0; r < n_rows; r++) {
        paro_f32_from_array(row,
                            (const char *)c->data[PARO_LINEAR_16_ARG_WEIGHT] + (first + r) * k * 2,
                            info->dtype, k);
        for (uint64_t i = 0; i < k; i++)
            w[i * PARO_LINEAR_BLOCK + r] = (double)row[i];
    }
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    paro_status status = PARO_STATUS_OK;
    const paro_arg_info *info = c->info;
    const uint64_t n = (uint64_t)c->problem->values[KEY_N];
    const uint64_t k = (uint64_t)c->problem->values[KEY_K];
    double *x = malloc(info[PARO_LINEAR_16_ARG_X].n * sizeof *x);
    double *bias = malloc(n * sizeof *bias);
    if (x == NULL || bias == NULL) {
        status = paro_fail_memory(err, info[PARO_LINEAR_16_ARG_X].n * sizeof *x, "reference");
        goto done;
    }
    paro_linear_widen(x, c->data[PARO_LINEAR_16_ARG_X], info[PARO_LINEAR_16_ARG_X].dtype,
                      info[PARO_LINEAR_16_ARG_X].n);
    paro_linear_widen(bias, c->data[PARO_LINEAR_16_ARG_BIAS], info[PARO_LINEAR_16_ARG_BIAS].dtype,
                      info[PARO_LINEAR_16_ARG_BIAS].n);
    paro_linear_product product = {.n = n,
                                   .k = k,
                                   .m = (uint64_t)c->problem->values[KEY_M],
                                   .y_stride = n,
                                   .x = x,
                                   .bias = info[PARO_LINEAR_16_ARG_BIAS].n > 0 ? bias : NULL,
                                   .rows = weight_rows,
                                   .context = c,
                                   .scratch_bytes = k * sizeof(float),
                                   .y = expected[PARO_LINEAR_16_ARG_Y]};
    status = paro_linear_reference(err, &product, pool);

done:
    free(x);
    free(bias);
    return status;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    const double n = (double)problem->values[KEY_N], k = (double)problem->values[KEY_K];
    const double m = (double)problem->values[KEY_M];
    const double out_bytes = problem->values[KEY_OUT] == PARO_KERNEL_DTYPE_F32 ? 4 : 2;
    out->bytes =
        2 * n * k + m * (2 * k + out_bytes * n) + (problem->values[KEY_BIAS] != 0 ? 2 * n : 0);
    out->operations = 2 * n * k * m;
}

/* As linear_w4's, without codes. */
static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    const double clock = device->clock_mhz, sms = device->n_sms;
    const double m = (double)problem->values[KEY_M], k = (double)problem->values[KEY_K];
    uint32_t n;
    paro_linear_geometry g = geometry_of(problem, config, &n);
    paro_cost moved;
    cost(problem, &moved);
    const double registers =
        g.mma ? 40 + 18.0 * g.tiles * g.stages + g.tiles * (g.tile_m < 8 ? 8 : g.tile_m) * 0.7
              : 60 + 4.0 * g.tile_m;
    const double blocks = (double)paro_linear_blocks(&g, (uint32_t)m) * g.split_k;
    const paro_linear_occupancy o =
        paro_linear_occupy(&g, (uint32_t)m, registers, device->n_sms, device->sm_shared_bytes);
    const double on_their_way =
        o.resident * o.share * g.n_threads / 32 * 2048.0 * g.tiles * g.stages * sms;
    double rate = device->bandwidth_gbs * 1e3 * 0.9;
    if (on_their_way / 0.9 < rate)
        rate = on_their_way / 0.9;
    const double token_blocks = paro_divide_up((uint64_t)m, g.tile_m);
    const double padded = g.tile_m < 8 && g.mma ? 8 : g.tile_m;
    const double compute =
        n * k * padded * token_blocks / (sms * o.share * clock) / (g.mma ? 800 : 60);
    const double memory = moved.bytes / rate;
    const double stage = blocks * g.tile_m * k / g.split_k * 2 / (sms * o.share * clock * 32);
    return 2 + o.waves * 0.7 + (compute > memory ? compute : memory) + stage +
           (g.split_k > 1 ? 1.5 + (g.split_k + 1) * m * n * 4 / (device->bandwidth_gbs * 1e3) : 0);
}

const paro_family paro_family_linear_16 = {
    .name = "linear_16",
    .summary = "product of activations with weights of 16 bits",
    .template_name = "linear_16.cu",
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
