/* SPDX-License-Identifier: MIT
 *
 * Patterns for names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/glob.h"
#include "tests/support.h"

static bool matches(const char *pattern, const char *name)
{
    paro_error err;
    paro_arena arena = {0};
    paro_glob glob;
    assert_ok(paro_glob_compile(&err, &arena, pattern, &glob));
    bool yes = paro_glob_match(&glob, name);
    paro_arena_release(&arena);
    return yes;
}

static void test_match(void **state)
{
    (void)state;
    assert_true(matches("a.b", "a.b"));
    assert_false(matches("a.b", "a.bc"));
    assert_false(matches("a.b", "xa.b"));
    assert_true(matches("*", ""));
    assert_true(matches("*", "anything"));
    assert_true(matches("*.q_proj", "model.layers.0.self_attn.q_proj"));
    assert_false(matches("*.q_proj", "model.layers.0.self_attn.q_proj.weight"));
    assert_true(matches("*a*b*c", "xxaxxbxbxxc"));
    assert_false(matches("*a*b*c", "xxaxxcxxb"));
    assert_true(matches("layers.?", "layers.1"));
    assert_false(matches("layers.?", "layers.10"));
    assert_true(matches("{q,k}_proj", "k_proj"));
    assert_false(matches("{q,k}_proj", "v_proj"));
    assert_true(matches("x{,y}", "x"));
    assert_true(matches("x{,y}", "xy"));
    assert_true(matches("{a{b,c},d}{e,f}", "acf"));
    assert_true(matches("{a{b,c},d}{e,f}", "de"));
    assert_false(matches("{a{b,c},d}{e,f}", "af"));
    assert_true(matches("*.layers.{0,1{0,1}}.*", "model.layers.11.mlp"));
    assert_false(matches("*.layers.{0,1{0,1}}.*", "model.layers.1.mlp"));
    assert_true(matches("a,b", "a,b"));
    assert_true(matches("[x]", "[x]"));
}

static void test_wrong_patterns(void **state)
{
    (void)state;
    paro_error err;
    paro_arena arena = {0};
    paro_glob glob;
    char text[PARO_GLOB_MAX_BYTES + 2];
    assert_fails(paro_glob_compile(&err, &arena, "", &glob), PARO_STATUS_INVALID_ARGUMENT, "empty");
    assert_fails(paro_glob_compile(&err, &arena, "a{b", &glob), PARO_STATUS_INVALID_ARGUMENT,
                 "braces");
    assert_fails(paro_glob_compile(&err, &arena, "a}b{", &glob), PARO_STATUS_INVALID_ARGUMENT,
                 "braces");
    assert_fails(paro_glob_compile(&err, &arena, "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", &glob),
                 PARO_STATUS_INVALID_ARGUMENT, "more than 64");
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_fails(paro_glob_compile(&err, &arena, text, &glob), PARO_STATUS_INVALID_ARGUMENT,
                 "at most 512");
    assert_ok(paro_glob_compile(&err, &arena, "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", &glob));
    assert_int_equal(glob.n_alternatives, 64);
    assert_string_equal(glob.alternatives[63], "bbbbbb");
    assert_string_equal(glob.text, "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}");
    paro_arena_release(&arena);
}

/* What a matcher that tries everything cannot do. */
static void test_no_explosion(void **state)
{
    (void)state;
    char name[400];
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_false(matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name));
    char deep[PARO_GLOB_MAX_BYTES + 1];
    memset(deep, '{', 255);
    deep[255] = 'x';
    memset(deep + 256, '}', 255);
    deep[511] = '\0';
    assert_true(matches(deep, "x"));
    char wide[PARO_GLOB_MAX_BYTES + 1] = "";
    for (int i = 0; i < 170; i++)
        strcat(wide, "{x}");
    name[170] = '\0';
    memset(name, 'x', 170);
    assert_true(matches(wide, name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_wrong_patterns),
        cmocka_unit_test(test_no_explosion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
