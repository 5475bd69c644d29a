/* SPDX-License-Identifier: MIT
 *
 * Linears in training: rounding against round to nearest and the reference, and the effective
 * weight against what the runtime makes of the packed form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/dtype.h"
#include "base/pack.h"
#include "base/reference.h"
#include "cpu/linear.h"
#include "tests/train_fixture.h"

static float through_f16(float value)
{
    return paro_f32_from_f16(paro_f16_from_f32(value));
}

static void *alloc(size_t n_bytes)
{
    void *data = calloc(1, n_bytes + 1);
    assert_non_null(data);
    return data;
}

static void test_alloc(void **state)
{
    (void)state;
    paro_error err;
    paro_train_linear linear = {
        .name = "layer", .n_out = 3, .n_in = 64, .bits = 4, .group_size = 32};
    linear.krot = 2;
    assert_ok(paro_train_linear_alloc(&err, &linear));
    assert_true(linear.weight_channel_scales[63] == 1 && linear.w[191] == 0);
    assert_true(linear.pairs[127] == linear.pairs[126] && linear.theta[63] == 0);
    assert_null(linear.step);
    linear.theta[0] = 1;
    assert_ok(paro_train_linear_set_krot(&err, &linear, 5));
    assert_true(linear.krot == 5 && linear.theta[0] == 0 && linear.theta[5 * 32 - 1] == 0);
    assert_ok(paro_train_linear_set_krot(&err, &linear, 0));
    assert_null(linear.pairs);
    assert_null(linear.theta);
    paro_train_linear_release(&linear);
    paro_train_linear_release(&linear);
    paro_train_linear_release(NULL);

    paro_train_linear kept = {.name = "layer", .n_out = 3, .n_in = 5};
    assert_ok(paro_train_linear_alloc(&err, &kept));
    assert_null(kept.weight_channel_scales);
    kept.w[14] = 7;
    float w[15];
    assert_ok(paro_train_linear_effective(&err, &kept, NULL, w));
    assert_true(w[14] == 7);
    assert_fails(paro_train_linear_set_krot(&err, &kept, 1), PARO_STATUS_INVALID_ARGUMENT,
                 "found one that is kept");
    paro_train_linear_release(&kept);
}

static void test_sizes_that_cannot_be(void **state)
{
    (void)state;
    paro_error err;
    const struct {
        paro_train_linear linear;
        const char *words;
    } cases[] = {
        {{.n_out = 0, .n_in = 64, .bits = 4, .group_size = 32},
         "at least one input and one output"},
        {{.n_out = 4, .n_in = 64, .bits = 1, .group_size = 32}, "2 to 8 bits (0: kept), found 1"},
        {{.n_out = 4, .n_in = 64, .bits = 9, .group_size = 32}, "2 to 8 bits (0: kept), found 9"},
        {{.n_out = 4, .n_in = 64, .bits = 4, .group_size = 48}, "divides its 64 inputs, found 48"},
        {{.n_out = 4, .n_in = 64, .bits = 4}, "divides its 64 inputs, found 0"},
        {{.n_out = 4, .n_in = 63, .bits = 4, .group_size = 21, .krot = 1}, "an even group_size"},
        {{.n_out = 4, .n_in = 65536, .bits = 4, .group_size = 65536, .krot = 1}, "at most 32768"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        paro_train_linear linear = cases[i].linear;
        linear.name = "layer";
        assert_fails(paro_train_linear_alloc(&err, &linear), PARO_STATUS_INVALID_ARGUMENT,
                     cases[i].words);
    }
}

/* Without a transform it is rtn's result, bit for bit. */
static void test_same_as_rtn(void **state)
{
    (void)state;
    paro_error err;
    paro_pool *pool = new_pool(2);
    for (uint32_t bits = 2; bits <= 8; bits++) {
        for (uint32_t group_size = 6; group_size <= 192; group_size *= 2) {
            paro_train_linear linear = random_linear(37, 192, bits, group_size, 0, bits);
            for (size_t c = 0; c < 192; c++) {
                linear.weight_channel_scales[c] = 1;
                linear.w[c] *= 1e-5F;
            }
            paro_quantised q = {.n_out = 37, .n_in = 192, .bits = bits, .group_size = group_size};
            assert_ok(paro_quantised_alloc(&err, &q));
            assert_ok(paro_rtn_quantise(&err, pool, linear.w, &q));
            assert_ok(paro_train_linear_round(&err, pool, &linear));
            assert_true(linear.is_rounded);
            assert_memory_equal(linear.codes.codes, q.codes, (size_t)37 * 192);
            assert_memory_equal(linear.codes.zeros, q.zeros, (size_t)37 * 192 / group_size);
            assert_memory_equal(linear.codes.scales, q.scales,
                                (size_t)37 * 192 / group_size * sizeof *q.scales);
            paro_quantised_release(&q);
            paro_train_linear_release(&linear);
        }
    }
    paro_pool_free(pool);
}

