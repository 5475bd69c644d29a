/* SPDX-License-Identifier: MIT
 *
 * include/paro/eval.h: perplexity, and distance to a reference model; the same on windows of ids.
 *
 * Both models read the same window; the reference first, its logits kept for the window,
 * then the model, whose logits are compared row by row as they come.
 */
#include "calib/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "runtime/sampler.h"

typedef struct scorer {
    const int32_t *window; /* the ids being read */
    size_t context;
    uint32_t vocab;
    const char *model_dir, *reference_dir;
    float *reference;         /* [context - 1, vocab] its logits; NULL without a reference */
    double *reference_totals; /* [context - 1] their log_sum_exp */
    bool is_reference;        /* whose logits are coming */
    double nll;               /* sums over predicted tokens */
    double reference_nll;
    double kl;
    uint64_t n_same_top;
    uint64_t n_predicted;
    float *kl_values; /* [n_predicted in all] */

    const paro_observer *observer; /* the caller's; may be NULL */
    const char *stage;
    uint64_t n_before, n_total; /* tokens of windows done, and of all */
} scorer;

/* What a session says of its window, as the progress of the whole; with a reference, each of the
 * two readings counts half. */
static bool pass_progress(void *context, const char *stage, uint64_t done, uint64_t total)
{
    (void)stage, (void)total;
    const scorer *s = context;
    const uint64_t part =
        s->reference == NULL ? done : (done + (s->is_reference ? 0 : s->context)) / 2;
    return paro_report(NULL, s->observer, s->stage, s->n_before + part, s->n_total) ==
           PARO_STATUS_OK;
}

/* log(sum(exp(row))): the row's logits less this are log-probabilities. NaN where one of them is.
 */
static double log_sum_exp(const float *row, uint32_t n)
{
    const float highest = row[paro_argmax(row, n)];
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)expf(row[i] - highest);
    return (double)highest + log(sum);
}

/* KL(p || q) of two rows of logits, each with its log_sum_exp. */
static double divergence(const float *p, double p_total, const float *q, double q_total, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        const double log_p = (double)p[i] - p_total, log_q = (double)q[i] - q_total;
        sum += (double)expf((float)log_p) * (log_p - log_q);
    }
    return sum < 0 ? 0 : sum; /* rounding can take it just below */
}

static paro_status score_row(paro_error *err, scorer *s, size_t position, const float *logits)
{
    const int32_t next = s->window[position + 1];
    const double total = log_sum_exp(logits, s->vocab);
    const double nll = total - (double)logits[next];
    float *kept = s->reference == NULL ? NULL : s->reference + position * s->vocab;
    if (!isfinite(total) || !isfinite(nll))
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: expected finite logits, found NaN or infinity at token %zu of a "
                         "window: its weights are damaged, or too large",
                         s->is_reference ? s->reference_dir : s->model_dir, position);
    if (s->is_reference) {
        s->reference_nll += nll;
        s->reference_totals[position] = total;
        memcpy(kept, logits, s->vocab * sizeof *kept);
        return PARO_STATUS_OK;
    }
    s->nll += nll;
    if (kept != NULL) {
        const double kl = divergence(kept, s->reference_totals[position], logits, total, s->vocab);
        s->kl += kl;
        s->kl_values[s->n_predicted] = (float)kl;
        s->n_same_top += paro_argmax(kept, s->vocab) == paro_argmax(logits, s->vocab);
    }
    s->n_predicted++;
    return PARO_STATUS_OK;
}

static paro_status take_rows(paro_error *err, void *context, size_t first, size_t n_rows,
                             const float *logits)
{
    scorer *s = context;
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < n_rows && first + i + 1 < s->context && status == PARO_STATUS_OK; i++)
        status = score_row(err, s, first + i, logits + i * s->vocab);
    return status;
}

static paro_status read_window(paro_error *err, scorer *s, paro_session *session, bool is_reference)
{
    s->is_reference = is_reference;
    paro_session_truncate(session, 0);
    return paro_session_append_all(err, session, s->window, s->context, take_rows, s);
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The smallest value that `share` of the sorted values do not exceed. */
static double percentile(const float *sorted, uint64_t n, double share)
{
    uint64_t rank = (uint64_t)ceil(share * (double)n);
    return (double)sorted[rank == 0 ? 0 : rank - 1];
}

static void summarise(scorer *s, bool with_reference, paro_eval_result *result)
{
    const double n = (double)s->n_predicted;
    result->n_predicted = s->n_predicted;
    result->nll = s->nll / n;
    result->perplexity = exp(result->nll);
    if (!with_reference)
        return;
    qsort(s->kl_values, s->n_predicted, sizeof *s->kl_values, compare_floats);
    result->reference_perplexity = exp(s->reference_nll / n);
    result->kl_mean = s->kl / n;
    result->kl_p50 = percentile(s->kl_values, s->n_predicted, 0.50);
    result->kl_p90 = percentile(s->kl_values, s->n_predicted, 0.90);
    result->kl_p99 = percentile(s->kl_values, s->n_predicted, 0.99);
    result->kl_max = percentile(s->kl_values, s->n_predicted, 1.00);
    result->same_top = (double)s->n_same_top / n;
}

/* The text's ids, cut to whole windows. */
static paro_status prepare_ids(paro_error *err, const paro_tokenizer *tokenizer, const char *text,
                               size_t n_bytes, size_t context, uint64_t max_tokens, int32_t **ids,
                               size_t *n_windows)
{
    size_t n_ids = 0;
    int32_t *all = NULL;
    paro_status status = paro_tokenizer_encode(err, tokenizer, text, n_bytes, NULL, &all, &n_ids);
    if (status != PARO_STATUS_OK)
        return status;
    if (max_tokens > 0 && n_ids > max_tokens)
        n_ids = (size_t)max_tokens;
    if (n_ids < context) {
        free(all);
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "the text has %zu tokens, less than one window of %zu; give more text or "
                         "a smaller context",
                         n_ids, context);
    }
    *ids = all;
    *n_windows = n_ids / context;
    return PARO_STATUS_OK;
}

