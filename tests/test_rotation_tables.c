/* SPDX-License-Identifier: MIT
 *
 * families/rotation_tables.c: tables made from a checkpoint turn as base/reference does, and what a
 * checkpoint must not have is an error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "base/reference.h"
#include "base/rng.h"
#include "families/rotation_tables.h"
#include "tests/support.h"

enum { K = 96, GROUP = 32, KROT = 3, HALF = K / 2 };

typedef struct fixture {
    int16_t pairs[KROT * K];
    float theta[KROT * HALF];
    float scales[K];
    paro_rotation_source source;
    uint8_t made_pairs[KROT * K];
    float cossin[KROT * K];
    float made_scales[K];
} fixture;

/* Round 1 of group 2 has empty slots, as writers put them: all with channel 0. */
static void fixture_new(fixture *f)
{
    paro_rng rng;
    paro_rng_seed(&rng, 3);
    memset(f, 0, sizeof *f);
    for (size_t row = 0; row < KROT * K / GROUP; row++)
        for (int16_t c = 0; c < GROUP; c++) {
            int16_t *group = f->pairs + row * GROUP;
            uint64_t other = paro_rng_below(&rng, (uint64_t)c + 1);
            group[c] = group[other];
            group[other] = c;
        }
    for (size_t i = 0; i < KROT * HALF; i++)
        f->theta[i] = (float)(6 * paro_rng_f64(&rng) - 3);
    int16_t *group = f->pairs + K + 2 * GROUP;
    for (size_t slot = 1; slot < GROUP / 2; slot += 3)
        if (group[2 * slot] != 0 && group[2 * slot + 1] != 0) {
            group[2 * slot] = group[2 * slot + 1] = 0;
            f->theta[HALF + GROUP + slot] = 0;
        }
    for (size_t c = 0; c < K; c++)
        f->scales[c] = 0.5f + (float)paro_rng_f64(&rng);
    f->source = (paro_rotation_source){K,        GROUP,          KROT,      f->pairs,
                                       f->theta, PARO_DTYPE_F32, f->scales, PARO_DTYPE_F32};
}

static paro_status make(paro_error *err, fixture *f)
{
    return paro_rotation_tables_make(err, "layer.q", &f->source, f->made_pairs, f->cossin,
                                     f->made_scales);
}

static paro_rotation_tables tables_of(const fixture *f)
{
    return (paro_rotation_tables){K, GROUP, KROT, f->made_pairs, f->cossin, f->made_scales};
}

static void test_turns_as_reference(void **state)
{
    paro_error err;
    fixture f;
    double theta[KROT * HALF], x[K], y[K];
    (void)state;
    fixture_new(&f);
    assert_ok(make(&err, &f));
    paro_rotation_tables tables = tables_of(&f);
    assert_ok(paro_rotation_tables_check(&err, "made", &tables));
    for (size_t i = 0; i < KROT * HALF; i++)
        theta[i] = (double)f.theta[i];
    const paro_rotation rotation = {K, GROUP, KROT, f.pairs, theta};
    for (size_t c = 0; c < K; c++) {
        y[c] = cos((double)c);
        x[c] = y[c] * (double)f.scales[c];
    }
    paro_ref_rotate_f64(&rotation, x, 1);
    paro_rotation_tables_rotate(&tables, y);
    for (size_t c = 0; c < K; c++)
        assert_true(fabs(x[c] - y[c]) < 1e-6);
    paro_rotation_tables_unrotate(&tables, y);
    for (size_t c = 0; c < K; c++)
        assert_true(fabs(y[c] - cos((double)c)) < 1e-6);
}

/* Each number is the double's, rounded once; empty slots turn nothing and share no channel. */
static void test_numbers(void **state)
{
    paro_error err;
    fixture f;
    size_t n_empty = 0;
    (void)state;
    fixture_new(&f);
    assert_ok(make(&err, &f));
    for (size_t i = 0; i < KROT * HALF; i++) {
        bool empty = f.pairs[2 * i] == f.pairs[2 * i + 1];
        n_empty += empty;
        assert_int_equal(empty, f.made_pairs[2 * i] == f.made_pairs[2 * i + 1]);
        assert_true(f.cossin[2 * i] == (float)cos((double)f.theta[i]));
        assert_true(f.cossin[2 * i + 1] == (float)sin((double)f.theta[i]));
    }
    assert_true(n_empty >= 4);
    assert_memory_equal(f.made_scales, f.scales, sizeof f.scales);
}

