/* SPDX-License-Identifier: MIT
 *
 * Cases of linear_w4: random contents, and the reference, which reads the packed weights.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "families/linear_reference.h"
#include "families/linear_w4.h"
#include "families/random.h"
#include "families/rotation_tables.h"
#include "families/w4_layout.h"

static paro_w4_layout layout_of(const paro_case *c)
{
    const char *name = c->problem->family->layout(c->problem, c->config);
    return strcmp(name, paro_w4_layout_names[PARO_W4_LAYOUT_AWQ]) == 0 ? PARO_W4_LAYOUT_AWQ
                                                                       : PARO_W4_LAYOUT_MMA16;
}

void paro_linear_w4_fill(paro_case *c, uint64_t seed, paro_pool *pool)
{
    const paro_arg_info *info = c->info;
    const uint32_t k = (uint32_t)paro_problem_get(c->problem, "k");
    const uint32_t group = (uint32_t)paro_problem_get(c->problem, "group");
    const uint32_t krot = (uint32_t)paro_problem_get(c->problem, "krot");
    uint64_t seeds[PARO_LINEAR_W4_ARG_M];
    for (uint64_t i = 0; i < PARO_LINEAR_W4_ARG_M; i++)
        seeds[i] = paro_random_seed(seed, i);

    paro_linear_activations(c->data[PARO_LINEAR_W4_ARG_X], info[PARO_LINEAR_W4_ARG_X].dtype,
                            info[PARO_LINEAR_W4_ARG_X].n, seeds[PARO_LINEAR_W4_ARG_X], pool);
    for (size_t arg = PARO_LINEAR_W4_ARG_CODES; arg <= PARO_LINEAR_W4_ARG_ZEROS; arg++)
        paro_random_bytes(c->data[arg], info[arg].n * paro_dtype_bytes(info[arg].dtype), seeds[arg],
                          pool);
    const double scale = 1 / (6.5 * sqrt(k)); /* outputs of about the inputs' size */
    paro_random_normal(c->data[PARO_LINEAR_W4_ARG_SCALES], PARO_DTYPE_F16,
                       info[PARO_LINEAR_W4_ARG_SCALES].n, scale, scale / 4,
                       seeds[PARO_LINEAR_W4_ARG_SCALES], pool);
    if (info[PARO_LINEAR_W4_ARG_BIAS].n > 0)
        paro_random_normal(c->data[PARO_LINEAR_W4_ARG_BIAS], info[PARO_LINEAR_W4_ARG_BIAS].dtype,
                           info[PARO_LINEAR_W4_ARG_BIAS].n, 0, 1, seeds[PARO_LINEAR_W4_ARG_BIAS],
                           pool);
    for (uint32_t part = 0; krot > 0 && part < c->problem->n_parts; part++)
        paro_rotation_tables_random(
            paro_random_seed(seeds[PARO_LINEAR_W4_ARG_PAIRS], part), k, group, krot,
            (uint8_t *)c->data[PARO_LINEAR_W4_ARG_PAIRS] + (size_t)part * krot * k,
            (float *)c->data[PARO_LINEAR_W4_ARG_COSSIN] + (size_t)part * krot * k,
            (float *)c->data[PARO_LINEAR_W4_ARG_CHANNEL_SCALES] + (size_t)part * k);
    c->scalars[PARO_LINEAR_W4_ARG_M].u32 = (uint32_t)paro_problem_get(c->problem, "m");
}

typedef struct part_job {
    const paro_case *c;
    paro_w4_shape shape;
    paro_w4_layout layout;
    uint32_t first_row;
    paro_rotation_tables tables;
    double *x; /* [m][k] of the part */
} part_job;

static void rotate_task(void *context, size_t token, int worker)
{
    const part_job *job = context;
    (void)worker;
    paro_rotation_tables_rotate(&job->tables, job->x + token * job->tables.k);
}

