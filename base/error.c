/* SPDX-License-Identifier: MIT
 *
 * Status names and error messages.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

const char *paro_status_name(paro_status status)
{
    switch (status) {
    case PARO_STATUS_OK:
        return "done";
    case PARO_STATUS_INVALID_ARGUMENT:
        return "invalid argument";
    case PARO_STATUS_NOT_FOUND:
        return "not found";
    case PARO_STATUS_EXISTS:
        return "exists already";
    case PARO_STATUS_IO:
        return "input/output error";
    case PARO_STATUS_FORMAT:
        return "format error";
    case PARO_STATUS_UNSUPPORTED:
        return "not supported";
    case PARO_STATUS_OUT_OF_MEMORY:
        return "out of memory";
    case PARO_STATUS_LIMIT:
        return "limit reached";
    case PARO_STATUS_RECIPE:
        return "recipe error";
    case PARO_STATUS_CANCELLED:
        return "cancelled";
    }
    return "unknown status";
}

void paro_text_make_printable(char *text, size_t capacity)
{
    const size_t n_bytes = strlen(text);
    for (size_t at = 0; at < n_bytes;) {
        size_t length;
        const paro_utf8_kind kind = paro_utf8_next(text + at, n_bytes - at, &length);
        const unsigned char c = (unsigned char)text[at];
        if (kind == PARO_UTF8_KIND_CUT && n_bytes + 1 >= capacity)
            text[at] = 0; /* a text that ran out of room may end inside a character */
        else if (kind != PARO_UTF8_KIND_CHARACTER)
            memset(text + at, '?', length);
        else if (c < 0x20 || c == 0x7F)
            text[at] = c == '\t' ? ' ' : '?';
        at += length;
    }
}

paro_status paro_fail(paro_error *err, paro_status status, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        err->status = status;
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        paro_text_make_printable(err->message, sizeof err->message);
    }
    return status;
}

paro_status paro_fail_in(paro_error *err, paro_status status, const char *format, ...)
{
    if (err != NULL) {
        char was[PARO_ERROR_MESSAGE_BYTES];
        memcpy(was, err->message, sizeof was);
        va_list args;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        size_t n = strlen(err->message);
        snprintf(err->message + n, sizeof err->message - n, ": %s", was);
        paro_text_make_printable(err->message, sizeof err->message);
        err->status = status;
    }
    return status;
}

paro_status paro_fail_memory(paro_error *err, size_t n_bytes, const char *what)
{
    return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "out of memory (asked for %zu bytes for %s)",
                     n_bytes, what);
}

paro_status paro_fail_errno(paro_error *err, int errno_value, const char *verb, const char *path)
{
    paro_status status = errno_value == ENOENT   ? PARO_STATUS_NOT_FOUND
                         : errno_value == ENOMEM ? PARO_STATUS_OUT_OF_MEMORY
                                                 : PARO_STATUS_IO;
    char reason[128];
    /* GNU strerror_r may answer with a string of its own. */
    const char *text = strerror_r(errno_value, reason, sizeof reason);
    return paro_fail(err, status, "%s: cannot %s: %s", path, verb, text);
}
