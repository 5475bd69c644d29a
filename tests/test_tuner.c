/* SPDX-License-Identifier: MIT
 *
 * Tuning end to end, with a worker of the test's own (tests/worker_support.h) whose times are made
 * up, and with the real one on the emulator; faults, interrupts, kill -9, shards, what is stored.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/wait.h>

#include "base/clock.h"
#include "base/rng.h"
#include "cache/cache.h"
#include "cache/layer.h"
#include "codegen/codegen.h"
#include "tests/support.h"

#include "tests/nvrtc_fixture.h"
#include "tests/worker_support.h"
#include "tuner/session.h"

static const char *const rotate_problem = "rotate:h=1024,m=16,group=128,krot=8,dtype=f16";
static const char *const swiglu_problem = "swiglu:n=512,m=4,dtype=f16";

typedef struct rows {
    paro_tune_row last;
    char config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    char reason[256];
    size_t n, n_from_cache, n_failed;
    uint32_t n_crashed, n_hung, n_wrong;
} rows;

static void take_row(void *context, const paro_tune_row *row)
{
    rows *r = context;
    r->last = *row;
    snprintf(r->config, sizeof r->config, "%s", row->config != NULL ? row->config : "");
    snprintf(r->reason, sizeof r->reason, "%s", row->reason != NULL ? row->reason : "");
    r->n++;
    r->n_from_cache += row->from_cache;
    r->n_failed += row->config == NULL;
    r->n_crashed += row->n_crashed;
    r->n_hung += row->n_hung;
    r->n_wrong += row->n_wrong;
}

typedef struct setup {
    char *dir, *path, *log;
    paro_cache *cache;
    paro_problems *problems;
    rows rows;
    const char *arguments[16];
    paro_tune_options options;
    paro_tune_limits limits;
} setup;

static paro_cache *open_cache(const char *path)
{
    paro_error err;
    paro_cache *cache = NULL;
    const paro_cache_options options = {.path = path};
    assert_ok(paro_cache_open(&err, &options, &cache));
    return cache;
}

static void begin(setup *s)
{
    paro_error err;
    memset(s, 0, sizeof *s);
    s->dir = test_dir_new();
    s->path = test_path(s->dir, "cache.db");
    s->log = test_path(s->dir, "log");
    s->cache = open_cache(s->path);
    assert_ok(paro_problems_new(&err, &s->problems));
    assert_ok(paro_problems_add(&err, s->problems, rotate_problem));
    assert_ok(paro_problems_add(&err, s->problems, swiglu_problem));
    s->arguments[0] = "--test-worker";
    s->arguments[1] = s->log;
    s->options = (paro_tune_options){.device = -1,
                                     .n_jobs = 2,
                                     .seed = 14,
                                     .worker = test_program(),
                                     .worker_args = s->arguments,
                                     .row = take_row,
                                     .row_context = &s->rows};
    s->limits = (paro_tune_limits){10, 10, 0.5};
}

static void end(setup *s)
{
    paro_problems_free(s->problems);
    paro_cache_free(s->cache);
    test_dir_remove(s->dir);
    free(s->path);
    free(s->log);
}

static paro_status tune(paro_error *err, setup *s, paro_tune_summary *summary)
{
    memset(&s->rows, 0, sizeof s->rows);
    return paro_tune_within(err, s->cache, s->problems, &s->options, &s->limits, summary);
}

static size_t n_measured(const setup *s)
{
    struct stat info;
    return stat(s->log, &info) == 0 ? (size_t)info.st_size : 0;
}

/* ---- what is stored ---------------------------------------------------------------------------
 */

static bool count_timing(void *context, const paro_cache_timing *row)
{
    (void)row;
    ++*(size_t *)context;
    return true;
}

static bool count_pruned(void *context, const paro_cache_timing *row)
{
    *(size_t *)context += strcmp(row->state, "pruned") == 0 && row->reason[0] != '\0';
    return true;
}

static size_t n_timings(paro_cache *cache)
{
    paro_error err;
    size_t n = 0;
    assert_ok(paro_cache_each_timing(&err, cache, NULL, NULL, count_timing, &n));
    return n;
}

