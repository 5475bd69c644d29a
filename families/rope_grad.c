/* SPDX-License-Identifier: MIT
 *
 * The family between attention's gradients and those of the products q, k, v: rope turned back, the
 * norms of queries and keys (where qk_norm) taken back.
 */
#include "families/rope_grad.h"

#include <math.h>
#include <string.h>

#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_HEADS, KEY_KV_HEADS, KEY_HEAD_DIM, KEY_SAMPLES, KEY_TOKENS, KEY_DTYPE, KEY_QK_NORM };
enum { PARAM_WARPS };
enum { MAX_HEAD_DIM = 256 };

static const paro_problem_key keys[] = {
    {"heads", PARO_KEY_INTEGER, 1, 1024, NULL, false, 0, "heads of queries"},
    {"kv_heads", PARO_KEY_INTEGER, 1, 1024, NULL, false, 0, "heads of keys; divides heads"},
    {"head_dim", PARO_KEY_INTEGER, 2, MAX_HEAD_DIM, NULL, false, 0, "channels of a head, even"},
    {"samples", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "samples, each with its positions"},
    {"tokens", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "tokens of a sample"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of gradients and qkv"},
    {"qk_norm", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: queries and keys were normalised first"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"warps", {1, 2, 4, 8}, 4, NULL, "warps of a block, each with one head of a token"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"d_q", PARO_ARG_INPUT, "[samples, tokens, heads, head_dim] gradient of turned queries"},
    {"d_keys", PARO_ARG_INPUT, "[samples, kv_heads, tokens, head_dim] of turned keys"},
    {"d_values", PARO_ARG_INPUT, "[samples, kv_heads, tokens, head_dim] of values"},
    {"qkv", PARO_ARG_INPUT,
     "[samples, tokens, (heads + 2 kv_heads) head_dim] products of the forward (with qk_norm)"},
    {"q_norm", PARO_ARG_WEIGHT, "[head_dim] factors of normalised queries (with qk_norm)"},
    {"k_norm", PARO_ARG_WEIGHT, "[head_dim] factors of normalised keys (with qk_norm)"},
    {"epsilon", PARO_ARG_SCALAR, "added to the mean of squares"},
    {"cossin", PARO_ARG_WEIGHT, "[tokens, head_dim / 2, 2] cosine and sine by position"},
    {"samples", PARO_ARG_SCALAR, "samples"},
    {"tokens", PARO_ARG_SCALAR, "tokens of a sample"},
    {"d_qkv", PARO_ARG_OUTPUT, "[samples, tokens, (heads + 2 kv_heads) head_dim] of the products"},
    {NULL, PARO_ARG_INPUT, NULL}};

static uint64_t n_tokens(const paro_problem *problem)
{
    return (uint64_t)problem->values[KEY_SAMPLES] * (uint64_t)problem->values[KEY_TOKENS];
}

/* Heads of a token: queries, keys, values. */
static uint64_t n_slots(const paro_problem *problem)
{
    return (uint64_t)(problem->values[KEY_HEADS] + 2 * problem->values[KEY_KV_HEADS]);
}

static paro_status complete(paro_error *err, paro_problem *problem)
{
    int64_t heads = problem->values[KEY_HEADS], kv_heads = problem->values[KEY_KV_HEADS];
    int64_t head_dim = problem->values[KEY_HEAD_DIM];
    if (heads % kv_heads != 0 || head_dim % 2 != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "rope_grad: expected kv_heads to divide heads and an even head_dim, found "
                         "heads=%d, kv_heads=%d, head_dim=%d",
                         (int)heads, (int)kv_heads, (int)head_dim);
    if (n_tokens(problem) * n_slots(problem) > INT32_MAX)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "rope_grad: expected at most %d heads of all tokens together, found "
                         "samples=%d, tokens=%d, heads=%d, kv_heads=%d",
                         INT32_MAX, (int)problem->values[KEY_SAMPLES],
                         (int)problem->values[KEY_TOKENS], (int)heads, (int)kv_heads);
    return PARO_STATUS_OK;
}

/* Of a lane, in each half of a head: as few bytes as keep all lanes busy. */
static uint32_t vector_of(const paro_problem *problem)
{
    uint32_t half = (uint32_t)problem->values[KEY_HEAD_DIM] / 2, size = 1;
    while (size < 4 && half % (2 * size) == 0 && half / (2 * size) >= 32)
        size *= 2;
    return size;
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    (void)arch;
    uint32_t warps = (uint32_t)config->values[PARAM_WARPS];
    if (warps > 1 && warps / 2 >= n_slots(problem) * n_tokens(problem))
        return "half of the warps would have no heads";
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    (void)arch;
    memset(out, 0, sizeof *out);
    out->values[PARAM_WARPS] = n_tokens(problem) < 8 ? 1 : 4;
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
        .launches = {{.kernel = "rope_grad",
                      .grid = {paro_divide_up(n_slots(problem) * n_tokens(problem), warps), 1, 1},
                      .n_threads = 32 * warps,
                      .args = {PARO_ROPE_GRAD_ARG_D_Q, PARO_ROPE_GRAD_ARG_D_KEYS,
                               PARO_ROPE_GRAD_ARG_D_VALUES, PARO_ROPE_GRAD_ARG_QKV,
                               PARO_ROPE_GRAD_ARG_Q_NORM, PARO_ROPE_GRAD_ARG_K_NORM,
                               PARO_ROPE_GRAD_ARG_EPSILON, PARO_ROPE_GRAD_ARG_COSSIN,
                               PARO_ROPE_GRAD_ARG_SAMPLES, PARO_ROPE_GRAD_ARG_TOKENS,
                               PARO_ROPE_GRAD_ARG_D_QKV},
                      .n_args = 11}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    const uint64_t head_dim = (uint64_t)problem->values[KEY_HEAD_DIM];
    const uint64_t row = n_tokens(problem) * head_dim; /* of one head of all tokens */
    const bool norm = problem->values[KEY_QK_NORM] != 0;
    const paro_dtype dtype =
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
    (void)config;
    *out = (paro_arg_info){PARO_DTYPE_U32, 1};
    switch (arg) {
    case PARO_ROPE_GRAD_ARG_D_Q:
        *out = (paro_arg_info){dtype, row * (uint64_t)problem->values[KEY_HEADS]};
        break;
    case PARO_ROPE_GRAD_ARG_D_KEYS:
    case PARO_ROPE_GRAD_ARG_D_VALUES:
        *out = (paro_arg_info){dtype, row * (uint64_t)problem->values[KEY_KV_HEADS]};
        break;
    case PARO_ROPE_GRAD_ARG_QKV:
        *out = (paro_arg_info){dtype, norm ? row * n_slots(problem) : 0};
        break;
    case PARO_ROPE_GRAD_ARG_Q_NORM:
    case PARO_ROPE_GRAD_ARG_K_NORM:
        *out = (paro_arg_info){PARO_DTYPE_F32, norm ? head_dim : 0};
        break;
    case PARO_ROPE_GRAD_ARG_EPSILON:
        out->dtype = PARO_DTYPE_F32;
        break;
    case PARO_ROPE_GRAD_ARG_COSSIN:
        *out = (paro_arg_info){PARO_DTYPE_F32, (uint64_t)problem->values[KEY_TOKENS] * head_dim};
        break;
    case PARO_ROPE_GRAD_ARG_D_QKV:
        *out = (paro_arg_info){dtype, row * n_slots(problem)};
        break;
    default:
        break;
    }
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    static const size_t normal[] = {PARO_ROPE_GRAD_ARG_D_Q,      PARO_ROPE_GRAD_ARG_D_KEYS,
                                    PARO_ROPE_GRAD_ARG_D_VALUES, PARO_ROPE_GRAD_ARG_QKV,
                                    PARO_ROPE_GRAD_ARG_Q_NORM,   PARO_ROPE_GRAD_ARG_K_NORM};
    for (size_t i = 0; i < sizeof normal / sizeof normal[0]; i++) {
        const size_t arg = normal[i];
        const bool weight = arg == PARO_ROPE_GRAD_ARG_Q_NORM || arg == PARO_ROPE_GRAD_ARG_K_NORM;
        paro_random_normal(c->data[arg], c->info[arg].dtype, c->info[arg].n, weight ? 1 : 0,
                           weight ? 0.25 : 1, paro_random_seed(seed, arg), pool);
    }
    const uint64_t half = (uint64_t)c->problem->values[KEY_HEAD_DIM] / 2;
    float *cossin = c->data[PARO_ROPE_GRAD_ARG_COSSIN];
    for (uint64_t i = 0; i < (uint64_t)c->problem->values[KEY_TOKENS] * half; i++) {
        const double frequency = pow(10000, -(double)(i % half) / (double)half);
        const double angle = (double)(i / half) * frequency;
        cossin[2 * i] = (float)cos(angle);
        cossin[2 * i + 1] = (float)sin(angle);
    }
    /* Large: of two channels hardly anything would be left without. */
    c->scalars[PARO_ROPE_GRAD_ARG_EPSILON].f32 = 0.25F;
    c->scalars[PARO_ROPE_GRAD_ARG_SAMPLES].u32 = (uint32_t)c->problem->values[KEY_SAMPLES];
    c->scalars[PARO_ROPE_GRAD_ARG_TOKENS].u32 = (uint32_t)c->problem->values[KEY_TOKENS];
}

typedef struct work {
    const paro_case *c;
    double *d_qkv;
} work;

static double get(const paro_case *c, size_t arg, uint64_t i)
{
    return paro_element_get(c->data[arg], c->info[arg].dtype, i);
}

/* d [head_dim] back through the norm of head `task`. */
static void norm_back(const paro_case *c, size_t task, size_t weight_arg, double *d)
{
    const size_t head_dim = (size_t)c->problem->values[KEY_HEAD_DIM];
    double squares = 0, products = 0;
    for (size_t i = 0; i < head_dim; i++) {
        const double x = get(c, PARO_ROPE_GRAD_ARG_QKV, task * head_dim + i);
        d[i] *= get(c, weight_arg, i);
        squares += x * x;
        products += x * d[i];
    }
    const double n = (double)head_dim;
    const double scale = 1 / sqrt(squares / n + (double)c->scalars[PARO_ROPE_GRAD_ARG_EPSILON].f32);
    for (size_t i = 0; i < head_dim; i++)
        d[i] = scale * d[i] -
               pow(scale, 3) * products / n * get(c, PARO_ROPE_GRAD_ARG_QKV, task * head_dim + i);
}

/* One head of a token. */
static void do_head(void *context, size_t task, int worker)
{
    const work *w = context;
    const paro_case *c = w->c;
    const size_t head_dim = (size_t)c->problem->values[KEY_HEAD_DIM], half = head_dim / 2;
    const size_t heads = (size_t)c->problem->values[KEY_HEADS];
    const size_t kv_heads = (size_t)c->problem->values[KEY_KV_HEADS];
    const size_t tokens = (size_t)c->problem->values[KEY_TOKENS];
    const size_t row = task / n_slots(c->problem), slot = task % n_slots(c->problem);
    const size_t sample = row / tokens, position = row % tokens;
    const bool is_query = slot < heads, is_value = slot >= heads + kv_heads;
    const size_t kv_head = is_query ? 0 : (slot - heads) % kv_heads;
    const size_t arg = is_query   ? PARO_ROPE_GRAD_ARG_D_Q
                       : is_value ? PARO_ROPE_GRAD_ARG_D_VALUES
                                  : PARO_ROPE_GRAD_ARG_D_KEYS;
    const size_t from =
        is_query ? row * heads + slot : (sample * kv_heads + kv_head) * tokens + position;
    double d[MAX_HEAD_DIM];
    (void)worker;
    for (size_t i = 0; i < head_dim; i++)
        d[i] = get(c, arg, from * head_dim + i);
    for (size_t i = 0; i < half && !is_value; i++) {
        const double cosine = get(c, PARO_ROPE_GRAD_ARG_COSSIN, (position * half + i) * 2);
        const double sine = get(c, PARO_ROPE_GRAD_ARG_COSSIN, (position * half + i) * 2 + 1);
        const double low = d[i], high = d[i + half];
        d[i] = low * cosine + high * sine;
        d[i + half] = high * cosine - low * sine;
    }
    if (!is_value && c->problem->values[KEY_QK_NORM] != 0)
        norm_back(c, task, is_query ? PARO_ROPE_GRAD_ARG_Q_NORM : PARO_ROPE_GRAD_ARG_K_NORM, d);
    memcpy(w->d_qkv + task * head_dim, d, head_dim * sizeof *d);
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    work w = {.c = c, .d_qkv = expected[PARO_ROPE_GRAD_ARG_D_QKV]};
    (void)err;
    paro_pool_run(pool, (size_t)(n_tokens(c->problem) * n_slots(c->problem)), do_head, &w);
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    const double head_dim = (double)problem->values[KEY_HEAD_DIM];
    const double size = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    const double n = (double)n_tokens(problem) * (double)n_slots(problem) * head_dim;
    const bool norm = problem->values[KEY_QK_NORM] != 0;
    *out = (paro_cost){.bytes = (norm ? 3 : 2) * n * size +
                                4 * (double)problem->values[KEY_TOKENS] * head_dim,
                       .operations = (norm ? 10 : 3) * n};
}

static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_cost bytes;
    cost(problem, &bytes);
    const double threads = 32.0 * (double)n_slots(problem) * (double)n_tokens(problem);
    return paro_estimate_stream_us(device, bytes.bytes, threads, 8) +
           1e-3 * config->values[PARAM_WARPS];
}

const paro_family paro_family_rope_grad = {
    .name = "rope_grad",
    .summary = "gradients of q, k, v products from those of attention's inputs",
    .template_name = "rope_grad.cu",
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
