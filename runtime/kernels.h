/* SPDX-License-Identifier: MIT
 *
 * The kernels of one device: from a problem to loaded functions, once for everything that runs on
 * the device. A config comes from the cache (else it is the family's default), its code from the
 * cache (else from NVRTC, and then into the cache); the emulator takes the source itself.
 *
 * Invariants: 1. a kernel handed out stays as it is until the table is freed; 2. no code is loaded
 * that was not made from exactly the source which the family gives today for problem, config and
 * arch (cached code is found by that source's hash), and its parameters are checked against the
 * plan; 3. the table's mutex guards it and the cache.
 */
#ifndef PARO_RUNTIME_KERNELS_H
#define PARO_RUNTIME_KERNELS_H

#include <paro/observer.h>

#include "base/thread.h"
#include "cache/cache.h"
#include "gpu/gpu.h"
#include "gpu/plan.h"

typedef struct paro_kernels paro_kernels;

/* Told of every problem that is asked for, also again; under the table's mutex. */
typedef void paro_kernels_asked_fn(void *context, const paro_problem *problem);

typedef struct paro_kernels_options {
    const char *cache_path;        /* the user's cache file; NULL: none */
    const char *system_cache_path; /* read-only, below it; NULL: none */
    const char *nvrtc_library;     /* NULL: searched */
    bool no_nvrtc;                 /* never compile: for tests */
    const paro_observer *observer; /* outlives the table; may be NULL */
    paro_pool *pool;               /* compiles on its threads; outlives the table; may be NULL */
    paro_kernels_asked_fn *asked;  /* for tests; may be NULL */
    void *asked_context;
} paro_kernels_options;

typedef struct paro_kernel {
    paro_problem problem; /* the bucket's */
    paro_kernel_config config;
    paro_grade grade;
    const char *layout; /* "" for families without; of the family's constants */
    paro_gpu_function *functions[PARO_MAX_LAUNCHES];
    uint64_t scratch_bytes; /* enough for every m of the bucket */
} paro_kernel;

/* The device must outlive the table. A cache that cannot be opened is logged and done without. */
paro_status paro_kernels_new(paro_error *err, paro_gpu *gpu, const paro_kernels_options *options,
                             paro_kernels **out);
void paro_kernels_free(paro_kernels *kernels);

/* The layout for one weight, given its problems (one for every bucket); lives for ever. */
paro_status paro_kernels_layout(paro_error *err, paro_kernels *kernels,
                                const paro_problem *problems, size_t n_problems,
                                const char **layout);

typedef struct paro_kernel_request {
    paro_problem problem;
    const char *layout;        /* NULL: any */
    const paro_kernel *kernel; /* the answer */
} paro_kernel_request;

/* Answers all requests, or none. UNSUPPORTED where the arch has no path for a problem, or where
 * there is neither cached code nor NVRTC: the message names the problem, what was looked for, and
 * what to do. */
paro_status paro_kernels_load(paro_error *err, paro_kernels *kernels, paro_kernel_request *requests,
                              size_t n_requests);

/* An argument's value by its name in the family's table. */
typedef struct paro_kernel_value {
    const char *name;
    paro_gpu_value value;
} paro_kernel_value;

/* Launches for `m` of the bucket (ignored by families without). `values` [n_values] has every
 * argument but "m", those that are absent, and scratch, which is taken from `scratch`, an
 * allocation of at least kernel->scratch_bytes. A value whose name the family does not know is an
 * error (INVALID_ARGUMENT), as is a missing one. */
paro_status paro_kernel_launch(paro_error *err, const paro_kernel *kernel, paro_gpu_stream *stream,
                               uint32_t m, paro_gpu_ptr scratch, const paro_kernel_value *values,
                               size_t n_values);

/* How problems were answered so far, by grade, and how many kernels were compiled. */
typedef struct paro_kernels_info {
    size_t n_by_grade[PARO_GRADE_DEFAULT + 1];
    size_t n_compiled;
    size_t n_modules;
} paro_kernels_info;
void paro_kernels_get_info(paro_kernels *kernels, paro_kernels_info *out);

#endif
