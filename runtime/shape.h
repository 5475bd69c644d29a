/* SPDX-License-Identifier: MIT
 *
 * What of a model decides which kernels it needs: families/model_problems.h makes problems of it.
 */
#ifndef PARO_RUNTIME_SHAPE_H
#define PARO_RUNTIME_SHAPE_H

#include "base/arena.h"
#include "families/model_problems.h"
#include "runtime/model.h"

/* f16, unless a 16-bit or 32-bit weight is beyond what f16 holds: bf16 then, and *which (may be
 * NULL) receives that tensor, else NULL. Reads every weight that is stored wider than f16. */
paro_kernel_dtype paro_model_kernel_dtype(const paro_model *model, const paro_tensor **which);

/* From an open model, linear by linear. Memory in the arena. */
paro_status paro_shape_of_model(paro_error *err, const paro_model *model, paro_kernel_dtype dtype,
                                paro_arena *arena, paro_model_shape *out);

/* From config.json alone: every linear of the blocks is quantised where it says that any is. */
paro_status paro_shape_of_config(paro_error *err, const paro_config *config,
                                 paro_kernel_dtype dtype, paro_arena *arena, paro_model_shape *out);

/* From a folder: its weights where there are some, else its config.json. */
paro_status paro_shape_load(paro_error *err, const char *dir, paro_arena *arena,
                            paro_model_shape *out);

#endif
