/* SPDX-License-Identifier: MIT
 *
 * What a cache must bear: every byte flipped, every prefix, pages exchanged; processes killed in
 * the middle of puts, imports, exports and pruning; eight writing at once; a disk that is full.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/rng.h"
#include "tests/support.h"
#include "tests/test_cache_rows.h"

static int set_up(void **state)
{
    *state = test_dir_new();
    return 0;
}

static int tear_down(void **state)
{
    test_dir_remove(*state);
    return 0;
}

/* ---- processes ---------------------------------------------------------------------------------
 */

static void sleep_us(uint64_t us)
{
    struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    nanosleep(&t, NULL);
}

/* In a child: fails without cmocka, which is the parent's. */
static void require(paro_status status, const paro_error *err)
{
    if (status == PARO_STATUS_OK)
        return;
    fprintf(stderr, "child: %s: %s\n", paro_status_name(status), err->message);
    _exit(1);
}

static paro_cache *open_in_child(const char *path)
{
    paro_error err;
    paro_cache *cache = NULL;
    paro_cache_options options = {.path = path};
    require(paro_cache_open(&err, &options, &cache), &err);
    return cache;
}

static void put_pair(paro_cache *cache, unsigned i)
{
    paro_error err;
    test_row row;
    test_row_make(&row, i);
    require(paro_cache_begin(&err, cache), &err);
    require(paro_cache_put_kernel(&err, cache, &row.kernel), &err);
    require(paro_cache_put_winner(&err, cache, &row.winner), &err);
    require(paro_cache_put_timing(&err, cache, &row.timing), &err);
    require(paro_cache_commit(&err, cache), &err);
}

/* The child has opened its cache: now the time to its end is counted. */
static void say_ready(int to_parent)
{
    const unsigned ready = UINT32_MAX;
    if (write(to_parent, &ready, sizeof ready) != (ssize_t)sizeof ready)
        _exit(1);
}

/* Runs fn in a child and kills it some time after it said that it is ready; the last number it
 * wrote to its pipe then, -1 for none. */
static long run_and_kill(void (*fn)(void *context, int to_parent), void *context, uint64_t after_us)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pipes[0]);
        fn(context, pipes[1]);
        _exit(0);
    }
    close(pipes[1]);
    unsigned number;
    long last = -1;
    assert_int_equal(read(pipes[0], &number, sizeof number), sizeof number);
    sleep_us(after_us);
    kill(child, SIGKILL);
    int state = 0;
    assert_int_equal(waitpid(child, &state, 0), child);
    assert_true(WIFSIGNALED(state) || WEXITSTATUS(state) == 0);
    while (read(pipes[0], &number, sizeof number) == (ssize_t)sizeof number)
        last = (long)number;
    close(pipes[0]);
    return last;
}

/* Sound, as many of each, and all rows up to `last` are there. */
static paro_cache_info assert_sound(const char *path, long last)
{
    paro_error err;
    paro_arena arena = {0};
    paro_cache_info info;
    paro_cache *cache = test_cache_open(path, false); /* rolls back what the dead left */
    assert_ok(paro_cache_verify(&err, cache, &info));
    assert_int_equal(info.n_damaged, 0);
    assert_int_equal(info.n_winners, info.n_kernels);
    assert_int_equal(info.n_winners, info.n_timings);
    test_assert_holds(cache, (unsigned)info.n_winners, false);
    for (long i = 0; i <= last; i++) {
        test_row row;
        paro_cache_kernel kernel;
        test_row_make(&row, (unsigned)i);
        assert_ok(paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel));
    }
    paro_arena_release(&arena);
    paro_cache_free(cache);
    return info;
}

typedef struct task {
    const char *path, *bundle;
    unsigned begin;
} task;

static void put_for_ever(void *context, int to_parent)
{
    const task *t = context;
    paro_cache *cache = open_in_child(t->path);
    say_ready(to_parent);
    for (unsigned i = t->begin;; i++) {
        put_pair(cache, i);
        if (write(to_parent, &i, sizeof i) != (ssize_t)sizeof i)
            _exit(1);
    }
}

static void test_killed_while_putting(void **state)
{
    char *path = test_path(*state, "cache.db");
    long last = -1;
    paro_rng rng;
    paro_rng_seed(&rng, 2);
    for (int round = 0; round < 25; round++) {
        task t = {.path = path, .begin = (unsigned)(last + 1)};
        long reached = run_and_kill(put_for_ever, &t, paro_rng_below(&rng, 60000));
        if (reached >= 0)
            last = reached;
        (void)assert_sound(path, last);
    }
    print_message("%ld rows in 25 killed runs\n", last + 1);
    assert_true(last >= 0);
    free(path);
}

