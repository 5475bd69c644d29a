/* SPDX-License-Identifier: MIT
 *
 * The sandbox: limits and life of a Lua state.
 *
 * Invariants:
 * 1. Lua code runs inside paro_sandbox_run only, with `escape` set.
 * 2. Every byte of the state comes from `allocate` and is on the list `blocks`; the sum is never
 *    over `memory_bytes`. Likewise the numbers of tensors: `data`, `data_bytes`.
 * 3. Reaching a limit leaves Lua by longjmp to paro_sandbox_run, not by a Lua error: neither pcall
 *    nor a message handler, __close or __gc sees it. The state is then inconsistent, `limit` says
 *    why, and nothing calls into it again. Not so where `trusted`: there nothing leaves by longjmp
 *    (but after a panic), calls may be nested, and once `stopping` is set the hook raises an error
 *    again and again until paro_sandbox_run ends.
 * 4. The state is never closed, its blocks are freed: no finaliser runs at the end.
 * 5. `work` only grows: one for each VM instruction (in steps of `hook_interval`), one for every
 *    PARO_SANDBOX_WORK_BYTES that are allocated, and what C functions charge for loops the hook
 * cannot interrupt.
 *
 * A new coroutine inherits the hook, with a fresh interval, so making one is charged an interval.
 * Some single instructions cost more than constant time (comparing strings, traversing a table
 * of which most was removed). The bound on string length and on memory bounds each; the processor
 * time checked in the hook and in the allocator bounds their sum.
 */
#include "lua/sandbox_state.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

enum {
    HOOK_INTERVAL = PARO_SANDBOX_INTERVAL,
    CHARGES_PER_CLOCK = 1 << 14,
    MAX_CALL_LOG2 = 40, /* of the work of one call of a C function, where trusted */
};

static const double report_seconds = 0.1; /* between two questions to the observer */
static const uint64_t default_memory_bytes = (uint64_t)256 << 20;
static const uint64_t default_n_instructions = 1000000000;
static const uint64_t default_data_bytes = (uint64_t)4 << 30;

