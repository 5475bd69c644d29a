/* SPDX-License-Identifier: MIT
 *
 * xoshiro256** seeded by splitmix64.
 */
#include "base/rng.h"

#include <math.h>

#include "base/hash.h"

void paro_rng_seed(paro_rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        rng->state[i] = paro_hash_mix(seed);
    }
}

static uint64_t rotate_left(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t paro_rng_u64(paro_rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t paro_rng_below(paro_rng *rng, uint64_t n)
{
    uint64_t threshold = (0 - n) % n; /* 2^64 mod n values would be drawn once too often */
    for (;;) {
        uint64_t x = paro_rng_u64(rng);
        if (x >= threshold)
            return x % n;
    }
}

double paro_rng_f64(paro_rng *rng)
{
    return (double)(paro_rng_u64(rng) >> 11) * 0x1p-53;
}

float paro_rng_normal(paro_rng *rng)
{
    double radius = sqrt(-2 * log(1 - paro_rng_f64(rng)));
    return (float)(radius * cos(6.283185307179586 * paro_rng_f64(rng)));
}
