/* SPDX-License-Identifier: MIT
 *
 * lua/tensor*.c: what tensors compute, against sums written out in the scripts, and what they may
 * cost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/thread.h"
#include "tests/lua_script.h"

enum { MIB = 1 << 20 };

static paro_status run_limited(paro_error *err, const char *text, int n_threads,
                               uint64_t n_instructions, script *s)
{
    const paro_sandbox_options options = {
        .memory_bytes = 40 * MIB, .n_instructions = n_instructions, .data_bytes = 64 * MIB};
    paro_sandbox *sandbox = NULL;
    paro_pool *pool = NULL;
    paro_status status = paro_pool_new(err, n_threads, &pool);
    if (status == PARO_STATUS_OK)
        status = paro_sandbox_new(err, &options, &sandbox);
    if (status == PARO_STATUS_OK) {
        paro_sandbox_set_host(sandbox, NULL, pool);
        status = script_run_in(err, sandbox, text, s);
    }
    paro_sandbox_free(sandbox);
    paro_pool_free(pool);
    return status;
}

/* With one thread and with two. */
static void gives(const char *text, const char *result)
{
    paro_error err;
    script s;
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        assert_ok(run_limited(&err, text, n_threads, 20000000, &s));
        assert_string_equal(s.result, result);
    }
}

static void raises(const char *text, const char *words)
{
    paro_error err;
    script s;
    assert_fails(run_limited(&err, text, 1, 20000000, &s), PARO_STATUS_RECIPE, words);
}

static void hits_limit_of(uint64_t n_instructions, const char *text, const char *words)
{
    paro_error err;
    script s;
    double from = paro_clock_seconds();
    assert_fails(run_limited(&err, text, 1, n_instructions, &s), PARO_STATUS_LIMIT, words);
    assert_true(paro_clock_seconds() - from < (TEST_SANITIZED ? 60 : 20));
}

static void hits_limit(const char *text, const char *words)
{
    hits_limit_of(2000000, text, words);
}

static void test_made(void **state)
{
    (void)state;
    gives("return show(tensor.zeros(3))", "0 0 0");
    gives("return show(tensor.full(2.5, 2, 2))", "2.5 2.5; 2.5 2.5");
    gives("return show(tensor.of{1, -2, 3.5})", "1 -2 3.5");
    gives("return show(tensor.of{{1, 2, 3}, {4, 5, 6}})", "1 2 3; 4 5 6");
    gives("return tostring(tensor.zeros(2, 3)) .. tostring(tensor.zeros(7))",
          "tensor [2, 3]tensor [7]");
    gives("local t = tensor.zeros(4, 2) return #t .. #tensor.zeros(9)"
          " .. select('#', t:shape()) .. select('#', tensor.zeros(1):shape())",
          "4921");
    /* The same numbers everywhere: normal, of the seed. */
    gives("local t = tensor.random(300, 400, 7) local u = tensor.random(300, 400, 7)"
          " local v = tensor.random(300, 400, 8)"
          " assert((t - u):absmax() == 0 and (t - v):absmax() > 1)"
          " assert(math.abs(t:mean()) < 0.02 and math.abs((t * t):mean() - 1) < 0.02)"
          " return string.format('%.4f', tensor.random(2, nil, 1):get(1))",
          "-1.5452");
    raises("tensor.zeros(0)", "expected a dimension from 1 to 1073741824, found 0");
    raises("tensor.zeros(2, -1)", "found -1");
    raises("tensor.zeros(1.5)", "number has no integer representation");
    raises("tensor.zeros(1 << 40)", "found 1099511627776");
    raises("tensor.of{}", "found an empty table");
    raises("tensor.of(5)", "found number");
    raises("tensor.of{1, 'x'}", "expected a number at place 2, found a string");
    raises("tensor.of{{1, 2}, {3}}", "expected 2 numbers in row 2, found 1");
    raises("tensor.of{{1, 2}, 3}", "found number");
    raises("return tensor.zeros(2):nothing()", "attempt to call a nil value (method 'nothing')");
}

