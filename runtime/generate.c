/* SPDX-License-Identifier: MIT
 *
 * Continuing a text: tokens drawn one at a time, their text streamed, stop strings held back.
 *
 * Invariants: 1. `held` is text that is final but not emitted, because a stop string may have begun
 * in it; it is shorter than the longest stop string; 2. emitted + held is the detokenised text so
 * far.
 */
#include <math.h>
#include <paro/generate.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "runtime/model.h"
#include "runtime/sampler.h"
#include "runtime/session.h"

typedef struct text_sink {
    const paro_tokenizer *tokenizer;
    paro_decode_stream *stream; /* NULL: ids only */
    const paro_generate_options *options;
    paro_text_fn *emit;
    void *context;
    paro_buffer held;
    bool stopped;   /* a stop string came */
    bool cancelled; /* emit returned false */
} text_sink;

/* The first place in `text` where a stop string begins, or n_bytes. */
static size_t find_stop(const paro_generate_options *options, const char *text, size_t n_bytes)
{
    size_t first = n_bytes;
    for (size_t i = 0; i < options->n_stop; i++) {
        const char *stop = options->stop[i];
        const char *at = *stop == 0 ? NULL : memmem(text, n_bytes, stop, strlen(stop));
        if (at != NULL && (size_t)(at - text) < first)
            first = (size_t)(at - text);
    }
    return first;
}

/* How many bytes at the end of `text` could be the beginning of a stop string. */
static size_t held_bytes(const paro_generate_options *options, const char *text, size_t n_bytes)
{
    size_t most = 0;
    for (size_t i = 0; i < options->n_stop; i++) {
        const char *stop = options->stop[i];
        for (size_t k = 1; k < strlen(stop) && k <= n_bytes; k++)
            if (k > most && memcmp(text + n_bytes - k, stop, k) == 0)
                most = k;
    }
    return most;
}

static void emit(text_sink *sink, size_t n_bytes)
{
    if (n_bytes > 0 && sink->emit != NULL && !sink->cancelled &&
        !sink->emit(sink->context, sink->held.data, n_bytes))
        sink->cancelled = true;
}

static paro_status take_text(paro_error *err, text_sink *sink, const char *text, size_t n_bytes,
                             bool is_last)
{
    if (!paro_buffer_append(&sink->held, text, n_bytes))
        return paro_fail_memory(err, n_bytes, "text");
    size_t stop = find_stop(sink->options, sink->held.data, sink->held.n_bytes);
    if (stop < sink->held.n_bytes) {
        sink->stopped = true;
        emit(sink, stop);
        paro_buffer_clear(&sink->held);
        return PARO_STATUS_OK;
    }
    size_t kept = is_last ? 0 : held_bytes(sink->options, sink->held.data, sink->held.n_bytes);
    size_t final = sink->held.n_bytes - kept;
    emit(sink, final);
    memmove(sink->held.data, sink->held.data + final, kept);
    sink->held.n_bytes = kept;
    sink->held.data[kept] = 0;
    return PARO_STATUS_OK;
}

static paro_status take_token(paro_error *err, text_sink *sink, int32_t id)
{
    const char *text;
    size_t n_bytes;
    if (sink->stream == NULL || !paro_tokenizer_has(sink->tokenizer, id))
        return PARO_STATUS_OK;
    paro_status status = paro_decode_stream_push(err, sink->stream, id, &text, &n_bytes);
    return status == PARO_STATUS_OK ? take_text(err, sink, text, n_bytes, false) : status;
}

static paro_status finish_text(paro_error *err, text_sink *sink)
{
    const char *text;
    size_t n_bytes;
    if (sink->stream == NULL || sink->stopped)
        return PARO_STATUS_OK;
    paro_status status = paro_decode_stream_finish(err, sink->stream, &text, &n_bytes);
    return status == PARO_STATUS_OK ? take_text(err, sink, text, n_bytes, true) : status;
}

static bool is_eos(const paro_model *model, int32_t id)
{
    for (size_t i = 0; i < model->config.n_eos_ids; i++)
        if (model->config.eos_ids[i] == id)
            return true;
    return false;
}

/* A NaN or an infinity would be drawn as if it were an answer. (Minus infinity is a logit like
 * others: it says never.) */
static paro_status check_finite(paro_error *err, const paro_model *model, const float *logits,
                                uint32_t n_read)
{
    for (uint32_t i = 0; i < model->config.vocab; i++)
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: expected finite logits, found %g for id %u after token %u: its "
                             "weights are damaged, or too large",
                             model->dir, (double)logits[i], i, n_read);
    return PARO_STATUS_OK;
}

/* Reads tokens and draws the next one. Greedy, the likeliest is found where the logits are, and
 * these are looked at only where that finds them not finite. `logits` [vocab] is scratch. */
