/* SPDX-License-Identifier: MIT
 *
 * runtime/session.c: reading in pieces, forgetting, limits and wrong tokens.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>

#include "base/rng.h"
#include "runtime/session.h"
#include "tests/support.h"

enum { N_TOKENS = 600, VOCAB = 2048 }; /* more than one chunk, and than the cache's first size */

static paro_model *model;
static int32_t tokens[N_TOKENS];

static int open_model(void **state)
{
    (void)state;
    paro_error err;
    paro_rng rng;
    assert_ok(paro_model_open(&err, "models/demo", NULL, &model));
    paro_rng_seed(&rng, 5);
    for (int i = 0; i < N_TOKENS; i++)
        tokens[i] = (int32_t)paro_rng_below(&rng, VOCAB);
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    paro_model_free(model);
    return 0;
}

static paro_session *new_session(uint32_t max_tokens)
{
    paro_error err;
    paro_session *session = NULL;
    assert_ok(
        paro_session_new(&err, model, &(paro_session_options){.max_tokens = max_tokens}, &session));
    return session;
}

static void assert_logits_close(const float *a, const float *b)
{
    double difference = 0, sum = 0;
    for (int i = 0; i < VOCAB; i++) {
        difference += pow((double)a[i] - (double)b[i], 2);
        sum += pow((double)b[i], 2);
    }
    assert_true(sqrt(difference / sum) < 1e-5);
}

/* However a text is cut into calls, its last logits are the same. */
static void test_pieces(void **state)
{
    (void)state;
    paro_error err;
    static const size_t cuts[][4] = {
        {600, 0, 0, 0}, {1, 599, 0, 0}, {511, 1, 1, 87}, {300, 299, 1, 0}, {513, 87, 0, 0}};
    float whole[VOCAB], logits[VOCAB];
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        paro_session *session = new_session(0);
        size_t at = 0;
        for (int k = 0; k < 4 && cuts[i][k] > 0; k++) {
            assert_ok(paro_session_append(&err, session, tokens + at, cuts[i][k], logits));
            at += cuts[i][k];
        }
        assert_int_equal(at, N_TOKENS);
        assert_int_equal(paro_session_length(session), N_TOKENS);
        if (i == 0)
            memcpy(whole, logits, sizeof whole);
        else
            assert_logits_close(logits, whole);
        paro_session_free(session);
    }
}

static void test_truncate(void **state)
{
    (void)state;
    paro_error err;
    float first[VOCAB], again[VOCAB];
    paro_session *session = new_session(0);
    assert_ok(paro_session_append(&err, session, tokens, 40, first));
    assert_ok(paro_session_append(&err, session, tokens + 100, 20, NULL));
    paro_session_truncate(session, 100); /* there are only 60: no effect */
    assert_int_equal(paro_session_length(session), 60);
    paro_session_truncate(session, 39);
    assert_int_equal(paro_session_length(session), 39);
    assert_ok(paro_session_append(&err, session, tokens + 39, 1, again));
    assert_logits_close(again, first);
    paro_session_free(session);
}

/* A failing call reads nothing: what follows is as if it had never been. */
static void test_refused(void **state)
{
    (void)state;
    paro_error err;
    float before[VOCAB], after[VOCAB];
    const int32_t wrong[] = {1, 2, VOCAB}, negative[] = {-1};
    paro_session *session = new_session(10);
    assert_ok(paro_session_append(&err, session, tokens, 5, NULL));
    assert_ok(paro_session_append(&err, session, tokens + 5, 1, before));
    paro_session_truncate(session, 5);
    assert_fails(paro_session_append(&err, session, tokens, 6, NULL), PARO_STATUS_LIMIT,
                 "6 more tokens after 5 would exceed the limit of 10");
    assert_fails(paro_session_append(&err, session, wrong, 3, NULL), PARO_STATUS_INVALID_ARGUMENT,
                 "token 2: expected an id from 0 to 2047, found 2048");
    assert_fails(paro_session_append(&err, session, negative, 1, NULL),
                 PARO_STATUS_INVALID_ARGUMENT, "found -1");
    assert_fails(paro_session_append(&err, session, tokens, 0, NULL), PARO_STATUS_INVALID_ARGUMENT,
                 "at least one token");
    assert_int_equal(paro_session_length(session), 5);
    assert_int_equal(paro_session_room(session), 5);
    assert_ok(paro_session_append(&err, session, tokens + 5, 1, after));
    assert_memory_equal(after, before, sizeof after);
    paro_session_free(session);
    paro_session_free(NULL);
}