static void test_access(void **state)
{
    (void)state;
    gives("local t = tensor.of{{1, 2}, {3, 4}} t:set(2, 1, 9) return t:get(2, 1) + t:get(1, 2)",
          "11.0");
    gives("local t = tensor.of{1, 2} local u = t:copy() u:set(1, 5) return t:get(1)", "1.0");
    gives("local t = tensor.of{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}"
          " return show(t:rows(2)) .. '|' .. show(t:rows(1, 1)) .. '|' .. show(t:columns(2, 3))"
          " .. '|' .. show(tensor.of{1, 2, 3}:columns(2))",
          "4 5 6; 7 8 9|1 2 3|2 3; 5 6; 8 9|2 3");
    gives("local t = tensor.zeros(3, 3) t:set_rows(2, tensor.of{1, 2, 3})"
          " t:set_columns(3, tensor.of{{7}, {8}, {9}}) return show(t)",
          "0 0 7; 1 2 8; 0 0 9");
    gives("return show(tensor.of{{1, 2, 3}, {4, 5, 6}}:transpose())", "1 4; 2 5; 3 6");
    gives("local t = tensor.random(70, 45, 1) local u = t:transpose()"
          " for i = 1, 70 do for j = 1, 45 do assert(t:get(i, j) == u:get(j, i)) end end"
          " return tostring(u)",
          "tensor [45, 70]");
    gives("local t = tensor.of{{1, 2, 3}, {4, 5, 6}}"
          " return show(t:reshape(3, 2)) .. '|' .. show(t:reshape(6))",
          "1 2; 3 4; 5 6|1 2 3 4 5 6");
    raises("tensor.zeros(2):get(3)", "expected an index from 1 to 2, found 3");
    raises("tensor.zeros(2):get(0)", "found 0");
    raises("tensor.zeros(2, 2):get(1)", "number expected, got no value");
    raises("tensor.zeros(2, 2):set(1, 3, 0)", "expected an index from 1 to 2, found 3");
    raises("tensor.zeros(2):rows(1)", "rows: expected a tensor of rank 2, found [2]");
    raises("tensor.zeros(3, 2):rows(3, 2)", "expected a range that is not empty, found 3 to 2");
    raises("tensor.zeros(3, 2):reshape(5)", "expected a shape of 6 elements, found 1 * 5");
    raises("tensor.zeros(3, 2):set_rows(3, tensor.zeros(2, 2))",
           "set_rows: expected a tensor of at most [1, 2], found [2, 2]");
    raises("tensor.zeros(3, 2):set_columns(1, tensor.zeros(2, 2))", "found [2, 2]");
    raises("tensor.zeros(2).x = 1", "attempt to index a tensor value");
}

static void test_operators(void **state)
{
    (void)state;
    gives("local a, b = tensor.of{1, 2, 4}, tensor.of{2, 2, 2}"
          " return show(a + b) .. '|' .. show(a - b) .. '|' .. show(a * b) .. '|' .. show(a / b)"
          " .. '|' .. show(-a) .. '|' .. show(a ^ b)",
          "3 4 6|-1 0 2|2 4 8|0.5 1 2|-1 -2 -4|1 4 16");
    gives(
        "local a = tensor.of{1, 2} return show(10 - a) .. '|' .. show(a - 10) .. '|' .. show(2 / a)"
        " .. '|' .. show(2 ^ a)",
        "9 8|-9 -8|2 1|2 4");
    /* Broadcasting: [m], [1, m], [n, 1], [1, 1]. */
    gives("local t = tensor.of{{1, 2}, {3, 4}, {5, 6}}"
          " return show(t + tensor.of{10, 20}) .. '|' .. show(t + tensor.of{{10, 20}}) .. '|'"
          " .. show(t * tensor.of{{1}, {10}, {100}}) .. '|' .. show(tensor.of{{1}, {2}} + "
          "tensor.of{3, 4})"
          " .. '|' .. show(t - tensor.of{{1}})",
          "11 22; 13 24; 15 26|11 22; 13 24; 15 26|1 2; 30 40; 500 600|4 5; 5 6|0 1; 2 3; 4 5");
    /* Many tasks' worth, against single elements. */
    gives("local t, r, c = tensor.random(300, 700, 1), tensor.random(700, nil, 2),"
          " tensor.random(300, 1, 3) local u = t * r + c"
          " for i = 1, 300, 13 do for j = 1, 700, 7 do"
          "   local want = t:get(i, j) * r:get(j) + c:get(i, 1)"
          "   assert(math.abs(u:get(i, j) - want) < 1e-5) end end return tostring(u)",
          "tensor [300, 700]");
    raises("return tensor.zeros(2, 3) + tensor.zeros(2)",
           "shapes do not go together: [2, 3] and [2]");
    raises("return tensor.zeros(2, 3) * tensor.zeros(3, 2)", "[2, 3] and [3, 2]");
    raises("return tensor.zeros(2) + 'x'", "tensor or number expected, got string");
    raises("return {} * tensor.zeros(2)", "tensor or number expected, got table");
}

