/* SPDX-License-Identifier: MIT
 *
 * Walking over all rows of a table.
 */
#include "cache/cursor.h"

#include <string.h>

static bool select_sql(const paro_cache_layer *layer, paro_cache_table_id id,
                       const paro_cache_select *select, paro_buffer *sql)
{
    const paro_cache_table *table = &paro_cache_tables[id];
    bool ok = paro_buffer_append_text(sql, "SELECT ") &&
              paro_cache_sql_columns(table, layer->version, sql) &&
              paro_buffer_printf(sql, " FROM %s WHERE 1", table->name);
    /* "family:" to "family;": ';' is the character after ':' */
    if (ok && select->family != NULL)
        ok = paro_buffer_append_text(sql, id == PARO_CACHE_KERNELS
                                              ? " AND family=?1"
                                              : " AND problem>=?1||':' AND problem<?1||';'");
    if (ok && select->problem != NULL)
        ok = paro_buffer_append_text(sql, " AND problem=?2");
    if (ok && select->device_class != NULL)
        ok = paro_buffer_append_text(sql, " AND device_class=?3");
    return ok && paro_buffer_printf(sql, " ORDER BY %s", select->by_rowid ? "rowid" : table->order);
}

paro_status paro_cache_cursor_open(paro_error *err, paro_cache_layer *layer,
                                   paro_cache_table_id table, const paro_cache_select *select,
                                   paro_cache_cursor *out)
{
    paro_cache_cursor cursor = {.layer = layer, .table = table};
    paro_buffer sql = {0};
    paro_status status = PARO_STATUS_OK;
    if (layer->db == NULL)
        goto done;
    if (!select_sql(layer, table, select, &sql))
        status = paro_fail_memory(err, sql.n_bytes, "a query");
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_prepare(err, layer, sql.data, &cursor.statement);
    const char *values[] = {select->family, select->problem, select->device_class};
    for (int i = 0; status == PARO_STATUS_OK && i < 3; i++) {
        int rc = values[i] == NULL
                     ? SQLITE_OK
                     : sqlite3_bind_text(cursor.statement, i + 1, values[i], -1, SQLITE_TRANSIENT);
        if (rc != SQLITE_OK)
            status = paro_cache_layer_fail(err, layer, rc, "read");
    }
done:
    paro_buffer_free(&sql);
    if (status == PARO_STATUS_OK)
        *out = cursor;
    else
        sqlite3_finalize(cursor.statement);
    return status;
}

paro_status paro_cache_cursor_next(paro_error *err, paro_cache_cursor *cursor)
{
    paro_status status = PARO_STATUS_OK;
    bool is_sound = false;
    cursor->has_row = false;
    while (status == PARO_STATUS_OK && !is_sound && cursor->statement != NULL) {
        bool has_row = false;
        paro_arena_release(&cursor->arena);
        status = paro_cache_layer_step(err, cursor->layer, cursor->statement, &has_row);
        if (status != PARO_STATUS_OK)
            break;
        if (!has_row) {
            sqlite3_finalize(cursor->statement);
            cursor->statement = NULL;
            break;
        }
        status = paro_cache_layer_read(err, cursor->layer, cursor->statement, cursor->table,
                                       &cursor->arena, &cursor->row, cursor->hash, &is_sound);
        if (status == PARO_STATUS_OK && !is_sound)
            cursor->n_damaged++;
    }
    cursor->has_row = status == PARO_STATUS_OK && is_sound;
    return status;
}

void paro_cache_cursor_close(paro_cache_cursor *cursor)
{
    sqlite3_finalize(cursor->statement);
    paro_arena_release(&cursor->arena);
    *cursor = (paro_cache_cursor){0};
}

/* ---- both files as one -------------------------------------------------------------------------
 */

