/* SPDX-License-Identifier: MIT
 *
 * Scripts in a sandbox, for tests of what Lua can call. Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_LUA_SCRIPT_H
#define PARO_TESTS_LUA_SCRIPT_H

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "lua/sandbox.h"
#include "tests/support.h"

/* Helpers of the scripts: show(t) is a tensor in words, near(a, b, tolerance) compares two. */
static const char script_prelude[] =
    "local function shown(x) return string.format('%.6g', x) end "
    "function show(t) local out, n, m = {}, t:shape() "
    "  if m == nil then for i = 1, n do out[i] = shown(t:get(i)) end "
    "    return table.concat(out, ' ') end "
    "  for i = 1, n do local row = {} for j = 1, m do row[j] = shown(t:get(i, j)) end "
    "    out[i] = table.concat(row, ' ') end return table.concat(out, '; ') end "
    "function near(a, b, tolerance) local d = (a - b):absmax() "
    "  if not (d <= tolerance) then error('they differ by ' .. d, 2) end return d <= tolerance "
    "end ";

typedef struct script {
    const char *text;
    char result[1024]; /* tostring of what it returns */
} script;

static inline int script_run(lua_State *state)
{
    script *s = lua_touserdata(state, 1);
    if (luaL_loadbufferx(state, s->text, strlen(s->text), "=script", "t") != LUA_OK)
        return lua_error(state);
    lua_call(state, 0, 1);
    snprintf(s->result, sizeof s->result, "%s", luaL_tolstring(state, -1, NULL));
    return 0;
}

static inline paro_status script_run_in(paro_error *err, paro_sandbox *sandbox, const char *text,
                                        script *s)
{
    script prelude = {.text = script_prelude};
    paro_status status = paro_sandbox_run(err, sandbox, script_run, &prelude);
    *s = (script){.text = text};
    return status == PARO_STATUS_OK ? paro_sandbox_run(err, sandbox, script_run, s) : status;
}

#endif
