/* SPDX-License-Identifier: MIT
 *
 * Whole files: row hashes, migration, iteration, damaged rows, verification, pruning.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/layer.h"
#include "cache/rows.h"
#include "tests/support.h"
#include "tests/test_cache_rows.h"

static int set_up(void **state)
{
    *state = test_dir_new();
    return 0;
}

static int tear_down(void **state)
{
    test_dir_remove(*state);
    return 0;
}

/* ---- hashes and migration ----------------------------------------------------------------------
 */

/* Computed by tests/goldens/make_cache_hash.py, which knows only the description in rows.h. */
static void test_hash_is_as_described(void **state)
{
    (void)state;
    static const char *const expected[][PARO_CACHE_TABLE_COUNT] = {
        {"b42aa18ccf7f1553924cdc57a95376db6114809375cce83d3e20be4b9cf90c00",
         "6feb3c4c806e21861497c29e031948f5cc5da6fadbc944354918f66df5e94024",
         "164410885787a3b8575e38765085ea05c605aa5d5542dcd298e17faf1da001f5"},
        {"0374d1ce5ea38f2e8c950dfdc252e267082a1e56ba5d4f2ad3d5b2bfadf11a3f",
         "c26d161835e61fa5f5d3685b3b03ea4c9a551fd7aad323f9cc36e227bba43433",
         "87f331211ad49ba5616835fd719cae1462e28a4a122f2773d59b242cfc18ff8a"},
    };
    paro_buffer scratch = {0};
    test_row row;
    test_row_make(&row, 5);
    const void *const rows[] = {&row.winner, &row.kernel, &row.timing};
    for (uint32_t version = 1; version <= 2; version++)
        for (int t = 0; t < PARO_CACHE_TABLE_COUNT; t++) {
            char hash[PARO_SHA256_HEX_BYTES];
            assert_true(
                paro_cache_row_hash(&paro_cache_tables[t], version, rows[t], &scratch, hash));
            assert_string_equal(hash, expected[version - 1][t]);
        }
    paro_buffer_free(&scratch);
}

/* Every column counts: one changed changes the hash. */
static void test_hash_covers_all_columns(void **state)
{
    (void)state;
    paro_buffer scratch = {0};
    for (int t = 0; t < PARO_CACHE_TABLE_COUNT; t++)
        for (size_t f = 0; f < paro_cache_tables[t].n_fields; f++) {
            const paro_cache_field *field = &paro_cache_tables[t].fields[f];
            char before[PARO_SHA256_HEX_BYTES], after[PARO_SHA256_HEX_BYTES];
            test_row row;
            test_row_make(&row, 5);
            void *const rows[] = {&row.winner, &row.kernel, &row.timing};
            char *at = (char *)rows[t] + field->offset;
            const char *other = "other";
            assert_true(paro_cache_row_hash(&paro_cache_tables[t], 2, rows[t], &scratch, before));
            if (field->kind == PARO_CACHE_KIND_TEXT)
                memcpy(at, &other, sizeof other);
            else if (field->kind == PARO_CACHE_KIND_BLOB)
                row.binary[row.kernel.n_bytes - 1] ^= 1;
            else
                at[0] ^= 1;
            assert_true(paro_cache_row_hash(&paro_cache_tables[t], 2, rows[t], &scratch, after));
            if (strcmp(before, after) == 0)
                fail_msg("%s does not count", field->name);
        }
    paro_buffer_free(&scratch);
}

