/* SPDX-License-Identifier: MIT
 *
 * Recipes and the plans they resolve to, on the demo model (4 layers, 28 linears).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/quantize.h>

#include "base/hash.h"
#include "tests/support.h"

static paro_model *model;

static int open_model(void **state)
{
    (void)state;
    paro_error err;
    assert_ok(paro_model_open(&err, "models/demo", NULL, &model));
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    paro_model_free(model);
    return 0;
}

/* Opens a recipe of this text, as recipe.lua, with the options, and makes its plan. */
static paro_status plan_text(paro_error *err, const char *text, const char *const *set,
                             size_t n_set, paro_plan **plan)
{
    char *dir = test_dir_new();
    test_file_write(dir, "recipe.lua", text, strlen(text));
    char *path = test_path(dir, "recipe.lua");
    const paro_recipe_options options = {
        .set = set, .n_set = n_set, .n_instructions = 1000000, .memory_bytes = 16 << 20};
    paro_recipe *recipe = NULL;
    paro_status status = paro_recipe_open(err, path, &options, &recipe);
    if (status == PARO_STATUS_OK)
        status = paro_plan_make(err, recipe, model, plan);
    paro_recipe_free(recipe);
    free(path);
    test_dir_remove(dir);
    return status;
}

static void rejects(const char *text, paro_status expected, const char *words)
{
    paro_error err;
    paro_plan *plan = NULL;
    assert_fails(plan_text(&err, text, NULL, 0, &plan), expected, words);
    assert_null(plan);
    assert_non_null(strstr(err.message, "recipe.lua"));
}

static paro_plan *accepts(const char *text)
{
    paro_error err;
    paro_plan *plan = NULL;
    assert_ok(plan_text(&err, text, NULL, 0, &plan));
    return plan;
}

static paro_plan_linear get(const paro_plan *plan, const char *name)
{
    paro_plan_linear linear;
    for (size_t i = 0; i < paro_plan_n_linears(plan); i++) {
        paro_plan_get(plan, i, &linear);
        if (strcmp(linear.name, name) == 0)
            return linear;
    }
    fail_msg("%s is not in the plan", name);
    return linear;
}

static void test_empty_table_is_the_default(void **state)
{
    (void)state;
    paro_plan *plan = accepts("return {keep = {}, overrides = {}}");
    assert_int_equal(paro_plan_n_linears(plan), 28);
    paro_plan_linear first;
    paro_plan_get(plan, 0, &first);
    assert_string_equal(first.name, "model.layers.0.self_attn.q_proj");
    for (size_t i = 0; i < 28; i++) {
        paro_plan_linear linear;
        paro_plan_get(plan, i, &linear);
        assert_string_equal(linear.method, "rtn");
        assert_string_equal(linear.rule, "*");
        assert_int_equal(linear.bits, 4);
        assert_int_equal(linear.group_size, 128);
        uint64_t n = (uint64_t)linear.n_in * linear.n_out;
        assert_int_equal(linear.n_bytes_before, 2 * n);
        assert_int_equal(linear.n_bytes_after, n / 2 + n / 128 * 2 + n / 256);
    }
    paro_plan_free(plan);
}

