/* SPDX-License-Identifier: MIT
 *
 * Patterns for names: `*` is any run of characters, `?` any one, `{a,b}` one of several (nesting
 * allowed), every other character itself. A pattern matches the whole name.
 */
#ifndef PARO_CALIB_GLOB_H
#define PARO_CALIB_GLOB_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"

enum {
    PARO_GLOB_MAX_BYTES = 512,      /* of a pattern */
    PARO_GLOB_MAX_ALTERNATIVES = 64 /* of patterns without braces that it stands for */
};

typedef struct paro_glob {
    const char *text;                /* as written */
    const char *const *alternatives; /* without braces */
    size_t n_alternatives;
} paro_glob;

/* PARO_STATUS_INVALID_ARGUMENT for an empty pattern, unbalanced braces or one over the limits. The
 * result lives in the arena. */
paro_status paro_glob_compile(paro_error *err, paro_arena *arena, const char *text, paro_glob *out);

/* Takes at most (length of the name) * (length of the pattern) steps. */
bool paro_glob_match(const paro_glob *glob, const char *name);

#endif