/* Version 1, to the letter: what files in the world may hold. */
static const char schema_1[] =
    "CREATE TABLE winners(row_hash TEXT NOT NULL,problem TEXT NOT NULL,device_class TEXT NOT NULL,"
    "template_hash TEXT NOT NULL,layout TEXT NOT NULL,config TEXT NOT NULL,kernel TEXT NOT NULL,"
    "median_us REAL NOT NULL,spread_us REAL NOT NULL,default_us REAL NOT NULL,"
    "n_samples INTEGER NOT NULL,clock_mhz INTEGER NOT NULL,clock TEXT NOT NULL,"
    "device TEXT NOT NULL,driver TEXT NOT NULL,strategy TEXT NOT NULL,tuned_at INTEGER NOT NULL);"
    "CREATE TABLE kernels(row_hash TEXT NOT NULL,key TEXT NOT NULL,source_hash TEXT NOT NULL,"
    "family TEXT NOT NULL,arch TEXT NOT NULL,nvrtc TEXT NOT NULL,is_ptx INTEGER NOT NULL,"
    "signature TEXT NOT NULL,resources TEXT NOT NULL,binary BLOB NOT NULL);"
    "CREATE TABLE timings(row_hash TEXT NOT NULL,problem TEXT NOT NULL,device_class TEXT NOT NULL,"
    "config TEXT NOT NULL,template_hash TEXT NOT NULL,state TEXT NOT NULL,reason TEXT NOT NULL,"
    "median_us REAL NOT NULL,spread_us REAL NOT NULL,min_us REAL NOT NULL,"
    "n_samples INTEGER NOT NULL,clock_mhz INTEGER NOT NULL,clock TEXT NOT NULL,"
    "measured_at INTEGER NOT NULL);"
    "CREATE UNIQUE INDEX winners_key ON winners(problem,device_class,template_hash,layout);"
    "CREATE UNIQUE INDEX kernels_key ON kernels(key);"
    "CREATE INDEX kernels_source ON kernels(source_hash,arch);"
    "CREATE UNIQUE INDEX timings_hash ON timings(row_hash);"
    "CREATE INDEX timings_problem ON timings(problem,device_class);"
    "PRAGMA application_id=1346458191;PRAGMA user_version=1";

