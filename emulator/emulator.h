/* SPDX-License-Identifier: MIT
 *
 * Kernels on the host: a rendered source is compiled as C++ by the system's compiler, loaded, and
 * run with its threads as fibres (emulator/device.c puts this behind gpu.h). What goes wrong on a
 * device without a word is an error here: a barrier that not all threads reach, a read of what an
 * asynchronous copy has not brought yet, access beyond a buffer (with AddressSanitizer), a shuffle
 * from a lane that is not there.
 */
#ifndef PARO_EMULATOR_EMULATOR_H
#define PARO_EMULATOR_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/thread.h"
#include "families/arch.h"
#include "gpu/gpu.h"

typedef struct paro_emulator_options {
    const char *compiler; /* NULL: "c++" on the PATH */
    const char *folder; /* compiled kernels are kept and found again there (by hash of source, flags
                           and compiler); NULL: a temporary folder, removed in the end */
    const char *sanitize;  /* "address,undefined" for -fsanitize=…; NULL: none */
    uint64_t seed;         /* of the schedule of warps */
    const paro_arch *arch; /* whose limits (shared memory, threads, features) hold; NULL: sm_90 */
    paro_pool *pool;       /* blocks of a grid (clusters) run on its threads; NULL: one thread */
} paro_emulator_options;

/* A device that emulates. UNSUPPORTED where there is no C++ compiler, naming what was looked for.
 * Memory is the host's: a paro_gpu_ptr is a host address, every allocation its own (malloc). */
paro_status paro_gpu_open_emulator(paro_error *err, const paro_emulator_options *options,
                                   paro_gpu **out);

/* The seed of launches from now on. */
void paro_emulator_set_seed(paro_gpu *gpu, uint64_t seed);

#endif
