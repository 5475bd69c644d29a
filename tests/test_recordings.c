/* SPDX-License-Identifier: MIT
 *
 * Strategies on recordings of real devices (tests/recordings/NAME.jsonl, see recording.h): the
 * default finds what exhaustive search finds, twice the same, for less work; and did so there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <glob.h>

#include "tests/recording.h"

enum { RUNS = 20 };

static double best_us(const recording *r)
{
    double best = 1e30;
    for (size_t i = 0; i < r->n; i++)
        if (r->truth[i].state == PARO_CANDIDATE_TIMED && r->truth[i].median_us < best)
            best = r->truth[i].median_us;
    return best;
}

/* What the runs on the device chose, by what the exhaustive one measured. */
static void check_winners(const recording *r)
{
    double fastest = 1e30, slowest = 0;
    assert_true(r->n_winners >= 2);
    for (size_t i = 0; i < r->n_winners; i++) {
        const paro_measurement *m = &r->truth[recording_find(r, r->winners[i])];
        assert_int_equal(m->state, PARO_CANDIDATE_TIMED);
        fastest = m->median_us < fastest ? m->median_us : fastest;
        slowest = m->median_us > slowest ? m->median_us : slowest;
    }
    if (slowest > 1.02 * best_us(r))
        fail_msg("%s: a run's winner takes %.3f us, the best %.3f", r->problem, slowest,
                 best_us(r));
    if (slowest > 1.01 * fastest)
        fail_msg("%s: runs disagree: %.3f and %.3f us", r->problem, fastest, slowest);
}

static void test_strategies_on_recordings(void **state)
{
    (void)state;
    static recording r;
    glob_t files;
    assert_int_equal(glob("tests/recordings/*.jsonl", 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= 6);
    for (size_t f = 0; f < files.gl_pathc; f++) {
        recording_load(&r, files.gl_pathv[f]);
        check_winners(&r);
        const double best = best_us(&r);
        size_t before = SIZE_MAX, n_agree = 0, n_samples = 0, n_all = 0;
        double worst = 0;
        for (uint64_t seed = 1; seed <= RUNS; seed++) {
            size_t winner = recording_run(&r, "default", seed);
            assert_true(winner < r.n);
            double us = r.truth[winner].median_us;
            worst = us / best > worst ? us / best : worst;
            n_samples += r.n_samples;
            if (before != SIZE_MAX) {
                double ratio = us / r.truth[before].median_us;
                n_agree += winner == before || (ratio > 0.99 && ratio < 1.01);
            }
            before = winner;
            recording_run(&r, "exhaustive", seed);
            n_all += r.n_samples;
        }
        print_message("%s: %zu configs, worst winner %.3f of the best, %.0f %% of the samples\n",
                      r.problem, r.n, worst, 100.0 * (double)n_samples / (double)n_all);
        if (worst > 1.02)
            fail_msg("%s: a winner %.3f times as slow as the best", files.gl_pathv[f], worst);
        if (n_agree * 100 < 95 * (RUNS - 1))
            fail_msg("%s: %zu of %d runs agree", files.gl_pathv[f], n_agree, RUNS - 1);
        if (r.n >
            16) /* the finals, of which all strategies have as many, weigh more in small spaces */
            assert_true((r.n > 64 ? 2 : 1) * n_samples < n_all);
    }
    globfree(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_strategies_on_recordings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