static double read_clock(clockid_t id)
{
    struct timespec now = {0};
    clock_gettime(id, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

paro_sandbox *paro_sandbox_of(lua_State *state)
{
    void *sandbox = NULL;
    lua_getallocf(state, &sandbox);
    return sandbox;
}

/* Where trusted, a Lua error; it names the place where it happened. */
static void raise_stop(lua_State *state)
{
    paro_sandbox_of(state)->stopping = true;
    luaL_error(state, "stopped on request");
}

void paro_sandbox_escape(paro_sandbox *sandbox, paro_sandbox_limit limit)
{
    sandbox->limit = limit;
    longjmp(sandbox->escape, 1);
}

void paro_sandbox_count(paro_sandbox *sandbox, uint64_t work)
{
    if (sandbox->trusted)
        return;
    if (work > sandbox->n_instructions - sandbox->work)
        paro_sandbox_escape(sandbox, PARO_SANDBOX_LIMIT_WORK);
    sandbox->work += work;
}

/* The wall clock is cheap to read and never behind the processor time of one thread. */
void paro_sandbox_check_time(paro_sandbox *sandbox)
{
    double now = read_clock(CLOCK_MONOTONIC);
    if (now - sandbox->reported >= report_seconds) {
        sandbox->reported = now;
        const char *stage = sandbox->trusted ? "script" : "recipe";
        sandbox->stopping = paro_report(NULL, sandbox->observer, stage, 0, 0) != PARO_STATUS_OK ||
                            sandbox->stopping;
        if (sandbox->stopping && !sandbox->trusted)
            paro_sandbox_escape(sandbox, PARO_SANDBOX_LIMIT_CANCELLED);
    }
    if (sandbox->trusted)
        return;
    double wall = now - sandbox->clock_started;
    if (sandbox->seconds + wall < sandbox->max_seconds)
        return;
    double cpu = read_clock(CLOCK_THREAD_CPUTIME_ID) - sandbox->started;
    if (sandbox->seconds + cpu > sandbox->max_seconds)
        paro_sandbox_escape(sandbox, PARO_SANDBOX_LIMIT_TIME);
}

void paro_sandbox_charge(lua_State *state, uint64_t n_instructions)
{
    paro_sandbox *sandbox = paro_sandbox_of(state);
    paro_sandbox_count(sandbox, n_instructions);
    if (n_instructions >= HOOK_INTERVAL || ++sandbox->n_charges % CHARGES_PER_CLOCK == 0)
        paro_sandbox_check_time(sandbox);
    if (sandbox->stopping)
        raise_stop(state);
    if (sandbox->trusted && n_instructions >> MAX_CALL_LOG2 != 0)
        luaL_error(state, "one call would take more than 2^%d steps", MAX_CALL_LOG2);
}

void paro_sandbox_enter_stage(lua_State *state)
{
    paro_sandbox *sandbox = paro_sandbox_of(state);
    sandbox->stage_started = read_clock(CLOCK_THREAD_CPUTIME_ID);
    sandbox->stage_clock_started = read_clock(CLOCK_MONOTONIC);
}

void paro_sandbox_leave_stage(lua_State *state)
{
    paro_sandbox *sandbox = paro_sandbox_of(state);
    sandbox->started += read_clock(CLOCK_THREAD_CPUTIME_ID) - sandbox->stage_started;
    sandbox->clock_started += read_clock(CLOCK_MONOTONIC) - sandbox->stage_clock_started;
}

void paro_sandbox_out_of_memory(lua_State *state)
{
    if (paro_sandbox_of(state)->trusted) {
        paro_sandbox_of(state)->out_of_memory = true;
        luaL_error(state, "out of memory (the machine's)");
    }
    paro_sandbox_escape(paro_sandbox_of(state), PARO_SANDBOX_LIMIT_SYSTEM);
}

int paro_sandbox_fail(lua_State *state, const paro_error *err)
{
    if (paro_sandbox_of(state)->trusted) {
        if (err->status == PARO_STATUS_CANCELLED)
            raise_stop(state);
        paro_sandbox_of(state)->out_of_memory = err->status == PARO_STATUS_OUT_OF_MEMORY;
        return luaL_error(state, "%s", err->message);
    }
    if (err->status == PARO_STATUS_CANCELLED)
        paro_sandbox_escape(paro_sandbox_of(state), PARO_SANDBOX_LIMIT_CANCELLED);
    if (err->status == PARO_STATUS_OUT_OF_MEMORY)
        paro_sandbox_escape(paro_sandbox_of(state), PARO_SANDBOX_LIMIT_SYSTEM);
    return luaL_error(state, "%s", err->message);
}

static void count_hook(lua_State *state, lua_Debug *debug)
{
    (void)debug;
    paro_sandbox *sandbox = paro_sandbox_of(state);
    paro_sandbox_count(sandbox, (uint64_t)sandbox->hook_interval);
    paro_sandbox_check_time(sandbox);
    if (sandbox->stopping)
        raise_stop(state);
}

static int panic(lua_State *state)
{
    paro_sandbox *sandbox = paro_sandbox_of(state);
    if (sandbox->running)
        paro_sandbox_escape(sandbox, PARO_SANDBOX_LIMIT_PANIC);
    return 0;
}

const paro_observer *paro_sandbox_observer(lua_State *state)
{
    return paro_sandbox_of(state)->observer;
}

bool paro_sandbox_prints_to_log(lua_State *state)
{
    return paro_sandbox_of(state)->print == NULL;
}

void paro_sandbox_print(lua_State *state, const char *text, size_t n_bytes)
{
    const paro_sandbox *sandbox = paro_sandbox_of(state);
    if (!sandbox->print(sandbox->print_context, text, n_bytes))
        luaL_error(state, "print: the text could not be written");
}

void paro_sandbox_let_pass(lua_State *state)
{
    if (paro_sandbox_of(state)->stopping)
        lua_error(state);
}

paro_pool *paro_sandbox_pool(lua_State *state)
{
    return paro_sandbox_of(state)->pool;
}

static int find_file(const paro_sandbox *sandbox, const FILE *file)
{
    int slot = 0;
    while (slot < PARO_SANDBOX_FILES && sandbox->files[slot] != file)
        slot++;
    return slot;
}

bool paro_sandbox_has_room_for_file(lua_State *state)
{
    paro_sandbox *sandbox = paro_sandbox_of(state);
    if (find_file(sandbox, NULL) < PARO_SANDBOX_FILES)
        return true;
    paro_sandbox_count(sandbox, sandbox->n_used_bytes / PARO_SANDBOX_WORK_BYTES);
    lua_gc(state, LUA_GCCOLLECT); /* closes files that nothing refers to */
    return find_file(sandbox, NULL) < PARO_SANDBOX_FILES;
}

void paro_sandbox_add_file(lua_State *state, FILE *file)
{
    paro_sandbox *sandbox = paro_sandbox_of(state);
    sandbox->files[find_file(sandbox, NULL)] = file;
}

void paro_sandbox_drop_file(lua_State *state, const FILE *file)
{
    paro_sandbox *sandbox = paro_sandbox_of(state);
    int slot = find_file(sandbox, file);
    if (slot < PARO_SANDBOX_FILES)
        sandbox->files[slot] = NULL;
}

static int open_libraries(lua_State *state)
{
    paro_sandbox_open_libraries(state, *(const bool *)lua_touserdata(state, 1));
    return 0;
}

/* ---- life ---- */

static paro_status fail_limit(paro_error *err, const paro_sandbox *sandbox)
{
    switch (sandbox->limit) {
    case PARO_SANDBOX_LIMIT_WORK:
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "the limit of %llu instructions was reached (an endless loop?)",
                         (unsigned long long)sandbox->n_instructions);
    case PARO_SANDBOX_LIMIT_TIME:
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "the limit of %g seconds of processor time was reached",
                         sandbox->max_seconds);
    case PARO_SANDBOX_LIMIT_MEMORY:
        return paro_fail(err, PARO_STATUS_LIMIT, "the limit of %llu bytes of memory was reached",
                         (unsigned long long)sandbox->memory_bytes);
    case PARO_SANDBOX_LIMIT_STRING:
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "a string grew longer than %d bytes, the most a recipe may have",
                         PARO_SANDBOX_STRING_BYTES);
    case PARO_SANDBOX_LIMIT_DATA:
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "the limit of %llu bytes of memory for tensors was reached",
                         (unsigned long long)sandbox->data_bytes);
    case PARO_SANDBOX_LIMIT_CANCELLED:
        return paro_fail(err, PARO_STATUS_CANCELLED, "recipe: stopped on request");
    case PARO_SANDBOX_LIMIT_SYSTEM:
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "out of memory (the machine's)");
    case PARO_SANDBOX_LIMIT_PANIC:
    case PARO_SANDBOX_LIMIT_NONE:
        break;
    }
    return paro_fail(err, PARO_STATUS_RECIPE, "an error was raised where Lua cannot catch it");
}

