/* SPDX-License-Identifier: MIT
 *
 * A session on the CPU: the forward pass over new tokens, and the KV cache of those already read.
 *
 * Invariants: 1. keys and values of the tokens 0 .. n_tokens - 1 are in the cache; what stands
 * behind them is scratch; 2. capacity <= max_tokens, and the cache of every layer has that
 * capacity.
 */
#include "runtime/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cpu/attention.h"
#include "cpu/ops.h"
#include "runtime/model.h"

/* Activations of one chunk, m tokens: widths as named in the config. */
typedef struct activations {
    float *residual; /* [m, hidden] */
    float *normed;   /* [m, hidden] */
    float *q;        /* [m, n_heads * head_dim] */
    float *k;        /* [m, n_kv_heads * head_dim] */
    float *v;        /* [m, n_kv_heads * head_dim] */
    float *attended; /* [m, n_heads * head_dim] */
    float *gate;     /* [m, intermediate] */
    float *up;       /* [m, intermediate] */
    float *cosines;  /* [m, head_dim / 2] */
    float *sines;    /* [m, head_dim / 2] */
    float *weight;   /* [max(hidden, head_dim)]: a norm's weight in fp32 */
    size_t n_tokens; /* m there is room for; 0: nothing allocated */
} activations;

typedef struct cpu_session {
    paro_session front;
    uint32_t capacity;
    float **keys;   /* [n_layers] of [n_kv_heads][capacity][head_dim] */
    float **values; /* likewise */
    activations act;
} cpu_session;

/* What one forward pass takes: the rows of all activations are n_each tokens of every session, one
 * session after another. */
typedef struct batch {
    paro_session *const *sessions;
    size_t n_sessions;
    size_t n_each;
    const paro_model *model;
    activations *act; /* the first session's */
} batch;

static void release_activations(activations *act)
{
    float *all[] = {act->residual, act->normed, act->q,       act->k,     act->v,     act->attended,
                    act->gate,     act->up,     act->cosines, act->sines, act->weight};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    *act = (activations){0};
}

static void free_session(paro_session *front)
{
    cpu_session *session = (cpu_session *)front;
    for (uint32_t layer = 0; layer < front->model->config.n_layers; layer++) {
        if (session->keys != NULL)
            free(session->keys[layer]);
        if (session->values != NULL)
            free(session->values[layer]);
    }
    free(session->keys);
    free(session->values);
    release_activations(&session->act);
    free(session);
}

static float *floats(size_t n_rows, size_t n_columns)
{
    if (n_columns != 0 && n_rows > SIZE_MAX / sizeof(float) / n_columns)
        return NULL;
    return malloc(n_rows * n_columns * sizeof(float));
}

static paro_status reserve_activations(paro_error *err, const paro_config *config, size_t m,
                                       activations *act)
{
    if (act->n_tokens >= m)
        return PARO_STATUS_OK;
    release_activations(act);
    const size_t q = (size_t)config->n_heads * config->head_dim;
    const size_t kv = (size_t)config->n_kv_heads * config->head_dim;
    act->residual = floats(m, config->hidden);
    act->normed = floats(m, config->hidden);
    act->q = floats(m, q);
    act->k = floats(m, kv);
    act->v = floats(m, kv);
    act->attended = floats(m, q);
    act->gate = floats(m, config->intermediate);
    act->up = floats(m, config->intermediate);
    act->cosines = floats(m, config->head_dim / 2);
    act->sines = floats(m, config->head_dim / 2);
    act->weight = floats(1, config->hidden > config->head_dim ? config->hidden : config->head_dim);
    if (act->residual == NULL || act->normed == NULL || act->q == NULL || act->k == NULL ||
        act->v == NULL || act->attended == NULL || act->gate == NULL || act->up == NULL ||
        act->cosines == NULL || act->sines == NULL || act->weight == NULL) {
        release_activations(act);
        return paro_fail_memory(
            err, m * (2 * config->hidden + 2 * q + 2 * kv + 2 * config->intermediate) * 4,
            "activations");
    }
    act->n_tokens = m;
    return PARO_STATUS_OK;
}

