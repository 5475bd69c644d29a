/* SPDX-License-Identifier: MIT
 *
 * lua/problem.c: problems in recipes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/quantize.h>

#include "tests/support.h"

/* The plan of a recipe of this text, made and thrown away. */
static paro_status run(paro_error *err, const char *text)
{
    char *dir = test_dir_new(), *path = test_path(dir, "recipe.lua");
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    paro_model *model = NULL;
    test_file_write(dir, "recipe.lua", text, strlen(text));
    paro_status status = paro_model_open(err, "models/demo", NULL, &model);
    if (status == PARO_STATUS_OK)
        status = paro_recipe_open(err, path, NULL, &recipe);
    if (status == PARO_STATUS_OK)
        status = paro_plan_make(err, recipe, model, &plan);
    paro_plan_free(plan);
    paro_recipe_free(recipe);
    paro_model_free(model);
    free(path);
    test_dir_remove(dir);
    return status;
}

static void test_values(void **state)
{
    (void)state;
    paro_error err;
    assert_ok(run(&err,
                  "local p = problem('linear_w4:k=4096,n=6144,m=1,group=128,krot=8,dtype=bf16,'\n"
                  "                  .. 'parts=4096+1024+1024')\n"
                  "assert(p.family == 'linear_w4' and p.dtype == 'bf16' and p.zero == 'u4')\n"
                  "assert(p.text:find('^linear_w4:n=6144,k=4096,m=1,'), p.text)\n"
                  "assert(problem(p.text).text == p.text)\n"
                  "assert(math.type(p.n) == 'integer' and p.n == 6144 and p.krot == 8)\n"
                  "assert(#p.parts == 3 and p.parts[1] == 4096 and p.parts[3] == 1024)\n"
                  "p.n = 7\n" /* a table like any other */
                  "assert(problem('swiglu:n=64,m=4,dtype=f16').parts == nil)\n"
                  "return {}"));
    /* Every key of the canonical text is in the table, with the value it has there. */
    assert_ok(run(&err, "local p = problem('linear_w4:n=64,k=128,m=2,group=64,krot=0,dtype=f16')\n"
                        "local n = 0\n"
                        "for key, value in p.text:gmatch('([%a_]+)=([%w+]+)') do\n"
                        "  local v = p[key]\n"
                        "  if type(v) == 'table' then v = table.concat(v, '+') end\n"
                        "  assert(tostring(v) == value, key)\n"
                        "  n = n + 1\n"
                        "end\n"
                        "for _ in pairs(p) do n = n - 1 end\n"
                        "assert(n == -2)\n" /* family and text */
                        "return {}"));
}

static void test_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"problem('linear_w5:n=1')", "there is no family \"linear_w5\" (nearest: linear_w4"},
        {"problem('swiglu:n=64,m=4')", "key dtype"},
        {"problem('swiglu:n=64,m=4,dtype=f8')", "expected"},
        {"problem('swiglu:n=64,m=4,dtype=f16,q=1')", "swiglu has no key \"q\""},
        {"problem('swiglu:n=64,m=0,dtype=f16')", "expected an integer of 1 to"},
        {"problem('swiglu:n=64,m=4,dtype=f16\\0,q=1')", "found a zero byte"},
        {"problem(('x'):rep(1000000))", "of at most 511 bytes, found more"},
        {"problem(7)", "string expected, got number"},
        {"problem()", "string expected, got no value"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        paro_error err;
        char text[128];
        assert_fails(run(&err, rows[i].text), PARO_STATUS_RECIPE, rows[i].words);
        assert_non_null(strstr(err.message, "recipe.lua"));
        snprintf(text, sizeof text, "assert(not pcall(function() %s end)) return {}", rows[i].text);
        assert_ok(run(&err, text));
    }
}

/* Work inside it counts. */
static void test_limits(void **state)
{
    (void)state;
    paro_error err;
    assert_fails(run(&err, "local s = ('x'):rep(1000000)\n"
                           "while true do pcall(problem, s) end"),
                 PARO_STATUS_LIMIT, "instructions");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values),
                                       cmocka_unit_test(test_what_is_wrong),
                                       cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
