/* SPDX-License-Identifier: MIT
 *
 * The inside of a paro_model: its config, tensors and linears.
 */
#ifndef PARO_RUNTIME_MODEL_H
#define PARO_RUNTIME_MODEL_H

#include <paro/model.h>

#include "base/arena.h"
#include "base/safetensors.h"
#include "base/thread.h"
#include "cpu/linear.h"
#include "runtime/config.h"

/* The linears of one transformer block, in the order the plan and the forward pass use. */
typedef enum paro_slot {
    PARO_SLOT_Q,
    PARO_SLOT_K,
    PARO_SLOT_V,
    PARO_SLOT_O,
    PARO_SLOT_GATE,
    PARO_SLOT_UP,
    PARO_SLOT_DOWN,
    PARO_SLOT_COUNT
} paro_slot;

typedef struct paro_block {
    const paro_tensor *input_norm;          /* [hidden] */
    const paro_tensor *post_attention_norm; /* [hidden] */
    const paro_tensor *q_norm;              /* [head_dim]; NULL without qk_norm */
    const paro_tensor *k_norm;
    paro_linear linears[PARO_SLOT_COUNT];
} paro_block;

struct paro_model {
    char *dir;
    paro_config config;
    paro_tensor_set *tensors;      /* owned */
    paro_pool *pool;               /* owned */
    paro_arena arena;              /* names, blocks */
    paro_block *blocks;            /* [n_layers] */
    const paro_tensor *embedding;  /* [vocab, hidden] */
    const paro_tensor *norm;       /* [hidden] */
    paro_linear *head;             /* [vocab, hidden]; the embedding where tied */
    double *rope_frequencies;      /* [head_dim / 2] */
    struct paro_gpu_model *device; /* owned; NULL: sessions run on the CPU */
};

/* A model of `config` over `tensors`, which it owns from then on, also on failure: what
 * paro_model_open does once it has read a folder, and how a model quantised in memory is made. */
paro_status paro_model_new(paro_error *err, const char *dir, const paro_config *config,
                           paro_tensor_set *tensors, const paro_model_options *options,
                           paro_model **out);

/* Linears of the blocks: n_layers * PARO_SLOT_COUNT, in order of block and slot. The model is
 * logically constant: preparing a linear does not change what it computes. */
size_t paro_model_n_linears(const paro_model *model);
paro_linear *paro_model_linear(const paro_model *model, size_t n);

/* A slot's inputs and outputs, and whether config.json says that it has a bias. */
void paro_slot_sizes(const paro_config *config, paro_slot slot, uint32_t *n_in, uint32_t *n_out,
                     bool *has_bias);

#endif
