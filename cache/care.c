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
