/* SPDX-License-Identifier: MIT
 *
 * The tuner's words: a candidate is a config of one problem; a measurement is what running it gave;
 * a runner measures candidates (in a worker process, or from a recording); a strategy decides which
 * and how often; the winner is chosen by one rule whatever the strategy. tune.c puts these together
 * behind <paro/tune.h>.
 */
#ifndef PARO_TUNER_TUNER_H
#define PARO_TUNER_TUNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paro/observer.h>

#include "base/error.h"
#include "families/family.h"

typedef enum paro_candidate_state {
    PARO_CANDIDATE_NEW, /* nothing known */
    PARO_CANDIDATE_TIMED,
    PARO_CANDIDATE_WRONG,   /* its result was not the reference's */
    PARO_CANDIDATE_REFUSED, /* by the compiler or the driver, or it spills */
    PARO_CANDIDATE_CRASHED, /* took its process or the device with it */
    PARO_CANDIDATE_HUNG,
    PARO_CANDIDATE_PRUNED, /* never run: the estimate is too far from the best one */
    PARO_CANDIDATE_STATE_COUNT
} paro_candidate_state;
const char *paro_candidate_state_name(paro_candidate_state state); /* "timed", … */

enum { PARO_REASON_BYTES = 320, PARO_CLOCK_NAME_BYTES = 12 };

typedef struct paro_measurement {
    paro_candidate_state state;
    char reason[PARO_REASON_BYTES];      /* of TIMED: what was not as it should be, or "" */
    double median_us, spread_us, min_us; /* spread: 90th - 10th percentile */
    uint32_t n_samples;
    uint32_t clock_mhz;                /* SM clock seen; 0: unknown */
    char clock[PARO_CLOCK_NAME_BYTES]; /* "cupti", "graph", "events", "host" */
    double error;                      /* relative L2 of the verification */
    double occupancy;                  /* of the longest kernel; 0: unknown */
} paro_measurement;

typedef struct paro_candidate {
    paro_kernel_config config;
    const char *layout; /* "" for families without */
    double estimate_us;
    paro_measurement found; /* the one with most samples */
} paro_candidate;

/* Measures candidate i with n_samples and verifies it, the first time. Anything wrong with the
 * candidate is a measurement; a failure ends the search (cancelled, no device). */
typedef struct paro_runner {
    void *context;
    paro_status (*measure)(paro_error *err, void *context, size_t i, uint32_t n_samples,
                           paro_measurement *out);
} paro_runner;

typedef struct paro_search {
    paro_candidate *candidates;
    size_t n;
    size_t default_index; /* the family's default */
    const paro_runner *runner;
} paro_search;

typedef struct paro_strategy {
    const char *name;
    const char *summary; /* one line */
    /* Marks as PRUNED what is not to be run, never the default: known before anything is compiled.
     */
    void (*prune)(paro_search *search);
    /* Measures the others until the winner is clear. */
    paro_status (*run)(paro_error *err, paro_search *search);
} paro_strategy;

/* The n-th strategy, NULL past the last; by name. The first is the default. */
const paro_strategy *paro_strategy_get(size_t n);
const paro_strategy *paro_strategy_find(const char *name);

/* The winner among the candidates of a layout (NULL: any), SIZE_MAX where none was timed. Those
 * whose median is within 1 % of the best's, a step of the clock, or what the noise of two medians
 * allows, are ties: the default wins among them, else the first. *n_ties counts the others. The
 * same measurements, and ones that differ by noise, give the same winner. */
size_t paro_choose_winner(const paro_search *search, const char *layout, uint32_t *n_ties);

/* Median, spread and minimum of samples [n], n >= 1, which are sorted. */
void paro_measurement_set_samples(paro_measurement *m, double *samples, uint32_t n);

/* All configs of a problem with their estimates, the default included; *out is malloc'd. Where the
 * arch has no path, UNSUPPORTED. */
paro_status paro_search_new(paro_error *err, const paro_problem *problem, const paro_arch *arch,
                            const paro_device_info *device, paro_search *out);
void paro_search_release(paro_search *search);

#endif
