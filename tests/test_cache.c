/* SPDX-License-Identifier: MIT
 *
 * Puts and gets, transactions, two files, what is refused; migration and files of other schemas.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <sys/stat.h>

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

static void test_round_trip(void **state)
{
    paro_error err;
    paro_arena arena = {0};
    char *path = test_path(*state, "some/folders/cache.db"); /* are made */
    paro_cache *cache = test_cache_open(path, false);
    test_cache_fill(cache, 0, 20);
    paro_cache_free(cache);
    for (int read_only = 0; read_only < 2; read_only++) {
        cache = test_cache_open(path, read_only == 1);
        for (unsigned i = 0; i < 20; i++) {
            test_row row;
            paro_cache_winner winner;
            paro_cache_kernel kernel;
            test_row_make(&row, i);
            assert_ok(paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel));
            assert_true(test_kernel_equal(&kernel, &row.kernel));
            assert_ok(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                            row.winner.template_hash, NULL, &arena, &winner));
            assert_true(test_winner_equal(&winner, &row.winner));
            assert_ok(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                            row.winner.template_hash, row.winner.layout, &arena,
                                            &winner));
            assert_fails(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                               row.winner.template_hash, "none", &arena, &winner),
                         PARO_STATUS_NOT_FOUND, "no winner for linear_w4:n=");
            assert_fails(paro_cache_get_winner(&err, cache, row.problem, "cc75",
                                               row.winner.template_hash, NULL, &arena, &winner),
                         PARO_STATUS_NOT_FOUND, "on cc75");
        }
        /* sources 0 .. 9 each have one of 13.0 and one of 12.9 */
        paro_cache_kernel kernel;
        char hash[PARO_SHA256_HEX_BYTES];
        test_hex("source", 4, hash);
        assert_ok(paro_cache_find_kernel(&err, cache, hash, "sm_90", &arena, &kernel));
        assert_string_equal(kernel.nvrtc, "13.0");
        assert_fails(paro_cache_find_kernel(&err, cache, hash, "sm_80", &arena, &kernel),
                     PARO_STATUS_NOT_FOUND, "for sm_80");
        assert_fails(paro_cache_get_kernel(&err, cache, hash, &arena, &kernel),
                     PARO_STATUS_NOT_FOUND, "no kernel");
        paro_cache_free(cache);
    }
    paro_arena_release(&arena);
    free(path);
}

static void test_versions_are_numbers(void **state)
{
    paro_error err;
    paro_arena arena = {0};
    char *path = test_path(*state, "cache.db");
    paro_cache *cache = test_cache_open(path, false);
    static const char *const versions[] = {"13.10", "9.9", "13.9"};
    for (unsigned i = 0; i < 3; i++) {
        test_row row;
        test_row_make(&row, i);
        test_hex("source", 0, row.kernel.source_hash);
        row.kernel.nvrtc = versions[i];
        assert_ok(paro_cache_put_kernel(&err, cache, &row.kernel));
    }
    char hash[PARO_SHA256_HEX_BYTES];
    paro_cache_kernel kernel;
    test_hex("source", 0, hash);
    assert_ok(paro_cache_find_kernel(&err, cache, hash, "sm_90", &arena, &kernel));
    assert_string_equal(kernel.nvrtc, "13.10");
    paro_cache_free(cache);
    paro_arena_release(&arena);
    free(path);
}

/* Of one key the last row counts; of many layouts the fastest, timed before not timed. */
static void test_replace_and_fastest(void **state)
{
    paro_error err;
    paro_arena arena = {0};
    paro_cache_winner winner;
    paro_cache_info info;
    test_row row;
    char *path = test_path(*state, "cache.db");
    paro_cache *cache = test_cache_open(path, false);
    test_row_make(&row, 0);
    row.winner.median_us = row.winner.n_samples = 0;
    row.winner.layout = "awq";
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    static const double times[] = {20, 5, 9};
    static const char *const layouts[] = {"a", "b", "b"};
    row.winner.n_samples = 3;
    for (int i = 0; i < 3; i++) {
        row.winner.layout = layouts[i];
        row.winner.median_us = times[i];
        assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    }
    assert_ok(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                    row.winner.template_hash, NULL, &arena, &winner));
    assert_string_equal(winner.layout, "b");
    assert_true(winner.median_us == 9);
    /* a timing that is there already is not another one */
    assert_ok(paro_cache_put_timing(&err, cache, &row.timing));
    assert_ok(paro_cache_put_timing(&err, cache, &row.timing));
    row.timing.error = 1;
    assert_ok(paro_cache_put_timing(&err, cache, &row.timing));
    assert_ok(paro_cache_get_info(&err, cache, &info));
    assert_int_equal(info.n_winners, 3);
    assert_int_equal(info.n_timings, 2);
    assert_int_equal(info.schema, PARO_CACHE_SCHEMA);
    paro_cache_free(cache);
    paro_arena_release(&arena);
    free(path);
}

