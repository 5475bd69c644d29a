/* SPDX-License-Identifier: MIT
 *
 * One SQLite file of a cache: how it is opened, and how SQLite's failures become statuses.
 */
#include "cache/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

enum { BUSY_MS = 10000 };

paro_status paro_cache_layer_fail(paro_error *err, const paro_cache_layer *layer, int code,
                                  const char *verb)
{
    const char *reason = layer->db != NULL ? sqlite3_errmsg(layer->db) : sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return paro_fail_memory(err, 0, layer->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return paro_fail(err, PARO_STATUS_IO,
                         "%s: cannot %s: locked by another process for over %d s: see who has it "
                         "open, or use another cache",
                         layer->path, verb, BUSY_MS / 1000);
    case SQLITE_ERROR: /* our statements are right: it is what the file holds */
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_FORMAT:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: cannot %s: expected a cache of paro, found damage (%s): move the "
                         "file away, a new one is then made",
                         layer->path, verb, reason);
    case SQLITE_READONLY:
        return paro_fail(err, PARO_STATUS_IO, "%s: cannot %s: the file is read-only (%s)",
                         layer->path, verb, reason);
    default:
        break;
    }
    int number = layer->db != NULL ? sqlite3_system_errno(layer->db) : 0;
    if (number != 0 && ((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN))
        return paro_fail(err, PARO_STATUS_IO, "%s: cannot %s: %s (%s)", layer->path, verb, reason,
                         strerror(number));
    return paro_fail(err, PARO_STATUS_IO, "%s: cannot %s: %s", layer->path, verb, reason);
}

paro_status paro_cache_layer_forgive(const paro_cache_layer *layer, paro_status status,
                                     const paro_error *err)
{
    if (status != PARO_STATUS_FORMAT)
        return status;
    paro_log(layer->observer, PARO_LOG_LEVEL_WARNING, "%s", err->message);
    return PARO_STATUS_OK;
}

paro_status paro_cache_layer_prepare(paro_error *err, paro_cache_layer *layer, const char *sql,
                                     sqlite3_stmt **out)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v3(layer->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
    if (rc != SQLITE_OK) {
        sqlite3_finalize(statement);
        return paro_cache_layer_fail(err, layer, rc, "prepare a query");
    }
    *out = statement;
    return PARO_STATUS_OK;
}

paro_status paro_cache_layer_run(paro_error *err, paro_cache_layer *layer, const char *sql)
{
    int rc = sqlite3_exec(layer->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? PARO_STATUS_OK : paro_cache_layer_fail(err, layer, rc, "use it");
}

paro_status paro_cache_layer_step(paro_error *err, paro_cache_layer *layer, sqlite3_stmt *statement,
                                  bool *has_row)
{
    int rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        paro_status status = paro_cache_layer_fail(err, layer, rc, "read");
        sqlite3_reset(statement);
        return status;
    }
    *has_row = rc == SQLITE_ROW;
    return PARO_STATUS_OK;
}

/* ---- statements --------------------------------------------------------------------------------
 */

static bool sql_select(paro_buffer *sql, const paro_cache_layer *layer, paro_cache_table_id id,
                       const char *where)
{
    const paro_cache_table *table = &paro_cache_tables[id];
    return paro_buffer_append_text(sql, "SELECT ") &&
           paro_cache_sql_columns(table, layer->version, sql) &&
           paro_buffer_printf(sql, " FROM %s WHERE %s", table->name, where);
}

/* Winners and kernels take the place of a row of the same key; timings are kept once each. */
static bool sql_insert(paro_buffer *sql, paro_cache_table_id id)
{
    const paro_cache_table *table = &paro_cache_tables[id];
    bool ok = paro_buffer_printf(sql, "INSERT OR %s INTO %s(row_hash",
                                 id == PARO_CACHE_TIMINGS ? "IGNORE" : "REPLACE", table->name);
    for (size_t i = 0; ok && i < table->n_fields; i++)
        ok = paro_buffer_printf(sql, ",%s", table->fields[i].name);
    ok = ok && paro_buffer_append_text(sql, ")VALUES(?");
    for (size_t i = 0; ok && i < table->n_fields; i++)
        ok = paro_buffer_append_text(sql, ",?");
    return ok && paro_buffer_append_text(sql, ")");
}

