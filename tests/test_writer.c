/* SPDX-License-Identifier: MIT
 *
 * Checkpoints: what is written, and how a run ends that does not finish.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/inspect.h>

#include <signal.h>
#include <sys/resource.h>

#include "base/json.h"
#include "base/safetensors.h"
#include "calib/method.h"
#include "runtime/model.h"
#include "tests/quantise.h"

static json_t *load_json(const char *dir, const char *name)
{
    paro_error err;
    json_t *json = NULL;
    char *path = test_path(dir, name);
    assert_ok(paro_json_load(&err, path, 1 << 20, &json));
    free(path);
    return json;
}

static const char *find_metadata(const paro_tensors *tensors, const char *key)
{
    const char *value = NULL;
    const char *name = NULL;
    for (size_t i = 0; (name = paro_tensors_metadata(tensors, i, &value)) != NULL; i++) {
        if (strcmp(name, key) == 0)
            return value;
    }
    return NULL;
}

/* ---- what is written ---- */

static void test_same_names_shapes_and_dtypes_as_the_reference(void **state)
{
    (void)state;
    char *source = test_shared_path("test_writer", "models/llama");
    char *reference = test_shared_path("test_writer", "models/llama-PARO");
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    write_to(source, out, PARO_FORMAT_PAROQUANT, NULL, 0);
    paro_error err;
    paro_tensors *ours = NULL;
    paro_tensors *theirs = NULL;
    assert_ok(paro_tensors_open(&err, out, &ours));
    assert_ok(paro_tensors_open(&err, reference, &theirs));
    assert_int_equal(paro_tensors_count(ours), paro_tensors_count(theirs));
    for (size_t i = 0; i < paro_tensors_count(ours); i++) {
        paro_tensor_info a;
        paro_tensor_info b;
        paro_tensors_get(ours, i, &a);
        paro_tensors_get(theirs, i, &b);
        assert_string_equal(a.name, b.name);
        assert_string_equal(a.dtype, b.dtype);
        assert_int_equal(a.rank, b.rank);
        assert_memory_equal(a.shape, b.shape, a.rank * sizeof *a.shape);
    }
    paro_tensors_free(ours);
    paro_tensors_free(theirs);
    json_t *config = load_json(out, "config.json");
    json_t *expected = load_json(reference, "config.json");
    assert_true(json_equal(json_object_get(config, "quantization_config"),
                           json_object_get(expected, "quantization_config")));
    json_decref(config);
    json_decref(expected);
    free(out);
    free(source);
    free(reference);
    test_dir_remove(dir);
}

static void test_demo_as_paroquant(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char *out = test_path(dir, "a/b/out");
    const char *const set[] = {"group_size=64", "keep=*.layers.3.*"};
    paro_quantize_result result = write_to(demo, out, PARO_FORMAT_PAROQUANT, set, 2);
    assert_int_equal(result.n_quantized, 21);
    assert_int_equal(result.n_kept, 7);
    assert_int_equal(result.n_shards, 1);
    assert_true(result.max_relative_error >= result.mean_relative_error);
    assert_true(result.mean_relative_error > 0.05 && result.max_relative_error < 0.2);

    paro_error err;
    paro_tensor_set *set_out = NULL;
    assert_ok(paro_tensor_set_open(&err, out, &set_out));
    const paro_tensor *pairs = paro_tensor_set_find(set_out, "model.layers.0.mlp.down_proj.pairs");
    const paro_tensor *theta = paro_tensor_set_find(set_out, "model.layers.0.mlp.down_proj.theta");
    const paro_tensor *scales =
        paro_tensor_set_find(set_out, "model.layers.0.mlp.down_proj.channel_scales");
    assert_non_null(pairs);
    assert_non_null(theta);
    assert_non_null(scales);
    for (size_t i = 0; i < pairs->n_values; i++) {
        const unsigned char *bytes = (const unsigned char *)pairs->data + 2 * i;
        assert_int_equal(bytes[0] + 256 * bytes[1], i % 64);
    }
    for (size_t i = 0; i < theta->n_bytes; i++)
        assert_int_equal(((const unsigned char *)theta->data)[i], 0);
    for (size_t i = 0; i < scales->n_values; i++) {
        float one = 0;
        paro_f32_from_array(&one, (const char *)scales->data + 2 * i, scales->dtype, 1);
        assert_true(one == 1.0F);
    }
    assert_null(paro_tensor_set_find(set_out, "model.layers.0.mlp.down_proj.weight"));
    assert_non_null(paro_tensor_set_find(set_out, "model.layers.3.mlp.down_proj.weight"));
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < paro_tensor_set_count(set_out); i++)
        n_bytes += paro_tensor_set_get(set_out, i)->n_bytes;
    assert_int_equal(n_bytes, result.n_bytes);
    paro_tensor_set_free(set_out);

    paro_model *model = open_model(out);
    assert_ok(paro_model_check(&err, model));
    paro_model_info info;
    paro_model_get_info(model, &info);
    assert_string_equal(info.quant_method, "paroquant");
    assert_int_equal(info.group_size, 64);
    assert_int_equal(info.krot, 8);
    paro_model_free(model);
    free(out);
    test_dir_remove(dir);
}

