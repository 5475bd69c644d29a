/* SPDX-License-Identifier: MIT
 *
 * lua/script.c, script_model.c, script_generate.c: scripts, their models, and what they cannot do.
 * (Quantising: test_script_quantize.c.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/tokenizer.h>

#include "lua/script.h"
#include "runtime/model.h"
#include "tests/script_fixture.h"

/* ---- texts that run ---- */

static void test_print_and_arguments(void **state)
{
    (void)state;
    const char *const arguments[] = {"a b", "--c"};
    const paro_script_options options = {.name = "s.lua", .arguments = arguments, .n_arguments = 2};
    prints("print(arg[0], #arg, arg[1], ...)", &options, "s.lua\t2\ta b\ta b\t--c\n");
    prints("print(1, nil, 'x\\ny')", NULL, "1\tnil\tx\ny\n");
    prints("print(paro.version, type(tensor), type(problem), io, os)", NULL,
           PARO_BUILD_VERSION "\ttable\tfunction\tnil\tnil\n");
    prints("#! a first line\nprint(debug)", NULL, "nil\n");
}

static void test_a_print_that_fails(void **state)
{
    (void)state;
    paro_error err;
    output out;
    paro_script *script = new_script(&out, NULL);
    out.n_room = 4;
    assert_fails(run(&err, script, "print('long enough')"), PARO_STATUS_RECIPE,
                 "print: the text could not be written");
    paro_script_free(script);
}

static void test_an_error_is_not_the_end(void **state)
{
    (void)state;
    paro_error err;
    output out;
    paro_script *script = new_script(&out, NULL);
    assert_fails(run(&err, script, "x = 5\nerror('no')"), PARO_STATUS_RECIPE, "test.lua:2: no");
    assert_fails(run(&err, script, "x ="), PARO_STATUS_RECIPE, "test.lua:1: unexpected symbol");
    assert_fails(run(&err, script, "\xff"), PARO_STATUS_RECIPE, "source text in UTF-8");
    assert_fails(run(&err, script, "os.exit()"), PARO_STATUS_RECIPE, "os is not available");
    assert_ok(run(&err, script, "print(x)"));
    assert_string_equal(out.text, "5\n");
    paro_script_free(script);
}

static void test_files_and_shipped_scripts(void **state)
{
    (void)state;
    paro_error err;
    output out;
    paro_script *script = new_script(&out, NULL);
    char *dir = test_dir_new(), *path = test_path(dir, "a.lua");
    test_file_write(dir, "a.lua", "print(1)\nerror('no')", 20);
    assert_fails(paro_script_run_file(&err, script, path), PARO_STATUS_RECIPE, "a.lua:2: no");
    assert_string_equal(out.text, "1\n");
    assert_string_equal(paro_script_shipped(0), "ablation");
    assert_null(paro_script_shipped(1));
    assert_fails(paro_script_run_file(&err, script, "ablatoin"), PARO_STATUS_NOT_FOUND,
                 "no such script among the shipped ones (nearest: ablation)");
    assert_fails(paro_script_run_file(&err, script, "ablation"), PARO_STATUS_RECIPE,
                 "ablation: expected MODEL and TEXT, found 0 arguments");
    paro_script_free(script);
    free(path);
    test_dir_remove(dir);
}

static void run_line(paro_script *script, const char *line, bool incomplete)
{
    paro_error err;
    bool is_incomplete = !incomplete;
    assert_ok(paro_script_run_lines(&err, script, line, strlen(line), &is_incomplete));
    assert_int_equal(is_incomplete, incomplete);
}

