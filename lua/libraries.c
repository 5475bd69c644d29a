/* SPDX-License-Identifier: MIT
 *
 * What sandboxed code can call: a choice of Lua's libraries, and functions in place of those that
 * could run for long inside C or reach outside. docs/recipes.md lists them.
 */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "lua/block.h"
#include "lua/sandbox.h"

enum {
    PRINT_WORK = 1000,
    CAUGHT_WORK = 10000 /* unwinding looks at every frame of the stack */
};

/* print: a line to where the host wants it, or of the log for every line of the text. */
static int sandbox_print(lua_State *state)
{
    paro_sandbox_charge(state, PRINT_WORK);
    int n = lua_gettop(state);
    luaL_Buffer buffer;
    luaL_buffinit(state, &buffer);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&buffer, '\t');
        luaL_tolstring(state, i, NULL);
        luaL_addvalue(&buffer);
    }
    luaL_pushresult(&buffer);
    size_t n_bytes = 0;
    const char *text = lua_tolstring(state, -1, &n_bytes);
    if (!paro_sandbox_prints_to_log(state)) {
        lua_pushliteral(state, "\n");
        lua_concat(state, 2);
        paro_sandbox_print(state, lua_tostring(state, -1), n_bytes + 1);
        return 0;
    }
    const char *end = text + n_bytes;
    for (const char *line = text; line <= end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (stop == NULL)
            stop = end;
        int width = stop - line > 1000 ? 1000 : (int)(stop - line);
        paro_sandbox_charge(state, PRINT_WORK);
        paro_log(paro_sandbox_observer(state), PARO_LOG_LEVEL_INFO, "%.*s", width, line);
        line = stop + 1;
    }
    return 0;
}

static int finish_pcall(lua_State *state, int code, lua_KContext context)
{
    (void)context;
    if (code == LUA_OK || code == LUA_YIELD)
        return lua_gettop(state);
    paro_sandbox_let_pass(state);
    paro_sandbox_charge(state, CAUGHT_WORK);
    lua_pushboolean(state, 0);
    lua_insert(state, -2);
    return 2;
}

static int sandbox_pcall(lua_State *state)
{
    luaL_checkany(state, 1);
    lua_pushboolean(state, 1);
    lua_insert(state, 1);
    int code = lua_pcallk(state, lua_gettop(state) - 2, LUA_MULTRET, 0, 0, finish_pcall);
    return finish_pcall(state, code, 0);
}

/* load(text [, name [, mode [, env]]]): text only, whatever the mode. */
static int sandbox_load(lua_State *state)
{
    size_t n_bytes = 0;
    luaL_checktype(state, 1, LUA_TSTRING);
    const char *text = lua_tolstring(state, 1, &n_bytes);
    const char *name = luaL_optstring(state, 2, text);
    bool has_env = !lua_isnone(state, 4);
    if (luaL_loadbufferx(state, text, n_bytes, name, "t") != LUA_OK) {
        luaL_pushfail(state);
        lua_insert(state, -2);
        return 2;
    }
    if (has_env) {
        lua_pushvalue(state, 4);
        lua_setupvalue(state, -2, 1);
    }
    return 1;
}

/* Library functions that loop in C over a table: charged first, then called. */
static int charged_table_call(lua_State *state)
{
    uint64_t n = 0;
    if (lua_type(state, 1) == LUA_TTABLE)
        n = lua_rawlen(state, 1);
    if (lua_toboolean(state, lua_upvalueindex(2))) { /* move(from, first, last, …) */
        lua_Integer first = luaL_checkinteger(state, 2);
        lua_Integer last = luaL_checkinteger(state, 3);
        n = last >= first ? (lua_Unsigned)last - (lua_Unsigned)first : 0;
    }
    uint64_t log2_n = 1;
    while (log2_n < 63 && n >> log2_n != 0)
        log2_n++;
    paro_sandbox_charge(state, n > UINT64_MAX / 64 ? UINT64_MAX : n * log2_n);
    lua_pushvalue(state, lua_upvalueindex(1));
    lua_insert(state, 1);
    lua_call(state, lua_gettop(state) - 1, LUA_MULTRET);
    return lua_gettop(state);
}

static int charged_coroutine(lua_State *state)
{
    paro_sandbox_charge(state, PARO_SANDBOX_INTERVAL);
    lua_pushvalue(state, lua_upvalueindex(1));
    lua_insert(state, 1);
    lua_call(state, lua_gettop(state) - 1, 1);
    return 1;
}

/* Files close themselves when collected; a state that is dropped collects nothing, so the sandbox
 * lists them. */
static int close_file(lua_State *state)
{
    luaL_Stream *stream = luaL_checkudata(state, 1, LUA_FILEHANDLE);
    paro_sandbox_drop_file(state, stream->f);
    return luaL_fileresult(state, fclose(stream->f) == 0, NULL);
}

