/* SPDX-License-Identifier: MIT
 *
 * model:generate: a prompt continued.
 */
#include <stdlib.h>
#include <string.h>

#include <paro/generate.h>

#include "base/buffer.h"
#include "base/log.h"
#include "lua/options.h"
#include "lua/recipe.h"
#include "lua/script.h"

enum { MAX_STOP = 64, DEFAULT_TOKENS = 128 };

typedef struct generation {
    const paro_observer *observer;
    paro_session *session;
    int32_t *ids;
    size_t n_ids;
    paro_buffer text;
    bool out_of_memory;
    paro_generate_result result;
} generation;

/* Pieces are gathered; this is also where a request to stop is heard. */
static bool gather(void *context, const char *text, size_t n_bytes)
{
    generation *g = context;
    g->out_of_memory = !paro_buffer_append(&g->text, text, n_bytes);
    return !g->out_of_memory && paro_report(NULL, g->observer, "generate", 0, 0) == PARO_STATUS_OK;
}

static paro_status generate(paro_error *err, paro_script_model *model, const char *prompt,
                            size_t n_bytes, const paro_generate_options *options, generation *g)
{
    const paro_encode_options encode = {.add_special_tokens = true};
    const paro_session_options session = {.observer = g->observer};
    const paro_tokenizer *tokenizer = NULL;
    paro_status status = paro_script_tokenizer(err, model, &tokenizer);
    if (status == PARO_STATUS_OK)
        status =
            paro_tokenizer_encode(err, tokenizer, prompt, n_bytes, &encode, &g->ids, &g->n_ids);
    if (status == PARO_STATUS_OK && g->n_ids == 0)
        status =
            paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                      "model:generate: the prompt is empty, and this model's tokenizer adds no "
                      "begin token: there is nothing to continue");
    if (status == PARO_STATUS_OK)
        status = paro_session_new(err, model->model, &session, &g->session);
    if (status == PARO_STATUS_OK)
        status = paro_generate(err, g->session, tokenizer, g->ids, g->n_ids, options, gather, g,
                               NULL, &g->result);
    if (status == PARO_STATUS_OK && g->out_of_memory)
        status = paro_fail_memory(err, g->text.n_bytes, "a text");
    if (status == PARO_STATUS_OK && g->result.finish == PARO_FINISH_CANCELLED)
        status = paro_fail(err, PARO_STATUS_CANCELLED, "generate: stopped on request");
    return status;
}

/* The text, and how it came about. */
static int push_results(lua_State *state)
{
    static const char *const reasons[] = {
        [PARO_FINISH_LENGTH] = "length", [PARO_FINISH_EOS] = "eos", [PARO_FINISH_STOP] = "stop"};
    const generation *g = lua_touserdata(state, 1);
    lua_pushlstring(state, g->text.data != NULL ? g->text.data : "", g->text.n_bytes);
    lua_createtable(state, 0, 5);
    lua_pushstring(state, reasons[g->result.finish]);
    lua_setfield(state, -2, "finish");
    lua_pushinteger(state, g->result.n_prompt);
    lua_setfield(state, -2, "n_prompt");
    lua_pushinteger(state, g->result.n_generated);
    lua_setfield(state, -2, "n_generated");
    lua_pushnumber(state, g->result.prefill_seconds);
    lua_setfield(state, -2, "prefill_seconds");
    lua_pushnumber(state, g->result.decode_seconds);
    lua_setfield(state, -2, "decode_seconds");
    return 2;
}

/* `stop`: a string, or a list of them; onto the stack, so that they stay. */
static size_t read_stop(lua_State *state, const paro_lua_options *options,
                        const char *out[MAX_STOP])
{
    if (!paro_lua_options_has(options, "stop"))
        return 0;
    luaL_checkstack(state, MAX_STOP + 8, "stop");
    int type = lua_getfield(state, options->table, "stop");
    int list = lua_gettop(state);
    size_t n = type == LUA_TTABLE ? (size_t)lua_rawlen(state, list) : 1;
    if (n > MAX_STOP)
        luaL_error(state, "model:generate: stop: more than %d strings", MAX_STOP);
    for (size_t i = 0; i < n; i++) {
        if (type == LUA_TTABLE)
            lua_rawgeti(state, list, (lua_Integer)i + 1);
        size_t n_bytes = 0;
        out[i] = lua_type(state, -1) == LUA_TSTRING ? lua_tolstring(state, -1, &n_bytes) : NULL;
        if (out[i] == NULL || n_bytes == 0 || strlen(out[i]) != n_bytes)
            luaL_error(state, "model:generate: stop: expected a text, or a list of them, found %s",
                       paro_recipe_describe(state, -1));
    }
    return n;
}

int paro_script_generate(lua_State *state)
{
    static const char *const keys[] = {"tokens", "temperature", "top_k",     "top_p",
                                       "seed",   "stop",        "ignore_eos"};
    static const char function[] = "model:generate";
    paro_script_model *model = paro_script_check_model(state, 1);
    paro_script *script = paro_script_of(state);
    size_t n_bytes = 0;
    const char *prompt = luaL_checklstring(state, 2, &n_bytes);
    const char *stop[MAX_STOP];
    const paro_lua_options o =
        paro_lua_options_read(state, 3, function, keys, sizeof keys / sizeof *keys);
    paro_generate_options options = {
        .n_tokens = (uint32_t)paro_lua_options_integer(&o, "tokens", 0, UINT32_MAX, DEFAULT_TOKENS),
        .temperature = (float)paro_lua_options_number(&o, "temperature", 0, 1000, 0),
        .top_k = (uint32_t)paro_lua_options_integer(&o, "top_k", 0, UINT32_MAX, 0),
        .top_p = (float)paro_lua_options_number(&o, "top_p", 0, 1, 1),
        .seed = (uint64_t)paro_lua_options_integer(&o, "seed", 0, INT64_MAX, 0),
        .ignore_eos = paro_lua_options_boolean(&o, "ignore_eos", false),
        .stop = stop};
    options.n_stop = read_stop(state, &o, stop);

    generation g = {.observer = paro_sandbox_observer(state)};
    paro_error err;
    paro_script_hold(model);
    paro_status status = generate(&err, model, prompt, n_bytes, &options, &g);
    if (status == PARO_STATUS_OK)
        status = paro_sandbox_call(&err, state, push_results, &g, 2);
    paro_session_free(g.session);
    paro_buffer_free(&g.text);
    free(g.ids);
    paro_script_release(script, model);
    return status == PARO_STATUS_OK ? 2 : paro_sandbox_fail(state, &err);
}