/* In the tables' order; 0: the same key, of which the user's row counts. */
static int compare(const paro_cache_cursor *a, const paro_cache_cursor *b)
{
    int c = 0;
    if (a->table == PARO_CACHE_KERNELS)
        return strcmp(a->row.kernel.key, b->row.kernel.key);
    if (a->table == PARO_CACHE_WINNERS) {
        const paro_cache_winner *x = &a->row.winner, *y = &b->row.winner;
        if ((c = strcmp(x->problem, y->problem)) != 0 ||
            (c = strcmp(x->device_class, y->device_class)) != 0 ||
            (c = strcmp(x->template_hash, y->template_hash)) != 0)
            return c;
        return strcmp(x->layout, y->layout);
    }
    const paro_cache_timing *x = &a->row.timing, *y = &b->row.timing;
    if ((c = strcmp(x->problem, y->problem)) != 0 ||
        (c = strcmp(x->device_class, y->device_class)) != 0 ||
        (c = strcmp(x->template_hash, y->template_hash)) != 0)
        return c;
    if (x->measured_at != y->measured_at)
        return x->measured_at < y->measured_at ? -1 : 1;
    if ((c = strcmp(x->config, y->config)) != 0)
        return c;
    return strcmp(a->hash, b->hash);
}

paro_status paro_cache_each(paro_error *err, paro_cache *cache, paro_cache_table_id table,
                            const paro_cache_select *select, paro_cache_row_fn *fn, void *context)
{
    paro_cache_cursor cursors[PARO_CACHE_LAYERS];
    memset(cursors, 0, sizeof cursors);
    paro_status status = PARO_STATUS_OK;
    for (int i = 0; i < PARO_CACHE_LAYERS && status == PARO_STATUS_OK; i++) {
        status = paro_cache_cursor_open(err, &cache->layers[i], table, select, &cursors[i]);
        if (status == PARO_STATUS_OK)
            status = paro_cache_cursor_next(err, &cursors[i]);
    }
    paro_cache_cursor *user = &cursors[PARO_CACHE_USER], *system = &cursors[PARO_CACHE_SYSTEM];
    while (status == PARO_STATUS_OK && (user->has_row || system->has_row)) {
        int order = !user->has_row ? 1 : !system->has_row ? -1 : compare(user, system);
        if (!fn(context, order <= 0 ? &user->row : &system->row))
            break;
        if (order <= 0)
            status = paro_cache_cursor_next(err, user);
        if (order >= 0 && status == PARO_STATUS_OK)
            status = paro_cache_cursor_next(err, system);
    }
    for (int i = 0; i < PARO_CACHE_LAYERS; i++)
        paro_cache_cursor_close(&cursors[i]);
    return status;
}

/* ---- the public iterations ---------------------------------------------------------------------
 */

typedef struct callback {
    paro_cache_winner_fn *winner;
    paro_cache_timing_fn *timing;
    paro_cache_kernel_fn *kernel;
    void *context;
} callback;

static bool call_winner(void *context, const paro_cache_row *row)
{
    const callback *c = context;
    return c->winner(c->context, &row->winner);
}

static bool call_timing(void *context, const paro_cache_row *row)
{
    const callback *c = context;
    return c->timing(c->context, &row->timing);
}

static bool call_kernel(void *context, const paro_cache_row *row)
{
    const callback *c = context;
    return c->kernel(c->context, &row->kernel);
}

paro_status paro_cache_each_winner(paro_error *err, paro_cache *cache, const char *family,
                                   const char *device_class, paro_cache_winner_fn *fn,
                                   void *context)
{
    callback c = {.winner = fn, .context = context};
    paro_cache_select select = {.family = family, .device_class = device_class};
    return paro_cache_each(err, cache, PARO_CACHE_WINNERS, &select, call_winner, &c);
}

paro_status paro_cache_each_timing(paro_error *err, paro_cache *cache, const char *problem,
                                   const char *device_class, paro_cache_timing_fn *fn,
                                   void *context)
{
    callback c = {.timing = fn, .context = context};
    paro_cache_select select = {.problem = problem, .device_class = device_class};
    return paro_cache_each(err, cache, PARO_CACHE_TIMINGS, &select, call_timing, &c);
}

paro_status paro_cache_each_kernel(paro_error *err, paro_cache *cache, const char *family,
                                   paro_cache_kernel_fn *fn, void *context)
{
    callback c = {.kernel = fn, .context = context};
    paro_cache_select select = {.family = family};
    return paro_cache_each(err, cache, PARO_CACHE_KERNELS, &select, call_kernel, &c);
}
