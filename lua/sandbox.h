/* SPDX-License-Identifier: MIT
 *
 * A Lua state for code nobody vouches for: what it can reach, and how much memory and work it may
 * use, is bounded. docs/recipes.md has the user's view.
 */
#ifndef PARO_LUA_SANDBOX_H
#define PARO_LUA_SANDBOX_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <paro/observer.h>
#include <paro/script.h>

#include "base/error.h"
#include "base/thread.h"

enum {
    PARO_SANDBOX_STRING_BYTES = 1 << 20, /* the longest string */
    PARO_SANDBOX_SECONDS = 60,           /* processor time of one sandbox; a net, see sandbox.c */
    PARO_SANDBOX_INTERVAL = 1000,        /* instructions between two looks at the limits */
    PARO_SANDBOX_FILES = 64              /* open at a time, with allow_io */
};

typedef struct paro_sandbox_options {
    bool allow_io;
    /* The code is the user's own program: it may use any number of instructions, any time and
     * strings of any length, and 0 stands for no limit below. Memory that is not there, and a
     * request to stop, are Lua errors: functions that "do not return" raise one, and the sandbox
     * lives on. Nothing runs for long after a request to stop: pcall does not catch it. */
    bool trusted;
    uint64_t memory_bytes;         /* 0: 256 MiB */
    uint64_t n_instructions;       /* 0: 1e9 */
    uint64_t data_bytes;           /* of paro_sandbox_data_alloc; 0: 4 GiB */
    double seconds;                /* of processor time; 0: PARO_SANDBOX_SECONDS */
    const paro_observer *observer; /* may be NULL; see also below */
    /* Where `print` goes; NULL: to the observer's log. */
    paro_print_fn *print;
    void *print_context;
} paro_sandbox_options;

typedef struct paro_sandbox paro_sandbox;

/* `options` may be NULL. */
paro_status paro_sandbox_new(paro_error *err, const paro_sandbox_options *options,
                             paro_sandbox **out);
void paro_sandbox_free(paro_sandbox *sandbox);

/* Calls function(L) with `context` as a light userdata at index 1, protected and under the limits;
 * the only way to touch the state. What it leaves on the stack is dropped. An error it raises is
 * PARO_STATUS_RECIPE with its message; a limit is PARO_STATUS_LIMIT, and the sandbox is then dead:
 * every later call fails. About every 0.1 s the observer's progress is called, with the stage
 * "recipe" and 0 of 0 (how long the code will run is not known); where it asks to stop that is
 * PARO_STATUS_CANCELLED, otherwise like a limit. `function` may be left at any Lua call by a
 * longjmp: what it allocates must belong to `context`. Not re-entrant. */
paro_status paro_sandbox_run(paro_error *err, paro_sandbox *sandbox, lua_CFunction function,
                             void *context);

/* For C functions called by Lua in a trusted sandbox, whose thread `state` is: calls function(L) as
 * paro_sandbox_run does, while that runs, and on success pushes as many results. */
paro_status paro_sandbox_call(paro_error *err, lua_State *state, lua_CFunction function,
                              void *context, int n_results);

/* The sandbox of a state. */
paro_sandbox *paro_sandbox_of(lua_State *state);

/* From now on the observer is this one, and paro_sandbox_pool gives the pool (both
 * may be NULL). At first: the options' observer, and no pool. */
void paro_sandbox_set_host(paro_sandbox *sandbox, const paro_observer *observer, paro_pool *pool);
const paro_observer *paro_sandbox_host_observer(const paro_sandbox *sandbox);
paro_pool *paro_sandbox_host_pool(const paro_sandbox *sandbox);

/* Between runs: instructions and processor time are counted from 0 again. A dead sandbox stays
 * dead. */
void paro_sandbox_renew(paro_sandbox *sandbox);

/* ---- for the functions that Lua calls ---- */

/* Counts work as if so many instructions had run. Does not return when that reaches the limit, or
 * when the observer asks to stop. */
void paro_sandbox_charge(lua_State *state, uint64_t n_instructions);

/* What runs between these two (nothing that calls Lua, nothing that leaves) does not count as
 * processor time: it is our own and ends by itself. */
void paro_sandbox_enter_stage(lua_State *state);
void paro_sandbox_leave_stage(lua_State *state);

/* Does not return: a failure of the floors below. Where they were stopped or had no memory it ends
 * the run, like a limit; anything else is a Lua error with the message. */
int paro_sandbox_fail(lua_State *state, const paro_error *err);

/* Memory for numbers, outside the state's own and with a limit of its own: aligned for anything,
 * not initialised. Before the limit is final, and now and then, what nothing refers to is
 * collected: the caller must hold what it has where Lua sees it. All of it is freed with the
 * sandbox, whatever happens. Does not return where there is none. */
void *paro_sandbox_data_alloc(lua_State *state, uint64_t n_bytes);
void paro_sandbox_data_free(lua_State *state, void *data); /* NULL is fine */
uint64_t paro_sandbox_data_bytes(lua_State *state);        /* in use */

paro_pool *paro_sandbox_pool(lua_State *state); /* may be NULL */

/* For memory outside the state that could not be had: ends the run with PARO_STATUS_OUT_OF_MEMORY;
 * the sandbox is then dead. */
void paro_sandbox_out_of_memory(lua_State *state);

const paro_observer *paro_sandbox_observer(lua_State *state);

/* `print` goes to the log, not to a function of the host's. */
bool paro_sandbox_prints_to_log(lua_State *state);

/* Hands text to the host's function; does not return where that fails. */
void paro_sandbox_print(lua_State *state, const char *text, size_t n_bytes);

/* For what catches errors: does not return where the error on top of the stack must not be caught.
 */
void paro_sandbox_let_pass(lua_State *state);

/* Files that are closed with the sandbox, at most PARO_SANDBOX_FILES: false where that many are
 * listed; add where there is room; drop when one is closed. */
bool paro_sandbox_has_room_for_file(lua_State *state);
void paro_sandbox_add_file(lua_State *state, FILE *file);
void paro_sandbox_drop_file(lua_State *state, const FILE *file);

/* libraries.c: opens what sandboxed code can call. */
void paro_sandbox_open_libraries(lua_State *state, bool allow_io);

/* strings.c: string.find, match, gmatch and gsub that count their steps, put into the table on top
 * of the stack. */
void paro_sandbox_open_patterns(lua_State *state);

/* problem.c: the function `problem` of recipes. */
int paro_sandbox_problem(lua_State *state);

/* tensor.c: the table `tensor` of recipes. */
int paro_sandbox_open_tensor(lua_State *state);

#endif
