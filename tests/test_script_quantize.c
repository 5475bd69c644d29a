/* SPDX-License-Identifier: MIT
 *
 * lua/script_quantize.c, script_paro.c: models quantised and scored by scripts (the demo model: 4
 * layers, 28 linears), recipes that are values, files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/eval.h>
#include <paro/quantize.h>

#include "tests/script_fixture.h"

#define QUANTISE "paro.quantize(m, recipe, {texts = {text}, format = 'pseudo'}) "

/* The same numbers as by the functions of C. */
static void test_quantising_and_scoring(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new(), *path = write_text(dir), *text = NULL;
    size_t n_bytes = 0;
    paro_model *model = NULL, *quantised = NULL;
    paro_tokenizer *tokenizer = NULL;
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    paro_eval_result r;
    const char *const set[] = {"bits=3", "group_size=64"};
    const paro_recipe_options recipe_options = {.set = set, .n_set = 2};
    const paro_quantize_options pseudo = {.format = PARO_FORMAT_PSEUDO};
    const paro_eval_options eval = {.context = 128, .max_tokens = 256};
    assert_ok(paro_model_open(&err, "models/demo", NULL, &model));
    assert_ok(paro_tokenizer_open(&err, "models/demo", &tokenizer));
    assert_ok(paro_recipe_open(&err, "rtn", &recipe_options, &recipe));
    assert_ok(paro_plan_make(&err, recipe, model, &plan));
    assert_ok(paro_quantize_in_memory(&err, model, plan, &pseudo, &quantised));
    assert_ok(paro_file_read(&err, path, 1 << 20, &text, &n_bytes));
    assert_ok(paro_eval_text(&err, quantised, tokenizer, text, n_bytes, model, &eval, &r));
    char expected[512];
    snprintf(
        expected, sizeof expected, "28 0 0 %s\n256 2 254\n%.17g %.17g %.17g %.17g\ntrue\tnil\n",
        paro_plan_recipe_sha256(plan), r.perplexity, r.reference_perplexity, r.kl_mean, r.same_top);
    prints_with_text(
        "local m = paro.open('models/demo') "
        "local q, report = paro.quantize(m, 'rtn', {set = {group_size = 64, bits = 3}, "
        "  format = 'pseudo'}) "
        "print(string.format('%d %d %d %s', report.n_quantized, report.n_kept, report.n_shards, "
        "  report.recipe_sha256)) "
        "local e = paro.eval(q, {text = text, against = m, context = 128, max_tokens = 256}) "
        "print(string.format('%d %d %d', e.n_tokens, e.n_windows, e.n_predicted)) "
        "print(string.format('%.17g %.17g %.17g %.17g', e.perplexity, e.reference_perplexity, "
        "  e.kl_mean, e.same_top)) "
        "m:close() "
        "local f = paro.eval(q, {string = string.rep('The river runs past the old town, and the "
        "road follows it. ', 30), context = 128, max_tokens = 256}) "
        "print(f.perplexity == e.perplexity, f.kl_mean)",
        (paro_script_options){0}, expected);
    free(text);
    free(path);
    paro_plan_free(plan);
    paro_recipe_free(recipe);
    paro_model_free(quantised);
    paro_tokenizer_free(tokenizer);
    paro_model_free(model);
    test_dir_remove(dir);
}

static void test_options_of_quantising(void **state)
{
    (void)state;
    fails(OPEN "paro.quantize(m, 'rtn', {sets = {}})", "unknown key \"sets\" (nearest: set");
    fails(OPEN "paro.quantize(m, 'rtn', {set = {bit = 3}})", "option \"bit\" is set, but");
    fails(OPEN "paro.quantize(m, 'rtn', {set = {bits = {}}})",
          "paro.quantize: set.bits: expected a finite number, a string or a boolean");
    fails(OPEN "paro.quantize(m, 'rtn', {set = {bits = 1/0}})", "set.bits: expected a finite");
    fails(OPEN "paro.quantize(m, 'rtn', {set = {3}})", "expected keys that are names");
    fails(OPEN "paro.quantize(m, 'rtn', {texts = 'a'})", "texts: expected a list");
    fails(OPEN "paro.quantize(m, 'rtn', {texts = {1}})",
          "paro.quantize: texts[1]: expected a path");
    fails(OPEN "paro.quantize(m, 'rtn', {texts = {{weight = 1}}})", "texts[1]: path: missing");
    fails(OPEN "paro.quantize(m, 'rtn', {texts = {{path = 'a', weight = 0}}})", "texts[1]: weight");
    fails(OPEN "paro.quantize(m, 'rtn', {format = 'gguf'})", "gguf");
    fails(OPEN "paro.quantize(m, 'rtn', {set = {bits = 3}})", "4");
    fails(OPEN "paro.quantize(m, 'rnt')", "rnt: there is no such file");
    fails(OPEN "paro.quantize(m, 5)", "expected a recipe: a path, a shipped recipe's name");
    fails(OPEN "paro.quantize(m)", "found nothing");
    fails("paro.quantize('models/demo', 'rtn')", "model expected, got string");
    fails(OPEN "paro.eval(m)", "expected text = PATH or string = TEXT, found neither");
    fails(OPEN "paro.eval(m, {text = 'a', string = 'b'})", "found both");
    fails(OPEN "paro.eval(m, {text = 'nowhere.txt'})", "nowhere.txt");
    fails(OPEN "paro.eval(m, {string = 'short'})", "paro.eval");
    fails(OPEN "paro.eval(m, {string = 'a', against = 'models/demo'})", "model expected");
}

