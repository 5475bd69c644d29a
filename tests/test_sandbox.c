/* SPDX-License-Identifier: MIT
 *
 * The sandbox: every way out that we know of, one test each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "lua/sandbox.h"
#include "tests/support.h"

enum { MIB = 1 << 20 };

typedef struct script {
    const char *text;
    size_t n_bytes;
    char result[512]; /* tostring of what it returns */
} script;

static int run_script(lua_State *state)
{
    script *s = lua_touserdata(state, 1);
    if (luaL_loadbufferx(state, s->text, s->n_bytes, "=script", "t") != LUA_OK)
        return lua_error(state);
    lua_call(state, 0, 1);
    snprintf(s->result, sizeof s->result, "%s", luaL_tolstring(state, -1, NULL));
    return 0;
}

static paro_status run_in(paro_error *err, paro_sandbox *sandbox, const char *text, script *s)
{
    *s = (script){.text = text, .n_bytes = strlen(text)};
    return paro_sandbox_run(err, sandbox, run_script, s);
}

/* 40 MiB and 20 million instructions. */
static paro_status run(paro_error *err, const char *text, script *s)
{
    const paro_sandbox_options options = {.memory_bytes = 40 * MIB, .n_instructions = 20000000};
    paro_sandbox *sandbox = NULL;
    paro_status status = paro_sandbox_new(err, &options, &sandbox);
    if (status == PARO_STATUS_OK)
        status = run_in(err, sandbox, text, s);
    paro_sandbox_free(sandbox);
    return status;
}

static void gives(const char *text, const char *result)
{
    paro_error err;
    script s;
    assert_ok(run(&err, text, &s));
    assert_string_equal(s.result, result);
}

static void raises(const char *text, const char *words)
{
    paro_error err;
    script s;
    assert_fails(run(&err, text, &s), PARO_STATUS_RECIPE, words);
}

/* Stopped by a limit, in seconds rather than minutes. */
static void hits_limit(const char *text, const char *words)
{
    paro_error err;
    script s;
    double from = paro_clock_seconds();
    assert_fails(run(&err, text, &s), PARO_STATUS_LIMIT, words);
    assert_true(paro_clock_seconds() - from < (TEST_SANITIZED ? 60 : 20));
}

static void test_ordinary_lua(void **state)
{
    (void)state;
    gives("local t = {} for i = 1, 10 do t[#t + 1] = i * i end return table.concat(t, ',')",
          "1,4,9,16,25,36,49,64,81,100");
    gives("local ok, m = pcall(error, {code = 7}) return ok == false and m.code", "7");
    gives("return string.format('%5.2f|%s|%d', 1.5, 'x', 3)", " 1.50|x|3");
    gives("return load('return 6 * 7')()", "42");
    gives("return load('return x', 'n', 't', {x = 5})()", "5");
    gives("local f, m = load('return +') return tostring(f) .. m",
          "nil[string \"return +\"]:1: unexpected symbol near '+'");
    gives("local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)"
          " return co(1) .. co(21)",
          "242");
    gives("local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end)"
          " table.insert(t, 1, 9) table.remove(t) return table.concat(t)",
          "932");
    gives("return #table.move({1, 2, 3}, 1, 3, 2) .. select('#', table.unpack({1, 2}))", "42");
    gives("return utf8.len('h\xc3\xa9')", "2");
}

static void test_missing_names(void **state)
{
    (void)state;
    gives("local bad = {} for _, n in ipairs{'io', 'os', 'debug', 'package', 'require', 'dofile',"
          " 'loadfile', 'loadstring', 'collectgarbage', 'setmetatable', 'getmetatable', 'rawset',"
          " 'rawget', 'xpcall', 'warn'} do if _G[n] ~= nil then bad[#bad + 1] = n end end"
          " return table.concat(bad, ' ')",
          "");
    gives("return tostring(string.dump) .. tostring(coroutine.close)", "nilnil");
    /* Nothing but what is on the list: additions of a later Lua do not slip in. */
    gives("local n = 0 for _ in pairs(_G) do n = n + 1 end return n", "21");
    raises("return os.execute('true')", "(global 'os'): os is not available in recipes, see docs");
    raises("return io.open('/etc/passwd')", "(global 'io'): io is there only with --allow-io");
    raises("local x = require('x')", "(global 'require'): require is not available in recipes");
    raises("return nothing.x", "attempt to index a nil value (global 'nothing')");
}