static void insert_1(sqlite3 *db, paro_cache_table_id t, const void *row)
{
    const paro_cache_table *table = &paro_cache_tables[t];
    paro_buffer sql = {0}, scratch = {0};
    char hash[PARO_SHA256_HEX_BYTES];
    sqlite3_stmt *statement = NULL;
    assert_true(paro_cache_row_hash(table, 1, row, &scratch, hash));
    /* today's binding fills ?1, ?2, … by field; version 1 leaves some of them out */
    assert_true(paro_buffer_printf(&sql, "INSERT INTO %s VALUES(?1", table->name));
    for (size_t i = 0; i < table->n_fields; i++)
        if (table->fields[i].since <= 1)
            assert_true(paro_buffer_printf(&sql, ",?%zu", i + 2));
    assert_true(paro_buffer_printf(&sql, ")"));
    assert_int_equal(sqlite3_prepare_v2(db, sql.data, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(paro_cache_row_bind(statement, table, row, hash), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
    sqlite3_finalize(statement);
    paro_buffer_free(&sql);
    paro_buffer_free(&scratch);
}

static void make_version_1(const char *path, unsigned n)
{
    sqlite3 *db = NULL;
    test_sql(path, schema_1);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    for (unsigned i = 0; i < n; i++) {
        test_row row;
        test_row_make(&row, i);
        insert_1(db, PARO_CACHE_WINNERS, &row.winner);
        insert_1(db, PARO_CACHE_KERNELS, &row.kernel);
        insert_1(db, PARO_CACHE_TIMINGS, &row.timing);
    }
    sqlite3_close(db);
}

static void test_migration(void **state)
{
    paro_error err;
    paro_buffer log = {0};
    paro_observer observer = {.context = &log, .log = test_log_keep};
    paro_cache *cache = NULL;
    paro_cache_info info;
    paro_merge_result merged;
    char *path = test_path(*state, "cache.db"), *other = test_path(*state, "other.db");
    make_version_1(path, 6);

    /* where nothing may be written, the older rows are read as they are */
    cache = test_cache_open(path, true);
    test_assert_holds(cache, 6, true);
    assert_ok(paro_cache_get_info(&err, cache, &info));
    assert_int_equal(info.schema, 1);
    paro_cache_free(cache);
    paro_cache_options options = {.system_path = path};
    assert_ok(paro_cache_open(&err, &options, &cache));
    test_assert_holds(cache, 6, true);
    paro_cache_free(cache);
    cache = test_cache_open(other, false);
    assert_ok(paro_cache_import(&err, cache, path, NULL, &merged));
    assert_int_equal(merged.n_winners_added, 6);
    test_assert_holds(cache, 6, true);
    paro_cache_free(cache);

    /* one row is damaged: it is left behind */
    test_sql(path, "UPDATE winners SET median_us=1 WHERE rowid=2");
    options = (paro_cache_options){.path = path, .observer = &observer};
    assert_ok(paro_cache_open(&err, &options, &cache));
    assert_non_null(strstr(log.data, "winner 2 is damaged"));
    assert_non_null(strstr(log.data, "migrated from schema 1 to 2: 17 rows, and 1 damaged"));
    test_row row;
    test_row_make(&row, 1);
    row.winner.n_candidates = row.winner.n_ties = 0;
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    test_assert_holds(cache, 6, true);
    paro_cache_free(cache);
    paro_buffer_clear(&log);
    assert_ok(paro_cache_open(&err, &options, &cache)); /* now it is as a new one */
    test_assert_holds(cache, 6, true);
    assert_ok(paro_cache_verify(&err, cache, &info));
    assert_int_equal(info.schema, 2);
    assert_int_equal(info.n_damaged, 0);
    assert_int_equal(log.n_bytes, 0);
    paro_cache_free(cache);
    paro_buffer_free(&log);
    free(path);
    free(other);
}

/* ---- iteration, damage -------------------------------------------------------------------------
 */

static void test_each(void **state)
{
    paro_error err;
    paro_cache *cache = NULL;
    char *system_path = test_path(*state, "system.db"), *path = test_path(*state, "cache.db");
    cache = test_cache_open(system_path, false);
    test_cache_fill(cache, 0, 7);
    paro_cache_free(cache);
    cache = test_cache_open(path, false);
    test_cache_fill(cache, 5, 12);
    paro_cache_free(cache);
    paro_cache_options options = {.path = path, .system_path = system_path};
    assert_ok(paro_cache_open(&err, &options, &cache));
    test_assert_holds(cache, 12, false); /* 5 and 6 once */
    test_seen some = {.stop_at = 4};
    assert_ok(paro_cache_each_winner(&err, cache, NULL, NULL, test_see_winner, &some));
    assert_int_equal(some.n, 4);
    some = (test_seen){0};
    assert_ok(paro_cache_each_winner(&err, cache, "linear_w", NULL, test_see_winner, &some));
    assert_ok(paro_cache_each_winner(&err, cache, "linear_w4", "cc75", test_see_winner, &some));
    assert_ok(paro_cache_each_kernel(&err, cache, "linear", test_see_kernel, &some));
    assert_ok(paro_cache_each_timing(&err, cache, "linear_w4", NULL, test_see_timing, &some));
    assert_int_equal(some.n, 0);
    test_row row;
    test_row_make(&row, 3);
    assert_ok(paro_cache_each_winner(&err, cache, "linear_w4", row.winner.device_class,
                                     test_see_winner, &some));
    assert_int_equal(some.n, 12);
    assert_ok(paro_cache_each_kernel(&err, cache, "linear_w4", test_see_kernel, &some));
    assert_int_equal(some.n, 24);
    assert_ok(paro_cache_each_timing(&err, cache, row.problem, row.winner.device_class,
                                     test_see_timing, &some));
    assert_int_equal(some.n, 25);
    paro_cache_free(cache);
    free(system_path);
    free(path);
}

/* Rows changed behind the cache's back are not served; the system's then are. */
static void test_damaged_rows(void **state)
{
    static const char *const damages[] = {
        "UPDATE winners SET config='tile=128,warps=4'",
        "UPDATE winners SET kernel=(SELECT key FROM kernels WHERE key<>kernel)",
        "UPDATE winners SET n_ties=n_ties+1",
        "UPDATE winners SET median_us=-1.0",
        "UPDATE winners SET n_samples='many'",
        "UPDATE winners SET n_samples=5000000000",
        "UPDATE winners SET driver=x'00ff'",
        "UPDATE winners SET config=CAST(x'746900' AS TEXT)",
        "UPDATE winners SET driver=printf('%.*c',3000000,'x')",
        "UPDATE winners SET row_hash=''",
        "UPDATE winners SET row_hash=7",
        "UPDATE kernels SET binary=zeroblob(length(binary))",
        "UPDATE kernels SET binary='text'",
        "UPDATE kernels SET binary=x''",
        "UPDATE kernels SET binary=zeroblob(40000000)",
        "UPDATE kernels SET arch='sm_80'",
        "UPDATE kernels SET is_ptx=1",
        "UPDATE kernels SET is_ptx=2",
        "UPDATE kernels SET signature=signature||' '",
        "UPDATE kernels SET row_hash=upper(row_hash)",
    };
    paro_error err;
    paro_arena arena = {0};
    paro_cache_winner winner;
    paro_cache_kernel kernel;
    paro_cache_info info;
    test_row row;
    char *system_path = test_path(*state, "system.db"), *path = test_path(*state, "cache.db");
    paro_cache *cache = test_cache_open(system_path, false);
    test_cache_fill(cache, 0, 3);
    paro_cache_free(cache);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        const bool of_winners = strncmp(damages[i], "UPDATE winners", 14) == 0;
        cache = test_cache_open(path, false);
        test_cache_fill(cache, 0, 3);
        paro_cache_free(cache);
        test_sql(path, damages[i]);
        cache = test_cache_open(path, true);
        test_row_make(&row, 1);
        paro_status status =
            of_winners ? paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                               row.winner.template_hash, NULL, &arena, &winner)
                       : paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel);
        if (status != PARO_STATUS_NOT_FOUND)
            fail_msg("%s: %s", damages[i], paro_status_name(status));
        paro_cache_free(cache);

        paro_cache_options options = {.path = path, .system_path = system_path};
        assert_ok(paro_cache_open(&err, &options, &cache));
        assert_ok(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                        row.winner.template_hash, NULL, &arena, &winner));
        assert_true(test_winner_equal(&winner, &row.winner));
        assert_ok(paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel));
        assert_true(test_kernel_equal(&kernel, &row.kernel));
        paro_status verified = paro_cache_verify(&err, cache, &info);
        if (strstr(damages[i], "40000000") != NULL) /* SQLite itself refuses: it is too long */
            assert_int_equal(verified, PARO_STATUS_FORMAT);
        else
            assert_true(verified == PARO_STATUS_OK && info.n_damaged >= 3);
        /* a good row takes the damaged one's place */
        assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
        assert_ok(paro_cache_put_kernel(&err, cache, &row.kernel));
        paro_cache_free(cache);
        cache = test_cache_open(path, true);
        assert_ok(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                        row.winner.template_hash, NULL, &arena, &winner));
        assert_ok(paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel));
        paro_cache_free(cache);
        assert_int_equal(unlink(path), 0);
    }
    paro_arena_release(&arena);
    free(system_path);
    free(path);
}

