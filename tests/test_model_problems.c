/* SPDX-License-Identifier: MIT
 *
 * families/model_problems.c: what a decoder runs, from its shape.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "families/family.h"
#include "families/model_problems.h"
#include "tests/support.h"

enum { N_LAYERS = 32 };

typedef struct fixture {
    paro_layer_shape layers[N_LAYERS];
    paro_model_shape shape;
    paro_problem *problems;
    size_t n;
    char *text; /* one a line */
} fixture;

static paro_linear_shape linear(uint32_t n, uint32_t k)
{
    return (paro_linear_shape){
        .n = n, .k = k, .quantised = true, .group_size = 128, .krot = 8, .bias = false};
}

static void llama_3_8b(fixture *f)
{
    memset(f, 0, sizeof *f);
    for (size_t i = 0; i < N_LAYERS; i++)
        f->layers[i] = (paro_layer_shape){
            linear(4096, 4096),  linear(1024, 4096),  linear(1024, 4096), linear(4096, 4096),
            linear(14336, 4096), linear(14336, 4096), linear(4096, 14336)};
    f->shape = (paro_model_shape){.hidden = 4096,
                                  .intermediate = 14336,
                                  .n_heads = 32,
                                  .n_kv_heads = 8,
                                  .head_dim = 128,
                                  .vocab = 128256,
                                  .dtype = PARO_KERNEL_DTYPE_F16,
                                  .layers = f->layers,
                                  .n_layers = N_LAYERS,
                                  .head = {.n = 128256, .k = 4096}};
}

static void list(fixture *f, const uint32_t *buckets, size_t n_buckets)
{
    paro_error err;
    paro_buffer text = {0};
    free(f->problems);
    free(f->text);
    assert_ok(paro_model_problems(&err, &f->shape, buckets, n_buckets, &f->problems, &f->n));
    for (size_t i = 0; i < f->n; i++) {
        char line[PARO_PROBLEM_TEXT_BYTES];
        paro_problem_print(&f->problems[i], line);
        assert_true(paro_buffer_printf(&text, "%s\n", line));
    }
    f->text = paro_buffer_take(&text);
}

static void fixture_free(fixture *f)
{
    free(f->problems);
    free(f->text);
}

static bool has(const fixture *f, const char *beginning)
{
    char line[PARO_PROBLEM_TEXT_BYTES + 1];
    snprintf(line, sizeof line, "\n%s", beginning);
    return strncmp(f->text, beginning, strlen(beginning)) == 0 || strstr(f->text, line) != NULL;
}

static void test_llama(void **state)
{
    /* One a step, and two layouts of each different weight. */
    static const char *const expected[] = {
        "embed:vocab=128256,h=4096,m=1,dtype=f16",
        "norm:h=4096,m=1,dtype=f16,add=1",
        "norm:h=4096,m=1,dtype=f16,add=0",
        "pack_w4:n=6144,k=4096,group=128,parts=4096+1024+1024,layout=mma16",
        "pack_w4:n=6144,k=4096,group=128,parts=4096+1024+1024,layout=awq",
        ("linear_w4:n=6144,k=4096,m=1,group=128,krot=8,dtype=f16,parts=4096+1024+1024,"
         "zero=u4,bias=0"),
        "rope:heads=32,kv_heads=8,head_dim=128,m=1,dtype=f16,qk_norm=0",
        "attention:heads=32,kv_heads=8,head_dim=128,m=1,dtype=f16,ctx=2048",
        "pack_w4:n=4096,k=4096,group=128,parts=4096,layout=mma16",
        "pack_w4:n=4096,k=4096,group=128,parts=4096,layout=awq",
        "linear_w4:n=4096,k=4096,m=1,group=128,krot=8,dtype=f16,parts=4096,zero=u4,bias=0",
        "pack_w4:n=28672,k=4096,group=128,parts=14336+14336,layout=mma16",
        "pack_w4:n=28672,k=4096,group=128,parts=14336+14336,layout=awq",
        "linear_w4:n=28672,k=4096,m=1,group=128,krot=8,dtype=f16,parts=14336+14336,zero=u4,bias=0",
        "swiglu:n=14336,m=1,dtype=f16",
        "pack_w4:n=4096,k=14336,group=128,parts=4096,layout=mma16",
        "pack_w4:n=4096,k=14336,group=128,parts=4096,layout=awq",
        "linear_w4:n=4096,k=14336,m=1,group=128,krot=8,dtype=f16,parts=4096,zero=u4,bias=0",
        "linear_16:n=128256,k=4096,m=1,dtype=f16,out=f32,bias=0",
        "sample:vocab=128256,m=1",
    };
    const size_t n = sizeof expected / sizeof expected[0];
    const uint32_t one = 1;
    fixture f;
    (void)state;
    llama_3_8b(&f);
    list(&f, &one, 1);
    const char *at = f.text;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(strncmp(at, expected[i], strlen(expected[i])), 0);
        at += strlen(expected[i]) + 1;
    }
    assert_int_equal(f.n, n);
    assert_int_equal(*at, '\0');
    fixture_free(&f);
}

