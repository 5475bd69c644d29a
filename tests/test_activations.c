/* SPDX-License-Identifier: MIT
 *
 * calib/activations.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>

#include "calib/activations.h"
#include "tests/support.h"

enum { SAMPLES = 3, TOKENS = 5, HIDDEN = 7 };

static void fill_and_check(paro_activations *a)
{
    for (size_t sample = 0; sample < SAMPLES; sample++)
        for (size_t i = 0; i < (size_t)TOKENS * HIDDEN; i++)
            paro_activations_sample(a, sample)[i] = (float)(sample * 1000 + i);
    assert_true(a->data[(size_t)TOKENS * HIDDEN * 2] == 2000);
    assert_true(a->data[(size_t)SAMPLES * TOKENS * HIDDEN - 1] == 2034);
}

static size_t count_files(const char *path)
{
    size_t n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void test_in_memory_and_spilled(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    const uint64_t n_bytes = sizeof(float) * SAMPLES * TOKENS * HIDDEN;
    paro_activations a = {.n_samples = SAMPLES, .n_tokens = TOKENS, .hidden = HIDDEN};
    assert_ok(paro_activations_alloc(&err, dir, n_bytes, &a));
    assert_int_equal(a.n_mapped_bytes, 0);
    fill_and_check(&a);
    paro_activations_release(&a);
    assert_null(a.data);

    assert_ok(paro_activations_alloc(&err, dir, n_bytes - 1, &a));
    assert_int_equal(a.n_mapped_bytes, n_bytes);
    assert_int_equal(count_files(dir), 0); /* it has no name: nothing is left of a dead process */
    fill_and_check(&a);
    paro_activations_release(&a);
    paro_activations_release(&a);
    paro_activations_release(NULL);
    test_dir_remove(dir);
}

static void test_failures(void **state)
{
    (void)state;
    paro_error err;
    paro_activations a = {.n_samples = SIZE_MAX / 2, .n_tokens = 8, .hidden = 8};
    assert_fails(paro_activations_alloc(&err, NULL, 0, &a), PARO_STATUS_OUT_OF_MEMORY,
                 "activations");
    assert_null(a.data);
    a = (paro_activations){.n_samples = 1, .n_tokens = 1, .hidden = 1};
    assert_fails(paro_activations_alloc(&err, "/nonexistent/folder", 0, &a), PARO_STATUS_NOT_FOUND,
                 "/nonexistent/folder/activations-");
    a = (paro_activations){.n_samples = 1 << 20, .n_tokens = 1 << 20, .hidden = 1 << 10};
    char *dir = test_dir_new();
    assert_fails(paro_activations_alloc(&err, dir, 0, &a), PARO_STATUS_IO, "make room");
    assert_null(a.data);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_memory_and_spilled),
                                       cmocka_unit_test(test_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
