/* SPDX-License-Identifier: MIT
 *
 * tokenizer.json: the BPE model and the added tokens.
 *
 * Format (written by `tokenizers` 0.9 to 0.23), an object of
 *     "version"         "1.0"
 *     "added_tokens"    [{"id", "content", "single_word", "lstrip", "rstrip", "normalized",
 * "special"}] "normalizer", "pre_tokenizer", "post_processor", "decoder"      see
 * tokenizer_pipeline.c "model"           {"type": "BPE", "vocab": {text: id}, "merges": ["a b"] or
 * [["a", "b"]], …} "truncation", "padding"   how `tokenizers` cuts and fills batches; not read
 * here.
 *
 * A text of "vocab" spells bytes by the 256 characters of bpe_alphabet.h. Merges stand in order of
 * rank; the last of two equal ones counts. An added token that is in "vocab" has that id; any other
 * gets the next free one, which must be the one the file says.
 */
#include <string.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/json.h"
#include "tokenizer/bpe_alphabet.h"
#include "tokenizer/tokenizer_spec.h"

static paro_status parse_vocab(paro_error *err, const char *where, json_t *vocab,
                               paro_tokenizer_spec *spec, paro_map *ids)
{
    size_t n = json_object_size(vocab);
    const char *key;
    json_t *value;

    if (n == 0)
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: model.vocab: expected tokens, found none",
                         where);
    if (n > PARO_MAX_TOKEN_IDS)
        return paro_fail(err, PARO_STATUS_LIMIT, "%s: model.vocab: %zu tokens, at most %d are read",
                         where, n, PARO_MAX_TOKEN_IDS);
    if (!paro_map_reserve(ids, n))
        return paro_fail_memory(err, n * sizeof(paro_map_slot), "the vocabulary");

    json_object_foreach(vocab, key, value)
    {
        json_int_t id = json_integer_value(value);
        size_t n_bytes = strlen(key);
        const char *text;

        if (!json_is_integer(value) || id < 0 || id >= PARO_MAX_TOKEN_IDS)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: model.vocab[\"%.64s\"]: expected an id from 0 to %d, found %s",
                             where, key, PARO_MAX_TOKEN_IDS - 1,
                             json_is_integer(value) ? "another number"
                                                    : paro_json_type_name(value));
        if (n_bytes > UINT32_MAX)
            return paro_fail(err, PARO_STATUS_LIMIT, "%s: model.vocab: a token of over 4 GiB",
                             where);
        if ((uint32_t)id >= spec->n_ids)
            spec->n_ids = (uint32_t)id + 1;
        /* Copies that stand together are found much faster than jansson's scattered ones. */
        text = paro_arena_strndup(&spec->arena, key, n_bytes);
        if (text == NULL || !paro_map_put(ids, text, n_bytes, (uint32_t)id, NULL))
            return paro_fail_memory(err, n * sizeof(paro_map_slot), "the vocabulary");
    }
    spec->n_vocab = (uint32_t)n;
    spec->tokens = paro_arena_array(&spec->arena, spec->n_ids, sizeof(*spec->tokens));
    if (spec->tokens == NULL)
        return paro_fail_memory(err, spec->n_ids * sizeof(*spec->tokens), "the vocabulary");

    json_object_foreach(vocab, key, value)
    {
        paro_token_text *token = &spec->tokens[json_integer_value(value)];

        if (token->text != NULL)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: model.vocab: id %lld is given to \"%.64s\" and to \"%.64s\"",
                             where, (long long)json_integer_value(value), token->text, key);
        token->text = key;
        token->n_bytes = (uint32_t)strlen(key);
    }
    return PARO_STATUS_OK;
}

/* The two halves of merge `n`, from "a b" or ["a", "b"]. */
static paro_status merge_halves(paro_error *err, const char *where, size_t n, const json_t *merge,
                                const char *half[2], size_t n_bytes[2])
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge);
        const char *space = strchr(text, ' ');

        if (space != NULL && strchr(space + 1, ' ') == NULL) {
            half[0] = text;
            n_bytes[0] = (size_t)(space - text);
            half[1] = space + 1;
            n_bytes[1] = strlen(space + 1);
            return PARO_STATUS_OK;
        }
    } else if (json_is_array(merge) && json_array_size(merge) == 2 &&
               json_is_string(json_array_get(merge, 0)) &&
               json_is_string(json_array_get(merge, 1))) {
        for (size_t i = 0; i < 2; i++) {
            half[i] = json_string_value(json_array_get(merge, i));
            n_bytes[i] = json_string_length(json_array_get(merge, i));
        }
        return PARO_STATUS_OK;
    }
    return paro_fail(err, PARO_STATUS_FORMAT,
                     "%s: model.merges[%zu]: expected \"a b\" with one space or [\"a\", \"b\"], "
                     "found %s%.64s",
                     where, n, json_is_string(merge) ? "" : paro_json_type_name(merge),
                     json_is_string(merge) ? json_string_value(merge) : "");
}

