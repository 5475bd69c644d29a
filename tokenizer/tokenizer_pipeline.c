/* SPDX-License-Identifier: MIT
 *
 * tokenizer.json: what stands around the model.
 *
 *     "normalizer"      null, {"type": "NFC" | "NFD" | "NFKC" | "NFKD"} or
 *                       {"type": "Sequence", "normalizers": […]} of these
 *     "pre_tokenizer"   {"type": "ByteLevel", "add_prefix_space", "use_regex": true}, alone or last
 * in
 *                       {"type": "Sequence", "pretokenizers": […]} after any of
 *                       {"type": "Split", "pattern": {"Regex" | "String": text}, "behavior",
 * "invert"}
 *                       {"type": "Digits", "individual_digits"}
 *     "post_processor"  null, {"type": "ByteLevel"} (moves offsets only),
 *                       {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id"}} |
 *                       {"Sequence": {"id": "A"}}], "special_tokens": {id: {"ids": […]}}} or
 *                       {"type": "Sequence", "processors": […]} of these
 *     "decoder"         {"type": "ByteLevel"}, or a Sequence ("decoders") of just that
 *
 * tokenizer_config.json is not read: where there is a tokenizer.json, transformers leaves its
 * "add_bos_token" and "add_eos_token" unused too (they are for classes that build a tokenizer
 * themselves), and nothing else of it changes ids or text.
 */
#include <string.h>

#include "base/json.h"
#include "tokenizer/tokenizer_spec.h"

/* The split that ByteLevel makes by itself. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
    "|\\s+(?!\\S)|\\s+";

enum { MAX_DEPTH = 8 }; /* of a Sequence in a Sequence */

static paro_status component_type(paro_error *err, const char *where, const json_t *item,
                                  const char **type)
{
    paro_status status;
    const char *text;

    if (!json_is_object(item))
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: expected an object, found %s", where,
                         paro_json_type_name(item));
    status = paro_json_get_string(err, where, item, "type", NULL, &text);
    if (status != PARO_STATUS_OK)
        return status;
    if (text == NULL)
        return paro_json_missing(err, where, "type", "a string");
    *type = text;
    return PARO_STATUS_OK;
}

typedef paro_status visit_fn(paro_error *err, const char *where, const char *type,
                             const json_t *item, paro_tokenizer_spec *spec);

/* Calls visit for `item`, or, where it is a Sequence, for all of its `list_key`, in order. */
static paro_status visit_all(paro_error *err, const char *where, const json_t *item,
                             const char *list_key, visit_fn *visit, int depth,
                             paro_tokenizer_spec *spec)
{
    const char *type = NULL;
    json_t *list;
    paro_status status = component_type(err, where, item, &type);

    if (status != PARO_STATUS_OK)
        return status;
    if (strcmp(type, "Sequence") != 0)
        return visit(err, where, type, item, spec);
    if (depth == MAX_DEPTH)
        return paro_fail(err, PARO_STATUS_LIMIT, "%s: Sequences more than %d deep", where,
                         MAX_DEPTH);
    status = paro_json_get_container(err, where, item, list_key, JSON_ARRAY, &list);
    if (status != PARO_STATUS_OK)
        return status;
    if (list == NULL)
        return paro_json_missing(err, where, list_key, "an array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *at = paro_arena_printf(&spec->arena, "%s.%s[%zu]", where, list_key, i);

        if (at == NULL)
            return paro_fail_memory(err, strlen(where), "a name");
        status = visit_all(err, at, json_array_get(list, i), list_key, visit, depth + 1, spec);
        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}

static paro_status too_many(paro_error *err, const char *where)
{
    return paro_fail(err, PARO_STATUS_LIMIT, "%s: more than %d steps", where, PARO_MAX_STAGES);
}

static paro_status visit_normalizer(paro_error *err, const char *where, const char *type,
                                    const json_t *item, paro_tokenizer_spec *spec)
{
    static const struct {
        const char *name;
        paro_normal_form form;
    } forms[] = {{"NFC", PARO_NORMAL_FORM_NFC},
                 {"NFD", PARO_NORMAL_FORM_NFD},
                 {"NFKC", PARO_NORMAL_FORM_NFKC},
                 {"NFKD", PARO_NORMAL_FORM_NFKD}};

    (void)item;
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        if (strcmp(type, forms[i].name) != 0)
            continue;
        if (spec->n_normalizers == PARO_MAX_STAGES)
            return too_many(err, where);
        spec->normalizers[spec->n_normalizers++] = forms[i].form;
        return PARO_STATUS_OK;
    }
    return paro_fail(
        err, PARO_STATUS_UNSUPPORTED,
        "%s: normalizer \"%.64s\" is not supported; NFC, NFD, NFKC, NFKD and Sequence are", where,
        type);
}

