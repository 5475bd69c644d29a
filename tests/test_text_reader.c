/* SPDX-License-Identifier: MIT
 *
 * calib/text_reader.c: plain text in pieces, JSON lines, and what is wrong with strangers' files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <paro/tokenizer.h>

#include "calib/text_reader.h"
#include "tests/support.h"

/* All pieces, one after another, with `between` behind each; the status of what ended it. */
static paro_status read_all(paro_error *err, const char *field, const char *data, size_t n_bytes,
                            const char *between, paro_buffer *out, paro_text_reader *end)
{
    paro_text_reader reader;
    const char *text = "";
    size_t n = 0;
    paro_status status = paro_text_reader_init(err, "a.txt", field, data, n_bytes, &reader);
    if (status != PARO_STATUS_OK)
        return status;
    while (status == PARO_STATUS_OK && text != NULL) {
        status = paro_text_reader_next(err, &reader, &text, &n);
        if (status == PARO_STATUS_OK && text != NULL)
            assert_true(paro_buffer_append(out, text, n) && paro_buffer_append_text(out, between));
    }
    if (end != NULL)
        *end = reader;
    paro_text_reader_release(&reader);
    return status;
}

static void assert_reads(const char *field, const char *data, size_t n_bytes, const char *expected)
{
    paro_error err;
    paro_buffer all = {0};
    assert_ok(read_all(&err, field, data, n_bytes, "|", &all, NULL));
    assert_string_equal(all.data == NULL ? "" : all.data, expected);
    paro_buffer_free(&all);
}

static void test_plain(void **state)
{
    (void)state;
    assert_reads(NULL, "", 0, "");
    assert_reads(NULL, "One.\r\nTwo.", 10, "One.\r\nTwo.|");
    assert_reads(NULL, "\xEF\xBB\xBFOne.", 7, "One.|");
    assert_reads(NULL, "\xEF\xBB\xBF", 3, "");
    assert_reads(NULL, "{\"text\": 5}", 11, "{\"text\": 5}|");
    paro_text_reader_release(NULL);
}

/* What is damaged is handed out, and known. */
static void test_damaged(void **state)
{
    (void)state;
    paro_error err;
    paro_buffer all = {0};
    paro_text_reader end;
    assert_ok(read_all(&err, NULL, "caf\xE9 and \xFF", 10, "", &all, &end));
    assert_int_equal(all.n_bytes, 10);
    assert_true(end.is_damaged);
    assert_int_equal(end.damage_at, 3);
    assert_ok(read_all(&err, NULL, "caf\xC3\xA9", 5, "", &all, &end));
    assert_false(end.is_damaged);
    paro_buffer_free(&all);
    for (int i = 0; i < 2; i++) {
        const char *field = i == 0 ? NULL : "text";
        assert_fails(read_all(&err, field, "\xFF\xFEh\0i\0", 6, "", &all, NULL),
                     PARO_STATUS_UNSUPPORTED, "a.txt: expected UTF-8, found the byte order mark");
        assert_fails(read_all(&err, field, "\xFE\xFF\0h", 4, "", &all, NULL),
                     PARO_STATUS_UNSUPPORTED, "UTF-16");
    }
}

/* `paragraph` over and over, to more than three pieces. */
static void fill(paro_buffer *text, const char *paragraph)
{
    while (text->n_bytes < 3 * PARO_TEXT_PIECE_BYTES + 1000)
        assert_true(paro_buffer_append_text(text, paragraph));
}

/* No byte is lost, no piece too long, none but the last short. */
static size_t assert_pieces(const paro_buffer *text)
{
    paro_error err;
    paro_text_reader reader;
    const char *piece;
    size_t at = 0, n, n_pieces = 0;
    assert_ok(paro_text_reader_init(&err, "a.txt", NULL, text->data, text->n_bytes, &reader));
    for (;; n_pieces++) {
        assert_ok(paro_text_reader_next(&err, &reader, &piece, &n));
        if (piece == NULL)
            break;
        assert_ptr_equal(piece, text->data + at);
        at += n;
        assert_true(n <= PARO_TEXT_PIECE_BYTES);
        assert_true(n > PARO_TEXT_PIECE_BYTES / 2 || at == text->n_bytes);
    }
    assert_int_equal(at, text->n_bytes);
    assert_false(reader.is_damaged);
    paro_text_reader_release(&reader);
    return n_pieces;
}

static void test_pieces(void **state)
{
    (void)state;
    static const char *const paragraphs[] = {
        "A line.\nAnother one, \xE2\x80\x9Cquoted\xE2\x80\x9D:\n\n    indented\n\n\n",
        "no line breaks, only characters of many bytes: \xF0\x9F\x98\x80\xE2\x82\xAC\xC3\xA9 ",
        "\n", "\xF0\x9F\x98\x80"};
    for (size_t i = 0; i < sizeof paragraphs / sizeof paragraphs[0]; i++) {
        paro_buffer text = {0};
        fill(&text, paragraphs[i]);
        assert_true(assert_pieces(&text) >= 4);
        paro_buffer_free(&text);
    }
}

