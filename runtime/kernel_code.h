/* SPDX-License-Identifier: MIT
 *
 * The code of one variant for one device: from the cache, else from NVRTC. What kernels.c asks of
 * the world outside the device; used under the mutex of its table, except for
 * paro_kernel_code_compile.
 */
#ifndef PARO_RUNTIME_KERNEL_CODE_H
#define PARO_RUNTIME_KERNEL_CODE_H

#include "cache/cache.h"
#include "codegen/codegen.h"
#include "gpu/gpu.h"
#include "runtime/kernels.h"

enum { PARO_KERNEL_TARGET_BYTES = 32 };

typedef struct paro_kernel_world {
    paro_gpu *gpu;
    paro_kernels_options options;
    paro_arch arch;    /* whose kernels run on the device */
    bool needs_ptx;    /* the device is newer than every arch: only PTX runs there */
    bool is_emulated;  /* code is the source */
    paro_cache *cache; /* NULL: none */
    bool is_cache_writable;
    paro_nvrtc *nvrtc;      /* NULL: not loaded (yet) */
    paro_error nvrtc_error; /* why there is none, once it was looked for */
    bool looked_for_nvrtc;
    size_t n_compiled;
} paro_kernel_world;

paro_status paro_kernel_world_init(paro_error *err, paro_gpu *gpu,
                                   const paro_kernels_options *options, paro_kernel_world *out);
void paro_kernel_world_release(paro_kernel_world *world);

/* The config for a problem, of the layout (NULL: any). */
paro_status paro_kernel_choose(paro_error *err, paro_kernel_world *world,
                               const paro_problem *problem, const char *layout,
                               paro_kernel_config *config, paro_grade *grade);

/* The best config that the cache has code for; *found tells whether there is one. */
paro_status paro_kernel_choose_compiled(paro_error *err, paro_kernel_world *world,
                                        const paro_problem *problem, const char *layout,
                                        paro_kernel_config *config, paro_grade *grade, bool *found);

/* The family's default, or, where it is of another layout, the first config of the space that is
 * not. */
paro_status paro_kernel_default(paro_error *err, const paro_kernel_world *world,
                                const paro_problem *problem, const char *layout,
                                paro_kernel_config *config);

/* One module's code on its way: source, then binary. */
typedef struct paro_kernel_code {
    const paro_family *family;
    paro_buffer source; /* zero-terminated */
    char source_hash[PARO_SHA256_HEX_BYTES];
    char target[PARO_KERNEL_TARGET_BYTES]; /* what the binary is for: "sm_90", "compute_120" */
    paro_arena arena;
    const void *binary; /* NULL: not yet */
    size_t n_bytes;
    bool is_ptx;
    const char *signature; /* JSON of cached code; NULL: unknown */
    paro_binary compiled;  /* owns `binary` where it was compiled here */
    bool is_compiled;
} paro_kernel_code;
void paro_kernel_code_release(paro_kernel_code *code);

/* Renders; on a device also finds out for which target. */
paro_status paro_kernel_code_render(paro_error *err, paro_kernel_world *world,
                                    const paro_problem *problem, const paro_kernel_config *config,
                                    paro_kernel_code *out);

/* Binary from the cache: for the target, for a lower minor version of the same major one, as PTX,
 * in the order of paro_cache_target_rank; *found tells. Damaged rows are misses. */
paro_status paro_kernel_code_find(paro_error *err, paro_kernel_world *world, paro_kernel_code *code,
                                  bool *found);

/* Loads NVRTC if need be; UNSUPPORTED with what was looked for. Sets the code's target to one that
 * NVRTC knows. */
paro_status paro_kernel_code_can_compile(paro_error *err, paro_kernel_world *world,
                                         paro_kernel_code *code);

/* Any thread. */
paro_status paro_kernel_code_compile(paro_error *err, const paro_kernel_world *world,
                                     paro_kernel_code *code);

/* Stores what was compiled: the binary where it is wanted, and a winner's row of grade default for
 * the problem, where the config is its default. The cache is writable. */
paro_status paro_kernel_code_keep(paro_error *err, paro_kernel_world *world,
                                  const paro_problem *problem, const paro_kernel_config *config,
                                  const paro_kernel_code *code, bool with_binary);

#endif
