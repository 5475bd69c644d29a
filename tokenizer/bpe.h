/* SPDX-License-Identifier: MIT
 *
 * Byte-pair encoding of words, in bytes.
 */
#ifndef PARO_TOKENIZER_BPE_H
#define PARO_TOKENIZER_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tokenizer/tokenizer_spec.h"

typedef struct paro_bpe paro_bpe;

/* The bytes a token stands for. */
typedef struct paro_token_bytes {
    const char *bytes; /* NULL where no token has this id */
    uint32_t n_bytes;
    bool spelled; /* all of it in the alphabet of bpe_alphabet.h: BPE can meet it */
    bool special;
} paro_token_bytes;

typedef struct paro_bpe_options {
    const paro_token_bytes *tokens; /* [n_tokens], those of the model; must outlive the paro_bpe */
    size_t n_tokens;
    const paro_merge *merges; /* [n_merges] in order of rank, ids below n_tokens */
    size_t n_merges;
    int64_t unk_id; /* for bytes that are no token; -1: they are left out */
    bool fuse_unk;
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
} paro_bpe_options;

paro_status paro_bpe_new(paro_error *err, const paro_bpe_options *options, paro_bpe **out);
void paro_bpe_free(paro_bpe *bpe);

/* The ids of one text and what makes finding them fast. For one thread. */
typedef struct paro_bpe_run paro_bpe_run;

paro_status paro_bpe_begin(paro_error *err, const paro_bpe *bpe, paro_bpe_run **out);
void paro_bpe_end(paro_bpe_run *run);

/* Appends the ids of a word. */
paro_status paro_bpe_encode(paro_error *err, paro_bpe_run *run, const char *word, size_t n_bytes);

/* Appends an id. */
paro_status paro_bpe_append(paro_error *err, paro_bpe_run *run, uint32_t id);

/* Hands the ids (malloc'd, never NULL) to the caller. */
paro_status paro_bpe_take(paro_error *err, paro_bpe_run *run, int32_t **ids, size_t *n_ids);

#endif
