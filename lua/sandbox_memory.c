/* SPDX-License-Identifier: MIT
 *
 * Memory of a sandbox: the state's own, and what tensors hold. See sandbox.c for the invariants.
 */
#include <lauxlib.h>
#include <stdlib.h>

#include "lua/sandbox_state.h"

enum { ALLOCATIONS_PER_CLOCK = 4096, MAX_REFUSALS = 64 };

/* Lua answers the first refusal with a full collection and asks once more; a second one in a row
 * is final, as is one that no collection could help. (Library buffers raise an error without asking
 * again, hence the count.) */
static void *refuse(paro_sandbox *sandbox, paro_sandbox_limit limit, bool is_hopeless)
{
    if (!sandbox->running) {
        sandbox->limit = limit;
        return NULL;
    }
    if (sandbox->trusted) {
        sandbox->out_of_memory = limit == PARO_SANDBOX_LIMIT_SYSTEM;
        return NULL; /* Lua collects, asks once more, and raises an error */
    }
    if (sandbox->refused || is_hopeless || ++sandbox->n_refused > MAX_REFUSALS)
        paro_sandbox_escape(sandbox, limit);
    sandbox->refused = true;
    paro_sandbox_count(sandbox,
                       sandbox->n_used_bytes / PARO_SANDBOX_WORK_BYTES); /* for the collection */
    return NULL;
}

static void unlink_block(paro_sandbox_block **list, paro_sandbox_block *block)
{
    if (block->head.prev != NULL)
        block->head.prev->head.next = block->head.next;
    else
        *list = block->head.next;
    if (block->head.next != NULL)
        block->head.next->head.prev = block->head.prev;
}

static void link_block(paro_sandbox_block **list, paro_sandbox_block *block)
{
    block->head.prev = NULL;
    block->head.next = *list;
    if (*list != NULL)
        (*list)->head.prev = block;
    *list = block;
}

void paro_sandbox_free_blocks(paro_sandbox_block *list)
{
    while (list != NULL) {
        paro_sandbox_block *block = list;
        list = block->head.next;
        free(block);
    }
}

/* lua_Alloc: where `data` is NULL, old_bytes is the type of what is being made. */
void *paro_sandbox_allocate(void *context, void *data, size_t old_bytes, size_t n_bytes)
{
    paro_sandbox *sandbox = context;
    paro_sandbox_block *block = data != NULL ? (paro_sandbox_block *)data - 1 : NULL;
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
        return refuse(sandbox, PARO_SANDBOX_LIMIT_MEMORY, true);
    size_t wanted = n_bytes + sizeof *block;
    if (wanted > had) {
        if (!sandbox->trusted && data == NULL && old_bytes == LUA_TSTRING &&
            n_bytes > PARO_SANDBOX_STRING_BYTES + 64)
            return refuse(sandbox, PARO_SANDBOX_LIMIT_STRING, true);
        if (wanted - had > sandbox->memory_bytes - sandbox->n_used_bytes)
            return refuse(sandbox, PARO_SANDBOX_LIMIT_MEMORY, wanted > sandbox->memory_bytes);
        if (sandbox->running && !sandbox->trusted) {
            paro_sandbox_count(sandbox, wanted / PARO_SANDBOX_WORK_BYTES);
            if (++sandbox->n_allocations % ALLOCATIONS_PER_CLOCK == 0)
                paro_sandbox_check_time(sandbox);
        }
    }
    if (block != NULL)
        unlink_block(&sandbox->blocks, block);
    paro_sandbox_block *moved = realloc(block, wanted);
    if (moved == NULL) {
        if (block != NULL)
            link_block(&sandbox->blocks, block);
        if (wanted <= had)
            return data; /* Lua takes for granted that shrinking works */
        return refuse(sandbox, PARO_SANDBOX_LIMIT_SYSTEM, false);
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
    paro_sandbox_count(sandbox, sandbox->n_used_bytes / PARO_SANDBOX_WORK_BYTES);
    lua_gc(state, LUA_GCCOLLECT);
    uint64_t n_kept = sandbox->n_data_bytes;
    sandbox->n_data_collect =
        n_kept < PARO_SANDBOX_DATA_COLLECT / 2 ? PARO_SANDBOX_DATA_COLLECT : 2 * n_kept;
}

/* Does not return: there is no memory for numbers. */
static void fail_data(lua_State *state, paro_sandbox_limit limit)
{
    paro_sandbox *sandbox = paro_sandbox_of(state);
    if (!sandbox->trusted)
        paro_sandbox_escape(sandbox, limit);
    if (limit == PARO_SANDBOX_LIMIT_SYSTEM)
        paro_sandbox_out_of_memory(state);
    luaL_error(state, "the limit of %I bytes of memory for tensors was reached",
               (lua_Integer)sandbox->data_bytes);
}

void *paro_sandbox_data_alloc(lua_State *state, uint64_t n_bytes)
{
    paro_sandbox *sandbox = paro_sandbox_of(state);
    paro_sandbox_block *block = NULL;
    if (n_bytes > sandbox->data_bytes - sizeof *block || n_bytes > PTRDIFF_MAX - sizeof *block)
        fail_data(state, PARO_SANDBOX_LIMIT_DATA);
    uint64_t wanted = n_bytes + sizeof *block;
    if (sandbox->n_data_bytes + wanted > sandbox->n_data_collect ||
        wanted > sandbox->data_bytes - sandbox->n_data_bytes)
        collect_data(sandbox, state);
    if (wanted > sandbox->data_bytes - sandbox->n_data_bytes)
        fail_data(state, PARO_SANDBOX_LIMIT_DATA);
    block = malloc(wanted);
    if (block == NULL)
        fail_data(state, PARO_SANDBOX_LIMIT_SYSTEM);
    block->head.n_bytes = wanted;
    sandbox->n_data_bytes += wanted;
    link_block(&sandbox->data, block);
    return block + 1;
}

void paro_sandbox_data_free(lua_State *state, void *data)
{
    paro_sandbox *sandbox = paro_sandbox_of(state);
    if (data == NULL)
        return;
    paro_sandbox_block *block = (paro_sandbox_block *)data - 1;
    unlink_block(&sandbox->data, block);
    sandbox->n_data_bytes -= block->head.n_bytes;
    free(block);
}

uint64_t paro_sandbox_data_bytes(lua_State *state)
{
    return paro_sandbox_of(state)->n_data_bytes;
}