static void test_plans(void **state)
{
    (void)state;
    prints("local m = paro.open('models/demo') "
           "local plan = paro.plan(m, function(model, options) "
           "  return {bits = options.bits, keep = '*.' .. options.kind} end, "
           "  {set = {bits = 5, kind = 'down_proj'}}) "
           "print(#plan, plan[1].name, plan[1].method, plan[1].rule, plan[1].bits, "
           "  plan[1].group_size, plan[1].n_out, plan[1].n_in) "
           "print(plan[7].method, plan[7].bits, plan[1].n_bytes_before, plan[1].n_bytes_after) "
           "print(table.concat(paro.recipes(), ' '):find('rtn') ~= nil, paro.seconds() > 0)",
           NULL,
           "28\tmodel.layers.0.self_attn.q_proj\trtn\t*\t5\t128\t256\t256\n"
           "keep\t16\t131072\t42304\ntrue\ttrue\n");
    fails(OPEN "paro.plan(m, {bit = 4})", "test.lua: unknown key \"bit\" (nearest: bits");
    fails(OPEN "paro.plan(m, {keep = '*.x_proj'})", "matches no linear");
    fails(OPEN "paro.plan(m, {bits = 4}, {set = {bits = 3}})", "the recipe is a table");
    fails(OPEN "paro.plan(m, function() return 5 end)", "to return a table, it returned");
    fails(OPEN "paro.plan(m, function() error('mine') end)", "mine");
}

/* ---- recipes that are values ---- */

/* A recipe that is a value makes what it makes as a file, on any number of threads. */
static void test_a_value_as_a_recipe(void **state)
{
    (void)state;
    static const char file[] =
        "return {bits = 3, group_size = 64, krot = 2, "
        "data = {samples = 2, validation = 1, tokens = 16}, block = function(b) "
        "  b:pairs{kind = 'random', seed = 3} "
        "  b:optimise{angles = 0.05, epochs = 1, batch = 2} end}";
    static const char text[] =
        "local m = paro.open('models/demo') "
        "local layers = {} "
        "local inner = recipe.block "
        "recipe.block = function(b) inner(b) layers[#layers + 1] = b.layer "
        "  kept = b recipe.bits = 2 data.samples = 1 end "
        "local o = {texts = {{path = text}}, format = 'pseudo'} "
        "local a, r = paro.quantize(m, recipe, o) "
        "print(table.concat(layers, ' '), r.n_quantized, pcall(function() return kept.layer end)) "
        "local b, s = paro.quantize(m, arg[2] .. '/recipe.lua', o) "
        "print(r.mean_relative_error == s.mean_relative_error, "
        "  (a:weight('model.layers.3.mlp.down_proj') - b:weight('model.layers.3.mlp.down_proj'))"
        ":absmax()) print(string.format('%.17g', r.mean_relative_error))";
    paro_error err;
    output one, two;
    char *dir = test_dir_new();
    const paro_model_options models[] = {{.n_threads = 1}, {.n_threads = 2}};
    test_file_write(dir, "recipe.lua", file, strlen(file));
    assert_ok(run_with_text(&err, dir, text, (paro_script_options){.model = &models[0]}, &one));
    assert_ok(run_with_text(&err, dir, text, (paro_script_options){.model = &models[1]}, &two));
    static const char expected[] = "0 1 2 3\t28\tfalse\ttest.lua:1: the block is gone";
    assert_int_equal(strncmp(one.text, expected, sizeof expected - 1), 0);
    assert_non_null(strstr(one.text, "\ntrue\t0.0\n"));
    assert_string_equal(one.text, two.text);
    test_dir_remove(dir);
}

static void test_errors_of_values(void **state)
{
    (void)state;
    fails_with_text(OPEN "recipe.block = function(b) error('mine') end " QUANTISE,
                    PARO_STATUS_RECIPE, "block 0: test.lua:1: mine");
    fails_with_text(OPEN "recipe.block = function(b) b:optimize{} end " QUANTISE,
                    PARO_STATUS_RECIPE, "a block has no \"optimize\"");
    fails_with_text(OPEN "recipe.block = function(b) coroutine.yield() end "
                         "local c = coroutine.wrap(function() " QUANTISE " end) c()",
                    PARO_STATUS_RECIPE, "attempt to yield across a C-call boundary");
    /* The state, and what print does, are as before. */
    prints_with_text(OPEN "recipe.block = function(b) print(b) error('mine') end "
                          "print(pcall(function() " QUANTISE " end)) "
                          "print((tensor.zeros(3, 3) + 1):sum())",
                     (paro_script_options){0},
                     "block 0\nfalse\ttest.lua:1: block 0: test.lua:1: mine\n9.0\n");
}

