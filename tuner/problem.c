/* SPDX-License-Identifier: MIT
 *
 * Tuning one problem. See session.h.
 *
 * Invariant: a measurement is in the cache before the one after the next is asked for: the write
 * goes on while the worker measures.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "tuner/session.h"

enum { MOST_LAYOUTS = 8 };

struct paro_tune_work {
    paro_tune_session *session;
    paro_problem problem;
    char text[PARO_PROBLEM_TEXT_BYTES];
    char template_hash[PARO_SHA256_HEX_BYTES];
    char winner[PARO_KERNEL_CONFIG_TEXT_BYTES];
    char clock[PARO_CLOCK_NAME_BYTES];
    char reason[PARO_ERROR_MESSAGE_BYTES];
    paro_search search;
    paro_compile_job **jobs;    /* by candidate; NULL: pruned */
    paro_measurement *recorded; /* by candidate: of an earlier run */
    bool *is_verified;
    paro_runner runner;
    /* A measurement on its way into the cache. */
    bool has_pending;
    size_t pending_index;
    paro_measurement pending;
    paro_status store_status;
    paro_error store_error;
    /* Layouts whose data the worker of this number (of workers lost) has. */
    const char *prepared[MOST_LAYOUTS];
    uint32_t prepared_m[MOST_LAYOUTS];
    size_t n_prepared;
    uint32_t prepared_by;
};

/* ---- measuring one candidate ------------------------------------------------------------------
 */

static void config_text(const paro_tune_work *w, size_t i, char out[PARO_KERNEL_CONFIG_TEXT_BYTES])
{
    paro_kernel_config_print(w->problem.family, &w->search.candidates[i].config, out);
}

static void store_pending(void *context)
{
    paro_tune_work *w = context;
    char config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    if (!w->has_pending)
        return;
    w->has_pending = false;
    config_text(w, w->pending_index, config);
    paro_status status = paro_store_timing(&w->store_error, &w->session->store, w->text, config,
                                           w->template_hash, &w->pending);
    if (status != PARO_STATUS_OK)
        w->store_status = status;
}

static paro_status keep(paro_error *err, paro_tune_work *w, size_t i, const paro_measurement *m)
{
    store_pending(w);
    if (w->store_status != PARO_STATUS_OK)
        return paro_fail(err, w->store_status, "%s", w->store_error.message);
    w->pending = *m;
    w->pending_index = i;
    w->has_pending = true;
    return PARO_STATUS_OK;
}

/* Inputs and reference for the candidate's layout, once for each worker. */
static paro_status prepare(paro_error *err, paro_tune_work *w, paro_process_request *q,
                           const char *layout)
{
    paro_process *process = w->session->process;
    if (paro_process_n_lost(process) != w->prepared_by) {
        w->n_prepared = 0;
        w->prepared_by = paro_process_n_lost(process);
    }
    for (size_t i = 0; i < w->n_prepared; i++)
        if (strcmp(w->prepared[i], layout) == 0 && w->prepared_m[i] == q->m)
            return PARO_STATUS_OK;
    paro_status status = paro_process_prepare(err, process, q);
    if (status == PARO_STATUS_OK && w->n_prepared < MOST_LAYOUTS) {
        w->prepared_m[w->n_prepared] = q->m;
        w->prepared[w->n_prepared++] = layout;
    }
    return status;
}

static paro_status ask(paro_error *err, paro_tune_work *w, size_t i, uint32_t m, uint32_t n_samples,
                       bool verify, paro_measurement *out)
{
    char config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    config_text(w, i, config);
    paro_process_request q = {
        .problem = w->text,
        .config = config,
        .m = m,
        .seed = w->session->seed | (n_samples == 0), /* even to time, odd to verify: family.h */
        .n_samples = n_samples,
        .verify = verify,
        .image = paro_compile_job_image(w->jobs[i]),
    };
    paro_status status = prepare(err, w, &q, w->search.candidates[i].layout);
    if (status != PARO_STATUS_OK)
        return status;
    return paro_process_measure(err, w->session->process, &q, store_pending, w, out);
}

static void refuse(paro_measurement *m, const char *why)
{
    memset(m, 0, sizeof *m);
    m->state = PARO_CANDIDATE_REFUSED;
    snprintf(m->reason, sizeof m->reason, "%.*s", PARO_REASON_BYTES - 1, why);
    paro_text_make_printable(m->reason, sizeof m->reason);
}

