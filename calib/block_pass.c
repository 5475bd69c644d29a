/* SPDX-License-Identifier: MIT
 *
 * A block's pass: its memory, and forward. Parts and invariants are in block_pass_parts.h.
 */
#include "calib/block_pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "calib/block_pass_parts.h"
#include "cpu/blas.h"
#include "cpu/ops.h"

/* --- memory --------------------------------------------------------------------------------- */

typedef struct buffer {
    float **place;
    size_t n_rows, n_columns;
} buffer;

enum { MAX_BUFFERS = 24 + PARO_SLOT_COUNT };

static size_t or_most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Sums and products that stay at SIZE_MAX where they would not fit. */
static size_t plus(size_t a, size_t b)
{
    size_t sum;
    return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

static size_t times(size_t a, size_t b)
{
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

/* Sets what of `pass` is known without a model's tensors, and lists its buffers; their number. */
static size_t lay_out(const paro_config *config, int n_threads,
                      const paro_block_pass_options *options, paro_block_pass *pass,
                      buffer list[MAX_BUFFERS])
{
    bool backward = options->backward, qk_norm = config->architecture->qk_norm;
    size_t head_dim = config->head_dim, hidden = config->hidden;
    size_t q = config->n_heads * head_dim, kv = config->n_kv_heads * head_dim;
    size_t m = times(options->max_samples, options->n_tokens), n = 0;
    pass->options = *options;
    pass->attention = (paro_attention_pass){.ops = paro_train_ops_best(),
                                            .n_tokens = options->n_tokens,
                                            .n_heads = config->n_heads,
                                            .n_kv_heads = config->n_kv_heads,
                                            .head_dim = head_dim};
    pass->scratch_count = paro_attention_pass_scratch(&pass->attention, backward);
    if (backward)
        pass->scratch_count =
            or_most(pass->scratch_count, times(PARO_PASS_ROWS, hidden + config->intermediate));

    list[n++] = (buffer){&pass->input_norm, 1, hidden};
    list[n++] = (buffer){&pass->post_attention_norm, 1, hidden};
    list[n++] = (buffer){&pass->cosines, options->n_tokens, head_dim / 2};
    list[n++] = (buffer){&pass->sines, options->n_tokens, head_dim / 2};
    list[n++] = (buffer){&pass->normed, m, hidden};
    list[n++] = (buffer){&pass->q, m, q};
    list[n++] = (buffer){&pass->k, m, kv};
    list[n++] = (buffer){&pass->v, m, kv};
    list[n++] = (buffer){&pass->attended, m, q};
    list[n++] = (buffer){&pass->residual, m, hidden};
    list[n++] = (buffer){&pass->mlp_normed, m, hidden};
    list[n++] = (buffer){&pass->gate, m, config->intermediate};
    list[n++] = (buffer){&pass->up, m, config->intermediate};
    list[n++] = (buffer){&pass->scratch, (size_t)n_threads, pass->scratch_count};
    if (qk_norm) {
        list[n++] = (buffer){&pass->q_norm, 1, head_dim};
        list[n++] = (buffer){&pass->k_norm, 1, head_dim};
    }
    if (backward && qk_norm) {
        list[n++] = (buffer){&pass->raw_q, m, q};
        list[n++] = (buffer){&pass->raw_k, m, kv};
    }
    if (backward) {
        list[n++] = (buffer){&pass->minus_sines, options->n_tokens, head_dim / 2};
        list[n++] = (buffer){&pass->d_attended, m, q};
        list[n++] = (buffer){&pass->gated, m, config->intermediate};
    }
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        uint32_t n_in, n_out;
        bool has_bias;
        paro_slot_sizes(config, (paro_slot)slot, &n_in, &n_out, &has_bias);
        list[n++] = (buffer){&pass->biases[slot], 1, n_out};
    }
    return n;
}

static size_t bytes_of(const buffer *list, size_t n)
{
    size_t bytes = sizeof(paro_block_pass);
    for (size_t i = 0; i < n; i++)
        bytes = plus(bytes, times(times(list[i].n_rows, list[i].n_columns), sizeof(float)));
    return bytes;
}

uint64_t paro_block_pass_bytes(const paro_config *config, int n_threads,
                               const paro_block_pass_options *options)
{
    paro_block_pass pass = {0};
    buffer list[MAX_BUFFERS];
    return bytes_of(list, lay_out(config, n_threads, options, &pass, list));
}

/* Norms and biases in fp32, the rope's tables. */
static void fill_constants(paro_block_pass *pass)
{
    const paro_model *model = pass->model;
    const paro_block *block = &model->blocks[pass->layer];
    const struct {
        const paro_tensor *from;
        float *to;
    } norms[] = {{block->input_norm, pass->input_norm},
                 {block->post_attention_norm, pass->post_attention_norm},
                 {block->q_norm, pass->q_norm},
                 {block->k_norm, pass->k_norm}};
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
        if (norms[i].to != NULL)
            paro_f32_from_array(norms[i].to, norms[i].from->data, norms[i].from->dtype,
                                (size_t)norms[i].from->n_values);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_tensor *bias = block->linears[slot].bias;
        if (bias != NULL) {
            paro_f32_from_array(pass->biases[slot], bias->data, bias->dtype,
                                (size_t)bias->n_values);
        } else {
            free(pass->biases[slot]);
            pass->biases[slot] = NULL;
        }
    }
    size_t half = pass->attention.head_dim / 2;
    for (size_t i = 0; i < pass->options.n_tokens * half; i++) {
        double angle = (double)(i / half) * model->rope_frequencies[i % half];
        pass->cosines[i] = (float)cos(angle);
        pass->sines[i] = (float)sin(angle);
        if (pass->minus_sines != NULL)
            pass->minus_sines[i] = -pass->sines[i];
    }
}

