/* SPDX-License-Identifier: MIT
 *
 * The family of INT4 products: y = R(x * channel_scales) W^T + bias, rows in parts with a rotation
 * each. The geometry of a config (sizes of tiles, chunks, shared memory) is made in one place and
 * does not depend on m: the same for a bucket's source and for a launch with fewer tokens.
 */
#include "families/linear_w4.h"

#include <string.h>

#include "families/linear_geometry.h"
#include "families/rotation_tables.h"
#include "families/w4_layout.h"

enum { KEY_N, KEY_K, KEY_M, KEY_GROUP, KEY_KROT, KEY_DTYPE, KEY_PARTS, KEY_ZERO, KEY_BIAS };
enum {
    PARAM_ALGO,
    PARAM_ROTATION,
    PARAM_TILE_M,
    PARAM_ROWS,
    PARAM_WARPS_N,
    PARAM_WARPS_K,
    PARAM_SPLIT_K,
    PARAM_STAGES
};
enum { ALGO_MMA, ALGO_FMA };
enum { ROTATION_SEPARATE, ROTATION_FUSED };

static const char *const zero_choices[] = {"u4", NULL};
static const char *const dtype_choices[] = {"f16", "bf16", NULL};
static const char *const algo_choices[] = {"mma", "fma", NULL};
static const char *const rotation_choices[] = {"separate", "fused", NULL};

