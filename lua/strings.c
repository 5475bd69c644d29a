/* SPDX-License-Identifier: MIT
 *
 * string.find, match, gmatch and gsub for sandboxed code: what the Lua 5.4 manual (6.4.1) says, but
 * every step of the backtracking is charged, so that a pattern cannot run for ever inside C.
 *
 * A pattern is read as it is matched:
 *     pattern  = [^] item*              ^ anchors (find, match, gsub); $ at the very end likewise
 *     item     = single [* + - ?] | %0-9 | %bxy | %f[set] | ( item* )
 *     single   = . | %class | [set] | char
 */
#include <ctype.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "lua/sandbox.h"

enum {
    MAX_CAPTURES = 32,
    MAX_DEPTH = 200, /* nested calls of match_here */
    OPEN = -1,       /* length of a capture that is not closed yet */
    POSITION = -2    /* length of a position capture, () */
};

typedef struct capture {
    const char *start;
    ptrdiff_t length; /* or OPEN, POSITION */
} capture;

typedef struct matcher {
    lua_State *state;
    const char *text;
    const char *text_end;
    const char *pattern_end;
    int depth;
    int n_captures;
    capture captures[MAX_CAPTURES];
} matcher;

static const char *match_here(matcher *m, const char *s, const char *p);

/* The end of the single item at p. */
static const char *single_end(matcher *m, const char *p)
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
static bool single_matches(matcher *m, const char *s, const char *p, const char *end)
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

static const char *match_most(matcher *m, const char *s, const char *p, const char *end)
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

static const char *match_least(matcher *m, const char *s, const char *p, const char *end)
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

static const char *match_balanced(matcher *m, const char *s, const char *p)
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

static const char *match_open(matcher *m, const char *s, const char *p, ptrdiff_t length)
{
    if (m->n_captures == MAX_CAPTURES)
        luaL_error(m->state, "too many captures");
    m->captures[m->n_captures] = (capture){s, length};
    m->n_captures++;
    const char *found = match_here(m, s, p);
    if (found == NULL)
        m->n_captures--;
    return found;
}

static const char *match_close(matcher *m, const char *s, const char *p)
{
    int i = m->n_captures - 1;
    while (i >= 0 && m->captures[i].length != OPEN)
        i--;
    if (i < 0)
        luaL_error(m->state, "invalid pattern capture");
    m->captures[i].length = s - m->captures[i].start;
    const char *found = match_here(m, s, p);
    if (found == NULL)
        m->captures[i].length = OPEN;
    return found;
}

/* %1 .. %9: the text of an earlier capture again; NULL where it is not there. */
static const char *match_again(matcher *m, const char *s, int digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->n_captures || m->captures[i].length == OPEN)
        luaL_error(m->state, "invalid capture index %%%d", i + 1);
    ptrdiff_t length = m->captures[i].length;
    if (length == POSITION || m->text_end - s < length)
        return NULL;
    paro_sandbox_charge(m->state, (uint64_t)length / 16 + 1);
    return memcmp(m->captures[i].start, s, (size_t)length) == 0 ? s + length : NULL;
}

