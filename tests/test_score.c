/* SPDX-License-Identifier: MIT
 *
 * calib/score.c against figures of independent implementations: tests/goldens/perplexity.json (made
 * by make_model_goldens.py beside it), and those of ../shared/README.md.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <paro/eval.h>
#include <paro/quantize.h>

#include "base/json.h"
#include "calib/score.h"
#include "runtime/model.h"
#include "tests/support.h"

static paro_model *model;
static paro_tokenizer *tokenizer;
static char *text;
static size_t n_bytes;
static json_t *goldens;

static int open_all(void **state)
{
    (void)state;
    paro_error err;
    assert_ok(paro_model_open(&err, "models/demo", NULL, &model));
    assert_ok(paro_tokenizer_open(&err, "models/demo", &tokenizer));
    assert_ok(paro_file_read(&err, "tests/goldens/text.txt", 1 << 20, &text, &n_bytes));
    assert_ok(paro_json_load(&err, "tests/goldens/perplexity.json", 1 << 16, &goldens));
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    json_decref(goldens);
    free(text);
    paro_tokenizer_free(tokenizer);
    paro_model_free(model);
    return 0;
}

static double golden(const char *bits, const char *what)
{
    const json_t *value = json_object_get(json_object_get(goldens, bits), what);
    assert_true(json_is_real(value));
    return json_real_value(value);
}

static void assert_near(double found, double expected, double relative)
{
    if (!(fabs(found - expected) <= relative * fabs(expected)))
        fail_msg("expected %.8g within %g, found %.8g", expected, relative, found);
}

static void test_perplexity(void **state)
{
    (void)state;
    paro_error err;
    paro_eval_result r;
    assert_ok(paro_eval_text(&err, model, tokenizer, text, n_bytes, NULL, NULL, &r));
    assert_int_equal(r.n_windows, json_integer_value(json_object_get(goldens, "n_windows")));
    assert_int_equal(r.n_tokens, r.n_windows * 512);
    assert_int_equal(r.n_predicted, r.n_windows * 511);
    assert_near(r.perplexity, golden("16", "perplexity"), 1e-6);
    assert_near(r.nll, log(r.perplexity), 1e-12);
    assert_true(r.kl_mean == 0 && r.reference_perplexity == 0);
}

/* RTN in memory: perplexity, KL divergence and same-top rate, all as NumPy computed them. */
static void test_reference(void **state)
{
    (void)state;
    static const char *const bits[] = {"4", "3"};
    paro_error err;
    for (size_t i = 0; i < 2; i++) {
        paro_recipe *recipe = NULL;
        paro_plan *plan = NULL;
        paro_model *quantised = NULL;
        paro_eval_result r;
        char set[16];
        snprintf(set, sizeof set, "bits=%s", bits[i]);
        const char *sets[] = {set};
        const paro_recipe_options options = {.set = sets, .n_set = 1};
        const paro_quantize_options pseudo = {.format = PARO_FORMAT_PSEUDO};
        assert_ok(paro_recipe_open(&err, "rtn", &options, &recipe));
        assert_ok(paro_plan_make(&err, recipe, model, &plan));
        assert_ok(paro_quantize_in_memory(&err, model, plan, &pseudo, &quantised));
        assert_ok(paro_eval_text(&err, quantised, tokenizer, text, n_bytes, model, NULL, &r));
        assert_near(r.reference_perplexity, golden("16", "perplexity"), 1e-6);
        /* The pseudo format rounds weights to F16 once more than NumPy did. */
        assert_near(r.perplexity, golden(bits[i], "perplexity"), 1e-3);
        assert_near(r.kl_mean, golden(bits[i], "kl_mean"), 5e-3);
        assert_near(r.same_top, golden(bits[i], "same_top"), 5e-3);
        assert_true(r.kl_p50 <= r.kl_mean && r.kl_mean < r.kl_p90 && r.kl_p90 < r.kl_p99 &&
                    r.kl_p99 < r.kl_max);
        paro_model_free(quantised);
        paro_plan_free(plan);
        paro_recipe_free(recipe);
    }
}

