/* SPDX-License-Identifier: MIT
 *
 * What the families and the cache need to know of a device, and its class: devices of one class
 * share their winners.
 */
#ifndef PARO_FAMILIES_DEVICE_H
#define PARO_FAMILIES_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { PARO_DEVICE_NAME_BYTES = 128, PARO_DEVICE_CLASS_BYTES = 96 };

typedef struct paro_device_info {
    char name[PARO_DEVICE_NAME_BYTES]; /* "NVIDIA H200" */
    uint32_t capability;               /* major * 10 + minor */
    uint32_t n_sms;
    uint32_t clock_mhz; /* highest SM clock */
    uint64_t l2_bytes;
    uint64_t memory_bytes;
    uint32_t sm_shared_bytes;
    uint32_t max_shared_bytes; /* a block may ask for */
    uint32_t bandwidth_gbs;    /* memory clock * 2 * bus width / 8, in GB/s (1e9) */
} paro_device_info;

/* "cc90-sm132-l2_60-smem228-bw45": capability, multiprocessors, L2 in MiB, shared memory of a
 * multiprocessor in KiB, and the bandwidth class: round(4 * log2(bandwidth_gbs)). */
void paro_device_class(const paro_device_info *info, char out[PARO_DEVICE_CLASS_BYTES]);

/* A device of an arch nobody has looked at (for --compile-only, cost estimates and tests): one
 * typical card's figures. */
struct paro_arch;
void paro_device_typical(const struct paro_arch *arch, paro_device_info *out);

/* The arch that kernels for the device are made for: of a row that is not quite the device's, what
 * only that arch itself has is left out. *wants_ptx: no cubin of it runs there. UNSUPPORTED where
 * the device is older than every row. */
paro_status paro_device_arch(paro_error *err, const paro_device_info *info, struct paro_arch *out,
                             bool *wants_ptx);

#endif
