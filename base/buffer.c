/* SPDX-License-Identifier: MIT
 *
 * A growing run of bytes, always followed by a zero.
 */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool paro_buffer_reserve(paro_buffer *buffer, size_t n_more_bytes)
{
    if (n_more_bytes >= SIZE_MAX / 2 - buffer->n_bytes)
        return false;
    size_t needed = buffer->n_bytes + n_more_bytes + 1;
    if (needed <= buffer->capacity)
        return true;
    size_t capacity = buffer->capacity + buffer->capacity / 2;
    if (capacity < needed)
        capacity = needed < 64 ? 64 : needed;
    char *data = realloc(buffer->data, capacity);
    if (data == NULL)
        return false;
    buffer->data = data;
    buffer->capacity = capacity;
    buffer->data[buffer->n_bytes] = 0;
    return true;
}

bool paro_buffer_append(paro_buffer *buffer, const void *data, size_t n_bytes)
{
    if (!paro_buffer_reserve(buffer, n_bytes))
        return false;
    if (n_bytes > 0)
        memcpy(buffer->data + buffer->n_bytes, data, n_bytes);
    buffer->n_bytes += n_bytes;
    buffer->data[buffer->n_bytes] = 0;
    return true;
}

bool paro_buffer_append_text(paro_buffer *buffer, const char *text)
{
    return paro_buffer_append(buffer, text, strlen(text));
}

bool paro_buffer_printf(paro_buffer *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !paro_buffer_reserve(buffer, (size_t)n))
        return false;
    va_start(args, format);
    vsnprintf(buffer->data + buffer->n_bytes, (size_t)n + 1, format, args);
    va_end(args);
    buffer->n_bytes += (size_t)n;
    return true;
}

void paro_buffer_clear(paro_buffer *buffer)
{
    buffer->n_bytes = 0;
    if (buffer->data != NULL)
        buffer->data[0] = 0;
}

void paro_buffer_free(paro_buffer *buffer)
{
    if (buffer == NULL)
        return;
    free(buffer->data);
    memset(buffer, 0, sizeof *buffer);
}

char *paro_buffer_take(paro_buffer *buffer)
{
    char *data = buffer->data;
    memset(buffer, 0, sizeof *buffer);
    return data;
}
