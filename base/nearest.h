/* SPDX-License-Identifier: MIT
 *
 * Which names someone may have meant.
 */
#ifndef PARO_BASE_NEAREST_H
#define PARO_BASE_NEAREST_H

#include <stddef.h>

enum { PARO_NEAREST_MAX_BYTES = 256 }; /* of names and patterns that are looked at */

/* Edit distance (Levenshtein): insertions, deletions and replacements, one each, that make the name
 * out of the pattern. In the pattern a `*` stands for any run of characters and a `?` for any one,
 * for nothing. Bytes past PARO_NEAREST_MAX_BYTES are not looked at. */
size_t paro_edit_distance(const char *pattern, const char *name);

/* The i-th name, of a list or of something that can be counted. */
typedef const char *paro_name_fn(const void *context, size_t i);

/* Writes the (at most three) names nearest to the pattern, nearest first (of those as near, the
 * one that begins like the pattern for longer), as "a, b, c". Of names that differ in their digits
 * only, the nearest stands for all. "" where n_names is 0. */
void paro_nearest(char *out, size_t n_out_bytes, const char *pattern, size_t n_names,
                  paro_name_fn *name, const void *context);

/* The same for an array of strings. */
void paro_nearest_of(char *out, size_t n_out_bytes, const char *pattern, size_t n_names,
                     const char *const *names);

#endif