static int open_file(lua_State *state)
{
    luaL_checkstring(state, 1);
    if (!paro_sandbox_has_room_for_file(state))
        return luaL_error(state, "more than %d files are open", PARO_SANDBOX_FILES);
    lua_pushvalue(state, lua_upvalueindex(1));
    lua_insert(state, 1);
    lua_call(state, lua_gettop(state) - 1, LUA_MULTRET);
    luaL_Stream *stream = luaL_testudata(state, 1, LUA_FILEHANDLE);
    if (stream != NULL) {
        paro_sandbox_add_file(state, stream->f);
        stream->closef = close_file;
    }
    return lua_gettop(state);
}

typedef struct library {
    const char *name;
    lua_CFunction open;
    const char *const *keep; /* every other member is removed */
} library;

static const char *const base_names[] = {"_G",       "_VERSION", "assert", "error",
                                         "ipairs",   "next",     "pairs",  "select",
                                         "tonumber", "tostring", "type",   NULL};
static const char *const table_names[] = {"concat", "insert", "move",   "pack",
                                          "remove", "sort",   "unpack", NULL};
static const char *const string_names[] = {"byte", "char",    "format", "len",   "lower",
                                           "rep",  "reverse", "sub",    "upper", NULL};
static const char *const math_names[] = {
    "abs", "acos",       "asin", "atan",      "ceil", "cos",    "deg",
    "exp", "floor",      "fmod", "huge",      "log",  "max",    "maxinteger",
    "min", "mininteger", "modf", "pi",        "rad",  "random", "randomseed",
    "sin", "sqrt",       "tan",  "tointeger", "type", "ult",    NULL};
static const char *const utf8_names[] = {"char", "charpattern", "codepoint", "codes",
                                         "len",  "offset",      NULL};
static const char *const coroutine_names[] = {"create", "isyieldable", "resume", "running",
                                              "status", "wrap",        "yield",  NULL};
static const char *const io_names[] = {"open", "type", NULL};

static const library libraries[] = {{LUA_GNAME, luaopen_base, base_names},
                                    {LUA_TABLIBNAME, luaopen_table, table_names},
                                    {LUA_STRLIBNAME, luaopen_string, string_names},
                                    {LUA_MATHLIBNAME, luaopen_math, math_names},
                                    {LUA_UTF8LIBNAME, luaopen_utf8, utf8_names},
                                    {LUA_COLIBNAME, luaopen_coroutine, coroutine_names}};
static const library io_library = {LUA_IOLIBNAME, luaopen_io, io_names};

static bool is_listed(const char *const *names, const char *name)
{
    for (; *names != NULL; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

static void open_library(lua_State *state, const library *lib)
{
    luaL_requiref(state, lib->name, lib->open, 1);
    lua_pushnil(state);
    while (lua_next(state, -2) != 0) {
        lua_pop(state, 1);
        if (lua_type(state, -1) != LUA_TSTRING || !is_listed(lib->keep, lua_tostring(state, -1))) {
            lua_pushvalue(state, -1);
            lua_pushnil(state);
            lua_rawset(state, -4);
        }
    }
    lua_pop(state, 1);
}

/* Replaces the member of the table on top by `function` with the member as its first upvalue. */
static void wrap_member(lua_State *state, const char *name, lua_CFunction function, bool flag)
{
    lua_getfield(state, -1, name);
    lua_pushboolean(state, flag);
    lua_pushcclosure(state, function, 2);
    lua_setfield(state, -2, name);
}

void paro_sandbox_open_libraries(lua_State *state, bool allow_io)
{
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        open_library(state, &libraries[i]);

    lua_pushcfunction(state, sandbox_print);
    lua_setglobal(state, "print");
    lua_pushcfunction(state, sandbox_pcall);
    lua_setglobal(state, "pcall");
    lua_pushcfunction(state, sandbox_load);
    lua_setglobal(state, "load");
    lua_pushcfunction(state, paro_sandbox_problem);
    lua_setglobal(state, "problem");
    paro_sandbox_open_tensor(state);
    lua_setglobal(state, "tensor");
    paro_lua_open_blocks(state);

    lua_getglobal(state, LUA_TABLIBNAME);
    wrap_member(state, "insert", charged_table_call, false);
    wrap_member(state, "remove", charged_table_call, false);
    wrap_member(state, "sort", charged_table_call, false);
    wrap_member(state, "move", charged_table_call, true);
    lua_getglobal(state, LUA_COLIBNAME);
    wrap_member(state, "create", charged_coroutine, false);
    wrap_member(state, "wrap", charged_coroutine, false);
    lua_getglobal(state, LUA_STRLIBNAME);
    paro_sandbox_open_patterns(state);

    /* The same numbers in every run. */
    lua_getglobal(state, LUA_MATHLIBNAME);
    lua_getfield(state, -1, "randomseed");
    lua_pushinteger(state, 0);
    lua_call(state, 1, 0);

    if (allow_io) {
        open_library(state, &io_library);
        lua_getglobal(state, LUA_IOLIBNAME);
        wrap_member(state, "open", open_file, false);
    }
}
