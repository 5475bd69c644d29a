/* SPDX-License-Identifier: MIT
 *
 * Fuzzing calib/text_reader.c: the name of a field, then, after a zero byte, a file; it is read as
 * JSON lines and as plain text. Texts of JSON are UTF-8 and no more than there are lines, errors
 * name file and line; plain text loses nothing.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "calib/text_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fuzz_jsonl: %s\n", what);
        abort();
    }
}

static void read_lines(const char *field, const char *data, size_t n_bytes)
{
    paro_error err = {.status = PARO_STATUS_OK};
    paro_text_reader reader;
    size_t n_texts = 0, n_lines = 1, n;
    const char *text;
    for (size_t i = 0; i < n_bytes; i++)
        n_lines += data[i] == '\n';
    paro_status status = paro_text_reader_init(&err, "fuzz", field, data, n_bytes, &reader);
    if (status != PARO_STATUS_OK) {
        require(strstr(err.message, "fuzz: ") != NULL, "an error that does not name the file");
        return;
    }
    for (;; n_texts++) {
        status = paro_text_reader_next(&err, &reader, &text, &n);
        if (status != PARO_STATUS_OK || text == NULL)
            break;
        require(paro_utf8_valid_prefix(text, n) == n && text[n] == 0, "a text that is not UTF-8");
    }
    require(n_texts <= reader.n_lines && reader.n_lines <= n_lines, "more texts than lines");
    char place[64];
    snprintf(place, sizeof place, "fuzz:%zu: ", reader.n_lines);
    require(status == PARO_STATUS_OK || strncmp(err.message, place, strlen(place)) == 0,
            "an error that does not name file and line");
    require(status != PARO_STATUS_OK || reader.at == n_bytes, "lines left behind");
    paro_text_reader_release(&reader);
}

static void read_plain(const char *data, size_t n_bytes)
{
    paro_text_reader reader;
    const char *text;
    size_t n;
    if (paro_text_reader_init(NULL, "fuzz", NULL, data, n_bytes, &reader) != PARO_STATUS_OK)
        return;
    const char *at = data + reader.at;
    for (;;) {
        require(paro_text_reader_next(NULL, &reader, &text, &n) == PARO_STATUS_OK, "no text");
        if (text == NULL)
            break;
        require(text == at && n > 0, "a piece at the wrong place");
        at += n;
    }
    require(at == data + n_bytes, "text left behind");
    require(reader.is_damaged == (paro_utf8_valid_prefix(data, n_bytes) < n_bytes),
            "damage not known");
    paro_text_reader_release(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const uint8_t *zero = n_bytes == 0 ? NULL : memchr(data, 0, n_bytes);
    if (zero == NULL)
        return 0;
    const char *field = (const char *)data, *file = (const char *)zero + 1;
    const size_t n_file = n_bytes - (size_t)(zero + 1 - data);
    read_lines(field, file, n_file);
    read_plain(file, n_file);
    return 0;
}