static void test_winners_and_timings_are_stored(void **state)
{
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    begin(&s);
    s.options.strategy = "exhaustive";
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_problems, 2);
    assert_int_equal(summary.n_tuned, 2);
    assert_int_equal(summary.n_failed, 0);
    assert_int_equal(summary.n_workers_lost, 0);
    assert_string_equal(summary.clock, "host");
    assert_int_equal(s.rows.n, 2);
    assert_true(s.rows.last.median_us > 0);
    assert_true(s.rows.last.default_us >= s.rows.last.median_us);
    assert_int_equal(s.rows.last.n_timed, s.rows.last.n_candidates);
    assert_true(s.rows.last.occupancy == 0.5);

    /* The winner is the fastest config of the made-up times (to the tie rule). */
    paro_arena arena = {0};
    paro_problem problem;
    paro_cache_winner winner;
    char hash[PARO_SHA256_HEX_BYTES], text[PARO_PROBLEM_TEXT_BYTES];
    assert_ok(paro_problem_parse(&err, rotate_problem, &problem));
    paro_problem_print(&problem, text);
    assert_ok(paro_template_hash(&err, problem.family, hash));
    assert_ok(paro_cache_get_winner(&err, s.cache, text, summary.device_class, hash, NULL, &arena,
                                    &winner));
    paro_search search;
    paro_device_info info;
    paro_device_typical(paro_arch_find("sm_90"), &info);
    assert_ok(paro_search_new(&err, &problem, paro_arch_find("sm_90"), &info, &search));
    double best = 1e9;
    for (size_t i = 0; i < search.n; i++) {
        char config[PARO_KERNEL_CONFIG_TEXT_BYTES];
        paro_kernel_config_print(problem.family, &search.candidates[i].config, config);
        double us = test_worker_us(text, config);
        best = us < best ? us : best;
    }
    assert_true(winner.median_us <= 1.03 * best && winner.median_us >= best);
    assert_int_equal(winner.n_candidates, search.n);
    assert_string_equal(winner.clock, "host");
    assert_string_equal(winner.strategy, "exhaustive");
    assert_true(n_timings(s.cache) > search.n);
    paro_search_release(&search);
    paro_arena_release(&arena);

    /* Again: both come from the cache, and nothing is measured; unless it is asked for. */
    size_t n = n_measured(&s);
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_from_cache, 2);
    assert_int_equal(s.rows.n_from_cache, 2);
    assert_true(s.rows.last.median_us > 0);
    assert_int_equal(n_measured(&s), n);
    s.options.again = true;
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_tuned, 2);
    assert_true(n_measured(&s) > n);
    end(&s);
}

/* Also what was never run is a row with a reason; and it is not recalled as if it had been. */
static void test_every_candidate_is_a_row(void **state)
{
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    size_t n_pruned = 0;
    begin(&s);
    paro_problems_free(s.problems);
    assert_ok(paro_problems_new(&err, &s.problems));
    assert_ok(paro_problems_add(&err, s.problems,
                                "linear_w4:n=1024,k=4096,m=1,group=128,krot=8,dtype=f16"));
    assert_ok(tune(&err, &s, &summary));
    assert_true(s.rows.last.n_pruned > 0);
    assert_ok(paro_cache_each_timing(&err, s.cache, NULL, NULL, count_pruned, &n_pruned));
    assert_int_equal(n_pruned, s.rows.last.n_pruned);
    end(&s);
}

static void test_two_runs_have_the_same_winners(void **state)
{
    (void)state;
    paro_error err;
    char first[PARO_KERNEL_CONFIG_TEXT_BYTES] = "";
    for (int i = 0; i < 2; i++) {
        setup s;
        paro_tune_summary summary;
        begin(&s);
        s.options.seed = (uint64_t)(20 + i); /* the worker's times differ a little by seed */
        assert_ok(tune(&err, &s, &summary));
        if (i == 0)
            memcpy(first, s.rows.config, sizeof first);
        else
            assert_string_equal(first, s.rows.config);
        end(&s);
    }
}

static void test_faults_cost_their_rows(void **state)
{
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    begin(&s);
    s.options.strategy = "exhaustive";
    const char *const faults[] = {"crash",       "tokens=1,warps=2", "hang", "tokens=2,warps=2",
                                  "wrong",       "tokens=4,warps=1", "lost", "tokens=8,warps=1",
                                  "silent-exit", "tokens=1,warps=4"};
    memcpy(&s.arguments[2], faults, sizeof faults);
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_tuned, 2);
    assert_int_equal(summary.n_failed, 0);
    /* Seen once each: the next run knows of them. */
    assert_int_equal(summary.n_workers_lost, 4);
    assert_int_equal(s.rows.n_crashed, 3);
    assert_int_equal(s.rows.n_hung, 1);
    assert_int_equal(s.rows.n_wrong, 1);
    end(&s);
}

static void test_a_problem_none_of_whose_configs_run(void **state)
{
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    begin(&s);
    s.arguments[2] = "wrong";
    s.arguments[3] = "tokens="; /* rotate's, not swiglu's */
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_tuned, 1);
    assert_int_equal(summary.n_failed, 1);
    assert_int_equal(s.rows.n_failed, 1);
    paro_cache_info info;
    assert_ok(paro_cache_get_info(&err, s.cache, &info));
    assert_int_equal(info.n_winners, 1);
    assert_int_equal(info.n_damaged, 0);
    end(&s);
}

