/* SPDX-License-Identifier: MIT
 *
 * Tables, hashes and structs of the cache's rows, all from one description.
 */
#include "cache/rows.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define TEXT(type, name, max, needed, since)                                                       \
    {                                                                                              \
#name, PARO_CACHE_KIND_TEXT, offsetof(type, name), 0, max, needed, since                   \
    }
#define HEX(type, name, needed)                                                                    \
    {                                                                                              \
#name, PARO_CACHE_KIND_HEX, offsetof(type, name), 0, PARO_SHA256_HEX_BYTES - 1, needed, 1  \
    }
#define NUMBER(type, name, kind, since)                                                            \
    {                                                                                              \
#name, PARO_CACHE_KIND_##kind, offsetof(type, name), 0, 0, false, since                    \
    }

enum {
    MAX_PROBLEM = PARO_PROBLEM_TEXT_BYTES - 1,
    MAX_CLASS = PARO_DEVICE_CLASS_BYTES - 1,
    MAX_CONFIG = PARO_KERNEL_CONFIG_TEXT_BYTES - 1,
    MAX_WORD = 63,
    MAX_NAME = PARO_DEVICE_NAME_BYTES - 1,
    MAX_REASON = PARO_ERROR_MESSAGE_BYTES - 1,
    MAX_JSON = 1 << 18
};

static const paro_cache_field winner_fields[] = {
    TEXT(paro_cache_winner, problem, MAX_PROBLEM, true, 1),
    TEXT(paro_cache_winner, device_class, MAX_CLASS, true, 1),
    HEX(paro_cache_winner, template_hash, true),
    TEXT(paro_cache_winner, layout, MAX_WORD, false, 1),
    TEXT(paro_cache_winner, config, MAX_CONFIG, false, 1),
    HEX(paro_cache_winner, kernel, false),
    NUMBER(paro_cache_winner, median_us, REAL, 1),
    NUMBER(paro_cache_winner, spread_us, REAL, 1),
    NUMBER(paro_cache_winner, default_us, REAL, 1),
    NUMBER(paro_cache_winner, n_samples, UINT32, 1),
    NUMBER(paro_cache_winner, clock_mhz, UINT32, 1),
    TEXT(paro_cache_winner, clock, MAX_WORD, false, 1),
    TEXT(paro_cache_winner, device, MAX_NAME, false, 1),
    TEXT(paro_cache_winner, driver, MAX_WORD, false, 1),
    TEXT(paro_cache_winner, strategy, MAX_WORD, false, 1),
    NUMBER(paro_cache_winner, n_candidates, UINT32, 2),
    NUMBER(paro_cache_winner, n_ties, UINT32, 2),
    NUMBER(paro_cache_winner, tuned_at, INT64, 1)};

/* The binary is last: what stands before it is read without walking its pages. */
static const paro_cache_field kernel_fields[] = {
    HEX(paro_cache_kernel, key, true),
    HEX(paro_cache_kernel, source_hash, true),
    TEXT(paro_cache_kernel, family, MAX_WORD, true, 1),
    TEXT(paro_cache_kernel, arch, MAX_WORD, true, 1),
    TEXT(paro_cache_kernel, nvrtc, MAX_WORD, false, 1),
    NUMBER(paro_cache_kernel, is_ptx, BOOL, 1),
    TEXT(paro_cache_kernel, signature, MAX_JSON, false, 1),
    TEXT(paro_cache_kernel, resources, MAX_JSON, false, 1),
    {"binary", PARO_CACHE_KIND_BLOB, offsetof(paro_cache_kernel, binary),
     offsetof(paro_cache_kernel, n_bytes), PARO_CACHE_MAX_BINARY_BYTES, true, 1}};

