/* SPDX-License-Identifier: MIT
 *
 * A dataset of the model's own: several samples grow side by side, a token each at a time, so that
 * the weights are read once for all of them.
 *
 * Invariants: 1. a sample draws from random numbers of its own; 2. how many grow at a time depends
 * on the model and n_tokens only: the order of sums, and so every sample, is the same whatever the
 * number of threads.
 */
#include <math.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/rng.h"
#include "calib/dataset.h"
#include "runtime/model.h"
#include "runtime/sampler.h"
#include "runtime/session.h"

enum { MAX_LANES = 32, MAX_TRIES = 10000 /* for a first token */ };

#define MAX_CACHE_BYTES (UINT64_C(2) << 30) /* keys and values of all lanes */

/* A session and the sample it is at. */
typedef struct lane {
    paro_session *session;
    paro_rng rng;
    int32_t *row; /* [n_tokens] of the sample; NULL: none yet */
    size_t n;     /* ids there */
} lane;

typedef struct generator {
    const paro_model *model;
    const paro_tokenizer *tokenizer;
    const paro_dataset_options *options;
    lane lanes[MAX_LANES];
    size_t n_lanes;
    float *logits; /* [n_lanes, vocab] */
    int32_t *ids;  /* [n_samples, n_tokens] */
    size_t n_samples, n_started;
    uint64_t n_done; /* ids */
    /* Of a step: */
    lane *active[MAX_LANES];
    size_t n_active;
    int32_t drawn[MAX_LANES]; /* -1: logits that are not finite */
} generator;

static bool is_end(const paro_model *model, int32_t id)
{
    size_t n;
    const int32_t *ids = paro_model_eos_ids(model, &n);
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* Whether a text may begin with the token: it has a text of its own; it is neither special nor of a
 * padded vocabulary. */
static paro_status check_first(paro_error *err, const generator *g, int32_t id, bool *may_begin)
{
    char *text = NULL;
    size_t n_bytes = 0;
    if (!paro_tokenizer_has(g->tokenizer, id) || is_end(g->model, id)) {
        *may_begin = false;
        return PARO_STATUS_OK;
    }
    paro_status status = paro_tokenizer_decode(err, g->tokenizer, &id, 1, true, &text, &n_bytes);
    if (status != PARO_STATUS_OK)
        return status;
    free(text);
    *may_begin = n_bytes > 0;
    return PARO_STATUS_OK;
}

static paro_status draw_first(paro_error *err, const generator *g, paro_rng *rng, int32_t *out)
{
    const uint32_t vocab = g->model->config.vocab;
    for (int i = 0; i < MAX_TRIES; i++) {
        const int32_t id = (int32_t)paro_rng_below(rng, vocab);
        bool may_begin = false;
        paro_status status = check_first(err, g, id, &may_begin);
        if (status == PARO_STATUS_OK && may_begin)
            *out = id;
        if (status != PARO_STATUS_OK || may_begin)
            return status;
    }
    return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                     "%s: expected tokens that a text can begin with, found special or unknown "
                     "ones only (%d drawn of %u): the tokenizer is another model's",
                     g->model->dir, MAX_TRIES, vocab);
}

static size_t lanes_for(const generator *g)
{
    const paro_config *config = &g->model->config;
    const uint64_t bytes = UINT64_C(8) * config->n_layers * config->n_kv_heads * config->head_dim *
                           g->options->n_tokens;
    uint64_t n = MAX_CACHE_BYTES / bytes;
    n = n < 1 ? 1 : n > MAX_LANES ? MAX_LANES : n;
    if (g->model->device != NULL) /* it reads them one after another */
        n = 1;
    return n < g->n_samples ? (size_t)n : g->n_samples;
}

static paro_status prepare(paro_error *err, generator *g)
{
    const size_t vocab = g->model->config.vocab, n_tokens = g->options->n_tokens;
    const paro_session_options options = {.max_tokens = (uint32_t)n_tokens};
    paro_status status = PARO_STATUS_OK;
    const size_t n_lanes = lanes_for(g);
    g->logits = malloc(n_lanes * vocab * sizeof *g->logits);
    g->ids = malloc(g->n_samples * n_tokens * sizeof *g->ids);
    if (g->logits == NULL || g->ids == NULL)
        return paro_fail_memory(err, g->n_samples * n_tokens * sizeof *g->ids, "samples");
    for (; g->n_lanes < n_lanes && status == PARO_STATUS_OK; g->n_lanes++)
        status = paro_session_new(err, g->model, &options, &g->lanes[g->n_lanes].session);
    return status;
}

static bool is_idle(const generator *g, const lane *l)
{
    return l->row == NULL || l->n == g->options->n_tokens;
}

static void place(generator *g, lane *l, int32_t id)
{
    l->row[l->n++] = id;
    g->n_done++;
}

