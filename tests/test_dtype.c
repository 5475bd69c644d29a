/* SPDX-License-Identifier: MIT
 *
 * base/dtype.c: every half and bfloat16 pattern, and every tie between neighbours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/dtype.h"
#include "base/rng.h"
#include "tests/support.h"

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t n_bytes;
    } rows[] = {{"F64", 8},     {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1},
                {"F8_E5M2", 1}, {"I64", 8}, {"U64", 8}, {"I32", 4},  {"U32", 4},
                {"I16", 2},     {"U16", 2}, {"I8", 1},  {"U8", 1},   {"BOOL", 1}};
    assert_int_equal(sizeof rows / sizeof rows[0], PARO_DTYPE_COUNT);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        paro_dtype dtype = PARO_DTYPE_COUNT;
        assert_true(paro_dtype_parse(rows[i].name, &dtype));
        assert_string_equal(paro_dtype_name(dtype), rows[i].name);
        assert_int_equal(paro_dtype_bytes(dtype), rows[i].n_bytes);
    }
    paro_dtype dtype = PARO_DTYPE_I8;
    assert_false(paro_dtype_parse("f32", &dtype));
    assert_false(paro_dtype_parse("", &dtype));
    assert_false(paro_dtype_parse("F32 ", &dtype));
    assert_int_equal(dtype, PARO_DTYPE_I8);
    assert_string_equal(paro_dtype_name(PARO_DTYPE_COUNT), "?");
    assert_int_equal(paro_dtype_bytes(PARO_DTYPE_COUNT), 0);
}

static void test_weights(void **state)
{
    (void)state;
    for (int i = 0; i < PARO_DTYPE_COUNT; i++)
        assert_int_equal(paro_dtype_is_weight((paro_dtype)i),
                         i == PARO_DTYPE_F32 || i == PARO_DTYPE_F16 || i == PARO_DTYPE_BF16);
}

/* The value of a 16-bit float with n_mantissa bits, from the definition (IEEE 754, 3.4). */
static double value_of(uint16_t bits, int n_mantissa)
{
    int n_exponent = 15 - n_mantissa;
    int bias = (1 << (n_exponent - 1)) - 1;
    int exponent = bits >> n_mantissa & ((1 << n_exponent) - 1);
    int mantissa = bits & ((1 << n_mantissa) - 1);
    double magnitude;
    if (exponent == (1 << n_exponent) - 1)
        magnitude = mantissa == 0 ? INFINITY : NAN;
    else if (exponent == 0)
        magnitude = ldexp(mantissa, 1 - bias - n_mantissa);
    else
        magnitude = ldexp(mantissa + (1 << n_mantissa), exponent - bias - n_mantissa);
    return bits & 0x8000 ? -magnitude : magnitude;
}

typedef struct format {
    int n_mantissa;
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
} format;

static const format formats[] = {
    {10, paro_f32_from_f16, paro_f16_from_f32},
    {7, paro_f32_from_bf16, paro_bf16_from_f32},
};

static void test_every_pattern_widens_and_returns(void **state)
{
    (void)state;
    for (size_t f = 0; f < 2; f++) {
        for (uint32_t bits = 0; bits < 65536; bits++) {
            float got = formats[f].widen((uint16_t)bits);
            double expected = value_of((uint16_t)bits, formats[f].n_mantissa);
            uint16_t back = formats[f].narrow(got);
            if (isnan(expected)) {
                assert_true(isnan(got));
                assert_true(isnan(value_of(back, formats[f].n_mantissa)));
                assert_int_equal(back & 0x8000, bits & 0x8000);
            } else {
                assert_true((double)got == expected);
                assert_int_equal(signbit(got) != 0, (bits & 0x8000) != 0);
                assert_int_equal(back, bits);
            }
        }
    }
}