static void test_prune(void **state)
{
    paro_error err;
    paro_cache_info info;
    uint64_t n_removed = 0;
    test_row row;
    char *path = test_path(*state, "cache.db");
    paro_cache *cache = test_cache_open(path, false);
    test_cache_fill(cache, 0, 5);
    for (unsigned i = 10; i < 14; i++) { /* of another template */
        test_row_make(&row, i);
        test_hex("template", 1, row.winner.template_hash);
        test_hex("template", 1, row.timing.template_hash);
        assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
        assert_ok(paro_cache_put_kernel(&err, cache, &row.kernel));
        assert_ok(paro_cache_put_timing(&err, cache, &row.timing));
    }
    paro_cache_free(cache);
    test_sql(path, "UPDATE winners SET median_us=1 WHERE rowid=1");
    char today[1][PARO_SHA256_HEX_BYTES];
    test_hex("template", 0, today[0]);
    cache = test_cache_open(path, false);
    assert_ok(paro_cache_prune(&err, cache, (const char(*)[PARO_SHA256_HEX_BYTES])today, 1, false,
                               &n_removed));
    assert_int_equal(n_removed, 5 + 5); /* winners: 4 old, 1 damaged; the kernels they named */
    assert_ok(paro_cache_verify(&err, cache, &info));
    assert_int_equal(info.n_winners, 4);
    assert_int_equal(info.n_kernels, 4);
    assert_int_equal(info.n_timings, 9);
    assert_int_equal(info.n_damaged, 0);
    assert_ok(paro_cache_prune(&err, cache, (const char(*)[PARO_SHA256_HEX_BYTES])today, 1, true,
                               &n_removed));
    assert_int_equal(n_removed, 4);
    assert_ok(paro_cache_prune(&err, cache, (const char(*)[PARO_SHA256_HEX_BYTES])today, 1, true,
                               &n_removed));
    assert_int_equal(n_removed, 0);
    paro_cache_free(cache);
    cache = test_cache_open(path, false); /* the schema is still ours */
    assert_ok(paro_cache_prune(&err, cache, NULL, 0, true, &n_removed));
    assert_int_equal(n_removed, 4 + 4 + 5);
    paro_cache_free(cache);
    cache = test_cache_open(path, true);
    test_assert_holds(cache, 0, false);
    paro_cache_free(cache);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_is_as_described),
        cmocka_unit_test(test_hash_covers_all_columns),
        cmocka_unit_test_setup_teardown(test_migration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prune, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
