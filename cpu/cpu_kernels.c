/* SPDX-License-Identifier: MIT
 *
 * Which of the kernel tables this machine can run.
 */
#include "cpu/cpu_kernels.h"

#include <string.h>

#include "cpu/linear.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static bool has_avx2(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d; /* clang 14's __builtin_cpu_supports does not know F16C */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
#else
    return false;
#endif
}

static bool has_avx512(void)
{
#if defined(__x86_64__)
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

const paro_cpu_kernels *paro_cpu_kernels_get(size_t n)
{
    const paro_cpu_kernels *tables[] = {
        has_avx512() ? paro_cpu_kernels_avx512() : NULL,
        has_avx2() ? paro_cpu_kernels_avx2() : NULL,
        paro_cpu_kernels_generic(),
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (tables[i] && n-- == 0)
            return tables[i];
    return NULL;
}

const paro_cpu_kernels *paro_cpu_kernels_best(void)
{
    return paro_cpu_kernels_get(0);
}

const paro_cpu_kernels *paro_cpu_kernels_find(const char *name)
{
    const paro_cpu_kernels *kernels;
    for (size_t n = 0; (kernels = paro_cpu_kernels_get(n)); n++)
        if (strcmp(kernels->name, name) == 0)
            return kernels;
    return NULL;
}

const char *paro_cpu_isa(void)
{
    return paro_cpu_kernels_best()->name;
}
