/* SPDX-License-Identifier: MIT
 *
 * cli/cmd_run.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support.h"

#include "tests/cli_process.h"

/* The demo model's golden prompts and what greedy decoding makes of them. */
static void test_greedy_text_is_the_golden_one(void **state)
{
    (void)state;
    json_t *golden = json_load_file(DEMO_MODEL "/golden.json", 0, NULL), *item;
    size_t i;
    assert_int_equal(json_array_size(golden), 3);
    json_array_foreach(golden, i, item)
    {
        const char *prompt = json_string_value(json_object_get(item, "prompt"));
        const char *text = json_string_value(json_object_get(item, "text"));
        process p = RUN("run", DEMO_MODEL, "-o", "json", "-p", prompt, "-n", "64");
        assert_exit(p, 0);
        json_t *root = process_json(&p);
        assert_string_equal(json_string_value(json_object_get(root, "text")), text);
        assert_string_equal(json_string_value(json_object_get(root, "prompt")), prompt);
        assert_string_equal(json_string_value(json_object_get(root, "finish")), "length");
        assert_int_equal(json_integer_value(json_object_get(root, "n_generated")), 64);
        assert_int_equal(json_integer_value(json_object_get(root, "n_prompt")),
                         json_array_size(json_object_get(item, "ids")));
        assert_true(json_real_value(json_object_get(root, "decode_tokens_per_second")) > 0);
        json_decref(root);
        process_free(&p);

        /* As a stream it is the same, from standard input too, with a newline at its end. */
        p = RUN_INPUT(prompt, "run", DEMO_MODEL, "-n64");
        assert_exit(p, 0);
        assert_int_equal(strncmp(p.out, text, strlen(text)), 0);
        assert_int_equal(p.out[p.n_out - 1], '\n');
        assert_true(p.n_out - strlen(text) <= 1);
        assert_contains(p.err, "new: 64 tokens");
        assert_contains(p.err, "finished by: length\n");
        process_free(&p);
    }
    json_decref(golden);
}

static void test_devices(void **state)
{
    (void)state;
    process p = RUN("run", DEMO_MODEL, "-o", "json", "-p", "The", "-qn2", "--device", "cpu");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    assert_string_equal(json_string_value(json_object_get(root, "device")), "CPU");
    json_decref(root);
    process_free(&p);
    static const char *const wrong[] = {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:99999", "CPU"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        p = RUN("run", DEMO_MODEL, "-p", "The", "-n2", "--device", wrong[i]);
        assert_exit(p, 1);
        assert_contains(p.err, "device: expected auto, cpu, cuda, cuda:N or emulator, found");
        process_free(&p);
    }
    /* There is no machine with so many. */
    p = RUN("run", DEMO_MODEL, "-p", "The", "-n2", "--device", "cuda:9999");
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    process_free(&p);
}

static void test_seeds_reproduce(void **state)
{
    (void)state;
    process a = RUN("run", DEMO_MODEL, "-p", "The", "--temperature=1", "--seed=7", "-qn40");
    process b =
        RUN("run", DEMO_MODEL, "-p", "The", "--temperature=1", "--seed=7", "-qn40", "--threads=1");
    process c = RUN("run", DEMO_MODEL, "-p", "The", "--temperature=1", "--seed=8", "-qn40");
    assert_exit(a, 0);
    assert_exit(b, 0);
    assert_exit(c, 0);
    assert_string_equal(a.out, b.out);
    assert_string_not_equal(a.out, c.out);
    assert_string_equal(a.err, "");
    process_free(&a);
    process_free(&b);
    process_free(&c);
    a = RUN("run", DEMO_MODEL, "-p", "The", "-qn20");
    b = RUN("run", DEMO_MODEL, "-p", "The", "-qn20", "--temperature=1", "--top-k=1");
    assert_exit(b, 0);
    assert_string_equal(a.out, b.out);
    process_free(&a);
    process_free(&b);
}

static void test_stop_strings_and_echo(void **state)
{
    (void)state;
    const char *prompt = "The history of the city begins in";
    process p = RUN("run", DEMO_MODEL, "--stop", "never there", "--stop", "and the", "-p", prompt);
    assert_exit(p, 0);
    assert_string_equal(p.out, " the 19th century, \n");
    assert_contains(p.err, "finished by: stop\n");
    process_free(&p);
    p = RUN("run", DEMO_MODEL, "--echo", "-qn2", "-p", prompt);
    assert_exit(p, 0);
    assert_int_equal(strncmp(p.out, prompt, strlen(prompt)), 0);
    assert_contains(p.out, "begins in the");
    process_free(&p);
}