static void import_once(void *context, int to_parent)
{
    const task *t = context;
    paro_error err;
    paro_merge_result merged;
    unsigned done = 1;
    paro_cache *cache = open_in_child(t->path);
    say_ready(to_parent);
    require(paro_cache_import(&err, cache, t->bundle, NULL, &merged), &err);
    (void)!write(to_parent, &done, sizeof done);
}

static void export_for_ever(void *context, int to_parent)
{
    const task *t = context;
    paro_error err;
    paro_cache *cache = open_in_child(t->path);
    say_ready(to_parent);
    for (unsigned i = 0;; i++) {
        require(paro_cache_export(&err, cache, t->bundle, NULL, true, NULL), &err);
        (void)!write(to_parent, &i, sizeof i);
    }
}

static void prune_for_ever(void *context, int to_parent)
{
    const task *t = context;
    paro_error err;
    uint64_t n_removed;
    paro_cache *cache = open_in_child(t->path);
    say_ready(to_parent);
    for (unsigned i = 0;; i++) {
        put_pair(cache, 1000 + i % 8);
        require(paro_cache_prune(&err, cache, NULL, 0, true, &n_removed), &err);
        (void)!write(to_parent, &i, sizeof i);
    }
}

static void test_killed_while_importing(void **state)
{
    enum { N = 400, OWN = 5 };
    char *path = test_path(*state, "cache.db"), *bundle = test_path(*state, "bundle");
    unsigned n_none = 0, n_all = 0;
    paro_rng rng;
    paro_rng_seed(&rng, 3);
    paro_cache *cache = test_cache_open(bundle, false);
    test_cache_fill(cache, 0, N);
    paro_cache_free(cache);
    uint64_t takes_us = 0;
    for (int round = 0; round < 20; round++) {
        cache = test_cache_open(path, false);
        test_cache_fill(cache, 0, OWN);
        task t = {.path = path, .bundle = bundle};
        long done = -1;
        if (round == 0) { /* to see how long it takes */
            paro_error err;
            paro_merge_result merged;
            double start = paro_clock_seconds();
            assert_ok(paro_cache_import(&err, cache, bundle, NULL, &merged));
            takes_us = (uint64_t)((paro_clock_seconds() - start) * 1e6);
            done = 1;
        }
        paro_cache_free(cache);
        if (round > 0)
            done = run_and_kill(import_once, &t, paro_rng_below(&rng, 5 * takes_us / 4 + 1));
        paro_cache_info info = assert_sound(path, OWN - 1);
        assert_true(info.n_winners == N || (info.n_winners == OWN && done < 0));
        *(info.n_winners == N ? &n_all : &n_none) += 1;
        assert_int_equal(unlink(path), 0);
    }
    print_message("imports: %u whole, %u not at all\n", n_all, n_none);
    free(path);
    free(bundle);
}

static void test_killed_while_exporting_and_pruning(void **state)
{
    enum { N = 40 };
    char *path = test_path(*state, "cache.db"), *bundle = test_path(*state, "bundle");
    paro_rng rng;
    paro_rng_seed(&rng, 4);
    paro_cache *cache = test_cache_open(path, false);
    test_cache_fill(cache, 0, N);
    paro_cache_free(cache);
    task t = {.path = path, .bundle = bundle};
    for (int round = 0; round < 10; round++) {
        long done = run_and_kill(export_for_ever, &t, paro_rng_below(&rng, 30000));
        assert_true(paro_path_exists(bundle) || done < 0);
        if (paro_path_exists(bundle))
            assert_int_equal(assert_sound(bundle, N - 1).n_winners, N);
    }
    for (int round = 0; round < 10; round++) {
        (void)run_and_kill(prune_for_ever, &t, paro_rng_below(&rng, 30000));
        paro_error err;
        paro_cache_info info;
        cache = test_cache_open(path, false);
        assert_ok(paro_cache_verify(&err, cache, &info));
        assert_int_equal(info.n_damaged, 0);
        paro_cache_free(cache);
    }
    free(path);
    free(bundle);
}

