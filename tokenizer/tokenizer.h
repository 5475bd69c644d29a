/* SPDX-License-Identifier: MIT
 *
 * The tokenizer's insides, shared by tokenizer.c (text to ids) and detokenize.c (ids to text).
 */
#ifndef PARO_TOKENIZER_TOKENIZER_H
#define PARO_TOKENIZER_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include <paro/tokenizer.h>

#include "base/arena.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pretokenize.h"
#include "tokenizer/tokenizer_spec.h"

/* Immutable once opened. */
struct paro_tokenizer {
    paro_arena arena;
    paro_token_bytes *tokens; /* [n_ids], added tokens in place of the model's under the same id */
    uint32_t n_ids;
    paro_bpe *bpe;
    paro_pretokenizer *pretokenizer;
    paro_token_matcher *raw;        /* added tokens to be found before normalisation */
    paro_token_matcher *normalized; /* and after it; these are normalised themselves */
    paro_normal_form normalizers[PARO_MAX_STAGES];
    size_t n_normalizers;
    uint32_t prefix[PARO_MAX_TEMPLATE];
    size_t n_prefix;
    uint32_t suffix[PARO_MAX_TEMPLATE];
    size_t n_suffix;
};

/* From the text of a tokenizer.json, which `where` names in messages. */
paro_status paro_tokenizer_parse(paro_error *err, const char *where, const char *text,
                                 size_t n_bytes, paro_tokenizer **out);

#endif
