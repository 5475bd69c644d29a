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
 *    why, and nothing calls into it again.
 * 4. The state is never closed, its blocks are freed: no finaliser runs at the end.
 * 5. `work` only grows: one for each VM instruction (in steps of `hook_interval`), one for every
 *    WORK_BYTES that are allocated, and what C functions charge for loops the hook cannot
 * interrupt.
 *
 * A new coroutine inherits the hook, with a fresh interval, so making one is charged an interval.
 * Some single instructions cost more than constant time (comparing strings, traversing a table
 * of which most was removed). The bound on string length and on memory bounds each; the processor
 * time checked in the hook and in the allocator bounds their sum.
 */
#include "lua/sandbox.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

enum {
    HOOK_INTERVAL = PARO_SANDBOX_INTERVAL,
    WORK_BYTES = 16,
    ALLOCATIONS_PER_CLOCK = 4096,
    CHARGES_PER_CLOCK = 1 << 14,
    MAX_REFUSALS = 64,
    DATA_COLLECT_BYTES = 256 << 20 /* data that is let grow before the first collection for it */
};

static const double report_seconds = 0.1; /* between two questions to the observer */
static const uint64_t default_memory_bytes = (uint64_t)256 << 20;
static const uint64_t default_n_instructions = 1000000000;
static const uint64_t default_data_bytes = (uint64_t)4 << 30;

typedef enum sandbox_limit {
    SANDBOX_LIMIT_NONE,
    SANDBOX_LIMIT_WORK,
    SANDBOX_LIMIT_TIME,
    SANDBOX_LIMIT_MEMORY,
    SANDBOX_LIMIT_STRING,
    SANDBOX_LIMIT_DATA,
    SANDBOX_LIMIT_CANCELLED, /* the observer asked to stop */
    SANDBOX_LIMIT_SYSTEM,    /* malloc failed */
    SANDBOX_LIMIT_PANIC      /* a Lua error outside a protected call: a bug of ours */
} sandbox_limit;

typedef union memory_block {
    struct {
        union memory_block *prev;
        union memory_block *next;
        size_t n_bytes;
    } head;
    max_align_t align;
} memory_block;

struct paro_sandbox {
    lua_State *state;
    jmp_buf escape;
    bool running;
    sandbox_limit limit; /* not NONE: dead */
    memory_block *blocks;
    uint64_t memory_bytes;
    uint64_t n_used_bytes;
    bool refused; /* the last request for more was refused */
    unsigned n_refused;
    memory_block *data;
    uint64_t data_bytes;
    uint64_t n_data_bytes;
    uint64_t n_data_collect; /* in use when the next collection is due */
    uint64_t n_instructions;
    uint64_t work;
    int hook_interval;
    unsigned n_allocations;
    unsigned n_charges;
    double seconds;       /* processor time of finished runs */
    double started;       /* processor time at the start of this run */
    double clock_started; /* wall clock likewise */
    double reported;      /* wall clock when the observer was last asked */
    double stage_started; /* processor time when a stage was entered */
    double stage_clock_started;
    const paro_observer *observer;
    paro_pool *pool; /* not owned; may be NULL */
    FILE *files[PARO_SANDBOX_FILES];
};