static void test_between_neighbours(void **state)
{
    (void)state;
    for (size_t f = 0; f < 2; f++) {
        const format *kind = &formats[f];
        uint16_t infinity = kind->narrow(INFINITY);
        for (uint32_t low = 0; low < infinity; low++) {
            uint16_t high = (uint16_t)(low + 1);
            /* Above the largest finite value the next would be 2^(bias + 1). */
            double above = high == infinity
                               ? 2 * value_of((uint16_t)(low & ~((1 << kind->n_mantissa) - 1U)),
                                              kind->n_mantissa)
                               : value_of(high, kind->n_mantissa);
            double middle = (value_of((uint16_t)low, kind->n_mantissa) + above) / 2;
            float tie = (float)middle;
            assert_true((double)tie == middle);
            uint16_t even = low % 2 == 0 ? (uint16_t)low : high;
            assert_int_equal(kind->narrow(tie), even);
            assert_int_equal(kind->narrow(-tie), even | 0x8000);
            assert_int_equal(kind->narrow(nextafterf(tie, 0)), low);
            assert_int_equal(kind->narrow(nextafterf(tie, INFINITY)), high);
            assert_int_equal(kind->narrow(-nextafterf(tie, INFINITY)), high | 0x8000);
        }
    }
}

static void test_extremes(void **state)
{
    (void)state;
    assert_int_equal(paro_f16_from_f32(65504), 0x7BFF);
    assert_int_equal(paro_f16_from_f32(65520), 0x7C00);
    assert_int_equal(paro_f16_from_f32(1e30F), 0x7C00);
    assert_int_equal(paro_f16_from_f32(-1e30F), 0xFC00);
    assert_int_equal(paro_f16_from_f32(-INFINITY), 0xFC00);
    assert_int_equal(paro_f16_from_f32(0x1p-25F), 0);
    assert_int_equal(paro_f16_from_f32(0x1.8p-25F), 1);
    assert_int_equal(paro_f16_from_f32(-0x1p-149F), 0x8000);
    assert_int_equal(paro_f16_from_f32(-0.0F), 0x8000);
    assert_int_equal(paro_bf16_from_f32(3.4028235e38F), 0x7F80);
    assert_int_equal(paro_bf16_from_f32(-INFINITY), 0xFF80);
    /* Payloads that would vanish when cut must not turn NaN into infinity. */
    uint32_t bits = 0x7F800001;
    float nan;
    memcpy(&nan, &bits, sizeof nan);
    assert_true(isnan(paro_f32_from_f16(paro_f16_from_f32(nan))));
    assert_true(isnan(paro_f32_from_bf16(paro_bf16_from_f32(nan))));
    assert_true(isnan(paro_f32_from_f16(paro_f16_from_f32(-NAN))));
}

static void test_arrays_may_be_unaligned(void **state)
{
    (void)state;
    static const paro_dtype dtypes[] = {PARO_DTYPE_F32, PARO_DTYPE_F16, PARO_DTYPE_BF16};
    enum { N = 97 };
    float values[N], back[N];
    paro_rng rng;
    paro_rng_seed(&rng, 3);
    for (int i = 0; i < N; i++)
        values[i] = paro_rng_normal(&rng);
    for (size_t d = 0; d < 3; d++) {
        size_t size = paro_dtype_bytes(dtypes[d]);
        for (size_t offset = 0; offset < 4; offset++) {
            unsigned char bytes[4 * N + 8];
            memset(bytes, 0xAB, sizeof bytes);
            paro_array_from_f32(bytes + offset, dtypes[d], values, N);
            assert_int_equal(bytes[offset + N * size], 0xAB);
            paro_f32_from_array(back, bytes + offset, dtypes[d], N);
            for (int i = 0; i < N; i++) {
                float expected = d == 0   ? values[i]
                                 : d == 1 ? paro_f32_from_f16(paro_f16_from_f32(values[i]))
                                          : paro_f32_from_bf16(paro_bf16_from_f32(values[i]));
                assert_true(back[i] == expected);
            }
        }
        back[0] = 42;
        paro_f32_from_array(back, values, dtypes[d], 0);
        assert_true(back[0] == 42);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_every_pattern_widens_and_returns),
        cmocka_unit_test(test_between_neighbours),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_arrays_may_be_unaligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