/* All buckets: everything but packing once each, and nothing twice. */
static void test_buckets(void **state)
{
    fixture f;
    (void)state;
    llama_3_8b(&f);
    list(&f, NULL, 0);
    assert_int_equal(f.n, 8 + 10 * 12);
    for (size_t i = 0; i < f.n; i++)
        for (size_t other = 0; other < i; other++)
            assert_false(paro_problem_equal(&f.problems[i], &f.problems[other]));
    assert_true(has(&f, "swiglu:n=14336,m=512"));
    const uint32_t some[] = {16, 2};
    list(&f, some, 2);
    assert_int_equal(f.n, 8 + 2 * 12);
    assert_false(has(&f, "swiglu:n=14336,m=512"));
    list(&f, some, 0);
    assert_int_equal(f.n, 0);
    fixture_free(&f);
}

/* Layers of their own kind: only what differs is added, and what differs is not merged. */
static void test_mixed(void **state)
{
    const uint32_t one = 1;
    fixture f;
    (void)state;
    llama_3_8b(&f);
    assert_true(paro_layer_merges_qkv(&f.layers[3]) && paro_layer_merges_gate_up(&f.layers[3]));
    f.layers[3].v.quantised = false;
    f.layers[5].up.krot = 4;
    f.layers[7].k.group_size = 64;
    f.layers[9].q.bias = true;
    for (size_t i = 3; i <= 9; i += 2) {
        assert_int_equal(paro_layer_merges_qkv(&f.layers[i]), i == 5);
        assert_int_equal(paro_layer_merges_gate_up(&f.layers[i]), i != 5);
    }
    list(&f, &one, 1);
    assert_true(has(&f, "linear_w4:n=6144,k=4096,m=1,group=128,krot=8"));
    assert_true(has(&f, "linear_16:n=1024,k=4096,m=1,dtype=f16,out=f16,bias=0"));
    assert_true(has(&f, "linear_w4:n=1024,k=4096,m=1,group=128,krot=8"));
    assert_true(has(&f, "linear_w4:n=1024,k=4096,m=1,group=64,krot=8"));
    assert_true(has(&f, "pack_w4:n=1024,k=4096,group=64"));
    assert_true(has(&f, "linear_w4:n=14336,k=4096,m=1,group=128,krot=4"));
    assert_true(has(
        &f, "linear_w4:n=4096,k=4096,m=1,group=128,krot=8,dtype=f16,parts=4096,zero=u4,bias=1"));

    paro_problem problem;
    assert_true(paro_model_problem(&f.shape, 3, PARO_STEP_V, 1, &problem));
    assert_string_equal(problem.family->name, "linear_16");
    assert_false(paro_model_problem(&f.shape, 3, PARO_STEP_QKV, 1, &problem));
    assert_false(paro_model_problem(&f.shape, 4, PARO_STEP_V, 1, &problem));
    assert_false(paro_model_problem(&f.shape, 5, PARO_STEP_GATE_UP, 1, &problem));
    assert_true(paro_model_problem(&f.shape, 5, PARO_STEP_GATE, 1, &problem));
    assert_true(paro_model_problem(&f.shape, 0, PARO_STEP_NORM_FIRST, 1, &problem));
    assert_false(paro_model_problem(&f.shape, 1, PARO_STEP_NORM_FIRST, 1, &problem));
    assert_true(paro_model_problem(&f.shape, 99, PARO_STEP_HEAD, 1, &problem));
    assert_false(paro_model_problem(&f.shape, 99, PARO_STEP_O, 1, &problem));
    assert_false(paro_model_problem(&f.shape, 0, PARO_STEP_COUNT, 1, &problem));
    fixture_free(&f);
}

