/* SPDX-License-Identifier: MIT
 *
 * A cache: two files opened, transactions, puts and gets.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cache/layer.h"
#include "cache/winners.h"

paro_status paro_cache_open(paro_error *err, const paro_cache_options *options, paro_cache **out)
{
    paro_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return paro_fail_memory(err, sizeof *cache, "a cache");
    paro_status status = PARO_STATUS_OK;
    cache->observer = options->observer;
    if (options->path != NULL)
        status = paro_cache_layer_open(
            err, options->path, options->read_only ? PARO_CACHE_MODE_READ : PARO_CACHE_MODE_WRITE,
            options->observer, &cache->layers[PARO_CACHE_USER]);
    if (status == PARO_STATUS_OK && options->system_path != NULL)
        status = paro_cache_layer_open(err, options->system_path, PARO_CACHE_MODE_IMMUTABLE,
                                       options->observer, &cache->layers[PARO_CACHE_SYSTEM]);
    if (status != PARO_STATUS_OK) {
        paro_cache_free(cache);
        return status;
    }
    *out = cache;
    return PARO_STATUS_OK;
}

void paro_cache_free(paro_cache *cache)
{
    if (cache == NULL)
        return;
    for (int i = 0; i < PARO_CACHE_LAYERS; i++)
        paro_cache_layer_close(&cache->layers[i]);
    free(cache);
}

/* ---- transactions ------------------------------------------------------------------------------
 */

static paro_status check_writable(paro_error *err, const paro_cache *cache)
{
    const paro_cache_layer *user = &cache->layers[PARO_CACHE_USER];
    if (user->path == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "cannot store in a cache without a file of the user's: open it with one");
    if (user->refusal != NULL || user->db == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "%s: cannot store here: %s", user->path,
                         user->refusal);
    if (cache->n_reading > 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: cannot store between paro_cache_read_begin and _end", user->path);
    return PARO_STATUS_OK;
}

paro_status paro_cache_begin(paro_error *err, paro_cache *cache)
{
    paro_status status = check_writable(err, cache);
    if (status == PARO_STATUS_OK && cache->is_writing)
        status = paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s: a transaction within another",
                           cache->layers[PARO_CACHE_USER].path);
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_run(err, &cache->layers[PARO_CACHE_USER], "BEGIN IMMEDIATE");
    if (status == PARO_STATUS_OK)
        cache->is_writing = true;
    return status;
}

paro_status paro_cache_commit(paro_error *err, paro_cache *cache)
{
    paro_cache_layer *user = &cache->layers[PARO_CACHE_USER];
    if (!cache->is_writing)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s: no transaction to commit",
                         user->path != NULL ? user->path : "a cache");
    if (sqlite3_get_autocommit(user->db)) {
        cache->is_writing = false;
        return paro_fail(err, PARO_STATUS_IO,
                         "%s: nothing of the transaction is stored: a write in it failed",
                         user->path);
    }
    paro_status status = paro_cache_layer_run(err, user, "COMMIT");
    if (status != PARO_STATUS_OK)
        paro_cache_rollback(cache);
    cache->is_writing = false;
    return status;
}

void paro_cache_rollback(paro_cache *cache)
{
    if (!cache->is_writing)
        return;
    sqlite3 *db = cache->layers[PARO_CACHE_USER].db;
    if (!sqlite3_get_autocommit(db))
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    cache->is_writing = false;
}

/* The system's file is immutable: there is nothing to lock. */
paro_status paro_cache_read_begin(paro_error *err, paro_cache *cache)
{
    paro_cache_layer *user = &cache->layers[PARO_CACHE_USER];
    if (cache->n_reading == 0 && !cache->is_writing && user->db != NULL) {
        paro_status status = paro_cache_layer_run(err, user, "BEGIN");
        if (status != PARO_STATUS_OK)
            return status;
    }
    cache->n_reading++;
    return PARO_STATUS_OK;
}

void paro_cache_read_end(paro_cache *cache)
{
    sqlite3 *db = cache->layers[PARO_CACHE_USER].db;
    if (cache->n_reading == 0 || --cache->n_reading > 0 || cache->is_writing || db == NULL)
        return;
    if (!sqlite3_get_autocommit(db))
        (void)sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
}

/* ---- puts --------------------------------------------------------------------------------------
 */

static paro_status put(paro_error *err, paro_cache *cache, paro_cache_table_id table,
                       const void *row)
{
    paro_cache_layer *user = &cache->layers[PARO_CACHE_USER];
    paro_status status = check_writable(err, cache);
    if (status == PARO_STATUS_OK && cache->is_writing && sqlite3_get_autocommit(user->db))
        status =
            paro_fail(err, PARO_STATUS_IO,
                      "%s: the transaction is over: an earlier write in it failed", user->path);
    if (status == PARO_STATUS_OK)
        status = paro_cache_row_check(err, &paro_cache_tables[table], row);
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_put(err, user, table, row, NULL);
    return status;
}

paro_status paro_cache_put_kernel(paro_error *err, paro_cache *cache,
                                  const paro_cache_kernel *kernel)
{
    return put(err, cache, PARO_CACHE_KERNELS, kernel);
}

paro_status paro_cache_put_winner(paro_error *err, paro_cache *cache,
                                  const paro_cache_winner *winner)
{
    return put(err, cache, PARO_CACHE_WINNERS, winner);
}