/* All make the file, all write, all wait for one another; nothing is lost. */
static void test_eight_processes(void **state)
{
    enum { N_PROCESSES = 8, N_EACH = 15 };
    char *path = test_path(*state, "cache.db");
    pid_t children[N_PROCESSES];
    int gate[2];
    assert_int_equal(pipe(gate), 0);
    for (unsigned c = 0; c < N_PROCESSES; c++) {
        children[c] = fork();
        assert_true(children[c] >= 0);
        if (children[c] != 0)
            continue;
        char byte;
        close(gate[1]);
        (void)!read(gate[0], &byte, 1); /* until the parent closes it */
        paro_cache *cache = open_in_child(path);
        for (unsigned i = 0; i < N_EACH; i++) {
            paro_error err;
            test_row row;
            put_pair(cache, c * N_EACH + i);
            test_row_make(&row, 0); /* one that all of them put */
            require(paro_cache_put_winner(&err, cache, &row.winner), &err);
        }
        paro_cache_free(cache);
        _exit(0);
    }
    close(gate[0]);
    close(gate[1]);
    for (unsigned c = 0; c < N_PROCESSES; c++) {
        int status = 0;
        assert_int_equal(waitpid(children[c], &status, 0), children[c]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    paro_cache_info info = assert_sound(path, N_PROCESSES * N_EACH - 1);
    assert_int_equal(info.n_winners, N_PROCESSES * N_EACH);
    free(path);
}

/* ---- a full disk -------------------------------------------------------------------------------
 */

/* In a child, whose files may not grow: puts fail, and say so; what is there is still served. */
static void fill_the_disk(void *context, int to_parent)
{
    const task *t = context;
    enum { N_BIG = 1 << 20 };
    paro_error err;
    paro_arena arena = {0};
    paro_cache_kernel kernel;
    test_row row;
    unsigned char *big = calloc(1, N_BIG);
    struct stat file;
    struct rlimit limit;
    paro_cache *cache = open_in_child(t->path);
    signal(SIGXFSZ, SIG_IGN);
    if (big == NULL || stat(t->path, &file) != 0 || getrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(2);
    rlim_t was = limit.rlim_cur;
    limit.rlim_cur = (rlim_t)file.st_size + 8192;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(2);
    test_row_make(&row, 50);
    row.kernel.binary = big;
    row.kernel.n_bytes = N_BIG;
    for (int i = 0; i < 3; i++) {
        if (paro_cache_put_kernel(&err, cache, &row.kernel) != PARO_STATUS_IO ||
            strstr(err.message, t->path) == NULL)
            _exit(3);
        test_row other;
        test_row_make(&other, 1);
        if (paro_cache_get_kernel(&err, cache, other.kernel.key, &arena, &kernel) !=
                PARO_STATUS_OK ||
            !test_kernel_equal(&kernel, &other.kernel))
            _exit(4);
    }
    /* within a transaction: it is over, and the commit says so */
    require(paro_cache_begin(&err, cache), &err);
    if (paro_cache_put_kernel(&err, cache, &row.kernel) == PARO_STATUS_OK &&
        paro_cache_commit(&err, cache) == PARO_STATUS_OK)
        _exit(5);
    paro_cache_rollback(cache);
    limit.rlim_cur = 1000;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0 ||
        paro_cache_export(&err, cache, t->bundle, NULL, false, NULL) != PARO_STATUS_IO ||
        paro_path_exists(t->bundle))
        _exit(6);
    limit.rlim_cur = was;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(2);
    require(paro_cache_put_kernel(&err, cache, &row.kernel), &err); /* there is room again */
    (void)to_parent;
    paro_cache_free(cache);
    free(big);
    paro_arena_release(&arena);
}

static void test_full_disk(void **state)
{
    char *path = test_path(*state, "cache.db"), *bundle = test_path(*state, "bundle");
    paro_error err;
    paro_cache_info info;
    paro_cache *cache = test_cache_open(path, false);
    test_cache_fill(cache, 0, 6);
    paro_cache_free(cache);
    task t = {.path = path, .bundle = bundle};
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fill_the_disk(&t, -1);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    cache = test_cache_open(path, true);
    assert_ok(paro_cache_verify(&err, cache, &info));
    assert_int_equal(info.n_damaged, 0);
    assert_int_equal(info.n_winners, 6);
    assert_int_equal(info.n_kernels, 7);
    paro_cache_free(cache);
    free(path);
    free(bundle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_killed_while_putting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_while_importing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_while_exporting_and_pruning, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_eight_processes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