/* A model against itself: nothing is lost. */
static void test_itself(void **state)
{
    (void)state;
    paro_error err;
    paro_eval_result r;
    const paro_eval_options options = {.context = 128, .max_tokens = 1000};
    assert_ok(paro_eval_text(&err, model, tokenizer, text, n_bytes, model, &options, &r));
    assert_int_equal(r.n_windows, 7);
    assert_int_equal(r.n_tokens, 896);
    assert_true(r.same_top == 1);
    assert_true(r.kl_max == 0 && r.kl_mean == 0);
    assert_true(r.reference_perplexity == r.perplexity);
}

/* Windows of ids: the figures of the text that they are. */
static void test_windows(void **state)
{
    (void)state;
    paro_error err;
    paro_eval_result of_text, of_ids;
    int32_t *ids;
    size_t n_ids;
    const paro_eval_options options = {.context = 64, .max_tokens = 400};
    assert_ok(paro_tokenizer_encode(&err, tokenizer, text, n_bytes, NULL, &ids, &n_ids));
    assert_ok(paro_eval_text(&err, model, tokenizer, text, n_bytes, model, &options, &of_text));
    assert_ok(paro_score_windows(&err, model, ids, 6, 64, model, NULL, &of_ids));
    of_text.seconds = of_ids.seconds;
    assert_memory_equal(&of_ids, &of_text, sizeof of_ids);
    assert_fails(paro_score_windows(&err, model, ids, 0, 64, model, NULL, &of_ids),
                 PARO_STATUS_INVALID_ARGUMENT, "eval: expected at least one window of 64 tokens");
    assert_fails(paro_score_windows(&err, model, ids, 1, 1, NULL, NULL, &of_ids),
                 PARO_STATUS_INVALID_ARGUMENT, "context: expected 2 to 1024");
    assert_fails(paro_score_windows(&err, model, ids, SIZE_MAX / 8, 64, model, NULL, &of_ids),
                 PARO_STATUS_OUT_OF_MEMORY, "the divergences");
    ids[5] = -1;
    assert_fails(paro_score_windows(&err, model, ids, 6, 64, NULL, NULL, &of_ids),
                 PARO_STATUS_INVALID_ARGUMENT, "token 5: expected an id from 0 to 2047, found -1");
    assert_memory_equal(&of_ids, &of_text, sizeof of_ids); /* untouched on failure */
    free(ids);
}

typedef struct watcher {
    int n_reports;
    uint64_t last_done, total;
    int stop_after;
} watcher;

static bool watch(void *context, const char *stage, uint64_t done, uint64_t total)
{
    watcher *w = context;
    assert_string_equal(stage, "eval");
    assert_true(done >= w->last_done && done <= total);
    w->last_done = done;
    w->total = total;
    return ++w->n_reports != w->stop_after;
}

static void test_progress(void **state)
{
    (void)state;
    paro_error err;
    paro_eval_result r = {.n_tokens = 77};
    watcher w = {0};
    paro_observer observer = {.context = &w, .progress = watch};
    const paro_eval_options options = {.max_tokens = 2048, .observer = &observer};
    assert_ok(paro_eval_text(&err, model, tokenizer, text, n_bytes, NULL, &options, &r));
    assert_int_equal(w.n_reports, 4 * 4); /* windows, layers */
    assert_int_equal(w.last_done, 2048);
    w = (watcher){0};
    assert_ok(paro_eval_text(&err, model, tokenizer, text, n_bytes, model, &options, &r));
    assert_int_equal(w.n_reports, 2 * 4 * 4);
    assert_int_equal(w.last_done, 2048);
    w = (watcher){.stop_after = 2};
    r.n_tokens = 77;
    assert_fails(paro_eval_text(&err, model, tokenizer, text, n_bytes, NULL, &options, &r),
                 PARO_STATUS_CANCELLED, "eval");
    assert_int_equal(r.n_tokens, 77); /* untouched on failure */
}

