/* SPDX-License-Identifier: MIT
 *
 * Strategies and the rule that chooses a winner. See tuner.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/tuner.h"

/* ---- candidates -------------------------------------------------------------------------------
 */

const char *paro_candidate_state_name(paro_candidate_state state)
{
    static const char *const names[] = {"new",     "timed", "wrong", "refused",
                                        "crashed", "hung",  "pruned"};
    return (size_t)state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void paro_measurement_set_samples(paro_measurement *m, double *samples, uint32_t n)
{
    qsort(samples, n, sizeof *samples, compare_doubles);
    m->state = PARO_CANDIDATE_TIMED;
    m->reason[0] = '\0';
    m->n_samples = n;
    m->min_us = samples[0];
    m->median_us = n % 2 == 1 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2;
    m->spread_us = samples[(size_t)((n - 1) * 0.9 + 0.5)] - samples[(size_t)((n - 1) * 0.1 + 0.5)];
}

typedef struct collection {
    const paro_problem *problem;
    const paro_device_info *device;
    paro_search *search;
    size_t capacity;
    bool out_of_memory;
} collection;

static bool add_candidate(void *context, const paro_kernel_config *config)
{
    collection *c = context;
    const paro_family *family = c->problem->family;
    paro_search *s = c->search;
    if (s->n == c->capacity) {
        size_t capacity = c->capacity == 0 ? 64 : 2 * c->capacity;
        paro_candidate *grown = realloc(s->candidates, capacity * sizeof *grown);
        if (grown == NULL) {
            c->out_of_memory = true;
            return false;
        }
        s->candidates = grown;
        c->capacity = capacity;
    }
    paro_candidate *candidate = &s->candidates[s->n++];
    memset(candidate, 0, sizeof *candidate);
    candidate->config = *config;
    candidate->layout = family->layout != NULL ? family->layout(c->problem, config) : "";
    candidate->estimate_us = family->estimate_us(c->problem, config, c->device);
    return true;
}

paro_status paro_search_new(paro_error *err, const paro_problem *problem, const paro_arch *arch,
                            const paro_device_info *device, paro_search *out)
{
    const paro_family *family = problem->family;
    paro_search search = {0};
    collection c = {.problem = problem, .device = device, .search = &search};
    paro_kernel_config fallback;
    memset(&fallback, 0, sizeof fallback);
    family->default_config(problem, arch, &fallback);
    const char *why = family->constraint(problem, &fallback, arch);
    if (why != NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "%s: no kernel for this problem on %s: %s",
                         family->name, arch->name, why);
    paro_space_enumerate(problem, arch, add_candidate, &c);
    size_t n_params = paro_family_n_params(family), at = 0;
    while (at < search.n && memcmp(search.candidates[at].config.values, fallback.values,
                                   n_params * sizeof fallback.values[0]) != 0)
        at++;
    if (at == search.n && !c.out_of_memory)
        add_candidate(&c, &fallback);
    if (c.out_of_memory) {
        paro_search_release(&search);
        return paro_fail_memory(err, c.capacity * 2 * sizeof(paro_candidate), "candidates");
    }
    search.default_index = at;
    *out = search;
    return PARO_STATUS_OK;
}

void paro_search_release(paro_search *search)
{
    if (search == NULL)
        return;
    free(search->candidates);
    memset(search, 0, sizeof *search);
}

/* ---- the winner -------------------------------------------------------------------------------
 */

/* Of the median of n samples, if they are normal: 1.25 sigma / sqrt(n), where the 10th and 90th
 * percentile are 2.56 sigma apart. */
static double median_error(const paro_measurement *m)
{
    return 1.25 * m->spread_us / 2.56 / sqrt((double)(m->n_samples > 0 ? m->n_samples : 1));
}

static bool of_layout(const paro_candidate *c, const char *layout)
{
    return layout == NULL || strcmp(c->layout, layout) == 0;
}

/* CUPTI's records count in steps of 32 ns, and the medians of one kernel, looked at again, are up
 * to two steps apart (seen on an H100 and an H200): two steps are no difference. */
static const double clock_grain_us = 0.07;

size_t paro_choose_winner(const paro_search *s, const char *layout, uint32_t *n_ties)
{
    size_t best = SIZE_MAX, winner = SIZE_MAX;
    uint32_t n = 0, most = 0;
    /* A median of few samples is no match for one of many: only those measured to the end count. */
    for (size_t i = 0; i < s->n; i++)
        if (s->candidates[i].found.state == PARO_CANDIDATE_TIMED &&
            of_layout(&s->candidates[i], layout) && s->candidates[i].found.n_samples > most)
            most = s->candidates[i].found.n_samples;
    for (size_t i = 0; i < s->n; i++) {
        const paro_measurement *m = &s->candidates[i].found;
        if (m->state != PARO_CANDIDATE_TIMED || !of_layout(&s->candidates[i], layout) ||
            2 * m->n_samples < most)
            continue;
        if (best == SIZE_MAX || m->median_us < s->candidates[best].found.median_us)
            best = i;
    }
    for (size_t i = 0; best != SIZE_MAX && i < s->n; i++) {
        const paro_measurement *m = &s->candidates[i].found;
        const paro_measurement *b = &s->candidates[best].found;
        if (m->state != PARO_CANDIDATE_TIMED || !of_layout(&s->candidates[i], layout) ||
            2 * m->n_samples < most)
            continue;
        double noise = 2 * hypot(median_error(m), median_error(b));
        if (m->median_us - b->median_us >
            fmax(clock_grain_us, fmax(0.01 * b->median_us, fmin(noise, 0.03 * b->median_us))))
            continue;
        n++;
        if (winner == SIZE_MAX || i == s->default_index)
            winner = i;
    }
    if (n_ties != NULL)
        *n_ties = n > 0 ? n - 1 : 0;
    return winner;
}

/* ---- strategies -------------------------------------------------------------------------------
 */

static paro_status measure(paro_error *err, paro_search *s, size_t i, uint32_t n_samples)
{
    paro_measurement m;
    memset(&m, 0, sizeof m);
    paro_status status = s->runner->measure(err, s->runner->context, i, n_samples, &m);
    if (status == PARO_STATUS_OK)
        s->candidates[i].found = m;
    return status;
}

static void prune_nothing(paro_search *s)
{
    (void)s;
}

enum { FIRST_SAMPLES = 5, SECOND_SAMPLES = 15, LAST_SAMPLES = 40 };

/* Estimates are good to a factor, not more; and no more candidates than a second or two of all
 * cores compile. */
enum { MOST_CANDIDATES = 96 };
static const double most_estimate = 4.0;

typedef struct ranked {
    double key;
    size_t index;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static void prune_by_estimate(paro_search *s)
{
    ranked *order = calloc(s->n > 0 ? s->n : 1, sizeof *order);
    if (order == NULL)
        return; /* more work, no other result */
    for (size_t i = 0; i < s->n; i++)
        order[i] = (ranked){.key = s->candidates[i].estimate_us, .index = i};
    qsort(order, s->n, sizeof *order, compare_ranked);
    for (size_t r = 0; r < s->n; r++) {
        paro_candidate *c = &s->candidates[order[r].index];
        /* Ranks count within a layout: each layout needs its winner. */
        size_t rank = 0;
        double best = 0;
        for (size_t before = 0; before < r; before++)
            if (strcmp(s->candidates[order[before].index].layout, c->layout) == 0) {
                if (rank == 0)
                    best = order[before].key;
                rank++;
            }
        if (order[r].index == s->default_index || rank == 0 || c->found.state != PARO_CANDIDATE_NEW)
            continue;
        if (rank >= MOST_CANDIDATES || order[r].key > most_estimate * best)
            c->found.state = PARO_CANDIDATE_PRUNED;
    }
    free(order);
}

/* Those to go on with: timed, within `factor` of their layout's best, at most `most` of a layout.
 */
static size_t survivors(const paro_search *s, double factor, size_t most, ranked *out)
{
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->candidates[i].found.state == PARO_CANDIDATE_TIMED)
            out[n++] = (ranked){.key = s->candidates[i].found.median_us, .index = i};
    qsort(out, n, sizeof *out, compare_ranked);
    for (size_t r = 0; r < n; r++) {
        size_t i = out[r].index, rank = 0;
        double best = out[r].key;
        for (size_t before = 0; before < n && before < r; before++) {
            size_t other = out[before].index;
            if (other != SIZE_MAX &&
                strcmp(s->candidates[other].layout, s->candidates[i].layout) == 0) {
                if (rank == 0)
                    best = out[before].key;
                rank++;
            }
        }
        if (i != s->default_index && (rank >= most || out[r].key > factor * best))
            out[r].index = SIZE_MAX;
    }
    for (size_t r = 0; r < n; r++)
        if (out[r].index != SIZE_MAX)
            out[kept++] = out[r];
    return kept;
}

/* Times drift between one look and the next, by more than the samples of one look show. So those
 * that may still win are looked at in turns, and the median of their medians counts. Of many alike
 * the first in the space's order are among them, for they win ties: two runs then agree. */
enum { FASTEST = 3, FIRST_ALIKE = 5, FINAL_TURNS = 5, FINAL_SAMPLES = 20 };
static const double alike = 1.025;

static int compare_indexes(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

/* The finalists of every layout; their number. */
static size_t finalists(const paro_search *s, ranked *order)
{
    size_t n = survivors(s, alike, s->n, order), kept = 0;
    for (size_t r = 0; r < n; r++) { /* in order of time: those that rank low are marked */
        size_t n_faster = 0, n_earlier = 0;
        for (size_t other = 0; other < n; other++) {
            if (strcmp(s->candidates[order[other].index].layout,
                       s->candidates[order[r].index].layout) != 0)
                continue;
            n_faster += other < r;
            n_earlier += order[other].index < order[r].index;
        }
        order[r].key =
            n_faster < FASTEST || n_earlier < FIRST_ALIKE || order[r].index == s->default_index ? 1
                                                                                                : 0;
    }
    for (size_t r = 0; r < n; r++)
        if (order[r].key > 0)
            order[kept++] = order[r];
    qsort(order, kept, sizeof *order, compare_indexes);
    return kept;
}

static paro_status run_finals(paro_error *err, paro_search *s, ranked *order)
{
    const size_t n = finalists(s, order);
    paro_status status = PARO_STATUS_OK;
    if (n < 2)
        return PARO_STATUS_OK;
    double(*medians)[FINAL_TURNS] = calloc(n, sizeof *medians);
    paro_measurement *sums = calloc(n, sizeof *sums);
    if (medians == NULL || sums == NULL) {
        status = paro_fail_memory(err, n * (sizeof *medians + sizeof *sums), "finals");
        goto done;
    }
    for (size_t turn = 0; turn < FINAL_TURNS; turn++)
        for (size_t r = 0; r < n; r++) {
            const size_t i = order[r].index;
            if (s->candidates[i].found.state != PARO_CANDIDATE_TIMED)
                continue; /* failed in a turn before */
            status = measure(err, s, i, FINAL_SAMPLES);
            if (status != PARO_STATUS_OK)
                goto done;
            const paro_measurement *m = &s->candidates[i].found;
            medians[r][turn] = m->median_us;
            sums[r].spread_us += m->spread_us / FINAL_TURNS;
            sums[r].n_samples += m->n_samples;
            sums[r].min_us = turn == 0 ? m->min_us : fmin(sums[r].min_us, m->min_us);
        }
    for (size_t r = 0; r < n; r++) {
        paro_measurement *m = &s->candidates[order[r].index].found;
        if (m->state != PARO_CANDIDATE_TIMED)
            continue;
        qsort(medians[r], FINAL_TURNS, sizeof medians[r][0], compare_doubles);
        m->median_us = medians[r][FINAL_TURNS / 2];
        m->spread_us = sums[r].spread_us;
        m->min_us = sums[r].min_us;
        m->n_samples = sums[r].n_samples;
    }
done:
    free(sums);
    free(medians);
    return status;
}

static paro_status run_exhaustive(paro_error *err, paro_search *s)
{
    paro_status status = PARO_STATUS_OK;
    ranked *order = calloc(s->n > 0 ? s->n : 1, sizeof *order);
    if (order == NULL)
        return paro_fail_memory(err, s->n * sizeof *order, "candidates");
    for (size_t i = 0; i < s->n && status == PARO_STATUS_OK; i++)
        if (s->candidates[i].found.state == PARO_CANDIDATE_NEW)
            status = measure(err, s, i, LAST_SAMPLES);
    if (status == PARO_STATUS_OK)
        status = run_finals(err, s, order);
    free(order);
    return status;
}

static paro_status run_halving(paro_error *err, paro_search *s)
{
    static const struct {
        double factor;
        size_t most;
        uint32_t n_samples;
    } rounds[] = {{1.3, 24, SECOND_SAMPLES}, {1.1, 12, SECOND_SAMPLES}};
    paro_status status = PARO_STATUS_OK;
    ranked *order = calloc(s->n > 0 ? s->n : 1, sizeof *order);
    if (order == NULL)
        return paro_fail_memory(err, s->n * sizeof *order, "candidates");
    for (size_t i = 0; i < s->n && status == PARO_STATUS_OK; i++)
        if (s->candidates[i].found.state == PARO_CANDIDATE_NEW)
            status = measure(err, s, i, FIRST_SAMPLES);
    for (size_t round = 0; round < 2 && status == PARO_STATUS_OK; round++) {
        size_t n = survivors(s, rounds[round].factor, rounds[round].most, order);
        for (size_t r = 0; r < n && status == PARO_STATUS_OK; r++)
            status = measure(err, s, order[r].index, rounds[round].n_samples);
    }
    if (status == PARO_STATUS_OK)
        status = run_finals(err, s, order);
    free(order);
    return status;
}

static const paro_strategy strategies[] = {
    {"default", "pruned by estimate, then successive halving, the last ones in turns",
     prune_by_estimate, run_halving},
    {"exhaustive", "every config that the constraints allow, the best ones in turns", prune_nothing,
     run_exhaustive},
};

const paro_strategy *paro_strategy_get(size_t n)
{
    return n < sizeof strategies / sizeof strategies[0] ? &strategies[n] : NULL;
}

const paro_strategy *paro_strategy_find(const char *name)
{
    for (size_t i = 0; i < sizeof strategies / sizeof strategies[0]; i++)
        if (strcmp(strategies[i].name, name) == 0)
            return &strategies[i];
    return NULL;
}
