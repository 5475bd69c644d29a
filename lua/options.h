/* SPDX-License-Identifier: MIT
 *
 * Options of a function: a table of named values, read strictly. Every mistake is a Lua error that
 * names the function and the key.
 */
#ifndef PARO_LUA_OPTIONS_H
#define PARO_LUA_OPTIONS_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct paro_lua_options {
    lua_State *state;
    const char *function; /* "block:pairs" */
    int table;            /* 0: no table was given, everything is its default */
} paro_lua_options;

/* Argument `index` of the function: a table whose keys are all among these, or nothing. */
paro_lua_options paro_lua_options_read(lua_State *state, int index, const char *function,
                                       const char *const *keys, size_t n_keys);

bool paro_lua_options_has(const paro_lua_options *options, const char *key);
bool paro_lua_options_boolean(const paro_lua_options *options, const char *key, bool fallback);
lua_Integer paro_lua_options_integer(const paro_lua_options *options, const char *key,
                                     lua_Integer min, lua_Integer max, lua_Integer fallback);
/* Finite, from min to max. */
double paro_lua_options_number(const paro_lua_options *options, const char *key, double min,
                               double max, double fallback);
/* A string that the state keeps alive as long as the table. */
const char *paro_lua_options_text(const paro_lua_options *options, const char *key,
                                  const char *fallback);

/* Whether the name matches the value at `index`: a pattern (calib/glob.h) or a list of them. */
bool paro_lua_options_match(lua_State *state, int index, const char *function, const char *name);

/* The same for an option; true where it is not there. */
bool paro_lua_options_matches(const paro_lua_options *options, const char *key, const char *name);

#endif
