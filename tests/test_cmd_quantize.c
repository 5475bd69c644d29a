/* SPDX-License-Identifier: MIT
 *
 * cli/cmd_quantize.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support.h"

#include "tests/cli_process.h"

typedef struct fixture {
    char *dir, *out;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = test_dir_new();
    f->out = test_path(f->dir, "out");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    free(f->out);
    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static double number(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        fail_msg("no number '%s'", key);
    return json_number_value(value);
}

static const char *string(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    if (!value)
        fail_msg("no string '%s'", key);
    return value;
}

static void test_dry_run_writes_nothing(void **state)
{
    fixture *f = *state;
    process p = RUN("quantize", DEMO_MODEL, "--recipe=rtn", "--dry-run", "-o", f->out);
    assert_exit(p, 0);
    assert_contains(p.out, "model.layers.3.mlp.down_proj");
    assert_contains(p.out, "28 linears to quantise, 0 to keep");
    assert_contains(p.out, "recipe SHA-256 ");
    assert_false(paro_path_exists(f->out));
    process_free(&p);
    p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-n", "--output=json", "--set", "bits=3",
            "--format=pseudo");
    assert_exit(p, 0);
    json_t *root = process_json(&p), *linears = json_object_get(root, "linears"), *linear;
    size_t i;
    assert_true(json_is_true(json_object_get(root, "dry_run")));
    assert_true(json_is_null(json_object_get(root, "out")));
    assert_true(json_is_null(json_object_get(root, "result")));
    assert_int_equal(strlen(string(json_object_get(root, "recipe"), "sha256")), 64);
    assert_int_equal(json_array_size(linears), 28);
    json_array_foreach(linears, i, linear)
    {
        assert_string_equal(string(linear, "method"), "rtn");
        assert_true(number(linear, "bits") == 3);
        assert_true(number(linear, "n_bytes_after") < number(linear, "n_bytes_before"));
    }
    json_decref(root);
    process_free(&p);
}

/* It refuses what the real run would. */
static void test_dry_run_checks_the_format(void **state)
{
    (void)state;
    process p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-n", "--format=awq", "--set=bits=3");
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    assert_contains(p.err, "format awq: model.layers.0.self_attn.q_proj: expected 4 bits");
    process_free(&p);
    p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-n", "--set", "keep=*");
    assert_exit(p, 1);
    assert_contains(p.err, "the plan quantises no linear");
    process_free(&p);
    p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-n", "--set", "keep=*", "--format=pseudo");
    assert_exit(p, 0);
    assert_contains(p.out, "; - bits a weight");
    process_free(&p);
    p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-n", "--set", "keep=*", "--format=pseudo",
            "--output=json");
    assert_exit(p, 0);
    json_t *root = process_json(&p), *totals = json_object_get(root, "totals");
    assert_true(json_is_null(json_object_get(totals, "bits_per_weight")));
    json_decref(root);
    process_free(&p);
}

static void test_a_checkpoint_is_written_and_runs(void **state)
{
    fixture *f = *state;
    char *command = NULL;
    process p = RUN("quantize", DEMO_MODEL, "--recipe", "rtn", "-o", f->out);
    assert_exit(p, 0);
    assert_contains(p.out, "linears         28 quantised, 0 kept\n");
    assert_contains(p.out, "format          paroquant\n");
    assert_true(asprintf(&command, "run it: paro run %s -p", f->out) > 0);
    assert_contains(p.err, command);
    free(command);
    process_free(&p);
    p = RUN("inspect", f->out, "-o", "json");
    assert_exit(p, 0);
    json_t *root = process_json(&p), *model = json_object_get(root, "model");
    assert_string_equal(string(model, "quant_method"), "paroquant");
    assert_true(number(model, "bits") == 4);
    assert_true(number(model, "n_parameters") == 4196608);
    json_decref(root);
    process_free(&p);
    p = RUN("run", f->out, "-p", "The history", "-qn8");
    assert_exit(p, 0);
    assert_true(p.n_out > 8);
    process_free(&p);
}

static void test_a_name_that_begins_with_a_minus(void **state)
{
    fixture *f = *state;
    char *model = realpath(DEMO_MODEL, NULL);
    int root = open(".", O_RDONLY | O_DIRECTORY);
    assert_non_null(model);
    assert_int_equal(chdir(f->dir), 0);
    process p = RUN("quantize", model, "-r", "rtn", "--out=-q4");
    assert_int_equal(fchdir(root), 0);
    close(root);
    assert_exit(p, 0);
    assert_contains(p.err, "run it: paro run ./-q4 -p ");
    process_free(&p);
    free(model);
}

static void test_formats(void **state)
{
    fixture *f = *state;
    static const char *const formats[] = {"awq", "pseudo"};
    static const char *const methods[] = {"awq", "none"};
    for (int i = 0; i < 2; i++) {
        process p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "--format", formats[i], "-o", f->out,
                        "--overwrite", "--output", "json");
        assert_exit(p, 0);
        json_t *root = process_json(&p), *result = json_object_get(root, "result");
        assert_string_equal(string(root, "out"), f->out);
        assert_string_equal(string(root, "format"), formats[i]);
        assert_true(number(result, "mean_relative_error") > 0);
        assert_true(number(result, "max_relative_error") < 0.5);
        assert_true(number(result, "n_shards") == 1);
        double n_bytes = number(result, "n_weight_bytes_after");
        json_decref(root);
        process_free(&p);
        p = RUN("inspect", f->out, "-o", "json");
        assert_exit(p, 0);
        root = process_json(&p);
        assert_string_equal(string(json_object_get(root, "model"), "quant_method"), methods[i]);
        assert_true(number(root, "n_bytes") == n_bytes);
        json_decref(root);
        process_free(&p);
    }
}

