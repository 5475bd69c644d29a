/* SPDX-License-Identifier: MIT
 *
 * base/inspect.c: the public view of tensors, and statistics by dtype.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <paro/inspect.h>

#include "base/dtype.h"
#include "base/safetensors_write.h"
#include "tests/support.h"

static void test_list(void **state)
{
    (void)state;
    paro_error err;
    paro_tensors *tensors = NULL;
    assert_ok(paro_tensors_open(&err, "models/demo", &tensors));
    assert_int_equal(paro_tensors_count(tensors), 39);
    paro_tensor_info info;
    paro_tensors_get(tensors, 0, &info);
    assert_string_equal(info.name, "lm_head.weight");
    assert_string_equal(info.dtype, "F16");
    assert_string_equal(info.file, "models/demo/model.safetensors");
    assert_int_equal(info.rank, 2);
    assert_int_equal(info.shape[0], 2048);
    assert_int_equal(info.shape[1], 256);
    assert_int_equal(info.n_bytes, 2048 * 256 * 2);
    const char *value;
    assert_string_equal(paro_tensors_metadata(tensors, 0, &value), "format");
    assert_string_equal(value, "pt");
    assert_null(paro_tensors_metadata(tensors, 1, &value));
    paro_tensor_stats stats;
    assert_fails(paro_tensors_stats(&err, tensors, 39, &stats), PARO_STATUS_INVALID_ARGUMENT,
                 "there are 39");
    paro_tensors_free(tensors);
    paro_tensors_free(NULL);
    assert_fails(paro_tensors_open(&err, "models/none", &tensors), PARO_STATUS_NOT_FOUND,
                 "models/none");
    assert_fails(paro_tensors_open(&err, "models/demo/config.json", &tensors), PARO_STATUS_FORMAT,
                 "config.json");
}

static void write_one(const char *dir, paro_dtype dtype, const void *data, uint64_t n)
{
    paro_error err;
    paro_shard_writer *writer = NULL;
    assert_ok(paro_shard_writer_new(&err, dir, 0, &writer));
    assert_ok(paro_shard_writer_declare(&err, writer, "t", dtype, 1, &n));
    assert_ok(paro_shard_writer_write(&err, writer, "t", data, n * paro_dtype_bytes(dtype)));
    assert_ok(paro_shard_writer_finish(&err, writer, NULL, NULL));
    paro_shard_writer_free(writer);
}

static paro_tensor_stats stats_of(paro_dtype dtype, const void *data, uint64_t n)
{
    paro_error err;
    paro_tensors *tensors = NULL;
    paro_tensor_stats stats;
    char *dir = test_dir_new();
    write_one(dir, dtype, data, n);
    assert_ok(paro_tensors_open(&err, dir, &tensors));
    assert_ok(paro_tensors_stats(&err, tensors, 0, &stats));
    paro_tensors_free(tensors);
    test_dir_remove(dir);
    return stats;
}

static void test_stats(void **state)
{
    (void)state;
    const float f32[] = {1, -3, 0, NAN, INFINITY, -INFINITY, 2};
    paro_tensor_stats s = stats_of(PARO_DTYPE_F32, f32, 7);
    assert_int_equal(s.n_values, 7);
    assert_int_equal(s.n_nan, 1);
    assert_int_equal(s.n_inf, 2);
    assert_int_equal(s.n_zero, 1);
    assert_true(s.min == -3 && s.max == 2 && s.mean == 0);
    assert_true(fabs(s.rms - sqrt(14.0 / 4)) < 1e-12);

    const double f64[] = {0.5, -0.25};
    s = stats_of(PARO_DTYPE_F64, f64, 2);
    assert_true(s.min == -0.25 && s.max == 0.5);
    const uint16_t f16[] = {0x3C00, 0xC000}; /* 1, -2 */
    s = stats_of(PARO_DTYPE_F16, f16, 2);
    assert_true(s.min == -2 && s.max == 1);
    const uint16_t bf16[] = {0x3F80, 0xC000};
    s = stats_of(PARO_DTYPE_BF16, bf16, 2);
    assert_true(s.min == -2 && s.max == 1);
    const int64_t i64[] = {-5000000000, 3};
    s = stats_of(PARO_DTYPE_I64, i64, 2);
    assert_true(s.min == -5e9 && s.max == 3);
    const int32_t i32[] = {-7, 7};
    s = stats_of(PARO_DTYPE_I32, i32, 2);
    assert_true(s.min == -7 && s.max == 7);
    const int16_t i16[] = {-300, 300};
    s = stats_of(PARO_DTYPE_I16, i16, 2);
    assert_true(s.min == -300 && s.max == 300);
    const int8_t i8[] = {-128, 127};
    s = stats_of(PARO_DTYPE_I8, i8, 2);
    assert_true(s.min == -128 && s.max == 127);
    const uint8_t u8[] = {0, 255};
    s = stats_of(PARO_DTYPE_U8, u8, 2);
    assert_true(s.min == 0 && s.max == 255 && s.n_zero == 1);
    s = stats_of(PARO_DTYPE_U8, u8, 0);
    assert_true(s.n_values == 0 && s.min == 0 && s.max == 0 && s.rms == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_stats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
