/* SPDX-License-Identifier: MIT
 *
 * Schemas: a new file's, the check that a file's is exactly ours, and forward migration.
 *
 * What sqlite_schema may hold is fixed to the letter: CREATE statements of cache/rows.c, nothing
 * else. A view, a trigger, a generated column or another collation would have code of the file's
 * author run in our queries.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cache/layer.h"

static paro_status fail_schema(paro_error *err, const paro_cache_layer *layer, const char *expected,
                               const char *found)
{
    return paro_fail(err, PARO_STATUS_FORMAT,
                     "%s: expected a cache of paro (%s), found %s: move the file away, a new one "
                     "is then made",
                     layer->path, expected, found);
}

/* A PRAGMA that gives one number. */
static paro_status pragma(paro_error *err, paro_cache_layer *layer, const char *sql, int64_t *out)
{
    sqlite3_stmt *statement = NULL;
    bool has_row = false;
    paro_status status = paro_cache_layer_prepare(err, layer, sql, &statement);
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_step(err, layer, statement, &has_row);
    if (status == PARO_STATUS_OK)
        *out = has_row ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return status;
}

/* Every CREATE statement of schema `version`, one a line: tables, then indexes, as VACUUM
 * leaves them. */
static bool schema_text(uint32_t version, paro_buffer *out)
{
    bool ok = true;
    for (int t = 0; ok && t < PARO_CACHE_TABLE_COUNT; t++)
        ok = paro_cache_sql_table(&paro_cache_tables[t], version, out) &&
             paro_buffer_append_text(out, ";\n");
    for (int t = 0; ok && t < PARO_CACHE_TABLE_COUNT; t++) {
        const paro_cache_table *table = &paro_cache_tables[t];
        for (const paro_cache_index *i = table->indexes; ok && i->name != NULL; i++)
            if (i->since <= version)
                ok = paro_cache_sql_index(table, i, out) && paro_buffer_append_text(out, ";\n");
    }
    return ok;
}

/* The statements that the file's schema consists of, as schema_text writes them. *n_objects counts
 * them; ones that are not from a CREATE TABLE or CREATE INDEX count, and read as "?". */
static paro_status found_text(paro_error *err, paro_cache_layer *layer, paro_buffer *out,
                              uint64_t *n_objects)
{
    enum { MAX_OBJECTS = 64 };
    sqlite3_stmt *statement = NULL;
    bool has_row = true;
    *n_objects = 0;
    paro_status status = paro_cache_layer_prepare(
        err, layer, "SELECT type,sql FROM sqlite_schema ORDER BY rowid", &statement);
    while (status == PARO_STATUS_OK) {
        status = paro_cache_layer_step(err, layer, statement, &has_row);
        if (status != PARO_STATUS_OK || !has_row || *n_objects == MAX_OBJECTS)
            break;
        const char *type = (const char *)sqlite3_column_text(statement, 0);
        const char *sql = (const char *)sqlite3_column_text(statement, 1);
        bool known = type != NULL && sql != NULL &&
                     (strcmp(type, "table") == 0 || strcmp(type, "index") == 0);
        if (!paro_buffer_append_text(out, known ? sql : "?") ||
            !paro_buffer_append_text(out, ";\n"))
            status = paro_fail_memory(err, out->n_bytes, "a schema");
        ++*n_objects;
    }
    sqlite3_finalize(statement);
    return status;
}

static paro_status check_schema(paro_error *err, paro_cache_layer *layer, const paro_buffer *found)
{
    paro_buffer expected = {0};
    paro_status status = PARO_STATUS_OK;
    if (!schema_text(layer->version, &expected)) {
        status = paro_fail_memory(err, expected.n_bytes, "a schema");
        goto done;
    }
    if (found->n_bytes == expected.n_bytes &&
        memcmp(found->data, expected.data, expected.n_bytes) == 0)
        goto done;
    size_t at = 0; /* the line that differs */
    for (size_t i = 0;
         i < found->n_bytes && i < expected.n_bytes && found->data[i] == expected.data[i]; i++)
        if (expected.data[i] == '\n')
            at = i + 1;
    const char *want = at < expected.n_bytes ? expected.data + at : "nothing more";
    const char *have = at < found->n_bytes ? found->data + at : "nothing more";
    char words[2][160];
    snprintf(words[0], sizeof words[0], "%.*s", (int)strcspn(want, "\n"), want);
    snprintf(words[1], sizeof words[1], "%.*s", (int)strcspn(have, "\n"), have);
    status = fail_schema(err, layer, words[0], words[1]);
done:
    paro_buffer_free(&expected);
    return status;
}