static const paro_cache_field timing_fields[] = {
    TEXT(paro_cache_timing, problem, MAX_PROBLEM, true, 1),
    TEXT(paro_cache_timing, device_class, MAX_CLASS, true, 1),
    TEXT(paro_cache_timing, config, MAX_CONFIG, false, 1),
    HEX(paro_cache_timing, template_hash, true),
    TEXT(paro_cache_timing, state, MAX_WORD, true, 1),
    TEXT(paro_cache_timing, reason, MAX_REASON, false, 1),
    NUMBER(paro_cache_timing, median_us, REAL, 1),
    NUMBER(paro_cache_timing, spread_us, REAL, 1),
    NUMBER(paro_cache_timing, min_us, REAL, 1),
    NUMBER(paro_cache_timing, n_samples, UINT32, 1),
    NUMBER(paro_cache_timing, clock_mhz, UINT32, 1),
    TEXT(paro_cache_timing, clock, MAX_WORD, false, 1),
    NUMBER(paro_cache_timing, error, REAL, 2),
    NUMBER(paro_cache_timing, measured_at, INT64, 1)};

static const paro_cache_index winner_indexes[] = {
    {"winners_key", "problem,device_class,template_hash,layout", true, 1},
    {"winners_near", "device_class,template_hash,problem", false, 2},
    {NULL, NULL, false, 0}};
static const paro_cache_index kernel_indexes[] = {{"kernels_key", "key", true, 1},
                                                  {"kernels_source", "source_hash,arch", false, 1},
                                                  {NULL, NULL, false, 0}};
static const paro_cache_index timing_indexes[] = {
    {"timings_hash", "row_hash", true, 1},
    {"timings_problem", "problem,device_class", false, 1},
    {NULL, NULL, false, 0}};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

const paro_cache_table paro_cache_tables[PARO_CACHE_TABLE_COUNT] = {
    [PARO_CACHE_WINNERS] = {"winners", "winner", winner_fields, COUNT(winner_fields),
                            winner_indexes, "problem,device_class,template_hash,layout",
                            sizeof(paro_cache_winner)},
    [PARO_CACHE_KERNELS] = {"kernels", "kernel", kernel_fields, COUNT(kernel_fields),
                            kernel_indexes, "key", sizeof(paro_cache_kernel)},
    [PARO_CACHE_TIMINGS] = {"timings", "timing", timing_fields, COUNT(timing_fields),
                            timing_indexes,
                            "problem,device_class,template_hash,measured_at,config,row_hash",
                            sizeof(paro_cache_timing)}};

static const char *sql_type(paro_cache_kind kind)
{
    switch (kind) {
    case PARO_CACHE_KIND_TEXT:
    case PARO_CACHE_KIND_HEX:
        return "TEXT";
    case PARO_CACHE_KIND_REAL:
        return "REAL";
    case PARO_CACHE_KIND_BLOB:
        return "BLOB";
    default:
        return "INTEGER";
    }
}

bool paro_cache_sql_table(const paro_cache_table *table, uint32_t version, paro_buffer *out)
{
    bool ok = paro_buffer_printf(out, "CREATE TABLE %s(row_hash TEXT NOT NULL", table->name);
    for (size_t i = 0; ok && i < table->n_fields; i++)
        if (table->fields[i].since <= version)
            ok = paro_buffer_printf(out, ",%s %s NOT NULL", table->fields[i].name,
                                    sql_type(table->fields[i].kind));
    return ok && paro_buffer_append_text(out, ")");
}

bool paro_cache_sql_index(const paro_cache_table *table, const paro_cache_index *index,
                          paro_buffer *out)
{
    return paro_buffer_printf(out, "CREATE %sINDEX %s ON %s(%s)", index->is_unique ? "UNIQUE " : "",
                              index->name, table->name, index->columns);
}

bool paro_cache_sql_columns(const paro_cache_table *table, uint32_t version, paro_buffer *out)
{
    bool ok = paro_buffer_append_text(out, "rowid,row_hash");
    for (size_t i = 0; ok && i < table->n_fields; i++)
        if (table->fields[i].since <= version)
            ok = paro_buffer_printf(out, ",%s", table->fields[i].name);
    return ok;
}

/* ---- values ------------------------------------------------------------------------------------
 */

typedef struct value {
    const void *bytes; /* TEXT, HEX, BLOB */
    size_t n_bytes;
    int64_t integer;
    double real;
} value;

