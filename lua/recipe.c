/* SPDX-License-Identifier: MIT
 *
 * Recipes: read, run once, and asked for a plan.
 */
#include "lua/recipe.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/embedded.h"
#include "base/json.h"
#include "base/utf8.h"

static const char SHIPPED_FOLDER[] = "lua/recipes/";

const char *paro_recipe_shipped(size_t n)
{
    const paro_embedded_file *file = paro_embedded_get(SHIPPED_FOLDER, n);
    return file != NULL ? file->name : NULL;
}

int paro_recipe_raise(lua_State *state, const paro_recipe *recipe, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    lua_pushfstring(state, "%s: ", recipe->path);
    lua_pushvfstring(state, format, arguments);
    va_end(arguments);
    lua_concat(state, 2);
    return lua_error(state);
}

const char *paro_recipe_describe(lua_State *state, int index)
{
    enum { MAX_SHOWN_BYTES = 60 };
    size_t n_bytes = 0;
    const char *text = NULL;
    index = lua_absindex(state, index);
    switch (lua_type(state, index)) {
    case LUA_TNIL:
        return lua_pushliteral(state, "nothing");
    case LUA_TSTRING:
        text = lua_tolstring(state, index, &n_bytes);
        if (n_bytes > MAX_SHOWN_BYTES)
            return lua_pushfstring(state, "a string of %I bytes", (lua_Integer)n_bytes);
        return lua_pushfstring(state, "a string (\"%s\")", text);
    case LUA_TNUMBER:
    case LUA_TBOOLEAN:
        text = luaL_tolstring(state, index, NULL);
        text = lua_pushfstring(state, "a %s (%s)", luaL_typename(state, index), text);
        lua_remove(state, -2);
        return text;
    default:
        return lua_pushfstring(state, "a %s", luaL_typename(state, index));
    }
}

/* ---- opening ---- */

/* "key=value" into the arena. */
static paro_status parse_option(paro_error *err, paro_recipe *recipe, const char *text,
                                paro_recipe_option *out)
{
    const char *equals = strchr(text, '=');
    size_t n_key = equals != NULL ? (size_t)(equals - text) : 0;
    bool good = n_key > 0 && !isdigit((unsigned char)text[0]);
    for (size_t i = 0; i < n_key; i++)
        good = good && (isalnum((unsigned char)text[i]) || text[i] == '_');
    if (!good)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "option \"%s\": expected key=value, the key of letters, digits and _",
                         text);
    paro_recipe_option option = {paro_arena_strndup(&recipe->arena, text, n_key),
                                 paro_arena_strdup(&recipe->arena, equals + 1)};
    if (option.key == NULL || option.value == NULL)
        return paro_fail_memory(err, strlen(text), "an option");
    if (paro_utf8_valid_prefix(option.value, strlen(option.value)) != strlen(option.value))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "option \"%s\": expected UTF-8",
                         option.key);
    for (size_t i = 0; i < recipe->n_options; i++) {
        if (strcmp(recipe->options[i].key, option.key) == 0)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "option \"%s\": is set twice",
                             option.key);
    }
    *out = option;
    return PARO_STATUS_OK;
}

static paro_status read_options(paro_error *err, paro_recipe *recipe, const char *const *set,
                                size_t n_set)
{
    recipe->options = paro_arena_array(&recipe->arena, n_set, sizeof *recipe->options);
    json_t *json = json_object();
    char *dump = NULL;
    paro_status status = PARO_STATUS_OK;
    if (recipe->options == NULL || json == NULL) {
        status = paro_fail_memory(err, n_set * sizeof *recipe->options, "options");
        goto done;
    }
    for (size_t i = 0; i < n_set; i++) {
        paro_recipe_option *option = &recipe->options[recipe->n_options];
        status = parse_option(err, recipe, set[i], option);
        if (status != PARO_STATUS_OK)
            goto done;
        recipe->n_options++;
        if (json_object_set_new(json, option->key, json_string(option->value)) != 0) {
            status = paro_fail_memory(err, strlen(option->value), "options");
            goto done;
        }
    }
    dump = json_dumps(json, JSON_COMPACT);
    recipe->options_json = dump != NULL ? paro_arena_strdup(&recipe->arena, dump) : NULL;
    if (recipe->options_json == NULL)
        status = paro_fail_memory(err, 64, "options");

done:
    free(dump);
    json_decref(json);
    return status;
}