static void test_refused_rows(void **state)
{
    paro_error err;
    test_row row;
    char *path = test_path(*state, "cache.db");
    paro_cache *cache = test_cache_open(path, false);
    char *long_text = calloc(1, 2000);
    assert_non_null(long_text);
    memset(long_text, 'x', 1999);

    test_row_make(&row, 0);
    row.winner.problem = long_text;
    assert_fails(
        paro_cache_put_winner(&err, cache, &row.winner), PARO_STATUS_INVALID_ARGUMENT,
        "winner to store: problem: expected a shorter one, found 1999 bytes (at most 511)");
    test_row_make(&row, 0);
    row.winner.problem = NULL;
    assert_fails(paro_cache_put_winner(&err, cache, &row.winner), PARO_STATUS_INVALID_ARGUMENT,
                 "problem: expected one that is not empty");
    test_row_make(&row, 0);
    row.winner.median_us = NAN;
    assert_fails(paro_cache_put_winner(&err, cache, &row.winner), PARO_STATUS_INVALID_ARGUMENT,
                 "median_us: expected a finite number");
    test_row_make(&row, 0);
    row.winner.kernel[5] = 'G';
    assert_fails(paro_cache_put_winner(&err, cache, &row.winner), PARO_STATUS_INVALID_ARGUMENT,
                 "kernel: expected 64 hexadecimal digits");
    test_row_make(&row, 0);
    row.kernel.key[0] = 0;
    assert_fails(paro_cache_put_kernel(&err, cache, &row.kernel), PARO_STATUS_INVALID_ARGUMENT,
                 "key: expected 64 hexadecimal digits");
    test_row_make(&row, 0);
    row.kernel.binary = NULL;
    assert_fails(paro_cache_put_kernel(&err, cache, &row.kernel), PARO_STATUS_INVALID_ARGUMENT,
                 "binary: expected one that is not empty");
    test_row_make(&row, 0);
    row.kernel.n_bytes = PARO_CACHE_MAX_BINARY_BYTES + (size_t)1;
    assert_fails(paro_cache_put_kernel(&err, cache, &row.kernel), PARO_STATUS_INVALID_ARGUMENT,
                 "binary: expected a shorter one");
    test_row_make(&row, 0);
    row.timing.reason = long_text;
    assert_fails(paro_cache_put_timing(&err, cache, &row.timing), PARO_STATUS_INVALID_ARGUMENT,
                 "reason: expected a shorter one");

    /* texts may be missing, numbers negative zero */
    test_row_make(&row, 0);
    row.winner.clock = row.winner.driver = NULL;
    row.winner.kernel[0] = 0;
    row.winner.spread_us = -0.0;
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    paro_arena arena = {0};
    paro_cache_winner winner;
    assert_ok(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                    row.winner.template_hash, NULL, &arena, &winner));
    assert_string_equal(winner.clock, "");
    assert_string_equal(winner.kernel, "");
    paro_arena_release(&arena);
    paro_cache_free(cache);
    free(long_text);
    free(path);
}

static void test_transactions(void **state)
{
    paro_error err;
    test_row row;
    paro_cache_info info;
    char *path = test_path(*state, "cache.db");
    paro_cache *cache = test_cache_open(path, false);
    test_row_make(&row, 0);
    assert_fails(paro_cache_commit(&err, cache), PARO_STATUS_INVALID_ARGUMENT, "no transaction");
    paro_cache_rollback(cache);
    assert_ok(paro_cache_begin(&err, cache));
    assert_fails(paro_cache_begin(&err, cache), PARO_STATUS_INVALID_ARGUMENT, "within another");
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    assert_ok(paro_cache_get_info(&err, cache, &info));
    assert_int_equal(info.n_winners, 1);
    paro_cache_rollback(cache);
    assert_ok(paro_cache_get_info(&err, cache, &info));
    assert_int_equal(info.n_winners, 0);
    assert_ok(paro_cache_begin(&err, cache));
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    assert_ok(paro_cache_read_begin(&err, cache)); /* of one's own transaction */
    paro_cache_read_end(cache);
    assert_ok(paro_cache_commit(&err, cache));
    assert_ok(paro_cache_get_info(&err, cache, &info));
    assert_int_equal(info.n_winners, 1);

    assert_ok(paro_cache_read_begin(&err, cache));
    assert_ok(paro_cache_read_begin(&err, cache));
    paro_cache_read_end(cache);
    assert_fails(paro_cache_put_winner(&err, cache, &row.winner), PARO_STATUS_INVALID_ARGUMENT,
                 "between paro_cache_read_begin and _end");
    paro_cache_read_end(cache);
    paro_cache_read_end(cache); /* one too many does nothing */
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));

    /* freed in the middle: nothing of it is stored */
    test_row_make(&row, 1);
    assert_ok(paro_cache_begin(&err, cache));
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    paro_cache_free(cache);
    cache = test_cache_open(path, true);
    assert_ok(paro_cache_get_info(&err, cache, &info));
    assert_int_equal(info.n_winners, 1);
    paro_cache_free(cache);
    free(path);
}

