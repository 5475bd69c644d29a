/* SPDX-License-Identifier: MIT
 *
 * The sandbox's string.find, match, gmatch and gsub against Lua's own, on random patterns.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "base/rng.h"
#include "lua/sandbox.h"
#include "tests/support.h"

/* Calls the four functions and puts everything they return, or their error, into one string. */
static const char describe[] =
    "local function show(ok, ...)\n"
    "  local t = {tostring(ok)}\n"
    "  for i = 1, select('#', ...) do t[#t + 1] = tostring((select(i, ...))) end\n"
    "  return table.concat(t, ';')\n"
    "end\n"
    "function describe(s, p, r, i)\n"
    "  local t = {}\n"
    "  t[1] = show(pcall(string.find, s, p, i))\n"
    "  t[2] = show(pcall(string.match, s, p, i))\n"
    "  t[3] = show(pcall(string.gsub, s, p, r))\n"
    "  t[4] = show(pcall(string.gsub, s, p, {a = 'A', b = 1, ab = false}, 3))\n"
    "  t[5] = show(pcall(string.gsub, s, p, function(x, y) return y end))\n"
    "  t[6] = show(pcall(string.find, s, p, i, true))\n"
    "  t[7] = show(pcall(function() local all = {}\n"
    "    for x, y in string.gmatch(s, p, i) do all[#all + 1] = tostring(x) .. tostring(y) end\n"
    "    return table.concat(all, ',') end))\n"
    "  return table.concat(t, '\\n')\n"
    "end\n";

typedef struct input {
    char text[64];
    char pattern[64];
    char replacement[16];
    int init;
    char result[16384];
} input;

static int call_describe(lua_State *state)
{
    input *in = lua_touserdata(state, 1);
    lua_getglobal(state, "describe");
    lua_pushstring(state, in->text);
    lua_pushstring(state, in->pattern);
    lua_pushstring(state, in->replacement);
    lua_pushinteger(state, in->init);
    lua_call(state, 4, 1);
    snprintf(in->result, sizeof in->result, "%s", lua_tostring(state, -1));
    return 0;
}

static int load_describe(lua_State *state)
{
    if (luaL_loadstring(state, describe) != LUA_OK)
        return lua_error(state);
    lua_call(state, 0, 0);
    return 0;
}

static void random_text(paro_rng *rng, const char *const *pieces, size_t n_pieces, char *out,
                        size_t most)
{
    out[0] = '\0';
    for (uint64_t i = paro_rng_below(rng, most); i > 0; i--)
        strcat(out, pieces[paro_rng_below(rng, n_pieces)]);
}

/* Error messages name the pattern's fault in the same words; ours carry no position. */
static void test_same_as_lua(void **state)
{
    (void)state;
    static const char *const texts[] = {"a", "b", "ab", "c", "1", " ",
                                        "(", ")", ".",  "%", "-", "^"};
    static const char *const patterns[] = {
        "a",      "b",  ".",  "*",  "+",    "-",    "?",     "(",    ")",      "()",   "%1",   "%2",
        "%a",     "%D", "%s", "%w", "[ab]", "[^a]", "[a-c]", "[]]",  "[^]%s]", "[",    "%b()", "%b",
        "%f[%w]", "%f", "^",  "$",  "%",    "%.",   "(.)",   "(a*)", "[%a-]",  "[a-]", "c"};
    static const char *const replacements[] = {"x", "%0", "%1", "%%", "%2", "%", "%z"};
    paro_error err;
    paro_sandbox *sandbox = NULL;
    assert_ok(paro_sandbox_new(&err, NULL, &sandbox));
    assert_ok(paro_sandbox_run(&err, sandbox, load_describe, NULL));
    lua_State *plain = luaL_newstate();
    assert_non_null(plain);
    luaL_openlibs(plain);
    lua_pushcfunction(plain, load_describe);
    lua_pushlightuserdata(plain, NULL);
    assert_int_equal(lua_pcall(plain, 1, 0, 0), LUA_OK);

    paro_rng rng;
    paro_rng_seed(&rng, 1);
    size_t n_matches = 0;
    for (int i = 0; i < (TEST_SANITIZED ? 5000 : 30000); i++) {
        input ours;
        random_text(&rng, texts, sizeof texts / sizeof *texts, ours.text, 16);
        random_text(&rng, patterns, sizeof patterns / sizeof *patterns, ours.pattern, 7);
        random_text(&rng, replacements, sizeof replacements / sizeof *replacements,
                    ours.replacement, 4);
        ours.init = (int)paro_rng_below(&rng, 40) - 20;
        input theirs = ours;
        assert_ok(paro_sandbox_run(&err, sandbox, call_describe, &ours));
        lua_pushcfunction(plain, call_describe);
        lua_pushlightuserdata(plain, &theirs);
        assert_int_equal(lua_pcall(plain, 1, 0, 0), LUA_OK);
        if (strcmp(ours.result, theirs.result) != 0)
            fail_msg("text \"%s\" pattern \"%s\" replacement \"%s\" init %d:\n%s\nexpected:\n%s",
                     ours.text, ours.pattern, ours.replacement, ours.init, ours.result,
                     theirs.result);
        n_matches += strncmp(ours.result, "true;", 5) == 0 && ours.result[5] != 'n';
    }
    assert_true(n_matches > 500); /* the patterns are not all nonsense */
    lua_close(plain);
    paro_sandbox_free(sandbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_lua)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
