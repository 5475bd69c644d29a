/* SPDX-License-Identifier: MIT
 *
 * What is done to a block, as its methods: the stages of calib/ with their options.
 *
 * Every stage is like this: the handle, the options, then the call of C between enter_stage and
 * leave_stage, then its failure as a Lua error.
 */
#include <string.h>

#include "calib/awq.h"
#include "calib/gptq.h"
#include "calib/optimise.h"
#include "calib/pairs.h"
#include "lua/block.h"
#include "lua/options.h"
#include "lua/sandbox.h"

enum { STAGE_WORK = 1000, MAX_KROT = 64, MAX_SAMPLES = 1 << 20 };

static const lua_Integer max_seed = (lua_Integer)1 << 53;

typedef struct stage {
    lua_State *state;
    paro_calib_block *block;
    paro_lua_options options; /* of argument 2 */
} stage;

static stage begin(lua_State *state, const char *function, const char *const *keys, size_t n_keys)
{
    stage s = {.state = state, .block = paro_lua_check_block(state, 1)};
    lua_settop(state, 2);
    s.options = paro_lua_options_read(state, 2, function, keys, n_keys);
    paro_sandbox_charge(state, STAGE_WORK);
    return s;
}

/* Before the call: from here to finish nothing calls Lua. */
static void enter(stage *s)
{
    paro_lua_block_changed(s->state, 1);
    paro_sandbox_enter_stage(s->state);
}

static void leave(stage *s, paro_status status, const paro_error *err)
{
    paro_sandbox_leave_stage(s->state);
    if (status != PARO_STATUS_OK)
        paro_sandbox_fail(s->state, err);
}

#define READ(function, keys) begin(state, function, keys, sizeof(keys) / sizeof *(keys))

/* ---- pairs ---- */

static paro_status make_pairs(paro_error *err, paro_calib_block *block,
                              const bool chosen[PARO_SLOT_COUNT], paro_pairs_kind kind,
                              int64_t krot, uint64_t seed)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_train_linear *linear = &block->linears[slot];
        if (!chosen[slot] || linear->bits == 0 || linear->is_rounded)
            continue;
        paro_status status = PARO_STATUS_OK;
        if (krot >= 0 && linear->krot != (uint32_t)krot)
            status = paro_train_linear_set_krot(err, linear, (uint32_t)krot);
        if (status == PARO_STATUS_OK)
            status = paro_pairs_make(err, block->pool, linear, kind, seed);
        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}

/* block:pairs{kind=, krot=, seed=, match=} */
static int block_pairs(lua_State *state)
{
    static const char *const keys[] = {"kind", "krot", "seed", "match"};
    stage s = READ("block:pairs", keys);
    paro_error err;
    paro_pairs_kind kind = PARO_PAIRS_KIND_RANDOM;
    if (paro_pairs_kind_parse(&err, paro_lua_options_text(&s.options, "kind", "random"), &kind) !=
        PARO_STATUS_OK)
        return luaL_error(state, "block:pairs: kind: %s", err.message);
    lua_Integer krot = paro_lua_options_integer(&s.options, "krot", 0, MAX_KROT, -1);
    lua_Integer seed = paro_lua_options_integer(&s.options, "seed", 0, max_seed, 0);
    bool chosen[PARO_SLOT_COUNT];
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        chosen[slot] = paro_lua_options_matches(&s.options, "match", s.block->linears[slot].name);
    enter(&s);
    leave(&s, make_pairs(&err, s.block, chosen, kind, krot, (uint64_t)seed), &err);
    return 0;
}

/* ---- optimise ---- */

static const char *const end_names[] = {[PARO_OPTIMISE_END_DONE] = "done",
                                        [PARO_OPTIMISE_END_NOT_FINITE] = "not finite",
                                        [PARO_OPTIMISE_END_COLLAPSED] = "collapsed",
                                        [PARO_OPTIMISE_END_ONLY_ROSE] = "only rose"};

static void set_number(lua_State *state, const char *key, double value)
{
    lua_pushnumber(state, value);
    lua_setfield(state, -2, key);
}

static int push_report(lua_State *state, const paro_optimise_report *report)
{
    lua_createtable(state, 0, 8);
    lua_pushstring(state, end_names[report->end]);
    lua_setfield(state, -2, "ending");
    lua_pushstring(state, report->diagnosis);
    lua_setfield(state, -2, "diagnosis");
    set_number(state, "first_loss", report->first_loss);
    set_number(state, "best_loss", report->best_loss);
    set_number(state, "last_loss", report->last_loss);
    set_number(state, "seconds", report->seconds);
    lua_pushinteger(state, report->best_epoch);
    lua_setfield(state, -2, "best_epoch");
    lua_pushinteger(state, report->n_epochs);
    lua_setfield(state, -2, "epochs");
    return 1;
}