/* In the transaction of the caller. */
static paro_status make_schema(paro_error *err, paro_cache_layer *layer)
{
    paro_buffer sql = {0};
    paro_status status = PARO_STATUS_OK;
    if (!schema_text(PARO_CACHE_SCHEMA, &sql) ||
        !paro_buffer_printf(&sql, "PRAGMA application_id=%d;PRAGMA user_version=%d",
                            PARO_CACHE_APPLICATION_ID, PARO_CACHE_SCHEMA))
        status = paro_fail_memory(err, sql.n_bytes, "a schema");
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_run(err, layer, sql.data);
    paro_buffer_free(&sql);
    return status;
}

/* ---- migration ---------------------------------------------------------------------------------
 */

/* The rows of "old_NAME", of schema `version`, into the new table of that name, with new hashes. */
static paro_status move_rows(paro_error *err, paro_cache_layer *layer, uint32_t version,
                             paro_cache_table_id id, uint64_t *n_moved, uint64_t *n_damaged)
{
    const paro_cache_table *table = &paro_cache_tables[id];
    paro_arena arena = {0};
    paro_buffer sql = {0};
    sqlite3_stmt *statement = NULL;
    paro_status status = PARO_STATUS_OK;
    if (!paro_buffer_append_text(&sql, "SELECT ") ||
        !paro_cache_sql_columns(table, version, &sql) ||
        !paro_buffer_printf(&sql, " FROM old_%s ORDER BY rowid", table->name))
        status = paro_fail_memory(err, sql.n_bytes, "a query");
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_prepare(err, layer, sql.data, &statement);
    while (status == PARO_STATUS_OK) {
        bool has_row = false, is_sound = false;
        paro_cache_row row;
        status = paro_cache_layer_step(err, layer, statement, &has_row);
        if (status != PARO_STATUS_OK || !has_row)
            break;
        layer->version = version; /* for the hash */
        status = paro_cache_layer_read(err, layer, statement, id, &arena, &row, NULL, &is_sound);
        layer->version = PARO_CACHE_SCHEMA;
        if (status == PARO_STATUS_OK && is_sound)
            status = paro_cache_layer_put(err, layer, id, &row, NULL);
        *(is_sound ? n_moved : n_damaged) += 1;
        paro_arena_release(&arena);
    }
    sqlite3_finalize(statement);
    paro_buffer_free(&sql);
    paro_arena_release(&arena);
    return status;
}

/* In the transaction of the caller. Old tables step aside, new ones are made and filled from them:
 * so the text of the new schema is the one a new file has. */
static paro_status migrate(paro_error *err, paro_cache_layer *layer, uint32_t version)
{
    paro_status status = PARO_STATUS_OK;
    uint64_t n_moved = 0, n_damaged = 0;
    char sql[256];
    for (int t = 0; status == PARO_STATUS_OK && t < PARO_CACHE_TABLE_COUNT; t++) {
        const paro_cache_table *table = &paro_cache_tables[t];
        for (const paro_cache_index *i = table->indexes; i->name != NULL; i++) {
            snprintf(sql, sizeof sql, "DROP INDEX %s", i->name);
            if (i->since <= version && status == PARO_STATUS_OK)
                status = paro_cache_layer_run(err, layer, sql);
        }
        snprintf(sql, sizeof sql, "ALTER TABLE %s RENAME TO old_%s", table->name, table->name);
        if (status == PARO_STATUS_OK)
            status = paro_cache_layer_run(err, layer, sql);
    }
    if (status == PARO_STATUS_OK)
        status = make_schema(err, layer);
    for (int t = 0; status == PARO_STATUS_OK && t < PARO_CACHE_TABLE_COUNT; t++) {
        layer->version = PARO_CACHE_SCHEMA;
        status = move_rows(err, layer, version, (paro_cache_table_id)t, &n_moved, &n_damaged);
        snprintf(sql, sizeof sql, "DROP TABLE old_%s", paro_cache_tables[t].name);
        if (status == PARO_STATUS_OK)
            status = paro_cache_layer_run(err, layer, sql);
    }
    if (status == PARO_STATUS_OK)
        paro_log(layer->observer, PARO_LOG_LEVEL_INFO,
                 "%s: migrated from schema %u to %d: %llu rows, and %llu damaged ones left behind",
                 layer->path, version, PARO_CACHE_SCHEMA, (unsigned long long)n_moved,
                 (unsigned long long)n_damaged);
    return status;
}

