/* SPDX-License-Identifier: MIT
 *
 * problem(text): the grammar of families/problem.h for recipes.
 */
#include <lauxlib.h>
#include <string.h>

#include "families/family.h"
#include "lua/sandbox.h"

enum { PARSE_WORK = 1000 };

static void push_parts(lua_State *state, const paro_problem *problem)
{
    lua_createtable(state, (int)problem->n_parts, 0);
    for (uint32_t i = 0; i < problem->n_parts; i++) {
        lua_pushinteger(state, (lua_Integer)problem->parts[i]);
        lua_rawseti(state, -2, (lua_Integer)i + 1);
    }
}

int paro_sandbox_problem(lua_State *state)
{
    size_t n_bytes = 0;
    paro_error err;
    paro_problem problem;
    char canonical[PARO_PROBLEM_TEXT_BYTES];
    luaL_checktype(state, 1, LUA_TSTRING);
    const char *text = lua_tolstring(state, 1, &n_bytes);
    paro_sandbox_charge(state, PARSE_WORK + n_bytes / 16);
    if (n_bytes >= PARO_PROBLEM_TEXT_BYTES || strlen(text) != n_bytes)
        return luaL_error(
            state, "problem: expected FAMILY:KEY=VALUE,... of at most %d bytes, found %s",
            PARO_PROBLEM_TEXT_BYTES - 1, strlen(text) != n_bytes ? "a zero byte" : "more");
    if (paro_problem_parse(&err, text, &problem) != PARO_STATUS_OK)
        return luaL_error(state, "%s", err.message);

    const paro_problem_key *keys = problem.family->keys;
    paro_problem_print(&problem, canonical);
    lua_createtable(state, 0, PARO_PROBLEM_MAX_KEYS + 2);
    lua_pushstring(state, problem.family->name);
    lua_setfield(state, -2, "family");
    lua_pushstring(state, canonical);
    lua_setfield(state, -2, "text");
    for (size_t i = 0; keys[i].name != NULL; i++) {
        if (keys[i].kind == PARO_KEY_CHOICE)
            lua_pushstring(state, keys[i].choices[problem.values[i]]);
        else if (keys[i].kind == PARO_KEY_PARTS)
            push_parts(state, &problem);
        else
            lua_pushinteger(state, (lua_Integer)problem.values[i]);
        lua_setfield(state, -2, keys[i].name);
    }
    return 1;
}