paro_status paro_cache_put_timing(paro_error *err, paro_cache *cache,
                                  const paro_cache_timing *timing)
{
    return put(err, cache, PARO_CACHE_TIMINGS, timing);
}

/* ---- gets --------------------------------------------------------------------------------------
 */

/* "13.0" against "12.9": by numbers, then as text. */
static int compare_versions(const char *a, const char *b)
{
    const char *s = a, *t = b;
    while (*s != 0 && *t != 0) {
        char *s_end, *t_end;
        unsigned long x = strtoul(s, &s_end, 10), y = strtoul(t, &t_end, 10);
        if (s_end == s || t_end == t)
            break;
        if (x != y)
            return x < y ? -1 : 1;
        s = *s_end == '.' ? s_end + 1 : s_end;
        t = *t_end == '.' ? t_end + 1 : t_end;
    }
    return strcmp(s, t);
}

/* Sound kernels of the statement's that are what was asked for; the newest. */
static paro_status read_kernels(paro_error *err, paro_cache_layer *layer, bool by_key,
                                const char *hash, const char *target, paro_arena *arena,
                                paro_cache_kernel *out, bool *found)
{
    sqlite3_stmt *statement = NULL;
    paro_status status = paro_cache_layer_statement(
        err, layer, by_key ? PARO_CACHE_KERNEL_OF_KEY : PARO_CACHE_KERNELS_OF_SOURCE, &statement);
    if (status != PARO_STATUS_OK)
        return status;
    int rc = sqlite3_bind_text(statement, 1, hash, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK && !by_key)
        rc = sqlite3_bind_text(statement, 2, target, -1, SQLITE_STATIC);
    if (rc != SQLITE_OK)
        status = paro_cache_layer_fail(err, layer, rc, "look up a kernel");
    while (status == PARO_STATUS_OK) {
        bool has_row = false, is_sound = false;
        paro_cache_row row;
        status = paro_cache_layer_step(err, layer, statement, &has_row);
        if (status != PARO_STATUS_OK || !has_row)
            break;
        status = paro_cache_layer_read(err, layer, statement, PARO_CACHE_KERNELS, arena, &row, NULL,
                                       &is_sound);
        if (status != PARO_STATUS_OK || !is_sound)
            continue;
        const paro_cache_kernel *k = &row.kernel;
        if (by_key ? strcmp(k->key, hash) != 0
                   : strcmp(k->source_hash, hash) != 0 || strcmp(k->arch, target) != 0)
            continue;
        if (!*found || compare_versions(k->nvrtc, out->nvrtc) > 0)
            *out = *k;
        *found = true;
    }
    sqlite3_reset(statement);
    return status;
}

static paro_status get_kernel(paro_error *err, paro_cache *cache, bool by_key, const char *hash,
                              const char *target, paro_arena *arena, paro_cache_kernel *out)
{
    paro_cache_kernel best;
    bool found = false;
    for (int i = 0; i < PARO_CACHE_LAYERS && !(found && by_key); i++) {
        paro_cache_layer *layer = &cache->layers[i];
        paro_error why = {.status = PARO_STATUS_OK};
        if (layer->db == NULL)
            continue;
        paro_status status = paro_cache_layer_forgive(
            layer, read_kernels(&why, layer, by_key, hash, target, arena, &best, &found), &why);
        if (status != PARO_STATUS_OK)
            return paro_fail(err, status, "%s", why.message);
    }
    if (!found)
        return paro_fail(err, PARO_STATUS_NOT_FOUND, "no kernel %.16s… %s%s in the cache", hash,
                         target != NULL ? "for " : "", target != NULL ? target : "");
    *out = best;
    return PARO_STATUS_OK;
}

paro_status paro_cache_get_kernel(paro_error *err, paro_cache *cache, const char *key,
                                  paro_arena *arena, paro_cache_kernel *out)
{
    return get_kernel(err, cache, true, key, NULL, arena, out);
}

paro_status paro_cache_find_kernel(paro_error *err, paro_cache *cache, const char *source_hash,
                                   const char *target, paro_arena *arena, paro_cache_kernel *out)
{
    return get_kernel(err, cache, false, source_hash, target, arena, out);
}

/* Timed before not timed, then the faster. */
static bool is_faster(const paro_cache_winner *a, const paro_cache_winner *b)
{
    if (paro_cache_is_timed(a) != paro_cache_is_timed(b))
        return paro_cache_is_timed(a);
    return paro_cache_is_timed(a) && a->median_us < b->median_us;
}

paro_status paro_cache_get_winner(paro_error *err, paro_cache *cache, const char *problem,
                                  const char *device_class, const char *template_hash,
                                  const char *layout, paro_arena *arena, paro_cache_winner *out)
{
    paro_cache_winners winners = {0};
    paro_status status = paro_cache_winners_read(err, cache, problem, device_class, template_hash,
                                                 NULL, NULL, arena, &winners);
    if (status != PARO_STATUS_OK)
        return status;
    const paro_cache_winner *best = NULL;
    for (size_t i = 0; i < winners.n; i++)
        if ((layout == NULL || strcmp(winners.items[i].layout, layout) == 0) &&
            (best == NULL || is_faster(&winners.items[i], best)))
            best = &winners.items[i];
    if (best == NULL)
        return paro_fail(err, PARO_STATUS_NOT_FOUND, "no winner for %s on %s in the cache", problem,
                         device_class);
    *out = *best;
    return PARO_STATUS_OK;
}
