/* SPDX-License-Identifier: MIT
 *
 * Checkpoints: what is written, what it says when read back, and what may not be written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/inspect.h>
#include <paro/quantize.h>

#include "base/json.h"
#include "base/safetensors.h"
#include "base/safetensors_write.h"
#include "calib/method.h"
#include "runtime/model.h"
#include "tests/support.h"

static const char demo[] = "models/demo";

static paro_plan *make_plan(const paro_model *model, const char *const *set, size_t n_set)
{
    paro_error err;
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    const paro_recipe_options options = {.set = set, .n_set = n_set};
    assert_ok(paro_recipe_open(&err, "rtn", &options, &recipe));
    assert_ok(paro_plan_make(&err, recipe, model, &plan));
    paro_recipe_free(recipe);
    return plan;
}

static paro_model *open_model(const char *dir)
{
    paro_error err;
    paro_model *model = NULL;
    assert_ok(paro_model_open(&err, dir, NULL, &model));
    return model;
}

/* Quantises `source` by rtn into `out`. */
static paro_quantize_result write_to(const char *source, const char *out, paro_format format,
                                     const char *const *set, size_t n_set)
{
    paro_error err;
    paro_quantize_result result;
    paro_model *model = open_model(source);
    paro_plan *plan = make_plan(model, set, n_set);
    const paro_quantize_options options = {.format = format};
    assert_ok(paro_quantize(&err, model, plan, out, &options, &result));
    paro_plan_free(plan);
    paro_model_free(model);
    return result;
}

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
    const paro_tensor *pairs =
        paro_tensor_set_find(set_out, "model.layers.0.mlp.down_proj.pairs");
    const paro_tensor *theta =
        paro_tensor_set_find(set_out, "model.layers.0.mlp.down_proj.theta");
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
    json_t *expected = json_pack("{s:s, s:i, s:i, s:b, s:s, s:[ss]}", "quant_method", "awq", "bits",
                                 4, "group_size", 128, "zero_point", 1, "version", "gemm",
                                 "modules_to_not_convert", "model.layers.0.self_attn.q_proj",
                                 "model.layers.0.self_attn.k_proj");
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

/* ---- read back ---- */

static void logits_of(const paro_model *model, float *logits)
{
    static const int32_t tokens[] = {5, 100, 999, 17, 321, 1024, 7, 8};
    paro_error err;
    paro_session *session = NULL;
    assert_ok(paro_session_new(&err, model, NULL, &session));
    assert_ok(paro_session_append(&err, session, tokens, 8, logits));
    paro_session_free(session);
}

static void test_in_memory_is_the_file(void **state)
{
    (void)state;
    static const struct {
        paro_format format;
        const char *set;
    } cases[] = {{PARO_FORMAT_PAROQUANT, "keep=*.layers.1.*"},
                 {PARO_FORMAT_AWQ, "group_size=32"},
                 {PARO_FORMAT_PSEUDO, "bits=3"}};
    enum { VOCAB = 2048 };
    static float memory_logits[VOCAB];
    static float file_logits[VOCAB];
    static float source_logits[VOCAB];
    paro_error err;
    for (size_t i = 0; i < 3; i++) {
        char *dir = test_dir_new();
        char *out = test_path(dir, "out");
        paro_model *source = open_model(demo);
        paro_plan *plan = make_plan(source, &cases[i].set, 1);
        const paro_quantize_options options = {.format = cases[i].format};
        paro_model *in_memory = NULL;
        assert_ok(paro_quantize_in_memory(&err, source, plan, &options, &in_memory));
        assert_ok(paro_model_check(&err, in_memory));
        assert_ok(paro_quantize(&err, source, plan, out, &options, NULL));
        paro_model *file = open_model(out);
        logits_of(in_memory, memory_logits);
        logits_of(file, file_logits);
        logits_of(source, source_logits);
        assert_memory_equal(memory_logits, file_logits, sizeof file_logits);
        assert_memory_not_equal(memory_logits, source_logits, sizeof file_logits);
        paro_model_info a;
        paro_model_info b;
        paro_model_get_info(in_memory, &a);
        paro_model_get_info(file, &b);
        assert_string_equal(a.quant_method, b.quant_method);
        assert_int_equal(a.group_size, b.group_size);
        assert_int_equal(a.n_weight_bytes, b.n_weight_bytes);
        assert_int_equal(a.n_parameters, b.n_parameters);

        /* A model that lies over another cannot be the source of a third. */
        paro_plan *again = make_plan(in_memory, NULL, 0);
        assert_fails(paro_quantize_in_memory(&err, in_memory, again, &options, &file),
                     PARO_STATUS_UNSUPPORTED, "was quantised in memory");
        paro_plan_free(again);
        paro_model_free(file);
        paro_model_free(in_memory);
        paro_plan_free(plan);
        paro_model_free(source);
        free(out);
        test_dir_remove(dir);
    }
}

