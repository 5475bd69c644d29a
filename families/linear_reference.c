/* SPDX-License-Identifier: MIT
 *
 * A product in fp64 for the linear families: blocks of 16 rows on the pool's threads, four tokens
 * at a time, four rows at a time.
 */
#include "families/linear_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "families/random.h"

enum { TOKENS = 4 };

typedef struct job {
    const paro_linear_product *product;
    double *w;     /* [workers][k][PARO_LINEAR_BLOCK] */
    char *scratch; /* [workers][scratch_bytes] */
} job;

/* Two rows at a time. */
typedef double pair __attribute__((vector_size(2 * sizeof(double))));

static pair load_pair(const double *from)
{
    pair two;
    memcpy(&two, from, sizeof two);
    return two;
}

/* n_tokens <= TOKENS rows of x times four rows of a block; sums [TOKENS][4]. */
static void multiply_four(const double *x, uint64_t k, uint32_t n_tokens, const double *w,
                          double sums[TOKENS][4])
{
    const double *x0 = x, *x1 = n_tokens > 1 ? x + k : x;
    const double *x2 = n_tokens > 2 ? x + 2 * k : x, *x3 = n_tokens > 3 ? x + 3 * k : x;
    pair s[TOKENS][2] = {{{0}}};
    for (uint64_t i = 0; i < k; i++) {
        const pair low = load_pair(w + i * PARO_LINEAR_BLOCK);
        const pair high = load_pair(w + i * PARO_LINEAR_BLOCK + 2);
        s[0][0] += low * x0[i];
        s[0][1] += high * x0[i];
        s[1][0] += low * x1[i];
        s[1][1] += high * x1[i];
        s[2][0] += low * x2[i];
        s[2][1] += high * x2[i];
        s[3][0] += low * x3[i];
        s[3][1] += high * x3[i];
    }
    memcpy(sums, s, sizeof s);
}

static void multiply_one(const double *x, uint64_t k, const double *w,
                         double sums[PARO_LINEAR_BLOCK])
{
    memset(sums, 0, sizeof(double) * PARO_LINEAR_BLOCK);
    for (uint64_t i = 0; i < k; i++)
        for (uint32_t r = 0; r < PARO_LINEAR_BLOCK; r++)
            sums[r] += x[i] * w[i * PARO_LINEAR_BLOCK + r];
}

/* Rows first .. of the block, for one to four tokens. */
static void put(const paro_linear_product *p, uint64_t token, uint32_t n_tokens, uint64_t first,
                uint32_t n_rows, const double *sums, size_t stride)
{
    for (uint32_t t = 0; t < n_tokens; t++)
        for (uint32_t r = 0; r < n_rows; r++)
            p->y[(token + t) * p->y_stride + first + r] =
                sums[t * stride + r] + (p->bias != NULL ? p->bias[first + r] : 0);
}

static void block_task(void *context, size_t i, int worker)
{
    const job *j = context;
    const paro_linear_product *p = j->product;
    uint64_t first = (uint64_t)i * PARO_LINEAR_BLOCK;
    uint32_t n_rows =
        (uint32_t)(p->n - first < PARO_LINEAR_BLOCK ? p->n - first : PARO_LINEAR_BLOCK);
    double *w = j->w + (size_t)worker * p->k * PARO_LINEAR_BLOCK;
    p->rows(p->context, first, n_rows, j->scratch + (size_t)worker * p->scratch_bytes, w);
    for (uint64_t token = 0; token < p->m; token += TOKENS) {
        uint32_t n_tokens = (uint32_t)(p->m - token < TOKENS ? p->m - token : TOKENS);
        if (n_tokens == 1) {
            double sums[PARO_LINEAR_BLOCK];
            multiply_one(p->x + token * p->k, p->k, w, sums);
            put(p, token, 1, first, n_rows, sums, PARO_LINEAR_BLOCK);
            continue;
        }
        for (uint32_t r = 0; r < n_rows; r += 4) {
            double sums[TOKENS][4];
            multiply_four(p->x + token * p->k, p->k, n_tokens, w + r, sums);
            put(p, token, n_tokens, first + r, n_rows - r < 4 ? n_rows - r : 4, sums[0], 4);
        }
    }
}

paro_status paro_linear_reference(paro_error *err, const paro_linear_product *product,
                                  paro_pool *pool)
{
    paro_status status = PARO_STATUS_OK;
    size_t n_workers = pool != NULL ? (size_t)paro_pool_n_threads(pool) : 1;
    job j = {.product = product};
    size_t n_bytes = n_workers * product->k * PARO_LINEAR_BLOCK * sizeof *j.w;
    j.w = calloc(1, n_bytes);
    j.scratch = malloc(n_workers * product->scratch_bytes + 1);
    if (j.w == NULL || j.scratch == NULL) {
        status = paro_fail_memory(err, n_bytes, "reference");
        goto done;
    }
    paro_pool_run(pool, (product->n + PARO_LINEAR_BLOCK - 1) / PARO_LINEAR_BLOCK, block_task, &j);

done:
    free(j.w);
    free(j.scratch);
    return status;
}

void paro_linear_widen(double *out, const void *data, paro_dtype dtype, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        float value;
        paro_f32_from_array(&value, (const char *)data + i * paro_dtype_bytes(dtype), dtype, 1);
        out[i] = (double)value;
    }
}

typedef struct weights_job {
    uint16_t *data;
    uint64_t n;
    uint16_t kept, exponents[2];
    unsigned shift;
} weights_job;

enum { WEIGHTS_CHUNK = 1 << 16 };

static void weights_task(void *context, size_t i, int worker)
{
    const weights_job *j = context;
    uint64_t first = (uint64_t)i * WEIGHTS_CHUNK;
    uint64_t end = j->n - first < WEIGHTS_CHUNK ? j->n : first + WEIGHTS_CHUNK;
    (void)worker;
    for (uint64_t at = first; at < end; at++)
        j->data[at] =
            (uint16_t)((j->data[at] & j->kept) | j->exponents[j->data[at] >> j->shift & 1]);
}

/* Random sign and fraction, one of two exponents. */
void paro_linear_weights(void *data, paro_dtype dtype, uint64_t n, double size, uint64_t seed,
                         paro_pool *pool)
{
    int exponent = (int)floor(log2(size));
    weights_job w = {.data = data, .n = n, .shift = dtype == PARO_DTYPE_F16 ? 10 : 7};
    int bias = dtype == PARO_DTYPE_F16 ? 15 : 127;
    w.kept = (uint16_t)(0x8000 | ((1 << w.shift) - 1));
    for (int i = 0; i < 2; i++)
        w.exponents[i] = (uint16_t)((exponent + bias - i) << w.shift);
    paro_random_bytes(data, n * sizeof *w.data, seed, pool);
    paro_pool_run(pool, (n + WEIGHTS_CHUNK - 1) / WEIGHTS_CHUNK, weights_task, &w);
}

void paro_linear_activations(void *data, paro_dtype dtype, uint64_t n, uint64_t seed,
                             paro_pool *pool)
{
    paro_rng rng;
    paro_random_normal(data, dtype, n, 0, 1, seed, pool);
    paro_rng_seed(&rng, ~seed);
    for (uint64_t i = 0; i < n / 512; i++) {
        void *at = (char *)data + paro_rng_below(&rng, n) * paro_dtype_bytes(dtype);
        float value;
        paro_f32_from_array(&value, at, dtype, 1);
        value *= value < 4 && value > -4 ? 20 : 1;
        paro_array_from_f32(at, dtype, &value, 1);
    }
}
