/* SPDX-License-Identifier: MIT
 *
 * config.json and generation_config.json, read and checked. Keys are those of Hugging Face's
 * transformers; what the file leaves out gets the default that
 * transformers has for Llama (published files leave nothing out whose default differs by model).
 */
#include "runtime/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/json.h"

/* Names, then what differs between them: one row an architecture. */
static const paro_architecture architectures[] = {
    {.name = "LlamaForCausalLM", .model_type = "llama", .qk_norm = false},
    {.name = "Qwen3ForCausalLM", .model_type = "qwen3", .qk_norm = true},
};

static const char *const quant_methods[] = {
    [PARO_QUANT_METHOD_NONE] = "none",
    [PARO_QUANT_METHOD_PAROQUANT] = "paroquant",
    [PARO_QUANT_METHOD_AWQ] = "awq",
};

enum {
    MAX_DIM = 1 << 24, /* of any one size: products of two fit 48 bits */
    MAX_LAYERS = 4096,
    MAX_CONTEXT = 1 << 30
};

const char *paro_quant_method_name(paro_quant_method method)
{
    return quant_methods[method];
}

static paro_status find_architecture(paro_error *err, const char *where, const json_t *root,
                                     const paro_architecture **out)
{
    json_t *list;
    const char *type;
    paro_status status =
        paro_json_get_container(err, where, root, "architectures", JSON_ARRAY, &list);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_string(err, where, root, "model_type", "", &type);
    if (status != PARO_STATUS_OK)
        return status;
    const char *name = json_string_value(json_array_get(list, 0));
    const size_t n = sizeof architectures / sizeof architectures[0];
    for (size_t i = 0; i < n; i++) {
        const paro_architecture *row = &architectures[i];
        if (name != NULL ? strcmp(row->name, name) == 0 : strcmp(row->model_type, type) == 0) {
            *out = row;
            return PARO_STATUS_OK;
        }
    }
    char known[256] = "";
    for (size_t i = 0; i < n; i++) {
        strncat(known, i > 0 ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, architectures[i].name, sizeof known - strlen(known) - 1);
    }
    return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                     "%s: architectures: expected one of %s, found %s", where, known,
                     name != NULL ? name
                     : *type != 0 ? type
                                  : "none");
}

/* Required sizes: one row each. */
static paro_status parse_sizes(paro_error *err, const char *where, const json_t *root,
                               paro_config *config)
{
    const struct {
        const char *key;
        uint32_t max;
        uint32_t *out;
    } rows[] = {
        {"num_hidden_layers", MAX_LAYERS, &config->n_layers},
        {"hidden_size", MAX_DIM, &config->hidden},
        {"intermediate_size", MAX_DIM, &config->intermediate},
        {"num_attention_heads", MAX_DIM, &config->n_heads},
        {"vocab_size", MAX_DIM, &config->vocab},
    };
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == PARO_STATUS_OK; i++) {
        status = paro_json_get_u32(err, where, root, rows[i].key, 1, rows[i].max, 0, rows[i].out);
        if (status == PARO_STATUS_OK && *rows[i].out == 0)
            status = paro_json_missing(err, where, rows[i].key, "an integer >= 1");
    }
    if (status == PARO_STATUS_OK)
        status = paro_json_get_u32(err, where, root, "num_key_value_heads", 1, MAX_DIM,
                                   config->n_heads, &config->n_kv_heads);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_u32(err, where, root, "head_dim", 2, MAX_DIM,
                                   config->hidden / config->n_heads, &config->head_dim);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_u32(err, where, root, "max_position_embeddings", 1, MAX_CONTEXT,
                                   2048, &config->max_context);
    if (status != PARO_STATUS_OK)
        return status;
    if (config->n_heads % config->n_kv_heads != 0)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: num_attention_heads %u is not a multiple of num_key_value_heads %u",
                         where, config->n_heads, config->n_kv_heads);
    if (config->head_dim < 2 || config->head_dim % 2 != 0 ||
        (uint64_t)config->head_dim * config->n_heads > MAX_DIM)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: head_dim: expected an even number, at most %d / num_attention_heads, "
                         "found %u",
                         where, MAX_DIM, config->head_dim);
    return PARO_STATUS_OK;
}

/* The scaling object: "rope_scaling" up to transformers 4, "rope_parameters" since 5; its type is
 * under "rope_type", in old files under "type". */
