/* SPDX-License-Identifier: MIT
 *
 * The family that repacks INT4 weights: the checkpoint's tensors of one or several parts, part
 * after part, to the layout that linear_w4's winner names.
 */
#include "families/pack_w4.h"

#include <stdlib.h>
#include <string.h>

#include "base/pack.h"
#include "families/linear_geometry.h"
#include "families/random.h"
#include "families/rotation_tables.h"
#include "families/w4_layout.h"

enum { KEY_N, KEY_K, KEY_GROUP, KEY_PARTS, KEY_LAYOUT };
enum { PARAM_THREADS };

static const char *const layout_choices[] = {"mma16", "awq", NULL}; /* paro_w4_layout_names */

static const paro_problem_key keys[] = {
    {"n", PARO_KEY_INTEGER, 8, 1 << 20, NULL, false, 0, "rows (outputs), a multiple of 8"},
    {"k", PARO_KEY_INTEGER, 32, 1 << 18, NULL, false, 0, "columns (inputs), a multiple of group"},
    {"group", PARO_KEY_INTEGER, PARO_ROTATION_MIN_GROUP, PARO_ROTATION_MAX_GROUP, NULL, false, 0,
     "columns with one scale: 32, 64, 128, 256"},
    {"parts", PARO_KEY_PARTS, 8, 1 << 20, NULL, true, 0, "rows of each merged linear; n"},
    {"layout", PARO_KEY_CHOICE, 0, 0, layout_choices, false, 0, "of the result"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static const paro_param params[] = {{"threads", {128, 256, 512}, 3, NULL, "threads of a block"},
                                    {NULL, {0}, 0, NULL, NULL}};

static const paro_arg args[] = {
    {"qweight", PARO_ARG_INPUT, "[k, rows / 8] words of codes, part after part"},
    {"qzeros", PARO_ARG_INPUT, "[k / group, rows / 8] words of zero points, part after part"},
    {"scales", PARO_ARG_INPUT, "[k / group, rows], part after part"},
    {"codes", PARO_ARG_OUTPUT, "packed codes: families/w4_layout.h"},
    {"zeros", PARO_ARG_OUTPUT, "packed zero points"},
    {"packed_scales", PARO_ARG_OUTPUT, "packed scales"},
    {NULL, PARO_ARG_INPUT, NULL}};

static paro_status complete(paro_error *err, paro_problem *problem)
{
    uint32_t n = (uint32_t)problem->values[KEY_N], k = (uint32_t)problem->values[KEY_K];
    uint32_t group = (uint32_t)problem->values[KEY_GROUP];
    if (!paro_rotation_group_fits(k, group))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "pack_w4: expected group 32, 64, 128 or 256 and k a multiple of it, found "
                         "group=%u, k=%u",
                         group, k);
    return paro_w4_complete_parts(err, "pack_w4", n, problem, KEY_PARTS);
}

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    (void)problem;
    (void)config;
    (void)arch;
    return NULL;
}

static void default_config(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out)
{
    (void)problem;
    (void)arch;
    memset(out, 0, sizeof *out);
    out->values[PARAM_THREADS] = 256;
}

static bool is_mma16(const paro_problem *problem)
{
    return problem->values[KEY_LAYOUT] == PARO_W4_LAYOUT_MMA16;
}

/* As in the template: columns and words (of 8 rows) of a block, and a word between rows. */
enum { BLOCK_K = 64, BLOCK_TILES = 8, BLOCK_SHARED = BLOCK_K * (2 * BLOCK_TILES + 1) * 4 };

static void holes(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *list)
{
    (void)arch;
    char parts[PARO_W4_LIST_BYTES];
    paro_hole_text(list, "zero_word", "%s", is_mma16(problem) ? "u8" : "u32");
    paro_hole_integer(list, "n", problem->values[KEY_N]);
    paro_hole_integer(list, "k", problem->values[KEY_K]);
    paro_hole_integer(list, "group", problem->values[KEY_GROUP]);
    paro_hole_integer(list, "n_parts", problem->n_parts);
    paro_hole_text(list, "parts", "%s", paro_w4_parts_list(problem, parts));
    paro_hole_text(list, "mma16", "%s", is_mma16(problem) ? "true" : "false");
    paro_hole_integer(list, "threads", config->values[PARAM_THREADS]);
    paro_hole_integer(list, "shared_bytes", is_mma16(problem) ? BLOCK_SHARED : 0);
}

