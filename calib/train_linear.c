/* SPDX-License-Identifier: MIT
 *
 * A linear on its way: memory, where a learned quantiser starts, rounding, and what comes of it.
 *
 * All work is done in tasks of one group and TASK_ROWS rows, a tile at a time.
 */
#include "calib/train_linear.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/reference.h"
#include "calib/weight_tile.h"

enum { TASK_ROWS = 256, MAX_GROUP_SIZE = 32768 };

static paro_status check_sizes(paro_error *err, const paro_train_linear *linear)
{
    if (linear->n_out == 0 || linear->n_in == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected at least one input and one output, found %" PRIu32
                         " and %" PRIu32,
                         linear->name, linear->n_in, linear->n_out);
    if (linear->bits == 0)
        return PARO_STATUS_OK;
    if (linear->bits < 2 || linear->bits > 8)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected 2 to 8 bits (0: kept), found %" PRIu32, linear->name,
                         linear->bits);
    if (linear->group_size == 0 || linear->n_in % linear->group_size != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected a group_size that divides its %" PRIu32
                         " inputs, found %" PRIu32,
                         linear->name, linear->n_in, linear->group_size);
    if (linear->krot > 0 && (linear->group_size % 2 != 0 || linear->group_size > MAX_GROUP_SIZE))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected an even group_size of at most %d (channels turn in pairs), "
                         "found %" PRIu32,
                         linear->name, MAX_GROUP_SIZE, linear->group_size);
    return PARO_STATUS_OK;
}

static paro_status alloc_turns(paro_error *err, const paro_train_linear *linear, uint32_t krot,
                               int16_t **pairs_out, float **theta_out)
{
    *pairs_out = NULL;
    *theta_out = NULL;
    if (krot == 0)
        return PARO_STATUS_OK;
    size_t n = (size_t)krot * linear->n_in;
    int16_t *pairs = calloc(n, sizeof *pairs);
    float *theta = calloc(n / 2, sizeof *theta);
    if (pairs == NULL || theta == NULL) {
        free(pairs);
        free(theta);
        return paro_fail_memory(err, n * (sizeof *pairs + sizeof *theta / 2), "pairs and angles");
    }
    *pairs_out = pairs;
    *theta_out = theta;
    return PARO_STATUS_OK;
}

paro_status paro_train_linear_alloc(paro_error *err, paro_train_linear *linear)
{
    paro_status status = check_sizes(err, linear);
    if (status != PARO_STATUS_OK)
        return status;
    size_t n = (size_t)linear->n_out * linear->n_in;
    float *w = calloc(n, sizeof *w);
    float *scales = calloc(linear->n_in, sizeof *scales);
    int16_t *pairs = NULL;
    float *theta = NULL;
    if (w == NULL || scales == NULL) {
        status = paro_fail_memory(err, n * sizeof *w, "a linear's weight");
        goto done;
    }
    if (linear->bits != 0) {
        for (size_t c = 0; c < linear->n_in; c++)
            scales[c] = 1;
        status = alloc_turns(err, linear, linear->krot, &pairs, &theta);
        if (status != PARO_STATUS_OK)
            goto done;
        linear->weight_channel_scales = scales;
        scales = NULL;
    } else {
        linear->weight_channel_scales = NULL;
        linear->krot = 0;
    }
    linear->w = w;
    w = NULL;
    linear->pairs = pairs;
    linear->theta = theta;
    linear->step = NULL;
    linear->zero = NULL;
    linear->is_rounded = false;
    linear->codes = (paro_quantised){0};
done:
    free(w);
    free(scales);
    return status;
}

void paro_train_linear_release(paro_train_linear *linear)
{
    if (linear == NULL)
        return;
    free(linear->w);
    free(linear->pairs);
    free(linear->theta);
    free(linear->weight_channel_scales);
    free(linear->step);
    free(linear->zero);
    paro_quantised_release(&linear->codes);
    linear->w = NULL;
    linear->pairs = NULL;
    linear->theta = NULL;
    linear->weight_channel_scales = NULL;
    linear->step = NULL;
    linear->zero = NULL;
    linear->is_rounded = false;
}

