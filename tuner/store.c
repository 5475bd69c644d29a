/* SPDX-License-Identifier: MIT
 *
 * See store.h.
 */
#include "tuner/store.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

enum { RECALL_SECONDS = 24 * 60 * 60 };

paro_status paro_store_timing(paro_error *err, const paro_store *store, const char *problem,
                              const char *config, const char *template_hash,
                              const paro_measurement *m)
{
    paro_cache_timing row = {
        .problem = problem,
        .device_class = store->device_class,
        .config = config,
        .state = paro_candidate_state_name(m->state),
        .reason = m->reason,
        .median_us = m->median_us,
        .spread_us = m->spread_us,
        .min_us = m->min_us,
        .n_samples = m->n_samples,
        .clock_mhz = m->clock_mhz,
        .clock = m->clock,
        .error = m->error,
        .measured_at = (int64_t)time(NULL),
    };
    snprintf(row.template_hash, sizeof row.template_hash, "%s", template_hash);
    return paro_cache_put_timing(err, store->cache, &row);
}

/* The source's signature as JSON, "" where it cannot be told. */
static void describe(const paro_store *store, const paro_compile_job *job, paro_buffer *out)
{
    paro_arena arena = {0};
    paro_signature signature = {0};
    paro_error err = {0};
    if (store->checker != NULL) {
        paro_status status = paro_checker_check(&err, store->checker, job->source.data,
                                                job->source.n_bytes, &arena, &signature);
        if (status == PARO_STATUS_OK)
            status = paro_signature_print(&err, &signature, out);
        if (status != PARO_STATUS_OK) {
            paro_buffer_clear(out);
            paro_log(store->observer, PARO_LOG_LEVEL_WARNING, "no signature: %s", err.message);
        }
    }
    paro_arena_release(&arena);
}

static paro_status put_kernel(paro_error *err, const paro_store *store,
                              const paro_store_winner *winner, const char *key)
{
    const paro_compile_job *job = winner->job;
    paro_buffer signature = {0};
    describe(store, job, &signature);
    paro_cache_kernel row = {
        .family = winner->family->name,
        .arch = job->target,
        .nvrtc = store->nvrtc,
        .signature = signature.n_bytes > 0 ? signature.data : "",
        .resources = job->resources.n_bytes > 0 ? job->resources.data : "",
        .binary = job->binary.data,
        .n_bytes = job->binary.n_bytes,
        .is_ptx = job->binary.is_ptx,
    };
    snprintf(row.key, sizeof row.key, "%s", key);
    paro_sha256_hex(job->source.data, job->source.n_bytes, row.source_hash);
    paro_status status = paro_cache_put_kernel(err, store->cache, &row);
    paro_buffer_free(&signature);
    return status;
}

paro_status paro_store_put_winner(paro_error *err, const paro_store *store,
                                  const paro_store_winner *winner)
{
    char config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    static const paro_measurement none = {0};
    const paro_measurement *found = winner->found != NULL ? winner->found : &none;
    paro_kernel_config_print(winner->family, winner->config, config);
    paro_cache_winner row = {
        .problem = winner->problem,
        .device_class = store->device_class,
        .layout = winner->layout,
        .config = config,
        .median_us = found->median_us,
        .spread_us = found->spread_us,
        .default_us = winner->fallback != NULL ? winner->fallback->median_us : 0,
        .n_samples = found->n_samples,
        .clock_mhz = found->clock_mhz,
        .clock = found->clock,
        .device = store->device,
        .driver = store->driver,
        .strategy = store->strategy,
        .n_candidates = winner->n_candidates,
        .n_ties = winner->n_ties,
        .tuned_at = (int64_t)time(NULL),
    };
    snprintf(row.template_hash, sizeof row.template_hash, "%s", winner->template_hash);
    if (winner->job->has_binary) {
        paro_kernel_key(winner->job->source.data, winner->job->target, store->nvrtc, row.kernel);
        paro_status status = put_kernel(err, store, winner, row.kernel);
        if (status != PARO_STATUS_OK)
            return status;
    } else { /* the emulator's: code is the source */
        paro_sha256_hex(winner->job->source.data, winner->job->source.n_bytes, row.kernel);
    }
    return paro_cache_put_winner(err, store->cache, &row);
}

/* ---- an earlier run ---------------------------------------------------------------------------
 */

typedef struct recall {
    const char *template_hash;
    const char *clock;
    const paro_family *family;
    const paro_candidate *candidates;
    size_t n;
    paro_measurement *recorded;
    int64_t oldest;
} recall;

static paro_candidate_state state_of(const char *name)
{
    for (int i = 0; i < PARO_CANDIDATE_STATE_COUNT; i++)
        if (strcmp(paro_candidate_state_name((paro_candidate_state)i), name) == 0)
            return (paro_candidate_state)i;
    return PARO_CANDIDATE_NEW;
}

static bool recall_row(void *context, const paro_cache_timing *row)
{
    recall *r = context;
    paro_kernel_config config;
    memset(&config, 0, sizeof config);
    paro_candidate_state state = state_of(row->state);
    if (row->measured_at < r->oldest || strcmp(row->template_hash, r->template_hash) != 0 ||
        state == PARO_CANDIDATE_NEW || state == PARO_CANDIDATE_PRUNED ||
        state == PARO_CANDIDATE_REFUSED || /* cheap to see again, and its cause may be gone */
        (state == PARO_CANDIDATE_TIMED && strcmp(row->clock, r->clock) != 0) ||
        paro_kernel_config_parse(NULL, r->family, row->config, &config) != PARO_STATUS_OK)
        return true;
    size_t n_params = paro_family_n_params(r->family);
    for (size_t i = 0; i < r->n; i++) {
        if (memcmp(config.values, r->candidates[i].config.values,
                   n_params * sizeof config.values[0]) != 0)
            continue;
        paro_measurement *m = &r->recorded[i];
        bool is_timed = state == PARO_CANDIDATE_TIMED;
        if (m->state != PARO_CANDIDATE_NEW && is_timed &&
            (m->state != PARO_CANDIDATE_TIMED || m->n_samples >= row->n_samples))
            continue; /* a fault counts more than a time */
        memset(m, 0, sizeof *m);
        m->state = state;
        snprintf(m->reason, sizeof m->reason, "%.*s", PARO_REASON_BYTES - 1, row->reason);
        m->median_us = row->median_us;
        m->spread_us = row->spread_us;
        m->min_us = row->min_us;
        m->n_samples = row->n_samples;
        m->clock_mhz = row->clock_mhz;
        snprintf(m->clock, sizeof m->clock, "%.*s", PARO_CLOCK_NAME_BYTES - 1, row->clock);
        m->error = row->error;
    }
    return true;
}

paro_status paro_store_recall(paro_error *err, const paro_store *store, const char *problem,
                              const char *template_hash, const paro_family *family,
                              const paro_candidate *candidates, size_t n, const char *clock,
                              paro_measurement *recorded)
{
    recall r = {template_hash,
                clock,
                family,
                candidates,
                n,
                recorded,
                (int64_t)time(NULL) - RECALL_SECONDS};
    return paro_cache_each_timing(err, store->cache, problem, store->device_class, recall_row, &r);
}
