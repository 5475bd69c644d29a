/* SPDX-License-Identifier: MIT
 *
 * paro.plan and paro.quantize: a recipe, by name or as a value of the script, for a model.
 *
 * First everything is read from Lua, and kept on the stack: the recipe's functions may change the
 * tables it came from. Then C works, from paro_script_hold to paro_script_release, without Lua
 * errors; then the results are pushed.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "calib/convert.h"
#include "lua/options.h"
#include "lua/recipe.h"
#include "lua/script.h"

enum { MAX_TEXTS = 1024, NUMBER_BYTES = 40 };

typedef struct job {
    lua_State *state;
    const char *function;
    paro_script *script;
    paro_script_model *model;
    const char *path; /* of the recipe; NULL: it is a value */
    int value;        /* luaL_ref of that; else LUA_NOREF */
    paro_lua_source source;
    const char **set;
    size_t n_set;
    paro_text_source *texts;
    const char *out; /* NULL: in memory */
    paro_quantize_options options;
} job;

typedef struct outcome {
    paro_model *model;
    paro_quantize_result result;
    uint64_t n_bytes_before, n_bytes_after; /* of the plan's linears */
    double bits_per_weight;
    char sha256[PARO_SHA256_HEX_BYTES];
} outcome;

/* ---- what the script says ---- */