/* %f[set]: between a character outside the set and one inside. */
static bool at_frontier(matcher *m, const char *s, const char *p, const char **end)
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
static bool match_special(matcher *m, const char **s, const char **p, bool *is_last)
{
    const char *at = *p;
    *is_last = true;
    switch (*at) {
    case '(':
        if (at + 1 < m->pattern_end && at[1] == ')')
            *s = match_open(m, *s, at + 2, POSITION);
        else
            *s = match_open(m, *s, at + 1, OPEN);
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
static const char *match_here(matcher *m, const char *s, const char *p)
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

/* ---- captures ---- */

static void push_capture(matcher *m, int i, const char *start, const char *end)
{
    if (i >= m->n_captures) {
        if (i != 0)
            luaL_error(m->state, "invalid capture index %%%d", i + 1);
        lua_pushlstring(m->state, start, (size_t)(end - start)); /* none: the whole match */
        return;
    }
    const capture *c = &m->captures[i];
    if (c->length == OPEN)
        luaL_error(m->state, "unfinished capture");
    if (c->length == POSITION)
        lua_pushinteger(m->state, c->start - m->text + 1);
    else
        lua_pushlstring(m->state, c->start, (size_t)c->length);
}

static int push_captures(matcher *m, const char *start, const char *end, bool whole_if_none)
{
    int n = m->n_captures == 0 && whole_if_none ? 1 : m->n_captures;
    luaL_checkstack(m->state, n, "too many captures");
    for (int i = 0; i < n; i++)
        push_capture(m, i, start, end);
    return n;
}

static const char *match_at(matcher *m, const char *s, const char *p)
{
    m->depth = 0;
    m->n_captures = 0;
    return match_here(m, s, p);
}

/* The init argument: 0-based, over n_bytes where it is past the end. */
static size_t start_offset(lua_State *state, int index, size_t n_bytes)
{
    lua_Integer init = luaL_optinteger(state, index, 1);
    if (init > 0)
        return (lua_Unsigned)init - 1 > n_bytes ? n_bytes + 1 : (size_t)init - 1;
    if (init == 0 || init < -(lua_Integer)n_bytes)
        return 0;
    return n_bytes - (size_t)(-init);
}

static bool has_specials(const char *p, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        if (p[i] != '\0' && strchr("^$*+?.([%-", p[i]) != NULL)
            return true;
    }
    return false;
}

static int find_or_match(lua_State *state, bool is_find)
{
    size_t n_text = 0;
    size_t n_pattern = 0;
    const char *text = luaL_checklstring(state, 1, &n_text);
    const char *p = luaL_checklstring(state, 2, &n_pattern);
    size_t from = start_offset(state, 3, n_text);
    if (from > n_text) {
        luaL_pushfail(state);
        return 1;
    }
    if (is_find && (lua_toboolean(state, 4) || !has_specials(p, n_pattern))) {
        paro_sandbox_charge(state, (n_text - from + n_pattern) / 16 + 1);
        const char *found = n_pattern == 0
                                ? text + from
                                : memmem(text + from, n_text - from, p, n_pattern);
        if (found == NULL) {
            luaL_pushfail(state);
            return 1;
        }
        lua_pushinteger(state, found - text + 1);
        lua_pushinteger(state, found - text + (lua_Integer)n_pattern);
        return 2;
    }
    matcher m = {.state = state, .text = text, .text_end = text + n_text,
                 .pattern_end = p + n_pattern};
    bool anchored = n_pattern > 0 && *p == '^';
    if (anchored)
        p++;
    for (const char *s = text + from; s <= m.text_end; s++) {
        const char *end = match_at(&m, s, p);
        if (end != NULL) {
            if (!is_find)
                return push_captures(&m, s, end, true);
            lua_pushinteger(state, s - text + 1);
            lua_pushinteger(state, end - text);
            return 2 + push_captures(&m, s, end, false);
        }
        paro_sandbox_charge(state, 1);
        if (anchored)
            break;
    }
    luaL_pushfail(state);
    return 1;
}

static int string_find(lua_State *state)
{
    return find_or_match(state, true);
}

static int string_match(lua_State *state)
{
    return find_or_match(state, false);
}

/* Upvalues: text, pattern, offset of the next try, end of the last match (-1: none). */
static int gmatch_next(lua_State *state)
{
    size_t n_text = 0;
    size_t n_pattern = 0;
    const char *text = lua_tolstring(state, lua_upvalueindex(1), &n_text);
    const char *p = lua_tolstring(state, lua_upvalueindex(2), &n_pattern);
    lua_Integer from = lua_tointeger(state, lua_upvalueindex(3));
    lua_Integer last = lua_tointeger(state, lua_upvalueindex(4));
    matcher m = {.state = state, .text = text, .text_end = text + n_text,
                 .pattern_end = p + n_pattern};
    for (; (size_t)from <= n_text; from++) {
        const char *end = match_at(&m, text + from, p);
        if (end != NULL && end - text != last) {
            lua_pushinteger(state, end - text);
            lua_copy(state, -1, lua_upvalueindex(3));
            lua_replace(state, lua_upvalueindex(4));
            return push_captures(&m, text + from, end, true);
        }
        paro_sandbox_charge(state, 1);
    }
    lua_pushinteger(state, (lua_Integer)n_text + 1);
    lua_replace(state, lua_upvalueindex(3));
    return 0;
}

static int string_gmatch(lua_State *state)
{
    size_t n_text = 0;
    luaL_checklstring(state, 1, &n_text);
    luaL_checkstring(state, 2);
    size_t from = start_offset(state, 3, n_text);
    lua_settop(state, 2);
    lua_pushinteger(state, (lua_Integer)from);
    lua_pushinteger(state, -1);
    lua_pushcclosure(state, gmatch_next, 4);
    return 1;
}

/* Adds the replacement text with its %0 .. %9 filled in. */
static void add_text(matcher *m, luaL_Buffer *out, const char *start, const char *end)
{
    size_t n_bytes = 0;
    const char *text = lua_tolstring(m->state, 3, &n_bytes);
    paro_sandbox_charge(m->state, n_bytes / 16);
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] != '%') {
            luaL_addchar(out, text[i]);
            continue;
        }
        i++;
        int c = i < n_bytes ? (unsigned char)text[i] : 0;
        if (c == '%') {
            luaL_addchar(out, '%');
        } else if (c == '0') {
            luaL_addlstring(out, start, (size_t)(end - start));
        } else if (isdigit(c)) {
            push_capture(m, c - '1', start, end);
            luaL_tolstring(m->state, -1, NULL);
            lua_remove(m->state, -2);
            luaL_addvalue(out);
        } else {
            luaL_error(m->state, "invalid use of '%%' in replacement string");
        }
    }
}

