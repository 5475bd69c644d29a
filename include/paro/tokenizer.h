/* SPDX-License-Identifier: MIT
 *
 * Byte-level BPE tokenizers, read from tokenizer.json (tokenizer_config.json is not looked at).
 * Results are those of the `tokenizers` package, token by token.
 */
#ifndef PARO_TOKENIZER_H
#define PARO_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paro/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Immutable after opening; may be shared by threads. */
typedef struct paro_tokenizer paro_tokenizer;

/* `path`: a model folder, or a tokenizer.json itself. The caller frees *out. */
paro_status paro_tokenizer_open(paro_error *err, const char *path, paro_tokenizer **out);
void paro_tokenizer_free(paro_tokenizer *tokenizer);

/* Number of ids, added tokens included: every id is below it. */
uint32_t paro_tokenizer_vocab(const paro_tokenizer *tokenizer);

/* Whether an id stands for a token. A model's vocabulary may be larger than its tokenizer's: its
 * embedding is often padded to a round size. */
bool paro_tokenizer_has(const paro_tokenizer *tokenizer, int32_t id);

/* The id of the begin token, or -1 where the tokenizer adds none. */
int32_t paro_tokenizer_bos(const paro_tokenizer *tokenizer);

typedef struct paro_encode_options {
    bool add_special_tokens; /* what the post-processor adds, such as a begin token */
    bool plain_text;         /* treat the spelling of special tokens in the text as ordinary text:
                                for text of unknown origin (encode_special_tokens of `tokenizers`) */
} paro_encode_options;

/* Encodes `n_bytes` of UTF-8 (zero bytes allowed). Bytes that are not UTF-8 are read as U+FFFD, one
 * for each maximal wrong part, as WHATWG decoders do. *ids is allocated with malloc and released by
 * the caller with free; it is never NULL on success, even where *n_ids is 0. `options` NULL: all
 * false. */
paro_status paro_tokenizer_encode(paro_error *err, const paro_tokenizer *tokenizer,
                                  const char *text, size_t n_bytes,
                                  const paro_encode_options *options, int32_t **ids, size_t *n_ids);

/* The text of `n_ids` tokens, as valid UTF-8 (what is not becomes U+FFFD), zero-terminated;
 * *n_bytes without the zero. `skip_special` leaves special tokens out. The caller frees *text. An
 * id that is not in the vocabulary is PARO_STATUS_INVALID_ARGUMENT. */
paro_status paro_tokenizer_decode(paro_error *err, const paro_tokenizer *tokenizer,
                                  const int32_t *ids, size_t n_ids, bool skip_special, char **text,
                                  size_t *n_bytes);

/* Decoding a token at a time: emits only whole characters, and all of them in the end: the pieces
 * put together are what paro_tokenizer_decode gives for all the ids. */
typedef struct paro_decode_stream paro_decode_stream;

paro_status paro_decode_stream_new(paro_error *err, const paro_tokenizer *tokenizer,
                                   bool skip_special, paro_decode_stream **out);
void paro_decode_stream_free(paro_decode_stream *stream);

/* Adds a token. *text is what became final, valid UTF-8, zero-terminated, possibly empty, owned by
 * the stream and valid until its next call. */
paro_status paro_decode_stream_push(paro_error *err, paro_decode_stream *stream, int32_t id,
                                    const char **text, size_t *n_bytes);

/* What was held back (an incomplete character becomes U+FFFD). The stream is then as new. */
paro_status paro_decode_stream_finish(paro_error *err, paro_decode_stream *stream,
                                      const char **text, size_t *n_bytes);

#ifdef __cplusplus
}
#endif
#endif