static paro_status next_token(paro_error *err, paro_session *session, const paro_model *model,
                              paro_sampler *sampler, const int32_t *tokens, size_t n_tokens,
                              float *logits, int32_t *id)
{
    int32_t best = -1;
    const bool is_greedy = sampler->options.temperature == 0;
    paro_status status = is_greedy ? paro_session_append_best(err, session, tokens, n_tokens, &best)
                                   : paro_session_append(err, session, tokens, n_tokens, logits);
    if (status == PARO_STATUS_OK && best < 0 && is_greedy)
        status = paro_session_last_logits(err, session, logits);
    if (status == PARO_STATUS_OK && best < 0)
        status = check_finite(err, model, logits, paro_session_length(session));
    if (status == PARO_STATUS_OK)
        *id = best < 0 ? paro_sampler_draw(sampler, logits) : best;
    return status;
}

/* The loop: `id` was drawn after the last token read. */
static paro_status decode(paro_error *err, paro_session *session, const paro_model *model,
                          const paro_generate_options *options, paro_sampler *sampler,
                          text_sink *sink, float *logits, int32_t id, int32_t *ids,
                          paro_generate_result *result)
{
    const uint32_t room = paro_session_room(session);
    uint32_t limit = options->n_tokens;
    /* The last token is drawn but not read, so one more fits than there is room for. */
    if (limit == 0 || limit > room + 1)
        limit = room + 1;
    result->finish = PARO_FINISH_LENGTH;
    for (uint32_t n = 0; n < limit; n++) {
        if (ids != NULL)
            ids[n] = id;
        result->n_generated++;
        if (is_eos(model, id) && !options->ignore_eos) {
            result->finish = PARO_FINISH_EOS;
            break;
        }
        paro_status status = take_token(err, sink, id);
        if (status != PARO_STATUS_OK)
            return status;
        if (sink->stopped || sink->cancelled)
            break;
        if (n + 1 < limit) {
            status = next_token(err, session, model, sampler, &id, 1, logits, &id);
            if (status != PARO_STATUS_OK)
                return status;
        }
    }
    paro_status status = sink->cancelled ? PARO_STATUS_OK : finish_text(err, sink);
    if (sink->stopped)
        result->finish = PARO_FINISH_STOP;
    if (sink->cancelled)
        result->finish = PARO_FINISH_CANCELLED;
    return status;
}

paro_status paro_generate(paro_error *err, paro_session *session, const paro_tokenizer *tokenizer,
                          const int32_t *prompt, size_t n_prompt,
                          const paro_generate_options *options, paro_text_fn *emit_text,
                          void *context, int32_t *ids, paro_generate_result *result)
{
    static const paro_generate_options greedy = {0};
    const paro_model *model = paro_session_model(session);
    paro_generate_result sum = {.n_prompt = (uint32_t)n_prompt};
    paro_sampler sampler = {0};
    text_sink sink = {.tokenizer = tokenizer,
                      .options = options == NULL ? &greedy : options,
                      .emit = emit_text,
                      .context = context};
    paro_status status = PARO_STATUS_OK;
    float *logits = NULL;
    int32_t id = -1;
    options = sink.options;
    if (tokenizer == NULL && options->n_stop > 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "stop strings need a tokenizer");
    if (ids != NULL && options->n_tokens == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "n_tokens: expected at least 1 where ids are wanted");
    const paro_sampler_options sampling = {options->temperature, options->top_k, options->top_p,
                                           options->seed};
    status = paro_sampler_init(err, &sampling, model->config.vocab, &sampler);
    if (status != PARO_STATUS_OK)
        return status;
    logits = malloc(model->config.vocab * sizeof *logits);
    if (logits == NULL) {
        status = paro_fail_memory(err, model->config.vocab * sizeof *logits, "logits");
        goto done;
    }
    if (tokenizer != NULL && (emit_text != NULL || options->n_stop > 0))
        status = paro_decode_stream_new(err, tokenizer, true, &sink.stream);
    double start = paro_clock_seconds();
    if (status == PARO_STATUS_OK)
        status = next_token(err, session, model, &sampler, prompt, n_prompt, logits, &id);
    double prefilled = paro_clock_seconds();
    sum.prefill_seconds = prefilled - start;
    if (status == PARO_STATUS_OK)
        status = decode(err, session, model, options, &sampler, &sink, logits, id, ids, &sum);
    sum.decode_seconds = paro_clock_seconds() - prefilled;
    if (status == PARO_STATUS_OK && result != NULL)
        *result = sum;
done:
    paro_decode_stream_free(sink.stream);
    paro_buffer_free(&sink.held);
    paro_sampler_release(&sampler);
    free(logits);
    return status;
}
