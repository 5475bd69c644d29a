/* SPDX-License-Identifier: MIT
 *
 * Which kernels a source has.
 */
#include <ctype.h>
#include <string.h>

#include "emulator/module.h"

typedef struct scanner {
    const char *at;
    const char *end;
    const char *start;
} scanner;

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* The next token of code: a word, or one other character; comments, strings and characters are
 * skipped. NULL at the end. */
static const char *next_token(scanner *s, size_t *n)
{
    while (s->at < s->end) {
        const char c = *s->at;
        const size_t left = (size_t)(s->end - s->at);
        if (isspace((unsigned char)c)) {
            s->at++;
        } else if (left >= 2 && memcmp(s->at, "//", 2) == 0) {
            const char *line = memchr(s->at, '\n', left);
            s->at = line != NULL ? line : s->end;
        } else if (left >= 2 && memcmp(s->at, "/*", 2) == 0) {
            const char *close = memmem(s->at + 2, left - 2, "*/", 2);
            s->at = close != NULL ? close + 2 : s->end;
        } else if (c == '"' || (c == '\'' &&
                                (s->at == s->start || !is_word(s->at[-1])))) { /* not as in 1'000 */
            for (s->at++; s->at < s->end && *s->at != c; s->at++)
                if (*s->at == '\\' && s->at + 1 < s->end)
                    s->at++;
            if (s->at < s->end)
                s->at++;
        } else {
            const char *token = s->at++;
            while (is_word(c) && s->at < s->end && is_word(*s->at))
                s->at++;
            *n = (size_t)(s->at - token);
            return token;
        }
    }
    return NULL;
}

static bool is(const char *token, size_t n, const char *text)
{
    return n == strlen(text) && memcmp(token, text, n) == 0;
}

/* Behind a '(': to behind its ')'; what stands between. */
static const char *skip_parentheses(scanner *s, size_t *n)
{
    const char *start = s->at;
    int depth = 1;
    size_t n_token;
    for (const char *token; (token = next_token(s, &n_token)) != NULL;) {
        depth += is(token, n_token, "(") - is(token, n_token, ")");
        if (depth == 0) {
            *n = (size_t)(token - start);
            return start;
        }
    }
    *n = 0;
    return start;
}

/* Behind __global__: the name is the last word before a '(' that does not belong to
 * __launch_bounds__. */
static bool scan_kernel(scanner *s, paro_arena *arena, paro_emu_kernel *kernel)
{
    const char *name = NULL;
    size_t n, n_name = 0;
    for (const char *token; (token = next_token(s, &n)) != NULL;) {
        if (is_word(*token)) {
            name = token;
            n_name = n;
        } else if (is(token, n, "(") && name != NULL && is(name, n_name, "__launch_bounds__")) {
            const char *bounds = skip_parentheses(s, &n);
            kernel->bounds = paro_arena_strndup(arena, bounds, n);
            if (kernel->bounds == NULL)
                return false;
        } else if (is(token, n, "(") && name != NULL) {
            kernel->name = paro_arena_strndup(arena, name, n_name);
            return kernel->name != NULL;
        }
    }
    kernel->name = "";
    return true;
}

paro_status paro_emu_find_kernels(paro_error *err, const char *source, size_t n_bytes,
                                  paro_arena *arena, paro_emu_kernel **kernels, size_t *n_kernels)
{
    size_t n = 0, n_token;
    scanner s = {.at = source, .end = source + n_bytes, .start = source};
    for (const char *token; (token = next_token(&s, &n_token)) != NULL;)
        n += is(token, n_token, "__global__");
    paro_emu_kernel *all = paro_arena_array(arena, n, sizeof *all);
    if (all == NULL)
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "out of memory for %zu kernels", n);
    s.at = source;
    size_t i = 0;
    for (const char *token; i < n && (token = next_token(&s, &n_token)) != NULL;)
        if (is(token, n_token, "__global__") && !scan_kernel(&s, arena, &all[i++]))
            return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "out of memory for %zu kernels", n);
    *kernels = all;
    *n_kernels = i;
    return PARO_STATUS_OK;
}
