/* SPDX-License-Identifier: MIT
 *
 * cli/cmd_inspect.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support.h"

#include "tests/cli_process.h"

static void test_table_of_a_model(void **state)
{
    (void)state;
    process p = RUN("inspect", DEMO_MODEL);
    assert_exit(p, 0);
    assert_string_equal(p.err, "");
    assert_contains(p.out, "LlamaForCausalLM: 4.20M parameters, 8.39 MB of tensors\n");
    assert_contains(p.out, "  layers 4, hidden 256, intermediate 768, heads 4, KV heads 2, "
                           "head_dim 64\n");
    assert_contains(p.out, "  not quantised\n");
    assert_contains(p.out, "model.layers.3.mlp.down_proj.weight             F16    256 x 768");
    assert_contains(p.out, "39 tensors, 8.39 MB\n");
    process_free(&p);
}

static void test_json_of_a_model(void **state)
{
    (void)state;
    process p = RUN("inspect", DEMO_MODEL, "-o", "json", "--stats");
    assert_exit(p, 0);
    json_t *root = process_json(&p), *model = json_object_get(root, "model"), *tensor;
    assert_string_equal(json_string_value(json_object_get(model, "architecture")),
                        "LlamaForCausalLM");
    assert_string_equal(json_string_value(json_object_get(model, "quant_method")), "none");
    assert_int_equal(json_integer_value(json_object_get(model, "n_parameters")), 4196608);
    assert_int_equal(json_integer_value(json_object_get(root, "n_tensors")), 39);
    size_t i;
    json_int_t n_bytes = 0;
    json_array_foreach(json_object_get(root, "tensors"), i, tensor)
    {
        json_t *stats = json_object_get(tensor, "stats");
        n_bytes += json_integer_value(json_object_get(tensor, "n_bytes"));
        assert_int_equal(json_integer_value(json_object_get(stats, "n_values")) * 2,
                         json_integer_value(json_object_get(tensor, "n_bytes")));
        assert_int_equal(json_integer_value(json_object_get(stats, "n_nan")), 0);
        assert_true(json_real_value(json_object_get(stats, "min")) <
                    json_real_value(json_object_get(stats, "max")));
        assert_true(json_real_value(json_object_get(stats, "rms")) > 0);
    }
    assert_int_equal(i, 39);
    assert_int_equal(n_bytes, json_integer_value(json_object_get(root, "n_bytes")));
    json_decref(root);
    process_free(&p);
}

static void test_filter(void **state)
{
    (void)state;
    process p = RUN("inspect", "--filter=*.q_proj.*", "--stats", DEMO_MODEL);
    assert_exit(p, 0);
    assert_contains(p.out, "4 of 39 tensors, 524 kB\n");
    assert_null(strstr(p.out, "k_proj"));
    process_free(&p);
    p = RUN("inspect", DEMO_MODEL, "--filter", "q_proj");
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    assert_contains(p.err, "no tensor's name matches 'q_proj'");
    assert_contains(p.err, "'*q_proj*'");
    process_free(&p);
    p = RUN("inspect", DEMO_MODEL, "--filter", "*zz*");
    assert_exit(p, 1);
    assert_null(strstr(p.err, "**"));
    process_free(&p);
}

static void test_check(void **state)
{
    (void)state;
    char *dir = test_dir_new(), *damaged = test_path(dir, "q4");
    write_damaged_model(damaged);
    process p = RUN("inspect", DEMO_MODEL, "--check");
    assert_exit(p, 0);
    assert_contains(p.out, "\n  checked: tensors are there with their shapes and types, quantised "
                           "ones keep the format\n\n");
    process_free(&p);
    p = RUN("inspect", DEMO_MODEL, "--check", "-o", "json");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    assert_true(json_is_true(json_object_get(root, "checked")));
    json_decref(root);
    process_free(&p);
    p = RUN("inspect", damaged, "--check");
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    assert_contains(p.err, "model.layers.0.self_attn.q_proj");
    process_free(&p);
    p = RUN("inspect", DEMO_MODEL "/model.safetensors", "--check");
    assert_exit(p, 1);
    assert_contains(p.err, "--check needs a model folder");
    process_free(&p);

    /* Of packed codes there is no mean. */
    p = RUN("inspect", damaged, "--stats", "--filter=*.0.self_attn.q_proj.qweight", "-o", "json");
    assert_exit(p, 0);
    root = process_json(&p);
    assert_true(json_is_false(json_object_get(root, "checked")));
    json_t *tensor = json_array_get(json_object_get(root, "tensors"), 0);
    json_t *stats = json_object_get(tensor, "stats");
    assert_true(json_is_null(json_object_get(stats, "mean")));
    assert_int_equal(json_integer_value(json_object_get(stats, "n_values")), 256 * 256 / 8);
    json_decref(root);
    process_free(&p);
    p = RUN("inspect", damaged, "--stats", "--filter=*.0.self_attn.q_proj.qweight");
    assert_exit(p, 0);
    assert_contains(p.out, "32.8 kB    -    -     -    -");
    process_free(&p);
    free(damaged);
    test_dir_remove(dir);
}

