/* SPDX-License-Identifier: MIT
 *
 * AWQ of a block: its linears' inputs, then both searches.
 *
 * Differences from the published method: where it folds scales into the layer before, and so has to
 * leave some linears without, every linear here has channel scales of its own; and errors are those
 * of the linears' outputs (the paper's equation 4), not of attention or MLP as a whole. q and k are
 * not clipped: their product enters attention's exponential, where the error of one output says
 * little.
 */
#include "calib/awq.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "calib/awq_search.h"
#include "calib/estimate.h"
#include "calib/linear_inputs.h"

enum { DEFAULT_GRID = 20, MAX_GRID = 1000, DEFAULT_TOKENS = 2048 };

#define DEFAULT_SHRINK 0.5

/* Of one input, which one or several linears share. */
typedef struct sample {
    size_t n_in;       /* 0: no linear needs it */
    float *x;          /* [n_rows, n_in] rows taken evenly */
    double *sums;      /* [n_in] of |x| over all rows */
    float *magnitudes; /* [n_in] their mean */
} sample;

/* What was found for one linear. */
typedef struct found {
    bool has_scales;
    float *scales; /* [n_in] for the search of ranges, where has_scales the new ones */
    float *step, *zero;
} found;

typedef struct search {
    paro_calib_block *block;
    paro_awq_options options;
    size_t n_tokens, n_rows; /* all, and those taken */
    sample samples[PARO_SLOT_COUNT];
    found found[PARO_SLOT_COUNT];
    uint64_t n_done;
    char stage[64];
} search;

static bool is_due(const paro_train_linear *linear)
{
    return linear->bits > 0 && !linear->is_rounded;
}

static bool is_clipped(const search *s, int slot)
{
    return !s->options.no_clip && slot != PARO_SLOT_Q && slot != PARO_SLOT_K;
}

/* ---- inputs ---- */

static paro_status alloc_samples(paro_error *err, search *s)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *linear = &s->block->linears[slot];
        sample *to = &s->samples[paro_slot_first((paro_slot)slot)];
        if (!is_due(linear) || to->n_in > 0)
            continue;
        to->n_in = linear->n_in;
        to->x = malloc(s->n_rows * to->n_in * sizeof *to->x);
        to->sums = calloc(to->n_in, sizeof *to->sums);
        to->magnitudes = malloc(to->n_in * sizeof *to->magnitudes);
        if (to->x == NULL || to->sums == NULL || to->magnitudes == NULL)
            return paro_fail_memory(err, s->n_rows * to->n_in * sizeof *to->x,
                                    "inputs of a linear");
    }
    return PARO_STATUS_OK;
}

/* Token k of the sample is token floor(k n_tokens / n_rows) of all. */
static paro_status take_inputs(paro_error *err, void *context, const paro_linear_inputs *inputs)
{
    (void)err;
    search *s = context;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        sample *to = &s->samples[slot];
        if (to->n_in == 0)
            continue;
        const float *rows = inputs->rows[slot];
        for (size_t row = 0; row < inputs->n_rows; row++)
            for (size_t i = 0; i < to->n_in; i++)
                to->sums[i] += (double)fabsf(rows[row * to->n_in + i]);
        size_t end = inputs->first_row + inputs->n_rows;
        size_t k = (inputs->first_row * s->n_rows + s->n_tokens - 1) / s->n_tokens;
        for (size_t row; k < s->n_rows && (row = k * s->n_tokens / s->n_rows) < end; k++)
            memcpy(to->x + k * to->n_in, rows + (row - inputs->first_row) * to->n_in,
                   to->n_in * sizeof *rows);
    }
    return PARO_STATUS_OK;
}

/* ---- searches ---- */

static paro_status report_done(paro_error *err, search *s)
{
    return paro_report(err, s->block->observer, s->stage, ++s->n_done, 2 * PARO_SLOT_COUNT);
}

