/* SPDX-License-Identifier: MIT
 *
 * Scripts: their state, and texts that run in it. (What they can call: script_paro.c.)
 */
#include "lua/script.h"

#include <stdlib.h>
#include <string.h>

#include "base/embedded.h"

static const char SHIPPED_FOLDER[] = "lua/scripts/";
static const char script_key; /* its address is the script's key in the registry */

const char *paro_script_shipped(size_t n)
{
    const paro_embedded_file *file = paro_embedded_get(SHIPPED_FOLDER, n);
    return file != NULL ? file->name : NULL;
}

paro_script *paro_script_of(lua_State *state)
{
    lua_rawgetp(state, LUA_REGISTRYINDEX, &script_key);
    paro_script *script = lua_touserdata(state, -1);
    lua_pop(state, 1);
    return script;
}

const char *paro_script_keep(lua_State *state, const char *text)
{
    luaL_checkstack(state, 1, "too many strings");
    return text != NULL ? lua_pushstring(state, text) : NULL;
}

/* ---- life ---- */

static int open_script(lua_State *state)
{
    paro_script *script = lua_touserdata(state, 1);
    lua_pushlightuserdata(state, script);
    lua_rawsetp(state, LUA_REGISTRYINDEX, &script_key);
    paro_script_open_models(state);
    paro_script_push_paro(state);
    lua_setglobal(state, "paro");
    lua_createtable(state, (int)script->n_arguments, 1);
    for (size_t i = 0; i < script->n_arguments; i++) {
        lua_pushstring(state, script->arguments[i]);
        lua_rawseti(state, -2, (lua_Integer)i);
    }
    lua_setglobal(state, "arg");
    return 0;
}

static void free_arguments(char *const *arguments, size_t n)
{
    for (size_t i = 0; i < n && arguments != NULL; i++)
        free(arguments[i]);
    free((void *)(uintptr_t)arguments);
}

static paro_status copy_arguments(paro_error *err, paro_script *script,
                                  const paro_script_options *options)
{
    size_t n = options->n_arguments + 1;
    char **copies = calloc(n, sizeof *copies);
    if (copies == NULL)
        return paro_fail_memory(err, n * sizeof *copies, "arguments");
    script->arguments = copies;
    script->n_arguments = n;
    for (size_t i = 0; i < n; i++) {
        const char *text = i > 0 ? options->arguments[i - 1] : options->name;
        copies[i] = strdup(text != NULL ? text : "");
        if (copies[i] == NULL)
            return paro_fail_memory(err, strlen(text), "an argument");
    }
    return PARO_STATUS_OK;
}

paro_status paro_script_new(paro_error *err, const paro_script_options *options, paro_script **out)
{
    static const paro_script_options defaults = {0};
    if (options == NULL)
        options = &defaults;
    paro_script *script = calloc(1, sizeof *script);
    if (script == NULL)
        return paro_fail_memory(err, sizeof *script, "a script");
    script->allow_io = options->allow_io;
    script->memory_bytes = options->memory_bytes;
    script->observer = options->observer;
    if (options->model != NULL)
        script->model_options = *options->model;
    script->model_options.observer = options->observer;

    const paro_sandbox_options sandbox = {.allow_io = options->allow_io,
                                          .trusted = true,
                                          .memory_bytes = options->memory_bytes,
                                          .data_bytes = options->memory_bytes,
                                          .observer = options->observer,
                                          .print = options->print,
                                          .print_context = options->print_context};
    paro_status status = copy_arguments(err, script, options);
    if (status == PARO_STATUS_OK)
        status = paro_pool_new(err, script->model_options.n_threads, &script->pool);
    if (status == PARO_STATUS_OK)
        status = paro_sandbox_new(err, &sandbox, &script->sandbox);
    if (status == PARO_STATUS_OK) {
        paro_sandbox_set_host(script->sandbox, options->observer, script->pool);
        status = paro_sandbox_run(err, script->sandbox, open_script, script);
    }
    if (status != PARO_STATUS_OK) {
        paro_script_free(script);
        return status;
    }
    *out = script;
    return PARO_STATUS_OK;
}

