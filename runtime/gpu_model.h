/* SPDX-License-Identifier: MIT
 *
 * A model on a device: its weights as kernels read them, and the kernels of every bucket of tokens.
 *
 * Invariants: 1. weights stay as they are from the end of paro_gpu_model_new on; 2. the bucket of
 * one token is there from then on, others are made when they are first asked for, under the mutex;
 * 3. problems come from families/model_problems.h only.
 */
#ifndef PARO_RUNTIME_GPU_MODEL_H
#define PARO_RUNTIME_GPU_MODEL_H

#include <pthread.h>

#include "base/arena.h"
#include "families/model_problems.h"
#include "gpu/gpu.h"
#include "runtime/kernels.h"
#include "runtime/model.h"

/* A weight's arguments, by name: what paro_kernel_launch takes beside activations. */
enum { PARO_GPU_LINEAR_MAX_VALUES = 8 };
typedef struct paro_gpu_linear {
    uint32_t n;         /* rows, of all parts */
    const char *layout; /* NULL: 16 bits */
    paro_kernel_value values[PARO_GPU_LINEAR_MAX_VALUES];
    size_t n_values;
} paro_gpu_linear;

typedef struct paro_gpu_block {
    paro_gpu_linear linears[PARO_STEP_COUNT]; /* by step; n is 0 where the layer has no such step */
    paro_gpu_ptr input_norm;                  /* f32 [hidden] */
    paro_gpu_ptr post_attention_norm;
    paro_gpu_ptr q_norm; /* f32 [head_dim]; 0 without qk_norm */
    paro_gpu_ptr k_norm;
} paro_gpu_block;

/* The kernels for up to m tokens; NULL where a layer has no such step. */
typedef struct paro_gpu_bucket {
    uint32_t m;
    const paro_kernel **kernels; /* [n_layers][PARO_STEP_COUNT] */
    uint64_t scratch_bytes;      /* the most that one of them needs */
} paro_gpu_bucket;

enum { PARO_GPU_MAX_BUCKETS = 16 };

typedef struct paro_gpu_model {
    const paro_model *model;
    paro_gpu *gpu;         /* owned */
    paro_kernels *kernels; /* owned */
    const paro_observer *observer;
    const char *name; /* for people: "NVIDIA H200" */
    paro_arena arena;
    paro_model_shape shape;
    paro_gpu_block *blocks; /* [n_layers] */
    paro_gpu_linear head;
    paro_gpu_ptr embedding; /* dtype [vocab, hidden] */
    paro_gpu_ptr norm;      /* f32 [hidden] */
    paro_gpu_ptr *memory;   /* [n_memory] everything that was allocated */
    size_t n_memory, memory_capacity;
    uint64_t n_weight_bytes;
    pthread_mutex_t mutex; /* of what follows */
    bool has_mutex;
    paro_gpu_bucket buckets[PARO_GPU_MAX_BUCKETS];
    bool has_bucket[PARO_GPU_MAX_BUCKETS];
    bool lacks_bucket[PARO_GPU_MAX_BUCKETS]; /* there are no kernels for it, and no compiler */
} paro_gpu_model;

/* Checks every linear (paro_model_check), uploads and packs. `gpu` is the model's from then on,
 * also on failure; `model` must outlive it. `options` as in kernels.h. Reports progress as "load".
 */
paro_status paro_gpu_model_new(paro_error *err, const paro_model *model, paro_gpu *gpu,
                               const paro_kernels_options *options, paro_gpu_model **out);
void paro_gpu_model_free(paro_gpu_model *device);

/* The kernels for m tokens (1 .. PARO_BUCKET_MAX) or, where those cannot be had, for the largest
 * number below that can: *out's m may be less than what was asked for. */
paro_status paro_gpu_model_bucket(paro_error *err, paro_gpu_model *device, uint32_t m,
                                  const paro_gpu_bucket **out);

/* The kernel of a step; NULL where the layer has no such step. Any layer for steps outside them. */
const paro_kernel *paro_gpu_bucket_kernel(const paro_gpu_bucket *bucket, size_t layer,
                                          paro_step step);

#endif
