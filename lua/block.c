/* SPDX-License-Identifier: MIT
 *
 * Handles of blocks: fields, and the lists of their linears. (What is done to a block:
 * block_stages.c.)
 */
#include "lua/block.h"

#include <string.h>

#include "base/nearest.h"
#include "lua/options.h"
#include "lua/recipe.h"
#include "runtime/model.h"

enum { MAX_NAMES = 48, LINEARS = 1, INPUTS = 2 };

/* ---- both kinds of handles ---- */

static int fail_unknown(lua_State *state, const paro_lua_handle_kind *kind, const char *key)
{
    const char *names[MAX_NAMES];
    size_t n = 0;
    for (size_t i = 0; kind->fields[i] != NULL && n < MAX_NAMES; i++)
        names[n++] = kind->fields[i];
    for (size_t k = 0; kind->methods[k] != NULL; k++) {
        for (const luaL_Reg *method = kind->methods[k]; method->name != NULL && n < MAX_NAMES;
             method++)
            names[n++] = method->name;
    }
    char nearest[256];
    paro_nearest_of(nearest, sizeof nearest, key, n, names);
    return luaL_error(state, "a %s has no \"%s\" (nearest: %s)", kind->name, key, nearest);
}

/* Upvalues: the kind, the table of methods. */
static int index_handle(lua_State *state)
{
    const paro_lua_handle_kind *kind = lua_touserdata(state, lua_upvalueindex(1));
    luaL_checkudata(state, 1, kind->name);
    lua_settop(state, 2);
    if (lua_type(state, 2) != LUA_TSTRING)
        return luaL_error(state, "a %s is looked into by name, found %s", kind->name,
                          paro_recipe_describe(state, 2));
    lua_pushvalue(state, 2);
    if (lua_rawget(state, lua_upvalueindex(2)) != LUA_TNIL)
        return 1;
    const char *key = lua_tostring(state, 2);
    for (size_t i = 0; kind->fields[i] != NULL; i++) {
        if (strcmp(kind->fields[i], key) == 0) {
            kind->push_field(state, 1, key);
            return 1;
        }
    }
    return fail_unknown(state, kind, key);
}

static int newindex_handle(lua_State *state)
{
    const paro_lua_handle_kind *kind = lua_touserdata(state, lua_upvalueindex(1));
    return luaL_error(state, "fields of a %s are read-only", kind->name);
}

void paro_lua_new_handle_kind(lua_State *state, const paro_lua_handle_kind *kind)
{
    luaL_newmetatable(state, kind->name);
    lua_pushlightuserdata(state, (void *)(uintptr_t)kind); /* only ever read */
    lua_createtable(state, 0, MAX_NAMES);
    for (size_t i = 0; kind->methods[i] != NULL; i++)
        luaL_setfuncs(state, kind->methods[i], 0);
    lua_pushcclosure(state, index_handle, 2);
    lua_setfield(state, -2, "__index");
    lua_pushlightuserdata(state, (void *)(uintptr_t)kind);
    lua_pushcclosure(state, newindex_handle, 1);
    lua_setfield(state, -2, "__newindex");
    lua_pushcfunction(state, kind->to_string);
    lua_setfield(state, -2, "__tostring");
    lua_pop(state, 1);
}

void paro_lua_open_blocks(lua_State *state)
{
    paro_lua_new_handle_kind(state, &paro_lua_block_handle);
    paro_lua_new_handle_kind(state, &paro_lua_linear_handle);
}

/* ---- blocks ---- */

void paro_lua_push_block(lua_State *state, paro_calib_block *block)
{
    luaL_checkstack(state, 16, "block");
    paro_lua_block *handle = lua_newuserdatauv(state, sizeof *handle, 2);
    handle->block = block;
    luaL_setmetatable(state, PARO_LUA_BLOCK_NAME);
    int at = lua_gettop(state);
    lua_createtable(state, PARO_SLOT_COUNT, PARO_SLOT_COUNT);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_lua_push_linear(state, at, (paro_slot)slot);
        lua_pushvalue(state, -1);
        lua_rawseti(state, -3, slot + 1);
        lua_setfield(state, -2, paro_lua_linear_kind(&block->linears[slot]));
    }
    paro_recipe_make_readonly(state, "block.linears");
    lua_setiuservalue(state, at, LINEARS);
}

void paro_lua_close_block(lua_State *state, int index)
{
    paro_lua_block *handle = luaL_checkudata(state, index, PARO_LUA_BLOCK_NAME);
    paro_lua_block_changed(state, index);
    handle->block = NULL;
}

paro_calib_block *paro_lua_check_block(lua_State *state, int index)
{
    paro_lua_block *handle = luaL_checkudata(state, index, PARO_LUA_BLOCK_NAME);
    if (handle->block == NULL)
        luaL_error(state, "the block is gone: it can be used until the function that was given it "
                          "returns");
    return handle->block;
}

void paro_lua_block_changed(lua_State *state, int block)
{
    block = lua_absindex(state, block);
    lua_pushnil(state);
    lua_setiuservalue(state, block, INPUTS);
}

static void push_block_field(lua_State *state, int handle, const char *field)
{
    const paro_calib_block *block = paro_lua_check_block(state, handle);
    if (strcmp(field, "linears") == 0) {
        lua_getiuservalue(state, handle, LINEARS);
        return;
    }
    const struct {
        const char *name;
        size_t value;
    } numbers[] = {{"layer", block->layer},          {"n_layers", block->model->config.n_layers},
                   {"n_train", block->n_train},      {"n_validation", block->n_validation},
                   {"n_tokens", block->x->n_tokens}, {"hidden", block->x->hidden}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(field, numbers[i].name) == 0)
            lua_pushinteger(state, (lua_Integer)numbers[i].value);
    }
}

static int block_to_string(lua_State *state)
{
    const paro_lua_block *handle = luaL_checkudata(state, 1, PARO_LUA_BLOCK_NAME);
    if (handle->block == NULL)
        lua_pushliteral(state, "block (gone)");
    else
        lua_pushfstring(state, "block %I", (lua_Integer)handle->block->layer);
    return 1;
}

void paro_lua_push_matching(lua_State *state, int block, int patterns)
{
    const paro_calib_block *b = paro_lua_check_block(state, block);
    lua_createtable(state, PARO_SLOT_COUNT, 0);
    lua_getiuservalue(state, block, LINEARS);
    lua_Integer n = 0;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        if (paro_lua_options_match(state, patterns, "block:match", b->linears[slot].name)) {
            lua_geti(state, -1, slot + 1);
            lua_rawseti(state, -3, ++n);
        }
    }
    lua_pop(state, 1);
}

/* block:match(patterns) */
static int block_match(lua_State *state)
{
    luaL_checkany(state, 2);
    lua_settop(state, 2);
    paro_lua_push_matching(state, 1, 2);
    return 1;
}

static const luaL_Reg block_lists[] = {{"match", block_match}, {NULL, NULL}};
static const luaL_Reg *const block_methods[] = {block_lists, paro_lua_block_stages, NULL};
static const char *const block_fields[] = {"layer",    "n_layers", "n_train", "n_validation",
                                           "n_tokens", "hidden",   "linears", NULL};

const paro_lua_handle_kind paro_lua_block_handle = {.name = PARO_LUA_BLOCK_NAME,
                                                    .methods = block_methods,
                                                    .fields = block_fields,
                                                    .push_field = push_block_field,
                                                    .to_string = block_to_string};
