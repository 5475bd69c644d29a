/* SPDX-License-Identifier: MIT
 *
 * Random arrays, in chunks with a generator each.
 */
#include "families/random.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"

enum { CHUNK = 4096 }; /* elements (bytes) */

typedef struct job {
    unsigned char *data;
    paro_dtype dtype;
    uint64_t n;
    double mean, deviation;
    uint64_t seed;
} job;

uint64_t paro_random_seed(uint64_t seed, uint64_t which)
{
    return paro_hash_mix(seed + 0x9e3779b97f4a7c15U * (which + 1));
}

/* The sum of four uniform numbers of 16 bits, from one draw: variance 4 * 2^32 / 12. */
static double bell(paro_rng *rng)
{
    uint64_t bits = paro_rng_u64(rng);
    double sum =
        (double)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    return (sum - 2 * 65535.0) / (65536.0 / sqrt(3));
}

static void fill_chunk(void *context, size_t i, int worker)
{
    const job *j = context;
    const size_t element = paro_dtype_bytes(j->dtype);
    paro_rng rng;
    (void)worker;
    paro_rng_seed(&rng, paro_random_seed(j->seed, i));
    uint64_t first = (uint64_t)i * CHUNK, n = j->n - first < CHUNK ? j->n - first : CHUNK;
    float values[CHUNK];
    for (uint64_t e = 0; e < n; e++)
        values[e] = (float)(j->mean + j->deviation * bell(&rng));
    paro_array_from_f32(j->data + first * element, j->dtype, values, (size_t)n);
}

static void fill_bytes(void *context, size_t i, int worker)
{
    const job *j = context;
    paro_rng rng;
    (void)worker;
    paro_rng_seed(&rng, paro_random_seed(j->seed, i));
    uint64_t first = (uint64_t)i * CHUNK, n = j->n - first < CHUNK ? j->n - first : CHUNK;
    for (uint64_t at = 0; at < n; at += 8) {
        uint64_t bits = paro_rng_u64(&rng);
        memcpy(j->data + first + at, &bits, n - at < 8 ? (size_t)(n - at) : 8);
    }
}

void paro_random_normal(void *data, paro_dtype dtype, uint64_t n, double mean, double deviation,
                        uint64_t seed, paro_pool *pool)
{
    job j = {data, dtype, n, mean, deviation, seed};
    paro_pool_run(pool, (size_t)((n + CHUNK - 1) / CHUNK), fill_chunk, &j);
}

void paro_random_bytes(void *data, uint64_t n, uint64_t seed, paro_pool *pool)
{
    job j = {data, PARO_DTYPE_U8, n, 0, 0, seed};
    paro_pool_run(pool, (size_t)((n + CHUNK - 1) / CHUNK), fill_bytes, &j);
}
