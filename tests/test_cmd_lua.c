/* SPDX-License-Identifier: MIT
 *
 * paro lua: scripts, standard input, the prompt, and the script `ablation`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <termios.h>

#include "tests/support.h"

#include "tests/cli_process.h"

static void test_scripts(void **state)
{
    (void)state;
    char *dir = test_dir_new(), *path = test_path(dir, "a.lua");
    static const char text[] = "#!/usr/bin/env paro\nprint(arg[0] == nil, x, ...)";
    test_file_write(dir, "a.lua", text, strlen(text));
    process p = RUN("lua", "-e", "x = 1", "-e", "x = x + 1", path, "--allow-io", "-e", "b");
    assert_exit(p, 0);
    assert_string_equal(p.out, "false\t2\t--allow-io\t-e\tb\n");
    assert_string_equal(p.err, "");
    process_free(&p);
    p = RUN("lua", "-e", "print(arg[0] == '', #arg)");
    assert_exit(p, 0);
    assert_string_equal(p.out, "true\t0\n");
    process_free(&p);
    p = RUN("lua", "-e", "print(1) error('no')", path);
    assert_exit(p, 1);
    assert_string_equal(p.out, "1\n");
    assert_string_equal(p.err, "paro: error: -e:1: no\n");
    process_free(&p);
    p = RUN("lua", "ablatoin");
    assert_exit(p, 1);
    assert_contains(p.err, "no such script among the shipped ones (nearest: ablation)");
    assert_contains(p.err, "paro: hint: scripts that come with paro: ablation\n");
    process_free(&p);
    free(path);
    test_dir_remove(dir);
}

static void test_standard_input(void **state)
{
    (void)state;
    process p = RUN_INPUT("for i = 1, 2 do\n  print(i)\nend\n", "lua");
    assert_exit(p, 0);
    assert_string_equal(p.out, "1\n2\n");
    assert_string_equal(p.err, "");
    process_free(&p);
    p = RUN_INPUT("print(...)\nx x", "lua", "-", "a");
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    assert_contains(p.err, "paro: error: stdin:2: syntax error near");
    process_free(&p);
}

static void test_options(void **state)
{
    (void)state;
    USAGE_ERROR("unknown option '--momery'", "lua", "--momery=1GB");
    USAGE_ERROR("option '--memory': expected a size", "lua", "--memory=x");
    process p = RUN("lua", "--memory=4MB", "-e", "local t = {} while true do t[#t + 1] = {} end");
    assert_exit(p, 1);
    assert_contains(p.err, "not enough memory");
    process_free(&p);
    p = RUN("lua", "-e", "io.open('x')");
    assert_exit(p, 1);
    assert_contains(p.err, "io is there only with --allow-io");
    process_free(&p);
    p = RUN("lua", "--allow-io", "-e", "print(io.open('no such file'))");
    assert_exit(p, 0);
    assert_contains(p.out, "nil\tno such file: No such file or directory");
    process_free(&p);
    static const char open_demo[] = "print(paro.open('" DEMO_MODEL "').device)";
    p = RUN("lua", "--device=cpu", "--threads=1", "-e", open_demo);
    assert_exit(p, 0);
    assert_string_equal(p.out, "CPU\n");
    process_free(&p);
    p = RUN("lua", "--device=tpu", "-e", open_demo);
    assert_exit(p, 1);
    assert_contains(p.err, "tpu");
    process_free(&p);
}

static void test_output_that_cannot_be_written(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY), null = open("/dev/null", O_RDONLY);
    int err = process_temporary_file();
    const char *const args[] = {"lua", "-e", "print(1) while true do end", NULL};
    assert_true(full >= 0 && null >= 0);
    assert_int_equal(process_wait(process_start(args, null, full, err)), 1);
    size_t n_bytes = 0;
    char *text = process_read_all(err, &n_bytes);
    assert_contains(text, "print: the text could not be written");
    assert_contains(text, "standard output could not be written: No space left on device");
    free(text);
    close(full);
    close(null);
}

static void test_an_interrupt(void **state)
{
    (void)state;
    int ends[2], null = open("/dev/null", O_RDONLY), err = process_temporary_file();
    const char *const args[] = {"lua", "-e", "print(1) while true do pcall(error) end", NULL};
    char byte;
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    pid_t pid = process_start(args, null, ends[1], err);
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    kill(pid, SIGINT);
    assert_int_equal(process_wait(pid), 130);
    close(ends[0]);
    close(err);
    close(null);
}

/* ---- the prompt ---- */

typedef struct terminal {
    int master;
    pid_t pid;
    char shown[16384];
    size_t n_bytes;
    size_t n_looked; /* of it: before the last words that were waited for */
} terminal;

/* Waits until the words are shown, after those of the last time. */
static void expect(terminal *t, const char *words)
{
    const char *found = NULL;
    while ((found = strstr(t->shown + t->n_looked, words)) == NULL) {
        ssize_t n = read(t->master, t->shown + t->n_bytes, sizeof t->shown - 1 - t->n_bytes);
        if (n <= 0)
            fail_msg("the prompt ended without '%s':\n%s", words, t->shown);
        t->n_bytes += (size_t)n;
        t->shown[t->n_bytes] = '\0';
    }
    t->n_looked = (size_t)(found - t->shown) + strlen(words);
}