/* block:optimise{angles=, channel_scales=, weight=, quantizer=, epochs=, …} */
static int block_optimise(lua_State *state)
{
    static const char *const keys[] = {"angles",  "channel_scales", "weight",     "quantizer",
                                       "epochs",  "batch",          "accumulate", "last_lr",
                                       "seed",    "reference_zero", "beta1",      "beta2",
                                       "epsilon", "weight_decay"};
    stage s = READ("block:optimise", keys);
    const paro_lua_options *o = &s.options;
    paro_optimise_options options = {.epochs = 10};
    bool trains = false;
    for (int i = 0; i < PARO_TRAINABLE_COUNT; i++) {
        const char *name = paro_trainable_name((paro_trainable)i);
        options.lr[i] = paro_lua_options_number(o, name, 0, 10, 0);
        trains = trains || options.lr[i] > 0;
    }
    if (!trains)
        return luaL_error(state, "block:optimise: expected a learning rate for one of angles, "
                                 "channel_scales, weight, quantizer");
    options.epochs =
        (uint32_t)paro_lua_options_integer(o, "epochs", 1, PARO_OPTIMISE_MAX_EPOCHS, 10);
    options.batch = (uint32_t)paro_lua_options_integer(o, "batch", 1, MAX_SAMPLES, 0);
    options.accumulate = (uint32_t)paro_lua_options_integer(o, "accumulate", 1, MAX_SAMPLES, 0);
    options.last_lr = paro_lua_options_number(o, "last_lr", 1e-6, 1, 0);
    options.seed = (uint64_t)paro_lua_options_integer(o, "seed", 0, max_seed, 0);
    options.reference_zero = paro_lua_options_boolean(o, "reference_zero", false);
    options.adamw = (paro_adamw_options){
        .beta1 = paro_lua_options_number(o, "beta1", 0, 1, 0.9),
        .beta2 = paro_lua_options_number(o, "beta2", 0, 1, 0.95),
        .epsilon = paro_lua_options_number(o, "epsilon", 0, 1, 1e-10),
        .weight_decay = paro_lua_options_number(o, "weight_decay", 0, 1, 0.01)};
    paro_error err;
    paro_optimise_report report = {.n_epochs = 0};
    enter(&s);
    leave(&s, paro_optimise(&err, s.block, &options, &report), &err);
    return push_report(state, &report);
}

/* ---- awq, gptq, round, loss ---- */

/* block:awq{grid=, scales=, clip=, max_shrink=, tokens=} */
static int block_awq(lua_State *state)
{
    static const char *const keys[] = {"grid", "scales", "clip", "max_shrink", "tokens"};
    stage s = READ("block:awq", keys);
    const paro_lua_options *o = &s.options;
    const paro_awq_options options = {
        .n_grid = (uint32_t)paro_lua_options_integer(o, "grid", 1, 1000, 0),
        .no_scales = !paro_lua_options_boolean(o, "scales", true),
        .no_clip = !paro_lua_options_boolean(o, "clip", true),
        .max_shrink = paro_lua_options_number(o, "max_shrink", 0.01, 0.99, 0),
        .max_tokens = (size_t)paro_lua_options_integer(o, "tokens", 1, INT32_MAX, 0)};
    paro_error err;
    enter(&s);
    leave(&s, paro_awq(&err, s.block, &options), &err);
    return 0;
}

/* block:gptq{damping=, act_order=, true_sequential=, tokens=} */
static int block_gptq(lua_State *state)
{
    static const char *const keys[] = {"damping", "act_order", "true_sequential", "tokens"};
    stage s = READ("block:gptq", keys);
    const paro_lua_options *o = &s.options;
    const paro_gptq_options options = {
        .damping = paro_lua_options_number(o, "damping", 1e-6, 1, 0),
        .act_order = paro_lua_options_boolean(o, "act_order", false),
        .true_sequential = paro_lua_options_boolean(o, "true_sequential", false),
        .max_tokens = (size_t)paro_lua_options_integer(o, "tokens", 1, INT32_MAX, 0)};
    paro_error err;
    enter(&s);
    leave(&s, paro_gptq(&err, s.block, &options), &err);
    return 0;
}

/* block:round() */
static int block_round(lua_State *state)
{
    stage s = begin(state, "block:round", NULL, 0);
    paro_error err;
    enter(&s);
    leave(&s, paro_calib_block_round(&err, s.block), &err);
    return 0;
}

/* block:round_transform() */
static int block_round_transform(lua_State *state)
{
    stage s = begin(state, "block:round_transform", NULL, 0);
    paro_error err;
    paro_status status = PARO_STATUS_OK;
    enter(&s);
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++)
        status = paro_train_linear_round_transform(&err, &s.block->linears[slot]);
    leave(&s, status, &err);
    return 0;
}

/* block:loss{samples="validation" or "train", quantised=true} */
static int block_loss(lua_State *state)
{
    static const char *const keys[] = {"samples", "quantised"};
    stage s = READ("block:loss", keys);
    const char *samples = paro_lua_options_text(&s.options, "samples", "validation");
    bool quantised = paro_lua_options_boolean(&s.options, "quantised", true);
    bool train = strcmp(samples, "train") == 0;
    if (!train && strcmp(samples, "validation") != 0)
        return luaL_error(state,
                          "block:loss: samples: expected \"validation\" or \"train\", found "
                          "\"%s\"",
                          samples);
    size_t n = train ? s.block->n_train : s.block->n_validation;
    if (n == 0)
        return luaL_error(state, "block:loss: there are no samples for %s (data.%s is 0)", samples,
                          train ? "samples" : "validation");
    paro_error err;
    double loss = 0;
    paro_sandbox_enter_stage(state);
    leave(&s,
          paro_calib_block_loss(&err, s.block, train ? 0 : s.block->n_train, n, quantised, &loss),
          &err);
    lua_pushnumber(state, loss);
    return 1;
}

const luaL_Reg paro_lua_block_stages[] = {
    {"pairs", block_pairs}, {"optimise", block_optimise},
    {"awq", block_awq},     {"gptq", block_gptq},
    {"round", block_round}, {"round_transform", block_round_transform},
    {"loss", block_loss},   {NULL, NULL}};