static void test_a_file(void **state)
{
    (void)state;
    process p = RUN("inspect", DEMO_MODEL "/golden.safetensors", "-o", "json");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    assert_true(json_is_null(json_object_get(root, "model")));
    assert_int_equal(json_integer_value(json_object_get(root, "n_tensors")), 9);
    json_decref(root);
    process_free(&p);
    p = RUN("inspect", DEMO_MODEL "/golden.safetensors");
    assert_exit(p, 0);
    assert_contains(p.out, "prompt0.greedy");
    process_free(&p);
}

static void test_a_model_that_cannot_be_used_is_listed(void **state)
{
    (void)state;
    char *dir = test_dir_new(), *link = test_path(dir, "model.safetensors");
    char *target = realpath(DEMO_MODEL "/model.safetensors", NULL);
    assert_non_null(target);
    assert_int_equal(symlink(target, link), 0);
    test_file_write(dir, "config.json", "{\"architectures\": [\"Parrot\"]}", 29);
    process p = RUN("inspect", dir);
    assert_exit(p, 3);
    assert_contains(p.err, "Parrot");
    assert_contains(p.out, "39 tensors, 8.39 MB\n");
    process_free(&p);
    free(target);
    free(link);
    test_dir_remove(dir);
}

static void test_metadata_is_short_in_the_table_and_whole_in_json(void **state)
{
    (void)state;
    static const char head[] = "{\"__metadata__\":{\"recipe\":\"";
    static const char tail[] = "\"},\"t\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}";
    char *dir = test_dir_new(), *path = test_path(dir, "m.safetensors"), data[1024] = {0};
    enum { N_VALUE = 500 };
    size_t n = sizeof head - 1 + N_VALUE + sizeof tail - 1;
    data[0] = (char)(n & 0xff);
    data[1] = (char)(n >> 8);
    memcpy(data + 8, head, sizeof head - 1);
    memset(data + 8 + sizeof head - 1, 'r', N_VALUE);
    memcpy(data + 8 + sizeof head - 1 + N_VALUE, tail, sizeof tail - 1);
    test_file_write(dir, "m.safetensors", data, 8 + n + 4);

    process p = RUN("inspect", path);
    assert_exit(p, 0);
    assert_contains(p.out, "scalar");
    assert_contains(p.out, "rrr… (500 bytes; -o json prints all)\n");
    process_free(&p);
    p = RUN("inspect", path, "-o", "json");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    json_t *value = json_object_get(json_object_get(root, "metadata"), "recipe");
    assert_int_equal(json_string_length(value), N_VALUE);
    json_decref(root);
    process_free(&p);
    free(path);
    test_dir_remove(dir);
}

static void test_failures(void **state)
{
    (void)state;
    process p = RUN("inspect", "no-such-folder");
    assert_exit(p, 1);
    assert_string_equal(p.out, "");
    assert_contains(p.err, "paro: error: no-such-folder");
    process_free(&p);
    p = RUN("inspect", "CMakeLists.txt");
    assert_exit(p, 1);
    assert_contains(p.err, "CMakeLists.txt");
    process_free(&p);
    USAGE_ERROR("unexpected argument 'b'", "inspect", "a", "b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_of_a_model),
        cmocka_unit_test(test_json_of_a_model),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_a_file),
        cmocka_unit_test(test_a_model_that_cannot_be_used_is_listed),
        cmocka_unit_test(test_metadata_is_short_in_the_table_and_whole_in_json),
        cmocka_unit_test(test_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