/* The codes in the file are those of the rule, for every packed linear. */
static void test_codes_in_the_file(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    write_to(demo, out, PARO_FORMAT_AWQ, NULL, 0);
    paro_error err;
    paro_model *source = open_model(demo);
    paro_model *packed = open_model(out);
    for (size_t i = 0; i < paro_model_n_linears(source); i++) {
        paro_linear *linear = paro_model_linear(source, i);
        size_t n = (size_t)linear->n_in * linear->n_out;
        float *w = malloc(n * sizeof *w);
        float *back = malloc(n * sizeof *back);
        paro_quantised q = {
            .n_out = linear->n_out, .n_in = linear->n_in, .bits = 4, .group_size = 128};
        assert_ok(paro_quantised_alloc(&err, &q));
        assert_ok(paro_linear_weight(&err, linear, NULL, w));
        assert_ok(paro_rtn_quantise(&err, NULL, w, &q));
        assert_ok(paro_linear_weight(&err, paro_model_linear(packed, i), NULL, back));
        for (size_t k = 0; k < n; k++)
            assert_true(back[k] == (float)(q.codes[k] - q.zeros[k / 128]) * q.scales[k / 128]);
        paro_quantised_release(&q);
        free(w);
        free(back);
    }
    paro_model_free(packed);
    paro_model_free(source);
    free(out);
    test_dir_remove(dir);
}

static void test_awq_config(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    const char *const set[] = {"keep=*.layers.0.*.{q,k}_proj"};
    write_to(demo, out, PARO_FORMAT_AWQ, set, 1);
    json_t *config = load_json(out, "config.json");
    const json_t *quantization = json_object_get(config, "quantization_config");
    json_t *expected =
        json_pack("{s:s, s:i, s:i, s:b, s:s, s:[ss]}", "quant_method", "awq", "bits", 4,
                  "group_size", 128, "zero_point", 1, "version", "gemm", "modules_to_not_convert",
                  "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj");
    assert_true(json_equal(quantization, expected));
    assert_string_equal(json_string_value(json_object_get(config, "torch_dtype")), "float16");
    json_decref(expected);
    json_decref(config);
    free(out);
    test_dir_remove(dir);
}