static paro_status merge_id(paro_error *err, const char *where, size_t n, const paro_map *ids,
                            const char *text, size_t n_bytes, uint32_t *id)
{
    if (!paro_map_get(ids, text, n_bytes, id))
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: model.merges[%zu]: \"%.*s\" is not in model.vocab", where, n,
                         n_bytes > 64 ? 64 : (int)n_bytes, text);
    return PARO_STATUS_OK;
}

static paro_status parse_merges(paro_error *err, const char *where, const json_t *merges,
                                paro_tokenizer_spec *spec, const paro_map *ids)
{
    paro_status status = PARO_STATUS_OK;
    paro_buffer whole = {0};
    size_t n = json_array_size(merges);

    spec->merges = paro_arena_array(&spec->arena, n, sizeof(*spec->merges));
    if (spec->merges == NULL)
        return paro_fail_memory(err, n * sizeof(*spec->merges), "the merges");
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(merges, i);
        paro_merge *merge = &spec->merges[spec->n_merges];
        const char *half[2];
        size_t n_bytes[2];

        if (json_is_string(item) && strncmp(json_string_value(item), "#version", 8) == 0)
            continue;
        if ((status = merge_halves(err, where, i, item, half, n_bytes)) != PARO_STATUS_OK)
            goto done;
        paro_buffer_clear(&whole);
        if (!paro_buffer_append(&whole, half[0], n_bytes[0]) ||
            !paro_buffer_append(&whole, half[1], n_bytes[1])) {
            status = paro_fail_memory(err, n_bytes[0] + n_bytes[1], "a merge");
            goto done;
        }
        status = merge_id(err, where, i, ids, half[0], n_bytes[0], &merge->left);
        if (status == PARO_STATUS_OK)
            status = merge_id(err, where, i, ids, half[1], n_bytes[1], &merge->right);
        if (status == PARO_STATUS_OK)
            status = merge_id(err, where, i, ids, whole.data, whole.n_bytes, &merge->result);
        if (status != PARO_STATUS_OK)
            goto done;
        spec->n_merges++;
    }
done:
    paro_buffer_free(&whole);
    return status;
}

/* Options of BPE that change its results and that byte-level tokenizers leave alone. */
static paro_status refuse_options(paro_error *err, const char *where, const json_t *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    paro_status status;
    bool byte_fallback;
    double dropout;
    const char *text;

    status = paro_json_get_bool(err, where, model, "byte_fallback", false, &byte_fallback);
    if (status != PARO_STATUS_OK)
        return status;
    if (byte_fallback)
        return paro_fail(
            err, PARO_STATUS_UNSUPPORTED,
            "%s: model.byte_fallback: true (SentencePiece-style BPE) is not supported; "
            "byte-level BPE is",
            where);
    status = paro_json_get_f64(err, where, model, "dropout", 0, 1, 0, &dropout);
    if (status != PARO_STATUS_OK)
        return status;
    if (dropout != 0)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: model.dropout: %g (random merges) is not supported; null is", where,
                         dropout);
    for (size_t i = 0; i < sizeof(affixes) / sizeof(*affixes); i++) {
        status = paro_json_get_string(err, where, model, affixes[i], "", &text);
        if (status != PARO_STATUS_OK)
            return status;
        if (*text != '\0')
            return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                             "%s: model.%s: \"%.32s\" is not supported; null is", where, affixes[i],
                             text);
    }
    return PARO_STATUS_OK;
}

static bool has_every_byte(const paro_map *ids)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[2];

        if (!paro_map_get(ids, text, paro_bpe_spell((unsigned char)byte, text), NULL))
            return false;
    }
    return true;
}

static paro_status parse_unk(paro_error *err, const char *where, const json_t *model,
                             paro_tokenizer_spec *spec, const paro_map *ids)
{
    const char *unk;
    uint32_t id;
    paro_status status = paro_json_get_string(err, where, model, "unk_token", NULL, &unk);

    if (status != PARO_STATUS_OK)
        return status;
    spec->unk_id = -1;
    if (unk != NULL && paro_map_get(ids, unk, strlen(unk), &id))
        spec->unk_id = id;
    else if (unk != NULL && !has_every_byte(ids))
        return paro_fail(
            err, PARO_STATUS_FORMAT,
            "%s: model.unk_token: \"%.64s\" is not in model.vocab, which has not every "
            "byte either",
            where, unk);
    return PARO_STATUS_OK;
}