static void type(terminal *t, const char *keys)
{
    assert_int_equal(write(t->master, keys, strlen(keys)), (ssize_t)strlen(keys));
}

static void test_the_prompt(void **state)
{
    (void)state;
    int slave = -1;
    terminal t = {.master = process_open_terminal("test_cmd_lua prompt", &slave)};
    static const char *const args[] = {"lua", NULL};
    struct termios settings;
    assert_int_equal(tcgetattr(slave, &settings), 0);
    settings.c_lflag &= ~(tcflag_t)ECHO; /* what is shown is paro's */
    assert_int_equal(tcsetattr(slave, TCSANOW, &settings), 0);
    t.pid = process_start(args, slave, slave, slave);
    close(slave);
    expect(&t, "Ctrl-D ends it\r\n> ");
    type(&t, "x = 20\n");
    expect(&t, "> ");
    type(&t, "x + 1, 'a'\n");
    expect(&t, "21\ta\r\n> ");
    type(&t, "error('no')\n");
    expect(&t, "prompt:1: no\r\n> ");
    type(&t, "for i = 1, 2 do\n");
    expect(&t, ">> ");
    type(&t, "print(i) end\n");
    expect(&t, "1\r\n2\r\n> ");
    /* Ctrl-C, as the terminal would send it: while something runs, twice; at a line begun. */
    for (int i = 0; i < 2; i++) {
        type(&t, "print('on') while true do pcall(error) end\n");
        expect(&t, "on\r\n");
        kill(t.pid, SIGINT);
        expect(&t, "interrupted\r\n> ");
    }
    type(&t, "y = (\n");
    expect(&t, ">> ");
    kill(t.pid, SIGINT);
    expect(&t, "\r\n> ");
    type(&t, "paro.open('" DEMO_MODEL "').n_layers\n");
    expect(&t, "4\r\n> ");
    type(&t, "x\n");
    expect(&t, "20\r\n> ");
    type(&t, "\x04");
    assert_int_equal(process_wait(t.pid), 0);
    close(t.master);
}

/* ---- ablation ---- */

static char *read_whole(const char *path)
{
    paro_error err;
    char *text = NULL;
    size_t n_bytes = 0;
    assert_ok(paro_file_read(&err, path, 1 << 20, &text, &n_bytes));
    return text;
}

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

/* A few variants, each as small as can be; then again, with one row less; then not at all. */
static void test_ablation(void **state)
{
    (void)state;
    char *dir = test_dir_new(), *text = sample_text_file(dir), *out = NULL, *calib = NULL;
    char *csv = test_path(dir, "it, is.csv"), *svg = test_path(dir, "it, is.svg");
    assert_true(asprintf(&out, "--out=%s/it, is", dir) > 0);
    assert_true(asprintf(&calib, "--calib=%s", text) > 0);
    const char *const args[] = {
        "lua",           "--allow-io",       "ablation",   DEMO_MODEL,  text,
        "--tokens=16",   "--samples=2",      "--epochs=1", "--batch=2", "--bits=3",
        "--only=s only", "--max-tokens=512", calib,        out,         NULL};
    process p = process_run_input(args, "", 0);
    assert_exit(p, 0);
    assert_contains(p.out, "scales only (0 rounds)");
    assert_contains(p.out, "rotations only");
    process_free(&p);
    char *first = read_whole(csv), *picture = read_whole(svg);
    assert_int_equal(count_lines(first), 3);
    assert_int_equal(strncmp(picture, "<svg xmlns=", 11), 0);
    assert_contains(picture, ">scales only (0 rounds)</text>");
    assert_string_equal(picture + strlen(picture) - 7, "</svg>\n");

    /* The last row goes: it is computed again, and only that; all but its time is the same. */
    char *last = first + strlen(first) - 2;
    while (*last != '\n')
        last--;
    test_file_write(dir, "it, is.csv", first, (size_t)(last + 1 - first));
    p = process_run_input(args, "", 0);
    assert_exit(p, 0);
    process_free(&p);
    char *second = read_whole(csv);
    size_t n_same = strlen(second);
    while (second[n_same - 1] != ',')
        n_same--;
    assert_int_equal(strncmp(first, second, n_same), 0);
    assert_int_equal(count_lines(second), 3);
    p = process_run_input(args, "", 0);
    assert_exit(p, 0);
    process_free(&p);
    char *third = read_whole(csv);
    assert_string_equal(third, second);

    test_file_write(dir, "it, is.csv", "a,b\n", 4);
    p = process_run_input(args, "", 0);
    assert_exit(p, 1);
    assert_contains(p.err, "is not a table of this script");
    process_free(&p);
    p = RUN("lua", "ablation", DEMO_MODEL, "x", "--epoch=3");
    assert_exit(p, 1);
    assert_contains(p.err, "ablation: unknown option '--epoch=3'");
    process_free(&p);
    free(first);
    free(second);
    free(third);
    free(picture);
    free(out);
    free(calib);
    free(csv);
    free(svg);
    free(text);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scripts),      cmocka_unit_test(test_standard_input),
        cmocka_unit_test(test_options),      cmocka_unit_test(test_output_that_cannot_be_written),
        cmocka_unit_test(test_an_interrupt), cmocka_unit_test(test_the_prompt),
        cmocka_unit_test(test_ablation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