/* Scales for the linears that share the input of `first` and have no rotation. */
static paro_status search_scales(paro_error *err, search *s, int first)
{
    const paro_train_linear *linears[PARO_SLOT_COUNT];
    int slots[PARO_SLOT_COUNT];
    size_t n = 0, n_in = s->samples[first].n_in;
    for (int slot = first; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *linear = &s->block->linears[slot];
        if (paro_slot_first((paro_slot)slot) != (paro_slot)first || !is_due(linear) ||
            linear->krot > 0)
            continue;
        slots[n] = slot;
        linears[n++] = linear;
    }
    if (n == 0 || s->options.no_scales)
        return PARO_STATUS_OK;
    const paro_awq_inputs inputs = {s->samples[first].x, s->n_rows, s->samples[first].magnitudes};
    uint32_t n_grid = s->options.n_grid;
    float *scales = malloc(n_in * sizeof *scales);
    double *errors = malloc(n_grid * sizeof *errors);
    paro_status status = PARO_STATUS_OK;
    if (scales == NULL || errors == NULL) {
        status = paro_fail_memory(err, n_in * sizeof *scales, "channel scales");
        goto done;
    }
    status =
        paro_awq_search_scales(err, s->block->pool, linears, n, &inputs, n_grid, scales, errors);
    if (status != PARO_STATUS_OK)
        goto done;
    uint32_t best = 0;
    for (uint32_t i = 1; i < n_grid; i++)
        best = errors[i] < errors[best] ? i : best;
    for (size_t k = 0; k < n; k++) {
        memcpy(s->found[slots[k]].scales, scales, n_in * sizeof *scales);
        s->found[slots[k]].has_scales = true;
        paro_log(s->block->observer, PARO_LOG_LEVEL_DEBUG,
                 "%s: awq: exponent %u/%u, error %.4f of round to nearest's", linears[k]->name,
                 best, n_grid, errors[0] > 0 ? errors[best] / errors[0] : 1);
    }
done:
    free(scales);
    free(errors);
    return status;
}

static paro_status search_ranges(paro_error *err, search *s, int slot)
{
    paro_train_linear linear = s->block->linears[slot];
    found *f = &s->found[slot];
    const sample *from = &s->samples[paro_slot_first((paro_slot)slot)];
    size_t n = (size_t)linear.n_out * (linear.n_in / linear.group_size);
    f->step = malloc(n * sizeof *f->step);
    f->zero = malloc(n * sizeof *f->zero);
    if (f->step == NULL || f->zero == NULL)
        return paro_fail_memory(err, 2 * n * sizeof *f->step, "steps and zeros");
    linear.weight_channel_scales = f->scales;
    const paro_awq_inputs inputs = {from->x, s->n_rows, from->magnitudes};
    return paro_awq_search_clip(err, s->block->pool, &linear, &inputs, s->options.n_grid,
                                s->options.max_shrink, f->step, f->zero);
}

/* Both searches for all that are due. */
static paro_status search_all(paro_error *err, search *s)
{
    paro_status status = PARO_STATUS_OK;
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++) {
        const paro_train_linear *linear = &s->block->linears[slot];
        if (!is_due(linear))
            continue;
        s->found[slot].scales = malloc(linear->n_in * sizeof(float));
        if (s->found[slot].scales == NULL)
            return paro_fail_memory(err, linear->n_in * sizeof(float), "channel scales");
        memcpy(s->found[slot].scales, linear->weight_channel_scales, linear->n_in * sizeof(float));
    }
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++) {
        if (paro_slot_first((paro_slot)slot) == (paro_slot)slot)
            status = search_scales(err, s, slot);
        if (status == PARO_STATUS_OK)
            status = report_done(err, s);
    }
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++) {
        if (is_due(&s->block->linears[slot]) && is_clipped(s, slot))
            status = search_ranges(err, s, slot);
        if (status == PARO_STATUS_OK)
            status = report_done(err, s);
    }
    return status;
}

