/* SPDX-License-Identifier: MIT
 *
 * What goes into a linear: rows of its input, and statistics of these and of its weight.
 *
 * Inputs come from a pass of all training samples through the block as it stands
 * (calib/linear_inputs.h). One pass captures those of all linears, rows taken evenly and statistics
 * of all of them; the block's handle keeps them, as its user value 2, until something changes the
 * block: a table of `rows` (how many), and for every slot that shares no other's input
 *     [slot + 1]                        tensor [rows, n_in]
 *     [slot + 1 + PARO_SLOT_COUNT]      paro_stats_summary, as a userdata
 *     [slot + 1 + 2 * PARO_SLOT_COUNT]  tensor [n_in], mean magnitudes
 */
#include <string.h>

#include "calib/linear_inputs.h"
#include "calib/stats.h"
#include "lua/block.h"
#include "lua/options.h"
#include "lua/sandbox.h"
#include "lua/tensor.h"

enum { CAPTURED = 2, DEFAULT_ROWS = 2048, CAPTURE_WORK = 1000 };

typedef struct capture {
    const paro_calib_block *block;
    size_t n_rows;
    size_t row;                         /* how many are there */
    float *rows[PARO_SLOT_COUNT];       /* [n_rows, n_in]; NULL for slots that share an input */
    paro_stats *stats[PARO_SLOT_COUNT]; /* owned; likewise */
    paro_stats_summary *summaries[PARO_SLOT_COUNT];
    float *mean_abs[PARO_SLOT_COUNT];
} capture;

static paro_status take_inputs(paro_error *err, void *context, const paro_linear_inputs *inputs)
{
    (void)err;
    capture *c = context;
    size_t n_all = c->block->n_train * c->block->x->n_tokens;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        if (c->stats[slot] != NULL)
            paro_stats_add(c->stats[slot], inputs->rows[slot], inputs->n_rows);
    }
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

/* Calls no Lua: whatever happens, the statistics are freed. */
static paro_status run_capture(paro_error *err, capture *c)
{
    paro_status status = PARO_STATUS_OK;
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++) {
        if (c->rows[slot] != NULL)
            status =
                paro_stats_new(err, c->block->pool, c->block->linears[slot].n_in, &c->stats[slot]);
    }
    if (status == PARO_STATUS_OK)
        status = paro_linear_inputs_each(err, c->block, c->block->n_train, take_inputs, c);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        if (c->stats[slot] != NULL && status == PARO_STATUS_OK) {
            paro_stats_summarise(c->stats[slot], c->summaries[slot]);
            paro_stats_mean_abs(c->stats[slot], c->mean_abs[slot]);
        }
        paro_stats_free(c->stats[slot]);
    }
    return status;
}

/* Pushes the table of what is captured of the block whose handle is at `handle`; n_wanted rows, or
 * 0: any. */
static void push_captured(lua_State *state, int handle, size_t n_wanted)
{
    const paro_calib_block *block = paro_lua_check_block(state, handle);
    size_t n_all = block->n_train * block->x->n_tokens;
    capture c = {.block = block, .n_rows = n_wanted > 0 ? n_wanted : DEFAULT_ROWS};
    c.n_rows = c.n_rows < n_all ? c.n_rows : n_all;
    if (n_all == 0)
        luaL_error(state, "there are no training samples to take inputs from");
    if (lua_getiuservalue(state, handle, CAPTURED) == LUA_TTABLE) {
        lua_getfield(state, -1, "rows");
        bool fits = n_wanted == 0 || (size_t)lua_tointeger(state, -1) == c.n_rows;
        lua_pop(state, 1);
        if (fits)
            return;
    }
    lua_pop(state, 1);
    paro_lua_block_changed(state, handle); /* not two at a time */
    lua_createtable(state, 3 * PARO_SLOT_COUNT, 1);
    lua_pushinteger(state, (lua_Integer)c.n_rows);
    lua_setfield(state, -2, "rows");
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        size_t n_in = block->linears[slot].n_in;
        if (paro_slot_first((paro_slot)slot) != (paro_slot)slot)
            continue;
        c.rows[slot] = paro_lua_tensor_push(state, 2, c.n_rows, n_in)->data;
        lua_rawseti(state, -2, slot + 1);
        c.summaries[slot] = lua_newuserdatauv(state, sizeof *c.summaries[slot], 0);
        lua_rawseti(state, -2, slot + 1 + PARO_SLOT_COUNT);
        c.mean_abs[slot] = paro_lua_tensor_push(state, 1, 1, n_in)->data;
        lua_rawseti(state, -2, slot + 1 + 2 * PARO_SLOT_COUNT);
    }
    paro_sandbox_charge(state, CAPTURE_WORK);
    paro_error err;
    paro_sandbox_enter_stage(state);
    paro_status status = run_capture(&err, &c);
    paro_sandbox_leave_stage(state);
    if (status != PARO_STATUS_OK)
        paro_sandbox_fail(state, &err);
    lua_pushvalue(state, -1);
    lua_setiuservalue(state, handle, CAPTURED);
}

