/* SPDX-License-Identifier: MIT
 *
 * The table a recipe returns, checked and turned into rules. docs/recipes.md describes it; in
 * short:
 *
 *     name, description   strings, for people
 *     method              "rtn" (default) or "keep"
 *     bits, group_size    integers, default 4 and 128
 *     linears             patterns of what the method is for; default "*"
 *     keep                patterns of what stays as it is, whatever else matches
 *     overrides           list of {match=, method=, bits=, group_size=}: the last that matches
 *                         decides; what it does not say is as above
 *     block               function of a block (lua/block.h), instead of `method`; with it
 *     krot                rounds of rotations, default 0
 *     data                {samples=, validation=, tokens=, seed=}
 *
 * Patterns: a string or a list of strings.
 */
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "lua/recipe.h"

enum {
    PREFIX_BYTES = 48,
    WHERE_BYTES = 96,
    MAX_KROT = 64,
    DEFAULT_SAMPLES = 128,
    DEFAULT_VALIDATION = 16,
    DEFAULT_TOKENS = 512,
    MAX_SAMPLES = 1 << 20,
    MAX_TOKENS = 1 << 20
};

typedef struct reader {
    lua_State *state;
    const paro_recipe *recipe;
    paro_arena *arena;
    paro_plan_rule *rules; /* [PARO_RECIPE_MAX_PATTERNS] */
    size_t n_rules;
    const paro_method *method; /* the recipe's own */
    uint32_t bits;
    uint32_t group_size;
} reader;

static const char *const table_keys[] = {"name",       "description", "method", "bits",
                                         "group_size", "linears",     "keep",   "overrides",
                                         "block",      "krot",        "data"};
static const char *const data_keys[] = {"samples", "validation", "tokens", "seed"};
static const char *const override_keys[] = {"match", "method", "bits", "group_size"};

static void check_own_table(reader *r, int table, const char *where)
{
    if (luaL_getmetafield(r->state, table, "__index") != LUA_TNIL)
        paro_recipe_raise(r->state, r->recipe, "%s: expected a table of the recipe's own", where);
}

/* Every key must be a known string. `prefix`: "" or "overrides[2]: ". */
static void check_keys(reader *r, int table, const char *prefix, const char *const *keys,
                       size_t n_keys)
{
    lua_State *state = r->state;
    lua_pushnil(state);
    while (lua_next(state, table) != 0) {
        lua_pop(state, 1);
        if (lua_type(state, -1) != LUA_TSTRING)
            paro_recipe_raise(state, r->recipe, "%sexpected keys that are names, found %s", prefix,
                              paro_recipe_describe(state, -1));
        const char *key = lua_tostring(state, -1);
        bool known = false;
        for (size_t i = 0; i < n_keys; i++)
            known = known || strcmp(key, keys[i]) == 0;
        if (!known) {
            char nearest[256];
            paro_nearest_of(nearest, sizeof nearest, key, n_keys, keys);
            paro_recipe_raise(state, r->recipe, "%sunknown key \"%s\" (nearest: %s)", prefix, key,
                              nearest);
        }
    }
}

static uint32_t read_integer(reader *r, int table, const char *prefix, const char *key,
                             lua_Integer min, lua_Integer max, uint32_t fallback)
{
    lua_State *state = r->state;
    int is_integer = 0;
    int type = lua_getfield(state, table, key);
    if (type == LUA_TNIL) {
        lua_pop(state, 1);
        return fallback;
    }
    lua_Integer value = type == LUA_TNUMBER ? lua_tointegerx(state, -1, &is_integer) : 0;
    if (!is_integer || value < min || value > max)
        paro_recipe_raise(state, r->recipe, "%s%s: expected an integer from %I to %I, found %s",
                          prefix, key, min, max, paro_recipe_describe(state, -1));
    lua_pop(state, 1);
    return (uint32_t)value;
}

static void check_text(reader *r, int table, const char *key)
{
    int type = lua_getfield(r->state, table, key);
    if (type != LUA_TNIL && type != LUA_TSTRING)
        paro_recipe_raise(r->state, r->recipe, "%s: expected a string, found %s", key,
                          paro_recipe_describe(r->state, -1));
    lua_pop(r->state, 1);
}

static const paro_method *read_method(reader *r, int table, const char *prefix,
                                      const paro_method *fallback)
{
    lua_State *state = r->state;
    int type = lua_getfield(state, table, "method");
    if (type == LUA_TNIL) {
        lua_pop(state, 1);
        return fallback;
    }
    const paro_method *method =
        type == LUA_TSTRING ? paro_method_find(lua_tostring(state, -1)) : NULL;
    if (method == NULL) {
        const char *found = paro_recipe_describe(state, -1);
        luaL_Buffer names;
        luaL_buffinit(state, &names);
        for (size_t i = 0; paro_method_get(i) != NULL; i++) {
            luaL_addstring(&names, i > 0 ? ", " : "");
            luaL_addstring(&names, paro_method_get(i)->name);
        }
        luaL_pushresult(&names);
        paro_recipe_raise(state, r->recipe, "%smethod: expected one of %s; found %s", prefix,
                          lua_tostring(state, -1), found);
    }
    lua_pop(state, 1);
    return method;
}