static void test_read_only(void **state)
{
    paro_error err;
    test_row row;
    paro_arena arena = {0};
    paro_cache_info info;
    paro_cache_winner winner;
    char *path = test_path(*state, "nowhere/cache.db");
    paro_cache *cache = test_cache_open(path, true); /* a missing one is empty, and is not made */
    test_row_make(&row, 0);
    assert_fails(paro_cache_put_winner(&err, cache, &row.winner), PARO_STATUS_UNSUPPORTED,
                 "opened for reading only");
    assert_fails(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                       row.winner.template_hash, NULL, &arena, &winner),
                 PARO_STATUS_NOT_FOUND, "no winner");
    assert_ok(paro_cache_get_info(&err, cache, &info));
    assert_int_equal(info.n_winners, 0);
    paro_cache_free(cache);
    assert_false(paro_path_exists(path));
    free(path);

    path = test_path(*state, "cache.db");
    cache = test_cache_open(path, false);
    test_cache_fill(cache, 0, 1);
    paro_cache_free(cache);
    cache = test_cache_open(path, true);
    assert_fails(paro_cache_begin(&err, cache), PARO_STATUS_UNSUPPORTED, "for reading only");
    paro_cache_free(cache);
    free(path);
    paro_arena_release(&arena);
}

/* The user's rows hide the system's; what only the system has is found. Paths may hold anything. */
static void test_system_file(void **state)
{
    paro_error err;
    paro_arena arena = {0};
    test_row row;
    paro_cache_winner winner;
    paro_cache_kernel kernel;
    char *system_path = test_path(*state, "system %41?mode=rwc#&x=1 ü.db");
    char *path = test_path(*state, "file:cache.db");
    paro_cache *cache = test_cache_open(system_path, false);
    test_cache_fill(cache, 0, 4);
    paro_cache_free(cache);
    cache = test_cache_open(path, false);
    test_row_make(&row, 0);
    row.winner.driver = "mine";
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    paro_cache_free(cache);
    assert_int_equal(chmod(system_path, 0444), 0);

    paro_cache_options options = {.path = path, .system_path = system_path};
    assert_ok(paro_cache_open(&err, &options, &cache));
    assert_ok(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                    row.winner.template_hash, NULL, &arena, &winner));
    assert_string_equal(winner.driver, "mine");
    test_row_make(&row, 3);
    assert_ok(paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                    row.winner.template_hash, NULL, &arena, &winner));
    assert_true(test_winner_equal(&winner, &row.winner));
    assert_ok(paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel));
    assert_true(test_kernel_equal(&kernel, &row.kernel));
    paro_cache_free(cache);

    /* the system's alone; and one that is not there */
    options = (paro_cache_options){.system_path = system_path};
    assert_ok(paro_cache_open(&err, &options, &cache));
    assert_ok(paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel));
    assert_fails(paro_cache_put_kernel(&err, cache, &row.kernel), PARO_STATUS_INVALID_ARGUMENT,
                 "without a file of the user's");
    paro_cache_free(cache);
    options = (paro_cache_options){.path = path, .system_path = "/nowhere/at/all.db"};
    assert_ok(paro_cache_open(&err, &options, &cache));
    paro_cache_free(cache);
    paro_arena_release(&arena);
    free(system_path);
    free(path);
}

/* ---- other files -------------------------------------------------------------------------------
 */

static void assert_open_fails(const char *path, paro_status expected, const char *words)
{
    for (int read_only = 0; read_only < 2; read_only++) {
        paro_error err;
        paro_cache *cache = NULL;
        paro_cache_options options = {.path = path, .read_only = read_only == 1};
        assert_fails(paro_cache_open(&err, &options, &cache), expected, words);
        assert_non_null(strstr(err.message, path));
        assert_null(cache);
    }
}

