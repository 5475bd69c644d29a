/* SPDX-License-Identifier: MIT
 *
 * Fake quantisation forward and backward, in tasks of one group and TASK_ROWS rows. What sums over
 * rows is summed in each task and then over them in their order, whatever thread ran them.
 */
#include "calib/fake_quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "calib/weight_tile.h"

enum { TASK_ROWS = 512 };

typedef struct fake_quant_task {
    const paro_train_linear *linear;
    const paro_tile_kernels *kernels;
    paro_tile_turns turns;
    float *inverse_scales; /* [n_in] 1 / s */
    float *scratch;        /* floats_per_worker for each: tiles and sums of vectors */
    size_t floats_per_worker;
    size_t n_groups, n_tasks;

    float *w_hat; /* forward */

    const float *d_w_hat; /* backward */
    bool clamp_passes;
    const paro_fake_quant_gradients *out;
    double *theta_sums; /* [n_tasks][turns.capacity]; NULL where out has no theta */
    double *scale_sums; /* [n_tasks][group_size]; likewise */
} fake_quant_task;

static paro_status task_new(paro_error *err, const paro_train_linear *linear, paro_pool *pool,
                            size_t vectors_per_worker, fake_quant_task *out)
{
    fake_quant_task task = {.linear = linear, .kernels = paro_tile_kernels_best()};
    task.n_groups = linear->n_in / linear->group_size;
    task.n_tasks = task.n_groups * ((linear->n_out + (size_t)TASK_ROWS - 1) / TASK_ROWS);
    task.floats_per_worker = vectors_per_worker * PARO_TILE_ROWS;
    size_t n_bytes =
        (size_t)paro_pool_n_threads(pool) * task.floats_per_worker * sizeof *task.scratch;
    task.scratch = aligned_alloc(64, n_bytes);
    task.inverse_scales = malloc(linear->n_in * sizeof *task.inverse_scales);
    if (task.scratch == NULL || task.inverse_scales == NULL) {
        free(task.scratch);
        free(task.inverse_scales);
        return paro_fail_memory(err, n_bytes, "fake quantisation");
    }
    for (size_t c = 0; c < linear->n_in; c++)
        task.inverse_scales[c] = 1 / linear->weight_channel_scales[c];
    paro_status status = paro_tile_turns_new(err, pool, linear, &task.turns);
    if (status != PARO_STATUS_OK) {
        free(task.scratch);
        free(task.inverse_scales);
        return status;
    }
    *out = task;
    return PARO_STATUS_OK;
}

static void task_release(fake_quant_task *task)
{
    paro_tile_turns_release(&task->turns);
    free(task->inverse_scales);
    free(task->scratch);
    free(task->theta_sums);
    free(task->scale_sums);
}

/* Rows `first` .. `end` - 1 of one group. */
typedef struct strip {
    size_t group, first, end;
    const paro_tile_turn *turns;
    size_t n_turns;
} strip;

static strip strip_of(const fake_quant_task *task, size_t i)
{
    size_t n_out = task->linear->n_out;
    strip s = {.group = i % task->n_groups, .first = i / task->n_groups * TASK_ROWS};
    s.end = n_out - s.first < TASK_ROWS ? n_out : s.first + TASK_ROWS;
    s.turns = task->turns.turns + s.group * task->turns.capacity;
    s.n_turns = task->turns.n[s.group];
    return s;
}

static size_t rows_from(const strip *s, size_t row)
{
    return s->end - row < PARO_TILE_ROWS ? s->end - row : PARO_TILE_ROWS;
}

/* u of a tile's rows, and how they are quantised; `range` is of meaning where step is NULL. */
static void load_u(const fake_quant_task *task, const strip *s, size_t row, float *u,
                   paro_tile_quantiser *quantiser, paro_tile_range *range)
{
    const paro_train_linear *linear = task->linear;
    size_t n_rows = rows_from(s, row), first = s->group * linear->group_size;
    task->kernels->load(linear->w + row * linear->n_in + first, linear->n_in, n_rows,
                        linear->group_size, linear->weight_channel_scales + first, u);
    task->kernels->rotate(s->turns, s->n_turns, u);

    const float top = (float)((1U << linear->bits) - 1);
    quantiser->top = top;
    quantiser->clamp_passes = task->clamp_passes;
    if (linear->step == NULL) {
        task->kernels->range(u, linear->group_size, range);
        for (size_t l = 0; l < PARO_TILE_ROWS; l++) {
            quantiser->step[l] = paro_train_step((range->high[l] - range->low[l]) / top);
            quantiser->zero[l] = rintf(-range->low[l] / quantiser->step[l]);
        }
        return;
    }
    for (size_t l = 0; l < PARO_TILE_ROWS; l++) {
        size_t at = (row + l) * task->n_groups + s->group;
        quantiser->step[l] = l < n_rows ? paro_train_step(linear->step[at]) : 1;
        quantiser->zero[l] = l < n_rows ? fminf(fmaxf(rintf(linear->zero[at]), 0), top) : 0;
    }
}

