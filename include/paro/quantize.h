/* SPDX-License-Identifier: MIT
 *
 * Recipes (Lua), the plans they resolve to, and the checkpoints that come out.
 */
#ifndef PARO_QUANTIZE_H
#define PARO_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paro/model.h>
#include <paro/observer.h>
#include <paro/status.h>
#include <paro/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A recipe: a Lua file that returns a table or a function of (model, options) returning one. What
 * it may do is limited: see docs/recipes.md. */
typedef struct paro_recipe paro_recipe;

typedef struct paro_recipe_options {
    bool allow_io;           /* gives the recipe the io library */
    uint64_t memory_bytes;   /* limit of its Lua state; 0: 256 MiB */
    uint64_t n_instructions; /* limit of Lua VM instructions, for each block anew; 0: 1e9 */
    uint64_t tensor_bytes;   /* limit of its tensors' numbers; 0: 4 GiB */
    const char *const *set;  /* "key=value" pairs, the recipe function's second argument */
    size_t n_set;
    /* `print` of the recipe goes to its log. While the recipe runs its progress is called about
     * ten times a second, with the stage "recipe" and 0 of 0, and can stop it. May be NULL. */
    const paro_observer *observer;
} paro_recipe_options;

/* `path`: a file; or the name of a shipped recipe ("rtn"), where no such file exists. The file is
 * read and its chunk run once here. The caller frees *out. `options` may be NULL. */
paro_status paro_recipe_open(paro_error *err, const char *path, const paro_recipe_options *options,
                             paro_recipe **out);
void paro_recipe_free(paro_recipe *recipe);

/* The n-th shipped recipe's name, or NULL past the last. */
const char *paro_recipe_shipped(size_t n);

/* What will be done to one linear. Strings live as long as the plan. */
typedef struct paro_plan_linear {
    const char *name;   /* for example "model.layers.0.self_attn.q_proj" */
    const char *method; /* "rtn"; "block": the recipe's block function; "keep": stays as it is */
    const char *rule;   /* the recipe's pattern that chose it; "" for keep */
    uint32_t n_out;     /* rows of W [n_out, n_in] */
    uint32_t n_in;
    uint32_t bits;           /* 2..8; 16 for keep */
    uint32_t group_size;     /* input channels that share a scale and a zero point; 0 for keep */
    uint64_t n_bytes_before; /* in the source checkpoint */
    uint64_t n_bytes_after;  /* packed: codes, scales and zero points, without rotation tensors */
} paro_plan_linear;

typedef struct paro_plan paro_plan;

/* Resolves a recipe for a model: one entry for every linear of the model's blocks, in order. A
 * pattern that matches nothing is PARO_STATUS_NOT_FOUND, naming the nearest names. The recipe's
 * text and hash are kept with the plan. The model must outlive the plan, the recipe need not. */
paro_status paro_plan_make(paro_error *err, paro_recipe *recipe, const paro_model *model,
                           paro_plan **out);
void paro_plan_free(paro_plan *plan);
size_t paro_plan_n_linears(const paro_plan *plan);
/* The n-th linear; n < paro_plan_n_linears. */
void paro_plan_get(const paro_plan *plan, size_t n, paro_plan_linear *out);
/* Whether the recipe has a block function: quantising then takes data and time. */
bool paro_plan_calibrates(const paro_plan *plan);
const char *paro_plan_recipe_sha256(const paro_plan *plan); /* 64 hexadecimal digits */

typedef enum paro_format {
    PARO_FORMAT_PAROQUANT, /* "paroquant": as published; 4 bits, groups of 64 or 128 */
    PARO_FORMAT_AWQ,       /* "awq": GEMM layout, quant_method awq; 4 bits, groups of 32, 64, 128 */
    PARO_FORMAT_PSEUDO     /* "pseudo": dequantised weights as F16, any bits */
} paro_format;

/* The format's name ("unknown" for what is none), and the format of a name
 * (PARO_STATUS_INVALID_ARGUMENT lists what there is).
 */