static void test_bytecode(void **state)
{
    (void)state;
    paro_error err;
    script s = {.text = "\x1bLua", .n_bytes = 4};
    paro_sandbox *sandbox = NULL;
    assert_ok(paro_sandbox_new(&err, NULL, &sandbox));
    assert_fails(paro_sandbox_run(&err, sandbox, run_script, &s), PARO_STATUS_RECIPE, "binary");
    paro_sandbox_free(sandbox);
    gives("local f, m = load('\\27Lua', 'x', 'b') return tostring(f) .. m",
          "nilattempt to load a binary chunk (mode is 't')");
    raises("return load(function() return '\\27Lua' end)", "string expected, got function");
}

static void test_endless_loops(void **state)
{
    (void)state;
    hits_limit("while true do end", "20000000 instructions");
    hits_limit("for i = 1, math.huge do end", "instructions");
    hits_limit("local function f() return f() end return f()", "instructions");
    hits_limit("repeat local x = 1 goto again ::again:: until false", "instructions");
    hits_limit("coroutine.wrap(function() while true do end end)()", "instructions");
    hits_limit("while true do local co = coroutine.wrap(function() local x = 0"
               " for i = 1, 100 do x = x + i end end) co() end",
               "limit of");
}

static void test_pcall_does_not_catch_limits(void **state)
{
    (void)state;
    hits_limit("while true do pcall(function() while true do end end) end", "instructions");
    hits_limit("local function f() pcall(f) f() end f()", "limit of");
    hits_limit("local function f() local ok = pcall(f) while true do pcall(f) end end f()",
               "limit of");
    hits_limit("return coroutine.resume(coroutine.create(function() while true do end end))",
               "instructions");
    hits_limit("pcall(string.rep, 'x', 1 << 30)", "memory");
    hits_limit("pcall(string.rep, 'x', 2 << 20) return 'survived'", "string");
}

static void test_dead_after_limit(void **state)
{
    (void)state;
    const paro_sandbox_options options = {.n_instructions = 100000};
    paro_sandbox *sandbox = NULL;
    paro_error err;
    script s;
    assert_ok(paro_sandbox_new(&err, &options, &sandbox));
    assert_ok(run_in(&err, sandbox, "x = 1 return x", &s));
    assert_fails(run_in(&err, sandbox, "error('oh')", &s), PARO_STATUS_RECIPE, "script:1: oh");
    assert_ok(run_in(&err, sandbox, "return x", &s));
    assert_string_equal(s.result, "1");
    assert_fails(run_in(&err, sandbox, "while true do end", &s), PARO_STATUS_LIMIT, "100000");
    assert_fails(run_in(&err, sandbox, "return x", &s), PARO_STATUS_LIMIT, "100000");
    paro_sandbox_free(sandbox);
    /* The limit is of all runs together. */
    assert_ok(paro_sandbox_new(&err, &options, &sandbox));
    paro_status status = PARO_STATUS_OK;
    for (int i = 0; i < 1000 && status == PARO_STATUS_OK; i++)
        status = run_in(&err, sandbox, "for i = 1, 1000 do end", &s);
    assert_int_equal(status, PARO_STATUS_LIMIT);
    paro_sandbox_free(sandbox);
}

static void test_memory(void **state)
{
    (void)state;
    hits_limit("local t = {} for i = 1, math.huge do t[i] = {} end", "limit of");
    hits_limit("local s = 'x' while true do s = s .. s end", "string");
    hits_limit("local t = {} for i = 1, 1e9 do t[i] = i end", "limit of");
    hits_limit("local t = {} for i = 1, 200 do t[i] = string.rep(tostring(i), 1 << 18) end",
               "memory");
    hits_limit("return table.concat({('x'):rep(1 << 19), ('y'):rep(1 << 19), 'z', 'w',"
               " ('y'):rep(1 << 19)})",
               "string");
    hits_limit("local t = {} for i = 1, 4000000 do t[i] = 0 end return #t", "memory");
    /* What is dropped is collected before the limit counts. */
    gives("for i = 1, 100 do local s = string.rep('x', 1 << 20 - 1) end return 'fine'", "fine");
}

