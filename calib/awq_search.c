/* SPDX-License-Identifier: MIT
 *
 * Searches by trying. Weights are quantised a tile at a time (weight_tile.h).
 *
 * The error of a group's part of the output over all rows x is d G d^T, with d the group's error
 * and G the sum of x^T x of its channels, rotated and scaled as the weight is: clipping needs G
 * only, once for all rows of the weight and all ranges.
 */
#include "calib/awq_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "calib/weight_tile.h"
#include "cpu/blas.h"

/* Rows of the weight that one task of the scales' search takes. */
enum { TASK_ROWS = 2 * PARO_TILE_ROWS };

#define MIN_SCALE 1e-4F

/* The quantiser of a range times `keep`, as a checkpoint holds it. */
static void make_quantiser(const paro_tile_range *range, float keep, uint32_t bits,
                           paro_tile_quantiser *out)
{
    const float top = (float)((1U << bits) - 1);
    for (int l = 0; l < PARO_TILE_ROWS; l++) {
        float low = range->low[l] * keep, high = range->high[l] * keep;
        out->step[l] = paro_train_step((high - low) / top);
        out->zero[l] = fminf(fmaxf(-rintf(low / out->step[l]), 0), top);
    }
    out->top = top;
    out->clamp_passes = false;
}

/* ---- scales ---- */

typedef struct scale_task {
    const paro_train_linear *linear;
    const paro_awq_inputs *inputs;
    const paro_tile_kernels *kernels;
    const float *scales, *inverse; /* [n_in] s, 1 / s */
    float *scratch;                /* n_scratch a thread, aligned to 64 bytes */
    size_t n_scratch;
    double *sums; /* of each task */
} scale_task;

/* The squared error of the outputs of a task's rows. */
static void scale_rows(void *context, size_t part, int worker)
{
    const scale_task *t = context;
    const paro_train_linear *linear = t->linear;
    size_t n_in = linear->n_in, size = linear->group_size, first = part * TASK_ROWS;
    size_t n_out = linear->n_out - first < TASK_ROWS ? linear->n_out - first : TASK_ROWS;
    float *tile = t->scratch + (size_t)worker * t->n_scratch; /* [size, PARO_TILE_ROWS] */
    float *delta = tile + size * PARO_TILE_ROWS;              /* [TASK_ROWS, n_in] */
    float *outputs = delta + TASK_ROWS * n_in;                /* [n_rows, TASK_ROWS] */
    for (size_t row = 0; row < n_out; row += PARO_TILE_ROWS) {
        size_t n_rows = n_out - row < PARO_TILE_ROWS ? n_out - row : PARO_TILE_ROWS;
        for (size_t group = 0; group < n_in; group += size) {
            paro_tile_range range;
            paro_tile_quantiser quantiser;
            t->kernels->load(linear->w + (first + row) * n_in + group, n_in, n_rows, size,
                             t->scales + group, tile);
            t->kernels->range(tile, size, &range);
            make_quantiser(&range, 1, linear->bits, &quantiser);
            t->kernels->quantise(&quantiser, tile, size, tile);
            t->kernels->store(tile, size, t->inverse + group, delta + row * n_in + group, n_in,
                              n_rows);
        }
    }
    const float *w = linear->w + first * n_in;
    for (size_t i = 0; i < n_out * n_in; i++)
        delta[i] -= w[i];
    paro_blas_product_transposed(t->inputs->n_rows, n_out, n_in, 1, t->inputs->x, n_in, delta, n_in,
                                 0, outputs, n_out);
    double sum = 0;
    for (size_t i = 0; i < t->inputs->n_rows * n_out; i++)
        sum += (double)outputs[i] * (double)outputs[i];
    t->sums[part] = sum;
}

/* Scales for one exponent. */
static void make_scales(const float *magnitudes, size_t n, double exponent, float *scales,
                        float *inverse)
{
    float low = INFINITY, high = 0;
    for (size_t i = 0; i < n; i++) {
        scales[i] = fmaxf((float)pow((double)magnitudes[i], exponent), MIN_SCALE);
        low = fminf(low, scales[i]);
        high = fmaxf(high, scales[i]);
    }
    float middle = sqrtf(low) * sqrtf(high);
    for (size_t i = 0; i < n; i++) {
        float scale = fminf(fmaxf(scales[i] / middle, MIN_SCALE), 1 / MIN_SCALE);
        inverse[i] = paro_f32_through_f16(1 / scale);
        scales[i] = 1 / inverse[i];
    }
}

