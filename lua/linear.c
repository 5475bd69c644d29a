/* SPDX-License-Identifier: MIT
 *
 * Handles of linears: their fields. (linear_values.c: what they are made of; linear_inputs.c: what
 * goes into them.)
 */
#include <string.h>

#include "lua/block.h"

void paro_lua_push_linear(lua_State *state, int block, paro_slot slot)
{
    block = lua_absindex(state, block);
    paro_lua_linear *handle = lua_newuserdatauv(state, sizeof *handle, 1);
    *handle = (paro_lua_linear){.owner = luaL_checkudata(state, block, PARO_LUA_BLOCK_NAME),
                                .slot = slot};
    lua_pushvalue(state, block);
    lua_setiuservalue(state, -2, 1);
    luaL_setmetatable(state, PARO_LUA_LINEAR_NAME);
}

paro_calib_block *paro_lua_check_linear_block(lua_State *state, int index)
{
    luaL_checkudata(state, index, PARO_LUA_LINEAR_NAME);
    lua_getiuservalue(state, index, 1);
    paro_calib_block *block = paro_lua_check_block(state, -1);
    lua_pop(state, 1);
    return block;
}

paro_train_linear *paro_lua_check_linear(lua_State *state, int index)
{
    const paro_lua_linear *handle = luaL_checkudata(state, index, PARO_LUA_LINEAR_NAME);
    return &paro_lua_check_linear_block(state, index)->linears[handle->slot];
}

const char *paro_lua_linear_kind(const paro_train_linear *linear)
{
    const char *dot = strrchr(linear->name, '.');
    return dot != NULL ? dot + 1 : linear->name;
}

static void push_linear_field(lua_State *state, int handle, const char *field)
{
    const paro_train_linear *linear = paro_lua_check_linear(state, handle);
    if (strcmp(field, "name") == 0)
        lua_pushstring(state, linear->name);
    else if (strcmp(field, "kind") == 0)
        lua_pushstring(state, paro_lua_linear_kind(linear));
    else if (strcmp(field, "is_kept") == 0)
        lua_pushboolean(state, linear->bits == 0);
    else if (strcmp(field, "is_rounded") == 0)
        lua_pushboolean(state, linear->is_rounded);
    else if (strcmp(field, "n_in") == 0)
        lua_pushinteger(state, linear->n_in);
    else if (strcmp(field, "n_out") == 0)
        lua_pushinteger(state, linear->n_out);
    else if (strcmp(field, "bits") == 0)
        lua_pushinteger(state, linear->bits);
    else if (strcmp(field, "group_size") == 0)
        lua_pushinteger(state, linear->group_size);
    else
        lua_pushinteger(state, linear->krot);
}

static int linear_to_string(lua_State *state)
{
    const paro_lua_linear *handle = luaL_checkudata(state, 1, PARO_LUA_LINEAR_NAME);
    if (handle->owner->block == NULL)
        lua_pushliteral(state, "linear (gone)");
    else
        lua_pushfstring(state, "linear %s", handle->owner->block->linears[handle->slot].name);
    return 1;
}

static const luaL_Reg *const linear_methods[] = {paro_lua_linear_values, paro_lua_linear_inputs,
                                                 NULL};
static const char *const linear_fields[] = {"name", "kind",       "n_in",    "n_out",      "bits",
                                            "krot", "group_size", "is_kept", "is_rounded", NULL};

const paro_lua_handle_kind paro_lua_linear_handle = {.name = PARO_LUA_LINEAR_NAME,
                                                     .methods = linear_methods,
                                                     .fields = linear_fields,
                                                     .push_field = push_linear_field,
                                                     .to_string = linear_to_string};
