/* SPDX-License-Identifier: MIT
 *
 * Reading what a command is given: whole files, and standard input as "-".
 */
#include "cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/interrupt.h"

static paro_status fail(paro_error *err, paro_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static paro_status fail(paro_error *err, paro_status status, const char *format, ...)
{
    va_list values;

    if (err) {
        err->status = status;
        va_start(values, format);
        vsnprintf(err->message, sizeof err->message, format, values);
        va_end(values);
    }
    return status;
}

const char *paro_input_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "stdin" : path;
}

static paro_status read_all(paro_error *err, int fd, const char *name, char **text, size_t *n_bytes)
{
    size_t n = 0, n_allocated = 0;
    char *buffer = NULL;

    for (;;) {
        if (n_allocated - n < 2) {
            size_t more = n_allocated ? n_allocated * 2 : 65536;
            char *bigger = more > n_allocated ? realloc(buffer, more) : NULL;
            if (!bigger) {
                free(buffer);
                return fail(err, PARO_STATUS_OUT_OF_MEMORY, "%.500s: out of memory after %zu bytes",
                            name, n);
            }
            buffer = bigger;
            n_allocated = more;
        }
        ssize_t n_read = read(fd, buffer + n, n_allocated - n - 1);
        if (n_read == 0)
            break;
        if (n_read > 0) {
            n += (size_t)n_read;
        } else if (errno != EINTR || paro_interrupt_wanted()) {
            paro_status status = errno == EINTR ? PARO_STATUS_CANCELLED : PARO_STATUS_IO;
            int reason = errno;
            free(buffer);
            return fail(err, status, "%.500s: cannot be read: %s", name, strerror(reason));
        }
        if (paro_interrupt_wanted()) {
            free(buffer);
            return fail(err, PARO_STATUS_CANCELLED, "%.500s: interrupted while reading", name);
        }
    }
    buffer[n] = '\0';
    *text = buffer;
    *n_bytes = n;
    return PARO_STATUS_OK;
}

paro_status paro_input_read(paro_error *err, const char *path, char **text, size_t *n_bytes)
{
    if (strcmp(path, "-") == 0)
        return read_all(err, STDIN_FILENO, "standard input", text, n_bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, errno == ENOENT ? PARO_STATUS_NOT_FOUND : PARO_STATUS_IO,
                    "%.500s: cannot be opened: %s", path, strerror(errno));
    paro_status status = read_all(err, fd, path, text, n_bytes);
    close(fd);
    return status;
}

static size_t count_separators(const char *text)
{
    return strspn(text, ", \t\r\n");
}

paro_status paro_input_ids(paro_error *err, const char *name, const char *text, size_t n_bytes,
                           const paro_tokenizer *tokenizer, int32_t **ids, size_t *n_ids)
{
    size_t n = 0;
    /* An id and the separator before it take two bytes at least. */
    int32_t *list =
        n_bytes / 2 < SIZE_MAX / sizeof *list - 1 ? malloc((n_bytes / 2 + 1) * sizeof *list) : NULL;

    if (!list)
        return fail(err, PARO_STATUS_OUT_OF_MEMORY, "%.500s: out of memory for token ids", name);
    for (const char *p = text + count_separators(text); p < text + n_bytes;
         p += count_separators(p)) {
        size_t n_digits = strspn(p, "0123456789"), n_word = strcspn(p, ", \t\r\n");
        long value = n_digits && n_digits <= 10 ? strtol(p, NULL, 10) : -1;
        if (n_word != n_digits || n_word == 0 || value < 0 || value > INT32_MAX) {
            free(list);
            return fail(err, PARO_STATUS_FORMAT,
                        "%.500s: byte %zu: expected a token id (a whole number below 2^31), found "
                        "'%.*s'",
                        name, (size_t)(p - text), (int)(n_word < 40 ? n_word : 40), p);
        }
        if (tokenizer && !paro_tokenizer_has(tokenizer, (int32_t)value)) {
            free(list);
            return fail(err, PARO_STATUS_INVALID_ARGUMENT,
                        "%.500s: byte %zu: the tokenizer has no token %ld (its vocabulary has %zu)",
                        name, (size_t)(p - text), value, (size_t)paro_tokenizer_vocab(tokenizer));
        }
        list[n++] = (int32_t)value;
        p += n_word;
    }
    *ids = list;
    *n_ids = n;
    return PARO_STATUS_OK;
}
