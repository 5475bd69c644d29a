/* SPDX-License-Identifier: MIT
 *
 * What a linear is made of, as tensors: taken out and put back. What is put back is checked, so
 * that the invariants of calib/train_linear.h hold whatever a recipe does.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "calib/fake_quant.h"
#include "lua/block.h"
#include "lua/sandbox.h"
#include "lua/tensor.h"

enum { MAX_KROT = 64 };

/* The linear at 1 for a function that changes it; captured inputs of its block are forgotten. */
static paro_train_linear *check_open(lua_State *state, const char *function)
{
    paro_train_linear *linear = paro_lua_check_linear(state, 1);
    if (linear->bits == 0 || linear->is_rounded)
        luaL_error(state, "%s: %s %s", function, linear->name,
                   linear->is_rounded ? "is rounded already: nothing changes it any more"
                                      : "is kept: the recipe's rules leave it as it is");
    lua_getiuservalue(state, 1, 1);
    paro_lua_block_changed(state, -1);
    lua_pop(state, 1);
    return linear;
}

/* The tensor at `index`: of this shape, all finite and at least `least`. */
static const paro_lua_tensor *check_values(lua_State *state, int index, const char *function,
                                           int rank, size_t n_rows, size_t n_columns, float least)
{
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, index);
    const paro_lua_tensor wanted = {.rank = rank, .n_rows = n_rows, .n_columns = n_columns};
    if (tensor->rank != rank || tensor->n_rows != n_rows || tensor->n_columns != n_columns)
        luaL_error(state, "%s: expected a tensor %s, found %s", function,
                   paro_lua_tensor_describe(state, &wanted),
                   paro_lua_tensor_describe(state, tensor));
    size_t n = paro_lua_tensor_count(tensor);
    paro_sandbox_charge(state, n / PARO_LUA_TENSOR_CHEAP);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(tensor->data[i]) || tensor->data[i] < least)
            luaL_error(state, "%s: expected %s values, found %f at place %I", function,
                       isfinite(least) ? "positive" : "finite", (lua_Number)tensor->data[i],
                       (lua_Integer)i + 1);
    }
    return tensor;
}

static int push_copy(lua_State *state, int rank, size_t n_rows, size_t n_columns,
                     const float *values)
{
    paro_lua_tensor *tensor = paro_lua_tensor_push(state, rank, n_rows, n_columns);
    memcpy(tensor->data, values, paro_lua_tensor_count(tensor) * sizeof *values);
    return 1;
}

/* ---- weights and scales ---- */

static int linear_weight(lua_State *state)
{
    const paro_train_linear *linear = paro_lua_check_linear(state, 1);
    return push_copy(state, 2, linear->n_out, linear->n_in, linear->w);
}

static int linear_set_weight(lua_State *state)
{
    paro_train_linear *linear = check_open(state, "set_weight");
    const paro_lua_tensor *w =
        check_values(state, 2, "set_weight", 2, linear->n_out, linear->n_in, -INFINITY);
    memcpy(linear->w, w->data, paro_lua_tensor_count(w) * sizeof *w->data);
    return 0;
}

static int linear_effective(lua_State *state)
{
    const paro_train_linear *linear = paro_lua_check_linear(state, 1);
    paro_pool *pool = paro_lua_check_linear_block(state, 1)->pool;
    float *out = paro_lua_tensor_push(state, 2, linear->n_out, linear->n_in)->data;
    paro_sandbox_charge(state, (uint64_t)linear->n_out * linear->n_in / PARO_LUA_TENSOR_DEAR);
    paro_error err;
    paro_sandbox_enter_stage(state);
    paro_status status = linear->bits == 0 || linear->is_rounded
                             ? paro_train_linear_effective(&err, linear, pool, out)
                             : paro_fake_quant_forward(&err, linear, pool, out);
    paro_sandbox_leave_stage(state);
    return status == PARO_STATUS_OK ? 1 : paro_sandbox_fail(state, &err);
}