void paro_script_free(paro_script *script)
{
    if (script == NULL)
        return;
    paro_sandbox_free(script->sandbox);
    paro_script_free_models(script);
    paro_pool_free(script->pool);
    free_arguments(script->arguments, script->n_arguments);
    free(script);
}

/* ---- running ---- */

static int push_arguments(lua_State *state, const paro_script *script)
{
    luaL_checkstack(state, (int)script->n_arguments, "too many arguments");
    for (size_t i = 1; i < script->n_arguments; i++)
        lua_pushstring(state, script->arguments[i]);
    return (int)script->n_arguments - 1;
}

static int run_source(lua_State *state)
{
    const paro_script *script = lua_touserdata(state, 1);
    if (paro_lua_source_load(state, &script->source) != LUA_OK)
        return lua_error(state);
    lua_call(state, push_arguments(state, script), 0);
    return 0;
}

static paro_status run(paro_error *err, paro_script *script, const paro_lua_source *source)
{
    script->source = *source;
    paro_status status = paro_sandbox_run(err, script->sandbox, run_source, script);
    script->source = (paro_lua_source){0};
    return status;
}

paro_status paro_script_run_file(paro_error *err, paro_script *script, const char *path)
{
    paro_arena arena = {0};
    paro_lua_source source;
    paro_status status = paro_lua_source_read(err, &arena, SHIPPED_FOLDER, "script", path, &source);
    if (status == PARO_STATUS_OK)
        status = run(err, script, &source);
    paro_arena_release(&arena);
    return status;
}

paro_status paro_script_run_text(paro_error *err, paro_script *script, const char *name,
                                 const char *text, size_t n_bytes)
{
    const paro_lua_source source = {name, text, n_bytes};
    paro_status status = paro_lua_source_check(err, &source);
    return status == PARO_STATUS_OK ? run(err, script, &source) : status;
}

/* ---- a prompt's lines ---- */

typedef struct lines {
    const paro_lua_source *source;
    bool is_incomplete;
} lines;

/* The text is an expression where "return TEXT" is a chunk. */
static bool load_expression(lua_State *state, const paro_lua_source *source)
{
    lua_pushfstring(state, "return %s", source->text);
    size_t n_bytes = 0;
    const char *text = lua_tolstring(state, -1, &n_bytes);
    const paro_lua_source expression = {source->name, text, n_bytes};
    bool loaded = paro_lua_source_load(state, &expression) == LUA_OK;
    lua_remove(state, loaded ? -2 : -1);
    if (!loaded)
        lua_pop(state, 1);
    return loaded;
}

/* Lua says where it expected more. */
static bool is_unfinished(lua_State *state)
{
    static const char end[] = "<eof>";
    size_t n_bytes = 0;
    const char *message = lua_tolstring(state, -1, &n_bytes);
    return n_bytes >= sizeof end - 1 && strcmp(message + n_bytes - (sizeof end - 1), end) == 0;
}

static int run_lines(lua_State *state)
{
    lines *l = lua_touserdata(state, 1);
    bool is_expression = load_expression(state, l->source);
    if (!is_expression && paro_lua_source_load(state, l->source) != LUA_OK) {
        if (!is_unfinished(state))
            return lua_error(state);
        l->is_incomplete = true;
        return 0;
    }
    int first = lua_gettop(state);
    lua_call(state, 0, LUA_MULTRET);
    if (!is_expression || lua_gettop(state) < first)
        return 0;
    lua_getglobal(state, "print");
    lua_insert(state, first);
    lua_call(state, lua_gettop(state) - first, 0);
    return 0;
}

paro_status paro_script_run_lines(paro_error *err, paro_script *script, const char *text,
                                  size_t n_bytes, bool *is_incomplete)
{
    const paro_lua_source source = {"prompt", text, n_bytes};
    lines l = {.source = &source};
    paro_status status = paro_lua_source_check(err, &source);
    if (status == PARO_STATUS_OK) {
        script->source = source;
        status = paro_sandbox_run(err, script->sandbox, run_lines, &l);
        script->source = (paro_lua_source){0};
    }
    if (status == PARO_STATUS_OK)
        *is_incomplete = l.is_incomplete;
    return status;
}
