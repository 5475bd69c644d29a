/* SPDX-License-Identifier: MIT
 *
 * runtime/model.c and runtime/session.c against what other implementations computed: the logits and
 * the greedy continuations in golden.safetensors (models/demo/README.md says how they came about).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <paro/generate.h>
#include <paro/quantize.h>

#include "base/file.h"
#include "base/safetensors.h"
#include "base/safetensors_write.h"
#include "runtime/model.h"
#include "tests/support.h"

enum { N_PROMPTS = 3, N_GREEDY = 64 };

typedef struct golden {
    int32_t *ids;
    size_t n_ids;
    float *logits; /* [n_ids, vocab] */
    int32_t greedy[N_GREEDY];
} golden;

static void *copy_tensor(const paro_tensor_set *set, int prompt, const char *what,
                         uint64_t *n_values)
{
    char name[64];
    snprintf(name, sizeof name, "prompt%d.%s", prompt, what);
    const paro_tensor *tensor = paro_tensor_set_find(set, name);
    assert_non_null(tensor);
    void *copy = malloc((size_t)tensor->n_bytes);
    assert_non_null(copy);
    memcpy(copy, tensor->data, (size_t)tensor->n_bytes);
    *n_values = tensor->n_values;
    return copy;
}

static golden load_golden(const char *dir, int prompt)
{
    paro_error err;
    paro_tensor_set *set = NULL;
    golden g = {0};
    uint64_t n;
    char *path = test_path(dir, "golden.safetensors");
    assert_ok(paro_tensor_set_open(&err, path, &set));
    g.logits = copy_tensor(set, prompt, "logits", &n);
    int32_t *greedy = copy_tensor(set, prompt, "greedy", &n);
    assert_int_equal(n, N_GREEDY);
    memcpy(g.greedy, greedy, sizeof g.greedy);
    g.ids = copy_tensor(set, prompt, "ids", &n);
    g.n_ids = (size_t)n;
    free(greedy);
    free(path);
    paro_tensor_set_free(set);
    return g;
}

static void free_golden(golden *g)
{
    free(g->ids);
    free(g->logits);
}

typedef struct difference {
    const golden *g;
    uint32_t vocab;
    size_t n_seen;
    double difference, reference; /* sums of squares */
} difference;

static paro_status compare_rows(paro_error *err, void *context, size_t first, size_t n_rows,
                                const float *logits)
{
    difference *d = context;
    (void)err;
    assert_int_equal(first, d->n_seen);
    for (size_t i = 0; i < n_rows * d->vocab; i++) {
        double expected = (double)d->g->logits[first * d->vocab + i];
        d->difference += ((double)logits[i] - expected) * ((double)logits[i] - expected);
        d->reference += expected * expected;
    }
    d->n_seen += n_rows;
    return PARO_STATUS_OK;
}

/* Bar: relative L2 error of the logits below 2e-5 (a wrong norm epsilon alone shows as 1e-4), and
 * the same 64 greedy tokens. */
static void check_goldens(const char *dir)
{
    paro_error err;
    paro_model *model = NULL;
    paro_model_info info;
    assert_ok(paro_model_open(&err, dir, NULL, &model));
    assert_ok(paro_model_check(&err, model));
    paro_model_get_info(model, &info);
    for (int prompt = 0; prompt < N_PROMPTS; prompt++) {
        golden g = load_golden(dir, prompt);
        difference d = {.g = &g, .vocab = info.vocab};
        paro_session *session = NULL;
        assert_ok(paro_session_new(&err, model, NULL, &session));
        assert_ok(paro_session_append_all(&err, session, g.ids, g.n_ids, compare_rows, &d));
        assert_int_equal(d.n_seen, g.n_ids);
        double error = sqrt(d.difference / d.reference);
        printf("%s prompt %d: relative L2 error of the logits %.1e\n", dir, prompt, error);
        assert_true(error < 2e-5);

        int32_t ids[N_GREEDY];
        const paro_generate_options options = {.n_tokens = N_GREEDY, .ignore_eos = true};
        paro_generate_result result;
        paro_session_truncate(session, 0);
        assert_ok(
            paro_generate(&err, session, NULL, g.ids, g.n_ids, &options, NULL, NULL, ids, &result));
        assert_int_equal(result.n_generated, N_GREEDY);
        assert_memory_equal(ids, g.greedy, sizeof ids);
        paro_session_free(session);
        free_golden(&g);
    }
    paro_model_free(model);
}

static void test_demo(void **state)
{
    (void)state;
    check_goldens("models/demo");
}

static void check_shared(const char *test, const char *name)
{
    char *dir = test_shared_path(test, name);
    check_goldens(dir);
    free(dir);
}

static void test_llama(void **state)
{
    (void)state;
    check_shared("test_model llama", "models/llama");
}

static void test_qwen3(void **state)
{
    (void)state;
    check_shared("test_model qwen3", "models/qwen3");
}

static void test_llama_paro(void **state)
{
    (void)state;
    check_shared("test_model llama-PARO", "models/llama-PARO");
}

