/* SPDX-License-Identifier: MIT
 *
 * The matcher. A pattern is read as it is matched:
 *
 *     pattern  = [^] item*              ^ anchors (the caller strips it); $ at the very end
 * likewise item     = single [* + - ?] | %0-9 | %bxy | %f[set] | ( item* ) single   = . | %class |
 * [set] | char
 */
#include "lua/pattern.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "lua/sandbox.h"

enum { MAX_DEPTH = 200 /* nested calls of match_here */ };

static const char *match_here(paro_matcher *m, const char *s, const char *p);

/* The end of the single item at p. */
static const char *single_end(paro_matcher *m, const char *p)
{
    if (*p == '%') {
        if (p + 1 == m->pattern_end)
            luaL_error(m->state, "malformed pattern (ends with '%%')");
        return p + 2;
    }
    if (*p != '[')
        return p + 1;
    p++;
    if (p < m->pattern_end && *p == '^')
        p++;
    bool first = true; /* a ] that comes first stands for itself */
    for (;;) {
        if (p == m->pattern_end)
            luaL_error(m->state, "malformed pattern (missing ']')");
        if (*p == ']' && !first)
            return p + 1;
        first = false;
        if (*p == '%') {
            p++;
            if (p == m->pattern_end)
                luaL_error(m->state, "malformed pattern (missing ']')");
        }
        p++;
    }
}

static bool in_class(int c, int class)
{
    bool yes = false;
    switch (tolower(class)) {
    case 'a':
        yes = isalpha(c);
        break;
    case 'c':
        yes = iscntrl(c);
        break;
    case 'd':
        yes = isdigit(c);
        break;
    case 'g':
        yes = isgraph(c);
        break;
    case 'l':
        yes = islower(c);
        break;
    case 'p':
        yes = ispunct(c);
        break;
    case 's':
        yes = isspace(c);
        break;
    case 'u':
        yes = isupper(c);
        break;
    case 'w':
        yes = isalnum(c);
        break;
    case 'x':
        yes = isxdigit(c);
        break;
    default:
        return class == c;
    }
    return isupper(class) ? !yes : yes;
}

/* p at '[', last at its ']'. */
static bool in_set(int c, const char *p, const char *last)
{
    bool wanted = true;
    p++;
    if (*p == '^') {
        wanted = false;
        p++;
    }
    for (; p < last; p++) {
        if (*p == '%') {
            p++;
            if (in_class(c, (unsigned char)*p))
                return wanted;
        } else if (p + 2 < last && p[1] == '-') {
            if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2])
                return wanted;
            p += 2;
        } else if ((unsigned char)*p == c) {
            return wanted;
        }
    }
    return !wanted;
}

/* Whether the item p .. end matches the character at s. */
static bool single_matches(paro_matcher *m, const char *s, const char *p, const char *end)
{
    if (s == m->text_end)
        return false;
    int c = (unsigned char)*s;
    switch (*p) {
    case '.':
        return true;
    case '%':
        return in_class(c, (unsigned char)p[1]);
    case '[':
        paro_sandbox_charge(m->state, (uint64_t)(end - p) / 8);
        return in_set(c, p, end - 1);
    default:
        return (unsigned char)*p == c;
    }
}

static const char *match_most(paro_matcher *m, const char *s, const char *p, const char *end)
{
    ptrdiff_t n = 0;
    while (single_matches(m, s + n, p, end))
        n++;
    paro_sandbox_charge(m->state, (uint64_t)n + 1);
    for (; n >= 0; n--) {
        const char *found = match_here(m, s + n, end + 1);
        if (found != NULL)
            return found;
    }
    return NULL;
}

static const char *match_least(paro_matcher *m, const char *s, const char *p, const char *end)
{
    for (;;) {
        const char *found = match_here(m, s, end + 1);
        if (found != NULL)
            return found;
        if (!single_matches(m, s, p, end))
            return NULL;
        s++;
    }
}

static const char *match_balanced(paro_matcher *m, const char *s, const char *p)
{
    if (m->pattern_end - p < 2)
        luaL_error(m->state, "malformed pattern (missing arguments to '%%b')");
    if (s == m->text_end || *s != p[0])
        return NULL;
    size_t level = 1;
    const char *at = s + 1;
    for (; at < m->text_end; at++) {
        if (*at == p[1]) {
            if (--level == 0)
                break;
        } else if (*at == p[0]) {
            level++;
        }
    }
    paro_sandbox_charge(m->state, (uint64_t)(at - s));
    return at < m->text_end ? at + 1 : NULL;
}

static const char *match_open(paro_matcher *m, const char *s, const char *p, ptrdiff_t length)
{
    if (m->n_captures == PARO_PATTERN_MAX_CAPTURES)
        luaL_error(m->state, "too many captures");
    m->captures[m->n_captures] = (paro_capture){s, length};
    m->n_captures++;
    const char *found = match_here(m, s, p);
    if (found == NULL)
        m->n_captures--;
    return found;
}