static void test_last_match_decides(void **state)
{
    (void)state;
    paro_plan *plan =
        accepts("return {name = 'mixed', description = 'x', bits = 3, group_size = 64,\n"
                "  linears = {'*.self_attn.*', '*.mlp.{up,down}_proj'},\n"
                "  keep = '*.layers.3.*',\n"
                "  overrides = {\n"
                "    {match = '*.v_proj', bits = 8},\n"
                "    {match = {'*.layers.0.*', '*.layers.3.mlp.gate_proj'}, group_size = 32},\n"
                "    {match = '*.layers.1.*.o_proj', method = 'keep'},\n"
                "  }}");
    paro_plan_linear l = get(plan, "model.layers.2.self_attn.q_proj");
    assert_int_equal(l.bits, 3);
    assert_int_equal(l.group_size, 64);
    assert_string_equal(l.rule, "*.self_attn.*");
    assert_int_equal(get(plan, "model.layers.2.self_attn.v_proj").bits, 8);
    assert_string_equal(get(plan, "model.layers.2.mlp.gate_proj").method, "keep");
    assert_int_equal(get(plan, "model.layers.2.mlp.gate_proj").bits, 16);
    assert_int_equal(get(plan, "model.layers.2.mlp.gate_proj").group_size, 0);
    assert_string_equal(get(plan, "model.layers.2.mlp.gate_proj").rule, "");
    /* The later override decides alone: bits are the recipe's again. */
    assert_int_equal(get(plan, "model.layers.0.self_attn.v_proj").bits, 3);
    assert_int_equal(get(plan, "model.layers.0.self_attn.v_proj").group_size, 32);
    /* An override chooses a linear that `linears` does not. */
    assert_string_equal(get(plan, "model.layers.0.mlp.gate_proj").method, "rtn");
    assert_string_equal(get(plan, "model.layers.1.self_attn.o_proj").method, "keep");
    /* keep beats all. */
    assert_string_equal(get(plan, "model.layers.3.mlp.gate_proj").method, "keep");
    assert_int_equal(get(plan, "model.layers.3.mlp.gate_proj").n_bytes_after, 2 * 256 * 768);
    paro_plan_free(plan);
}

static void test_function_and_model(void **state)
{
    (void)state;
    paro_plan *plan = accepts(
        "return function(model, options)\n"
        "  assert(model.architecture == 'LlamaForCausalLM' and model.quant_method == 'none')\n"
        "  assert(model.n_layers == 4 and model.hidden == 256 and model.intermediate == 768)\n"
        "  assert(model.n_heads == 4 and model.n_kv_heads == 2 and model.head_dim == 64)\n"
        "  assert(model.vocab == 2048 and model.max_context > 0 and model.n_parameters > 4e6)\n"
        "  assert(#model.linears == 28)\n"
        "  local names, n = {}, 0\n"
        "  for i, l in ipairs(model.linears) do\n"
        "    n = n + 1\n"
        "    if l.kind == 'down_proj' and l.layer >= 2 then names[#names + 1] = l.name end\n"
        "    assert(l.n_in > 0 and l.n_out > 0)\n"
        "  end\n"
        "  for k, v in pairs(model.linears[1]) do n = n + 1 end\n"
        "  assert(n == 33 and next(options) == nil)\n"
        "  assert(not pcall(function() model.hidden = 1 end))\n"
        "  assert(not pcall(function() options.bits = 1 end))\n"
        "  assert(not pcall(table.insert, model.linears, {}))\n"
        "  local ok, m = pcall(function() return model.layers end)\n"
        "  assert(m:find('model has no \"layers\" %(nearest: n_layers'), m)\n"
        "  return {linears = names, bits = 5}\n"
        "end");
    assert_string_equal(get(plan, "model.layers.1.mlp.down_proj").method, "keep");
    assert_int_equal(get(plan, "model.layers.2.mlp.down_proj").bits, 5);
    assert_string_equal(get(plan, "model.layers.3.mlp.down_proj").rule,
                        "model.layers.3.mlp.down_proj");
    paro_plan_free(plan);
}