/* What only quantised linears have. */
static const paro_train_linear *check_quantised(lua_State *state, const char *function)
{
    const paro_train_linear *linear = paro_lua_check_linear(state, 1);
    if (linear->bits == 0)
        luaL_error(state, "%s: %s is kept: it has only a weight", function, linear->name);
    return linear;
}

static int linear_channel_scales(lua_State *state)
{
    const paro_train_linear *linear = check_quantised(state, "channel_scales");
    return push_copy(state, 1, 1, linear->n_in, linear->weight_channel_scales);
}

static int linear_set_channel_scales(lua_State *state)
{
    paro_train_linear *linear = check_open(state, "set_channel_scales");
    const paro_lua_tensor *s =
        check_values(state, 2, "set_channel_scales", 1, 1, linear->n_in, 1e-30F);
    memcpy(linear->weight_channel_scales, s->data, paro_lua_tensor_count(s) * sizeof *s->data);
    return 0;
}

/* step, zero; nothing where they are not learned. */
static int linear_step_zero(lua_State *state)
{
    const paro_train_linear *linear = check_quantised(state, "step_zero");
    if (linear->step == NULL)
        return 0;
    size_t n_groups = linear->n_in / linear->group_size;
    push_copy(state, 2, linear->n_out, n_groups, linear->step);
    push_copy(state, 2, linear->n_out, n_groups, linear->zero);
    return 2;
}

static int linear_set_step_zero(lua_State *state)
{
    paro_train_linear *linear = check_open(state, "set_step_zero");
    size_t n_groups = linear->n_in / linear->group_size;
    const paro_lua_tensor *step =
        check_values(state, 2, "set_step_zero", 2, linear->n_out, n_groups, 1e-30F);
    const paro_lua_tensor *zero =
        check_values(state, 3, "set_step_zero", 2, linear->n_out, n_groups, -INFINITY);
    size_t n_bytes = (size_t)linear->n_out * n_groups * sizeof(float);
    if (linear->step == NULL) {
        float *new_step = malloc(n_bytes);
        float *new_zero = malloc(n_bytes);
        if (new_step == NULL || new_zero == NULL) {
            free(new_step);
            free(new_zero);
            paro_sandbox_out_of_memory(state);
        }
        linear->step = new_step;
        linear->zero = new_zero;
    }
    memcpy(linear->step, step->data, n_bytes);
    memcpy(linear->zero, zero->data, n_bytes);
    return 0;
}

/* ---- rotations ---- */

/* [krot, n_in / 2]; nil where there is no rotation. */
static int linear_angles(lua_State *state)
{
    const paro_train_linear *linear = check_quantised(state, "angles");
    if (linear->krot == 0)
        return 0;
    return push_copy(state, 2, linear->krot, linear->n_in / 2, linear->theta);
}

static int linear_set_angles(lua_State *state)
{
    paro_train_linear *linear = check_open(state, "set_angles");
    if (linear->krot == 0)
        return luaL_error(state, "set_angles: %s has no pairs (see block:pairs)", linear->name);
    size_t n_slots = linear->n_in / 2;
    const paro_lua_tensor *angles =
        check_values(state, 2, "set_angles", 2, linear->krot, n_slots, -INFINITY);
    for (size_t i = 0; i < linear->krot * n_slots; i++) {
        if (linear->pairs[2 * i] == linear->pairs[2 * i + 1] && angles->data[i] != 0)
            return luaL_error(state,
                              "set_angles: expected 0 in round %I, place %I: there is no pair",
                              (lua_Integer)(i / n_slots) + 1, (lua_Integer)(i % n_slots) + 1);
    }
    memcpy(linear->theta, angles->data, linear->krot * n_slots * sizeof *linear->theta);
    return 0;
}

/* [krot, n_in]: a round's pairs are its columns 1 and 2, 3 and 4, …; channels from 1. The same
 * channel twice: no pair. */