static paro_status check_models(paro_error *err, const paro_model *model,
                                const paro_model *reference, size_t context, scorer *s)
{
    paro_model_info info, other;
    paro_model_get_info(model, &info);
    s->vocab = info.vocab;
    s->model_dir = info.dir;
    if (context < 2 || context > info.max_context)
        return paro_fail(
            err, PARO_STATUS_INVALID_ARGUMENT,
            "context: expected 2 to %u (the model's max_position_embeddings), found %zu",
            info.max_context, context);
    if (reference == NULL)
        return PARO_STATUS_OK;
    paro_model_get_info(reference, &other);
    s->reference_dir = other.dir;
    if (other.vocab != info.vocab)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: cannot be compared with %s: its vocabulary is %u, not %u", other.dir,
                         info.dir, other.vocab, info.vocab);
    if (other.max_context < context)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: context: expected 2 to %u (the model's max_position_embeddings), "
                         "found %zu",
                         other.dir, other.max_context, context);
    return PARO_STATUS_OK;
}

/* Room for what is kept of the reference. */
static paro_status keep_reference(paro_error *err, size_t n_windows, scorer *s)
{
    const size_t n_rows = s->context - 1;
    if (n_windows > SIZE_MAX / sizeof *s->kl_values / n_rows)
        return paro_fail_memory(err, SIZE_MAX, "the divergences");
    s->reference = malloc(n_rows * s->vocab * sizeof *s->reference);
    s->reference_totals = malloc(n_rows * sizeof *s->reference_totals);
    s->kl_values = malloc(n_windows * n_rows * sizeof *s->kl_values);
    if (s->reference == NULL || s->reference_totals == NULL || s->kl_values == NULL)
        return paro_fail_memory(err, s->context * s->vocab * sizeof *s->reference,
                                "the reference's logits");
    return PARO_STATUS_OK;
}

paro_status paro_score_windows(paro_error *err, const paro_model *model, const int32_t *ids,
                               size_t n_windows, size_t context, const paro_model *reference,
                               const paro_eval_options *options, paro_eval_result *result)
{
    static const paro_eval_options defaults = {0};
    options = options == NULL ? &defaults : options;
    scorer s = {.context = context,
                .observer = options->observer,
                .stage = options->stage == NULL ? "eval" : options->stage};
    const paro_observer observer = {.context = &s, .progress = pass_progress};
    const paro_session_options session_options = {.observer = &observer};
    paro_session *session = NULL, *reference_session = NULL;
    const double start = paro_clock_seconds();

    paro_status status = check_models(err, model, reference, context, &s);
    if (status == PARO_STATUS_OK && n_windows == 0)
        status = paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                           "%s: expected at least one window of %zu tokens, found none", s.stage,
                           context);
    if (status == PARO_STATUS_OK)
        status = paro_session_new(err, model, &session_options, &session);
    if (status == PARO_STATUS_OK && reference != NULL)
        status = paro_session_new(err, reference, &session_options, &reference_session);
    if (status == PARO_STATUS_OK && reference != NULL)
        status = keep_reference(err, n_windows, &s);
    s.n_total = n_windows * context;
    for (size_t i = 0; i < n_windows && status == PARO_STATUS_OK; i++) {
        s.n_before = i * context;
        s.window = ids + i * context;
        if (reference != NULL)
            status = read_window(err, &s, reference_session, true);
        if (status == PARO_STATUS_OK)
            status = read_window(err, &s, session, false);
    }
    if (status == PARO_STATUS_CANCELLED)
        status = paro_fail(err, status, "%s: stopped on request", s.stage);
    if (status == PARO_STATUS_OK) {
        paro_eval_result sum = {.n_windows = n_windows, .n_tokens = n_windows * context};
        summarise(&s, reference != NULL, &sum);
        sum.seconds = paro_clock_seconds() - start;
        *result = sum;
    }
    free(s.reference);
    free(s.reference_totals);
    free(s.kl_values);
    paro_session_free(session);
    paro_session_free(reference_session);
    return status;
}

paro_status paro_eval_text(paro_error *err, const paro_model *model,
                           const paro_tokenizer *tokenizer, const char *text, size_t n_bytes,
                           const paro_model *reference, const paro_eval_options *options,
                           paro_eval_result *result)
{
    static const paro_eval_options defaults = {0};
    options = options == NULL ? &defaults : options;
    const size_t context = options->context == 0 ? 512 : options->context;
    const double start = paro_clock_seconds();
    paro_eval_result sum;
    int32_t *ids = NULL;
    size_t n_windows = 0;

    paro_status status = check_models(err, model, reference, context, &(scorer){0});
    if (status == PARO_STATUS_OK)
        status = prepare_ids(err, tokenizer, text, n_bytes, context, options->max_tokens, &ids,
                             &n_windows);
    if (status == PARO_STATUS_OK)
        status = paro_score_windows(err, model, ids, n_windows, context, reference, options, &sum);
    if (status == PARO_STATUS_OK) {
        sum.seconds = paro_clock_seconds() - start;
        *result = sum;
    }
    free(ids);
    return status;
}