paro_status paro_block_pass_new(paro_error *err, const paro_model *model, uint32_t layer,
                                const paro_block_pass_options *options, paro_block_pass **out)
{
    const paro_config *config = &model->config;
    if (layer >= config->n_layers)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected a layer from 0 to %u, found %u", model->dir,
                         config->n_layers - 1, layer);
    if (options->max_samples == 0 || options->n_tokens == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "a block's pass: expected at least one sample of at least one token, "
                         "found %zu of %zu",
                         options->max_samples, options->n_tokens);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_status status = paro_linear_prepare(err, &model->blocks[layer].linears[slot]);
        if (status != PARO_STATUS_OK) /* a bias of another shape, for one */
            return status;
    }
    paro_block_pass *pass = calloc(1, sizeof *pass);
    if (pass == NULL)
        return paro_fail_memory(err, sizeof *pass, "a block's pass");
    pass->model = model;
    pass->layer = layer;
    buffer list[MAX_BUFFERS];
    size_t n = lay_out(config, paro_pool_n_threads(model->pool), options, pass, list);
    bool ok = bytes_of(list, n) != SIZE_MAX;
    for (size_t i = 0; i < n && ok; i++) {
        *list[i].place = malloc(list[i].n_rows * list[i].n_columns * sizeof(float) + 1);
        ok = *list[i].place != NULL;
    }
    if (!ok) {
        paro_block_pass_free(pass);
        return paro_fail_memory(err, bytes_of(list, n),
                                "the activations of a block's pass: fewer samples at a time or "
                                "shorter ones take less");
    }
    if (!options->backward)
        pass->gated = pass->gate;
    fill_constants(pass);
    *out = pass;
    return PARO_STATUS_OK;
}

