/* SPDX-License-Identifier: MIT
 *
 * From text to token ids: valid UTF-8, added tokens, normal form, words, BPE, special tokens around
 * it.
 */
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/utf8.h"
#include "tokenizer/bpe_alphabet.h"
#include "tokenizer/normalize.h"

enum { MAX_FILE_BYTES = 256 << 20 };

/* All normalisers, one after another. *out points to `text` or into one of the buffers. */
static paro_status normalize(paro_error *err, const paro_tokenizer *tokenizer, const char *text,
                             size_t n_bytes, paro_buffer buffers[2], const char **out,
                             size_t *n_out)
{
    *out = text;
    *n_out = n_bytes;
    for (size_t i = 0; i < tokenizer->n_normalizers; i++) {
        const char *in = *out;
        paro_buffer *to = &buffers[in == buffers[0].data ? 1 : 0];
        paro_status status =
            paro_normalize(err, tokenizer->normalizers[i], in, *n_out, to, out, n_out);

        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}

/* ---- opening ---- */

/* The bytes of every token. A token that is not spelled in the alphabet stands for its own text. */
static paro_status build_tokens(paro_error *err, paro_tokenizer *tokenizer,
                                const paro_tokenizer_spec *spec)
{
    tokenizer->n_ids = spec->n_ids;
    tokenizer->tokens =
        paro_arena_array(&tokenizer->arena, spec->n_ids, sizeof(*tokenizer->tokens));
    if (tokenizer->tokens == NULL)
        return paro_fail_memory(err, spec->n_ids * sizeof(*tokenizer->tokens), "the vocabulary");
    for (uint32_t id = 0; id < spec->n_ids; id++) {
        const paro_token_text *from = &spec->tokens[id];
        paro_token_bytes *to = &tokenizer->tokens[id];
        size_t n = from->n_bytes;
        char *bytes;

        if (from->text == NULL)
            continue;
        bytes = paro_arena_alloc(&tokenizer->arena, n);
        if (bytes == NULL)
            return paro_fail_memory(err, n, "the vocabulary");
        to->spelled = paro_bpe_unspell(from->text, from->n_bytes, bytes, &n);
        if (!to->spelled)
            memcpy(bytes, from->text, n);
        to->bytes = bytes;
        to->n_bytes = (uint32_t)n;
    }
    return PARO_STATUS_OK;
}

/* Added tokens decode as the model's do, and hide those of the same id. One that is found in
 * normalised text stands for its normal form. */
static paro_status add_tokens(paro_error *err, paro_tokenizer *tokenizer,
                              const paro_tokenizer_spec *spec)
{
    paro_buffer buffers[2] = {{0}, {0}};
    paro_status status = PARO_STATUS_OK;

    for (size_t i = 0; i < spec->n_added; i++) {
        const paro_added_token *added = &spec->added[i];
        const char *text = added->text;
        size_t n_text = added->n_bytes;
        size_t n;
        char *bytes;

        if (added->normalized)
            status = normalize(err, tokenizer, text, n_text, buffers, &text, &n_text);
        if (status != PARO_STATUS_OK)
            break;
        bytes = paro_arena_alloc(&tokenizer->arena, n_text);
        if (bytes == NULL) {
            status = paro_fail_memory(err, n_text, "the added tokens");
            break;
        }
        if (!paro_bpe_unspell(text, n_text, bytes, &n)) {
            memcpy(bytes, text, n_text);
            n = n_text;
        }
        tokenizer->tokens[added->id] =
            (paro_token_bytes){.bytes = bytes, .n_bytes = (uint32_t)n, .special = added->special};
    }
    paro_buffer_free(&buffers[0]);
    paro_buffer_free(&buffers[1]);
    return status;
}

/* The matcher of added tokens that are to be found before, or after, normalisation. As in
 * `tokenizers`, special tokens come first where two are equal in normal form. */
static paro_status build_matcher(paro_error *err, const paro_tokenizer *tokenizer,
                                 const paro_tokenizer_spec *spec, bool normalized,
                                 paro_token_matcher **out)
{
    paro_arena arena = {0};
    paro_buffer buffers[2] = {{0}, {0}};
    paro_status status = PARO_STATUS_OK;
    size_t n = 0;
    paro_token_entry *tokens = paro_arena_array(&arena, spec->n_added, sizeof(*tokens));

    if (tokens == NULL) {
        status = paro_fail_memory(err, spec->n_added * sizeof(*tokens), "the added tokens");
        goto done;
    }
    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < spec->n_added; i++) {
            const paro_added_token *added = &spec->added[i];
            const char *text = added->text;
            size_t n_bytes = added->n_bytes;

            if (added->normalized != normalized || added->special != (pass == 0))
                continue;
            if (normalized) {
                status = normalize(err, tokenizer, text, n_bytes, buffers, &text, &n_bytes);
                if (status != PARO_STATUS_OK)
                    goto done;
                text = paro_arena_strndup(&arena, text, n_bytes);
                if (text == NULL) {
                    status = paro_fail_memory(err, n_bytes, "the added tokens");
                    goto done;
                }
            }
            tokens[n++] = (paro_token_entry){.text = text,
                                             .n_bytes = n_bytes,
                                             .id = added->id,
                                             .single_word = added->single_word,
                                             .lstrip = added->lstrip,
                                             .rstrip = added->rstrip,
                                             .special = added->special};
        }
    }
    status = paro_token_matcher_new(err, tokens, n, out);
