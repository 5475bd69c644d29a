/* SPDX-License-Identifier: MIT
 *
 * runtime/generate.c: what is emitted, when it ends, and what the session holds afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <paro/generate.h>

#include "base/buffer.h"
#include "runtime/model.h"
#include "tests/support.h"

static const char prompt_text[] = "The history of the city begins in";

static paro_model *model;
static paro_tokenizer *tokenizer;
static int32_t *prompt;
static size_t n_prompt;

static int open_all(void **state)
{
    (void)state;
    paro_error err;
    const paro_encode_options options = {.add_special_tokens = true};
    assert_ok(paro_model_open(&err, "models/demo", NULL, &model));
    assert_ok(paro_tokenizer_open(&err, "models/demo", &tokenizer));
    assert_ok(paro_tokenizer_encode(&err, tokenizer, prompt_text, strlen(prompt_text), &options,
                                    &prompt, &n_prompt));
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    free(prompt);
    paro_tokenizer_free(tokenizer);
    paro_model_free(model);
    return 0;
}

typedef struct sink {
    paro_buffer text;
    int n_calls;
    int stop_after; /* calls; 0: never */
} sink;

static bool take(void *context, const char *text, size_t n_bytes)
{
    sink *s = context;
    assert_true(n_bytes > 0);
    assert_true(paro_buffer_append(&s->text, text, n_bytes));
    return ++s->n_calls != s->stop_after;
}

/* Generates from a new session; the text is in out->text. */
static paro_generate_result generate(const paro_generate_options *options, uint32_t max_tokens,
                                     sink *out, uint32_t *length)
{
    paro_error err;
    paro_session *session = NULL;
    paro_generate_result result;
    assert_true(paro_buffer_append_text(&out->text, ""));
    assert_ok(
        paro_session_new(&err, model, &(paro_session_options){.max_tokens = max_tokens}, &session));
    assert_ok(paro_generate(&err, session, tokenizer, prompt, n_prompt, options, take, out, NULL,
                            &result));
    if (length != NULL)
        *length = paro_session_length(session);
    paro_session_free(session);
    return result;
}

/* What golden.json says greedy decoding gives. */
static const char greedy_text[] =
    " the 19th century, and the 19th century, the 19th century was the 19th century. The 19th "
    "century was the 19th century, and the 19th century was the 19th century. The 19th century";

static void test_greedy(void **state)
{
    (void)state;
    sink out = {0};
    uint32_t length;
    paro_generate_result r = generate(&(paro_generate_options){.n_tokens = 64}, 0, &out, &length);
    assert_string_equal(out.text.data, greedy_text);
    assert_int_equal(r.finish, PARO_FINISH_LENGTH);
    assert_int_equal(r.n_generated, 64);
    assert_int_equal(r.n_prompt, n_prompt);
    assert_int_equal(length, n_prompt + 63);
    assert_true(r.prefill_seconds > 0 && r.decode_seconds > 0);
    paro_buffer_free(&out.text);
}

static void test_session_limit(void **state)
{
    (void)state;
    sink out = {0};
    paro_generate_result r = generate(NULL, (uint32_t)n_prompt + 7, &out, NULL);
    assert_int_equal(r.n_generated, 8); /* the last is drawn, not read */
    assert_int_equal(r.finish, PARO_FINISH_LENGTH);
    paro_buffer_free(&out.text);
}

/* The text ends before the first stop string, wherever tokens and stop strings overlap. */
static void test_stop(void **state)
{
    (void)state;
    static const char *const stops[] = {"century, the",    "th century was", ".",        "y",
                                        "19th century. T", "city",           " the 19th"};
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        sink out = {0};
        const paro_generate_options options = {.n_tokens = 64, .stop = &stops[i], .n_stop = 1};
        paro_generate_result r = generate(&options, 0, &out, NULL);
        const char *at = strstr(greedy_text, stops[i]);
        size_t expected = at == NULL ? strlen(greedy_text) : (size_t)(at - greedy_text);
        assert_int_equal(r.finish, at == NULL ? PARO_FINISH_LENGTH : PARO_FINISH_STOP);
        assert_int_equal(out.text.n_bytes, expected);
        assert_memory_equal(out.text.data, greedy_text, expected);
        paro_buffer_free(&out.text);
    }
    sink out = {0};
    const paro_generate_options several = {.n_tokens = 64, .stop = stops, .n_stop = 4};
    generate(&several, 0, &out, NULL);
    assert_string_equal(out.text.data, " the 19th centur"); /* "y" comes first */
    paro_buffer_free(&out.text);
}

static void test_cancel(void **state)
{
    (void)state;
    sink out = {.stop_after = 3};
    paro_generate_result r = generate(&(paro_generate_options){.n_tokens = 64}, 0, &out, NULL);
    assert_int_equal(r.finish, PARO_FINISH_CANCELLED);
    assert_int_equal(out.n_calls, 3);
    assert_true(r.n_generated < 10);
    paro_buffer_free(&out.text);
}

static void test_seeds(void **state)
{
    (void)state;
    sink out[3] = {{{0}, 0, 0}};
    for (int i = 0; i < 3; i++) {
        const paro_generate_options options = {
            .n_tokens = 40, .temperature = 1, .top_k = 50, .top_p = 0.95F, .seed = i == 2 ? 2 : 1};
        generate(&options, 0, &out[i], NULL);
    }
    assert_string_equal(out[0].text.data, out[1].text.data);
    assert_string_not_equal(out[0].text.data, out[2].text.data);
    for (int i = 0; i < 3; i++)
        paro_buffer_free(&out[i].text);
}

