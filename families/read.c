/* SPDX-License-Identifier: MIT
 *
 * read: a plain read of device memory; every warp leaves the exclusive or of what it read.
 */
#include "families/read.h"

#include "families/random.h"

enum { KEY_BYTES };
enum { PARAM_BLOCKS, PARAM_THREADS, PARAM_UNROLL };
enum { VECTOR_BYTES = 16 };

static const paro_problem_key keys[] = {{.name = "bytes",
                                         .kind = PARO_KEY_INTEGER,
                                         .min = VECTOR_BYTES,
                                         .max = (int64_t)1 << 34,
                                         .help = "bytes read, a multiple of 16"},
                                        {0}};

static const paro_param params[] = {
    {.name = "blocks",
     .values = {132, 264, 528, 1056},
     .n_values = 4,
     .help = "blocks of the grid"},
    {.name = "threads", .values = {128, 256, 512}, .n_values = 3, .help = "threads of a block"},
    {.name = "unroll",
     .values = {4, 8},
     .n_values = 2,
     .help = "loads of 16 bytes in flight a thread"},
    {0}};

static const paro_arg args[] = {
    {.name = "x", .role = PARO_ARG_INPUT, .help = "[bytes / 4] words"},
    {.name = "y", .role = PARO_ARG_OUTPUT, .help = "[warps of the grid] exclusive or of the words"},
    {0}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    const int64_t n = problem->values[KEY_BYTES];
    if (n % VECTOR_BYTES != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "read: bytes: expected a multiple of %d, found %lld", VECTOR_BYTES,
                         (long long)n);
    return PARO_STATUS_OK;
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    (void)problem, (void)config, (void)arch;
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    (void)problem, (void)arch;
    *out = (paro_kernel_config){
        .values = {[PARAM_BLOCKS] = 528, [PARAM_THREADS] = 256, [PARAM_UNROLL] = 8}};
}

/* What y holds depends on this alone: configs of as many warps have one result. */
static uint64_t n_warps(const paro_kernel_config *config)
{
    return (uint64_t)config->values[PARAM_BLOCKS] * (uint64_t)config->values[PARAM_THREADS] / 32;
}

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *out)
{
    (void)arch;
    paro_hole_integer(out, "n_threads", config->values[PARAM_THREADS]);
    paro_hole_integer(out, "unroll", config->values[PARAM_UNROLL]);
    paro_hole_integer(out, "n_vectors", problem->values[KEY_BYTES] / VECTOR_BYTES);
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    (void)problem;
    *out = (paro_launch_plan){.launches = {{.kernel = "read",
                                            .grid = {(uint32_t)config->values[PARAM_BLOCKS], 1, 1},
                                            .n_threads = (uint32_t)config->values[PARAM_THREADS],
                                            .args = {PARO_READ_ARG_X, PARO_READ_ARG_Y},
                                            .n_args = 2}},
                              .n_launches = 1};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    *out = (paro_arg_info){.dtype = PARO_DTYPE_U32,
                           .n = arg == PARO_READ_ARG_X ? (uint64_t)problem->values[KEY_BYTES] / 4
                                                       : n_warps(config)};
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    paro_random_bytes(c->data[PARO_READ_ARG_X], c->info[PARO_READ_ARG_X].n * 4, seed, pool);
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    (void)err, (void)pool;
    const uint32_t *x = c->data[PARO_READ_ARG_X];
    const uint64_t n_vectors = c->info[PARO_READ_ARG_X].n / 4;
    const uint64_t warps = c->info[PARO_READ_ARG_Y].n;
    for (uint64_t warp = 0; warp < warps; warp++) {
        uint32_t sum = 0;
        for (uint64_t at = warp * 32; at < n_vectors; at += warps * 32)
            for (uint64_t i = at * 4; i < (at + 32) * 4 && i < n_vectors * 4; i++)
                sum ^= x[i];
        expected[PARO_READ_ARG_Y][warp] = sum;
    }
    return PARO_STATUS_OK;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    *out = (paro_cost){.bytes = (double)problem->values[KEY_BYTES],
                       .operations = (double)problem->values[KEY_BYTES] / 4};
}

static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    const double in_flight = (double)config->values[PARAM_BLOCKS] * config->values[PARAM_THREADS] *
                             config->values[PARAM_UNROLL] * VECTOR_BYTES;
    const double needed = 40e3 * device->n_sms; /* Little's law: about 40 KB a multiprocessor */
    const double share = in_flight < needed ? in_flight / needed : 1;
    return (double)problem->values[KEY_BYTES] / (device->bandwidth_gbs * 1e3 * share) + 2;
}

const paro_family paro_family_read = {
    .name = "read",
    .summary = "a plain read of device memory, to measure others against",
    .template_name = "read.cu",
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