done:
    paro_buffer_free(&buffers[0]);
    paro_buffer_free(&buffers[1]);
    paro_arena_release(&arena);
    return status;
}

static paro_status build(paro_error *err, const paro_tokenizer_spec *spec,
                         paro_tokenizer *tokenizer)
{
    paro_bpe_options options = {.merges = spec->merges,
                                .n_merges = spec->n_merges,
                                .unk_id = spec->unk_id,
                                .fuse_unk = spec->fuse_unk,
                                .ignore_merges = spec->ignore_merges};
    paro_status status = build_tokens(err, tokenizer, spec);

    if (status != PARO_STATUS_OK)
        return status;
    memcpy(tokenizer->normalizers, spec->normalizers, sizeof(tokenizer->normalizers));
    tokenizer->n_normalizers = spec->n_normalizers;
    memcpy(tokenizer->prefix, spec->prefix, sizeof(tokenizer->prefix));
    tokenizer->n_prefix = spec->n_prefix;
    memcpy(tokenizer->suffix, spec->suffix, sizeof(tokenizer->suffix));
    tokenizer->n_suffix = spec->n_suffix;
    options.tokens = tokenizer->tokens;
    options.n_tokens = tokenizer->n_ids;
    status = paro_bpe_new(err, &options, &tokenizer->bpe);
    if (status == PARO_STATUS_OK)
        status = add_tokens(err, tokenizer, spec);
    if (status == PARO_STATUS_OK)
        status = paro_pretokenizer_new(err, spec->splits, spec->n_splits, &tokenizer->pretokenizer);
    if (status == PARO_STATUS_OK)
        status = build_matcher(err, tokenizer, spec, false, &tokenizer->raw);
    if (status == PARO_STATUS_OK)
        status = build_matcher(err, tokenizer, spec, true, &tokenizer->normalized);
    return status;
}

paro_status paro_tokenizer_parse(paro_error *err, const char *where, const char *text,
                                 size_t n_bytes, paro_tokenizer **out)
{
    paro_tokenizer_spec spec = {0};
    paro_tokenizer *tokenizer = NULL;
    paro_status status = paro_tokenizer_spec_parse(err, where, text, n_bytes, &spec);

    if (status != PARO_STATUS_OK)
        return status;
    tokenizer = calloc(1, sizeof(*tokenizer));
    if (tokenizer == NULL)
        status = paro_fail_memory(err, sizeof(*tokenizer), "a tokenizer");
    else
        status = build(err, &spec, tokenizer);
    paro_tokenizer_spec_free(&spec);
    if (status == PARO_STATUS_OK)
        *out = tokenizer;
    else
        paro_tokenizer_free(tokenizer);
    return status;
}

paro_status paro_tokenizer_open(paro_error *err, const char *path, paro_tokenizer **out)
{
    paro_arena arena = {0};
    paro_mapping file = {0};
    paro_status status;

    if (paro_path_is_dir(path)) {
        path = paro_path_join(&arena, path, "tokenizer.json");
        if (path == NULL)
            return paro_fail_memory(err, 0, "a path");
    }
    status = paro_mapping_open(err, path, &file);
    if (status == PARO_STATUS_OK && file.n_bytes > MAX_FILE_BYTES)
        status = paro_fail(err, PARO_STATUS_LIMIT, "%s: %zu bytes, at most %d are read", path,
                           file.n_bytes, MAX_FILE_BYTES);
    if (status == PARO_STATUS_OK)
        status = paro_tokenizer_parse(err, path, (const char *)file.data, file.n_bytes, out);
    paro_mapping_close(&file);
    paro_arena_release(&arena);
    return status;
}

