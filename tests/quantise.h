/* SPDX-License-Identifier: MIT
 *
 * What the tests of quantising share: the demo model, plans of the shipped recipe, checkpoints.
 * Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_QUANTISE_H
#define PARO_TESTS_QUANTISE_H

#include <paro/quantize.h>

#include "base/safetensors.h"
#include "base/safetensors_write.h"
#include "tests/support.h"

static const char demo[] = "models/demo";

static inline paro_plan *make_plan(const paro_model *model, const char *const *set, size_t n_set)
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

static inline paro_model *open_model(const char *dir)
{
    paro_error err;
    paro_model *model = NULL;
    assert_ok(paro_model_open(&err, dir, NULL, &model));
    return model;
}

/* Quantises `source` by rtn into `out`. */
static inline paro_quantize_result write_to(const char *source, const char *out, paro_format format,
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

/* The demo model with one F32 value of one tensor changed, in `dir`/bad. */
static inline char *demo_with(const char *dir, const char *name, size_t at, float value)
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
        assert_ok(paro_shard_writer_declare(
            &err, writer, t->name, changed ? PARO_DTYPE_F32 : t->dtype, t->rank, t->shape));
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

/* After a few tokens of no meaning; [2048]. */
static inline void logits_of(const paro_model *model, float *logits)
{
    static const int32_t tokens[] = {5, 100, 999, 17, 321, 1024, 7, 8};
    paro_error err;
    paro_session *session = NULL;
    assert_ok(paro_session_new(&err, model, NULL, &session));
    assert_ok(paro_session_append(&err, session, tokens, 8, logits));
    paro_session_free(session);
}

#endif
