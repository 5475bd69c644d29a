/* SPDX-License-Identifier: MIT
 *
 * Tests of cpu/linear_prepare.c: every promise of the format, broken once.
 */
#include <pthread.h>
#include <stdio.h>

#include "tests/linear_fixture.h"

/* Expects prepare to refuse with a message that has all the parts (up to a NULL). */
static void expect_refusal(fixture *f, paro_status status, const char *const *parts)
{
    paro_error err = {0};
    assert_int_equal(paro_linear_prepare(&err, &f->linear), status);
    assert_int_equal(err.status, status);
    for (; *parts; parts++)
        if (!strstr(err.message, *parts))
            fail_msg("expected '%s' in: %s", *parts, err.message);
    assert_null(atomic_load(&f->linear.tables));
    assert_int_equal(paro_linear_prepare(NULL, &f->linear), status); /* and again, without err */
}

#define EXPECT_REFUSAL(f, ...)                                                                     \
    expect_refusal(f, PARO_STATUS_FORMAT, (const char *const[]){__VA_ARGS__, NULL})

/* 2 groups of 64, 16 outputs, 4 rounds. */
static void make(fixture *f)
{
    fixture_w4(f, 128, 16, 64, 4, 77);
}

static void sound_ones_pass(void **state)
{
    (void)state;
    fixture f;
    make(&f);
    fixture_bias(&f, PARO_DTYPE_F16);
    assert_int_equal(paro_linear_prepare(NULL, &f.linear), PARO_STATUS_OK);
    paro_linear_tables *tables = atomic_load(&f.linear.tables);
    assert_non_null(tables);
    assert_int_equal(paro_linear_prepare(NULL, &f.linear), PARO_STATUS_OK);
    assert_ptr_equal(tables, atomic_load(&f.linear.tables));
    paro_linear_release(&f.linear);
    assert_null(atomic_load(&f.linear.tables));
    paro_linear_release(&f.linear);
    paro_linear_release(NULL);
    fixture_free(&f);
}

static void missing_tensors(void **state)
{
    (void)state;
    static const struct {
        size_t offset;
        const char *text;
    } members[] = {
        {offsetof(paro_linear, qweight), "layer.qweight: expected this tensor"},
        {offsetof(paro_linear, qzeros), "shard.safetensors: layer.qzeros: expected this tensor"},
        {offsetof(paro_linear, scales), "layer.scales: expected this tensor, found none"},
        {offsetof(paro_linear, theta), "layer.theta: expected this tensor"},
        {offsetof(paro_linear, pairs), "layer.pairs: expected this tensor"},
        {offsetof(paro_linear, channel_scales), "layer.channel_scales: expected this tensor"},
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        fixture f;
        make(&f);
        const paro_tensor *none = NULL;
        memcpy((char *)&f.linear + members[i].offset, &none, sizeof none);
        EXPECT_REFUSAL(&f, members[i].text);
        fixture_free(&f);
    }
    fixture f;
    fixture_dense(&f, PARO_DTYPE_F16, 8, 8, 1);
    f.linear.weight = NULL;
    EXPECT_REFUSAL(&f, "layer.weight: expected this tensor, found none");
    fixture_free(&f);
}

static void wrong_shapes(void **state)
{
    (void)state;
    static const struct {
        size_t offset;
        const char *found;
    } members[] = {
        {offsetof(fixture, qweight), "layer.qweight: expected I32 [128, 2], found I32 [128, 3]"},
        {offsetof(fixture, qzeros), "layer.qzeros: expected I32 [2, 2], found I32 [2, 3]"},
        {offsetof(fixture, scales), "layer.scales: expected F16 [2, 16], found F16 [2, 17]"},
        {offsetof(fixture, theta), "layer.theta: expected F16 [4, 64], found F16 [4, 65]"},
        {offsetof(fixture, pairs), "layer.pairs: expected I16 [4, 128], found I16 [4, 129]"},
        {offsetof(fixture, channel_scales),
         "layer.channel_scales: expected F16 [1, 128], found F16 [1, 129]"},
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        fixture f;
        make(&f);
        paro_tensor *tensor = (paro_tensor *)(void *)((char *)&f + members[i].offset);
        tensor->shape[1]++;
        EXPECT_REFUSAL(&f, "shard.safetensors: ", members[i].found);
        tensor->shape[1]--;
        tensor->dtype = PARO_DTYPE_U16;
        EXPECT_REFUSAL(&f, tensor->name, "found U16");
        fixture_free(&f);
    }
}

