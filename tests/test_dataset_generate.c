/* SPDX-License-Identifier: MIT
 *
 * calib/dataset_generate.c: what is drawn follows the model, the seed, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "calib/dataset.h"
#include "runtime/model.h"
#include "tests/support.h"

static paro_model *model; /* of two threads */
static paro_tokenizer *tokenizer;

static int open_all(void **state)
{
    (void)state;
    paro_error err;
    const paro_model_options options = {.n_threads = 2};
    assert_ok(paro_model_open(&err, "models/demo", &options, &model));
    assert_ok(paro_tokenizer_open(&err, "models/demo", &tokenizer));
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    paro_tokenizer_free(tokenizer);
    paro_model_free(model);
    return 0;
}

static void test_threads_and_seed(void **state)
{
    (void)state;
    paro_error err;
    paro_model *one_thread = NULL;
    paro_dataset_options options = {.n_train = 38, .n_validation = 3, .n_tokens = 12, .seed = 5};
    paro_dataset first = {0}, single = {0}, other = {0};
    const size_t n_ids = 41 * 12;
    assert_ok(
        paro_model_open(&err, "models/demo", &(paro_model_options){.n_threads = 1}, &one_thread));
    assert_ok(paro_dataset_generate(&err, model, tokenizer, &options, &first));
    assert_ok(paro_dataset_generate(&err, one_thread, tokenizer, &options, &single));
    options.seed = 6;
    assert_ok(paro_dataset_generate(&err, model, tokenizer, &options, &other));
    assert_int_equal(first.n_train, 38);
    assert_int_equal(first.n_validation, 3);
    assert_int_equal(first.n_tokens, 12);
    assert_memory_equal(first.ids, single.ids, n_ids * sizeof *first.ids);
    assert_string_equal(first.sha256, single.sha256);
    assert_string_not_equal(first.sha256, other.sha256);
    for (size_t i = 0; i < n_ids; i++)
        assert_true(first.ids[i] >= 0 && first.ids[i] < (int32_t)model->config.vocab);
    for (size_t i = 1; i < 41; i++) /* no sample is another one again */
        assert_memory_not_equal(first.ids, first.ids + i * 12, 12 * sizeof *first.ids);
    paro_dataset_release(&first);
    paro_dataset_release(&single);
    paro_dataset_release(&other);
    paro_model_free(one_thread);
}

/* Sum of -log p of the tokens at, at + 1, … of a text, from the model alone. */
typedef struct likelihood {
    const int32_t *ids;
    size_t n_ids;
    double surprise; /* -log p of the ids */
    double entropy;  /* what it is on average for ids drawn from the model */
} likelihood;

static paro_status take_rows(paro_error *err, void *context, size_t first, size_t n_rows,
                             const float *logits)
{
    likelihood *l = context;
    const uint32_t vocab = model->config.vocab;
    (void)err;
    for (size_t i = 0; i < n_rows && first + i + 1 < l->n_ids; i++, logits += vocab) {
        double sum = 0, mean = 0;
        for (uint32_t k = 0; k < vocab; k++) {
            sum += exp((double)logits[k]);
            mean += exp((double)logits[k]) * (double)logits[k];
        }
        l->surprise += log(sum) - (double)logits[l->ids[first + i + 1]];
        l->entropy += log(sum) - mean / sum;
    }
    return PARO_STATUS_OK;
}

/* Text drawn at temperature 1 is as likely as the model says such text is: the mean surprise is the
 * mean entropy. (Greedy, or from a wrong position, or from another text's cache, it is far from
 * it.) */
static void test_temperature(void **state)
{
    (void)state;
    enum { N_SAMPLES = 64, N_TOKENS = 24 };
    paro_error err;
    const paro_dataset_options options = {.n_train = N_SAMPLES, .n_tokens = N_TOKENS, .seed = 1};
    paro_dataset set = {0};
    paro_session *session = NULL;
    likelihood all = {0};
    paro_model often_ends = *model;
    int32_t *comma, end;
    size_t n_comma;
    assert_ok(paro_tokenizer_encode(&err, tokenizer, ",", 1, NULL, &comma, &n_comma));
    assert_int_equal(n_comma, 1);
    end = often_ends.config.eos_ids[0] = comma[0];
    free(comma);
    assert_ok(paro_dataset_generate(&err, &often_ends, tokenizer, &options, &set));
    assert_ok(paro_session_new(&err, model, NULL, &session));
    size_t n_end = 0, n_predicted = 0;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        const int32_t *row = set.ids + i * N_TOKENS;
        for (size_t at = 0; at < N_TOKENS;) { /* texts begin behind end tokens */
            size_t n = 1;
            while (at + n < N_TOKENS && row[at + n - 1] != end)
                n++;
            n_end += row[at + n - 1] == end;
            assert_int_not_equal(row[at], end);
            all.ids = row + at;
            all.n_ids = n;
            n_predicted += n - 1;
            paro_session_truncate(session, 0);
            assert_ok(paro_session_append_all(&err, session, all.ids, n, take_rows, &all));
            at += n;
        }
    }
    const double surprise = all.surprise / (double)n_predicted,
                 entropy = all.entropy / (double)n_predicted;
    printf("%zu tokens: surprise %.4f, entropy %.4f, %zu ends\n", n_predicted, surprise, entropy,
           n_end);
    assert_true(fabs(surprise - entropy) < 0.2); /* some four standard deviations */
    assert_true(n_end > 20);
    paro_session_free(session);
    paro_dataset_release(&set);
}