static void test_prompt_from_a_file_and_none_at_all(void **state)
{
    (void)state;
    char *dir = test_dir_new(), *path = sample_text_file(dir);
    process p = RUN("run", DEMO_MODEL, "-f", path, "-n", "3", "-o", "json");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    assert_true(json_integer_value(json_object_get(root, "n_prompt")) > 500);
    json_decref(root);
    process_free(&p);
    free(path);
    test_dir_remove(dir);

    p = RUN_INPUT("", "run", DEMO_MODEL, "-qn3"); /* the begin token alone */
    assert_exit(p, 0);
    assert_true(p.n_out > 1);
    process_free(&p);
}

static void test_a_prompt_longer_than_the_context(void **state)
{
    (void)state;
    enum { N = 20000 };
    char *text = malloc(N + 1);
    assert_non_null(text);
    for (int i = 0; i < N; i++)
        text[i] = " etaoin"[i % 7];
    text[N] = '\0';
    process p = RUN_INPUT(text, "run", DEMO_MODEL);
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    assert_contains(p.err, "tokens, the model holds 1024; shorten it\n");
    process_free(&p);
    free(text);
}

static void link_into(const char *dir, const char *name)
{
    char *from = test_path(DEMO_MODEL, name), *to = test_path(dir, name);
    char *target = realpath(from, NULL);
    assert_non_null(target);
    assert_int_equal(symlink(target, to), 0);
    free(target);
    free(from);
    free(to);
}

static void test_a_tokenizer_that_is_not_the_models(void **state)
{
    (void)state;
    char *dir = test_dir_new(), *path = test_path(dir, "tokenizer.json");
    link_into(dir, "config.json");
    link_into(dir, "model.safetensors");
    json_t *root = json_load_file(DEMO_MODEL "/tokenizer.json", 0, NULL);
    json_t *added = json_object_get(root, "added_tokens");
    json_t *token = json_deep_copy(json_array_get(added, 0));
    assert_non_null(token);
    json_object_set_new(token, "id", json_integer(2048));
    json_object_set_new(token, "content", json_string("<|extra|>"));
    json_array_append_new(added, token);
    assert_int_equal(json_dump_file(root, path, 0), 0);
    json_decref(root);
    process p = RUN("run", dir, "-qp", "The", "-n1"); /* of what both have nothing is wrong */
    assert_exit(p, 0);
    process_free(&p);
    p = RUN("run", dir, "-p", "The<|extra|>");
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    assert_contains(p.err, "token 2048, but the tokenizer has 2049 ids and the model 2048");
    process_free(&p);
    free(path);
    test_dir_remove(dir);
}

static void test_failures(void **state)
{
    (void)state;
    process p = RUN("run", "no-such-folder", "-p", "x");
    assert_exit(p, 1);
    assert_contains(p.err, "no-such-folder");
    process_free(&p);
    p = RUN("run", DEMO_MODEL, "-f", "no-such-file");
    assert_exit(p, 1);
    assert_contains(p.err, "no-such-file");
    process_free(&p);
    USAGE_ERROR("--prompt and --file cannot both be given", "run", DEMO_MODEL, "-p", "a", "-f",
                "b");
    USAGE_ERROR("option '--temperature': expected a number from 0", "run", DEMO_MODEL,
                "--temperature=-1");
    USAGE_ERROR("option '--top-p': expected a number from 0 to 1", "run", DEMO_MODEL,
                "--top-p=1.5");
    USAGE_ERROR("option '--seed': expected a whole number from 0 to 18446744073709551615, found",
                "run", DEMO_MODEL, "--seed=-1");
    USAGE_ERROR("option '--seed': expected", "run", DEMO_MODEL, "--seed=18446744073709551616");
    USAGE_ERROR("option '--stop': expected a text", "run", DEMO_MODEL, "-p", "x", "--stop=");
    USAGE_ERROR("unexpected argument 'text'", "run", DEMO_MODEL, "text");
}