paro_status paro_train_linear_set_krot(paro_error *err, paro_train_linear *linear, uint32_t krot)
{
    if (linear->bits == 0 || linear->is_rounded)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected a linear that is still to be quantised, found one that is "
                         "%s",
                         linear->name, linear->bits == 0 ? "kept" : "rounded");
    paro_train_linear changed = *linear;
    changed.krot = krot;
    int16_t *pairs = NULL;
    float *theta = NULL;
    paro_status status = check_sizes(err, &changed);
    if (status == PARO_STATUS_OK)
        status = alloc_turns(err, linear, krot, &pairs, &theta);
    if (status != PARO_STATUS_OK)
        return status;
    free(linear->pairs);
    free(linear->theta);
    linear->pairs = pairs;
    linear->theta = theta;
    linear->krot = krot;
    return PARO_STATUS_OK;
}

/* ---- tasks: one group of TASK_ROWS rows ---- */

typedef struct tile_task {
    const paro_train_linear *linear;
    const paro_tile_kernels *kernels;
    paro_tile_turns turns;
    float *scratch; /* for every worker a tile, and as many values again */
    const float *channel_scales;
    size_t n_groups, n_tasks;
    float *step, *zero; /* start_quantiser */
    paro_quantised *codes;
    bool *is_not_finite; /* [n_tasks] */
    float *w;            /* effective */
} tile_task;

static paro_status task_new(paro_error *err, const paro_train_linear *linear, paro_pool *pool,
                            tile_task *out)
{
    tile_task task = {.linear = linear, .kernels = paro_tile_kernels_best()};
    task.n_groups = linear->n_in / linear->group_size;
    task.n_tasks = task.n_groups * ((linear->n_out + (size_t)TASK_ROWS - 1) / TASK_ROWS);
    size_t n_bytes = (size_t)paro_pool_n_threads(pool) * 2 * linear->group_size * PARO_TILE_ROWS *
                     sizeof(float); /* at most 2^50 */
    task.scratch = aligned_alloc(64, n_bytes);
    if (task.scratch == NULL)
        return paro_fail_memory(err, n_bytes, "tiles of a weight");
    paro_status status = paro_tile_turns_new(err, pool, linear, &task.turns);
    if (status != PARO_STATUS_OK) {
        free(task.scratch);
        return status;
    }
    *out = task;
    return PARO_STATUS_OK;
}

static void task_release(tile_task *task)
{
    free(task->scratch);
    paro_tile_turns_release(&task->turns);
    free(task->is_not_finite);
}

/* The tile of rows from `row` on of the group, rotated: u. */
static void load_u(const tile_task *task, size_t group, size_t row, size_t n_rows, float *tile)
{
    const paro_train_linear *linear = task->linear;
    size_t first = group * linear->group_size;
    task->kernels->load(linear->w + row * linear->n_in + first, linear->n_in, n_rows,
                        linear->group_size, linear->weight_channel_scales + first, tile);
    task->kernels->rotate(task->turns.turns + group * task->turns.capacity, task->turns.n[group],
                          tile);
}

/* Calls fn for the tiles of a task. */
typedef void tile_fn(const tile_task *task, size_t i, size_t group, size_t row, size_t n_rows,
                     float *tile);

static void for_each_tile(const tile_task *task, size_t i, int worker, tile_fn *fn)
{
    size_t group = i % task->n_groups, first = i / task->n_groups * TASK_ROWS;
    size_t end = task->linear->n_out - first < TASK_ROWS ? task->linear->n_out : first + TASK_ROWS;
    float *tile = task->scratch + (size_t)worker * 2 * task->linear->group_size * PARO_TILE_ROWS;
    for (size_t row = first; row < end; row += PARO_TILE_ROWS)
        fn(task, i, group, row, end - row < PARO_TILE_ROWS ? end - row : PARO_TILE_ROWS, tile);
}

/* ---- where a learned quantiser starts ---- */

