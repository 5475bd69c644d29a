/* SPDX-License-Identifier: MIT
 *
 * base/rng.c: the algorithm's own numbers, then that the distributions are what they claim.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/rng.h"
#include "tests/support.h"

static void test_xoshiro256starstar_numbers(void **state)
{
    (void)state;
    /* State {1, 2, 3, 4}: the first outputs of the authors' xoshiro256starstar.c. */
    paro_rng rng = {{1, 2, 3, 4}};
    static const uint64_t golden[] = {UINT64_C(11520), UINT64_C(0), UINT64_C(1509978240),
                                      UINT64_C(1215971899390074240)};
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++)
        assert_true(paro_rng_u64(&rng) == golden[i]);

    /* Seed 0 fills the state with the first four outputs of splitmix64 from 0. */
    paro_rng_seed(&rng, 0);
    assert_true(rng.state[0] == UINT64_C(0xe220a8397b1dcdaf));
    assert_true(rng.state[1] == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(rng.state[2] == UINT64_C(0x06c45d188009454f));
    assert_true(rng.state[3] == UINT64_C(0xf88bb8a8724c81ec));
}

static void test_seeds_repeat_and_differ(void **state)
{
    (void)state;
    paro_rng a, b, c;
    paro_rng_seed(&a, 42);
    paro_rng_seed(&b, 42);
    paro_rng_seed(&c, 43);
    int n_same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t x = paro_rng_u64(&a);
        assert_true(x == paro_rng_u64(&b));
        n_same += x == paro_rng_u64(&c);
    }
    assert_int_equal(n_same, 0);
}

static void test_below_is_uniform(void **state)
{
    (void)state;
    paro_rng rng;
    paro_rng_seed(&rng, 1);
    for (int i = 0; i < 100; i++)
        assert_true(paro_rng_below(&rng, 1) == 0);
    enum { N = 7, DRAWS = 70000 };
    int counts[N] = {0};
    for (int i = 0; i < DRAWS; i++) {
        uint64_t x = paro_rng_below(&rng, N);
        assert_true(x < N);
        counts[x]++;
    }
    double chi2 = 0;
    for (int i = 0; i < N; i++)
        chi2 += (counts[i] - DRAWS / N) * (double)(counts[i] - DRAWS / N) / (DRAWS / N);
    assert_true(chi2 < 22.5); /* 6 degrees of freedom, p = 0.001 */

    /* A bound just over 2^63: without rejection one half would come twice as often. */
    uint64_t bound = (UINT64_C(1) << 63) + (UINT64_C(1) << 62);
    int n_low = 0;
    for (int i = 0; i < 30000; i++) {
        uint64_t x = paro_rng_below(&rng, bound);
        assert_true(x < bound);
        n_low += x < bound / 3;
    }
    assert_in_range(n_low, 9600, 10400); /* a third of 30000, five standard deviations */
}

static void test_f64_in_unit_interval(void **state)
{
    (void)state;
    paro_rng rng;
    paro_rng_seed(&rng, 2);
    double sum = 0, sum2 = 0;
    for (int i = 0; i < 100000; i++) {
        double x = paro_rng_f64(&rng);
        assert_true(x >= 0 && x < 1);
        sum += x;
        sum2 += x * x;
    }
    assert_true(fabs(sum / 100000 - 0.5) < 0.005);
    assert_true(fabs(sum2 / 100000 - 1.0 / 3) < 0.005);
}

static void test_normal_moments(void **state)
{
    (void)state;
    paro_rng rng;
    paro_rng_seed(&rng, 5);
    double sums[5] = {0};
    enum { DRAWS = 200000 };
    for (int i = 0; i < DRAWS; i++) {
        double x = (double)paro_rng_normal(&rng), power = 1;
        assert_true(isfinite(x));
        for (int k = 1; k < 5; k++)
            sums[k] += power *= x;
    }
    assert_true(fabs(sums[1] / DRAWS) < 0.01);
    assert_true(fabs(sums[2] / DRAWS - 1) < 0.02);
    assert_true(fabs(sums[3] / DRAWS) < 0.04);
    assert_true(fabs(sums[4] / DRAWS - 3) < 0.12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xoshiro256starstar_numbers),
        cmocka_unit_test(test_seeds_repeat_and_differ),
        cmocka_unit_test(test_below_is_uniform),
        cmocka_unit_test(test_f64_in_unit_interval),
        cmocka_unit_test(test_normal_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
