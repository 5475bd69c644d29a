/* SPDX-License-Identifier: MIT
 *
 * calib/block_store.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/wait.h>

#include "base/rng.h"
#include "calib/block_store.h"
#include "tests/support.h"

enum { N_OUT = 6, N_IN = 16, GROUP = 8, KROT = 2, LAYERS = 3 };
static const char job[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/* A rounded linear with some values, and one that is kept beside it. */
static void make_linears(paro_train_linear out[2], uint64_t seed, uint32_t krot)
{
    paro_error err;
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    paro_train_linear l = {.name = "model.layers.0.a",
                           .n_out = N_OUT,
                           .n_in = N_IN,
                           .bits = 4,
                           .group_size = GROUP,
                           .krot = krot};
    assert_ok(paro_train_linear_alloc(&err, &l));
    l.codes = (paro_quantised){.n_out = N_OUT, .n_in = N_IN, .bits = 4, .group_size = GROUP};
    assert_ok(paro_quantised_alloc(&err, &l.codes));
    for (size_t i = 0; i < (size_t)N_OUT * N_IN; i++)
        l.codes.codes[i] = (uint8_t)paro_rng_below(&rng, 16);
    for (size_t i = 0; i < (size_t)N_OUT * N_IN / GROUP; i++) {
        l.codes.zeros[i] = (uint8_t)paro_rng_below(&rng, 16);
        l.codes.scales[i] = 0.25F + (float)paro_rng_f64(&rng);
    }
    for (size_t i = 0; i < N_IN; i++)
        l.weight_channel_scales[i] = 0.5F + (float)paro_rng_f64(&rng);
    for (size_t i = 0; i < (size_t)krot * N_IN; i++)
        l.pairs[i] = (int16_t)(i % GROUP);
    for (size_t i = 0; i < (size_t)krot * N_IN / 2; i++)
        l.theta[i] = paro_rng_normal(&rng);
    l.is_rounded = true;
    out[0] = l;
    out[1] = (paro_train_linear){.name = "model.layers.0.kept", .n_out = 2, .n_in = 2};
    assert_ok(paro_train_linear_alloc(&err, &out[1]));
}

static void free_linears(paro_train_linear linears[2])
{
    paro_train_linear_release(&linears[0]);
    paro_train_linear_release(&linears[1]);
}

static void assert_holds(const paro_block_store *store, uint32_t layer, uint64_t seed,
                         uint32_t krot)
{
    paro_error err;
    paro_train_linear expected[2];
    make_linears(expected, seed, krot);
    paro_train_linear found = {
        .name = "model.layers.0.a", .n_out = N_OUT, .n_in = N_IN, .bits = 4, .group_size = GROUP};
    assert_ok(paro_block_store_get(&err, store, layer, &found));
    assert_true(found.is_rounded);
    assert_null(found.w);
    assert_int_equal(found.krot, krot);
    assert_memory_equal(found.codes.codes, expected[0].codes.codes, (size_t)N_OUT * N_IN);
    assert_memory_equal(found.codes.zeros, expected[0].codes.zeros, (size_t)N_OUT * N_IN / GROUP);
    assert_memory_equal(found.codes.scales, expected[0].codes.scales,
                        sizeof(float) * N_OUT * N_IN / GROUP);
    assert_memory_equal(found.weight_channel_scales, expected[0].weight_channel_scales,
                        sizeof(float) * N_IN);
    if (krot > 0) {
        assert_memory_equal(found.pairs, expected[0].pairs, sizeof(int16_t) * krot * N_IN);
        assert_memory_equal(found.theta, expected[0].theta, sizeof(float) * krot * N_IN / 2);
    }
    paro_train_linear_release(&found);
    free_linears(expected);
}

static void put(paro_block_store *store, uint64_t seed, uint32_t krot)
{
    paro_error err;
    paro_train_linear linears[2];
    make_linears(linears, seed, krot);
    assert_ok(paro_block_store_put(&err, store, linears, 2, "it went well"));
    free_linears(linears);
}

static void test_in_memory(void **state)
{
    (void)state;
    paro_error err;
    paro_block_store *store = NULL;
    assert_ok(paro_block_store_open(&err, NULL, LAYERS, job, "a job", &store));
    assert_int_equal(paro_block_store_count(store), 0);
    put(store, 1, KROT);
    put(store, 2, 0);
    assert_int_equal(paro_block_store_count(store), 2);
    assert_holds(store, 0, 1, KROT);
    assert_holds(store, 1, 2, 0);
    assert_string_equal(paro_block_store_summary(store, 1), "it went well");
    assert_string_equal(paro_block_store_summary(store, 2), "");
    assert_ok(paro_block_store_remove(&err, store));
    paro_block_store_free(store);
    paro_block_store_free(NULL);
}