static paro_status parse_model(paro_error *err, const char *where, paro_tokenizer_spec *spec,
                               paro_map *ids)
{
    paro_status status;
    json_t *model;
    json_t *vocab;
    json_t *merges;
    const char *type;

    status = paro_json_get_container(err, where, spec->root, "model", JSON_OBJECT, &model);
    if (status != PARO_STATUS_OK)
        return status;
    if (model == NULL)
        return paro_json_missing(err, where, "model", "an object");
    status = paro_json_get_string(err, where, model, "type", "BPE", &type);
    if (status != PARO_STATUS_OK)
        return status;
    if (strcmp(type, "BPE") != 0)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: model.type: \"%.64s\" is not supported; \"BPE\" (byte-level) is",
                         where, type);
    if ((status = refuse_options(err, where, model)) != PARO_STATUS_OK)
        return status;
    if ((status = paro_json_get_bool(err, where, model, "ignore_merges", false,
                                     &spec->ignore_merges)) != PARO_STATUS_OK)
        return status;
    if ((status = paro_json_get_bool(err, where, model, "fuse_unk", false, &spec->fuse_unk)) !=
        PARO_STATUS_OK)
        return status;

    status = paro_json_get_container(err, where, model, "vocab", JSON_OBJECT, &vocab);
    if (status != PARO_STATUS_OK)
        return status;
    if (vocab == NULL)
        return paro_json_missing(err, where, "model.vocab", "an object");
    status = paro_json_get_container(err, where, model, "merges", JSON_ARRAY, &merges);
    if (status != PARO_STATUS_OK)
        return status;
    if (merges == NULL)
        return paro_json_missing(err, where, "model.merges", "an array");
    if ((status = parse_vocab(err, where, vocab, spec, ids)) != PARO_STATUS_OK)
        return status;
    if ((status = parse_unk(err, where, model, spec, ids)) != PARO_STATUS_OK)
        return status;
    return parse_merges(err, where, merges, spec, ids);
}

static paro_status parse_flags(paro_error *err, const char *where, const json_t *item,
                               paro_added_token *token)
{
    const struct {
        const char *key;
        bool *flag;
    } flags[] = {
        {"single_word", &token->single_word}, {"lstrip", &token->lstrip},
        {"rstrip", &token->rstrip},           {"normalized", &token->normalized},
        {"special", &token->special},
    };

    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        paro_status status =
            paro_json_get_bool(err, where, item, flags[i].key, false, flags[i].flag);

        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}

/* One entry of "added_tokens". `next_id` is what a token that is not in the model gets. */
static paro_status parse_added_token(paro_error *err, const char *where, const json_t *item,
                                     const paro_map *ids, uint32_t next_id, paro_added_token *token)
{
    paro_status status;
    const char *text;
    uint32_t in_model;

    if (!json_is_object(item))
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: expected an object, found %s", where,
                         paro_json_type_name(item));
    status = paro_json_get_string(err, where, item, "content", NULL, &text);
    if (status != PARO_STATUS_OK)
        return status;
    if (text == NULL || *text == '\0')
        return paro_json_missing(err, where, "content", "a text that is not empty");
    token->text = text;
    token->n_bytes = (uint32_t)strnlen(text, PARO_MAX_ADDED_BYTES + 1);
    if (token->n_bytes > PARO_MAX_ADDED_BYTES)
        return paro_fail(err, PARO_STATUS_LIMIT, "%s: content: longer than %d bytes", where,
                         PARO_MAX_ADDED_BYTES);
    if (json_object_get(item, "id") == NULL)
        return paro_json_missing(err, where, "id", "a number");
    status = paro_json_get_u32(err, where, item, "id", 0, PARO_MAX_TOKEN_IDS - 1, 0, &token->id);
    if (status != PARO_STATUS_OK)
        return status;
    if (!paro_map_get(ids, text, token->n_bytes, &in_model))
        in_model = next_id;
    if (token->id != in_model)
        return paro_fail(
            err, PARO_STATUS_FORMAT,
            "%s: id: expected %u for \"%.64s\" (the id in model.vocab, or the next free "
            "one: `tokenizers` gives it that), found %u",
            where, (unsigned)in_model, text, (unsigned)token->id);
    return parse_flags(err, where, item, token);
}