static paro_status stop_at_once(paro_error *err, void *context, size_t first, size_t n_rows,
                                const float *logits)
{
    (void)first, (void)n_rows, (void)logits;
    ++*(int *)context;
    return paro_fail(err, PARO_STATUS_CANCELLED, "enough");
}

static void test_callback_stops(void **state)
{
    (void)state;
    paro_error err;
    int n_calls = 0;
    paro_session *session = new_session(0);
    assert_fails(paro_session_append_all(&err, session, tokens, N_TOKENS, stop_at_once, &n_calls),
                 PARO_STATUS_CANCELLED, "enough");
    assert_int_equal(n_calls, 1);
    assert_int_equal(paro_session_length(session), 0);
    paro_session_free(session);
}

/* Two sessions of one model do not see each other. */
static void test_independent(void **state)
{
    (void)state;
    paro_error err;
    float alone[VOCAB], beside[VOCAB];
    paro_session *a = new_session(0), *b = new_session(0);
    assert_ok(paro_session_append(&err, a, tokens, 30, NULL));
    assert_ok(paro_session_append(&err, a, tokens + 30, 1, alone));
    paro_session_truncate(a, 0);
    assert_ok(paro_session_append(&err, a, tokens, 30, NULL));
    assert_ok(paro_session_append(&err, b, tokens + 200, 50, NULL));
    assert_ok(paro_session_append(&err, a, tokens + 30, 1, beside));
    assert_memory_equal(alone, beside, sizeof alone);
    paro_session_free(a);
    paro_session_free(b);
}

typedef struct reader {
    const paro_model *model;
    float logits[VOCAB];
    paro_status status;
} reader;

static void *read_in_thread(void *argument)
{
    reader *r = argument;
    paro_session *session = NULL;
    r->status = paro_session_new(NULL, r->model, NULL, &session);
    if (r->status == PARO_STATUS_OK)
        r->status = paro_session_append(NULL, session, tokens, 40, NULL);
    for (int i = 40; i < 44 && r->status == PARO_STATUS_OK; i++)
        r->status = paro_session_append(NULL, session, tokens + i, 1, r->logits);
    paro_session_free(session);
    return NULL;
}

/* Sessions in several threads share a model nobody has used yet: linears are prepared meanwhile. */
static void test_sessions_in_threads(void **state)
{
    (void)state;
    enum { READERS = 4 };
    static reader readers[READERS];
    paro_error err;
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        paro_model *other = NULL;
        pthread_t threads[READERS];
        assert_ok(paro_model_open(&err, "models/demo",
                                  &(paro_model_options){.n_threads = n_threads}, &other));
        for (int i = 0; i < READERS; i++) {
            readers[i] = (reader){.model = other};
            assert_int_equal(pthread_create(&threads[i], NULL, read_in_thread, &readers[i]), 0);
        }
        for (int i = 0; i < READERS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_int_equal(readers[i].status, PARO_STATUS_OK);
            assert_memory_equal(readers[i].logits, readers[0].logits, sizeof readers[0].logits);
        }
        paro_model_free(other);
    }
}

typedef struct watcher {
    uint64_t done, total;
    int n_reports, stop_after;
} watcher;

static bool watch(void *context, const char *stage, uint64_t done, uint64_t total)
{
    watcher *w = context;
    assert_string_equal(stage, "read");
    assert_true(done >= w->done && done <= total);
    w->done = done;
    w->total = total;
    return ++w->n_reports != w->stop_after;
}

static void test_observer(void **state)
{
    (void)state;
    paro_error err;
    watcher w = {0};
    const paro_observer observer = {.context = &w, .progress = watch};
    paro_session *session = NULL;
    assert_ok(
        paro_session_new(&err, model, &(paro_session_options){.observer = &observer}, &session));
    assert_ok(paro_session_append(&err, session, tokens, N_TOKENS, NULL));
    assert_int_equal(w.n_reports, 8); /* two chunks, four layers */
    assert_true(w.done == N_TOKENS && w.total == N_TOKENS);
    assert_ok(paro_session_append(&err, session, tokens, 1, NULL));
    assert_int_equal(w.n_reports, 8); /* one token is not worth a word */
    w = (watcher){.stop_after = 2};
    assert_fails(paro_session_append(&err, session, tokens, 300, NULL), PARO_STATUS_CANCELLED,
                 "read");
    assert_int_equal(paro_session_length(session), N_TOKENS + 1);
    paro_session_free(session);
    assert_fails(
        paro_session_new(&err, model, &(paro_session_options){.max_tokens = 1025}, &session),
        PARO_STATUS_INVALID_ARGUMENT, "expected at most 1024");
}

