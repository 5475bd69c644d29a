/* SPDX-License-Identifier: MIT
 *
 * Rendered sources as shared objects: found kernels, compiled, loaded.
 */
#ifndef PARO_EMULATOR_MODULE_H
#define PARO_EMULATOR_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "emulator/run.h"

/* Parameters of a kernel at most. */
enum { PARO_EMU_MAX_PARAMS = 64, PARO_EMU_VERSION_BYTES = 128 };

typedef struct paro_emu_compiler {
    const char *program;
    const char *folder;                   /* compiled objects are kept there */
    const char *sanitize;                 /* or NULL */
    char version[PARO_EMU_VERSION_BYTES]; /* the first line of --version */
} paro_emu_compiler;

/* Asks the program for its version. UNSUPPORTED where there is none, and where `sanitize` has
 * address but this library was built without it. */
paro_status paro_emu_compiler_check(paro_error *err, paro_emu_compiler *compiler);

typedef struct paro_emu_kernel {
    const char *name;
    const char *bounds; /* what stands in __launch_bounds__, or NULL */
    void (*fn)(void *const *args);
    uint32_t max_threads; /* from the bounds; 1024 without */
    uint32_t sizes[PARO_EMU_MAX_PARAMS];
    size_t n_params;
} paro_emu_kernel;

typedef struct paro_emu_object {
    void *handle;
    const emulator_thread **(*self_at)(void);
    paro_emu_kernel *kernels;
    size_t n_kernels;
    paro_arena arena; /* owns kernels and names */
} paro_emu_object;

/* Compiles (where the folder does not have it yet) and loads. What the compiler says about a bad
 * source is PARO_STATUS_FORMAT with its first error line. */
paro_status paro_emu_object_open(paro_error *err, const paro_emu_compiler *compiler,
                                 const char *source, size_t n_bytes, paro_emu_object *out);
void paro_emu_object_close(paro_emu_object *object);

/* The functions of a source that are declared __global__, outside of comments and strings: names
 * and bounds. */
paro_status paro_emu_find_kernels(paro_error *err, const char *source, size_t n_bytes,
                                  paro_arena *arena, paro_emu_kernel **kernels, size_t *n_kernels);

#endif
