/* SPDX-License-Identifier: MIT
 *
 * cli/main.c, help.c, console.c and interrupt.c: the program as a whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/ioctl.h>

#include "tests/support.h"

#include "tests/cli_process.h"

static const char *const commands[] = {"inspect",  "quantize", "eval", "run",
                                       "tokenize", "version",  "lua"};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void test_version(void **state)
{
    (void)state;
    process p = RUN("--version");
    assert_exit(p, 0);
    assert_string_equal(p.out, "paro 0.1.0\n");
    assert_string_equal(p.err, "");
    process_free(&p);
    p = RUN("version");
    assert_exit(p, 0);
    assert_int_equal(strncmp(p.out, "paro 0.1.0\n", 11), 0);
    process_free(&p);
    p = RUN("version", "-o", "json");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    assert_string_equal(json_string_value(json_object_get(root, "version")), "0.1.0");
    assert_true(json_string_length(json_object_get(root, "build")) > 0);
    assert_true(json_integer_value(json_object_get(root, "threads")) > 0);
    json_decref(root);
    process_free(&p);
    p = RUN("version", "--threads=3");
    assert_exit(p, 0);
    assert_contains(p.out, "CPU threads: 3\n");
    process_free(&p);
}

static char *read_file(const char *path)
{
    size_t n_bytes;
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        fail_msg("%s: %s", path, strerror(errno));
    return process_read_all(fd, &n_bytes);
}

/* docs/cli.md holds every help text word for word: scripts/update_cli_docs.sh puts it there. */
static void test_help_is_what_the_manual_says(void **state)
{
    (void)state;
    char *manual = read_file("docs/cli.md");
    process top = RUN("help"), same = RUN("--help");
    assert_exit(top, 0);
    assert_exit(same, 0);
    assert_string_equal(top.out, same.out);
    assert_contains(manual, top.out);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        process a = RUN("help", commands[i]), b = RUN(commands[i], "--help");
        assert_exit(a, 0);
        assert_exit(b, 0);
        assert_string_equal(a.out, b.out);
        assert_string_equal(a.err, "");
        assert_contains(top.out, commands[i]);
        assert_contains(manual, a.out);
        process_free(&a);
        process_free(&b);
    }
    process_free(&top);
    process_free(&same);
    free(manual);
}

static void test_usage_errors(void **state)
{
    (void)state;
    process p = RUN("");
    assert_exit(p, 2);
    process_free(&p);
    p = process_run_input((const char *const[]){NULL}, "", 0);
    assert_exit(p, 2);
    assert_contains(p.err, "a command is missing");
    process_free(&p);
    USAGE_ERROR("unknown command 'inpsect'; did you mean 'inspect'?", "inpsect", "x");
    USAGE_ERROR("unknown command 'frobnicate'", "frobnicate");
    USAGE_ERROR("unknown option '--frobnicate'", "--frobnicate");
    USAGE_ERROR("unknown command 'frobnicate'", "help", "frobnicate");
    USAGE_ERROR("help takes one command's name", "help", "run", "eval");
    USAGE_ERROR("unexpected argument 'x'", "version", "x");
    USAGE_ERROR("the path is empty", "inspect", "");
    for (size_t i = 0; i + 2 < N_COMMANDS; i++) {
        USAGE_ERROR("needs the path of", commands[i]);
        USAGE_ERROR("did you mean '--output'?", commands[i], DEMO_MODEL, "--outputt=json");
        USAGE_ERROR("'xml' is not one of", commands[i], DEMO_MODEL, "--output", "xml");
        USAGE_ERROR("option '--threads': expected a whole number", commands[i], DEMO_MODEL,
                    "--threads=many");
    }
}

static void test_messages_cannot_control_the_terminal(void **state)
{
    (void)state;
    process p = RUN("inspect", "no\x1b[2Jsuch\nfile\xff");
    assert_exit(p, 1);
    assert_null(strchr(p.err, '\x1b'));
    assert_null(strchr(p.err, '\xff'));
    assert_ptr_equal(strchr(p.err, '\n'), p.err + strlen(p.err) - 1);
    process_free(&p);
}

