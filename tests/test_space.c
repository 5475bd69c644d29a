/* SPDX-License-Identifier: MIT
 *
 * families/space.c: order, constraint, stopping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "families/family.h"
#include "tests/support.h"

static const char *const colours[] = {"red", "green"};

static const paro_param params[] = {{"a", {1, 2, 4}, 3, NULL, "a number"},
                                    {"colour", {0, 1}, 2, colours, "a name"},
                                    {"b", {7}, 1, NULL, "only one"},
                                    {NULL, {0}, 0, NULL, NULL}};

static const char *constraint(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch)
{
    (void)problem, (void)arch;
    return config->values[0] == 2 && config->values[1] == 1 ? "not green twice" : NULL;
}

static const paro_family family = {.name = "toy", .params = params, .constraint = constraint};

typedef struct seen {
    char text[256];
    int n, stop_at;
} seen;

static bool see(void *context, const paro_kernel_config *config)
{
    seen *s = context;
    char text[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_kernel_config_print(&family, config, text);
    snprintf(s->text + strlen(s->text), sizeof s->text - strlen(s->text), "%s ", text);
    return ++s->n != s->stop_at;
}

static void test_order(void **state)
{
    const paro_problem problem = {.family = &family};
    seen all = {.stop_at = -1}, some = {.stop_at = 2};
    (void)state;
    assert_int_equal(paro_space_raw(&family), 6);
    paro_space_enumerate(&problem, NULL, see, &all);
    assert_string_equal(all.text, "a=1,colour=red,b=7 a=1,colour=green,b=7 a=2,colour=red,b=7 "
                                  "a=4,colour=red,b=7 a=4,colour=green,b=7 ");
    paro_space_enumerate(&problem, NULL, see, &some);
    assert_int_equal(some.n, 2);
}

static void test_no_params(void **state)
{
    static const paro_param none[] = {{NULL, {0}, 0, NULL, NULL}};
    const paro_family plain = {.name = "plain", .params = none, .constraint = constraint};
    const paro_problem problem = {.family = &plain};
    seen all = {.stop_at = -1};
    (void)state;
    assert_int_equal(paro_space_raw(&plain), 1);
    paro_space_enumerate(&problem, NULL, see, &all);
    assert_int_equal(all.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_no_params),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