static void test_memory_too_small_to_begin(void **state)
{
    (void)state;
    paro_error err;
    paro_sandbox *sandbox = NULL;
    for (uint64_t n_bytes = 1; n_bytes < 40000; n_bytes += 97) {
        const paro_sandbox_options options = {.memory_bytes = n_bytes};
        paro_status status = paro_sandbox_new(&err, &options, &sandbox);
        if (status == PARO_STATUS_OK) {
            script s;
            paro_status ran = run_in(&err, sandbox, "return ('x'):rep(64) .. {}", &s);
            assert_true(ran == PARO_STATUS_LIMIT || ran == PARO_STATUS_RECIPE);
            paro_sandbox_free(sandbox);
        } else {
            assert_int_equal(status, PARO_STATUS_LIMIT);
            assert_non_null(strstr(err.message, "memory"));
        }
    }
}

static void test_time_bombs_in_c(void **state)
{
    (void)state;
    hits_limit("return (('a'):rep(40)):find(('a?'):rep(40) .. ('a'):rep(40) .. 'b')",
               "instructions");
    hits_limit("return (('a'):rep(100000)):find(('.-'):rep(8) .. 'b')", "instructions");
    hits_limit("return (('a'):rep(50000)):match('(.*)(.*)(.*)b')", "instructions");
    hits_limit("return (('('):rep(100000)):find('%b()')", "instructions");
    hits_limit("return (('a'):rep(30000)):gsub('.-b', '')", "instructions");
    hits_limit("for _ in (('a'):rep(30000)):gmatch('.-b') do end", "instructions");
    hits_limit("return table.move({}, 1, math.maxinteger - 1, 2)", "instructions");
    hits_limit("return table.move({}, math.mininteger, -1, 1)", "instructions");
    hits_limit("local t = {} for i = 1, 200000 do t[i] = i end"
               " while true do table.insert(t, 1, 0) table.remove(t, 1) end",
               "instructions");
    hits_limit("local t = {} for i = 1, 100000 do t[i] = -i end while true do table.sort(t) end",
               "instructions");
    hits_limit("while true do print(('x'):rep(1000)) end", "instructions");
    raises("return string.format('%1000000d', 1)", "invalid conversion");
    raises("return table.unpack({}, 1, 1e7)", "too many results to unpack");
    raises("return table.concat({}, '', 1, math.maxinteger)", "invalid value (nil) at index 1");
    raises("return ('x'):rep(1 << 62)", "resulting string too large");
    raises("return (('a'):rep(300)):find(('(a'):rep(33) .. (')'):rep(33))", "too many captures");
    raises("return (('a'):rep(1000)):find(('a?'):rep(300))", "pattern too complex");
}

static void test_recursion(void **state)
{
    (void)state;
    paro_error err;
    script s;
    paro_sandbox *sandbox = NULL;
    assert_ok(paro_sandbox_new(&err, NULL, &sandbox));
    assert_fails(run_in(&err, sandbox, "local function f() return 1 + f() end return f()", &s),
                 PARO_STATUS_RECIPE, "stack overflow");
    paro_sandbox_free(sandbox);
    hits_limit("local function f() return 1 + f() end return f()", "memory");
    raises("local s = ('('):rep(1000) .. '1' .. (')'):rep(1000) return load('return ' .. s)()",
           "attempt to call a nil value");
    raises("local function f(x) return (('x'):gsub('x', f)) end return f('x')", "overflow");
    raises("local function f() return coroutine.wrap(f)() end return f()", "script:1");
    gives("local t = {} t[1] = t return type(t[1][1])", "table");
}

static void test_metatables_are_out_of_reach(void **state)
{
    (void)state;
    /* string methods can be replaced by the recipe for itself, never for the next one. */
    gives("string.upper = function() return 'own' end return ('a'):upper()", "own");
    gives("return ('a'):upper()", "A");
    raises("('').x.y = 1", "attempt to index a nil value (field 'x')");
    raises("local x <close> = {} return 1", "non-closable");
    raises("return {} .. ''", "attempt to concatenate a table value");
}

