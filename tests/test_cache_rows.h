/* SPDX-License-Identifier: MIT
 *
 * What the cache's tests share: rows made from a number, caches opened and closed, a log that is
 * kept. Include after <cmocka.h> and tests/support.h.
 */
#ifndef PARO_TESTS_TEST_CACHE_ROWS_H
#define PARO_TESTS_TEST_CACHE_ROWS_H

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "cache/cache.h"
#include "tests/support.h"

/* Texts of a row made from a number; the row points into them. */
typedef struct test_row {
    char problem[128], reason[64], signature[64];
    unsigned char binary[700];
    paro_cache_winner winner;
    paro_cache_kernel kernel;
    paro_cache_timing timing;
} test_row;

static inline void test_hex(const char *what, unsigned i, char out[PARO_SHA256_HEX_BYTES])
{
    char text[64];
    int n = snprintf(text, sizeof text, "%s %u", what, i);
    paro_sha256_hex(text, (size_t)n, out);
}

/* A winner, the kernel it names, and a timing; all different for every i. */
static inline void test_row_make(test_row *r, unsigned i)
{
    memset(r, 0, sizeof *r);
    snprintf(r->problem, sizeof r->problem, "linear_w4:n=%u,k=4096,m=1,dtype=f16", 64 + i);
    snprintf(r->reason, sizeof r->reason, "reason %u", i);
    snprintf(r->signature, sizeof r->signature, "[\"kernel_%u\"]", i);
    for (size_t b = 0; b < sizeof r->binary; b++)
        r->binary[b] = (unsigned char)(b * 7 + i);
    paro_cache_winner *w = &r->winner;
    w->problem = r->problem;
    w->device_class = "cc90-sm132-l2_60-smem228-bw49";
    w->layout = i % 2 == 0 ? "mma16" : "awq";
    w->config = "tile=64,warps=4";
    w->median_us = 10.0 + i / 8.0;
    w->spread_us = 0.25;
    w->default_us = 12.5 + i;
    w->n_samples = 100 + i;
    w->clock_mhz = 1980;
    w->clock = "cupti";
    w->device = "NVIDIA H200";
    w->driver = "580.65";
    w->strategy = "halving";
    w->n_candidates = 40;
    w->n_ties = i % 3;
    w->tuned_at = 1790000000 + (int64_t)i;
    test_hex("template", 0, w->template_hash);
    test_hex("kernel", i, w->kernel);
    paro_cache_kernel *k = &r->kernel;
    test_hex("kernel", i, k->key);
    test_hex("source", i / 2, k->source_hash);
    k->family = "linear_w4";
    k->arch = "sm_90";
    k->nvrtc = i % 2 == 0 ? "13.0" : "12.9";
    k->signature = r->signature;
    k->resources = "{}";
    k->binary = r->binary;
    k->n_bytes = 100 + (i * 37) % 600;
    paro_cache_timing *t = &r->timing;
    t->problem = r->problem;
    t->device_class = w->device_class;
    t->config = w->config;
    test_hex("template", 0, t->template_hash);
    t->state = i % 4 == 0 ? "wrong" : "timed";
    t->reason = i % 4 == 0 ? r->reason : "";
    t->median_us = w->median_us;
    t->spread_us = 0.125;
    t->min_us = 9.5;
    t->n_samples = 20;
    t->clock_mhz = 1980;
    t->clock = "cupti";
    t->error = 1e-4 * i;
    t->measured_at = w->tuned_at;
}

static inline paro_cache *test_cache_open(const char *path, bool read_only)
{
    paro_error err;
    paro_cache *cache = NULL;
    paro_cache_options options = {.path = path, .read_only = read_only};
    assert_ok(paro_cache_open(&err, &options, &cache));
    return cache;
}

/* Rows begin .. end - 1 in one transaction. */
static inline void test_cache_fill(paro_cache *cache, unsigned begin, unsigned end)
{
    paro_error err;
    test_row row;
    assert_ok(paro_cache_begin(&err, cache));
    for (unsigned i = begin; i < end; i++) {
        test_row_make(&row, i);
        assert_ok(paro_cache_put_kernel(&err, cache, &row.kernel));
        assert_ok(paro_cache_put_winner(&err, cache, &row.winner));
        assert_ok(paro_cache_put_timing(&err, cache, &row.timing));
    }
    assert_ok(paro_cache_commit(&err, cache));
}