static void test_lines_of_a_prompt(void **state)
{
    (void)state;
    paro_error err;
    output out;
    bool is_incomplete;
    paro_script *script = new_script(&out, NULL);
    run_line(script, "x = 20\n", false);
    run_line(script, "x + 1, 'a'\n", false);
    run_line(script, "print(nil)\n", false);
    run_line(script, "for i = 1, 2 do\n", true);
    run_line(script, "for i = 1, 2 do\nprint(i)\n", true);
    run_line(script, "for i = 1, 2 do\nprint(i)\nend\n", false);
    run_line(script, "x = (\n", true);
    run_line(script, "\n", false);
    assert_string_equal(out.text, "21\ta\nnil\n1\n2\n");
    assert_fails(paro_script_run_lines(&err, script, "x +\n) y", 7, &is_incomplete),
                 PARO_STATUS_RECIPE, "prompt:");
    paro_script_free(script);
}

/* ---- models ---- */

static void test_fields(void **state)
{
    (void)state;
    prints("local m = paro.open('models/demo', {device = 'cpu', threads = 1}) "
           "print(m.architecture, m.quant_method, m.n_layers, m.hidden, m.vocab, #m.linears) "
           "print(m.dir, m.device, m.bits, m.group_size, m.krot, m.n_weight_bytes > 4e6) "
           "print(m.linears[7].kind, m)",
           NULL,
           "LlamaForCausalLM\tnone\t4\t256\t2048\t28\nmodels/demo\tCPU\t0\t0\t0\ttrue\n"
           "down_proj\tmodel models/demo: LlamaForCausalLM\n");
    fails("paro.open('models/demo').n_layer = 1", "fields of a model are read-only");
    fails("print(paro.open('models/demo').n_layer)", "a model has no \"n_layer\"");
    fails("paro.open('nowhere')", "nowhere: expected a model folder");
    fails("paro.open('models/demo', {devise = 'cpu'})", "unknown key \"devise\" (nearest: device");
    fails("paro.open('models/demo', {device = 'tpu'})", "tpu");
    fails("paro.open({})", "string expected");
}

static void test_weights_and_tokens(void **state)
{
    (void)state;
    static const char text[] =
        "local m = paro.open('models/demo') "
        "local q = 'model.layers.1.self_attn.k_proj' "
        "local w = m:weight(q) "
        "print(string.format('%.9g %.9g', w:get(3, 5), m:weight(q .. '.weight'):get(128, 256))) "
        "print(w:shape()) print(m:weight('model.norm.weight'):shape()) "
        "print(m:weight('model.embed_tokens.weight'):shape()) "
        "print(table.concat(m:tokens('Once upon a time'), ' '))";
    paro_error err;
    paro_model *model = NULL;
    paro_tokenizer *tokenizer = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    assert_ok(paro_model_open(&err, "models/demo", NULL, &model));
    assert_ok(paro_tokenizer_open(&err, "models/demo", &tokenizer));
    assert_ok(paro_tokenizer_encode(&err, tokenizer, "Once upon a time", 16, NULL, &ids, &n_ids));
    paro_linear *linear = paro_model_linear(model, 1 * PARO_SLOT_COUNT + PARO_SLOT_K);
    float *w = malloc(sizeof *w * linear->n_out * linear->n_in);
    assert_ok(paro_linear_weight(&err, linear, NULL, w));
    char expected[256];
    int n = snprintf(expected, sizeof expected, "%.9g %.9g\n128\t256\n256\n2048\t256\n",
                     (double)w[2 * 256 + 4], (double)w[127 * 256 + 255]);
    for (size_t i = 0; i < n_ids; i++)
        n += snprintf(expected + n, sizeof expected - (size_t)n, "%s%d", i > 0 ? " " : "",
                      (int)ids[i]);
    snprintf(expected + n, sizeof expected - (size_t)n, "\n");
    prints(text, NULL, expected);
    free(w);
    free(ids);
    paro_tokenizer_free(tokenizer);
    paro_model_free(model);
    fails("paro.open('models/demo'):weight('model.layers.1.self_attn.x_proj')",
          "neither a linear nor a tensor");
    fails("paro.open('models/demo'):weight()", "string expected");
    fails("paro.open('models/demo'):tokens()", "string expected");
}

