/* SPDX-License-Identifier: MIT
 *
 * One run of the tuner: the worker, the compile threads, the cache, and what one problem passes
 * through (problem.c): begun (candidates, pruned, given to the compiler), run, stored.
 */
#ifndef PARO_TUNER_SESSION_H
#define PARO_TUNER_SESSION_H

#include <paro/tune.h>

#include "tuner/compile.h"
#include "tuner/process.h"
#include "tuner/store.h"
#include "tuner/tuner.h"

/* How long a worker may take (seconds; 0: process.h's defaults). */
typedef struct paro_tune_limits {
    double open_seconds, prepare_seconds, measure_seconds;
} paro_tune_limits;

/* paro_tune with other limits. */
paro_status paro_tune_within(paro_error *err, paro_cache *cache, const paro_problems *problems,
                             const paro_tune_options *options, const paro_tune_limits *limits,
                             paro_tune_summary *out);

typedef struct paro_tune_session {
    const paro_tune_options *options;
    const paro_strategy *strategy;
    paro_store store;
    paro_process *process;
    paro_compiler *compiler;
    paro_nvrtc *nvrtc;     /* NULL: the emulator */
    paro_checker *checker; /* NULL: no libclang */
    paro_arch arch;        /* whose kernels run on the device */
    bool wants_ptx;
    uint64_t seed;
    char device_class[PARO_DEVICE_CLASS_BYTES];
    uint64_t n_done, n_total; /* problems, for reports */
} paro_tune_session;

/* What reading the problem's bytes takes at the bandwidth of this run; 0: not measured. */
double paro_tune_floor_us(const paro_tune_session *session, const paro_problem *problem);

typedef struct paro_tune_work paro_tune_work;

/* Candidates of a problem, pruned and on their way through the compiler. */
paro_status paro_tune_work_begin(paro_error *err, paro_tune_session *session,
                                 const paro_problem *problem, paro_tune_work **out);

/* Searches, verifies the winners with fewer tokens too, stores them; fills in the row (strings in
 * the work). A problem without a winner is a row with a reason; what fails ends the run. */
paro_status paro_tune_work_run(paro_error *err, paro_tune_work *work, paro_tune_row *row);
void paro_tune_work_free(paro_tune_work *work);

#endif