static bool sql_text(paro_buffer *sql, const paro_cache_layer *layer, paro_cache_statement_id id)
{
    switch (id) {
    case PARO_CACHE_WINNER_OF_KEY:
        return sql_select(sql, layer, PARO_CACHE_WINNERS,
                          "problem=?1 AND device_class=?2 AND template_hash=?3 AND layout=?4");
    case PARO_CACHE_WINNERS_OF_CLASS:
        return sql_select(sql, layer, PARO_CACHE_WINNERS,
                          "problem=?1 AND device_class=?2 AND template_hash=?3 ORDER BY layout");
    case PARO_CACHE_WINNERS_OF_PROBLEM:
        return sql_select(sql, layer, PARO_CACHE_WINNERS,
                          "problem=?1 AND template_hash=?2 ORDER BY device_class,layout");
    case PARO_CACHE_PROBLEMS_OF_CLASS:
        return paro_buffer_append_text(sql, "SELECT DISTINCT problem FROM winners WHERE "
                                            "device_class=?1 AND template_hash=?2 ORDER BY "
                                            "problem");
    case PARO_CACHE_KERNEL_OF_KEY:
        return sql_select(sql, layer, PARO_CACHE_KERNELS, "key=?1");
    case PARO_CACHE_KERNELS_OF_SOURCE:
        return sql_select(sql, layer, PARO_CACHE_KERNELS,
                          "source_hash=?1 AND arch=?2 ORDER BY key");
    case PARO_CACHE_TARGET_OF_KEY:
        return paro_buffer_append_text(sql, "SELECT arch FROM kernels WHERE key=?1");
    case PARO_CACHE_PUT_WINNER:
        return sql_insert(sql, PARO_CACHE_WINNERS);
    case PARO_CACHE_PUT_KERNEL:
        return sql_insert(sql, PARO_CACHE_KERNELS);
    default:
        return sql_insert(sql, PARO_CACHE_TIMINGS);
    }
}

paro_status paro_cache_layer_statement(paro_error *err, paro_cache_layer *layer,
                                       paro_cache_statement_id id, sqlite3_stmt **out)
{
    if (layer->statements[id] == NULL) {
        paro_buffer sql = {0};
        paro_status status =
            sql_text(&sql, layer, id)
                ? paro_cache_layer_prepare(err, layer, sql.data, &layer->statements[id])
                : paro_fail_memory(err, 0, "a query");
        paro_buffer_free(&sql);
        if (status != PARO_STATUS_OK)
            return status;
    }
    sqlite3_reset(layer->statements[id]);
    sqlite3_clear_bindings(layer->statements[id]);
    *out = layer->statements[id];
    return PARO_STATUS_OK;
}

/* ---- rows --------------------------------------------------------------------------------------
 */

paro_status paro_cache_layer_read(paro_error *err, paro_cache_layer *layer, sqlite3_stmt *statement,
                                  paro_cache_table_id table, paro_arena *arena, paro_cache_row *row,
                                  char hash[PARO_SHA256_HEX_BYTES], bool *is_sound)
{
    const paro_cache_table *t = &paro_cache_tables[table];
    switch (paro_cache_row_read(statement, t, layer->version, arena, &layer->scratch, row, hash)) {
    case PARO_CACHE_READ_SOUND:
        *is_sound = true;
        return PARO_STATUS_OK;
    case PARO_CACHE_READ_DAMAGED:
        paro_log(layer->observer, PARO_LOG_LEVEL_WARNING,
                 "%s: %s %lld is damaged (it is not what its hash says) and not used; paro cache "
                 "prune removes it",
                 layer->path, t->noun, (long long)sqlite3_column_int64(statement, 0));
        *is_sound = false;
        return PARO_STATUS_OK;
    default:
        return paro_fail_memory(err, 0, "a row of a cache");
    }
}

paro_status paro_cache_layer_put(paro_error *err, paro_cache_layer *layer,
                                 paro_cache_table_id table, const void *row, bool *was_added)
{
    static const paro_cache_statement_id puts[PARO_CACHE_TABLE_COUNT] = {
        PARO_CACHE_PUT_WINNER, PARO_CACHE_PUT_KERNEL, PARO_CACHE_PUT_TIMING};
    const paro_cache_table *t = &paro_cache_tables[table];
    char hash[PARO_SHA256_HEX_BYTES];
    if (!paro_cache_row_hash(t, PARO_CACHE_SCHEMA, row, &layer->scratch, hash))
        return paro_fail_memory(err, layer->scratch.n_bytes, "a row of a cache");
    sqlite3_stmt *statement = NULL;
    paro_status status = paro_cache_layer_statement(err, layer, puts[table], &statement);
    if (status != PARO_STATUS_OK)
        return status;
    int rc = paro_cache_row_bind(statement, t, row, hash);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc != SQLITE_DONE)
        status = paro_cache_layer_fail(err, layer, rc, "store a row");
    else if (was_added != NULL)
        *was_added = sqlite3_changes(layer->db) > 0;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement); /* they point into the caller's row */
    return status;
}