/* Moves one layer's keys or values to an array of a larger capacity. */
static void move_cache(const paro_config *config, size_t n_tokens, float **cache, size_t capacity,
                       float *grown, size_t grown_capacity)
{
    const size_t head_dim = config->head_dim;
    for (uint32_t head = 0; head < config->n_kv_heads && n_tokens > 0; head++)
        memcpy(grown + head * grown_capacity * head_dim, *cache + head * capacity * head_dim,
               n_tokens * head_dim * sizeof *grown);
    free(*cache);
    *cache = grown;
}

static paro_status reserve_cache(paro_error *err, cpu_session *session, size_t n_tokens)
{
    const paro_config *config = &session->front.model->config;
    if (n_tokens <= session->capacity)
        return PARO_STATUS_OK;
    const size_t capacity =
        paro_session_grown_capacity(&session->front, session->capacity, (uint32_t)n_tokens);
    /* Every layer has one capacity, so all are grown before any is used: into new arrays, which
     * replace the old ones only when all are there. */
    const uint32_t n_arrays = 2 * config->n_layers;
    float **grown = calloc(n_arrays, sizeof *grown);
    bool ok = grown != NULL;
    for (uint32_t i = 0; i < n_arrays && ok; i++) {
        grown[i] = floats(capacity * config->n_kv_heads, config->head_dim);
        ok = grown[i] != NULL;
    }
    for (uint32_t i = 0; i < n_arrays && grown != NULL; i++) {
        float **kept =
            i < config->n_layers ? &session->keys[i] : &session->values[i - config->n_layers];
        if (ok)
            move_cache(config, session->front.n_tokens, kept, session->capacity, grown[i],
                       capacity);
        else
            free(grown[i]);
    }
    free(grown);
    if (!ok)
        return paro_fail_memory(
            err, n_arrays * capacity * config->n_kv_heads * config->head_dim * sizeof(float),
            "the KV cache");
    session->capacity = (uint32_t)capacity;
    return PARO_STATUS_OK;
}

static void norm_rows(activations *act, const paro_config *config, const paro_tensor *weight,
                      const float *x, size_t n_rows, float *y)
{
    const size_t n = (size_t)weight->n_values;
    paro_f32_from_array(act->weight, weight->data, weight->dtype, n);
    paro_ops_norm(x, act->weight, n_rows, n, config->norm_epsilon, y);
}

/* Copies [m, n_kv_heads, head_dim] into a cache [n_kv_heads][capacity][head_dim] at `position`. */
static void store(const cpu_session *session, const float *rows, size_t m, float *cache)
{
    const paro_config *config = &session->front.model->config;
    const size_t head_dim = config->head_dim;
    for (size_t i = 0; i < m; i++)
        for (size_t head = 0; head < config->n_kv_heads; head++)
            memcpy(cache + (head * session->capacity + session->front.n_tokens + i) * head_dim,
                   rows + (i * config->n_kv_heads + head) * head_dim, head_dim * sizeof *cache);
}

/* Stores the rows' keys and values, and lets the queries attend to them: session by session. */
static paro_status attend(paro_error *err, const batch *b, uint32_t layer)
{
    const paro_config *config = &b->model->config;
    const size_t n_q = b->n_each * config->n_heads * config->head_dim;
    const size_t n_kv = b->n_each * config->n_kv_heads * config->head_dim;
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < b->n_sessions && status == PARO_STATUS_OK; i++) {
        const cpu_session *session = (const cpu_session *)b->sessions[i];
        store(session, b->act->k + i * n_kv, b->n_each, session->keys[layer]);
        store(session, b->act->v + i * n_kv, b->n_each, session->values[layer]);
        const paro_kv_view kv = {
            .keys = session->keys[layer],
            .values = session->values[layer],
            .capacity = session->capacity,
            .n_keys = session->front.n_tokens + b->n_each,
            .n_kv_heads = config->n_kv_heads,
            .head_dim = config->head_dim,
        };
        status = paro_attention_forward(err, b->model->pool, &kv, b->act->q + i * n_q, b->n_each,
                                        config->n_heads, b->act->attended + i * n_q);
    }
    return status;
}