static paro_status parse_rope(paro_error *err, const char *where, const json_t *root,
                              paro_config *config)
{
    paro_rope *rope = &config->rope;
    json_t *parameters, *scaling;
    const char *type;
    double theta;
    paro_status status =
        paro_json_get_container(err, where, root, "rope_parameters", JSON_OBJECT, &parameters);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_container(err, where, root, "rope_scaling", JSON_OBJECT, &scaling);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_f64(err, where, root, "rope_theta", 1, 1e15, 10000, &theta);
    if (status == PARO_STATUS_OK)
        status =
            paro_json_get_f64(err, where, parameters, "rope_theta", 1, 1e15, theta, &rope->theta);
    if (status != PARO_STATUS_OK)
        return status;
    const json_t *source = scaling != NULL ? scaling : parameters;
    status = paro_json_get_string(err, where, source, "type", "default", &type);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_string(err, where, source, "rope_type", type, &type);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_f64(err, where, source, "factor", 1e-6, 1e6, 1, &rope->factor);
    if (status != PARO_STATUS_OK)
        return status;
    const bool is_llama3 = strcmp(type, "llama3") == 0;
    static const char *const needed[] = {"factor", "low_freq_factor", "high_freq_factor",
                                         "original_max_position_embeddings"};
    const size_t n_needed = is_llama3 ? 4 : strcmp(type, "linear") == 0 ? 1 : 0;
    for (size_t i = 0; i < n_needed; i++)
        if (!json_is_number(json_object_get(source, needed[i])))
            return paro_json_missing(err, where, needed[i], "a number, for this rope_type");
    if (strcmp(type, "default") == 0) {
        rope->type = PARO_ROPE_TYPE_DEFAULT;
    } else if (strcmp(type, "linear") == 0) {
        rope->type = PARO_ROPE_TYPE_LINEAR;
    } else if (is_llama3) {
        rope->type = PARO_ROPE_TYPE_LLAMA3;
        status = paro_json_get_f64(err, where, source, "low_freq_factor", 1e-6, 1e6, 1,
                                   &rope->low_freq_factor);
        if (status == PARO_STATUS_OK)
            status = paro_json_get_f64(err, where, source, "high_freq_factor", 1e-6, 1e6, 4,
                                       &rope->high_freq_factor);
        if (status == PARO_STATUS_OK)
            status = paro_json_get_f64(err, where, source, "original_max_position_embeddings", 1,
                                       MAX_CONTEXT, 8192, &rope->original_context);
        if (status == PARO_STATUS_OK && rope->high_freq_factor <= rope->low_freq_factor)
            status = paro_fail(err, PARO_STATUS_FORMAT,
                               "%s: rope: expected high_freq_factor above low_freq_factor, found "
                               "%g and %g",
                               where, rope->high_freq_factor, rope->low_freq_factor);
    } else {
        status =
            paro_fail(err, PARO_STATUS_UNSUPPORTED,
                      "%s: rope_type: expected default, linear or llama3, found %s", where, type);
    }
    return status;
}

static paro_status parse_quantization(paro_error *err, const char *where, const json_t *root,
                                      paro_config *config)
{
    json_t *quant;
    const char *method, *version;
    paro_status status =
        paro_json_get_container(err, where, root, "quantization_config", JSON_OBJECT, &quant);
    if (status != PARO_STATUS_OK || quant == NULL)
        return status;
    status = paro_json_get_string(err, where, quant, "quant_method", "", &method);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_string(err, where, quant, "version", "gemm", &version);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_u32(err, where, quant, "bits", 1, 16, 4, &config->bits);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_u32(err, where, quant, "group_size", 2, MAX_DIM, 128,
                                   &config->group_size);
    if (status != PARO_STATUS_OK)
        return status;
    if (strcmp(method, "paroquant") == 0) {
        config->quant_method = PARO_QUANT_METHOD_PAROQUANT;
        status = paro_json_get_u32(err, where, quant, "krot", 0, 64, 8, &config->krot);
    } else if (strcmp(method, "awq") == 0 && strcasecmp(version, "gemm") == 0) {
        config->quant_method = PARO_QUANT_METHOD_AWQ;
    } else {
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: quantization_config: expected quant_method paroquant, or awq of "
                         "version gemm, found %s%s%s",
                         where, *method != 0 ? method : "none",
                         strcmp(method, "awq") == 0 ? " " : "",
                         strcmp(method, "awq") == 0 ? version : "");
    }
    if (status == PARO_STATUS_OK && config->bits != 4)
        status =
            paro_fail(err, PARO_STATUS_UNSUPPORTED,
                      "%s: quantization_config: bits: expected 4, found %u", where, config->bits);
    if (status == PARO_STATUS_OK && config->group_size % 2 != 0)
        status = paro_fail(err, PARO_STATUS_FORMAT,
                           "%s: quantization_config: group_size: expected an even number, found %u",
                           where, config->group_size);
    return status;
}