static void test_metadata_and_files(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    const char *const set[] = {"bits=3"};
    write_to(demo, out, PARO_FORMAT_PSEUDO, set, 1);
    paro_error err;
    paro_tensors *tensors = NULL;
    char *text = NULL;
    size_t n_bytes = 0;
    assert_ok(paro_tensors_open(&err, out, &tensors));
    assert_ok(paro_file_read(&err, "lua/recipes/rtn.lua", 1 << 20, &text, &n_bytes));
    assert_string_equal(find_metadata(tensors, "format"), "pt");
    assert_string_equal(find_metadata(tensors, "paro.recipe"), text);
    assert_string_equal(find_metadata(tensors, "paro.options"), "{\"bits\":\"3\"}");
    assert_int_equal(strlen(find_metadata(tensors, "paro.recipe_sha256")), 64);
    assert_string_equal(find_metadata(tensors, "paro.plan"),
                        "28 linears quantised, 0 kept, format pseudo");
    free(text);
    /* All of it is F16, and nothing says quantised. */
    for (size_t i = 0; i < paro_tensors_count(tensors); i++) {
        paro_tensor_info info;
        paro_tensors_get(tensors, i, &info);
        assert_string_equal(info.dtype, "F16");
    }
    paro_tensors_free(tensors);
    json_t *config = load_json(out, "config.json");
    assert_null(json_object_get(config, "quantization_config"));
    json_decref(config);

    static const char *const same[] = {"tokenizer.json", "tokenizer_config.json",
                                       "generation_config.json", "README.md"};
    for (size_t i = 0; i < 4; i++) {
        char *from = test_path(demo, same[i]);
        char *to = test_path(out, same[i]);
        paro_mapping a;
        paro_mapping b;
        assert_ok(paro_mapping_open(&err, from, &a));
        assert_ok(paro_mapping_open(&err, to, &b));
        assert_int_equal(a.n_bytes, b.n_bytes);
        assert_memory_equal(a.data, b.data, a.n_bytes);
        paro_mapping_close(&a);
        paro_mapping_close(&b);
        free(from);
        free(to);
    }
    char *golden = test_path(out, "golden.safetensors");
    assert_false(paro_path_exists(golden));
    free(golden);
    free(out);
    test_dir_remove(dir);
}

static void test_shards_and_same_bytes(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char *one = test_path(dir, "one");
    char *two = test_path(dir, "two");
    paro_error err;
    paro_quantize_result result;
    paro_model *model = open_model(demo);
    paro_plan *plan = make_plan(model, NULL, 0);
    const paro_quantize_options options = {.format = PARO_FORMAT_AWQ, .max_shard_bytes = 1 << 20};
    assert_ok(paro_quantize(&err, model, plan, one, &options, &result));
    assert_ok(paro_quantize(&err, model, plan, two, &options, NULL));
    assert_true(result.n_shards >= 3);
    paro_model *sharded = open_model(one);
    assert_ok(paro_model_check(&err, sharded));
    paro_model_free(sharded);
    for (uint32_t i = 1; i <= result.n_shards; i++) {
        char name[64];
        snprintf(name, sizeof name, "model-%05u-of-%05u.safetensors", i, result.n_shards);
        char *a_path = test_path(one, name);
        char *b_path = test_path(two, name);
        paro_mapping a;
        paro_mapping b;
        assert_ok(paro_mapping_open(&err, a_path, &a));
        assert_ok(paro_mapping_open(&err, b_path, &b));
        assert_int_equal(a.n_bytes, b.n_bytes);
        assert_memory_equal(a.data, b.data, a.n_bytes);
        paro_mapping_close(&a);
        paro_mapping_close(&b);
        free(a_path);
        free(b_path);
    }
    paro_plan_free(plan);
    paro_model_free(model);
    free(one);
    free(two);
    test_dir_remove(dir);
}

/* ---- what may not be written ---- */

static void test_existing_folder(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    paro_model *model = open_model(demo);
    paro_plan *plan = make_plan(model, NULL, 0);
    paro_quantize_options options = {.format = PARO_FORMAT_AWQ};
    assert_ok(paro_quantize(&err, model, plan, out, &options, NULL));
    test_file_write(out, "stray.txt", "x", 1);
    assert_fails(paro_quantize(&err, model, plan, out, &options, NULL), PARO_STATUS_EXISTS, out);
    options.overwrite = true;
    assert_ok(paro_quantize(&err, model, plan, out, &options, NULL));
    char *stray = test_path(out, "stray.txt");
    assert_false(paro_path_exists(stray));
    free(stray);
    paro_plan_free(plan);
    paro_model_free(model);
    free(out);
    test_dir_remove(dir);
}

