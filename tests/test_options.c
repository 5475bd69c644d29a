/* SPDX-License-Identifier: MIT
 *
 * cli/options.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "tests/cli_capture.h"

typedef struct test_args {
    paro_global_args global;
    bool flag;
    const char *string;
    paro_strings list;
    uint64_t number;
    double real;
    uint64_t bytes;
    int choice;
} test_args;

static const char *const colours[] = {"red", "green", NULL};

#define ROW(n, l, k, member, arg, ...)                                                             \
    {                                                                                              \
        .name = n, .letter = l, .kind = PARO_OPTION_##k, .offset = offsetof(test_args, member),    \
        .argument = arg, .help = "about " n, __VA_ARGS__                                           \
    }

static const paro_option table[] = {
    ROW("flag", 'f', FLAG, flag, NULL, .min = 0),
    ROW("string", 's', STRING, string, "TEXT", .min = 0),
    ROW("list", 'l', STRINGS, list, "TEXT", .min = 0),
    ROW("number", 'n', NUMBER, number, "N", .min = 2, .max = 4294967295.0),
    ROW("real", 'r', REAL, real, "X", .min = 0, .max = 1),
    ROW("bytes", 'b', BYTES, bytes, "SIZE", .min = 1, .max = 1e15),
    ROW("choice", 'c', CHOICE, choice, "red|green", .choices = colours),
    ROW("colour-space", 0, FLAG, flag, NULL, .min = 0),
    {0}};

enum { MAX_WORDS = 16 };

/* A parse of a command line given as words between single spaces; `with_rest`: positional
 * arguments after the first go to the list. */
typedef struct parse {
    test_args args;
    paro_arguments arguments;
    char *argv[MAX_WORDS + 1];
    int argc;
    char *copy;
    char message[PARO_OPTION_MESSAGE_BYTES];
    const char *wrong;
} parse;

static void split(parse *p, const char *line)
{
    memset(p, 0, sizeof *p);
    p->copy = strdup(line);
    assert_non_null(p->copy);
    char *rest = p->copy;
    for (char *word; (word = strsep(&rest, " ")) && p->argc < MAX_WORDS;)
        p->argv[p->argc++] = word;
}

static const char *parse_line(parse *p, const char *line, bool with_rest)
{
    split(p, line);
    p->arguments.max_positional = 1;
    p->arguments.rest = with_rest ? &p->args.list : NULL;
    p->wrong = paro_options_parse(table, p->argc, p->argv, &p->args, &p->arguments, p->message);
    return p->wrong;
}

static void parse_free(parse *p)
{
    free(p->arguments.positional.items);
    paro_options_free(table, &p->args);
    free(p->copy);
}

static void test_every_kind_in_every_form(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "cmd --flag --string=a --list=x --number=7 --real=0.5 --bytes=2kB --choice=green path",
        "cmd --flag --string a --list x --number 7 --real 0.5 --bytes 2000 --choice green path",
        "cmd path -f -s a -l x -n 7 -r .5 -b 2000B -c green",
        "cmd -fsa -lx path -n7 -r5e-1 -b2KB -cgreen",
        "cmd --fl --str a --li x --num 7 --re 0.5 --by 2kB --ch green path"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        parse p;
        assert_null(parse_line(&p, lines[i], false));
        assert_true(p.args.flag);
        assert_string_equal(p.args.string, "a");
        assert_int_equal(p.args.list.n_items, 1);
        assert_string_equal(p.args.list.items[0], "x");
        assert_int_equal(p.args.number, 7);
        assert_true(p.args.real == 0.5);
        assert_int_equal(p.args.bytes, 2000);
        assert_int_equal(p.args.choice, 1);
        assert_int_equal(p.arguments.positional.n_items, 1);
        assert_string_equal(p.arguments.positional.items[0], "path");
        parse_free(&p);
    }
}

static void test_rest_comes_in_order(void **state)
{
    (void)state;
    parse p;
    assert_null(parse_line(&p, "cmd model --list a b -l c -n 3 d -- --list -e", true));
    static const char *const expected[] = {"a", "b", "c", "d", "--list", "-e"};
    assert_int_equal(p.arguments.positional.n_items, 1);
    assert_string_equal(p.arguments.positional.items[0], "model");
    assert_int_equal(p.args.list.n_items, 6);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(p.args.list.items[i], expected[i]);
    parse_free(&p);

    assert_null(parse_line(&p, "cmd --list - -- -model", true));
    assert_string_equal(p.args.list.items[0], "-");
    assert_string_equal(p.arguments.positional.items[0], "-model");
    parse_free(&p);
}

