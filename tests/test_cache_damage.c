/* SPDX-License-Identifier: MIT
 *
 * Damaged files: every byte flipped, every prefix, pages exchanged. No crash, and whatever is
 * served is what was put.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>

#include "base/rng.h"
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

enum { N_ROWS = 3, PAGE = 512 };

/* A small cache of small pages. */
static char *make_small(const char *dir, char **bytes, size_t *n_bytes)
{
    paro_error err;
    char *path = test_path(dir, "cache.db");
    paro_cache *cache = test_cache_open(path, false);
    test_cache_fill(cache, 0, N_ROWS);
    paro_cache_free(cache);
    test_sql(path, "PRAGMA page_size=512; VACUUM");
    assert_ok(paro_file_read(&err, path, 1 << 20, bytes, n_bytes));
    return path;
}

typedef struct served {
    unsigned n, n_refused;
} served;

/* Whatever is served is what was put. */
static void check_served(const char *path, const char *what, size_t at, served *s)
{
    paro_error err;
    paro_arena arena = {0};
    paro_cache *cache = NULL;
    paro_cache_info info;
    paro_cache_options options = {.path = path, .read_only = true};
    paro_status status = paro_cache_open(&err, &options, &cache);
    if (status != PARO_STATUS_OK) {
        if (status != PARO_STATUS_FORMAT && status != PARO_STATUS_IO)
            fail_msg("%s %zu: open: %s: %s", what, at, paro_status_name(status), err.message);
        s->n_refused++;
        return;
    }
    for (unsigned i = 0; i < N_ROWS; i++) {
        test_row row;
        paro_cache_kernel kernel;
        paro_cache_winner winner;
        test_row_make(&row, i);
        status = paro_cache_get_kernel(&err, cache, row.kernel.key, &arena, &kernel);
        s->n += status == PARO_STATUS_OK;
        if (status == PARO_STATUS_OK && !test_kernel_equal(&kernel, &row.kernel))
            fail_msg("%s %zu: another kernel is served", what, at);
        status = paro_cache_get_winner(&err, cache, row.problem, row.winner.device_class,
                                       row.winner.template_hash, NULL, &arena, &winner);
        s->n += status == PARO_STATUS_OK;
        if (status == PARO_STATUS_OK && !test_winner_equal(&winner, &row.winner))
            fail_msg("%s %zu: another winner is served", what, at);
    }
    test_seen all = {0};
    (void)paro_cache_each_winner(&err, cache, NULL, NULL, test_see_winner, &all);
    (void)paro_cache_each_kernel(&err, cache, NULL, test_see_kernel, &all);
    (void)paro_cache_each_timing(&err, cache, NULL, NULL, test_see_timing, &all);
    if (all.n != all.n_equal)
        fail_msg("%s %zu: another row is walked over", what, at);
    if (at % 4 == 0)
        (void)paro_cache_verify(&err, cache, &info);
    paro_arena_release(&arena);
    paro_cache_free(cache);
}

/* Written into all the same: puts succeed or fail, and what is then served is what was put. */
static void check_written(const char *path, const char *what, size_t at)
{
    paro_error err;
    paro_cache *cache = NULL;
    paro_cache_options options = {.path = path};
    served s = {0};
    uint64_t n_removed;
    if (paro_cache_open(&err, &options, &cache) == PARO_STATUS_OK) {
        char today[1][PARO_SHA256_HEX_BYTES];
        test_row row;
        test_row_make(&row, 1);
        test_hex("template", 0, today[0]);
        (void)paro_cache_put_kernel(&err, cache, &row.kernel);
        (void)paro_cache_put_winner(&err, cache, &row.winner);
        (void)paro_cache_put_timing(&err, cache, &row.timing);
        (void)paro_cache_prune(&err, cache, (const char(*)[PARO_SHA256_HEX_BYTES])today, 1, false,
                               &n_removed);
    }
    paro_cache_free(cache);
    check_served(path, what, at, &s);
}

static void write_at(const char *path, size_t at, const void *data, size_t n_bytes)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, n_bytes, (off_t)at), n_bytes);
    close(fd);
}

