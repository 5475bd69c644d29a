/* SPDX-License-Identifier: MIT
 *
 * A product in fp64 for the linear families: blocks of 16 rows on the pool's threads, four tokens
 * at a time.
 */
#include "families/linear_reference.h"

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

/* n_tokens <= TOKENS rows of x times one block of rows. */
static void multiply(const double *x, uint64_t k, uint32_t n_tokens, const double *w,
                     double sums[TOKENS][PARO_LINEAR_BLOCK])
{
    const double *rows[TOKENS];
    for (uint32_t t = 0; t < TOKENS; t++)
        rows[t] = x + (t < n_tokens ? t : 0) * k;
    memset(sums, 0, sizeof(double) * TOKENS * PARO_LINEAR_BLOCK);
    for (uint64_t i = 0; i < k; i++) {
        const double *column = w + i * PARO_LINEAR_BLOCK;
        for (uint32_t t = 0; t < TOKENS; t++)
            for (uint32_t r = 0; r < PARO_LINEAR_BLOCK; r++)
                sums[t][r] += rows[t][i] * column[r];
    }
}

static void multiply_one(const double *x, uint64_t k, const double *w,
                         double sums[PARO_LINEAR_BLOCK])
{
    memset(sums, 0, sizeof(double) * PARO_LINEAR_BLOCK);
    for (uint64_t i = 0; i < k; i++)
        for (uint32_t r = 0; r < PARO_LINEAR_BLOCK; r++)
            sums[r] += x[i] * w[i * PARO_LINEAR_BLOCK + r];
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
        double sums[TOKENS][PARO_LINEAR_BLOCK];
        uint32_t n_tokens = (uint32_t)(p->m - token < TOKENS ? p->m - token : TOKENS);
        if (n_tokens == 1)
            multiply_one(p->x + token * p->k, p->k, w, sums[0]);
        else
            multiply(p->x + token * p->k, p->k, n_tokens, w, sums);
        for (uint32_t t = 0; t < n_tokens; t++)
            for (uint32_t r = 0; r < n_rows; r++)
                p->y[(token + t) * p->y_stride + first + r] =
                    sums[t][r] + (p->bias != NULL ? p->bias[first + r] : 0);
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