/* One NaN in the head: an error that says so, not a model that looks perfect. */
static void test_not_finite(void **state)
{
    (void)state;
    paro_error err;
    paro_eval_result r;
    paro_model *damaged = NULL;
    paro_tensor_set *set = NULL;
    paro_tensor tensor = *paro_tensor_set_find(model->tensors, "lm_head.weight");
    uint16_t *values = malloc((size_t)tensor.n_bytes);
    assert_non_null(values);
    memcpy(values, tensor.data, (size_t)tensor.n_bytes);
    values[7] = 0x7E00;
    assert_ok(paro_tensor_set_new(&err, model->tensors, &set));
    assert_ok(paro_tensor_set_put(&err, set, &tensor, values));
    assert_ok(paro_model_new(&err, "damaged", &model->config, set, NULL, &damaged));
    assert_fails(paro_eval_text(&err, damaged, tokenizer, text, n_bytes, NULL, NULL, &r),
                 PARO_STATUS_FORMAT, "damaged: expected finite logits");
    assert_fails(paro_eval_text(&err, damaged, tokenizer, text, n_bytes, model, NULL, &r),
                 PARO_STATUS_FORMAT, "damaged: expected finite logits");
    assert_fails(paro_eval_text(&err, model, tokenizer, text, n_bytes, damaged, NULL, &r),
                 PARO_STATUS_FORMAT, "damaged: expected finite logits");
    paro_model_free(damaged);
}

static void test_refused(void **state)
{
    (void)state;
    paro_error err;
    paro_eval_result r;
    assert_fails(paro_eval_text(&err, model, tokenizer, "too short", 9, NULL, NULL, &r),
                 PARO_STATUS_INVALID_ARGUMENT, "less than one window of 512");
    assert_fails(paro_eval_text(&err, model, tokenizer, text, n_bytes, NULL,
                                &(paro_eval_options){.context = 1}, &r),
                 PARO_STATUS_INVALID_ARGUMENT, "context: expected 2 to 1024");
    assert_fails(paro_eval_text(&err, model, tokenizer, text, n_bytes, NULL,
                                &(paro_eval_options){.context = 5000}, &r),
                 PARO_STATUS_INVALID_ARGUMENT, "found 5000");
}

/* The short figures of ../shared/README.md: the first 39 windows of each text, within 0.05 %. */
static void test_shared_figures(void **state)
{
    (void)state;
    static const char *const texts[] = {"wikitext2", "books", "docs", "code"};
    static const struct {
        const char *model;
        double perplexity[4];
    } rows[] = {
        {"demo", {13.6890, 24.6630, 10.8984, 6.3587}},
        {"qwen3", {20.1378, 39.7249, 17.3179, 8.1392}},
        {"llama", {18.9775, 37.4599, 16.5879, 7.9319}},
        {"llama-PARO", {19.2138, 37.9294, 16.9309, 8.0782}},
    };
    const size_t n_rows = TEST_SANITIZED ? 1 : sizeof rows / sizeof rows[0];
    paro_error err;
    if (TEST_SANITIZED)
        printf("SKIP test_score shared figures of three larger models: too slow with sanitizers\n");
    free(test_shared_path("test_score shared figures", "models"));
    for (size_t i = 0; i < n_rows; i++) {
        char name[128];
        paro_model *other = NULL;
        paro_tokenizer *its = NULL;
        snprintf(name, sizeof name, "models/%s", rows[i].model);
        char *dir = test_shared_path("test_score shared figures", name);
        assert_ok(paro_model_open(&err, dir, NULL, &other));
        assert_ok(paro_tokenizer_open(&err, dir, &its));
        for (int k = 0; k < 4; k++) {
            char *words;
            size_t n;
            paro_eval_result r;
            snprintf(name, sizeof name, "texts/%s_test.txt", texts[k]);
            char *path = test_shared_path("test_score shared figures", name);
            assert_ok(paro_file_read(&err, path, 1 << 24, &words, &n));
            assert_ok(paro_eval_text(&err, other, its, words, n, NULL,
                                     &(paro_eval_options){.max_tokens = 39 * 512}, &r));
            printf("%s %s: perplexity %.4f, expected %.4f\n", rows[i].model, texts[k], r.perplexity,
                   rows[i].perplexity[k]);
            assert_near(r.perplexity, rows[i].perplexity[k], 5e-4);
            free(words);
            free(path);
        }
        paro_tokenizer_free(its);
        paro_model_free(other);
        free(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_perplexity), cmocka_unit_test(test_reference),
        cmocka_unit_test(test_itself),     cmocka_unit_test(test_windows),
        cmocka_unit_test(test_progress),   cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_shared_figures),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
