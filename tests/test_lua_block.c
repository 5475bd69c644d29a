/* SPDX-License-Identifier: MIT
 *
 * lua/block.c, block_stages.c, linear*.c, recipe_block.c: what a recipe sees of a block and does to
 * it, on the demo model's first block.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "calib/linear_inputs.h"
#include "tests/lua_block.h"

static void test_fields(void **state)
{
    (void)state;
    block_fixture f = new_fixture(1);
    keep(&f, PARO_SLOT_DOWN);
    prints(&f,
           "print(block, block.layer, block.n_layers, block.n_train, block.n_validation,"
           " block.n_tokens, block.hidden, #block.linears)",
           "block 0 0 4 4 2 32 256 7|");
    prints(&f,
           "for i, l in ipairs(block.linears) do"
           " print(i, l.kind, l.n_in, l.n_out, l.bits, l.group_size, l.krot, l.is_kept,"
           " l.is_rounded) end",
           "1 q_proj 256 256 4 64 0 false false|2 k_proj 256 128 4 64 0 false false|"
           "3 v_proj 256 128 4 64 0 false false|4 o_proj 256 256 4 64 0 false false|"
           "5 gate_proj 256 768 4 64 0 false false|6 up_proj 256 768 4 64 0 false false|"
           "7 down_proj 768 256 0 64 0 true false|");
    prints(&f,
           "print(block.linears.q_proj, block.linears.q_proj.name)"
           " print(block.linears[1] == block.linears.q_proj)",
           "linear model.layers.0.self_attn.q_proj model.layers.0.self_attn.q_proj|true|");
    prints(&f,
           "local n = {} for _, p in ipairs{'*.mlp.*', '*.{q,k}_proj', 'x'} do"
           " n[#n + 1] = #block:match(p) end"
           " n[#n + 1] = #block:match{'*.q_proj', '*.mlp.up_proj'} print(table.concat(n, ' '))"
           " print(block:match('*.o_proj')[1] == block.linears.o_proj)",
           "3 2 0 2|true|");
    raises(&f, "return block.layers", "a block has no \"layers\" (nearest: layer,");
    raises(&f, "block:optimize{}", "a block has no \"optimize\" (nearest: optimise");
    raises(&f, "return block[1]", "a block is looked into by name, found a number (1)");
    raises(&f, "return block.linears.p_proj", "block.linears has no \"p_proj\"");
    raises(&f, "return block.linears[1].rounded", "a linear has no \"rounded\"");
    raises(&f, "block.layer = 5", "fields of a block are read-only");
    raises(&f, "block.linears[1].bits = 5", "fields of a linear are read-only");
    raises(&f, "block.linears[1] = 5", "read-only");
    raises(&f, "block.match('*', 1)", "block expected, got string");
    raises(&f, "block.linears[1].weight(block)", "linear expected, got block");
    raises(&f, "block.match(tensor.zeros(2), '*')", "block expected, got tensor");
    raises(&f, "block:match('{a')", "block:match: ");
    raises(&f, "block:match(5)", "expected a pattern (a string), found a number (5)");
    raises(&f, "block:match{}", "found an empty table");
    block_fixture_free(&f);
}

/* Handles die with the call, wherever they are kept. */
static void test_dead_handles(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = new_fixture(1);
    paro_recipe *recipe = open_text(
        "local kept, linear, list, co\n"
        "return {group_size = 64, block = function(block)\n"
        "  if kept == nil then\n"
        "    kept, linear, list = block, block.linears[1], block.linears\n"
        "    co = coroutine.wrap(function(b) while true do coroutine.yield(b.layer) end end)\n"
        "    assert(co(block) == 0)\n"
        "    return\n"
        "  end\n"
        "  local uses = {\n"
        "    function() return kept.layer end, function() return kept.linears end,\n"
        "    function() kept:round() end, function() kept:match('*') end, co,\n"
        "    function() return linear.name end, function() return linear:weight() end,\n"
        "    function() return linear:set_weight(tensor.zeros(2)) end,\n"
        "    function() return linear:inputs() end, function() return linear:stats() end,\n"
        "    function() return list[2].kind end, function() tensor.zeros(256):rotate(linear) end}\n"
        "  for i, use in ipairs(uses) do\n"
        "    local ok, message = pcall(use)\n"
        "    if ok or not message:find('the block is gone', 1, true) then\n"
        "      error(i .. ': ' .. tostring(message)) end\n"
        "  end\n"
        "  print(kept, linear, #list, block.layer)\n"
        "end}",
        0);
    log_text log = {.text = ""};
    const paro_observer observer = {.context = &log, .log = remember_log};
    paro_plan *plan = NULL;
    assert_ok(paro_plan_make(&err, recipe, f.model, &plan));
    f.block.observer = &observer;
    assert_ok(plan->block.run(&err, plan->block.context, block_of(&f)));
    f.block.layer = 2;
    assert_ok(plan->block.run(&err, plan->block.context, block_of(&f)));
    assert_string_equal(log.text, "block (gone) linear (gone) 7 2|");
    paro_plan_free(plan);
    paro_recipe_free(recipe);
    block_fixture_free(&f);
}