static void start_tile(const tile_task *task, size_t i, size_t group, size_t row, size_t n_rows,
                       float *tile)
{
    (void)i;
    const float top = (float)((1U << task->linear->bits) - 1);
    paro_tile_range range;
    load_u(task, group, row, n_rows, tile);
    task->kernels->range(tile, task->linear->group_size, &range);
    for (size_t l = 0; l < n_rows; l++) {
        size_t at = (row + l) * task->n_groups + group;
        task->step[at] = paro_train_step((range.high[l] - range.low[l]) / top);
        task->zero[at] = -range.low[l] / task->step[at];
    }
}

static void start_task(void *context, size_t i, int worker)
{
    for_each_tile(context, i, worker, start_tile);
}

paro_status paro_train_linear_start_quantiser(paro_error *err, paro_pool *pool,
                                              paro_train_linear *linear)
{
    if (linear->step != NULL || linear->bits == 0)
        return PARO_STATUS_OK;
    tile_task task;
    paro_status status = task_new(err, linear, pool, &task);
    if (status != PARO_STATUS_OK)
        return status;
    size_t n = linear->n_out * task.n_groups;
    task.step = calloc(n, sizeof *task.step);
    task.zero = calloc(n, sizeof *task.zero);
    if (task.step == NULL || task.zero == NULL) {
        free(task.step);
        free(task.zero);
        status = paro_fail_memory(err, 2 * n * sizeof *task.step, "steps and zeros");
        goto done;
    }
    paro_pool_run(pool, task.n_tasks, start_task, &task);
    linear->step = task.step;
    linear->zero = task.zero;
done:
    task_release(&task);
    return status;
}

/* ---- rounding ---- */

static void round_learned(const float *u, uint32_t group_size, float top, float scale, float zero,
                          uint8_t *codes)
{
    for (size_t c = 0; c < group_size; c++)
        codes[c] = (uint8_t)fminf(fmaxf(rintf(u[c] / scale) + zero, 0), top);
}

static bool all_finite(const float *values, size_t n)
{
    float sum = 0; /* of zeros, or NaN */
    for (size_t i = 0; i < n; i++)
        sum += values[i] * 0;
    return sum == 0;
}

static void round_tile(const tile_task *task, size_t i, size_t group, size_t row, size_t n_rows,
                       float *tile)
{
    const paro_train_linear *linear = task->linear;
    paro_quantised *out = task->codes;
    const uint32_t group_size = linear->group_size;
    const float top = (float)((1U << linear->bits) - 1);
    float *rows = tile + (size_t)group_size * PARO_TILE_ROWS;
    load_u(task, group, row, n_rows, tile);
    if (!all_finite(tile, (size_t)group_size * PARO_TILE_ROWS)) {
        task->is_not_finite[i] = true;
        return;
    }
    task->kernels->store(tile, group_size, task->channel_scales, rows, group_size, n_rows);
    for (size_t l = 0; l < n_rows; l++) {
        const float *u = rows + l * group_size;
        size_t at = (row + l) * task->n_groups + group;
        uint8_t *codes = out->codes + (row + l) * linear->n_in + group * group_size;
        if (linear->step == NULL) {
            paro_ref_quantise_f32(u, 1, group_size, group_size, linear->bits, paro_f32_through_f16,
                                  codes, &out->scales[at], &out->zeros[at]);
            continue;
        }
        if (!isfinite(linear->step[at]) || !isfinite(linear->zero[at])) {
            task->is_not_finite[i] = true;
            return;
        }
        float scale = paro_train_step(linear->step[at]);
        float zero = fminf(fmaxf(rintf(linear->zero[at]), 0), top);
        out->scales[at] = scale;
        out->zeros[at] = (uint8_t)zero;
        round_learned(u, group_size, top, scale, zero, codes);
    }
}

static void round_task(void *context, size_t i, int worker)
{
    for_each_tile(context, i, worker, round_tile);
}

