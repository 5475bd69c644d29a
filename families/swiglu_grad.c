/* SPDX-License-Identifier: MIT
 *
 * The family of the gradients of gate and up from that of y = gate / (1 + exp(-gate)) * up.
 */
#include "families/swiglu_grad.h"

#include <math.h>
#include <string.h>

#include "families/elementwise.h"
#include "families/random.h"

enum { KEY_N, KEY_M, KEY_DTYPE, KEY_FORWARD };
enum { PARAM_THREADS };

static const paro_problem_key keys[] = {
    {"n", PARO_KEY_INTEGER, 1, 1 << 24, NULL, false, 0, "channels of gate, and of up"},
    {"m", PARO_KEY_INTEGER, 1, 65535, NULL, false, 0, "tokens"},
    {"dtype", PARO_KEY_CHOICE, 0, 0, paro_problem_dtypes, false, 0, "of all arguments"},
    {"forward", PARO_KEY_INTEGER, 0, 1, NULL, true, 0, "1: y is computed again"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {{"threads", {64, 128, 256, 512}, 4, NULL, "threads of a block"},
                                    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"gate_up", PARO_ARG_INPUT, "[m, 2 n] gate, then up, of each token"},
    {"dy", PARO_ARG_INPUT, "[m, n] gradient of y"},
    {"d_gate_up", PARO_ARG_OUTPUT, "[m, 2 n] gradients of gate, then of up"},
    {"y", PARO_ARG_OUTPUT, "[m, n] activations (with forward)"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    (void)err;
    (void)problem;
    return PARO_STATUS_OK;
}

static uint32_t vector_of(const paro_problem *problem)
{
    return paro_vector_of((uint32_t)problem->values[KEY_N], problem->values[KEY_DTYPE]);
}

static uint32_t n_vectors(const paro_problem *problem)
{
    return (uint32_t)problem->values[KEY_N] / vector_of(problem);
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
    (void)arch;
    memset(out, 0, sizeof *out);
    int32_t threads = problem->values[KEY_M] < 8 ? 64 : 256;
    while (threads > 64 && (uint32_t)threads / 2 >= n_vectors(problem))
        threads /= 2;
    out->values[PARAM_THREADS] = threads;
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    paro_hole_text(list, "dtype", "%s", paro_scalar_text(problem->values[KEY_DTYPE]));
    paro_hole_integer(list, "n", problem->values[KEY_N]);
    paro_hole_text(list, "forward", "%s", problem->values[KEY_FORWARD] != 0 ? "true" : "false");
    paro_hole_integer(list, "threads", config->values[PARAM_THREADS]);
    paro_hole_integer(list, "vector", vector_of(problem));
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    uint32_t threads = (uint32_t)config->values[PARAM_THREADS];
    *out = (paro_launch_plan){
        .n_launches = 1,
        .launches = {{.kernel = "swiglu_grad",
                      .grid = {paro_divide_up(n_vectors(problem), threads),
                               (uint32_t)problem->values[KEY_M], 1},
                      .n_threads = threads,
                      .args = {PARO_SWIGLU_GRAD_ARG_GATE_UP, PARO_SWIGLU_GRAD_ARG_DY,
                               PARO_SWIGLU_GRAD_ARG_D_GATE_UP, PARO_SWIGLU_GRAD_ARG_Y},
                      .n_args = 4}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    (void)config;
    uint64_t n = (uint64_t)problem->values[KEY_N] * (uint64_t)problem->values[KEY_M];
    out->dtype = paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]);
    out->n = n;
    if (arg == PARO_SWIGLU_GRAD_ARG_GATE_UP || arg == PARO_SWIGLU_GRAD_ARG_D_GATE_UP)
        out->n = 2 * n;
    else if (arg == PARO_SWIGLU_GRAD_ARG_Y && problem->values[KEY_FORWARD] == 0)
        out->n = 0;
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    static const struct {
        size_t arg;
        double deviation;
    } rows[] = {{PARO_SWIGLU_GRAD_ARG_GATE_UP, 3}, {PARO_SWIGLU_GRAD_ARG_DY, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const size_t arg = rows[i].arg;
        paro_random_normal(c->data[arg], c->info[arg].dtype, c->info[arg].n, 0, rows[i].deviation,
                           paro_random_seed(seed, arg), pool);
    }
}

typedef struct work {
    const paro_case *c;
    double *const *expected;
} work;

static double get(const paro_case *c, size_t arg, uint64_t i)
{
    return paro_element_get(c->data[arg], c->info[arg].dtype, i);
}

static void do_row(void *context, size_t row, int worker)
{
    const work *w = context;
    const size_t n = (size_t)w->c->problem->values[KEY_N];
    (void)worker;
    for (size_t i = 0; i < n; i++) {
        const size_t at = row * 2 * n + i;
        const double gate = get(w->c, PARO_SWIGLU_GRAD_ARG_GATE_UP, at);
        const double up = get(w->c, PARO_SWIGLU_GRAD_ARG_GATE_UP, at + n);
        const double d = get(w->c, PARO_SWIGLU_GRAD_ARG_DY, row * n + i);
        const double share = 1 / (1 + exp(-gate));
        w->expected[PARO_SWIGLU_GRAD_ARG_D_GATE_UP][at] = d * up * share * (1 + gate * (1 - share));
        w->expected[PARO_SWIGLU_GRAD_ARG_D_GATE_UP][at + n] = d * gate * share;
        if (w->expected[PARO_SWIGLU_GRAD_ARG_Y] != NULL)
            w->expected[PARO_SWIGLU_GRAD_ARG_Y][row * n + i] = gate * share * up;
    }
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    work w = {.c = c, .expected = expected};
    (void)err;
    paro_pool_run(pool, (size_t)c->problem->values[KEY_M], do_row, &w);
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    double n = (double)problem->values[KEY_N] * (double)problem->values[KEY_M];
    double size = (double)paro_dtype_bytes(
        paro_kernel_dtype_storage((paro_kernel_dtype)problem->values[KEY_DTYPE]));
    *out = (paro_cost){.bytes = (problem->values[KEY_FORWARD] != 0 ? 6 : 5) * n * size,
                       .operations = 11 * n};
}

static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_cost bytes;
    cost(problem, &bytes);
    double blocks =
        (double)paro_divide_up(n_vectors(problem), (uint32_t)config->values[PARAM_THREADS]) *
        (double)problem->values[KEY_M];
    double per_sm = blocks / device->n_sms;
    double busy = per_sm < 1 ? per_sm : 1; /* a few large blocks leave multiprocessors idle */
    double threads = (double)n_vectors(problem) * (double)problem->values[KEY_M];
    return paro_estimate_stream_us(device, bytes.bytes, threads, 32) + 0.1 * (1 - busy);
}

const paro_family paro_family_swiglu_grad = {.name = "swiglu_grad",
                                             .summary = "gradients of swiglu's gate and up",
                                             .template_name = "swiglu_grad.cu",
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
