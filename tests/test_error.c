/* SPDX-License-Identifier: MIT
 *
 * base/error.c: messages that are one printable line whatever went into them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/error.h"
#include "tests/support.h"

static void test_fail_fills_and_returns(void **state)
{
    (void)state;
    paro_error err;
    assert_int_equal(paro_fail(&err, PARO_STATUS_FORMAT, "%s: expected %d", "f", 3),
                     PARO_STATUS_FORMAT);
    assert_int_equal(err.status, PARO_STATUS_FORMAT);
    assert_string_equal(err.message, "f: expected 3");
    assert_int_equal(paro_fail(NULL, PARO_STATUS_LIMIT, "nobody reads this"), PARO_STATUS_LIMIT);
    assert_int_equal(paro_fail_in(NULL, PARO_STATUS_LIMIT, "x"), PARO_STATUS_LIMIT);
    assert_int_equal(paro_fail_memory(NULL, 1, "x"), PARO_STATUS_OUT_OF_MEMORY);
    assert_int_equal(paro_fail_errno(NULL, EIO, "x", "y"), PARO_STATUS_IO);
}

static void test_fail_in_prefixes(void **state)
{
    (void)state;
    paro_error err;
    paro_fail(&err, PARO_STATUS_NOT_FOUND, "no such tensor");
    assert_int_equal(paro_fail_in(&err, PARO_STATUS_NOT_FOUND, "%s/%d", "model", 7),
                     PARO_STATUS_NOT_FOUND);
    assert_string_equal(err.message, "model/7: no such tensor");
}

static void test_messages_are_printable(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},           {"two\nlines\ttab\x7f", "two?lines tab?"},
        {"\x1b[31mred", "?[31mred"},  {"Grüße, 世界, 🙂", "Grüße, 世界, 🙂"},
        {"\xff\xfe", "??"},           {"a\xc3", "a?"},
        {"\xc0\xaf", "??"},           /* overlong '/' */
        {"\xe0\x80\xaf", "???"},      /* overlong, three bytes */
        {"\xed\xa0\x80", "???"},      /* a surrogate */
        {"\xf4\x90\x80\x80", "????"}, /* past U+10FFFF */
        {"\xf0\x9f\x99", "???"},      /* cut */
        {"\xe2\x82z", "??z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        paro_error err;
        paro_fail(&err, PARO_STATUS_FORMAT, "%s", cases[i].in);
        assert_string_equal(err.message, cases[i].out);
    }
}

/* Is every byte of text part of a whole UTF-8 character or ASCII? Good enough for é. */
static void assert_no_half_character(const char *text)
{
    size_t n = strlen(text);
    assert_true(n == 0 || ((unsigned char)text[n - 1] != 0xC3));
}

static void test_long_messages_are_cut_between_characters(void **state)
{
    (void)state;
    for (size_t pad = 0; pad < 4; pad++) {
        char text[3000];
        memset(text, 'a', pad);
        for (size_t i = pad; i + 1 < sizeof text - 1; i += 2)
            memcpy(text + i, "é", 2);
        text[pad + 2 * ((sizeof text - 1 - pad) / 2)] = 0;
        paro_error err;
        paro_fail(&err, PARO_STATUS_FORMAT, "%s", text);
        size_t n = strlen(err.message);
        assert_in_range(n, sizeof err.message - 3, sizeof err.message - 1);
        assert_no_half_character(err.message);
        assert_null(strchr(err.message, '?'));
        assert_int_equal(strncmp(err.message, text, n), 0);

        paro_fail_in(&err, PARO_STATUS_FORMAT, "%.*s", (int)(900 + pad), "where");
        assert_int_equal(strncmp(err.message, "where: ", 7), 0);
        assert_no_half_character(err.message);
        assert_null(strchr(err.message, '?'));

        paro_fail_in(&err, PARO_STATUS_FORMAT, "%s", text);
        assert_no_half_character(err.message);
        assert_null(strchr(err.message, '?'));
    }
}

static void test_errno(void **state)
{
    (void)state;
    paro_error err;
    assert_fails(paro_fail_errno(&err, ENOENT, "open", "p"), PARO_STATUS_NOT_FOUND,
                 "p: cannot open: No such file");
    assert_fails(paro_fail_errno(&err, EACCES, "open", "p"), PARO_STATUS_IO, "Permission denied");
    assert_fails(paro_fail_errno(&err, ENOSPC, "write", "p"), PARO_STATUS_IO, "p: cannot write: ");
    assert_fails(paro_fail_errno(&err, ENOMEM, "map", "p"), PARO_STATUS_OUT_OF_MEMORY, "p: ");
    assert_fails(paro_fail_memory(&err, 77, "a thing"), PARO_STATUS_OUT_OF_MEMORY,
                 "out of memory (asked for 77 bytes for a thing)");
}

static void test_status_names(void **state)
{
    (void)state;
    for (int i = PARO_STATUS_OK; i <= PARO_STATUS_CANCELLED; i++) {
        const char *name = paro_status_name((paro_status)i);
        assert_non_null(name);
        assert_string_not_equal(name, "unknown status");
        for (int k = 0; k < i; k++)
            assert_string_not_equal(name, paro_status_name((paro_status)k));
    }
    assert_string_equal(paro_status_name((paro_status)999), "unknown status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail_fills_and_returns),
        cmocka_unit_test(test_fail_in_prefixes),
        cmocka_unit_test(test_messages_are_printable),
        cmocka_unit_test(test_long_messages_are_cut_between_characters),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_status_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
