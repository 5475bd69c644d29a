/* SPDX-License-Identifier: MIT
 *
 * The store of winners, kernels and timings: an SQLite file of the user's over a read-only one of
 * the system's. Nothing in it is trusted: every row carries a hash over all its columns, checked on
 * read; a damaged row is a miss, a damaged file an error or a miss, never a crash and never a wrong
 * kernel.
 *
 * Several processes may use one file at a time. A paro_cache is used by one thread at a time.
 */
#ifndef PARO_CACHE_CACHE_H
#define PARO_CACHE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paro/cache.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "families/family.h"

/* A compiled kernel. Strings zero-terminated. */
typedef struct paro_cache_kernel {
    char key[PARO_SHA256_HEX_BYTES];         /* paro_kernel_key */
    char source_hash[PARO_SHA256_HEX_BYTES]; /* SHA-256 of the source */
    const char *family;
    const char *arch;      /* target: "sm_90", "sm_90a", "compute_121" */
    const char *nvrtc;     /* version */
    const char *signature; /* JSON; "" where there was no libclang */
    const char *resources; /* JSON */
    const void *binary;
    size_t n_bytes;
    bool is_ptx;
} paro_cache_kernel;

/* One measured (or failed) candidate; kept for ever, for replays. */
typedef struct paro_cache_timing {
    const char *problem, *device_class, *config;
    char template_hash[PARO_SHA256_HEX_BYTES];
    const char
        *state; /* "timed", "wrong", "crashed", "hung", "refused" (compiler or driver), "pruned" */
    const char *reason; /* of anything but "timed" */
    double median_us, spread_us, min_us;
    uint32_t n_samples, clock_mhz;
    const char *clock; /* as above */
    double error;      /* relative L2 found in verification */
    int64_t measured_at;
} paro_cache_timing;

/* Puts replace rows of the same key (kernel: key; winner: problem, class, template, layout). Each
 * is one transaction unless inside begin/commit. Locked files are waited for (10 s). */
paro_status paro_cache_begin(paro_error *err, paro_cache *cache);
paro_status paro_cache_commit(paro_error *err, paro_cache *cache);
void paro_cache_rollback(paro_cache *cache);
paro_status paro_cache_put_kernel(paro_error *err, paro_cache *cache,
                                  const paro_cache_kernel *kernel);
paro_status paro_cache_put_winner(paro_error *err, paro_cache *cache,
                                  const paro_cache_winner *winner);
paro_status paro_cache_put_timing(paro_error *err, paro_cache *cache,
                                  const paro_cache_timing *timing);

/* Gets: memory in the arena. PARO_STATUS_NOT_FOUND is a miss. The user's file hides the system's.
 */
paro_status paro_cache_get_kernel(paro_error *err, paro_cache *cache, const char *key,
                                  paro_arena *arena, paro_cache_kernel *out);
/* By source hash and target, any NVRTC version: the newest. */
paro_status paro_cache_find_kernel(paro_error *err, paro_cache *cache, const char *source_hash,
                                   const char *target, paro_arena *arena, paro_cache_kernel *out);
/* layout NULL: of any layout, the fastest. */
paro_status paro_cache_get_winner(paro_error *err, paro_cache *cache, const char *problem,
                                  const char *device_class, const char *template_hash,
                                  const char *layout, paro_arena *arena, paro_cache_winner *out);

/* Reads between the two see one moment of the files and take their locks once; they may nest, and
 * nothing is put between them. Other processes' writes wait meanwhile: keep it short. */
paro_status paro_cache_read_begin(paro_error *err, paro_cache *cache);
void paro_cache_read_end(paro_cache *cache);

/* Iteration, as paro_cache_each_winner: fn returns false to stop. Filters may be NULL (family: the
 * text before
 * ":"). Rows are valid during the call. */
typedef bool paro_cache_timing_fn(void *context, const paro_cache_timing *timing);
typedef bool paro_cache_kernel_fn(void *context, const paro_cache_kernel *kernel);
paro_status paro_cache_each_timing(paro_error *err, paro_cache *cache, const char *problem,
                                   const char *device_class, paro_cache_timing_fn *fn,
                                   void *context);
paro_status paro_cache_each_kernel(paro_error *err, paro_cache *cache, const char *family,
                                   paro_cache_kernel_fn *fn, void *context);

/* ---- lookup: what to run -----------------------------------------------------------------------
 */

typedef struct paro_lookup {
    paro_grade grade;
    paro_kernel_config config; /* passes the family's constraint for problem and arch */
    bool has_kernel;           /* key names a kernel in the cache (not yet read) */
    char key[PARO_SHA256_HEX_BYTES];
    const char *why;  /* one line: which row, or why no better one; in the arena */
    double median_us; /* of the row it comes from; 0: none */
} paro_lookup;

/* Never a miss: the family's default is always there (UNSUPPORTED where the arch has no path for
 * the problem). `layout` NULL: any. template_hash is the family's of today: rows of others are not
 * used. */
paro_status paro_cache_lookup(paro_error *err, paro_cache *cache, const paro_problem *problem,
                              const paro_arch *arch, const paro_device_info *device,
                              const char *template_hash, const char *layout, paro_arena *arena,
                              paro_lookup *out);

/* Many at once, in one transaction; faster, and out [n] is from one moment. Where one fails, none
 * is written. */
typedef struct paro_lookup_request {
    const paro_problem *problem;
    const char *template_hash;
    const char *layout; /* NULL: any */
    /* For machines that cannot compile: the best that has a kernel here; NOT_FOUND where nothing
     * has. */
    bool only_compiled;
} paro_lookup_request;
paro_status paro_cache_lookup_all(paro_error *err, paro_cache *cache,
                                  const paro_lookup_request *requests, size_t n,
                                  const paro_arch *arch, const paro_device_info *device,
                                  paro_arena *arena, paro_lookup *out);

/* The layout for one weight whose problems (one for every bucket) are given: the one whose winners'
 * times sum to the least, buckets weighed alike; the default's where nothing is known. */
paro_status paro_cache_choose_layout(paro_error *err, paro_cache *cache,
                                     const paro_problem *problems, size_t n_problems,
                                     const paro_arch *arch, const paro_device_info *device,
                                     const char *template_hash, paro_arena *arena,
                                     const char **layout);

/* ---- whole files ----------------------------------------------------------------------------- */

/* Removes winners of templates that are not today's (hashes [n]), kernels no winner names, and
 * damaged rows; timings of other templates too where all_timings is set. The file then shrinks. */
paro_status paro_cache_prune(paro_error *err, paro_cache *cache,
                             const char (*template_hashes)[PARO_SHA256_HEX_BYTES], size_t n,
                             bool all_timings, uint64_t *n_removed);

#endif