/* Adds a rule for the pattern on top of the stack, and pops it. */
static void add_rule(reader *r, const char *where, const paro_method *method, uint32_t bits,
                     uint32_t group_size)
{
    lua_State *state = r->state;
    if (lua_type(state, -1) != LUA_TSTRING)
        paro_recipe_raise(state, r->recipe, "%s: expected a pattern (a string), found %s", where,
                          paro_recipe_describe(state, -1));
    if (r->n_rules == PARO_RECIPE_MAX_PATTERNS)
        paro_recipe_raise(state, r->recipe, "%s: more than %d patterns", where,
                          PARO_RECIPE_MAX_PATTERNS);
    size_t n_bytes = 0;
    const char *text = lua_tolstring(state, -1, &n_bytes);
    if (strlen(text) != n_bytes)
        paro_recipe_raise(state, r->recipe, "%s: a pattern with a zero byte", where);
    paro_plan_rule rule = {.method = method, .bits = bits, .group_size = group_size};
    paro_error err;
    paro_status status = paro_glob_compile(&err, r->arena, text, &rule.glob);
    rule.where = paro_arena_strdup(r->arena, where);
    if (status == PARO_STATUS_OUT_OF_MEMORY || rule.where == NULL)
        paro_sandbox_out_of_memory(state);
    if (status != PARO_STATUS_OK)
        paro_recipe_raise(state, r->recipe, "%s: %s", where, err.message);
    r->rules[r->n_rules++] = rule;
    lua_pop(state, 1);
}

/* A list of strings on top of the stack; gives its length. */
static lua_Integer check_list(reader *r, const char *prefix, const char *key, bool may_be_empty)
{
    lua_State *state = r->state;
    char where[WHERE_BYTES];
    snprintf(where, sizeof where, "%s%s", prefix, key);
    check_own_table(r, lua_gettop(state), where);
    lua_Integer n = (lua_Integer)lua_rawlen(state, -1);
    lua_Integer n_entries = 0;
    for (lua_pushnil(state); lua_next(state, -2) != 0; lua_pop(state, 1))
        n_entries++;
    if (n_entries != n)
        paro_recipe_raise(state, r->recipe,
                          "%s: expected a list of patterns, found a table with other keys than "
                          "1, 2, …",
                          where);
    if (n == 0 && !may_be_empty)
        paro_recipe_raise(state, r->recipe, "%s: expected at least one pattern, found none", where);
    return n;
}

/* A pattern or a list of patterns at `key`; false where there is no such key. */
static bool add_rules(reader *r, int table, const char *prefix, const char *key,
                      const paro_method *method, uint32_t bits, uint32_t group_size)
{
    lua_State *state = r->state;
    char where[WHERE_BYTES];
    int type = lua_getfield(state, table, key);
    if (type == LUA_TSTRING) {
        snprintf(where, sizeof where, "%s%s", prefix, key);
        add_rule(r, where, method, bits, group_size);
        return true;
    }
    if (type == LUA_TTABLE) {
        lua_Integer n = check_list(r, prefix, key, method->quantise == NULL);
        for (lua_Integer i = 1; i <= n; i++) {
            snprintf(where, sizeof where, "%s%s[%lld]", prefix, key, (long long)i);
            lua_rawgeti(state, -1, i);
            add_rule(r, where, method, bits, group_size);
        }
        lua_pop(state, 1);
        return true;
    }
    if (type != LUA_TNIL)
        paro_recipe_raise(state, r->recipe,
                          "%s%s: expected a pattern or a list of patterns, found %s", prefix, key,
                          paro_recipe_describe(state, -1));
    lua_pop(state, 1);
    return false;
}

static void read_override(reader *r, int table, const char *prefix)
{
    check_own_table(r, table, "overrides");
    check_keys(r, table, prefix, override_keys, sizeof override_keys / sizeof *override_keys);
    const paro_method *method = read_method(r, table, prefix, r->method);
    uint32_t bits =
        read_integer(r, table, prefix, "bits", PARO_PLAN_MIN_BITS, PARO_PLAN_MAX_BITS, r->bits);
    uint32_t group_size =
        read_integer(r, table, prefix, "group_size", 2, PARO_RECIPE_MAX_GROUP_SIZE, r->group_size);
    if (!add_rules(r, table, prefix, "match", method, bits, group_size))
        paro_recipe_raise(r->state, r->recipe, "%smatch: missing (expected the pattern it is for)",
                          prefix);
}