static void test_shards_are_all_problems(void **state)
{
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    begin(&s);
    s.options.n_shards = 2;
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_problems, 1);
    assert_non_null(strstr(s.rows.config, "tokens="));
    s.options.shard = 1;
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_tuned, 1);
    s.options.n_shards = 0;
    s.options.shard = 0;
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_from_cache, 2);
    s.options.shard = 3;
    s.options.n_shards = 3;
    assert_fails(tune(&err, &s, &summary), PARO_STATUS_INVALID_ARGUMENT, "expected 0 to 2");
    end(&s);
}

static void test_what_cannot_be_asked(void **state)
{
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    begin(&s);
    s.options.strategy = "luck";
    assert_fails(tune(&err, &s, &summary), PARO_STATUS_INVALID_ARGUMENT, "\"luck\"");
    s.options.strategy = NULL;
    s.options.worker = NULL;
    assert_fails(tune(&err, &s, &summary), PARO_STATUS_INVALID_ARGUMENT, "worker");
    s.options.worker = "/no/such/program";
    assert_fails(tune(&err, &s, &summary), PARO_STATUS_NOT_FOUND, "/no/such/program");
    end(&s);
}

/* ---- ended early ------------------------------------------------------------------------------
 */

static bool stop_at_count(void *context, const char *stage, uint64_t done, uint64_t total)
{
    (void)stage;
    (void)done;
    (void)total;
    return --*(int *)context > 0;
}

static void test_an_interrupt_keeps_what_is_done(void **state)
{
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    int n_left = 7;
    const paro_observer observer = {.context = &n_left, .progress = stop_at_count};
    begin(&s);
    s.options.observer = &observer;
    assert_fails(tune(&err, &s, &summary), PARO_STATUS_CANCELLED, "tune");
    size_t n = n_measured(&s);
    assert_true(n > 0);
    assert_int_equal(n_timings(s.cache), n); /* none is lost */
    s.options.observer = NULL;
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_tuned, 2);
    end(&s);
}

static void test_a_budget_leaves_the_rest(void **state)
{
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    begin(&s);
    s.arguments[2] = "slow";
    s.arguments[3] = "";
    s.options.budget_seconds = 0.05;
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_problems, 2);
    assert_int_equal(summary.n_tuned, 1); /* the first is begun in any case */
    end(&s);
}

/* kill -9 at a random moment: the cache is sound, and the next run has less to do. */
static void test_a_killed_tuner_leaves_a_sound_cache(void **state)
{
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    paro_cache_info info;
    paro_rng rng;
    paro_rng_seed(&rng, (uint64_t)getpid());
    begin(&s);
    s.arguments[2] = "slow";
    s.arguments[3] = "";
    paro_cache_free(s.cache);
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            const paro_cache_options options = {.path = s.path};
            if (paro_cache_open(NULL, &options, &s.cache) == PARO_STATUS_OK)
                paro_tune_within(NULL, s.cache, s.problems, &s.options, &s.limits, &summary);
            _exit(0);
        }
        usleep(60000 + (useconds_t)paro_rng_below(&rng, 100000));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        s.cache = open_cache(s.path);
        assert_ok(paro_cache_verify(&err, s.cache, &info));
        assert_int_equal(info.n_damaged, 0);
        /* The one in flight, and the one that was being written. */
        assert_true(n_timings(s.cache) + 2 * (size_t)(i + 1) >= n_measured(&s));
        paro_cache_free(s.cache);
    }
    s.cache = open_cache(s.path);
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_tuned + summary.n_from_cache, 2);
    assert_ok(paro_cache_verify(&err, s.cache, &info));
    assert_int_equal(info.n_damaged, 0);
    end(&s);
}

