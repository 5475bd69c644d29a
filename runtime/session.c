/* SPDX-License-Identifier: MIT
 *
 * A session, whatever reads its tokens: arguments are checked, texts cut into chunks, logits handed
 * out, tokens counted.
 *
 * Invariant: n_tokens changes only when a call succeeds; what a backend holds of tokens behind it
 * is scratch.
 */
#include "runtime/session.h"

#include <math.h>
#include <stdlib.h>

#include "runtime/gpu_session.h"
#include "runtime/model.h"
#include "runtime/sampler.h"

enum { LOGITS_FLOATS = 8 * 1024 * 1024 /* of one batch of rows */ };

paro_status paro_session_new(paro_error *err, const paro_model *model,
                             const paro_session_options *options, paro_session **out)
{
    const paro_config *config = &model->config;
    paro_session *session = NULL;
    if (options != NULL && options->max_tokens > config->max_context)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "max_tokens: expected at most %u (the model's max_position_embeddings), "
                         "found %u",
                         config->max_context, options->max_tokens);
    paro_status status = model->device == NULL ? paro_session_new_cpu(err, model, &session)
                                               : paro_session_new_gpu(err, model->device, &session);
    if (status != PARO_STATUS_OK)
        return status;
    session->model = model;
    session->max_tokens = config->max_context;
    if (options != NULL && options->max_tokens > 0)
        session->max_tokens = options->max_tokens;
    if (options != NULL)
        session->observer = options->observer;
    *out = session;
    return PARO_STATUS_OK;
}

void paro_session_free(paro_session *session)
{
    if (session == NULL)
        return;
    free(session->logits);
    session->backend->free(session);
}

const paro_model *paro_session_model(const paro_session *session)
{
    return session->model;
}

uint32_t paro_session_room(const paro_session *session)
{
    return session->max_tokens - session->n_tokens;
}

uint32_t paro_session_length(const paro_session *session)
{
    return session->n_tokens;
}

void paro_session_truncate(paro_session *session, uint32_t n_tokens)
{
    if (n_tokens < session->n_tokens) {
        session->n_tokens = n_tokens;
        session->n_last = 0;
    }
}

uint32_t paro_session_grown_capacity(const paro_session *session, uint32_t capacity,
                                     uint32_t n_tokens)
{
    const uint32_t first =
        session->first_capacity > 0 ? session->first_capacity : PARO_SESSION_FIRST_CAPACITY;
    uint64_t grown = capacity == 0 ? first : (uint64_t)capacity * 2;
    if (grown < n_tokens)
        grown = n_tokens;
    if (grown > session->max_tokens)
        grown = session->max_tokens;
    return (uint32_t)grown;
}

static paro_status reserve_logits(paro_error *err, paro_session *session, size_t n_rows)
{
    const size_t vocab = session->model->config.vocab;
    if (session->n_logit_rows >= n_rows)
        return PARO_STATUS_OK;
    free(session->logits);
    session->n_logit_rows = 0;
    session->logits = malloc(n_rows * vocab * sizeof(float));
    if (session->logits == NULL)
        return paro_fail_memory(err, n_rows * vocab * sizeof(float), "logits");
    session->n_logit_rows = n_rows;
    return PARO_STATUS_OK;
}

/* Hands the logits of the chunk's m tokens to `rows`, a batch at a time. `offset` is the chunk's
 * first token, counted from the first of the call. */
static paro_status hand_logits(paro_error *err, paro_session *session, size_t offset, size_t m,
                               paro_logits_fn *rows, void *context)
{
    size_t batch = LOGITS_FLOATS / session->model->config.vocab;
    batch = batch < 1 ? 1 : batch > m ? m : batch;
    paro_status status = reserve_logits(err, session, batch);
    for (size_t first = 0; first < m && status == PARO_STATUS_OK; first += batch) {
        size_t n_rows = m - first < batch ? m - first : batch;
        status = session->backend->logits(err, session, first, n_rows, session->logits);
        if (status == PARO_STATUS_OK)
            status = rows(err, context, offset + first, n_rows, session->logits);
    }
    return status;
}

/* The likeliest token after the last of the chunk's m. */
static paro_status find_best(paro_error *err, paro_session *session, size_t m, int32_t *id)
{
    const uint32_t vocab = session->model->config.vocab;
    if (session->backend->best != NULL)
        return session->backend->best(err, session, id);
    paro_status status = reserve_logits(err, session, 1);
    if (status == PARO_STATUS_OK)
        status = session->backend->logits(err, session, m - 1, 1, session->logits);
    if (status != PARO_STATUS_OK)
        return status;
    bool finite = true;
    for (uint32_t i = 0; i < vocab && finite; i++)
        finite = isfinite(session->logits[i]);
    *id = finite ? paro_argmax(session->logits, vocab) : -1;
    return status;
}

