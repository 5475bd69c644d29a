/* SPDX-License-Identifier: MIT
 *
 * Random contents for cases: the same for a seed whatever the pool's number of threads.
 */
#ifndef PARO_FAMILIES_RANDOM_H
#define PARO_FAMILIES_RANDOM_H

#include <stdint.h>

#include "base/dtype.h"
#include "base/thread.h"

/* A seed of its own for every argument (`which`) of a case. */
uint64_t paro_random_seed(uint64_t seed, uint64_t which);

/* data [n] of dtype F16, BF16 or F32: bell-shaped around `mean`, within 3.5 deviations of it. */
void paro_random_normal(void *data, paro_dtype dtype, uint64_t n, double mean, double deviation,
                        uint64_t seed, paro_pool *pool);

/* data [n]: any byte. */
void paro_random_bytes(void *data, uint64_t n, uint64_t seed, paro_pool *pool);

#endif
