/* SPDX-License-Identifier: MIT
 *
 * A pool of threads.
 *
 * Invariants: 1. one job at a time: `turn` is held from its start to its end; 2. a job's tasks are
 * claimed by incrementing `next` under the generation it belongs to, so a worker that wakes late
 * finds nothing left; 3. the caller works too, and leaves only when every worker has left the job.
 */
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Rounds a waiting thread looks again before it sleeps: some tens of microseconds, the distance
 * between two products of one token. */
enum { POOL_SPINS = 4000, POOL_MAX_THREADS = 256 };

struct paro_pool {
    int n_threads;
    pthread_t *threads; /* n_threads - 1 */
    pthread_mutex_t turn;

    pthread_mutex_t mutex; /* for sleeping and waking */
    pthread_cond_t work_came;
    pthread_cond_t work_done;
    atomic_uint generation; /* of the current job */
    atomic_int n_inside;    /* workers that have not left the current job */
    bool stopping;          /* under mutex */

    paro_task_fn *fn;
    void *context;
    size_t n_tasks;
    atomic_size_t next;
};

typedef struct worker_start {
    paro_pool *pool;
    int worker;
} worker_start;

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void run_tasks(paro_pool *pool, int worker)
{
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (i >= pool->n_tasks)
            return;
        pool->fn(pool->context, i, worker);
    }
}

/* Waits for a generation other than `seen`; false when the pool is stopping. */
static bool wait_for_work(paro_pool *pool, unsigned seen)
{
    for (int i = 0; i < POOL_SPINS; i++) {
        if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen)
            return true;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load(&pool->generation) == seen && !pool->stopping)
        pthread_cond_wait(&pool->work_came, &pool->mutex);
    bool more = atomic_load(&pool->generation) != seen;
    pthread_mutex_unlock(&pool->mutex);
    return more;
}

static void *worker_main(void *argument)
{
    worker_start start = *(worker_start *)argument;
    free(argument);
    paro_pool *pool = start.pool;
    unsigned seen = 0;
    while (wait_for_work(pool, seen)) {
        seen++;
        run_tasks(pool, start.worker);
        if (atomic_fetch_sub_explicit(&pool->n_inside, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->work_done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
    return NULL;
}

static int available_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    return 1;
}

paro_status paro_pool_new(paro_error *err, int n_threads, paro_pool **out)
{
    if (n_threads < 0 || n_threads > POOL_MAX_THREADS)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "threads: expected 1 to %d, or 0 for one per core, found %d",
                         POOL_MAX_THREADS, n_threads);
    if (n_threads == 0)
        n_threads = available_cores();
    if (n_threads > POOL_MAX_THREADS)
        n_threads = POOL_MAX_THREADS;
    paro_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return paro_fail_memory(err, sizeof *pool, "a thread pool");
    pthread_mutex_init(&pool->turn, NULL);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work_came, NULL);
    pthread_cond_init(&pool->work_done, NULL);
    pool->n_threads = 1; /* counts up as they start, so that paro_pool_free joins those that did */
    pool->threads = calloc((size_t)n_threads, sizeof *pool->threads);
    if (pool->threads == NULL) {
        paro_pool_free(pool);
        return paro_fail_memory(err, (size_t)n_threads * sizeof *pool->threads, "a thread pool");
    }
    for (int i = 1; i < n_threads; i++) {
        worker_start *start = malloc(sizeof *start);
        if (start == NULL) {
            paro_pool_free(pool);
            return paro_fail_memory(err, sizeof *start, "a thread pool");
        }
        *start = (worker_start){pool, i};
        int code = pthread_create(&pool->threads[i - 1], NULL, worker_main, start);
        if (code != 0) {
            free(start);
            paro_pool_free(pool);
            return paro_fail_errno(err, code, "start", "a worker thread");
        }
        pool->n_threads++;
    }
    *out = pool;
    return PARO_STATUS_OK;
}

void paro_pool_free(paro_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work_came);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 1; i < pool->n_threads; i++)
        pthread_join(pool->threads[i - 1], NULL);
    pthread_cond_destroy(&pool->work_done);
    pthread_cond_destroy(&pool->work_came);
    pthread_mutex_destroy(&pool->mutex);
    pthread_mutex_destroy(&pool->turn);
    free(pool->threads);
    free(pool);
}

int paro_pool_n_threads(const paro_pool *pool)
{
    return pool == NULL ? 1 : pool->n_threads;
}

void paro_pool_run(paro_pool *pool, size_t n_tasks, paro_task_fn *fn, void *context)
{
    if (pool == NULL || pool->n_threads == 1) {
        for (size_t i = 0; i < n_tasks; i++)
            fn(context, i, 0);
        return;
    }
    pthread_mutex_lock(&pool->turn);
    pool->fn = fn;
    pool->context = context;
    pool->n_tasks = n_tasks;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->n_inside, pool->n_threads - 1);
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->work_came);
    pthread_mutex_unlock(&pool->mutex);

    run_tasks(pool, 0);

    bool left = false;
    for (int i = 0; i < POOL_SPINS && !left; i++) {
        left = atomic_load_explicit(&pool->n_inside, memory_order_acquire) == 0;
        relax();
    }
    if (!left) {
        pthread_mutex_lock(&pool->mutex);
        while (atomic_load(&pool->n_inside) != 0)
            pthread_cond_wait(&pool->work_done, &pool->mutex);
        pthread_mutex_unlock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->turn);
}