/* After an error the handle is dead, too. */
static void test_dead_after_error(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = new_fixture(1);
    paro_plan *plan = NULL;
    paro_recipe *recipe =
        open_text("local kept return {group_size = 64, block = function(block)"
                  " if kept then return kept.layer end kept = block error('oh') end}",
                  0);
    assert_ok(paro_plan_make(&err, recipe, f.model, &plan));
    assert_fails(plan->block.run(&err, plan->block.context, block_of(&f)), PARO_STATUS_RECIPE,
                 "oh");
    assert_fails(plan->block.run(&err, plan->block.context, block_of(&f)), PARO_STATUS_RECIPE,
                 "the block is gone");
    paro_plan_free(plan);
    paro_recipe_free(recipe);
    block_fixture_free(&f);
}

/* What is out of reach of any recipe is so here. */
static void test_nothing_else_is_there(void **state)
{
    (void)state;
    block_fixture f = new_fixture(1);
    prints(&f,
           "local n = {} for _, name in ipairs{'io', 'os', 'debug', 'package', 'require',"
           " 'getmetatable', 'setmetatable', 'rawget', 'rawset', 'collectgarbage'} do"
           " n[#n + 1] = tostring(_G[name]) end print(table.concat(n, ' '))",
           "nil nil nil nil nil nil nil nil nil nil|");
    raises(&f, "return os.execute('true')", "os is not available in recipes");
    raises(&f, "return io.open('x')", "io is there only with --allow-io");
    raises(&f, "return block.__index", "a block has no \"__index\"");
    raises(&f, "return block.linears[1].__gc", "a linear has no \"__gc\"");
    raises(&f, "return load('\\27Lua')()", "attempt to call a nil value");
    raises(&f, "coroutine.yield(block)", "attempt to yield from outside a coroutine");
    raises(&f, "local b <close> = block", "non-closable");
    raises(&f, "block.round(block.linears[1])", "block expected, got linear");
    raises(&f, "error(block)", "userdata");
    block_fixture_free(&f);
}

