/* SPDX-License-Identifier: MIT
 *
 * cli/cmd_eval.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "tests/support.h"

#include "tests/cli_process.h"

typedef struct fixture {
    char *dir, *sample, *brief;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = test_dir_new();
    f->sample = sample_text_file(f->dir);
    f->brief = test_path(f->dir, "brief.txt");
    test_file_write(f->dir, "brief.txt", "Too short.", 10);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    free(f->sample);
    free(f->brief);
    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static double number(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void test_table_and_json_agree(void **state)
{
    fixture *f = *state;
    process p = RUN("eval", DEMO_MODEL, "--context=64", "--text", f->sample, "-o", "json");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    assert_true(json_is_null(json_object_get(root, "reference")));
    assert_true(json_is_null(json_object_get(root, "max_tokens")));
    assert_true(json_is_true(json_object_get(root, "complete")));
    assert_int_equal(json_array_size(json_object_get(root, "texts")), 1);
    const json_t *text = json_array_get(json_object_get(root, "texts"), 0);
    double perplexity = number(text, "perplexity");
    assert_true(perplexity > 1 && perplexity < 2048);
    assert_true(fabs(exp(number(text, "nll")) / perplexity - 1) < 1e-12);
    assert_true(number(text, "n_tokens") == 64 * number(text, "n_windows"));
    assert_true(number(text, "n_predicted") == 63 * number(text, "n_windows"));
    assert_null(json_object_get(text, "kl_mean"));
    process_free(&p);

    char *row = NULL;
    assert_true(
        asprintf(&row, "%s  %8.0f  %10.4f\n", f->sample, number(text, "n_tokens"), perplexity) > 0);
    p = RUN("eval", "--context=64", "--text", f->sample, DEMO_MODEL, "--threads=1");
    assert_exit(p, 0);
    assert_contains(p.out, row);
    assert_contains(p.err, " tokens/s\n");
    assert_null(strpbrk(p.err, "\r\x1b"));
    process_free(&p);
    free(row);
    json_decref(root);
}

static void test_against_itself_nothing_is_lost(void **state)
{
    fixture *f = *state;
    process p = RUN("eval", DEMO_MODEL, "--context=64", "--max-tokens=300", "-t", f->sample,
                    "--against", DEMO_MODEL, "-o", "json");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    const json_t *text = json_array_get(json_object_get(root, "texts"), 0);
    assert_true(number(text, "n_tokens") == 256);
    assert_true(number(text, "same_top") == 1);
    assert_true(fabs(number(text, "kl_mean")) < 1e-6);
    assert_true(fabs(number(text, "kl_max")) < 1e-6);
    assert_true(number(text, "reference_perplexity") == number(text, "perplexity"));
    json_decref(root);
    process_free(&p);
    p = RUN("eval", DEMO_MODEL, "--context=64", "--max-tokens=300", "-t", f->sample, "--against",
            DEMO_MODEL);
    assert_exit(p, 0);
    assert_contains(p.out, "same top\n");
    assert_contains(p.out, "100.00 %\n");
    process_free(&p);
}

static void test_some_texts_fail(void **state)
{
    fixture *f = *state;
    process p = RUN_INPUT("Also too short.", "eval", DEMO_MODEL, "--context=64", "--text",
                          "no-such-file", f->sample, "-", "--text", f->brief);
    assert_exit(p, 3);
    assert_contains(p.out, f->sample);
    assert_null(strstr(p.out, "stdin"));
    assert_contains(p.err, "paro: error: no-such-file: ");
    assert_contains(p.err, "paro: error: stdin: ");
    assert_contains(p.err, f->brief);
    process_free(&p);
    p = RUN("eval", DEMO_MODEL, "-t", f->sample, f->brief, "-o", "json");
    assert_exit(p, 3);
    json_t *root = process_json(&p), *texts = json_object_get(root, "texts");
    assert_int_equal(json_array_size(texts), 2);
    assert_true(json_is_false(json_object_get(root, "complete")));
    assert_true(number(json_array_get(texts, 0), "n_tokens") >= 512);
    assert_true(json_is_string(json_object_get(json_array_get(texts, 1), "error")));
    json_decref(root);
    process_free(&p);
    p = RUN("eval", DEMO_MODEL, "-t", "no-such-file", f->brief);
    assert_exit(p, 1);
    process_free(&p);
}

static void test_failures(void **state)
{
    fixture *f = *state;
    process p = RUN("eval", "no-such-folder", "--text", f->sample);
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    assert_contains(p.err, "no-such-folder");
    process_free(&p);
    p = RUN("eval", DEMO_MODEL, "--text", f->sample, "--against", "no-such-folder");
    assert_exit(p, 1);
    assert_contains(p.err, "no-such-folder");
    process_free(&p);
    USAGE_ERROR("eval needs a text", "eval", DEMO_MODEL);
    USAGE_ERROR("can be read only once", "eval", DEMO_MODEL, "--text", "-", "-");
    USAGE_ERROR("option '--context': expected a whole number from 2", "eval", DEMO_MODEL,
                "--context=1");
}

/* Said once, not for every text. */
static void test_what_is_wrong_with_a_model_is_said_once(void **state)
{
    fixture *f = *state;
    char *damaged = test_path(f->dir, "q4");
    write_damaged_model(damaged);
    USAGE_ERROR("option '--context': expected a whole number from 2 to 1024", "eval", DEMO_MODEL,
                "--context=1025", "--text", f->sample, f->sample);
    process p = RUN("eval", damaged, "--context=64", "--text", f->sample, f->sample);
    assert_exit(p, 1);
    assert_int_equal(strncmp(p.err, "paro: error: ", 13), 0);
    assert_contains(p.err, "model.layers.0.self_attn.q_proj");
    assert_null(strstr(p.err, f->sample));
    assert_ptr_equal(strchr(p.err, '\n'), p.err + strlen(p.err) - 1);
    process_free(&p);
    free(damaged);
}

