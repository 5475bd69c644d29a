/* SPDX-License-Identifier: MIT
 *
 * What this machine's CPU is used for.
 */
#include <paro/version.h>
#include <string.h>

#include "cpu/linear.h"

const char *paro_build_summary(void)
{
    static const struct {
        const char *isa, *summary;
    } rows[] = {
        {"avx512", "CPU kernels: AVX-512; large products: OpenBLAS"},
        {"avx2", "CPU kernels: AVX2; large products: OpenBLAS"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].isa, paro_cpu_isa()) == 0)
            return rows[i].summary;
    return "CPU kernels: plain C; large products: OpenBLAS";
}