/* The tokens of a problem for a request; 0 for families without. */
static uint32_t tokens_of(const paro_problem *problem)
{
    int64_t m = paro_problem_get(problem, "m");
    return m > 0 ? (uint32_t)m : 0;
}

static paro_status measure(paro_error *err, void *context, size_t i, uint32_t n_samples,
                           paro_measurement *out)
{
    paro_tune_work *w = context;
    paro_tune_session *s = w->session;
    paro_measurement m;
    memset(&m, 0, sizeof m);
    paro_status status = paro_report(err, s->options->observer, "tune", s->n_done, s->n_total);
    if (status != PARO_STATUS_OK)
        return status;
    const paro_measurement *recorded = &w->recorded[i];
    if (recorded->state != PARO_CANDIDATE_NEW &&
        (recorded->state != PARO_CANDIDATE_TIMED || recorded->n_samples >= n_samples)) {
        *out = *recorded;
        return PARO_STATUS_OK;
    }
    paro_compile_job *job = w->jobs[i];
    paro_compiler_wait(s->compiler, job);
    if (job->status != PARO_STATUS_OK) {
        refuse(&m, job->error.message);
    } else if (job->spill_bytes > 0) {
        char why[64];
        snprintf(why, sizeof why, "spills %u bytes of registers", job->spill_bytes);
        refuse(&m, why);
    } else {
        status = ask(err, w, i, tokens_of(&w->problem), n_samples, !w->is_verified[i], &m);
        if (status != PARO_STATUS_OK)
            return status;
        w->is_verified[i] = true;
    }
    status = keep(err, w, i, &m);
    if (status == PARO_STATUS_OK)
        *out = m;
    return status;
}

/* ---- beginning --------------------------------------------------------------------------------
 */

paro_status paro_tune_work_begin(paro_error *err, paro_tune_session *session,
                                 const paro_problem *problem, paro_tune_work **out)
{
    const paro_process_info *info = paro_process_get_info(session->process);
    paro_tune_work *w = calloc(1, sizeof *w);
    if (w == NULL)
        return paro_fail_memory(err, sizeof *w, "a problem");
    w->session = session;
    w->problem = *problem;
    w->runner = (paro_runner){w, measure};
    w->prepared_by = paro_process_n_lost(session->process);
    paro_problem_print(problem, w->text);
    paro_status status = paro_template_hash(err, problem->family, w->template_hash);
    if (status == PARO_STATUS_OK)
        status = paro_search_new(err, &w->problem, &session->arch, &info->device, &w->search);
    if (status != PARO_STATUS_OK)
        goto done;
    w->search.runner = &w->runner;
    w->jobs = calloc(w->search.n, sizeof *w->jobs);
    w->recorded = calloc(w->search.n, sizeof *w->recorded);
    w->is_verified = calloc(w->search.n, sizeof *w->is_verified);
    if (w->jobs == NULL || w->recorded == NULL || w->is_verified == NULL) {
        status = paro_fail_memory(err, w->search.n * sizeof *w->recorded, "candidates");
        goto done;
    }
    if (!session->options->again) {
        status = paro_store_recall(err, &session->store, w->text, w->template_hash, problem->family,
                                   w->search.candidates, w->search.n, info->clock, w->recorded);
        if (status != PARO_STATUS_OK)
            goto done;
    }
    session->strategy->prune(&w->search);
    for (size_t i = 0; i < w->search.n && status == PARO_STATUS_OK; i++)
        if (w->search.candidates[i].found.state != PARO_CANDIDATE_PRUNED)
            status = paro_compiler_submit(err, session->compiler, &w->problem,
                                          &w->search.candidates[i].config, &session->arch,
                                          session->wants_ptx, &w->jobs[i]);
done:
    if (status != PARO_STATUS_OK) {
        paro_tune_work_free(w);
        return status;
    }
    *out = w;
    return PARO_STATUS_OK;
}

void paro_tune_work_free(paro_tune_work *w)
{
    if (w == NULL)
        return;
    store_pending(w);
    for (size_t i = 0; w->jobs != NULL && i < w->search.n; i++)
        paro_compiler_release(w->session->compiler, w->jobs[i]);
    free(w->jobs);
    free(w->recorded);
    free(w->is_verified);
    paro_search_release(&w->search);
    free(w);
}