static value value_get(const paro_cache_field *field, const void *row)
{
    const char *at = (const char *)row + field->offset;
    value v = {"", 0, 0, 0.0};
    uint32_t u32;
    bool flag;
    switch (field->kind) {
    case PARO_CACHE_KIND_TEXT: {
        const char *text;
        memcpy(&text, at, sizeof text);
        if (text != NULL) {
            v.bytes = text;
            v.n_bytes = strlen(text);
        }
        break;
    }
    case PARO_CACHE_KIND_HEX:
        v.bytes = at;
        v.n_bytes = strnlen(at, PARO_SHA256_HEX_BYTES);
        break;
    case PARO_CACHE_KIND_BLOB: {
        const void *data;
        memcpy(&data, at, sizeof data);
        memcpy(&v.n_bytes, (const char *)row + field->n_bytes_offset, sizeof v.n_bytes);
        if (data != NULL)
            v.bytes = data;
        else
            v.n_bytes = 0;
        break;
    }
    case PARO_CACHE_KIND_REAL:
        memcpy(&v.real, at, sizeof v.real);
        v.real += 0.0; /* -0, which SQLite does not keep, becomes 0 */
        break;
    case PARO_CACHE_KIND_UINT32:
        memcpy(&u32, at, sizeof u32);
        v.integer = u32;
        break;
    case PARO_CACHE_KIND_INT64:
        memcpy(&v.integer, at, sizeof v.integer);
        break;
    case PARO_CACHE_KIND_BOOL:
        memcpy(&flag, at, sizeof flag);
        v.integer = flag;
        break;
    }
    return v;
}

static bool is_hex(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
            return false;
    return true;
}

/* NULL where the value may stand in the column; else what was expected. */
static const char *value_wrong(const paro_cache_field *field, const value *v)
{
    switch (field->kind) {
    case PARO_CACHE_KIND_TEXT:
    case PARO_CACHE_KIND_BLOB:
        if (v->n_bytes > field->max_bytes)
            return "a shorter one";
        return field->needed && v->n_bytes == 0 ? "one that is not empty" : NULL;
    case PARO_CACHE_KIND_HEX:
        if (v->n_bytes == 0)
            return field->needed ? "64 hexadecimal digits" : NULL;
        return v->n_bytes == PARO_SHA256_HEX_BYTES - 1 && is_hex(v->bytes, v->n_bytes)
                   ? NULL
                   : "64 hexadecimal digits";
    case PARO_CACHE_KIND_REAL:
        return isfinite(v->real) ? NULL : "a finite number";
    case PARO_CACHE_KIND_UINT32:
        return v->integer >= 0 && v->integer <= UINT32_MAX ? NULL : "32 bits";
    case PARO_CACHE_KIND_BOOL:
        return v->integer == 0 || v->integer == 1 ? NULL : "0 or 1";
    case PARO_CACHE_KIND_INT64:
        break;
    }
    return NULL;
}

paro_status paro_cache_row_check(paro_error *err, const paro_cache_table *table, const void *row)
{
    for (size_t i = 0; i < table->n_fields; i++) {
        const paro_cache_field *field = &table->fields[i];
        value v = value_get(field, row);
        const char *expected = value_wrong(field, &v);
        if (expected == NULL)
            continue;
        if (field->kind == PARO_CACHE_KIND_TEXT || field->kind == PARO_CACHE_KIND_BLOB)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "%s to store: %s: expected %s, found %zu bytes (at most %zu)",
                             table->noun, field->name, expected, v.n_bytes, field->max_bytes);
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s to store: %s: expected %s",
                         table->noun, field->name, expected);
    }
    return PARO_STATUS_OK;
}

/* ---- hash --------------------------------------------------------------------------------------
 */

static bool append_u64(paro_buffer *out, char letter, uint64_t number)
{
    unsigned char bytes[9] = {(unsigned char)letter};
    for (int i = 0; i < 8; i++)
        bytes[1 + i] = (unsigned char)(number >> (8 * i));
    return paro_buffer_append(out, bytes, sizeof bytes);
}

