/* SPDX-License-Identifier: MIT
 *
 * runtime/gpu_session.c on the emulator, against the CPU's sessions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include <paro/generate.h>

#include "runtime/session.h"
#include "tests/gpu_fixture.h"

enum { VOCAB = 2048, N_TOKENS = 12 };
static const double tolerance = 5e-3;
static const int32_t tokens[N_TOKENS] = {5, 100, 999, 17, 321, 1024, 7, 8, 2000, 3, 64, 640};

static paro_model *cpu, *gpu; /* the demo model */

static int open_both(void **state)
{
    (void)state;
    cpu = open_model(demo);
    gpu = open_model(demo);
    emulate(gpu, NULL);
    return 0;
}

static int close_both(void **state)
{
    (void)state;
    paro_model_free(cpu);
    paro_model_free(gpu);
    return 0;
}

static paro_session *new_session(const paro_model *model, const paro_session_options *options)
{
    paro_error err;
    paro_session *session = NULL;
    assert_ok(paro_session_new(&err, model, options, &session));
    return session;
}

/* Logits after each of these tokens, read one by one or `step` at a time; [n][VOCAB]. */
static void read_all(const paro_model *model, size_t n, const size_t *steps, float *logits)
{
    paro_error err;
    paro_session *session = new_session(model, NULL);
    for (size_t at = 0, i = 0; at < n; at += steps[i++])
        assert_ok(paro_session_append(&err, session, tokens + at, steps[i],
                                      logits + (at + steps[i] - 1) * VOCAB));
    assert_int_equal(paro_session_length(session), n);
    paro_session_free(session);
}

static void assert_close(const float *found, const float *expected, const char *what)
{
    const double error = relative_error(found, expected, VOCAB);
    if (!(error < tolerance))
        fail_msg("%s: expected a relative error below %g, found %g", what, tolerance, error);
}

/* Prefill of five, then two decode steps. */
static void compare(const paro_model *a, const paro_model *b, const char *what)
{
    static const size_t steps[] = {5, 1, 1};
    static float expected[7 * VOCAB], found[7 * VOCAB];
    read_all(a, 7, steps, expected);
    read_all(b, 7, steps, found);
    for (size_t at = 4; at < 7; at++)
        assert_close(found + at * VOCAB, expected + at * VOCAB, what);
    printf("%s: relative error %.1e\n", what,
           relative_error(found + 6 * VOCAB, expected + 6 * VOCAB, VOCAB));
}

static void test_demo(void **state)
{
    (void)state;
    static const size_t single[] = {1, 1, 1, 1, 1}, together[] = {5};
    static float a[5 * VOCAB], b[5 * VOCAB];
    compare(cpu, gpu, "16 bits");
    read_all(gpu, 5, single, a);
    read_all(gpu, 5, together, b);
    assert_close(a + 4 * VOCAB, b + 4 * VOCAB, "one by one, and together");
}

