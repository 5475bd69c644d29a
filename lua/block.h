/* SPDX-License-Identifier: MIT
 *
 * A block on its way (calib/calib_block.h) as recipes see it: a handle with fields and methods, and
 * one for each of its linears. docs/lua.md has the user's view.
 *
 * Invariants:
 * 1. A handle's `block` is NULL once the function it was made for is over; any use of it, or of the
 *    handle of a linear of it, is then a Lua error.
 * 2. A linear's handle keeps the block's handle alive (its user value). User value 1 of a block's
 *    handle is the list of its linears, 2 what linear_inputs.c captured, or nil.
 */
#ifndef PARO_LUA_BLOCK_H
#define PARO_LUA_BLOCK_H

#include <lauxlib.h>

#include "calib/calib_block.h"

#define PARO_LUA_BLOCK_NAME  "block" /* of the metatables in the registry */
#define PARO_LUA_LINEAR_NAME "linear"

typedef struct paro_lua_block {
    paro_calib_block *block;
} paro_lua_block;

typedef struct paro_lua_linear {
    paro_lua_block *owner;
    paro_slot slot;
} paro_lua_linear;

/* block.c: pushes a handle of the block; paro_lua_close_block on it before the block goes. */
void paro_lua_push_block(lua_State *state, paro_calib_block *block);
void paro_lua_close_block(lua_State *state, int index);

/* The block of the handle at `index`; anything else, and a handle that is closed, is an error. */
paro_calib_block *paro_lua_check_block(lua_State *state, int index);

/* For what changes a block: captured inputs are forgotten. */
void paro_lua_block_changed(lua_State *state, int block);

/* Pushes the list of the linears that match the value at `patterns` (options.h). */
void paro_lua_push_matching(lua_State *state, int block, int patterns);

/* linear.c: pushes a handle of a linear of the block whose handle is at `block`. */
void paro_lua_push_linear(lua_State *state, int block, paro_slot slot);

/* linear.c: the linear, and its block, of the handle at `index`, likewise. */
paro_train_linear *paro_lua_check_linear(lua_State *state, int index);
paro_calib_block *paro_lua_check_linear_block(lua_State *state, int index);

/* "q_proj": the last part of its name. */
const char *paro_lua_linear_kind(const paro_train_linear *linear);

/* ---- both kinds of handles ---- */

typedef struct paro_lua_handle_kind {
    const char *name;               /* of the metatable */
    const luaL_Reg *const *methods; /* lists; NULL ends them */
    const char *const *fields;      /* likewise */
    void (*push_field)(lua_State *state, int handle, const char *field);
    lua_CFunction to_string;
} paro_lua_handle_kind;

/* Makes the metatable. A name that is neither a method nor a field is an error that names the
 * nearest. */
void paro_lua_new_handle_kind(lua_State *state, const paro_lua_handle_kind *kind);

extern const paro_lua_handle_kind paro_lua_block_handle;
extern const paro_lua_handle_kind paro_lua_linear_handle;

/* block_stages.c; linear_values.c, linear_inputs.c */
extern const luaL_Reg paro_lua_block_stages[];
extern const luaL_Reg paro_lua_linear_values[];
extern const luaL_Reg paro_lua_linear_inputs[];

/* Registers both kinds of handles. */
void paro_lua_open_blocks(lua_State *state);

#endif
