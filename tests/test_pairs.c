/* SPDX-License-Identifier: MIT
 *
 * Pairs: what the runtime accepts, none in two rounds, as many as there can be, and their speed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "calib/pairs.h"
#include "tests/train_fixture.h"

/* Checks a linear's pairs: in range, a channel once in a round (an empty slot counts), no pair in
 * two rounds unless `repeats`. The number of slots that are not empty in a round of a group. */
static size_t check_round(const paro_train_linear *l, size_t round, size_t group, bool repeats)
{
    size_t n_pairs = 0, group_size = l->group_size, first = group * group_size;
    bool *is_taken = calloc(group_size, sizeof *is_taken);
    const int16_t *pairs = l->pairs + round * l->n_in + first;
    for (size_t t = 0; t < group_size / 2; t++) {
        int a = pairs[2 * t], b = pairs[2 * t + 1];
        assert_true(a >= 0 && b >= 0 && a < (int)group_size && b < (int)group_size);
        assert_true(!is_taken[a] && !is_taken[b]);
        is_taken[a] = is_taken[b] = true;
        n_pairs += a != b;
        for (size_t before = 0; a != b && !repeats && before < round; before++) {
            const int16_t *other = l->pairs + before * l->n_in + first;
            for (size_t k = 0; k < group_size; k += 2)
                assert_false((other[k] == a && other[k + 1] == b) ||
                             (other[k] == b && other[k + 1] == a));
        }
        assert_true(l->theta[(round * l->n_in + first) / 2 + t] == 0);
    }
    free(is_taken);
    return n_pairs;
}

static void test_random(void **state)
{
    (void)state;
    paro_error err;
    for (uint32_t group_size = 32; group_size <= 256; group_size *= 2) {
        paro_train_linear linear = random_linear(1, 4 * 256, 4, group_size, 8, 1);
        for (uint64_t seed = 0; seed < 20; seed++) {
            assert_ok(paro_pairs_make(&err, NULL, &linear, PARO_PAIRS_KIND_RANDOM, seed));
            for (size_t group = 0; group < linear.n_in / group_size; group++)
                for (size_t round = 0; round < 8; round++)
                    assert_int_equal(check_round(&linear, round, group, false), group_size / 2);
        }
        paro_train_linear_release(&linear);
    }
}

/* A group of eight has seven rounds of four pairs; whether chance finds all or not, an eighth round
 * is empty when it did, and no pair comes twice. A group of two has one. */
static void test_random_in_small_groups(void **state)
{
    (void)state;
    paro_error err;
    paro_train_linear linear = random_linear(1, 64, 4, 8, 9, 1);
    for (uint64_t seed = 0; seed < 50; seed++) {
        assert_ok(paro_pairs_make(&err, NULL, &linear, PARO_PAIRS_KIND_RANDOM, seed));
        for (size_t group = 0; group < 8; group++) {
            size_t n = 0;
            for (size_t round = 0; round < 9; round++) {
                size_t n_pairs = check_round(&linear, round, group, false);
                assert_true(round > 3 || n_pairs == 4);
                n += n_pairs;
            }
            assert_true(n >= 20 && n <= 28);
        }
    }
    paro_train_linear_release(&linear);
    linear = random_linear(1, 4, 4, 2, 3, 1);
    assert_ok(paro_pairs_make(&err, NULL, &linear, PARO_PAIRS_KIND_RANDOM, 1));
    for (size_t group = 0; group < 2; group++)
        for (size_t round = 0; round < 3; round++)
            assert_int_equal(check_round(&linear, round, group, false), round == 0);
    paro_train_linear_release(&linear);
}

/* Every pair of a round is as likely as any other: 66 of a group of 12 in 3 rounds of 6, over many
 * seeds, by their chi-squared (65 degrees of freedom: 105 is exceeded once in a thousand). */
