/* SPDX-License-Identifier: MIT
 *
 * From token ids to text, at once and a token at a time.
 *
 * Invariants of a stream: 1. `held` is the start of a character that later bytes may complete, 0 to
 * 3 bytes; 2. what was handed out so far, and one U+FFFD if something is held, is what
 * paro_tokenizer_decode makes of the ids so far.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer.h"

struct paro_decode_stream {
    const paro_tokenizer *tokenizer;
    bool skip_special;
    paro_buffer held;
    paro_buffer text; /* what the last call handed out */
};

bool paro_tokenizer_has(const paro_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (uint32_t)id < tokenizer->n_ids && tokenizer->tokens[id].bytes != NULL;
}

/* The bytes of a token, none where it is skipped. */
static paro_status token_bytes(paro_error *err, const paro_tokenizer *tokenizer, int32_t id,
                               bool skip_special, const char **bytes, size_t *n_bytes)
{
    const paro_token_bytes *token;

    if (!paro_tokenizer_has(tokenizer, id))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "token %ld is not in the vocabulary (ids below %u)", (long)id,
                         (unsigned)tokenizer->n_ids);
    token = &tokenizer->tokens[id];
    *bytes = token->bytes;
    *n_bytes = token->special && skip_special ? 0 : token->n_bytes;
    return PARO_STATUS_OK;
}

paro_status paro_tokenizer_decode(paro_error *err, const paro_tokenizer *tokenizer,
                                  const int32_t *ids, size_t n_ids, bool skip_special, char **text,
                                  size_t *n_bytes)
{
    paro_buffer raw = {0};
    paro_buffer valid = {0};
    paro_status status = PARO_STATUS_OK;

    for (size_t i = 0; i < n_ids; i++) {
        const char *bytes = NULL;
        size_t n = 0;

        status = token_bytes(err, tokenizer, ids[i], skip_special, &bytes, &n);
        if (status != PARO_STATUS_OK)
            goto done;
        if (!paro_buffer_append(&raw, bytes, n)) {
            status = paro_fail_memory(err, n, "decoded text");
            goto done;
        }
    }
    if (!paro_buffer_reserve(&valid, raw.n_bytes) ||
        !paro_utf8_append_valid(&valid, raw.data, raw.n_bytes)) {
        status = paro_fail_memory(err, raw.n_bytes, "decoded text");
        goto done;
    }
    *n_bytes = valid.n_bytes;
    *text = paro_buffer_take(&valid);
done:
    paro_buffer_free(&raw);
    paro_buffer_free(&valid);
    return status;
}

paro_status paro_decode_stream_new(paro_error *err, const paro_tokenizer *tokenizer,
                                   bool skip_special, paro_decode_stream **out)
{
    paro_decode_stream *stream = calloc(1, sizeof(*stream));

    if (stream == NULL || !paro_buffer_reserve(&stream->text, 0)) {
        free(stream);
        return paro_fail_memory(err, sizeof(*stream), "a decoding stream");
    }
    stream->tokenizer = tokenizer;
    stream->skip_special = skip_special;
    *out = stream;
    return PARO_STATUS_OK;
}

void paro_decode_stream_free(paro_decode_stream *stream)
{
    if (stream == NULL)
        return;
    paro_buffer_free(&stream->held);
    paro_buffer_free(&stream->text);
    free(stream);
}

/* How many bytes at the end are the start of a character that is not there as a whole. */
static size_t cut_length(const char *text, size_t n_bytes)
{
    size_t at = n_bytes > 3 ? n_bytes - 3 : 0;

    for (; at < n_bytes; at++) {
        size_t length;

        if (paro_utf8_next(text + at, n_bytes - at, &length) == PARO_UTF8_KIND_CUT)
            return n_bytes - at;
    }
    return 0;
}

paro_status paro_decode_stream_push(paro_error *err, paro_decode_stream *stream, int32_t id,
                                    const char **text, size_t *n_bytes)
{
    const char *bytes = NULL;
    size_t n = 0;
    size_t n_held;
    size_t n_before = stream->held.n_bytes;
    paro_status status = token_bytes(err, stream->tokenizer, id, stream->skip_special, &bytes, &n);

    if (status != PARO_STATUS_OK)
        return status;
    paro_buffer_clear(&stream->text);
    if (!paro_buffer_append(&stream->held, bytes, n))
        return paro_fail_memory(err, n, "decoded text");
    n_held = cut_length(stream->held.data, stream->held.n_bytes);
    if (!paro_utf8_append_valid(&stream->text, stream->held.data, stream->held.n_bytes - n_held)) {
        stream->held.n_bytes = n_before; /* as if the token had not come */
        return paro_fail_memory(err, n, "decoded text");
    }
    memmove(stream->held.data, stream->held.data + stream->held.n_bytes - n_held, n_held);
    stream->held.n_bytes = n_held;
    *text = stream->text.data;
    *n_bytes = stream->text.n_bytes;
    return PARO_STATUS_OK;
}

paro_status paro_decode_stream_finish(paro_error *err, paro_decode_stream *stream,
                                      const char **text, size_t *n_bytes)
{
    paro_buffer_clear(&stream->text);
    if (!paro_utf8_append_valid(&stream->text, stream->held.data, stream->held.n_bytes))
        return paro_fail_memory(err, stream->held.n_bytes, "decoded text");
    paro_buffer_clear(&stream->held);
    *text = stream->text.data;
    *n_bytes = stream->text.n_bytes;
    return PARO_STATUS_OK;
}