/* ---- settling ----------------------------------------------------------------------------------
 */

typedef enum file_state { FILE_EMPTY, FILE_OURS, FILE_OLDER, FILE_NEWER } file_state;

/* What the file is; sets the layer's version. In a transaction, so that all is from one moment. */
static paro_status look_at_schema(paro_error *err, paro_cache_layer *layer, file_state *state)
{
    int64_t application = 0, version = 0;
    uint64_t n_objects = 0;
    paro_buffer found = {0};
    paro_status status = pragma(err, layer, "PRAGMA application_id", &application);
    if (status == PARO_STATUS_OK)
        status = pragma(err, layer, "PRAGMA user_version", &version);
    if (status != PARO_STATUS_OK)
        goto done;
    if (application == PARO_CACHE_APPLICATION_ID && version > PARO_CACHE_SCHEMA) {
        layer->version = (uint32_t)version;
        *state = FILE_NEWER;
        goto done;
    }
    status = found_text(err, layer, &found, &n_objects);
    if (status != PARO_STATUS_OK)
        goto done;
    if (application == 0 && version == 0 && n_objects == 0) {
        layer->version = 0;
        *state = FILE_EMPTY;
        goto done;
    }
    if (application != PARO_CACHE_APPLICATION_ID || version < 1) {
        status =
            fail_schema(err, layer, "by its application_id and user_version", "another database");
        goto done;
    }
    layer->version = (uint32_t)version;
    status = check_schema(err, layer, &found);
    if (status == PARO_STATUS_OK)
        *state = version < PARO_CACHE_SCHEMA ? FILE_OLDER : FILE_OURS;
done:
    paro_buffer_free(&found);
    return status;
}

paro_status paro_cache_schema_settle(paro_error *err, paro_cache_layer *layer, bool *is_newer)
{
    file_state state = FILE_EMPTY;
    paro_status status = paro_cache_layer_run(err, layer, "BEGIN");
    if (status == PARO_STATUS_OK)
        status = look_at_schema(err, layer, &state);
    if (!sqlite3_get_autocommit(layer->db))
        (void)sqlite3_exec(layer->db, "COMMIT", NULL, NULL, NULL);
    if (status != PARO_STATUS_OK || state == FILE_OURS || state == FILE_NEWER ||
        layer->is_read_only) {
        *is_newer = state == FILE_NEWER;
        return status;
    }

    /* Again with the lock: another process may have been faster. */
    status = paro_cache_layer_run(err, layer, "BEGIN IMMEDIATE");
    if (status == PARO_STATUS_OK)
        status = look_at_schema(err, layer, &state);
    if (status == PARO_STATUS_OK && state == FILE_EMPTY)
        status = make_schema(err, layer);
    if (status == PARO_STATUS_OK && state == FILE_OLDER)
        status = migrate(err, layer, layer->version);
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_run(err, layer, "COMMIT");
    if (status == PARO_STATUS_OK && (state == FILE_EMPTY || state == FILE_OLDER))
        layer->version = PARO_CACHE_SCHEMA;
    if (!sqlite3_get_autocommit(layer->db))
        (void)sqlite3_exec(layer->db, "ROLLBACK", NULL, NULL, NULL);
    if (status == PARO_STATUS_OK)
        *is_newer = state == FILE_NEWER;
    return status;
}