/* Pushes what is captured for the linear at 1, of the part 0, 1 or 2 of the table. */
static void push_part(lua_State *state, int captured, int part)
{
    const paro_lua_linear *handle = luaL_checkudata(state, 1, PARO_LUA_LINEAR_NAME);
    lua_rawgeti(state, captured,
                (lua_Integer)paro_slot_first(handle->slot) + 1 + part * PARO_SLOT_COUNT);
}

static void push_copy(lua_State *state, const paro_lua_tensor *tensor)
{
    paro_lua_tensor *copy = paro_lua_tensor_push_like(state, tensor);
    memcpy(copy->data, tensor->data, paro_lua_tensor_count(tensor) * sizeof *copy->data);
}

/* linear:inputs{tokens=} */
static int linear_inputs(lua_State *state)
{
    static const char *const keys[] = {"tokens"};
    paro_lua_check_linear(state, 1);
    lua_settop(state, 2);
    paro_lua_options o = paro_lua_options_read(state, 2, "inputs", keys, 1);
    size_t n = (size_t)paro_lua_options_integer(&o, "tokens", 1, PARO_LUA_TENSOR_MAX, DEFAULT_ROWS);
    lua_getiuservalue(state, 1, 1);
    push_captured(state, 3, n);
    push_part(state, 4, 0);
    push_copy(state, paro_lua_tensor_check(state, -1));
    return 1;
}

/* A table of the summary on top of the stack; the mean magnitudes are below it. */
static void push_summary(lua_State *state, const paro_stats_summary *summary)
{
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"min", summary->min},
                   {"max", summary->max},
                   {"mean", summary->mean},
                   {"rms", summary->rms},
                   {"kurtosis", summary->kurtosis},
                   {"kurtosis_mean", summary->kurtosis_mean},
                   {"kurtosis_max", summary->kurtosis_max},
                   {"outliers", summary->outliers}};
    lua_createtable(state, 0, 12);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        lua_pushnumber(state, numbers[i].value);
        lua_setfield(state, -2, numbers[i].name);
    }
    lua_pushinteger(state, (lua_Integer)summary->kurtosis_where + 1);
    lua_setfield(state, -2, "kurtosis_where");
    lua_pushinteger(state, (lua_Integer)summary->n_values);
    lua_setfield(state, -2, "n_values");
    lua_pushinteger(state, (lua_Integer)summary->n_not_finite);
    lua_setfield(state, -2, "n_not_finite");
    lua_insert(state, -2);
    lua_setfield(state, -2, "mean_abs");
}

static void push_weight_stats(lua_State *state)
{
    const paro_train_linear *linear = paro_lua_check_linear(state, 1);
    paro_pool *pool = paro_lua_check_linear_block(state, 1)->pool;
    paro_lua_tensor *mean_abs = paro_lua_tensor_push(state, 1, 1, linear->n_in);
    paro_sandbox_charge(state, (uint64_t)linear->n_out * linear->n_in / PARO_LUA_TENSOR_DEAR);
    paro_stats_summary summary = {.n_values = 0};
    paro_stats *stats = NULL;
    paro_error err;
    paro_sandbox_enter_stage(state);
    paro_status status = paro_stats_new(&err, pool, linear->n_in, &stats);
    if (status == PARO_STATUS_OK) {
        paro_stats_add(stats, linear->w, linear->n_out);
        paro_stats_summarise(stats, &summary);
        paro_stats_mean_abs(stats, mean_abs->data);
    }
    paro_stats_free(stats);
    paro_sandbox_leave_stage(state);
    if (status != PARO_STATUS_OK)
        paro_sandbox_fail(state, &err);
    push_summary(state, &summary);
}

/* linear:stats(): {weight = …, input = …} */
static int linear_stats(lua_State *state)
{
    paro_lua_check_linear(state, 1);
    lua_settop(state, 1);
    lua_getiuservalue(state, 1, 1);
    push_captured(state, 2, 0);
    lua_createtable(state, 0, 2);
    push_weight_stats(state);
    lua_setfield(state, 4, "weight");
    push_part(state, 3, 1);
    const paro_stats_summary *summary = lua_touserdata(state, -1);
    push_part(state, 3, 2);
    push_copy(state, paro_lua_tensor_check(state, -1));
    push_summary(state, summary);
    lua_setfield(state, 4, "input");
    lua_settop(state, 4);
    return 1;
}

const luaL_Reg paro_lua_linear_inputs[] = {
    {"inputs", linear_inputs}, {"stats", linear_stats}, {NULL, NULL}};