static void test_in_a_folder(void **state)
{
    (void)state;
    paro_error err;
    char *parent = test_dir_new(), *dir = test_path(parent, "some/where");
    paro_block_store *store = NULL, *other = NULL;
    assert_ok(paro_block_store_open(&err, dir, LAYERS, job, "a job", &store));
    put(store, 1, KROT);
    put(store, 2, KROT);
    assert_fails(paro_block_store_open(&err, dir, LAYERS, job, "a job", &other), PARO_STATUS_EXISTS,
                 "another process is at work there");
    paro_block_store_free(store);

    /* Another process goes on. */
    assert_ok(paro_block_store_open(&err, dir, LAYERS, job, "a job", &store));
    assert_int_equal(paro_block_store_count(store), 2);
    assert_holds(store, 1, 2, KROT);
    assert_string_equal(paro_block_store_summary(store, 0), "it went well");
    put(store, 3, 0);
    assert_holds(store, 2, 3, 0);
    paro_block_store_free(store);

    char different[sizeof job];
    memcpy(different, job, sizeof job);
    different[5] = 'f';
    assert_fails(paro_block_store_open(&err, dir, LAYERS, different, "another job", &store),
                 PARO_STATUS_EXISTS,
                 "holds the unfinished work of another job (a job); expected another job");

    assert_ok(paro_block_store_open(&err, dir, LAYERS, job, "a job", &store));
    assert_ok(paro_block_store_remove(&err, store));
    paro_block_store_free(store);
    assert_false(paro_path_exists(dir));
    free(dir);
    test_dir_remove(parent);
}

/* One byte of the file changed, or cut off: an error or other numbers that are allowed, never more.
 */
static void test_damaged(void **state)
{
    (void)state;
    paro_error err;
    char *parent = test_dir_new(), *dir = test_path(parent, "work");
    char *file = test_path(dir, "block-00000/model.safetensors"), *text = NULL;
    size_t n_bytes = 0, n_refused = 0;
    paro_block_store *store = NULL;
    assert_ok(paro_block_store_open(&err, dir, LAYERS, job, "a job", &store));
    put(store, 1, KROT);
    paro_block_store_free(store);
    assert_ok(paro_file_read(&err, file, 1 << 20, &text, &n_bytes));
    for (size_t at = 0; at < n_bytes; at++) {
        const char was = text[at];
        text[at] = (char)(was ^ 0x81);
        test_file_write(dir, "block-00000/model.safetensors", text, at % 7 == 0 ? at : n_bytes);
        text[at] = was;
        paro_train_linear found = {.name = "model.layers.0.a",
                                   .n_out = N_OUT,
                                   .n_in = N_IN,
                                   .bits = 4,
                                   .group_size = GROUP};
        if (paro_block_store_open(&err, dir, LAYERS, job, "a job", &store) != PARO_STATUS_OK) {
            n_refused++;
            continue;
        }
        if (paro_block_store_get(&err, store, 0, &found) != PARO_STATUS_OK)
            n_refused++;
        paro_train_linear_release(&found);
        paro_block_store_free(store);
    }
    /* All codes are of 4 bits: a bit above is seen, as is every change of the header. */
    assert_true(n_refused > n_bytes / 4);
    assert_ok(paro_file_write(&err, file, text, n_bytes));
    free(text);
    free(file);
    free(dir);
    test_dir_remove(parent);
}

static void test_job_is_missing(void **state)
{
    (void)state;
    paro_error err;
    char *parent = test_dir_new(), *dir = test_path(parent, "work"),
         *path = test_path(dir, "job.json");
    paro_block_store *store = NULL;
    assert_ok(paro_block_store_open(&err, dir, LAYERS, job, "a job", &store));
    put(store, 1, 0);
    paro_block_store_free(store);
    assert_int_equal(remove(path), 0);
    assert_fails(paro_block_store_open(&err, dir, LAYERS, job, "a job", &store), PARO_STATUS_EXISTS,
                 "no job.json that says of what");
    test_file_write(dir, "job.json", "{\"job\": 7}", 10);
    assert_fails(paro_block_store_open(&err, dir, LAYERS, job, "a job", &store), PARO_STATUS_FORMAT,
                 "job");
    free(path);
    free(dir);
    test_dir_remove(parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_memory), cmocka_unit_test(test_in_a_folder),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_job_is_missing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
