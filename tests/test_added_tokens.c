/* SPDX-License-Identifier: MIT
 *
 * Finding added tokens. What is expected is what `tokenizers` 0.23.3 does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "tests/support.h"
#include "tokenizer/added_tokens.h"

/* Writes pieces as "text|<7>|text": tokens by their id. */
static paro_status write_piece(paro_error *err, void *context, const char *text, size_t n_bytes,
                               int64_t id)
{
    paro_buffer *out = context;

    (void)err;
    assert_true(n_bytes > 0);
    assert_true(out->n_bytes == 0 || paro_buffer_append_text(out, "|"));
    if (id >= 0)
        assert_true(paro_buffer_printf(out, "<%d>", (int)id));
    else
        assert_true(paro_buffer_append(out, text, n_bytes));
    return PARO_STATUS_OK;
}

static void expect_pieces(const paro_token_entry *tokens, size_t n_tokens, bool plain,
                          const char *text, const char *expected)
{
    paro_error err;
    paro_token_matcher *matcher = NULL;
    paro_buffer out = {0};

    assert_true(paro_buffer_reserve(&out, 0));
    assert_ok(paro_token_matcher_new(&err, tokens, n_tokens, &matcher));
    assert_ok(
        paro_token_matcher_split(&err, matcher, text, strlen(text), plain, write_piece, &out));
    assert_string_equal(out.data, expected);
    paro_buffer_free(&out);
    paro_token_matcher_free(matcher);
}

static void test_leftmost_longest(void **state)
{
    const paro_token_entry tokens[] = {
        {.text = "ab", .n_bytes = 2, .id = 1},   {.text = "abcd", .n_bytes = 4, .id = 2},
        {.text = "bcde", .n_bytes = 4, .id = 3}, {.text = "d", .n_bytes = 1, .id = 4},
        {.text = "ab", .n_bytes = 2, .id = 5}, /* the first of two counts */
    };

    (void)state;
    expect_pieces(tokens, 5, false, "xabcx", "x|<1>|cx");
    expect_pieces(tokens, 5, false, "abcde", "<2>|e");
    expect_pieces(tokens, 5, false, "bcdabcd", "bc|<4>|<2>");
    expect_pieces(tokens, 5, false, "abbcde", "<1>|<3>");
    expect_pieces(tokens, 5, false, "nothing", "nothing");
    expect_pieces(tokens, 5, false, "", "");
    expect_pieces(NULL, 0, false, "text", "text");
}

static void test_strip(void **state)
{
    const paro_token_entry tokens[] = {
        {.text = "<l>", .n_bytes = 3, .id = 1, .lstrip = true},
        {.text = "<r>", .n_bytes = 3, .id = 2, .rstrip = true},
        {.text = "  ", .n_bytes = 2, .id = 3},
    };

    (void)state;
    expect_pieces(tokens, 2, false, "a \t<l> b", "a|<1>| b");
    expect_pieces(tokens, 2, false, "a <r> \xC2\x85\xE3\x80\x80 b", "a |<2>|b");
    expect_pieces(tokens, 2, false, "<r>  <l>", "<2>|<1>");
    /* U+180E, U+200B and U+001C are no white space. */
    expect_pieces(tokens, 2, false, "a\xE1\xA0\x8E<l>", "a\xE1\xA0\x8E|<1>");
    expect_pieces(tokens, 2, false, "<r>\x1C", "<2>|\x1C");
    /* Space that a token stripped may still be a token. */
    expect_pieces(tokens, 3, false, "a<r>    b", "a|<2>|<3>|<3>|b");
}

static void test_single_word(void **state)
{
    const paro_token_entry tokens[] = {
        {.text = "w", .n_bytes = 1, .id = 1, .single_word = true},
        {.text = "wx", .n_bytes = 2, .id = 2},
    };

    (void)state;
    expect_pieces(tokens, 2, false, "w w.w aw wa w", "<1>| |<1>|.|<1>| aw wa |<1>");
    expect_pieces(tokens, 2, false, "w\xCC\x81 \xC3\xA9w _w w1", "w\xCC\x81 \xC3\xA9w _w w1");
    expect_pieces(tokens, 2, false, "\xE2\x80\x94w\xE2\x82\xAC", "\xE2\x80\x94|<1>|\xE2\x82\xAC");
    expect_pieces(tokens, 2, false, "awx", "a|<2>");
}

static void test_plain(void **state)
{
    const paro_token_entry tokens[] = {
        {.text = "<s>", .n_bytes = 3, .id = 1, .special = true},
        {.text = "s", .n_bytes = 1, .id = 2},
    };

    (void)state;
    expect_pieces(tokens, 2, false, "a<s>s", "a|<1>|<2>");
    expect_pieces(tokens, 2, true, "a<s>s", "a<s>|<2>");
}

static paro_status refuse(paro_error *err, void *context, const char *text, size_t n_bytes,
                          int64_t id)
{
    (void)context;
    (void)text;
    (void)n_bytes;
    return id >= 0 ? paro_fail(err, PARO_STATUS_LIMIT, "no more") : PARO_STATUS_OK;
}

static void test_stops(void **state)
{
    const paro_token_entry token = {.text = "b", .n_bytes = 1};
    paro_error err;
    paro_token_matcher *matcher = NULL;

    (void)state;
    assert_ok(paro_token_matcher_new(&err, &token, 1, &matcher));
    assert_fails(paro_token_matcher_split(&err, matcher, "abc", 3, false, refuse, NULL),
                 PARO_STATUS_LIMIT, "no more");
    paro_token_matcher_free(matcher);
    paro_token_matcher_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leftmost_longest),
        cmocka_unit_test(test_strip),
        cmocka_unit_test(test_single_word),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