/* theta, 1 / s and learned steps and zeros are what files can hold, and rounding twice changes
 * nothing. */
static void test_round(void **state)
{
    (void)state;
    paro_error err;
    paro_train_linear linear = random_linear(300, 128, 4, 64, 3, 1);
    random_quantiser(&linear, 2);
    linear.theta[0] += 62.8318530717958648F; /* ten turns */
    linear.step[1] = 1e-9F;
    linear.zero[2] = -4;
    linear.zero[3] = 99;
    float theta = linear.theta[0];
    assert_ok(paro_train_linear_round(&err, NULL, &linear));
    assert_true(fabsf(linear.theta[0]) < 3.2F &&
                fabsf(cosf(linear.theta[0]) - cosf(theta)) < 2e-3F);
    for (size_t i = 0; i < 3 * 64; i++) {
        assert_true(through_f16(linear.theta[i]) == linear.theta[i]);
        assert_true(linear.pairs[2 * i] != linear.pairs[2 * i + 1] || linear.theta[i] == 0);
    }
    for (size_t c = 0; c < 128; c++) {
        float inverse = through_f16(1 / linear.weight_channel_scales[c]);
        assert_true(1 / inverse == linear.weight_channel_scales[c]);
    }
    for (size_t i = 0; i < 600; i++) {
        assert_true(linear.codes.scales[i] == through_f16(fmaxf(linear.step[i], 1e-5F)));
        float zero = fminf(fmaxf(rintf(linear.zero[i]), 0), 15);
        assert_int_equal(linear.codes.zeros[i], (int)zero);
    }
    assert_true(linear.codes.scales[1] > 0);
    assert_int_equal(linear.codes.zeros[2], 0);
    assert_int_equal(linear.codes.zeros[3], 15);
    const uint8_t *codes = linear.codes.codes;
    assert_ok(paro_train_linear_round(&err, NULL, &linear));
    assert_ptr_equal(linear.codes.codes, codes);
    paro_train_linear_release(&linear);
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    paro_error err;
    paro_train_linear linears[2];
    float *w[2];
    for (int i = 0; i < 2; i++) {
        paro_pool *pool = new_pool(i + 1);
        linears[i] = random_linear(600, 64, 3, 32, 4, 8);
        w[i] = alloc((size_t)600 * 64 * sizeof(float));
        assert_ok(paro_train_linear_start_quantiser(&err, pool, &linears[i]));
        assert_ok(paro_train_linear_round(&err, pool, &linears[i]));
        assert_ok(paro_train_linear_effective(&err, &linears[i], pool, w[i]));
        paro_pool_free(pool);
    }
    assert_memory_equal(linears[0].step, linears[1].step, (size_t)1200 * sizeof(float));
    assert_memory_equal(linears[0].zero, linears[1].zero, (size_t)1200 * sizeof(float));
    assert_memory_equal(linears[0].codes.codes, linears[1].codes.codes, (size_t)600 * 64);
    assert_memory_equal(w[0], w[1], (size_t)600 * 64 * sizeof(float));
    for (int i = 0; i < 2; i++) {
        free(w[i]);
        paro_train_linear_release(&linears[i]);
    }
}

/* What cannot be stored is refused and nothing changes. */
static void test_what_cannot_be_rounded(void **state)
{
    (void)state;
    paro_error err;
    paro_train_linear linear = random_linear(300, 128, 4, 64, 3, 1);
    float theta = linear.theta[5], scale = linear.weight_channel_scales[7];
    float w[1];
    assert_fails(paro_train_linear_effective(&err, &linear, NULL, w), PARO_STATUS_INVALID_ARGUMENT,
                 "layer: expected a rounded linear or one that is kept");
    linear.weight_channel_scales[3] = 1e-6F;
    assert_fails(paro_train_linear_round(&err, NULL, &linear), PARO_STATUS_UNSUPPORTED,
                 "layer: channel 3: expected a channel scale of 1/65504 to 1e7");
    linear.weight_channel_scales[3] = 1;
    linear.theta[70] = INFINITY;
    assert_fails(paro_train_linear_round(&err, NULL, &linear), PARO_STATUS_UNSUPPORTED,
                 "layer: round 1, pair 6: expected a finite angle");
    linear.theta[70] = 0;
    linear.w[(size_t)257 * 128 + 64] = NAN;
    assert_fails(paro_train_linear_round(&err, NULL, &linear), PARO_STATUS_UNSUPPORTED,
                 "layer: rows 256 to 511, group 1: expected finite weights");
    linear.w[(size_t)257 * 128 + 64] = 3e7F;
    assert_fails(paro_train_linear_round(&err, NULL, &linear), PARO_STATUS_UNSUPPORTED,
                 "layer: row 257, group 1: expected weights whose scale fits F16");
    assert_true(!linear.is_rounded && linear.codes.codes == NULL);
    assert_true(linear.theta[5] == theta && linear.weight_channel_scales[7] == scale);
    paro_train_linear_release(&linear);
}