/* Sessions of different lengths take a token each: what each would get alone, and goes on from. */
static void test_each(void **state)
{
    (void)state;
    enum { N_SESSIONS = 5 };
    static const size_t lengths[N_SESSIONS] = {3, 300, 1, 255, 40};
    paro_error err;
    paro_session *together[N_SESSIONS], *alone[N_SESSIONS];
    int32_t next[N_SESSIONS];
    float *logits = malloc(N_SESSIONS * VOCAB * sizeof *logits), own[VOCAB];
    assert_non_null(logits);
    for (size_t i = 0; i < N_SESSIONS; i++) {
        together[i] = new_session(0);
        alone[i] = new_session(0);
        assert_ok(paro_session_append(&err, together[i], tokens + i, lengths[i], NULL));
        assert_ok(paro_session_append(&err, alone[i], tokens + i, lengths[i], NULL));
    }
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < N_SESSIONS; i++)
            next[i] = tokens[N_TOKENS - 1 - turn * N_SESSIONS - (int)i];
        assert_ok(paro_session_append_each(&err, together, N_SESSIONS, next, logits));
        for (size_t i = 0; i < N_SESSIONS; i++) {
            assert_ok(paro_session_append(&err, alone[i], next + i, 1, own));
            assert_logits_close(logits + i * VOCAB, own);
            assert_int_equal(paro_session_length(together[i]), paro_session_length(alone[i]));
        }
    }
    assert_fails(paro_session_last_logits(&err, together[1], own), PARO_STATUS_INVALID_ARGUMENT,
                 "has just read");
    assert_ok(paro_session_append(&err, together[1], tokens, 2, logits));
    assert_ok(paro_session_append(&err, alone[1], tokens, 2, own));
    assert_logits_close(logits, own);

    /* A backend that cannot take them together. */
    paro_session_backend plain = *together[0]->backend;
    const paro_session_backend *own_backend = together[0]->backend;
    plain.read_each = NULL;
    together[0]->backend = &plain;
    assert_ok(paro_session_append_each(&err, together, N_SESSIONS, next, logits));
    for (size_t i = 0; i < N_SESSIONS; i++) {
        assert_ok(paro_session_append(&err, alone[i], next + i, 1, own));
        assert_logits_close(logits + i * VOCAB, own);
    }
    together[0]->backend = own_backend;

    /* One that cannot: nobody has read. */
    next[4] = VOCAB;
    assert_fails(paro_session_append_each(&err, together, N_SESSIONS, next, logits),
                 PARO_STATUS_INVALID_ARGUMENT, "expected an id from 0 to 2047, found 2048");
    paro_session *full[] = {together[0], new_session(1)};
    assert_ok(paro_session_append(&err, full[1], tokens, 1, NULL));
    assert_fails(paro_session_append_each(&err, full, 2, next, logits), PARO_STATUS_LIMIT,
                 "exceed the limit of 1 tokens");
    assert_int_equal(paro_session_length(together[0]), lengths[0] + 4);
    paro_session_free(full[1]);
    for (size_t i = 0; i < N_SESSIONS; i++) {
        paro_session_free(together[i]);
        paro_session_free(alone[i]);
    }
    free(logits);
}

/* Results do not depend on the number of threads. */
static void test_threads(void **state)
{
    (void)state;
    paro_error err;
    float logits[3][VOCAB];
    for (int i = 0; i < 3; i++) {
        paro_model *other = NULL;
        paro_session *session = NULL;
        assert_ok(paro_model_open(&err, "models/demo", &(paro_model_options){.n_threads = i + 1},
                                  &other));
        assert_ok(paro_session_new(&err, other, NULL, &session));
        assert_ok(paro_session_append(&err, session, tokens, 70, NULL));
        assert_ok(paro_session_append(&err, session, tokens + 70, 1, logits[i]));
        paro_session_free(session);
        paro_model_free(other);
    }
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
    assert_memory_equal(logits[0], logits[2], sizeof logits[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),      cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_callback_stops),
        cmocka_unit_test(test_independent), cmocka_unit_test(test_each),
        cmocka_unit_test(test_threads),     cmocka_unit_test(test_sessions_in_threads),
        cmocka_unit_test(test_observer),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
