/* SPDX-License-Identifier: MIT
 *
 * Looking after the user's file: counts, verification, pruning. (The system's file is looked after
 * by who installed it.)
 */
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "cache/cursor.h"
#include "cache/layer.h"

/* One number, of a statement without parameters. */
static paro_status count(paro_error *err, paro_cache_layer *layer, const char *sql, uint64_t *out)
{
    sqlite3_stmt *statement = NULL;
    bool has_row = false;
    paro_status status = paro_cache_layer_prepare(err, layer, sql, &statement);
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_step(err, layer, statement, &has_row);
    if (status == PARO_STATUS_OK)
        *out = has_row ? (uint64_t)sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return status;
}

paro_status paro_cache_get_info(paro_error *err, paro_cache *cache, paro_cache_info *out)
{
    paro_cache_layer *layer = &cache->layers[PARO_CACHE_USER];
    paro_cache_info info = {.schema = layer->version};
    struct stat file;
    if (layer->path != NULL && stat(layer->path, &file) == 0)
        info.n_file_bytes = (uint64_t)file.st_size;
    paro_status status = PARO_STATUS_OK;
    if (layer->db != NULL) {
        status = paro_cache_read_begin(err, cache);
        if (status != PARO_STATUS_OK)
            return status;
        status = count(err, layer, "SELECT count(*) FROM winners", &info.n_winners);
        if (status == PARO_STATUS_OK)
            status = count(err, layer, "SELECT count(*) FROM kernels", &info.n_kernels);
        if (status == PARO_STATUS_OK)
            status = count(err, layer, "SELECT count(*) FROM timings", &info.n_timings);
        if (status == PARO_STATUS_OK)
            status = count(err, layer, "SELECT total(length(binary)) FROM kernels",
                           &info.n_kernel_bytes);
        paro_cache_read_end(cache);
    }
    if (status == PARO_STATUS_OK)
        *out = info;
    return status;
}

/* SQLite's own check of pages and indexes; every complaint is logged. */
static paro_status check_pages(paro_error *err, paro_cache_layer *layer, uint64_t *n_damaged)
{
    sqlite3_stmt *statement = NULL;
    paro_status status =
        paro_cache_layer_prepare(err, layer, "PRAGMA integrity_check(20)", &statement);
    while (status == PARO_STATUS_OK) {
        bool has_row = false;
        status = paro_cache_layer_step(err, layer, statement, &has_row);
        if (status != PARO_STATUS_OK || !has_row)
            break;
        const char *line = (const char *)sqlite3_column_text(statement, 0);
        if (line == NULL || strcmp(line, "ok") == 0)
            continue;
        paro_log(layer->observer, PARO_LOG_LEVEL_WARNING, "%s: %s", layer->path, line);
        ++*n_damaged;
    }
    sqlite3_finalize(statement);
    return status;
}

paro_status paro_cache_verify(paro_error *err, paro_cache *cache, paro_cache_info *out)
{
    paro_cache_layer *layer = &cache->layers[PARO_CACHE_USER];
    paro_cache_info info;
    paro_status status = paro_cache_get_info(err, cache, &info);
    if (status != PARO_STATUS_OK)
        return status;
    for (int t = 0; t < PARO_CACHE_TABLE_COUNT && status == PARO_STATUS_OK; t++) {
        const paro_cache_select all = {.by_rowid = true};
        paro_cache_cursor cursor;
        status = paro_cache_cursor_open(err, layer, (paro_cache_table_id)t, &all, &cursor);
        if (status != PARO_STATUS_OK)
            break;
        do
            status = paro_cache_cursor_next(err, &cursor);
        while (status == PARO_STATUS_OK && cursor.has_row);
        info.n_damaged += cursor.n_damaged;
        paro_cache_cursor_close(&cursor);
    }
    if (status == PARO_STATUS_OK && layer->db != NULL)
        status = check_pages(err, layer, &info.n_damaged);
    if (status == PARO_STATUS_OK)
        *out = info;
    return status;
}

/* ---- pruning -----------------------------------------------------------------------------------
 */

typedef struct pruner {
    paro_cache_layer *layer;
    const char (*hashes)[PARO_SHA256_HEX_BYTES];
    size_t n_hashes;
    bool all_timings;
    paro_map named; /* kernels that winners name */
    paro_arena names;
    uint64_t n_removed;
} pruner;

static bool is_today(const pruner *p, const char *template_hash)
{
    for (size_t i = 0; i < p->n_hashes; i++)
        if (strcmp(p->hashes[i], template_hash) == 0)
            return true;
    return false;
}

static paro_status keep_name(paro_error *err, pruner *p, const char *key)
{
    char *copy = paro_arena_strdup(&p->names, key);
    if (copy == NULL || !paro_map_put(&p->named, copy, strlen(copy), 0, NULL))
        return paro_fail_memory(err, PARO_SHA256_HEX_BYTES, "a name");
    return PARO_STATUS_OK;
}