/* A quantised source is dequantised; kept linears become plain F16. */
static void test_quantised_source(void **state)
{
    (void)state;
    enum { VOCAB = 2048 };
    static float before[VOCAB];
    static float after[VOCAB];
    paro_error err;
    char *dir = test_dir_new();
    char *first = test_path(dir, "first");
    char *second = test_path(dir, "second");
    char *third = test_path(dir, "third");
    const char *const keep[] = {"keep=*.{q,k,v,o}_proj"};
    write_to(demo, first, PARO_FORMAT_AWQ, NULL, 0);
    /* 4 bits again: the same groups give the same codes but for rounding of the scales. */
    write_to(first, second, PARO_FORMAT_PAROQUANT, keep, 1);
    write_to(second, third, PARO_FORMAT_PSEUDO, NULL, 0);
    paro_tensors *tensors = NULL;
    assert_ok(paro_tensors_open(&err, second, &tensors));
    for (size_t i = 0; i < paro_tensors_count(tensors); i++) {
        paro_tensor_info info;
        paro_tensors_get(tensors, i, &info);
        assert_true(strstr(info.name, "q_proj.qweight") == NULL);
    }
    paro_tensors_free(tensors);
    paro_model *a = open_model(first);
    paro_model *b = open_model(second);
    paro_model *c = open_model(third);
    assert_ok(paro_model_check(&err, b));
    assert_ok(paro_model_check(&err, c));
    logits_of(a, before);
    logits_of(b, after);
    double difference = 0;
    double size = 0;
    for (int i = 0; i < VOCAB; i++) {
        difference += (before[i] - after[i]) * (before[i] - after[i]);
        size += before[i] * before[i];
    }
    assert_true(difference < 0.01 * size);
    paro_model_free(a);
    paro_model_free(b);
    paro_model_free(c);
    free(first);
    free(second);
    free(third);
    test_dir_remove(dir);
}

/* ---- what may not be written ---- */

static void test_formats(void **state)
{
    (void)state;
    paro_error err;
    paro_format format = PARO_FORMAT_AWQ;
    assert_ok(paro_format_parse(&err, "pseudo", &format));
    assert_int_equal(format, PARO_FORMAT_PSEUDO);
    assert_string_equal(paro_format_name(PARO_FORMAT_PAROQUANT), "paroquant");
    assert_fails(paro_format_parse(&err, "gguf", &format), PARO_STATUS_INVALID_ARGUMENT,
                 "expected one of paroquant, awq, pseudo");

    static const struct {
        paro_format format;
        const char *set;
        const char *words;
    } wrong[] = {
        {PARO_FORMAT_AWQ, "bits=3", "expected 4 bits, the plan has 3 (format pseudo stores any)"},
        {PARO_FORMAT_PAROQUANT, "group_size=32", "expected a group_size of 64, 128, the plan has 32"},
        {PARO_FORMAT_AWQ, "group_size=256", "expected a group_size of 32, 64, 128"},
        {PARO_FORMAT_AWQ, "keep=*", "the plan quantises no linear"},
    };
    char *dir = test_dir_new();
    char *out = test_path(dir, "out");
    paro_model *model = open_model(demo);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        paro_plan *plan = make_plan(model, &wrong[i].set, 1);
        const paro_quantize_options options = {.format = wrong[i].format};
        paro_model *in_memory = NULL;
        assert_fails(paro_quantize(&err, model, plan, out, &options, NULL),
                     PARO_STATUS_INVALID_ARGUMENT, wrong[i].words);
        assert_fails(paro_quantize_in_memory(&err, model, plan, &options, &in_memory),
                     PARO_STATUS_INVALID_ARGUMENT, wrong[i].words);
        paro_plan_free(plan);
    }
    const paro_quantize_options unknown = {.format = (paro_format)7};
    paro_plan *plan = make_plan(model, NULL, 0);
    assert_fails(paro_quantize(&err, model, plan, out, &unknown, NULL),
                 PARO_STATUS_INVALID_ARGUMENT, "no such format");
    assert_fails(paro_quantize(&err, model, plan, demo, NULL, NULL), PARO_STATUS_INVALID_ARGUMENT,
                 "the model's own folder");
    paro_model *other = open_model(demo);
    assert_fails(paro_quantize(&err, other, plan, out, NULL, NULL), PARO_STATUS_INVALID_ARGUMENT,
                 "the plan was made for");
    assert_false(paro_path_exists(out));
    paro_model_free(other);
    paro_plan_free(plan);
    paro_model_free(model);
    free(out);
    test_dir_remove(dir);
}

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
        assert_fails(paro_quantize(&err, model, plan, other, &options, NULL),
                     PARO_STATUS_CANCELLED, "quantize");
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

/* ---- sources with bad values ---- */

