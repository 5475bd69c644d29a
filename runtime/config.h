/* SPDX-License-Identifier: MIT
 *
 * config.json and generation_config.json, read and checked.
 */
#ifndef PARO_RUNTIME_CONFIG_H
#define PARO_RUNTIME_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/reference.h"

/* What distinguishes one model architecture from another: a row of the table in config.c. A later
 * architecture is a row, or a row and one more member here. */
typedef struct paro_architecture {
    const char *name;       /* config.json's "architectures"[0] */
    const char *model_type; /* config.json's "model_type" */
    bool qk_norm;           /* RMSNorm of q and k heads before rope */
} paro_architecture;

typedef enum paro_quant_method {
    PARO_QUANT_METHOD_NONE,
    PARO_QUANT_METHOD_PAROQUANT,
    PARO_QUANT_METHOD_AWQ
} paro_quant_method;

enum { PARO_MAX_EOS = 16, PARO_CONFIG_MAX_BYTES = 16 << 20 };

typedef struct paro_config {
    const paro_architecture *architecture;
    uint32_t n_layers;
    uint32_t hidden;
    uint32_t intermediate;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t vocab;
    uint32_t max_context;
    double norm_epsilon;
    paro_rope rope;
    bool tied_embeddings;
    bool attention_bias; /* q, k, v, o carry a bias */
    bool mlp_bias;
    paro_quant_method quant_method;
    uint32_t bits; /* of quantised linears */
    uint32_t group_size;
    uint32_t krot;
    int32_t eos_ids[PARO_MAX_EOS];
    size_t n_eos_ids;
} paro_config;

const char *paro_quant_method_name(paro_quant_method method);

/* From `dir`'s files. PARO_STATUS_UNSUPPORTED for an architecture, activation, rope type or
 * quantisation that is not here, naming what is. */
paro_status paro_config_load(paro_error *err, const char *dir, paro_config *out);

/* The same from text, for tests and fuzzing; generation may be NULL. `where` names it in errors. */
paro_status paro_config_parse(paro_error *err, const char *where, const char *text, size_t n_bytes,
                              const char *generation, size_t n_generation_bytes, paro_config *out);

#endif
