/* SPDX-License-Identifier: MIT
 *
 * Allocations that fail on demand. Include after <cmocka.h>, in one file of a program.
 *
 * The linker replaces malloc and its kin in the program's own objects (CMakeLists.txt, --wrap);
 * what shared libraries allocate does not fail. jansson's reader (2.14) would not bear it: where
 * its buffer cannot grow it goes on and writes past its end.
 */
#ifndef PARO_TESTS_FAILING_MEMORY_H
#define PARO_TESTS_FAILING_MEMORY_H

#include <stdatomic.h>

#include "tests/support.h"

/* Allocations until one fails; negative: none does. */
static atomic_long until_failure = -1;
static atomic_bool has_failed;

static bool fails_now(void)
{
    if (atomic_load(&until_failure) < 0 || atomic_fetch_sub(&until_failure, 1) != 0)
        return false;
    atomic_store(&has_failed, true);
    return true;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

void *__wrap_malloc(size_t n)
{
    return fails_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
    return fails_now() ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails_now() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
    return fails_now() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
    return fails_now() ? NULL : __real_strndup(s, n);
}

/* One call to try, from begin to end: it frees what it got. */
typedef paro_status attempt_fn(paro_error *err, const char *dir);

/* Fails the first, second, … allocation of the attempt until it gets through without a failure.
 * `may_recover`: one that failed may be done without (Lua collects garbage and asks again). */
static void try_all(const char *what, attempt_fn *attempt, bool may_recover, const char *dir)
{
    long n = 0;
    for (;; n++) {
        paro_error err = {.status = PARO_STATUS_OK};
        atomic_store(&has_failed, false);
        atomic_store(&until_failure, n);
        paro_status status = attempt(&err, dir);
        atomic_store(&until_failure, -1);
        if (!atomic_load(&has_failed)) {
            if (status != PARO_STATUS_OK)
                fail_msg("%s: %s: %s", what, paro_status_name(status), err.message);
            break;
        }
        if (may_recover && status == PARO_STATUS_OK)
            continue;
        if (status != PARO_STATUS_OUT_OF_MEMORY || err.status != status)
            fail_msg("%s: allocation %ld failed: expected \"%s\", found \"%s\": %s", what, n,
                     paro_status_name(PARO_STATUS_OUT_OF_MEMORY), paro_status_name(status),
                     err.message);
    }
    assert_true(n > 0); /* or nothing was tried */
    print_message("%s: each of %ld allocations\n", what, n);
}

#endif
