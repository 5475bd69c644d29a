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
#include "runtime/model.h"
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
        const paro_train_linear l = {.n_out = q.n_out, .n_in = q.n_in, .codes = q};
        assert_ok(paro_format_get(PARO_FORMAT_AWQ)->tensors[0].encode(&err, pool, &l, 0, ours));
        paro_pack_qweight(theirs, q.codes, q.n_out, q.n_in);
        assert_memory_equal(ours, theirs, n / 2);
        free(ours);
        free(theirs);
        paro_quantised_release(&q);
    }
    paro_pool_free(pool);
}

/* ---- against the reference implementation -------------------------------------------------------
 */

static const paro_tensor *tensor_of(const paro_tensor_set *set, const char *linear,
                                    const char *suffix)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", linear, suffix);
    const paro_tensor *tensor = paro_tensor_set_find(set, name);
    assert_non_null(tensor);
    return tensor;
}

/* A rounded linear with what a checkpoint holds. */
static void read_linear(const paro_tensor_set *set, const char *name, uint32_t group_size,
                        uint32_t krot, paro_train_linear *out)
{
    paro_error err;
    const paro_tensor *scales = tensor_of(set, name, "scales");
    paro_train_linear l = {.name = name,
                           .n_out = (uint32_t)scales->shape[1],
                           .n_in = (uint32_t)scales->shape[0] * group_size,
                           .bits = 4,
                           .group_size = group_size,
                           .krot = krot};
    assert_ok(paro_train_linear_alloc(&err, &l));
    l.codes =
        (paro_quantised){.n_out = l.n_out, .n_in = l.n_in, .bits = 4, .group_size = group_size};
    assert_ok(paro_quantised_alloc(&err, &l.codes));
    const size_t n_groups = l.n_in / group_size;
    paro_unpack_qweight(l.codes.codes, tensor_of(set, name, "qweight")->data, l.n_out, l.n_in);
    paro_unpack_qzeros(l.codes.zeros, tensor_of(set, name, "qzeros")->data, l.n_out, n_groups);
    paro_unpack_scales(l.codes.scales, scales->data, l.n_out, n_groups);
    paro_f32_from_array(l.theta, tensor_of(set, name, "theta")->data, PARO_DTYPE_F16,
                        (size_t)krot * l.n_in / 2);
    memcpy(l.pairs, tensor_of(set, name, "pairs")->data, sizeof(int16_t) * krot * l.n_in);
    paro_f32_from_array(l.weight_channel_scales, tensor_of(set, name, "channel_scales")->data,
                        PARO_DTYPE_F16, l.n_in);
    for (size_t i = 0; i < l.n_in; i++) /* the file has what multiplies the activation */
        l.weight_channel_scales[i] = 1 / l.weight_channel_scales[i];
    l.is_rounded = true;
    *out = l;
}

/* The reference's own checkpoint, taken apart and encoded again, is the same to the bit. */
static void test_reference_checkpoint(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_shared_path("test_format test_reference_checkpoint", "models/llama-PARO");
    paro_model *model = open_model(dir);
    const paro_format_row *format = paro_format_get(PARO_FORMAT_PAROQUANT);
    const uint32_t krot = model->config.krot;
    for (size_t n = 0; n < paro_model_n_linears(model); n++) {
        const char *name = paro_model_linear(model, n)->name;
        paro_train_linear l;
        read_linear(model->tensors, name, model->config.group_size, krot, &l);
        assert_ok(paro_format_check_linear(&err, format, krot, &l));
        for (size_t k = 0; k < format->n_tensors; k++) {
            const paro_tensor *expected =
                tensor_of(model->tensors, name, format->tensors[k].suffix);
            void *data = malloc((size_t)expected->n_bytes);
            assert_non_null(data);
            assert_int_equal(expected->dtype, format->tensors[k].dtype);
            assert_ok(format->tensors[k].encode(&err, NULL, &l, krot, data));
            if (memcmp(data, expected->data, (size_t)expected->n_bytes) != 0)
                fail_msg("%s is not the reference's", expected->name);
            free(data);
        }
        paro_train_linear_release(&l);
    }
    paro_model_free(model);
    free(dir);
}

/* Two groups of four channels, eight rows, one round of two that the format has: worked out by hand
 * from the format's description. */
