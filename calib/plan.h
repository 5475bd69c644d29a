/* SPDX-License-Identifier: MIT
 *
 * From rules about names to what is done to each linear of a model.
 */
#ifndef PARO_CALIB_PLAN_H
#define PARO_CALIB_PLAN_H

#include <paro/quantize.h>

#include "base/arena.h"
#include "base/hash.h"
#include "calib/calib_block.h"
#include "calib/glob.h"
#include "calib/method.h"

enum { PARO_PLAN_MIN_BITS = 2, PARO_PLAN_MAX_BITS = 8, PARO_PLAN_KEEP_BITS = 16 };

/* Rules stand in order; the last one that matches a linear decides, alone. A linear that none
 * matches is kept. */
typedef struct paro_plan_rule {
    paro_glob glob;
    const paro_method *method;
    uint32_t bits;       /* not looked at where the method keeps */
    uint32_t group_size; /* likewise */
    const char *where;   /* the rule's place in the recipe, for messages: "overrides[2]" */
} paro_plan_rule;

/* The calibration data a recipe asks for. */
typedef struct paro_plan_data {
    uint32_t n_train, n_validation; /* samples */
    uint32_t n_tokens;              /* of a sample */
    uint64_t seed;                  /* of the draw */
} paro_plan_data;

/* What a recipe does to each block. Where `run` is NULL, rules' methods decide; else linears that a
 * method would quantise are what it makes of them, and what it leaves unrounded is rounded to
 * nearest. */
typedef struct paro_plan_block {
    paro_status (*run)(paro_error *err, void *context, paro_calib_block *block);
    void (*release)(void *context);
    void *context;
} paro_plan_block;

/* What a recipe asks for, whatever the model. */
typedef struct paro_plan_spec {
    const char *recipe; /* its path or name, for messages */
    const char *text;   /* of the file */
    size_t n_text_bytes;
    const char *sha256;  /* of the text, as paro_sha256_hex writes it */
    const char *options; /* what was set, as JSON */
    const paro_plan_rule *rules;
    size_t n_rules;
    uint32_t krot;       /* rounds of rotations that linears begin with; 0: none */
    paro_plan_data data; /* all 0 where there is no block.run */
    paro_plan_block block;
} paro_plan_spec;

typedef struct paro_planned {
    paro_plan_linear linear;
    const paro_method *method;
} paro_planned;

struct paro_plan {
    paro_arena arena;
    const paro_model *model;
    const char *recipe_text;
    const char *recipe_options;
    char recipe_sha256[PARO_SHA256_HEX_BYTES];
    paro_planned *linears; /* [n_linears], in the order of paro_model_linear */
    size_t n_linears;
    size_t n_quantised;
    uint32_t krot;
    paro_plan_data data;
    paro_plan_block block; /* released with the plan */
};

/* Copies what it needs of `spec`; its block belongs to the plan from then on (on failure it is
 * still the caller's). */
paro_status paro_plan_resolve(paro_error *err, const paro_plan_spec *spec, const paro_model *model,
                              paro_plan **out);

#endif
