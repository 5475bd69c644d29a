/* SPDX-License-Identifier: MIT
 *
 * Sessions on several threads that share one model on a device: buckets and kernels are made while
 * others read. The device runs nothing, so that ThreadSanitizer can look on (test_gpu_session does
 * the same on the emulator, for the numbers).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "runtime/gpu_model.h"
#include "runtime/session.h"
#include "tests/fake_gpu.h"
#include "tests/quantise.h"

enum { N_THREADS = 4, N_TOKENS = 40, VOCAB = 2048 };

/* Of one thread; assertions of cmocka are for the test's own thread only. */
typedef struct reader {
    const paro_model *model;
    uint32_t first; /* tokens of the first call: another bucket for every thread */
    paro_status status;
    paro_error err;
    uint32_t length;
} reader;

static paro_status read_tokens(reader *r, paro_session *session, float *logits)
{
    int32_t tokens[N_TOKENS], id = 0;
    for (int32_t i = 0; i < N_TOKENS; i++)
        tokens[i] = i + 1;
    session->first_capacity = 4; /* grows in every call */
    paro_status status = paro_session_append(&r->err, session, tokens, r->first, logits);
    for (int i = 0; i < 3 && status == PARO_STATUS_OK; i++)
        status = paro_session_append_best(&r->err, session, tokens, 1, &id);
    if (status == PARO_STATUS_OK) {
        paro_session_truncate(session, 2);
        status = paro_session_append(&r->err, session, tokens, N_TOKENS - r->first, logits);
    }
    r->length = paro_session_length(session);
    return status;
}

static void *read_on_thread(void *context)
{
    reader *r = context;
    paro_session *session = NULL;
    float *logits = malloc(VOCAB * sizeof *logits);
    r->status = logits == NULL ? PARO_STATUS_OUT_OF_MEMORY
                               : paro_session_new(&r->err, r->model, NULL, &session);
    if (r->status == PARO_STATUS_OK)
        r->status = read_tokens(r, session, logits);
    paro_session_free(session);
    free(logits);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    paro_error err;
    static fake_gpu fake;
    paro_model *model = open_model(demo);
    fake_gpu_init(&fake, PARO_GPU_KIND_EMULATED, 90);
    const paro_kernels_options options = {.pool = model->pool};
    assert_ok(paro_gpu_model_new(&err, model, &fake.gpu, &options, &model->device));
    const size_t n_before = fake.n_allocated;
    reader readers[N_THREADS];
    pthread_t threads[N_THREADS];
    for (uint32_t i = 0; i < N_THREADS; i++) {
        readers[i] = (reader){.model = model, .first = 3 + i * 5};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on_thread, &readers[i]), 0);
    }
    for (uint32_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < N_THREADS; i++) {
        if (readers[i].status != PARO_STATUS_OK)
            fail_msg("thread %u: %s", i, readers[i].err.message);
        assert_int_equal(readers[i].length, 2 + N_TOKENS - readers[i].first);
    }
    assert_int_equal(fake.n_allocated, n_before);
    paro_model_free(model);
    assert_int_equal(fake.n_allocated, 0);
    assert_int_equal(fake.n_unloaded, fake.n_images);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
