/* SPDX-License-Identifier: MIT
 *
 * Whole files: row hashes, migration, iteration, damaged rows, verification, bundles and merging,
 * pruning.
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

typedef struct seen {
    unsigned n, n_equal;
    bool of_version_1; /* columns that came later are 0 */
    unsigned stop_at;
} seen;

/* Rows are numbered by their problem's n. */
static unsigned number_of(const char *problem)
{
    unsigned n = 0;
    assert_int_equal(sscanf(problem, "linear_w4:n=%u", &n), 1);
    return n - 64;
}

static bool see_winner(void *context, const paro_cache_winner *winner)
{
    seen *s = context;
    test_row row;
    test_row_make(&row, number_of(winner->problem));
    if (s->of_version_1)
        row.winner.n_ties = row.winner.n_candidates = 0;
    s->n_equal += test_winner_equal(winner, &row.winner);
    return ++s->n != s->stop_at;
}

static bool see_timing(void *context, const paro_cache_timing *timing)
{
    seen *s = context;
    test_row row;
    test_row_make(&row, number_of(timing->problem));
    if (s->of_version_1)
        row.timing.error = 0;
    s->n_equal += test_timing_equal(timing, &row.timing);
    return ++s->n != s->stop_at;
}

static bool see_kernel(void *context, const paro_cache_kernel *kernel)
{
    seen *s = context;
    unsigned i = 0;
    test_row row;
    assert_int_equal(sscanf(kernel->signature, "[\"kernel_%u", &i), 1);
    test_row_make(&row, i);
    s->n_equal += test_kernel_equal(kernel, &row.kernel);
    return ++s->n != s->stop_at;
}