/* Nothing quantised: all merged, one weight above another. */
static void test_plain(void **state)
{
    const uint32_t eight = 8;
    fixture f;
    (void)state;
    llama_3_8b(&f);
    f.shape.dtype = PARO_KERNEL_DTYPE_BF16;
    f.shape.qk_norm = true;
    for (size_t i = 0; i < N_LAYERS; i++) {
        paro_linear_shape *linears = &f.layers[i].q;
        for (size_t l = 0; l < sizeof(paro_layer_shape) / sizeof(paro_linear_shape); l++)
            linears[l] = (paro_linear_shape){.n = linears[l].n, .k = linears[l].k, .bias = l < 3};
    }
    list(&f, &eight, 1);
    assert_true(has(&f, "linear_16:n=6144,k=4096,m=8,dtype=bf16,out=bf16,bias=1"));
    assert_true(has(&f, "linear_16:n=28672,k=4096,m=8,dtype=bf16,out=bf16,bias=0"));
    assert_true(has(&f, "rope:heads=32,kv_heads=8,head_dim=128,m=8,dtype=bf16,qk_norm=1"));
    assert_null(strstr(f.text, "w4"));
    fixture_free(&f);
}

/* The list and the single questions agree. */
static void test_same_set(void **state)
{
    fixture f;
    (void)state;
    llama_3_8b(&f);
    f.layers[3].v.quantised = false;
    list(&f, NULL, 0);
    size_t n_asked = 0; /* 7 steps and 4 linears a layer, 6 of them in layer 3, the first norm */
    for (size_t b = 0; paro_bucket_get(b) != 0; b++)
        for (size_t layer = 0; layer < N_LAYERS; layer++)
            for (int step = 0; step < PARO_STEP_COUNT; step++) {
                paro_problem problem;
                if (!paro_model_problem(&f.shape, layer, (paro_step)step, paro_bucket_get(b),
                                        &problem))
                    continue;
                size_t i = 0;
                while (i < f.n && !paro_problem_equal(&problem, &f.problems[i]))
                    i++;
                assert_true(i < f.n);
                n_asked++;
            }
    assert_int_equal(n_asked, 10 * (N_LAYERS * (7 + 4) + 2 + 1));
    fixture_free(&f);
}

static void test_fails(void **state)
{
    paro_error err;
    paro_problem *problems = NULL;
    size_t n = 7;
    fixture f;
    (void)state;
    llama_3_8b(&f);
    f.layers[0].o.group_size = 0;
    assert_fails(paro_model_problems(&err, &f.shape, NULL, 0, &problems, &n),
                 PARO_STATUS_UNSUPPORTED, "group");
    llama_3_8b(&f);
    f.layers[0].o.krot = 17;
    assert_fails(paro_model_problems(&err, &f.shape, NULL, 0, &problems, &n),
                 PARO_STATUS_UNSUPPORTED, "a model's problems: linear_w4: krot");
    llama_3_8b(&f);
    f.shape.dtype = PARO_KERNEL_DTYPE_F32;
    assert_fails(paro_model_problems(&err, &f.shape, NULL, 0, &problems, &n),
                 PARO_STATUS_UNSUPPORTED, "no kernels of linear_w4 with dtype=f32");
    assert_null(problems);
    assert_int_equal(n, 7);
    paro_problem problem;
    assert_false(paro_model_problem(&f.shape, 0, PARO_STEP_QKV, 1, &problem));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama), cmocka_unit_test(test_buckets),  cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_plain), cmocka_unit_test(test_same_set), cmocka_unit_test(test_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