static void test_tables_that_are_wrong(void **state)
{
    (void)state;
    const paro_status wrong = PARO_STATUS_RECIPE;
    rejects("return {bit = 4}", wrong, "unknown key \"bit\" (nearest: bits");
    rejects("return {'x'}", wrong, "expected keys that are names, found a number");
    rejects("return {bits = 4.5}", wrong,
            "bits: expected an integer from 2 to 8, found a number (4.5)");
    rejects("return {bits = '4'}", wrong,
            "bits: expected an integer from 2 to 8, found a string (\"4\")");
    rejects("return {bits = 1}", wrong, "from 2 to 8, found a number (1)");
    rejects("return {bits = 9}", wrong, "from 2 to 8, found a number (9)");
    rejects("return {bits = 0/0}", wrong, "bits: expected an integer");
    rejects("return {group_size = -1}", wrong, "group_size: expected an integer from 2 to 65536");
    rejects("return {method = 'gptq'}", wrong,
            "method: expected one of keep, rtn; found a string (\"gptq\")");
    rejects("return {method = 1}", wrong, "method: expected one of keep, rtn; found a number (1)");
    rejects("return {name = {}}", wrong, "name: expected a string, found a table");
    rejects("return {linears = 1}", wrong, "linears: expected a pattern or a list of patterns");
    rejects("return {linears = {1}}", wrong, "linears[1]: expected a pattern (a string)");
    rejects("return {linears = {x = '*'}}", wrong, "expected a list of patterns, found a table");
    rejects("return {linears = '{a'}", wrong, "linears: pattern \"{a\": the braces do not pair up");
    rejects("return {linears = ''}", wrong, "linears: an empty pattern");
    rejects("return {keep = {'*', 'a\\0b'}}", wrong, "keep[2]: a pattern with a zero byte");
    rejects("return {overrides = 1}", wrong, "overrides: expected a list of tables");
    rejects("return {overrides = {match = '*'}}", wrong, "overrides: expected a list of tables");
    rejects("return {overrides = {1}}", wrong, "overrides[1]: expected a table, found a number");
    rejects("return {overrides = {{bits = 3}}}", wrong, "overrides[1]: match: missing");
    rejects("return {overrides = {{}, {match = '*', bit = 3}}}", wrong, "overrides[1]: match");
    rejects("return {overrides = {{match = '*', group = 3}}}", wrong,
            "overrides[1]: unknown key \"group\" (nearest: group_size");
    rejects("return {overrides = {{match = '*', bits = 99}}}", wrong, "overrides[1]: bits:");
    rejects("local t = {} for i = 1, 1025 do t[i] = '*' end return {linears = t}", wrong,
            "more than 1024 patterns");
    rejects("return function(m) return {linears = m.linears} end", wrong,
            "linears: expected a table of the recipe's own");
    rejects("return function(m) return {overrides = m.linears} end", wrong,
            "overrides: expected a table of the recipe's own");
    rejects("return {linears = {}}", wrong, "linears: expected at least one pattern, found none");
    rejects("return {overrides = {{match = {}}}}", wrong, "overrides[1]: match: expected at least");
    rejects("return function(m) return m end", wrong,
            "the recipe: expected a table of the recipe's own");
}

static void test_chunks_that_are_wrong(void **state)
{
    (void)state;
    const paro_status wrong = PARO_STATUS_RECIPE;
    rejects("", wrong, "it returned nothing (does it end with `return`?)");
    rejects("return 1", wrong, "it returned a number (1)");
    rejects("return function() end", wrong,
            "expected the recipe's function to return a table, it returned nothing");
    rejects("return {", wrong, "recipe.lua:1: unexpected symbol near <eof>");
    rejects("\n\nerror('mine')", wrong, "recipe.lua:3: mine");
    rejects("return function() error({}) end", wrong, "recipe.lua: the error is not a message");
    rejects("\x1bLua", wrong, "binary");
    rejects("return '\xff'", wrong, "expected Lua source text in UTF-8");
    rejects("while true do end", PARO_STATUS_LIMIT, "1000000 instructions");
    rejects("return function() while true do end end", PARO_STATUS_LIMIT, "1000000 instructions");
    rejects("return function() local t = {} while true do t[#t + 1] = {} end end",
            PARO_STATUS_LIMIT, "limit of");
}

/* As Lua's own loader of files has it. */
static void test_first_line(void **state)
{
    (void)state;
    static const char *const good[] = {"\xef\xbb\xbfreturn {bits = 5}",
                                       "#!/usr/bin/env lua\nreturn {bits = 5}",
                                       "\xef\xbb\xbf# x\r\nreturn {bits = 5}"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        paro_plan *plan = accepts(good[i]);
        char sha256[PARO_SHA256_HEX_BYTES];
        assert_int_equal(get(plan, "model.layers.0.self_attn.q_proj").bits, 5);
        paro_sha256_hex(good[i], strlen(good[i]), sha256); /* of the whole file */
        assert_string_equal(paro_plan_recipe_sha256(plan), sha256);
        paro_plan_free(plan);
    }
    const paro_status wrong = PARO_STATUS_RECIPE;
    rejects("#!lua\n\nerror('mine')", wrong, "recipe.lua:3: mine");
    rejects("\xef\xbb\xbf#!lua\nerror('mine')", wrong, "recipe.lua:2: mine");
    rejects("\xef\xbb\xbf"
            "error('mine')",
            wrong, "recipe.lua:1: mine");
    rejects("#", wrong, "it returned nothing");
    rejects("\xef\xbb\xbf", wrong, "it returned nothing");
    rejects("#!lua\n\x1bLua", wrong, "recipe.lua:2: unexpected symbol");
    rejects("\n#!lua\nreturn {}", wrong, "recipe.lua:2: unexpected symbol near '#'");
}