/* Adds what replaces one match. */
static void add_replacement(matcher *m, luaL_Buffer *out, const char *start, const char *end,
                            int type)
{
    lua_State *state = m->state;
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(state, 3);
        lua_call(state, push_captures(m, start, end, true), 1);
    } else if (type == LUA_TTABLE) {
        push_capture(m, 0, start, end);
        lua_gettable(state, 3);
    } else {
        add_text(m, out, start, end);
        return;
    }
    if (!lua_toboolean(state, -1)) {
        lua_pop(state, 1);
        luaL_addlstring(out, start, (size_t)(end - start));
    } else if (!lua_isstring(state, -1)) {
        luaL_error(state, "invalid replacement value (a %s)", luaL_typename(state, -1));
    } else {
        luaL_addvalue(out);
    }
}

static int string_gsub(lua_State *state)
{
    size_t n_text = 0;
    size_t n_pattern = 0;
    const char *text = luaL_checklstring(state, 1, &n_text);
    const char *p = luaL_checklstring(state, 2, &n_pattern);
    int type = lua_type(state, 3);
    luaL_argexpected(state,
                     type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
                         type == LUA_TTABLE,
                     3, "string/function/table");
    if (type == LUA_TNUMBER)
        lua_tostring(state, 3); /* converts it in place */
    lua_Integer most = luaL_optinteger(state, 4, (lua_Integer)n_text + 1);
    matcher m = {.state = state, .text = text, .text_end = text + n_text,
                 .pattern_end = p + n_pattern};
    bool anchored = n_pattern > 0 && *p == '^';
    if (anchored)
        p++;
    luaL_Buffer out;
    luaL_buffinit(state, &out);
    const char *s = text;
    const char *last = NULL;
    lua_Integer n = 0;
    while (n < most) {
        paro_sandbox_charge(state, 1);
        const char *end = match_at(&m, s, p);
        if (end != NULL && end != last) {
            n++;
            add_replacement(&m, &out, s, end, type);
            s = last = end;
        } else if (s < m.text_end) {
            luaL_addchar(&out, *s);
            s++;
        } else {
            break;
        }
        if (anchored)
            break;
    }
    luaL_addlstring(&out, s, (size_t)(m.text_end - s));
    luaL_pushresult(&out);
    lua_pushinteger(state, n);
    return 2;
}

void paro_sandbox_open_patterns(lua_State *state)
{
    static const luaL_Reg functions[] = {{"find", string_find},
                                         {"match", string_match},
                                         {"gmatch", string_gmatch},
                                         {"gsub", string_gsub},
                                         {NULL, NULL}};
    luaL_setfuncs(state, functions, 0);
}
