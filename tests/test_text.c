/* SPDX-License-Identifier: MIT
 *
 * cli/text.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

#define FFFD "\xef\xbf\xbd"

static void test_decode_accepts_utf8_only(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        uint32_t value;
    } cases[] = {
        {"a", 1, 'a'},
        {"\xc3\xa9", 2, 0xe9},
        {"\xe2\x82\xac", 3, 0x20ac},
        {"\xf0\x9f\x98\x80", 4, 0x1f600},
        {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
        {"\x80", 1, 0xfffd},             /* a continuation on its own */
        {"\xc3", 1, 0xfffd},             /* cut off */
        {"\xe2\x82", 1, 0xfffd},         /* cut off */
        {"\xc0\xaf", 1, 0xfffd},         /* too long a form */
        {"\xe0\x80\xaf", 1, 0xfffd},     /* too long a form */
        {"\xed\xa0\x80", 1, 0xfffd},     /* a surrogate */
        {"\xf4\x90\x80\x80", 1, 0xfffd}, /* beyond Unicode */
        {"\xff", 1, 0xfffd},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t value = 0;
        assert_int_equal(paro_text_decode(cases[i].text, &value), cases[i].n);
        assert_int_equal(value, cases[i].value);
    }
}

static void test_columns(void **state)
{
    (void)state;
    assert_int_equal(paro_text_columns(""), 0);
    assert_int_equal(paro_text_columns("plain"), 5);
    assert_int_equal(paro_text_columns("é€"), 2);
    assert_int_equal(paro_text_columns("e\xcc\x81"), 1); /* e and a combining accent */
    assert_int_equal(paro_text_columns("漢字"), 4);
    assert_int_equal(paro_text_columns("😀!"), 3);
    assert_int_equal(paro_text_columns("\xff\xff"), 2);
}

static void check_clean(const char *text, unsigned max_columns, const char *expected)
{
    char *clean = paro_text_clean(text, max_columns);
    assert_non_null(clean);
    assert_string_equal(clean, expected);
    free(clean);
}

static void test_clean_is_safe_to_print(void **state)
{
    (void)state;
    check_clean("", 0, "");
    check_clean("wörld 漢字", 0, "wörld 漢字");
    check_clean("a\nb\tc\r", 0, "a b c ");
    check_clean("\x1b[31mred\x7f", 0, FFFD "[31mred" FFFD);
    check_clean("\xc2\x9b"
                "2J",
                0, FFFD "2J"); /* CSI as one character */
    check_clean("\xe2\x80\xae"
                "evil",
                0, FFFD "evil"); /* right to left from here */
    check_clean("\xff\xfe\xc3", 0, FFFD FFFD FFFD);
}

static void test_clean_cuts_to_columns(void **state)
{
    (void)state;
    check_clean("abcdef", 6, "abcdef");
    check_clean("abcdefg", 6, "abcde…");
    check_clean("abcdefg", 1, "…");
    check_clean("漢字漢字", 8, "漢字漢字");
    check_clean("漢字漢字", 7, "漢字漢…");
    check_clean("漢字漢字", 6, "漢字…"); /* half a character does not fit */
    for (unsigned n = 1; n < 12; n++) {
        char *clean = paro_text_clean("a漢b字c😀d\xff", n);
        assert_non_null(clean);
        assert_true(paro_text_columns(clean) <= n);
        free(clean);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    char out[PARO_TEXT_NUMBER_BYTES];
    assert_string_equal(paro_text_size(out, 0), "0 B");
    assert_string_equal(paro_text_size(out, 999), "999 B");
    assert_string_equal(paro_text_size(out, 1000), "1.00 kB");
    assert_string_equal(paro_text_size(out, 8397360), "8.40 MB");
    assert_string_equal(paro_text_size(out, 999999), "1.00 MB");
    assert_string_equal(paro_text_size(out, 123456789012), "123 GB");
    assert_string_equal(paro_text_size(out, UINT64_MAX), "18.4 EB");
    assert_string_equal(paro_text_count(out, 0), "0");
    assert_string_equal(paro_text_count(out, 950), "950");
    assert_string_equal(paro_text_count(out, 0.25), "0.25");
    assert_string_equal(paro_text_count(out, 12345), "12.3k");
    assert_string_equal(paro_text_count(out, 4196608), "4.20M");
    assert_string_equal(paro_text_count(out, 8e9), "8.00G");
    assert_string_equal(paro_text_duration(out, -1), "0:00");
    assert_string_equal(paro_text_duration(out, 7.4), "0:07");
    assert_string_equal(paro_text_duration(out, 750), "12:30");
    assert_string_equal(paro_text_duration(out, 3600 * 3 + 5 * 60), "3:05:00");
    assert_true(strlen(paro_text_duration(out, 1e300)) < PARO_TEXT_NUMBER_BYTES);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = {"inspect", "quantize", "eval", "run", "tokenize", NULL};
    static const char *const none[] = {NULL};
    assert_string_equal(paro_text_nearest("inpsect", names), "inspect");
    assert_string_equal(paro_text_nearest("quantise", names), "quantize");
    assert_string_equal(paro_text_nearest("evaluate", names), "eval");
    assert_string_equal(paro_text_nearest("tok", names), "tokenize");
    assert_string_equal(paro_text_nearest("rum", names), "run");
    assert_null(paro_text_nearest("frobnicate", names));
    assert_null(paro_text_nearest("", names));
    assert_null(paro_text_nearest("a-name-that-is-longer-than-any-that-there-could-be", names));
    assert_null(paro_text_nearest("eval", none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decode_accepts_utf8_only),
                                       cmocka_unit_test(test_columns),
                                       cmocka_unit_test(test_clean_is_safe_to_print),
                                       cmocka_unit_test(test_clean_cuts_to_columns),
                                       cmocka_unit_test(test_numbers),
                                       cmocka_unit_test(test_nearest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