static const paro_problem_key keys[] = {
    {"n", PARO_KEY_INTEGER, 8, 1 << 20, NULL, false, 0, "rows (outputs), a multiple of 8"},
    {"k", PARO_KEY_INTEGER, 32, 1 << 18, NULL, false, 0, "columns (inputs), a multiple of group"},
    {"m", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "tokens"},
    {"group", PARO_KEY_INTEGER, PARO_ROTATION_MIN_GROUP, PARO_ROTATION_MAX_GROUP, NULL, false, 0,
     "columns with one scale: 32, 64, 128, 256"},
    {"krot", PARO_KEY_INTEGER, 0, PARO_ROTATION_MAX_ROUNDS, NULL, false, 0,
     "rounds of the rotation; 0: none, and no channel scales"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, dtype_choices, false, 0, "of x, bias and y"},
    {"parts", PARO_KEY_PARTS, 8, 1 << 20, NULL, true, 0, "rows of each merged linear; n"},
    {"zero", PARO_KEY_CHOICE, 0, 0, zero_choices, true, 0, "zero points"},
    {"bias", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: there is a bias"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"algo", {ALGO_MMA, ALGO_FMA}, 2, algo_choices, "tensor cores, or fp32 multiply and add"},
    {"rotation",
     {ROTATION_SEPARATE, ROTATION_FUSED},
     2,
     rotation_choices,
     "a launch of its own, or by every block for what it reads"},
    {"tile_m", {1, 2, 4, 8, 16, 32, 64}, 7, NULL, "tokens of a block"},
    {"rows", {16, 32}, 2, NULL, "rows of a warp"},
    {"warps_n", {1, 2, 4}, 3, NULL, "warps of a block side by side in rows"},
    {"warps_k", {1, 2, 4, 8}, 4, NULL, "warps of a block that share columns"},
    {"split_k", {1, 2, 4, 8}, 4, NULL, "blocks that share columns"},
    {"stages", {1, 2, 4}, 3, NULL, "units of columns a warp loads ahead"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"x", PARO_ARG_INPUT, "[m, k] activations"},
    {"codes", PARO_ARG_WEIGHT, "packed codes: families/w4_layout.h"},
    {"zeros", PARO_ARG_WEIGHT, "packed zero points: families/w4_layout.h"},
    {"scales", PARO_ARG_WEIGHT, "scales: families/w4_layout.h"},
    {"bias", PARO_ARG_WEIGHT, "[n]"},
    {"pairs", PARO_ARG_WEIGHT, "[parts, krot, k / 2, 2] channels within their group"},
    {"cossin", PARO_ARG_WEIGHT, "[parts, krot, k / 2, 2] cosine and sine of the angles"},
    {"channel_scales", PARO_ARG_WEIGHT, "[parts, k] factors of the input's channels"},
    {"rotated", PARO_ARG_SCRATCH, "[parts, m, k] rotated activations"},
    {"y", PARO_ARG_OUTPUT, "[m, n]"},
    {"partial", PARO_ARG_SCRATCH, "[split_k, m, n] sums of slices of k"},
    {"m", PARO_ARG_SCALAR, "tokens"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    uint32_t n = (uint32_t)problem->values[KEY_N], k = (uint32_t)problem->values[KEY_K];
    uint32_t group = (uint32_t)problem->values[KEY_GROUP];
    if (!paro_rotation_group_fits(k, group))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "linear_w4: expected group 32, 64, 128 or 256 and k a multiple of it, "
                         "found group=%u, k=%u",
                         group, k);
    return paro_w4_complete_parts(err, "linear_w4", n, problem, KEY_PARTS);
}

/* Geometry --------------------------------------------------------------------------------------*/

enum {
    ROTATE_WARPS = 2,
    REDUCE_THREADS = 256,
    FMA_ROWS = 256 /* of a warp: 8 a lane */
};

static paro_linear_geometry geometry_of(const paro_problem *problem,
                                        const paro_kernel_config *config)
{
    const int32_t *v = config->values;
    uint32_t group = (uint32_t)problem->values[KEY_GROUP];
    paro_linear_geometry g = {.mma = v[PARAM_ALGO] == ALGO_MMA,
                              .fused = problem->values[KEY_KROT] > 0 &&
                                       v[PARAM_ROTATION] == ROTATION_FUSED,
                              .tile_m = (uint32_t)v[PARAM_TILE_M],
                              .tiles = (uint32_t)v[PARAM_ROWS] / PARO_W4_TILE,
                              .warps_n = (uint32_t)v[PARAM_WARPS_N],
                              .warps_k = (uint32_t)v[PARAM_WARPS_K],
                              .split_k = (uint32_t)v[PARAM_SPLIT_K],
                              .stages = (uint32_t)v[PARAM_STAGES],
                              .k = (uint32_t)problem->values[KEY_K],
                              .group = group,
                              .fma_rows = FMA_ROWS,
                              .parts = problem->parts,
                              .n_parts = problem->n_parts,
                              /* half the codes in registers where there are many sums */
                              .unit_k = group < 128 || v[PARAM_TILE_M] >= 32 ? 64 : 128};
    paro_linear_geometry_complete(&g);
    return g;
}

static bool rotates_apart(const paro_problem *problem, const paro_linear_geometry *g)
{
    return problem->values[KEY_KROT] > 0 && !g->fused;
}

static uint32_t rotate_tokens(const paro_linear_geometry *g)
{
    return g->tile_m < 4 ? g->tile_m : 4;
}

/* The space -------------------------------------------------------------------------------------*/

static bool has_mma(const paro_problem *problem, const paro_arch *arch)
{
    bool bf16 = problem->values[KEY_DTYPE] == PARO_KERNEL_DTYPE_BF16;
    return (arch->features & (bf16 ? PARO_ARCH_MMA_BF16 : PARO_ARCH_MMA_F16)) != 0;
}

static const char *mma_constraint(const paro_problem *problem, const paro_linear_geometry *g,
                                  const paro_arch *arch)
{
    if (!has_mma(problem, arch))
        return "no tensor cores for the dtype";
    uint32_t ahead = g->tiles * g->stages; /* units on their way, of a warp */
    if (ahead < 2 || ahead > 4)
        return "too few or too many bytes on their way";
    if (g->tile_m >= 32 && g->stages > 2)
        return "tensor cores are the limit";
    if (g->tile_m * g->tiles > 64 && (g->stages > 1 || g->group < g->unit_k))
        return "more registers than there are";
    if (g->fused) {
        uint32_t groups = g->slice_units * g->unit_k / g->group;
        if (g->tile_m > 4 || g->tile_m * groups > 2 * g->n_threads / 32)
            return "every block would rotate for too long";
    }
    return paro_linear_mma_constraint(g, (uint32_t)problem->values[KEY_M], arch);
}

static const char *fma_constraint(const paro_problem *problem, const paro_linear_geometry *g,
                                  const paro_arch *arch)
{
    uint32_t m = (uint32_t)problem->values[KEY_M];
    if (has_mma(problem, arch))
        return "tensor cores do it with less";
    if (g->tile_m != paro_linear_token_tile(m, 8))
        return "tokens of a block do not fit the bucket";
    if (g->tiles != 1 || g->stages != 1 || g->warps_n != 1 || g->warps_k < 4)
        return "no meaning in this algorithm";
    if (g->fused)
        return "every block would rotate for too long";
    return paro_linear_constraint(g, m, arch);
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    if (problem->values[KEY_KROT] == 0 && config->values[PARAM_ROTATION] == ROTATION_FUSED)
        return "nothing to rotate";
    paro_linear_geometry g = geometry_of(problem, config);
    return g.mma ? mma_constraint(problem, &g, arch) : fma_constraint(problem, &g, arch);
}

/* Splits k until there are blocks for every multiprocessor of a large device. */
static void split_default(const paro_problem *problem, const paro_arch *arch,
                          paro_kernel_config *config)
{
    for (int32_t split = 2; split <= 8; split *= 2) {
        paro_linear_geometry g = geometry_of(problem, config);
        uint64_t blocks = paro_linear_blocks(&g, (uint32_t)problem->values[KEY_M]);
        paro_kernel_config more = *config;
        more.values[PARAM_SPLIT_K] = split;
        if (blocks * g.split_k >= 128 || constraint(problem, &more, arch) != NULL)
            return;
        *config = more;
    }
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    /* rows, warps_n, warps_k, stages: the first that fits */
    static const int32_t few[][4] = {
        {32, 2, 4, 1}, {16, 2, 4, 2}, {16, 1, 8, 2}, {16, 1, 4, 2}, {16, 2, 2, 2}};
    static const int32_t one[][4] = {{16, 1, 8, 2}, {16, 1, 4, 2}, {16, 2, 2, 2}};
    static const int32_t many[][4] = {
        {32, 4, 1, 2}, {32, 4, 1, 1}, {16, 4, 1, 2}, {16, 2, 2, 2}, {16, 1, 4, 2}};
    uint32_t m = (uint32_t)problem->values[KEY_M];
    memset(out, 0, sizeof *out);
    out->values[PARAM_ROTATION] = ROTATION_SEPARATE;
    out->values[PARAM_SPLIT_K] = 1;
    if (!has_mma(problem, arch)) {
        static const int32_t fma[] = {ALGO_FMA, ROTATION_SEPARATE, 0, 16, 1, 4, 1, 1};
        memcpy(out->values, fma, sizeof fma);
        out->values[PARAM_TILE_M] = (int32_t)paro_linear_token_tile(m, 8);
        split_default(problem, arch, out);
        return;
    }
    int32_t tile = (int32_t)paro_linear_token_tile(m, 64);
    for (; tile >= 1; tile /= 2) {
        const int32_t(*rows)[4] = tile <= 2 ? one : tile <= 16 ? few : many;
        size_t n = tile <= 2    ? sizeof one / sizeof one[0]
                   : tile <= 16 ? sizeof few / sizeof few[0]
                                : sizeof many / sizeof many[0];
        for (size_t i = 0; i < n; i++) {
            out->values[PARAM_TILE_M] = tile;
            out->values[PARAM_ROWS] = rows[i][0];
            out->values[PARAM_WARPS_N] = rows[i][1];
            out->values[PARAM_WARPS_K] = rows[i][2];
            out->values[PARAM_STAGES] = rows[i][3];
            if (constraint(problem, out, arch) == NULL) {
                split_default(problem, arch, out);
                return;
            }
        }
    }
}

/* Source and launches ---------------------------------------------------------------------------*/

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_linear_geometry g = geometry_of(problem, config);
    char parts[PARO_W4_LIST_BYTES];
    paro_hole_text(list, "dtype", "%s", dtype_choices[problem->values[KEY_DTYPE]]);
    paro_hole_text(list, "zero_word", "%s", g.mma ? "u8" : "u32");
    paro_hole_integer(list, "n", problem->values[KEY_N]);
    paro_hole_integer(list, "k", problem->values[KEY_K]);
    paro_hole_integer(list, "group", problem->values[KEY_GROUP]);
    paro_hole_integer(list, "krot", problem->values[KEY_KROT]);
    paro_hole_integer(list, "n_parts", problem->n_parts);
    paro_hole_text(list, "parts", "%s", paro_w4_parts_list(problem, parts));
    paro_hole_text(list, "uses_mma", "%s", g.mma ? "true" : "false");
    paro_hole_text(list, "fused", "%s", g.fused ? "true" : "false");
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
    paro_linear_geometry g = geometry_of(problem, config);
    uint64_t m = (uint64_t)problem->values[KEY_M];
    uint64_t n_groups = (uint64_t)(problem->values[KEY_K] / problem->values[KEY_GROUP]);
    memset(out, 0, sizeof *out);
    if (rotates_apart(problem, &g))
        out->launches[out->n_launches++] =
            (paro_launch){.kernel = "rotate_input",
                          .grid = {paro_divide_up(problem->n_parts * n_groups *
                                                      paro_divide_up(m, rotate_tokens(&g)),
                                                  ROTATE_WARPS),
                                   1, 1},
                          .n_threads = ROTATE_WARPS * 32,
                          .shared_bytes = ROTATE_WARPS * rotate_tokens(&g) * 4 *
                                          (uint32_t)problem->values[KEY_GROUP],
                          .args = {PARO_LINEAR_W4_ARG_X, PARO_LINEAR_W4_ARG_PAIRS,
                                   PARO_LINEAR_W4_ARG_COSSIN, PARO_LINEAR_W4_ARG_CHANNEL_SCALES,
                                   PARO_LINEAR_W4_ARG_ROTATED, PARO_LINEAR_W4_ARG_M},
                          .n_args = 6};
    out->launches[out->n_launches++] = (paro_launch){
        .kernel = "linear_w4",
        .grid = {g.row_blocks * paro_divide_up(m, g.tile_m), g.split_k, 1},
        .n_threads = g.n_threads,
        .shared_bytes = g.shared_bytes,
        .args = {PARO_LINEAR_W4_ARG_X, PARO_LINEAR_W4_ARG_CODES, PARO_LINEAR_W4_ARG_ZEROS,
                 PARO_LINEAR_W4_ARG_SCALES, PARO_LINEAR_W4_ARG_BIAS, PARO_LINEAR_W4_ARG_PAIRS,
                 PARO_LINEAR_W4_ARG_COSSIN, PARO_LINEAR_W4_ARG_CHANNEL_SCALES,
                 PARO_LINEAR_W4_ARG_ROTATED, PARO_LINEAR_W4_ARG_Y, PARO_LINEAR_W4_ARG_PARTIAL,
                 PARO_LINEAR_W4_ARG_M},
        .n_args = 12};
    if (g.split_k > 1)
        out->launches[out->n_launches++] = (paro_launch){
            .kernel = "reduce_slices",
            .grid = {paro_divide_up(m * (uint64_t)problem->values[KEY_N], REDUCE_THREADS), 1, 1},
            .n_threads = REDUCE_THREADS,
            .args = {PARO_LINEAR_W4_ARG_PARTIAL, PARO_LINEAR_W4_ARG_BIAS, PARO_LINEAR_W4_ARG_Y,
                     PARO_LINEAR_W4_ARG_M},
            .n_args = 4};
}