/* First tokens are any but special ones. */
static void test_first_tokens(void **state)
{
    (void)state;
    paro_error err;
    const paro_dataset_options options = {.n_train = 4000, .n_tokens = 1, .seed = 2};
    paro_dataset set = {0};
    size_t n_different = 0;
    bool *seen = calloc(model->config.vocab, sizeof *seen);
    assert_non_null(seen);
    assert_ok(paro_dataset_generate(&err, model, tokenizer, &options, &set));
    for (size_t i = 0; i < options.n_train; i++) {
        char *text = NULL;
        size_t n_bytes = 0;
        assert_ok(paro_tokenizer_decode(&err, tokenizer, set.ids + i, 1, true, &text, &n_bytes));
        assert_true(n_bytes > 0);
        free(text);
        n_different += !seen[set.ids[i]];
        seen[set.ids[i]] = true;
    }
    assert_true(n_different > model->config.vocab * 3 / 4); /* 86 % expected */
    free(seen);
    paro_dataset_release(&set);

    /* Nothing but end tokens. */
    paro_model ends = *model;
    ends.config.vocab = 1;
    ends.config.eos_ids[0] = 0;
    set = (paro_dataset){0};
    assert_fails(paro_dataset_generate(&err, &ends, tokenizer, &options, &set),
                 PARO_STATUS_INVALID_ARGUMENT, "found special or unknown ones only");
    assert_null(set.ids);
}

typedef struct watcher {
    uint64_t done, total;
    int n_reports, stop_after;
} watcher;

static bool watch(void *context, const char *stage, uint64_t done, uint64_t total)
{
    watcher *w = context;
    assert_string_equal(stage, "generate samples");
    assert_true(done > w->done && done <= total);
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
    const paro_dataset_options options = {
        .n_train = 2, .n_validation = 1, .n_tokens = 16, .observer = &observer};
    paro_dataset set = {0};
    assert_ok(paro_dataset_generate(&err, model, tokenizer, &options, &set));
    assert_int_equal(w.done, 48);
    assert_int_equal(w.total, 48);
    assert_true(w.n_reports >= 8);
    paro_dataset_release(&set);
    w = (watcher){.stop_after = 3};
    assert_fails(paro_dataset_generate(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_CANCELLED, "generate samples: stopped on request");
    assert_int_equal(w.n_reports, 3);
    assert_null(set.ids);
}

/* To the end of the model's context, and not past it. */
static void test_limits(void **state)
{
    (void)state;
    paro_error err;
    paro_dataset set = {0};
    paro_model small = *model;
    small.config.max_context = 40;
    paro_dataset_options options = {.n_train = 1, .n_tokens = 40};
    assert_ok(paro_dataset_generate(&err, &small, tokenizer, &options, &set));
    paro_dataset_release(&set);
    options.n_tokens = 41;
    assert_fails(paro_dataset_generate(&err, &small, tokenizer, &options, &set),
                 PARO_STATUS_INVALID_ARGUMENT, "expected 1 to 40");
    options.n_tokens = 8;
    options.n_train = 0;
    assert_fails(paro_dataset_generate(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_INVALID_ARGUMENT, "at least 1 to train on");
}

/* NaN in the head is no sample. */
static void test_not_finite(void **state)
{
    (void)state;
    paro_error err;
    paro_model *damaged = NULL;
    paro_tensor_set *set = NULL;
    paro_dataset samples = {0};
    paro_tensor tensor = *paro_tensor_set_find(model->tensors, "lm_head.weight");
    uint16_t *values = malloc((size_t)tensor.n_bytes);
    assert_non_null(values);
    memcpy(values, tensor.data, (size_t)tensor.n_bytes);
    values[7] = 0x7E00;
    assert_ok(paro_tensor_set_new(&err, model->tensors, &set));
    assert_ok(paro_tensor_set_put(&err, set, &tensor, values));
    assert_ok(paro_model_new(&err, "damaged", &model->config, set, NULL, &damaged));
    const paro_dataset_options options = {.n_train = 2, .n_tokens = 8};
    assert_fails(paro_dataset_generate(&err, damaged, tokenizer, &options, &samples),
                 PARO_STATUS_FORMAT,
                 "damaged: expected finite logits, found NaN or infinity after token 0");
    assert_null(samples.ids);
    paro_model_free(damaged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_and_seed), cmocka_unit_test(test_temperature),
        cmocka_unit_test(test_first_tokens),     cmocka_unit_test(test_observer),
        cmocka_unit_test(test_limits),           cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
