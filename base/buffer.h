/* SPDX-License-Identifier: MIT
 *
 * A growing run of bytes.
 */
#ifndef PARO_BASE_BUFFER_H
#define PARO_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Zero-initialised is empty and ready. data is zero-terminated once anything was appended; the
 * terminator is not counted in n_bytes. */
typedef struct paro_buffer {
    char *data;
    size_t n_bytes;
    size_t capacity;
} paro_buffer;

/* All return false when out of memory, with the buffer as it was. */
bool paro_buffer_reserve(paro_buffer *buffer, size_t n_more_bytes);
bool paro_buffer_append(paro_buffer *buffer, const void *data, size_t n_bytes);
bool paro_buffer_append_text(paro_buffer *buffer, const char *text);
bool paro_buffer_printf(paro_buffer *buffer, const char *format, ...) PARO_PRINTF(2, 3);

void paro_buffer_clear(paro_buffer *buffer); /* keeps the memory */
void paro_buffer_free(paro_buffer *buffer);  /* NULL is fine; the buffer is then empty and ready */

/* Hands the memory to the caller (to free with free()) and leaves the buffer empty. Never NULL for
 * a buffer that something was appended to or reserved for. */
char *paro_buffer_take(paro_buffer *buffer);

#endif
