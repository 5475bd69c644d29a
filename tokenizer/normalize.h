/* SPDX-License-Identifier: MIT
 *
 * Unicode: normal forms, and what kind of character one is.
 */
#ifndef PARO_TOKENIZER_NORMALIZE_H
#define PARO_TOKENIZER_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "tokenizer/tokenizer_spec.h"

/* The normal form of `text` (valid UTF-8). *out points to `text` itself where it is in that form
 * already, else into `buffer`, whose old contents are gone. */
paro_status paro_normalize(paro_error *err, paro_normal_form form, const char *text, size_t n_bytes,
                           paro_buffer *buffer, const char **out, size_t *n_out);

/* White_Space. */
bool paro_is_white_space(uint32_t point);

/* \w as Unicode has it (UTS 18): Alphabetic, marks, decimal digits, connectors, joiners. */
bool paro_is_word(uint32_t point);

#endif