const char *paro_format_name(paro_format format);
paro_status paro_format_parse(paro_error *err, const char *name, paro_format *out);

/* Whether `format` can store the plan, by the rules of paro_quantize: PARO_STATUS_INVALID_ARGUMENT
 * names the linear and says what would do. */
paro_status paro_format_check_plan(paro_error *err, const paro_plan *plan, paro_format format);

/* A text to calibrate with. */
typedef struct paro_text_source {
    const char *path;  /* a text file; or, where it ends in .jsonl, a JSON object a line */
    const char *field; /* JSONL: the member that is the text; NULL: "text" */
    double weight;     /* share of the samples, relative to the other sources'; 0: 1 */
    bool validation;   /* for validation samples only */
} paro_text_source;

typedef struct paro_quantize_options {
    paro_format format;
    bool overwrite;           /* replace a checkpoint that is at `out_dir` already, in one step */
    uint64_t max_shard_bytes; /* 0: 5e9, as Hugging Face does */
    const paro_observer *observer; /* may be NULL */

    /* What recipes with a block function calibrate with; not looked at for others. How many samples
     * of how many tokens is the recipe's to say. */
    const paro_tokenizer *tokenizer; /* the model's */
    const paro_text_source *texts;   /* none: the model writes its own, which is slow */
    size_t n_texts;
    /* Finished blocks are kept in work_dir (NULL: `out_dir`.paro-work) until the checkpoint is
     * written: the same call after one that was cancelled, failed or killed goes on after them. */
    const char *work_dir;
    uint64_t memory_bytes; /* of activations: those of more lie in a file there; 0: 16 GiB */
} paro_quantize_options;

/* What quantising a plan takes beside writing the checkpoint, roughly: for a plan without a block
 * function, nothing. */
typedef struct paro_plan_estimate {
    double seconds;        /* on this machine's processor, as busy as it is now */
    uint64_t memory_bytes; /* a block's weights, its stages, activations that lie in memory */
    uint64_t disk_bytes;   /* finished blocks, activations that do not */
    char steps[1024];      /* of every block, in words */
} paro_plan_estimate;

/* Rehearses the recipe's block function on the first block: long stages only say what they would
 * do, the rest runs on a few tokens. `options` may be NULL. */
paro_status paro_plan_estimate_cost(paro_error *err, const paro_model *model, const paro_plan *plan,
                                    const paro_quantize_options *options, paro_plan_estimate *out);

typedef struct paro_quantize_result {
    uint32_t n_quantized;
    uint32_t n_kept;  /* linears of blocks that stayed as they are */
    uint64_t n_bytes; /* of all tensors written */
    uint32_t n_shards;
    double seconds;
    double max_relative_error; /* the largest |W' - W| / |W| (Frobenius) of a quantised linear */
    double mean_relative_error;
} paro_quantize_result;

/* Quantises as planned and writes a complete checkpoint folder: tensors, config.json with its
 * quantization_config, and what belongs to a model and is not its weights (*.json, *.txt, *.model,
 * *.jinja, *.md, licences: docs/recipes.md has the list), unchanged. Only an empty folder, or a
 * checkpoint without folders in it, is ever replaced. The folder is
 * built beside `out_dir` under a temporary name and renamed when all of it is on disk: `out_dir`
 * holds nothing or everything, whenever the process dies. What a killed run left behind is
 * removed by the next. Tensors that are not quantised are written as F16. The safetensors metadata
 * carries the recipe: its text, its SHA-256, and paro's version. */
paro_status paro_quantize(paro_error *err, const paro_model *model, const paro_plan *plan,
                          const char *out_dir, const paro_quantize_options *options,
                          paro_quantize_result *result);

/* The same, in memory (finished blocks too, where options->work_dir is NULL): a model that computes
 * exactly what the checkpoint would. It shares the source's mapped files, which must outlive it.
 * The caller frees *out. */
paro_status paro_quantize_in_memory(paro_error *err, const paro_model *model, const paro_plan *plan,
                                    const paro_quantize_options *options, paro_model **out);

#ifdef __cplusplus
}
#endif
#endif
