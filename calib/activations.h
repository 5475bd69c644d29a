/* SPDX-License-Identifier: MIT
 *
 * Activations of many samples: in memory, or in a file without a name that is mapped.
 */
#ifndef PARO_CALIB_ACTIVATIONS_H
#define PARO_CALIB_ACTIVATIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* [n_samples, n_tokens, hidden] fp32. */
typedef struct paro_activations {
    size_t n_samples, n_tokens, hidden;
    float *data;
    size_t n_mapped_bytes; /* 0: from malloc */
} paro_activations;

/* Contents undefined. Where more than memory_bytes are needed they lie in `spill_dir` (an existing
 * folder; NULL: in memory in any case), in a file that vanishes with the process. `out` has its
 * sizes filled in. */
paro_status paro_activations_alloc(paro_error *err, const char *spill_dir, uint64_t memory_bytes,
                                   paro_activations *out);
void paro_activations_release(paro_activations *activations); /* NULL and zeroed are fine */

/* Where a sample begins. */
static inline float *paro_activations_sample(const paro_activations *activations, size_t sample)
{
    return activations->data + sample * activations->n_tokens * activations->hidden;
}

#endif