static void test_values(void **state)
{
    (void)state;
    block_fixture f = new_fixture(2);
    const paro_train_linear *v = &f.block.linears[PARO_SLOT_V];
    prints(&f,
           "local l = block.linears.v_proj local w = l:weight() print(w, l:channel_scales())"
           " print(l:angles(), l:pairs(), l:step_zero())"
           " w:set(3, 5, 42) l:set_weight(w) print(l:weight():get(3, 5))"
           " local s = tensor.full(1, 256) s:set(7, 2) l:set_channel_scales(s)"
           " print(l:channel_scales():get(7))",
           "tensor [128, 256] tensor [256]|nil nil|42.0|2.0|");
    assert_true(v->w[2 * 256 + 4] == 42 && v->weight_channel_scales[6] == 2);
    prints(&f,
           "local l = block.linears.v_proj"
           " l:set_step_zero(tensor.full(0.01, 128, 4), tensor.full(7.5, 128, 4))"
           " local step, zero = l:step_zero() print(step, zero, zero:mean())",
           "tensor [128, 4] tensor [128, 4] 7.5|");
    assert_true(v->step[5] == 0.01F && v->zero[511] == 7.5F);
    static const struct {
        const char *body, *words;
    } refused[] = {
        {"set_weight(tensor.zeros(2, 2))",
         "set_weight: expected a tensor [128, 256], found [2, 2]"},
        {"set_weight(tensor.zeros(128, 256) / 0)", "set_weight: expected finite values, found"},
        {"set_weight(5)", "tensor expected, got number"},
        {"set_channel_scales(tensor.zeros(256))",
         "set_channel_scales: expected positive values, found 0.0 at place 1"},
        {"set_channel_scales(-tensor.full(1, 256))", "expected positive values, found -1.0"},
        {"set_channel_scales(tensor.full(1, 1, 256))", "expected a tensor [256], found [1, 256]"},
        {"set_step_zero(tensor.zeros(128, 4), tensor.zeros(128, 4))", "expected positive values"},
        {"set_step_zero(tensor.full(1, 128, 4), tensor.zeros(128, 4) / 0)", "finite values"},
        {"set_step_zero(tensor.full(1, 128, 4))", "tensor expected, got no value"},
        {"set_angles(tensor.zeros(8, 128))", "v_proj has no pairs (see block:pairs)"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char *body = NULL;
        assert_true(asprintf(&body, "block.linears.v_proj:%s", refused[i].body) > 0);
        raises(&f, body, refused[i].words);
        free(body);
    }
    block_fixture_free(&f);
}

/* Pairs and angles that a recipe sets are what R of the linear is; t:rotate and the effective
 * weight agree with it. */
static void test_rotation(void **state)
{
    (void)state;
    block_fixture f = new_fixture(2);
    const char *body =
        "local l = block.linears.k_proj"
        " local p = tensor.zeros(2, 256)"
        " for i = 1, 256 do p:set(1, i, i) end"
        " for g = 0, 3 do for i = 1, 32 do"
        "   p:set(2, 64 * g + 2 * i - 1, 64 * g + i) p:set(2, 64 * g + 2 * i, 64 * g + 32 + i)"
        " end end p:set(2, 2, 1)" /* no pair: channel 33 stands alone */
        " l:set_pairs(p) print(l.krot, (l:pairs() - p):absmax(), l:angles():absmax())"
        " local a = tensor.random(2, 128, 1) a:set(2, 1, 0) l:set_angles(a)"
        " local x = tensor.random(3, 256, 2) local y, z = x:rotate(l), x:copy()"
        " for r = 1, 2 do for s = 1, 128 do"
        "   local i, j, c = p:get(r, 2 * s - 1), p:get(r, 2 * s), a:get(r, s)"
        "   i, j = math.tointeger(i), math.tointeger(j)"
        "   if i ~= j then for row = 1, 3 do local u, v = z:get(row, i), z:get(row, j)"
        "     z:set(row, i, u * math.cos(c) + v * math.sin(c))"
        "     z:set(row, j, v * math.cos(c) - u * math.sin(c)) end end end end"
        " assert((y - z):absmax() < 1e-5 and (x - y):absmax() > 0.1)"
        " assert((y:unrotate(l) - x):absmax() < 1e-5)"
        " local q = l:weight():rotate(l):quantise{bits = 4, group_size = 64}:unrotate(l)"
        " local d, e = (q - l:weight()):norm(), (l:effective() - l:weight()):norm()"
        " assert(d > 0.01 and math.abs(e / d - 1) < 0.01)"
        " assert((q - l:effective()):norm() < 0.2 * d)"
        " print(l:effective())";
    prints(&f, body, "2 0.0 0.0|tensor [128, 256]|");
    raises(&f, "block.linears.k_proj:set_angles(tensor.full(1, 2, 128))",
           "set_angles: expected 0 in round 2, place 1: there is no pair");
    raises(&f,
           "local p = block.linears.k_proj:pairs() p:set(1, 3, 1)"
           " block.linears.k_proj:set_pairs(p)",
           "set_pairs: channel 1 is in two pairs of round 1");
    raises(&f,
           "local p = block.linears.k_proj:pairs() p:set(1, 3, 65)"
           " block.linears.k_proj:set_pairs(p)",
           "expected a channel from 1 to 64 in round 1, place 3, found 65.0");
    raises(&f,
           "local p = block.linears.k_proj:pairs() p:set(1, 3, 1.5)"
           " block.linears.k_proj:set_pairs(p)",
           "found 1.5");
    raises(&f, "block.linears.k_proj:set_pairs(tensor.zeros(65, 256))", "at most 64 rounds, found");
    raises(
        &f, "tensor.zeros(3):rotate(block.linears.k_proj)",
        "expected as many columns as model.layers.0.self_attn.k_proj has inputs, 256, found [3]");
    block_fixture_free(&f);
}

static void test_kept_and_rounded(void **state)
{
    (void)state;
    block_fixture f = new_fixture(1);
    keep(&f, PARO_SLOT_DOWN);
    paro_error err;
    assert_ok(paro_train_linear_round(&err, f.pool, &f.block.linears[PARO_SLOT_Q]));
    prints(&f,
           "local q, d = block.linears.q_proj, block.linears.down_proj"
           " print(q.is_rounded, d.is_kept, (d:effective() - d:weight()):absmax())"
           " local w = q:weight() local r = w:quantise{bits = 4, group_size = 64}"
           " assert((r - q:effective()):absmax() < 1e-6) print(d:weight())",
           "true true 0.0|tensor [256, 768]|");
    static const char *const setters[] = {"set_weight(tensor.zeros(2, 2))",
                                          "set_channel_scales(tensor.zeros(2))", "set_step_zero(1)",
                                          "set_angles(1)", "set_pairs(1)"};
    for (size_t i = 0; i < sizeof setters / sizeof *setters; i++) {
        char *body = NULL;
        assert_true(asprintf(&body, "block.linears.q_proj:%s", setters[i]) > 0);
        raises(&f, body, "q_proj is rounded already");
        free(body);
        assert_true(asprintf(&body, "block.linears.down_proj:%s", setters[i]) > 0);
        raises(&f, body, "down_proj is kept: the recipe's rules leave it as it is");
        free(body);
    }
    raises(&f, "block.linears.down_proj:channel_scales()", "is kept: it has only a weight");
    raises(&f, "block.linears.down_proj:pairs()", "is kept: it has only a weight");
    block_fixture_free(&f);
}

/* The inputs of one slot's linear, all of them. */
typedef struct gathered {
    paro_slot slot;
    size_t n_in;
    float *rows;
} gathered;

static paro_status gather(paro_error *err, void *context, const paro_linear_inputs *inputs)
{
    (void)err;
    gathered *g = context;
    memcpy(g->rows + inputs->first_row * g->n_in, inputs->rows[g->slot],
           inputs->n_rows * g->n_in * sizeof(float));
    return PARO_STATUS_OK;
}

static void test_inputs(void **state)
{
    (void)state;
    static const paro_slot slots[] = {PARO_SLOT_V, PARO_SLOT_O, PARO_SLOT_UP, PARO_SLOT_DOWN};
    block_fixture f = new_fixture(2);
    paro_error err;
    log_text log;
    size_t n_all = f.block.n_train * N_TOKENS;
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        const paro_train_linear *linear = &f.block.linears[slots[i]];
        gathered g = {slots[i], linear->n_in, calloc(n_all * linear->n_in, sizeof(float))};
        assert_non_null(g.rows);
        assert_ok(paro_linear_inputs_each(&err, block_of(&f), f.block.n_train, gather, &g));
        double sum = 0;
        double first = 0;
        for (size_t k = 0; k < n_all * linear->n_in; k++) {
            sum += fabs((double)g.rows[k]);
            first += k % linear->n_in == 0 ? fabs((double)g.rows[k]) : 0;
        }
        char *body = NULL;
        /* The third of five rows is that of token 2 * 128 / 5. */
        assert_true(asprintf(&body,
                             "local l = block.linears[%d] local x = l:inputs{tokens = 5}"
                             " local all, s = l:inputs(), l:stats()"
                             " assert(x:get(3, 2) == %a and all:get(128, 1) == %a)"
                             " assert(math.abs(all:abs():sum() / %.12g - 1) < 1e-6)"
                             " assert(math.abs(s.input.mean_abs:get(1) / %.12g - 1) < 1e-5)"
                             " assert(s.input.n_values == 128 * l.n_in and s.input.rms > 0)"
                             " assert(s.weight.n_values == l.n_in * l.n_out)"
                             " assert(math.abs(s.weight.rms * math.sqrt(s.weight.n_values)"
                             "  / l:weight():norm() - 1) < 1e-6)"
                             " assert(s.weight.max == l:weight():max())"
                             " print(x, all)",
                             slots[i] + 1, (double)g.rows[51 * linear->n_in + 1],
                             (double)g.rows[127 * linear->n_in], sum, first / (double)n_all) > 0);
        assert_ok(run_body(&err, &f, body, &log));
        char expected[100];
        snprintf(expected, sizeof expected, "tensor [5, %u] tensor [128, %u]|", linear->n_in,
                 linear->n_in);
        assert_string_equal(log.text, expected);
        free(body);
        free(g.rows);
    }
    /* What was captured is forgotten when a weight changes, and is nobody's to change. */
    prints(&f,
           "local o = block.linears.o_proj local before = o:inputs() local b = before:copy()"
           " before:set(1, 1, 1000) print((o:inputs() - b):absmax())"
           " local v = block.linears.v_proj v:set_weight(v:weight() * 2)"
           " print((o:inputs() - b * 2):absmax() < 1e-4)",
           "0.0|true|");
    raises(&f, "block.linears[1]:inputs{rows = 5}", "inputs: unknown key \"rows\"");
    raises(&f, "block.linears[1]:inputs{tokens = 0}", "inputs: tokens: expected an integer from 1");
    f.block.n_train = 0;
    raises(&f, "block.linears[1]:inputs()", "there are no training samples");
    block_fixture_free(&f);
}

