/* SPDX-License-Identifier: MIT
 *
 * A pool of threads for loops whose rounds are independent.
 */
#ifndef PARO_BASE_THREAD_H
#define PARO_BASE_THREAD_H

#include <stddef.h>

#include "base/error.h"

typedef struct paro_pool paro_pool;

/* n_threads in all, the caller's included; 0: one per available core (affinity respected). */
paro_status paro_pool_new(paro_error *err, int n_threads, paro_pool **out);
void paro_pool_free(paro_pool *pool);
int paro_pool_n_threads(const paro_pool *pool);

/* Calls fn(context, i, worker) for every i < n_tasks, and returns when all are done. Each i runs
 * once, on any thread; worker is 0 .. n_threads - 1 and no two tasks run with the same one at a
 * time, so it can index scratch memory. Tasks must not fail and must not run the pool. Calls from
 * several threads take turns; a pool of one thread, and NULL, run them where they are called. */
typedef void paro_task_fn(void *context, size_t i, int worker);
void paro_pool_run(paro_pool *pool, size_t n_tasks, paro_task_fn *fn, void *context);

#endif