static void test_one_token_has_no_rate_and_greedy_no_seed(void **state)
{
    (void)state;
    process p = RUN("run", DEMO_MODEL, "-p", "", "-n1", "--seed=3", "--top-k=4", "--top-p=1");
    assert_exit(p, 0);
    assert_contains(p.err, "paro: warning: --seed has no effect without --temperature");
    assert_contains(p.err, "paro: warning: --top-k has no effect");
    assert_null(strstr(p.err, "--top-p"));
    assert_contains(p.err, "\nprompt: 1 token; new: 1 token; finished by: length\n");
    process_free(&p);
    p = RUN("run", DEMO_MODEL, "-p", "The", "-n1", "--seed=18446744073709551615",
            "--temperature=1");
    assert_exit(p, 0);
    assert_null(strstr(p.err, "warning"));
    process_free(&p);
}

/* The reader goes away in the middle: an error, at once, not a signal. */
static void test_a_closed_pipe_ends_the_stream(void **state)
{
    (void)state;
    static const char *const args[] = {"run", DEMO_MODEL, "-p",           "The",
                                       "-n",  "0",        "--ignore-eos", NULL};
    int ends[2], null = open("/dev/null", O_RDONLY), err = process_temporary_file();
    size_t n_bytes;
    char byte;
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    pid_t pid = process_start(args, null, ends[1], err);
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    assert_int_equal(process_wait(pid), 1);
    char *text = process_read_all(err, &n_bytes);
    assert_contains(text, "standard output could not be written: Broken pipe\n");
    free(text);
    close(null);
}

/* A terminal shows the reading of the prompt; Ctrl-C then ends it. */
static void test_an_interrupt_while_reading(void **state)
{
    (void)state;
    int slave = -1, master = process_open_terminal("test_cmd_run interrupt", &slave);
    char *dir = test_dir_new(), *path = sample_text_file(dir);
    const char *const args[] = {"run", DEMO_MODEL,     "-f",          path, "-n",
                                "0",   "--ignore-eos", "--threads=1", NULL};
    int null = open("/dev/null", O_RDWR);
    char shown[65536] = "";
    size_t n = 0;
    pid_t pid = process_start(args, null, null, slave);
    close(slave);
    bool is_sent = false;
    for (ssize_t n_read; n < sizeof shown - 1; n += (size_t)n_read) {
        if ((n_read = read(master, shown + n, sizeof shown - 1 - n)) <= 0)
            break; /* EIO: the other side was closed */
        if (!is_sent && strstr(shown, "\rread "))
            is_sent = kill(pid, SIGINT) == 0;
    }
    assert_true(is_sent);
    assert_int_equal(process_wait(pid), 130);
    assert_contains(shown, "interrupted\r\n");
    close(master);
    close(null);
    free(path);
    test_dir_remove(dir);
}

static void test_an_interrupt_keeps_what_was_written(void **state)
{
    (void)state;
    static const char *const args[] = {"run", DEMO_MODEL, "-p",           "The",
                                       "-n",  "0",        "--ignore-eos", NULL};
    int ends[2], null = open("/dev/null", O_RDONLY), err = process_temporary_file();
    size_t n_bytes;
    char bytes[4096];
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    pid_t pid = process_start(args, null, ends[1], err);
    close(ends[1]);
    assert_int_equal(read(ends[0], bytes, 1), 1);
    kill(pid, SIGINT);
    while (read(ends[0], bytes, sizeof bytes) > 0)
        continue;
    assert_int_equal(process_wait(pid), 130);
    char *text = process_read_all(err, &n_bytes);
    assert_contains(text, "finished by: cancelled\n");
    assert_contains(text, "paro: error: interrupted\n");
    free(text);
    close(ends[0]);
    close(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_text_is_the_golden_one),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_seeds_reproduce),
        cmocka_unit_test(test_stop_strings_and_echo),
        cmocka_unit_test(test_prompt_from_a_file_and_none_at_all),
        cmocka_unit_test(test_a_prompt_longer_than_the_context),
        cmocka_unit_test(test_a_tokenizer_that_is_not_the_models),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_one_token_has_no_rate_and_greedy_no_seed),
        cmocka_unit_test(test_a_closed_pipe_ends_the_stream),
        cmocka_unit_test(test_an_interrupt_while_reading),
        cmocka_unit_test(test_an_interrupt_keeps_what_was_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