static paro_status attention_part(paro_error *err, const batch *b, uint32_t layer)
{
    const paro_model *model = b->model;
    const paro_config *config = &model->config;
    const size_t m = b->n_sessions * b->n_each;
    paro_block *block = &model->blocks[layer];
    activations *act = b->act;
    paro_linear *linears = block->linears;

    norm_rows(act, config, block->input_norm, act->residual, m, act->normed);
    paro_status status =
        paro_linear_forward(err, &linears[PARO_SLOT_Q], model->pool, act->normed, m, act->q);
    if (status == PARO_STATUS_OK)
        status =
            paro_linear_forward(err, &linears[PARO_SLOT_K], model->pool, act->normed, m, act->k);
    if (status == PARO_STATUS_OK)
        status =
            paro_linear_forward(err, &linears[PARO_SLOT_V], model->pool, act->normed, m, act->v);
    if (status != PARO_STATUS_OK)
        return status;
    if (config->architecture->qk_norm) {
        norm_rows(act, config, block->q_norm, act->q, m * config->n_heads, act->q);
        norm_rows(act, config, block->k_norm, act->k, m * config->n_kv_heads, act->k);
    }
    paro_ops_rope(act->q, m, config->n_heads, config->head_dim, act->cosines, act->sines);
    paro_ops_rope(act->k, m, config->n_kv_heads, config->head_dim, act->cosines, act->sines);
    status = attend(err, b, layer);
    if (status == PARO_STATUS_OK)
        status = paro_linear_forward(err, &linears[PARO_SLOT_O], model->pool, act->attended, m,
                                     act->normed);
    if (status == PARO_STATUS_OK)
        paro_ops_add(act->residual, act->normed, m * config->hidden);
    return status;
}

static paro_status mlp_part(paro_error *err, const batch *b, uint32_t layer)
{
    const paro_model *model = b->model;
    const paro_config *config = &model->config;
    const size_t m = b->n_sessions * b->n_each;
    paro_block *block = &model->blocks[layer];
    activations *act = b->act;
    paro_linear *linears = block->linears;

    norm_rows(act, config, block->post_attention_norm, act->residual, m, act->normed);
    paro_status status =
        paro_linear_forward(err, &linears[PARO_SLOT_GATE], model->pool, act->normed, m, act->gate);
    if (status == PARO_STATUS_OK)
        status =
            paro_linear_forward(err, &linears[PARO_SLOT_UP], model->pool, act->normed, m, act->up);
    if (status != PARO_STATUS_OK)
        return status;
    paro_ops_swiglu(act->gate, act->up, m * config->intermediate);
    status =
        paro_linear_forward(err, &linears[PARO_SLOT_DOWN], model->pool, act->gate, m, act->normed);
    if (status == PARO_STATUS_OK)
        paro_ops_add(act->residual, act->normed, m * config->hidden);
    return status;
}

static void embed(const batch *b, const int32_t *tokens)
{
    const paro_tensor *table = b->model->embedding;
    const size_t hidden = b->model->config.hidden;
    const unsigned char *rows = table->data;
    const size_t row_bytes = hidden * paro_dtype_bytes(table->dtype);
    for (size_t i = 0; i < b->n_sessions * b->n_each; i++)
        paro_f32_from_array(b->act->residual + i * hidden, rows + (size_t)tokens[i] * row_bytes,
                            table->dtype, hidden);
}

/* Angles grow with the position: they are computed in double, so that late positions stay exact. */
static void fill_rope(const batch *b)
{
    const size_t half = b->model->config.head_dim / 2;
    const double *frequencies = b->model->rope_frequencies;
    for (size_t i = 0; i < b->n_sessions * b->n_each; i++) {
        const size_t position = b->sessions[i / b->n_each]->n_tokens + i % b->n_each;
        for (size_t k = 0; k < half; k++) {
            double angle = (double)position * frequencies[k];
            b->act->cosines[i * half + k] = (float)cos(angle);
            b->act->sines[i * half + k] = (float)sin(angle);
        }
    }
}

