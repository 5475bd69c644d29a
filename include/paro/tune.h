/* SPDX-License-Identifier: MIT
 *
 * Tuning: every kernel of the problems compiled in many configs, verified, timed on the device, and
 * the winners stored.
 */
#ifndef PARO_TUNE_H
#define PARO_TUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paro/cache.h>
#include <paro/kernel.h>
#include <paro/observer.h>
#include <paro/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One problem's outcome; strings live during the callback. */
typedef struct paro_tune_row {
    const char *problem;
    const char *config; /* the winner's; NULL where there is none */
    const char *layout; /* of packed weights; "" for families without */
    const char *reason; /* where there is no winner */
    double median_us;
    double spread_us;  /* 90th - 10th percentile */
    double default_us; /* the default config's median in the same run */
    double floor_us;   /* what reading its bytes takes at the bandwidth this run measured: no floor
                          for what its arithmetic bounds; 0: not measured */
    double occupancy;  /* of the longest kernel: resident threads / those that fit; 0: unknown */
    uint32_t n_candidates, n_timed, n_wrong, n_refused, n_crashed, n_hung, n_pruned, n_ties;
    const char *clock; /* "cupti", "graph", "events" */
    double seconds;
    bool from_cache; /* was tuned already, with this template */
} paro_tune_row;
typedef void paro_tune_row_fn(void *context, const paro_tune_row *row);

typedef struct paro_tune_options {
    int device;            /* ordinal */
    const char *strategy;  /* NULL: "default" */
    double budget_seconds; /* 0: none; problems not begun by then are left, all but the first */
    int n_jobs;            /* compile threads; 0: one per core */
    uint32_t shard;        /* problem i is this shard's where i % n_shards == shard */
    uint32_t n_shards;     /* 0: 1 */
    bool again;            /* also what the cache has a winner for */
    uint64_t seed;         /* of the data, made even; 0: drawn anew */
    /* The program to run as worker process, with `worker_args` (NULL-terminated) as its arguments:
     * it is to call paro_tune_worker(0, 1). */
    const char *worker;
    const char *const *worker_args;
    const char *nvrtc_library; /* NULL: searched */
    const paro_observer *observer;
    paro_tune_row_fn *row; /* told as problems finish, on the calling thread; may be NULL */
    void *row_context;
} paro_tune_options;

typedef struct paro_tune_summary {
    uint32_t n_problems, n_tuned, n_from_cache, n_failed, n_workers_lost;
    double seconds;
    double read_gbs; /* bandwidth of a large read as measured */
    char device_class[96];
    char device_name[128];
    char clock[16];
} paro_tune_summary;

/* Tunes and stores: after every problem the cache has its winner, its kernel and its timings. The
 * calling process never initialises CUDA. CANCELLED keeps what is done. */
paro_status paro_tune(paro_error *err, paro_cache *cache, const paro_problems *problems,
                      const paro_tune_options *options, paro_tune_summary *out);

/* The n-th strategy's name, NULL past the last, and a line about it. */
const char *paro_tune_strategy(size_t n, const char **summary);

/* Without a device: the default of every problem compiled for every arch and stored. */
typedef struct paro_compile_summary {
    uint32_t n_kernels, n_failed, n_spilling, n_no_path, n_from_cache;
    double seconds;
} paro_compile_summary;
paro_status paro_tune_compile(paro_error *err, paro_cache *cache, const paro_problems *problems,
                              const char *const *archs, size_t n_archs,
                              const paro_tune_options *options, paro_compile_summary *out);

/* What a worker process does: reads requests from fd_in, answers on fd_out, ends with its input. */
paro_status paro_tune_worker(paro_error *err, int fd_in, int fd_out);

/* ---- bench -------------------------------------------------------------------------------------
 */

/* One problem measured as the runtime would run it, alone in replays of a graph with cold L2. */
typedef struct paro_bench_row {
    const char *problem;
    const char *config;
    const char *grade;
    double median_us, spread_us;
    double read_us; /* a pure read of the same bytes in the same harness; 0: not measured */
    double bytes, operations;
    double error;      /* relative L2 against the reference */
    double library_us; /* cuBLASLt's 16-bit product of the same shape; 0: not measured */
} paro_bench_row;
typedef void paro_bench_row_fn(void *context, const paro_bench_row *row);

typedef struct paro_bench_options {
    int device;
    uint32_t n_samples; /* 0: 50 */
    bool library;       /* also cuBLASLt, where there is one, for linears */
    uint64_t seed;
    const char *nvrtc_library;
    const paro_observer *observer;
    paro_bench_row_fn *row;
    void *row_context;
} paro_bench_options;

/* In this process. `cache` NULL: defaults. */
paro_status paro_bench_kernels(paro_error *err, paro_cache *cache, const paro_problems *problems,
                               const paro_bench_options *options);

#ifdef __cplusplus
}
#endif
#endif