static void test_golden(void **state)
{
    (void)state;
    enum { OUT = 8, IN = 8, GROUP = 4 };
    static const uint8_t codes[OUT][IN] = {
        {0, 1, 2, 3, 4, 5, 6, 7},     {1, 2, 3, 4, 5, 6, 7, 8},      {2, 3, 4, 5, 6, 7, 8, 9},
        {3, 4, 5, 6, 7, 8, 9, 10},    {4, 5, 6, 7, 8, 9, 10, 11},    {5, 6, 7, 8, 9, 10, 11, 12},
        {6, 7, 8, 9, 10, 11, 12, 13}, {7, 8, 9, 10, 11, 12, 13, 14},
    };
    /* Nibbles from the lowest: columns 0, 2, 4, 6, 1, 3, 5, 7. */
    static const uint32_t qweight[IN] = {0x75316420, 0x86427531, 0x97538642, 0xa8649753,
                                         0xb975a864, 0xca86b975, 0xdb97ca86, 0xeca8db97};
    static const uint32_t qzeros[IN / GROUP] = {0xfdb9eca8, 0x75316420};
    /* 0.5, 0.25; 1 / 2 and 1 / 4 of the channel scales; 1 and -0.5 radians. */
    static const uint16_t theta[2][IN / 2] = {{0x3c00, 0xb800, 0x3c00, 0xb800}, {0, 0, 0, 0}};
    static const int16_t pairs[2][IN] = {{3, 0, 1, 2, 2, 0, 3, 1}, {0, 1, 2, 3, 0, 1, 2, 3}};
    static const uint16_t channel_scales[IN] = {0x3800, 0x3400, 0x3800, 0x3400,
                                                0x3800, 0x3400, 0x3800, 0x3400};
    uint16_t scales[IN / GROUP][OUT];
    paro_error err;
    paro_train_linear l = {
        .name = "p", .n_out = OUT, .n_in = IN, .bits = 4, .group_size = GROUP, .krot = 1};
    assert_ok(paro_train_linear_alloc(&err, &l));
    l.codes = (paro_quantised){.n_out = OUT, .n_in = IN, .bits = 4, .group_size = GROUP};
    assert_ok(paro_quantised_alloc(&err, &l.codes));
    memcpy(l.codes.codes, codes, sizeof codes);
    memcpy(l.pairs, pairs[0], sizeof pairs[0]);
    for (size_t row = 0; row < OUT; row++) {
        l.codes.zeros[row * 2] = (uint8_t)(8 + row);
        l.codes.zeros[row * 2 + 1] = (uint8_t)row;
        l.codes.scales[row * 2] = 0.5F;
        l.codes.scales[row * 2 + 1] = 0.25F;
        scales[0][row] = 0x3800;
        scales[1][row] = 0x3400;
    }
    for (size_t i = 0; i < IN; i++)
        l.weight_channel_scales[i] = i % 2 == 0 ? 2 : 4;
    for (size_t i = 0; i < IN / 2; i++)
        l.theta[i] = i % 2 == 0 ? 1 : -0.5F;
    const struct {
        const char *suffix;
        const void *expected;
        size_t n_bytes;
    } all[] = {{"qweight", qweight, sizeof qweight},
               {"qzeros", qzeros, sizeof qzeros},
               {"scales", scales, sizeof scales},
               {"theta", theta, sizeof theta},
               {"pairs", pairs, sizeof pairs},
               {"channel_scales", channel_scales, sizeof channel_scales}};
    const paro_format_row *format = paro_format_get(PARO_FORMAT_PAROQUANT);
    assert_int_equal(format->n_tensors, sizeof all / sizeof all[0]);
    for (size_t k = 0; k < format->n_tensors; k++) {
        unsigned char data[256];
        memset(data, 0xee, sizeof data);
        assert_string_equal(format->tensors[k].suffix, all[k].suffix);
        assert_ok(format->tensors[k].encode(&err, NULL, &l, 2, data));
        assert_memory_equal(data, all[k].expected, all[k].n_bytes);
        assert_int_equal(data[all[k].n_bytes], 0xee);
    }

    /* What a format has no room for. */
    assert_ok(paro_format_check_linear(&err, format, 1, &l));
    assert_fails(paro_format_check_linear(&err, paro_format_get(PARO_FORMAT_AWQ), 0, &l),
                 PARO_STATUS_UNSUPPORTED, "no rotation and no channel scales");
    assert_fails(paro_format_check_linear(&err, format, 0, &l), PARO_STATUS_UNSUPPORTED,
                 "at most the recipe's krot of 0 rounds of rotations, found 1");
    paro_train_linear_release(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_packing),
        cmocka_unit_test(test_reference_checkpoint),
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
