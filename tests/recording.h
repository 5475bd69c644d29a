/* SPDX-License-Identifier: MIT
 *
 * Recordings of tuning: what was measured of every config of a problem on a device, replayed with
 * its noise, to judge strategies without one. bench/record_tuning.c makes them from the cache that
 * `paro tune --strategy exhaustive` filled, and from those of runs with the default strategy
 * (`winners`: what each chose). A line of JSON each:
 *
 *     {"recording": 1, "problem": "…", "device": "NVIDIA H200", "clock": "cupti", "winners": ["…"]}
 *     {"config": "…", "layout": "…", "default": false, "estimate_us": 9.1, "state": "timed",
 *      "median_us": 10.2, "spread_us": 0.3}
 */
#ifndef PARO_TESTS_RECORDING_H
#define PARO_TESTS_RECORDING_H

#include "base/json.h"
#include "base/rng.h"
#include "tests/support.h"
#include "tuner/tuner.h"

enum { RECORDING_MOST = 1024, RECORDING_MOST_WINNERS = 8 };

typedef struct recording {
    char problem[PARO_PROBLEM_TEXT_BYTES];
    paro_candidate candidates[RECORDING_MOST];
    paro_measurement truth[RECORDING_MOST];
    char layouts[RECORDING_MOST][16];
    char configs[RECORDING_MOST][PARO_KERNEL_CONFIG_TEXT_BYTES];
    size_t n, default_index;
    char winners[RECORDING_MOST_WINNERS][PARO_KERNEL_CONFIG_TEXT_BYTES]; /* of the device's runs */
    size_t n_winners;
    paro_rng rng;
    size_t n_samples; /* drawn since */
    paro_runner runner;
} recording;

static inline paro_status recording_measure(paro_error *err, void *context, size_t i,
                                            uint32_t n_samples, paro_measurement *out)
{
    recording *r = context;
    double samples[256];
    (void)err;
    *out = r->truth[i];
    r->n_samples += n_samples;
    if (out->state != PARO_CANDIDATE_TIMED)
        return PARO_STATUS_OK;
    for (uint32_t s = 0; s < n_samples; s++)
        samples[s] =
            r->truth[i].median_us + r->truth[i].spread_us / 2.56 * (double)paro_rng_normal(&r->rng);
    paro_measurement_set_samples(out, samples, n_samples);
    return PARO_STATUS_OK;
}

static inline void recording_add(recording *r, const char *path, const json_t *line)
{
    paro_error err;
    const char *state, *layout, *config;
    bool is_default;
    size_t i = r->n;
    paro_measurement *m = &r->truth[i];
    assert_true(i < RECORDING_MOST);
    memset(m, 0, sizeof *m);
    memset(&r->candidates[i], 0, sizeof r->candidates[i]);
    assert_ok(paro_json_get_string(&err, path, line, "config", "", &config));
    assert_ok(paro_json_get_string(&err, path, line, "layout", "", &layout));
    assert_ok(paro_json_get_string(&err, path, line, "state", "", &state));
    assert_ok(paro_json_get_bool(&err, path, line, "default", false, &is_default));
    assert_ok(paro_json_get_f64(&err, path, line, "estimate_us", 0, 1e9, 0,
                                &r->candidates[i].estimate_us));
    assert_ok(paro_json_get_f64(&err, path, line, "median_us", 0, 1e9, 0, &m->median_us));
    assert_ok(paro_json_get_f64(&err, path, line, "spread_us", 0, 1e9, 0, &m->spread_us));
    for (int s = 0; s < PARO_CANDIDATE_STATE_COUNT; s++)
        if (strcmp(paro_candidate_state_name((paro_candidate_state)s), state) == 0)
            m->state = (paro_candidate_state)s;
    assert_int_not_equal(m->state, PARO_CANDIDATE_NEW);
    snprintf(r->configs[i], sizeof r->configs[i], "%s", config);
    snprintf(r->layouts[i], sizeof r->layouts[i], "%s", layout);
    r->candidates[i].layout = r->layouts[i];
    if (is_default)
        r->default_index = i;
    r->n++;
}

static inline void recording_begin(recording *r, const char *path, const json_t *line)
{
    paro_error err;
    const char *problem;
    size_t i;
    json_t *winner;
    assert_ok(paro_json_get_string(&err, path, line, "problem", "", &problem));
    snprintf(r->problem, sizeof r->problem, "%s", problem);
    r->n_winners = 0;
    json_array_foreach(json_object_get(line, "winners"), i, winner)
    {
        assert_true(i < RECORDING_MOST_WINNERS && json_is_string(winner));
        snprintf(r->winners[r->n_winners++], sizeof r->winners[0], "%s", json_string_value(winner));
    }
}

/* The config's index; fails where there is none. */
static inline size_t recording_find(const recording *r, const char *config)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->configs[i], config) == 0)
            return i;
    fail_msg("%s: %s was not recorded", r->problem, config);
    return SIZE_MAX;
}

static inline void recording_load(recording *r, const char *path)
{
    char line[2048];
    paro_error err;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    r->n = 0;
    r->default_index = SIZE_MAX;
    for (bool first = true; fgets(line, sizeof line, file) != NULL; first = false) {
        json_t *root = NULL;
        assert_ok(paro_json_parse(&err, path, line, strlen(line), &root));
        if (first)
            recording_begin(r, path, root);
        else
            recording_add(r, path, root);
        json_decref(root);
    }
    fclose(file);
    assert_true(r->default_index < r->n);
    r->runner = (paro_runner){r, recording_measure};
}

/* One run of a strategy, by seed; the winner's index. */
static inline size_t recording_run(recording *r, const char *strategy, uint64_t seed)
{
    paro_error err;
    paro_search search = {r->candidates, r->n, r->default_index, &r->runner};
    const paro_strategy *s = paro_strategy_find(strategy);
    paro_rng_seed(&r->rng, seed);
    r->n_samples = 0;
    for (size_t i = 0; i < r->n; i++)
        memset(&r->candidates[i].found, 0, sizeof r->candidates[i].found);
    s->prune(&search);
    assert_ok(s->run(&err, &search));
    return paro_choose_winner(&search, NULL, NULL);
}

#endif
