/* SPDX-License-Identifier: MIT
 *
 * Which names someone may have meant, by edit distance.
 */
#include "base/nearest.h"

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

typedef struct near_name {
    const char *name;
    size_t distance;
    size_t n_common; /* bytes that it begins with like the pattern */
} near_name;

static size_t common_prefix(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] != '\0' && a[n] == b[n])
        n++;
    return n;
}

static bool is_nearer(const near_name *a, const near_name *b)
{
    if (a->distance != b->distance)
        return a->distance < b->distance;
    return a->n_common > b->n_common;
}

void paro_nearest(char *out, size_t n_out_bytes, const char *pattern, size_t n_names,
                  paro_name_fn *name, const void *context)
{
    near_name best[N_NEAREST];
    size_t n = 0;
    for (size_t i = 0; i < n_names; i++) {
        near_name candidate = {.name = name(context, i)};
        candidate.distance = paro_edit_distance(pattern, candidate.name);
        candidate.n_common = common_prefix(pattern, candidate.name);
        size_t alike = 0; /* one that differs in digits only */
        while (alike < n && !differ_in_digits_only(candidate.name, best[alike].name))
            alike++;
        if (alike < n && !is_nearer(&candidate, &best[alike]))
            continue;
        if (alike == n)
            n = least(n + 1, N_NEAREST);
        /* It takes the place of what is alike, or of the farthest, and moves up. */
        size_t at = least(alike, N_NEAREST - 1);
        if (alike == N_NEAREST && !is_nearer(&candidate, &best[at]))
            continue;
        for (; at > 0 && is_nearer(&candidate, &best[at - 1]); at--)
            best[at] = best[at - 1];
        best[at] = candidate;
    }
    size_t length = 0;
    out[0] = '\0';
    for (size_t k = 0; k < n && length < n_out_bytes; k++) {
        int written =
            snprintf(out + length, n_out_bytes - length, "%s%s", k > 0 ? ", " : "", best[k].name);
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
