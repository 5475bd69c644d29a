/* SPDX-License-Identifier: MIT
 *
 * Text for people: how wide it is on a terminal, made safe to print, and numbers with units.
 */
#ifndef PARO_CLI_TEXT_H
#define PARO_CLI_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Reads one character of the zero-terminated `text` (not at its end) and returns the bytes it
 * takes, at least 1. What is not UTF-8 is U+FFFD and one byte long. */
size_t paro_text_decode(const char *text, uint32_t *out);

/* Columns that `text` takes on a terminal: 0 for combining marks, 2 for wide East Asian characters
 * and emoji, 1 for the rest. */
unsigned paro_text_columns(const char *text);

/* A copy that is safe to print on one line: line ends and tabs become spaces; control characters,
 * those that turn the direction of writing, and bytes that are not UTF-8 become U+FFFD. Where it is
 * wider than `max_columns` (0: no limit) it is cut and ends in "…". The caller frees it; NULL where
 * memory ran out. */
char *paro_text_clean(const char *text, unsigned max_columns);

enum { PARO_TEXT_NUMBER_BYTES = 32 };

/* "512 B", "8.40 MB": decimal units, three digits. Return `out`. */
const char *paro_text_size(char out[PARO_TEXT_NUMBER_BYTES], uint64_t n_bytes);

/* "950", "12.3k", "4.20M". */
const char *paro_text_count(char out[PARO_TEXT_NUMBER_BYTES], double value);

/* "0:07", "12:30", "3:05:00". */
const char *paro_text_duration(char out[PARO_TEXT_NUMBER_BYTES], double seconds);

/* The name of `names` (NULL-terminated) most like `name`, or NULL where none is alike: at most a
 * third of the letters differ, or one is the beginning of the other. */
const char *paro_text_nearest(const char *name, const char *const *names);

#endif
