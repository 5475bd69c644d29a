/* SPDX-License-Identifier: MIT
 *
 * Causal attention with grouped heads on the CPU.
 *
 * Keys are taken a block at a time; each block's softmax is relative to the largest score seen so
 * far, and what was summed before is scaled when a larger one comes (Milakov and Gimelshein 2018),
 * so scratch does not grow with the context. Few queries: a task is one kv head and one block of
 * keys for all queries and heads that read it, and the blocks' parts are joined in order
 * afterwards. Many: a task is one head and a block of queries, with OpenBLAS. Blocks are cut by
 * shape alone.
 */
#include "cpu/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/blas.h"
#include "cpu/cpu_kernels.h"
#include "cpu/exp.h"

enum {
    FEW_QUERIES = 8,      /* up to which products are made without OpenBLAS */
    DECODE_KEYS = 256,    /* a block of keys for few queries, */
    PREFILL_KEYS = 512,   /* and for many */
    PREFILL_QUERIES = 64, /* a block of queries */
    SMALL_WORK = 1 << 17  /* multiplications that are done before other threads have woken */
};

typedef struct attention {
    const paro_kv_view *kv;
    const paro_cpu_kernels *kernels;
    const float *q;
    size_t n_queries;
    size_t n_heads;
    float scale;
    float *out;
    size_t n_blocks;      /* of keys (few queries), of queries (many) */
    float *parts;         /* few: [n_queries][n_heads][n_blocks][part_count] */
    size_t part_count;    /* max, sum, out [head_dim] */
    float *scratch;       /* many: of all workers */
    size_t scratch_count; /* of one worker */
} attention;

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static float max_of(const float *values, size_t n)
{
    float max = values[0];
    for (size_t i = 1; i < n; i++)
        max = values[i] > max ? values[i] : max;
    return max;
}

/* Keys that query i sees. */
static size_t n_visible(const attention *a, size_t i)
{
    return a->kv->n_keys - a->n_queries + i + 1;
}

static const float *head_of(const attention *a, const float *keys_or_values, size_t kv_head)
{
    return keys_or_values + kv_head * a->kv->capacity * a->kv->head_dim;
}

/* --- few queries ---------------------------------------------------------------------------- */

static void decode_task(void *context, size_t task, int worker)
{
    (void)worker;
    const attention *a = context;
    size_t head_dim = a->kv->head_dim;
    size_t kv_head = task / a->n_blocks, block = task % a->n_blocks;
    size_t heads_per_kv = a->n_heads / a->kv->n_kv_heads;
    size_t first = block * DECODE_KEYS;
    const float *keys = head_of(a, a->kv->keys, kv_head) + first * head_dim;
    const float *values = head_of(a, a->kv->values, kv_head) + first * head_dim;
    float scores[DECODE_KEYS];
    for (size_t i = 0; i < a->n_queries; i++) {
        if (n_visible(a, i) <= first)
            continue;
        size_t n_keys = min_size(DECODE_KEYS, n_visible(a, i) - first);
        for (size_t head = kv_head * heads_per_kv; head < (kv_head + 1) * heads_per_kv; head++) {
            size_t row = i * a->n_heads + head;
            float *part = a->parts + (row * a->n_blocks + block) * a->part_count;
            a->kernels->scores(a->q + row * head_dim, keys, n_keys, head_dim, a->scale, scores);
            part[0] = max_of(scores, n_keys);
            part[1] = a->kernels->exponentials(scores, n_keys, part[0]);
            a->kernels->weighted(scores, values, n_keys, head_dim, part + 2);
        }
    }
}

/* Joins the blocks' parts of one query and head. */
static void join_parts(const attention *a, size_t i, size_t head)
{
    size_t head_dim = a->kv->head_dim, row = i * a->n_heads + head;
    size_t n_blocks = (n_visible(a, i) + DECODE_KEYS - 1) / DECODE_KEYS;
    const float *parts = a->parts + row * a->n_blocks * a->part_count;
    float *out = a->out + row * head_dim;
    float max = parts[0], sum = 0;
    for (size_t block = 1; block < n_blocks; block++)
        max = fmaxf(max, parts[block * a->part_count]);
    memset(out, 0, head_dim * sizeof *out);
    for (size_t block = 0; block < n_blocks; block++) {
        const float *part = parts + block * a->part_count;
        float factor = paro_exp_f32(part[0] - max);
        sum += factor * part[1];
        for (size_t c = 0; c < head_dim; c++)
            out[c] += factor * part[2 + c];
    }
    for (size_t c = 0; c < head_dim; c++)
        out[c] /= sum;
}

static paro_status few_queries(paro_error *err, attention *a, paro_pool *pool)
{
    a->n_blocks = (a->kv->n_keys + DECODE_KEYS - 1) / DECODE_KEYS;
    a->part_count = 2 + (size_t)a->kv->head_dim;
    size_t n_parts = a->n_queries * a->n_heads * a->n_blocks;
    if (n_parts > SIZE_MAX / sizeof(float) / a->part_count)
        return paro_fail_memory(err, SIZE_MAX, "parts of attention");
    a->parts = malloc(n_parts * a->part_count * sizeof(float));
    if (!a->parts)
        return paro_fail_memory(err, n_parts * a->part_count * sizeof(float), "parts of attention");
    paro_pool_run(pool, a->kv->n_kv_heads * a->n_blocks, decode_task, a);
    for (size_t i = 0; i < a->n_queries; i++)
        for (size_t head = 0; head < a->n_heads; head++)
            join_parts(a, i, head);
    free(a->parts);
    return PARO_STATUS_OK;
}

