/* SPDX-License-Identifier: MIT
 *
 * Random numbers that are the same on every machine: xoshiro256** seeded by splitmix64 (Blackman
 * and Vigna 2021).
 */
#ifndef PARO_BASE_RNG_H
#define PARO_BASE_RNG_H

#include <stdint.h>

typedef struct paro_rng {
    uint64_t state[4];
} paro_rng;

void paro_rng_seed(paro_rng *rng, uint64_t seed);
uint64_t paro_rng_u64(paro_rng *rng);

/* Uniform in 0 .. n - 1 without bias (n >= 1). */
uint64_t paro_rng_below(paro_rng *rng, uint64_t n);

/* Uniform in [0, 1), 53 bits. */
double paro_rng_f64(paro_rng *rng);

/* Normal, mean 0, variance 1 (Box-Muller). */
float paro_rng_normal(paro_rng *rng);

#endif