void paro_block_pass_free(paro_block_pass *pass)
{
    if (pass == NULL)
        return;
    if (pass->gated == pass->gate)
        pass->gated = NULL;
    float *all[] = {pass->input_norm,  pass->post_attention_norm,
                    pass->q_norm,      pass->k_norm,
                    pass->cosines,     pass->sines,
                    pass->minus_sines, pass->normed,
                    pass->q,           pass->k,
                    pass->v,           pass->raw_q,
                    pass->raw_k,       pass->attended,
                    pass->d_attended,  pass->residual,
                    pass->mlp_normed,  pass->gate,
                    pass->up,          pass->gated,
                    pass->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        free(pass->biases[slot]);
    free(pass);
}

void paro_block_pass_set_weight(paro_block_pass *pass, paro_slot slot, const float *weight)
{
    pass->weights[slot] = weight;
}

const float *paro_block_pass_input(const paro_block_pass *pass, paro_slot slot)
{
    switch (slot) {
    case PARO_SLOT_O:
        return pass->attended;
    case PARO_SLOT_GATE:
    case PARO_SLOT_UP:
        return pass->mlp_normed;
    case PARO_SLOT_DOWN:
        return pass->gated;
    default:
        return pass->normed;
    }
}

/* --- forward -------------------------------------------------------------------------------- */

typedef struct forward {
    paro_block_pass *pass;
    const float *x;
    float *y;
} forward;

void paro_pass_rope(const paro_block_pass *pass, paro_pass_rows rows, uint32_t n_heads,
                    const float *sines, float *x)
{
    size_t head_dim = pass->attention.head_dim, half = head_dim / 2;
    for (size_t row = 0; row < rows.n; row++) {
        size_t position = (rows.first + row) % pass->options.n_tokens;
        paro_ops_rope(x + row * n_heads * head_dim, 1, n_heads, head_dim,
                      pass->cosines + position * half, sines + position * half);
    }
}

/* y [n_rows, n_out] = add + x W^T + bias of a slot; add [n_rows, n_out] may be NULL, or y. */
static void linear(const paro_block_pass *pass, paro_slot slot, const float *x, size_t n_rows,
                   const float *add, float *y)
{
    uint32_t n_in, n_out;
    bool has_bias;
    paro_slot_sizes(&pass->model->config, slot, &n_in, &n_out, &has_bias);
    const float *bias = pass->biases[slot];
    if (add != NULL && add != y)
        memcpy(y, add, n_rows * n_out * sizeof *y);
    if (bias != NULL)
        for (size_t row = 0; row < n_rows; row++) {
            if (add != NULL)
                paro_ops_add(y + row * n_out, bias, n_out);
            else
                memcpy(y + row * n_out, bias, n_out * sizeof *y);
        }
    paro_blas_product_transposed(n_rows, n_out, n_in, 1, x, n_in, pass->weights[slot], n_in,
                                 add != NULL || bias != NULL ? 1 : 0, y, n_out);
}

/* x [rows, n_heads, head_dim]: norm (raw receives what was before) and rope. */
static void finish_heads(const paro_block_pass *pass, paro_pass_rows rows, uint32_t n_heads,
                         const float *norm, float *raw, float *x)
{
    size_t head_dim = pass->attention.head_dim;
    if (raw != NULL)
        memcpy(raw, x, rows.n * n_heads * head_dim * sizeof *x);
    if (norm != NULL)
        paro_ops_norm(x, norm, rows.n * n_heads, head_dim, pass->model->config.norm_epsilon, x);
    paro_pass_rope(pass, rows, n_heads, pass->sines, x);
}

static void qkv_task(void *context, size_t i, int worker)
{
    (void)worker;
    const forward *f = context;
    paro_block_pass *pass = f->pass;
    const paro_config *config = &pass->model->config;
    paro_pass_rows rows = paro_pass_row_block(pass, i);
    size_t q_count = config->n_heads * pass->attention.head_dim;
    size_t kv_count = config->n_kv_heads * pass->attention.head_dim;
    float *normed = pass->normed + rows.first * config->hidden;
    float *q = pass->q + rows.first * q_count, *k = pass->k + rows.first * kv_count;
    paro_ops_norm(f->x + rows.first * config->hidden, pass->input_norm, rows.n, config->hidden,
                  config->norm_epsilon, normed);
    linear(pass, PARO_SLOT_Q, normed, rows.n, NULL, q);
    linear(pass, PARO_SLOT_K, normed, rows.n, NULL, k);
    linear(pass, PARO_SLOT_V, normed, rows.n, NULL, pass->v + rows.first * kv_count);
    finish_heads(pass, rows, config->n_heads, pass->q_norm,
                 pass->raw_q == NULL ? NULL : pass->raw_q + rows.first * q_count, q);
    finish_heads(pass, rows, config->n_kv_heads, pass->k_norm,
                 pass->raw_k == NULL ? NULL : pass->raw_k + rows.first * kv_count, k);
}

static void attention_task(void *context, size_t i, int worker)
{
    const forward *f = context;
    const paro_attention_pass *attention = &f->pass->attention;
    size_t sample = i / attention->n_heads * attention->n_tokens; /* its first row */
    size_t q_at = sample * attention->n_heads * attention->head_dim;
    size_t kv_at = sample * attention->n_kv_heads * attention->head_dim;
    paro_attention_pass_forward(attention, i % attention->n_heads, f->pass->q + q_at,
                                f->pass->k + kv_at, f->pass->v + kv_at,
                                paro_pass_scratch(f->pass, worker), f->pass->attended + q_at);
}

static void mlp_task(void *context, size_t i, int worker)
{
    (void)worker;
    const forward *f = context;
    paro_block_pass *pass = f->pass;
    const paro_config *config = &pass->model->config;
    paro_pass_rows rows = paro_pass_row_block(pass, i);
    size_t intermediate = config->intermediate, at = rows.first * config->hidden;
    float *residual = pass->residual + at, *normed = pass->mlp_normed + at;
    float *gate = pass->gate + rows.first * intermediate;
    float *up = pass->up + rows.first * intermediate;
    float *gated = pass->gated + rows.first * intermediate;
    linear(pass, PARO_SLOT_O,
           pass->attended + rows.first * config->n_heads * pass->attention.head_dim, rows.n,
           f->x + at, residual);
    paro_ops_norm(residual, pass->post_attention_norm, rows.n, config->hidden, config->norm_epsilon,
                  normed);
    linear(pass, PARO_SLOT_GATE, normed, rows.n, NULL, gate);
    linear(pass, PARO_SLOT_UP, normed, rows.n, NULL, up);
    pass->attention.ops->swiglu(gate, up, rows.n * intermediate, gated);
    linear(pass, PARO_SLOT_DOWN, gated, rows.n, residual, f->y + at);
}

paro_status paro_block_pass_forward(paro_error *err, paro_block_pass *pass, const float *x,
                                    size_t n_samples, float *y)
{
    if (n_samples == 0 || n_samples > pass->options.max_samples)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "a block's pass: expected 1 to %zu samples, found %zu",
                         pass->options.max_samples, n_samples);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        if (pass->weights[slot] == NULL)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "%s: expected a weight from paro_block_pass_set_weight, found none",
                             pass->model->blocks[pass->layer].linears[slot].name);
    paro_pool *pool = pass->model->pool;
    forward f = {.pass = pass, .x = x, .y = y};
    pass->n_samples = n_samples;
    paro_pool_run(pool, paro_pass_n_row_blocks(pass), qkv_task, &f);
    paro_pool_run(pool, n_samples * pass->attention.n_heads, attention_task, &f);
    paro_pool_run(pool, paro_pass_n_row_blocks(pass), mlp_task, &f);
    return PARO_STATUS_OK;
}