static paro_status add_split(paro_error *err, const char *where, paro_tokenizer_spec *spec,
                             const paro_split_spec *split)
{
    if (spec->n_splits == PARO_MAX_STAGES)
        return too_many(err, where);
    spec->splits[spec->n_splits] = *split;
    spec->splits[spec->n_splits++].where = where;
    return PARO_STATUS_OK;
}

static paro_status parse_behavior(paro_error *err, const char *where, const json_t *item,
                                  paro_split_behavior *behavior)
{
    static const char *const names[] = {
        [PARO_SPLIT_BEHAVIOR_ISOLATED] = "Isolated",
        [PARO_SPLIT_BEHAVIOR_REMOVED] = "Removed",
        [PARO_SPLIT_BEHAVIOR_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [PARO_SPLIT_BEHAVIOR_MERGED_WITH_NEXT] = "MergedWithNext",
        [PARO_SPLIT_BEHAVIOR_CONTIGUOUS] = "Contiguous",
    };
    const char *text;
    paro_status status = paro_json_get_string(err, where, item, "behavior", NULL, &text);

    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; text != NULL && i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *behavior = (paro_split_behavior)i;
            return PARO_STATUS_OK;
        }
    }
    return paro_fail(
        err, PARO_STATUS_FORMAT,
        "%s: behavior: expected Isolated, Removed, MergedWithPrevious, MergedWithNext or "
        "Contiguous, found %.64s",
        where, text == NULL ? "nothing" : text);
}

static paro_status visit_split(paro_error *err, const char *where, const json_t *item,
                               paro_tokenizer_spec *spec)
{
    paro_split_spec split = {0};
    json_t *pattern;
    const json_t *text;
    paro_status status = parse_behavior(err, where, item, &split.behavior);

    if (status != PARO_STATUS_OK)
        return status;
    status = paro_json_get_bool(err, where, item, "invert", false, &split.invert);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_json_get_container(err, where, item, "pattern", JSON_OBJECT, &pattern);
    if (status != PARO_STATUS_OK)
        return status;
    split.literal = json_object_get(pattern, "String") != NULL;
    text = json_object_get(pattern, split.literal ? "String" : "Regex");
    if (!json_is_string(text) || json_object_size(pattern) != 1)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: pattern: expected {\"Regex\": text} or {\"String\": text}, found %s",
                         where, pattern == NULL ? "nothing" : "something else");
    split.pattern = json_string_value(text);
    split.n_bytes = json_string_length(text);
    return add_split(err, where, spec, &split);
}

static paro_status visit_byte_level(paro_error *err, const char *where, const json_t *item,
                                    paro_tokenizer_spec *spec)
{
    paro_split_spec prefix = {.prefix_space = true};
    paro_split_spec split = {.pattern = gpt2_pattern, .n_bytes = sizeof(gpt2_pattern) - 1};
    bool add_prefix_space;
    bool use_regex;
    paro_status status;

    if (json_object_get(item, "add_prefix_space") == NULL)
        return paro_json_missing(err, where, "add_prefix_space", "true or false");
    status = paro_json_get_bool(err, where, item, "add_prefix_space", false, &add_prefix_space);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_bool(err, where, item, "use_regex", true, &use_regex);
    if (status == PARO_STATUS_OK && add_prefix_space)
        status = add_split(err, where, spec, &prefix);
    if (status == PARO_STATUS_OK && use_regex)
        status = add_split(err, where, spec, &split);
    return status;
}

