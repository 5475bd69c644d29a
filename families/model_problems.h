/* SPDX-License-Identifier: MIT
 *
 * The problems of a model: the one place that says which kernels a decoder runs. `paro tune
 * --model` tunes these, the runtime looks these up.
 */
#ifndef PARO_FAMILIES_MODEL_PROBLEMS_H
#define PARO_FAMILIES_MODEL_PROBLEMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "families/problem.h"

/* The steps of a decoder, in the order they run; each is one problem for a bucket of m. */
typedef enum paro_step {
    PARO_STEP_EMBED, /* token ids to the residual stream */
    PARO_STEP_NORM,  /* RMSNorm of the residual stream (before attention, before the MLP, last);
                        adds the linear's output before it to the stream first */
    PARO_STEP_NORM_FIRST, /* the same of the first layer: nothing to add */
    PARO_STEP_QKV,        /* merged where the three agree in bits, group, rounds and bias */
    PARO_STEP_Q,          /* these where they do not */
    PARO_STEP_K,
    PARO_STEP_V,
    PARO_STEP_ROPE, /* q/k norm, rope, append to the KV cache */
    PARO_STEP_ATTENTION,
    PARO_STEP_O,
    PARO_STEP_GATE_UP, /* merged as above */
    PARO_STEP_GATE,
    PARO_STEP_UP,
    PARO_STEP_SWIGLU,
    PARO_STEP_DOWN,
    PARO_STEP_HEAD,
    PARO_STEP_SAMPLE,
    PARO_STEP_COUNT
} paro_step;

/* A linear as it is stored. */
typedef struct paro_linear_shape {
    uint32_t n;          /* rows: outputs */
    uint32_t k;          /* columns: inputs */
    bool quantised;      /* INT4; else 16 bits */
    uint32_t group_size; /* quantised */
    uint32_t krot;       /* quantised; 0: not rotated */
    bool bias;
} paro_linear_shape;

typedef struct paro_layer_shape {
    paro_linear_shape q, k, v, o, gate, up, down;
} paro_layer_shape;

typedef struct paro_model_shape {
    uint32_t hidden;
    uint32_t intermediate;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t vocab;
    bool qk_norm;
    paro_kernel_dtype dtype; /* of activations and 16-bit weights */
    const paro_layer_shape *layers;
    size_t n_layers;
    paro_linear_shape head; /* never quantised today */
} paro_model_shape;

/* Whether a layer's q, k, v (gate, up) are one merged problem. */
bool paro_layer_merges_qkv(const paro_layer_shape *layer);
bool paro_layer_merges_gate_up(const paro_layer_shape *layer);

/* Keys that attention is tuned for; its kernels are right for any number. */
enum { PARO_MODEL_CONTEXT = 2048 };

/* The problem of one step of one layer for a bucket's m; false where the layer has no such step
 * (PARO_STEP_Q where q, k, v are merged; PARO_STEP_NORM_FIRST after the first layer), or no kernel
 * can do it (paro_model_problems says why). `layer` is ignored by steps outside the layers. */
bool paro_model_problem(const paro_model_shape *shape, size_t layer, paro_step step, uint32_t m,
                        paro_problem *out);

/* How the weight of a linear_w4 problem is packed into a layout ("mma16", "awq"). */
paro_status paro_pack_problem(paro_error *err, const paro_problem *linear, const char *layout,
                              paro_problem *out);

/* All different problems for the buckets of m in `buckets` (n_buckets; NULL: all buckets), in order
 * of first use; *out is malloc'd. The packing problems of the layouts belong to them. */
paro_status paro_model_problems(paro_error *err, const paro_model_shape *shape,
                                const uint32_t *buckets, size_t n_buckets, paro_problem **out,
                                size_t *n_out);

#endif
