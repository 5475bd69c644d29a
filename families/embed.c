/* SPDX-License-Identifier: MIT
 *
 * The family of embeddings: rows of a table by token id, to fp32.
 */
#include "families/embed.h"

#include <string.h>

#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_VOCAB, KEY_H, KEY_M, KEY_DTYPE };
enum { PARAM_THREADS };

static const paro_problem_key keys[] = {
    {"vocab", PARO_KEY_INTEGER, 1, 1 << 22, NULL, false, 0, "rows of the table"},
    {"h", PARO_KEY_INTEGER, 1, 1 << 20, NULL, false, 0, "channels"},
    {"m", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "tokens"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of the table"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {{"threads", {64, 128, 256, 512}, 4, NULL, "threads of a block"},
                                    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"ids", PARO_ARG_INPUT, "[m] tokens; one outside the table gives a row of NaN"},
    {"table", PARO_ARG_WEIGHT, "[vocab, h] embeddings"},
    {"residual", PARO_ARG_OUTPUT, "[m, h] residual stream"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    (void)err;
    (void)problem;
    return PARO_STATUS_OK;
}

static uint32_t vector_of(const paro_problem *problem)
{
    return paro_vector_of((uint32_t)problem->values[KEY_H], problem->values[KEY_DTYPE]);
}

static uint32_t n_vectors(const paro_problem *problem)
{
    return (uint32_t)problem->values[KEY_H] / vector_of(problem);
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    (void)arch;
    uint32_t threads = (uint32_t)config->values[PARAM_THREADS];
    if (threads > 64 && threads / 2 >= n_vectors(problem))
        return "half of the threads would have no channels";
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    (void)problem;
    (void)arch;
    memset(out, 0, sizeof *out);
    out->values[PARAM_THREADS] = 64;
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_text(list, "dtype", "%s", paro_scalar_text(problem->values[KEY_DTYPE]));
    paro_hole_integer(list, "vocab", problem->values[KEY_VOCAB]);
    paro_hole_integer(list, "h", problem->values[KEY_H]);
    paro_hole_integer(list, "threads", config->values[PARAM_THREADS]);
    paro_hole_integer(list, "vector", vector_of(problem));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    uint32_t threads = (uint32_t)config->values[PARAM_THREADS];
    *out = (paro_launch_plan){
        .n_launches = 1,
        .launches = {{.kernel = "embed",
                      .grid = {paro_divide_up(n_vectors(problem), threads),
                               (uint32_t)problem->values[KEY_M], 1},
                      .n_threads = threads,
                      .args = {PARO_EMBED_ARG_IDS, PARO_EMBED_ARG_TABLE, PARO_EMBED_ARG_RESIDUAL},
                      .n_args = 3}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    (void)config;
    uint64_t h = (uint64_t)problem->values[KEY_H], m = (uint64_t)problem->values[KEY_M];
    if (arg == PARO_EMBED_ARG_IDS)
        *out = (paro_arg_info){PARO_DTYPE_I32, m};
    else if (arg == PARO_EMBED_ARG_TABLE)
        *out = (paro_arg_info){
            paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]),
            (uint64_t)problem->values[KEY_VOCAB] * h};
    else
        *out = (paro_arg_info){PARO_DTYPE_F32, h * m};
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    int32_t *ids = c->data[PARO_EMBED_ARG_IDS];
    const size_t table = PARO_EMBED_ARG_TABLE;
    paro_rng rng;
    paro_rng_seed(&rng, paro_random_seed(seed, PARO_EMBED_ARG_IDS));
    for (uint64_t i = 0; i < c->info[PARO_EMBED_ARG_IDS].n; i++)
        ids[i] = (int32_t)paro_rng_below(&rng, (uint64_t)c->problem->values[KEY_VOCAB]);
    paro_random_normal(c->data[table], c->info[table].dtype, c->info[table].n, 0, 0.5,
                       paro_random_seed(seed, table), pool);
}

typedef struct work {
    const paro_case *c;
    double *residual;
} work;

static void do_row(void *context, size_t row, int worker)
{
    const work *w = context;
    const paro_case *c = w->c;
    const size_t h = (size_t)c->problem->values[KEY_H];
    const size_t id = (size_t)((const int32_t *)c->data[PARO_EMBED_ARG_IDS])[row];
    (void)worker;
    for (size_t i = 0; i < h; i++)
        w->residual[row * h + i] = paro_element_get(
            c->data[PARO_EMBED_ARG_TABLE], c->info[PARO_EMBED_ARG_TABLE].dtype, id * h + i);
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    (void)err;
    work w = {.c = c, .residual = expected[PARO_EMBED_ARG_RESIDUAL]};
    paro_pool_run(pool, (size_t)c->problem->values[KEY_M], do_row, &w);
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    double m = (double)problem->values[KEY_M], n = m * (double)problem->values[KEY_H];
    double size = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    *out = (paro_cost){.bytes = n * (size + 4) + 4 * m, .operations = 0};
}

static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_cost bytes;
    cost(problem, &bytes);
    double threads = (double)n_vectors(problem) * (double)problem->values[KEY_M];
    return paro_estimate_stream_us(device, bytes.bytes, threads, 16) + paro_latency_us +
           1e-4 * config->values[PARAM_THREADS];
}

const paro_family paro_family_embed = {.name = "embed",
                                       .summary = "embeddings of token ids to the residual stream",
                                       .template_name = "embed.cu",
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
