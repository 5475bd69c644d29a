/* SPDX-License-Identifier: MIT
 *
 * A block's pass, backward.
 *
 * Four steps: rows from dy to the residual stream and attention's output; attention; rows from
 * there to x; and, when all gradients of outputs are known, those of the weights. What nobody asked
 * for is left out: without dx and gradients of q, k and v, attention is not walked back.
 */
#include "calib/block_pass.h"

#include "calib/block_pass_parts.h"
#include "cpu/blas.h"

enum { WEIGHT_ROWS = 384 }; /* of a weight's gradient, at most, in a task */

/* One weight's gradient: d_output^T input, cut into n_tasks by its rows. */
typedef struct weight_gradient {
    const float *d_output, *input;
    float *d_weight;
    size_t n_out, n_in, n_rows, n_tasks;
} weight_gradient;

typedef struct backward {
    paro_block_pass *pass;
    const float *x, *dy;
    float *dx;
    bool wants_attention; /* gradients of attention's inputs */
    weight_gradient gradients[PARO_SLOT_COUNT];
    size_t n_gradients;
} backward;

/* dx [n_rows, n_in] = keep * dx + dy W */
static void linear_backward(const paro_block_pass *pass, paro_slot slot, const float *dy,
                            size_t n_rows, float keep, float *dx)
{
    uint32_t n_in, n_out;
    bool has_bias;
    paro_slot_sizes(&pass->model->config, slot, &n_in, &n_out, &has_bias);
    paro_blas_product(n_rows, n_in, n_out, 1, dy, n_out, pass->weights[slot], n_in, keep, dx, n_in);
}

static void mlp_task(void *context, size_t i, int worker)
{
    const backward *b = context;
    paro_block_pass *pass = b->pass;
    const paro_config *config = &pass->model->config;
    const paro_train_ops *ops = pass->attention.ops;
    paro_pass_rows rows = paro_pass_row_block(pass, i);
    size_t intermediate = config->intermediate, at = rows.first * config->hidden;
    const float *dy = b->dy + at;
    float *residual = pass->residual + at;
    float *gate = pass->gate + rows.first * intermediate;
    float *up = pass->up + rows.first * intermediate;
    float *d_gated = paro_pass_scratch(pass, worker);
    float *d_normed = d_gated + PARO_PASS_ROWS * intermediate;
    linear_backward(pass, PARO_SLOT_DOWN, dy, rows.n, 0, d_gated);
    ops->swiglu_backward(d_gated, rows.n * intermediate, gate, up);
    linear_backward(pass, PARO_SLOT_GATE, gate, rows.n, 0, d_normed);
    linear_backward(pass, PARO_SLOT_UP, up, rows.n, 1, d_normed);
    ops->norm_backward(residual, pass->post_attention_norm, d_normed, rows.n, config->hidden,
                       config->norm_epsilon, dy, residual);
    if (b->wants_attention)
        linear_backward(pass, PARO_SLOT_O, residual, rows.n, 0,
                        pass->d_attended + rows.first * config->n_heads * pass->attention.head_dim);
}

static void attention_task(void *context, size_t i, int worker)
{
    const backward *b = context;
    paro_block_pass *pass = b->pass;
    const paro_attention_pass *attention = &pass->attention;
    size_t sample = i / attention->n_kv_heads * attention->n_tokens; /* its first row */
    size_t q_at = sample * attention->n_heads * attention->head_dim;
    size_t kv_at = sample * attention->n_kv_heads * attention->head_dim;
    paro_attention_pass_backward(attention, i % attention->n_kv_heads, pass->d_attended + q_at,
                                 paro_pass_scratch(pass, worker), pass->q + q_at, pass->k + kv_at,
                                 pass->v + kv_at);
}

/* d [rows, n_heads, head_dim]: back through rope and norm. */
static void unfinish_heads(const paro_block_pass *pass, paro_pass_rows rows, uint32_t n_heads,
                           const float *norm, const float *raw, float *d)
{
    size_t head_dim = pass->attention.head_dim;
    paro_pass_rope(pass, rows, n_heads, pass->minus_sines, d);
    if (norm != NULL)
        pass->attention.ops->norm_backward(raw + rows.first * n_heads * head_dim, norm, d,
                                           rows.n * n_heads, head_dim,
                                           pass->model->config.norm_epsilon, NULL, d);
}