static paro_status check_magnitudes(paro_error *err, const char *name,
                                    const paro_awq_inputs *inputs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(inputs->magnitudes[i]))
            return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                             "%s: expected finite inputs, found a mean magnitude of %g in channel "
                             "%zu",
                             name, (double)inputs->magnitudes[i], i);
    }
    if (inputs->n_rows == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected inputs to compare outputs on, found no row of them", name);
    return PARO_STATUS_OK;
}

paro_status paro_awq_search_scales(paro_error *err, paro_pool *pool,
                                   const paro_train_linear *const *linears, size_t n_linears,
                                   const paro_awq_inputs *inputs, uint32_t n_grid, float *scales,
                                   double *errors)
{
    size_t n_in = linears[0]->n_in, n_parts = 0, size = 0;
    paro_status status = check_magnitudes(err, linears[0]->name, inputs, n_in);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; i < n_linears; i++) {
        size_t n = (linears[i]->n_out + TASK_ROWS - 1) / TASK_ROWS;
        n_parts = n > n_parts ? n : n_parts;
        size = linears[i]->group_size > size ? linears[i]->group_size : size;
    }
    scale_task task = {.inputs = inputs, .kernels = paro_tile_kernels_best()};
    task.n_scratch = size * PARO_TILE_ROWS + TASK_ROWS * (n_in + inputs->n_rows);
    size_t n_bytes = (size_t)paro_pool_n_threads(pool) * task.n_scratch * sizeof(float);
    float *tried = malloc(2 * n_in * sizeof *tried);
    float *unused = malloc(n_in * sizeof *unused);
    task.scratch = aligned_alloc(64, n_bytes);
    task.sums = malloc(n_parts * sizeof *task.sums);
    if (tried == NULL || unused == NULL || task.scratch == NULL || task.sums == NULL) {
        status = paro_fail_memory(err, n_bytes, "a search of channel scales");
        goto done;
    }
    task.scales = tried;
    task.inverse = tried + n_in;
    uint32_t best = 0;
    for (uint32_t i = 0; i < n_grid; i++) {
        make_scales(inputs->magnitudes, n_in, (double)i / n_grid, tried, tried + n_in);
        errors[i] = 0;
        for (size_t k = 0; k < n_linears; k++) {
            size_t n = (linears[k]->n_out + TASK_ROWS - 1) / TASK_ROWS;
            task.linear = linears[k];
            paro_pool_run(pool, n, scale_rows, &task);
            for (size_t part = 0; part < n; part++)
                errors[i] += task.sums[part];
        }
        best = errors[i] < errors[best] ? i : best;
    }
    make_scales(inputs->magnitudes, n_in, (double)best / n_grid, scales, unused);
done:
    free(tried);
    free(unused);
    free(task.scratch);
    free(task.sums);
    return status;
}

/* ---- clipping ---- */

typedef struct clip_task {
    const paro_train_linear *linear;
    const paro_awq_inputs *inputs;
    const paro_tile_kernels *kernels;
    paro_tile_turns turns;
    const float *inverse; /* [n_in] 1 / s */
    uint32_t n_grid, n_tries;
    float *scratch; /* n_scratch a thread, aligned to 64 bytes */
    size_t n_scratch;
    float *grams; /* [n_groups][size, size] */
    float *step, *zero;
} clip_task;

/* G of one group: of R(x / s). */
static void sum_gram(void *context, size_t group, int worker)
{
    const clip_task *t = context;
    size_t n_in = t->linear->n_in, size = t->linear->group_size, first = group * size;
    float *tile = t->scratch + (size_t)worker * t->n_scratch;
    float *gram = t->grams + group * size * size;
    memset(gram, 0, size * size * sizeof *gram);
    for (size_t row = 0; row < t->inputs->n_rows; row += PARO_TILE_ROWS) {
        size_t n_rows = t->inputs->n_rows - row;
        t->kernels->load(t->inputs->x + row * n_in + first, n_in,
                         n_rows < PARO_TILE_ROWS ? n_rows : PARO_TILE_ROWS, size,
                         t->inverse + first, tile);
        t->kernels->rotate(t->turns.turns + group * t->turns.capacity, t->turns.n[group], tile);
        paro_blas_product_transposed(size, size, PARO_TILE_ROWS, 1, tile, PARO_TILE_ROWS, tile,
                                     PARO_TILE_ROWS, 1, gram, size);
    }
}