static paro_status check_tokens(paro_error *err, const paro_session *session, const int32_t *tokens,
                                size_t n_tokens)
{
    const uint32_t vocab = session->model->config.vocab;
    if (n_tokens == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "expected at least one token to read");
    if (n_tokens > session->max_tokens - session->n_tokens)
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "%zu more tokens after %u would exceed the limit of %u tokens", n_tokens,
                         session->n_tokens, session->max_tokens);
    for (size_t i = 0; i < n_tokens; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= vocab)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "token %zu: expected an id from 0 to %u, found %d", i, vocab - 1,
                             tokens[i]);
    return PARO_STATUS_OK;
}

/* What is wanted of the tokens that are read; members may be NULL. */
typedef struct wanted {
    float *last_logits;
    int32_t *best;
    paro_logits_fn *rows;
    void *context;
} wanted;

static paro_status append(paro_error *err, paro_session *session, const int32_t *tokens,
                          size_t n_tokens, const wanted *want)
{
    const uint32_t before = session->n_tokens;
    paro_status status = check_tokens(err, session, tokens, n_tokens);
    for (size_t at = 0; at < n_tokens && status == PARO_STATUS_OK;) {
        size_t m = n_tokens - at;
        if (m > PARO_SESSION_CHUNK_TOKENS)
            m = PARO_SESSION_CHUNK_TOKENS;
        status = session->backend->read(err, session, tokens + at, m, at, n_tokens, &m);
        if (status == PARO_STATUS_OK && want->rows != NULL)
            status = hand_logits(err, session, at, m, want->rows, want->context);
        if (status == PARO_STATUS_OK && want->last_logits != NULL && at + m == n_tokens)
            status = session->backend->logits(err, session, m - 1, 1, want->last_logits);
        if (status == PARO_STATUS_OK && want->best != NULL && at + m == n_tokens)
            status = find_best(err, session, m, want->best);
        session->n_tokens += (uint32_t)m;
        session->n_last = (uint32_t)m;
        at += m;
    }
    if (status != PARO_STATUS_OK) {
        session->n_tokens = before;
        session->n_last = 0;
    }
    return status;
}

paro_status paro_session_last_logits(paro_error *err, paro_session *session, float *logits)
{
    if (session->n_last == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "expected a session that has just read, found one that has not");
    return session->backend->logits(err, session, session->n_last - 1, 1, logits);
}

paro_status paro_session_append(paro_error *err, paro_session *session, const int32_t *tokens,
                                size_t n_tokens, float *last_logits)
{
    return append(err, session, tokens, n_tokens, &(wanted){.last_logits = last_logits});
}

paro_status paro_session_append_all(paro_error *err, paro_session *session, const int32_t *tokens,
                                    size_t n_tokens, paro_logits_fn *rows, void *context)
{
    return append(err, session, tokens, n_tokens, &(wanted){.rows = rows, .context = context});
}

paro_status paro_session_append_best(paro_error *err, paro_session *session, const int32_t *tokens,
                                     size_t n_tokens, int32_t *id)
{
    return append(err, session, tokens, n_tokens, &(wanted){.best = id});
}

/* Reads one after another. */
static paro_status read_each_alone(paro_error *err, paro_session *const *sessions,
                                   size_t n_sessions, const int32_t *tokens, float *logits)
{
    const size_t vocab = sessions[0]->model->config.vocab;
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < n_sessions && status == PARO_STATUS_OK; i++) {
        size_t n_read;
        status = sessions[i]->backend->read(err, sessions[i], tokens + i, 1, 0, 1, &n_read);
        if (status == PARO_STATUS_OK)
            status = sessions[i]->backend->logits(err, sessions[i], 0, 1, logits + i * vocab);
    }
    return status;
}

paro_status paro_session_append_each(paro_error *err, paro_session *const *sessions,
                                     size_t n_sessions, const int32_t *tokens, float *logits)
{
    const paro_session_backend *backend = sessions[0]->backend;
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < n_sessions && status == PARO_STATUS_OK; i++)
        status = check_tokens(err, sessions[i], tokens + i, 1);
    if (status == PARO_STATUS_OK)
        status = backend->read_each == NULL
                     ? read_each_alone(err, sessions, n_sessions, tokens, logits)
                     : backend->read_each(err, sessions, n_sessions, tokens, logits);
    for (size_t i = 0; i < n_sessions; i++) {
        sessions[i]->n_tokens += status == PARO_STATUS_OK;
        sessions[i]->n_last = 0;
    }
    return status;
}
