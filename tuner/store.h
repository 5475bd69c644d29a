/* SPDX-License-Identifier: MIT
 *
 * What the tuner writes into the cache: timings as they come, winners and their kernels when a
 * problem is done; and what it finds there of an earlier run.
 */
#ifndef PARO_TUNER_STORE_H
#define PARO_TUNER_STORE_H

#include "cache/cache.h"
#include "codegen/codegen.h"
#include "tuner/compile.h"
#include "tuner/tuner.h"

typedef struct paro_store {
    paro_cache *cache;
    const char *device_class;
    const char *device; /* name */
    const char *driver;
    const char *strategy;
    const char *nvrtc;     /* version; "" without */
    paro_checker *checker; /* signatures; NULL: none are stored */
    const paro_observer *observer;
} paro_store;

/* One timing, in a transaction of its own. */
paro_status paro_store_timing(paro_error *err, const paro_store *store, const char *problem,
                              const char *config, const char *template_hash,
                              const paro_measurement *m);

/* Winner and kernel of one layout; `fallback` is the default's measurement. Inside the caller's
 * transaction. */
typedef struct paro_store_winner {
    const char *problem;
    const char *template_hash;
    const char *layout;
    const paro_family *family;
    const paro_kernel_config *config;
    const paro_measurement *found;    /* NULL: not timed (grade default) */
    const paro_measurement *fallback; /* NULL: not timed */
    uint32_t n_candidates, n_ties;
    const paro_compile_job *job;
} paro_store_winner;
paro_status paro_store_put_winner(paro_error *err, const paro_store *store,
                                  const paro_store_winner *winner);

/* Measurements of this problem, device class and template of the last day go into the candidates'
 * `recorded` [n] (zero: none), the one with most samples. */
paro_status paro_store_recall(paro_error *err, const paro_store *store, const char *problem,
                              const char *template_hash, const paro_family *family,
                              const paro_candidate *candidates, size_t n, const char *clock,
                              paro_measurement *recorded);

#endif
