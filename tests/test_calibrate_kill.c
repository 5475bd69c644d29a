/* SPDX-License-Identifier: MIT
 *
 * kill -9 while a model is calibrated: the same command goes on after the last finished block, and
 * the checkpoint is the undisturbed run's to the bit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/quantize.h>
#include <paro/tokenizer.h>

#include <signal.h>
#include <sys/wait.h>

#include "tests/support.h"

enum { N_KILLS = TEST_SANITIZED ? 3 : 6 };

/* Dies at the n-th report of progress. */
typedef struct countdown {
    uint64_t left, n_reports;
} countdown;

static bool die_at_zero(void *context, const char *stage, uint64_t done, uint64_t total)
{
    (void)stage;
    (void)done;
    (void)total;
    countdown *c = context;
    c->n_reports++;
    if (c->left-- == 0)
        kill(getpid(), SIGKILL);
    return true;
}

/* Calibrates the demo model a little, into `out`; *n_reports (may be NULL) are those of progress.
 */
static paro_status calibrate(const char *out, const char *text, const char *recipe_name,
                             int n_threads, uint64_t die_at, uint64_t *n_reports)
{
    static const char *const set[] = {"samples=6", "validation=2", "tokens=24", "epochs=1"};
    paro_error err;
    paro_model *model = NULL;
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    paro_tokenizer *tokenizer = NULL;
    countdown c = {die_at, 0};
    const paro_observer observer = {.context = &c, .progress = die_at_zero};
    const paro_text_source source = {.path = text};
    const paro_model_options model_options = {.n_threads = n_threads};
    const paro_recipe_options recipe_options = {.set = set, .n_set = 4};
    paro_status status = paro_model_open(&err, "models/demo", &model_options, &model);
    if (status == PARO_STATUS_OK)
        status = paro_tokenizer_open(&err, "models/demo", &tokenizer);
    if (status == PARO_STATUS_OK)
        status = paro_recipe_open(&err, recipe_name, &recipe_options, &recipe);
    if (status == PARO_STATUS_OK)
        status = paro_plan_make(&err, recipe, model, &plan);
    const paro_quantize_options options = {
        .observer = &observer, .tokenizer = tokenizer, .texts = &source, .n_texts = 1};
    if (status == PARO_STATUS_OK)
        status = paro_quantize(&err, model, plan, out, &options, NULL);
    if (status != PARO_STATUS_OK)
        fprintf(stderr, "calibrate: %s\n", err.message);
    if (n_reports != NULL)
        *n_reports = c.n_reports;
    paro_plan_free(plan);
    paro_recipe_free(recipe);
    paro_tokenizer_free(tokenizer);
    paro_model_free(model);
    return status;
}

/* In a process of its own; true: it was killed. */
static bool run_child(const char *out, const char *text, uint64_t die_at)
{
    int code = 0;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(calibrate(out, text, "paroquant_best", 2, die_at, NULL) == PARO_STATUS_OK ? 0 : 1);
    assert_int_equal(waitpid(child, &code, 0), child);
    if (WIFSIGNALED(code)) {
        assert_int_equal(WTERMSIG(code), SIGKILL);
        return true;
    }
    assert_int_equal(WEXITSTATUS(code), 0);
    return false;
}

static char *read_checkpoint(const char *out, size_t *n_bytes)
{
    paro_error err;
    char *path = test_path(out, "model.safetensors"), *data = NULL;
    assert_ok(paro_file_read(&err, path, SIZE_MAX / 2, &data, n_bytes));
    free(path);
    return data;
}

static void assert_same_checkpoint(const char *a, const char *b)
{
    size_t n_a = 0, n_b = 0;
    char *x = read_checkpoint(a, &n_a), *y = read_checkpoint(b, &n_b);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(x, y, n_a);
    free(x);
    free(y);
}

static char *write_text(const char *dir)
{
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    for (size_t i = 0, n = 0; n < (1 << 16) - 64; i++)
        n += (size_t)sprintf(text + n, "The %zu men of house %zu saw %zu ships. ", i, i * i % 97,
                             i % 7);
    test_file_write(dir, "text.txt", text, strlen(text));
    free(text);
    return test_path(dir, "text.txt");
}

/* Killed again and again, each time a little further on. */
static void test_killed(void **state)
{
    (void)state;
    char *dir = test_dir_new(), *text = write_text(dir);
    char *whole = test_path(dir, "whole"), *out = test_path(dir, "out");
    char *work = test_path(dir, "out.paro-work");
    uint64_t n_reports = 0;
    paro_error err;
    assert_ok(calibrate(whole, text, "paroquant_best", 1, UINT64_MAX, &n_reports));
    int n_killed = 0;
    for (uint64_t i = 1; i <= N_KILLS; i++)
        n_killed += run_child(out, text, n_reports * i / (2 * N_KILLS)) ? 1 : 0;
    assert_int_equal(n_killed, N_KILLS);
    assert_false(paro_path_exists(out));
    assert_true(paro_path_exists(work)); /* some blocks were finished */
    assert_false(run_child(out, text, UINT64_MAX));
    assert_false(paro_path_exists(work));
    assert_same_checkpoint(whole, out);
    free(work);
    free(out);
    free(whole);
    free(text);
    test_dir_remove(dir);
}

/* Every recipe that comes with paro calibrates, to the same bits on one thread and on two. */
static void test_recipes(void **state)
{
    (void)state;
    static const char *const recipes[] = {"paroquant", "paroquant_butterfly"};
    paro_error err;
    char *dir = test_dir_new(), *text = write_text(dir);
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "one-%s", recipes[i]);
        char *one = test_path(dir, name);
        snprintf(name, sizeof name, "two-%s", recipes[i]);
        char *two = test_path(dir, name);
        assert_ok(calibrate(one, text, recipes[i], 1, UINT64_MAX, NULL));
        assert_ok(calibrate(two, text, recipes[i], 2, UINT64_MAX, NULL));
        assert_same_checkpoint(one, two);
        free(one);
        free(two);
    }
    free(text);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed),
                                       cmocka_unit_test(test_recipes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