static void test_every_byte_flipped(void **state)
{
    const size_t step = TEST_SANITIZED ? 7 : 1, write_step = TEST_SANITIZED ? 7 * 64 : 96;
    char *bytes = NULL;
    size_t n_bytes = 0;
    char *path = make_small(*state, &bytes, &n_bytes);
    char *copy = test_path(*state, "copy.db");
    served sound = {0}, s = {0};
    check_served(path, "sound", 0, &sound);
    assert_int_equal(sound.n, 2 * N_ROWS);
    for (size_t i = 0; i < n_bytes; i += step) {
        char flipped = (char)~bytes[i];
        write_at(path, i, &flipped, 1);
        check_served(path, "byte", i, &s);
        write_at(path, i, &bytes[i], 1);
        if (i % write_step == 0) {
            test_file_write(*state, "copy.db", bytes, n_bytes);
            write_at(copy, i, &flipped, 1);
            check_written(copy, "written byte", i);
        }
    }
    check_served(path, "sound", 0, &s);
    print_message("%zu bytes flipped: %u files refused, %u rows served\n", n_bytes / step,
                  s.n_refused, s.n);
    assert_true(s.n_refused > 0 && s.n > n_bytes / step);
    free(bytes);
    free(path);
    free(copy);
}

/* Two bits, anywhere: other numbers than the complement. */
static void test_bits_flipped(void **state)
{
    const size_t n = TEST_SANITIZED ? 300 : 2000;
    char *bytes = NULL;
    size_t n_bytes = 0;
    char *path = make_small(*state, &bytes, &n_bytes);
    served s = {0};
    paro_rng rng;
    paro_rng_seed(&rng, 1);
    for (size_t i = 0; i < n; i++) {
        size_t at[2];
        for (int k = 0; k < 2; k++) {
            at[k] = paro_rng_below(&rng, n_bytes);
            char flipped = (char)(bytes[at[k]] ^ (1 << paro_rng_below(&rng, 8)));
            write_at(path, at[k], &flipped, 1);
        }
        check_served(path, "bits", at[0], &s);
        for (int k = 0; k < 2; k++)
            write_at(path, at[k], &bytes[at[k]], 1);
    }
    free(bytes);
    free(path);
}

static void test_every_prefix(void **state)
{
    const size_t step = TEST_SANITIZED ? 11 : 1;
    char *bytes = NULL;
    size_t n_bytes = 0;
    char *path = make_small(*state, &bytes, &n_bytes);
    char *copy = test_path(*state, "copy.db");
    served s = {0};
    for (size_t n = n_bytes; n > 0; n = n > step ? n - step : 0) {
        assert_int_equal(truncate(path, (off_t)(n - 1)), 0);
        check_served(path, "prefix", n - 1, &s);
        if (n % 509 == 0) {
            test_file_write(*state, "copy.db", bytes, n - 1);
            check_written(copy, "written prefix", n - 1);
        }
    }
    assert_true(s.n_refused > 0);
    free(bytes);
    free(path);
    free(copy);
}

static void test_pages_exchanged(void **state)
{
    char *bytes = NULL;
    size_t n_bytes = 0;
    char *path = make_small(*state, &bytes, &n_bytes);
    served s = {0};
    const size_t step = TEST_SANITIZED ? 3 : 1;
    for (size_t a = 0; a < n_bytes / PAGE; a += step)
        for (size_t b = a + 1; b < n_bytes / PAGE; b += step) {
            write_at(path, a * PAGE, bytes + b * PAGE, PAGE);
            check_served(path, "page twice", a * PAGE, &s);
            write_at(path, b * PAGE, bytes + a * PAGE, PAGE);
            check_served(path, "pages exchanged", a * PAGE, &s);
            write_at(path, a * PAGE, bytes + a * PAGE, PAGE);
            write_at(path, b * PAGE, bytes + b * PAGE, PAGE);
        }
    free(bytes);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_byte_flipped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bits_flipped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_prefix, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pages_exchanged, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