/* A text that takes long enough to be in the middle of it. */
static char *long_text_file(const fixture *f)
{
    size_t n_bytes;
    int fd = open(f->sample, O_RDONLY);
    char *text = process_read_all(fd, &n_bytes), *path = test_path(f->dir, "long.txt");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(fwrite(text, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
    free(text);
    return path;
}

static void test_an_interrupt_leaves_the_rows_that_are_done(void **state)
{
    fixture *f = *state;
    char *path = long_text_file(f);
    const char *const args[] = {"eval", DEMO_MODEL, "--text", f->sample, path, NULL};
    int ends[2], null = open("/dev/null", O_RDONLY), err = process_temporary_file();
    char bytes[4096] = "";
    size_t n = 0, n_err;
    ssize_t n_read;
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    pid_t pid = process_start(args, null, ends[1], err);
    close(ends[1]);
    while (n < sizeof bytes - 1 && !strstr(bytes, f->sample)) { /* the first text's row */
        n_read = read(ends[0], bytes + n, sizeof bytes - 1 - n);
        assert_true(n_read > 0);
        n += (size_t)n_read;
    }
    kill(pid, SIGINT);
    while ((n_read = read(ends[0], bytes, sizeof bytes)) > 0)
        assert_true(memchr(bytes, 'l', (size_t)n_read) == NULL); /* no row of long.txt */
    assert_int_equal(process_wait(pid), 130);
    char *text = process_read_all(err, &n_err);
    assert_contains(text, "paro: error: interrupted\n");
    free(text);
    close(ends[0]);
    close(null);
    free(path);
}

/* With standard error on a terminal there is one line, redrawn and in the end removed. */
static void test_progress_on_a_terminal(void **state)
{
    fixture *f = *state;
    int slave = -1, master = process_open_terminal("test_cmd_eval progress", &slave);
    int null = open("/dev/null", O_RDONLY);
    int out = process_temporary_file();
    char shown[65536] = "";
    size_t n = 0, n_out;
    const char *const args[] = {"eval", DEMO_MODEL, "--context=64", "--text", f->sample, NULL};
    pid_t pid = process_start(args, null, out, slave);
    close(slave);
    for (ssize_t n_read; n < sizeof shown - 1; n += (size_t)n_read)
        if ((n_read = read(master, shown + n, sizeof shown - 1 - n)) <= 0)
            break; /* EIO: the other side was closed */
    assert_int_equal(process_wait(pid), 0);
    assert_contains(shown, "\reval ");
    assert_contains(shown, "\x1b[K");
    const char *cleared = strstr(shown, "\r\x1b[K");
    assert_non_null(cleared);
    assert_contains(cleared, " tokens/s\r\n");
    char *text = process_read_all(out, &n_out);
    assert_contains(text, f->sample);
    assert_null(strpbrk(text, "\r\x1b"));
    free(text);
    close(master);
    close(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_table_and_json_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_against_itself_nothing_is_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_some_texts_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_wrong_with_a_model_is_said_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_an_interrupt_leaves_the_rows_that_are_done, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_progress_on_a_terminal, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
