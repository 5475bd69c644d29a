/* SPDX-License-Identifier: MIT
 *
 * A recording for tests/recording.h of one problem: what `paro tune --strategy exhaustive` measured
 * of every config, and what `paro tune` chose in runs of its own.
 *
 *     record_tuning OUT.jsonl PROBLEM EXHAUSTIVE.db [DEFAULT.db]...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "tuner/tuner.h"

enum { MOST_LOOKS = 64, MOST_RUNS = 8 };

/* A config is looked at more than once: the median of its medians counts. */
typedef struct looks {
    double medians[MOST_LOOKS];
    double spread_us; /* sum */
    size_t n;
    paro_candidate_state fault; /* NEW: none */
} looks;

typedef struct recorder {
    const paro_problem *problem;
    char text[PARO_PROBLEM_TEXT_BYTES];
    paro_search search;
    looks *looks; /* by candidate */
    char device[128], clock[16];
    char winners[MOST_RUNS][PARO_KERNEL_CONFIG_TEXT_BYTES];
    size_t n_winners;
} recorder;

static paro_candidate_state state_of(const char *name)
{
    for (int s = 0; s < PARO_CANDIDATE_STATE_COUNT; s++)
        if (strcmp(paro_candidate_state_name((paro_candidate_state)s), name) == 0)
            return (paro_candidate_state)s;
    return PARO_CANDIDATE_NEW;
}

static bool take(void *context, const paro_cache_timing *row)
{
    recorder *r = context;
    paro_kernel_config config;
    memset(&config, 0, sizeof config);
    if (paro_kernel_config_parse(NULL, r->problem->family, row->config, &config) != PARO_STATUS_OK)
        return true;
    const size_t n_bytes = paro_family_n_params(r->problem->family) * sizeof config.values[0];
    for (size_t i = 0; i < r->search.n; i++) {
        looks *l = &r->looks[i];
        if (memcmp(config.values, r->search.candidates[i].config.values, n_bytes) != 0)
            continue;
        if (strcmp(row->state, "timed") != 0) {
            l->fault = state_of(row->state);
        } else if (l->n < MOST_LOOKS) {
            l->medians[l->n++] = row->median_us;
            l->spread_us += row->spread_us;
            snprintf(r->clock, sizeof r->clock, "%s", row->clock);
        }
    }
    return true;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int write_recording(recorder *r, const char *path)
{
    char config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return -1;
    fprintf(file,
            "{\"recording\": 1, \"problem\": \"%s\", \"device\": \"%s\", \"clock\": \"%s\", "
            "\"winners\": [",
            r->text, r->device, r->clock);
    for (size_t i = 0; i < r->n_winners; i++)
        fprintf(file, "%s\"%s\"", i > 0 ? ", " : "", r->winners[i]);
    fprintf(file, "]}\n");
    for (size_t i = 0; i < r->search.n; i++) {
        const paro_candidate *c = &r->search.candidates[i];
        looks *l = &r->looks[i];
        const bool is_timed = l->n > 0 && l->fault == PARO_CANDIDATE_NEW;
        if (l->n == 0 && l->fault == PARO_CANDIDATE_NEW)
            continue;
        qsort(l->medians, l->n, sizeof l->medians[0], compare_doubles);
        paro_kernel_config_print(r->problem->family, &c->config, config);
        fprintf(file,
                "{\"config\": \"%s\", \"layout\": \"%s\", \"default\": %s, \"estimate_us\": %.4g, "
                "\"state\": \"%s\", \"median_us\": %.5g, \"spread_us\": %.3g}\n",
                config, c->layout, i == r->search.default_index ? "true" : "false", c->estimate_us,
                paro_candidate_state_name(is_timed ? PARO_CANDIDATE_TIMED : l->fault),
                is_timed ? l->medians[l->n / 2] : 0, is_timed ? l->spread_us / (double)l->n : 0);
    }
    return fclose(file);
}

static bool take_winner(void *context, const paro_cache_winner *winner)
{
    recorder *r = context;
    if (strcmp(winner->problem, r->text) == 0 && r->n_winners < MOST_RUNS)
        snprintf(r->winners[r->n_winners++], sizeof r->winners[0], "%s", winner->config);
    return true;
}

static bool take_device(void *context, const paro_cache_winner *winner)
{
    recorder *r = context;
    unsigned capability = 0;
    bool exact;
    paro_device_info device;
    if (sscanf(winner->device_class, "cc%u", &capability) != 1 || r->search.n > 0)
        return true;
    const paro_arch *arch = paro_arch_for_capability(capability, &exact);
    if (arch == NULL)
        return true;
    paro_device_typical(arch, &device);
    snprintf(r->device, sizeof r->device, "%s", winner->device);
    return paro_search_new(NULL, r->problem, arch, &device, &r->search) != PARO_STATUS_OK;
}

static paro_status read_cache(paro_error *err, recorder *r, const char *path, bool is_exhaustive)
{
    paro_cache *cache = NULL;
    const paro_cache_options options = {.path = path, .read_only = true};
    paro_status status = paro_cache_open(err, &options, &cache);
    if (status == PARO_STATUS_OK)
        status = paro_cache_each_winner(err, cache, NULL, NULL,
                                        is_exhaustive ? take_device : take_winner, r);
    if (status == PARO_STATUS_OK && is_exhaustive) {
        r->looks = calloc(r->search.n + 1, sizeof *r->looks);
        status = r->looks == NULL || r->search.n == 0
                     ? paro_fail(err, PARO_STATUS_NOT_FOUND, "%s: no winner of a device", path)
                     : paro_cache_each_timing(err, cache, r->text, NULL, take, r);
    }
    paro_cache_free(cache);
    return status;
}

int main(int argc, char **argv)
{
    paro_error err;
    paro_problem problem;
    static recorder r;
    if (argc < 4) {
        fprintf(stderr, "usage: record_tuning OUT.jsonl PROBLEM EXHAUSTIVE.db [DEFAULT.db]...\n");
        return 2;
    }
    r.problem = &problem;
    paro_status status = paro_problem_parse(&err, argv[2], &problem);
    if (status == PARO_STATUS_OK)
        paro_problem_print(&problem, r.text);
    for (int i = 3; i < argc && status == PARO_STATUS_OK; i++)
        status = read_cache(&err, &r, argv[i], i == 3);
    if (status != PARO_STATUS_OK)
        fprintf(stderr, "%s\n", err.message);
    else if (write_recording(&r, argv[1]) != 0)
        perror(argv[1]);
    paro_search_release(&r.search);
    free(r.looks);
    return status != PARO_STATUS_OK;
}
