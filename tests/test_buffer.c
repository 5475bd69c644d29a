/* SPDX-License-Identifier: MIT
 *
 * base/buffer.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "tests/support.h"

static void test_append_grows_and_terminates(void **state)
{
    (void)state;
    paro_buffer buffer = {0};
    size_t expected = 0;
    for (int i = 0; i < 2000; i++) {
        assert_true(paro_buffer_append(&buffer, "abcdefghij", (size_t)(i % 11)));
        expected += (size_t)(i % 11);
        assert_int_equal(buffer.n_bytes, expected);
        assert_true(buffer.capacity > buffer.n_bytes);
        assert_int_equal(buffer.data[buffer.n_bytes], 0);
    }
    paro_buffer_clear(&buffer);
    assert_int_equal(buffer.n_bytes, 0);
    assert_string_equal(buffer.data, "");
    assert_true(paro_buffer_append_text(&buffer, "x=") &&
                paro_buffer_printf(&buffer, "%d,%s", 12, "y"));
    assert_string_equal(buffer.data, "x=12,y");
    paro_buffer_free(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.capacity, 0);
    paro_buffer_free(&buffer);
    paro_buffer_free(NULL);
}

static void test_bytes_may_be_zero(void **state)
{
    (void)state;
    paro_buffer buffer = {0};
    assert_true(paro_buffer_append(&buffer, "a\0b", 3));
    assert_int_equal(buffer.n_bytes, 3);
    assert_memory_equal(buffer.data, "a\0b\0", 4);
    assert_true(paro_buffer_append(&buffer, NULL, 0));
    assert_int_equal(buffer.n_bytes, 3);
    paro_buffer_free(&buffer);
}

static void test_impossible_sizes_change_nothing(void **state)
{
    (void)state;
    paro_buffer buffer = {0};
    assert_false(paro_buffer_reserve(&buffer, SIZE_MAX));
    assert_null(buffer.data);
    assert_true(paro_buffer_append_text(&buffer, "kept"));
    paro_buffer before = buffer;
    assert_false(paro_buffer_reserve(&buffer, SIZE_MAX));
    assert_false(paro_buffer_reserve(&buffer, SIZE_MAX - 2));
    assert_false(paro_buffer_reserve(&buffer, SIZE_MAX / 2));
    assert_memory_equal(&buffer, &before, sizeof buffer);
    assert_string_equal(buffer.data, "kept");
    paro_buffer_free(&buffer);
}

static void test_take_hands_over(void **state)
{
    (void)state;
    paro_buffer buffer = {0};
    assert_true(paro_buffer_reserve(&buffer, 0));
    char *empty = paro_buffer_take(&buffer);
    assert_non_null(empty);
    assert_string_equal(empty, "");
    free(empty);
    assert_true(paro_buffer_append_text(&buffer, "mine"));
    char *text = paro_buffer_take(&buffer);
    assert_string_equal(text, "mine");
    assert_null(buffer.data);
    assert_int_equal(buffer.n_bytes, 0);
    assert_true(paro_buffer_append_text(&buffer, "new"));
    assert_string_equal(text, "mine");
    free(text);
    paro_buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_grows_and_terminates),
        cmocka_unit_test(test_bytes_may_be_zero),
        cmocka_unit_test(test_impossible_sizes_change_nothing),
        cmocka_unit_test(test_take_hands_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
