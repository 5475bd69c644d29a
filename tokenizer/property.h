/* SPDX-License-Identifier: MIT
 *
 * Unicode properties in regular expressions: their names, and the characters PCRE2 may not know
 * yet.
 */
#ifndef PARO_TOKENIZER_PROPERTY_H
#define PARO_TOKENIZER_PROPERTY_H

#include <stdbool.h>

#include "base/buffer.h"

/* PCRE2's name for what Oniguruma calls `name`, in `out`: a general category, a property, or else a
 * script ("sc:Greek"), whether there is one of that name or not. Too long a name is cut. */
enum { PARO_PROPERTY_NAME_BYTES = 64 };
const char *paro_property_name(const char *name, char out[PARO_PROPERTY_NAME_BYTES]);

/* Appends the members of a property, by PCRE2's name, as they stand inside "[]". False when out of
 * memory. */
bool paro_property_append(paro_buffer *out, const char *name);

/* The same for Oniguruma's \w. */
bool paro_property_append_word(paro_buffer *out);

#endif