/* ---- opening -----------------------------------------------------------------------------------
 */

/* mkdir -p of the folders above `path`. */
static paro_status make_parents(paro_error *err, const char *path)
{
    char *copy = strdup(path);
    if (copy == NULL)
        return paro_fail_memory(err, strlen(path), "a path");
    paro_status status = PARO_STATUS_OK;
    for (char *s = copy + 1; *copy != 0 && status == PARO_STATUS_OK; s++) {
        s = strchr(s, '/');
        if (s == NULL)
            break;
        *s = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            status = paro_fail_errno(err, errno, "create the folder", copy);
        *s = '/';
    }
    free(copy);
    return status;
}

/* A name that SQLite takes for a file's whatever it looks like (":memory:", "file:…"); of an
 * immutable file, a URI. False when out of memory. */
static bool file_name(const char *path, paro_cache_mode mode, paro_buffer *out)
{
    const char *start = path[0] == '/' ? "" : "./";
    if (mode != PARO_CACHE_MODE_IMMUTABLE)
        return paro_buffer_printf(out, "%s%s", start, path);
    bool ok = paro_buffer_printf(out, "file:%s", start);
    for (const char *s = path; ok && *s != 0; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
                     (*s >= '0' && *s <= '9') || strchr("/._-", *s) != NULL;
        ok = plain ? paro_buffer_append(out, s, 1)
                   : paro_buffer_printf(out, "%%%02X", (unsigned char)*s);
    }
    return ok && paro_buffer_append_text(out, "?immutable=1&mode=ro");
}

/* What must hold before SQLite sees the file: a regular one, and not in WAL mode, which would make
 * files beside it. *n_bytes 0 for an empty file. NOT_FOUND where there is none. */