/* What was found into the block's linears. */
static void apply(search *s)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_train_linear *linear = &s->block->linears[slot];
        found *f = &s->found[slot];
        if (!is_due(linear))
            continue;
        if (f->has_scales)
            memcpy(linear->weight_channel_scales, f->scales, linear->n_in * sizeof(float));
        if (f->has_scales || f->step != NULL) { /* those that were learned are of other scales */
            free(linear->step);
            free(linear->zero);
            linear->step = f->step;
            linear->zero = f->zero;
            f->step = f->zero = NULL;
        }
    }
}

static paro_status check_options(paro_error *err, const search *s)
{
    const paro_awq_options *o = &s->options;
    if (o->n_grid > MAX_GRID)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "awq: n_grid: expected 1 to %d, or 0 for %d, found %" PRIu32, MAX_GRID,
                         DEFAULT_GRID, o->n_grid);
    if (!(o->max_shrink > 0 && o->max_shrink < 1))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "awq: max_shrink: expected more than 0 and less than 1, or 0 for %g, "
                         "found %g",
                         DEFAULT_SHRINK, o->max_shrink);
    if (s->n_tokens == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "awq: expected training samples to see the linears' inputs, found none");
    return PARO_STATUS_OK;
}

/* Of a rehearsal: what the stage would do. */
static paro_status rehearse(paro_error *err, const search *s)
{
    const paro_calib_estimate *e = s->block->estimate;
    const size_t n_all = e->n_train * e->n_tokens;
    const size_t wanted = s->options.max_tokens > 0 ? s->options.max_tokens : DEFAULT_TOKENS;
    const size_t rows = wanted < n_all ? wanted : n_all;
    const double weights = paro_estimate_weights(s->block);
    const double shrinks = s->options.no_clip ? 0 : DEFAULT_GRID;
    const double grid = s->options.no_scales ? 0 : s->options.n_grid;
    return paro_estimate_add(err, s->block,
                             paro_estimate_pass(s->block, e->n_train) +
                                 2 * (double)rows * weights * (grid + shrinks),
                             paro_estimate_pass_bytes(s->block, s->block->batch, false) +
                                 (uint64_t)(2 * weights * sizeof(float)),
                             "AWQ: %" PRIu32 " exponents over %zu tokens%s", s->options.n_grid,
                             rows, s->options.no_clip ? "" : ", clipping");
}

paro_status paro_awq(paro_error *err, paro_calib_block *block, const paro_awq_options *options)
{
    search s = {.block = block, .n_tokens = block->n_train * block->x->n_tokens};
    if (options != NULL)
        s.options = *options;
    if (s.options.n_grid == 0)
        s.options.n_grid = DEFAULT_GRID;
    if (s.options.max_shrink == 0)
        s.options.max_shrink = DEFAULT_SHRINK;
    s.n_rows = s.options.max_tokens > 0 ? s.options.max_tokens : DEFAULT_TOKENS;
    if (s.n_rows > s.n_tokens)
        s.n_rows = s.n_tokens;
    snprintf(s.stage, sizeof s.stage, "block %" PRIu32 ": awq", block->layer);
    bool any = false;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        any = any || is_due(&block->linears[slot]);
    paro_status status = check_options(err, &s);
    if (status != PARO_STATUS_OK || !any)
        return status;
    if (block->estimate != NULL)
        return rehearse(err, &s);
    status = alloc_samples(err, &s);
    if (status == PARO_STATUS_OK)
        status = paro_linear_inputs_each(err, block, block->n_train, take_inputs, &s);
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++)
        for (size_t i = 0; i < s.samples[slot].n_in; i++)
            s.samples[slot].magnitudes[i] = (float)(s.samples[slot].sums[i] / (double)s.n_tokens);
    if (status == PARO_STATUS_OK)
        status = search_all(err, &s);
    if (status == PARO_STATUS_OK)
        apply(&s);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        free(s.samples[slot].x);
        free(s.samples[slot].sums);
        free(s.samples[slot].magnitudes);
        free(s.found[slot].scales);
        free(s.found[slot].step);
        free(s.found[slot].zero);
    }
    return status;
}