static void test_quantised(void **state)
{
    (void)state;
    static const struct {
        paro_format format;
        const char *set, *name;
    } rows[] = {{PARO_FORMAT_AWQ, "group_size=128", "AWQ"},
                {PARO_FORMAT_AWQ, "keep=*.layers.{1.*v,2.*up}_proj", "AWQ, some of 16 bits"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *dir = test_dir_new(), *out = test_path(dir, "out");
        write_to(demo, out, rows[i].format, &rows[i].set, 1);
        paro_model *a = open_model(out), *b = open_model(out);
        emulate(b, NULL);
        compare(a, b, rows[i].name);
        paro_model_free(a);
        paro_model_free(b);
        free(out);
        test_dir_remove(dir);
    }
}

/* A bias of 16-bit values for a linear of the demo model. */
static void put_bias(paro_tensor_set *set, const char *linear, uint32_t n, paro_rng *rng)
{
    paro_error err;
    char name[128];
    snprintf(name, sizeof name, "%s.bias", linear);
    paro_tensor like = *paro_tensor_set_find(set, "model.norm.weight");
    uint16_t *values = malloc(n * sizeof *values);
    assert_non_null(values);
    for (uint32_t i = 0; i < n; i++)
        values[i] = paro_f16_from_f32(paro_rng_normal(rng));
    like.name = name;
    like.dtype = PARO_DTYPE_F16;
    like.rank = 1;
    like.shape[0] = n;
    assert_ok(paro_tensor_set_put(&err, set, &like, values));
}

/* The demo model with biases: of merged linears, of one among three, of the head; or with the
 * embedding as its head. */
static paro_model *open_changed(bool is_tied, paro_tensor_set **under)
{
    static const char *const biased[] = {
        "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj",
        "model.layers.0.self_attn.v_proj", "model.layers.0.self_attn.o_proj",
        "model.layers.1.self_attn.k_proj", "model.layers.1.mlp.up_proj",
        "model.layers.1.mlp.down_proj"};
    paro_error err;
    paro_rng rng;
    paro_tensor_set *set = NULL;
    paro_model *model = NULL;
    paro_rng_seed(&rng, 5);
    assert_ok(paro_tensor_set_open(&err, demo, under));
    assert_ok(paro_tensor_set_new(&err, *under, &set));
    for (size_t i = 0; !is_tied && i < paro_model_n_linears(cpu); i++)
        for (size_t k = 0; k < sizeof biased / sizeof biased[0]; k++)
            if (strcmp(paro_model_linear(cpu, i)->name, biased[k]) == 0)
                put_bias(set, biased[k], paro_model_linear(cpu, i)->n_out, &rng);
    if (!is_tied)
        put_bias(set, "lm_head", VOCAB, &rng);
    paro_config config = cpu->config;
    config.tied_embeddings = is_tied;
    assert_ok(paro_model_new(&err, demo, &config, set, NULL, &model));
    return model;
}

static void test_biases_and_tied(void **state)
{
    (void)state;
    for (int is_tied = 0; is_tied < 2; is_tied++) {
        paro_tensor_set *under[2] = {NULL};
        paro_model *a = open_changed(is_tied, &under[0]), *b = open_changed(is_tied, &under[1]);
        emulate(b, NULL);
        compare(a, b, is_tied ? "tied" : "biases");
        paro_model_free(a);
        paro_model_free(b);
        paro_tensor_set_free(under[0]);
        paro_tensor_set_free(under[1]);
    }
}

static void test_rotated(void **state)
{
    (void)state;
    static const char *const set[] = {"group_size=64"};
    char *dir = test_dir_new(), *out = test_path(dir, "out");
    paro_tensor_set *under[2] = {NULL};
    write_to(demo, out, PARO_FORMAT_PAROQUANT, set, 1);
    paro_model *a = open_rotated(out, &under[0]), *b = open_rotated(out, &under[1]);
    emulate(b, NULL);
    compare(a, b, "rotated");
    paro_model_free(a);
    paro_model_free(b);
    paro_tensor_set_free(under[0]);
    paro_tensor_set_free(under[1]);
    free(out);
    test_dir_remove(dir);
}

/* Where f16 does not hold a weight (of a token that is not read here), on an arch whose tensor
 * cores have no bf16: another dtype, another layout. */
static void test_bf16_turing(void **state)
{
    (void)state;
    paro_error err;
    static const char *const set[] = {"group_size=64"};
    static const size_t single[] = {1, 1};
    static float expected[2 * VOCAB], found[2 * VOCAB];
    char *dir = test_dir_new(), *out = test_path(dir, "out");
    write_to(demo, out, PARO_FORMAT_PAROQUANT, set, 1);
    paro_tensor_set *under = NULL, *changed = NULL;
    paro_model *a = open_model(out), *b = NULL;
    const paro_tensor *old = a->embedding;
    float *values = malloc(old->n_values * sizeof *values);
    assert_non_null(values);
    paro_f32_from_array(values, old->data, old->dtype, old->n_values);
    values[1500 * 256] = 70000;
    paro_tensor wide = *old;
    wide.dtype = PARO_DTYPE_F32;
    assert_ok(paro_tensor_set_open(&err, out, &under));
    assert_ok(paro_tensor_set_new(&err, under, &changed));
    assert_ok(paro_tensor_set_put(&err, changed, &wide, values));
    assert_ok(paro_model_new(&err, out, &a->config, changed, NULL, &b));
    emulate_arch(b, "sm_75", NULL);
    assert_int_equal(b->device->shape.dtype, PARO_KERNEL_DTYPE_BF16);
    assert_string_equal(b->device->blocks[3].linears[PARO_STEP_DOWN].layout, "awq");
    read_all(a, 2, single, expected);
    read_all(b, 2, single, found);
    const double error = relative_error(found + VOCAB, expected + VOCAB, VOCAB);
    printf("bf16 on sm_75: relative error %.1e\n", error);
    assert_true(error < 4e-2);
    paro_model_free(a);
    paro_model_free(b);
    paro_tensor_set_free(under);
    free(out);
    test_dir_remove(dir);
}

/* What was cut off is as if it had never been read; decoding goes on through the same graph. */
static void test_truncate(void **state)
{
    (void)state;
    paro_error err;
    static float first[VOCAB], again[VOCAB];
    paro_session *session = new_session(gpu, NULL);
    assert_ok(paro_session_append(&err, session, tokens, 5, NULL));
    assert_ok(paro_session_append(&err, session, tokens + 5, 1, first));
    assert_ok(paro_session_append(&err, session, tokens + 8, 1, NULL));
    assert_ok(paro_session_append(&err, session, tokens + 9, 2, NULL));
    paro_session_truncate(session, 5);
    assert_ok(paro_session_append(&err, session, tokens + 5, 1, again));
    assert_memory_equal(again, first, sizeof first);
    paro_session_free(session);
}

typedef struct rows {
    float logits[N_TOKENS][VOCAB];
    size_t n;
    size_t stop_at;
} rows;

static paro_status take_rows(paro_error *err, void *context, size_t first, size_t n_rows,
                             const float *logits)
{
    rows *r = context;
    assert_int_equal(first, r->n);
    memcpy(r->logits[first], logits, n_rows * VOCAB * sizeof *logits);
    r->n += n_rows;
    return r->n > r->stop_at ? paro_fail(err, PARO_STATUS_CANCELLED, "enough") : PARO_STATUS_OK;
}

static void test_all_rows(void **state)
{
    (void)state;
    paro_error err;
    static rows a, b;
    a = b = (rows){.stop_at = N_TOKENS};
    paro_session *x = new_session(cpu, NULL), *y = new_session(gpu, NULL);
    assert_ok(paro_session_append_all(&err, x, tokens, 7, take_rows, &a));
    assert_ok(paro_session_append_all(&err, y, tokens, 7, take_rows, &b));
    assert_int_equal(b.n, 7);
    for (size_t i = 0; i < 7; i++)
        assert_close(b.logits[i], a.logits[i], "all rows");
    b = (rows){.stop_at = 0};
    assert_fails(paro_session_append_all(&err, y, tokens, 7, take_rows, &b), PARO_STATUS_CANCELLED,
                 "enough");
    assert_int_equal(paro_session_length(y), 7);
    paro_session_free(x);
    paro_session_free(y);
}

/* The likeliest token, found on the device: after one token, and after several. */
static void test_best(void **state)
{
    (void)state;
    paro_error err;
    static float logits[VOCAB];
    int32_t id = -2;
    paro_session *session = new_session(gpu, NULL);
    for (size_t n = 5; n > 0; n = n == 5 ? 1 : 0) {
        paro_session_truncate(session, 0);
        assert_ok(paro_session_append(&err, session, tokens, n, logits));
        paro_session_truncate(session, 0);
        assert_ok(paro_session_append_best(&err, session, tokens, n, &id));
        int32_t best = 0;
        for (int32_t i = 0; i < VOCAB; i++)
            best = logits[i] > logits[best] ? i : best;
        assert_int_equal(id, best);
    }
    paro_session_free(session);
}

/* The KV cache grows past its first capacity, twice, and keeps what is in it. */
static void test_growth(void **state)
{
    (void)state;
    paro_error err;
    static float expected[VOCAB], found[VOCAB];
    paro_session *x = new_session(cpu, NULL), *y = new_session(gpu, NULL);
    y->first_capacity = 5;
    assert_ok(paro_session_append(&err, x, tokens, 11, NULL));
    assert_ok(paro_session_append(&err, x, tokens + 11, 1, expected));
    assert_ok(paro_session_append(&err, y, tokens, 5, NULL));
    for (size_t i = 5; i < 12; i++)
        assert_ok(paro_session_append(&err, y, tokens + i, 1, found));
    assert_close(found, expected, "grown");
    paro_session_free(x);
    paro_session_free(y);
}

typedef struct watcher {
    uint64_t done, total;
    size_t n;
    bool stop;
} watcher;

static bool watch(void *context, const char *stage, uint64_t done, uint64_t total)
{
    watcher *w = context;
    assert_string_equal(stage, "read");
    w->done = done;
    w->total = total;
    w->n++;
    return !w->stop;
}

/* Limits, wrong tokens and cancelling leave the session as it was. */
static void test_refused(void **state)
{
    (void)state;
    paro_error err;
    watcher w = {0};
    static float before[VOCAB], after[VOCAB];
    const paro_observer observer = {.context = &w, .progress = watch};
    const int32_t wrong[] = {1, 2, VOCAB};
    paro_session *session =
        new_session(gpu, &(paro_session_options){.max_tokens = 10, .observer = &observer});
    assert_ok(paro_session_append(&err, session, tokens, 5, NULL));
    assert_true(w.n == 1 && w.done == 5 && w.total == 5);
    assert_ok(paro_session_append(&err, session, tokens + 5, 1, before));
    assert_int_equal(w.n, 1);
    paro_session_truncate(session, 5);
    assert_fails(paro_session_append(&err, session, tokens, 6, NULL), PARO_STATUS_LIMIT,
                 "limit of 10");
    assert_fails(paro_session_append(&err, session, wrong, 3, NULL), PARO_STATUS_INVALID_ARGUMENT,
                 "found 2048");
    w.stop = true;
    assert_fails(paro_session_append(&err, session, tokens + 7, 5, NULL), PARO_STATUS_CANCELLED,
                 "read");
    assert_int_equal(paro_session_length(session), 5);
    assert_ok(paro_session_append(&err, session, tokens + 5, 1, after));
    assert_memory_equal(after, before, sizeof after);
    paro_session_free(session);
}

/* Two sessions of one model do not see each other. */
static void test_independent(void **state)
{
    (void)state;
    paro_error err;
    static float alone[VOCAB], beside[VOCAB];
    paro_session *a = new_session(gpu, NULL), *b = new_session(gpu, NULL);
    assert_ok(paro_session_append(&err, a, tokens, 5, NULL));
    assert_ok(paro_session_append(&err, a, tokens + 5, 1, alone));
    paro_session_truncate(a, 5);
    assert_ok(paro_session_append(&err, b, tokens + 6, 5, NULL));
    assert_ok(paro_session_append(&err, b, tokens + 2, 1, NULL));
    assert_ok(paro_session_append(&err, a, tokens + 5, 1, beside));
    assert_memory_equal(beside, alone, sizeof alone);
    paro_session_free(a);
    paro_session_free(b);
}

/* A NaN or an infinity in the head: no token is the likeliest, and generating says which. */
static void test_not_finite(void **state)
{
    (void)state;
    paro_error err;
    static const float values[] = {NAN, INFINITY};
    for (size_t i = 0; i < 2; i++) {
        char *dir = test_dir_new(), *bad = demo_with(dir, "lm_head.weight", 5 * 256, values[i]);
        paro_model *model = open_model(bad);
        int32_t id = 0;
        emulate(model, NULL);
        for (size_t n = 1; n <= 5; n += 4) { /* by the graph, and not */
            paro_session *session = new_session(model, NULL);
            assert_ok(paro_session_append_best(&err, session, tokens, n, &id));
            assert_int_equal(id, -1);
            paro_session_truncate(session, 0);
            assert_fails(
                paro_generate(&err, session, NULL, tokens, n, NULL, NULL, NULL, NULL, NULL),
                PARO_STATUS_FORMAT, "expected finite logits");
            paro_session_free(session);
        }
        paro_model_free(model);
        free(bad);
        test_dir_remove(dir);
    }
}

/* One of two threads; cmocka's assertions are for the test's own. */
typedef struct reader {
    int32_t first;
    paro_status status;
    paro_error err;
    float logits[2][VOCAB]; /* after several tokens, and after one more */
} reader;

static void *read_on_thread(void *context)
{
    reader *r = context;
    paro_session *session = NULL;
    r->status = paro_session_new(&r->err, gpu, NULL, &session);
    for (int i = 0; i < 3 && r->status == PARO_STATUS_OK; i++) {
        paro_session_truncate(session, 0);
        r->status = paro_session_append(&r->err, session, tokens + r->first, 5, r->logits[0]);
        if (r->status == PARO_STATUS_OK)
            r->status = paro_session_append(&r->err, session, tokens, 1, r->logits[1]);
    }
    paro_session_free(session);
    return NULL;
}

/* The same at the same time on two threads. */
static void test_threads(void **state)
{
    (void)state;
    static reader alone[2], beside[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        alone[i].first = beside[i].first = 3 * i;
        read_on_thread(&alone[i]);
        assert_int_equal(alone[i].status, PARO_STATUS_OK);
    }
    assert_memory_not_equal(alone[0].logits, alone[1].logits, sizeof alone[0].logits);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on_thread, &beside[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 2; i++) {
        if (beside[i].status != PARO_STATUS_OK)
            fail_msg("%s", beside[i].err.message);
        assert_memory_equal(beside[i].logits, alone[i].logits, sizeof alone[i].logits);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_demo),
        cmocka_unit_test(test_quantised),
        cmocka_unit_test(test_rotated),
        cmocka_unit_test(test_bf16_turing),
        cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_all_rows),
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_independent),
        cmocka_unit_test(test_biases_and_tied),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
