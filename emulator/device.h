/* SPDX-License-Identifier: MIT
 *
 * The emulated device's objects: device.c and launch.c.
 */
#ifndef PARO_EMULATOR_DEVICE_H
#define PARO_EMULATOR_DEVICE_H

#include <pthread.h>

#include "base/thread.h"
#include "emulator/module.h"
#include "emulator/run.h"
#include "gpu/backend.h"

typedef struct paro_emu_device {
    paro_gpu gpu; /* first */
    paro_pool *pool;
    const paro_arch *arch;
    uint64_t seed;
    paro_emu_compiler compiler;
    char *program;
    char *folder;
    char *sanitize;
    bool has_own_folder;
    pthread_mutex_t lock; /* over workers */
    paro_emu_run *workers;
    int n_workers;
} paro_emu_device;

typedef struct paro_emu_function {
    paro_gpu *gpu; /* first, as in all handles */
    struct paro_emu_module *module;
    const paro_emu_kernel *kernel;
} paro_emu_function;

typedef struct paro_emu_module {
    paro_gpu *gpu;
    paro_emu_object object;
    paro_emu_function *functions; /* by kernel */
} paro_emu_module;

typedef enum paro_emu_step_kind {
    PARO_EMU_LAUNCH,
    PARO_EMU_COPY,
    PARO_EMU_FILL
} paro_emu_step_kind;

/* What a stream does. */
typedef struct paro_emu_step {
    paro_emu_step_kind kind;
    paro_gpu_ptr to, from;
    size_t n_bytes;
    uint8_t byte;
    paro_gpu_launch launch; /* args: see paro_emu_graph */
} paro_emu_step;

/* Steps with their arguments: launch.args of a step point to copies of the values. */
typedef struct paro_emu_graph {
    paro_gpu *gpu;
    paro_emu_step *steps;
    size_t n_steps;
    size_t capacity;
    paro_arena arena; /* owns arguments */
} paro_emu_graph;

typedef struct paro_emu_stream {
    paro_gpu *gpu;
    paro_emu_graph *recording; /* between graph_begin and graph_end */
    bool has_failed;           /* what was recorded is not whole */
} paro_emu_stream;

/* Runs the step, or records it. */
paro_status paro_emu_do(paro_error *err, paro_emu_stream *stream, const paro_emu_step *step);

paro_status paro_emu_launch_kernel(paro_error *err, paro_gpu_stream *stream,
                                   const paro_gpu_launch *launch);
paro_status paro_emu_graph_begin(paro_error *err, paro_gpu_stream *stream);
paro_status paro_emu_graph_end(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph **out);
paro_status paro_emu_graph_launch(paro_error *err, paro_gpu_stream *stream, paro_gpu_graph *graph);
void paro_emu_graph_free(paro_gpu_graph *graph);

#endif