/* ---- winners ----------------------------------------------------------------------------------
 */

/* A winner is right on other data too, with fewer tokens than the bucket's where it has several. */
static paro_status verify_other(paro_error *err, paro_tune_work *w, size_t i, bool *is_right)
{
    uint32_t m = tokens_of(&w->problem);
    uint32_t fewer = m <= 2 ? 1 : m / 2 + 1;
    paro_measurement found;
    *is_right = true;
    if (m == 0)
        return PARO_STATUS_OK;
    paro_compiler_wait(w->session->compiler, w->jobs[i]);
    paro_status status = ask(err, w, i, fewer, 0, true, &found);
    if (status != PARO_STATUS_OK || found.state == PARO_CANDIDATE_TIMED)
        return status;
    *is_right = false;
    found.n_samples = 0;
    w->search.candidates[i].found = found;
    return keep(err, w, i, &found);
}

/* The winner of a layout (NULL: any), verified; SIZE_MAX where there is none. */
static paro_status choose(paro_error *err, paro_tune_work *w, const char *layout, size_t *out,
                          uint32_t *n_ties)
{
    bool is_right = false;
    size_t i = SIZE_MAX;
    while (!is_right) {
        i = paro_choose_winner(&w->search, layout, n_ties);
        if (i == SIZE_MAX)
            break;
        paro_status status = verify_other(err, w, i, &is_right);
        if (status != PARO_STATUS_OK)
            return status;
    }
    *out = i;
    return PARO_STATUS_OK;
}

static paro_status put_winner(paro_error *err, paro_tune_work *w, size_t i, uint32_t n_ties,
                              uint32_t n_candidates)
{
    const paro_measurement *fallback = &w->search.candidates[w->search.default_index].found;
    /* A recalled winner may not have been needed compiled so far. */
    paro_compiler_wait(w->session->compiler, w->jobs[i]);
    if (w->jobs[i]->status != PARO_STATUS_OK)
        return paro_fail(err, w->jobs[i]->status, "%s", w->jobs[i]->error.message);
    paro_store_winner winner = {
        .problem = w->text,
        .template_hash = w->template_hash,
        .layout = w->search.candidates[i].layout,
        .family = w->problem.family,
        .config = &w->search.candidates[i].config,
        .found = &w->search.candidates[i].found,
        .fallback = fallback->state == PARO_CANDIDATE_TIMED ? fallback : NULL,
        .n_candidates = n_candidates,
        .n_ties = n_ties,
        .job = w->jobs[i],
    };
    return paro_store_put_winner(err, &w->session->store, &winner);
}

/* What was never run, with why: after this every candidate has a row. */
static paro_status put_pruned(paro_error *err, paro_tune_work *w)
{
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < w->search.n && status == PARO_STATUS_OK; i++) {
        const paro_candidate *c = &w->search.candidates[i];
        char config[PARO_KERNEL_CONFIG_TEXT_BYTES];
        paro_measurement m;
        if (c->found.state != PARO_CANDIDATE_PRUNED)
            continue;
        memset(&m, 0, sizeof m);
        m.state = PARO_CANDIDATE_PRUNED;
        snprintf(m.reason, sizeof m.reason, "estimated at %.3g us", c->estimate_us);
        config_text(w, i, config);
        status = paro_store_timing(err, &w->session->store, w->text, config, w->template_hash, &m);
    }
    return status;
}

/* The winner of every layout and its kernel, and the pruned, in one transaction. *best is the
 * fastest of the winners (SIZE_MAX: there is none), as paro_cache_get_winner has it. */