static void test_generating(void **state)
{
    (void)state;
    prints(
        "local m = paro.open('models/demo') "
        "local a, r = m:generate('Once upon a time', {tokens = 8}) "
        "print(a == m:generate('Once upon a time', {tokens = 8}), #a > 8) "
        "print(r.finish, r.n_generated, r.n_prompt >= 5, r.decode_seconds > 0) "
        "local b, s = m:generate('Once upon a time', {tokens = 50, stop = {'zzzz', a:sub(4, 8)}}) "
        "print(b == a:sub(1, 3), s.finish) "
        "local o = {tokens = 8, temperature = 1, seed = 7, top_k = 50, top_p = 0.9} "
        "print(m:generate('The', o) == m:generate('The', o))",
        NULL, "true\ttrue\nlength\t8\ttrue\ttrue\ntrue\tstop\ntrue\n");
    fails("paro.open('models/demo'):generate('a', {token = 1})", "unknown key \"token\"");
    fails("paro.open('models/demo'):generate('a', {stop = ''})", "stop: expected a text");
    fails("paro.open('models/demo'):generate('a', {stop = {1}})", "found a number (1)");
    fails("paro.open('models/demo'):generate('a', {temperature = -1})", "temperature");
}

/* ---- what is closed, and what is not allowed ---- */

static void test_closed_models(void **state)
{
    (void)state;
    static const char *const uses[] = {"return m.hidden",
                                       "m:weight('model.norm.weight')",
                                       "m:tokens('a')",
                                       "m:generate('a')",
                                       "paro.quantize(m, 'rtn')",
                                       "paro.plan(m, 'rtn')",
                                       "paro.eval(m, {string = 'a'})",
                                       "paro.eval(n, {string = 'a', against = m})"};
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 OPEN "local n = paro.open('models/demo') m:close() m:close() %s", uses[i]);
        fails(text, "the model is closed");
    }
    prints("do local m <close> = paro.open('models/demo') kept = m end print(kept) "
           "local c = coroutine.wrap(function() local m = paro.open('models/demo') "
           "  coroutine.yield(m) m:close() coroutine.yield() return m.hidden end) "
           "local m = c() print(m.hidden) c() print(m) print(pcall(c))",
           NULL, "model (closed)\n256\nmodel (closed)\nfalse\ttest.lua:1: the model is closed\n");
    /* Nothing refers to them: they are collected some time, or at the end. */
    prints("for i = 1, 20 do paro.open('models/demo') end "
           "local t = {} for i = 1, 1e5 do t = {t} if i % 100 == 0 then t = {} end end print(1)",
           NULL, "1\n");
}

static void test_ways_out(void **state)
{
    (void)state;
    prints("print(getmetatable, setmetatable, collectgarbage, os, debug, require, rawset)", NULL,
           "nil\tnil\tnil\tnil\tnil\tnil\tnil\n");
    fails(OPEN "m.close(tensor.zeros(2))", "model expected, got tensor");
    fails(OPEN "m.weight({}, 'x')", "model expected, got table");
    fails(OPEN "m.__gc(m)", "a model has no \"__gc\"");
    fails(OPEN "local l = m.linears[1] l.n_in = 4", "read-only");
    fails("paro.open.x = 1", "attempt to index a function value");
    /* A function of the table is only a name: replacing it gives nothing away. */
    prints("paro.write = print paro.write('x', 'y') print(io)", NULL, "x\ty\nnil\n");
    prints("print(load('\\27Lua'))", NULL, "nil\tattempt to load a binary chunk (mode is 't')\n");
}

/* ---- limits, and requests to stop ---- */

