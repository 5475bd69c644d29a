/* SPDX-License-Identifier: MIT
 *
 * What a recipe's function is given: the model, and the options that were set. Both are read-only,
 * and say so when a name is misspelt.
 *
 * A read-only table is an empty one with a metatable that looks into another:
 *     __index     upvalues: the table, its name where it is a record (unknown keys are errors)
 *     __newindex  an error
 *     __len, __pairs
 * Recipes cannot get at metatables: the functions for it are not there.
 */
#include <lauxlib.h>
#include <string.h>

#include "base/nearest.h"
#include "lua/recipe.h"
#include "runtime/model.h"

enum { MAX_KEYS = 32 };

static int index_readonly(lua_State *state)
{
    lua_pushvalue(state, 2);
    lua_rawget(state, lua_upvalueindex(1));
    if (!lua_isnil(state, -1) || lua_type(state, 2) != LUA_TSTRING ||
        lua_isnil(state, lua_upvalueindex(2)))
        return 1;
    const char *keys[MAX_KEYS];
    size_t n = 0;
    lua_pushnil(state);
    while (lua_next(state, lua_upvalueindex(1)) != 0) {
        lua_pop(state, 1);
        if (n < MAX_KEYS && lua_type(state, -1) == LUA_TSTRING)
            keys[n++] = lua_tostring(state, -1);
    }
    char nearest[256];
    paro_nearest_of(nearest, sizeof nearest, lua_tostring(state, 2), n, keys);
    return luaL_error(state, "%s has no \"%s\" (nearest: %s)",
                      lua_tostring(state, lua_upvalueindex(2)), lua_tostring(state, 2), nearest);
}

static int newindex_readonly(lua_State *state)
{
    return luaL_error(state, "model, options and linears are read-only");
}

static int len_readonly(lua_State *state)
{
    lua_pushinteger(state, (lua_Integer)lua_rawlen(state, lua_upvalueindex(1)));
    return 1;
}

static int next_readonly(lua_State *state)
{
    lua_settop(state, 2);
    return lua_next(state, lua_upvalueindex(1)) != 0 ? 2 : 0;
}

static int pairs_readonly(lua_State *state)
{
    lua_pushvalue(state, lua_upvalueindex(1));
    lua_pushcclosure(state, next_readonly, 1);
    return 1;
}

void paro_recipe_make_readonly(lua_State *state, const char *name)
{
    int table = lua_gettop(state);
    lua_createtable(state, 0, 0);
    lua_createtable(state, 0, 5);
    lua_pushvalue(state, table);
    lua_pushstring(state, name);
    lua_pushcclosure(state, index_readonly, 2);
    lua_setfield(state, -2, "__index");
    lua_pushcfunction(state, newindex_readonly);
    lua_setfield(state, -2, "__newindex");
    lua_pushvalue(state, table);
    lua_pushcclosure(state, len_readonly, 1);
    lua_setfield(state, -2, "__len");
    lua_pushvalue(state, table);
    lua_pushcclosure(state, pairs_readonly, 1);
    lua_setfield(state, -2, "__pairs");
    lua_setmetatable(state, -2);
    lua_replace(state, table);
}

static void set_integer(lua_State *state, const char *key, uint64_t value)
{
    lua_pushinteger(state, (lua_Integer)value);
    lua_setfield(state, -2, key);
}

static void set_string(lua_State *state, const char *key, const char *value)
{
    lua_pushstring(state, value);
    lua_setfield(state, -2, key);
}

static void push_linear(lua_State *state, const paro_linear *linear, size_t n)
{
    const char *dot = strrchr(linear->name, '.');
    lua_createtable(state, 0, 5);
    set_string(state, "name", linear->name);
    set_string(state, "kind", dot != NULL ? dot + 1 : linear->name);
    set_integer(state, "layer", n / PARO_SLOT_COUNT);
    set_integer(state, "n_in", linear->n_in);
    set_integer(state, "n_out", linear->n_out);
    paro_recipe_make_readonly(state, "a linear");
}

