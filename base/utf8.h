/* SPDX-License-Identifier: MIT
 *
 * UTF-8 (RFC 3629): checking, and replacing what is not.
 */
#ifndef PARO_BASE_UTF8_H
#define PARO_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

typedef enum paro_utf8_kind {
    PARO_UTF8_KIND_CHARACTER, /* a whole character */
    PARO_UTF8_KIND_WRONG,     /* a maximal wrong part: one U+FFFD */
    PARO_UTF8_KIND_CUT        /* the text ends inside what may yet become a character */
} paro_utf8_kind;

/* What stands at the start of text (n_bytes >= 1): its kind and its length, 1..4. */
paro_utf8_kind paro_utf8_next(const char *text, size_t n_bytes, size_t *length);

/* The code point of the whole character of `length` bytes at `text`. */
uint32_t paro_utf8_code_point(const char *text, size_t length);

/* Length of the longest prefix that consists of whole characters. */
size_t paro_utf8_valid_prefix(const char *text, size_t n_bytes);

/* Appends the text with one U+FFFD for every maximal wrong part (and one for a cut character at the
 * end), as WHATWG decoders and Python's errors="replace" do. False when out of memory. */
bool paro_utf8_append_valid(paro_buffer *buffer, const char *text, size_t n_bytes);

/* Appends one code point (not a surrogate, at most 0x10FFFF). False when out of memory. */
bool paro_utf8_append(paro_buffer *buffer, uint32_t code_point);

#endif
