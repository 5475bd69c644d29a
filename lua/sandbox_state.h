/* SPDX-License-Identifier: MIT
 *
 * The inside of a sandbox; its invariants stand in sandbox.c.
 */
#ifndef PARO_LUA_SANDBOX_STATE_H
#define PARO_LUA_SANDBOX_STATE_H

#include <setjmp.h>
#include <stddef.h>

#include "lua/sandbox.h"

enum {
    PARO_SANDBOX_WORK_BYTES = 16,
    PARO_SANDBOX_DATA_COLLECT = 256 << 20 /* data that grows before the first collection for it */
};

typedef enum paro_sandbox_limit {
    PARO_SANDBOX_LIMIT_NONE,
    PARO_SANDBOX_LIMIT_WORK,
    PARO_SANDBOX_LIMIT_TIME,
    PARO_SANDBOX_LIMIT_MEMORY,
    PARO_SANDBOX_LIMIT_STRING,
    PARO_SANDBOX_LIMIT_DATA,
    PARO_SANDBOX_LIMIT_CANCELLED, /* the observer asked to stop */
    PARO_SANDBOX_LIMIT_SYSTEM,    /* malloc failed */
    PARO_SANDBOX_LIMIT_PANIC      /* a Lua error outside a protected call: a bug of ours */
} paro_sandbox_limit;

typedef union paro_sandbox_block {
    struct {
        union paro_sandbox_block *prev;
        union paro_sandbox_block *next;
        size_t n_bytes;
    } head;
    max_align_t align;
} paro_sandbox_block;

struct paro_sandbox {
    lua_State *state;
    jmp_buf escape;
    bool running;
    bool trusted;
    bool out_of_memory;       /* trusted: the machine's, in this run; an error may say so */
    bool stopping;            /* the observer asked to stop the run */
    paro_sandbox_limit limit; /* not NONE: dead */
    paro_sandbox_block *blocks;
    uint64_t memory_bytes;
    uint64_t n_used_bytes;
    bool refused; /* the last request for more was refused */
    unsigned n_refused;
    paro_sandbox_block *data;
    uint64_t data_bytes;
    uint64_t n_data_bytes;
    uint64_t n_data_collect; /* in use when the next collection is due */
    uint64_t n_instructions;
    uint64_t work;
    int hook_interval;
    unsigned n_allocations;
    unsigned n_charges;
    double max_seconds;
    double seconds;       /* processor time of finished runs */
    double started;       /* processor time at the start of this run */
    double clock_started; /* wall clock likewise */
    double reported;      /* wall clock when the observer was last asked */
    double stage_started; /* processor time when a stage was entered */
    double stage_clock_started;
    const paro_observer *observer;
    paro_pool *pool; /* not owned; may be NULL */
    paro_print_fn *print;
    void *print_context;
    FILE *files[PARO_SANDBOX_FILES];
};

/* sandbox.c: leaves the run for good. */
void paro_sandbox_escape(paro_sandbox *sandbox, paro_sandbox_limit limit);

/* sandbox.c: adds to the work that was done. */
void paro_sandbox_count(paro_sandbox *sandbox, uint64_t work);

/* sandbox.c: asks the observer, now and then, and looks at the limit of time. */
void paro_sandbox_check_time(paro_sandbox *sandbox);

/* sandbox_memory.c: the state's allocator (lua_Alloc); the end of all that is on a list. */
void *paro_sandbox_allocate(void *context, void *data, size_t old_bytes, size_t n_bytes);
void paro_sandbox_free_blocks(paro_sandbox_block *list);

#endif
