/* SPDX-License-Identifier: MIT
 *
 * Finding added tokens in text, before anything else is done to it.
 */
#ifndef PARO_TOKENIZER_ADDED_TOKENS_H
#define PARO_TOKENIZER_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Finds the texts it was made of: the leftmost, of those the longest, then goes on after it. */
typedef struct paro_token_matcher paro_token_matcher;

typedef struct paro_token_entry {
    const char *text; /* not needed after paro_token_matcher_new */
    size_t n_bytes;   /* >= 1 */
    uint32_t id;
    bool single_word; /* not where \w stands right before or after it */
    bool lstrip;      /* takes the white space before it along */
    bool rstrip;      /* and after it */
    bool special;
} paro_token_entry;

/* Of two equal texts the first counts. */
paro_status paro_token_matcher_new(paro_error *err, const paro_token_entry *tokens, size_t n_tokens,
                                   paro_token_matcher **out);
void paro_token_matcher_free(paro_token_matcher *matcher);

/* A piece of text: an added token, or (id -1) what stands between two. Anything but PARO_STATUS_OK
 * ends the search. */
typedef paro_status paro_piece_fn(paro_error *err, void *context, const char *text, size_t n_bytes,
                                  int64_t id);

/* Hands over all pieces of `text` (valid UTF-8) in order, none of them empty. `plain` reads special
 * tokens as text. */
paro_status paro_token_matcher_split(paro_error *err, const paro_token_matcher *matcher,
                                     const char *text, size_t n_bytes, bool plain,
                                     paro_piece_fn *piece, void *context);

#endif
