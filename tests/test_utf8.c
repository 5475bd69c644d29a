/* SPDX-License-Identifier: MIT
 *
 * UTF-8: every character, and what is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "tests/support.h"

/* Every code point but the surrogates: written, recognised, read back. */
static void test_every_character(void **state)
{
    paro_buffer buffer = {0};

    (void)state;
    for (uint32_t point = 0; point < 0x110000; point++) {
        size_t length = 0;

        if (point >= 0xD800 && point < 0xE000)
            continue;
        paro_buffer_clear(&buffer);
        assert_true(paro_utf8_append(&buffer, point));
        assert_int_equal(paro_utf8_next(buffer.data, buffer.n_bytes, &length),
                         PARO_UTF8_KIND_CHARACTER);
        assert_int_equal(length, buffer.n_bytes);
        assert_int_equal(paro_utf8_code_point(buffer.data, length), point);
        for (size_t cut = 1; cut < length; cut++) {
            size_t found = 0;

            assert_int_equal(paro_utf8_next(buffer.data, cut, &found), PARO_UTF8_KIND_CUT);
            assert_int_equal(found, cut);
        }
    }
    paro_buffer_free(&buffer);
}

/* Unicode, section 3.9: maximal subparts; the same as Python's bytes.decode(errors="replace"). */
static void test_replacement(void **state)
{
    static const struct {
        const char *text;
        const char *expected; /* with ? for U+FFFD */
    } cases[] = {
        {"abc", "abc"},
        {"\x80", "?"},
        {"a\xC3", "a?"},
        {"\xC3(", "?("},
        {"\xC0\xAF", "??"},
        {"\xE2\x82", "?"},
        {"\xE2\x28\xA1", "?(?"},
        {"\xED\xA0\x80", "???"},
        {"\xE0\x9F\xBF", "???"},
        {"\xF0\x80\x80\x80", "????"},
        {"\xF0\x9F\x98x", "?x"},
        {"\xF4\x90\x80\x80", "????"},
        {"\xF1\x80\x80\xE1\x80\xC2z", "???z"},
        {"\xF8\x88\x80", "???"},
        {"\xFF\xFE", "??"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        paro_buffer expected = {0};
        paro_buffer found = {0};

        for (const char *c = cases[i].expected; *c != '\0'; c++)
            assert_true(*c == '?' ? paro_utf8_append(&expected, 0xFFFD)
                                  : paro_buffer_append(&expected, c, 1));
        assert_true(paro_utf8_append_valid(&found, cases[i].text, strlen(cases[i].text)));
        assert_string_equal(found.data, expected.data);
        paro_buffer_free(&expected);
        paro_buffer_free(&found);
    }
}

static void test_valid_prefix(void **state)
{
    (void)state;
    assert_int_equal(paro_utf8_valid_prefix("", 0), 0);
    assert_int_equal(paro_utf8_valid_prefix("a\0b", 3), 3);
    assert_int_equal(paro_utf8_valid_prefix("0123456789abcdef\xC3\xA9", 18), 18);
    assert_int_equal(paro_utf8_valid_prefix("0123456789abcdef\xC3\xA9", 17), 16);
    assert_int_equal(paro_utf8_valid_prefix("0123456\xFF"
                                            "89",
                                            10),
                     7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_replacement),
        cmocka_unit_test(test_valid_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