/* eos_token_id: an id or a list of them; later sources win. */
static paro_status parse_eos(paro_error *err, const char *where, const json_t *root,
                             paro_config *config)
{
    const json_t *value = json_object_get(root, "eos_token_id");
    if (value == NULL || json_is_null(value))
        return PARO_STATUS_OK;
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    if (n > PARO_MAX_EOS)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: eos_token_id: expected at most %d ids, found %zu", where,
                         PARO_MAX_EOS, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= MAX_DIM)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: eos_token_id: expected a token id, or a list of them", where);
        config->eos_ids[i] = (int32_t)json_integer_value(id);
    }
    config->n_eos_ids = n;
    return PARO_STATUS_OK;
}

static paro_status parse_root(paro_error *err, const char *where, const json_t *root,
                              paro_config *config)
{
    const char *activation;
    paro_status status = find_architecture(err, where, root, &config->architecture);
    if (status == PARO_STATUS_OK)
        status = parse_sizes(err, where, root, config);
    if (status == PARO_STATUS_OK)
        status = parse_rope(err, where, root, config);
    if (status == PARO_STATUS_OK)
        status = parse_quantization(err, where, root, config);
    if (status == PARO_STATUS_OK)
        status = parse_eos(err, where, root, config);
    if (status == PARO_STATUS_OK)
        status =
            paro_json_get_f64(err, where, root, "rms_norm_eps", 0, 1, 1e-6, &config->norm_epsilon);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_bool(err, where, root, "tie_word_embeddings", false,
                                    &config->tied_embeddings);
    if (status == PARO_STATUS_OK)
        status =
            paro_json_get_bool(err, where, root, "attention_bias", false, &config->attention_bias);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_bool(err, where, root, "mlp_bias", false, &config->mlp_bias);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_string(err, where, root, "hidden_act", "silu", &activation);
    if (status == PARO_STATUS_OK && strcmp(activation, "silu") != 0)
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED, "%s: hidden_act: expected silu, found %s",
                           where, activation);
    bool sliding = false;
    if (status == PARO_STATUS_OK)
        status = paro_json_get_bool(err, where, root, "use_sliding_window", false, &sliding);
    if (status == PARO_STATUS_OK && sliding)
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "%s: use_sliding_window: expected false: attention here always sees the "
                           "whole text",
                           where);
    return status;
}

paro_status paro_config_parse(paro_error *err, const char *where, const char *text, size_t n_bytes,
                              const char *generation, size_t n_generation_bytes, paro_config *out)
{
    paro_config config = {0};
    json_t *root = NULL, *generation_root = NULL;
    paro_status status = paro_json_parse(err, where, text, n_bytes, &root);
    if (status == PARO_STATUS_OK)
        status = parse_root(err, where, root, &config);
    if (status == PARO_STATUS_OK && generation != NULL) {
        char beside[512];
        snprintf(beside, sizeof beside, "%.400s, generation_config.json beside it", where);
        status = paro_json_parse(err, beside, generation, n_generation_bytes, &generation_root);
        if (status == PARO_STATUS_OK)
            status = parse_eos(err, beside, generation_root, &config);
    }
    if (status == PARO_STATUS_OK)
        *out = config;
    json_decref(root);
    json_decref(generation_root);
    return status;
}

paro_status paro_config_load(paro_error *err, const char *dir, paro_config *out)
{
    paro_arena arena = {0};
    char *text = NULL, *generation = NULL;
    size_t n_bytes = 0, n_generation_bytes = 0;
    paro_status status = PARO_STATUS_OK;
    const char *path = paro_path_join(&arena, dir, "config.json");
    const char *generation_path = paro_path_join(&arena, dir, "generation_config.json");
    if (path == NULL || generation_path == NULL) {
        status = paro_fail_memory(err, strlen(dir), "a path");
        goto done;
    }
    status = paro_file_read(err, path, PARO_CONFIG_MAX_BYTES, &text, &n_bytes);
    if (status == PARO_STATUS_OK && paro_path_exists(generation_path))
        status = paro_file_read(err, generation_path, PARO_CONFIG_MAX_BYTES, &generation,
                                &n_generation_bytes);
    if (status == PARO_STATUS_OK)
        status = paro_config_parse(err, path, text, n_bytes, generation, n_generation_bytes, out);
done:
    free(generation);
    free(text);
    paro_arena_release(&arena);
    return status;
}