static uint64_t limit_of(uint64_t wanted, bool trusted, uint64_t fallback)
{
    if (wanted != 0)
        return wanted;
    return trusted ? INT64_MAX : fallback;
}

paro_status paro_sandbox_new(paro_error *err, const paro_sandbox_options *options,
                             paro_sandbox **out)
{
    static const paro_sandbox_options none = {0};
    if (options == NULL)
        options = &none;
    paro_sandbox *sandbox = calloc(1, sizeof *sandbox);
    if (sandbox == NULL)
        return paro_fail_memory(err, sizeof *sandbox, "a Lua sandbox");
    bool trusted = options->trusted;
    sandbox->trusted = trusted;
    sandbox->memory_bytes = limit_of(options->memory_bytes, trusted, default_memory_bytes);
    sandbox->n_instructions = limit_of(options->n_instructions, trusted, default_n_instructions);
    sandbox->max_seconds = options->seconds != 0 ? options->seconds : PARO_SANDBOX_SECONDS;
    sandbox->data_bytes = limit_of(options->data_bytes, trusted, default_data_bytes);
    sandbox->n_data_collect = PARO_SANDBOX_DATA_COLLECT;
    sandbox->hook_interval =
        sandbox->n_instructions < HOOK_INTERVAL ? (int)sandbox->n_instructions : HOOK_INTERVAL;
    sandbox->observer = options->observer;
    sandbox->print = options->print;
    sandbox->print_context = options->print_context;

    paro_status status = PARO_STATUS_OK;
    bool allow_io = options->allow_io;
    uint64_t limit = sandbox->n_instructions;
    sandbox->state = lua_newstate(paro_sandbox_allocate, sandbox);
    if (sandbox->state == NULL) {
        status = fail_limit(err, sandbox);
        goto done;
    }
    lua_atpanic(sandbox->state, panic);
    lua_sethook(sandbox->state, count_hook, LUA_MASKCOUNT, sandbox->hook_interval);
    sandbox->n_instructions = UINT64_MAX; /* opening the libraries is not the recipe's work */
    status = paro_sandbox_run(err, sandbox, open_libraries, &allow_io);
    sandbox->n_instructions = limit;
    sandbox->work = 0;

done:
    if (status != PARO_STATUS_OK) {
        paro_sandbox_free(sandbox);
        return status;
    }
    *out = sandbox;
    return PARO_STATUS_OK;
}

void paro_sandbox_free(paro_sandbox *sandbox)
{
    if (sandbox == NULL)
        return;
    for (int i = 0; i < PARO_SANDBOX_FILES; i++) {
        if (sandbox->files[i] != NULL)
            fclose(sandbox->files[i]);
    }
    paro_sandbox_free_blocks(sandbox->data);
    paro_sandbox_free_blocks(sandbox->blocks);
    free(sandbox);
}

