/* SPDX-License-Identifier: MIT
 *
 * The family of attentions: m queries of each head, at the end of a cache of keys and values.
 */
#include "families/attention.h"

#include <stdlib.h>
#include <string.h>

#include "base/reference.h"
#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_HEADS, KEY_KV_HEADS, KEY_HEAD_DIM, KEY_M, KEY_DTYPE, KEY_CTX };
enum { PARAM_SPLITS, PARAM_KEYS, PARAM_STAGES, PARAM_ROWS, PARAM_ROW_WARPS, PARAM_KEY_WARPS };
enum {
    COMBINE_WARPS = 4,
    RUN = 32,
    MOST_SPLITS = 32,
    FEWEST_BLOCKS = 64, /* where splits can make more: devices have 30 to 200 multiprocessors */
    MOST_BLOCKS = 512   /* that splits make */
};

static const paro_problem_key keys[] = {
    {"heads", PARO_KEY_INTEGER, 1, 1024, NULL, false, 0, "heads of queries"},
    {"kv_heads", PARO_KEY_INTEGER, 1, 1024, NULL, false, 0, "heads of keys; divides heads"},
    {"head_dim", PARO_KEY_INTEGER, 2, 256, NULL, false, 0, "channels of a head, even"},
    {"m", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "tokens"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of q, keys, values, y"},
    {"ctx", PARO_KEY_INTEGER, 1, 1 << 24, NULL, false, 0,
     "keys to tune for, m included; kernels are right for any number"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"splits", {1, 2, 4, 8, 16, 32}, 6, NULL, "blocks that share a row's keys; 1: one launch"},
    {"keys", {16, 32, 64, 128}, 4, NULL, "keys brought to shared memory at a time"},
    {"stages", {1, 2}, 2, NULL, "2: the next keys come while these are worked on"},
    {"rows", {1, 2, 4, 8}, 4, NULL, "rows (a head of a token) of a warp"},
    {"row_warps", {1, 2, 4, 8}, 4, NULL, "warps of a block with rows of their own"},
    {"key_warps", {1, 2, 4}, 3, NULL, "warps of a block that share the keys of a row"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"q", PARO_ARG_INPUT, "[m, heads, head_dim] queries"},
    {"keys", PARO_ARG_INPUT, "[kv_heads, capacity, head_dim] those of the m tokens included"},
    {"values", PARO_ARG_INPUT, "[kv_heads, capacity, head_dim]"},
    {"state", PARO_ARG_INPUT, "[1] position: tokens in the cache before the m"},
    {"capacity", PARO_ARG_SCALAR, "tokens that the cache has room for"},
    {"m", PARO_ARG_SCALAR, "tokens"},
    {"y", PARO_ARG_OUTPUT, "[m, heads head_dim]"},
    {"split_vectors", PARO_ARG_SCRATCH, "[splits, m, heads, head_dim] weighted sums of values"},
    {"split_sums", PARO_ARG_SCRATCH, "[splits, m, heads, 2] highest score, sum of weights"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    int64_t heads = problem->values[KEY_HEADS], kv_heads = problem->values[KEY_KV_HEADS];
    int64_t head_dim = problem->values[KEY_HEAD_DIM];
    if (heads % kv_heads != 0 || head_dim % 2 != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "attention: expected kv_heads to divide heads and an even head_dim, found "
                         "heads=%d, kv_heads=%d, head_dim=%d",
                         (int)heads, (int)kv_heads, (int)head_dim);
    if (problem->values[KEY_CTX] < problem->values[KEY_M])
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "attention: expected ctx to be m or more, found m=%d, ctx=%d",
                         (int)problem->values[KEY_M], (int)problem->values[KEY_CTX]);
    return PARO_STATUS_OK;
}

static uint32_t value(const paro_kernel_config *config, size_t param)
{
    return (uint32_t)config->values[param];
}

static uint32_t element_bytes(const paro_problem *problem)
{
    return (uint32_t)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
}

static uint32_t vector_of(const paro_problem *problem)
{
    return paro_vector_of((uint32_t)problem->values[KEY_HEAD_DIM], problem->values[KEY_DTYPE]);
}

/* Rows of a kv head: its heads for each token. */
static uint32_t n_rows(const paro_problem *problem)
{
    return (uint32_t)(problem->values[KEY_HEADS] / problem->values[KEY_KV_HEADS] *
                      problem->values[KEY_M]);
}

static uint32_t tile_rows(const paro_kernel_config *config)
{
    return value(config, PARAM_ROWS) * value(config, PARAM_ROW_WARPS);
}

static uint32_t n_warps(const paro_kernel_config *config)
{
    return value(config, PARAM_ROW_WARPS) * value(config, PARAM_KEY_WARPS);
}

/* Of a key in shared memory, in elements: an odd number of accesses, so that lanes that read the
 * same channels of neighbouring keys meet different banks. */
static uint32_t stride(const paro_problem *problem)
{
    uint32_t vector = vector_of(problem);
    return ((uint32_t)problem->values[KEY_HEAD_DIM] / vector | 1) * vector;
}

/* Tiles of keys and values, weights, queries; in their place later what warps merge. */
static uint32_t shared_bytes(const paro_problem *problem, const paro_kernel_config *config)
{
    uint32_t head_dim = (uint32_t)problem->values[KEY_HEAD_DIM];
    uint32_t n_keys = value(config, PARAM_KEYS), run = n_keys < RUN ? n_keys : RUN;
    uint32_t warp_rows = n_warps(config) * value(config, PARAM_ROWS);
    uint32_t tile = 2 * n_keys * stride(problem) * element_bytes(problem);
    uint32_t loop =
        value(config, PARAM_STAGES) * tile + 4 * (tile_rows(config) * head_dim + warp_rows * run);
    uint32_t merge = value(config, PARAM_KEY_WARPS) > 1 ? 4 * warp_rows * (head_dim + 2) : 0;
    return loop > merge ? loop : merge;
}

/* Whether copies run beside the threads: of 16 bytes each. */
static bool can_overlap(const paro_problem *problem, const paro_arch *arch)
{
    return (arch->features & PARO_ARCH_COPY_ASYNC) != 0 &&
           vector_of(problem) * element_bytes(problem) == 16;
}

static uint32_t n_blocks(const paro_problem *problem, const paro_kernel_config *config)
{
    return (uint32_t)problem->values[KEY_KV_HEADS] *
           paro_divide_up(n_rows(problem), tile_rows(config));
}

/* Whether the config has room where `param` has another value. */
static bool fits_with(const paro_problem *problem, const paro_kernel_config *config,
                      const paro_arch *arch, size_t param, uint32_t other)
{
    paro_kernel_config changed = *config;
    changed.values[param] = (int32_t)other;
    return shared_bytes(problem, &changed) <= arch->max_shared_bytes;
}

static const char *splits_constraint(const paro_problem *problem, const paro_kernel_config *config)
{
    uint32_t splits = value(config, PARAM_SPLITS), blocks = n_blocks(problem, config) * splits;
    uint64_t keys_split = (uint64_t)splits * value(config, PARAM_KEYS);
    if (splits > 1 && keys_split / 2 >= (uint64_t)problem->values[KEY_CTX])
        return "half of the splits would have no keys";
    if (splits > 1 && blocks > MOST_BLOCKS)
        return "blocks enough with fewer splits";
    if (splits < MOST_SPLITS && blocks < FEWEST_BLOCKS &&
        4 * keys_split < (uint64_t)problem->values[KEY_CTX])
        return "too few blocks with many tiles each";
    return NULL;
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    uint32_t n_keys = value(config, PARAM_KEYS), key_warps = value(config, PARAM_KEY_WARPS);
    uint32_t rows = value(config, PARAM_ROWS), tile = tile_rows(config);
    if (value(config, PARAM_ROW_WARPS) > 1 && key_warps > 1)
        return "warps that share keys where more rows would do";
    if (n_keys < RUN ? key_warps > 1 : n_keys < RUN * key_warps)
        return "a tile without keys for some warps";
    if (n_keys > RUN * (key_warps > 1 ? key_warps : 2))
        return "a tile of more runs than warps have in flight";
    if (tile > 1 && tile / 2 >= n_rows(problem))
        return "half of the rows would be none";
    if (rows < 4 && rows < n_rows(problem))
        return "keys read for fewer rows than there are";
    if (4 * tile < n_rows(problem) && (key_warps > 1 || tile < 8))
        return "rows enough for more warps";
    if (value(config, PARAM_STAGES) > 1 && !can_overlap(problem, arch))
        return "no asynchronous copies of 16 bytes";
    if (shared_bytes(problem, config) > arch->max_shared_bytes)
        return "more shared memory than a block may have";
    if (value(config, PARAM_STAGES) == 1 && can_overlap(problem, arch) &&
        fits_with(problem, config, arch, PARAM_STAGES, 2))
        return "one stage where two fit";
    if (n_keys < RUN && fits_with(problem, config, arch, PARAM_KEYS, RUN))
        return "idle lanes where a tile of 32 keys fits";
    return splits_constraint(problem, config);
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    const uint32_t rows = n_rows(problem);
    memset(out, 0, sizeof *out);
    int32_t *v = out->values;
    v[PARAM_ROWS] = rows > 32 ? 8 : 4;
    v[PARAM_ROW_WARPS] = rows > 8 ? 4 : 1;
    v[PARAM_KEY_WARPS] = rows > 8 ? 1 : 4;
    v[PARAM_KEYS] = rows > 8 ? 64 : 128;
    v[PARAM_STAGES] = can_overlap(problem, arch) ? 2 : 1;
    while (tile_rows(out) > 1 && tile_rows(out) / 2 >= rows)
        v[v[PARAM_ROW_WARPS] > 1 ? PARAM_ROW_WARPS : PARAM_ROWS] /= 2;
    while (shared_bytes(problem, out) > arch->max_shared_bytes) {
        if (v[PARAM_KEY_WARPS] > 2) {
            v[PARAM_KEYS] = 64;
            v[PARAM_KEY_WARPS] = 2;
        } else if (v[PARAM_STAGES] > 1) {
            v[PARAM_STAGES] = 1;
        } else if (v[PARAM_KEYS] > RUN) {
            v[PARAM_KEYS] = RUN;
            v[PARAM_KEY_WARPS] = 1;
        } else if (tile_rows(out) > 8) {
            v[v[PARAM_ROW_WARPS] > 1 ? PARAM_ROW_WARPS : PARAM_ROWS] /= 2;
        } else {
            v[PARAM_KEYS] = 16; /* eight rows of 256 channels in fp32 fit everywhere */
        }
    }
    if (can_overlap(problem, arch) && fits_with(problem, out, arch, PARAM_STAGES, 2))
        v[PARAM_STAGES] = 2;
    /* Blocks for every multiprocessor of a large device; with many rows for its second place. */
    const uint32_t enough = rows > 16 ? 256 : 128;
    v[PARAM_SPLITS] = 1;
    while (v[PARAM_SPLITS] < MOST_SPLITS &&
           n_blocks(problem, out) * (uint32_t)v[PARAM_SPLITS] < enough &&
           v[PARAM_SPLITS] * v[PARAM_KEYS] < problem->values[KEY_CTX])
        v[PARAM_SPLITS] *= 2;
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_text(list, "dtype", "%s", paro_scalar_text(problem->values[KEY_DTYPE]));
    paro_hole_integer(list, "heads", problem->values[KEY_HEADS]);
    paro_hole_integer(list, "kv_heads", problem->values[KEY_KV_HEADS]);
    paro_hole_integer(list, "head_dim", problem->values[KEY_HEAD_DIM]);
    for (size_t i = 0; params[i].name != NULL; i++)
        paro_hole_integer(list, params[i].name, config->values[i]);
    paro_hole_integer(list, "vector", vector_of(problem));
    paro_hole_integer(list, "stride", stride(problem));
    paro_hole_integer(list, "shared_bytes", shared_bytes(problem, config));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    uint32_t kv_heads = (uint32_t)problem->values[KEY_KV_HEADS];
    uint32_t splits = value(config, PARAM_SPLITS);
    *out = (paro_launch_plan){
        .n_launches = splits > 1 ? 2 : 1,
        .launches = {
            {.kernel = "attention",
             .grid = {paro_divide_up(n_rows(problem), tile_rows(config)), kv_heads, splits},
             .n_threads = 32 * n_warps(config),
             .shared_bytes = shared_bytes(problem, config),
             .args = {PARO_ATTENTION_ARG_Q, PARO_ATTENTION_ARG_KEYS, PARO_ATTENTION_ARG_VALUES,
                      PARO_ATTENTION_ARG_STATE, PARO_ATTENTION_ARG_CAPACITY, PARO_ATTENTION_ARG_M,
                      PARO_ATTENTION_ARG_Y, PARO_ATTENTION_ARG_SPLIT_VECTORS,
                      PARO_ATTENTION_ARG_SPLIT_SUMS},
             .n_args = 9}}};
    if (splits > 1)
        out->launches[1] =
            (paro_launch){.kernel = "attention_combine",
                          .grid = {paro_divide_up(n_rows(problem) * kv_heads, COMBINE_WARPS), 1, 1},
                          .n_threads = 32 * COMBINE_WARPS,
                          .args = {PARO_ATTENTION_ARG_SPLIT_VECTORS, PARO_ATTENTION_ARG_SPLIT_SUMS,
                                   PARO_ATTENTION_ARG_M, PARO_ATTENTION_ARG_Y},
                          .n_args = 4};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    uint64_t head_dim = (uint64_t)problem->values[KEY_HEAD_DIM];
    uint64_t rows = (uint64_t)problem->values[KEY_HEADS] * (uint64_t)problem->values[KEY_M];
    uint64_t splits = value(config, PARAM_SPLITS) > 1 ? value(config, PARAM_SPLITS) : 0;
    paro_dtype dtype = paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
    *out = (paro_arg_info){PARO_DTYPE_U32, 1};
    switch (arg) {
    case PARO_ATTENTION_ARG_Q:
    case PARO_ATTENTION_ARG_Y:
        *out = (paro_arg_info){dtype, rows * head_dim};
        break;
    case PARO_ATTENTION_ARG_KEYS:
    case PARO_ATTENTION_ARG_VALUES:
        *out = (paro_arg_info){dtype, (uint64_t)problem->values[KEY_KV_HEADS] *
                                          (uint64_t)problem->values[KEY_CTX] * head_dim};
        break;
    case PARO_ATTENTION_ARG_SPLIT_VECTORS:
        *out = (paro_arg_info){PARO_DTYPE_F32, splits * rows * head_dim};
        break;
    case PARO_ATTENTION_ARG_SPLIT_SUMS:
        *out = (paro_arg_info){PARO_DTYPE_F32, splits * rows * 2};
        break;
    default:
        break;
    }
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    const uint64_t m = (uint64_t)c->problem->values[KEY_M];
    const uint64_t ctx = (uint64_t)c->problem->values[KEY_CTX];
    const uint64_t head_dim = (uint64_t)c->problem->values[KEY_HEAD_DIM];
    paro_rng rng;
    paro_rng_seed(&rng, paro_random_seed(seed, PARO_ATTENTION_ARG_STATE));
    uint64_t position = seed % 2 == 0 ? ctx - m : paro_rng_below(&rng, ctx - m + 1);
    *(uint32_t *)c->data[PARO_ATTENTION_ARG_STATE] = (uint32_t)position;
    c->scalars[PARO_ATTENTION_ARG_CAPACITY].u32 = (uint32_t)ctx;
    c->scalars[PARO_ATTENTION_ARG_M].u32 = (uint32_t)m;
    paro_random_normal(c->data[PARO_ATTENTION_ARG_Q], c->info[PARO_ATTENTION_ARG_Q].dtype,
                       c->info[PARO_ATTENTION_ARG_Q].n, 0, 2,
                       paro_random_seed(seed, PARO_ATTENTION_ARG_Q), pool);
    for (size_t arg = PARO_ATTENTION_ARG_KEYS; arg <= PARO_ATTENTION_ARG_VALUES; arg++) {
        for (uint64_t head = 0; head < (uint64_t)c->problem->values[KEY_KV_HEADS]; head++) {
            char *rows = (char *)c->data[arg] + head * ctx * head_dim * element_bytes(c->problem);
            paro_random_normal(rows, c->info[arg].dtype, (position + m) * head_dim, 0.1, 1,
                               paro_random_seed(seed, 16 + 2 * head + arg), pool);
        }
    }
}

typedef struct work {
    const paro_case *c;
    double *keys, *values; /* [kv_heads][n_keys][head_dim] */
    size_t n_keys;
    double *y;
} work;

static void do_row(void *context, size_t row, int worker)
{
    const work *w = context;
    const paro_case *c = w->c;
    const size_t heads = (size_t)c->problem->values[KEY_HEADS];
    const size_t head_dim = (size_t)c->problem->values[KEY_HEAD_DIM];
    const size_t group = heads / (size_t)c->problem->values[KEY_KV_HEADS];
    const size_t m = (size_t)c->problem->values[KEY_M];
    const size_t token = row / heads, at = row % heads / group * w->n_keys * head_dim;
    double q[256];
    (void)worker;
    for (size_t i = 0; i < head_dim; i++)
        q[i] = paro_element_get(c->data[PARO_ATTENTION_ARG_Q], c->info[PARO_ATTENTION_ARG_Q].dtype,
                                row * head_dim + i);
    paro_ref_attention_f64(q, w->keys + at, w->values + at, 1, w->n_keys - m + token + 1, 1, 1,
                           head_dim, w->y + row * head_dim);
}

typedef struct conversion {
    const paro_case *c;
    size_t arg;
    size_t n_keys;
    double *to;
} conversion;

static void convert_head(void *context, size_t head, int worker)
{
    const conversion *v = context;
    const size_t head_dim = (size_t)v->c->problem->values[KEY_HEAD_DIM];
    const size_t n = v->n_keys * head_dim;
    const size_t from = head * v->c->scalars[PARO_ATTENTION_ARG_CAPACITY].u32 * head_dim;
    (void)worker;
    for (size_t i = 0; i < n; i++)
        v->to[head * n + i] =
            paro_element_get(v->c->data[v->arg], v->c->info[v->arg].dtype, from + i);
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    const size_t kv_heads = (size_t)c->problem->values[KEY_KV_HEADS];
    const size_t m = (size_t)c->problem->values[KEY_M];
    work w = {.c = c, .y = expected[PARO_ATTENTION_ARG_Y]};
    w.n_keys = *(const uint32_t *)c->data[PARO_ATTENTION_ARG_STATE] + m;
    size_t n_bytes =
        kv_heads * w.n_keys * (size_t)c->problem->values[KEY_HEAD_DIM] * sizeof(double);
    paro_status status = PARO_STATUS_OK;
    w.keys = malloc(n_bytes);
    w.values = malloc(n_bytes);
    if (w.keys == NULL || w.values == NULL) {
        status = paro_fail_memory(err, n_bytes, "the reference of attention");
        goto done;
    }
    conversion k = {c, PARO_ATTENTION_ARG_KEYS, w.n_keys, w.keys};
    conversion v = {c, PARO_ATTENTION_ARG_VALUES, w.n_keys, w.values};
    paro_pool_run(pool, kv_heads, convert_head, &k);
    paro_pool_run(pool, kv_heads, convert_head, &v);
    paro_pool_run(pool, m * (size_t)c->problem->values[KEY_HEADS], do_row, &w);

done:
    free(w.keys);
    free(w.values);
    return status;
}

/* Keys that a query sees, in the mean, where the last sees ctx. */
static double mean_keys(const paro_problem *problem)
{
    return (double)problem->values[KEY_CTX] - (double)(problem->values[KEY_M] - 1) / 2;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    double rows = (double)problem->values[KEY_HEADS] * (double)problem->values[KEY_M];
    double head_dim = (double)problem->values[KEY_HEAD_DIM];
    double cache = 2 * (double)problem->values[KEY_KV_HEADS] * (double)problem->values[KEY_CTX];
    *out = (paro_cost){.bytes = (2 * rows + cache) * head_dim * element_bytes(problem),
                       .operations = 4 * rows * mean_keys(problem) * head_dim};
}

/* The slower of memory and of the multiprocessors, whose shared memory is the narrow place: a run
 * of 32 keys costs a warp one pass over keys and values, and for every row the query and the
 * weights. Then what a block waits for: its tiles, one after another. */
static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    const double rows = value(config, PARAM_ROWS), splits = value(config, PARAM_SPLITS);
    const double head_dim = (double)problem->values[KEY_HEAD_DIM];
    const double row_tiles = paro_divide_up(n_rows(problem), tile_rows(config));
    const double blocks = row_tiles * (double)problem->values[KEY_KV_HEADS] * splits;
    const double tiles = mean_keys(problem) / value(config, PARAM_KEYS) / splits;
    const double runs = tiles * value(config, PARAM_KEYS) / RUN * value(config, PARAM_ROW_WARPS);
    const double run_cycles = head_dim * (1 + 0.5 * rows) + 16 * rows;
    const double per_sm = blocks / device->n_sms, waves = per_sm < 1 ? 1 : per_sm;
    const double compute_us = waves * runs * run_cycles / device->clock_mhz;
    const double tile_bytes = 2.0 * value(config, PARAM_KEYS) * head_dim * element_bytes(problem);
    const double memory_us = blocks * tiles * tile_bytes / (1e3 * device->bandwidth_gbs);
    double fits = (double)device->sm_shared_bytes / (shared_bytes(problem, config) + 1024);
    fits = fits < 1 ? 1 : fits > 16 ? 16 : fits;
    const double rounds = per_sm / fits < 1 ? 1 : per_sm / fits;
    const double wait_us = rounds * tiles * paro_latency_us * 1.5 / value(config, PARAM_STAGES);
    double us = compute_us > memory_us ? compute_us : memory_us;
    us = paro_launch_us + paro_latency_us + (us > wait_us ? us : wait_us);
    if (splits > 1)
        us += paro_launch_us + paro_latency_us +
              splits * (double)problem->values[KEY_HEADS] * (double)problem->values[KEY_M] *
                  head_dim * 8 / (1e3 * device->bandwidth_gbs);
    return us;
}

const paro_family paro_family_attention = {
    .name = "attention",
    .summary = "causal attention over the KV cache, grouped heads, decode and prefill",
    .template_name = "attention.cu",
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
