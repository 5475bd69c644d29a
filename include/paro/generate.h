/* SPDX-License-Identifier: MIT
 *
 * Continuing a text: sampling, stop strings, streaming.
 */
#ifndef PARO_GENERATE_H
#define PARO_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paro/model.h>
#include <paro/status.h>
#include <paro/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct paro_generate_options {
    uint32_t n_tokens;       /* at most so many new tokens; 0: to the session's limit */
    float temperature;       /* 0: greedy (the highest logit, the lowest id on a tie) */
    uint32_t top_k;          /* keep the k likeliest; 0: all */
    float top_p;             /* keep the likeliest until their probability reaches p; 0 or 1: all */
    uint64_t seed;           /* the same seed gives the same text, whatever the thread count */
    const char *const *stop; /* strings that end the text; they are not emitted */
    size_t n_stop;
    bool ignore_eos; /* go on after an end token */
} paro_generate_options;

typedef enum paro_finish {
    PARO_FINISH_LENGTH,   /* n_tokens or the session's limit reached */
    PARO_FINISH_EOS,      /* an end token */
    PARO_FINISH_STOP,     /* a stop string */
    PARO_FINISH_CANCELLED /* the callback returned false */
} paro_finish;

typedef struct paro_generate_result {
    paro_finish finish;
    uint32_t n_prompt;      /* tokens read */
    uint32_t n_generated;   /* tokens sampled, an end token included */
    double prefill_seconds; /* time to the first token's logits */
    double decode_seconds;  /* time from there to the end */
} paro_generate_result;

/* Receives pieces of text as they become final: whole characters, valid UTF-8, not
 * zero-terminated. Return false to stop. */
typedef bool paro_text_fn(void *context, const char *text, size_t n_bytes);

/* Reads `prompt` (n_prompt >= 1 ids) into the session and continues it. Afterwards the session
 * holds the prompt and every generated token but the last. `options` NULL: greedy to the limit.
 * Logits that are NaN or infinite are PARO_STATUS_FORMAT. A token the tokenizer does not have (of a
 * padded vocabulary) adds no text. `tokenizer` and `emit` may be NULL where only ids matter; stop
 * strings need a tokenizer. `ids` [n_tokens] receives the generated ids as they are drawn (those
 * before a failure too); may be NULL, and needs n_tokens > 0. */
paro_status paro_generate(paro_error *err, paro_session *session, const paro_tokenizer *tokenizer,
                          const int32_t *prompt, size_t n_prompt,
                          const paro_generate_options *options, paro_text_fn *emit, void *context,
                          int32_t *ids, paro_generate_result *result);

#ifdef __cplusplus
}
#endif
#endif
