/* SPDX-License-Identifier: MIT
 *
 * Fuzzes tokenizers: tokenizer.json up to the first zero byte, then a text for it. What opens must
 * encode the text or refuse it, give ids that decode, and decode the same at once and as a stream.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void check_decoding(const paro_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                           bool skip_special)
{
    paro_decode_stream *stream = NULL;
    char *text = NULL;
    size_t n_text = 0;
    size_t at = 0;

    if (paro_tokenizer_decode(NULL, tokenizer, ids, n_ids, skip_special, &text, &n_text) !=
            PARO_STATUS_OK ||
        paro_decode_stream_new(NULL, tokenizer, skip_special, &stream) != PARO_STATUS_OK)
        abort();
    if (text[n_text] != '\0' || paro_utf8_valid_prefix(text, n_text) != n_text)
        abort();
    for (size_t i = 0; i <= n_ids; i++) {
        const char *piece = NULL;
        size_t n = 0;
        paro_status status = i < n_ids ? paro_decode_stream_push(NULL, stream, ids[i], &piece, &n)
                                       : paro_decode_stream_finish(NULL, stream, &piece, &n);

        if (status != PARO_STATUS_OK || n > n_text - at || memcmp(text + at, piece, n) != 0)
            abort();
        if (paro_utf8_valid_prefix(piece, n) != n)
            abort();
        at += n;
    }
    if (at != n_text)
        abort();
    paro_decode_stream_free(stream);
    free(text);
}

static void check_encoding(const paro_tokenizer *tokenizer, const char *text, size_t n_bytes,
                           const paro_encode_options *options)
{
    paro_error err;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    paro_status status =
        paro_tokenizer_encode(&err, tokenizer, text, n_bytes, options, &ids, &n_ids);

    if (status == PARO_STATUS_LIMIT) /* a pattern that takes too many steps */
        return;
    if (status != PARO_STATUS_OK || ids == NULL)
        abort();
    check_decoding(tokenizer, ids, n_ids, options->plain_text);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const uint8_t *zero = n_bytes == 0 ? NULL : memchr(data, 0, n_bytes);
    size_t n_json = zero == NULL ? n_bytes : (size_t)(zero - data);
    const char *text =
        zero == NULL ? "It's 12 words,\n  caf\xC3\xA9 <|end|>" : (const char *)zero + 1;
    size_t n_text = zero == NULL ? strlen(text) : n_bytes - n_json - 1;
    paro_tokenizer *tokenizer = NULL;
    paro_error err;

    if (paro_tokenizer_parse(&err, "fuzz", (const char *)data, n_json, &tokenizer) !=
        PARO_STATUS_OK) {
        if (memchr(err.message, 0, sizeof(err.message)) == NULL || err.message[0] == '\0')
            abort();
        return 0;
    }
    check_encoding(tokenizer, text, n_text, &(paro_encode_options){.add_special_tokens = true});
    check_encoding(tokenizer, text, n_text, &(paro_encode_options){.plain_text = true});
    paro_tokenizer_free(tokenizer);
    return 0;
}
