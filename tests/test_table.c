/* SPDX-License-Identifier: MIT
 *
 * cli/table.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cli/table.h"
#include "tests/cli_capture.h"

static void test_columns_are_aligned(void **state)
{
    (void)state;
    static const paro_column columns[] = {
        {.title = "name"}, {.title = "n", .right = true}, {.title = "rule"}};
    paro_table *table = paro_table_new(columns, 3);
    capture *c = capture_new();

    paro_table_cell(table, "%s", "漢字");
    paro_table_cell(table, "%d", 7);
    paro_table_cell(table, "x");
    paro_table_cell(table, "%s", "plain text");
    paro_table_cell(table, "%d", 12345);
    paro_table_cell(table, "%s", "y z");
    assert_true(paro_table_print(table, c->stream));
    assert_string_equal(capture_text(c), "name            n  rule\n"
                                         "----------  -----  ----\n"
                                         "漢字            7  x\n"
                                         "plain text  12345  y z\n");
    paro_table_free(table);
    capture_free(c);
}

static void test_rows_are_printed_once_as_they_come(void **state)
{
    (void)state;
    static const paro_column columns[] = {{.title = "a", .width = 4},
                                          {.title = "b", .right = true}};
    paro_table *table = paro_table_new(columns, 2);
    capture *c = capture_new();

    assert_true(paro_table_print(table, c->stream));
    assert_string_equal(capture_text(c), "a     b\n----  -\n");
    paro_table_cell(table, "one");
    paro_table_cell(table, "1");
    paro_table_cell(table, "not yet");
    assert_true(paro_table_print(table, c->stream));
    paro_table_cell(table, "2");
    assert_true(paro_table_print(table, c->stream));
    assert_true(paro_table_print(table, c->stream));
    assert_string_equal(capture_text(c), "a     b\n----  -\none      1\nnot yet  2\n");
    paro_table_free(table);
    capture_free(c);
}

static void test_cells_cannot_control_the_terminal(void **state)
{
    (void)state;
    static const paro_column columns[] = {{.title = "a"}};
    paro_table *table = paro_table_new(columns, 1);
    capture *c = capture_new();

    paro_table_cell(table, "%s", "\x1b[2Jname\nsecond line\xff");
    assert_true(paro_table_print(table, c->stream));
    assert_null(strchr(capture_text(c), '\x1b'));
    assert_non_null(strstr(capture_text(c), "[2Jname second line\xef\xbf\xbd\n"));
    paro_table_free(table);
    capture_free(c);
}

static void test_many_rows(void **state)
{
    (void)state;
    static const paro_column columns[] = {{.title = "i", .right = true}, {.title = "j"}};
    paro_table *table = paro_table_new(columns, 2);
    capture *c = capture_new();
    size_t n_lines = 0;

    for (int i = 0; i < 1000; i++) {
        paro_table_cell(table, "%d", i);
        paro_table_cell(table, "%d", i * i);
    }
    assert_true(paro_table_print(table, c->stream));
    for (const char *p = capture_text(c); *p; p++)
        n_lines += *p == '\n';
    assert_int_equal(n_lines, 1002);
    assert_non_null(strstr(capture_text(c), "\n999  998001\n"));
    paro_table_free(table);
    capture_free(c);
}

static void test_null_is_a_table_that_ran_out_of_memory(void **state)
{
    (void)state;
    capture *c = capture_new();
    paro_table_cell(NULL, "x");
    assert_false(paro_table_print(NULL, c->stream));
    assert_string_equal(capture_text(c), "");
    paro_table_free(NULL);
    capture_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_are_aligned),
        cmocka_unit_test(test_rows_are_printed_once_as_they_come),
        cmocka_unit_test(test_cells_cannot_control_the_terminal), cmocka_unit_test(test_many_rows),
        cmocka_unit_test(test_null_is_a_table_that_ran_out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
