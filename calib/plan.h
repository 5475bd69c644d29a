/* SPDX-License-Identifier: MIT
 *
 * From rules about names to what is done to each linear of a model.
 */
#ifndef PARO_CALIB_PLAN_H
#define PARO_CALIB_PLAN_H

#include <paro/quantize.h>

#include "base/arena.h"
#include "base/hash.h"
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

/* What a recipe asks for, whatever the model. */
typedef struct paro_plan_spec {
    const char *recipe; /* its path or name, for messages */
    const char *text;   /* of the file */
    size_t n_text_bytes;
    const char *sha256;  /* of the text, as paro_sha256_hex writes it */
    const char *options; /* what was set, as JSON */
    const paro_plan_rule *rules;
    size_t n_rules;
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
};

/* Copies what it needs of `spec`. */
paro_status paro_plan_resolve(paro_error *err, const paro_plan_spec *spec, const paro_model *model,
                              paro_plan **out);

#endif
