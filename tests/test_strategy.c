/* SPDX-License-Identifier: MIT
 *
 * Strategies and the choice of a winner on made-up landscapes with noise, and on recordings.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/support.h"
#include "tuner/tuner.h"

enum { N = 200 };

/* True times, and a runner that adds noise to them. */
typedef struct landscape {
    double us[N];
    double noise; /* deviation, relative */
    paro_rng rng;
    size_t n_calls, n_samples;
    size_t wrong, crashed; /* SIZE_MAX: none */
    size_t fails_after;    /* calls; 0: never */
} landscape;

static paro_status measure(paro_error *err, void *context, size_t i, uint32_t n_samples,
                           paro_measurement *out)
{
    landscape *l = context;
    double samples[64];
    memset(out, 0, sizeof *out);
    l->n_calls++;
    l->n_samples += n_samples;
    if (l->fails_after > 0 && l->n_calls > l->fails_after)
        return paro_fail(err, PARO_STATUS_CANCELLED, "enough");
    if (i == l->wrong || i == l->crashed) {
        out->state = i == l->wrong ? PARO_CANDIDATE_WRONG : PARO_CANDIDATE_CRASHED;
        return PARO_STATUS_OK;
    }
    for (uint32_t s = 0; s < n_samples; s++) {
        double x = fabs((double)paro_rng_normal(&l->rng)); /* slower, never faster */
        samples[s] = l->us[i] * (1 + l->noise * x);
    }
    paro_measurement_set_samples(out, samples, n_samples);
    return PARO_STATUS_OK;
}

/* Times of 10 to 60 us, estimates right to a factor of 1.5; every fourth of another layout. */
static void make(landscape *l, paro_candidate *candidates, uint64_t seed, double noise)
{
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    memset(candidates, 0, N * sizeof *candidates);
    *l = (landscape){.noise = noise, .wrong = SIZE_MAX, .crashed = SIZE_MAX};
    for (size_t i = 0; i < N; i++) {
        l->us[i] = 10 + 50 * paro_rng_f64(&rng);
        candidates[i].estimate_us = l->us[i] * (0.75 + 0.5 * paro_rng_f64(&rng));
        candidates[i].layout = i % 4 == 0 ? "b" : "a";
    }
}

static paro_status run(paro_error *err, const char *name, landscape *l, paro_candidate *candidates,
                       size_t default_index, paro_search *search)
{
    const paro_strategy *strategy = paro_strategy_find(name);
    static paro_runner runner;
    runner = (paro_runner){l, measure};
    *search = (paro_search){candidates, N, default_index, &runner};
    strategy->prune(search);
    return strategy->run(err, search);
}

static void test_the_table(void **state)
{
    (void)state;
    assert_string_equal(paro_strategy_get(0)->name, "default");
    assert_ptr_equal(paro_strategy_find("exhaustive"), paro_strategy_get(1));
    assert_null(paro_strategy_get(2));
    assert_null(paro_strategy_find("fastest"));
    assert_string_equal(paro_candidate_state_name(PARO_CANDIDATE_HUNG), "hung");
    assert_string_equal(paro_candidate_state_name(PARO_CANDIDATE_PRUNED), "pruned");
}

static void test_samples(void **state)
{
    (void)state;
    double samples[11] = {5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 100};
    paro_measurement m = {0};
    paro_measurement_set_samples(&m, samples, 11);
    assert_int_equal(m.state, PARO_CANDIDATE_TIMED);
    assert_true(m.median_us == 6 && m.min_us == 1);
    assert_true(m.spread_us == 10 - 2);
    double two[2] = {3, 1};
    paro_measurement_set_samples(&m, two, 2);
    assert_true(m.median_us == 2 && m.spread_us == 2);
}

/* The default strategy's winner is within 2 % of the true best, for a fraction of the samples. */
static void test_halving_finds_the_best(void **state)
{
    (void)state;
    paro_error err;
    static paro_candidate candidates[N];
    size_t n_default = 0, n_exhaustive = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        landscape l;
        paro_search search;
        make(&l, candidates, seed, 0.02);
        paro_rng_seed(&l.rng, seed + 1000);
        double best = INFINITY;
        for (size_t i = 0; i < N; i++)
            best = fmin(best, l.us[i]);
        assert_ok(run(&err, "default", &l, candidates, 17, &search));
        size_t winner = paro_choose_winner(&search, NULL, NULL);
        assert_true(winner < N);
        assert_true(l.us[winner] <= 1.02 * best);
        n_default += l.n_samples;
        make(&l, candidates, seed, 0.02);
        paro_rng_seed(&l.rng, seed + 2000);
        assert_ok(run(&err, "exhaustive", &l, candidates, 17, &search));
        assert_true(l.n_calls >= N);
        n_exhaustive += l.n_samples;
        winner = paro_choose_winner(&search, NULL, NULL);
        assert_true(l.us[winner] <= 1.02 * best);
    }
    assert_true(3 * n_default < n_exhaustive);
}

/* Two runs over the same landscape agree, or differ by at most 1 % in true time. */
static void test_two_runs_agree(void **state)
{
    (void)state;
    paro_error err;
    static paro_candidate candidates[N];
    int n_same = 0, n_close = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        size_t winners[2];
        landscape l;
        for (size_t r = 0; r < 2; r++) {
            paro_search search;
            make(&l, candidates, seed, 0.01);
            paro_rng_seed(&l.rng, 77 * seed + r);
            assert_ok(run(&err, "default", &l, candidates, 3, &search));
            winners[r] = paro_choose_winner(&search, NULL, NULL);
        }
        double ratio = l.us[winners[0]] / l.us[winners[1]];
        n_same += winners[0] == winners[1];
        n_close += ratio > 0.99 && ratio < 1.01;
    }
    assert_true(n_same >= 36);
    assert_true(n_close >= 38);
}

