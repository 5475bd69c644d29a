/* SPDX-License-Identifier: MIT
 *
 * A forward pass of a block, for the sake of what its linears see.
 */
#include "calib/linear_inputs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "calib/block_pass.h"

paro_slot paro_slot_first(paro_slot slot)
{
    switch (slot) {
    case PARO_SLOT_K:
    case PARO_SLOT_V:
        return PARO_SLOT_Q;
    case PARO_SLOT_UP:
        return PARO_SLOT_GATE;
    default:
        return slot;
    }
}

/* Gives the pass every linear's weight; weights [PARO_SLOT_COUNT] receives those made for it. */
static paro_status set_weights(paro_error *err, const paro_calib_block *block,
                               paro_block_pass *pass, float *weights[PARO_SLOT_COUNT])
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *linear = &block->linears[slot];
        const float *w = linear->w;
        if (linear->is_rounded) {
            size_t n = (size_t)linear->n_out * linear->n_in;
            weights[slot] = malloc(n * sizeof *weights[slot]);
            if (weights[slot] == NULL)
                return paro_fail_memory(err, n * sizeof *weights[slot], linear->name);
            paro_status status =
                paro_train_linear_effective(err, linear, block->pool, weights[slot]);
            if (status != PARO_STATUS_OK)
                return status;
            w = weights[slot];
        }
        paro_block_pass_set_weight(pass, (paro_slot)slot, w);
    }
    return PARO_STATUS_OK;
}

paro_status paro_linear_inputs_each(paro_error *err, const paro_calib_block *block,
                                    size_t n_samples, paro_linear_inputs_fn *fn, void *context)
{
    const paro_activations *x = block->x;
    if (n_samples > block->n_train)
        n_samples = block->n_train;
    size_t batch = block->batch == 0 || block->batch > n_samples ? n_samples : block->batch;
    const paro_block_pass_options options = {.max_samples = batch, .n_tokens = x->n_tokens};
    if (n_samples == 0 || x->n_tokens == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "block %" PRIu32 ": expected training samples to see its linears' inputs, "
                         "found none",
                         block->layer);
    char stage[64];
    snprintf(stage, sizeof stage, "block %" PRIu32 ": inputs", block->layer);
    float *weights[PARO_SLOT_COUNT] = {NULL};
    paro_block_pass *pass = NULL;
    size_t n_sample = x->n_tokens * x->hidden;
    float *y = malloc(batch * n_sample * sizeof *y);
    paro_status status = PARO_STATUS_OK;
    if (y == NULL) {
        status = paro_fail_memory(err, batch * n_sample * sizeof *y, "a block's outputs");
        goto done;
    }
    status = paro_block_pass_new(err, block->model, block->layer, &options, &pass);
    if (status == PARO_STATUS_OK)
        status = set_weights(err, block, pass, weights);
    for (size_t first = 0; first < n_samples && status == PARO_STATUS_OK; first += batch) {
        size_t n = n_samples - first < batch ? n_samples - first : batch;
        status = paro_report(err, block->observer, stage, first, n_samples);
        if (status == PARO_STATUS_OK)
            status = paro_block_pass_forward(err, pass, x->data + first * n_sample, n, y);
        if (status != PARO_STATUS_OK)
            break;
        paro_linear_inputs inputs = {.first_row = first * x->n_tokens, .n_rows = n * x->n_tokens};
        for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
            inputs.rows[slot] = paro_block_pass_input(pass, (paro_slot)slot);
        status = fn(err, context, &inputs);
    }
    if (status == PARO_STATUS_OK)
        status = paro_report(err, block->observer, stage, n_samples, n_samples);
done:
    paro_block_pass_free(pass);
    free(y);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        free(weights[slot]);
    return status;
}
