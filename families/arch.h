/* SPDX-License-Identifier: MIT
 *
 * The GPU architectures kernels are made for: one table, the twelve that NVRTC 13.0 knows.
 */
#ifndef PARO_FAMILIES_ARCH_H
#define PARO_FAMILIES_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a template may use there; a config's constraints ask for these. */
typedef enum paro_arch_feature {
    PARO_ARCH_MMA_F16 = 1 << 0,    /* mma.sync with f16 operands, fp32 sums (m16n8k8 on sm_75) */
    PARO_ARCH_MMA_BF16 = 1 << 1,   /* the same with bf16: sm_80 */
    PARO_ARCH_COPY_ASYNC = 1 << 2, /* cp.async: sm_80 */
    PARO_ARCH_BULK = 1 << 3,       /* cp.async.bulk on an mbarrier: sm_90 */
    PARO_ARCH_CLUSTER = 1 << 4,    /* thread block clusters: sm_90 */
    PARO_ARCH_WGMMA = 1 << 5,      /* wgmma: sm_90a only */
    PARO_ARCH_DEPENDENT = 1 << 6   /* griddepcontrol: sm_90 */
} paro_arch_feature;

typedef struct paro_arch {
    const char *name;          /* "sm_90": cubins run on its own and on later minor versions */
    const char *own_name;      /* "sm_90a": all instructions, cubins run there only; NULL: none */
    const char *virtual_name;  /* "compute_90": PTX */
    uint32_t capability;       /* 90: major * 10 + minor */
    uint32_t features;         /* paro_arch_feature, or'ed; WGMMA needs own_name as target */
    uint32_t max_shared_bytes; /* a block may ask for (opt-in) */
    uint32_t sm_shared_bytes;  /* of a multiprocessor */
    uint32_t sm_threads;       /* resident on a multiprocessor */
    uint32_t sm_registers;     /* 32-bit, of a multiprocessor */
} paro_arch;

/* The n-th in order of capability, NULL past the last. */
const paro_arch *paro_arch_get(size_t n);

/* By name or own_name; NULL where there is none. */
const paro_arch *paro_arch_find(const char *name);

/* The arch to compile for on a device of this capability: its own row; else the highest row of the
 * same major version below it (*exact false: its cubins run there); NULL where the device is newer
 * (or older) than every row: then PTX of the newest row below it is the only way. *exact is
 * untouched then. */
const paro_arch *paro_arch_for_capability(uint32_t capability, bool *exact);

/* The last row whose capability is not above the device's, for PTX; NULL where the device is older
 * than all. */
const paro_arch *paro_arch_newest_below(uint32_t capability);

#endif
