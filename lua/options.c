/* SPDX-License-Identifier: MIT
 *
 * Reading a function's options.
 */
#include "lua/options.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "base/nearest.h"
#include "calib/glob.h"
#include "lua/recipe.h"
#include "lua/sandbox.h"

enum { MATCH_WORK = 1000 };

static void check_key(const paro_lua_options *o, const char *const *keys, size_t n_keys)
{
    lua_State *state = o->state;
    if (lua_type(state, -1) != LUA_TSTRING)
        luaL_error(state, "%s: expected keys that are names, found %s", o->function,
                   paro_recipe_describe(state, -1));
    const char *key = lua_tostring(state, -1);
    for (size_t i = 0; i < n_keys; i++) {
        if (strcmp(key, keys[i]) == 0)
            return;
    }
    char nearest[256];
    paro_nearest_of(nearest, sizeof nearest, key, n_keys, keys);
    luaL_error(state, "%s: unknown key \"%s\" (nearest: %s)", o->function, key, nearest);
}

paro_lua_options paro_lua_options_read(lua_State *state, int index, const char *function,
                                       const char *const *keys, size_t n_keys)
{
    paro_lua_options o = {.state = state, .function = function};
    luaL_checkstack(state, 16, function);
    if (lua_isnoneornil(state, index))
        return o;
    if (!lua_istable(state, index))
        luaL_error(state, "%s: expected a table of options, {key = value, …}, found %s", function,
                   paro_recipe_describe(state, index));
    if (luaL_getmetafield(state, index, "__index") != LUA_TNIL)
        luaL_error(state, "%s: expected a table of the recipe's own", function);
    o.table = lua_absindex(state, index);
    lua_pushnil(state);
    while (lua_next(state, o.table) != 0) {
        lua_pop(state, 1);
        check_key(&o, keys, n_keys);
    }
    return o;
}

/* Pushes the value of the key, and gives its type. */
static int push_value(const paro_lua_options *o, const char *key)
{
    if (o->table != 0)
        return lua_getfield(o->state, o->table, key);
    lua_pushnil(o->state);
    return LUA_TNIL;
}

static void fail_value(const paro_lua_options *o, const char *key, const char *expected)
{
    luaL_error(o->state, "%s: %s: expected %s, found %s", o->function, key, expected,
               paro_recipe_describe(o->state, -1));
}

bool paro_lua_options_has(const paro_lua_options *options, const char *key)
{
    bool has = push_value(options, key) != LUA_TNIL;
    lua_pop(options->state, 1);
    return has;
}

bool paro_lua_options_boolean(const paro_lua_options *options, const char *key, bool fallback)
{
    int type = push_value(options, key);
    bool value = type == LUA_TNIL ? fallback : lua_toboolean(options->state, -1) != 0;
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        fail_value(options, key, "true or false");
    lua_pop(options->state, 1);
    return value;
}

lua_Integer paro_lua_options_integer(const paro_lua_options *options, const char *key,
                                     lua_Integer min, lua_Integer max, lua_Integer fallback)
{
    lua_State *state = options->state;
    int type = push_value(options, key);
    int is_integer = 0;
    lua_Integer value = type == LUA_TNUMBER ? lua_tointegerx(state, -1, &is_integer) : fallback;
    if (type != LUA_TNIL && (!is_integer || value < min || value > max)) {
        const char *expected = lua_pushfstring(state, "an integer from %I to %I", min, max);
        lua_insert(state, -2);
        fail_value(options, key, expected);
    }
    lua_pop(state, 1);
    return value;
}

double paro_lua_options_number(const paro_lua_options *options, const char *key, double min,
                               double max, double fallback)
{
    lua_State *state = options->state;
    int type = push_value(options, key);
    double value = type == LUA_TNUMBER ? (double)lua_tonumber(state, -1) : fallback;
    if (type != LUA_TNIL && (type != LUA_TNUMBER || !(value >= min && value <= max))) {
        const char *expected =
            lua_pushfstring(state, "a number from %f to %f", (lua_Number)min, (lua_Number)max);
        lua_insert(state, -2);
        fail_value(options, key, expected);
    }
    lua_pop(state, 1);
    return value;
}

const char *paro_lua_options_text(const paro_lua_options *options, const char *key,
                                  const char *fallback)
{
    int type = push_value(options, key);
    const char *text = type == LUA_TSTRING ? lua_tostring(options->state, -1) : fallback;
    if (type != LUA_TNIL && type != LUA_TSTRING)
        fail_value(options, key, "a string");
    lua_pop(options->state, 1);
    return text;
}

/* ---- patterns ---- */

/* The pattern on top of the stack. */
static bool match_pattern(lua_State *state, const char *function, const char *name)
{
    size_t n_bytes = 0;
    if (lua_type(state, -1) != LUA_TSTRING)
        luaL_error(state, "%s: expected a pattern (a string), found %s", function,
                   paro_recipe_describe(state, -1));
    const char *text = lua_tolstring(state, -1, &n_bytes);
    if (strlen(text) != n_bytes)
        luaL_error(state, "%s: a pattern with a zero byte", function);
    paro_sandbox_charge(state, MATCH_WORK);
    paro_arena arena = {0};
    paro_glob glob;
    paro_error err;
    paro_status status = paro_glob_compile(&err, &arena, text, &glob);
    bool matches = status == PARO_STATUS_OK && paro_glob_match(&glob, name);
    paro_arena_release(&arena);
    if (status == PARO_STATUS_OUT_OF_MEMORY)
        paro_sandbox_out_of_memory(state);
    if (status != PARO_STATUS_OK)
        luaL_error(state, "%s: %s", function, err.message);
    return matches;
}

bool paro_lua_options_match(lua_State *state, int index, const char *function, const char *name)
{
    index = lua_absindex(state, index);
    bool matches = false;
    if (lua_type(state, index) != LUA_TTABLE) {
        lua_pushvalue(state, index);
        matches = match_pattern(state, function, name);
        lua_pop(state, 1);
        return matches;
    }
    lua_Integer n = (lua_Integer)lua_rawlen(state, index);
    if (n == 0)
        luaL_error(state, "%s: expected a pattern or a list of patterns, found an empty table",
                   function);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(state, index, i);
        matches = match_pattern(state, function, name) || matches;
        lua_pop(state, 1);
    }
    return matches;
}

bool paro_lua_options_matches(const paro_lua_options *options, const char *key, const char *name)
{
    bool matches = push_value(options, key) == LUA_TNIL ||
                   paro_lua_options_match(options->state, -1, options->function, name);
    lua_pop(options->state, 1);
    return matches;
}