static void test_info(void **state)
{
    (void)state;
    paro_error err;
    paro_model *model = NULL;
    paro_model_info info;
    assert_ok(paro_model_open(&err, "models/demo", &(paro_model_options){.n_threads = 1}, &model));
    paro_model_get_info(model, &info);
    assert_string_equal(info.architecture, "LlamaForCausalLM");
    assert_string_equal(info.quant_method, "none");
    assert_string_equal(info.dir, "models/demo");
    assert_int_equal(info.n_parameters, 4196608);
    assert_int_equal(info.n_weight_bytes, 2 * 4196608);
    assert_int_equal(info.max_context, 1024);
    size_t n;
    const int32_t *eos = paro_model_eos_ids(model, &n);
    assert_int_equal(n, 1);
    assert_int_equal(eos[0], 2047);
    assert_int_equal(paro_model_n_linears(model), 28);
    assert_string_equal(paro_model_linear(model, 9)->name, "model.layers.1.self_attn.v_proj");
    paro_model_free(model);
    paro_model_free(NULL);
    assert_fails(paro_model_open(&err, "models/none", NULL, &model), PARO_STATUS_NOT_FOUND,
                 "models/none");
    assert_fails(paro_model_open(&err, "models/demo/config.json", NULL, &model),
                 PARO_STATUS_INVALID_ARGUMENT, "expected a model folder");
}

/* A copy of the demo model's folder, with one tensor left out, or of another shape or dtype. */
static void write_damaged(const char *dir, const char *name, int damage)
{
    paro_error err;
    paro_tensor_set *set = NULL;
    paro_shard_writer *writer = NULL;
    char *config;
    size_t n_bytes;
    assert_ok(paro_file_read(&err, "models/demo/config.json", 1 << 20, &config, &n_bytes));
    test_file_write(dir, "config.json", config, n_bytes);
    free(config);
    assert_ok(paro_tensor_set_open(&err, "models/demo", &set));
    assert_ok(paro_shard_writer_new(&err, dir, 0, &writer));
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < paro_tensor_set_count(set); i++) {
            const paro_tensor *tensor = paro_tensor_set_get(set, i);
            paro_tensor t = *tensor;
            if (strcmp(t.name, name) == 0) {
                if (damage == 0)
                    continue;
                if (damage == 1)
                    t.shape[0] /= 2, t.n_bytes /= 2;
                else
                    t.dtype = PARO_DTYPE_I16;
            }
            if (pass == 0)
                assert_ok(
                    paro_shard_writer_declare(&err, writer, t.name, t.dtype, t.rank, t.shape));
            else
                assert_ok(paro_shard_writer_write(&err, writer, t.name, t.data, (size_t)t.n_bytes));
        }
    }
    assert_ok(paro_shard_writer_finish(&err, writer, NULL, NULL));
    paro_shard_writer_free(writer);
    paro_tensor_set_free(set);
}

/* Whatever is wrong with a tensor, opening or checking names it. */
static void test_damaged(void **state)
{
    (void)state;
    static const char *const names[] = {"model.embed_tokens.weight", "model.norm.weight",
                                        "model.layers.2.post_attention_layernorm.weight",
                                        "model.layers.3.mlp.down_proj.weight", "lm_head.weight"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (int damage = 0; damage < 3; damage++) {
            paro_error err = {0};
            paro_model *model = NULL;
            char *dir = test_dir_new();
            write_damaged(dir, names[i], damage);
            paro_status status = paro_model_open(&err, dir, NULL, &model);
            if (status == PARO_STATUS_OK)
                status = paro_model_check(&err, model);
            assert_int_equal(status, PARO_STATUS_FORMAT);
            if (strstr(err.message, names[i]) == NULL)
                fail_msg("expected a message that names %s, found: %s", names[i], err.message);
            paro_model_free(model);
            test_dir_remove(dir);
        }
    }
}

/* A quantised model whose config.json, or whose other tensors, say something else. */
static void test_mislabelled(void **state)
{
    (void)state;
    paro_error err;
    paro_model *model = NULL, *quantised = NULL, *wrong = NULL;
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    paro_tensor_set *set = NULL;
    assert_ok(paro_model_open(&err, "models/demo", NULL, &model));
    assert_ok(paro_recipe_open(&err, "rtn", NULL, &recipe));
    assert_ok(paro_plan_make(&err, recipe, model, &plan));
    assert_ok(paro_quantize_in_memory(&err, model, plan, NULL, &quantised));

    paro_config config = quantised->config;
    config.quant_method = PARO_QUANT_METHOD_AWQ;
    assert_ok(paro_tensor_set_new(&err, quantised->tensors, &set));
    assert_fails(paro_model_new(&err, "wrong", &config, set, NULL, &wrong), PARO_STATUS_FORMAT,
                 "q_proj: has rotation tensors, but config.json says quant_method awq");
    config.quant_method = PARO_QUANT_METHOD_NONE;
    assert_ok(paro_tensor_set_new(&err, quantised->tensors, &set));
    assert_fails(paro_model_new(&err, "wrong", &config, set, NULL, &wrong), PARO_STATUS_FORMAT,
                 "no quantization_config");

    const char *name = "model.layers.1.mlp.up_proj.weight";
    const paro_tensor *tensor = paro_tensor_set_find(model->tensors, name);
    void *copy = malloc((size_t)tensor->n_bytes);
    assert_non_null(copy);
    memcpy(copy, tensor->data, (size_t)tensor->n_bytes);
    assert_ok(paro_tensor_set_new(&err, quantised->tensors, &set));
    assert_ok(paro_tensor_set_put(&err, set, tensor, copy));
    assert_fails(paro_model_new(&err, "wrong", &quantised->config, set, NULL, &wrong),
                 PARO_STATUS_FORMAT, "up_proj: has both .weight and .qweight");
    paro_model_free(quantised);
    paro_plan_free(plan);
    paro_recipe_free(recipe);
    paro_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_demo),        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_qwen3),       cmocka_unit_test(test_llama_paro),
        cmocka_unit_test(test_info),        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_mislabelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
