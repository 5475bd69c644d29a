/* SPDX-License-Identifier: MIT
 *
 * Kernels of tests/kernels for tests of the emulator: lib parts put in place, a hole filled, and a
 * device with buffers to run them on. Include after "tests/support.h".
 */
#ifndef PARO_TESTS_KERNEL_SOURCE_H
#define PARO_TESTS_KERNEL_SOURCE_H

#include "base/buffer.h"
#include "base/embedded.h"
#include "emulator/emulator.h"
#include "tests/support.h"

/* Built with AddressSanitizer: kernels are too. */
#if defined(__SANITIZE_ADDRESS__)
#define TEST_ADDRESS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ADDRESS 1
#endif
#endif
#ifndef TEST_ADDRESS
#define TEST_ADDRESS 0
#endif

/* Appends `text` with its lib parts, each once (`seen` has their paths). */
static inline void kernel_expand(paro_buffer *out, paro_buffer *seen, const char *text)
{
    for (const char *line = text; *line != 0;) {
        size_t n = strcspn(line, "\n");
        n += line[n] == '\n';
        char part[64], path[96];
        if (sscanf(line, "#include \"%60[^\"]\"", part) == 1) {
            (void)snprintf(path, sizeof path, "templates/%s", part);
            if (seen->data == NULL || strstr(seen->data, path) == NULL) {
                assert_true(paro_buffer_append_text(seen, path));
                const paro_embedded_file *file = paro_embedded_find(path);
                assert_non_null(file);
                kernel_expand(out, seen, file->text);
            }
        } else if (strncmp(line, "#pragma once", 12) != 0) {
            assert_true(paro_buffer_append(out, line, n));
        }
        line += n;
    }
}

/* tests/kernels/NAME.cu; `hole` = `value` where hole is not NULL. */
static inline void kernel_source(const char *name, const char *hole, const char *value,
                                 paro_buffer *out)
{
    paro_error err;
    char path[96], mark[64], *text = NULL;
    size_t n_bytes;
    paro_buffer seen = {0};
    (void)snprintf(path, sizeof path, "tests/kernels/%s.cu", name);
    assert_ok(paro_file_read(&err, path, 1 << 20, &text, &n_bytes));
    kernel_expand(out, &seen, text);
    free(text);
    paro_buffer_free(&seen);
    if (hole == NULL)
        return;
    (void)snprintf(mark, sizeof mark, "; // hole: %s\n", hole);
    const char *end = strstr(out->data, mark);
    assert_non_null(end);
    const char *start = end;
    while (*start != '=')
        start--;
    paro_buffer filled = {0};
    assert_true(paro_buffer_append(&filled, out->data, (size_t)(start - out->data) + 1) &&
                paro_buffer_append_text(&filled, " ") && paro_buffer_append_text(&filled, value) &&
                paro_buffer_append_text(&filled, end));
    paro_buffer_free(out);
    *out = filled;
}

#endif