/* The model that a recipe's function closes stays until the call is over; in a coroutine; in a call
 * within a call. */
static void test_a_recipe_that_closes_its_model(void **state)
{
    (void)state;
    prints_with_text(OPEN "local inner = recipe.block "
                          "recipe.block = function(b) m:close() inner(b) end "
                          "local c = coroutine.wrap(function() local q = " QUANTISE
                          " return q end) "
                          "local q = c() print(m, q.n_layers) "
                          "print(q:weight('model.layers.0.mlp.up_proj'):shape())",
                     (paro_script_options){0}, "model (closed)\t4\n768\t256\n");
    prints_with_text(OPEN "local inner, deep = recipe.block, 0 "
                          "recipe.block = function(b) inner(b) "
                          "  if deep == 0 then deep = 1 local n = paro.open('models/demo') "
                          "    print(paro.plan(n, {bits = 2})[1].bits) n:close() end end "
                          "local q <close> = " QUANTISE " print(q)",
                     (paro_script_options){0}, "2\nmodel models/demo: LlamaForCausalLM\n");
}

/* Without allow_io nothing is written, whoever asks. */
static void test_files_need_allow_io(void **state)
{
    (void)state;
    paro_error err;
    output out;
    char *dir = test_dir_new(), *made = test_path(dir, "made");
    assert_fails(run_with_text(&err, dir, "paro.write(arg[2] .. '/made', 'x')",
                               (paro_script_options){0}, &out),
                 PARO_STATUS_RECIPE, "paro.write: writes files only with --allow-io");
    assert_fails(run_with_text(&err, dir, OPEN "paro.quantize(m, 'rtn', {out = arg[2] .. '/made'})",
                               (paro_script_options){0}, &out),
                 PARO_STATUS_RECIPE, "out: writes a checkpoint only with --allow-io");
    test_file_write(dir, "recipe.lua", "io.open('x') return {}", 22);
    assert_fails(run_with_text(&err, dir, OPEN "paro.plan(m, arg[2] .. '/recipe.lua')",
                               (paro_script_options){0}, &out),
                 PARO_STATUS_RECIPE, "global 'io'");
    assert_false(paro_path_exists(made));
    free(made);
    test_dir_remove(dir);
}

static void test_writing(void **state)
{
    (void)state;
    static const char text[] =
        OPEN "local o = {format = 'pseudo', texts = {text}, out = arg[2] .. '/made'} "
             "local q, r = paro.quantize(m, recipe, o) "
             "print(q.dir == o.out, r.n_shards, q.quant_method) "
             "o.out = nil local p = paro.quantize(m, recipe, o) o.out = arg[2] .. '/made' "
             "local name = 'model.layers.2.mlp.gate_proj' "
             "print((p:weight(name) - q:weight(name)):absmax()) "
             "print(pcall(paro.quantize, m, 'rtn', o)) "
             "o.overwrite = true o.set = {bits = 2} q:close() "
             "print(paro.quantize(m, 'rtn', o).dir == o.out) "
             "o.set = nil recipe.block = function() error('mine') end "
             "print(pcall(paro.quantize, m, recipe, o)) "
             "paro.write(arg[2] .. '/a', 'some\\0thing') "
             "print(#io.open(arg[2] .. '/a', 'rb'):read('a')) "
             "print(pcall(paro.write, arg[2] .. '/no/a', 'x'))";
    paro_error err;
    output out;
    char *dir = test_dir_new(), *left = test_path(dir, "made.paro-script");
    assert_ok(run_with_text(&err, dir, text, (paro_script_options){.allow_io = true}, &out));
    assert_int_equal(strncmp(out.text, "true\t1\tnone\n0.0\nfalse\t", 22), 0);
    assert_non_null(strstr(out.text, "exists already"));
    assert_non_null(strstr(out.text, "\ntrue\nfalse\tblock 0: test.lua:1: mine\n10\nfal"));
    assert_false(paro_path_exists(left));
    free(left);
    test_dir_remove(dir);
}

static void test_stopping_while_a_value_quantises(void **state)
{
    (void)state;
    paro_error err;
    output out;
    stopper s = {.limit = 4};
    const paro_observer observer = {.context = &s, .progress = stop_after};
    char *dir = test_dir_new();
    assert_fails(run_with_text(&err, dir,
                               OPEN "recipe.block = function() while true do end end "
                                    "pcall(function() " QUANTISE " end)",
                               (paro_script_options){.observer = &observer}, &out),
                 PARO_STATUS_CANCELLED, "stopped on request");
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantising_and_scoring),
        cmocka_unit_test(test_options_of_quantising),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_a_value_as_a_recipe),
        cmocka_unit_test(test_errors_of_values),
        cmocka_unit_test(test_a_recipe_that_closes_its_model),
        cmocka_unit_test(test_files_need_allow_io),
        cmocka_unit_test(test_writing),
        cmocka_unit_test(test_stopping_while_a_value_quantises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
