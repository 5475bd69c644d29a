/* SPDX-License-Identifier: MIT
 *
 * Memory that is released all at once.
 */
#ifndef PARO_BASE_ARENA_H
#define PARO_BASE_ARENA_H

#include <stddef.h>

#include "base/error.h"

typedef struct paro_arena_block paro_arena_block;

/* Zero-initialised is empty and ready. Not to be copied once used. */
typedef struct paro_arena {
    paro_arena_block *head;
} paro_arena;

/* Zeroed memory, aligned to 16 bytes, valid until paro_arena_release; NULL when out of memory.
 * n_bytes 0 gives a valid pointer. */
void *paro_arena_alloc(paro_arena *arena, size_t n_bytes);

/* count * item_bytes with an overflow check. */
void *paro_arena_array(paro_arena *arena, size_t count, size_t item_bytes);

/* Copies; zero-terminated; NULL when out of memory. */
char *paro_arena_strdup(paro_arena *arena, const char *text);
char *paro_arena_strndup(paro_arena *arena, const char *text, size_t n_bytes);
char *paro_arena_printf(paro_arena *arena, const char *format, ...) PARO_PRINTF(2, 3);

/* Frees everything; the arena is then empty and ready. */
void paro_arena_release(paro_arena *arena);

#endif
