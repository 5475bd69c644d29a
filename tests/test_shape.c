/* SPDX-License-Identifier: MIT
 *
 * runtime/shape.c: shapes of models, with and without their weights.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/shape.h"
#include "tests/quantise.h"

static void assert_linear(const paro_linear_shape *found, uint32_t n, uint32_t k, uint32_t group,
                          uint32_t krot)
{
    assert_int_equal(found->n, n);
    assert_int_equal(found->k, k);
    assert_int_equal(found->quantised, group > 0);
    assert_int_equal(found->group_size, group);
    assert_int_equal(found->krot, krot);
    assert_false(found->bias);
}

static void test_demo(void **state)
{
    (void)state;
    paro_error err;
    paro_arena arena = {0};
    paro_model_shape shape;
    paro_model_info info;
    paro_model *model = open_model(demo);
    paro_model_get_info(model, &info);
    assert_ok(paro_shape_load(&err, demo, &arena, &shape));
    assert_int_equal(shape.hidden, info.hidden);
    assert_int_equal(shape.intermediate, info.intermediate);
    assert_int_equal(shape.n_heads, info.n_heads);
    assert_int_equal(shape.n_kv_heads, info.n_kv_heads);
    assert_int_equal(shape.head_dim, info.head_dim);
    assert_int_equal(shape.vocab, info.vocab);
    assert_int_equal(shape.n_layers, info.n_layers);
    assert_int_equal(shape.dtype, PARO_KERNEL_DTYPE_F16);
    const uint32_t q = info.n_heads * info.head_dim, kv = info.n_kv_heads * info.head_dim;
    for (size_t i = 0; i < shape.n_layers; i++) {
        const paro_layer_shape *layer = &shape.layers[i];
        assert_linear(&layer->q, q, info.hidden, 0, 0);
        assert_linear(&layer->k, kv, info.hidden, 0, 0);
        assert_linear(&layer->v, kv, info.hidden, 0, 0);
        assert_linear(&layer->o, info.hidden, q, 0, 0);
        assert_linear(&layer->gate, info.intermediate, info.hidden, 0, 0);
        assert_linear(&layer->up, info.intermediate, info.hidden, 0, 0);
        assert_linear(&layer->down, info.hidden, info.intermediate, 0, 0);
    }
    assert_linear(&shape.head, info.vocab, info.hidden, 0, 0);
    paro_model_free(model);
    paro_arena_release(&arena);
}

static void assert_same(const paro_model_shape *a, const paro_model_shape *b)
{
    assert_int_equal(a->hidden, b->hidden);
    assert_int_equal(a->intermediate, b->intermediate);
    assert_int_equal(a->n_layers, b->n_layers);
    assert_int_equal(a->dtype, b->dtype);
    for (size_t i = 0; i < a->n_layers; i++) {
        const paro_linear_shape *x = &a->layers[i].q, *y = &b->layers[i].q;
        for (size_t k = 0; k < sizeof a->layers[i] / sizeof *x; k++) {
            assert_int_equal(x[k].n, y[k].n);
            assert_int_equal(x[k].k, y[k].k);
            assert_int_equal(x[k].quantised, y[k].quantised);
            assert_int_equal(x[k].group_size, y[k].group_size);
            assert_int_equal(x[k].krot, y[k].krot);
            assert_int_equal(x[k].bias, y[k].bias);
        }
    }
    assert_int_equal(a->head.n, b->head.n);
    assert_int_equal(a->head.k, b->head.k);
}

/* config.json alone tells the same as the weights. */
static void test_config_alone(void **state)
{
    (void)state;
    static const paro_format formats[] = {PARO_FORMAT_PAROQUANT, PARO_FORMAT_AWQ};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        paro_error err;
        paro_arena arena = {0};
        paro_model_shape whole, bare;
        char *dir = test_dir_new();
        char *out = test_path(dir, "out"), *alone = test_path(dir, "alone");
        char *config = test_path(out, "config.json"), *text = NULL;
        size_t n_bytes = 0;
        write_to(demo, out, formats[i], NULL, 0);
        assert_int_equal(mkdir(alone, 0777), 0);
        assert_ok(paro_file_read(&err, config, 1 << 20, &text, &n_bytes));
        test_file_write(alone, "config.json", text, n_bytes);
        assert_ok(paro_shape_load(&err, out, &arena, &whole));
        assert_ok(paro_shape_load(&err, alone, &arena, &bare));
        assert_true(whole.layers[0].q.quantised);
        assert_int_equal(whole.layers[0].q.krot > 0, formats[i] == PARO_FORMAT_PAROQUANT);
        assert_same(&whole, &bare);
        paro_arena_release(&arena);
        free(text);
        free(config);
        free(alone);
        free(out);
        test_dir_remove(dir);
    }
}

/* A recipe that leaves a layer alone: its linears are not quantised, whatever config.json says. */
static void test_mixed(void **state)
{
    (void)state;
    paro_error err;
    paro_arena arena = {0};
    paro_model_shape shape;
    char *dir = test_dir_new(), *out = test_path(dir, "out");
    static const char *const set[] = {"keep=*.layers.1.*"};
    write_to(demo, out, PARO_FORMAT_AWQ, set, 1);
    assert_ok(paro_shape_load(&err, out, &arena, &shape));
    assert_true(shape.layers[0].gate.quantised);
    assert_false(shape.layers[1].gate.quantised);
    paro_arena_release(&arena);
    free(out);
    test_dir_remove(dir);
}

/* What f16 cannot hold makes the model one of bf16, and is named. */
static void test_range(void **state)
{
    (void)state;
    static const struct {
        float value;
        paro_kernel_dtype dtype;
    } rows[] = {{65519.0f, PARO_KERNEL_DTYPE_F16},
                {-65520.0f, PARO_KERNEL_DTYPE_BF16},
                {1e30f, PARO_KERNEL_DTYPE_BF16}};
    static const char name[] = "model.layers.2.mlp.down_proj.weight";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const paro_tensor *which = NULL;
        char *dir = test_dir_new(), *bad = demo_with(dir, name, 1234, rows[i].value);
        paro_model *model = open_model(bad);
        assert_int_equal(paro_model_kernel_dtype(model, &which), rows[i].dtype);
        if (rows[i].dtype == PARO_KERNEL_DTYPE_F16)
            assert_null(which);
        else
            assert_string_equal(which->name, name);
        paro_model_free(model);
        free(bad);
        test_dir_remove(dir);
    }
}

static void test_refused(void **state)
{
    (void)state;
    paro_error err;
    paro_arena arena = {0};
    paro_model_shape shape;
    assert_fails(paro_shape_load(&err, "models/nothing", &arena, &shape), PARO_STATUS_NOT_FOUND,
                 "models/nothing");
    paro_arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_demo),    cmocka_unit_test(test_config_alone),
        cmocka_unit_test(test_mixed),   cmocka_unit_test(test_range),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
