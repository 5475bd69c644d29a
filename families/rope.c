/* SPDX-License-Identifier: MIT
 *
 * The family between qkv and attention: norms of queries and keys (where qk_norm), rotary
 * embedding, keys and values appended to the cache.
 */
#include "families/rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/reference.h"
#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_HEADS, KEY_KV_HEADS, KEY_HEAD_DIM, KEY_M, KEY_DTYPE, KEY_QK_NORM };
enum { PARAM_WARPS };

static const paro_problem_key keys[] = {
    {"heads", PARO_KEY_INTEGER, 1, 1024, NULL, false, 0, "heads of queries"},
    {"kv_heads", PARO_KEY_INTEGER, 1, 1024, NULL, false, 0, "heads of keys; divides heads"},
    {"head_dim", PARO_KEY_INTEGER, 2, 256, NULL, false, 0, "channels of a head, even"},
    {"m", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "tokens"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of qkv, q, keys, values"},
    {"qk_norm", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: queries and keys are normalised first"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"warps", {1, 2, 4, 8}, 4, NULL, "warps of a block, each with one head of a token"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"qkv", PARO_ARG_INPUT, "[m, (heads + 2 kv_heads) head_dim] queries, keys, values of a token"},
    {"q_norm", PARO_ARG_WEIGHT, "[head_dim] factors of normalised queries (with qk_norm)"},
    {"k_norm", PARO_ARG_WEIGHT, "[head_dim] factors of normalised keys (with qk_norm)"},
    {"epsilon", PARO_ARG_SCALAR, "added to the mean of squares"},
    {"cossin", PARO_ARG_WEIGHT, "[capacity, head_dim / 2, 2] cosine and sine by position"},
    {"state", PARO_ARG_INPUT, "[1] position: tokens already in the cache"},
    {"capacity", PARO_ARG_SCALAR, "tokens that the cache has room for"},
    {"m", PARO_ARG_SCALAR, "tokens"},
    {"q", PARO_ARG_OUTPUT, "[m, heads, head_dim] turned queries"},
    {"keys", PARO_ARG_INOUT,
     "[kv_heads, capacity, head_dim] gets rows position .. position + m - 1"},
    {"values", PARO_ARG_INOUT, "[kv_heads, capacity, head_dim] likewise"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    int64_t heads = problem->values[KEY_HEADS], kv_heads = problem->values[KEY_KV_HEADS];
    int64_t head_dim = problem->values[KEY_HEAD_DIM];
    if (heads % kv_heads != 0 || head_dim % 2 != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "rope: expected kv_heads to divide heads and an even head_dim, found "
                         "heads=%d, kv_heads=%d, head_dim=%d",
                         (int)heads, (int)kv_heads, (int)head_dim);
    return PARO_STATUS_OK;
}

/* Heads of a token: queries, keys, values. */
static uint32_t n_slots(const paro_problem *problem)
{
    return (uint32_t)(problem->values[KEY_HEADS] + 2 * problem->values[KEY_KV_HEADS]);
}

/* Of a lane, in each half of a head: as few bytes as keep all lanes busy. */
static uint32_t vector_of(const paro_problem *problem)
{
    uint32_t half = (uint32_t)problem->values[KEY_HEAD_DIM] / 2, size = 1;
    while (size < 4 && half % (2 * size) == 0 && half / (2 * size) >= 32)
        size *= 2;
    return size;
}

/* Of the cache of a case. */
static uint64_t case_capacity(const paro_problem *problem)
{
    return (uint64_t)problem->values[KEY_M] + 61;
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    (void)arch;
    uint32_t warps = (uint32_t)config->values[PARAM_WARPS];
    if (warps > 1 && warps / 2 >= n_slots(problem) * (uint32_t)problem->values[KEY_M])
        return "half of the warps would have no heads";
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    (void)arch;
    memset(out, 0, sizeof *out);
    out->values[PARAM_WARPS] = problem->values[KEY_M] < 8 ? 1 : 4;
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_text(list, "dtype", "%s", paro_scalar_text(problem->values[KEY_DTYPE]));
    paro_hole_integer(list, "heads", problem->values[KEY_HEADS]);
    paro_hole_integer(list, "kv_heads", problem->values[KEY_KV_HEADS]);
    paro_hole_integer(list, "head_dim", problem->values[KEY_HEAD_DIM]);
    paro_hole_text(list, "qk_norm", "%s", problem->values[KEY_QK_NORM] != 0 ? "true" : "false");
    paro_hole_integer(list, "warps", config->values[PARAM_WARPS]);
    paro_hole_integer(list, "vector", vector_of(problem));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    uint32_t warps = (uint32_t)config->values[PARAM_WARPS];
    *out = (paro_launch_plan){
        .n_launches = 1,
        .launches = {
            {.kernel = "rope",
             .grid = {paro_divide_up(n_slots(problem) * (uint32_t)problem->values[KEY_M], warps), 1,
                      1},
             .n_threads = 32 * warps,
             .args = {PARO_ROPE_ARG_QKV, PARO_ROPE_ARG_Q_NORM, PARO_ROPE_ARG_K_NORM,
                      PARO_ROPE_ARG_EPSILON, PARO_ROPE_ARG_COSSIN, PARO_ROPE_ARG_STATE,
                      PARO_ROPE_ARG_CAPACITY, PARO_ROPE_ARG_M, PARO_ROPE_ARG_Q, PARO_ROPE_ARG_KEYS,
                      PARO_ROPE_ARG_VALUES},
             .n_args = 11}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    (void)config;
    uint64_t head_dim = (uint64_t)problem->values[KEY_HEAD_DIM];
    uint64_t m = (uint64_t)problem->values[KEY_M], capacity = case_capacity(problem);
    bool norm = problem->values[KEY_QK_NORM] != 0;
    paro_dtype dtype = paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
    *out = (paro_arg_info){PARO_DTYPE_U32, 1};
    switch (arg) {
    case PARO_ROPE_ARG_QKV:
        *out = (paro_arg_info){dtype, m * n_slots(problem) * head_dim};
        break;
    case PARO_ROPE_ARG_Q_NORM:
    case PARO_ROPE_ARG_K_NORM:
        *out = (paro_arg_info){PARO_DTYPE_F32, norm ? head_dim : 0};
        break;
    case PARO_ROPE_ARG_EPSILON:
        out->dtype = PARO_DTYPE_F32;
        break;
    case PARO_ROPE_ARG_COSSIN:
        *out = (paro_arg_info){PARO_DTYPE_F32, capacity * head_dim};
        break;
    case PARO_ROPE_ARG_Q:
        *out = (paro_arg_info){dtype, m * (uint64_t)problem->values[KEY_HEADS] * head_dim};
        break;
    case PARO_ROPE_ARG_KEYS:
    case PARO_ROPE_ARG_VALUES:
        *out =
            (paro_arg_info){dtype, (uint64_t)problem->values[KEY_KV_HEADS] * capacity * head_dim};
        break;
    default:
        break;
    }
}

/* The cache has random contents everywhere: what must stay is compared with it. */
static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    static const size_t normal[] = {PARO_ROPE_ARG_QKV, PARO_ROPE_ARG_Q_NORM, PARO_ROPE_ARG_K_NORM,
                                    PARO_ROPE_ARG_KEYS, PARO_ROPE_ARG_VALUES};
    for (size_t i = 0; i < sizeof normal / sizeof normal[0]; i++) {
        size_t arg = normal[i];
        bool weight = arg == PARO_ROPE_ARG_Q_NORM || arg == PARO_ROPE_ARG_K_NORM;
        paro_random_normal(c->data[arg], c->info[arg].dtype, c->info[arg].n, weight ? 1 : 0,
                           weight ? 0.25 : 1.5, paro_random_seed(seed, arg), pool);
    }
    const uint64_t capacity = case_capacity(c->problem);
    const uint64_t half = (uint64_t)c->problem->values[KEY_HEAD_DIM] / 2;
    float *cossin = c->data[PARO_ROPE_ARG_COSSIN];
    for (uint64_t i = 0; i < capacity * half; i++) {
        double frequency = pow(10000, -(double)(i % half) / (double)half);
        double angle = (double)(i / half) * frequency;
        cossin[2 * i] = (float)cos(angle);
        cossin[2 * i + 1] = (float)sin(angle);
    }
    paro_rng rng;
    paro_rng_seed(&rng, paro_random_seed(seed, PARO_ROPE_ARG_STATE));
    uint64_t most = capacity - (uint64_t)c->problem->values[KEY_M];
    *(uint32_t *)c->data[PARO_ROPE_ARG_STATE] = (uint32_t)paro_rng_below(&rng, most + 1);
    c->scalars[PARO_ROPE_ARG_EPSILON].f32 = 1e-6F;
    c->scalars[PARO_ROPE_ARG_CAPACITY].u32 = (uint32_t)capacity;
    c->scalars[PARO_ROPE_ARG_M].u32 = (uint32_t)c->problem->values[KEY_M];
}

typedef struct work {
    const paro_case *c;
    double *const *expected;
} work;

static double get(const paro_case *c, size_t arg, uint64_t i)
{
    return paro_element_get(c->data[arg], c->info[arg].dtype, i);
}

/* One head of a token. */
static void do_head(void *context, size_t task, int worker)
{
    const work *w = context;
    const paro_case *c = w->c;
    const size_t head_dim = (size_t)c->problem->values[KEY_HEAD_DIM], half = head_dim / 2;
    const size_t heads = (size_t)c->problem->values[KEY_HEADS];
    const size_t kv_heads = (size_t)c->problem->values[KEY_KV_HEADS];
    const size_t token = task / n_slots(c->problem), slot = task % n_slots(c->problem);
    const size_t position = *(const uint32_t *)c->data[PARO_ROPE_ARG_STATE] + token;
    const bool is_query = slot < heads, is_value = slot >= heads + kv_heads;
    double raw[256], weight[256], v[256];
    (void)worker;
    for (size_t i = 0; i < head_dim; i++)
        v[i] = raw[i] = get(c, PARO_ROPE_ARG_QKV, task * head_dim + i);
    if (!is_value && c->problem->values[KEY_QK_NORM] != 0) {
        for (size_t i = 0; i < head_dim; i++)
            weight[i] = get(c, is_query ? PARO_ROPE_ARG_Q_NORM : PARO_ROPE_ARG_K_NORM, i);
        paro_ref_norm_f64(raw, weight, 1, head_dim, (double)c->scalars[PARO_ROPE_ARG_EPSILON].f32,
                          v);
    }
    for (size_t i = 0; i < half && !is_value; i++) {
        double cosine = get(c, PARO_ROPE_ARG_COSSIN, (position * half + i) * 2);
        double sine = get(c, PARO_ROPE_ARG_COSSIN, (position * half + i) * 2 + 1);
        double low = v[i], high = v[i + half];
        v[i] = low * cosine - high * sine;
        v[i + half] = high * cosine + low * sine;
    }
    size_t kv_head = is_query ? 0 : (slot - heads) % kv_heads;
    size_t row = is_query ? token * heads + slot
                          : kv_head * c->scalars[PARO_ROPE_ARG_CAPACITY].u32 + position;
    double *to = w->expected[is_query   ? PARO_ROPE_ARG_Q
                             : is_value ? PARO_ROPE_ARG_VALUES
                                        : PARO_ROPE_ARG_KEYS];
    memcpy(to + row * head_dim, v, head_dim * sizeof *v);
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    (void)err;
    for (uint64_t i = 0; i < c->info[PARO_ROPE_ARG_KEYS].n; i++) {
        expected[PARO_ROPE_ARG_KEYS][i] = get(c, PARO_ROPE_ARG_KEYS, i);
        expected[PARO_ROPE_ARG_VALUES][i] = get(c, PARO_ROPE_ARG_VALUES, i);
    }
    work w = {.c = c, .expected = expected};
    paro_pool_run(pool, (size_t)c->problem->values[KEY_M] * n_slots(c->problem), do_head, &w);
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    double m = (double)problem->values[KEY_M], head_dim = (double)problem->values[KEY_HEAD_DIM];
    double size = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    double n = m * n_slots(problem) * head_dim;
    *out = (paro_cost){.bytes = 2 * n * size + 4 * m * head_dim, .operations = 3 * n};
}

static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_cost bytes;
    cost(problem, &bytes);
    double threads = 32.0 * n_slots(problem) * (double)problem->values[KEY_M];
    return paro_estimate_stream_us(device, bytes.bytes, threads, 8) + paro_latency_us +
           1e-3 * config->values[PARAM_WARPS];
}

const paro_family paro_family_rope = {.name = "rope",
                                      .summary = "rotary embedding, append to the KV cache",
                                      .template_name = "rope.cu",
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
