/* SPDX-License-Identifier: MIT
 *
 * What the tests share: statuses in words, temporary folders, the optional test data, sanitizers.
 * Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_SUPPORT_H
#define PARO_TESTS_SUPPORT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define TEST_ADDRESS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ADDRESS_SANITIZED 1
#endif
#endif
#ifndef TEST_ADDRESS_SANITIZED
#define TEST_ADDRESS_SANITIZED 0
#endif

/* How emulated kernels are compiled: as the test is. (They are not for ThreadSanitizer.) */
#define TEST_KERNEL_SANITIZE (TEST_ADDRESS_SANITIZED ? "address,undefined" : NULL)

/* The call succeeds; or its message is shown. The call uses an error named `err`. */
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        paro_status status_ = (call);                                                              \
        if (status_ != PARO_STATUS_OK)                                                             \
            fail_msg("%s: %s: %s", #call, paro_status_name(status_), err.message);                 \
    } while (0)

/* The call fails with this status and a message that contains `words`. */
#define assert_fails(call, expected, words)                                                        \
    do {                                                                                           \
        memset(&err, 0, sizeof err);                                                               \
        paro_status status_ = (call);                                                              \
        if (status_ != (expected) || err.status != (expected) ||                                   \
            strstr(err.message, (words)) == NULL)                                                  \
            fail_msg("%s: expected \"%s\" with \"%s\", found \"%s\" with \"%s\"", #call,           \
                     paro_status_name(expected), (words), paro_status_name(status_), err.message); \
    } while (0)

/* A new folder below $TMPDIR or /tmp; for test_dir_remove. */
static inline char *test_dir_new(void)
{
    const char *parent = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/paro-test-XXXXXX", parent != NULL ? parent : "/tmp") < 0)
        path = NULL;
    assert_non_null(path);
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void test_dir_remove(char *path)
{
    paro_error err;
    assert_ok(paro_remove_tree(&err, path));
    free(path);
}

/* "dir/name", malloc'd. */
static inline char *test_path(const char *dir, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", dir, name) < 0)
        path = NULL;
    assert_non_null(path);
    return path;
}

static inline void test_file_write(const char *dir, const char *name, const void *data,
                                   size_t n_bytes)
{
    char *path = test_path(dir, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
    free(path);
}

/* The folder of test data that is not part of the project ($PARO_SHARED, else ../shared), joined
 * with `name`, malloc'd; where it is missing, the test is skipped and says so. */
static inline char *test_shared_path(const char *test, const char *name)
{
    const char *shared = getenv("PARO_SHARED");
    char *path = test_path(shared != NULL ? shared : "../shared", name);
    if (!paro_path_exists(path)) {
        printf("SKIP %s: needs shared/%s\n", test, name);
        fflush(stdout);
        free(path);
        skip();
    }
    return path;
}

#endif