static void test_output_that_cannot_be_written(void **state)
{
    (void)state;
    static const char *const args[] = {"inspect", DEMO_MODEL, NULL};
    int null = open("/dev/null", O_RDWR), full = open("/dev/full", O_WRONLY), ends[2];
    size_t n_bytes;
    assert_true(null >= 0 && full >= 0);
    assert_int_equal(pipe(ends), 0);
    close(ends[0]); /* nobody reads */
    const int outs[] = {full, ends[1], -1};
    const char *const reasons[] = {strerror(ENOSPC), strerror(EPIPE), strerror(EBADF)};
    for (int i = 0; i < 3; i++) {
        int err = process_temporary_file();
        assert_int_equal(process_wait(process_start(args, null, outs[i], err)), 1);
        char *text = process_read_all(err, &n_bytes);
        assert_contains(text, "paro: error: standard output could not be written: ");
        assert_contains(text, reasons[i]);
        free(text);
    }
    /* Nothing to read from, nowhere to complain: still no crash. */
    assert_int_equal(process_wait(process_start(args, -1, -1, -1)), 1);
    assert_int_equal(process_wait(process_start(args, -1, null, -1)), 0);
    close(ends[1]);
    close(full);
    close(null);
}

/* Starts a command that waits for standard input and ends it by a signal. */
static void test_signals_while_waiting(void **state)
{
    (void)state;
    static const char *const args[] = {"tokenize", DEMO_MODEL, "-", NULL};
    const int signals[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        int ends[2], err = process_temporary_file();
        int out = process_temporary_file();
        size_t n_bytes;
        assert_int_equal(pipe(ends), 0);
        fcntl(ends[1], F_SETFD, FD_CLOEXEC);
        pid_t pid = process_start(args, ends[0], out, err);
        /* It has opened the tokenizer and waits once it has taken these bytes. */
        assert_int_equal(write(ends[1], "some text", 9), 9);
        int n = 9;
        for (int ms = 0; ms < 20000 && n > 0; ms++, usleep(1000))
            assert_int_equal(ioctl(ends[0], FIONREAD, &n), 0);
        assert_int_equal(n, 0);
        kill(pid, signals[i]);
        assert_int_equal(process_wait(pid), 130);
        char *text = process_read_all(err, &n_bytes);
        assert_string_equal(text, "paro: error: interrupted\n");
        free(text);
        text = process_read_all(out, &n_bytes);
        assert_string_equal(text, "");
        free(text);
        close(ends[0]);
        close(ends[1]);
    }
}

static void test_global_options_on_both_sides(void **state)
{
    (void)state;
    process p = RUN("--quiet", "--threads=1", "inspect", DEMO_MODEL, "-v");
    assert_exit(p, 0);
    process_free(&p);
    p = RUN("inspect", "--threads", "2", DEMO_MODEL, "--version");
    assert_exit(p, 0);
    assert_string_equal(p.out, "paro 0.1.0\n");
    process_free(&p);
}

static void test_threads_of_the_environment(void **state)
{
    (void)state;
    static const char *const wrong[] = {"many", "-1", "257", "1.5"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setenv("PARO_TEST_THREADS", wrong[i], 1);
        USAGE_ERROR("environment variable PARO_THREADS: expected a whole number from 0 to 256",
                    "version");
        process p = RUN("version", "--threads=2"); /* it does not count */
        assert_exit(p, 0);
        process_free(&p);
    }
    setenv("PARO_TEST_THREADS", "5", 1);
    process p = RUN("version");
    assert_exit(p, 0);
    assert_contains(p.out, "CPU threads: 5\n");
    process_free(&p);
    unsetenv("PARO_TEST_THREADS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_version),
                                       cmocka_unit_test(test_help_is_what_the_manual_says),
                                       cmocka_unit_test(test_usage_errors),
                                       cmocka_unit_test(test_messages_cannot_control_the_terminal),
                                       cmocka_unit_test(test_output_that_cannot_be_written),
                                       cmocka_unit_test(test_signals_while_waiting),
                                       cmocka_unit_test(test_threads_of_the_environment),
                                       cmocka_unit_test(test_global_options_on_both_sides)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