static paro_status visit_digits(paro_error *err, const char *where, const json_t *item,
                                paro_tokenizer_spec *spec)
{
    paro_split_spec split = {.pattern = "\\p{N}", .n_bytes = 5};
    bool individual;
    paro_status status;

    if (json_object_get(item, "individual_digits") == NULL)
        return paro_json_missing(err, where, "individual_digits", "true or false");
    status = paro_json_get_bool(err, where, item, "individual_digits", false, &individual);
    if (status != PARO_STATUS_OK)
        return status;
    split.behavior = individual ? PARO_SPLIT_BEHAVIOR_ISOLATED : PARO_SPLIT_BEHAVIOR_CONTIGUOUS;
    return add_split(err, where, spec, &split);
}

static paro_status visit_pre_tokenizer(paro_error *err, const char *where, const char *type,
                                       const json_t *item, paro_tokenizer_spec *spec)
{
    if (spec->has_byte_level)
        return paro_fail(
            err, PARO_STATUS_UNSUPPORTED,
            "%s: pre_tokenizer \"%.64s\" after ByteLevel is not supported; ByteLevel comes "
            "last",
            where, type);
    if (strcmp(type, "Split") == 0)
        return visit_split(err, where, item, spec);
    if (strcmp(type, "Digits") == 0)
        return visit_digits(err, where, item, spec);
    if (strcmp(type, "ByteLevel") == 0) {
        spec->has_byte_level = true;
        return visit_byte_level(err, where, item, spec);
    }
    return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                     "%s: pre_tokenizer \"%.64s\" is not supported; ByteLevel, Split, Digits and "
                     "Sequence are",
                     where, type);
}

static paro_status visit_decoder(paro_error *err, const char *where, const char *type,
                                 const json_t *item, paro_tokenizer_spec *spec)
{
    (void)item;
    if (strcmp(type, "ByteLevel") != 0 || spec->n_decoders > 0)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: decoder \"%.64s\" is not supported%s; ByteLevel is", where, type,
                         spec->n_decoders > 0 ? " after another" : "");
    spec->n_decoders++;
    return PARO_STATUS_OK;
}

static bool is_token(const paro_tokenizer_spec *spec, json_int_t id)
{
    if (id < 0 || id >= spec->n_ids)
        return false;
    if (spec->tokens[id].text != NULL)
        return true;
    for (size_t i = 0; i < spec->n_added; i++) {
        if (spec->added[i].id == id)
            return true;
    }
    return false;
}

/* Appends the "ids" of the template's special token `name` to ids [*n]. */
static paro_status add_special(paro_error *err, const char *where, const json_t *specials,
                               const char *name, const paro_tokenizer_spec *spec, uint32_t *ids,
                               size_t *n)
{
    const json_t *list = json_object_get(json_object_get(specials, name), "ids");

    if (!json_is_array(list))
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: special_tokens[\"%.64s\"].ids: missing (expected an array)", where,
                         name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        json_int_t id = json_integer_value(value);

        if (!json_is_integer(value) || !is_token(spec, id))
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: special_tokens[\"%.64s\"].ids[%zu]: expected the id of a token",
                             where, name, i);
        if (*n == PARO_MAX_TEMPLATE)
            return paro_fail(err, PARO_STATUS_LIMIT, "%s: more than %d special tokens on one side",
                             where, PARO_MAX_TEMPLATE);
        ids[(*n)++] = (uint32_t)id;
    }
    return PARO_STATUS_OK;
}