static void test_not_a_cache(void **state)
{
    char *path = test_path(*state, "other");
    test_file_write(*state, "other",
                    "this is a text, and not a short one: it is over 100 bytes "
                    "long, as the header of a database is, or a little longer.",
                    114);
    assert_open_fails(path, PARO_STATUS_FORMAT, "not a database");
    assert_int_equal(unlink(path), 0);
    test_sql(path, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    assert_open_fails(path, PARO_STATUS_FORMAT, "another database");
    assert_int_equal(unlink(path), 0);
    test_sql(path, "PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
    assert_open_fails(path, PARO_STATUS_FORMAT, "WAL mode");
    assert_open_fails(*state, PARO_STATUS_INVALID_ARGUMENT, "found a folder");
    free(path);
}

/* An empty file becomes a cache; one that is only read is an empty one. */
static void test_empty_file(void **state)
{
    paro_error err;
    test_row row;
    paro_cache_kernel kernel;
    paro_arena arena = {0};
    char *path = test_path(*state, "cache.db");
    test_file_write(*state, "cache.db", "", 0);
    paro_cache *cache = test_cache_open(path, true);
    test_row_make(&row, 0);
    assert_fails(paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel),
                 PARO_STATUS_NOT_FOUND, "no kernel");
    paro_cache_free(cache);
    cache = test_cache_open(path, false);
    test_cache_fill(cache, 0, 1);
    paro_cache_free(cache);
    paro_arena_release(&arena);
    free(path);
}

static void test_newer_schema(void **state)
{
    paro_error err;
    paro_arena arena = {0};
    paro_buffer log = {0};
    paro_observer observer = {.context = &log, .log = test_log_keep};
    test_row row;
    paro_cache_kernel kernel;
    paro_cache_info info;
    char *path = test_path(*state, "cache.db");
    paro_cache *cache = test_cache_open(path, false);
    test_cache_fill(cache, 0, 2);
    paro_cache_free(cache);
    test_sql(path, "PRAGMA user_version=3; CREATE VIEW later AS SELECT 1");
    test_row_make(&row, 0);
    for (int read_only = 0; read_only < 2; read_only++) {
        paro_cache_options options = {.path = path, .read_only = read_only, .observer = &observer};
        assert_ok(paro_cache_open(&err, &options, &cache));
        assert_non_null(strstr(log.data, "written by a later paro (schema 3, this paro's is 2)"));
        paro_buffer_clear(&log);
        assert_fails(paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel),
                     PARO_STATUS_NOT_FOUND, "no kernel");
        assert_fails(paro_cache_put_kernel(&err, cache, &row.kernel), PARO_STATUS_UNSUPPORTED,
                     "a later paro wrote it");
        assert_ok(paro_cache_get_info(&err, cache, &info));
        assert_int_equal(info.schema, 3);
        assert_int_equal(info.n_kernels, 0);
        paro_cache_free(cache);
    }
    paro_buffer_free(&log);
    paro_arena_release(&arena);
    free(path);
}

/* Whatever is not to the letter our schema is refused. */
static void test_hostile_schemas(void **state)
{
    static const struct {
        const char *sql, *words;
    } cases[] = {
        {"CREATE VIEW v AS SELECT * FROM winners", "found ?"},
        {"CREATE TRIGGER t AFTER INSERT ON winners BEGIN DELETE FROM kernels; END", "found ?"},
        {"CREATE TABLE more(x)", "found CREATE TABLE more(x)"},
        {"CREATE INDEX i ON kernels(arch)", "found CREATE INDEX i ON kernels(arch)"},
        {"DROP TABLE timings", "expected a cache of paro (CREATE TABLE timings"},
        {"DROP INDEX kernels_key", "expected a cache of paro (CREATE UNIQUE INDEX kernels_key"},
        {"ALTER TABLE kernels ADD COLUMN x AS (family||arch)", "CREATE TABLE kernels"},
        {"ALTER TABLE kernels RENAME TO kernels2; CREATE VIEW kernels AS SELECT * FROM kernels2",
         "CREATE TABLE"},
        {"PRAGMA user_version=0", "another database"},
        {"PRAGMA user_version=-1", "another database"},
        {"PRAGMA user_version=1", "expected a cache of paro (CREATE TABLE winners"},
        {"PRAGMA application_id=7", "another database"},
        {"PRAGMA writable_schema=1; UPDATE sqlite_schema SET sql='CREATE TABLE winners(' || "
         "'row_hash)' WHERE name='winners'",
         "found"},
        {"PRAGMA writable_schema=1; UPDATE sqlite_schema SET sql='CREATE VIEW winners AS SELECT 1' "
         "WHERE name='winners'",
         "found"},
        {"PRAGMA writable_schema=1; UPDATE sqlite_schema SET rootpage=100000", "found"},
        {"PRAGMA writable_schema=1; UPDATE sqlite_schema SET type='x', sql=NULL", "found"},
        {"ANALYZE", "found CREATE TABLE sqlite_stat1"},
    };
    char *path = test_path(*state, "cache.db");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        paro_cache *cache = test_cache_open(path, false);
        test_cache_fill(cache, 0, 2);
        paro_cache_free(cache);
        test_sql(path, cases[i].sql);
        assert_open_fails(path, PARO_STATUS_FORMAT, cases[i].words);
        assert_int_equal(unlink(path), 0);
    }
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_versions_are_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replace_and_fastest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_transactions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_system_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_a_cache, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_empty_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_newer_schema, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hostile_schemas, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
