/* SPDX-License-Identifier: MIT
 *
 * Names that someone may have meant.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/nearest.h"
#include "tests/support.h"

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(paro_edit_distance("", ""), 0);
    assert_int_equal(paro_edit_distance("abc", ""), 3);
    assert_int_equal(paro_edit_distance("", "abc"), 3);
    assert_int_equal(paro_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(paro_edit_distance("ab", "ba"), 2);
    assert_int_equal(paro_edit_distance("*", "anything"), 0);
    assert_int_equal(paro_edit_distance("**", ""), 0);
    assert_int_equal(paro_edit_distance("*.q_porj", "model.q_proj"), 2);
    assert_int_equal(paro_edit_distance("a?c", "abc"), 0);
    assert_int_equal(paro_edit_distance("a?c", "ac"), 1);
    assert_int_equal(paro_edit_distance("*b*", "aaaa"), 1);
}

static void test_long_names_are_cut(void **state)
{
    (void)state;
    char a[1000];
    memset(a, 'a', sizeof a);
    a[sizeof a - 1] = '\0';
    assert_int_equal(paro_edit_distance(a, ""), PARO_NEAREST_MAX_BYTES);
    assert_int_equal(paro_edit_distance("", a), PARO_NEAREST_MAX_BYTES);
    assert_int_equal(paro_edit_distance(a, a), 0);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const keys[] = {"bits", "group_size", "linears", "keep"};
    static const char *const names[] = {"l.0.q_proj", "l.0.up", "l.1.q_proj", "l.1.up",
                                        "l.10.k_proj"};
    char out[100];
    paro_nearest_of(out, sizeof out, "bit", 4, keys);
    assert_string_equal(out, "bits, keep, linears");
    paro_nearest_of(out, sizeof out, "*.q_porj", 5, names);
    assert_string_equal(out, "l.0.q_proj, l.10.k_proj, l.0.up");
    /* The nearest is shown, not the first of those that differ in digits. */
    paro_nearest_of(out, sizeof out, "l.1.q_prj", 5, names);
    assert_int_equal(strncmp(out, "l.1.q_proj", 10), 0);
    paro_nearest_of(out, sizeof out, "x", 0, names);
    assert_string_equal(out, "");
    paro_nearest_of(out, 8, "bits", 4, keys);
    assert_string_equal(out, "bits, k");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_long_names_are_cut),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
