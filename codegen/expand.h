/* SPDX-License-Identifier: MIT
 *
 * A template and its parts become one text: the mechanical half of render.
 *
 * A line `#include "lib/NAME.cuh"` is replaced by that part, the first time; later ones by an empty
 * line. `#pragma once` becomes an empty line. Any other #include is an error. A line
 *
 *     … = VALUE; // hole: NAME
 *
 * gets the hole's value between its first '=' and its last ';'. #line directives name the file
 * below templates/ ("rotate.cu", "lib/core.cuh") and its line.
 */
#ifndef PARO_CODEGEN_EXPAND_H
#define PARO_CODEGEN_EXPAND_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "families/holes.h"

/* The text of a file below templates/; NULL where there is none. */
typedef const char *paro_expand_read_fn(void *context, const char *name, size_t *n_bytes);

/* Appends to `out`, which may be left with more after a failure. `holes` NULL: the template's own
 * values stay. Otherwise each hole of the text is filled, and each of `holes` is used, once:
 * PARO_STATUS_FORMAT names template, line and hole. */
paro_status paro_expand(paro_error *err, paro_expand_read_fn *read, void *context, const char *name,
                        const paro_holes *holes, paro_buffer *out);

/* Reads what is built in (base/embedded.h). */
const char *paro_expand_read_embedded(void *context, const char *name, size_t *n_bytes);

#endif
