/* SPDX-License-Identifier: MIT
 *
 * A block on its way: its loss as its linears stand, and rounding what is left.
 */
#include "calib/calib_block.h"

#include <stdlib.h>

#include "calib/block_pass.h"
#include "calib/fake_quant.h"

static paro_status check_samples(paro_error *err, const paro_calib_block *block, size_t first,
                                 size_t n_samples)
{
    const paro_activations *x = block->x, *target = block->target;
    if (n_samples == 0 || first > x->n_samples || n_samples > x->n_samples - first)
        return paro_fail(
            err, PARO_STATUS_INVALID_ARGUMENT,
            "block %u: expected samples among the %zu there are, found %zu from %zu on",
            block->layer, x->n_samples, n_samples, first);
    if (x->n_samples != target->n_samples || x->n_tokens != target->n_tokens ||
        x->hidden != target->hidden || x->hidden != block->model->config.hidden)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "block %u: expected inputs and targets of one shape and hidden size %u, "
                         "found %zu samples of %zu tokens of %zu and %zu of %zu of %zu",
                         block->layer, block->model->config.hidden, x->n_samples, x->n_tokens,
                         x->hidden, target->n_samples, target->n_tokens, target->hidden);
    return PARO_STATUS_OK;
}

/* Gives the pass the weight that a linear stands for: its own w, or *made [n_out, n_in], which is
 * allocated then. */
static paro_status give_weight(paro_error *err, const paro_calib_block *block, paro_slot slot,
                               bool quantised, paro_block_pass *pass, float **made)
{
    const paro_train_linear *linear = &block->linears[slot];
    if (linear->bits == 0 || (!linear->is_rounded && !quantised)) {
        paro_block_pass_set_weight(pass, slot, linear->w);
        return PARO_STATUS_OK;
    }
    size_t n_bytes = (size_t)linear->n_out * linear->n_in * sizeof **made;
    *made = malloc(n_bytes);
    if (*made == NULL)
        return paro_fail_memory(err, n_bytes, "a quantised weight");
    paro_block_pass_set_weight(pass, slot, *made);
    return linear->is_rounded ? paro_train_linear_effective(err, linear, block->pool, *made)
                              : paro_fake_quant_forward(err, linear, block->pool, *made);
}

static paro_status loss_of(paro_error *err, const paro_calib_block *block, paro_block_pass *pass,
                           size_t first, size_t n_samples, size_t batch, float *y, double *loss)
{
    const paro_activations *x = block->x;
    size_t sample_count = x->n_tokens * x->hidden;
    double sum = 0;
    for (size_t done = 0; done < n_samples; done += batch) {
        size_t n = n_samples - done < batch ? n_samples - done : batch;
        size_t at = (first + done) * sample_count;
        paro_status status = paro_block_pass_forward(err, pass, x->data + at, n, y);
        if (status != PARO_STATUS_OK)
            return status;
        sum += (double)n *
               paro_smooth_l1(block->pool, y, block->target->data + at, n * sample_count, 1, NULL);
    }
    *loss = sum / (double)n_samples;
    return PARO_STATUS_OK;
}

paro_status paro_calib_block_loss(paro_error *err, const paro_calib_block *block, size_t first,
                                  size_t n_samples, bool quantised, double *loss)
{
    paro_block_pass *pass = NULL;
    float *made[PARO_SLOT_COUNT] = {0}, *y = NULL;
    paro_status status = check_samples(err, block, first, n_samples);
    if (status != PARO_STATUS_OK)
        return status;
    size_t batch = block->batch == 0 || block->batch > n_samples ? n_samples : block->batch;
    const paro_block_pass_options options = {.max_samples = batch, .n_tokens = block->x->n_tokens};
    status = paro_block_pass_new(err, block->model, block->layer, &options, &pass);
    if (status != PARO_STATUS_OK)
        return status;
    size_t n_bytes = batch * block->x->n_tokens * block->x->hidden * sizeof *y;
    y = malloc(n_bytes);
    if (y == NULL) {
        status = paro_fail_memory(err, n_bytes, "a block's outputs");
        goto done;
    }
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++)
        status = give_weight(err, block, (paro_slot)slot, quantised, pass, &made[slot]);
    if (status != PARO_STATUS_OK)
        goto done;
    status = loss_of(err, block, pass, first, n_samples, batch, y, loss);
done:
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        free(made[slot]);
    free(y);
    paro_block_pass_free(pass);
    return status;
}

paro_status paro_calib_block_round(paro_error *err, paro_calib_block *block)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_train_linear *linear = &block->linears[slot];
        if (linear->bits == 0 || linear->is_rounded)
            continue;
        paro_status status = paro_train_linear_round(err, block->pool, linear);
        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}