/* What a recipe is must be a table or a function; `found` says where it came from. */
static void check_result(lua_State *state, const paro_recipe *recipe, const char *found)
{
    int type = lua_type(state, -1);
    if (type != LUA_TTABLE && type != LUA_TFUNCTION)
        paro_recipe_raise(state, recipe, "expected %s a table or a function, %s",
                          recipe->caller != NULL ? "the recipe to be" : "the recipe to return",
                          found);
    if (type == LUA_TTABLE && recipe->n_options > 0)
        paro_recipe_raise(state, recipe,
                          "option \"%s\" is set, but the recipe is a table: only one that "
                          "%s a function takes options",
                          recipe->options[0].key, recipe->caller != NULL ? "is" : "returns");
}

static int run_chunk(lua_State *state)
{
    paro_recipe *recipe = lua_touserdata(state, 1);
    if (paro_lua_source_load(state, &recipe->source) != LUA_OK)
        return lua_error(state);
    lua_call(state, 0, 1);
    const char *found = lua_pushfstring(state, "it returned %s (does it end with `return`?)",
                                        paro_recipe_describe(state, -1));
    lua_pushvalue(state, -3);
    check_result(state, recipe, found);
    recipe->result = luaL_ref(state, LUA_REGISTRYINDEX);
    return 0;
}

static int check_value(lua_State *state)
{
    const paro_recipe *recipe = lua_touserdata(state, 1);
    lua_rawgeti(state, LUA_REGISTRYINDEX, recipe->result);
    const char *found = lua_pushfstring(state, "found %s", paro_recipe_describe(state, -1));
    lua_pushvalue(state, -3);
    check_result(state, recipe, found);
    return 0;
}

/* Lua's messages name the recipe, most of the time; those of limits do not. */
paro_status paro_recipe_run(paro_error *err, const paro_recipe *recipe, lua_CFunction function,
                            void *context)
{
    paro_status status = recipe->caller != NULL
                             ? paro_sandbox_call(err, recipe->caller, function, context, 0)
                             : paro_sandbox_run(err, recipe->sandbox, function, context);
    if (status != PARO_STATUS_OK && err != NULL && strstr(err->message, recipe->path) == NULL)
        return paro_fail_in(err, status, "%s", recipe->path);
    return status;
}

static paro_status recipe_new(paro_error *err, const char *path, const char *const *set,
                              size_t n_set, paro_recipe **out)
{
    paro_recipe *recipe = calloc(1, sizeof *recipe);
    if (recipe == NULL)
        return paro_fail_memory(err, sizeof *recipe, "a recipe");
    paro_status status = PARO_STATUS_OK;
    recipe->n_users = 1;
    recipe->path = paro_arena_strdup(&recipe->arena, path);
    if (recipe->path == NULL)
        status = paro_fail_memory(err, strlen(path), "a path");
    if (status == PARO_STATUS_OK)
        status = read_options(err, recipe, set, n_set);
    if (status != PARO_STATUS_OK) {
        paro_recipe_free(recipe);
        return status;
    }
    *out = recipe;
    return PARO_STATUS_OK;
}

