/* SPDX-License-Identifier: MIT
 *
 * What the rest of the runtime asks of a session besides include/paro/model.h, and what stands
 * behind one: the CPU (session_cpu.c) or a GPU (gpu_session.c).
 */
#ifndef PARO_RUNTIME_SESSION_H
#define PARO_RUNTIME_SESSION_H

#include <paro/model.h>

#include "base/error.h"

const paro_model *paro_session_model(const paro_session *session);

/* Tokens that can still be read. */
uint32_t paro_session_room(const paro_session *session);

/* What reads tokens. The front (session.c) checks arguments, cuts a text into chunks and counts;
 * session->n_tokens are those before the chunk in all of these. */
typedef struct paro_session_backend {
    /* The forward pass over the next tokens, 1 .. `n_tokens` of them: *n_read receives how many,
     * the chunk. Reports "read" progress where n_total > 1: `at` tokens of n_total come before. */
    paro_status (*read)(paro_error *err, paro_session *session, const int32_t *tokens,
                        size_t n_tokens, size_t at, size_t n_total, size_t *n_read);
    /* The forward pass over one token of each of several sessions, and the logits after them,
     * [n_sessions, vocab]; NULL: the front has them read one after another. */
    paro_status (*read_each)(paro_error *err, paro_session *const *sessions, size_t n_sessions,
                             const int32_t *tokens, float *logits);
    /* Logits of rows first .. first + n_rows - 1 of the chunk just read, [n_rows, vocab]. */
    paro_status (*logits)(paro_error *err, paro_session *session, size_t first, size_t n_rows,
                          float *logits);
    /* The id with the highest logit after the last row of the chunk just read, or -1 where one of
     * the logits is not finite; NULL: the front finds it among the logits. */
    paro_status (*best)(paro_error *err, paro_session *session, int32_t *id);
    void (*free)(paro_session *session);
} paro_session_backend;

/* The first member of a backend's own struct. */
struct paro_session {
    const paro_session_backend *backend;
    const paro_model *model;
    const paro_observer *observer;
    uint32_t max_tokens;
    uint32_t n_tokens;       /* changes only when a call succeeds */
    uint32_t n_last;         /* tokens of the chunk read last; 0: none, or not as it was */
    uint32_t first_capacity; /* of the KV cache, doubled when full; 0: the usual. For tests */
    float *logits;           /* the front's scratch */
    size_t n_logit_rows;
};

enum {
    PARO_SESSION_CHUNK_TOKENS = 512,  /* read at a time: amortises unpacking weights */
    PARO_SESSION_FIRST_CAPACITY = 256 /* tokens of a KV cache; doubled when full */
};

/* The capacity to grow to from `capacity` for n_tokens in all. */
uint32_t paro_session_grown_capacity(const paro_session *session, uint32_t capacity,
                                     uint32_t n_tokens);

paro_status paro_session_new_cpu(paro_error *err, const paro_model *model, paro_session **out);

/* As paro_session_append, but gives the likeliest token instead of the logits; -1 where one of them
 * is not finite. */
paro_status paro_session_append_best(paro_error *err, paro_session *session, const int32_t *tokens,
                                     size_t n_tokens, int32_t *id);

/* One more token in each of n_sessions (>= 1) different sessions of one model, and the logits after
 * them, [n_sessions, vocab]. On the CPU the weights are read once for all of them; each session
 * gets what it would get alone but for rounding. Where it fails nothing is read. Reports no
 * progress. */
paro_status paro_session_append_each(paro_error *err, paro_session *const *sessions,
                                     size_t n_sessions, const int32_t *tokens, float *logits);

/* The logits [vocab] after the last token, right after a call that read it and succeeded. */
paro_status paro_session_last_logits(paro_error *err, paro_session *session, float *logits);

#endif
