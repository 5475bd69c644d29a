/* SPDX-License-Identifier: MIT
 *
 * What goes into a linear: rows of its input, and what is to be known of them and of its weight.
 *
 * Rows are taken evenly from the training samples. They come from a pass through the block as it
 * stands: rounded linears by their codes, the others by their weight, unquantised. One pass
 * captures the inputs of all linears; the block's handle keeps them (user value 2: {rows =, [slot +
 * 1] = tensor}) until something changes the block.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "calib/block_pass.h"
#include "lua/block.h"
#include "lua/options.h"
#include "lua/sandbox.h"
#include "lua/tensor.h"

enum { CAPTURED = 2, DEFAULT_ROWS = 2048, CAPTURE_WORK = 1000 };

/* Slots whose linears have inputs of their own, and the one that a slot shares. */
static const paro_slot sources[] = {PARO_SLOT_Q, PARO_SLOT_O, PARO_SLOT_GATE, PARO_SLOT_DOWN};

enum { N_SOURCES = sizeof sources / sizeof *sources };

static paro_slot source_of(paro_slot slot)
{
    paro_slot source = sources[0];
    for (size_t i = 0; i < N_SOURCES; i++)
        source = sources[i] <= slot ? sources[i] : source;
    return source;
}

typedef struct capture {
    const paro_calib_block *block;
    paro_block_pass *pass;
    float *weights[PARO_SLOT_COUNT]; /* of rounded linears */
    float *y;
    size_t n_rows;
    float *rows[N_SOURCES]; /* [n_rows, n_in]; the caller's */
} capture;

static void release_capture(capture *c)
{
    paro_block_pass_free(c->pass);
    free(c->y);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        free(c->weights[slot]);
}

static paro_status set_weights(paro_error *err, capture *c)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *linear = &c->block->linears[slot];
        const float *weight = linear->w;
        if (linear->is_rounded) {
            size_t n_bytes = (size_t)linear->n_out * linear->n_in * sizeof *weight;
            c->weights[slot] = malloc(n_bytes);
            if (c->weights[slot] == NULL)
                return paro_fail_memory(err, n_bytes, "a weight");
            paro_status status =
                paro_train_linear_effective(err, linear, c->block->pool, c->weights[slot]);
            if (status != PARO_STATUS_OK)
                return status;
            weight = c->weights[slot];
        }
        paro_block_pass_set_weight(c->pass, (paro_slot)slot, weight);
    }
    return PARO_STATUS_OK;
}

/* Copies, after a pass over samples from `first` on, the rows that are wanted of them; the next one
 * is number *row. */
static void copy_rows(capture *c, size_t first, size_t n_samples, size_t *row)
{
    const paro_calib_block *block = c->block;
    size_t n_tokens = block->x->n_tokens;
    size_t n_all = block->n_train * n_tokens;
    for (; *row < c->n_rows; ++*row) {
        size_t at = (size_t)((double)*row * (double)n_all / (double)c->n_rows);
        if (at >= (first + n_samples) * n_tokens)
            return;
        for (size_t i = 0; i < N_SOURCES; i++) {
            size_t n_in = block->linears[sources[i]].n_in;
            memcpy(c->rows[i] + *row * n_in,
                   paro_block_pass_input(c->pass, sources[i]) + (at - first * n_tokens) * n_in,
                   n_in * sizeof(float));
        }
    }
}

static paro_status run_capture(paro_error *err, capture *c)
{
    const paro_calib_block *block = c->block;
    size_t n_sample = block->x->n_tokens * block->x->hidden;
    size_t batch = block->batch < block->n_train ? block->batch : block->n_train;
    batch = batch > 0 ? batch : 1;
    const paro_block_pass_options options = {.max_samples = batch, .n_tokens = block->x->n_tokens};
    char stage[48];
    snprintf(stage, sizeof stage, "block %u: inputs", (unsigned)block->layer);
    size_t row = 0;
    paro_status status = paro_block_pass_new(err, block->model, block->layer, &options, &c->pass);
    if (status != PARO_STATUS_OK)
        return status;
    status = set_weights(err, c);
    c->y = malloc(batch * n_sample * sizeof *c->y);
    if (status == PARO_STATUS_OK && c->y == NULL)
        status = paro_fail_memory(err, batch * n_sample * sizeof *c->y, "a block's outputs");
    for (size_t first = 0; first < block->n_train && status == PARO_STATUS_OK; first += batch) {
        size_t n = block->n_train - first < batch ? block->n_train - first : batch;
        status = paro_report(err, block->observer, stage, first, block->n_train);
        if (status == PARO_STATUS_OK)
            status =
                paro_block_pass_forward(err, c->pass, block->x->data + first * n_sample, n, c->y);
        if (status == PARO_STATUS_OK)
            copy_rows(c, first, n, &row);
    }
    return status;
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
    for (size_t i = 0; i < N_SOURCES; i++) {
        c.rows[i] = paro_lua_tensor_push(state, 2, c.n_rows, block->linears[sources[i]].n_in)->data;
        lua_rawseti(state, -2, (lua_Integer)sources[i] + 1);
    }
    paro_sandbox_charge(state, CAPTURE_WORK);
    paro_error err;
    paro_sandbox_enter_stage(state);
    paro_status status = run_capture(&err, &c);
    release_capture(&c);
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
    lua_rawgeti(state, -1, (lua_Integer)source_of(handle->slot) + 1);
    const paro_lua_tensor *rows = paro_lua_tensor_check(state, -1);
    paro_lua_tensor *copy = paro_lua_tensor_push_like(state, rows);
    memcpy(copy->data, rows->data, paro_lua_tensor_count(rows) * sizeof *copy->data);
    return 1;
}

const luaL_Reg paro_lua_linear_inputs[] = {{"inputs", linear_inputs}, {NULL, NULL}};