static void plan(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out)
{
    uint32_t threads = (uint32_t)config->values[PARAM_THREADS], row_blocks = 0;
    paro_w4_shape shape;
    paro_w4_sizes sizes;
    paro_w4_shape_of(problem, &shape);
    paro_w4_sizes_of(&shape, (paro_w4_layout)problem->values[KEY_LAYOUT], &sizes);
    for (uint32_t i = 0; i < shape.n_parts; i++)
        row_blocks += paro_divide_up(shape.parts[i], BLOCK_TILES * PARO_W4_TILE);
    bool mma16 = is_mma16(problem);
    *out = (paro_launch_plan){
        .n_launches = 2,
        .launches = {
            {.kernel = "pack_codes",
             .grid = {mma16 ? row_blocks : paro_divide_up(sizes.n_codes, threads),
                      mma16 ? paro_divide_up(shape.k, BLOCK_K) : 1, 1},
             .n_threads = threads,
             .shared_bytes = mma16 ? BLOCK_SHARED : 0,
             .args = {PARO_PACK_W4_ARG_QWEIGHT, PARO_PACK_W4_ARG_CODES},
             .n_args = 2},
            {.kernel = "pack_groups",
             .grid = {paro_divide_up(mma16 ? sizes.n_zeros : sizes.n_scales, threads), 1, 1},
             .n_threads = threads,
             .args = {PARO_PACK_W4_ARG_QZEROS, PARO_PACK_W4_ARG_SCALES, PARO_PACK_W4_ARG_ZEROS,
                      PARO_PACK_W4_ARG_PACKED_SCALES},
             .n_args = 4}}};
}

static void arg_info(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out)
{
    (void)config;
    paro_w4_shape shape;
    paro_w4_sizes from, to;
    paro_w4_shape_of(problem, &shape);
    paro_w4_sizes_of(&shape, PARO_W4_LAYOUT_AWQ, &from);
    paro_w4_sizes_of(&shape, (paro_w4_layout)problem->values[KEY_LAYOUT], &to);
    const paro_arg_info infos[] = {
        [PARO_PACK_W4_ARG_QWEIGHT] = {PARO_DTYPE_U32, from.n_codes},
        [PARO_PACK_W4_ARG_QZEROS] = {PARO_DTYPE_U32, from.n_zeros},
        [PARO_PACK_W4_ARG_SCALES] = {PARO_DTYPE_F16, from.n_scales},
        [PARO_PACK_W4_ARG_CODES] = {PARO_DTYPE_U32, to.n_codes},
        [PARO_PACK_W4_ARG_ZEROS] = {to.zeros_dtype, to.n_zeros},
        [PARO_PACK_W4_ARG_PACKED_SCALES] = {PARO_DTYPE_F16, to.n_scales}};
    *out = infos[arg];
}

static void fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    for (size_t arg = PARO_PACK_W4_ARG_QWEIGHT; arg <= PARO_PACK_W4_ARG_QZEROS; arg++)
        paro_random_bytes(c->data[arg], c->info[arg].n * sizeof(uint32_t),
                          paro_random_seed(seed, arg), pool);
    paro_random_normal(c->data[PARO_PACK_W4_ARG_SCALES], PARO_DTYPE_F16,
                       c->info[PARO_PACK_W4_ARG_SCALES].n, 0.01, 0.002,
                       paro_random_seed(seed, PARO_PACK_W4_ARG_SCALES), pool);
}

typedef struct reference_job {
    const paro_case *c;
    paro_w4_shape shape;
    paro_w4_layout layout;
    uint32_t part, first_row; /* of the weight */
    uint8_t *scratch;         /* [workers][scratch_bytes] */
    size_t scratch_bytes;
    uint32_t *codes;
    void *zeros;
    uint16_t *scales;
} reference_job;

/* Codes (or zeros) of 16 rows (fewer at the end) from words [n_columns][rows / 8]:
 * out [rows][n_columns]. */
static void unpack_tile(const uint32_t *words, size_t n_columns, size_t rows, size_t first,
                        size_t n_rows, uint8_t *out)
{
    for (size_t column = 0; column < n_columns; column++) {
        uint8_t tile[PARO_W4_TILE];
        paro_unpack_row(tile, words + (column * rows + first) / PARO_CODES_PER_WORD, n_rows);
        for (size_t row = 0; row < n_rows; row++)
            out[row * n_columns + column] = tile[row];
    }
}

