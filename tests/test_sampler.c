/* SPDX-License-Identifier: MIT
 *
 * runtime/sampler.c: distributions, limits and seeds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "runtime/sampler.h"
#include "tests/support.h"

enum { VOCAB = 8, DRAWS = 200000 };

static const float logits[VOCAB] = {0.5F, 2.0F, -1.0F, 2.0F, 0.0F, 1.0F, -INFINITY, NAN};

static void count_draws(paro_sampler_options options, double share[VOCAB])
{
    paro_error err;
    paro_sampler sampler;
    assert_ok(paro_sampler_init(&err, &options, VOCAB, &sampler));
    for (int i = 0; i < VOCAB; i++)
        share[i] = 0;
    for (int i = 0; i < DRAWS; i++)
        share[paro_sampler_draw(&sampler, logits)] += 1.0 / DRAWS;
    paro_sampler_release(&sampler);
}

/* The probabilities these options should give, by plain arithmetic; `kept` ids in order of rank. */
static void expect(double temperature, const int *kept, int n, double expected[VOCAB])
{
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        expected[i] = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)logits[kept[i]] / temperature);
    for (int i = 0; i < n; i++)
        expected[kept[i]] = exp((double)logits[kept[i]] / temperature) / sum;
}

static void assert_close(const double *share, const double *expected)
{
    for (int i = 0; i < VOCAB; i++)
        if (fabs(share[i] - expected[i]) > 0.005 || (expected[i] == 0 && share[i] != 0))
            fail_msg("id %d: expected %.4f, found %.4f", i, expected[i], share[i]);
}

static void test_greedy(void **state)
{
    (void)state;
    const float all_nan[3] = {NAN, NAN, NAN}, nan_first[3] = {NAN, -5, -6};
    assert_int_equal(paro_argmax(logits, VOCAB), 1); /* a tie: the lower id */
    assert_int_equal(paro_argmax(nan_first, 3), 1);
    assert_int_equal(paro_argmax(all_nan, 3), 0);
    double share[VOCAB];
    count_draws((paro_sampler_options){.temperature = 0, .seed = 3}, share);
    assert_true(fabs(share[1] - 1) < 1e-9);
}

static void test_distribution(void **state)
{
    (void)state;
    static const int ranked[] = {1, 3, 5, 0, 4, 2};
    double share[VOCAB], expected[VOCAB];
    count_draws((paro_sampler_options){.temperature = 1, .seed = 1}, share);
    expect(1, ranked, 6, expected);
    assert_close(share, expected);
    count_draws((paro_sampler_options){.temperature = 0.5F, .seed = 2}, share);
    expect(0.5, ranked, 6, expected);
    assert_close(share, expected);
    for (int k = 1; k <= 6; k++) {
        count_draws((paro_sampler_options){.temperature = 1, .top_k = (uint32_t)k, .seed = 4},
                    share);
        expect(1, ranked, k, expected);
        assert_close(share, expected);
    }
    /* exp(2) twice is 14.8 of 20.5 in all: 0.3 needs only the first, 0.6 both, 0.75 three. */
    static const struct {
        float top_p;
        int n;
    } rows[] = {{0.3F, 1}, {0.6F, 2}, {0.75F, 3}, {1.0F, 6}, {1e-6F, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        count_draws((paro_sampler_options){.temperature = 1, .top_p = rows[i].top_p, .seed = 5},
                    share);
        expect(1, ranked, rows[i].n, expected);
        assert_close(share, expected);
    }
}

/* top_k on many values against sorting all of them. */
static void test_selection(void **state)
{
    (void)state;
    enum { N = 1000 };
    paro_error err;
    paro_rng rng;
    static float values[N];
    paro_rng_seed(&rng, 11);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < N; i++)
            values[i] = (float)paro_rng_below(&rng, round < 25 ? 20 : 1000000);
        const uint32_t k = 1 + (uint32_t)paro_rng_below(&rng, 40);
        const paro_sampler_options options = {.temperature = 1e6F, .top_k = k, .seed = 1};
        paro_sampler sampler;
        assert_ok(paro_sampler_init(&err, &options, N, &sampler));
        for (int draw = 0; draw < 100; draw++) {
            int32_t id = paro_sampler_draw(&sampler, values);
            uint32_t before = 0; /* values that rank before it */
            for (int i = 0; i < N; i++)
                before += values[i] > values[id] || (values[i] == values[id] && i < id);
            assert_true(before < k);
        }
        paro_sampler_release(&sampler);
    }
}

static void test_seeds(void **state)
{
    (void)state;
    paro_error err;
    int32_t drawn[3][64];
    for (int run = 0; run < 3; run++) {
        const paro_sampler_options options = {.temperature = 1, .seed = run == 2 ? 8 : 7};
        paro_sampler sampler;
        assert_ok(paro_sampler_init(&err, &options, VOCAB, &sampler));
        for (int i = 0; i < 64; i++)
            drawn[run][i] = paro_sampler_draw(&sampler, logits);
        paro_sampler_release(&sampler);
    }
    assert_memory_equal(drawn[0], drawn[1], sizeof drawn[0]);
    assert_memory_not_equal(drawn[0], drawn[2], sizeof drawn[0]);
}

static void test_refused(void **state)
{
    (void)state;
    paro_error err;
    paro_sampler sampler;
    const paro_sampler_options bad[] = {
        {.temperature = -1}, {.temperature = NAN}, {.temperature = INFINITY},
        {.top_p = 1.5F},     {.top_p = NAN},       {.top_p = -0.1F}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(paro_sampler_init(&err, &bad[i], VOCAB, &sampler),
                     PARO_STATUS_INVALID_ARGUMENT, i < 3 ? "temperature" : "top_p");
    paro_sampler_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),    cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_selection), cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