static void qkv_task(void *context, size_t i, int worker)
{
    const backward *b = context;
    paro_block_pass *pass = b->pass;
    const paro_config *config = &pass->model->config;
    paro_pass_rows rows = paro_pass_row_block(pass, i);
    size_t kv_count = config->n_kv_heads * pass->attention.head_dim;
    size_t at = rows.first * config->hidden;
    float *dq = pass->q + rows.first * config->n_heads * pass->attention.head_dim;
    float *dk = pass->k + rows.first * kv_count;
    float *d_normed = paro_pass_scratch(pass, worker);
    unfinish_heads(pass, rows, config->n_heads, pass->q_norm, pass->raw_q, dq);
    unfinish_heads(pass, rows, config->n_kv_heads, pass->k_norm, pass->raw_k, dk);
    if (b->dx == NULL)
        return;
    linear_backward(pass, PARO_SLOT_Q, dq, rows.n, 0, d_normed);
    linear_backward(pass, PARO_SLOT_K, dk, rows.n, 1, d_normed);
    linear_backward(pass, PARO_SLOT_V, pass->v + rows.first * kv_count, rows.n, 1, d_normed);
    pass->attention.ops->norm_backward(b->x + at, pass->input_norm, d_normed, rows.n,
                                       config->hidden, config->norm_epsilon, pass->residual + at,
                                       b->dx + at);
}

static void weight_task(void *context, size_t i, int worker)
{
    (void)worker;
    const backward *b = context;
    const weight_gradient *g = b->gradients;
    for (; i >= g->n_tasks; g++)
        i -= g->n_tasks;
    size_t first = g->n_out * i / g->n_tasks, end = g->n_out * (i + 1) / g->n_tasks;
    paro_blas_product_outer(end - first, g->n_in, g->n_rows, 1, g->d_output + first, g->n_out,
                            g->input, g->n_in, 1, g->d_weight + first * g->n_in, g->n_in);
}

/* Lists the gradients of weights that are wanted; the number of their tasks. */
static size_t plan_weights(backward *b, float *const d_weights[PARO_SLOT_COUNT])
{
    const paro_block_pass *pass = b->pass;
    const struct {
        paro_slot slot;
        const float *d_output;
    } slots[PARO_SLOT_COUNT] = {
        /* the largest first */
        {PARO_SLOT_GATE, pass->gate},  {PARO_SLOT_UP, pass->up}, {PARO_SLOT_DOWN, b->dy},
        {PARO_SLOT_O, pass->residual}, {PARO_SLOT_Q, pass->q},   {PARO_SLOT_K, pass->k},
        {PARO_SLOT_V, pass->v},
    };
    size_t n_tasks = 0;
    for (size_t i = 0; i < PARO_SLOT_COUNT; i++) {
        uint32_t n_in, n_out;
        bool has_bias;
        if (d_weights[slots[i].slot] == NULL)
            continue;
        paro_slot_sizes(&pass->model->config, slots[i].slot, &n_in, &n_out, &has_bias);
        weight_gradient gradient = {
            .d_output = slots[i].d_output,
            .input = paro_block_pass_input(pass, slots[i].slot),
            .d_weight = d_weights[slots[i].slot],
            .n_out = n_out,
            .n_in = n_in,
            .n_rows = pass->n_samples * pass->options.n_tokens,
            .n_tasks = (n_out + WEIGHT_ROWS - 1) / WEIGHT_ROWS,
        };
        b->gradients[b->n_gradients++] = gradient;
        n_tasks += gradient.n_tasks;
    }
    return n_tasks;
}

paro_status paro_block_pass_backward(paro_error *err, paro_block_pass *pass, const float *x,
                                     const float *dy, float *const d_weights[PARO_SLOT_COUNT],
                                     float *dx)
{
    if (!pass->options.backward)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "a block's pass: expected one made with `backward`, found one for "
                         "forward only");
    if (pass->n_samples == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "a block's pass: expected a forward before each backward, found none");
    paro_pool *pool = pass->model->pool;
    backward b = {.pass = pass, .x = x, .dy = dy, .dx = dx};
    bool wants_qkv = dx != NULL || d_weights[PARO_SLOT_Q] != NULL ||
                     d_weights[PARO_SLOT_K] != NULL || d_weights[PARO_SLOT_V] != NULL;
    bool wants_rows = wants_qkv || d_weights[PARO_SLOT_O] != NULL ||
                      d_weights[PARO_SLOT_GATE] != NULL || d_weights[PARO_SLOT_UP] != NULL;
    b.wants_attention = wants_qkv;
    size_t n_tasks = plan_weights(&b, d_weights);
    if (wants_rows)
        paro_pool_run(pool, paro_pass_n_row_blocks(pass), mlp_task, &b);
    if (wants_qkv) {
        paro_pool_run(pool, pass->n_samples * pass->attention.n_kv_heads, attention_task, &b);
        paro_pool_run(pool, paro_pass_n_row_blocks(pass), qkv_task, &b);
    }
    paro_pool_run(pool, n_tasks, weight_task, &b);
    pass->n_samples = 0;
    return PARO_STATUS_OK;
}
