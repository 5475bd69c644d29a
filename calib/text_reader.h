/* SPDX-License-Identifier: MIT
 *
 * The texts of a file that somebody gave for calibration, one piece after another.
 *
 * Format: UTF-8, with or without a byte order mark. Plain text; or JSON lines: on every line that
 * is not blank a JSON object, of which one member is a string, the text. Lines end in "\n" or
 * "\r\n", the last one may lack it.
 *
 * A long plain text comes in pieces of about a MiB, cut after a line break between two printable
 * ASCII characters where there is one: no pretokenizer that paro knows joins those, so that the ids
 * are the whole text's. What is not UTF-8 is handed out as it is in a plain text, and is an error
 * in JSON.
 */
#ifndef PARO_CALIB_TEXT_READER_H
#define PARO_CALIB_TEXT_READER_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/json.h"

enum {
    PARO_TEXT_PIECE_BYTES = 1 << 20,
    PARO_JSONL_MAX_LINE_BYTES = 64 << 20 /* a text that is longer is PARO_STATUS_LIMIT */
};

/* Over text that stays where it is; for paro_text_reader_release. */
typedef struct paro_text_reader {
    const char *path;  /* for messages */
    const char *field; /* JSON lines: the member that is the text; NULL: plain text */
    const char *data;
    size_t n_bytes;
    size_t at;        /* bytes read */
    size_t n_lines;   /* JSON lines: read */
    bool is_damaged;  /* plain text: something was not UTF-8 */
    size_t damage_at; /* the first such byte */
    paro_buffer where;
    json_t *line; /* owns the piece handed out last; NULL: `data` does */
} paro_text_reader;

/* PARO_STATUS_UNSUPPORTED for UTF-16. Nothing to release on failure. */
paro_status paro_text_reader_init(paro_error *err, const char *path, const char *field,
                                  const char *data, size_t n_bytes, paro_text_reader *out);

/* The next piece, valid until the next call or release; *text is NULL at the end. Errors name file
 * and line ("FILE:7: …"). */
paro_status paro_text_reader_next(paro_error *err, paro_text_reader *reader, const char **text,
                                  size_t *n_bytes);

void paro_text_reader_release(paro_text_reader *reader); /* NULL and zeroed are fine */

#endif