static void wrong_dense(void **state)
{
    (void)state;
    fixture f;
    fixture_dense(&f, PARO_DTYPE_F32, 8, 6, 1);
    f.weight.dtype = PARO_DTYPE_I32;
    EXPECT_REFUSAL(&f, "shard.safetensors: layer.weight: expected F32, F16 or BF16, found I32");
    f.weight.dtype = PARO_DTYPE_F32;
    f.weight.shape[0] = 8;
    f.weight.shape[1] = 6;
    EXPECT_REFUSAL(&f, "layer.weight: expected F32 [6, 8], found F32 [8, 6]");
    f.weight.shape[0] = 6;
    f.weight.shape[1] = 8;
    fixture_bias(&f, PARO_DTYPE_F32);
    f.bias.shape[0] = 7;
    EXPECT_REFUSAL(&f, "layer.bias: expected F32 [6], found F32 [7]");
    f.bias.dtype = PARO_DTYPE_I32;
    EXPECT_REFUSAL(&f, "layer.bias: expected F32, F16 or BF16, found I32");
    f.linear.bias = NULL;
    f.linear.n_in = 0;
    expect_refusal(&f, PARO_STATUS_INVALID_ARGUMENT,
                   (const char *const[]){"layer: expected at least one input", NULL});
    fixture_free(&f);
}

static void wrong_sizes(void **state)
{
    (void)state;
    fixture f;
    make(&f);
    f.linear.group_size = 0;
    EXPECT_REFUSAL(&f, "layer: expected a group size that divides its 128 inputs, found 0");
    f.linear.group_size = 48;
    EXPECT_REFUSAL(&f, "divides its 128 inputs, found 48");
    f.linear.group_size = 1;
    EXPECT_REFUSAL(&f, "expected an even group size", "found 1");
    f.linear.group_size = 64;
    f.linear.n_out = 20;
    EXPECT_REFUSAL(&f, "expected a multiple of 8 outputs", "found 20");
    fixture_free(&f);
}

static void bad_scales(void **state)
{
    (void)state;
    static const struct {
        float value;
        const char *text;
    } bad[] = {{0, "found 0"},
               {-0.0f, "found -0"},
               {INFINITY, "found inf"},
               {-INFINITY, "found -inf"},
               {NAN, "nan"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fixture f;
        make(&f);
        fixture_set(&f.scales, 16 + 13, bad[i].value);
        EXPECT_REFUSAL(&f, "shard.safetensors: layer.scales: group 1, column 13: expected a finite",
                       bad[i].text);
        fixture_set(&f.scales, 16 + 13, -0x1p-24f); /* the smallest half there is, and negative */
        assert_int_equal(paro_linear_prepare(NULL, &f.linear), PARO_STATUS_OK);
        paro_linear_release(&f.linear);

        fixture_set(&f.channel_scales, 127, bad[i].value);
        EXPECT_REFUSAL(&f, "shard.safetensors: layer.channel_scales: channel 127: expected",
                       bad[i].text);
        fixture_set(&f.channel_scales, 127, 65504);
        assert_int_equal(paro_linear_prepare(NULL, &f.linear), PARO_STATUS_OK);
        fixture_free(&f);
    }
}

static void bad_angles(void **state)
{
    (void)state;
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        make(&f);
        /* Round 2, group 1, pair 5: slot 2 * 64 + 32 + 5; its channels at 2 * 128 + 64 + 10. */
        size_t at = 2 * 128 + 64 + 10;
        fixture_set(&f.theta, at / 2, bad[i]);
        char channels[64];
        snprintf(channels, sizeof channels, "round 2, channels %d and %d (group 1, pair 5)",
                 64 + f.rotation.pairs[at], 64 + f.rotation.pairs[at + 1]);
        EXPECT_REFUSAL(&f, "shard.safetensors: layer.theta: ", channels, "expected a finite angle");
        fixture_free(&f);
    }
}