static paro_status look_at_file(paro_error *err, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return paro_fail_errno(err, errno, "open", path);
    paro_status status = PARO_STATUS_OK;
    struct stat info;
    unsigned char header[20];
    if (fstat(fd, &info) != 0) {
        status = paro_fail_errno(err, errno, "stat", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                           "%s: expected a cache (a regular file), found %s", path,
                           S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    } else if (pread(fd, header, sizeof header, 0) == (ssize_t)sizeof header &&
               memcmp(header, "SQLite format 3", 16) == 0 && (header[18] == 2 || header[19] == 2)) {
        status = paro_fail(err, PARO_STATUS_FORMAT,
                           "%s: expected a cache of paro, found a database in WAL mode: move it "
                           "away, or PRAGMA journal_mode=DELETE",
                           path);
    }
    close(fd);
    return status;
}

/* A file is data: nothing of its schema runs, nothing of it is larger than a row of ours. */
static paro_status defend(paro_error *err, paro_cache_layer *layer)
{
    static const struct {
        int what, value;
    } limits[] = {{SQLITE_LIMIT_LENGTH, PARO_CACHE_MAX_ROW_BYTES},
                  {SQLITE_LIMIT_SQL_LENGTH, 100000},
                  {SQLITE_LIMIT_COLUMN, 100},
                  {SQLITE_LIMIT_EXPR_DEPTH, 50},
                  {SQLITE_LIMIT_COMPOUND_SELECT, 3},
                  {SQLITE_LIMIT_VDBE_OP, 25000},
                  {SQLITE_LIMIT_FUNCTION_ARG, 8},
                  {SQLITE_LIMIT_ATTACHED, 1}, /* VACUUM attaches */
                  {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50},
                  {SQLITE_LIMIT_VARIABLE_NUMBER, PARO_CACHE_MAX_FIELDS + 1},
                  {SQLITE_LIMIT_TRIGGER_DEPTH, 1}};
    static const struct {
        int what, value;
    } settings[] = {{SQLITE_DBCONFIG_DEFENSIVE, 1},       {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
                    {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},  {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
                    {SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0}, {SQLITE_DBCONFIG_ENABLE_FKEY, 0},
                    {SQLITE_DBCONFIG_DQS_DML, 0},         {SQLITE_DBCONFIG_DQS_DDL, 0}};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        sqlite3_limit(layer->db, limits[i].what, limits[i].value);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        int rc = sqlite3_db_config(layer->db, settings[i].what, settings[i].value, NULL);
        if (rc != SQLITE_OK)
            return paro_cache_layer_fail(err, layer, rc, "make the database safe");
    }
    sqlite3_extended_result_codes(layer->db, 1);
    sqlite3_busy_timeout(layer->db, BUSY_MS);
    return paro_cache_layer_run(err, layer, "PRAGMA cell_size_check=ON;PRAGMA mmap_size=0");
}

static paro_status open_database(paro_error *err, paro_cache_layer *layer, paro_cache_mode mode)
{
    /* READ opens for writing, where that is allowed, so that what a dead writer left half-done can
     * be rolled back; query_only keeps the rest out. */
    static const int flags[] = {
        [PARO_CACHE_MODE_WRITE] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
        [PARO_CACHE_MODE_READ] = SQLITE_OPEN_READWRITE,
        [PARO_CACHE_MODE_IMMUTABLE] = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
        [PARO_CACHE_MODE_MEMORY] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY};
    paro_buffer name = {0};
    paro_status status = PARO_STATUS_OK;
    if (mode == PARO_CACHE_MODE_MEMORY ? !paro_buffer_append_text(&name, ":memory:")
                                       : !file_name(layer->path, mode, &name)) {
        status = paro_fail_memory(err, strlen(layer->path), "a path");
        goto done;
    }
    int rc = sqlite3_open_v2(name.data, &layer->db, flags[mode] | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        status = paro_cache_layer_fail(err, layer, rc, "open");
        goto done;
    }
    status = defend(err, layer);
    if (status == PARO_STATUS_OK && mode == PARO_CACHE_MODE_READ)
        status = paro_cache_layer_run(err, layer, "PRAGMA query_only=ON");
done:
    paro_buffer_free(&name);
    return status;
}

static void close_database(paro_cache_layer *layer)
{
    for (size_t i = 0; i < PARO_CACHE_STATEMENT_COUNT; i++) {
        sqlite3_finalize(layer->statements[i]);
        layer->statements[i] = NULL;
    }
    sqlite3_close_v2(layer->db);
    layer->db = NULL;
}

paro_status paro_cache_layer_open(paro_error *err, const char *path, paro_cache_mode mode,
                                  const paro_observer *observer, paro_cache_layer *out)
{
    paro_cache_layer layer = {.observer = observer,
                              .is_read_only =
                                  mode != PARO_CACHE_MODE_WRITE && mode != PARO_CACHE_MODE_MEMORY};
    paro_status status = PARO_STATUS_OK;
    bool is_newer = false;
    layer.path = strdup(path);
    if (layer.path == NULL) {
        status = paro_fail_memory(err, strlen(path), "a path");
        goto done;
    }
    if (layer.is_read_only)
        layer.refusal = "it was opened for reading only";
    if (mode != PARO_CACHE_MODE_MEMORY) {
        status = look_at_file(err, path);
        if (status == PARO_STATUS_NOT_FOUND) {
            if (layer.is_read_only) {
                status = PARO_STATUS_OK;
                *out = layer;
                return status;
            }
            status = make_parents(err, path);
        }
        if (status != PARO_STATUS_OK)
            goto done;
    }
    status = open_database(err, &layer, mode);
    if (status == PARO_STATUS_OK)
        status = paro_cache_schema_settle(err, &layer, &is_newer);
    if (status != PARO_STATUS_OK)
        goto done;
    if (is_newer) {
        paro_log(observer, PARO_LOG_LEVEL_WARNING,
                 "%s: this cache was written by a later paro (schema %u, this paro's is %d): it is "
                 "neither read nor changed",
                 path, layer.version, PARO_CACHE_SCHEMA);
        layer.refusal = "a later paro wrote it";
        layer.is_read_only = true;
    }
    if (is_newer || layer.version == 0)
        close_database(&layer);
    *out = layer;
    return PARO_STATUS_OK;
done:
    paro_cache_layer_close(&layer);
    return status;
}

void paro_cache_layer_close(paro_cache_layer *layer)
{
    if (layer == NULL)
        return;
    close_database(layer);
    paro_buffer_free(&layer->scratch);
    free(layer->path);
    *layer = (paro_cache_layer){0};
}