/* The pieces' ids are the whole text's. */
static void test_pieces_of_ids(void **state)
{
    (void)state;
    paro_error err;
    paro_tokenizer *tokenizer = NULL;
    paro_buffer text = {0};
    paro_text_reader reader;
    char *paragraph;
    int32_t *whole, *ids;
    size_t n_bytes, n_whole, n_ids, n, at = 0;
    const char *piece;
    assert_ok(paro_tokenizer_open(&err, "models/demo", &tokenizer));
    assert_ok(paro_file_read(&err, "tests/goldens/text.txt", 1 << 20, &paragraph, &n_bytes));
    fill(&text, paragraph);
    assert_ok(
        paro_tokenizer_encode(&err, tokenizer, text.data, text.n_bytes, NULL, &whole, &n_whole));
    assert_ok(paro_text_reader_init(&err, "a.txt", NULL, text.data, text.n_bytes, &reader));
    for (;;) {
        assert_ok(paro_text_reader_next(&err, &reader, &piece, &n));
        if (piece == NULL)
            break;
        assert_ok(paro_tokenizer_encode(&err, tokenizer, piece, n, NULL, &ids, &n_ids));
        assert_true(n_ids <= n_whole - at);
        assert_memory_equal(ids, whole + at, n_ids * sizeof *ids);
        at += n_ids;
        free(ids);
    }
    assert_int_equal(at, n_whole);
    paro_text_reader_release(&reader);
    paro_buffer_free(&text);
    paro_tokenizer_free(tokenizer);
    free(paragraph);
    free(whole);
}

static void assert_lines(const char *field, const char *data, const char *expected)
{
    assert_reads(field, data, strlen(data), expected);
}

static void test_json_lines(void **state)
{
    (void)state;
    assert_lines("text", "", "");
    assert_lines("text", "\n \n\t\r\n", "");
    assert_lines("text", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n", "one|two|");
    assert_lines("text", "{\"text\": \"one\"}\r\n\r\n{\"id\": 7, \"text\": \"two\"}", "one|two|");
    assert_lines("text", "{\"text\": \"a\\nb \\u00e9\\ud83d\\ude00\"}",
                 "a\nb \xC3\xA9\xF0\x9F\x98\x80|");
    assert_lines("body", "{\"text\": 1, \"body\": \"this\"}", "this|");
    assert_lines("text", "{\"text\": \"\"}\n", "|");
    assert_lines("text", "\xEF\xBB\xBF{\"text\": \"marked\"}\n", "marked|");
}

static void test_wrong_lines(void **state)
{
    (void)state;
    static const struct {
        const char *data, *words;
    } rows[] = {
        {"{\"text\": \"one\"}\n\n{\"text\": \"tw", "a.txt:3: not valid JSON"},
        {"{\"text\": \"one\"}\n[\"two\"]\n",
         "a.txt:2: expected a JSON object at the top, found an"},
        {"{\"text\": 5}", "a.txt:1: text: expected a string, found an integer"},
        {"{\"text\": null}", "a.txt:1: text: missing"},
        {"{\"content\": \"x\"}", "a.txt:1: text: missing (expected the text; where another member"},
        {"{\"text\": \"a\", \"text\": \"b\"}", "a.txt:1: not valid JSON"},
        {"{\"text\": \"caf\xE9\"}", "a.txt:1: not valid JSON"},
        {"{\"text\": \"zero \\u0000\"}", "a.txt:1: not valid JSON"},
        {"{\"text\": \"a\"} {\"text\": \"b\"}", "a.txt:1: not valid JSON"},
        {"plain text", "a.txt:1: not valid JSON"},
    };
    paro_error err;
    paro_buffer all = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_fails(read_all(&err, "text", rows[i].data, strlen(rows[i].data), "", &all, NULL),
                     PARO_STATUS_FORMAT, rows[i].words);
    paro_buffer_clear(&all);
    for (int i = 0; i < 200; i++)
        assert_true(paro_buffer_append_text(&all, "{\"text\":"));
    paro_buffer none = {0};
    assert_fails(read_all(&err, "text", all.data, all.n_bytes, "", &none, NULL), PARO_STATUS_FORMAT,
                 "a.txt:1: JSON nested more than 128 levels");
    paro_buffer_free(&all);
}

static void test_long_line(void **state)
{
    (void)state;
    paro_error err;
    paro_buffer none = {0};
    const size_t n = (size_t)PARO_JSONL_MAX_LINE_BYTES + 2;
    char *data = malloc(n);
    assert_non_null(data);
    memset(data, 'x', n);
    data[0] = '\n';
    assert_fails(read_all(&err, "text", data, n, "", &none, NULL), PARO_STATUS_LIMIT,
                 "a.txt:2: expected a line of at most 67108864 bytes, found 67108865");
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),      cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_pieces),     cmocka_unit_test(test_pieces_of_ids),
        cmocka_unit_test(test_json_lines), cmocka_unit_test(test_wrong_lines),
        cmocka_unit_test(test_long_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