static int linear_pairs(lua_State *state)
{
    const paro_train_linear *linear = check_quantised(state, "pairs");
    if (linear->krot == 0)
        return 0;
    paro_lua_tensor *out = paro_lua_tensor_push(state, 2, linear->krot, linear->n_in);
    for (size_t i = 0; i < paro_lua_tensor_count(out); i++) {
        size_t first = i % linear->n_in / linear->group_size * linear->group_size;
        out->data[i] = (float)(first + (size_t)linear->pairs[i] + 1);
    }
    return 1;
}

/* Reads one round of pairs into `out` (channels within their group); `used` [n_in] is zeroed. */
static void read_round(lua_State *state, const paro_train_linear *linear, const float *values,
                       size_t round, uint8_t *used, int16_t *out)
{
    for (size_t i = 0; i < linear->n_in; i++) {
        size_t first = i / linear->group_size * linear->group_size;
        float value = values[i];
        bool in_group = value >= (float)first + 1 && value <= (float)(first + linear->group_size) &&
                        value == floorf(value);
        if (!in_group)
            luaL_error(
                state,
                "set_pairs: expected a channel from %I to %I in round %I, place %I, found %f",
                (lua_Integer)first + 1, (lua_Integer)(first + linear->group_size),
                (lua_Integer)round + 1, (lua_Integer)i + 1, (lua_Number)value);
        out[i] = (int16_t)((size_t)value - 1 - first);
    }
    for (size_t i = 0; i < linear->n_in; i += 2) {
        size_t first = i / linear->group_size * linear->group_size;
        if (out[i] == out[i + 1])
            continue;
        for (size_t k = i; k < i + 2; k++) {
            if (used[first + (size_t)out[k]]++ != 0)
                luaL_error(state, "set_pairs: channel %I is in two pairs of round %I",
                           (lua_Integer)(first + (size_t)out[k]) + 1, (lua_Integer)round + 1);
        }
    }
}

/* linear:set_pairs(t): t's rows are the rounds; angles become 0. */
static int linear_set_pairs(lua_State *state)
{
    paro_train_linear *linear = check_open(state, "set_pairs");
    size_t krot = paro_lua_tensor_check(state, 2)->n_rows;
    if (krot > MAX_KROT)
        return luaL_error(state, "set_pairs: expected at most %d rounds, found %I", MAX_KROT,
                          (lua_Integer)krot);
    const paro_lua_tensor *t =
        check_values(state, 2, "set_pairs", 2, krot, linear->n_in, -INFINITY);
    size_t n = krot * linear->n_in;
    int16_t *pairs = lua_newuserdatauv(state, n * sizeof *pairs + linear->n_in, 0);
    uint8_t *used = (uint8_t *)(pairs + n);
    for (size_t round = 0; round < krot; round++) {
        memset(used, 0, linear->n_in);
        read_round(state, linear, t->data + round * linear->n_in, round, used,
                   pairs + round * linear->n_in);
    }
    paro_error err;
    if (linear->krot != krot &&
        paro_train_linear_set_krot(&err, linear, (uint32_t)krot) != PARO_STATUS_OK)
        return paro_sandbox_fail(state, &err);
    memcpy(linear->pairs, pairs, n * sizeof *pairs);
    memset(linear->theta, 0, n / 2 * sizeof *linear->theta);
    return 0;
}

const luaL_Reg paro_lua_linear_values[] = {{"weight", linear_weight},
                                           {"set_weight", linear_set_weight},
                                           {"effective", linear_effective},
                                           {"channel_scales", linear_channel_scales},
                                           {"set_channel_scales", linear_set_channel_scales},
                                           {"step_zero", linear_step_zero},
                                           {"set_step_zero", linear_set_step_zero},
                                           {"angles", linear_angles},
                                           {"set_angles", linear_set_angles},
                                           {"pairs", linear_pairs},
                                           {"set_pairs", linear_set_pairs},
                                           {NULL, NULL}};
