/* SPDX-License-Identifier: MIT
 *
 * CUPTI's kernel records: when each kernel began and ended on the device, in nanoseconds. Loaded
 * from libcupti.so.13, or .12, at run time; a machine may be without, or have another tool that
 * holds it.
 *
 * One per process at a time: CUPTI's callbacks say not for whom they are called.
 */
#ifndef PARO_TUNER_CUPTI_H
#define PARO_TUNER_CUPTI_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct paro_cupti paro_cupti;

typedef struct paro_kernel_record {
    uint64_t start_ns;
    uint64_t end_ns;
} paro_kernel_record;

/* To be made before the process opens a device. UNSUPPORTED names what was looked for. */
paro_status paro_cupti_new(paro_error *err, paro_cupti **out);
void paro_cupti_free(paro_cupti *cupti);

/* Records of the kernels that ended since the last call, by start; call when the stream was waited
 * for. Waits a little for `n_expected` of them. The array lives until the next call. */
paro_status paro_cupti_take(paro_error *err, paro_cupti *cupti, size_t n_expected,
                            const paro_kernel_record **records, size_t *n);

#endif
