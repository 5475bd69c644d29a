/* SPDX-License-Identifier: MIT
 *
 * GPTQ of a block: Hessians of its linears' inputs, then each linear rounded by its own.
 */
#include "calib/gptq.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "calib/estimate.h"
#include "calib/gptq_round.h"
#include "calib/hessian.h"
#include "calib/linear_inputs.h"
#include "calib/weight_tile.h"

/* ---- u = R(W s) ---- */

typedef struct turning {
    const paro_train_linear *linear;
    const paro_tile_kernels *kernels;
    paro_tile_turns turns;
    const float *ones; /* [group_size] */
    float *tiles;      /* for each thread one */
    float *u;
} turning;

static void turn_tile(void *context, size_t part, int worker)
{
    const turning *t = context;
    size_t n_in = t->linear->n_in, size = t->linear->group_size, n_groups = n_in / size;
    size_t group = part % n_groups, row = part / n_groups * PARO_TILE_ROWS;
    size_t n_rows = t->linear->n_out - row;
    if (n_rows > PARO_TILE_ROWS)
        n_rows = PARO_TILE_ROWS;
    size_t at = row * n_in + group * size;
    float *tile = t->tiles + (size_t)worker * size * PARO_TILE_ROWS;
    t->kernels->load(t->linear->w + at, n_in, n_rows, size,
                     t->linear->weight_channel_scales + group * size, tile);
    t->kernels->rotate(t->turns.turns + group * t->turns.capacity, t->turns.n[group], tile);
    t->kernels->store(tile, size, t->ones, t->u + at, n_in, n_rows);
}

static paro_status turn_weight(paro_error *err, const paro_train_linear *linear, paro_pool *pool,
                               float *u)
{
    size_t size = linear->group_size;
    size_t n_bytes = (size_t)paro_pool_n_threads(pool) * size * PARO_TILE_ROWS * sizeof(float);
    float *ones = malloc(size * sizeof *ones);
    turning t = {.linear = linear, .kernels = paro_tile_kernels_best(), .ones = ones, .u = u};
    t.tiles = aligned_alloc(64, n_bytes);
    paro_status status = PARO_STATUS_OK;
    if (ones == NULL || t.tiles == NULL) {
        status = paro_fail_memory(err, n_bytes, "tiles of a weight");
        goto done;
    }
    for (size_t i = 0; i < size; i++)
        ones[i] = 1;
    status = paro_tile_turns_new(err, pool, linear, &t.turns);
    if (status == PARO_STATUS_OK)
        paro_pool_run(pool,
                      linear->n_in / size * ((linear->n_out + PARO_TILE_ROWS - 1) / PARO_TILE_ROWS),
                      turn_tile, &t);
done:
    free(ones);
    free(t.tiles);
    paro_tile_turns_release(&t.turns);
    return status;
}

/* ---- one linear ---- */

/* Rounds a linear; `matrix` [n_in, n_in] is where its Hessian may be made, hessian->sums too. */
static paro_status round_linear(paro_error *err, paro_pool *pool, paro_train_linear *linear,
                                const paro_hessian *hessian, const paro_gptq_options *options,
                                double *matrix)
{
    size_t n = (size_t)linear->n_out * linear->n_in;
    size_t n_theta = (size_t)linear->krot * (linear->n_in / 2);
    paro_train_linear rounded = *linear;
    rounded.theta = calloc(n_theta + 1, sizeof *rounded.theta);
    rounded.weight_channel_scales = malloc(linear->n_in * sizeof(float));
    float *u = malloc(n * sizeof *u);
    paro_status status = PARO_STATUS_OK;
    if (rounded.theta == NULL || rounded.weight_channel_scales == NULL || u == NULL) {
        status = paro_fail_memory(err, n * sizeof *u, "a rotated weight");
        goto done;
    }
    if (n_theta > 0)
        memcpy(rounded.theta, linear->theta, n_theta * sizeof *rounded.theta);
    memcpy(rounded.weight_channel_scales, linear->weight_channel_scales,
           linear->n_in * sizeof(float));
    /* The transform as it will be stored, and the ranges where they are learned. */
    if ((status = paro_train_linear_round(err, pool, &rounded)) != PARO_STATUS_OK ||
        (status = turn_weight(err, &rounded, pool, u)) != PARO_STATUS_OK ||
        (status = paro_hessian_of_linear(err, hessian, pool, &rounded, matrix)) != PARO_STATUS_OK)
        goto done;
    status = paro_gptq_round(err, pool, u, matrix, options, linear->step != NULL, &rounded.codes);
    if (status != PARO_STATUS_OK) {
        status = paro_fail_in(err, status, "%s", linear->name);
        goto done;
    }
    if (n_theta > 0)
        memcpy(linear->theta, rounded.theta, n_theta * sizeof *rounded.theta);
    memcpy(linear->weight_channel_scales, rounded.weight_channel_scales,
           linear->n_in * sizeof(float));
    linear->codes = rounded.codes;
    linear->is_rounded = true;
    rounded.codes = (paro_quantised){0};
done:
    free(rounded.theta);
    free(rounded.weight_channel_scales);
    paro_quantised_release(&rounded.codes);
    free(u);
    return status;
}

/* ---- the block ---- */

typedef struct gathering {
    paro_calib_block *block;
    const paro_gptq_options *options;
    size_t max_rows;
    uint64_t n_done, n_due;                 /* linears */
    paro_hessian hessians[PARO_SLOT_COUNT]; /* of the first slots of those in turn; else n is 0 */
} gathering;