static bool append_bytes(paro_buffer *out, char letter, const void *bytes, size_t n_bytes)
{
    return append_u64(out, letter, n_bytes) && paro_buffer_append(out, bytes, n_bytes);
}

bool paro_cache_row_hash(const paro_cache_table *table, uint32_t version, const void *row,
                         paro_buffer *scratch, char out[PARO_SHA256_HEX_BYTES])
{
    static const char mark[] = "paro cache row";
    paro_buffer_clear(scratch);
    bool ok = paro_buffer_append(scratch, mark, sizeof mark) && append_u64(scratch, 'i', version) &&
              append_bytes(scratch, 't', table->name, strlen(table->name));
    for (size_t i = 0; ok && i < table->n_fields; i++) {
        const paro_cache_field *field = &table->fields[i];
        if (field->since > version)
            continue;
        value v = value_get(field, row);
        uint64_t bits;
        switch (field->kind) {
        case PARO_CACHE_KIND_TEXT:
        case PARO_CACHE_KIND_HEX:
            ok = append_bytes(scratch, 't', v.bytes, v.n_bytes);
            break;
        case PARO_CACHE_KIND_BLOB:
            ok = append_bytes(scratch, 'b', v.bytes, v.n_bytes);
            break;
        case PARO_CACHE_KIND_REAL:
            memcpy(&bits, &v.real, sizeof bits);
            ok = append_u64(scratch, 'r', bits);
            break;
        default:
            ok = append_u64(scratch, 'i', (uint64_t)v.integer);
            break;
        }
    }
    if (ok)
        paro_sha256_hex(scratch->data, scratch->n_bytes, out);
    return ok;
}

/* ---- to and from statements --------------------------------------------------------------------
 */

int paro_cache_row_bind(sqlite3_stmt *statement, const paro_cache_table *table, const void *row,
                        const char *hash)
{
    int rc = sqlite3_bind_text(statement, 1, hash, -1, SQLITE_STATIC);
    for (size_t i = 0; rc == SQLITE_OK && i < table->n_fields; i++) {
        const paro_cache_field *field = &table->fields[i];
        value v = value_get(field, row);
        int at = (int)i + 2;
        switch (field->kind) {
        case PARO_CACHE_KIND_TEXT:
        case PARO_CACHE_KIND_HEX:
            rc = sqlite3_bind_text64(statement, at, v.bytes, v.n_bytes, SQLITE_STATIC, SQLITE_UTF8);
            break;
        case PARO_CACHE_KIND_BLOB:
            rc = sqlite3_bind_blob64(statement, at, v.bytes, v.n_bytes, SQLITE_STATIC);
            break;
        case PARO_CACHE_KIND_REAL:
            rc = sqlite3_bind_double(statement, at, v.real);
            break;
        default:
            rc = sqlite3_bind_int64(statement, at, v.integer);
            break;
        }
    }
    return rc;
}

static int sql_storage(paro_cache_kind kind)
{
    switch (kind) {
    case PARO_CACHE_KIND_TEXT:
    case PARO_CACHE_KIND_HEX:
        return SQLITE_TEXT;
    case PARO_CACHE_KIND_REAL:
        return SQLITE_FLOAT;
    case PARO_CACHE_KIND_BLOB:
        return SQLITE_BLOB;
    default:
        return SQLITE_INTEGER;
    }
}