static void test_random_is_fair(void **state)
{
    (void)state;
    paro_error err;
    enum { GROUP = 12, N_SEEDS = 6000, N_PAIRS = GROUP * (GROUP - 1) / 2 };
    paro_train_linear linear = random_linear(1, GROUP, 4, GROUP, 3, 1);
    unsigned counts[3][GROUP][GROUP] = {{{0}}};
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        assert_ok(paro_pairs_make(&err, NULL, &linear, PARO_PAIRS_KIND_RANDOM, seed));
        for (size_t i = 0; i < (size_t)3 * GROUP; i += 2) {
            int a = linear.pairs[i], b = linear.pairs[i + 1];
            counts[i / GROUP][a < b ? a : b][a < b ? b : a]++;
        }
    }
    for (size_t round = 0; round < 3; round++) {
        double expected = (double)N_SEEDS * (GROUP / 2.0) / N_PAIRS, chi = 0;
        for (size_t a = 0; a < GROUP; a++)
            for (size_t b = a + 1; b < GROUP; b++) {
                double d = counts[round][a][b] - expected;
                chi += d * d / expected;
            }
        assert_true(chi < 105);
    }
    paro_train_linear_release(&linear);
}

static void test_same_everywhere(void **state)
{
    (void)state;
    paro_error err;
    const size_t n_bytes = (size_t)8 * 512 * sizeof(int16_t);
    for (int kind = PARO_PAIRS_KIND_RANDOM; kind <= PARO_PAIRS_KIND_BUTTERFLY; kind++) {
        paro_train_linear a = random_linear(30, 512, 4, 128, 8, 1);
        paro_train_linear b = random_linear(30, 512, 4, 128, 8, 1);
        paro_pool *pool = new_pool(3);
        assert_ok(paro_pairs_make(&err, NULL, &a, (paro_pairs_kind)kind, 7));
        assert_ok(paro_pairs_make(&err, pool, &b, (paro_pairs_kind)kind, 7));
        assert_memory_equal(a.pairs, b.pairs, n_bytes);
        assert_ok(paro_pairs_make(&err, pool, &b, (paro_pairs_kind)kind, 8));
        assert_true((memcmp(a.pairs, b.pairs, n_bytes) != 0) == (kind == PARO_PAIRS_KIND_RANDOM));
        paro_pool_free(pool);
        paro_train_linear_release(&a);
        paro_train_linear_release(&b);
    }
    /* What another machine must get too. */
    paro_train_linear known = random_linear(1, 16, 4, 16, 1, 1);
    assert_ok(paro_pairs_make(&err, NULL, &known, PARO_PAIRS_KIND_RANDOM, 1));
    const int16_t expected[16] = {13, 2, 9, 5, 12, 7, 4, 10, 15, 8, 11, 0, 1, 6, 3, 14};
    assert_memory_equal(known.pairs, expected, sizeof expected);
    paro_train_linear_release(&known);
}

/* Against a plain ranking of all pairs. */
static void check_magnitude(uint32_t group_size, uint32_t krot, bool with_ties)
{
    paro_error err;
    paro_train_linear linear = random_linear(9, 2 * group_size, 4, group_size, krot, 4);
    for (size_t i = 0; i < 9 * (size_t)linear.n_in && with_ties; i++)
        linear.w[i] = (float)(i % linear.n_in % 5);
    assert_ok(paro_pairs_make(&err, NULL, &linear, PARO_PAIRS_KIND_MAGNITUDE, 0));
    size_t n_all = (size_t)group_size * (group_size - 1) / 2, n_top = (n_all + 9) / 10;
    double *magnitudes = calloc(group_size, sizeof *magnitudes);
    double *differences = calloc(n_all, sizeof *differences);
    for (size_t group = 0; group < 2; group++) {
        size_t n = 0, n_pairs = 0;
        for (size_t c = 0; c < group_size; c++) {
            size_t at = group * group_size + c;
            magnitudes[c] = 0;
            for (size_t row = 0; row < 9; row++)
                magnitudes[c] += fabs((double)linear.w[row * linear.n_in + at]) / 9 *
                                 (double)linear.weight_channel_scales[at];
        }
        for (size_t a = 0; a < group_size; a++)
            for (size_t b = a + 1; b < group_size; b++)
                differences[n++] = fabs(magnitudes[a] - magnitudes[b]);
        for (size_t i = 0; i < n_top; i++) /* the n_top largest to the front */
            for (size_t k = i + 1; k < n; k++)
                if (differences[k] > differences[i]) {
                    double was = differences[i];
                    differences[i] = differences[k];
                    differences[k] = was;
                }
        for (size_t round = 0; round < krot; round++) {
            size_t in_round = check_round(&linear, round, group, false);
            assert_true(in_round <= group_size / 2);
            n_pairs += in_round;
            const int16_t *pairs = linear.pairs + round * linear.n_in + group * group_size;
            for (size_t t = 0; t < in_round; t++) {
                double d = fabs(magnitudes[pairs[2 * t]] - magnitudes[pairs[2 * t + 1]]);
                assert_true(d >= differences[n_top - 1] - 1e-6);
                if (round == 0 && t == 0)
                    assert_true(fabs(d - differences[0]) < 1e-6);
            }
        }
        assert_true(n_pairs > 0 && n_pairs <= n_top);
    }
    free(magnitudes);
    free(differences);
    paro_train_linear_release(&linear);
}