void paro_recipe_push_model(lua_State *state, const paro_model *model)
{
    luaL_checkstack(state, 16, "model");
    paro_model_info info;
    paro_model_get_info(model, &info);
    lua_createtable(state, 0, 16);
    set_string(state, "architecture", info.architecture);
    set_string(state, "quant_method", info.quant_method);
    set_integer(state, "n_layers", info.n_layers);
    set_integer(state, "hidden", info.hidden);
    set_integer(state, "intermediate", info.intermediate);
    set_integer(state, "n_heads", info.n_heads);
    set_integer(state, "n_kv_heads", info.n_kv_heads);
    set_integer(state, "head_dim", info.head_dim);
    set_integer(state, "vocab", info.vocab);
    set_integer(state, "max_context", info.max_context);
    set_integer(state, "n_parameters", info.n_parameters);
    size_t n = paro_model_n_linears(model);
    lua_createtable(state, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        push_linear(state, paro_model_linear(model, i), i);
        lua_rawseti(state, -2, (lua_Integer)i + 1);
    }
    paro_recipe_make_readonly(state, NULL);
    lua_setfield(state, -2, "linears");
    paro_recipe_make_readonly(state, "model");
}

/* ---- options: a read-only table that notes what was looked at ---- */

/* Upvalues: values, seen. */
static int index_options(lua_State *state)
{
    lua_settop(state, 2);
    if (lua_type(state, 2) != LUA_TSTRING)
        return luaL_error(state, "options are looked up by name");
    lua_pushvalue(state, 2);
    lua_pushboolean(state, 1);
    lua_rawset(state, lua_upvalueindex(2));
    lua_rawget(state, lua_upvalueindex(1));
    return 1;
}

/* Going through all of them is looking at all. */
static int pairs_options(lua_State *state)
{
    lua_pushnil(state);
    while (lua_next(state, lua_upvalueindex(1)) != 0) {
        lua_pop(state, 1);
        lua_pushvalue(state, -1);
        lua_pushboolean(state, 1);
        lua_rawset(state, lua_upvalueindex(2));
    }
    return pairs_readonly(state);
}

static void push_option_value(lua_State *state, const char *text)
{
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        lua_pushboolean(state, strcmp(text, "true") == 0);
    else if (lua_stringtonumber(state, text) == 0)
        lua_pushstring(state, text);
}

void paro_recipe_push_options(lua_State *state, const paro_recipe *recipe)
{
    luaL_checkstack(state, 16, "options");
    lua_createtable(state, 0, 0); /* the options */
    lua_createtable(state, 0, 5); /* its metatable */
    lua_createtable(state, 0, (int)recipe->n_options);
    for (size_t i = 0; i < recipe->n_options; i++) {
        push_option_value(state, recipe->options[i].value);
        lua_setfield(state, -2, recipe->options[i].key);
    }
    lua_createtable(state, 0, 0); /* seen */
    lua_pushvalue(state, -1);
    lua_setfield(state, -4, "seen");
    lua_pushvalue(state, -2);
    lua_pushvalue(state, -2);
    lua_pushcclosure(state, index_options, 2);
    lua_setfield(state, -4, "__index");
    lua_pushcclosure(state, pairs_options, 2);
    lua_setfield(state, -2, "__pairs");
    lua_pushcfunction(state, newindex_readonly);
    lua_setfield(state, -2, "__newindex");
    lua_setmetatable(state, -2);
}

void paro_recipe_check_options(lua_State *state, const paro_recipe *recipe, int index)
{
    luaL_getmetafield(state, index, "seen");
    const char *unseen = NULL;
    for (size_t i = 0; i < recipe->n_options && unseen == NULL; i++) {
        lua_getfield(state, -1, recipe->options[i].key);
        if (lua_isnil(state, -1))
            unseen = recipe->options[i].key;
        lua_pop(state, 1);
    }
    if (unseen == NULL) {
        lua_pop(state, 1);
        return;
    }
    const char *keys[MAX_KEYS];
    size_t n = 0;
    lua_pushnil(state);
    while (lua_next(state, -2) != 0) {
        lua_pop(state, 1);
        if (n < MAX_KEYS)
            keys[n++] = lua_tostring(state, -1);
    }
    char nearest[256];
    paro_nearest_of(nearest, sizeof nearest, unseen, n, keys);
    if (n == 0)
        paro_recipe_raise(state, recipe, "option \"%s\" is set, but the recipe takes none", unseen);
    paro_recipe_raise(state, recipe,
                      "option \"%s\" is set, but the recipe does not look at it "
                      "(nearest of those it does: %s)",
                      unseen, nearest);
}
