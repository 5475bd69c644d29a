/* SPDX-License-Identifier: MIT
 *
 * What a tokenizer.json says, checked and in plain structs; nothing here computes tokens.
 */
#ifndef PARO_TOKENIZER_SPEC_H
#define PARO_TOKENIZER_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"

enum {
    PARO_MAX_TOKEN_IDS = 1 << 21, /* far above any vocabulary; keeps tables small */
    PARO_MAX_ADDED_BYTES = 4096,  /* of one added token's text */
    PARO_MAX_STAGES = 32,         /* normalizers, pre-tokenizers */
    PARO_MAX_TEMPLATE = 64        /* ids a post-processor may add on each side */
};

/* Two tokens and what they become, in order of rank. */
typedef struct paro_merge {
    uint32_t left;
    uint32_t right;
    uint32_t result;
} paro_merge;

typedef struct paro_token_text {
    const char *text; /* as tokenizer.json spells it; NULL where no token has this id */
    uint32_t n_bytes;
} paro_token_text;

typedef struct paro_added_token {
    const char *text;
    uint32_t n_bytes;
    uint32_t id;
    bool single_word;
    bool lstrip;
    bool rstrip;
    bool normalized;
    bool special;
} paro_added_token;

typedef enum paro_normal_form {
    PARO_NORMAL_FORM_NFC,
    PARO_NORMAL_FORM_NFD,
    PARO_NORMAL_FORM_NFKC,
    PARO_NORMAL_FORM_NFKD
} paro_normal_form;

typedef enum paro_split_behavior {
    PARO_SPLIT_BEHAVIOR_ISOLATED,
    PARO_SPLIT_BEHAVIOR_REMOVED,
    PARO_SPLIT_BEHAVIOR_MERGED_WITH_PREVIOUS,
    PARO_SPLIT_BEHAVIOR_MERGED_WITH_NEXT,
    PARO_SPLIT_BEHAVIOR_CONTIGUOUS
} paro_split_behavior;

/* A step of cutting text into words. */
typedef struct paro_split_spec {
    bool prefix_space; /* not a split: puts a space in front of text that does not begin with one */
    bool literal;      /* `pattern` is the text to find, not a regular expression */
    bool invert;
    paro_split_behavior behavior;
    const char *pattern; /* in Oniguruma's Ruby syntax, as `tokenizers` reads it */
    size_t n_bytes;
    const char *where; /* its place in tokenizer.json, for messages */
} paro_split_spec;

/* Everything lives in the arena or in the parsed JSON, both released by paro_tokenizer_spec_free.
 */
typedef struct paro_tokenizer_spec {
    paro_arena arena;
    json_t *root;

    paro_token_text *tokens; /* [n_ids] of the model's vocabulary, without added tokens */
    uint32_t n_ids;          /* highest id of the model or an added token + 1 */
    uint32_t n_vocab;        /* tokens of the model */
    paro_merge *merges;
    size_t n_merges;
    int64_t unk_id; /* -1: bytes without a token are left out, as `tokenizers` does */
    bool fuse_unk;
    bool ignore_merges;

    paro_added_token *added;
    size_t n_added;

    paro_normal_form normalizers[PARO_MAX_STAGES];
    size_t n_normalizers;
    paro_split_spec splits[PARO_MAX_STAGES];
    size_t n_splits;
    bool has_byte_level; /* always, once parsed */
    size_t n_decoders;   /* 1 once parsed */

    uint32_t prefix[PARO_MAX_TEMPLATE]; /* ids the post-processor puts before and after a text */
    size_t n_prefix;
    uint32_t suffix[PARO_MAX_TEMPLATE];
    size_t n_suffix;
} paro_tokenizer_spec;

/* Fills *out, which must be zeroed; on failure it is zeroed again. `where` names the source in
 * messages. PARO_STATUS_UNSUPPORTED names a component that is valid but not handled here. */
paro_status paro_tokenizer_spec_parse(paro_error *err, const char *where, const char *text,
                                      size_t n_bytes, paro_tokenizer_spec *out);
void paro_tokenizer_spec_free(paro_tokenizer_spec *spec);

/* The parts of it that tokenizer_pipeline.c reads: "normalizer", "pre_tokenizer", "post_processor",
 * "decoder"; after vocabulary and added tokens. */
paro_status paro_tokenizer_pipeline_parse(paro_error *err, const char *where,
                                          paro_tokenizer_spec *spec);

#endif