/* --overwrite removes what it replaces: only a checkpoint, or an empty folder. */
static void test_what_overwrite_replaces(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    char *notes = test_path(out, "notes.txt");
    char *config = test_path(out, "config.json");
    paro_model *model = open_model(demo);
    paro_plan *plan = make_plan(model, NULL, 0);
    const paro_quantize_options options = {.format = PARO_FORMAT_AWQ, .overwrite = true};
    assert_int_equal(mkdir(out, 0777), 0);
    test_file_write(out, "notes.txt", "mine", 4);
    assert_fails(paro_quantize(&err, model, plan, out, &options, NULL), PARO_STATUS_EXISTS,
                 "out: is not replaced: expected a checkpoint (config.json, model*, no folders), "
                 "found other files");
    assert_true(paro_path_exists(notes));
    /* One half of a checkpoint is none. */
    test_file_write(out, "config.json", "{}", 2);
    assert_fails(paro_quantize(&err, model, plan, out, &options, NULL), PARO_STATUS_EXISTS,
                 "found other files");
    test_file_write(out, "model.safetensors", "", 0);
    char *sub = test_path(out, "sub");
    assert_int_equal(mkdir(sub, 0777), 0);
    assert_fails(paro_quantize(&err, model, plan, out, &options, NULL), PARO_STATUS_EXISTS,
                 "found a folder in it");
    assert_true(paro_path_exists(notes));
    assert_int_equal(rmdir(sub), 0);
    assert_ok(paro_quantize(&err, model, plan, out, &options, NULL));
    assert_false(paro_path_exists(notes));
    /* An empty folder. */
    assert_ok(paro_remove_tree(&err, out));
    assert_int_equal(mkdir(out, 0777), 0);
    assert_ok(paro_quantize(&err, model, plan, out, &options, NULL));
    assert_true(paro_path_exists(config));
    paro_plan_free(plan);
    paro_model_free(model);
    free(sub);
    free(config);
    free(notes);
    free(out);
    test_dir_remove(dir);
}

static void test_overwrite_above_the_source(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *out = test_path(dir, "models");
    char *source = test_path(out, "source");
    write_to(demo, source, PARO_FORMAT_PSEUDO, NULL, 0);
    /* Were it not for the folder in it, it would pass for a checkpoint. */
    test_file_write(out, "config.json", "{}", 2);
    test_file_write(out, "model.safetensors", "", 0);
    paro_model *model = open_model(source);
    paro_plan *plan = make_plan(model, NULL, 0);
    const paro_quantize_options options = {.format = PARO_FORMAT_AWQ, .overwrite = true};
    assert_fails(paro_quantize(&err, model, plan, out, &options, NULL), PARO_STATUS_EXISTS,
                 "found a folder in it");
    assert_fails(paro_quantize(&err, model, plan, source, &options, NULL),
                 PARO_STATUS_INVALID_ARGUMENT, "is the model's own folder");
    char *weights = test_path(source, "model.safetensors");
    assert_true(paro_path_exists(weights));
    assert_ok(paro_model_check(&err, model));
    paro_plan_free(plan);
    paro_model_free(model);

    /* A model whose files are links into OUT. */
    char *linked = test_path(dir, "linked"), *link_weights = test_path(linked, "model.safetensors");
    char *link_config = test_path(linked, "config.json");
    assert_int_equal(mkdir(linked, 0777), 0);
    assert_int_equal(symlink("../models/source/model.safetensors", link_weights), 0);
    assert_int_equal(symlink("../models/source/config.json", link_config), 0);
    model = open_model(linked);
    plan = make_plan(model, NULL, 0);
    assert_fails(paro_quantize(&err, model, plan, source, &options, NULL),
                 PARO_STATUS_INVALID_ARGUMENT, "holds its files");
    assert_true(paro_path_exists(weights));
    paro_plan_free(plan);
    paro_model_free(model);
    free(linked), free(link_weights), free(link_config);
    free(weights);
    free(source);
    free(out);
    test_dir_remove(dir);
}

