/* SPDX-License-Identifier: MIT
 *
 * The table of architectures: what NVRTC 13.0 compiles for, with the limits of the CUDA programming
 * guide ("Technical Specifications per Compute Capability").
 */
#include "families/arch.h"

#include <string.h>

enum {
    KIB = 1024,
    TURING = PARO_ARCH_MMA_F16,
    AMPERE = PARO_ARCH_MMA_F16 | PARO_ARCH_MMA_BF16 | PARO_ARCH_COPY_ASYNC,
    BLACKWELL = AMPERE | PARO_ARCH_BULK | PARO_ARCH_CLUSTER | PARO_ARCH_DEPENDENT,
    HOPPER = BLACKWELL | PARO_ARCH_WGMMA
};

/* sm_88 is not in the guide: the figures of its smallest neighbours. */
static const paro_arch archs[] = {
    {"sm_75", NULL, "compute_75", 75, TURING, 64 * KIB, 64 * KIB, 1024, 65536},
    {"sm_80", NULL, "compute_80", 80, AMPERE, 163 * KIB, 164 * KIB, 2048, 65536},
    {"sm_86", NULL, "compute_86", 86, AMPERE, 99 * KIB, 100 * KIB, 1536, 65536},
    {"sm_87", NULL, "compute_87", 87, AMPERE, 163 * KIB, 164 * KIB, 1536, 65536},
    {"sm_88", NULL, "compute_88", 88, AMPERE, 99 * KIB, 100 * KIB, 1536, 65536},
    {"sm_89", NULL, "compute_89", 89, AMPERE, 99 * KIB, 100 * KIB, 1536, 65536},
    {"sm_90", "sm_90a", "compute_90", 90, HOPPER, 227 * KIB, 228 * KIB, 2048, 65536},
    {"sm_100", "sm_100a", "compute_100", 100, BLACKWELL, 227 * KIB, 228 * KIB, 2048, 65536},
    {"sm_103", "sm_103a", "compute_103", 103, BLACKWELL, 227 * KIB, 228 * KIB, 2048, 65536},
    {"sm_110", "sm_110a", "compute_110", 110, BLACKWELL, 227 * KIB, 228 * KIB, 1536, 65536},
    {"sm_120", "sm_120a", "compute_120", 120, BLACKWELL, 99 * KIB, 100 * KIB, 1536, 65536},
    {"sm_121", "sm_121a", "compute_121", 121, BLACKWELL, 99 * KIB, 100 * KIB, 1536, 65536},
};

enum { N_ARCHS = sizeof archs / sizeof archs[0] };

const paro_arch *paro_arch_get(size_t n)
{
    return n < N_ARCHS ? &archs[n] : NULL;
}

const paro_arch *paro_arch_find(const char *name)
{
    for (size_t i = 0; i < N_ARCHS; i++)
        if (strcmp(name, archs[i].name) == 0 ||
            (archs[i].own_name != NULL && strcmp(name, archs[i].own_name) == 0))
            return &archs[i];
    return NULL;
}

const paro_arch *paro_arch_for_capability(uint32_t capability, bool *exact)
{
    const paro_arch *found = paro_arch_newest_below(capability);
    if (found == NULL || found->capability / 10 != capability / 10)
        return NULL;
    *exact = found->capability == capability;
    return found;
}

const paro_arch *paro_arch_newest_below(uint32_t capability)
{
    const paro_arch *found = NULL;
    for (size_t i = 0; i < N_ARCHS && archs[i].capability <= capability; i++)
        found = &archs[i];
    return found;
}
