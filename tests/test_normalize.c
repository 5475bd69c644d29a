/* SPDX-License-Identifier: MIT
 *
 * Normal forms and character classes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "tests/support.h"
#include "tokenizer/normalize.h"

static void expect_form(paro_normal_form form, const char *text, const char *expected)
{
    paro_error err;
    paro_buffer buffer = {0};
    const char *out = NULL;
    size_t n = 0;

    assert_ok(paro_normalize(&err, form, text, strlen(text), &buffer, &out, &n));
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(out, expected, n);
    paro_buffer_free(&buffer);
}

static void test_forms(void **state)
{
    (void)state;
    expect_form(PARO_NORMAL_FORM_NFC, "e\xCC\x81t\xC3\xA9", "\xC3\xA9t\xC3\xA9");
    expect_form(PARO_NORMAL_FORM_NFD, "e\xCC\x81t\xC3\xA9", "e\xCC\x81te\xCC\x81");
    /* Marks are put in order: U+0323 (220) before U+0301 (230). */
    expect_form(PARO_NORMAL_FORM_NFD, "a\xCC\x81\xCC\xA3", "a\xCC\xA3\xCC\x81");
    expect_form(PARO_NORMAL_FORM_NFC, "a\xCC\x81\xCC\xA3", "\xE1\xBA\xA1\xCC\x81");
    /* Hangul L, V, T to a syllable and back. */
    expect_form(PARO_NORMAL_FORM_NFC, "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C");
    expect_form(PARO_NORMAL_FORM_NFD, "\xED\x95\x9C", "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB");
    /* The ligature fi, a full-width A, the angstrom sign, a circled 1. */
    expect_form(PARO_NORMAL_FORM_NFC, "\xEF\xAC\x81 \xEF\xBC\xA1 \xE2\x84\xAB",
                "\xEF\xAC\x81 \xEF\xBC\xA1 \xC3\x85");
    expect_form(PARO_NORMAL_FORM_NFKC, "\xEF\xAC\x81 \xEF\xBC\xA1 \xE2\x84\xAB \xE2\x91\xA0",
                "fi A \xC3\x85 1");
    expect_form(PARO_NORMAL_FORM_NFKD, "\xE2\x84\xAB\xEF\xAC\x81",
                "A\xCC\x8A"
                "fi");
    expect_form(PARO_NORMAL_FORM_NFKC, "a\xC2\xA0z", "a z");
    expect_form(PARO_NORMAL_FORM_NFC, "", "");
}

/* What does not change is not copied. */
static void test_untouched(void **state)
{
    static const char text[] = "plain, caf\xC3\xA9";
    paro_error err;
    paro_buffer buffer = {0};
    const char *out = NULL;
    size_t n = 0;

    (void)state;
    assert_ok(paro_normalize(&err, PARO_NORMAL_FORM_NFC, text, strlen(text), &buffer, &out, &n));
    assert_ptr_equal(out, text);
    assert_int_equal(n, strlen(text));
    assert_null(buffer.data);
}

/* A normal form is its own normal form, and working in stretches makes no difference: each half of
 * a text cut before an ASCII letter gives half of the result. */