void paro_tokenizer_free(paro_tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    paro_bpe_free(tokenizer->bpe);
    paro_pretokenizer_free(tokenizer->pretokenizer);
    paro_token_matcher_free(tokenizer->raw);
    paro_token_matcher_free(tokenizer->normalized);
    paro_arena_release(&tokenizer->arena);
    free(tokenizer);
}

uint32_t paro_tokenizer_vocab(const paro_tokenizer *tokenizer)
{
    return tokenizer->n_ids;
}

int32_t paro_tokenizer_bos(const paro_tokenizer *tokenizer)
{
    return tokenizer->n_prefix > 0 ? (int32_t)tokenizer->prefix[0] : -1;
}

/* ---- encoding ---- */

/* One call of encode. */
typedef struct encoding {
    const paro_tokenizer *tokenizer;
    bool plain;
    paro_bpe_run *bpe;
    paro_pretokenizer_run *pretokenizer;
    paro_buffer normal[2];
} encoding;

static paro_status take_word(paro_error *err, void *context, const char *word, size_t n_bytes)
{
    encoding *e = context;

    return paro_bpe_encode(err, e->bpe, word, n_bytes);
}

static paro_status take_normal_piece(paro_error *err, void *context, const char *text,
                                     size_t n_bytes, int64_t id)
{
    encoding *e = context;

    if (id >= 0)
        return paro_bpe_append(err, e->bpe, (uint32_t)id);
    return paro_pretokenizer_split(err, e->pretokenizer, text, n_bytes, take_word, e);
}

static paro_status take_raw_piece(paro_error *err, void *context, const char *text, size_t n_bytes,
                                  int64_t id)
{
    encoding *e = context;
    paro_status status;

    if (id >= 0)
        return paro_bpe_append(err, e->bpe, (uint32_t)id);
    status = normalize(err, e->tokenizer, text, n_bytes, e->normal, &text, &n_bytes);
    if (status != PARO_STATUS_OK)
        return status;
    return paro_token_matcher_split(err, e->tokenizer->normalized, text, n_bytes, e->plain,
                                    take_normal_piece, e);
}

static paro_status append_all(paro_error *err, paro_bpe_run *bpe, const uint32_t *ids, size_t n)
{
    paro_status status = PARO_STATUS_OK;

    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++)
        status = paro_bpe_append(err, bpe, ids[i]);
    return status;
}

paro_status paro_tokenizer_encode(paro_error *err, const paro_tokenizer *tokenizer,
                                  const char *text, size_t n_bytes,
                                  const paro_encode_options *options, int32_t **ids, size_t *n_ids)
{
    const paro_encode_options chosen = options == NULL ? (paro_encode_options){0} : *options;
    encoding e = {.tokenizer = tokenizer, .plain = chosen.plain_text};
    paro_buffer valid = {0};
    paro_status status;

    if (n_bytes > 0 && paro_utf8_valid_prefix(text, n_bytes) < n_bytes) {
        if (!paro_utf8_append_valid(&valid, text, n_bytes)) {
            status = paro_fail_memory(err, n_bytes, "a text");
            goto done;
        }
        text = valid.data;
        n_bytes = valid.n_bytes;
    }
    status = paro_bpe_begin(err, tokenizer->bpe, &e.bpe);
    if (status == PARO_STATUS_OK)
        status = paro_pretokenizer_begin(err, tokenizer->pretokenizer, n_bytes, &e.pretokenizer);
    if (status == PARO_STATUS_OK && chosen.add_special_tokens)
        status = append_all(err, e.bpe, tokenizer->prefix, tokenizer->n_prefix);
    if (status == PARO_STATUS_OK && n_bytes > 0)
        status = paro_token_matcher_split(err, tokenizer->raw, text, n_bytes, e.plain,
                                          take_raw_piece, &e);
    if (status == PARO_STATUS_OK && chosen.add_special_tokens)
        status = append_all(err, e.bpe, tokenizer->suffix, tokenizer->n_suffix);
    if (status == PARO_STATUS_OK)
        status = paro_bpe_take(err, e.bpe, ids, n_ids);
done:
    paro_bpe_end(e.bpe);
    paro_pretokenizer_end(e.pretokenizer);
    paro_buffer_free(&e.normal[0]);
    paro_buffer_free(&e.normal[1]);
    paro_buffer_free(&valid);
    return status;
}