paro_status paro_recipe_open(paro_error *err, const char *path, const paro_recipe_options *options,
                             paro_recipe **out)
{
    static const paro_recipe_options defaults = {0};
    if (options == NULL)
        options = &defaults;
    paro_recipe *recipe = NULL;
    paro_status status = recipe_new(err, path, options->set, options->n_set, &recipe);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_lua_source_read(err, &recipe->arena, SHIPPED_FOLDER, "recipe", recipe->path,
                                  &recipe->source);
    if (status == PARO_STATUS_OK) {
        const paro_sandbox_options sandbox = {.allow_io = options->allow_io,
                                              .memory_bytes = options->memory_bytes,
                                              .n_instructions = options->n_instructions,
                                              .data_bytes = options->tensor_bytes,
                                              .observer = options->observer};
        paro_sha256_hex(recipe->source.text, recipe->source.n_bytes, recipe->sha256);
        status = paro_sandbox_new(err, &sandbox, &recipe->sandbox);
    }
    if (status == PARO_STATUS_OK)
        status = paro_recipe_run(err, recipe, run_chunk, recipe);
    if (status != PARO_STATUS_OK) {
        paro_recipe_free(recipe);
        return status;
    }
    *out = recipe;
    return PARO_STATUS_OK;
}

paro_status paro_recipe_of_value(paro_error *err, lua_State *state, int value,
                                 const paro_lua_source *source, const char *const *set,
                                 size_t n_set, paro_recipe **out)
{
    paro_recipe *recipe = NULL;
    paro_status status = recipe_new(err, source->name, set, n_set, &recipe);
    if (status != PARO_STATUS_OK)
        return status;
    recipe->source = *source;
    paro_sha256_hex(source->text, source->n_bytes, recipe->sha256);
    recipe->caller = state;
    recipe->sandbox = paro_sandbox_of(state);
    recipe->result = value;
    status = paro_recipe_run(err, recipe, check_value, recipe);
    if (status != PARO_STATUS_OK) {
        paro_recipe_free(recipe);
        return status;
    }
    *out = recipe;
    return PARO_STATUS_OK;
}

void paro_recipe_free(paro_recipe *recipe)
{
    if (recipe == NULL || --recipe->n_users > 0)
        return;
    if (recipe->caller == NULL)
        paro_sandbox_free(recipe->sandbox);
    paro_arena_release(&recipe->arena);
    free(recipe);
}

/* ---- planning ---- */

typedef struct planning {
    const paro_recipe *recipe;
    const paro_model *model;
    paro_arena arena;
    paro_recipe_table table;
} planning;

static int make_rules(lua_State *state)
{
    planning *p = lua_touserdata(state, 1);
    lua_rawgeti(state, LUA_REGISTRYINDEX, p->recipe->result);
    if (lua_isfunction(state, -1)) {
        paro_recipe_push_options(state, p->recipe);
        int options = lua_gettop(state);
        lua_pushvalue(state, -2);
        paro_recipe_push_model(state, p->model);
        lua_pushvalue(state, options);
        lua_call(state, 2, 1);
        if (!lua_istable(state, -1))
            return paro_recipe_raise(state, p->recipe,
                                     "expected the recipe's function to return a table, it "
                                     "returned %s",
                                     paro_recipe_describe(state, -1));
        paro_recipe_check_options(state, p->recipe, options);
    }
    paro_recipe_read_table(state, p->recipe, &p->arena, &p->table);
    return 0;
}

paro_status paro_plan_make(paro_error *err, paro_recipe *recipe, const paro_model *model,
                           paro_plan **out)
{
    planning p = {.recipe = recipe, .model = model, .table.block = LUA_NOREF};
    paro_plan_block block = {.run = NULL};
    paro_status status = paro_recipe_run(err, recipe, make_rules, &p);
    if (status == PARO_STATUS_OK && p.table.block != LUA_NOREF)
        status = paro_recipe_plan_block(err, recipe, p.table.block, &block);
    if (status == PARO_STATUS_OK) {
        const paro_plan_spec spec = {.recipe = recipe->path,
                                     .text = recipe->source.text,
                                     .n_text_bytes = recipe->source.n_bytes,
                                     .sha256 = recipe->sha256,
                                     .options = recipe->options_json,
                                     .rules = p.table.rules,
                                     .n_rules = p.table.n_rules,
                                     .krot = p.table.krot,
                                     .data = p.table.data,
                                     .block = block};
        status = paro_plan_resolve(err, &spec, model, out);
        if (status != PARO_STATUS_OK && block.release != NULL)
            block.release(block.context);
    }
    paro_arena_release(&p.arena);
    return status;
}