/* All that is there is what was put; `n` of each. */
static void assert_holds(paro_cache *cache, unsigned n, bool of_version_1)
{
    paro_error err;
    seen winners = {.of_version_1 = of_version_1}, kernels = winners, timings = winners;
    assert_ok(paro_cache_each_winner(&err, cache, NULL, NULL, see_winner, &winners));
    assert_ok(paro_cache_each_kernel(&err, cache, NULL, see_kernel, &kernels));
    assert_ok(paro_cache_each_timing(&err, cache, NULL, NULL, see_timing, &timings));
    assert_int_equal(winners.n, n);
    assert_int_equal(winners.n_equal, n);
    assert_int_equal(kernels.n, n);
    assert_int_equal(kernels.n_equal, n);
    assert_int_equal(timings.n, n);
    assert_int_equal(timings.n_equal, n);
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
    assert_holds(cache, 6, true);
    assert_ok(paro_cache_get_info(&err, cache, &info));
    assert_int_equal(info.schema, 1);
    paro_cache_free(cache);
    paro_cache_options options = {.system_path = path};
    assert_ok(paro_cache_open(&err, &options, &cache));
    assert_holds(cache, 6, true);
    paro_cache_free(cache);
    cache = test_cache_open(other, false);
    assert_ok(paro_cache_import(&err, cache, path, NULL, &merged));
    assert_int_equal(merged.n_winners_added, 6);
    assert_holds(cache, 6, true);
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
    assert_holds(cache, 6, true);
    paro_cache_free(cache);
    paro_buffer_clear(&log);
    assert_ok(paro_cache_open(&err, &options, &cache)); /* now it is as a new one */
    assert_holds(cache, 6, true);
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
    assert_holds(cache, 12, false); /* 5 and 6 once */
    seen some = {.stop_at = 4};
    assert_ok(paro_cache_each_winner(&err, cache, NULL, NULL, see_winner, &some));
    assert_int_equal(some.n, 4);
    some = (seen){0};
    assert_ok(paro_cache_each_winner(&err, cache, "linear_w", NULL, see_winner, &some));
    assert_ok(paro_cache_each_winner(&err, cache, "linear_w4", "cc75", see_winner, &some));
    assert_ok(paro_cache_each_kernel(&err, cache, "linear", see_kernel, &some));
    assert_ok(paro_cache_each_timing(&err, cache, "linear_w4", NULL, see_timing, &some));
    assert_int_equal(some.n, 0);
    test_row row;
    test_row_make(&row, 3);
    assert_ok(paro_cache_each_winner(&err, cache, "linear_w4", row.winner.device_class, see_winner,
                                     &some));
    assert_int_equal(some.n, 12);
    assert_ok(paro_cache_each_kernel(&err, cache, "linear_w4", see_kernel, &some));
    assert_int_equal(some.n, 24);
    assert_ok(paro_cache_each_timing(&err, cache, row.problem, row.winner.device_class, see_timing,
                                     &some));
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

/* ---- bundles -----------------------------------------------------------------------------------
 */

static void test_export_import(void **state)
{
    paro_error err;
    paro_merge_result merged;
    paro_cache_info info;
    char *path = test_path(*state, "cache.db"), *bundle = test_path(*state, "bundle");
    char *again = test_path(*state, "again"), *other = test_path(*state, "other.db");
    paro_cache *cache = test_cache_open(path, false);
    test_cache_fill(cache, 0, 9);
    const paro_cache_filter all = {.with_timings = true};
    assert_ok(paro_cache_export(&err, cache, bundle, &all, false, NULL));
    assert_fails(paro_cache_export(&err, cache, bundle, &all, false, NULL), PARO_STATUS_EXISTS,
                 "there is a file already");
    assert_ok(paro_cache_export(&err, cache, bundle, &all, true, NULL));
    assert_ok(paro_cache_export(&err, cache, again, NULL, false, NULL));
    char *bytes[2];
    size_t n_bytes[2];
    assert_ok(paro_file_read(&err, bundle, 1 << 24, &bytes[0], &n_bytes[0]));
    assert_ok(paro_file_read(&err, again, 1 << 24, &bytes[1], &n_bytes[1]));
    assert_int_equal(n_bytes[0], n_bytes[1]);
    assert_memory_equal(bytes[0], bytes[1], n_bytes[0]);
    free(bytes[0]);
    free(bytes[1]);
    paro_cache_free(cache);

    cache = test_cache_open(bundle, true); /* a bundle is a cache */
    assert_holds(cache, 9, false);
    assert_ok(paro_cache_verify(&err, cache, &info));
    assert_int_equal(info.n_damaged, 0);
    paro_cache_free(cache);

    cache = test_cache_open(other, false);
    test_cache_fill(cache, 0, 2);
    test_sql(bundle, "UPDATE kernels SET binary=x'00' WHERE rowid=9");
    assert_ok(paro_cache_import(&err, cache, bundle, NULL, &merged));
    assert_int_equal(merged.n_winners_added, 7);
    assert_int_equal(merged.n_winners_kept, 2);
    assert_int_equal(merged.n_winners_replaced, 0);
    assert_int_equal(merged.n_timings_added, 7);
    assert_int_equal(merged.n_damaged, 1);
    const uint64_t n_first = merged.n_kernels_added;
    assert_true(n_first == 6 || n_first == 7); /* which one is damaged follows from its hash */
    assert_ok(paro_cache_import(&err, cache, again, NULL, &merged));
    assert_int_equal(n_first + merged.n_kernels_added, 7);
    assert_holds(cache, 9, false);
    assert_fails(paro_cache_import(&err, cache, other, NULL, &merged), PARO_STATUS_INVALID_ARGUMENT,
                 "than the cache itself");
    assert_fails(paro_cache_import(&err, cache, "/nowhere", NULL, &merged), PARO_STATUS_NOT_FOUND,
                 "no such bundle");
    test_sql(again, "PRAGMA user_version=9");
    assert_fails(paro_cache_import(&err, cache, again, NULL, &merged), PARO_STATUS_UNSUPPORTED,
                 "of schema 2 or older, found 9");
    paro_cache_free(cache);
    free(path);
    free(bundle);
    free(again);
    free(other);
}

static bool stop(void *context, const char *stage, uint64_t done, uint64_t total)
{
    (void)context;
    (void)stage;
    (void)done;
    (void)total;
    return false;
}

/* By problem, by target, without timings; and stopped on request. */
static void test_export_filters(void **state)
{
    paro_error err;
    paro_cache_info info;
    test_row rows[2], row;
    char *path = test_path(*state, "cache.db"), *bundle = test_path(*state, "bundle");
    paro_cache *cache = test_cache_open(path, false);
    test_cache_fill(cache, 0, 6);
    test_row_make(&row, 20);
    row.kernel.arch = "sm_90a";
    assert_ok(paro_cache_put_kernel(&err, cache, &row.kernel));
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    test_row_make(&row, 21);
    row.kernel.arch = "sm_80";
    assert_ok(paro_cache_put_kernel(&err, cache, &row.kernel));
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    test_row_make(&rows[0], 1);
    test_row_make(&rows[1], 4);
    const char *problems[] = {rows[0].problem, rows[1].problem, "absent:m=1"};
    const struct {
        paro_cache_filter filter;
        unsigned n_winners, n_kernels, n_timings;
    } cases[] = {
        {{problems, 3, NULL, true}, 2, 2, 2},    {{problems, 3, NULL, false}, 2, 2, 0},
        {{problems, 1, "sm_80", true}, 0, 0, 1}, {{NULL, 0, "sm_80", false}, 1, 1, 0},
        {{NULL, 0, "sm_90", false}, 7, 7, 0},    {{NULL, 0, "sm_90a", false}, 7, 7, 0},
        {{NULL, 0, NULL, false}, 8, 8, 0},       {{problems, 0, NULL, true}, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_ok(paro_cache_export(&err, cache, bundle, &cases[i].filter, true, NULL));
        paro_cache *out = test_cache_open(bundle, true);
        assert_ok(paro_cache_get_info(&err, out, &info));
        assert_int_equal(info.n_winners, cases[i].n_winners);
        assert_int_equal(info.n_kernels, cases[i].n_kernels);
        assert_int_equal(info.n_timings, cases[i].n_timings);
        paro_cache_free(out);
    }
    assert_int_equal(unlink(bundle), 0);
    paro_observer observer = {.progress = stop};
    assert_fails(paro_cache_export(&err, cache, bundle, NULL, true, &observer),
                 PARO_STATUS_CANCELLED, "export");
    assert_false(paro_path_exists(bundle));
    assert_ok(paro_cache_export(&err, cache, bundle, NULL, true, NULL));
    paro_cache_free(cache);
    char *other = test_path(*state, "other.db");
    paro_merge_result merged;
    cache = test_cache_open(other, false);
    assert_fails(paro_cache_import(&err, cache, bundle, &observer, &merged), PARO_STATUS_CANCELLED,
                 "import");
    assert_holds(cache, 0, false);
    paro_cache_free(cache);
    free(other);
    free(path);
    free(bundle);
}

/* Of three winners for one key the same one stays, whatever the order of merging. */
static void test_merge_in_any_order(void **state)
{
    static const struct {
        uint32_t n_samples;
        double median_us;
        const char *driver;
    } sets[][3] = {
        {{0, 0, "a"}, {5, 9, "b"}, {0, 0, "c"}},     /* timed before not timed */
        {{10, 9, "a"}, {50, 11, "b"}, {20, 8, "c"}}, /* more samples */
        {{10, 9, "a"}, {10, 7, "b"}, {10, 8, "c"}},  /* faster */
    };
    static const unsigned orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                         {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    paro_error err;
    paro_merge_result merged;
    char *path = test_path(*state, "cache.db");
    for (size_t set = 0; set < 4; set++) {
        char *bundles[3];
        char first[16] = "";
        for (unsigned i = 0; i < 3; i++) {
            char name[16];
            test_row row;
            snprintf(name, sizeof name, "%zu-%u", set, i);
            bundles[i] = test_path(*state, name);
            paro_cache *cache = test_cache_open(bundles[i], false);
            test_row_make(&row, 0);
            if (set < 3) {
                row.winner.n_samples = sets[set][i].n_samples;
                row.winner.median_us = sets[set][i].median_us;
                row.winner.driver = sets[set][i].driver;
            } else { /* the greater hash */
                row.winner.driver = name;
            }
            assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
            paro_cache_free(cache);
        }
        for (size_t o = 0; o < 6; o++) {
            paro_arena arena = {0};
            paro_cache_winner winner;
            test_row row;
            paro_cache *cache = test_cache_open(path, false);
            for (unsigned i = 0; i < 3; i++)
                assert_ok(paro_cache_import(&err, cache, bundles[orders[o][i]], NULL, &merged));
            test_row_make(&row, 0);
            assert_ok(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                            row.winner.template_hash, NULL, &arena, &winner));
            if (set < 3)
                assert_string_equal(winner.driver, "b");
            else if (o == 0)
                snprintf(first, sizeof first, "%s", winner.driver);
            else
                assert_string_equal(winner.driver, first);
            paro_arena_release(&arena);
            paro_cache_free(cache);
            assert_int_equal(unlink(path), 0);
        }
        for (unsigned i = 0; i < 3; i++)
            free(bundles[i]);
    }
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
    assert_holds(cache, 0, false);
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
        cmocka_unit_test_setup_teardown(test_export_import, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_export_filters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_merge_in_any_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prune, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
