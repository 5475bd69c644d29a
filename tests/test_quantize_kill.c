/* SPDX-License-Identifier: MIT
 *
 * kill -9 while a checkpoint is written: under its name there is nothing or all of it, and the next
 * run completes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/quantize.h>

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/rng.h"
#include "tests/support.h"

enum { AT_PROGRESS = 12, AT_RANDOM = TEST_SANITIZED ? 10 : 40 };

static const uint64_t shard_bytes = 1 << 20;

typedef struct countdown {
    uint64_t left;
} countdown;

static bool die_at_zero(void *context, const char *stage, uint64_t done, uint64_t total)
{
    (void)stage;
    (void)done;
    (void)total;
    countdown *c = context;
    if (c->left-- == 0)
        kill(getpid(), SIGKILL);
    return true;
}

/* What the child does; its exit status tells whether it succeeded. */
static int quantise(const char *out, uint64_t die_at)
{
    paro_error err;
    paro_model *model = NULL;
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    countdown c = {die_at};
    const paro_observer observer = {.context = &c, .progress = die_at_zero};
    const paro_quantize_options options = {
        .overwrite = true, .max_shard_bytes = shard_bytes, .observer = &observer};
    const paro_model_options model_options = {.n_threads = 2};
    paro_status status = paro_model_open(&err, "models/demo", &model_options, &model);
    if (status == PARO_STATUS_OK)
        status = paro_recipe_open(&err, "rtn", NULL, &recipe);
    if (status == PARO_STATUS_OK)
        status = paro_plan_make(&err, recipe, model, &plan);
    if (status == PARO_STATUS_OK)
        status = paro_quantize(&err, model, plan, out, &options, NULL);
    if (status != PARO_STATUS_OK)
        fprintf(stderr, "child: %s\n", err.message);
    paro_plan_free(plan);
    paro_recipe_free(recipe);
    paro_model_free(model);
    return status == PARO_STATUS_OK ? 0 : 1;
}

static void sleep_seconds(double seconds)
{
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

/* Runs a child; kills it after so many seconds where that is positive. True: it was killed. */
static bool run_child(const char *out, uint64_t die_at, double seconds)
{
    int code = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(quantise(out, die_at));
    if (seconds > 0) {
        sleep_seconds(seconds);
        kill(child, SIGKILL);
    }
    assert_int_equal(waitpid(child, &code, 0), child);
    if (WIFSIGNALED(code)) {
        assert_int_equal(WTERMSIG(code), SIGKILL);
        return true;
    }
    assert_int_equal(WEXITSTATUS(code), 0);
    return false;
}

/* True where it is there, and then all of it is. */
static bool check_output(const char *out)
{
    paro_error err;
    paro_model *model = NULL;
    if (!paro_path_exists(out))
        return false;
    assert_ok(paro_model_open(&err, out, NULL, &model));
    assert_ok(paro_model_check(&err, model));
    paro_model_info info;
    paro_model_get_info(model, &info);
    assert_string_equal(info.quant_method, "paroquant");
    paro_model_free(model);
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json",
                                        "generation_config.json", "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = test_path(out, files[i]);
        assert_true(paro_path_exists(path));
        free(path);
    }
    return true;
}

static double seconds_of_a_run(const char *out)
{
    double from = paro_clock_seconds();
    assert_false(run_child(out, UINT64_MAX, 0));
    return paro_clock_seconds() - from;
}

static void check_clean(const char *dir, const char *out)
{
    char *partial = test_path(dir, "out.paro-partial");
    assert_false(run_child(out, UINT64_MAX, 0));
    assert_true(check_output(out));
    assert_false(paro_path_exists(partial));
    free(partial);
}

static void test_killed_while_writing(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    for (uint64_t i = 0; i < AT_PROGRESS; i++) {
        assert_true(run_child(out, i * i, 0));
        assert_false(check_output(out));
    }
    check_clean(dir, out);
    /* Over an older one: that is there until the new one is. */
    for (uint64_t i = 0; i < AT_PROGRESS; i += 3) {
        assert_true(run_child(out, i * i, 0));
        assert_true(check_output(out));
    }
    check_clean(dir, out);
    free(out);
    test_dir_remove(dir);
}

static void test_killed_at_any_time(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    paro_error err;
    paro_rng rng;
    paro_rng_seed(&rng, 3);
    double seconds = seconds_of_a_run(out);
    int n_killed = 0;
    int n_there = 0;
    for (int i = 0; i < AT_RANDOM; i++) {
        bool fresh = i % 2 == 0;
        if (fresh && paro_path_exists(out))
            assert_ok(paro_remove_tree(&err, out));
        bool there_before = paro_path_exists(out);
        /* The later half holds syncing and renaming. */
        double moment = seconds * (0.05 + 1.05 * paro_rng_f64(&rng));
        bool killed = run_child(out, UINT64_MAX, moment);
        bool there = check_output(out);
        assert_true(there || (killed && !there_before));
        n_killed += killed;
        n_there += there;
    }
    assert_true(n_killed > 0);
    printf("killed %d of %d runs of %.3f s; complete afterwards: %d\n", n_killed, AT_RANDOM,
           seconds, n_there);
    check_clean(dir, out);
    free(out);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_while_writing),
        cmocka_unit_test(test_killed_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