static void pairs_out_of_range(void **state)
{
    (void)state;
    static const struct {
        int16_t value;
        const char *text;
    } bad[] = {{64, "found channel 64"},
               {-1, "found channel -1"},
               {INT16_MIN, "found channel -32768"},
               {INT16_MAX, "found channel 32767"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t side = 0; side < 2; side++) {
            fixture f;
            make(&f);
            fixture_set_i16(&f.pairs, 3 * 128 + 64 + 2 * 31 + side, bad[i].value);
            EXPECT_REFUSAL(&f,
                           "shard.safetensors: layer.pairs: round 3, group 1, pair 31: expected a "
                           "channel in 0 .. 63",
                           bad[i].text);
            fixture_free(&f);
        }
}

static void pairs_not_disjoint(void **state)
{
    (void)state;
    fixture f;
    make(&f);
    /* Round 1, group 0, pair 9 takes pair 4's first channel. */
    int16_t channel = f.rotation.pairs[128 + 8];
    fixture_set_i16(&f.pairs, 128 + 19, channel);
    char text[128];
    snprintf(text, sizeof text, "round 1, channel %d: expected it in one pair", channel);
    EXPECT_REFUSAL(&f, "shard.safetensors: layer.pairs: ", text, "pairs 4 and 9 of group 0");
    fixture_free(&f);

    /* The same numbers in another round or group are other channels. */
    make(&f);
    for (size_t i = 0; i < 64; i++)
        fixture_set_i16(&f.pairs, 128 + 64 + i, f.rotation.pairs[i]);
    fixture_set(&f.theta, 64 + 32, 0);
    assert_int_equal(paro_linear_prepare(NULL, &f.linear), PARO_STATUS_OK);
    fixture_free(&f);
}

/* Every slot of pair 0 in the fixture holds one channel twice. */
static void empty_slots(void **state)
{
    (void)state;
    fixture f;
    make(&f);
    assert_int_equal(f.rotation.pairs[128], f.rotation.pairs[129]);
    fixture_set(&f.theta, 64, -0.0f);
    assert_int_equal(paro_linear_prepare(NULL, &f.linear), PARO_STATUS_OK);
    paro_linear_release(&f.linear);

    fixture_set(&f.theta, 64, 0.25f);
    char text[128];
    snprintf(text, sizeof text, "round 1, channel %d (group 0, pair 0): expected two channels",
             f.rotation.pairs[128]);
    EXPECT_REFUSAL(&f, "layer.pairs: ", text, "angle 0.25");

    /* An unpaired channel may not be in another pair too. */
    fixture_set(&f.theta, 64, 0);
    fixture_set_i16(&f.pairs, 128 + 7, f.rotation.pairs[128]);
    snprintf(text, sizeof text, "round 1, channel %d: expected it in one pair",
             f.rotation.pairs[128]);
    EXPECT_REFUSAL(&f, text, "pairs 0 and 3 of group 0");
    fixture_free(&f);
}

static void *prepare_thread(void *linear)
{
    return paro_linear_prepare(NULL, linear) == PARO_STATUS_OK ? NULL : linear;
}

static void threads_prepare_once(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        fixture f;
        make(&f);
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, prepare_thread, &f.linear), 0);
        for (int i = 0; i < 4; i++) {
            void *failed = &f;
            assert_int_equal(pthread_join(threads[i], &failed), 0);
            assert_null(failed);
        }
        assert_non_null(atomic_load(&f.linear.tables));
        fixture_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_ones_pass),      cmocka_unit_test(missing_tensors),
        cmocka_unit_test(wrong_shapes),         cmocka_unit_test(wrong_dense),
        cmocka_unit_test(wrong_sizes),          cmocka_unit_test(bad_scales),
        cmocka_unit_test(bad_angles),           cmocka_unit_test(pairs_out_of_range),
        cmocka_unit_test(pairs_not_disjoint),   cmocka_unit_test(empty_slots),
        cmocka_unit_test(threads_prepare_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
