/* SPDX-License-Identifier: MIT
 *
 * The table `paro`: models opened and scored, files written. (Quantising: script_quantize.c.)
 */
#include <string.h>

#include <paro/eval.h>
#include <paro/quantize.h>
#include <paro/version.h>

#include "base/clock.h"
#include "base/file.h"
#include "lua/options.h"
#include "lua/script.h"

enum { MAX_THREADS = 256 };

/* paro.open(dir [, {device=, threads=}]) */
int paro_script_open(lua_State *state)
{
    static const char *const keys[] = {"device", "threads"};
    paro_script *script = paro_script_of(state);
    const char *dir = luaL_checkstring(state, 1);
    const paro_lua_options o = paro_lua_options_read(state, 2, "paro.open", keys, 2);
    const char *device = paro_script_keep(state, paro_lua_options_text(&o, "device", NULL));
    int n_threads = (int)paro_lua_options_integer(&o, "threads", 0, MAX_THREADS, 0);
    int handle = paro_script_push_handle(state);
    paro_model *model = NULL;
    paro_error err;
    if (paro_script_open_model(&err, script, dir, device, n_threads, &model) != PARO_STATUS_OK ||
        paro_script_adopt(&err, state, handle, model, device, n_threads, NULL) != PARO_STATUS_OK)
        return paro_sandbox_fail(state, &err);
    paro_script_fill_handle(state, handle);
    return 1;
}

/* ---- scores ---- */

static void push_scores(lua_State *state, const paro_eval_result *r, bool has_reference)
{
    const struct {
        const char *name;
        double value;
        bool of_reference;
    } numbers[] = {
        {"nll", r->nll, false},         {"perplexity", r->perplexity, false},
        {"seconds", r->seconds, false}, {"reference_perplexity", r->reference_perplexity, true},
        {"kl_mean", r->kl_mean, true},  {"kl_p50", r->kl_p50, true},
        {"kl_p90", r->kl_p90, true},    {"kl_p99", r->kl_p99, true},
        {"kl_max", r->kl_max, true},    {"same_top", r->same_top, true}};
    lua_createtable(state, 0, 16);
    lua_pushinteger(state, (lua_Integer)r->n_tokens);
    lua_setfield(state, -2, "n_tokens");
    lua_pushinteger(state, (lua_Integer)r->n_windows);
    lua_setfield(state, -2, "n_windows");
    lua_pushinteger(state, (lua_Integer)r->n_predicted);
    lua_setfield(state, -2, "n_predicted");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].of_reference && !has_reference)
            continue;
        lua_pushnumber(state, numbers[i].value);
        lua_setfield(state, -2, numbers[i].name);
    }
}

typedef struct scoring {
    paro_script_model *model, *reference;
    const char *path, *text; /* one of them is NULL */
    size_t n_bytes;
    paro_eval_options options;
} scoring;

static paro_status score(paro_error *err, scoring *s, paro_eval_result *result)
{
    const paro_tokenizer *tokenizer = NULL;
    paro_mapping mapping = {0};
    paro_status status = paro_script_tokenizer(err, s->model, &tokenizer);
    if (status == PARO_STATUS_OK && s->path != NULL) {
        status = paro_mapping_open(err, s->path, &mapping);
        s->text = (const char *)mapping.data;
        s->n_bytes = mapping.n_bytes;
    }
    if (status == PARO_STATUS_OK) {
        status =
            paro_eval_text(err, s->model->model, tokenizer, s->text, s->n_bytes,
                           s->reference != NULL ? s->reference->model : NULL, &s->options, result);
        if (status != PARO_STATUS_OK && status != PARO_STATUS_CANCELLED)
            status = paro_fail_in(err, status, "%s", s->path != NULL ? s->path : "paro.eval");
    }
    paro_mapping_close(&mapping);
    return status;
}

/* paro.eval(model, {text= or string=, against=, max_tokens=, context=}) */
int paro_script_eval(lua_State *state)
{
    static const char *const keys[] = {"text", "string", "against", "max_tokens", "context"};
    static const char function[] = "paro.eval";
    paro_script *script = paro_script_of(state);
    scoring s = {.model = paro_script_check_model(state, 1)};
    const paro_lua_options o =
        paro_lua_options_read(state, 2, function, keys, sizeof keys / sizeof *keys);
    s.path = paro_script_keep(state, paro_lua_options_text(&o, "text", NULL));
    s.text = paro_lua_options_text(&o, "string", NULL);
    if ((s.path == NULL) == (s.text == NULL))
        return luaL_error(state, "%s: expected text = PATH or string = TEXT, found %s", function,
                          s.path != NULL ? "both" : "neither");
    if (s.text != NULL) {
        lua_getfield(state, o.table, "string");
        s.text = lua_tolstring(state, -1, &s.n_bytes);
    }
    if (paro_lua_options_has(&o, "against")) {
        lua_getfield(state, o.table, "against");
        s.reference = paro_script_check_model(state, lua_gettop(state));
    }
    s.options = (paro_eval_options){
        .context = (uint32_t)paro_lua_options_integer(&o, "context", 2, INT32_MAX, 0),
        .max_tokens = (uint64_t)paro_lua_options_integer(&o, "max_tokens", 1, INT64_MAX, 0),
        .observer = paro_sandbox_observer(state)};

    paro_eval_result result;
    paro_error err;
    paro_script_hold(s.model);
    if (s.reference != NULL)
        paro_script_hold(s.reference);
    paro_status status = score(&err, &s, &result);
    if (s.reference != NULL)
        paro_script_release(script, s.reference);
    paro_script_release(script, s.model);
    if (status != PARO_STATUS_OK)
        return paro_sandbox_fail(state, &err);
    push_scores(state, &result, s.reference != NULL);
    return 1;
}

/* ---- small things ---- */

/* paro.write(path, text) */
static int write_file(lua_State *state)
{
    size_t n_bytes = 0;
    const char *path = luaL_checkstring(state, 1);
    const char *text = luaL_checklstring(state, 2, &n_bytes);
    paro_error err;
    if (!paro_script_of(state)->allow_io)
        return luaL_error(state, "paro.write: writes files only with --allow-io "
                                 "(paro_script_options.allow_io)");
    if (paro_file_write(&err, path, text, n_bytes) != PARO_STATUS_OK)
        return paro_sandbox_fail(state, &err);
    return 0;
}

/* paro.recipes() */
static int list_recipes(lua_State *state)
{
    const char *name = NULL;
    lua_createtable(state, 8, 0);
    for (size_t i = 0; (name = paro_recipe_shipped(i)) != NULL; i++) {
        lua_pushstring(state, name);
        lua_rawseti(state, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* paro.seconds() */
static int read_seconds(lua_State *state)
{
    lua_pushnumber(state, paro_clock_seconds());
    return 1;
}

static const luaL_Reg functions[] = {{"eval", paro_script_eval}, {"open", paro_script_open},
                                     {"plan", paro_script_plan}, {"quantize", paro_script_quantize},
                                     {"recipes", list_recipes},  {"seconds", read_seconds},
                                     {"write", write_file},      {NULL, NULL}};

void paro_script_push_paro(lua_State *state)
{
    lua_createtable(state, 0, 8);
    luaL_setfuncs(state, functions, 0);
    lua_pushstring(state, paro_version());
    lua_setfield(state, -2, "version");
}
