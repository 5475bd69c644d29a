/* SPDX-License-Identifier: MIT
 *
 * The numerics policy: dtypes that kernels compute with, and the error each allows.
 */
#include "families/problem.h"

const char *const paro_problem_dtypes[] = {"f16", "bf16", "f32", NULL};

static const struct {
    paro_dtype storage;
    double tolerance;
} policy[] = {
    [PARO_KERNEL_DTYPE_F16] = {PARO_DTYPE_F16, 2e-3},
    [PARO_KERNEL_DTYPE_BF16] = {PARO_DTYPE_BF16, 1.5e-2},
    [PARO_KERNEL_DTYPE_F32] = {PARO_DTYPE_F32, 1e-5},
};

paro_dtype paro_kernel_dtype_storage(paro_kernel_dtype dtype)
{
    return policy[dtype].storage;
}

double paro_numerics_tolerance(paro_kernel_dtype dtype)
{
    return policy[dtype].tolerance;
}