static void test_options_that_come_first(void **state)
{
    (void)state;
    parse p;
    split(&p, "cmd -l x script --flag -z -- -n");
    p.arguments =
        (paro_arguments){.max_positional = 1, .rest = &p.args.list, .options_first = true};
    assert_null(paro_options_parse(table, p.argc, p.argv, &p.args, &p.arguments, p.message));
    static const char *const expected[] = {"x", "--flag", "-z", "--", "-n"};
    assert_string_equal(p.arguments.positional.items[0], "script");
    assert_int_equal(p.args.list.n_items, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(p.args.list.items[i], expected[i]);
    assert_false(p.args.flag);
    parse_free(&p);
}

static void test_the_last_value_counts(void **state)
{
    (void)state;
    parse p;
    assert_null(parse_line(&p, "cmd -n 3 --number=5 -s a -s b", false));
    assert_int_equal(p.args.number, 5);
    assert_string_equal(p.args.string, "b");
    parse_free(&p);
}

static void test_wrong_options_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"cmd --nubmer=3", "unknown option '--nubmer'; did you mean '--number'?"},
        {"cmd --frobnicate", "unknown option '--frobnicate'"},
        {"cmd --", NULL},
        {"cmd -x", "unknown option '-x'"},
        {"cmd -fx", "unknown option '-x'"},
        {"cmd --=3", "unknown option '--=3'"},
        {"cmd --b=1 --c=red", "option '--c' is ambiguous: it may be --choice, --colour-space"},
        {"cmd --flag=3", "option '--flag' takes no argument"},
        {"cmd --help=yes", "option '--help' takes no argument"},
        {"cmd --number", "option '--number' needs an argument: --number=N"},
        {"cmd -n", "option '--number' needs an argument: --number=N"},
        {"cmd a b", "unexpected argument 'b'"},
        {"cmd a -- -b", "unexpected argument '-b'"},
        {"cmd --choice=blue", "option '--choice': 'blue' is not one of: red, green"},
        {"cmd --choice=", "option '--choice': '' is not one of: red, green"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        parse p;
        const char *wrong = parse_line(&p, cases[i].line, false);
        if (cases[i].words) {
            assert_non_null(wrong);
            assert_string_equal(wrong, cases[i].words);
        } else {
            assert_null(wrong);
        }
        parse_free(&p);
    }
}

static void test_numbers_are_strict(void **state)
{
    (void)state;
    static const char *const wrong[] = {"cmd -n 1",         "cmd -n 4294967296",
                                        "cmd -n -3",        "cmd -n 3x",
                                        "cmd -n 0x10",      "cmd -n 1e3",
                                        "cmd -n +3",        "cmd --number=",
                                        "cmd -n 3.0",       "cmd -n 99999999999999999999999",
                                        "cmd -r 1.01",      "cmd -r -0.5",
                                        "cmd -r nan",       "cmd -r inf",
                                        "cmd -r 0.5x",      "cmd --real=",
                                        "cmd -r 1e999",     "cmd -b 0",
                                        "cmd -b 5XB",       "cmd -b 5gb",
                                        "cmd -b -5",        "cmd -b GB",
                                        "cmd -b 1e300",     "cmd --bytes=",
                                        "cmd --threads=-1", "cmd --threads=99999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        parse p;
        const char *message = parse_line(&p, wrong[i], false);
        if (!message || !strstr(message, "expected a ") || !strstr(message, "found '"))
            fail_msg("%s: %s", wrong[i], message ? message : "(accepted)");
        parse_free(&p);
    }
    parse p;
    assert_null(parse_line(&p, "cmd -n 4294967295 -r 1 -b 1.5GiB", false));
    assert_int_equal(p.args.number, 4294967295);
    assert_int_equal(p.args.bytes, 1610612736);
    parse_free(&p);
}

static void test_whole_numbers(void **state)
{
    (void)state;
    uint64_t value = 1;
    assert_true(paro_options_number("18446744073709551615", &value));
    assert_true(value == UINT64_MAX);
    assert_false(paro_options_number("18446744073709551616", &value));
    assert_false(paro_options_number("", &value));
    assert_false(paro_options_number(" 1", &value));
    assert_true(value == UINT64_MAX);
}

static void test_global_options_stop_at_the_command(void **state)
{
    (void)state;
    parse p;
    paro_global_args global = {0};
    int n_read = 0;
    split(&p, "paro -q --threads 3 eval --verbose");
    assert_null(paro_options_parse_global(p.argc, p.argv, &global, &n_read, p.message));
    assert_int_equal(n_read, 4);
    assert_true(global.quiet);
    assert_false(global.verbose);
    assert_int_equal(global.n_threads, 3);
    parse_free(&p);

    split(&p, "paro --text a");
    assert_non_null(paro_options_parse_global(p.argc, p.argv, &global, &n_read, p.message));
    assert_int_equal(n_read, 4);
    parse_free(&p);
}

static void test_help_names_every_option(void **state)
{
    (void)state;
    capture *c = capture_new();
    paro_options_print(table, c->stream);
    const char *text = capture_text(c);
    assert_non_null(strstr(text, "  -n, --number=N            about number\n"));
    assert_non_null(strstr(text, "      --colour-space        about colour-space\n"));
    for (const paro_option *o = table; o->name; o++)
        assert_non_null(strstr(text, o->name));
    capture_free(c);
}

static void test_wrapping(void **state)
{
    (void)state;
    capture *c = capture_new();
    paro_options_wrap("one two three four five six seven eight nine ten eleven twelve thirteen", 0,
                      28, c->stream);
    assert_string_equal(capture_text(c),
                        "                            one two three four five six seven eight nine "
                        "ten\n                            eleven twelve thirteen\n");
    capture_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_kind_in_every_form),
                                       cmocka_unit_test(test_rest_comes_in_order),
                                       cmocka_unit_test(test_options_that_come_first),
                                       cmocka_unit_test(test_the_last_value_counts),
                                       cmocka_unit_test(test_wrong_options_are_named),
                                       cmocka_unit_test(test_numbers_are_strict),
                                       cmocka_unit_test(test_whole_numbers),
                                       cmocka_unit_test(test_global_options_stop_at_the_command),
                                       cmocka_unit_test(test_help_names_every_option),
                                       cmocka_unit_test(test_wrapping)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
