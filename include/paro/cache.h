/* SPDX-License-Identifier: MIT
 *
 * The kernel cache: what tuning found (winners), compiled kernels, and every timing; bundles of it.
 */
#ifndef PARO_CACHE_H
#define PARO_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paro/observer.h>
#include <paro/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { PARO_CACHE_HASH_BYTES = 65 }; /* SHA-256 in hexadecimal, and a zero */

/* Used by one thread at a time; several processes may use one file. */
typedef struct paro_cache paro_cache;

typedef struct paro_cache_options {
    const char *path;              /* the user's file; made where it is missing (folders too) */
    const char *system_path;       /* read-only layer below (opened immutable); NULL: none */
    bool read_only;                /* of the user's file; a missing one is then empty */
    const paro_observer *observer; /* told of damaged rows, newer schemas; may be NULL */
} paro_cache_options;

/* A file of a newer schema is opened as an empty read-only one, and the log says so; an older one
 * is migrated. PARO_STATUS_FORMAT where the file is no cache. */
paro_status paro_cache_open(paro_error *err, const paro_cache_options *options, paro_cache **out);
void paro_cache_free(paro_cache *cache);

/* A winner: the config that was fastest (or, grade DEFAULT, the default compiled and not timed) for
 * a problem on a class of devices, and its evidence. */
typedef struct paro_cache_winner {
    const char *problem;      /* canonical text */
    const char *device_class; /* paro_device_class; "sm_90" (the arch) for compiled defaults */
    char template_hash[PARO_CACHE_HASH_BYTES];
    const char *layout; /* "" for families without */
    const char *config; /* text */
    char kernel[PARO_CACHE_HASH_BYTES];
    /* Evidence; microseconds. 0 and "" where it was not timed. */
    double median_us, spread_us; /* spread: 90th - 10th percentile */
    double default_us;           /* the default config's median in the same run */
    uint32_t n_samples;
    uint32_t clock_mhz; /* SM clock seen */
    const char *clock;  /* "cupti", "graph", "events" */
    const char *device; /* name */
    const char *driver;
    const char *strategy;
    uint32_t n_candidates, n_ties;
    int64_t tuned_at; /* seconds since 1970 */
} paro_cache_winner;

/* Every winner in a fixed order, until fn returns false; rows are valid during the call. Filters
 * may be NULL (family: the problem's text before ":"). */
typedef bool paro_cache_winner_fn(void *context, const paro_cache_winner *winner);
paro_status paro_cache_each_winner(paro_error *err, paro_cache *cache, const char *family,
                                   const char *device_class, paro_cache_winner_fn *fn,
                                   void *context);

typedef enum paro_grade {
    PARO_GRADE_EXACT,        /* tuned for this problem on this class of device */
    PARO_GRADE_NEAR_PROBLEM, /* the config of the nearest problem (another m, or n, k of nearly the
                                same size) on this class */
    PARO_GRADE_NEAR_DEVICE,  /* the config of this problem on the nearest class of the same
                                capability */
    PARO_GRADE_DEFAULT       /* the family's default */
} paro_grade;
const char *paro_grade_name(paro_grade grade); /* "exact", "near problem", … */

typedef struct paro_cache_info {
    uint64_t n_winners, n_kernels, n_timings, n_damaged;
    uint64_t n_kernel_bytes, n_file_bytes;
    uint32_t schema;
} paro_cache_info;
paro_status paro_cache_get_info(paro_error *err, paro_cache *cache, paro_cache_info *out);

/* Reads every row; damaged ones are counted and logged. */
paro_status paro_cache_verify(paro_error *err, paro_cache *cache, paro_cache_info *out);

typedef struct paro_cache_filter {
    const char *const *problems; /* canonical; NULL: all */
    size_t n_problems;
    const char *arch; /* kernels for this target (and winners that name them); NULL: all */
    bool with_timings;
} paro_cache_filter;

/* A bundle is a cache file of its own that appears in one rename. EXISTS unless overwrite. */
paro_status paro_cache_export(paro_error *err, paro_cache *cache, const char *path,
                              const paro_cache_filter *filter, bool overwrite,
                              const paro_observer *observer);

/* Takes over every sound row of the file at `path`, in one transaction. Where both have a winner
 * for the same key: timed beats not timed; then the one with more samples; then the faster; then
 * the greater row hash (so that merging in any order gives the same). Kernels of one key are equal;
 * timings are united. */
typedef struct paro_merge_result {
    uint64_t n_winners_added, n_winners_replaced, n_winners_kept;
    uint64_t n_kernels_added, n_timings_added, n_damaged;
} paro_merge_result;
paro_status paro_cache_import(paro_error *err, paro_cache *cache, const char *path,
                              const paro_observer *observer, paro_merge_result *out);

/* Removes winners of older templates than this paro's, kernels that no winner names, and damaged
 * rows; the timings of older templates too where all_timings is set. */
paro_status paro_cache_prune_old(paro_error *err, paro_cache *cache, bool all_timings,
                                 uint64_t *n_removed);

/* What the runtime would run for a problem, and why. */
typedef struct paro_cache_explanation {
    paro_grade grade;
    char config[256];
    bool has_kernel;                    /* compiled, in the cache */
    char kernel[PARO_CACHE_HASH_BYTES]; /* its key; "" without one */
    char device_class[96];
    char why[512];    /* one line */
    double median_us; /* of the row the config comes from; 0: none */
} paro_cache_explanation;

/* `arch` NULL: for CUDA device `device`; else for a typical device of that arch. */
paro_status paro_cache_explain(paro_error *err, paro_cache *cache, const char *problem,
                               const char *arch, int device, paro_cache_explanation *out);

#ifdef __cplusplus
}
#endif
#endif