static void test_narrow(void **state)
{
    paro_error err;
    fixture f;
    uint16_t theta[KROT * HALF], scales[K];
    (void)state;
    fixture_new(&f);
    paro_array_from_f32(theta, PARO_DTYPE_F16, f.theta, KROT * HALF);
    paro_array_from_f32(scales, PARO_DTYPE_BF16, f.scales, K);
    f.source.theta = theta;
    f.source.theta_dtype = PARO_DTYPE_F16;
    f.source.channel_scales = scales;
    f.source.scales_dtype = PARO_DTYPE_BF16;
    assert_ok(make(&err, &f));
    assert_true(f.cossin[0] == (float)cos((double)paro_f32_from_f16(theta[0])));
    assert_true(f.made_scales[K - 1] == paro_f32_from_bf16(scales[K - 1]));
    f.source.channel_scales = NULL;
    f.source.krot = 0;
    f.source.pairs = NULL;
    f.source.theta = NULL;
    assert_ok(make(&err, &f));
    assert_true(f.made_scales[K - 1] == 1);
}

static void test_make_fails(void **state)
{
    paro_error err;
    fixture f;
    (void)state;
    fixture_new(&f);
    f.pairs[K + 40] = GROUP;
    assert_fails(make(&err, &f), PARO_STATUS_FORMAT,
                 "layer.q: pairs: round 1, channel slot 40: expected a channel of 0 to 31, found "
                 "32");
    fixture_new(&f);
    f.pairs[3] = -1;
    assert_fails(make(&err, &f), PARO_STATUS_FORMAT, "found -1");
    fixture_new(&f);
    f.pairs[4] = f.pairs[0];
    assert_fails(make(&err, &f), PARO_STATUS_FORMAT, "round 0, group 0: expected disjoint pairs");
    fixture_new(&f);
    f.theta[HALF + 1] = NAN;
    assert_fails(make(&err, &f), PARO_STATUS_FORMAT, "theta: round 1, pair 1: expected a finite");
    fixture_new(&f);
    f.scales[9] = INFINITY;
    assert_fails(make(&err, &f), PARO_STATUS_FORMAT,
                 "channel_scales: channel 9: expected a finite");
    fixture_new(&f);
    f.source.group = 48;
    assert_fails(make(&err, &f), PARO_STATUS_UNSUPPORTED, "found groups of 48 of 96");
    f.source.group = 64;
    assert_fails(make(&err, &f), PARO_STATUS_UNSUPPORTED, "found groups of 64 of 96");
    f.source.group = GROUP;
    f.source.krot = 17;
    assert_fails(make(&err, &f), PARO_STATUS_UNSUPPORTED, "at most 16 rotation rounds, found 17");
}

static void test_check_fails(void **state)
{
    paro_error err;
    fixture f;
    (void)state;
    fixture_new(&f);
    assert_ok(make(&err, &f));
    paro_rotation_tables tables = tables_of(&f);
    uint8_t kept = f.made_pairs[1];
    f.made_pairs[1] = GROUP;
    assert_fails(paro_rotation_tables_check(&err, "q", &tables), PARO_STATUS_FORMAT,
                 "round 0, slot 0: expected channels below 32");
    f.made_pairs[1] = f.made_pairs[2];
    assert_fails(paro_rotation_tables_check(&err, "q", &tables), PARO_STATUS_FORMAT,
                 "round 0, slot 1: expected disjoint slots");
    f.made_pairs[1] = kept;
    f.cossin[2] += 1e-3f;
    assert_fails(paro_rotation_tables_check(&err, "q", &tables), PARO_STATUS_FORMAT,
                 "round 0, slot 1: expected a turn that keeps lengths");
    assert_ok(make(&err, &f));
    f.made_scales[95] = NAN;
    assert_fails(paro_rotation_tables_check(&err, "q", &tables), PARO_STATUS_FORMAT,
                 "channel 95: expected a finite scale");
}

static void test_random(void **state)
{
    paro_error err;
    (void)state;
    for (uint32_t group = 32; group <= 256; group *= 2) {
        enum { COUNT = 2048, ROUNDS = 4 };
        uint8_t pairs[ROUNDS * COUNT];
        float cossin[ROUNDS * COUNT], scales[COUNT];
        size_t n_empty = 0;
        paro_rotation_tables_random(group, COUNT, group, ROUNDS, pairs, cossin, scales);
        paro_rotation_tables tables = {COUNT, group, ROUNDS, pairs, cossin, scales};
        assert_ok(paro_rotation_tables_check(&err, "random", &tables));
        for (size_t i = 0; i < ROUNDS * COUNT; i += 2)
            n_empty += pairs[i] == pairs[i + 1];
        assert_in_range(n_empty, 1, ROUNDS * COUNT / 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns_as_reference),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_make_fails),
        cmocka_unit_test(test_check_fails),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