/* The best range of each row of one tile of a group. */
static void clip_tile(void *context, size_t part, int worker)
{
    const clip_task *t = context;
    const paro_train_linear *linear = t->linear;
    size_t n_in = linear->n_in, size = linear->group_size, n_groups = n_in / size;
    size_t group = part % n_groups, row = part / n_groups * PARO_TILE_ROWS;
    size_t n_rows = linear->n_out - row < PARO_TILE_ROWS ? linear->n_out - row : PARO_TILE_ROWS;
    size_t n_values = size * PARO_TILE_ROWS;
    float *u = t->scratch + (size_t)worker * t->n_scratch; /* all [size, PARO_TILE_ROWS] */
    float *delta = u + n_values, *weighed = delta + n_values;
    float best[PARO_TILE_ROWS];
    paro_tile_range range;
    t->kernels->load(linear->w + row * n_in + group * size, n_in, n_rows, size,
                     linear->weight_channel_scales + group * size, u);
    t->kernels->rotate(t->turns.turns + group * t->turns.capacity, t->turns.n[group], u);
    t->kernels->range(u, size, &range);
    for (uint32_t i = 0; i < t->n_tries; i++) {
        paro_tile_quantiser quantiser;
        float errors[PARO_TILE_ROWS] = {0};
        make_quantiser(&range, 1 - (float)i / (float)t->n_grid, linear->bits, &quantiser);
        t->kernels->quantise(&quantiser, u, size, delta);
        for (size_t k = 0; k < n_values; k++)
            delta[k] -= u[k];
        paro_blas_product(size, PARO_TILE_ROWS, size, 1, t->grams + group * size * size, size,
                          delta, PARO_TILE_ROWS, 0, weighed, PARO_TILE_ROWS);
        for (size_t k = 0; k < n_values; k += PARO_TILE_ROWS)
            for (size_t l = 0; l < PARO_TILE_ROWS; l++)
                errors[l] += delta[k + l] * weighed[k + l];
        for (size_t l = 0; l < n_rows; l++) {
            if (i > 0 && !(errors[l] < best[l]))
                continue;
            best[l] = errors[l];
            t->step[(row + l) * n_groups + group] = quantiser.step[l];
            t->zero[(row + l) * n_groups + group] = quantiser.zero[l];
        }
    }
}

paro_status paro_awq_search_clip(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                                 const paro_awq_inputs *inputs, uint32_t n_grid, double max_shrink,
                                 float *step, float *zero)
{
    size_t n_in = linear->n_in, size = linear->group_size, n_groups = n_in / size;
    paro_status status = check_magnitudes(err, linear->name, inputs, n_in);
    if (status != PARO_STATUS_OK)
        return status;
    clip_task task = {.linear = linear,
                      .inputs = inputs,
                      .kernels = paro_tile_kernels_best(),
                      .n_grid = n_grid,
                      .n_scratch = 3 * size * PARO_TILE_ROWS};
    task.n_tries = 1 + (uint32_t)(max_shrink * n_grid + 1e-6);
    task.step = step;
    task.zero = zero;
    size_t n_bytes = (size_t)paro_pool_n_threads(pool) * task.n_scratch * sizeof(float);
    float *inverse = malloc(n_in * sizeof *inverse);
    task.scratch = aligned_alloc(64, n_bytes);
    task.grams = malloc(n_in * size * sizeof *task.grams);
    if (inverse == NULL || task.scratch == NULL || task.grams == NULL) {
        status = paro_fail_memory(err, n_in * size * sizeof *task.grams, "a search of ranges");
        goto done;
    }
    for (size_t i = 0; i < n_in; i++)
        inverse[i] = 1 / linear->weight_channel_scales[i];
    task.inverse = inverse;
    status = paro_tile_turns_new(err, pool, linear, &task.turns);
    if (status != PARO_STATUS_OK)
        goto done;
    paro_pool_run(pool, n_groups, sum_gram, &task);
    paro_pool_run(pool, n_groups * ((linear->n_out + PARO_TILE_ROWS - 1) / PARO_TILE_ROWS),
                  clip_tile, &task);
done:
    free(inverse);
    free(task.scratch);
    free(task.grams);
    paro_tile_turns_release(&task.turns);
    return status;
}