static void test_error_values(void **state)
{
    (void)state;
    raises("error('words')", "script:1: words");
    raises("error('words', 0)", "words");
    raises("error(12.5)", "12.5");
    raises("error()", "nil");
    raises("error({})", "table");
    raises("error(print)", "function");
    raises("error('a\\nb\\0c\\xff')", "a");
    raises("return nil + 1", "attempt to perform arithmetic on a nil value");
    raises("x =", "script:1: unexpected symbol near <eof>");
}

static void remember_log(void *context, paro_log_level level, const char *message)
{
    assert_int_equal(level, PARO_LOG_LEVEL_INFO);
    strncat(context, message, 200);
    strncat(context, "|", 2);
}

static void test_print(void **state)
{
    (void)state;
    char log[1000] = "";
    const paro_observer observer = {.context = log, .log = remember_log};
    const paro_sandbox_options options = {.observer = &observer};
    paro_sandbox *sandbox = NULL;
    paro_error err;
    script s;
    assert_ok(paro_sandbox_new(&err, &options, &sandbox));
    assert_ok(run_in(&err, sandbox, "print('a', 1, true, nil) print() print('two\\nlines')", &s));
    paro_sandbox_free(sandbox);
    assert_string_equal(log, "a 1 true nil||two|lines|");
}

static bool stop_at(void *context, const char *stage, uint64_t done, uint64_t total)
{
    int *n_left = context;
    assert_string_equal(stage, "recipe");
    assert_int_equal(done, 0);
    assert_int_equal(total, 0);
    return --*n_left > 0;
}

/* Whatever the code is busy with. */
static void test_cancel(void **state)
{
    (void)state;
    static const char *const endless[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do local t = {{}, {}, {}} end",
        "while true do coroutine.wrap(function() for i = 1, 1e6 do end end)() end",
        "return (('a'):rep(200000)):find(('.-'):rep(8) .. 'b')",
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
        assert_fails(run_in(&err, sandbox, endless[i], &s), PARO_STATUS_CANCELLED,
                     "recipe: stopped");
        assert_true(paro_clock_seconds() - from < (TEST_SANITIZED ? 30 : 5));
        assert_int_equal(n_left, 0);
        assert_fails(run_in(&err, sandbox, "return 1", &s), PARO_STATUS_CANCELLED, "stopped");
        paro_sandbox_free(sandbox);
    }
}

static void test_random_is_the_same_every_time(void **state)
{
    (void)state;
    paro_error err;
    script a;
    script b;
    assert_ok(run(&err, "return math.random(1 << 30)", &a));
    assert_ok(run(&err, "return math.random(1 << 30)", &b));
    assert_string_equal(a.result, b.result);
}

/* Half a second of a stage's own work, then a little of Lua's. */
static int run_stage(lua_State *state)
{
    const bool *as_stage = lua_touserdata(state, 1);
    struct timespec now = {0};
    if (*as_stage)
        paro_sandbox_enter_stage(state);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    for (double from = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec, at = from; at < from + 0.5;
         at = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec)
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    if (*as_stage)
        paro_sandbox_leave_stage(state);
    paro_sandbox_charge(state, 2 * PARO_SANDBOX_INTERVAL); /* looks at the clock */
    return 0;
}

