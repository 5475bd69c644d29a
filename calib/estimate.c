/* SPDX-License-Identifier: MIT
 *
 * Rehearsed stages, added up.
 */
#include "calib/estimate.h"

#include <stdarg.h>
#include <stdio.h>

#include "calib/block_pass.h"

paro_status paro_estimate_add(paro_error *err, const paro_calib_block *block, double operations,
                              uint64_t memory_bytes, const char *format, ...)
{
    paro_calib_estimate *e = block->estimate;
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!paro_buffer_printf(&e->steps, "%s%s", e->steps.n_bytes > 0 ? "; " : "", text))
        return paro_fail_memory(err, sizeof text, "an estimate");
    e->operations += operations;
    e->memory_bytes = memory_bytes > e->memory_bytes ? memory_bytes : e->memory_bytes;
    return PARO_STATUS_OK;
}

double paro_estimate_pass(const paro_calib_block *block, size_t n_samples)
{
    const paro_config *config = &block->model->config;
    const double n = (double)n_samples, t = (double)block->estimate->n_tokens;
    double weights = 0;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        weights += (double)block->linears[slot].n_out * block->linears[slot].n_in;
    /* Scores and their sums over the causal half: twice two operations for half the pairs. */
    return n * t * (2 * weights + 2 * t * config->n_heads * config->head_dim);
}

double paro_estimate_weights(const paro_calib_block *block)
{
    double weights = 0;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        if (block->linears[slot].bits > 0)
            weights += (double)block->linears[slot].n_out * block->linears[slot].n_in;
    return weights;
}

uint64_t paro_estimate_pass_bytes(const paro_calib_block *block, size_t batch, bool backward)
{
    const paro_block_pass_options options = {
        .max_samples = batch, .n_tokens = block->estimate->n_tokens, .backward = backward};
    return paro_block_pass_bytes(&block->model->config, paro_pool_n_threads(block->pool), &options);
}
