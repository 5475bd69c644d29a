/* SPDX-License-Identifier: MIT
 *
 * The family of samplers: the id of the highest logit of each row.
 */
#include "families/sample.h"

#include <math.h>
#include <string.h>

#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_VOCAB, KEY_M };
enum { PARAM_SPLITS, PARAM_THREADS };

static const paro_problem_key keys[] = {
    {"vocab", PARO_KEY_INTEGER, 1, 1 << 22, NULL, false, 0, "logits of a row"},
    {"m", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "rows"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {
    {"splits", {1, 4, 16, 64, 128}, 5, NULL, "pieces of a row, each a block's; 1: one launch"},
    {"threads", {64, 128, 256, 512, 1024}, 5, NULL, "threads of a block"},
    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"logits", PARO_ARG_INPUT, "[m, vocab] fp32"},
    {"piece_logits", PARO_ARG_SCRATCH, "[m, splits] highest of each piece"},
    {"piece_ids", PARO_ARG_SCRATCH, "[m, splits] where it stands"},
    {"ids", PARO_ARG_OUTPUT, "[m] where the highest stands (the first); -1: not all are finite"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    (void)err;
    (void)problem;
    return PARO_STATUS_OK;
}

static uint32_t vector_of(const paro_problem *problem)
{
    return paro_vector_of((uint32_t)problem->values[KEY_VOCAB], PARO_KERNEL_DTYPE_F32);
}

static uint32_t n_vectors(const paro_problem *problem)
{
    return (uint32_t)problem->values[KEY_VOCAB] / vector_of(problem);
}

static uint32_t shared_bytes(const paro_kernel_config *config)
{
    return (uint32_t)config->values[PARAM_THREADS] / 32 * 8;
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    (void)arch;
    uint32_t threads = (uint32_t)config->values[PARAM_THREADS];
    uint32_t splits = (uint32_t)config->values[PARAM_SPLITS];
    if (threads * splits > 64 && threads * splits / 2 >= n_vectors(problem))
        return "half of the threads would have no logits";
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    memset(out, 0, sizeof *out);
    out->values[PARAM_SPLITS] = problem->values[KEY_M] < 64 ? 64 : 4;
    out->values[PARAM_THREADS] = 256;
    while (constraint(problem, out, arch) != NULL) {
        if (out->values[PARAM_THREADS] > 64)
            out->values[PARAM_THREADS] /= 2;
        else
            out->values[PARAM_SPLITS] /= 4;
    }
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_integer(list, "vocab", problem->values[KEY_VOCAB]);
    paro_hole_integer(list, "splits", config->values[PARAM_SPLITS]);
    paro_hole_integer(list, "threads", config->values[PARAM_THREADS]);
    paro_hole_integer(list, "vector", vector_of(problem));
    paro_hole_integer(list, "shared_bytes", shared_bytes(config));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    uint32_t m = (uint32_t)problem->values[KEY_M];
    uint32_t splits = (uint32_t)config->values[PARAM_SPLITS];
    *out = (paro_launch_plan){
        .n_launches = splits > 1 ? 2 : 1,
        .launches = {{.kernel = "sample",
                      .grid = {splits, m, 1},
                      .n_threads = (uint32_t)config->values[PARAM_THREADS],
                      .shared_bytes = shared_bytes(config),
                      .args = {PARO_SAMPLE_ARG_LOGITS, PARO_SAMPLE_ARG_PIECE_LOGITS,
                               PARO_SAMPLE_ARG_PIECE_IDS, PARO_SAMPLE_ARG_IDS},
                      .n_args = 4}}};
    if (splits > 1)
        out->launches[1] = (paro_launch){
            .kernel = "sample_pick",
            .grid = {m, 1, 1},
            .n_threads = 32,
            .args = {PARO_SAMPLE_ARG_PIECE_LOGITS, PARO_SAMPLE_ARG_PIECE_IDS, PARO_SAMPLE_ARG_IDS},
            .n_args = 3};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    uint64_t m = (uint64_t)problem->values[KEY_M];
    uint64_t splits = (uint64_t)config->values[PARAM_SPLITS];
    out->dtype = arg == PARO_SAMPLE_ARG_LOGITS || arg == PARO_SAMPLE_ARG_PIECE_LOGITS
                     ? PARO_DTYPE_F32
                     : PARO_DTYPE_I32;
    if (arg == PARO_SAMPLE_ARG_LOGITS)
        out->n = m * (uint64_t)problem->values[KEY_VOCAB];
    else if (arg == PARO_SAMPLE_ARG_IDS)
        out->n = m;
    else
        out->n = splits > 1 ? m * splits : 0;
}

/* Rows as models make them, and some with one logit that is not finite, with a tie for the highest,
 * with all logits the same. */
static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    const uint64_t vocab = (uint64_t)c->problem->values[KEY_VOCAB];
    float *logits = c->data[PARO_SAMPLE_ARG_LOGITS];
    paro_random_normal(logits, PARO_DTYPE_F32, c->info[PARO_SAMPLE_ARG_LOGITS].n, -1, 3,
                       paro_random_seed(seed, 0), pool);
    paro_rng rng;
    paro_rng_seed(&rng, paro_random_seed(seed, 1));
    for (int64_t m = 0; m < c->problem->values[KEY_M]; m++, logits += vocab) {
        uint64_t kind = paro_rng_below(&rng, 8);
        uint64_t one = paro_rng_below(&rng, vocab), other = paro_rng_below(&rng, vocab);
        if (kind == 0)
            logits[one] = NAN;
        else if (kind == 1)
            logits[one] = INFINITY;
        else if (kind == 2)
            logits[one] = -INFINITY;
        else if (kind == 3)
            logits[one] = logits[other] = 100;
        else if (kind == 4)
            for (uint64_t i = 0; i < vocab; i++)
                logits[i] = -7;
    }
}

typedef struct work {
    const paro_case *c;
    double *ids;
} work;

static void do_row(void *context, size_t row, int worker)
{
    const work *w = context;
    const size_t vocab = (size_t)w->c->problem->values[KEY_VOCAB];
    const float *logits = (const float *)w->c->data[PARO_SAMPLE_ARG_LOGITS] + row * vocab;
    size_t best = 0;
    bool finite = true;
    (void)worker;
    for (size_t i = 0; i < vocab; i++) {
        finite = finite && isfinite(logits[i]);
        if (logits[i] > logits[best])
            best = i;
    }
    w->ids[row] = finite ? (double)best : -1;
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    (void)err;
    work w = {.c = c, .ids = expected[PARO_SAMPLE_ARG_IDS]};
    paro_pool_run(pool, (size_t)c->problem->values[KEY_M], do_row, &w);
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    double m = (double)problem->values[KEY_M], n = m * (double)problem->values[KEY_VOCAB];
    *out = (paro_cost){.bytes = 4 * n + 4 * m, .operations = n};
}

static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_cost bytes;
    cost(problem, &bytes);
    double threads = (double)config->values[PARAM_THREADS] * config->values[PARAM_SPLITS] *
                     (double)problem->values[KEY_M];
    double per_thread = bytes.bytes / threads;
    return paro_estimate_stream_us(device, bytes.bytes, threads,
                                   per_thread < 32 ? per_thread : 32) +
           (config->values[PARAM_SPLITS] > 1 ? paro_launch_us + paro_latency_us : 0) +
           0.01 * config->values[PARAM_THREADS] / 32;
}

const paro_family paro_family_sample = {.name = "sample",
                                        .summary = "the id of the highest logit",
                                        .template_name = "sample.cu",
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