static bool is_due(const paro_train_linear *linear)
{
    return linear->bits > 0 && !linear->is_rounded;
}

static paro_status add_inputs(paro_error *err, void *context, const paro_linear_inputs *inputs)
{
    (void)err;
    gathering *g = context;
    size_t n_rows = inputs->n_rows;
    if (n_rows > g->max_rows - inputs->first_row)
        n_rows = g->max_rows - inputs->first_row;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        if (g->hessians[slot].n > 0)
            paro_hessian_add(&g->hessians[slot], g->block->pool, inputs->rows[slot], n_rows);
    }
    return PARO_STATUS_OK;
}

/* The Hessians of the linears that are due, of all slots or of those that share the input of
 * `only`. */
static paro_status gather(paro_error *err, gathering *g, int only)
{
    const paro_calib_block *block = g->block;
    size_t n_tokens = block->x->n_tokens;
    bool any = false;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *linear = &block->linears[slot];
        paro_slot first = paro_slot_first((paro_slot)slot);
        if (!is_due(linear) || (only < PARO_SLOT_COUNT && first != (paro_slot)only))
            continue;
        any = true;
        if (g->hessians[first].n > 0)
            continue;
        paro_status status = paro_hessian_new(err, block->pool, linear->n_in, &g->hessians[first]);
        if (status != PARO_STATUS_OK)
            return status;
        if (g->max_rows < linear->n_in)
            paro_log(block->observer, PARO_LOG_LEVEL_WARNING,
                     "%s: GPTQ sees %zu tokens for %" PRIu32 " inputs: take at least as many, or "
                     "damping decides the rest",
                     linear->name, g->max_rows, linear->n_in);
    }
    if (!any)
        return PARO_STATUS_OK;
    return paro_linear_inputs_each(err, block, (g->max_rows + n_tokens - 1) / n_tokens, add_inputs,
                                   g);
}

/* Rounds those whose Hessians are there, and lets these go. */
static paro_status round_gathered(paro_error *err, gathering *g)
{
    paro_calib_block *block = g->block;
    paro_status status = PARO_STATUS_OK;
    char stage[64];
    snprintf(stage, sizeof stage, "block %" PRIu32 ": gptq", block->layer);
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++) {
        paro_train_linear *linear = &block->linears[slot];
        paro_hessian *hessian = &g->hessians[paro_slot_first((paro_slot)slot)];
        if (!is_due(linear) || hessian->n == 0)
            continue;
        bool last = true; /* of those that share the Hessian: then it is used up */
        for (int other = slot + 1; other < PARO_SLOT_COUNT; other++)
            last = last && (!is_due(&block->linears[other]) ||
                            &g->hessians[paro_slot_first((paro_slot)other)] != hessian);
        double *copy = NULL;
        if (!last && (copy = malloc(hessian->n * hessian->n * sizeof *copy)) == NULL)
            return paro_fail_memory(err, hessian->n * hessian->n * sizeof *copy, "a Hessian");
        status = round_linear(err, block->pool, linear, hessian, g->options,
                              last ? hessian->sums : copy);
        free(copy);
        if (last)
            paro_hessian_release(hessian);
        if (status == PARO_STATUS_OK)
            status = paro_report(err, block->observer, stage, ++g->n_done, g->n_due);
    }
    return status;
}

/* Of a rehearsal: what the stage would do. */
static paro_status rehearse(paro_error *err, const gathering *g)
{
    const paro_calib_estimate *e = g->block->estimate;
    double operations = paro_estimate_pass(g->block, e->n_train), largest = 0;
    const double rows = (double)(e->n_train * e->n_tokens);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const double n_in = g->block->linears[slot].n_in;
        if (is_due(&g->block->linears[slot]))
            operations += rows * n_in * n_in + 3 * n_in * n_in * n_in +
                          (double)g->block->linears[slot].n_out * n_in * n_in;
        largest = n_in > largest ? n_in : largest;
    }
    return paro_estimate_add(err, g->block, operations,
                             paro_estimate_pass_bytes(g->block, g->block->batch, false) +
                                 (uint64_t)(5 * largest * largest * sizeof(double)),
                             "GPTQ: %" PRIu64 " linears%s%s", g->n_due,
                             g->options->act_order ? ", act_order" : "",
                             g->options->true_sequential ? ", true_sequential" : "");
}

paro_status paro_gptq(paro_error *err, paro_calib_block *block, const paro_gptq_options *options)
{
    static const paro_gptq_options defaults = {0};
    if (options == NULL)
        options = &defaults;
    if (!(options->damping >= 0) || options->damping > 1)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "gptq: damping: expected 0 (the default, 0.01) to 1, found %g",
                         options->damping);
    gathering g = {.block = block, .options = options};
    g.max_rows = block->n_train * block->x->n_tokens;
    if (g.max_rows == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "gptq: expected training samples to see the linears' inputs, found none");
    if (options->max_tokens > 0 && options->max_tokens < g.max_rows)
        g.max_rows = options->max_tokens;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        g.n_due += is_due(&block->linears[slot]);
    if (block->estimate != NULL)
        return rehearse(err, &g);
    paro_status status = PARO_STATUS_OK;
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++) {
        if (paro_slot_first((paro_slot)slot) != (paro_slot)slot)
            continue;
        status = gather(err, &g, options->true_sequential ? slot : PARO_SLOT_COUNT);
        if (status == PARO_STATUS_OK)
            status = round_gathered(err, &g);
        if (!options->true_sequential)
            break;
    }
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_hessian_release(&g.hessians[slot]);
    return status;
}