/* theta and s as the checkpoint will give them back; `to` has its own arrays. */
static paro_status round_transform(paro_error *err, const paro_train_linear *from,
                                   paro_train_linear *to)
{
    const double turn = 6.283185307179586;
    for (size_t i = 0; i < (size_t)from->krot * (from->n_in / 2); i++) {
        to->theta[i] = paro_f32_through_f16((float)remainder((double)from->theta[i], turn));
        if (!isfinite(to->theta[i]))
            return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                             "%s: round %zu, pair %zu: expected a finite angle, found %g",
                             from->name, i / (from->n_in / 2), i % (from->n_in / 2),
                             (double)from->theta[i]);
    }
    for (size_t c = 0; c < from->n_in; c++) {
        float inverse = paro_f32_through_f16(1 / from->weight_channel_scales[c]);
        if (!isfinite(inverse) || !(inverse > 0))
            return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                             "%s: channel %zu: expected a channel scale of 1/65504 to 1e7, so that "
                             "its inverse fits F16, found %g",
                             from->name, c, (double)from->weight_channel_scales[c]);
        to->weight_channel_scales[c] = 1 / inverse;
    }
    return PARO_STATUS_OK;
}

float paro_train_step(float step)
{
    return paro_f32_through_f16(fmaxf(step, PARO_STEP_MIN));
}

paro_status paro_train_linear_round_transform(paro_error *err, paro_train_linear *linear)
{
    if (linear->bits == 0 || linear->is_rounded)
        return PARO_STATUS_OK;
    const size_t n_theta = (size_t)linear->krot * (linear->n_in / 2);
    paro_train_linear rounded = {.theta = malloc((n_theta + 1) * sizeof *rounded.theta),
                                 .weight_channel_scales = malloc(linear->n_in * sizeof(float))};
    paro_status status = PARO_STATUS_OK;
    if (rounded.theta == NULL || rounded.weight_channel_scales == NULL)
        status =
            paro_fail_memory(err, (n_theta + linear->n_in) * sizeof(float), "a rounded transform");
    if (status == PARO_STATUS_OK)
        status = round_transform(err, linear, &rounded);
    if (status == PARO_STATUS_OK) {
        if (n_theta > 0)
            memcpy(linear->theta, rounded.theta, n_theta * sizeof(float));
        memcpy(linear->weight_channel_scales, rounded.weight_channel_scales,
               linear->n_in * sizeof(float));
    }
    free(rounded.theta);
    free(rounded.weight_channel_scales);
    return status;
}

static paro_status check_rounded(paro_error *err, const tile_task *task)
{
    const char *name = task->linear->name;
    for (size_t i = 0; i < task->n_tasks; i++)
        if (task->is_not_finite[i])
            return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                             "%s: rows %zu to %zu, group %zu: expected finite weights, steps and "
                             "zeros, found one that is not",
                             name, i / task->n_groups * TASK_ROWS,
                             i / task->n_groups * TASK_ROWS + TASK_ROWS - 1, i % task->n_groups);
    for (size_t i = 0; i < task->linear->n_out * task->n_groups; i++)
        if (!isfinite(task->codes->scales[i]))
            return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                             "%s: row %zu, group %zu: expected weights whose scale fits F16 (at "
                             "most 65504), found a range too wide",
                             name, i / task->n_groups, i % task->n_groups);
    return PARO_STATUS_OK;
}

