/* SPDX-License-Identifier: MIT
 *
 * Attention over whole samples in fp64, row by row, with nothing kept between rows.
 */
#include "families/attention_train_case.h"

#include <math.h>
#include <string.h>

#include "families/family.h"

enum { MAX_HEAD_DIM = PARO_ATTENTION_TRAIN_MAX_HEAD_DIM };

typedef struct work {
    const paro_attention_train_case *c;
    double *y, *lse;
    double *d_q, *d_keys, *d_values;
} work;

/* Of q, y and their gradients; of keys, values and theirs. */
static size_t query_at(const paro_attention_train_case *c, size_t sample, size_t head, size_t token)
{
    return ((sample * c->tokens + token) * c->heads + head) * c->head_dim;
}

static size_t key_at(const paro_attention_train_case *c, size_t sample, size_t head, size_t token)
{
    const size_t kv_head = head / (c->heads / c->kv_heads);
    return ((sample * c->kv_heads + kv_head) * c->tokens + token) * c->head_dim;
}

static void load(const paro_attention_train_case *c, const void *data, size_t at, double *out)
{
    for (size_t i = 0; i < c->head_dim; i++)
        out[i] = paro_element_get(data, c->dtype, at + i);
}

static double product(const paro_attention_train_case *c, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < c->head_dim; i++)
        sum += a[i] * b[i];
    return sum;
}

double paro_attention_train_case_row(const paro_attention_train_case *c, size_t sample, size_t head,
                                     size_t token, double *y)
{
    double q[MAX_HEAD_DIM], key[MAX_HEAD_DIM], value[MAX_HEAD_DIM];
    double highest = -(double)INFINITY, total = 0;
    load(c, c->q, query_at(c, sample, head, token), q);
    memset(y, 0, c->head_dim * sizeof *y);
    for (size_t j = 0; j <= token; j++) {
        const size_t at = key_at(c, sample, head, j);
        load(c, c->keys, at, key);
        load(c, c->values, at, value);
        const double score = product(c, q, key) / sqrt((double)c->head_dim);
        const double most = fmax(highest, score), shrink = exp(highest - most);
        const double weight = exp(score - most);
        highest = most;
        total = total * shrink + weight;
        for (size_t i = 0; i < c->head_dim; i++)
            y[i] = y[i] * shrink + weight * value[i];
    }
    for (size_t i = 0; i < c->head_dim; i++)
        y[i] /= total;
    return highest + log(total);
}

/* One head of a sample. */
static void forward_head(void *context, size_t task, int worker)
{
    const work *w = context;
    const paro_attention_train_case *c = w->c;
    const size_t sample = task / c->heads, head = task % c->heads;
    (void)worker;
    for (size_t token = 0; token < c->tokens; token++)
        w->lse[task * c->tokens + token] = paro_attention_train_case_row(
            c, sample, head, token, w->y + query_at(c, sample, head, token));
}

void paro_attention_train_case_forward(const paro_attention_train_case *c, paro_pool *pool,
                                       double *y, double *lse)
{
    work w = {.c = c, .y = y, .lse = lse};
    paro_pool_run(pool, c->samples * c->heads, forward_head, &w);
}

static void row_back(const work *w, size_t sample, size_t head, size_t token)
{
    const paro_attention_train_case *c = w->c;
    const double root = 1 / sqrt((double)c->head_dim);
    double q[MAX_HEAD_DIM], dy[MAX_HEAD_DIM], y[MAX_HEAD_DIM];
    double key[MAX_HEAD_DIM], value[MAX_HEAD_DIM];
    const size_t row = query_at(c, sample, head, token);
    const double lse = paro_attention_train_case_row(c, sample, head, token, y);
    load(c, c->q, row, q);
    load(c, c->dy, row, dy);
    const double delta = product(c, dy, y);
    memset(w->d_q + row, 0, c->head_dim * sizeof *w->d_q);
    for (size_t j = 0; j <= token; j++) {
        const size_t at = key_at(c, sample, head, j);
        load(c, c->keys, at, key);
        load(c, c->values, at, value);
        const double p = exp(product(c, q, key) * root - lse);
        const double ds = p * (product(c, dy, value) - delta) * root;
        for (size_t i = 0; i < c->head_dim; i++) {
            w->d_q[row + i] += ds * key[i];
            w->d_keys[at + i] += ds * q[i];
            w->d_values[at + i] += p * dy[i];
        }
    }
}

/* One kv head of a sample, with the heads that read it. */
static void backward_head(void *context, size_t task, int worker)
{
    const work *w = context;
    const paro_attention_train_case *c = w->c;
    const size_t group = c->heads / c->kv_heads;
    const size_t sample = task / c->kv_heads, first = task % c->kv_heads * group;
    const size_t at = key_at(c, sample, first, 0),
                 n_bytes = c->tokens * c->head_dim * sizeof(double);
    (void)worker;
    memset(w->d_keys + at, 0, n_bytes);
    memset(w->d_values + at, 0, n_bytes);
    for (size_t head = first; head < first + group; head++)
        for (size_t token = 0; token < c->tokens; token++)
            row_back(w, sample, head, token);
}

void paro_attention_train_case_backward(const paro_attention_train_case *c, paro_pool *pool,
                                        double *d_q, double *d_keys, double *d_values)
{
    work w = {.c = c, .d_q = d_q, .d_keys = d_keys, .d_values = d_values};
    paro_pool_run(pool, c->samples * c->kv_heads, backward_head, &w);
}