static paro_w4_layout layout_of(const paro_kernel_config *config)
{
    return config->values[PARAM_ALGO] == ALGO_MMA ? PARO_W4_LAYOUT_MMA16 : PARO_W4_LAYOUT_AWQ;
}

static const char *layout(const paro_problem *problem, const paro_kernel_config *config)
{
    (void)problem;
    return paro_w4_layout_names[layout_of(config)];
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    const paro_dtype dtype =
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
    const uint64_t n = (uint64_t)problem->values[KEY_N], k = (uint64_t)problem->values[KEY_K];
    const uint64_t m = (uint64_t)problem->values[KEY_M], parts = problem->n_parts;
    const uint64_t krot = (uint64_t)problem->values[KEY_KROT];
    paro_linear_geometry g = geometry_of(problem, config);
    paro_w4_shape shape;
    paro_w4_sizes sizes;
    paro_w4_shape_of(problem, &shape);
    paro_w4_sizes_of(&shape, layout_of(config), &sizes);
    const paro_arg_info infos[] = {
        [PARO_LINEAR_W4_ARG_X] = {dtype, m * k},
        [PARO_LINEAR_W4_ARG_CODES] = {PARO_DTYPE_U32, sizes.n_codes},
        [PARO_LINEAR_W4_ARG_ZEROS] = {sizes.zeros_dtype, sizes.n_zeros},
        [PARO_LINEAR_W4_ARG_SCALES] = {PARO_DTYPE_F16, sizes.n_scales},
        [PARO_LINEAR_W4_ARG_BIAS] = {dtype, problem->values[KEY_BIAS] != 0 ? n : 0},
        [PARO_LINEAR_W4_ARG_PAIRS] = {PARO_DTYPE_U8, parts * krot * k},
        [PARO_LINEAR_W4_ARG_COSSIN] = {PARO_DTYPE_F32, parts * krot * k},
        [PARO_LINEAR_W4_ARG_CHANNEL_SCALES] = {PARO_DTYPE_F32, krot > 0 ? parts * k : 0},
        [PARO_LINEAR_W4_ARG_ROTATED] = {dtype, rotates_apart(problem, &g) ? parts * m * k : 0},
        [PARO_LINEAR_W4_ARG_Y] = {dtype, m * n},
        [PARO_LINEAR_W4_ARG_PARTIAL] = {PARO_DTYPE_F32, g.split_k > 1 ? g.split_k * m * n : 0},
        [PARO_LINEAR_W4_ARG_M] = {PARO_DTYPE_U32, 1}};
    *out = infos[arg];
}

