/* SPDX-License-Identifier: MIT
 *
 * The 256 characters that spell bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "tests/support.h"
#include "tokenizer/bpe_alphabet.h"

static void test_every_byte(void **state)
{
    bool seen[0x200] = {false};

    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[2];
        char back[2];
        size_t n = paro_bpe_spell((unsigned char)byte, text);
        size_t n_back = 0;
        size_t length;
        uint32_t point;

        assert_int_equal(paro_utf8_next(text, n, &length), PARO_UTF8_KIND_CHARACTER);
        assert_int_equal(length, n);
        point = paro_utf8_code_point(text, n);
        assert_true(point < 0x144 && !seen[point]);
        seen[point] = true;
        assert_true(paro_bpe_unspell(text, n, back, &n_back));
        assert_int_equal(n_back, 1);
        assert_int_equal((unsigned char)back[0], byte);
    }
}

static void test_known(void **state)
{
    char out[16];
    size_t n = 0;

    (void)state;
    assert_true(paro_bpe_unspell("\xC4\xA0word\xC4\x8A", 8, out, &n)); /* "Ġword", "Ċ" */
    assert_int_equal(n, 6);
    assert_memory_equal(out, " word\n", 6);
    assert_true(paro_bpe_unspell("", 0, out, &n));
    assert_int_equal(n, 0);
}

static void test_not_in_it(void **state)
{
    static const char *const texts[] = {"a b",      "\n",       "\xC2\xA0",
                                        "\xC2\xAD", "\xC5\x84", "\xE4\xB8\xAD"};
    char out[16];
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        assert_false(paro_bpe_unspell(texts[i], strlen(texts[i]), out, &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_not_in_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