static void forward_task(void *context, size_t i, int worker)
{
    const fake_quant_task *task = context;
    const paro_tile_kernels *kernels = task->kernels;
    const size_t n_in = task->linear->n_in, group_size = task->linear->group_size;
    const strip s = strip_of(task, i);
    const size_t first = s.group * group_size;
    float *u = task->scratch + (size_t)worker * task->floats_per_worker;
    for (size_t row = s.first; row < s.end; row += PARO_TILE_ROWS) {
        paro_tile_quantiser quantiser;
        paro_tile_range range;
        load_u(task, &s, row, u, &quantiser, &range);
        kernels->quantise(&quantiser, u, group_size, u);
        kernels->unrotate(s.turns, s.n_turns, u);
        kernels->store(u, group_size, task->inverse_scales + first,
                       task->w_hat + row * n_in + first, n_in, rows_from(&s, row));
    }
}

static paro_status check_linear(paro_error *err, const paro_train_linear *linear)
{
    if (linear->bits != 0 && !linear->is_rounded)
        return PARO_STATUS_OK;
    return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                     "%s: expected a linear that is still to be quantised, found one that is %s",
                     linear->name, linear->bits == 0 ? "kept" : "rounded");
}

paro_status paro_fake_quant_forward(paro_error *err, const paro_train_linear *linear,
                                    paro_pool *pool, float *w_hat)
{
    fake_quant_task task;
    paro_status status = check_linear(err, linear);
    if (status == PARO_STATUS_OK)
        status = task_new(err, linear, pool, linear->group_size, &task);
    if (status != PARO_STATUS_OK)
        return status;
    task.w_hat = w_hat;
    paro_pool_run(pool, task.n_tasks, forward_task, &task);
    task_release(&task);
    return PARO_STATUS_OK;
}

/* ---- backward ---- */

/* From d and z on to the extremes of u that they came from; adds to du. */
static void range_back(const paro_tile_quantiser *quantiser, const paro_tile_range *range,
                       const paro_tile_quantiser_gradient *gradient, float *du)
{
    for (size_t l = 0; l < PARO_TILE_ROWS; l++) {
        float low = range->low[l], high = range->high[l], step = quantiser->step[l];
        float d_low = -gradient->zero[l] / step;
        float d_high = 0;
        if ((high - low) / quantiser->top >= PARO_STEP_MIN) {
            d_high = (gradient->step[l] + gradient->zero[l] * low / (step * step)) / quantiser->top;
            d_low -= d_high;
        }
        if (range->low_at[l] >= 0)
            du[(size_t)range->low_at[l] * PARO_TILE_ROWS + l] += d_low;
        if (range->high_at[l] >= 0)
            du[(size_t)range->high_at[l] * PARO_TILE_ROWS + l] += d_high;
    }
}

static void write_quantiser(const fake_quant_task *task, const strip *s, size_t row,
                            const paro_tile_quantiser_gradient *gradient)
{
    for (size_t l = 0; l < rows_from(s, row); l++) {
        size_t at = (row + l) * task->n_groups + s->group;
        if (task->out->step != NULL)
            task->out->step[at] = gradient->step[l];
        if (task->out->zero != NULL)
            task->out->zero[at] = gradient->zero[l];
    }
}

/* sums [n, PARO_TILE_ROWS] to out [n]. */
static void sum_vectors(const float *sums, size_t n, double *out)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t l = 0; l < PARO_TILE_ROWS; l++)
            sum += (double)sums[i * PARO_TILE_ROWS + l];
        out[i] = sum;
    }
}