/* Costs -----------------------------------------------------------------------------------------*/

static void cost(const paro_problem *problem, paro_cost *out)
{
    const double n = (double)problem->values[KEY_N], k = (double)problem->values[KEY_K];
    const double m = (double)problem->values[KEY_M], krot = (double)problem->values[KEY_KROT];
    const double groups = k / (double)problem->values[KEY_GROUP], parts = problem->n_parts;
    out->bytes = n * k / 2 + n * groups * 2.5 + 2 * m * (k + n) +
                 (krot > 0 ? parts * k * (4 + 5 * krot) : 0) +
                 (problem->values[KEY_BIAS] != 0 ? 2 * n : 0);
    out->operations = 2 * n * k * m + (krot > 0 ? parts * m * k * (1 + 3 * krot) : 0);
}

/* The product: memory at the rate that the bytes on their way allow, tensor cores (or fp32 units),
 * activations to shared memory, all in waves of resident blocks; and each launch's own time. */
static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    const double clock = device->clock_mhz, sms = device->n_sms;
    const double m = (double)problem->values[KEY_M], k = (double)problem->values[KEY_K];
    const double n = (double)problem->values[KEY_N], krot = (double)problem->values[KEY_KROT];
    paro_linear_geometry g = geometry_of(problem, config);
    paro_cost moved;
    cost(problem, &moved);
    const double registers =
        g.mma ? 48 + 16.0 * g.tiles * g.stages + g.tiles * (g.tile_m < 8 ? 8 : g.tile_m) * 1.2
              : 40 + 8.0 * g.tile_m;
    const double blocks = (double)paro_linear_blocks(&g, (uint32_t)m) * g.split_k;
    const paro_linear_occupancy o =
        paro_linear_occupy(&g, (uint32_t)m, registers, device->n_sms, device->sm_shared_bytes);
    const double warp_bytes =
        g.mma ? 32.0 * g.unit_k * g.tiles * PARO_W4_TILE / 64 * g.stages : 8 * 128.0;
    const double on_their_way = o.resident * o.share * g.n_threads / 32 * warp_bytes * sms;
    const double latency_us = 0.9;
    double rate = device->bandwidth_gbs * 1e3 * 0.9;
    if (on_their_way / latency_us < rate)
        rate = on_their_way / latency_us;
    const double memory = moved.bytes / rate;
    const double padded = g.tile_m < 8 && g.mma ? 8 : g.tile_m;
    const double products =
        n * k * padded * paro_divide_up((uint64_t)m, g.tile_m) / (sms * o.share * clock);
    const double compute = products / (g.mma ? 600 : 80);
    const double dequantise =
        n * k * paro_divide_up((uint64_t)m, g.tile_m) / (sms * o.share * clock) / 50;
    const double stage = blocks * g.tile_m * k / g.split_k * 2 / (sms * o.share * clock * 32);
    const double rotate =
        g.fused ? blocks * g.tile_m * k / g.split_k * (krot + 4) / (sms * o.share * clock * 24) : 0;
    double busy = compute + dequantise > memory ? compute + dequantise : memory;
    double us = 2 + o.waves * 0.7 + busy + stage + rotate;
    if (rotates_apart(problem, &g))
        us += 2.5 + problem->n_parts * m * k * (krot + 4) / (sms * clock * 24);
    if (g.split_k > 1)
        us += 1.5 + (g.split_k + 1) * m * n * 4 / (device->bandwidth_gbs * 1e3);
    return us;
}

const paro_family paro_family_linear_w4 = {
    .name = "linear_w4",
    .summary = "product of rotated activations with INT4 weights",
    .template_name = "linear_w4.cu",
    .keys = keys,
    .params = params,
    .args = args,
    .complete = complete,
    .constraint = constraint,
    .default_config = default_config,
    .holes = holes,
    .plan = plan,
    .arg_info = arg_info,
    .fill = paro_linear_w4_fill,
    .reference = paro_linear_w4_reference,
    .cost = cost,
    .estimate_us = estimate_us,
    .layout = layout,
};
