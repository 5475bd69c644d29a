/* SPDX-License-Identifier: MIT
 *
 * The family of causal attention over whole samples, backward.
 */
#include "families/attention_grad.h"

#include <string.h>

#include "families/attention_train_case.h"
#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_HEADS, KEY_KV_HEADS, KEY_HEAD_DIM, KEY_SAMPLES, KEY_TOKENS, KEY_DTYPE };
enum { PARAM_WARPS, PARAM_TILE };
enum { DELTA_WARPS = 4, MAX_OUT = 128 }; /* MAX_OUT: channels that accumulators have room for */

static const char *const dtype_choices[] = {"f16", "bf16", NULL};

static const paro_problem_key keys[] = {
    {"heads", PARO_KEY_INTEGER, 1, 1024, NULL, false, 0, "heads of queries"},
    {"kv_heads", PARO_KEY_INTEGER, 1, 1024, NULL, false, 0, "heads of keys; divides heads"},
    {"head_dim", PARO_KEY_INTEGER, 16, PARO_ATTENTION_TRAIN_MAX_HEAD_DIM, NULL, false, 0,
     "channels of a head, a multiple of 16"},
    {"samples", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "samples, none of which sees another"},
    {"tokens", PARO_KEY_INTEGER, 2, 65535, NULL, false, 0,
     "tokens of a sample; of one alone nothing depends on queries and keys"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, dtype_choices, false, 0, "of all arguments but lse"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"warps", {1, 2, 4, 8}, 4, NULL, "warps of a block, each with 16 rows"},
    {"tile", {16, 32, 64}, 3, NULL, "rows of the other side at a time"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"q", PARO_ARG_INPUT, "[samples, tokens, heads, head_dim] queries"},
    {"keys", PARO_ARG_INPUT, "[samples, kv_heads, tokens, head_dim]"},
    {"values", PARO_ARG_INPUT, "[samples, kv_heads, tokens, head_dim]"},
    {"y", PARO_ARG_INPUT, "[samples, tokens, heads, head_dim] of the forward"},
    {"lse", PARO_ARG_INPUT, "[samples, heads, tokens] of the forward"},
    {"dy", PARO_ARG_INPUT, "[samples, tokens, heads, head_dim] gradient of y"},
    {"samples", PARO_ARG_SCALAR, "samples"},
    {"tokens", PARO_ARG_SCALAR, "tokens of a sample"},
    {"delta", PARO_ARG_SCRATCH, "[samples, heads, tokens] sums of dy y"},
    {"d_q", PARO_ARG_OUTPUT, "[samples, tokens, heads, head_dim]"},
    {"d_keys", PARO_ARG_OUTPUT, "[samples, kv_heads, tokens, head_dim]"},
    {"d_values", PARO_ARG_OUTPUT, "[samples, kv_heads, tokens, head_dim]"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    const int64_t heads = problem->values[KEY_HEADS], kv_heads = problem->values[KEY_KV_HEADS];
    const int64_t head_dim = problem->values[KEY_HEAD_DIM];
    if (heads % kv_heads != 0 || head_dim % 16 != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "attention_grad: expected kv_heads to divide heads and a head_dim that is "
                         "a multiple of 16, found heads=%d, kv_heads=%d, head_dim=%d",
                         (int)heads, (int)kv_heads, (int)head_dim);
    return PARO_STATUS_OK;
}

static uint32_t value(const paro_kernel_config *config, size_t param)
{
    return (uint32_t)config->values[param];
}

static uint32_t block_rows(const paro_kernel_config *config)
{
    return 16 * value(config, PARAM_WARPS);
}

/* Keys and values of one side, queries and dy of the other; lse and delta of a tile. */
static uint32_t shared_bytes(const paro_problem *problem, const paro_kernel_config *config)
{
    const uint32_t stride = (uint32_t)problem->values[KEY_HEAD_DIM] + 8;
    const uint32_t tile = value(config, PARAM_TILE);
    return 2 * (block_rows(config) + tile) * stride * 2 + 2 * tile * (uint32_t)sizeof(float);
}

static uint32_t n_parts(const paro_problem *problem)
{
    const uint32_t head_dim = (uint32_t)problem->values[KEY_HEAD_DIM];
    uint32_t n = 1;
    while (head_dim / n > MAX_OUT || head_dim % (16 * n) != 0)
        n++;
    return n;
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    const uint32_t needed = problem->values[KEY_DTYPE] == PARO_KERNEL_DTYPE_BF16
                                ? PARO_ARCH_MMA_BF16
                                : PARO_ARCH_MMA_F16;
    const uint32_t warps = value(config, PARAM_WARPS), tile = value(config, PARAM_TILE);
    if ((arch->features & needed) == 0)
        return "no tensor core for the dtype";
    if (warps > 1 && block_rows(config) / 2 >= problem->values[KEY_TOKENS])
        return "half of the warps would have no rows";
    if (tile > 16 && tile / 2 >= problem->values[KEY_TOKENS])
        return "half of the tile would have no rows";
    if (shared_bytes(problem, config) > arch->max_shared_bytes)
        return "more shared memory than a block may have";
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    const uint32_t tokens = (uint32_t)problem->values[KEY_TOKENS];
    memset(out, 0, sizeof *out);
    int32_t *v = out->values;
    v[PARAM_WARPS] = 4;
    v[PARAM_TILE] = 32;
    while (v[PARAM_WARPS] > 1 && block_rows(out) / 2 >= tokens)
        v[PARAM_WARPS] /= 2;
    while (v[PARAM_TILE] > 16 && (uint32_t)v[PARAM_TILE] / 2 >= tokens)
        v[PARAM_TILE] /= 2;
    while (shared_bytes(problem, out) > arch->max_shared_bytes)
        v[v[PARAM_TILE] > 16 ? PARAM_TILE : PARAM_WARPS] /= 2;
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_text(list, "dtype", "%s", paro_scalar_text(problem->values[KEY_DTYPE]));
    paro_hole_integer(list, "heads", problem->values[KEY_HEADS]);
    paro_hole_integer(list, "kv_heads", problem->values[KEY_KV_HEADS]);
    paro_hole_integer(list, "head_dim", problem->values[KEY_HEAD_DIM]);
    paro_hole_integer(list, "parts", n_parts(problem));
    for (size_t i = 0; params[i].name != NULL; i++)
        paro_hole_integer(list, params[i].name, config->values[i]);
    paro_hole_integer(list, "shared_bytes", shared_bytes(problem, config));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    const uint32_t samples = (uint32_t)problem->values[KEY_SAMPLES];
    const uint32_t tokens = (uint32_t)problem->values[KEY_TOKENS];
    const uint32_t heads = (uint32_t)problem->values[KEY_HEADS];
    const uint32_t kv_heads = (uint32_t)problem->values[KEY_KV_HEADS];
    const uint32_t tiles = paro_divide_up(tokens, block_rows(config));
    const uint32_t threads = 32 * value(config, PARAM_WARPS);
    *out = (paro_launch_plan){
        .n_launches = 3,
        .launches = {
            {.kernel = "attention_grad_delta",
             .grid = {paro_divide_up((uint64_t)samples * tokens * heads, DELTA_WARPS), 1, 1},
             .n_threads = 32 * DELTA_WARPS,
             .args = {PARO_ATTENTION_GRAD_ARG_Y, PARO_ATTENTION_GRAD_ARG_DY,
                      PARO_ATTENTION_GRAD_ARG_SAMPLES, PARO_ATTENTION_GRAD_ARG_TOKENS,
                      PARO_ATTENTION_GRAD_ARG_DELTA},
             .n_args = 5},
            {.kernel = "attention_grad_keys",
             .grid = {tiles, kv_heads * n_parts(problem), samples},
             .n_threads = threads,
             .shared_bytes = shared_bytes(problem, config),
             .args = {PARO_ATTENTION_GRAD_ARG_Q, PARO_ATTENTION_GRAD_ARG_KEYS,
                      PARO_ATTENTION_GRAD_ARG_VALUES, PARO_ATTENTION_GRAD_ARG_DY,
                      PARO_ATTENTION_GRAD_ARG_LSE, PARO_ATTENTION_GRAD_ARG_DELTA,
                      PARO_ATTENTION_GRAD_ARG_TOKENS, PARO_ATTENTION_GRAD_ARG_D_KEYS,
                      PARO_ATTENTION_GRAD_ARG_D_VALUES},
             .n_args = 9},
            {.kernel = "attention_grad_queries",
             .grid = {tiles, heads * n_parts(problem), samples},
             .n_threads = threads,
             .shared_bytes = shared_bytes(problem, config),
             .args = {PARO_ATTENTION_GRAD_ARG_Q, PARO_ATTENTION_GRAD_ARG_KEYS,
                      PARO_ATTENTION_GRAD_ARG_VALUES, PARO_ATTENTION_GRAD_ARG_DY,
                      PARO_ATTENTION_GRAD_ARG_LSE, PARO_ATTENTION_GRAD_ARG_DELTA,
                      PARO_ATTENTION_GRAD_ARG_TOKENS, PARO_ATTENTION_GRAD_ARG_D_Q},
             .n_args = 8}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    const uint64_t rows =
        (uint64_t)problem->values[KEY_SAMPLES] * (uint64_t)problem->values[KEY_TOKENS];
    const uint64_t heads = (uint64_t)problem->values[KEY_HEADS];
    const uint64_t head_dim = (uint64_t)problem->values[KEY_HEAD_DIM];
    (void)config;
    *out = (paro_arg_info){paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]),
                           rows * heads * head_dim};
    switch (arg) {
    case PARO_ATTENTION_GRAD_ARG_KEYS:
    case PARO_ATTENTION_GRAD_ARG_VALUES:
    case PARO_ATTENTION_GRAD_ARG_D_KEYS:
    case PARO_ATTENTION_GRAD_ARG_D_VALUES:
        out->n = rows * (uint64_t)problem->values[KEY_KV_HEADS] * head_dim;
        break;
    case PARO_ATTENTION_GRAD_ARG_LSE:
    case PARO_ATTENTION_GRAD_ARG_DELTA:
        *out = (paro_arg_info){PARO_DTYPE_F32, rows * heads};
        break;
    case PARO_ATTENTION_GRAD_ARG_SAMPLES:
    case PARO_ATTENTION_GRAD_ARG_TOKENS:
        *out = (paro_arg_info){PARO_DTYPE_U32, 1};
        break;
    default:
        break;
    }
}

static paro_attention_train_case case_of(const paro_case *c)
{
    const int64_t *v = c->problem->values;
    return (paro_attention_train_case){
        .samples = (size_t)v[KEY_SAMPLES],
        .tokens = (size_t)v[KEY_TOKENS],
        .heads = (size_t)v[KEY_HEADS],
        .kv_heads = (size_t)v[KEY_KV_HEADS],
        .head_dim = (size_t)v[KEY_HEAD_DIM],
        .dtype = c->info[PARO_ATTENTION_GRAD_ARG_Q].dtype,
        .q = c->data[PARO_ATTENTION_GRAD_ARG_Q],
        .keys = c->data[PARO_ATTENTION_GRAD_ARG_KEYS],
        .values = c->data[PARO_ATTENTION_GRAD_ARG_VALUES],
        .dy = c->data[PARO_ATTENTION_GRAD_ARG_DY],
    };
}

typedef struct forward {
    const paro_attention_train_case *data;
    paro_case *c;
} forward;

/* y and lse of one row, as the forward leaves them. */
static void fill_row(void *context, size_t row, int worker)
{
    const forward *f = context;
    const size_t heads = f->data->heads, tokens = f->data->tokens, n = f->data->head_dim;
    const size_t sample = row / heads / tokens, token = row / heads % tokens, head = row % heads;
    const paro_dtype dtype = f->data->dtype;
    double y[PARO_ATTENTION_TRAIN_MAX_HEAD_DIM];
    float rounded[PARO_ATTENTION_TRAIN_MAX_HEAD_DIM];
    (void)worker;
    float *lse = f->c->data[PARO_ATTENTION_GRAD_ARG_LSE];
    lse[(sample * heads + head) * tokens + token] =
        (float)paro_attention_train_case_row(f->data, sample, head, token, y);
    for (size_t i = 0; i < n; i++)
        rounded[i] = (float)y[i];
    char *to = f->c->data[PARO_ATTENTION_GRAD_ARG_Y];
    paro_array_from_f32(to + row * n * paro_dtype_bytes(dtype), dtype, rounded, n);
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    static const struct {
        size_t arg;
        double mean, deviation;
    } rows[] = {{PARO_ATTENTION_GRAD_ARG_Q, 0, 1},
                {PARO_ATTENTION_GRAD_ARG_KEYS, 0.1, 1},
                {PARO_ATTENTION_GRAD_ARG_VALUES, 0.1, 1},
                {PARO_ATTENTION_GRAD_ARG_DY, 0, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const size_t arg = rows[i].arg;
        paro_random_normal(c->data[arg], c->info[arg].dtype, c->info[arg].n, rows[i].mean,
                           rows[i].deviation, paro_random_seed(seed, arg), pool);
    }
    c->scalars[PARO_ATTENTION_GRAD_ARG_SAMPLES].u32 = (uint32_t)c->problem->values[KEY_SAMPLES];
    c->scalars[PARO_ATTENTION_GRAD_ARG_TOKENS].u32 = (uint32_t)c->problem->values[KEY_TOKENS];
    const paro_attention_train_case data = case_of(c);
    forward f = {&data, c};
    paro_pool_run(pool, data.samples * data.tokens * data.heads, fill_row, &f);
}

/* From q, keys, values and dy alone: y and lse follow from them. */
static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    const paro_attention_train_case data = case_of(c);
    (void)err;
    paro_attention_train_case_backward(&data, pool, expected[PARO_ATTENTION_GRAD_ARG_D_Q],
                                       expected[PARO_ATTENTION_GRAD_ARG_D_KEYS],
                                       expected[PARO_ATTENTION_GRAD_ARG_D_VALUES]);
    return PARO_STATUS_OK;
}

/* Pairs of a query and a key that it sees. */
static double n_pairs(const paro_problem *problem)
{
    const double tokens = (double)problem->values[KEY_TOKENS];
    return (double)problem->values[KEY_SAMPLES] * (double)problem->values[KEY_HEADS] * tokens *
           (tokens + 1) / 2;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    const double rows = (double)problem->values[KEY_SAMPLES] * (double)problem->values[KEY_TOKENS];
    const double head_dim = (double)problem->values[KEY_HEAD_DIM];
    const double heads = (double)problem->values[KEY_HEADS];
    const double kv_heads = (double)problem->values[KEY_KV_HEADS];
    *out = (paro_cost){.bytes = rows * (head_dim * 2 * (4 * heads + 4 * kv_heads) + 4 * heads),
                       .operations = 10 * n_pairs(problem) * head_dim};
}

/* Tensor cores, and what a block brings to shared memory and waits for, tile by tile. */
static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    const double head_dim = (double)problem->values[KEY_HEAD_DIM];
    const double rows = block_rows(config), tile = value(config, PARAM_TILE);
    /* Products of 16 x 8 x 16, of which a multiprocessor does one in two cycles. */
    const double products =
        (4.0 * n_parts(problem) + 3) * n_pairs(problem) * head_dim / (16 * 8 * 16);
    const double tiles = n_pairs(problem) / rows / tile * 4 * n_parts(problem);
    const double cycles =
        products * 2 + tiles * (tile * head_dim / 32 + 400 / (double)value(config, PARAM_WARPS));
    return 3 * (paro_launch_us + paro_latency_us) +
           cycles / (device->n_sms * (double)device->clock_mhz);
}

const paro_family paro_family_attention_grad = {
    .name = "attention_grad",
    .summary = "gradients of attention_train's queries, keys and values",
    .template_name = "attention_grad.cu",
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
