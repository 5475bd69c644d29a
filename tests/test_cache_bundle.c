/* SPDX-License-Identifier: MIT
 *
 * Bundles: exported, imported, merged in any order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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
    test_assert_holds(cache, 9, false);
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
    test_assert_holds(cache, 9, false);
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
    const paro_cache_filter ptx = {.arch = "compute_90"}, misspelt = {.arch = "sm_90,sm_80"};
    assert_ok(paro_cache_export(&err, cache, bundle, &ptx, true, NULL));
    assert_int_equal(unlink(bundle), 0);
    assert_fails(paro_cache_export(&err, cache, bundle, &misspelt, true, NULL),
                 PARO_STATUS_INVALID_ARGUMENT,
                 "such as sm_90, sm_90a or compute_90, found 'sm_90,");
    assert_false(paro_path_exists(bundle));
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
    test_assert_holds(cache, 0, false);
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

/* Indexes that lead to another row: what they say of it does not fit its hash; what is asked for
 * counts as missing, and is taken over. */
static void test_import_past_damaged_indexes(void **state)
{
    char *path = test_path(*state, "cache.db"), *bundle = test_path(*state, "bundle");
    paro_error err;
    paro_merge_result merged;
    paro_arena arena = {0};
    paro_cache_kernel kernel;
    test_row row, own;
    test_row_make(&row, 1);
    test_row_make(&own, 0);
    /* What the indexes below hold in the key's place. */
    memcpy(own.kernel.source_hash, row.kernel.key, sizeof own.kernel.source_hash);
    own.winner.config = row.winner.problem;
    own.winner.layout = row.winner.layout;
    paro_cache *cache = test_cache_open(bundle, false);
    assert_ok(paro_cache_put_kernel(&err, cache, &row.kernel));
    assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
    paro_cache_free(cache);
    cache = test_cache_open(path, false);
    assert_ok(paro_cache_put_kernel(&err, cache, &own.kernel));
    assert_ok(paro_cache_put_winner(&err, cache, &own.winner));
    paro_cache_free(cache);
    test_sql(path, "PRAGMA writable_schema=1;UPDATE sqlite_schema SET sql=replace(replace(sql,"
                   "'(key)','(source_hash)'),'(problem,dev','(config,dev') WHERE type='index' AND "
                   "name LIKE '%s_key'");
    test_sql(path, "REINDEX");
    test_sql(path, "PRAGMA writable_schema=1;UPDATE sqlite_schema SET sql=replace(replace(sql,"
                   "'(source_hash)','(key)'),'(config,dev','(problem,dev') WHERE type='index' AND "
                   "name LIKE '%s_key'");
    cache = test_cache_open(path, false);
    assert_ok(paro_cache_import(&err, cache, bundle, NULL, &merged));
    assert_int_equal(merged.n_kernels_added, 1);
    assert_int_equal(merged.n_winners_added, 1);
    assert_int_equal(merged.n_winners_kept + merged.n_winners_replaced, 0);
    assert_ok(paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel));
    assert_true(test_kernel_equal(&kernel, &row.kernel));
    paro_arena_release(&arena);
    paro_cache_free(cache);
    free(path);
    free(bundle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_export_import, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_export_filters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_merge_in_any_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_import_past_damaged_indexes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
