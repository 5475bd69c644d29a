/* SPDX-License-Identifier: MIT
 *
 * A model: a folder as Hugging Face lays it out, opened for reading.
 */
#ifndef PARO_MODEL_H
#define PARO_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paro/observer.h>
#include <paro/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Immutable after opening; any number of sessions on any number of threads may share it. */
typedef struct paro_model paro_model;

typedef struct paro_model_options {
    int n_threads; /* CPU threads of its sessions; 0: one per available core */
    /* Where sessions run: "cpu" (also NULL); "cuda:N", or "cuda" for the first; or "auto": the
     * first CUDA device where there is one, a driver for it, and kernels in a cache or NVRTC to
     * compile them; else the CPU, and the log says why. "emulator" runs a GPU's kernels on the CPU,
     * thread by thread: to test them, in minutes a token of a large model (it needs a C++ compiler;
     * "emulator:FOLDER" keeps what that compiled). On a device all weights are checked, uploaded
     * and packed when the model is opened. Any other text is PARO_STATUS_INVALID_ARGUMENT; a device
     * that was named and is not there, or cannot be used, is an error that says why. */
    const char *device;
    const char *cache_path; /* the user's kernel cache, made where it is missing; NULL: none */
    const char *system_cache_path; /* read-only kernel cache below it; NULL: none */
    const char *nvrtc_library;     /* NVRTC's path; NULL: searched */
    /* Told of what happens to the kernels, and how far the weights are on their way to a device
     * (stage "load", in layers; it may stop that). Outlives the model; may be NULL. */
    const paro_observer *observer;
} paro_model_options;

/* Opens `dir`: config.json, generation_config.json (optional), and model.safetensors or the shards
 * that model.safetensors.index.json names. Weights are memory-mapped: nothing is read before it is
 * used, and what a quantised linear promises is checked when it is first used (but see
 * options->device). `options` may be NULL. The caller owns *out and frees it after every session
 * made from it. Large products use OpenBLAS from threads of paro's own: the first one sets OpenBLAS
 * to one thread in the process. */
paro_status paro_model_open(paro_error *err, const char *dir, const paro_model_options *options,
                            paro_model **out);
void paro_model_free(paro_model *model);

/* Checks everything at once that is otherwise checked at first use: every tensor's presence, shape
 * and dtype, and every quantised linear's pairs, angles and scales. */
paro_status paro_model_check(paro_error *err, const paro_model *model);

typedef struct paro_model_info {
    const char *architecture; /* as in config.json, for example "LlamaForCausalLM" */
    const char *dir;          /* the folder it was opened from */
    const char *quant_method; /* "none", "paroquant" or "awq" */
    uint32_t n_layers;
    uint32_t hidden;
    uint32_t intermediate;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t vocab;
    uint32_t max_context;    /* max_position_embeddings, in tokens */
    uint32_t bits;           /* of quantised linears; 0 where there are none */
    uint32_t group_size;     /* likewise */
    uint32_t krot;           /* rotation rounds; 0 for AWQ */
    const char *device;      /* where its sessions run: "CPU", "NVIDIA H200" */
    uint64_t n_parameters;   /* weights as the architecture counts them, not as they are packed */
    uint64_t n_weight_bytes; /* bytes of those weights as they are stored */
} paro_model_info;

/* Strings live as long as the model. */
void paro_model_get_info(const paro_model *model, paro_model_info *out);

/* Token ids that end a text (generation_config.json, else config.json); *n_out may be 0. The array
 * lives as long as the model. */
const int32_t *paro_model_eos_ids(const paro_model *model, size_t *n_out);

/* A session: one text being read and continued, its KV cache and its position. Not to be used from
 * two threads at once. Holds keys and values, grown as needed: 8 * n_layers * n_kv_heads * head_dim
 * bytes a token (fp32); half of that on a GPU (fp16). */
typedef struct paro_session paro_session;

typedef struct paro_session_options {
    uint32_t max_tokens; /* longest text, at most the model's max_context; 0: that */
    /* Told how far the reading of more than one token has come (stage "read", in tokens), and may
     * stop it; may be NULL. */
    const paro_observer *observer;
} paro_session_options;

paro_status paro_session_new(paro_error *err, const paro_model *model,
                             const paro_session_options *options, paro_session **out);
void paro_session_free(paro_session *session);

/* Tokens read so far. */
uint32_t paro_session_length(const paro_session *session);

/* Forgets all tokens from position `n_tokens` on; no effect where there are no more than that. */
void paro_session_truncate(paro_session *session, uint32_t n_tokens);

/* Reads `n_tokens` (>= 1) tokens after those already there. Logits are fp32, [vocab] a row, not
 * normalised. `last_logits` [vocab] receives those after the last token; may be NULL.
 * PARO_STATUS_LIMIT, with nothing read, where the text would be longer than max_tokens. */
paro_status paro_session_append(paro_error *err, paro_session *session, const int32_t *tokens,
                                size_t n_tokens, float *last_logits);

/* As paro_session_append, but hands the logits of every token to `rows`, in order, a few rows at a
 * time: logits [n_rows][vocab] of the tokens first .. first + n_rows - 1 (counted from the first of
 * this call), valid during the call only. `rows` returns PARO_STATUS_OK to go on; anything else
 * ends the call with that status (it fills the error itself), and nothing counts as read. */
typedef paro_status paro_logits_fn(paro_error *err, void *context, size_t first, size_t n_rows,
                                   const float *logits);
paro_status paro_session_append_all(paro_error *err, paro_session *session, const int32_t *tokens,
                                    size_t n_tokens, paro_logits_fn *rows, void *context);

#ifdef __cplusplus
}
#endif
#endif