static paro_tensor tensor_of(const char *name, paro_dtype dtype, uint64_t n_rows,
                             uint64_t n_columns)
{
    paro_tensor tensor = {.name = name, .file = "memory", .dtype = dtype, .rank = 2};
    tensor.shape[0] = n_rows;
    tensor.shape[1] = n_columns;
    tensor.n_values = n_rows * n_columns;
    tensor.n_bytes = tensor.n_values * paro_dtype_bytes(dtype);
    return tensor;
}

/* The effective weight is the runtime's of the packed form, and the reference's in fp64. */
static void check_effective(uint32_t krot)
{
    enum { N_OUT = 40, N_IN = 256, GROUP = 64, N = N_OUT * N_IN };
    paro_error err;
    paro_train_linear linear = random_linear(N_OUT, N_IN, 4, GROUP, krot, 3);
    assert_ok(paro_train_linear_round(&err, NULL, &linear));
    paro_tensor qweight = tensor_of("layer.qweight", PARO_DTYPE_I32, N_IN, N_OUT / 8);
    paro_tensor qzeros = tensor_of("layer.qzeros", PARO_DTYPE_I32, N_IN / GROUP, N_OUT / 8);
    paro_tensor scales = tensor_of("layer.scales", PARO_DTYPE_F16, N_IN / GROUP, N_OUT);
    paro_tensor theta = tensor_of("layer.theta", PARO_DTYPE_F16, krot, N_IN / 2);
    paro_tensor pairs = tensor_of("layer.pairs", PARO_DTYPE_I16, krot, N_IN);
    paro_tensor channel_scales = tensor_of("layer.channel_scales", PARO_DTYPE_F16, 1, N_IN);
    void *data[5] = {alloc(qweight.n_bytes), alloc(qzeros.n_bytes), alloc(scales.n_bytes),
                     alloc(theta.n_bytes), alloc(channel_scales.n_bytes)};
    paro_pack_qweight(data[0], linear.codes.codes, N_OUT, N_IN);
    paro_pack_qzeros(data[1], linear.codes.zeros, N_OUT, N_IN / GROUP);
    paro_pack_scales(data[2], linear.codes.scales, N_OUT, N_IN / GROUP);
    if (krot > 0)
        paro_array_from_f32(data[3], PARO_DTYPE_F16, linear.theta, theta.n_values);
    float inverse[N_IN];
    for (size_t c = 0; c < N_IN; c++)
        inverse[c] = 1 / linear.weight_channel_scales[c];
    paro_array_from_f32(data[4], PARO_DTYPE_F16, inverse, N_IN);
    qweight.data = data[0];
    qzeros.data = data[1];
    scales.data = data[2];
    theta.data = data[3];
    pairs.data = linear.pairs;
    channel_scales.data = data[4];
    paro_linear packed = {.name = "layer",
                          .kind = PARO_LINEAR_KIND_W4,
                          .n_in = N_IN,
                          .n_out = N_OUT,
                          .group_size = GROUP,
                          .krot = krot,
                          .qweight = &qweight,
                          .qzeros = &qzeros,
                          .scales = &scales,
                          .theta = krot > 0 ? &theta : NULL,
                          .pairs = krot > 0 ? &pairs : NULL,
                          .channel_scales = &channel_scales};
    float *found = alloc(N * sizeof *found), *runtime = alloc(N * sizeof *runtime);
    double *expected = alloc(N * sizeof *expected);
    assert_ok(paro_train_linear_effective(&err, &linear, NULL, found));
    assert_ok(paro_linear_weight(&err, &packed, NULL, runtime));

    double angles[8 * N_IN / 2];
    for (size_t i = 0; i < (size_t)krot * N_IN / 2; i++)
        angles[i] = (double)linear.theta[i];
    const paro_rotation rotation = {
        .n = N_IN, .group_size = GROUP, .krot = krot, .pairs = linear.pairs, .theta = angles};
    for (size_t i = 0; i < N; i++) {
        size_t cell = i / GROUP;
        expected[i] = (double)(linear.codes.codes[i] - linear.codes.zeros[cell]) *
                      (double)linear.codes.scales[cell];
    }
    paro_ref_unrotate_f64(&rotation, expected, N_OUT);
    for (size_t i = 0; i < N; i++)
        expected[i] *= (double)through_f16(inverse[i % N_IN]);
    assert_true(relative_distance(found, expected, N) < 1e-6);
    assert_true(relative_distance(runtime, expected, N) < 1e-6);
    paro_linear_release(&packed);
    for (size_t i = 0; i < 5; i++)
        free(data[i]);
    free(found);
    free(runtime);
    free(expected);
    paro_train_linear_release(&linear);
}

static void test_effective(void **state)
{
    (void)state;
    check_effective(0);
    check_effective(1);
    check_effective(8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_sizes_that_cannot_be),
        cmocka_unit_test(test_same_as_rtn),
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_what_cannot_be_rounded),
        cmocka_unit_test(test_effective),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