void paro_sandbox_set_host(paro_sandbox *sandbox, const paro_observer *observer, paro_pool *pool)
{
    sandbox->observer = observer;
    sandbox->pool = pool;
}

const paro_observer *paro_sandbox_host_observer(const paro_sandbox *sandbox)
{
    return sandbox->observer;
}

paro_pool *paro_sandbox_host_pool(const paro_sandbox *sandbox)
{
    return sandbox->pool;
}

void paro_sandbox_renew(paro_sandbox *sandbox)
{
    sandbox->work = 0;
    sandbox->seconds = 0;
}

/* What to say besides where Lua's message is of a global that other Lua programs have. */
static void describe_missing(const char *message, char *out, size_t n_out)
{
    static const char *const names[] = {"os",           "package",      "require", "debug",
                                        "dofile",       "loadfile",     "xpcall",  "collectgarbage",
                                        "setmetatable", "getmetatable", "warn",    "rawget",
                                        "rawset",       "rawequal",     "rawlen"};
    out[0] = '\0';
    if (strstr(message, "nil value (global 'io')") != NULL) {
        snprintf(out, n_out, ": io is there only with --allow-io (paro_recipe_options.allow_io)");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char words[64];
        snprintf(words, sizeof words, "nil value (global '%s')", names[i]);
        if (strstr(message, words) != NULL)
            snprintf(out, n_out, ": %s is not available in recipes, see docs/recipes.md", names[i]);
    }
}

/* The message of the error value on top of the stack; calls nothing that could raise another. */
static paro_status fail_lua(paro_error *err, lua_State *state, int code)
{
    const paro_sandbox *sandbox = paro_sandbox_of(state);
    if (sandbox->stopping)
        return paro_fail(err, PARO_STATUS_CANCELLED, "script: stopped on request");
    if (lua_type(state, -1) == LUA_TSTRING) {
        const char *message = lua_tostring(state, -1);
        char hint[128];
        describe_missing(message, hint, sizeof hint);
        bool memory = code == LUA_ERRMEM || strcmp(message, "not enough memory") == 0;
        paro_status status = memory ? PARO_STATUS_LIMIT : PARO_STATUS_RECIPE;
        if (sandbox->out_of_memory && (memory || strstr(message, "out of memory") != NULL))
            status = PARO_STATUS_OUT_OF_MEMORY;
        return paro_fail(err, status, "%s%s", message, hint);
    }
    if (lua_type(state, -1) == LUA_TNUMBER)
        return paro_fail(err, PARO_STATUS_RECIPE, "error %.14g", (double)lua_tonumber(state, -1));
    return paro_fail(err, PARO_STATUS_RECIPE, "the error is not a message but a %s",
                     luaL_typename(state, -1));
}

paro_status paro_sandbox_run(paro_error *err, paro_sandbox *sandbox, lua_CFunction function,
                             void *context)
{
    if (sandbox->limit != PARO_SANDBOX_LIMIT_NONE)
        return fail_limit(err, sandbox);
    volatile int code = LUA_OK;
    sandbox->started = read_clock(CLOCK_THREAD_CPUTIME_ID);
    sandbox->clock_started = read_clock(CLOCK_MONOTONIC);
    sandbox->reported = sandbox->clock_started;
    if (setjmp(sandbox->escape) == 0) {
        sandbox->running = true;
        lua_pushcfunction(sandbox->state, function);
        lua_pushlightuserdata(sandbox->state, context);
        code = lua_pcall(sandbox->state, 1, 0, 0);
    }
    sandbox->running = false;
    sandbox->seconds += read_clock(CLOCK_THREAD_CPUTIME_ID) - sandbox->started;
    if (sandbox->limit != PARO_SANDBOX_LIMIT_NONE)
        return fail_limit(err, sandbox);
    paro_status status = PARO_STATUS_OK;
    if (code != LUA_OK)
        status = fail_lua(err, sandbox->state, code);
    sandbox->stopping = false;
    sandbox->out_of_memory = false;
    lua_settop(sandbox->state, 0);
    return status;
}

paro_status paro_sandbox_call(paro_error *err, lua_State *state, lua_CFunction function,
                              void *context, int n_results)
{
    if (!lua_checkstack(state, 4 + n_results))
        return paro_fail(err, PARO_STATUS_LIMIT, "Lua's stack overflows");
    int top = lua_gettop(state);
    lua_pushcfunction(state, function);
    lua_pushlightuserdata(state, context);
    int code = lua_pcall(state, 1, n_results, 0);
    if (code == LUA_OK)
        return PARO_STATUS_OK;
    paro_status status = fail_lua(err, state, code);
    lua_settop(state, top);
    return status;
}