/* Column `at` into the field of the row. */
static paro_cache_read read_field(sqlite3_stmt *statement, int at, const paro_cache_field *field,
                                  paro_arena *arena, void *row)
{
    if (sqlite3_column_type(statement, at) != sql_storage(field->kind))
        return PARO_CACHE_READ_DAMAGED;
    value v = {"", 0, 0, 0.0};
    if (field->kind == PARO_CACHE_KIND_TEXT || field->kind == PARO_CACHE_KIND_HEX) {
        v.bytes = sqlite3_column_text(statement, at);
        v.n_bytes = (size_t)sqlite3_column_bytes(statement, at);
        if (v.bytes == NULL)
            return PARO_CACHE_READ_NO_MEMORY;
        if (memchr(v.bytes, 0, v.n_bytes) != NULL)
            return PARO_CACHE_READ_DAMAGED;
    } else if (field->kind == PARO_CACHE_KIND_BLOB) {
        v.bytes = sqlite3_column_blob(statement, at);
        v.n_bytes = (size_t)sqlite3_column_bytes(statement, at);
        if (v.bytes == NULL)
            return v.n_bytes > 0 ? PARO_CACHE_READ_NO_MEMORY : PARO_CACHE_READ_DAMAGED;
    } else if (field->kind == PARO_CACHE_KIND_REAL) {
        v.real = sqlite3_column_double(statement, at);
    } else {
        v.integer = sqlite3_column_int64(statement, at);
    }
    if (value_wrong(field, &v) != NULL)
        return PARO_CACHE_READ_DAMAGED;

    char *to = (char *)row + field->offset;
    switch (field->kind) {
    case PARO_CACHE_KIND_TEXT:
    case PARO_CACHE_KIND_BLOB: {
        char *copy = paro_arena_alloc(arena, v.n_bytes + 1); /* zeroed: terminated */
        if (copy == NULL)
            return PARO_CACHE_READ_NO_MEMORY;
        memcpy(copy, v.bytes, v.n_bytes);
        memcpy(to, &copy, sizeof copy);
        if (field->kind == PARO_CACHE_KIND_BLOB)
            memcpy((char *)row + field->n_bytes_offset, &v.n_bytes, sizeof v.n_bytes);
        break;
    }
    case PARO_CACHE_KIND_HEX:
        memcpy(to, v.bytes, v.n_bytes);
        break;
    case PARO_CACHE_KIND_REAL:
        memcpy(to, &v.real, sizeof v.real);
        break;
    case PARO_CACHE_KIND_UINT32: {
        uint32_t u32 = (uint32_t)v.integer;
        memcpy(to, &u32, sizeof u32);
        break;
    }
    case PARO_CACHE_KIND_INT64:
        memcpy(to, &v.integer, sizeof v.integer);
        break;
    case PARO_CACHE_KIND_BOOL: {
        bool flag = v.integer != 0;
        memcpy(to, &flag, sizeof flag);
        break;
    }
    }
    return PARO_CACHE_READ_SOUND;
}

paro_cache_read paro_cache_row_read(sqlite3_stmt *statement, const paro_cache_table *table,
                                    uint32_t version, paro_arena *arena, paro_buffer *scratch,
                                    paro_cache_row *row, char hash[PARO_SHA256_HEX_BYTES])
{
    paro_cache_row found;
    memset(&found, 0, sizeof found);
    int at = 2;
    for (size_t i = 0; i < table->n_fields; i++) {
        const paro_cache_field *field = &table->fields[i];
        if (field->since > version) {
            const char *none = "";
            if (field->kind == PARO_CACHE_KIND_TEXT)
                memcpy((char *)&found + field->offset, &none, sizeof none);
            continue;
        }
        paro_cache_read state = read_field(statement, at++, field, arena, &found);
        if (state != PARO_CACHE_READ_SOUND)
            return state;
    }
    char expected[PARO_SHA256_HEX_BYTES];
    if (!paro_cache_row_hash(table, version, &found, scratch, expected))
        return PARO_CACHE_READ_NO_MEMORY;
    if (sqlite3_column_type(statement, 1) != SQLITE_TEXT ||
        sqlite3_column_bytes(statement, 1) != PARO_SHA256_HEX_BYTES - 1)
        return PARO_CACHE_READ_DAMAGED;
    const unsigned char *stored = sqlite3_column_text(statement, 1);
    if (stored == NULL)
        return PARO_CACHE_READ_NO_MEMORY;
    if (memcmp(stored, expected, PARO_SHA256_HEX_BYTES - 1) != 0)
        return PARO_CACHE_READ_DAMAGED;
    memcpy(row, &found, sizeof found);
    if (hash != NULL)
        memcpy(hash, expected, PARO_SHA256_HEX_BYTES);
    return PARO_CACHE_READ_SOUND;
}
