/* SPDX-License-Identifier: MIT
 *
 * docs/lua.md: every function and field that Lua sees of tensors, blocks and linears is in it, and
 * its examples print what it says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>

#include "lua/block.h"
#include "lua/sandbox.h"
#include "lua/tensor.h"
#include "tests/lua_block.h"

static char *document;

static int read_document(void **state)
{
    (void)state;
    paro_error err;
    size_t n_bytes = 0;
    assert_ok(paro_file_read(&err, "docs/lua.md", 1 << 20, &document, &n_bytes));
    return 0;
}

static int free_document(void **state)
{
    (void)state;
    free(document);
    return 0;
}

/* `prefix`, then the name, as a word of its own. */
static bool is_documented(const char *prefix, const char *name)
{
    char words[128];
    snprintf(words, sizeof words, "%s%s", prefix, name);
    for (const char *at = document; (at = strstr(at, words)) != NULL; at++) {
        char next = at[strlen(words)];
        if (!isalnum((unsigned char)next) && next != '_')
            return true;
    }
    return false;
}

static void check_documented(const char *prefix, const char *name)
{
    if (!is_documented(prefix, name))
        fail_msg("docs/lua.md has no %s%s", prefix, name);
}

/* Runs in a sandbox: the members of the tables that Lua code reaches, whatever put them there. */
static int check_tensors(lua_State *state)
{
    int n = 0;
    lua_getglobal(state, "tensor");
    for (lua_pushnil(state); lua_next(state, -2) != 0; lua_pop(state, 1), n++)
        check_documented("`tensor.", lua_tostring(state, -2));
    assert_true(n >= 4);
    n = 0;
    luaL_getmetatable(state, PARO_LUA_TENSOR_NAME);
    lua_getfield(state, -1, "__index");
    for (lua_pushnil(state); lua_next(state, -2) != 0; lua_pop(state, 1), n++)
        check_documented("t:", lua_tostring(state, -2));
    assert_true(n >= 30);
    lua_pop(state, 1);
    for (lua_pushnil(state); lua_next(state, -2) != 0; lua_pop(state, 1)) {
        static const char *const operators[][2] = {
            {"__add", "`+`"}, {"__sub", "`-`"},       {"__mul", "`*`"},  {"__div", "`/`"},
            {"__pow", "`^`"}, {"__unm", "unary `-`"}, {"__len", "`#t`"}, {"__index", "t:"},
            {"__gc", ""},     {"__tostring", ""},     {"__name", ""},
        };
        bool known = false;
        for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
            known = known || (strcmp(operators[i][0], lua_tostring(state, -2)) == 0 &&
                              strstr(document, operators[i][1]) != NULL);
        if (!known)
            fail_msg("docs/lua.md has no operator %s", lua_tostring(state, -2));
    }
    return 0;
}

static void test_tensors(void **state)
{
    (void)state;
    paro_error err;
    paro_sandbox *sandbox = NULL;
    assert_ok(paro_sandbox_new(&err, NULL, &sandbox));
    assert_ok(paro_sandbox_run(&err, sandbox, check_tensors, NULL));
    paro_sandbox_free(sandbox);
}

static void check_handle(const paro_lua_handle_kind *kind)
{
    char method[32];
    char field[32];
    snprintf(method, sizeof method, "`%s:", kind->name);
    snprintf(field, sizeof field, "`%s.", kind->name);
    for (size_t k = 0; kind->methods[k] != NULL; k++) {
        for (const luaL_Reg *m = kind->methods[k]; m->name != NULL; m++)
            check_documented(method, m->name);
    }
    for (size_t i = 0; kind->fields[i] != NULL; i++)
        check_documented(field, kind->fields[i]);
}

static void test_handles(void **state)
{
    (void)state;
    check_handle(&paro_lua_block_handle);
    check_handle(&paro_lua_linear_handle);
    assert_false(is_documented("`block:", "optimis"));
}

/* The text between a fence that opens with "```KIND\n" at or after `from` and the next; malloc'd,
 * NULL where there is none. *end is behind it. */
static char *next_fence(const char *from, const char *kind, const char **end)
{
    char opening[16];
    snprintf(opening, sizeof opening, "```%s\n", kind);
    const char *at = strstr(from, opening);
    if (at == NULL)
        return NULL;
    at += strlen(opening);
    const char *stop = strstr(at, "```");
    assert_non_null(stop);
    *end = stop + 3;
    return strndup(at, (size_t)(stop - at));
}

/* An example is a block function's body, or a recipe where it begins with `return`; what it prints
 * is in the fence after it. */
static void test_examples(void **state)
{
    (void)state;
    int n = 0;
    const char *at = document;
    char *code = NULL;
    while ((code = next_fence(at, "lua", &at)) != NULL) {
        paro_error err;
        log_text log;
        char *expected = next_fence(at, "text", &at);
        assert_non_null(expected);
        for (char *c = expected; *c != '\0'; c++)
            *c = *c == '\n' ? '|' : *c;
        block_fixture f = new_fixture(2);
        paro_status status = PARO_STATUS_OK;
        if (strncmp(code, "return", 6) == 0)
            status = run_recipe(&err, &f, code, &log);
        else
            status = run_body(&err, &f, code, &log);
        if (status != PARO_STATUS_OK)
            fail_msg("%s\nof docs/lua.md: %s", code, err.message);
        for (char *c = log.text; *c != '\0'; c++)
            *c = *c == '\t' ? ' ' : *c;
        assert_string_equal(log.text, expected);
        block_fixture_free(&f);
        free(expected);
        free(code);
        n++;
    }
    assert_true(n >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_handles),
        cmocka_unit_test(test_examples),
    };
    return cmocka_run_group_tests(tests, read_document, free_document);
}