static void test_options_are_strict(void **state)
{
    (void)state;
    block_fixture f = new_fixture(1);
    static const struct {
        const char *body, *words;
    } rows[] = {
        {"block:pairs{kinds = 'random'}", "block:pairs: unknown key \"kinds\" (nearest: kind"},
        {"block:pairs{kind = 'none'}", "block:pairs: kind: "},
        {"block:pairs{kind = 5}", "block:pairs: kind: expected a string, found a number (5)"},
        {"block:pairs{krot = 65}", "krot: expected an integer from 0 to 64, found a number (65)"},
        {"block:pairs{seed = -1}", "seed: expected an integer from 0"},
        {"block:pairs{match = 5}", "expected a pattern"},
        {"block:pairs('random')", "block:pairs: expected a table of options"},
        {"block:pairs{'random'}", "block:pairs: expected keys that are names, found a number (1)"},
        {"block:optimise{angle = 0.1}", "block:optimise: unknown key \"angle\" (nearest: angles"},
        {"block:optimise{}", "block:optimise: expected a learning rate for one of angles"},
        {"block:optimise{angles = -1}", "angles: expected a number from 0.0 to 10.0"},
        {"block:optimise{angles = 0 / 0}", "angles: expected a number"},
        {"block:optimise{angles = '0.1'}", "found a string (\"0.1\")"},
        {"block:optimise{angles = 0.1, epochs = 0}", "epochs: expected an integer from 1 to 1000"},
        {"block:optimise{angles = 0.1, epochs = 1.5}", "found a number (1.5)"},
        {"block:optimise{angles = 0.1, reference_zero = 1}",
         "reference_zero: expected true or false, found a number (1)"},
        {"block:awq{clips = false}", "block:awq: unknown key \"clips\" (nearest: clip"},
        {"block:awq{grid = 0}", "block:awq: grid: expected an integer from 1 to 1000"},
        {"block:awq{max_shrink = 1}", "block:awq: max_shrink: expected a number from 0.01"},
        {"block:gptq{damp = 1}", "block:gptq: unknown key \"damp\" (nearest: damping"},
        {"block:gptq{damping = 2}", "block:gptq: damping: expected a number from 1e-06 to 1.0"},
        {"block:round{bits = 4}", "block:round: unknown key \"bits\""},
        {"block:loss{samples = 'test'}",
         "block:loss: samples: expected \"validation\" or \"train\", found \"test\""},
        {"block:loss{quantized = true}", "unknown key \"quantized\" (nearest: quantised"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        raises(&f, rows[i].body, rows[i].words);
    f.block.n_validation = 0;
    raises(&f, "block:loss()", "there are no samples for validation (data.validation is 0)");
    block_fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_dead_handles),
        cmocka_unit_test(test_dead_after_error),
        cmocka_unit_test(test_nothing_else_is_there),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_kept_and_rounded),
        cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_options_are_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
