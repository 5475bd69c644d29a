/* SPDX-License-Identifier: MIT
 *
 * What goes into a linear: rows of its input, and what is to be known of them and of its weight.
 *
 * Rows are taken evenly from the training samples. They come from a pass through the block as it
 * stands: rounded linears by their codes, the others by their weight, unquantised. One pass
 * captures the inputs of all linears; the block's handle keeps them (user value 2: {rows =, [slot +
 * 1] = tensor}) until something changes the block.
 */
#include <string.h>

#include "calib/linear_inputs.h"
#include "lua/block.h"
#include "lua/options.h"
#include "lua/sandbox.h"
#include "lua/tensor.h"

enum { CAPTURED = 2, DEFAULT_ROWS = 2048, CAPTURE_WORK = 1000 };

typedef struct capture {
    const paro_calib_block *block;
    size_t n_rows;
    size_t row;                   /* how many are there */
    float *rows[PARO_SLOT_COUNT]; /* [n_rows, n_in]; NULL for slots that share another's input */
} capture;

/* Copies the rows that are wanted of a batch. */
static paro_status copy_rows(paro_error *err, void *context, const paro_linear_inputs *inputs)
{
    (void)err;
    capture *c = context;
    size_t n_all = c->block->n_train * c->block->x->n_tokens;
    for (; c->row < c->n_rows; c->row++) {
        size_t at = c->row * n_all / c->n_rows;
        if (at >= inputs->first_row + inputs->n_rows)
            break;
        for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
            size_t n_in = c->block->linears[slot].n_in;
            if (c->rows[slot] != NULL)
                memcpy(c->rows[slot] + c->row * n_in,
                       inputs->rows[slot] + (at - inputs->first_row) * n_in, n_in * sizeof(float));
        }
    }
    return PARO_STATUS_OK;
}

/* Pushes the table of captured inputs of the block whose handle is at `handle`. */
static void push_captured(lua_State *state, int handle, size_t n_wanted)
{
    const paro_calib_block *block = paro_lua_check_block(state, handle);
    if (block->n_train == 0)
        luaL_error(state, "there are no training samples to take inputs from");
    size_t n_all = block->n_train * block->x->n_tokens;
    capture c = {.block = block, .n_rows = n_wanted < n_all ? n_wanted : n_all};
    if (lua_getiuservalue(state, handle, CAPTURED) == LUA_TTABLE) {
        lua_getfield(state, -1, "rows");
        bool fits = (size_t)lua_tointeger(state, -1) == c.n_rows;
        lua_pop(state, 1);
        if (fits)
            return;
    }
    lua_pop(state, 1);
    lua_pushnil(state);
    lua_setiuservalue(state, handle, CAPTURED); /* not two at a time */
    lua_createtable(state, PARO_SLOT_COUNT, 1);
    lua_pushinteger(state, (lua_Integer)c.n_rows);
    lua_setfield(state, -2, "rows");
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        if (paro_slot_first((paro_slot)slot) != (paro_slot)slot)
            continue;
        c.rows[slot] = paro_lua_tensor_push(state, 2, c.n_rows, block->linears[slot].n_in)->data;
        lua_rawseti(state, -2, slot + 1);
    }
    paro_sandbox_charge(state, CAPTURE_WORK);
    paro_error err;
    paro_sandbox_enter_stage(state);
    paro_status status = paro_linear_inputs_each(&err, block, block->n_train, copy_rows, &c);
    paro_sandbox_leave_stage(state);
    if (status != PARO_STATUS_OK)
        paro_sandbox_fail(state, &err);
    lua_pushvalue(state, -1);
    lua_setiuservalue(state, handle, CAPTURED);
}

/* linear:inputs{tokens=} */
static int linear_inputs(lua_State *state)
{
    static const char *const keys[] = {"tokens"};
    const paro_lua_linear *handle = luaL_checkudata(state, 1, PARO_LUA_LINEAR_NAME);
    lua_settop(state, 2);
    paro_lua_options o = paro_lua_options_read(state, 2, "inputs", keys, 1);
    size_t n = (size_t)paro_lua_options_integer(&o, "tokens", 1, PARO_LUA_TENSOR_MAX, DEFAULT_ROWS);
    lua_getiuservalue(state, 1, 1);
    push_captured(state, lua_gettop(state), n);
    lua_rawgeti(state, -1, (lua_Integer)paro_slot_first(handle->slot) + 1);
    const paro_lua_tensor *rows = paro_lua_tensor_check(state, -1);
    paro_lua_tensor *copy = paro_lua_tensor_push_like(state, rows);
    memcpy(copy->data, rows->data, paro_lua_tensor_count(rows) * sizeof *copy->data);
    return 1;
}

const luaL_Reg paro_lua_linear_inputs[] = {{"inputs", linear_inputs}, {NULL, NULL}};