static paro_status begin_text(paro_error *err, generator *g, lane *l)
{
    int32_t id = 0;
    paro_status status = draw_first(err, g, &l->rng, &id);
    if (status != PARO_STATUS_OK)
        return status;
    paro_session_truncate(l->session, 0);
    place(g, l, id);
    return PARO_STATUS_OK;
}

/* The lane gets a sample that is not full yet, where there is one left to begin. */
static paro_status keep_busy(paro_error *err, generator *g, lane *l)
{
    paro_status status = PARO_STATUS_OK;
    while (is_idle(g, l) && g->n_started < g->n_samples && status == PARO_STATUS_OK) {
        paro_rng_seed(&l->rng, paro_hash_mix(g->options->seed) + g->n_started);
        l->row = g->ids + g->n_started * g->options->n_tokens;
        l->n = 0;
        g->n_started++;
        status = begin_text(err, g, l);
    }
    return status;
}

/* Draws from softmax(logits); summed in double and in order of id. -1 where they are not finite
 * (minus infinity says never). */
static int32_t draw(paro_rng *rng, const float *logits, uint32_t vocab)
{
    const float highest = logits[paro_argmax(logits, vocab)];
    double sum = 0;
    for (uint32_t i = 0; i < vocab; i++)
        sum += (double)expf(logits[i] - highest);
    if (!isfinite(sum))
        return -1;
    double at = paro_rng_f64(rng) * sum;
    int32_t last = -1; /* rounding can leave something at the end */
    for (uint32_t i = 0; i < vocab; i++) {
        const double weight = (double)expf(logits[i] - highest);
        if (weight == 0)
            continue;
        last = (int32_t)i;
        if (at < weight)
            break;
        at -= weight;
    }
    return last;
}

static void draw_task(void *context, size_t i, int worker)
{
    generator *g = context;
    (void)worker;
    const uint32_t vocab = g->model->config.vocab;
    g->drawn[i] = draw(&g->active[i]->rng, g->logits + i * vocab, vocab);
}

/* One more token for every lane that is active. */
static paro_status step(paro_error *err, generator *g)
{
    paro_session *sessions[MAX_LANES];
    int32_t tokens[MAX_LANES];
    for (size_t i = 0; i < g->n_active; i++) {
        sessions[i] = g->active[i]->session;
        tokens[i] = g->active[i]->row[g->active[i]->n - 1];
    }
    paro_status status = paro_session_append_each(err, sessions, g->n_active, tokens, g->logits);
    if (status != PARO_STATUS_OK)
        return status;
    paro_pool_run(g->model->pool, g->n_active, draw_task, g);
    for (size_t i = 0; i < g->n_active; i++) {
        lane *l = g->active[i];
        if (g->drawn[i] < 0)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: expected finite logits, found NaN or infinity after token %zu "
                             "of a sample: its weights are damaged, or too large",
                             g->model->dir, l->n - 1);
        place(g, l, g->drawn[i]);
        if (is_end(g->model, g->drawn[i]) && !is_idle(g, l))
            status = begin_text(err, g, l);
        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}

static paro_status generate(paro_error *err, generator *g)
{
    const uint64_t n_total = (uint64_t)g->n_samples * g->options->n_tokens;
    paro_status status = PARO_STATUS_OK;
    while (status == PARO_STATUS_OK) {
        g->n_active = 0;
        for (size_t i = 0; i < g->n_lanes && status == PARO_STATUS_OK; i++) {
            status = keep_busy(err, g, &g->lanes[i]);
            if (!is_idle(g, &g->lanes[i]))
                g->active[g->n_active++] = &g->lanes[i];
        }
        if (g->n_active == 0)
            break;
        if (status == PARO_STATUS_OK)
            status = step(err, g);
        if (status == PARO_STATUS_OK)
            status = paro_report(err, g->options->observer, "generate samples", g->n_done, n_total);
    }
    return status;
}

paro_status paro_dataset_generate(paro_error *err, const paro_model *model,
                                  const paro_tokenizer *tokenizer,
                                  const paro_dataset_options *options, paro_dataset *out)
{
    paro_status status = paro_dataset_check(err, model, options);
    if (status != PARO_STATUS_OK)
        return status;
    generator g = {.model = model,
                   .tokenizer = tokenizer,
                   .options = options,
                   .n_samples = options->n_train + options->n_validation};
    status = prepare(err, &g);
    if (status == PARO_STATUS_OK)
        status = generate(err, &g);
    if (status == PARO_STATUS_OK)
        status = paro_dataset_finish(err, options, g.ids, out);
    if (status != PARO_STATUS_OK)
        free(g.ids);
    for (size_t i = 0; i < MAX_LANES; i++)
        paro_session_free(g.lanes[i].session);
    free(g.logits);
    return status;
}