static void test_patterns_without_a_match(void **state)
{
    (void)state;
    rejects("return {linears = '*.q_porj'}", PARO_STATUS_NOT_FOUND,
            "linears: pattern \"*.q_porj\" matches no linear of models/demo; the nearest are "
            "model.layers.0.self_attn.q_proj, model.layers.0.");
    rejects("return {keep = {'*.q_proj', 'lm_head'}}", PARO_STATUS_NOT_FOUND, "keep[2]: pattern");
    rejects("return {overrides = {{match = '*.layers.4.*'}}}", PARO_STATUS_NOT_FOUND,
            "overrides[1]: match: pattern \"*.layers.4.*\"");
    rejects("return {group_size = 512}", PARO_STATUS_INVALID_ARGUMENT,
            "linears: group_size 512 does not divide the 256 input channels of "
            "model.layers.0.self_attn.q_proj");
}

static void test_options(void **state)
{
    (void)state;
    paro_error err;
    paro_plan *plan = NULL;
    const char *const set[] = {"bits=3", "linears=*.q_proj", "on=true", "off=false", "x=1.5",
                               "empty="};
    const char text[] =
        "return function(model, o)\n"
        "  assert(o.bits == 3 and math.type(o.bits) == 'integer' and o.linears == '*.q_proj')\n"
        "  assert(o.on == true and o.off == false and o.x == 1.5 and o.empty == '')\n"
        "  assert(o.other == nil)\n"
        "  return {bits = o.bits, linears = o.linears}\n"
        "end";
    assert_ok(plan_text(&err, text, set, 6, &plan));
    assert_int_equal(get(plan, "model.layers.0.self_attn.q_proj").bits, 3);
    paro_plan_free(plan);
    plan = NULL;

    const char *const unused[] = {"bit=3"};
    assert_fails(
        plan_text(&err, "return function(m, o) return {bits = o.bits} end", unused, 1, &plan),
        PARO_STATUS_RECIPE,
        "option \"bit\" is set, but the recipe does not look at it (nearest of those it "
        "does: bits)");
    assert_fails(plan_text(&err, "return function() return {} end", unused, 1, &plan),
                 PARO_STATUS_RECIPE, "the recipe takes none");
    assert_fails(plan_text(&err, "return {}", unused, 1, &plan), PARO_STATUS_RECIPE,
                 "option \"bit\" is set, but the recipe is a table");
    assert_ok(plan_text(&err, "return function(m, o) for k in pairs(o) do end return {} end",
                        unused, 1, &plan));
    paro_plan_free(plan);
    plan = NULL;

    const char *const bad[] = {"bits", "=3", "3x=1", "a-b=1", "a=\xff"};
    for (size_t i = 0; i < 5; i++)
        assert_fails(plan_text(&err, "return {}", &bad[i], 1, &plan), PARO_STATUS_INVALID_ARGUMENT,
                     "expected");
    const char *const twice[] = {"a=1", "a=2"};
    assert_fails(plan_text(&err, "return {}", twice, 2, &plan), PARO_STATUS_INVALID_ARGUMENT,
                 "set twice");
    assert_null(plan);
}

