/* SPDX-License-Identifier: MIT
 *
 * Filling a paro_error. See include/paro/status.h for the convention.
 */
#ifndef PARO_BASE_ERROR_H
#define PARO_BASE_ERROR_H

#include <stddef.h>

#include <paro/status.h>

#if defined(__GNUC__)
#define PARO_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#else
#define PARO_PRINTF(format_at, args_at)
#endif

/* Writes status and message (if err is not NULL) and returns status, so that a function can end
 * with `return paro_fail(err, PARO_STATUS_FORMAT, "%s: expected …, found …", …)`. Control
 * characters and bytes that are not UTF-8 are replaced by '?', a message too long is cut. */
paro_status paro_fail(paro_error *err, paro_status status, const char *format, ...)
    PARO_PRINTF(3, 4);

/* Puts "where: " in front of the message that err carries, and returns err's status; for callers
 * who know more about where. `status` is what the callee returned. */
paro_status paro_fail_in(paro_error *err, paro_status status, const char *format, ...)
    PARO_PRINTF(3, 4);

/* What the above do to a message: tabs become spaces, other control characters and bytes that are
 * not UTF-8 '?', and a character that was cut in two because the text fills `capacity` bytes goes.
 */
void paro_text_make_printable(char *text, size_t capacity);

/* PARO_STATUS_OUT_OF_MEMORY: "out of memory (asked for N bytes for WHAT)". */
paro_status paro_fail_memory(paro_error *err, size_t n_bytes, const char *what);

/* PARO_STATUS_IO with strerror(errno_value), or NOT_FOUND for ENOENT: "PATH: cannot VERB: reason".
 */
paro_status paro_fail_errno(paro_error *err, int errno_value, const char *verb, const char *path);

#endif
