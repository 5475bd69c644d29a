/* SPDX-License-Identifier: MIT
 *
 * string.find, match, gmatch and gsub for sandboxed code: as in the Lua 5.4 manual, with the
 * matcher of pattern.c.
 */
#include <ctype.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "lua/pattern.h"
#include "lua/sandbox.h"

static int push_captures(paro_matcher *m, const char *start, const char *end, bool whole_if_none)
{
    int n = m->n_captures == 0 && whole_if_none ? 1 : m->n_captures;
    luaL_checkstack(m->state, n, "too many captures");
    for (int i = 0; i < n; i++)
        paro_pattern_push_capture(m, i, start, end);
    return n;
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
        const char *found =
            n_pattern == 0 ? text + from : memmem(text + from, n_text - from, p, n_pattern);
        if (found == NULL) {
            luaL_pushfail(state);
            return 1;
        }
        lua_pushinteger(state, found - text + 1);
        lua_pushinteger(state, found - text + (lua_Integer)n_pattern);
        return 2;
    }
    paro_matcher m = {
        .state = state, .text = text, .text_end = text + n_text, .pattern_end = p + n_pattern};
    bool anchored = n_pattern > 0 && *p == '^';
    if (anchored)
        p++;
    for (const char *s = text + from; s <= m.text_end; s++) {
        const char *end = paro_pattern_match(&m, s, p);
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
    paro_matcher m = {
        .state = state, .text = text, .text_end = text + n_text, .pattern_end = p + n_pattern};
    for (; (size_t)from <= n_text; from++) {
        const char *end = paro_pattern_match(&m, text + from, p);
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
static void add_text(paro_matcher *m, luaL_Buffer *out, const char *start, const char *end)
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
            paro_pattern_push_capture(m, c - '1', start, end);
            luaL_tolstring(m->state, -1, NULL);
            lua_remove(m->state, -2);
            luaL_addvalue(out);
        } else {
            luaL_error(m->state, "invalid use of '%%' in replacement string");
        }
    }
}

/* Adds what replaces one match. */
static void add_replacement(paro_matcher *m, luaL_Buffer *out, const char *start, const char *end,
                            int type)
{
    lua_State *state = m->state;
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(state, 3);
        lua_call(state, push_captures(m, start, end, true), 1);
    } else if (type == LUA_TTABLE) {
        paro_pattern_push_capture(m, 0, start, end);
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
    paro_matcher m = {
        .state = state, .text = text, .text_end = text + n_text, .pattern_end = p + n_pattern};
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
        const char *end = paro_pattern_match(&m, s, p);
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
