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

#include "base/error.h"

enum {
    PARO_SANDBOX_STRING_BYTES = 1 << 20, /* the longest string */
    PARO_SANDBOX_SECONDS = 60,           /* processor time of one sandbox; a net, see sandbox.c */
    PARO_SANDBOX_INTERVAL = 1000,        /* instructions between two looks at the limits */
    PARO_SANDBOX_FILES = 64              /* open at a time, with allow_io */
};

typedef struct paro_sandbox_options {
    bool allow_io;
    uint64_t memory_bytes;         /* 0: 256 MiB */
    uint64_t n_instructions;       /* 0: 1e9 */
    const paro_observer *observer; /* `print` goes to its log; may be NULL; see also below */
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

/* ---- for the functions that Lua calls ---- */

/* Counts work as if so many instructions had run. Does not return when that reaches the limit. */
void paro_sandbox_charge(lua_State *state, uint64_t n_instructions);

/* For memory outside the state that could not be had: ends the run with PARO_STATUS_OUT_OF_MEMORY;
 * the sandbox is then dead. */
void paro_sandbox_out_of_memory(lua_State *state);

const paro_observer *paro_sandbox_observer(lua_State *state);

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

#endif