static void test_functions(void **state)
{
    (void)state;
    gives("local t = tensor.of{-2, 0.25, 1, 2.5, 3.5}"
          " return show(t:abs()) .. '|' .. show(t:clamp(-1, 2)) .. '|' .. show(t:round())"
          " .. '|' .. show(t:maximum(1)) .. '|' .. show(t:minimum(tensor.full(0.5, 5)))",
          "2 0.25 1 2.5 3.5|-1 0.25 1 2 2|-2 0 1 2 4|1 1 1 2.5 3.5|-2 0.25 0.5 0.5 0.5");
    gives("local t = tensor.of{1, 4, 9} return show(t:sqrt()) .. '|' .. show(t:pow(1.5)) .. '|'"
          " .. show(t:log():exp()) .. '|' .. show(t:log())",
          "1 2 3|1 8 27|1 4 9|0 1.38629 2.19722");
    gives("local t = tensor.random(123457, nil, 4) local u = t:abs():sqrt():exp()"
          " for i = 1, 123457, 997 do local want = math.exp(math.sqrt(math.abs(t:get(i))))"
          "   assert(math.abs(u:get(i) / want - 1) < 1e-6) end return 'fine'",
          "fine");
    gives("local nan = tensor.of{0} / 0 return show(nan:maximum(1)) .. "
          "show(tensor.of{1}:minimum(nan))"
          " .. show(nan:clamp(0, 1))",
          "-nan-nan-nan");
    raises("tensor.zeros(2):clamp(2, 1)", "clamp: expected bounds in order, found 2.0 and 1.0");
    raises("tensor.zeros(2):clamp(2)", "number expected, got no value");
}

static void test_reductions(void **state)
{
    (void)state;
    gives("local t = tensor.of{{1, -2, 3}, {4, 5, -6}}"
          " return table.concat({t:sum(), t:mean(), t:max(), t:min(), t:absmax(),"
          " string.format('%.6f', t:norm())}, ' ')",
          "5.0 0.83333333333333 5.0 -6.0 6.0 9.539392");
    gives("local t = tensor.of{{1, -2, 3}, {4, 5, -6}}"
          " return show(t:sum(1)) .. '|' .. show(t:sum(2)) .. '|' .. show(t:mean(2)) .. '|'"
          " .. show(t:max(1)) .. '|' .. show(t:min(2)) .. '|' .. show(t:absmax(1)) .. '|'"
          " .. show(tensor.of{{3, 4}}:norm(2)) .. '|' .. tostring(t:sum(1)) .. tostring(t:sum(2))",
          "5 3 -3|2; 3|0.666667; 1|4 5 3|-2; -6|4 5 6|5|tensor [3]tensor [2, 1]");
    gives("local t = tensor.random(500, 300, 5) local all, rows, columns = 0, {}, {}"
          " for i = 1, 500 do for j = 1, 300 do local x = t:get(i, j) all = all + x"
          "   rows[i] = (rows[i] or 0) + x columns[j] = (columns[j] or 0) + x end end"
          " assert(math.abs(t:sum() - all) < 1e-9)"
          " local by_row, by_column = t:sum(2), t:sum(1)"
          " for i = 1, 500 do assert(math.abs(by_row:get(i, 1) - rows[i]) < 1e-4) end"
          " for j = 1, 300 do assert(math.abs(by_column:get(j) - columns[j]) < 1e-4) end"
          " return string.format('%.9f', t:norm() / math.sqrt((t * t):sum()))",
          "1.000000000");
    gives("local t = tensor.of{1, 2, 3} t:set(2, 0 / 0) local m, l = t:max(), t:absmax()"
          " return tostring(m ~= m and l ~= l)",
          "true");
    raises("tensor.zeros(2, 2):sum(3)", "expected an index from 1 to 2, found 3");
    raises("tensor.zeros(2):sum(1)", "expected a tensor of rank 2 to reduce along dimension 1");
}

