/* SPDX-License-Identifier: MIT
 *
 * NVML, loaded from libnvidia-ml.so.1 at run time: clocks, throttling and other processes' load, to
 * tell a sample that counts from one that does not. A machine may be without.
 */
#ifndef PARO_GPU_NVML_H
#define PARO_GPU_NVML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "gpu/gpu.h"

typedef struct paro_nvml paro_nvml;

/* Of one device. UNSUPPORTED where there is no library (naming it), or where the device is none
 * that NVML knows (the emulator). */
paro_status paro_nvml_new(paro_error *err, const paro_gpu *gpu, paro_nvml **out);
void paro_nvml_free(paro_nvml *nvml);

typedef struct paro_nvml_state {
    uint32_t sm_clock_mhz;     /* now; 0: unknown */
    uint32_t max_sm_clock_mhz; /* 0: unknown */
    uint64_t reasons;          /* why clocks are low now: NVML's bits */
    bool is_throttled;         /* one of them is a power, thermal or hardware slowdown */
} paro_nvml_state;

/* What cannot be read is 0. */
void paro_nvml_read(const paro_nvml *nvml, paro_nvml_state *out);

/* Processes that compute on the device, this one included; 0: unknown. May take milliseconds. */
uint32_t paro_nvml_n_processes(const paro_nvml *nvml);

/* "580.159.04"; false where there is no NVML. */
bool paro_nvml_driver_version(char *out, size_t capacity);

#endif
