/* SPDX-License-Identifier: MIT
 *
 * Device classes, and a typical device of each architecture.
 */
#include "families/device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "families/arch.h"

void paro_device_class(const paro_device_info *info, char out[PARO_DEVICE_CLASS_BYTES])
{
    const uint64_t mib = 1 << 20;
    long bandwidth = info->bandwidth_gbs == 0 ? 0 : lround(4 * log2((double)info->bandwidth_gbs));
    snprintf(out, PARO_DEVICE_CLASS_BYTES, "cc%u-sm%u-l2_%llu-smem%u-bw%ld", info->capability,
             info->n_sms, (unsigned long long)((info->l2_bytes + mib / 2) / mib),
             info->sm_shared_bytes / 1024, bandwidth);
}

typedef struct typical {
    uint32_t capability;
    const char *name;
    uint32_t n_sms, clock_mhz, l2_mib, memory_gib, bandwidth_gbs;
} typical;

/* From the vendor's data sheets. No sm_88 card is for sale: the figures of sm_87's. */
static const typical typicals[] = {
    {75, "T4", 40, 1590, 4, 16, 320},           {80, "A100", 108, 1410, 40, 80, 2039},
    {86, "RTX 3090", 82, 1695, 6, 24, 936},     {87, "AGX Orin", 16, 1300, 4, 64, 204},
    {88, "sm_88", 16, 1300, 4, 64, 204},        {89, "RTX 4090", 128, 2520, 72, 24, 1008},
    {90, "H100", 132, 1980, 50, 80, 3352},      {100, "B200", 148, 1965, 126, 180, 7700},
    {103, "B300", 148, 1920, 126, 268, 7700},   {110, "Thor", 20, 1575, 32, 128, 273},
    {120, "RTX 5090", 170, 2407, 96, 32, 1792}, {121, "GB10", 48, 2418, 24, 128, 273},
};

void paro_device_typical(const paro_arch *arch, paro_device_info *out)
{
    const typical *row = &typicals[0];
    for (size_t i = 0; i < sizeof typicals / sizeof typicals[0]; i++)
        if (typicals[i].capability == arch->capability)
            row = &typicals[i];
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", row->name);
    out->capability = arch->capability;
    out->n_sms = row->n_sms;
    out->clock_mhz = row->clock_mhz;
    out->l2_bytes = (uint64_t)row->l2_mib << 20;
    out->memory_bytes = (uint64_t)row->memory_gib << 30;
    out->sm_shared_bytes = arch->sm_shared_bytes;
    out->max_shared_bytes = arch->max_shared_bytes;
    out->bandwidth_gbs = row->bandwidth_gbs;
}

paro_status paro_device_arch(paro_error *err, const paro_device_info *info, paro_arch *out,
                             bool *wants_ptx)
{
    bool exact = false;
    const paro_arch *arch = paro_arch_for_capability(info->capability, &exact);
    const bool is_newer = arch == NULL;
    if (is_newer)
        arch = paro_arch_newest_below(info->capability);
    if (arch == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: kernels are made for devices of compute capability %u.%u and newer, "
                         "this one has %u.%u",
                         info->name, paro_arch_get(0)->capability / 10,
                         paro_arch_get(0)->capability % 10, info->capability / 10,
                         info->capability % 10);
    *out = *arch;
    if (!exact) {
        out->own_name = NULL;
        out->features &= ~(uint32_t)PARO_ARCH_WGMMA;
    }
    *wants_ptx = is_newer;
    return PARO_STATUS_OK;
}