static void test_the_default_wins_ties(void **state)
{
    (void)state;
    paro_error err;
    static paro_candidate candidates[N];
    uint32_t n_ties = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        landscape l;
        paro_search search;
        make(&l, candidates, seed, 0.005);
        for (size_t i = 0; i < N; i++)
            l.us[i] = 20;
        l.us[50] = 19.9; /* better by less than 1 % */
        paro_rng_seed(&l.rng, seed);
        assert_ok(run(&err, "exhaustive", &l, candidates, 120, &search));
        assert_int_equal(paro_choose_winner(&search, NULL, &n_ties), 120);
        assert_true(n_ties >= 5);                           /* of those looked at in turns */
        candidates[120].found.state = PARO_CANDIDATE_WRONG; /* then the first */
        assert_int_equal(paro_choose_winner(&search, NULL, &n_ties), 0);
        l.us[50] = 15; /* better beyond noise */
        candidates[50].found.state = PARO_CANDIDATE_NEW;
        assert_ok(run(&err, "exhaustive", &l, candidates, 120, &search));
        assert_int_equal(paro_choose_winner(&search, NULL, &n_ties), 50);
        assert_int_equal(n_ties, 0);
    }
}

static void test_every_layout_has_a_winner(void **state)
{
    (void)state;
    paro_error err;
    static paro_candidate candidates[N];
    for (uint64_t seed = 1; seed <= 10; seed++) {
        landscape l;
        paro_search search;
        make(&l, candidates, seed, 0.01);
        double best = INFINITY;
        for (size_t i = 0; i < N; i += 4) { /* layout b is five times slower */
            l.us[i] *= 5;
            candidates[i].estimate_us *= 5;
            best = fmin(best, l.us[i]);
        }
        paro_rng_seed(&l.rng, seed);
        assert_ok(run(&err, "default", &l, candidates, 1, &search));
        size_t b = paro_choose_winner(&search, "b", NULL);
        assert_true(b < N && b % 4 == 0);
        assert_true(l.us[b] <= 1.03 * best);
        assert_true(paro_choose_winner(&search, NULL, NULL) % 4 != 0);
        assert_true(paro_choose_winner(&search, "c", NULL) == SIZE_MAX);
    }
}

static void test_what_failed_does_not_win(void **state)
{
    (void)state;
    paro_error err;
    static paro_candidate candidates[N];
    landscape l;
    paro_search search;
    make(&l, candidates, 5, 0.01);
    l.us[10] = 1;
    l.us[11] = 2;
    l.us[12] = 3;
    l.wrong = 10;
    l.crashed = 11;
    for (size_t i = 10; i < 13; i++)
        candidates[i].estimate_us = l.us[i];
    for (size_t i = 13; i < N; i++)
        candidates[i].estimate_us = fmin(candidates[i].estimate_us, 3.5);
    paro_rng_seed(&l.rng, 1);
    assert_ok(run(&err, "default", &l, candidates, 0, &search));
    assert_int_equal(paro_choose_winner(&search, NULL, NULL), 12);
    assert_int_equal(candidates[10].found.state, PARO_CANDIDATE_WRONG);
    assert_int_equal(candidates[11].found.state, PARO_CANDIDATE_CRASHED);
}

/* The default is run whatever its estimate; what the estimate rules out is not. */
static void test_pruning(void **state)
{
    (void)state;
    paro_error err;
    static paro_candidate candidates[N];
    landscape l;
    paro_search search;
    make(&l, candidates, 9, 0.01);
    candidates[33].estimate_us = 1e6;
    candidates[34].estimate_us = 1e6;
    paro_rng_seed(&l.rng, 1);
    assert_ok(run(&err, "default", &l, candidates, 33, &search));
    assert_int_equal(candidates[33].found.state, PARO_CANDIDATE_TIMED);
    assert_int_equal(candidates[34].found.state, PARO_CANDIDATE_PRUNED);
}

static void test_a_failure_ends_the_search(void **state)
{
    (void)state;
    paro_error err;
    static paro_candidate candidates[N];
    landscape l;
    paro_search search;
    make(&l, candidates, 9, 0.01);
    l.fails_after = 7;
    assert_fails(run(&err, "default", &l, candidates, 0, &search), PARO_STATUS_CANCELLED, "enough");
    assert_int_equal(l.n_calls, 8);
    make(&l, candidates, 9, 0.01);
    l.fails_after = 7;
    assert_fails(run(&err, "exhaustive", &l, candidates, 0, &search), PARO_STATUS_CANCELLED,
                 "enough");
}

static void test_no_candidate_was_timed(void **state)
{
    (void)state;
    static paro_candidate candidates[N];
    paro_search search = {candidates, N, 0, NULL};
    uint32_t n_ties = 9;
    memset(candidates, 0, sizeof candidates);
    for (size_t i = 0; i < N; i++)
        candidates[i].layout = "";
    assert_true(paro_choose_winner(&search, NULL, &n_ties) == SIZE_MAX);
    assert_int_equal(n_ties, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_halving_finds_the_best),
        cmocka_unit_test(test_two_runs_agree),
        cmocka_unit_test(test_the_default_wins_ties),
        cmocka_unit_test(test_every_layout_has_a_winner),
        cmocka_unit_test(test_what_failed_does_not_win),
        cmocka_unit_test(test_pruning),
        cmocka_unit_test(test_a_failure_ends_the_search),
        cmocka_unit_test(test_no_candidate_was_timed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