/* Whether the row stays. */
static paro_status judge(paro_error *err, pruner *p, paro_cache_table_id table,
                         const paro_cache_row *row, bool *stays)
{
    switch (table) {
    case PARO_CACHE_WINNERS:
        *stays = is_today(p, row->winner.template_hash);
        return *stays ? keep_name(err, p, row->winner.kernel) : PARO_STATUS_OK;
    case PARO_CACHE_KERNELS:
        *stays = paro_map_get(&p->named, row->kernel.key, strlen(row->kernel.key), NULL);
        return PARO_STATUS_OK;
    default:
        *stays = !p->all_timings || is_today(p, row->timing.template_hash);
        return PARO_STATUS_OK;
    }
}

static paro_status prune_table(paro_error *err, pruner *p, paro_cache_table_id id)
{
    const paro_cache_table *table = &paro_cache_tables[id];
    paro_buffer doomed = {0}; /* int64 rowids */
    paro_buffer sql = {0};
    paro_arena arena = {0};
    sqlite3_stmt *statement = NULL;
    paro_status status = PARO_STATUS_OK;
    if (!paro_buffer_append_text(&sql, "SELECT ") ||
        !paro_cache_sql_columns(table, p->layer->version, &sql) ||
        !paro_buffer_printf(&sql, " FROM %s ORDER BY rowid", table->name))
        status = paro_fail_memory(err, sql.n_bytes, "a query");
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_prepare(err, p->layer, sql.data, &statement);
    while (status == PARO_STATUS_OK) {
        bool has_row = false, is_sound = false, stays = false;
        paro_cache_row row;
        status = paro_cache_layer_step(err, p->layer, statement, &has_row);
        if (status != PARO_STATUS_OK || !has_row)
            break;
        int64_t id_of_row = sqlite3_column_int64(statement, 0);
        status = paro_cache_layer_read(err, p->layer, statement, id, &arena, &row, NULL, &is_sound);
        if (status == PARO_STATUS_OK && is_sound)
            status = judge(err, p, id, &row, &stays);
        if (status == PARO_STATUS_OK && !stays &&
            !paro_buffer_append(&doomed, &id_of_row, sizeof id_of_row))
            status = paro_fail_memory(err, doomed.n_bytes, "rows to remove");
        paro_arena_release(&arena);
    }
    sqlite3_finalize(statement);
    statement = NULL;
    paro_buffer_clear(&sql);
    if (status == PARO_STATUS_OK && doomed.n_bytes > 0) {
        status = paro_buffer_printf(&sql, "DELETE FROM %s WHERE rowid=?1", table->name)
                     ? paro_cache_layer_prepare(err, p->layer, sql.data, &statement)
                     : paro_fail_memory(err, sql.n_bytes, "a query");
    }
    for (size_t at = 0; status == PARO_STATUS_OK && at < doomed.n_bytes; at += sizeof(int64_t)) {
        int64_t rowid;
        bool has_row;
        memcpy(&rowid, doomed.data + at, sizeof rowid);
        (void)sqlite3_bind_int64(statement, 1, rowid);
        status = paro_cache_layer_step(err, p->layer, statement, &has_row);
        sqlite3_reset(statement);
        p->n_removed++;
    }
    sqlite3_finalize(statement);
    paro_buffer_free(&sql);
    paro_buffer_free(&doomed);
    paro_arena_release(&arena);
    return status;
}

paro_status paro_cache_prune(paro_error *err, paro_cache *cache,
                             const char (*template_hashes)[PARO_SHA256_HEX_BYTES], size_t n,
                             bool all_timings, uint64_t *n_removed)
{
    pruner p = {.layer = &cache->layers[PARO_CACHE_USER],
                .hashes = template_hashes,
                .n_hashes = n,
                .all_timings = all_timings};
    paro_status status = paro_cache_begin(err, cache);
    if (status != PARO_STATUS_OK)
        return status;
    /* Winners first: they name the kernels that stay. */
    for (int t = 0; t < PARO_CACHE_TABLE_COUNT && status == PARO_STATUS_OK; t++)
        status = prune_table(err, &p, (paro_cache_table_id)t);
    /* An index that was damaged is made anew from the rows. */
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_run(err, p.layer, "REINDEX");
    if (status == PARO_STATUS_OK)
        status = paro_cache_commit(err, cache);
    paro_cache_rollback(cache); /* does nothing after a commit */
    if (status == PARO_STATUS_OK && p.n_removed > 0) {
        paro_error why;
        if (paro_cache_layer_run(&why, p.layer, "VACUUM") != PARO_STATUS_OK)
            paro_log(p.layer->observer, PARO_LOG_LEVEL_WARNING,
                     "%s: pruned, but the file could not be made smaller: %s", p.layer->path,
                     why.message);
    }
    if (status == PARO_STATUS_OK)
        *n_removed = p.n_removed;
    paro_map_free(&p.named);
    paro_arena_release(&p.names);
    return status;
}