/* Eight tuners at once: none fails for another's sake, the winners are those of one alone. */
static void test_eight_tuners_one_cache(void **state)
{
    enum { N_TUNERS = 8 };
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    paro_cache_info info;
    pid_t tuners[N_TUNERS];
    begin(&s);
    assert_ok(tune(&err, &s, &summary));
    char alone[PARO_KERNEL_CONFIG_TEXT_BYTES];
    memcpy(alone, s.rows.config, sizeof alone);
    const size_t n_alone = n_timings(s.cache);
    paro_cache_free(s.cache);
    assert_int_equal(unlink(s.path), 0);
    for (int i = 0; i < N_TUNERS; i++) {
        tuners[i] = fork();
        assert_true(tuners[i] >= 0);
        if (tuners[i] != 0)
            continue;
        const paro_cache_options options = {.path = s.path};
        s.limits = (paro_tune_limits){60, 60, 60}; /* so many share the machine's cores */
        s.options.again = true;
        if (paro_cache_open(&err, &options, &s.cache) != PARO_STATUS_OK ||
            tune(&err, &s, &summary) != PARO_STATUS_OK) {
            fprintf(stderr, "tuner %d: %s\n", i, err.message);
            _exit(1);
        }
        paro_cache_free(s.cache);
        _exit(summary.n_tuned == 2 && strcmp(s.rows.config, alone) == 0 ? 0 : 2);
    }
    for (int i = 0; i < N_TUNERS; i++) {
        int status = 0;
        assert_int_equal(waitpid(tuners[i], &status, 0), tuners[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    s.cache = open_cache(s.path);
    assert_ok(paro_cache_verify(&err, s.cache, &info));
    assert_int_equal(info.n_damaged, 0);
    assert_true(info.n_timings >= n_alone);
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_from_cache, 2);
    assert_string_equal(s.rows.config, alone);
    end(&s);
}

/* ---- the real worker on the emulator ----------------------------------------------------------
 */

static void test_emulated(void **state)
{
    (void)state;
    paro_error err = {0};
    setup s;
    paro_tune_summary summary;
    begin(&s);
    paro_problems_free(s.problems);
    assert_ok(paro_problems_new(&err, &s.problems));
    assert_ok(paro_problems_add(&err, s.problems, "swiglu:n=64,m=2,dtype=f32"));
    s.arguments[0] = "--worker";
    s.arguments[1] = NULL;
    s.limits = (paro_tune_limits){0, 0, 60};
    paro_status status = tune(&err, &s, &summary);
    if (status == PARO_STATUS_UNSUPPORTED && strstr(err.message, "compiler") != NULL) {
        printf("SKIP test_tuner: no C++ compiler\n");
        fflush(stdout);
        end(&s);
        skip();
    }
    assert_ok(status);
    assert_int_equal(summary.n_tuned, 1);
    assert_int_equal(s.rows.n_wrong, 0);
    assert_string_equal(summary.clock, "host");
    assert_true(s.rows.last.median_us > 0);
    end(&s);
}

/* ---- a device newer than every arch -----------------------------------------------------------
 */

typedef struct code {
    size_t n, n_right;
} code;

static bool check_ptx(void *context, const paro_cache_kernel *kernel)
{
    code *c = context;
    const char *text = kernel->binary;
    c->n++;
    c->n_right += kernel->is_ptx && strcmp(kernel->arch, "compute_121") == 0 &&
                  kernel->n_bytes > 0 && text[kernel->n_bytes - 1] == '\0' &&
                  strstr(text, ".target sm_121") != NULL;
    return true;
}

/* It is given PTX, the probe too. A winner whose code is gone is tuned again. */
static void test_a_newer_device(void **state)
{
    (void)state;
    paro_error err;
    setup s;
    paro_tune_summary summary;
    code found = {0};
    paro_nvrtc_free(test_nvrtc("test_tuner"));
    begin(&s);
    s.arguments[2] = "capability";
    s.arguments[3] = "130";
    s.options.device = 0;
    s.options.nvrtc_library = getenv("PARO_NVRTC");
    paro_problems_free(s.problems);
    assert_ok(paro_problems_new(&err, &s.problems));
    assert_ok(paro_problems_add(&err, s.problems, swiglu_problem));
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_tuned, 1);
    assert_non_null(strstr(summary.device_class, "cc130-"));
    assert_ok(paro_cache_each_kernel(&err, s.cache, NULL, check_ptx, &found));
    assert_true(found.n >= 1);
    assert_int_equal(found.n_right, found.n);
    double floor_us = s.rows.last.floor_us;
    assert_true(floor_us > 0);
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_from_cache, 1);
    assert_true(s.rows.last.floor_us == floor_us); /* of this run, also for what was tuned before */
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(s.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM kernels", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_ok(tune(&err, &s, &summary));
    assert_int_equal(summary.n_tuned, 1);
    end(&s);
}

int main(int argc, char **argv)
{
    if (test_worker_main(argc, argv))
        return 0;
    if (argc > 1 && strcmp(argv[1], "--worker") == 0)
        return paro_tune_worker(NULL, 0, 1) == PARO_STATUS_OK ? 0 : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_winners_and_timings_are_stored),
        cmocka_unit_test(test_every_candidate_is_a_row),
        cmocka_unit_test(test_two_runs_have_the_same_winners),
        cmocka_unit_test(test_faults_cost_their_rows),
        cmocka_unit_test(test_a_problem_none_of_whose_configs_run),
        cmocka_unit_test(test_shards_are_all_problems),
        cmocka_unit_test(test_what_cannot_be_asked),
        cmocka_unit_test(test_an_interrupt_keeps_what_is_done),
        cmocka_unit_test(test_a_budget_leaves_the_rest),
        cmocka_unit_test(test_a_killed_tuner_leaves_a_sound_cache),
        cmocka_unit_test(test_eight_tuners_one_cache),
        cmocka_unit_test(test_emulated),
        cmocka_unit_test(test_a_newer_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