/* --- many queries --------------------------------------------------------------------------- */

/* One query's row of a block of scores to weights; what was summed before is brought to the new
 * maximum. n_seen of the n_keys of the block are visible. */
static void soften(const attention *a, float *scores, size_t n_seen, size_t n_keys, float *max,
                   float *sum, float *out)
{
    float new_max = n_seen ? fmaxf(*max, max_of(scores, n_seen)) : *max;
    if (new_max > *max && *sum > 0) {
        float factor = paro_exp_f32(*max - new_max);
        *sum *= factor;
        for (size_t c = 0; c < a->kv->head_dim; c++)
            out[c] *= factor;
    }
    *max = new_max;
    *sum += a->kernels->exponentials(scores, n_seen, new_max);
    memset(scores + n_seen, 0, (n_keys - n_seen) * sizeof *scores);
}

static void prefill_task(void *context, size_t task, int worker)
{
    const attention *a = context;
    size_t head_dim = a->kv->head_dim, row_count = a->n_heads * head_dim;
    size_t head = task % a->n_heads;
    size_t first = (a->n_blocks - 1 - task / a->n_heads) * PREFILL_QUERIES; /* longest first */
    size_t n_queries = min_size(PREFILL_QUERIES, a->n_queries - first);
    size_t kv_head = head / (a->n_heads / a->kv->n_kv_heads);
    const float *q = a->q + first * row_count + head * head_dim;
    float *out = a->out + first * row_count + head * head_dim;
    float *scores = a->scratch + (size_t)worker * a->scratch_count; /* [queries, keys] */
    float max[PREFILL_QUERIES], sum[PREFILL_QUERIES];
    for (size_t i = 0; i < n_queries; i++) {
        max[i] = -INFINITY;
        sum[i] = 0;
        memset(out + i * row_count, 0, head_dim * sizeof *out);
    }
    size_t n_keys_all = n_visible(a, first + n_queries - 1);
    for (size_t key = 0; key < n_keys_all; key += PREFILL_KEYS) {
        size_t n_keys = min_size(PREFILL_KEYS, n_keys_all - key);
        const float *keys = head_of(a, a->kv->keys, kv_head) + key * head_dim;
        const float *values = head_of(a, a->kv->values, kv_head) + key * head_dim;
        paro_blas_product_transposed(n_queries, n_keys, head_dim, a->scale, q, row_count, keys,
                                     head_dim, 0, scores, PREFILL_KEYS);
        for (size_t i = 0; i < n_queries; i++) {
            size_t n_seen = n_visible(a, first + i);
            n_seen = n_seen <= key ? 0 : min_size(n_keys, n_seen - key);
            soften(a, scores + i * PREFILL_KEYS, n_seen, n_keys, &max[i], &sum[i],
                   out + i * row_count);
        }
        paro_blas_product(n_queries, head_dim, n_keys, 1, scores, PREFILL_KEYS, values, head_dim, 1,
                          out, row_count);
    }
    for (size_t i = 0; i < n_queries; i++)
        for (size_t c = 0; c < head_dim; c++)
            out[i * row_count + c] /= sum[i];
}

static paro_status many_queries(paro_error *err, attention *a, paro_pool *pool)
{
    a->n_blocks = (a->n_queries + PREFILL_QUERIES - 1) / PREFILL_QUERIES;
    a->scratch_count = (size_t)PREFILL_QUERIES * PREFILL_KEYS;
    size_t n_bytes = (size_t)paro_pool_n_threads(pool) * a->scratch_count * sizeof(float);
    a->scratch = malloc(n_bytes);
    if (!a->scratch)
        return paro_fail_memory(err, n_bytes, "scores of attention");
    paro_pool_run(pool, a->n_blocks * a->n_heads, prefill_task, a);
    free(a->scratch);
    return PARO_STATUS_OK;
}

paro_status paro_attention_forward(paro_error *err, paro_pool *pool, const paro_kv_view *kv,
                                   const float *q, size_t n_queries, uint32_t n_heads, float *out)
{
    if (kv->n_kv_heads == 0 || n_heads == 0 || n_heads % kv->n_kv_heads != 0 || kv->head_dim == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "attention: expected heads in equal shares of the kv heads, found %u "
                         "heads, %u kv heads, head_dim %u",
                         n_heads, kv->n_kv_heads, kv->head_dim);
    if (n_queries > kv->n_keys || kv->n_keys > kv->capacity)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "attention: expected queries <= keys <= capacity, found %zu, %zu, %zu",
                         n_queries, kv->n_keys, kv->capacity);
    if (n_queries == 0)
        return PARO_STATUS_OK;
    attention a = {
        .kv = kv,
        .kernels = paro_cpu_kernels_best(),
        .q = q,
        .n_queries = n_queries,
        .n_heads = n_heads,
        .scale = (float)(1 / sqrt((double)kv->head_dim)),
        .out = out,
    };
    if ((size_t)n_heads * kv->head_dim * kv->n_keys <= SMALL_WORK / n_queries)
        pool = NULL;
    return n_queries <= FEW_QUERIES ? few_queries(err, &a, pool) : many_queries(err, &a, pool);
}