static const char *match_close(paro_matcher *m, const char *s, const char *p)
{
    int i = m->n_captures - 1;
    while (i >= 0 && m->captures[i].length != PARO_CAPTURE_OPEN)
        i--;
    if (i < 0)
        luaL_error(m->state, "invalid pattern capture");
    m->captures[i].length = s - m->captures[i].start;
    const char *found = match_here(m, s, p);
    if (found == NULL)
        m->captures[i].length = PARO_CAPTURE_OPEN;
    return found;
}

/* %1 .. %9: the text of an earlier capture again; NULL where it is not there. */
static const char *match_again(paro_matcher *m, const char *s, int digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->n_captures || m->captures[i].length == PARO_CAPTURE_OPEN)
        luaL_error(m->state, "invalid capture index %%%d", i + 1);
    ptrdiff_t length = m->captures[i].length;
    if (length == PARO_CAPTURE_POSITION || m->text_end - s < length)
        return NULL;
    paro_sandbox_charge(m->state, (uint64_t)length / 16 + 1);
    return memcmp(m->captures[i].start, s, (size_t)length) == 0 ? s + length : NULL;
}

/* %f[set]: between a character outside the set and one inside. */
static bool at_frontier(paro_matcher *m, const char *s, const char *p, const char **end)
{
    if (p == m->pattern_end || *p != '[')
        luaL_error(m->state, "missing '[' after '%%f' in pattern");
    *end = single_end(m, p);
    int before = s == m->text ? 0 : (unsigned char)s[-1];
    int after = s == m->text_end ? 0 : (unsigned char)*s;
    paro_sandbox_charge(m->state, (uint64_t)(*end - p) / 8);
    return !in_set(before, p, *end - 1) && in_set(after, p, *end - 1);
}

/* Items that are not a single with a quantifier. True where p was one: then *s is where it ended,
 * or NULL, and *p what follows; *is_last where the rest of the pattern has been matched too. */
static bool match_special(paro_matcher *m, const char **s, const char **p, bool *is_last)
{
    const char *at = *p;
    *is_last = true;
    switch (*at) {
    case '(':
        if (at + 1 < m->pattern_end && at[1] == ')')
            *s = match_open(m, *s, at + 2, PARO_CAPTURE_POSITION);
        else
            *s = match_open(m, *s, at + 1, PARO_CAPTURE_OPEN);
        return true;
    case ')':
        *s = match_close(m, *s, at + 1);
        return true;
    case '$':
        if (at + 1 != m->pattern_end)
            return false;
        *s = *s == m->text_end ? *s : NULL;
        return true;
    case '%':
        break;
    default:
        return false;
    }
    *is_last = false;
    int next = at + 1 < m->pattern_end ? (unsigned char)at[1] : 0;
    if (next == 'b') {
        *s = match_balanced(m, *s, at + 2);
        *p = at + 4;
        return true;
    }
    if (next == 'f') {
        if (!at_frontier(m, *s, at + 2, p))
            *s = NULL;
        return true;
    }
    if (isdigit(next)) {
        *s = match_again(m, *s, next);
        *p = at + 2;
        return true;
    }
    return false;
}

/* The end of the match of pattern p at s, or NULL. */
static const char *match_here(paro_matcher *m, const char *s, const char *p)
{
    if (++m->depth > MAX_DEPTH)
        luaL_error(m->state, "pattern too complex");
    while (s != NULL && p != m->pattern_end) {
        paro_sandbox_charge(m->state, 1);
        bool is_last = false;
        if (match_special(m, &s, &p, &is_last)) {
            if (is_last)
                break;
            continue;
        }
        const char *end = single_end(m, p);
        char quantifier = end < m->pattern_end ? *end : '\0';
        if (quantifier == '*') {
            s = match_most(m, s, p, end);
            break;
        }
        if (quantifier == '-') {
            s = match_least(m, s, p, end);
            break;
        }
        bool matches = single_matches(m, s, p, end);
        if (quantifier == '+') {
            s = matches ? match_most(m, s + 1, p, end) : NULL;
            break;
        }
        if (quantifier == '?') {
            const char *found = matches ? match_here(m, s + 1, end + 1) : NULL;
            if (found != NULL) {
                s = found;
                break;
            }
            p = end + 1;
            continue;
        }
        s = matches ? s + 1 : NULL;
        p = end;
    }
    m->depth--;
    return s;
}

void paro_pattern_push_capture(paro_matcher *m, int i, const char *start, const char *end)
{
    if (i >= m->n_captures) {
        if (i != 0)
            luaL_error(m->state, "invalid capture index %%%d", i + 1);
        lua_pushlstring(m->state, start, (size_t)(end - start)); /* none: the whole match */
        return;
    }
    const paro_capture *c = &m->captures[i];
    if (c->length == PARO_CAPTURE_OPEN)
        luaL_error(m->state, "unfinished capture");
    if (c->length == PARO_CAPTURE_POSITION)
        lua_pushinteger(m->state, c->start - m->text + 1);
    else
        lua_pushlstring(m->state, c->start, (size_t)c->length);
}

const char *paro_pattern_match(paro_matcher *m, const char *s, const char *p)
{
    m->depth = 0;
    m->n_captures = 0;
    return match_here(m, s, p);
}