static void backward_task(void *context, size_t i, int worker)
{
    const fake_quant_task *task = context;
    const paro_tile_kernels *kernels = task->kernels;
    const size_t n_in = task->linear->n_in, group_size = task->linear->group_size;
    const strip s = strip_of(task, i);
    const size_t first = s.group * group_size, tile = group_size * PARO_TILE_ROWS;
    float *scratch = task->scratch + (size_t)worker * task->floats_per_worker;
    const paro_tile_set set = {scratch, scratch + tile, scratch + 2 * tile, scratch + 3 * tile};
    float *scale_sums = scratch + 4 * tile;
    float *theta_sums = scratch + 5 * tile;
    const bool sums = task->theta_sums != NULL || task->scale_sums != NULL;
    memset(scale_sums, 0, (tile + s.n_turns * PARO_TILE_ROWS) * sizeof *scale_sums);
    for (size_t row = s.first; row < s.end; row += PARO_TILE_ROWS) {
        size_t n_rows = rows_from(&s, row);
        paro_tile_quantiser quantiser;
        paro_tile_quantiser_gradient gradient;
        paro_tile_range range;
        load_u(task, &s, row, set.u, &quantiser, &range);
        kernels->load(task->d_w_hat + row * n_in + first, n_in, n_rows, group_size,
                      task->inverse_scales + first, set.dq);
        kernels->rotate(s.turns, s.n_turns, set.dq);
        kernels->quantise_back(&quantiser, set.u, set.dq, group_size, set.du, &gradient);
        if (task->linear->step == NULL)
            range_back(&quantiser, &range, &gradient, set.du);
        write_quantiser(task, &s, row, &gradient);
        if (sums) {
            kernels->quantise(&quantiser, set.u, group_size, set.q);
            kernels->unwind(s.turns, s.n_turns, &set, theta_sums);
            kernels->add_products(&set, group_size, scale_sums);
        } else if (task->out->w != NULL) {
            kernels->unrotate(s.turns, s.n_turns, set.du);
        }
        if (task->out->w != NULL)
            kernels->store(set.du, group_size, task->linear->weight_channel_scales + first,
                           task->out->w + row * n_in + first, n_in, n_rows);
    }
    if (task->theta_sums != NULL)
        sum_vectors(theta_sums, s.n_turns, task->theta_sums + i * task->turns.capacity);
    if (task->scale_sums != NULL)
        sum_vectors(scale_sums, group_size, task->scale_sums + i * group_size);
}

/* Over the tasks of the group, in their order. */
static void sum_theta(const fake_quant_task *task)
{
    const paro_tile_turns *turns = &task->turns;
    memset(task->out->theta, 0,
           (size_t)task->linear->krot * (task->linear->n_in / 2) * sizeof *task->out->theta);
    for (size_t group = 0; group < task->n_groups; group++) {
        for (size_t n = 0; n < turns->n[group]; n++) {
            double sum = 0;
            for (size_t i = group; i < task->n_tasks; i += task->n_groups)
                sum += task->theta_sums[i * turns->capacity + n];
            task->out->theta[turns->turns[group * turns->capacity + n].slot] = (float)sum;
        }
    }
}

static void sum_scales(const fake_quant_task *task)
{
    size_t group_size = task->linear->group_size;
    for (size_t c = 0; c < task->linear->n_in; c++) {
        double sum = 0;
        for (size_t i = c / group_size; i < task->n_tasks; i += task->n_groups)
            sum += task->scale_sums[i * group_size + c % group_size];
        double s = (double)task->linear->weight_channel_scales[c];
        task->out->weight_channel_scales[c] = (float)(sum / s);
    }
}

paro_status paro_fake_quant_backward(paro_error *err, const paro_train_linear *linear,
                                     paro_pool *pool, const float *d_w_hat,
                                     const paro_fake_quant_options *options,
                                     const paro_fake_quant_gradients *out)
{
    paro_status status = check_linear(err, linear);
    if (status != PARO_STATUS_OK)
        return status;
    if (linear->step == NULL && (out->step != NULL || out->zero != NULL))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: gradients of step and zero: expected a learned quantiser, found none "
                         "(paro_train_linear_start_quantiser makes one)",
                         linear->name);
    size_t n_turns = (size_t)linear->krot * (linear->group_size / 2);
    fake_quant_task task;
    status = task_new(err, linear, pool, 5 * (size_t)linear->group_size + n_turns, &task);
    if (status != PARO_STATUS_OK)
        return status;
    task.d_w_hat = d_w_hat;
    task.clamp_passes = options != NULL && options->reference_zero;
    task.out = out;
    bool wants_theta = out->theta != NULL && linear->krot > 0;
    if (wants_theta)
        task.theta_sums = calloc(task.n_tasks * task.turns.capacity, sizeof *task.theta_sums);
    if (out->weight_channel_scales != NULL)
        task.scale_sums = calloc(task.n_tasks * linear->group_size, sizeof *task.scale_sums);
    if ((wants_theta && task.theta_sums == NULL) ||
        (out->weight_channel_scales != NULL && task.scale_sums == NULL)) {
        status = paro_fail_memory(
            err, task.n_tasks * (task.turns.capacity + linear->group_size) * sizeof(double),
            "gradients of a transform");
        goto done;
    }
    paro_pool_run(pool, task.n_tasks, backward_task, &task);
    if (task.theta_sums != NULL)
        sum_theta(&task);
    if (task.scale_sums != NULL)
        sum_scales(&task);
done:
    task_release(&task);
    return status;
}
