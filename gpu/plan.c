/* SPDX-License-Identifier: MIT
 *
 * See plan.h.
 */
#include "gpu/plan.h"

#include <inttypes.h>

paro_status paro_launch_plan_functions(paro_error *err, paro_gpu_module *module,
                                       const paro_launch_plan *plan,
                                       paro_gpu_function *functions[PARO_MAX_LAUNCHES])
{
    paro_gpu_function *found[PARO_MAX_LAUNCHES] = {NULL};
    for (size_t i = 0; i < plan->n_launches; i++) {
        paro_status status =
            paro_gpu_module_function(err, module, plan->launches[i].kernel, &found[i]);
        if (status != PARO_STATUS_OK)
            return status;
    }
    for (size_t i = 0; i < PARO_MAX_LAUNCHES; i++)
        functions[i] = found[i];
    return PARO_STATUS_OK;
}

paro_status paro_launch_plan_check(paro_error *err, const paro_family *family,
                                   const paro_launch_plan *plan,
                                   paro_gpu_function *const functions[PARO_MAX_LAUNCHES])
{
    for (size_t i = 0; i < plan->n_launches; i++) {
        const paro_launch *launch = &plan->launches[i];
        size_t sizes[PARO_MAX_ARGS] = {0};
        size_t n = 0;
        paro_status status = paro_gpu_function_params(err, functions[i], sizes, PARO_MAX_ARGS, &n);
        if (status == PARO_STATUS_UNSUPPORTED)
            continue;
        if (status != PARO_STATUS_OK)
            return status;
        if (n != launch->n_args)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "kernel %s: expected %zu parameters, found %zu in the compiled kernel",
                             launch->kernel, launch->n_args, n);
        for (size_t j = 0; j < n; j++) {
            const paro_arg *arg = &family->args[launch->args[j]];
            size_t expected =
                arg->role == PARO_ARG_SCALAR ? sizeof(paro_scalar) : sizeof(paro_gpu_ptr);
            if (sizes[j] != expected)
                return paro_fail(err, PARO_STATUS_FORMAT,
                                 "kernel %s: parameter %s: expected %zu bytes, found %zu in the "
                                 "compiled kernel",
                                 launch->kernel, arg->name, expected, sizes[j]);
        }
    }
    return PARO_STATUS_OK;
}

paro_status paro_launch_plan_launch(paro_error *err, paro_gpu_stream *stream,
                                    const paro_launch_plan *plan,
                                    paro_gpu_function *const functions[PARO_MAX_LAUNCHES],
                                    const paro_gpu_value values[PARO_MAX_ARGS])
{
    for (size_t i = 0; i < plan->n_launches; i++) {
        const paro_launch *launch = &plan->launches[i];
        paro_gpu_value copies[PARO_MAX_ARGS];
        void *args[PARO_MAX_ARGS];
        for (size_t j = 0; j < launch->n_args; j++) {
            copies[j] = values[launch->args[j]];
            args[j] = &copies[j]; /* a scalar lies at the union's start, as a pointer does */
        }
        paro_gpu_launch call = {
            .function = functions[i],
            .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
            .n_threads = launch->n_threads,
            .cluster = launch->cluster,
            .shared_bytes = launch->shared_bytes,
            .args = args,
            .n_args = launch->n_args,
        };
        paro_status status = paro_gpu_launch_kernel(err, stream, &call);
        if (status != PARO_STATUS_OK)
            return paro_fail_in(err, status, "kernel %s", launch->kernel);
    }
    return PARO_STATUS_OK;
}