paro_status paro_train_linear_round(paro_error *err, paro_pool *pool, paro_train_linear *linear)
{
    if (linear->bits == 0 || linear->is_rounded)
        return PARO_STATUS_OK;
    paro_train_linear rounded = *linear;
    rounded.codes = (paro_quantised){.n_out = linear->n_out,
                                     .n_in = linear->n_in,
                                     .bits = linear->bits,
                                     .group_size = linear->group_size};
    size_t n_theta = (size_t)linear->krot * (linear->n_in / 2);
    rounded.theta = calloc(n_theta + 1, sizeof *rounded.theta);
    rounded.weight_channel_scales = calloc(linear->n_in, sizeof(float));
    float *ones = calloc(linear->group_size, sizeof *ones);
    tile_task task = {0};
    paro_status status = PARO_STATUS_OK;
    if (rounded.theta == NULL || rounded.weight_channel_scales == NULL || ones == NULL) {
        status =
            paro_fail_memory(err, (n_theta + linear->n_in) * sizeof(float), "a rounded transform");
        goto done;
    }
    for (size_t c = 0; c < linear->group_size; c++)
        ones[c] = 1;
    if ((status = round_transform(err, linear, &rounded)) != PARO_STATUS_OK ||
        (status = paro_quantised_alloc(err, &rounded.codes)) != PARO_STATUS_OK ||
        (status = task_new(err, &rounded, pool, &task)) != PARO_STATUS_OK)
        goto done;
    task.codes = &rounded.codes;
    task.channel_scales = ones;
    task.is_not_finite = calloc(task.n_tasks, sizeof *task.is_not_finite);
    if (task.is_not_finite == NULL) {
        status = paro_fail_memory(err, task.n_tasks, "a rounded linear");
        goto done;
    }
    paro_pool_run(pool, task.n_tasks, round_task, &task);
    if ((status = check_rounded(err, &task)) != PARO_STATUS_OK)
        goto done;
    if (n_theta > 0)
        memcpy(linear->theta, rounded.theta, n_theta * sizeof *rounded.theta);
    memcpy(linear->weight_channel_scales, rounded.weight_channel_scales,
           linear->n_in * sizeof(float));
    linear->codes = rounded.codes;
    rounded.codes = (paro_quantised){0};
    linear->is_rounded = true;
done:
    task_release(&task);
    free(rounded.theta);
    free(rounded.weight_channel_scales);
    paro_quantised_release(&rounded.codes);
    free(ones);
    return status;
}

/* ---- the effective weight ---- */

static void effective_tile(const tile_task *task, size_t i, size_t group, size_t row, size_t n_rows,
                           float *tile)
{
    (void)i;
    const paro_quantised *codes = &task->linear->codes;
    size_t n_in = codes->n_in, group_size = codes->group_size, first = group * group_size;
    memset(tile, 0, group_size * PARO_TILE_ROWS * sizeof *tile);
    for (size_t l = 0; l < n_rows; l++) {
        const uint8_t *from = codes->codes + (row + l) * n_in + first;
        float scale = codes->scales[(row + l) * task->n_groups + group];
        int zero = codes->zeros[(row + l) * task->n_groups + group];
        for (size_t c = 0; c < group_size; c++)
            tile[c * PARO_TILE_ROWS + l] = (float)(from[c] - zero) * scale;
    }
    task->kernels->unrotate(task->turns.turns + group * task->turns.capacity, task->turns.n[group],
                            tile);
    task->kernels->store(tile, group_size, task->channel_scales + first,
                         task->w + row * n_in + first, n_in, n_rows);
}

static void effective_task(void *context, size_t i, int worker)
{
    for_each_tile(context, i, worker, effective_tile);
}

paro_status paro_train_linear_effective(paro_error *err, const paro_train_linear *linear,
                                        paro_pool *pool, float *w)
{
    if (linear->bits == 0) {
        memcpy(w, linear->w, (size_t)linear->n_out * linear->n_in * sizeof *w);
        return PARO_STATUS_OK;
    }
    if (!linear->is_rounded)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected a rounded linear or one that is kept, found neither",
                         linear->name);
    float *inverse = calloc(linear->n_in, sizeof *inverse);
    if (inverse == NULL)
        return paro_fail_memory(err, linear->n_in * sizeof *inverse, "channel scales");
    for (size_t c = 0; c < linear->n_in; c++)
        inverse[c] = paro_f32_through_f16(1 / linear->weight_channel_scales[c]);
    tile_task task;
    paro_status status = task_new(err, linear, pool, &task);
    if (status == PARO_STATUS_OK) {
        task.channel_scales = inverse;
        task.w = w;
        paro_pool_run(pool, task.n_tasks, effective_task, &task);
        task_release(&task);
    }
    free(inverse);
    return status;
}