static paro_status store_winners(paro_error *err, paro_tune_work *w, uint32_t n_candidates,
                                 size_t *best, uint32_t *n_ties)
{
    paro_cache *cache = w->session->store.cache;
    size_t winners[MOST_LAYOUTS], n = 0, fastest = 0;
    uint32_t ties[MOST_LAYOUTS];
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < w->search.n && n < MOST_LAYOUTS; i++) {
        const char *layout = w->search.candidates[i].layout;
        size_t before = 0;
        while (before < i && strcmp(w->search.candidates[before].layout, layout) != 0)
            before++;
        if (before < i)
            continue;
        status = choose(err, w, layout, &winners[n], &ties[n]);
        if (status != PARO_STATUS_OK)
            return status;
        n += winners[n] != SIZE_MAX;
    }
    store_pending(w);
    if (w->store_status != PARO_STATUS_OK)
        return paro_fail(err, w->store_status, "%s", w->store_error.message);
    status = paro_cache_begin(err, cache);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++)
        status = put_winner(err, w, winners[i], ties[i], n_candidates);
    if (status == PARO_STATUS_OK)
        status = put_pruned(err, w);
    if (status == PARO_STATUS_OK)
        status = paro_cache_commit(err, cache);
    if (status != PARO_STATUS_OK) {
        paro_cache_rollback(cache);
        return status;
    }
    for (size_t i = 1; i < n; i++)
        if (w->search.candidates[winners[i]].found.median_us <
            w->search.candidates[winners[fastest]].found.median_us)
            fastest = i;
    *best = n > 0 ? winners[fastest] : SIZE_MAX;
    *n_ties = n > 0 ? ties[fastest] : 0;
    return PARO_STATUS_OK;
}

static void count(const paro_search *s, paro_tune_row *row)
{
    uint32_t n[PARO_CANDIDATE_STATE_COUNT] = {0};
    for (size_t i = 0; i < s->n; i++)
        n[s->candidates[i].found.state]++;
    row->n_candidates = (uint32_t)s->n;
    row->n_timed = n[PARO_CANDIDATE_TIMED];
    row->n_wrong = n[PARO_CANDIDATE_WRONG];
    row->n_refused = n[PARO_CANDIDATE_REFUSED];
    row->n_crashed = n[PARO_CANDIDATE_CRASHED];
    row->n_hung = n[PARO_CANDIDATE_HUNG];
    row->n_pruned = n[PARO_CANDIDATE_PRUNED];
}

/* Why there is no winner: what was wrong with the default. */
static void explain(paro_tune_work *w)
{
    const paro_measurement *m = &w->search.candidates[w->search.default_index].found;
    snprintf(w->reason, sizeof w->reason, "no candidate ran right; the default was %s: %s",
             paro_candidate_state_name(m->state), m->reason);
}

double paro_tune_floor_us(const paro_tune_session *session, const paro_problem *problem)
{
    const double read_gbs = paro_process_get_info(session->process)->read_gbs;
    paro_cost cost = {0};
    problem->family->cost(problem, &cost);
    return read_gbs > 0 ? cost.bytes / read_gbs / 1e3 : 0;
}

paro_status paro_tune_work_run(paro_error *err, paro_tune_work *w, paro_tune_row *row)
{
    const paro_process_info *info = paro_process_get_info(w->session->process);
    double start = paro_clock_seconds();
    uint32_t n_ties = 0;
    size_t winner = SIZE_MAX;
    paro_tune_row found = {.problem = w->text, .layout = "", .clock = info->clock};
    paro_status status = w->session->strategy->run(err, &w->search);
    if (status == PARO_STATUS_OK)
        status = store_winners(err, w, (uint32_t)w->search.n, &winner, &n_ties);
    if (status != PARO_STATUS_OK)
        return status;
    count(&w->search, &found);
    found.seconds = paro_clock_seconds() - start;
    if (winner == SIZE_MAX) {
        explain(w);
        found.reason = w->reason;
        *row = found;
        return PARO_STATUS_OK;
    }
    const paro_measurement *m = &w->search.candidates[winner].found;
    const paro_measurement *fallback = &w->search.candidates[w->search.default_index].found;
    config_text(w, winner, w->winner);
    snprintf(w->clock, sizeof w->clock, "%s", m->clock);
    found.config = w->winner;
    found.clock = w->clock;
    found.layout = w->search.candidates[winner].layout;
    found.median_us = m->median_us;
    found.spread_us = m->spread_us;
    found.default_us = fallback->state == PARO_CANDIDATE_TIMED ? fallback->median_us : 0;
    found.floor_us = paro_tune_floor_us(w->session, &w->problem);
    found.occupancy = m->occupancy;
    found.n_ties = n_ties;
    *row = found;
    return PARO_STATUS_OK;
}