/* The checkpoint is replaced where it is, and the link stays. */
static void test_overwrite_through_a_link(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *there = test_path(dir, "elsewhere/q4");
    char *link = test_path(dir, "link");
    write_to(demo, there, PARO_FORMAT_PSEUDO, NULL, 0);
    assert_int_equal(symlink("elsewhere/q4", link), 0);
    paro_model *model = open_model(demo);
    paro_plan *plan = make_plan(model, NULL, 0);
    const paro_quantize_options options = {.format = PARO_FORMAT_AWQ, .overwrite = true};
    assert_ok(paro_quantize(&err, model, plan, link, &options, NULL));
    struct stat info;
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(lstat(there, &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    paro_model *written = open_model(there);
    paro_model_info facts;
    paro_model_get_info(written, &facts);
    assert_string_equal(facts.quant_method, "awq");
    paro_model_free(written);
    paro_plan_free(plan);
    paro_model_free(model);
    free(link);
    free(there);
    test_dir_remove(dir);
}

typedef struct counter {
    uint64_t n_calls;
    uint64_t stop_at;
    uint64_t last;
    uint64_t total;
} counter;

static bool count_progress(void *context, const char *stage, uint64_t done, uint64_t total)
{
    counter *c = context;
    assert_string_equal(stage, "quantize");
    assert_true(done > c->last && done <= total);
    c->last = done;
    c->total = total;
    return ++c->n_calls != c->stop_at;
}

static void test_progress_and_cancel(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    paro_model *model = open_model(demo);
    paro_plan *plan = make_plan(model, NULL, 0);
    counter c = {0};
    const paro_observer observer = {.context = &c, .progress = count_progress};
    paro_quantize_options options = {.format = PARO_FORMAT_PAROQUANT, .observer = &observer};
    assert_ok(paro_quantize(&err, model, plan, out, &options, NULL));
    assert_int_equal(c.last, c.total);
    uint64_t n_calls = c.n_calls;
    options.overwrite = true;
    for (uint64_t stop = 1; stop < n_calls; stop += n_calls / 7) {
        c = (counter){.stop_at = stop};
        char *other = test_path(dir, "cancelled");
        assert_fails(paro_quantize(&err, model, plan, other, &options, NULL), PARO_STATUS_CANCELLED,
                     "quantize");
        assert_false(paro_path_exists(other));
        char *partial = test_path(dir, "cancelled.paro-partial");
        assert_false(paro_path_exists(partial));
        free(partial);
        free(other);
        c = (counter){.stop_at = stop};
        paro_model *in_memory = NULL;
        assert_fails(paro_quantize_in_memory(&err, model, plan, &options, &in_memory),
                     PARO_STATUS_CANCELLED, "quantize");
    }
    paro_plan_free(plan);
    paro_model_free(model);
    free(out);
    test_dir_remove(dir);
}

/* The system refuses to make any file longer than so many bytes. */
static void test_failing_writes(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    char *partial = test_path(dir, "out.paro-partial");
    paro_model *model = open_model(demo);
    paro_plan *plan = make_plan(model, NULL, 0);
    const paro_quantize_options options = {.format = PARO_FORMAT_PAROQUANT,
                                           .max_shard_bytes = 1 << 20};
    struct rlimit saved;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    static const rlim_t limits[] = {0, 100, 4096, 100000, 500000, 1000000, 3000000, 10000000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit limit = {limits[i], saved.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        paro_status status = paro_quantize(&err, model, plan, out, &options, NULL);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
        assert_int_equal(status, limits[i] < 3000000 ? PARO_STATUS_IO : PARO_STATUS_OK);
        assert_int_equal(paro_path_exists(out), status == PARO_STATUS_OK);
        assert_false(paro_path_exists(partial));
        if (status == PARO_STATUS_OK)
            assert_ok(paro_remove_tree(&err, out));
    }
    signal(SIGXFSZ, handler);
    paro_plan_free(plan);
    paro_model_free(model);
    free(out);
    free(partial);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_names_shapes_and_dtypes_as_the_reference),
        cmocka_unit_test(test_demo_as_paroquant),
        cmocka_unit_test(test_codes_in_the_file),
        cmocka_unit_test(test_awq_config),
        cmocka_unit_test(test_metadata_and_files),
        cmocka_unit_test(test_shards_and_same_bytes),
        cmocka_unit_test(test_existing_folder),
        cmocka_unit_test(test_what_overwrite_replaces),
        cmocka_unit_test(test_overwrite_above_the_source),
        cmocka_unit_test(test_overwrite_through_a_link),
        cmocka_unit_test(test_progress_and_cancel),
        cmocka_unit_test(test_failing_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