/* Pushes the text of an option's value as --set has it. */
static void push_value_text(const job *j, const char *key)
{
    lua_State *state = j->state;
    char text[NUMBER_BYTES];
    size_t n_bytes = 0;
    switch (lua_type(state, -1)) {
    case LUA_TBOOLEAN:
        lua_pushstring(state, lua_toboolean(state, -1) ? "true" : "false");
        return;
    case LUA_TNUMBER:
        if (lua_isinteger(state, -1)) {
            lua_pushfstring(state, "%I", lua_tointeger(state, -1));
            return;
        }
        snprintf(text, sizeof text, "%.15g", lua_tonumber(state, -1));
        if (strtod(text, NULL) != lua_tonumber(state, -1))
            snprintf(text, sizeof text, "%.17g", lua_tonumber(state, -1));
        if (isfinite(lua_tonumber(state, -1))) {
            lua_pushstring(state, text);
            return;
        }
        break;
    case LUA_TSTRING:
        if (strlen(lua_tolstring(state, -1, &n_bytes)) == n_bytes) {
            lua_pushvalue(state, -1);
            return;
        }
        break;
    default:
        break;
    }
    luaL_error(state, "%s: set.%s: expected a finite number, a string or a boolean, found %s",
               j->function, key, paro_recipe_describe(state, -1));
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* `set`, sorted: the same options give the same checkpoint. */
static void read_set(job *j, const paro_lua_options *o)
{
    lua_State *state = j->state;
    if (!paro_lua_options_has(o, "set"))
        return;
    if (lua_getfield(state, o->table, "set") != LUA_TTABLE)
        luaL_error(state, "%s: set: expected a table, {bits = 3, …}, found %s", j->function,
                   paro_recipe_describe(state, -1));
    int table = lua_gettop(state);
    size_t n = 0;
    for (lua_pushnil(state); lua_next(state, table) != 0; lua_pop(state, 1))
        n++;
    j->set = lua_newuserdatauv(state, (n + 1) * sizeof *j->set, 0);
    lua_createtable(state, (int)n, 0); /* keeps the texts */
    int texts = lua_gettop(state);
    for (lua_pushnil(state); lua_next(state, table) != 0; lua_settop(state, texts + 1)) {
        if (lua_type(state, -2) != LUA_TSTRING)
            luaL_error(state, "%s: set: expected keys that are names, found %s", j->function,
                       paro_recipe_describe(state, -2));
        const char *key = lua_tostring(state, -2);
        push_value_text(j, key);
        j->set[j->n_set] = lua_pushfstring(state, "%s=%s", key, lua_tostring(state, -1));
        lua_rawseti(state, texts, (lua_Integer)++j->n_set);
    }
    qsort(j->set, j->n_set, sizeof *j->set, compare_texts);
}

/* The text on top of the stack: a path, or a table. */
static paro_text_source read_text(const job *j, lua_Integer place)
{
    static const char *const keys[] = {"path", "weight", "validation", "field"};
    lua_State *state = j->state;
    int at = lua_gettop(state);
    paro_text_source text = {.path = lua_type(state, at) == LUA_TSTRING ? lua_tostring(state, at)
                                                                        : NULL};
    if (text.path != NULL)
        return text;
    const char *where = lua_pushfstring(state, "%s: texts[%I]", j->function, place);
    if (lua_type(state, at) != LUA_TTABLE)
        luaL_error(state, "%s: expected a path, or {path = …, weight = …}, found %s", where,
                   paro_recipe_describe(state, at));
    const paro_lua_options o = paro_lua_options_read(state, at, where, keys, 4);
    text.path = paro_script_keep(state, paro_lua_options_text(&o, "path", NULL));
    text.field = paro_script_keep(state, paro_lua_options_text(&o, "field", NULL));
    text.weight = paro_lua_options_number(&o, "weight", 1e-9, 1e9, 1);
    text.validation = paro_lua_options_boolean(&o, "validation", false);
    if (text.path == NULL)
        luaL_error(state, "%s: path: missing", where);
    return text;
}

static void read_texts(job *j, const paro_lua_options *o)
{
    lua_State *state = j->state;
    if (!paro_lua_options_has(o, "texts"))
        return;
    if (lua_getfield(state, o->table, "texts") != LUA_TTABLE)
        luaL_error(state, "%s: texts: expected a list of paths and tables, found %s", j->function,
                   paro_recipe_describe(state, -1));
    int list = lua_gettop(state);
    size_t n = (size_t)lua_rawlen(state, list);
    if (n == 0 || n > MAX_TEXTS)
        luaL_error(state, "%s: texts: expected a list of 1 to %d, found %I", j->function, MAX_TEXTS,
                   (lua_Integer)n);
    luaL_checkstack(state, (int)n * 4 + 16, "too many texts");
    j->texts = lua_newuserdatauv(state, n * sizeof *j->texts, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(state, list, (lua_Integer)i + 1);
        j->texts[i] = read_text(j, (lua_Integer)i + 1);
    }
    j->options.texts = j->texts;
    j->options.n_texts = n;
}

/* Argument 2. (A table with a metatable is no recipe; recipe_table.c says so.) */
static void read_recipe(job *j)
{
    lua_State *state = j->state;
    switch (lua_type(state, 2)) {
    case LUA_TSTRING:
        j->path = lua_tostring(state, 2);
        return;
    case LUA_TTABLE:
    case LUA_TFUNCTION:
        return;
    default:
        luaL_error(state,
                   "%s: expected a recipe: a path, a shipped recipe's name, a table or a function, "
                   "found %s",
                   j->function, paro_recipe_describe(state, 2));
    }
}

static job begin(lua_State *state, const char *function)
{
    lua_settop(state, 3);
    job j = {.state = state,
             .function = function,
             .script = paro_script_of(state),
             .model = paro_script_check_model(state, 1),
             .value = LUA_NOREF};
    j.source = j.script->source;
    j.options.observer = paro_sandbox_observer(state);
    read_recipe(&j);
    return j;
}

/* The last thing before C works. */
static void hold(job *j)
{
    if (j->path == NULL) {
        lua_pushvalue(j->state, 2);
        j->value = luaL_ref(j->state, LUA_REGISTRYINDEX);
    }
    paro_script_hold(j->model);
}

static void release(job *j)
{
    paro_script_release(j->script, j->model);
    luaL_unref(j->state, LUA_REGISTRYINDEX, j->value);
}

/* ---- work ---- */

static paro_status make_plan(paro_error *err, const job *j, paro_plan **out)
{
    const paro_recipe_options options = {.allow_io = j->script->allow_io,
                                         .set = j->set,
                                         .n_set = j->n_set,
                                         .observer = j->options.observer};
    paro_recipe *recipe = NULL;
    paro_status status = j->path != NULL ? paro_recipe_open(err, j->path, &options, &recipe)
                                         : paro_recipe_of_value(err, j->state, j->value, &j->source,
                                                                j->set, j->n_set, &recipe);
    if (status == PARO_STATUS_OK)
        status = paro_plan_make(err, recipe, j->model->model, out);
    paro_recipe_free(recipe);
    return status;
}

/* Writes the checkpoint and opens it. Blocks that a function of the script finished are of no use
 * to a later call: nobody knows that it would do the same. So they go. */
static paro_status write_checkpoint(paro_error *err, job *j, const paro_plan *plan, outcome *out)
{
    paro_arena arena = {0};
    paro_error ignored;
    paro_quantize_options options = j->options;
    bool is_unique = j->path == NULL && paro_plan_calibrates(plan);
    paro_status status = PARO_STATUS_OK;
    if (is_unique) {
        size_t n = strlen(j->out);
        while (n > 1 && j->out[n - 1] == '/')
            n--;
        options.work_dir = paro_arena_printf(&arena, "%.*s.paro-script", (int)n, j->out);
        if (options.work_dir == NULL)
            status = paro_fail_memory(err, n, "a path");
        else if (paro_path_exists(options.work_dir))
            status = paro_remove_tree(err, options.work_dir);
    }
    if (status == PARO_STATUS_OK)
        status = paro_quantize(err, j->model->model, plan, j->out, &options, &out->result);
    if (status != PARO_STATUS_OK && is_unique && options.work_dir != NULL &&
        paro_path_exists(options.work_dir))
        paro_remove_tree(&ignored, options.work_dir);
    if (status == PARO_STATUS_OK)
        status = paro_script_open_model(err, j->script, j->out, j->model->device,
                                        j->model->n_threads, &out->model);
    paro_arena_release(&arena);
    return status;
}

static void sum_up(const paro_plan *plan, outcome *out)
{
    double n_weights = 0, n_bytes = 0;
    for (size_t i = 0; i < paro_plan_n_linears(plan); i++) {
        paro_plan_linear l;
        paro_plan_get(plan, i, &l);
        out->n_bytes_before += l.n_bytes_before;
        out->n_bytes_after += l.n_bytes_after;
        if (strcmp(l.method, "keep") == 0)
            continue;
        n_weights += (double)l.n_out * l.n_in;
        n_bytes += (double)l.n_bytes_after;
    }
    out->bits_per_weight = n_weights > 0 ? 8 * n_bytes / n_weights : 0;
    memcpy(out->sha256, paro_plan_recipe_sha256(plan), sizeof out->sha256);
}

static paro_status quantise(paro_error *err, job *j, outcome *out)
{
    paro_plan *plan = NULL;
    paro_status status = make_plan(err, j, &plan);
    if (status == PARO_STATUS_OK && paro_plan_calibrates(plan))
        status = paro_script_tokenizer(err, j->model, &j->options.tokenizer);
    if (status == PARO_STATUS_OK)
        status = j->out != NULL ? write_checkpoint(err, j, plan, out)
                                : paro_convert_in_memory(err, j->model->model, plan, &j->options,
                                                         &out->result, &out->model);
    if (status == PARO_STATUS_OK)
        sum_up(plan, out);
    paro_plan_free(plan);
    return status;
}

/* ---- results ---- */

static void set_integer(lua_State *state, const char *key, uint64_t value)
{
    lua_pushinteger(state, (lua_Integer)value);
    lua_setfield(state, -2, key);
}

static void set_number(lua_State *state, const char *key, double value)
{
    lua_pushnumber(state, value);
    lua_setfield(state, -2, key);
}

static void set_string(lua_State *state, const char *key, const char *value)
{
    lua_pushstring(state, value);
    lua_setfield(state, -2, key);
}

static void push_report(lua_State *state, const outcome *out)
{
    lua_createtable(state, 0, 12);
    set_integer(state, "n_quantized", out->result.n_quantized);
    set_integer(state, "n_kept", out->result.n_kept);
    set_integer(state, "n_bytes", out->result.n_bytes);
    set_integer(state, "n_shards", out->result.n_shards);
    set_integer(state, "n_linear_bytes_before", out->n_bytes_before);
    set_integer(state, "n_linear_bytes_after", out->n_bytes_after);
    set_number(state, "bits_per_weight", out->bits_per_weight);
    set_number(state, "seconds", out->result.seconds);
    set_number(state, "mean_relative_error", out->result.mean_relative_error);
    set_number(state, "max_relative_error", out->result.max_relative_error);
    set_string(state, "recipe_sha256", out->sha256);
}

/* paro.quantize(model, recipe [, {set=, texts=, format=, out=, overwrite=, memory=}]) */
int paro_script_quantize(lua_State *state)
{
    static const char *const keys[] = {"set", "texts", "format", "out", "overwrite", "memory"};
    job j = begin(state, "paro.quantize");
    const paro_lua_options o =
        paro_lua_options_read(state, 3, j.function, keys, sizeof keys / sizeof *keys);
    paro_error err;
    const char *format = paro_lua_options_text(&o, "format", NULL);
    if (format != NULL && paro_format_parse(&err, format, &j.options.format) != PARO_STATUS_OK)
        return paro_sandbox_fail(state, &err);
    j.out = paro_script_keep(state, paro_lua_options_text(&o, "out", NULL));
    j.options.overwrite = paro_lua_options_boolean(&o, "overwrite", false);
    j.options.memory_bytes = (uint64_t)paro_lua_options_integer(&o, "memory", 1, INT64_MAX, 0);
    if (j.out != NULL && *j.out == '\0')
        return luaL_error(state, "%s: out: the folder's name is empty", j.function);
    if (j.out != NULL && !j.script->allow_io)
        return luaL_error(state,
                          "%s: out: writes a checkpoint only with --allow-io "
                          "(paro_script_options.allow_io); without `out` it stays in memory",
                          j.function);
    read_set(&j, &o);
    read_texts(&j, &o);
    luaL_checkstack(state, 16, j.function);
    int handle = paro_script_push_handle(state);

    outcome out = {0};
    hold(&j);
    paro_status status = quantise(&err, &j, &out);
    if (status == PARO_STATUS_OK)
        status = paro_script_adopt(&err, state, handle, out.model, j.model->device,
                                   j.model->n_threads, j.out == NULL ? j.model : NULL);
    release(&j);
    if (status != PARO_STATUS_OK)
        return paro_sandbox_fail(state, &err);
    paro_script_fill_handle(state, handle);
    push_report(state, &out);
    return 2;
}

static int push_plan(lua_State *state)
{
    const paro_plan *plan = lua_touserdata(state, 1);
    size_t n = paro_plan_n_linears(plan);
    lua_createtable(state, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        paro_plan_linear l;
        paro_plan_get(plan, i, &l);
        lua_createtable(state, 0, 9);
        set_string(state, "name", l.name);
        set_string(state, "method", l.method);
        set_string(state, "rule", l.rule);
        set_integer(state, "n_out", l.n_out);
        set_integer(state, "n_in", l.n_in);
        set_integer(state, "bits", l.bits);
        set_integer(state, "group_size", l.group_size);
        set_integer(state, "n_bytes_before", l.n_bytes_before);
        set_integer(state, "n_bytes_after", l.n_bytes_after);
        lua_rawseti(state, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* paro.plan(model, recipe [, {set=}]) */
int paro_script_plan(lua_State *state)
{
    static const char *const keys[] = {"set"};
    job j = begin(state, "paro.plan");
    const paro_lua_options o = paro_lua_options_read(state, 3, j.function, keys, 1);
    read_set(&j, &o);
    paro_plan *plan = NULL;
    paro_error err;
    hold(&j);
    paro_status status = make_plan(&err, &j, &plan);
    if (status == PARO_STATUS_OK)
        status = paro_sandbox_call(&err, state, push_plan, plan, 1);
    paro_plan_free(plan);
    release(&j);
    return status == PARO_STATUS_OK ? 1 : paro_sandbox_fail(state, &err);
}
