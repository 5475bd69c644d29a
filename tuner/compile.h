/* SPDX-License-Identifier: MIT
 *
 * Compiling many variants on all cores: jobs are taken in the order they were given, and waited for
 * one by one.
 */
#ifndef PARO_TUNER_COMPILE_H
#define PARO_TUNER_COMPILE_H

#include "base/buffer.h"
#include "codegen/codegen.h"
#include "gpu/gpu.h"

typedef struct paro_compiler paro_compiler;

enum { PARO_COMPILE_TARGET_BYTES = 32 };

/* A variant on its way, and what came of it: read after the wait. */
typedef struct paro_compile_job {
    paro_problem problem;
    paro_kernel_config config;
    paro_arch arch;
    bool wants_ptx; /* for a device newer than every arch */
    /* The result. */
    paro_status status;
    paro_error error;
    paro_buffer source; /* zero-terminated */
    char target[PARO_COMPILE_TARGET_BYTES];
    paro_binary binary; /* none without NVRTC */
    bool has_binary;
    paro_buffer resources; /* JSON */
    uint32_t spill_bytes;  /* stored and loaded, of all kernels */
    /* Of the compiler. */
    int state;
    struct paro_compile_job *next;
} paro_compile_job;

/* n_threads 0: one per core. nvrtc NULL: jobs end with their source (for the emulator); it outlives
 * the compiler. */
paro_status paro_compiler_new(paro_error *err, const paro_nvrtc *nvrtc, int n_threads,
                              paro_compiler **out);
void paro_compiler_free(paro_compiler *compiler); /* after all its jobs */

/* Problem, config and arch are copied. */
paro_status paro_compiler_submit(paro_error *err, paro_compiler *compiler,
                                 const paro_problem *problem, const paro_kernel_config *config,
                                 const paro_arch *arch, bool wants_ptx, paro_compile_job **out);

/* Until the job is done. */
void paro_compiler_wait(paro_compiler *compiler, paro_compile_job *job);

/* Whatever its state: a job not begun is taken back. NULL is fine. */
void paro_compiler_release(paro_compiler *compiler, paro_compile_job *job);

/* What runs: the binary, or on the emulator the source. */
paro_gpu_image paro_compile_job_image(const paro_compile_job *job);

#endif
