/* SPDX-License-Identifier: MIT
 *
 * base/arena.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/rng.h"
#include "tests/support.h"

static void test_memory_is_zeroed_aligned_and_separate(void **state)
{
    (void)state;
    paro_arena arena = {0};
    paro_rng rng;
    paro_rng_seed(&rng, 1);
    enum { N = 500 };
    unsigned char *pieces[N];
    size_t sizes[N];
    for (int i = 0; i < N; i++) {
        /* mostly small, some larger than a block */
        sizes[i] = (size_t)paro_rng_below(&rng, i % 50 == 0 ? 200000 : 300);
        pieces[i] = paro_arena_alloc(&arena, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], i & 0xFF, sizes[i]);
    }
    for (int i = 0; i < N; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(pieces[i][k], i & 0xFF);
    paro_arena_release(&arena);
    assert_null(arena.head);

    /* Empty and ready again. */
    assert_non_null(paro_arena_alloc(&arena, 10));
    paro_arena_release(&arena);
    paro_arena_release(&arena);
}

static void test_impossible_sizes_give_null(void **state)
{
    (void)state;
    paro_arena arena = {0};
    assert_null(paro_arena_alloc(&arena, SIZE_MAX));
    assert_null(paro_arena_alloc(&arena, SIZE_MAX - 15));
    assert_null(paro_arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(paro_arena_array(&arena, 3, SIZE_MAX / 2));
    assert_null(paro_arena_strndup(&arena, "x", SIZE_MAX));
    assert_non_null(paro_arena_array(&arena, 0, 8));
    assert_non_null(paro_arena_array(&arena, 8, 0));
    assert_non_null(paro_arena_alloc(&arena, 0));
    paro_arena_release(&arena);
}

static void test_texts(void **state)
{
    (void)state;
    paro_arena arena = {0};
    assert_string_equal(paro_arena_strdup(&arena, "hello"), "hello");
    assert_string_equal(paro_arena_strdup(&arena, ""), "");
    assert_string_equal(paro_arena_strndup(&arena, "hello", 4), "hell");
    assert_string_equal(paro_arena_printf(&arena, "%s-%05d", "n", 42), "n-00042");
    char text[100001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_string_equal(paro_arena_printf(&arena, "%s", text), text);
    paro_arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_zeroed_aligned_and_separate),
        cmocka_unit_test(test_impossible_sizes_give_null),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