/* A limit of memory is an error like others; there is no limit of work, time or strings. */
static void test_limits(void **state)
{
    (void)state;
    const paro_script_options options = {.memory_bytes = 8 << 20};
    prints(
        "local ok, message = pcall(function() local t = {} while true do t[#t + 1] = {} end end) "
        "print(ok, message) "
        "print(pcall(string.rep, 'x', 1 << 30)) "
        "print(pcall(tensor.zeros, 4096, 4096)) "
        "print(#string.rep('x', 3 << 20), tensor.zeros(1024, 512):shape())",
        &options,
        "false\tnot enough memory\nfalse\tnot enough memory\n"
        "false\tthe limit of 8388608 bytes of memory for tensors was reached\n"
        "3145728\t1024\t512\n");
    prints("local n = 0 for i = 1, 3e7 do n = n + 1 end print(n)", NULL, "30000000\n");
    fails("table.move({}, 1, 1 << 62, 2)", "one call would take more than 2^40 steps");
}

/* Wherever it is, and whatever it catches; and the state lives on. */
static void test_a_request_to_stop(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local c = coroutine.wrap(function() while true do pcall(coroutine.yield) end end) "
        "while true do pcall(c) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do pcall(function() (tensor.zeros(64, 64) + 1):sum() end) end",
        OPEN "while true do pcall(paro.quantize, m, 'rtn', {format = 'pseudo'}) end",
        OPEN "while true do pcall(m.generate, m, 'a', {tokens = 4}) end",
        OPEN "paro.eval(m, {string = string.rep('a word ', 2000)})",
        "local m <close> = paro.open('models/demo') kept = m while true do end"};
    paro_error err;
    output out;
    stopper s = {.limit = 2};
    const paro_observer observer = {.context = &s, .progress = stop_after};
    const paro_script_options options = {.observer = &observer};
    paro_script *script = new_script(&out, &options);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        s.n_reports = 0;
        assert_fails(run(&err, script, texts[i]), PARO_STATUS_CANCELLED, "stopped on request");
    }
    s = (stopper){.limit = 1000};
    assert_ok(run(&err, script, "print(kept, 1)"));
    assert_string_equal(out.text, "model (closed)\t1\n");
    paro_script_free(script);
}

/* ---- docs/scripts.md ---- */

static char *document;

static void check_documented(const char *before, const char *name)
{
    char words[128];
    snprintf(words, sizeof words, "### `%s%s", before, name);
    size_t n = strlen(words);
    for (const char *at = document; (at = strstr(at, words)) != NULL; at++) {
        if (at[n] == '(' || at[n] == '`')
            return;
    }
    fail_msg("docs/scripts.md has no heading %s", words);
}

/* Every member of the table, every method and every field. */
static void test_documentation(void **state)
{
    (void)state;
    paro_error err;
    output out;
    size_t n_bytes = 0, n_methods = 0, n_functions = 0;
    assert_ok(paro_file_read(&err, "docs/scripts.md", 1 << 20, &document, &n_bytes));
    for (const luaL_Reg *method = paro_script_model_methods; method->name != NULL; method++) {
        check_documented("model:", method->name);
        n_methods++;
    }
    paro_script *script = new_script(&out, NULL);
    assert_ok(run(&err, script, "for name in pairs(paro) do print(name) end"));
    for (char *line = strtok(out.text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        check_documented("paro.", line);
        n_functions++;
    }
    paro_script_free(script);
    assert_true(n_methods >= 4 && n_functions >= 8);
    for (size_t i = 0; paro_script_model_fields[i] != NULL; i++) {
        char words[64];
        snprintf(words, sizeof words, "`%s`", paro_script_model_fields[i]);
        if (strstr(document, words) == NULL)
            fail_msg("docs/scripts.md has no %s", words);
    }
    free(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print_and_arguments),
        cmocka_unit_test(test_a_print_that_fails),
        cmocka_unit_test(test_an_error_is_not_the_end),
        cmocka_unit_test(test_files_and_shipped_scripts),
        cmocka_unit_test(test_lines_of_a_prompt),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_weights_and_tokens),
        cmocka_unit_test(test_generating),
        cmocka_unit_test(test_closed_models),
        cmocka_unit_test(test_ways_out),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_a_request_to_stop),
        cmocka_unit_test(test_documentation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