/* Makes room for n_each more tokens of each session, and embeds them. */
static paro_status begin_batch(paro_error *err, const batch *b, const int32_t *tokens)
{
    paro_status status =
        reserve_activations(err, &b->model->config, b->n_sessions * b->n_each, b->act);
    for (size_t i = 0; i < b->n_sessions && status == PARO_STATUS_OK; i++)
        status =
            reserve_cache(err, (cpu_session *)b->sessions[i], b->sessions[i]->n_tokens + b->n_each);
    if (status == PARO_STATUS_OK) {
        embed(b, tokens);
        fill_rope(b);
    }
    return status;
}

static paro_status pass_block(paro_error *err, const batch *b, uint32_t layer)
{
    paro_status status = attention_part(err, b, layer);
    return status == PARO_STATUS_OK ? mlp_part(err, b, layer) : status;
}

/* All blocks over the m tokens; the residual stream then holds the last block's output. */
static paro_status read_chunk(paro_error *err, paro_session *front, const int32_t *tokens, size_t m,
                              size_t at, size_t n_total, size_t *n_read)
{
    const paro_config *config = &front->model->config;
    const batch b = {.sessions = &front,
                     .n_sessions = 1,
                     .n_each = m,
                     .model = front->model,
                     .act = &((cpu_session *)front)->act};
    paro_status status = begin_batch(err, &b, tokens);
    for (uint32_t layer = 0; layer < config->n_layers && status == PARO_STATUS_OK; layer++) {
        status = pass_block(err, &b, layer);
        if (status == PARO_STATUS_OK && n_total > 1)
            status = paro_report(err, front->observer, "read",
                                 at + m * (layer + 1) / config->n_layers, n_total);
    }
    if (status == PARO_STATUS_OK)
        *n_read = m;
    return status;
}

static paro_status compute_logits(paro_error *err, paro_session *front, size_t first, size_t n_rows,
                                  float *logits)
{
    const paro_model *model = front->model;
    const size_t hidden = model->config.hidden;
    activations *act = &((cpu_session *)front)->act;
    norm_rows(act, &model->config, model->norm, act->residual + first * hidden, n_rows,
              act->normed);
    return paro_linear_forward(err, model->head, model->pool, act->normed, n_rows, logits);
}

static paro_status read_each(paro_error *err, paro_session *const *sessions, size_t n_sessions,
                             const int32_t *tokens, float *logits)
{
    const batch b = {.sessions = sessions,
                     .n_sessions = n_sessions,
                     .n_each = 1,
                     .model = sessions[0]->model,
                     .act = &((cpu_session *)sessions[0])->act};
    paro_status status = begin_batch(err, &b, tokens);
    for (uint32_t layer = 0; layer < b.model->config.n_layers && status == PARO_STATUS_OK; layer++)
        status = pass_block(err, &b, layer);
    return status == PARO_STATUS_OK ? compute_logits(err, sessions[0], 0, n_sessions, logits)
                                    : status;
}

static const paro_session_backend cpu_backend = {
    .read = read_chunk, .read_each = read_each, .logits = compute_logits, .free = free_session};

paro_status paro_session_new_cpu(paro_error *err, const paro_model *model, paro_session **out)
{
    const uint32_t n_layers = model->config.n_layers;
    cpu_session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return paro_fail_memory(err, sizeof *session, "a session");
    session->front = (paro_session){.backend = &cpu_backend, .model = model};
    session->keys = calloc(n_layers, sizeof *session->keys);
    session->values = calloc(n_layers, sizeof *session->values);
    if (session->keys == NULL || session->values == NULL) {
        free_session(&session->front);
        return paro_fail_memory(err, n_layers * sizeof *session->keys, "a session");
    }
    *out = &session->front;
    return PARO_STATUS_OK;
}