/* Tile i of the job's part. */
static void reference_tile(void *context, size_t i, int worker)
{
    const reference_job *job = context;
    const paro_case *c = job->c;
    const size_t k = job->shape.k, n_groups = k / job->shape.group;
    const size_t rows = job->shape.parts[job->part], first = i * PARO_W4_TILE;
    const size_t n_rows = rows - first < PARO_W4_TILE ? rows - first : PARO_W4_TILE;
    const uint32_t *qweight = c->data[PARO_PACK_W4_ARG_QWEIGHT];
    const uint32_t *qzeros = c->data[PARO_PACK_W4_ARG_QZEROS];
    const uint16_t *from = c->data[PARO_PACK_W4_ARG_SCALES];
    uint8_t *codes = job->scratch + (size_t)worker * job->scratch_bytes;
    uint8_t *zeros = codes + PARO_W4_TILE * k;
    uint16_t scales[(1 << 18) / PARO_ROTATION_MIN_GROUP];
    unpack_tile(qweight + job->first_row / PARO_CODES_PER_WORD * k, k, rows, first, n_rows, codes);
    unpack_tile(qzeros + job->first_row / PARO_CODES_PER_WORD * n_groups, n_groups, rows, first,
                n_rows, zeros);
    for (size_t row = 0; row < n_rows; row++) {
        for (size_t group = 0; group < n_groups; group++)
            scales[group] = from[job->first_row * n_groups + group * rows + first + row];
        paro_w4_pack_row(&job->shape, job->layout, job->first_row + (uint32_t)(first + row),
                         codes + row * k, zeros + row * n_groups, scales, job->codes, job->zeros,
                         job->scales);
    }
}

static paro_status reference(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected)
{
    paro_status status = PARO_STATUS_OK;
    const paro_arg_info *info = c->info;
    const paro_dtype zeros_dtype = info[PARO_PACK_W4_ARG_ZEROS].dtype;
    const uint64_t n_codes = info[PARO_PACK_W4_ARG_CODES].n;
    const uint64_t n_zeros = info[PARO_PACK_W4_ARG_ZEROS].n;
    const uint64_t n_scales = info[PARO_PACK_W4_ARG_PACKED_SCALES].n;
    reference_job job = {.c = c, .layout = (paro_w4_layout)c->problem->values[KEY_LAYOUT]};
    paro_w4_shape_of(c->problem, &job.shape);
    size_t n_workers = pool != NULL ? (size_t)paro_pool_n_threads(pool) : 1;
    job.scratch_bytes =
        (size_t)PARO_W4_TILE * (job.shape.k + job.shape.k / (size_t)job.shape.group);
    job.scratch = malloc(n_workers * job.scratch_bytes);
    job.codes = calloc(n_codes, sizeof *job.codes);
    job.zeros = calloc(n_zeros, paro_dtype_bytes(zeros_dtype));
    job.scales = calloc(n_scales, sizeof *job.scales);
    if (job.scratch == NULL || job.codes == NULL || job.zeros == NULL || job.scales == NULL) {
        status = paro_fail_memory(err, n_codes * sizeof *job.codes, "reference");
        goto done;
    }
    for (; job.part < job.shape.n_parts; job.part++) {
        uint32_t rows = job.shape.parts[job.part];
        paro_pool_run(pool, paro_divide_up(rows, PARO_W4_TILE), reference_tile, &job);
        job.first_row += rows;
    }
    for (uint64_t i = 0; i < n_codes; i++)
        expected[PARO_PACK_W4_ARG_CODES][i] = job.codes[i];
    for (uint64_t i = 0; i < n_zeros; i++)
        expected[PARO_PACK_W4_ARG_ZEROS][i] = zeros_dtype == PARO_DTYPE_U8
                                                  ? (double)((const uint8_t *)job.zeros)[i]
                                                  : (double)((const uint32_t *)job.zeros)[i];
    for (uint64_t i = 0; i < n_scales; i++)
        expected[PARO_PACK_W4_ARG_PACKED_SCALES][i] = (double)paro_f32_from_f16(job.scales[i]);

done:
    free(job.scratch);
    free(job.codes);
    free(job.zeros);
    free(job.scales);
    return status;
}

static void cost(const paro_problem *problem, paro_cost *out)
{
    paro_w4_shape shape;
    paro_w4_sizes from, to;
    paro_w4_shape_of(problem, &shape);
    paro_w4_sizes_of(&shape, PARO_W4_LAYOUT_AWQ, &from);
    paro_w4_sizes_of(&shape, (paro_w4_layout)problem->values[KEY_LAYOUT], &to);
    out->bytes = 4 * (double)(from.n_codes + from.n_zeros + to.n_codes) +
                 2 * (double)(from.n_scales + to.n_scales) +
                 (double)(to.n_zeros * paro_dtype_bytes(to.zeros_dtype));
    out->operations = 0;
}

static double estimate_us(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device)
{
    paro_cost moved;
    cost(problem, &moved);
    /* blocks of 256 threads overlap best */
    double share = config->values[PARAM_THREADS] == 256 ? 0.6 : 0.5;
    return 4 + moved.bytes / (device->bandwidth_gbs * 1e3 * share);
}

const paro_family paro_family_pack_w4 = {
    .name = "pack_w4",
    .summary = "a checkpoint's INT4 weight to the layout that kernels read",
    .template_name = "pack_w4.cu",
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