static void test_products(void **state)
{
    (void)state;
    gives("local a, b = tensor.of{{1, 2}, {3, 4}, {5, 6}}, tensor.of{{1, 0, 2}, {0, 1, 3}}"
          " return show(a:matmul(b)) .. '|' .. show(a:matmul_t(b:transpose()))",
          "1 2 8; 3 4 18; 5 6 28|1 2 8; 3 4 18; 5 6 28");
    gives("local a, v = tensor.of{{1, 2}, {3, 4}, {5, 6}}, tensor.of{1, 10}"
          " return show(a:matmul(v)) .. '|' .. show(a:matmul_t(v)) .. '|'"
          " .. show(tensor.of{1, 1, 1}:matmul(a)) .. '|' .. show(v:matmul(v))",
          "21 43 65|21 43 65|9 12|101");
    /* More than a tile each way. */
    gives("local a, b = tensor.random(130, 37, 1), tensor.random(37, 1030, 2)"
          " local c, d = a:matmul(b), a:matmul_t(b:transpose())"
          " for i = 1, 130, 3 do for j = 1, 1030, 17 do local want = 0"
          "   for k = 1, 37 do want = want + a:get(i, k) * b:get(k, j) end"
          "   assert(math.abs(c:get(i, j) - want) < 1e-4) end end"
          " near(c, d, 1e-4) return tostring(c)",
          "tensor [130, 1030]");
    raises("return tensor.zeros(2, 3):matmul(tensor.zeros(2, 3))",
           "a product of [2, 3] and [2, 3]: expected as many columns in the first as rows in");
    raises("return tensor.zeros(2, 3):matmul_t(tensor.zeros(3, 2))",
           "expected as many columns in both");
    raises("return tensor.zeros(2, 3):matmul(tensor.zeros(2))", "a product of [2, 3] and [2]");
    raises("return tensor.zeros(2, 3):matmul(5)", "tensor expected, got number");
}

static void test_products_do_not_depend_on_threads(void **state)
{
    (void)state;
    static const char text[] = "local a, b = tensor.random(200, 300, 1), tensor.random(700, 300, 2)"
                               " local c = a:matmul_t(b) local out = {}"
                               " for i = 1, 200, 11 do for j = 1, 700, 41 do out[#out + 1] = "
                               "('%a'):format(c:get(i, j)) end"
                               " end out[#out + 1] = ('%a'):format((c * c):exp():sum()) return "
                               "table.concat(out):sub(-1000)";
    paro_error err;
    script one;
    script two;
    assert_ok(run_limited(&err, text, 1, 20000000, &one));
    assert_ok(run_limited(&err, text, 2, 20000000, &two));
    assert_string_equal(one.result, two.result);
}

static void test_quantise(void **state)
{
    (void)state;
    /* Two bits: min -1, max 2, so a step of 1 and a zero of 1; the second group has 0 as its min.
     */
    gives("return show(tensor.of{{-1, 0.4, 0.6, 2, 3, 6, 1.4, 0}}:quantise{bits = 2, group_size = "
          "4})",
          "-1 0 1 2 4 6 2 0");
    gives("local t = tensor.random(40, 256, 3) local q = t:quantise() local worst = 0"
          " local step = (t:reshape(80, 128):max(2) - t:reshape(80, 128):min(2)) / 15"
          " local d = ((t - q):reshape(80, 128) / step):absmax()"
          " assert(d > 0.4 and d < 0.5001 + 0.5) return tostring(near(q, q:quantise(), 1e-5))",
          "true");
    raises("tensor.zeros(2, 6):quantise{group_size = 4}",
           "group_size 4 does not divide the 6 columns");
    raises("tensor.zeros(2, 128):quantise{bit = 4}",
           "quantise: unknown key \"bit\" (nearest: bits");
    raises("tensor.zeros(2, 128):quantise{bits = 9}",
           "quantise: bits: expected an integer from 2 to 8, found a number (9)");
    raises("(tensor.zeros(128) / 0):quantise()", "quantise: expected finite values, found");
    raises("tensor.zeros(2, 128):quantise(4)", "expected a table of options");
    raises("tensor.zeros(128):rotate(5)", "linear expected, got number");
}

/* Memory of tensors has a limit of its own, is given back, and never leaks (the sanitizer knows).
 */
