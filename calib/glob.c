/* SPDX-License-Identifier: MIT
 *
 * Patterns for names. Grammar:
 *
 *     pattern = item*
 *     item    = "*" | "?" | "{" pattern ("," pattern)* "}" | any other character
 *
 * Braces are expanded when a pattern is compiled; what remains is matched without recursion.
 */
#include "calib/glob.h"

#include <stdio.h>
#include <string.h>

typedef struct expansion {
    paro_arena *arena;
    const char **list;
    size_t n;
} expansion;

/* The first brace group of `text`: offsets of '{' and of its '}'; false where there is none. */
static bool find_group(const char *text, size_t *open, size_t *close)
{
    const char *brace = strchr(text, '{');
    if (brace == NULL)
        return false;
    *open = (size_t)(brace - text);
    int depth = 0;
    for (size_t i = *open; text[i] != '\0'; i++) {
        depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
        if (depth == 0) {
            *close = i;
            return true;
        }
    }
    return false;
}

/* Every combination has been counted before; here nothing can grow too large. A group's members
 * may hold groups: each is put in place of the group and the result is expanded again. */
static bool expand(expansion *e, const char *text)
{
    size_t open = 0;
    size_t close = 0;
    if (!find_group(text, &open, &close)) {
        if (e->n == PARO_GLOB_MAX_ALTERNATIVES)
            return true;
        const char *copy = paro_arena_strdup(e->arena, text);
        e->list[e->n] = copy;
        e->n += copy != NULL;
        return copy != NULL;
    }
    char part[PARO_GLOB_MAX_BYTES + 1];
    int depth = 0;
    size_t from = open + 1;
    for (size_t i = open + 1; i <= close; i++) {
        if ((text[i] == ',' && depth == 0) || i == close) {
            snprintf(part, sizeof part, "%.*s%.*s%s", (int)open, text, (int)(i - from), text + from,
                     text + close + 1);
            if (!expand(e, part))
                return false;
            from = i + 1;
        }
        depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
    }
    return true;
}

/* How many patterns without braces `n` bytes of text stand for, up to the limit plus one. */
static size_t count_alternatives(const char *text, size_t n)
{
    size_t total = 1;
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '{')
            continue;
        size_t sum = 0;
        int depth = 0;
        size_t from = ++i;
        for (;; i++) {
            if (depth == 0 && (text[i] == ',' || text[i] == '}')) {
                sum += count_alternatives(text + from, i - from);
                from = i + 1;
                if (text[i] == '}')
                    break;
            }
            depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
        }
        total =
            total * sum > PARO_GLOB_MAX_ALTERNATIVES ? PARO_GLOB_MAX_ALTERNATIVES + 1 : total * sum;
    }
    return total;
}

paro_status paro_glob_compile(paro_error *err, paro_arena *arena, const char *text, paro_glob *out)
{
    size_t n_bytes = strlen(text);
    if (n_bytes == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "an empty pattern (expected one such as \"*.q_proj\")");
    if (n_bytes > PARO_GLOB_MAX_BYTES)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "a pattern of %zu bytes (expected at most %d)", n_bytes,
                         PARO_GLOB_MAX_BYTES);
    int depth = 0;
    for (const char *c = text; *c != '\0' && depth >= 0; c++)
        depth += *c == '{' ? 1 : *c == '}' ? -1 : 0;
    if (depth != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "pattern \"%s\": the braces do not pair up (expected {a,b})", text);
    if (count_alternatives(text, n_bytes) > PARO_GLOB_MAX_ALTERNATIVES)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "pattern \"%s\": its braces stand for more than %d patterns", text,
                         PARO_GLOB_MAX_ALTERNATIVES);

    expansion e = {.arena = arena};
    e.list = paro_arena_array(arena, PARO_GLOB_MAX_ALTERNATIVES, sizeof *e.list);
    const char *copy = paro_arena_strdup(arena, text);
    if (e.list == NULL || copy == NULL || !expand(&e, copy))
        return paro_fail_memory(err, n_bytes, "a pattern");
    *out = (paro_glob){.text = copy, .alternatives = e.list, .n_alternatives = e.n};
    return PARO_STATUS_OK;
}

/* Only the last star seen needs another try: an earlier one could do no better. */
static bool match_plain(const char *pattern, const char *name)
{
    const char *star = NULL;
    const char *resume = NULL;
    while (*name != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            resume = name;
        } else if (*pattern != '\0' && (*pattern == '?' || *pattern == *name)) {
            pattern++;
            name++;
        } else if (star != NULL) {
            pattern = star + 1;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool paro_glob_match(const paro_glob *glob, const char *name)
{
    for (size_t i = 0; i < glob->n_alternatives; i++) {
        if (match_plain(glob->alternatives[i], name))
            return true;
    }
    return false;
}
