/* SPDX-License-Identifier: MIT
 *
 * Plain text and JSON lines, a piece at a time.
 */
#include "calib/text_reader.h"

#include <string.h>

#include "base/utf8.h"

paro_status paro_text_reader_init(paro_error *err, const char *path, const char *field,
                                  const char *data, size_t n_bytes, paro_text_reader *out)
{
    const bool is_utf16 =
        n_bytes >= 2 && (memcmp(data, "\xFF\xFE", 2) == 0 || memcmp(data, "\xFE\xFF", 2) == 0);
    if (is_utf16)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: expected UTF-8, found the byte order mark of UTF-16: convert it "
                         "(iconv -f UTF-16 -t UTF-8)",
                         path);
    *out = (paro_text_reader){.path = path, .field = field, .data = data, .n_bytes = n_bytes};
    if (n_bytes >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0)
        out->at = 3;
    return PARO_STATUS_OK;
}

static bool is_printable(char c)
{
    return c > ' ' && c < 0x7F;
}

/* Where a plain text is cut: see text_reader.h. At least half a piece, or all there is. */
static size_t piece_length(const char *text, size_t n_bytes)
{
    if (n_bytes <= PARO_TEXT_PIECE_BYTES)
        return n_bytes;
    for (size_t n = PARO_TEXT_PIECE_BYTES; n > PARO_TEXT_PIECE_BYTES / 2; n--)
        if (text[n - 1] == '\n' && is_printable(text[n - 2]) && is_printable(text[n]))
            return n;
    size_t n = PARO_TEXT_PIECE_BYTES; /* else between two characters */
    while (n > PARO_TEXT_PIECE_BYTES - 3 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    return n;
}

static void next_plain(paro_text_reader *reader, const char **text, size_t *n_bytes)
{
    const char *piece = reader->data + reader->at;
    const size_t n = piece_length(piece, reader->n_bytes - reader->at);
    if (!reader->is_damaged) {
        const size_t n_valid = paro_utf8_valid_prefix(piece, n);
        reader->is_damaged = n_valid < n;
        reader->damage_at = reader->at + n_valid;
    }
    reader->at += n;
    *text = n == 0 ? NULL : piece;
    *n_bytes = n;
}

static bool is_blank(const char *line, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    return true;
}

static paro_status parse_line(paro_error *err, paro_text_reader *reader, const char *line,
                              size_t n_bytes, const char **text, size_t *n_text)
{
    json_t *object = NULL;
    const char *value = NULL;
    paro_buffer_clear(&reader->where);
    if (!paro_buffer_printf(&reader->where, "%s:%zu", reader->path, reader->n_lines))
        return paro_fail_memory(err, strlen(reader->path), "a file's name");
    const char *where = reader->where.data;
    if (n_bytes > PARO_JSONL_MAX_LINE_BYTES)
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "%s: expected a line of at most %d bytes, found %zu: split its text",
                         where, PARO_JSONL_MAX_LINE_BYTES, n_bytes);
    paro_status status = paro_json_parse(err, where, line, n_bytes, &object);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_string(err, where, object, reader->field, NULL, &value);
    if (status == PARO_STATUS_OK && value == NULL)
        status = paro_json_missing(err, where, reader->field,
                                   "the text; where another member is, name it as the field");
    if (status != PARO_STATUS_OK) {
        json_decref(object);
        return status;
    }
    reader->line = object;
    *text = value;
    *n_text = json_string_length(json_object_get(object, reader->field));
    return PARO_STATUS_OK;
}

static paro_status next_line(paro_error *err, paro_text_reader *reader, const char **text,
                             size_t *n_bytes)
{
    json_decref(reader->line);
    reader->line = NULL;
    while (reader->at < reader->n_bytes) {
        const char *line = reader->data + reader->at;
        const size_t n_left = reader->n_bytes - reader->at;
        const char *end = memchr(line, '\n', n_left);
        const size_t n = end == NULL ? n_left : (size_t)(end - line);
        reader->at += end == NULL ? n : n + 1;
        reader->n_lines++;
        if (!is_blank(line, n))
            return parse_line(err, reader, line, n, text, n_bytes);
    }
    *text = NULL;
    *n_bytes = 0;
    return PARO_STATUS_OK;
}

paro_status paro_text_reader_next(paro_error *err, paro_text_reader *reader, const char **text,
                                  size_t *n_bytes)
{
    if (reader->field != NULL)
        return next_line(err, reader, text, n_bytes);
    next_plain(reader, text, n_bytes);
    return PARO_STATUS_OK;
}

void paro_text_reader_release(paro_text_reader *reader)
{
    if (reader == NULL)
        return;
    paro_buffer_free(&reader->where);
    json_decref(reader->line);
    *reader = (paro_text_reader){0};
}