static void test_memory(void **state)
{
    (void)state;
    hits_limit_of(20000000, "local t = {} for i = 1, 100 do t[i] = tensor.zeros(1 << 18) end",
                  "67108864 bytes of memory for tensors");
    hits_limit_of(20000000, "pcall(tensor.zeros, 1 << 15, 1 << 15) return 'survived'",
                  "memory for tensors");
    hits_limit_of(20000000, "return tensor.zeros(1 << 30, 1 << 30)", "limit of");
    hits_limit_of(20000000, "local t = tensor.random(1 << 20, 1, 1) return t - t:transpose()",
                  "limit of");
    /* What is dropped is collected before the limit counts. */
    gives("for i = 1, 200 do local t = tensor.zeros(1 << 21) end return 'fine'", "fine");
    gives("local co = coroutine.wrap(function() local t = tensor.zeros(1 << 22)"
          " coroutine.yield(1) return t end) co() return 'kept in a coroutine'",
          "kept in a coroutine");
}

/* Loops over elements and inside products count as instructions. */
static void test_work(void **state)
{
    (void)state;
    hits_limit("local t = tensor.zeros(1 << 21) while true do t = t:exp() end", "instructions");
    hits_limit("local t = tensor.zeros(1 << 21) while true do t = t + t end", "instructions");
    hits_limit("local t = tensor.zeros(1 << 21) while true do t:sum() end", "instructions");
    hits_limit("local t = tensor.zeros(1000, 1000) while true do t:matmul(t) end", "instructions");
    hits_limit("local t = tensor.zeros(1, 1) while true do t:matmul(t) end", "instructions");
    hits_limit("local t = tensor.zeros(1024, 1024) while true do t:quantise() end", "instructions");
    hits_limit("local t = tensor.zeros(1024, 1024) while true do t:set_rows(1, t) end",
               "instructions");
    hits_limit("local t = {} for i = 1, 100000 do t[i] = i end while true do tensor.of(t) end",
               "instructions");
    hits_limit("while true do pcall(tensor.zeros, -1) end", "instructions");
}

static bool stop_at(void *context, const char *stage, uint64_t done, uint64_t total)
{
    int *n_left = context;
    assert_string_equal(stage, "recipe");
    assert_true(done == 0 && total == 0);
    return --*n_left > 0;
}

static void test_cancel(void **state)
{
    (void)state;
    static const char *const endless[] = {
        "local t = tensor.zeros(1 << 20) while true do t = t:exp() end",
        "local t = tensor.zeros(1500, 1500) while true do t:matmul(t) end",
        "local t = tensor.zeros(3) while true do t = t + 1 end",
    };
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
        int n_left = 2;
        const paro_observer observer = {.context = &n_left, .progress = stop_at};
        const paro_sandbox_options options = {.observer = &observer,
                                              .n_instructions = UINT64_MAX / 2};
        paro_sandbox *sandbox = NULL;
        paro_error err;
        script s;
        assert_ok(paro_sandbox_new(&err, &options, &sandbox));
        double from = paro_clock_seconds();
        assert_fails(script_run_in(&err, sandbox, endless[i], &s), PARO_STATUS_CANCELLED,
                     "stopped");
        assert_true(paro_clock_seconds() - from < (TEST_SANITIZED ? 30 : 5));
        paro_sandbox_free(sandbox);
    }
}

static void test_metatables_are_out_of_reach(void **state)
{
    (void)state;
    gives("local t = tensor.zeros(2) return tostring(t.__gc) .. tostring(t.__index)"
          " .. tostring(t.__metatable) .. tostring(t.__name)",
          "nilnilnilnil");
    gives("local t = tensor.zeros(2) return tostring(pcall(function() t.sum = print end))"
          " .. tostring(pcall(next, t))",
          "falsefalse");
    /* A recipe may replace its own `tensor`, not what tensors can do. */
    gives("local zeros = tensor.zeros tensor.zeros = nil tensor = nil return zeros(2):sum()",
          "0.0");
    raises("local sum = tensor.zeros(2).sum return sum(io)", "tensor expected, got nil");
    raises("local sum = tensor.zeros(2).sum return sum(print)", "tensor expected, got function");
    raises("local t <close> = tensor.zeros(2)", "non-closable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_products_do_not_depend_on_threads),
        cmocka_unit_test(test_quantise),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_metatables_are_out_of_reach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