static paro_status parse_added(paro_error *err, const char *where, paro_tokenizer_spec *spec,
                               const paro_map *ids)
{
    paro_status status;
    paro_map seen = {0};
    json_t *list;
    size_t n;
    uint32_t next_id = spec->n_vocab;

    status = paro_json_get_container(err, where, spec->root, "added_tokens", JSON_ARRAY, &list);
    if (status != PARO_STATUS_OK || list == NULL)
        return status;
    n = json_array_size(list);
    if (n > PARO_MAX_TOKEN_IDS)
        return paro_fail(err, PARO_STATUS_LIMIT, "%s: added_tokens: %zu, at most %d are read",
                         where, n, PARO_MAX_TOKEN_IDS);
    spec->added = paro_arena_array(&spec->arena, n, sizeof(*spec->added));
    if (spec->added == NULL || !paro_map_reserve(&seen, n)) {
        status = paro_fail_memory(err, n * sizeof(*spec->added), "the added tokens");
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        paro_added_token *token = &spec->added[i];
        const char *at = paro_arena_printf(&spec->arena, "%s: added_tokens[%zu]", where, i);
        bool twice;

        if (at == NULL) {
            status = paro_fail_memory(err, n, "the added tokens");
            goto done;
        }
        status = parse_added_token(err, at, json_array_get(list, i), ids, next_id, token);
        if (status != PARO_STATUS_OK)
            goto done;
        if (token->id >= next_id)
            next_id = token->id + 1;
        if (!paro_map_put(&seen, token->text, token->n_bytes, 0, &twice)) {
            status = paro_fail_memory(err, n, "the added tokens");
            goto done;
        }
        if (twice) {
            status = paro_fail(err, PARO_STATUS_FORMAT, "%s: content: \"%.64s\" is there twice", at,
                               token->text);
            goto done;
        }
        if (token->id >= spec->n_ids)
            spec->n_ids = token->id + 1;
        spec->n_added++;
    }
done:
    paro_map_free(&seen);
    return status;
}

/* The vocabulary's table covers the added tokens too: as long as n_ids. */
static paro_status widen_tokens(paro_error *err, paro_tokenizer_spec *spec, uint32_t n_model_ids)
{
    paro_token_text *tokens;

    if (spec->n_ids == n_model_ids)
        return PARO_STATUS_OK;
    tokens = paro_arena_array(&spec->arena, spec->n_ids, sizeof(*tokens));
    if (tokens == NULL)
        return paro_fail_memory(err, spec->n_ids * sizeof(*tokens), "the vocabulary");
    memcpy(tokens, spec->tokens, n_model_ids * sizeof(*tokens));
    spec->tokens = tokens;
    return PARO_STATUS_OK;
}

static paro_status parse_root(paro_error *err, const char *where, paro_tokenizer_spec *spec,
                              paro_map *ids)
{
    const char *version;
    uint32_t n_model_ids;
    paro_status status = paro_json_get_string(err, where, spec->root, "version", "1.0", &version);

    if (status != PARO_STATUS_OK)
        return status;
    if (strcmp(version, "1.0") != 0)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: version: expected \"1.0\", found \"%.32s\"", where, version);
    if ((status = parse_model(err, where, spec, ids)) != PARO_STATUS_OK)
        return status;
    n_model_ids = spec->n_ids;
    if ((status = parse_added(err, where, spec, ids)) != PARO_STATUS_OK)
        return status;
    if ((status = widen_tokens(err, spec, n_model_ids)) != PARO_STATUS_OK)
        return status;
    return paro_tokenizer_pipeline_parse(err, where, spec);
}

paro_status paro_tokenizer_spec_parse(paro_error *err, const char *where, const char *text,
                                      size_t n_bytes, paro_tokenizer_spec *out)
{
    paro_tokenizer_spec spec = {0};
    paro_map ids = {0};
    paro_status status = paro_json_parse(err, where, text, n_bytes, &spec.root);

    if (status == PARO_STATUS_OK)
        status = parse_root(err, where, &spec, &ids);
    paro_map_free(&ids);
    if (status == PARO_STATUS_OK)
        *out = spec;
    else
        paro_tokenizer_spec_free(&spec);
    return status;
}

void paro_tokenizer_spec_free(paro_tokenizer_spec *spec)
{
    if (spec == NULL)
        return;
    json_decref(spec->root);
    paro_arena_release(&spec->arena);
    memset(spec, 0, sizeof(*spec));
}
