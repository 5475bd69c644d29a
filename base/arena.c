/* SPDX-License-Identifier: MIT
 *
 * Memory that is released all at once: a list of blocks, each filled from its start.
 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGNMENT = 16, ARENA_BLOCK_BYTES = 64 * 1024 };

struct paro_arena_block {
    paro_arena_block *next;
    size_t n_used;
    size_t capacity;
    _Alignas(ARENA_ALIGNMENT) unsigned char data[];
};

void *paro_arena_alloc(paro_arena *arena, size_t n_bytes)
{
    if (n_bytes > SIZE_MAX / 2)
        return NULL;
    n_bytes = (n_bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (n_bytes == 0)
        n_bytes = ARENA_ALIGNMENT;
    paro_arena_block *block = arena->head;
    if (block == NULL || block->capacity - block->n_used < n_bytes) {
        size_t capacity = n_bytes > ARENA_BLOCK_BYTES ? n_bytes : ARENA_BLOCK_BYTES;
        block = calloc(1, sizeof *block + capacity);
        if (block == NULL)
            return NULL;
        block->capacity = capacity;
        block->next = arena->head;
        arena->head = block;
    }
    void *data = block->data + block->n_used;
    block->n_used += n_bytes;
    return data;
}

void *paro_arena_array(paro_arena *arena, size_t count, size_t item_bytes)
{
    if (item_bytes != 0 && count > SIZE_MAX / item_bytes)
        return NULL;
    return paro_arena_alloc(arena, count * item_bytes);
}

char *paro_arena_strndup(paro_arena *arena, const char *text, size_t n_bytes)
{
    if (n_bytes == SIZE_MAX)
        return NULL;
    char *copy = paro_arena_alloc(arena, n_bytes + 1);
    if (copy != NULL)
        memcpy(copy, text, n_bytes);
    return copy;
}

char *paro_arena_strdup(paro_arena *arena, const char *text)
{
    return paro_arena_strndup(arena, text, strlen(text));
}

char *paro_arena_printf(paro_arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        return NULL;
    char *text = paro_arena_alloc(arena, (size_t)n + 1);
    if (text == NULL)
        return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
    return text;
}

void paro_arena_release(paro_arena *arena)
{
    paro_arena_block *block = arena->head;
    while (block != NULL) {
        paro_arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->head = NULL;
}