static void read_overrides(reader *r, int table)
{
    lua_State *state = r->state;
    int type = lua_getfield(state, table, "overrides");
    if (type != LUA_TNIL && type != LUA_TTABLE)
        paro_recipe_raise(state, r->recipe, "overrides: expected a list of tables, found %s",
                          paro_recipe_describe(state, -1));
    if (type == LUA_TTABLE) {
        check_own_table(r, lua_gettop(state), "overrides");
        lua_Integer n = (lua_Integer)lua_rawlen(state, -1);
        bool is_list = n > 0;
        if (!is_list) {
            lua_pushnil(state);
            is_list = lua_next(state, -2) == 0; /* empty */
        }
        if (!is_list)
            paro_recipe_raise(state, r->recipe, "overrides: expected a list of tables: {{…}, {…}}");
        for (lua_Integer i = 1; i <= n; i++) {
            char prefix[PREFIX_BYTES];
            snprintf(prefix, sizeof prefix, "overrides[%lld]: ", (long long)i);
            if (lua_rawgeti(state, -1, i) != LUA_TTABLE)
                paro_recipe_raise(state, r->recipe, "%sexpected a table, found %s", prefix,
                                  paro_recipe_describe(state, -1));
            read_override(r, lua_gettop(state), prefix);
            lua_pop(state, 1);
        }
    }
    lua_pop(state, 1);
}

static void read_data(reader *r, int table, paro_plan_data *out)
{
    static const char prefix[] = "data: ";
    lua_State *state = r->state;
    int type = lua_getfield(state, table, "data");
    if (type == LUA_TNIL)
        lua_createtable(state, 0, 0);
    else if (type != LUA_TTABLE)
        paro_recipe_raise(state, r->recipe, "data: expected a table, found %s",
                          paro_recipe_describe(state, -1));
    int data = lua_gettop(state);
    check_own_table(r, data, "data");
    check_keys(r, data, prefix, data_keys, sizeof data_keys / sizeof *data_keys);
    out->n_train = read_integer(r, data, prefix, "samples", 1, MAX_SAMPLES, DEFAULT_SAMPLES);
    out->n_validation =
        read_integer(r, data, prefix, "validation", 0, MAX_SAMPLES, DEFAULT_VALIDATION);
    out->n_tokens = read_integer(r, data, prefix, "tokens", 2, MAX_TOKENS, DEFAULT_TOKENS);
    out->seed = read_integer(r, data, prefix, "seed", 0, UINT32_MAX, 0);
    lua_settop(state, data - (type == LUA_TNIL ? 2 : 1));
}

/* block and what is there only with it. */
static void read_block(reader *r, int table, paro_recipe_table *out)
{
    lua_State *state = r->state;
    out->block = LUA_NOREF;
    int type = lua_getfield(state, table, "block");
    if (type == LUA_TNIL) {
        lua_pop(state, 1);
        for (size_t i = 0; i < 2; i++) {
            static const char *const keys[] = {"krot", "data"};
            if (lua_getfield(state, table, keys[i]) != LUA_TNIL)
                paro_recipe_raise(state, r->recipe,
                                  "%s: is for recipes with a function `block`, there is none",
                                  keys[i]);
            lua_pop(state, 1);
        }
        return;
    }
    if (type != LUA_TFUNCTION)
        paro_recipe_raise(state, r->recipe, "block: expected a function, found %s",
                          paro_recipe_describe(state, -1));
    out->krot = read_integer(r, table, "", "krot", 0, MAX_KROT, 0);
    read_data(r, table, &out->data);
    out->block = luaL_ref(state, LUA_REGISTRYINDEX);
}

void paro_recipe_read_table(lua_State *state, const paro_recipe *recipe, paro_arena *arena,
                            paro_recipe_table *out)
{
    luaL_checkstack(state, 32, "recipe");
    int table = lua_gettop(state);
    reader r = {.state = state, .recipe = recipe, .arena = arena};
    r.rules = paro_arena_array(arena, PARO_RECIPE_MAX_PATTERNS, sizeof *r.rules);
    if (r.rules == NULL)
        paro_sandbox_out_of_memory(state);
    check_own_table(&r, table, "the recipe");
    check_keys(&r, table, "", table_keys, sizeof table_keys / sizeof *table_keys);
    check_text(&r, table, "name");
    check_text(&r, table, "description");
    r.method = read_method(&r, table, "", paro_method_find("rtn"));
    r.bits = read_integer(&r, table, "", "bits", PARO_PLAN_MIN_BITS, PARO_PLAN_MAX_BITS, 4);
    r.group_size = read_integer(&r, table, "", "group_size", 2, PARO_RECIPE_MAX_GROUP_SIZE, 128);

    if (!add_rules(&r, table, "", "linears", r.method, r.bits, r.group_size)) {
        lua_pushliteral(state, "*");
        add_rule(&r, "linears", r.method, r.bits, r.group_size);
    }
    read_overrides(&r, table);
    add_rules(&r, table, "", "keep", paro_method_find("keep"), 0, 0);
    out->rules = r.rules;
    out->n_rules = r.n_rules;
    read_block(&r, table, out);
}
