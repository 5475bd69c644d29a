/* SPDX-License-Identifier: MIT
 *
 * Status names and error messages.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* The length of the UTF-8 sequence at s, or 0 where there is none. */
static size_t utf8_sequence(const unsigned char *s)
{
    static const struct {
        unsigned char lead_mask, lead, second_low, second_high, length;
    } rules[] = {
        {0xFF, 0xE0, 0xA0, 0xBF, 3}, {0xFF, 0xED, 0x80, 0x9F, 3}, {0xFF, 0xF0, 0x90, 0xBF, 4},
        {0xFF, 0xF4, 0x80, 0x8F, 4}, {0xE0, 0xC0, 0x80, 0xBF, 2}, {0xF0, 0xE0, 0x80, 0xBF, 3},
        {0xF8, 0xF0, 0x80, 0xBF, 4},
    };
    if (s[0] < 0x80)
        return s[0] >= 0x20 && s[0] != 0x7F;
    if (s[0] == 0xC0 || s[0] == 0xC1 || s[0] > 0xF4)
        return 0;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if ((s[0] & rules[i].lead_mask) != rules[i].lead)
            continue;
        if (s[1] < rules[i].second_low || s[1] > rules[i].second_high)
            return 0;
        for (size_t k = 2; k < rules[i].length; k++)
            if ((s[k] & 0xC0) != 0x80)
                return 0;
        return rules[i].length;
    }
    return 0;
}

/* A snprintf that ran out of room may have cut a character in two: drop the pieces. */
static void drop_cut_character(char *text, size_t capacity)
{
    size_t n = strlen(text);
    if (n + 1 < capacity)
        return;
    size_t start = n;
    while (start > 0 && n - start < 4 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xC0 &&
        utf8_sequence((const unsigned char *)text + start - 1) == 0)
        text[start - 1] = 0;
}

void paro_text_make_printable(char *text, size_t capacity)
{
    drop_cut_character(text, capacity);
    unsigned char *s = (unsigned char *)text;
    while (*s != 0) {
        size_t n = utf8_sequence(s);
        if (n == 0) {
            *s = *s == '\t' ? ' ' : '?';
            n = 1;
        }
        s += n;
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
