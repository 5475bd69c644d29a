/* SPDX-License-Identifier: MIT
 *
 * The formats, and what each refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pack.h"
#include "base/rng.h"
#include "calib/format.h"
#include "tests/quantise.h"

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
        {PARO_FORMAT_PAROQUANT, "group_size=32",
         "expected a group_size of 64, 128, the plan has 32"},
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

/* The words, turned in strips on threads, are those of base/pack.h. */
static void test_packing(void **state)
{
    (void)state;
    paro_error err;
    paro_rng rng;
    paro_rng_seed(&rng, 5);
    paro_pool *pool = NULL;
    assert_ok(paro_pool_new(&err, 3, &pool));
    static const uint32_t sizes[][2] = {{8, 64}, {16, 128}, {24, 192}, {8, 32}, {40, 96}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        paro_quantised q = {.n_out = sizes[i][0], .n_in = sizes[i][1], .bits = 4, .group_size = 32};
        assert_ok(paro_quantised_alloc(&err, &q));
        size_t n = (size_t)q.n_out * q.n_in;
        for (size_t k = 0; k < n; k++)
            q.codes[k] = (uint8_t)paro_rng_below(&rng, 16);
        char *ours = malloc(n / 2);
        char *theirs = malloc(n / 2);
        assert_ok(paro_format_get(PARO_FORMAT_AWQ)->tensors[0].encode(&err, pool, &q, ours));
        paro_pack_qweight(theirs, q.codes, q.n_out, q.n_in);
        assert_memory_equal(ours, theirs, n / 2);
        free(ours);
        free(theirs);
        paro_quantised_release(&q);
    }
    paro_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_packing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