/* The demo model with one F32 value of one tensor changed, in `dir`/bad. */
static char *demo_with(const char *dir, const char *name, size_t at, float value)
{
    paro_error err;
    char *bad = test_path(dir, "bad");
    assert_int_equal(mkdir(bad, 0777), 0);
    paro_tensor_set *set = NULL;
    paro_shard_writer *writer = NULL;
    assert_ok(paro_tensor_set_open(&err, demo, &set));
    assert_ok(paro_shard_writer_new(&err, bad, 0, &writer));
    for (size_t i = 0; i < paro_tensor_set_count(set); i++) {
        const paro_tensor *t = paro_tensor_set_get(set, i);
        bool changed = strcmp(t->name, name) == 0;
        assert_ok(paro_shard_writer_declare(&err, writer, t->name,
                                            changed ? PARO_DTYPE_F32 : t->dtype, t->rank,
                                            t->shape));
    }
    for (size_t i = 0; i < paro_tensor_set_count(set); i++) {
        const paro_tensor *t = paro_tensor_set_get(set, i);
        if (strcmp(t->name, name) != 0) {
            assert_ok(paro_shard_writer_write(&err, writer, t->name, t->data, t->n_bytes));
            continue;
        }
        float *values = malloc(t->n_values * sizeof *values);
        paro_f32_from_array(values, t->data, t->dtype, t->n_values);
        values[at] = value;
        assert_ok(paro_shard_writer_write(&err, writer, t->name, values, 4 * t->n_values));
        free(values);
    }
    assert_ok(paro_shard_writer_finish(&err, writer, NULL, NULL));
    paro_shard_writer_free(writer);
    paro_tensor_set_free(set);
    char *text = NULL;
    size_t n_bytes = 0;
    char *path = test_path(demo, "config.json");
    assert_ok(paro_file_read(&err, path, 1 << 20, &text, &n_bytes));
    test_file_write(bad, "config.json", text, n_bytes);
    free(path);
    free(text);
    return bad;
}

static void fails_on(const char *name, size_t at, float value, paro_format format,
                     paro_status expected, const char *words)
{
    paro_error err;
    char *dir = test_dir_new();
    char *bad = demo_with(dir, name, at, value);
    char *out = test_path(dir, "out");
    paro_model *model = open_model(bad);
    paro_plan *plan = make_plan(model, NULL, 0);
    const paro_quantize_options options = {.format = format};
    assert_fails(paro_quantize(&err, model, plan, out, &options, NULL), expected, words);
    assert_false(paro_path_exists(out));
    paro_plan_free(plan);
    paro_model_free(model);
    free(bad);
    free(out);
    test_dir_remove(dir);
}

static void test_values_that_do_not_fit(void **state)
{
    (void)state;
    const char *linear = "model.layers.2.mlp.up_proj.weight";
    fails_on("model.norm.weight", 3, 1e5F, PARO_FORMAT_AWQ, PARO_STATUS_UNSUPPORTED,
             "model.norm.weight: value 3 (in row-major order) is 100000");
    fails_on(linear, 256 * 5 + 7, 1e30F, PARO_FORMAT_AWQ, PARO_STATUS_UNSUPPORTED,
             "model.layers.2.mlp.up_proj: row 5, group 0: expected weights whose scale fits F16");
    fails_on(linear, 256 * 5 + 7, 3e5F, PARO_FORMAT_PSEUDO, PARO_STATUS_UNSUPPORTED,
             "model.layers.2.mlp.up_proj.weight: [5, 7]: the dequantised weight");
    fails_on(linear, 256 * 5 + 7, (float)(0.0 / strtod("0", NULL)), PARO_FORMAT_AWQ,
             PARO_STATUS_FORMAT, "model.layers.2.mlp.up_proj: the weight at [5, 7] is");
}

/* F32 tensors that F16 does not hold exactly are rounded in memory too. */
static void test_rounding_in_memory(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *source_dir = demo_with(dir, "model.norm.weight", 3, 1.00017F);
    paro_model *source = open_model(source_dir);
    paro_plan *plan = make_plan(source, NULL, 0);
    paro_model *in_memory = NULL;
    assert_ok(paro_quantize_in_memory(&err, source, plan, NULL, &in_memory));
    assert_int_equal(in_memory->norm->dtype, PARO_DTYPE_F16);
    /* What is exact is shared. */
    assert_ptr_equal(in_memory->embedding, source->embedding);
    paro_model_free(in_memory);
    paro_plan_free(plan);
    paro_model_free(source);
    free(source_dir);
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
        cmocka_unit_test(test_in_memory_is_the_file),
        cmocka_unit_test(test_quantised_source),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_existing_folder),
        cmocka_unit_test(test_progress_and_cancel),
        cmocka_unit_test(test_values_that_do_not_fit),
        cmocka_unit_test(test_rounding_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
