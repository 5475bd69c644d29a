/* SPDX-License-Identifier: MIT
 *
 * Kernels: the problems of a model, and what paro makes of a problem: source, signature, resources,
 * code. Nothing here needs a GPU.
 */
#ifndef PARO_KERNEL_H
#define PARO_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paro/observer.h>
#include <paro/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- this machine ------------------------------------------------------------------------------
 */

/* What paro found here, each a line for people: "NVIDIA H200 (sm_90), driver 580.159.04", or why
 * there is none. Initialises the GPU driver in this process. */
typedef struct paro_tools {
    bool has_gpu, has_nvrtc, has_libclang;
    char gpu[256];      /* of device 0 */
    char nvrtc[256];    /* compiles kernels */
    char libclang[256]; /* checks sources */
} paro_tools;
void paro_tools_find(const char *nvrtc_library, paro_tools *out);

/* ---- families ----------------------------------------------------------------------------------
 */

/* The n-th kernel family; false past the last. Strings live for ever. */
typedef struct paro_family_info {
    const char *name;    /* "rotate" */
    const char *summary; /* one line */
    size_t n_keys;       /* of its problems */
    size_t n_params;     /* of its configs */
    size_t n_args;       /* of its kernels */
} paro_family_info;
bool paro_family_describe(size_t n, paro_family_info *out);

/* The i-th key of the n-th family's problems, param of its configs, argument of its kernels. False
 * where there is none. */
typedef struct paro_family_row {
    const char *name;
    const char *help;
    char values[160];  /* "1..512", "f16|bf16|f32"; of an argument: its role */
    char fallback[32]; /* of a key: its default, "" where it must be given */
} paro_family_row;
bool paro_family_key(size_t n, size_t i, paro_family_row *out);
bool paro_family_param(size_t n, size_t i, paro_family_row *out);
bool paro_family_arg(size_t n, size_t i, paro_family_row *out);

/* The n-th arch kernels are made for ("sm_75"), NULL past the last. */
const char *paro_arch_name(size_t n);

/* ---- problems ----------------------------------------------------------------------------------
 */

/* A list of problems without duplicates, in the order they were added. */
typedef struct paro_problems paro_problems;
paro_status paro_problems_new(paro_error *err, paro_problems **out);
void paro_problems_free(paro_problems *problems);

/* "family:key=value,…", for example
 * linear_w4:n=6144,k=4096,m=1,group=128,krot=8,dtype=f16,parts=4096+1024+1024
 * What may be left out is filled in. INVALID_ARGUMENT says what was expected. */
paro_status paro_problems_add(paro_error *err, paro_problems *problems, const char *text);

/* Every problem of a model, for tokens 1, 2, 4, … 512 at a time, or for those given: `buckets`
 * [n_buckets] of these. `dir` needs config.json only: without weights every linear of the blocks
 * counts as quantised where config.json says that any is. */
paro_status paro_problems_add_model(paro_error *err, paro_problems *problems, const char *dir,
                                    const uint32_t *buckets, size_t n_buckets);

size_t paro_problems_count(const paro_problems *problems);
/* The n-th in canonical form; lives as long as the list. */
const char *paro_problems_get(const paro_problems *problems, size_t n);

/* ---- one kernel --------------------------------------------------------------------------------
 */

typedef enum paro_kernel_stage {
    PARO_KERNEL_STAGE_SOURCE,    /* rendered CUDA C++ */
    PARO_KERNEL_STAGE_SIGNATURE, /* JSON; needs libclang */
    PARO_KERNEL_STAGE_RESOURCES, /* JSON; needs NVRTC */
    PARO_KERNEL_STAGE_SASS       /* the machine code as text; needs NVRTC */
} paro_kernel_stage;

typedef struct paro_kernel_options {
    const char *config;        /* "tile_n=64,warps=4"; params left out, or NULL: the default's */
    const char *arch;          /* "sm_90"; NULL: that */
    const char *nvrtc_library; /* NULL: searched */
} paro_kernel_options;

/* The text of one stage for a problem; malloc'd and zero-terminated. UNSUPPORTED where a library it
 * needs is not there, naming what was looked for. `options` may be NULL. */
paro_status paro_kernel_show(paro_error *err, const char *problem,
                             const paro_kernel_options *options, paro_kernel_stage stage,
                             char **text, size_t *n_bytes);

/* ---- all kernels -------------------------------------------------------------------------------
 */

typedef enum paro_kernel_check_step {
    PARO_KERNEL_CHECK_NO_PATH, /* the arch cannot run the problem: not an error */
    PARO_KERNEL_CHECK_OK,
    PARO_KERNEL_CHECK_SPILLS,    /* compiled, but registers spill to memory */
    PARO_KERNEL_CHECK_SIGNATURE, /* the source's parameters are not what the launch passes */
    PARO_KERNEL_CHECK_REFUSED,   /* by the compiler, or libclang's diagnostics */
    PARO_KERNEL_CHECK_WRONG      /* emulated: the result is not the reference's */
} paro_kernel_check_step;

typedef struct paro_kernel_check_row {
    const char *problem;
    const char *config;
    const char *arch; /* NULL: emulated */
    paro_kernel_check_step result;
    const char *reason;   /* of what is not OK; else "" */
    uint32_t n_registers; /* of the kernel of most */
    uint32_t spill_bytes;
    double error; /* emulated: relative L2 */
} paro_kernel_check_row;
typedef void paro_kernel_check_fn(void *context, const paro_kernel_check_row *row);

typedef struct paro_kernel_check_options {
    const char *const *archs; /* [n_archs]; NULL: all */
    size_t n_archs;
    bool emulate;          /* also run every default in the emulator (needs a C++ compiler), where
                              its work is at most max_operations */
    double max_operations; /* 0: 2e7 */
    const char *cache; /* winners of this cache file are checked besides the defaults; NULL: none */
    int n_jobs;        /* threads; 0: one per core */
    const char *nvrtc_library;
    const paro_observer *observer;
    paro_kernel_check_fn *row; /* told of every row, on the calling thread */
    void *row_context;
} paro_kernel_check_options;

typedef struct paro_kernel_check_summary {
    uint32_t n_compiled, n_no_path, n_spilling, n_refused, n_wrong_signature;
    uint32_t n_emulated, n_wrong, n_not_emulated; /* too large */
    bool has_checker;                             /* libclang was there */
    double seconds;
} paro_kernel_check_summary;

/* Compiles the default (and the winners) of every problem for every arch. Failures of kernels are
 * rows, not a status. */
paro_status paro_kernels_check(paro_error *err, const paro_problems *problems,
                               const paro_kernel_check_options *options,
                               paro_kernel_check_summary *out);

#ifdef __cplusplus
}
#endif
#endif