/* Those of docs/recipes.md make a plan for the demo model. */
static void test_examples_of_the_documentation(void **state)
{
    (void)state;
    static const char begin[] = "\n```lua\n";
    paro_error err;
    char *text = NULL;
    size_t n_bytes = 0;
    size_t n = 0;
    assert_ok(paro_file_read(&err, "docs/recipes.md", 1 << 20, &text, &n_bytes));
    for (char *at = strstr(text, begin); at != NULL; at = strstr(at, begin)) {
        at += strlen(begin);
        char *end = strstr(at, "\n```\n");
        assert_non_null(end);
        *end = '\0';
        paro_plan_free(accepts(at));
        at = end + 1;
        n++;
    }
    assert_int_equal(n, 3);
    free(text);
}

static void test_shipped(void **state)
{
    (void)state;
    paro_error err;
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    static const char *const names[] = {"awq",
                                        "awq_lua",
                                        "gptq",
                                        "paroquant",
                                        "paroquant_best",
                                        "paroquant_butterfly",
                                        "paroquant_fast",
                                        "rtn"};
    size_t n_names = sizeof names / sizeof *names;
    for (size_t i = 0; i < n_names; i++) {
        assert_string_equal(paro_recipe_shipped(i), names[i]);
        assert_ok(paro_recipe_open(&err, names[i], NULL, &recipe));
        assert_ok(paro_plan_make(&err, recipe, model, &plan));
        assert_int_equal(get(plan, "model.layers.0.self_attn.q_proj").bits, 4);
        assert_int_equal(get(plan, "model.layers.0.self_attn.q_proj").group_size, 128);
        paro_plan_free(plan);
        paro_recipe_free(recipe);
    }
    assert_null(paro_recipe_shipped(n_names));
    const char *const set[] = {"bits=3", "group_size=64", "keep=*.down_proj"};
    const paro_recipe_options options = {.set = set, .n_set = 3};
    assert_ok(paro_recipe_open(&err, "rtn", &options, &recipe));
    assert_ok(paro_plan_make(&err, recipe, model, &plan));
    paro_recipe_free(recipe);
    assert_int_equal(get(plan, "model.layers.0.self_attn.q_proj").bits, 3);
    assert_int_equal(get(plan, "model.layers.0.self_attn.q_proj").group_size, 64);
    assert_string_equal(get(plan, "model.layers.0.mlp.down_proj").method, "keep");

    /* What is built in is the file. */
    char *text = NULL;
    size_t n_bytes = 0;
    char sha256[PARO_SHA256_HEX_BYTES];
    assert_ok(paro_file_read(&err, "lua/recipes/rtn.lua", 1 << 20, &text, &n_bytes));
    paro_sha256_hex(text, n_bytes, sha256);
    assert_string_equal(paro_plan_recipe_sha256(plan), sha256);
    free(text);
    paro_plan_free(plan);

    assert_fails(paro_recipe_open(&err, "rtm", NULL, &recipe), PARO_STATUS_NOT_FOUND,
                 "rtm: there is no such file, and no such recipe among the shipped ones (nearest: "
                 "rtn, awq, gptq)");
    assert_fails(paro_recipe_open(&err, "models", NULL, &recipe), PARO_STATUS_INVALID_ARGUMENT,
                 "models");
}

static void test_a_recipe_can_be_used_again(void **state)
{
    (void)state;
    paro_error err;
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    assert_ok(paro_recipe_open(&err, "lua/recipes/rtn.lua", NULL, &recipe));
    for (int i = 0; i < 3; i++) {
        assert_ok(paro_plan_make(&err, recipe, model, &plan));
        assert_int_equal(get(plan, "model.layers.0.self_attn.q_proj").bits, 4);
        paro_plan_free(plan);
    }
    paro_recipe_free(recipe);
    paro_recipe_free(NULL);
    paro_plan_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_table_is_the_default),
        cmocka_unit_test(test_last_match_decides),
        cmocka_unit_test(test_function_and_model),
        cmocka_unit_test(test_tables_that_are_wrong),
        cmocka_unit_test(test_chunks_that_are_wrong),
        cmocka_unit_test(test_first_line),
        cmocka_unit_test(test_patterns_without_a_match),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_examples_of_the_documentation),
        cmocka_unit_test(test_shipped),
        cmocka_unit_test(test_a_recipe_can_be_used_again),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