/* Scratch: one row's scales, codes, zeros. */
static void weight_rows(const void *context, uint64_t first, uint32_t n_rows, void *scratch,
                        double *w)
{
    const part_job *job = context;
    const paro_case *c = job->c;
    uint32_t k = job->shape.k, group = job->shape.group;
    uint16_t *scales = scratch;
    uint8_t *codes = (uint8_t *)(scales + k / group), *zeros = codes + k;
    for (uint32_t r = 0; r < n_rows; r++) {
        paro_w4_unpack_row(&job->shape, job->layout, c->data[PARO_LINEAR_W4_ARG_CODES],
                           c->data[PARO_LINEAR_W4_ARG_ZEROS], c->data[PARO_LINEAR_W4_ARG_SCALES],
                           job->first_row + (uint32_t)first + r, codes, zeros, scales);
        for (uint32_t b = 0; b < k / group; b++) {
            double scale = (double)paro_f32_from_f16(scales[b]);
            for (uint32_t i = b * group; i < (b + 1) * group; i++)
                w[(uint64_t)i * PARO_LINEAR_BLOCK + r] = (codes[i] - zeros[b]) * scale;
        }
    }
}

static paro_status reference_part(paro_error *err, part_job *job, uint32_t part, const double *bias,
                                  double *y, paro_pool *pool)
{
    const paro_case *c = job->c;
    const uint64_t m = (uint64_t)paro_problem_get(c->problem, "m");
    const uint32_t krot = (uint32_t)paro_problem_get(c->problem, "krot");
    const uint32_t k = job->shape.k;
    paro_linear_widen(job->x, c->data[PARO_LINEAR_W4_ARG_X], c->info[PARO_LINEAR_W4_ARG_X].dtype,
                      m * k);
    if (krot > 0) {
        const uint8_t *pairs = c->data[PARO_LINEAR_W4_ARG_PAIRS];
        const float *cossin = c->data[PARO_LINEAR_W4_ARG_COSSIN];
        const float *scales = c->data[PARO_LINEAR_W4_ARG_CHANNEL_SCALES];
        job->tables = (paro_rotation_tables){.k = k,
                                             .group = job->shape.group,
                                             .krot = krot,
                                             .pairs = pairs + (size_t)part * krot * k,
                                             .cossin = cossin + (size_t)part * krot * k,
                                             .channel_scales = scales + (size_t)part * k};
        paro_pool_run(pool, m, rotate_task, job);
    }
    paro_linear_product product = {.n = job->shape.parts[part],
                                   .k = k,
                                   .m = m,
                                   .y_stride = job->shape.n,
                                   .x = job->x,
                                   .bias = bias != NULL ? bias + job->first_row : NULL,
                                   .rows = weight_rows,
                                   .context = job,
                                   .scratch_bytes =
                                       ((size_t)k + 3 * (size_t)(k / job->shape.group) + 1) / 2 * 2,
                                   .y = y + job->first_row};
    return paro_linear_reference(err, &product, pool);
}

paro_status paro_linear_w4_reference(paro_error *err, const paro_case *c, paro_pool *pool,
                                     double *const *expected)
{
    paro_status status = PARO_STATUS_OK;
    const uint64_t m = (uint64_t)paro_problem_get(c->problem, "m");
    part_job job = {.c = c, .layout = layout_of(c)};
    double *bias = NULL;
    paro_w4_shape_of(c->problem, &job.shape);
    job.x = malloc(m * job.shape.k * sizeof *job.x);
    bias = malloc(job.shape.n * sizeof *bias);
    if (job.x == NULL || bias == NULL) {
        status = paro_fail_memory(err, m * job.shape.k * sizeof *job.x, "reference");
        goto done;
    }
    const paro_arg_info *info = &c->info[PARO_LINEAR_W4_ARG_BIAS];
    paro_linear_widen(bias, c->data[PARO_LINEAR_W4_ARG_BIAS], info->dtype, info->n);
    for (uint32_t part = 0; part < job.shape.n_parts && status == PARO_STATUS_OK; part++) {
        status = reference_part(err, &job, part, info->n > 0 ? bias : NULL,
                                expected[PARO_LINEAR_W4_ARG_Y], pool);
        job.first_row += job.shape.parts[part];
    }

done:
    free(job.x);
    free(bias);
    return status;
}