static double read_clock(clockid_t id)
{
    struct timespec now = {0};
    clock_gettime(id, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static paro_sandbox *sandbox_of(lua_State *state)
{
    void *sandbox = NULL;
    lua_getallocf(state, &sandbox);
    return sandbox;
}

static void escape(paro_sandbox *sandbox, sandbox_limit limit)
{
    sandbox->limit = limit;
    longjmp(sandbox->escape, 1);
}

static void charge(paro_sandbox *sandbox, uint64_t work)
{
    if (work > sandbox->n_instructions - sandbox->work)
        escape(sandbox, SANDBOX_LIMIT_WORK);
    sandbox->work += work;
}

/* The wall clock is cheap to read and never behind the processor time of one thread. */
static void check_time(paro_sandbox *sandbox)
{
    double now = read_clock(CLOCK_MONOTONIC);
    if (now - sandbox->reported >= report_seconds) {
        sandbox->reported = now;
        if (paro_report(NULL, sandbox->observer, "recipe", 0, 0) != PARO_STATUS_OK)
            escape(sandbox, SANDBOX_LIMIT_CANCELLED);
    }
    double wall = now - sandbox->clock_started;
    if (sandbox->seconds + wall < PARO_SANDBOX_SECONDS)
        return;
    double cpu = read_clock(CLOCK_THREAD_CPUTIME_ID) - sandbox->started;
    if (sandbox->seconds + cpu > PARO_SANDBOX_SECONDS)
        escape(sandbox, SANDBOX_LIMIT_TIME);
}

void paro_sandbox_charge(lua_State *state, uint64_t n_instructions)
{
    paro_sandbox *sandbox = sandbox_of(state);
    charge(sandbox, n_instructions);
    if (n_instructions >= HOOK_INTERVAL || ++sandbox->n_charges % CHARGES_PER_CLOCK == 0)
        check_time(sandbox);
}

void paro_sandbox_enter_stage(lua_State *state)
{
    paro_sandbox *sandbox = sandbox_of(state);
    sandbox->stage_started = read_clock(CLOCK_THREAD_CPUTIME_ID);
    sandbox->stage_clock_started = read_clock(CLOCK_MONOTONIC);
}

void paro_sandbox_leave_stage(lua_State *state)
{
    paro_sandbox *sandbox = sandbox_of(state);
    sandbox->started += read_clock(CLOCK_THREAD_CPUTIME_ID) - sandbox->stage_started;
    sandbox->clock_started += read_clock(CLOCK_MONOTONIC) - sandbox->stage_clock_started;
}

void paro_sandbox_out_of_memory(lua_State *state)
{
    escape(sandbox_of(state), SANDBOX_LIMIT_SYSTEM);
}

int paro_sandbox_fail(lua_State *state, const paro_error *err)
{
    if (err->status == PARO_STATUS_CANCELLED)
        escape(sandbox_of(state), SANDBOX_LIMIT_CANCELLED);
    if (err->status == PARO_STATUS_OUT_OF_MEMORY)
        escape(sandbox_of(state), SANDBOX_LIMIT_SYSTEM);
    return luaL_error(state, "%s", err->message);
}

static void count_hook(lua_State *state, lua_Debug *debug)
{
    (void)debug;
    paro_sandbox *sandbox = sandbox_of(state);
    charge(sandbox, (uint64_t)sandbox->hook_interval);
    check_time(sandbox);
}

/* Lua answers the first refusal with a full collection and asks once more; a second one in a row
 * is final, as is one that no collection could help. (Library buffers raise an error without asking
 * again, hence the count.) */
static void *refuse(paro_sandbox *sandbox, sandbox_limit limit, bool is_hopeless)
{
    if (!sandbox->running) {
        sandbox->limit = limit;
        return NULL;
    }
    if (sandbox->refused || is_hopeless || ++sandbox->n_refused > MAX_REFUSALS)
        escape(sandbox, limit);
    sandbox->refused = true;
    charge(sandbox, sandbox->n_used_bytes / WORK_BYTES); /* for the collection */
    return NULL;
}

static void unlink_block(memory_block **list, memory_block *block)
{
    if (block->head.prev != NULL)
        block->head.prev->head.next = block->head.next;
    else
        *list = block->head.next;
    if (block->head.next != NULL)
        block->head.next->head.prev = block->head.prev;
}

static void link_block(memory_block **list, memory_block *block)
{
    block->head.prev = NULL;
    block->head.next = *list;
    if (*list != NULL)
        (*list)->head.prev = block;
    *list = block;
}

static void free_blocks(memory_block *list)
{
    while (list != NULL) {
        memory_block *block = list;
        list = block->head.next;
        free(block);
    }
}

/* lua_Alloc: where `data` is NULL, old_bytes is the type of what is being made. */
static void *allocate(void *context, void *data, size_t old_bytes, size_t n_bytes)
{
    paro_sandbox *sandbox = context;
    memory_block *block = data != NULL ? (memory_block *)data - 1 : NULL;
    size_t had = block != NULL ? block->head.n_bytes : 0;
    if (n_bytes == 0) {
        if (block != NULL) {
            unlink_block(&sandbox->blocks, block);
            sandbox->n_used_bytes -= had;
            free(block);
        }
        return NULL;
    }
    if (n_bytes > PTRDIFF_MAX - sizeof *block)
        return refuse(sandbox, SANDBOX_LIMIT_MEMORY, true);
    size_t wanted = n_bytes + sizeof *block;
    if (wanted > had) {
        if (data == NULL && old_bytes == LUA_TSTRING && n_bytes > PARO_SANDBOX_STRING_BYTES + 64)
            return refuse(sandbox, SANDBOX_LIMIT_STRING, true);
        if (wanted - had > sandbox->memory_bytes - sandbox->n_used_bytes)
            return refuse(sandbox, SANDBOX_LIMIT_MEMORY, wanted > sandbox->memory_bytes);
        if (sandbox->running) {
            charge(sandbox, wanted / WORK_BYTES);
            if (++sandbox->n_allocations % ALLOCATIONS_PER_CLOCK == 0)
                check_time(sandbox);
        }
    }
    if (block != NULL)
        unlink_block(&sandbox->blocks, block);
    memory_block *moved = realloc(block, wanted);
    if (moved == NULL) {
        if (block != NULL)
            link_block(&sandbox->blocks, block);
        if (wanted <= had)
            return data; /* Lua takes for granted that shrinking works */
        return refuse(sandbox, SANDBOX_LIMIT_SYSTEM, false);
    }
    if (wanted > had)
        sandbox->refused = false;
    moved->head.n_bytes = wanted;
    sandbox->n_used_bytes += wanted;
    sandbox->n_used_bytes -= had;
    link_block(&sandbox->blocks, moved);
    return moved + 1;
}

static void collect_data(paro_sandbox *sandbox, lua_State *state)
{
    charge(sandbox, sandbox->n_used_bytes / WORK_BYTES);
    lua_gc(state, LUA_GCCOLLECT);
    uint64_t n_kept = sandbox->n_data_bytes;
    sandbox->n_data_collect = n_kept < DATA_COLLECT_BYTES / 2 ? DATA_COLLECT_BYTES : 2 * n_kept;
}

void *paro_sandbox_data_alloc(lua_State *state, uint64_t n_bytes)
{
    paro_sandbox *sandbox = sandbox_of(state);
    memory_block *block = NULL;
    if (n_bytes > sandbox->data_bytes - sizeof *block || n_bytes > PTRDIFF_MAX - sizeof *block)
        escape(sandbox, SANDBOX_LIMIT_DATA);
    uint64_t wanted = n_bytes + sizeof *block;
    if (sandbox->n_data_bytes + wanted > sandbox->n_data_collect ||
        wanted > sandbox->data_bytes - sandbox->n_data_bytes)
        collect_data(sandbox, state);
    if (wanted > sandbox->data_bytes - sandbox->n_data_bytes)
        escape(sandbox, SANDBOX_LIMIT_DATA);
    block = malloc(wanted);
    if (block == NULL)
        escape(sandbox, SANDBOX_LIMIT_SYSTEM);
    block->head.n_bytes = wanted;
    sandbox->n_data_bytes += wanted;
    link_block(&sandbox->data, block);
    return block + 1;
}

void paro_sandbox_data_free(lua_State *state, void *data)
{
    paro_sandbox *sandbox = sandbox_of(state);
    if (data == NULL)
        return;
    memory_block *block = (memory_block *)data - 1;
    unlink_block(&sandbox->data, block);
    sandbox->n_data_bytes -= block->head.n_bytes;
    free(block);
}

uint64_t paro_sandbox_data_bytes(lua_State *state)
{
    return sandbox_of(state)->n_data_bytes;
}

static int panic(lua_State *state)
{
    paro_sandbox *sandbox = sandbox_of(state);
    if (sandbox->running)
        escape(sandbox, SANDBOX_LIMIT_PANIC);
    return 0;
}

const paro_observer *paro_sandbox_observer(lua_State *state)
{
    return sandbox_of(state)->observer;
}

paro_pool *paro_sandbox_pool(lua_State *state)
{
    return sandbox_of(state)->pool;
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
    paro_sandbox *sandbox = sandbox_of(state);
    if (find_file(sandbox, NULL) < PARO_SANDBOX_FILES)
        return true;
    charge(sandbox, sandbox->n_used_bytes / WORK_BYTES);
    lua_gc(state, LUA_GCCOLLECT); /* closes files that nothing refers to */
    return find_file(sandbox, NULL) < PARO_SANDBOX_FILES;
}

void paro_sandbox_add_file(lua_State *state, FILE *file)
{
    paro_sandbox *sandbox = sandbox_of(state);
    sandbox->files[find_file(sandbox, NULL)] = file;
}

void paro_sandbox_drop_file(lua_State *state, const FILE *file)
{
    paro_sandbox *sandbox = sandbox_of(state);
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
    case SANDBOX_LIMIT_WORK:
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "the limit of %llu instructions was reached (an endless loop?)",
                         (unsigned long long)sandbox->n_instructions);
    case SANDBOX_LIMIT_TIME:
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "the limit of %d seconds of processor time was reached",
                         PARO_SANDBOX_SECONDS);
    case SANDBOX_LIMIT_MEMORY:
        return paro_fail(err, PARO_STATUS_LIMIT, "the limit of %llu bytes of memory was reached",
                         (unsigned long long)sandbox->memory_bytes);
    case SANDBOX_LIMIT_STRING:
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "a string grew longer than %d bytes, the most a recipe may have",
                         PARO_SANDBOX_STRING_BYTES);
    case SANDBOX_LIMIT_DATA:
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "the limit of %llu bytes of memory for tensors was reached",
                         (unsigned long long)sandbox->data_bytes);
    case SANDBOX_LIMIT_CANCELLED:
        return paro_fail(err, PARO_STATUS_CANCELLED, "recipe: stopped on request");
    case SANDBOX_LIMIT_SYSTEM:
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "out of memory (the machine's)");
    case SANDBOX_LIMIT_PANIC:
    case SANDBOX_LIMIT_NONE:
        break;
    }
    return paro_fail(err, PARO_STATUS_RECIPE, "an error was raised where Lua cannot catch it");
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
    sandbox->memory_bytes =
        options->memory_bytes != 0 ? options->memory_bytes : default_memory_bytes;
    sandbox->n_instructions =
        options->n_instructions != 0 ? options->n_instructions : default_n_instructions;
    sandbox->data_bytes = options->data_bytes != 0 ? options->data_bytes : default_data_bytes;
    sandbox->n_data_collect = DATA_COLLECT_BYTES;
    sandbox->hook_interval =
        sandbox->n_instructions < HOOK_INTERVAL ? (int)sandbox->n_instructions : HOOK_INTERVAL;
    sandbox->observer = options->observer;

    paro_status status = PARO_STATUS_OK;
    bool allow_io = options->allow_io;
    uint64_t limit = sandbox->n_instructions;
    sandbox->state = lua_newstate(allocate, sandbox);
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
    free_blocks(sandbox->data);
    free_blocks(sandbox->blocks);
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
    if (lua_type(state, -1) == LUA_TSTRING) {
        const char *message = lua_tostring(state, -1);
        char hint[128];
        describe_missing(message, hint, sizeof hint);
        bool memory = code == LUA_ERRMEM || strcmp(message, "not enough memory") == 0;
        return paro_fail(err, memory ? PARO_STATUS_LIMIT : PARO_STATUS_RECIPE, "%s%s", message,
                         hint);
    }
    if (lua_type(state, -1) == LUA_TNUMBER)
        return paro_fail(err, PARO_STATUS_RECIPE, "error %.14g", (double)lua_tonumber(state, -1));
    return paro_fail(err, PARO_STATUS_RECIPE, "the error is not a message but a %s",
                     luaL_typename(state, -1));
}

paro_status paro_sandbox_run(paro_error *err, paro_sandbox *sandbox, lua_CFunction function,
                             void *context)
{
    if (sandbox->limit != SANDBOX_LIMIT_NONE)
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
    if (sandbox->limit != SANDBOX_LIMIT_NONE)
        return fail_limit(err, sandbox);
    paro_status status = PARO_STATUS_OK;
    if (code != LUA_OK)
        status = fail_lua(err, sandbox->state, code);
    lua_settop(sandbox->state, 0);
    return status;
}