static inline bool test_winner_equal(const paro_cache_winner *a, const paro_cache_winner *b)
{
    return strcmp(a->problem, b->problem) == 0 && strcmp(a->device_class, b->device_class) == 0 &&
           strcmp(a->template_hash, b->template_hash) == 0 && strcmp(a->layout, b->layout) == 0 &&
           strcmp(a->config, b->config) == 0 && strcmp(a->kernel, b->kernel) == 0 &&
           a->median_us == b->median_us && a->spread_us == b->spread_us &&
           a->default_us == b->default_us && a->n_samples == b->n_samples &&
           a->clock_mhz == b->clock_mhz && strcmp(a->clock, b->clock) == 0 &&
           strcmp(a->device, b->device) == 0 && strcmp(a->driver, b->driver) == 0 &&
           strcmp(a->strategy, b->strategy) == 0 && a->n_candidates == b->n_candidates &&
           a->n_ties == b->n_ties && a->tuned_at == b->tuned_at;
}

static inline bool test_kernel_equal(const paro_cache_kernel *a, const paro_cache_kernel *b)
{
    return strcmp(a->key, b->key) == 0 && strcmp(a->source_hash, b->source_hash) == 0 &&
           strcmp(a->family, b->family) == 0 && strcmp(a->arch, b->arch) == 0 &&
           strcmp(a->nvrtc, b->nvrtc) == 0 && strcmp(a->signature, b->signature) == 0 &&
           strcmp(a->resources, b->resources) == 0 && a->is_ptx == b->is_ptx &&
           a->n_bytes == b->n_bytes && memcmp(a->binary, b->binary, a->n_bytes) == 0;
}

static inline bool test_timing_equal(const paro_cache_timing *a, const paro_cache_timing *b)
{
    return strcmp(a->problem, b->problem) == 0 && strcmp(a->device_class, b->device_class) == 0 &&
           strcmp(a->config, b->config) == 0 && strcmp(a->template_hash, b->template_hash) == 0 &&
           strcmp(a->state, b->state) == 0 && strcmp(a->reason, b->reason) == 0 &&
           a->median_us == b->median_us && a->spread_us == b->spread_us && a->min_us == b->min_us &&
           a->n_samples == b->n_samples && a->clock_mhz == b->clock_mhz &&
           strcmp(a->clock, b->clock) == 0 && a->error == b->error &&
           a->measured_at == b->measured_at;
}

/* What the observer is told, line after line. */
static inline void test_log_keep(void *context, paro_log_level level, const char *message)
{
    (void)level;
    (void)paro_buffer_printf(context, "%s\n", message);
}

/* One statement on the file itself, behind the cache's back. */
static inline void test_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    char *message = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL),
                     SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

typedef struct test_seen {
    unsigned n, n_equal;
    bool of_version_1; /* columns that came later are 0 */
    unsigned stop_at;
} test_seen;

/* Rows are numbered by their problem's n. */
static inline unsigned test_number_of(const char *problem)
{
    unsigned n = 0;
    assert_int_equal(sscanf(problem, "linear_w4:n=%u", &n), 1);
    return n - 64;
}

static inline bool test_see_winner(void *context, const paro_cache_winner *winner)
{
    test_seen *s = context;
    test_row row;
    test_row_make(&row, test_number_of(winner->problem));
    if (s->of_version_1)
        row.winner.n_ties = row.winner.n_candidates = 0;
    s->n_equal += test_winner_equal(winner, &row.winner);
    return ++s->n != s->stop_at;
}

static inline bool test_see_timing(void *context, const paro_cache_timing *timing)
{
    test_seen *s = context;
    test_row row;
    test_row_make(&row, test_number_of(timing->problem));
    if (s->of_version_1)
        row.timing.error = 0;
    s->n_equal += test_timing_equal(timing, &row.timing);
    return ++s->n != s->stop_at;
}

static inline bool test_see_kernel(void *context, const paro_cache_kernel *kernel)
{
    test_seen *s = context;
    unsigned i = 0;
    test_row row;
    assert_int_equal(sscanf(kernel->signature, "[\"kernel_%u", &i), 1);
    test_row_make(&row, i);
    s->n_equal += test_kernel_equal(kernel, &row.kernel);
    return ++s->n != s->stop_at;
}

/* All that is there is what was put; `n` of each. */
static inline void test_assert_holds(paro_cache *cache, unsigned n, bool of_version_1)
{
    paro_error err;
    test_seen winners = {.of_version_1 = of_version_1}, kernels = winners, timings = winners;
    assert_ok(paro_cache_each_winner(&err, cache, NULL, NULL, test_see_winner, &winners));
    assert_ok(paro_cache_each_kernel(&err, cache, NULL, test_see_kernel, &kernels));
    assert_ok(paro_cache_each_timing(&err, cache, NULL, NULL, test_see_timing, &timings));
    assert_int_equal(winners.n, n);
    assert_int_equal(winners.n_equal, n);
    assert_int_equal(kernels.n, n);
    assert_int_equal(kernels.n_equal, n);
    assert_int_equal(timings.n, n);
    assert_int_equal(timings.n_equal, n);
}

#endif