/* With a hot sampler an end token comes soon enough: 2,000 draws of 2,048 ids. */
static void test_eos(void **state)
{
    (void)state;
    bool ended = false;
    for (uint64_t seed = 0; seed < 40 && !ended; seed++) {
        sink out = {0};
        const paro_generate_options hot = {.n_tokens = 900, .temperature = 50, .seed = seed};
        paro_generate_result r = generate(&hot, 0, &out, NULL);
        ended = r.finish == PARO_FINISH_EOS;
        if (ended) {
            assert_null(strstr(out.text.data, "<|end_of_text|>"));
            sink on = {0};
            paro_generate_options go_on = hot;
            go_on.ignore_eos = true;
            paro_generate_result longer = generate(&go_on, 0, &on, NULL);
            assert_int_equal(longer.n_generated, 900);
            assert_int_equal(longer.finish, PARO_FINISH_LENGTH);
            paro_buffer_free(&on.text);
        }
        paro_buffer_free(&out.text);
    }
    assert_true(ended);
}

/* Puts a copy of a [2048, hidden] tensor with eight more rows, each `scale` times row `like`. */
static void put_padded(paro_tensor_set *set, const char *name, size_t like, float scale)
{
    enum { MORE = 8 };
    paro_error err;
    paro_tensor tensor = *paro_tensor_set_find(model->tensors, name);
    const size_t n = (size_t)tensor.shape[1], rows = (size_t)tensor.shape[0];
    float *values = malloc((rows + MORE) * n * sizeof *values);
    assert_non_null(values);
    paro_f32_from_array(values, tensor.data, tensor.dtype, rows * n);
    for (size_t i = 0; i < MORE * n; i++)
        values[rows * n + i] = scale * values[like * n + i % n];
    tensor.dtype = PARO_DTYPE_F32;
    tensor.shape[0] = rows + MORE;
    assert_ok(paro_tensor_set_put(&err, set, &tensor, values));
}

/* An embedding padded beyond the tokenizer's vocabulary: such ids may be drawn, and have no text.
 */
static void test_padded_vocabulary(void **state)
{
    (void)state;
    enum { CENTURY = 1700, N = 8 }; /* " 19th century" has the id in third place */
    paro_error err;
    paro_tensor_set *set = NULL;
    paro_model *padded = NULL;
    paro_session *session = NULL;
    paro_generate_result result;
    sink out = {0};
    int32_t ids[N];
    bool was_drawn = false;
    paro_config config = model->config;
    config.vocab = 2056;
    assert_ok(paro_tensor_set_new(&err, model->tensors, &set));
    put_padded(set, "model.embed_tokens.weight", CENTURY, 1);
    put_padded(set, "lm_head.weight", CENTURY, 1.25F);
    assert_ok(paro_model_new(&err, "padded", &config, set, NULL, &padded));
    assert_ok(paro_session_new(&err, padded, NULL, &session));
    assert_ok(paro_generate(&err, session, tokenizer, prompt, n_prompt,
                            &(paro_generate_options){.n_tokens = N}, take, &out, ids, &result));
    for (int i = 0; i < N; i++)
        was_drawn = was_drawn || !paro_tokenizer_has(tokenizer, ids[i]);
    assert_true(was_drawn);
    assert_int_equal(result.n_generated, N);
    paro_session_free(session);
    paro_model_free(padded);
    paro_buffer_free(&out.text);
}

/* A NaN in the head is an error, and not the token that is left. */
static void test_not_finite(void **state)
{
    (void)state;
    paro_error err;
    paro_model *damaged = NULL;
    paro_session *session = NULL;
    paro_tensor_set *set = NULL;
    paro_tensor tensor = *paro_tensor_set_find(model->tensors, "lm_head.weight");
    uint16_t *values = malloc((size_t)tensor.n_bytes);
    assert_non_null(values);
    memcpy(values, tensor.data, (size_t)tensor.n_bytes);
    values[5 * 256] = 0x7E00;
    assert_ok(paro_tensor_set_new(&err, model->tensors, &set));
    assert_ok(paro_tensor_set_put(&err, set, &tensor, values));
    assert_ok(paro_model_new(&err, "damaged", &model->config, set, NULL, &damaged));
    assert_ok(paro_session_new(&err, damaged, NULL, &session));
    assert_fails(paro_generate(&err, session, NULL, prompt, n_prompt, NULL, NULL, NULL, NULL, NULL),
                 PARO_STATUS_FORMAT, "damaged: expected finite logits, found nan for id 5");
    paro_session_free(session);
    paro_model_free(damaged);
}

static void test_refused(void **state)
{
    (void)state;
    paro_error err;
    paro_session *session = NULL;
    paro_generate_result result;
    int32_t ids[4];
    const char *stop = "x";
    assert_ok(paro_session_new(&err, model, NULL, &session));
    assert_fails(paro_generate(&err, session, NULL, prompt, n_prompt,
                               &(paro_generate_options){.stop = &stop, .n_stop = 1}, NULL, NULL,
                               NULL, &result),
                 PARO_STATUS_INVALID_ARGUMENT, "stop strings need a tokenizer");
    assert_fails(
        paro_generate(&err, session, NULL, prompt, n_prompt, NULL, NULL, NULL, ids, &result),
        PARO_STATUS_INVALID_ARGUMENT, "n_tokens");
    assert_fails(paro_generate(&err, session, NULL, prompt, 0, NULL, NULL, NULL, NULL, &result),
                 PARO_STATUS_INVALID_ARGUMENT, "at least one token");
    assert_fails(paro_generate(&err, session, NULL, prompt, n_prompt,
                               &(paro_generate_options){.temperature = -1}, NULL, NULL, NULL,
                               &result),
                 PARO_STATUS_INVALID_ARGUMENT, "temperature");
    paro_session_free(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_session_limit),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_eos),
        cmocka_unit_test(test_padded_vocabulary),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