static void test_properties(void **state)
{
    static const uint32_t tops[] = {0x80, 0x250, 0x370, 0x1200, 0x2200, 0xB000, 0x11000};
    paro_error err;
    paro_rng rng;

    (void)state;
    paro_rng_seed(&rng, 5);
    for (int round = 0; round < 2000; round++) {
        paro_normal_form form = (paro_normal_form)(round % 4);
        paro_buffer text = {0};
        paro_buffer buffers[4] = {{0}, {0}, {0}, {0}};
        size_t cut = 0;
        const char *whole = NULL;
        const char *parts[2] = {NULL, NULL};
        const char *again = NULL;
        size_t n_whole = 0;
        size_t n_parts[2] = {0, 0};
        size_t n_again = 0;

        for (int half = 0; half < 2; half++) {
            cut = text.n_bytes;
            assert_true(paro_buffer_append_text(&text, "x"));
            for (uint64_t n = paro_rng_below(&rng, 12); n > 0; n--) {
                uint32_t low = paro_rng_below(&rng, 3) == 0 ? 0x300 : 0;
                uint32_t top = low == 0 ? tops[paro_rng_below(&rng, 7)] : 0x350;

                assert_true(
                    paro_utf8_append(&text, low + (uint32_t)paro_rng_below(&rng, top - low)));
            }
        }
        assert_ok(
            paro_normalize(&err, form, text.data, text.n_bytes, &buffers[0], &whole, &n_whole));
        assert_ok(paro_normalize(&err, form, whole, n_whole, &buffers[1], &again, &n_again));
        assert_ok(paro_normalize(&err, form, text.data, cut, &buffers[2], &parts[0], &n_parts[0]));
        assert_ok(paro_normalize(&err, form, text.data + cut, text.n_bytes - cut, &buffers[3],
                                 &parts[1], &n_parts[1]));
        assert_int_equal(n_again, n_whole);
        assert_memory_equal(again, whole, n_whole);
        assert_int_equal(n_parts[0] + n_parts[1], n_whole);
        assert_memory_equal(parts[0], whole, n_parts[0]);
        assert_memory_equal(parts[1], whole + n_parts[0], n_parts[1]);
        for (int i = 0; i < 4; i++)
            paro_buffer_free(&buffers[i]);
        paro_buffer_free(&text);
    }
}

/* A megabyte of marks in the worst order: sorted in linear time. */
static void test_many_marks(void **state)
{
    enum { N_PAIRS = 1 << 18 };
    paro_error err;
    paro_buffer text = {0};
    paro_buffer buffer = {0};
    const char *out = NULL;
    size_t n = 0;

    (void)state;
    for (int i = 0; i < N_PAIRS; i++)
        assert_true(paro_buffer_append_text(&text, "\xCC\x81\xCC\xA3"));
    assert_ok(
        paro_normalize(&err, PARO_NORMAL_FORM_NFD, text.data, text.n_bytes, &buffer, &out, &n));
    assert_int_equal(n, text.n_bytes);
    for (size_t i = 0; i < n; i += 2) {
        if (memcmp(out + i, i < n / 2 ? "\xCC\xA3" : "\xCC\x81", 2) != 0)
            fail_msg("mark %zu", i / 2);
    }
    paro_buffer_free(&text);
    paro_buffer_free(&buffer);
}

static void test_classes(void **state)
{
    static const uint32_t spaces[] = {9,      10,     13,     32,     0x85,   0xA0,  0x1680,
                                      0x2000, 0x200A, 0x2028, 0x202F, 0x205F, 0x3000};
    static const uint32_t no_spaces[] = {0, 8, 14, 0x1C, 0x1F, 0x180E, 0x200B, 0x2060, 0xFEFF, 'a'};
    static const uint32_t words[] = {'a',   'Z',    '5',    '_',    0xE9,
                                     0x301, 0x200D, 0x24B6, 0x4E2D, 0x2160};
    static const uint32_t no_words[] = {' ', '-', 0xB2, 0x2026, 0x20AC, 0x2460, 0x1F600, 0};

    (void)state;
    for (size_t i = 0; i < sizeof(spaces) / sizeof(*spaces); i++)
        assert_true(paro_is_white_space(spaces[i]));
    for (size_t i = 0; i < sizeof(no_spaces) / sizeof(*no_spaces); i++)
        assert_false(paro_is_white_space(no_spaces[i]));
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        assert_true(paro_is_word(words[i]));
    for (size_t i = 0; i < sizeof(no_words) / sizeof(*no_words); i++)
        assert_false(paro_is_word(no_words[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),      cmocka_unit_test(test_untouched),
        cmocka_unit_test(test_properties), cmocka_unit_test(test_many_marks),
        cmocka_unit_test(test_classes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
