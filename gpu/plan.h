/* SPDX-License-Identifier: MIT
 *
 * A family's plan on a device: its functions looked up once, launched with argument values. The
 * runtime, the tuner and the tests launch kernels through this and nothing else.
 */
#ifndef PARO_GPU_PLAN_H
#define PARO_GPU_PLAN_H

#include "families/family.h"
#include "gpu/gpu.h"

/* The value of one argument of a family: a device address (0: absent) or a scalar. */
typedef union paro_gpu_value {
    paro_gpu_ptr ptr;
    paro_scalar scalar;
} paro_gpu_value;

/* The functions of the plan's launches, in their order; a kernel that is launched twice is looked
 * up twice. NOT_FOUND names the kernel that the module lacks. */
paro_status paro_launch_plan_functions(paro_error *err, paro_gpu_module *module,
                                       const paro_launch_plan *plan,
                                       paro_gpu_function *functions[PARO_MAX_LAUNCHES]);

/* The module's parameters against the plan's arguments: their number, and 8 bytes for a buffer, 4
 * for a scalar (where that can be told). PARO_STATUS_FORMAT names kernel, parameter, expected,
 * found: a kernel from a cache is not launched without this check. */
paro_status paro_launch_plan_check(paro_error *err, const paro_family *family,
                                   const paro_launch_plan *plan,
                                   paro_gpu_function *const functions[PARO_MAX_LAUNCHES]);

/* All launches of the plan, in the stream's order; `values` by argument of the family, read during
 * the call. The plan may be of a smaller m than the one the functions were looked up with. */
paro_status paro_launch_plan_launch(paro_error *err, paro_gpu_stream *stream,
                                    const paro_launch_plan *plan,
                                    paro_gpu_function *const functions[PARO_MAX_LAUNCHES],
                                    const paro_gpu_value values[PARO_MAX_ARGS]);

#endif