static void test_magnitude(void **state)
{
    (void)state;
    check_magnitude(128, 8, false);
    check_magnitude(32, 1, false);
    check_magnitude(64, 4, true);
    check_magnitude(4, 8, false);
}

static void test_butterfly(void **state)
{
    (void)state;
    paro_error err;
    paro_train_linear linear = random_linear(1, 64, 4, 32, 6, 1);
    assert_ok(paro_pairs_make(&err, NULL, &linear, PARO_PAIRS_KIND_BUTTERFLY, 0));
    for (size_t round = 0; round < 6; round++)
        for (size_t group = 0; group < 2; group++) {
            assert_int_equal(check_round(&linear, round, group, true), 16);
            const int16_t *pairs = linear.pairs + round * 64 + group * 32;
            for (size_t t = 0; t < 16; t++)
                assert_int_equal(pairs[2 * t] ^ pairs[2 * t + 1], 1 << (round % 5));
        }
    paro_train_linear_release(&linear);
    linear = random_linear(1, 48, 4, 24, 2, 1);
    assert_fails(paro_pairs_make(&err, NULL, &linear, PARO_PAIRS_KIND_BUTTERFLY, 0),
                 PARO_STATUS_INVALID_ARGUMENT,
                 "layer: butterfly pairs: expected a group_size that is a power of two, found 24");
    paro_train_linear_release(&linear);
}

static void test_names(void **state)
{
    (void)state;
    paro_error err;
    paro_pairs_kind kind = PARO_PAIRS_KIND_RANDOM;
    assert_ok(paro_pairs_kind_parse(&err, "butterfly", &kind));
    assert_int_equal(kind, PARO_PAIRS_KIND_BUTTERFLY);
    assert_string_equal(paro_pairs_kind_name(PARO_PAIRS_KIND_MAGNITUDE), "magnitude");
    assert_fails(paro_pairs_kind_parse(&err, "odd", &kind), PARO_STATUS_INVALID_ARGUMENT,
                 "pairs \"odd\": expected one of random, magnitude, butterfly");
    paro_train_linear linear = random_linear(1, 48, 4, 24, 2, 1);
    assert_fails(paro_pairs_make(&err, NULL, &linear, (paro_pairs_kind)9, 0),
                 PARO_STATUS_INVALID_ARGUMENT, "pairs 9: there is no such kind");
    paro_train_linear_release(&linear);
}

/* All linears of a Llama-3-8B, 9728 groups of 128: a bar with room for a busy machine. */
static void test_speed(void **state)
{
    (void)state;
    paro_error err;
    paro_pool *pool = new_pool(2);
    paro_train_linear narrow = random_linear(1, 4096, 4, 128, 8, 1);
    paro_train_linear wide = random_linear(1, 14336, 4, 128, 8, 1);
    double start = paro_clock_seconds();
    for (int i = 0; i < 7 * 32; i++)
        assert_ok(paro_pairs_make(&err, pool, i % 7 == 6 ? &wide : &narrow, PARO_PAIRS_KIND_RANDOM,
                                  (uint64_t)i));
    double seconds = paro_clock_seconds() - start;
    printf("random pairs of 224 linears: %.2f s\n", seconds);
    assert_true(TEST_SANITIZED || seconds < 2);
    paro_train_linear_release(&narrow);
    paro_train_linear_release(&wide);
    paro_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),         cmocka_unit_test(test_random_in_small_groups),
        cmocka_unit_test(test_random_is_fair), cmocka_unit_test(test_same_everywhere),
        cmocka_unit_test(test_magnitude),      cmocka_unit_test(test_butterfly),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
