/* SPDX-License-Identifier: MIT
 *
 * Which names someone may have meant, by edit distance.
 */
#include "calib/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { N_NEAREST = 3 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t paro_edit_distance(const char *pattern, const char *name)
{
    size_t n_name = strnlen(name, PARO_NEAREST_MAX_BYTES);
    size_t n_pattern = strnlen(pattern, PARO_NEAREST_MAX_BYTES);
    size_t row[PARO_NEAREST_MAX_BYTES + 1]; /* from the pattern so far to the name's first j */
    for (size_t j = 0; j <= n_name; j++)
        row[j] = j;
    for (size_t i = 0; i < n_pattern; i++) {
        bool star = pattern[i] == '*';
        size_t diagonal = row[0];
        row[0] += star ? 0 : 1;
        for (size_t j = 0; j < n_name; j++) {
            size_t above = row[j + 1];
            bool same = pattern[i] == '?' || pattern[i] == name[j];
            if (star)
                row[j + 1] = least(least(above, row[j]), diagonal);
            else
                row[j + 1] = least(least(above, row[j]) + 1, diagonal + (same ? 0 : 1));
            diagonal = above;
        }
    }
    return row[n_name];
}

static bool differ_in_digits_only(const char *a, const char *b)
{
    for (;;) {
        while (isdigit((unsigned char)*a))
            a++;
        while (isdigit((unsigned char)*b))
            b++;
        if (*a != *b)
            return false;
        if (*a == '\0')
            return true;
        a++;
        b++;
    }
}

void paro_nearest(char *out, size_t n_out_bytes, const char *pattern, size_t n_names,
                  paro_name_fn *name, const void *context)
{
    const char *best[N_NEAREST];
    size_t distances[N_NEAREST];
    size_t n = 0;
    for (size_t i = 0; i < n_names; i++) {
        const char *candidate = name(context, i);
        size_t distance = paro_edit_distance(pattern, candidate);
        bool skip = false;
        for (size_t k = 0; k < n; k++)
            skip = skip || (distance >= distances[k] && differ_in_digits_only(candidate, best[k]));
        size_t at = n;
        while (at > 0 && distance < distances[at - 1])
            at--;
        if (skip || at == N_NEAREST)
            continue;
        n = least(n + 1, N_NEAREST);
        for (size_t k = n - 1; k > at; k--) {
            best[k] = best[k - 1];
            distances[k] = distances[k - 1];
        }
        best[at] = candidate;
        distances[at] = distance;
    }
    size_t length = 0;
    out[0] = '\0';
    for (size_t k = 0; k < n && length < n_out_bytes; k++) {
        int written = snprintf(out + length, n_out_bytes - length, "%s%s", k > 0 ? ", " : "",
                               best[k]);
        length += written > 0 ? (size_t)written : 0;
    }
}

static const char *array_name(const void *context, size_t i)
{
    return ((const char *const *)context)[i];
}

void paro_nearest_of(char *out, size_t n_out_bytes, const char *pattern, size_t n_names,
                     const char *const *names)
{
    paro_nearest(out, n_out_bytes, pattern, n_names, array_name, names);
}
