/* SPDX-License-Identifier: MIT
 *
 * base/thread.c: every task once, no worker twice at a time. Meant to run under ThreadSanitizer
 * too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/thread.h"
#include "tests/support.h"

enum { MAX_TASKS = 5000, MAX_THREADS = 16 };

typedef struct record {
    paro_pool *pool;
    size_t n_tasks;
    int runs[MAX_TASKS];            /* plain: a race is a bug that TSan sees */
    atomic_int inside[MAX_THREADS]; /* tasks running with this worker number */
    long scratch[MAX_THREADS];      /* plain: the worker's own */
    atomic_int n_wrong;
} record;

static void note(void *context, size_t i, int worker)
{
    record *r = context;
    if (worker < 0 || worker >= paro_pool_n_threads(r->pool) || i >= r->n_tasks) {
        atomic_fetch_add(&r->n_wrong, 1);
        return;
    }
    if (atomic_fetch_add(&r->inside[worker], 1) != 0)
        atomic_fetch_add(&r->n_wrong, 1);
    r->runs[i]++;
    r->scratch[worker]++;
    if (i % 64 == 0)
        sched_yield();
    atomic_fetch_sub(&r->inside[worker], 1);
}

static void assert_all_ran_once(const record *r)
{
    assert_int_equal(atomic_load(&r->n_wrong), 0);
    long total = 0;
    for (int w = 0; w < MAX_THREADS; w++)
        total += r->scratch[w];
    assert_int_equal(total, r->n_tasks);
    for (size_t i = 0; i < r->n_tasks; i++)
        assert_int_equal(r->runs[i], 1);
}

static void test_every_task_runs_once(void **state)
{
    (void)state;
    paro_error err;
    static const size_t sizes[] = {0, 1, 2, 3, 7, 100, MAX_TASKS};
    for (int n_threads = 1; n_threads <= 8; n_threads++) {
        paro_pool *pool = NULL;
        assert_ok(paro_pool_new(&err, n_threads, &pool));
        assert_int_equal(paro_pool_n_threads(pool), n_threads);
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            record *r = calloc(1, sizeof *r);
            assert_non_null(r);
            r->pool = pool;
            r->n_tasks = sizes[s];
            paro_pool_run(pool, r->n_tasks, note, r);
            assert_all_ran_once(r);
            free(r);
        }
        paro_pool_free(pool);
    }
}

static void test_without_a_pool(void **state)
{
    (void)state;
    record *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->n_tasks = 50;
    paro_pool_run(NULL, 50, note, r);
    assert_all_ran_once(r);
    assert_int_equal(paro_pool_n_threads(NULL), 1);
    free(r);
    paro_pool_free(NULL);
}

static void add_index(void *context, size_t i, int worker)
{
    (void)worker;
    ((size_t *)context)[i] += i;
}

/* Rounds shorter than the time it takes to fall asleep, and (through the pause) longer. What a
 * round wrote is there when it ends. */
static void test_many_short_rounds(void **state)
{
    (void)state;
    paro_error err;
    paro_pool *pool = NULL;
    assert_ok(paro_pool_new(&err, 4, &pool));
    size_t sums[16] = {0};
    enum { ROUNDS = 3000 };
    for (size_t round = 1; round <= ROUNDS; round++) {
        paro_pool_run(pool, 16, add_index, sums);
        for (size_t i = 0; i < 16; i++)
            assert_int_equal(sums[i], round * i);
        if (round % 500 == 0)
            usleep(20000);
    }
    paro_pool_free(pool);
}

typedef struct caller {
    paro_pool *pool;
    record *record;
} caller;

static void *call_pool(void *context)
{
    caller *c = context;
    paro_pool_run(c->pool, c->record->n_tasks, note, c->record);
    return NULL;
}

static void test_callers_take_turns(void **state)
{
    (void)state;
    paro_error err;
    paro_pool *pool = NULL;
    assert_ok(paro_pool_new(&err, 3, &pool));
    for (int round = 0; round < 20; round++) {
        enum { CALLERS = 4 };
        pthread_t threads[CALLERS];
        caller callers[CALLERS];
        for (int i = 0; i < CALLERS; i++) {
            callers[i] = (caller){pool, calloc(1, sizeof(record))};
            assert_non_null(callers[i].record);
            callers[i].record->pool = pool;
            callers[i].record->n_tasks = 200 + (size_t)i;
            assert_int_equal(pthread_create(&threads[i], NULL, call_pool, &callers[i]), 0);
        }
        for (int i = 0; i < CALLERS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_all_ran_once(callers[i].record);
            free(callers[i].record);
        }
    }
    paro_pool_free(pool);
}

static void test_thread_counts(void **state)
{
    (void)state;
    paro_error err;
    paro_pool *pool = NULL;
    assert_fails(paro_pool_new(&err, -1, &pool), PARO_STATUS_INVALID_ARGUMENT, "found -1");
    assert_fails(paro_pool_new(&err, 100000, &pool), PARO_STATUS_INVALID_ARGUMENT, "100000");
    assert_null(pool);

    /* 0 means one per core this process may run on. */
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_ok(paro_pool_new(&err, 0, &pool));
    int expected = CPU_COUNT(&all) < 256 ? CPU_COUNT(&all) : 256;
    assert_int_equal(paro_pool_n_threads(pool), expected);
    paro_pool_free(pool);

    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_ok(paro_pool_new(&err, 0, &pool));
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_int_equal(paro_pool_n_threads(pool), 1);
    paro_pool_free(pool);
}

static void test_new_and_free_at_once(void **state)
{
    (void)state;
    paro_error err;
    for (int i = 0; i < 200; i++) {
        paro_pool *pool = NULL;
        assert_ok(paro_pool_new(&err, 4, &pool));
        if (i % 2 == 0) {
            size_t sums[4] = {0};
            paro_pool_run(pool, 4, add_index, sums);
            assert_int_equal(sums[3], 3);
        }
        paro_pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_runs_once), cmocka_unit_test(test_without_a_pool),
        cmocka_unit_test(test_many_short_rounds),    cmocka_unit_test(test_callers_take_turns),
        cmocka_unit_test(test_thread_counts),        cmocka_unit_test(test_new_and_free_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