static void test_shards(void **state)
{
    fixture *f = *state;
    process p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-o", f->out, "--output=json",
                    "--max-shard-size=1.5MB");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    assert_true(number(json_object_get(root, "result"), "n_shards") >= 3);
    json_decref(root);
    process_free(&p);
    p = RUN("inspect", f->out);
    assert_exit(p, 0);
    process_free(&p);
}

static void test_what_is_there_is_not_replaced_unasked(void **state)
{
    fixture *f = *state;
    process p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-o", f->out);
    assert_exit(p, 0);
    process_free(&p);
    p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-o", f->out);
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    assert_contains(p.err, f->out);
    assert_contains(p.err, "paro: hint: --overwrite");
    process_free(&p);
    p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-o", f->out, "--overwrite");
    assert_exit(p, 0);
    process_free(&p);
    p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-o", f->dir); /* holds a folder only */
    assert_exit(p, 1);
    assert_contains(p.err, "exists already");
    assert_null(strstr(p.err, "hint"));
    process_free(&p);
}

static void test_failures(void **state)
{
    fixture *f = *state;
    process p = RUN("quantize", DEMO_MODEL, "-r", "no-such-recipe", "-o", f->out);
    assert_exit(p, 1);
    assert_contains(p.err, "no-such-recipe");
    assert_contains(p.err,
                    "paro: hint: recipes that come with paro: awq, awq_lua, gptq, paroquant, "
                    "paroquant_best, paroquant_butterfly, paroquant_fast, rtn\n");
    process_free(&p);
    p = RUN("quantize", "no-such-folder", "-r", "rtn", "-o", f->out);
    assert_exit(p, 1);
    assert_contains(p.err, "no-such-folder");
    process_free(&p);
    p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-o", f->out, "--set", "bits=three");
    assert_exit(p, 1);
    assert_contains(p.err, "bits");
    process_free(&p);
    p = RUN("quantize", DEMO_MODEL, "-r", "rtn", "-o", f->out, "--set", "bits=3");
    assert_exit(p, 1); /* the default format holds 4 bits only */
    assert_false(paro_path_exists(f->out));
    process_free(&p);
}

static void test_an_interrupt_stops_a_recipe(void **state)
{
    fixture *f = *state;
    static const char text[] = "print('begun') while true do end";
    test_file_write(f->dir, "endless.lua", text, strlen(text));
    char *recipe = test_path(f->dir, "endless.lua");
    const char *const args[] = {"quantize", DEMO_MODEL, "-r", recipe, "-o", f->out, NULL};
    int ends[2], null = open("/dev/null", O_RDWR);
    char bytes[4096] = "";
    size_t n = 0;
    ssize_t n_read;
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    pid_t pid = process_start(args, null, null, ends[1]);
    close(ends[1]);
    while (!strstr(bytes, "begun\n")) {
        n_read = read(ends[0], bytes + n, sizeof bytes - 1 - n);
        assert_true(n_read > 0);
        n += (size_t)n_read;
    }
    kill(pid, SIGINT);
    while ((n_read = read(ends[0], bytes + n, sizeof bytes - 1 - n)) > 0)
        n += (size_t)n_read;
    assert_int_equal(process_wait(pid), 130);
    assert_string_equal(bytes, "begun\nparo: error: interrupted\n");
    assert_false(paro_path_exists(f->out));
    close(ends[0]);
    close(null);
    free(recipe);
}

static void test_usage_errors(void **state)
{
    fixture *f = *state;
    USAGE_ERROR("quantize needs a recipe", "quantize", DEMO_MODEL, "-o", f->out);
    USAGE_ERROR("quantize needs a folder to write", "quantize", DEMO_MODEL, "-r", "rtn");
    USAGE_ERROR("the folder's name is empty", "quantize", DEMO_MODEL, "-r", "rtn", "--out=");
    USAGE_ERROR("device 'cuda' is not there", "quantize", DEMO_MODEL, "-r", "rtn", "-o", f->out,
                "--device", "cuda");
    USAGE_ERROR("expected KEY=VALUE, found 'bits'", "quantize", DEMO_MODEL, "-r", "rtn", "-o",
                f->out, "--set", "bits");
    USAGE_ERROR("'gguf' is not one of: paroquant, awq, pseudo", "quantize", DEMO_MODEL, "-r", "rtn",
                "-o", f->out, "--format=gguf");
    USAGE_ERROR("expected a size", "quantize", DEMO_MODEL, "-r", "rtn", "-o", f->out,
                "--max-shard-size=big");
    assert_false(paro_path_exists(f->out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_dry_run_writes_nothing, set_up, tear_down),
        cmocka_unit_test(test_dry_run_checks_the_format),
        cmocka_unit_test_setup_teardown(test_a_checkpoint_is_written_and_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_name_that_begins_with_a_minus, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_formats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_there_is_not_replaced_unasked, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_interrupt_stops_a_recipe, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_usage_errors, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