static void test_processor_time(void **state)
{
    (void)state;
    const paro_sandbox_options options = {.n_instructions = UINT64_MAX / 2, .seconds = 0.3};
    paro_sandbox *sandbox = NULL;
    paro_error err;
    script s;
    bool as_stage = true;
    assert_ok(paro_sandbox_new(&err, &options, &sandbox));
    assert_ok(paro_sandbox_run(&err, sandbox, run_stage, &as_stage));
    assert_ok(paro_sandbox_run(&err, sandbox, run_stage, &as_stage));
    assert_fails(run_in(&err, sandbox, "while true do end", &s), PARO_STATUS_LIMIT,
                 "0.3 seconds of processor time");
    paro_sandbox_free(sandbox);

    as_stage = false;
    assert_ok(paro_sandbox_new(&err, &options, &sandbox));
    assert_fails(paro_sandbox_run(&err, sandbox, run_stage, &as_stage), PARO_STATUS_LIMIT,
                 "0.3 seconds");
    paro_sandbox_free(sandbox);
    /* What finished runs took counts, until the sandbox is renewed. */
    assert_ok(paro_sandbox_new(&err, &options, &sandbox));
    static const char busy[] = "for i = 1, 2000000 do end";
    paro_status status = PARO_STATUS_OK;
    for (int i = 0; i < 1000 && status == PARO_STATUS_OK; i++) {
        paro_sandbox_renew(sandbox);
        status = run_in(&err, sandbox, "for i = 1, 100 do end", &s);
    }
    assert_int_equal(status, PARO_STATUS_OK);
    for (int i = 0; i < 1000 && status == PARO_STATUS_OK; i++)
        status = run_in(&err, sandbox, busy, &s);
    assert_int_equal(status, PARO_STATUS_LIMIT);
    paro_sandbox_renew(sandbox); /* does not bring it back */
    assert_fails(run_in(&err, sandbox, "return 1", &s), PARO_STATUS_LIMIT, "seconds");
    paro_sandbox_free(sandbox);
}

static int count_open_files(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static void test_io(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    test_file_write(dir, "data.txt", "one\ntwo\n", 8);
    char *text = NULL;
    assert_true(asprintf(&text,
                         "local f = assert(io.open('%s/data.txt')) local n = 0"
                         " for l in f:lines() do n = n + #l end f:close()"
                         " local g = io.open('%s/new', 'w') g:write('hello')"
                         " keep = g return n .. io.type(f) .. io.type(g)",
                         dir, dir) > 0);
    paro_error err;
    script s;
    const paro_sandbox_options options = {
        .allow_io = true, .n_instructions = 1000000, .memory_bytes = 16 * MIB};
    paro_sandbox *sandbox = NULL;
    int n_files = count_open_files();
    assert_ok(paro_sandbox_new(&err, &options, &sandbox));
    assert_ok(run_in(&err, sandbox, text, &s));
    assert_string_equal(s.result, "6closed filefile");
    assert_int_equal(count_open_files(), n_files + 1);
    assert_ok(run_in(&err, sandbox, "local f, m = io.open('/nonexistent/x') return m", &s));
    assert_string_equal(s.result, "/nonexistent/x: No such file or directory");
    assert_ok(
        run_in(&err, sandbox, "local n = 0 for _ in pairs(io) do n = n + 1 end return n", &s));
    assert_string_equal(s.result, "2");
    assert_fails(run_in(&err, sandbox, "io.popen('true')", &s), PARO_STATUS_RECIPE, "popen");
    assert_fails(
        run_in(&err, sandbox, "t = {} for i = 1, 100 do t[i] = io.open('/dev/null') end", &s),
        PARO_STATUS_RECIPE, "more than 64 files");
    assert_ok(run_in(&err, sandbox, "t = nil for i = 1, 100 do io.open('/dev/null') end", &s));
    assert_fails(run_in(&err, sandbox, "io.open('/dev/zero'):read('a')", &s), PARO_STATUS_LIMIT,
                 "");
    paro_sandbox_free(sandbox);
    /* Also those that nobody closed, after a limit too. */
    assert_int_equal(count_open_files(), n_files);
    char *path = test_path(dir, "new");
    char *data = NULL;
    size_t n_bytes = 0;
    assert_ok(paro_file_read(&err, path, 100, &data, &n_bytes));
    assert_string_equal(data, "hello");
    free(data);
    free(path);
    free(text);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary_lua),
        cmocka_unit_test(test_missing_names),
        cmocka_unit_test(test_bytecode),
        cmocka_unit_test(test_endless_loops),
        cmocka_unit_test(test_pcall_does_not_catch_limits),
        cmocka_unit_test(test_dead_after_limit),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_too_small_to_begin),
        cmocka_unit_test(test_time_bombs_in_c),
        cmocka_unit_test(test_recursion),
        cmocka_unit_test(test_metatables_are_out_of_reach),
        cmocka_unit_test(test_error_values),
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_processor_time),
        cmocka_unit_test(test_random_is_the_same_every_time),
        cmocka_unit_test(test_io),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