/* Puts ids around what an earlier processor of the same Sequence put around the text. */
static paro_status wrap(paro_error *err, const char *where, paro_tokenizer_spec *spec,
                        const uint32_t *before, size_t n_before, const uint32_t *after,
                        size_t n_after)
{
    if (n_before > PARO_MAX_TEMPLATE - spec->n_prefix ||
        n_after > PARO_MAX_TEMPLATE - spec->n_suffix)
        return paro_fail(err, PARO_STATUS_LIMIT, "%s: more than %d special tokens on one side",
                         where, PARO_MAX_TEMPLATE);
    memmove(spec->prefix + n_before, spec->prefix, spec->n_prefix * sizeof(*spec->prefix));
    memcpy(spec->prefix, before, n_before * sizeof(*before));
    spec->n_prefix += n_before;
    memcpy(spec->suffix + spec->n_suffix, after, n_after * sizeof(*after));
    spec->n_suffix += n_after;
    return PARO_STATUS_OK;
}

static paro_status visit_template(paro_error *err, const char *where, const json_t *item,
                                  paro_tokenizer_spec *spec)
{
    uint32_t ids[2][PARO_MAX_TEMPLATE];
    size_t n_ids[2] = {0, 0};
    size_t side = 0; /* 0 before the text, 1 after it */
    json_t *single;
    json_t *specials;
    paro_status status = paro_json_get_container(err, where, item, "single", JSON_ARRAY, &single);

    if (status == PARO_STATUS_OK)
        status =
            paro_json_get_container(err, where, item, "special_tokens", JSON_OBJECT, &specials);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *special = json_object_get(piece, "SpecialToken");
        const char *name = json_string_value(json_object_get(special, "id"));
        const char *sequence =
            json_string_value(json_object_get(json_object_get(piece, "Sequence"), "id"));

        if (name != NULL) {
            status = add_special(err, where, specials, name, spec, ids[side], &n_ids[side]);
            if (status != PARO_STATUS_OK)
                return status;
        } else if (sequence != NULL && strcmp(sequence, "A") == 0 && side == 0) {
            side = 1;
        } else {
            return paro_fail(
                err, PARO_STATUS_FORMAT,
                "%s: single[%zu]: expected {\"SpecialToken\": {\"id\": text}} or, once, "
                "{\"Sequence\": {\"id\": \"A\"}}",
                where, i);
        }
    }
    if (side == 0)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: single: expected {\"Sequence\": {\"id\": \"A\"}} "
                         "in it, found none",
                         where);
    return wrap(err, where, spec, ids[0], n_ids[0], ids[1], n_ids[1]);
}

static paro_status visit_post_processor(paro_error *err, const char *where, const char *type,
                                        const json_t *item, paro_tokenizer_spec *spec)
{
    if (strcmp(type, "ByteLevel") == 0)
        return PARO_STATUS_OK;
    if (strcmp(type, "TemplateProcessing") == 0)
        return visit_template(err, where, item, spec);
    return paro_fail(
        err, PARO_STATUS_UNSUPPORTED,
        "%s: post_processor \"%.64s\" is not supported; ByteLevel, TemplateProcessing and "
        "Sequence are",
        where, type);
}

paro_status paro_tokenizer_pipeline_parse(paro_error *err, const char *where,
                                          paro_tokenizer_spec *spec)
{
    static const struct {
        const char *key;
        const char *list_key;
        visit_fn *visit;
    } parts[] = {
        {"normalizer", "normalizers", visit_normalizer},
        {"pre_tokenizer", "pretokenizers", visit_pre_tokenizer},
        {"post_processor", "processors", visit_post_processor},
        {"decoder", "decoders", visit_decoder},
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        const json_t *item = json_object_get(spec->root, parts[i].key);
        const char *at;
        paro_status status;

        if (item == NULL || json_is_null(item))
            continue;
        at = paro_arena_printf(&spec->arena, "%s: %s", where, parts[i].key);
        if (at == NULL)
            return paro_fail_memory(err, strlen(where), "a name");
        status = visit_all(err, at, item, parts[i].list_key, parts[i].visit, 0, spec);
        if (status != PARO_STATUS_OK)
            return status;
    }
    if (!spec->has_byte_level)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: pre_tokenizer: no ByteLevel in it; only byte-level BPE is supported",
                         where);
    if (spec->n_decoders == 0)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: decoder: none; only ByteLevel is supported", where);
    return PARO_STATUS_OK;
}
