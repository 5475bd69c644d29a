/* SPDX-License-Identifier: MIT
 *
 * Recordings for tests/recording.h, from a cache that `paro tune --strategy exhaustive` filled: for
 * each problem given a file FOLDER/N.jsonl with the timing of most samples of every config.
 *
 *     record_tuning CACHE FOLDER PROBLEM...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "tuner/tuner.h"

typedef struct run {
    const paro_problem *problem;
    paro_search search;
    uint32_t capability;
    char clock[16];
} run;

static bool take(void *context, const paro_cache_timing *row)
{
    run *r = context;
    paro_kernel_config config;
    memset(&config, 0, sizeof config);
    if (paro_kernel_config_parse(NULL, r->problem->family, row->config, &config) != PARO_STATUS_OK)
        return true;
    size_t n_params = paro_family_n_params(r->problem->family);
    for (size_t i = 0; i < r->search.n; i++) {
        paro_measurement *m = &r->search.candidates[i].found;
        if (memcmp(config.values, r->search.candidates[i].config.values,
                   n_params * sizeof config.values[0]) != 0 ||
            (m->state != PARO_CANDIDATE_NEW && m->n_samples >= row->n_samples))
            continue;
        for (int s = 0; s < PARO_CANDIDATE_STATE_COUNT; s++)
            if (strcmp(paro_candidate_state_name((paro_candidate_state)s), row->state) == 0)
                m->state = (paro_candidate_state)s;
        m->median_us = row->median_us;
        m->spread_us = row->spread_us;
        m->n_samples = row->n_samples;
        snprintf(r->clock, sizeof r->clock, "%s", row->clock);
    }
    return true;
}

static bool take_winner(void *context, const paro_cache_winner *winner)
{
    run *r = context;
    unsigned capability = 0;
    if (sscanf(winner->device_class, "cc%u", &capability) == 1)
        r->capability = capability;
    return true;
}

static int write_recording(const run *r, const char *path)
{
    char text[PARO_PROBLEM_TEXT_BYTES], config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return 1;
    paro_problem_print(r->problem, text);
    fprintf(file,
            "{\"recording\": 1, \"problem\": \"%s\", \"capability\": %u, \"clock\": \"%s\"}\n",
            text, r->capability, r->clock);
    for (size_t i = 0; i < r->search.n; i++) {
        const paro_candidate *c = &r->search.candidates[i];
        if (c->found.state == PARO_CANDIDATE_NEW)
            continue;
        paro_kernel_config_print(r->problem->family, &c->config, config);
        fprintf(file,
                "{\"config\": \"%s\", \"layout\": \"%s\", \"default\": %s, \"estimate_us\": %.4g, "
                "\"state\": \"%s\", \"median_us\": %.6g, \"spread_us\": %.4g}\n",
                config, c->layout, i == r->search.default_index ? "true" : "false", c->estimate_us,
                paro_candidate_state_name(c->found.state), c->found.median_us, c->found.spread_us);
    }
    return fclose(file);
}

int main(int argc, char **argv)
{
    paro_error err;
    paro_cache *cache = NULL;
    if (argc < 4) {
        fprintf(stderr, "usage: record_tuning CACHE FOLDER PROBLEM...\n");
        return 2;
    }
    const paro_cache_options options = {.path = argv[1], .read_only = true};
    if (paro_cache_open(&err, &options, &cache) != PARO_STATUS_OK)
        goto failed;
    for (int i = 3; i < argc; i++) {
        run r = {0};
        paro_problem problem;
        paro_device_info device;
        char text[PARO_PROBLEM_TEXT_BYTES], path[4096];
        bool exact;
        if (paro_problem_parse(&err, argv[i], &problem) != PARO_STATUS_OK)
            goto failed;
        r.problem = &problem;
        paro_problem_print(&problem, text);
        if (paro_cache_each_winner(&err, cache, NULL, NULL, take_winner, &r) != PARO_STATUS_OK)
            goto failed;
        const paro_arch *arch = paro_arch_for_capability(r.capability, &exact);
        if (arch == NULL) {
            fprintf(stderr, "no winner of a device\n");
            return 1;
        }
        paro_device_typical(arch, &device);
        if (paro_search_new(&err, &problem, arch, &device, &r.search) != PARO_STATUS_OK ||
            paro_cache_each_timing(&err, cache, text, NULL, take, &r) != PARO_STATUS_OK)
            goto failed;
        snprintf(path, sizeof path, "%s/%d.jsonl", argv[2], i - 3);
        if (write_recording(&r, path) != 0) {
            perror(path);
            return 1;
        }
        paro_search_release(&r.search);
    }
    paro_cache_free(cache);
    return 0;
failed:
    fprintf(stderr, "%s\n", err.message);
    return 1;
}
