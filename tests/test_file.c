/* SPDX-License-Identifier: MIT
 *
 * base/file.c: reading what is there, replacing files whole or not at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/file.h"
#include "tests/support.h"

static int n_entries(const char *path)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    return n;
}

static void test_mapping(void **state)
{
    (void)state;
    paro_error err;
    paro_mapping mapping = {0};
    char *dir = test_dir_new();
    char *path = test_path(dir, "f"), *empty = test_path(dir, "empty"), *fifo = test_path(dir, "p");
    test_file_write(dir, "f", "some\0bytes", 10);
    test_file_write(dir, "empty", "", 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);

    assert_ok(paro_mapping_open(&err, path, &mapping));
    assert_int_equal(mapping.n_bytes, 10);
    assert_memory_equal(mapping.data, "some\0bytes", 10);
    paro_mapping_close(&mapping);
    assert_null(mapping.data);
    paro_mapping_close(&mapping);
    paro_mapping_close(NULL);

    assert_ok(paro_mapping_open(&err, empty, &mapping));
    assert_non_null(mapping.data);
    assert_int_equal(mapping.n_bytes, 0);
    paro_mapping_close(&mapping);

    assert_fails(paro_mapping_open(&err, dir, &mapping), PARO_STATUS_INVALID_ARGUMENT, "a folder");
    assert_fails(paro_mapping_open(&err, fifo, &mapping), PARO_STATUS_INVALID_ARGUMENT, fifo);
    assert_fails(paro_mapping_open(&err, "/dev/zero", &mapping), PARO_STATUS_INVALID_ARGUMENT,
                 "/dev/zero");
    assert_fails(paro_mapping_open(&err, "/no/such", &mapping), PARO_STATUS_NOT_FOUND, "/no/such");
    assert_null(mapping.data);
    free(path), free(empty), free(fifo);
    test_dir_remove(dir);
}

static void test_read(void **state)
{
    (void)state;
    paro_error err;
    char *data = NULL;
    size_t n = 99;
    char *dir = test_dir_new();
    char *path = test_path(dir, "f");
    test_file_write(dir, "f", "0123456789", 10);
    assert_ok(paro_file_read(&err, path, 10, &data, &n));
    assert_int_equal(n, 10);
    assert_string_equal(data, "0123456789");
    free(data);
    data = NULL;
    assert_fails(paro_file_read(&err, path, 9, &data, &n), PARO_STATUS_LIMIT,
                 "expected at most 9 bytes, found 10");
    assert_fails(paro_file_read(&err, dir, 9, &data, &n), PARO_STATUS_INVALID_ARGUMENT, dir);
    assert_null(data);
    assert_int_equal(n, 10);
    free(path);
    test_dir_remove(dir);
}

static void assert_file_holds(const char *path, const char *text)
{
    paro_error err;
    char *data = NULL;
    size_t n;
    assert_ok(paro_file_read(&err, path, 1 << 20, &data, &n));
    assert_string_equal(data, text);
    free(data);
}

static void test_write_replaces(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *path = test_path(dir, "f");
    mode_t old = umask(027);
    assert_ok(paro_file_write(&err, path, "one", 3));
    umask(old);
    assert_file_holds(path, "one");
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640); /* as any new file: 0666 less the umask */
    assert_ok(paro_file_write(&err, path, "", 0));
    assert_file_holds(path, "");
    assert_ok(paro_file_write(&err, path, "two", 3));
    assert_file_holds(path, "two");
    assert_int_equal(n_entries(dir), 1);
    free(path);
    test_dir_remove(dir);
}

static void test_write_without_a_folder_in_the_path(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *here = getcwd(NULL, 0);
    assert_non_null(here);
    assert_int_equal(chdir(dir), 0);
    paro_status status = paro_file_write(&err, "plain", "x", 1);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(status, PARO_STATUS_OK);
    free(here);
    char *path = test_path(dir, "plain");
    assert_file_holds(path, "x");
    free(path);
    test_dir_remove(dir);
}

static void test_failed_writes_leave_the_old_file(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new();
    char *path = test_path(dir, "f"), *folder = test_path(dir, "d");
    assert_ok(paro_file_write(&err, path, "old", 3));
    char *big = calloc(1, 1 << 16);
    assert_non_null(big);

    /* The disk is full after 4 KiB, as far as this process can tell. */
    struct rlimit was, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    limit = was;
    limit.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    memset(&err, 0, sizeof err);
    paro_status status = paro_file_write(&err, path, big, 1 << 16);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, PARO_STATUS_IO);
    assert_non_null(strstr(err.message, path));
    assert_file_holds(path, "old");
    assert_int_equal(n_entries(dir), 1); /* nothing is left beside it */

    assert_int_equal(mkdir(folder, 0700), 0);
    assert_fails(paro_file_write(&err, folder, "x", 1), PARO_STATUS_IO, folder);
    assert_int_equal(n_entries(dir), 2);
    assert_fails(paro_file_write(&err, "/no/such/folder/f", "x", 1), PARO_STATUS_NOT_FOUND,
                 "/no/such/folder/f");
    free(big), free(path), free(folder);
    test_dir_remove(dir);
}

static void test_paths(void **state)
{
    (void)state;
    paro_arena arena = {0};
    assert_string_equal(paro_path_join(&arena, "a", "b"), "a/b");
    assert_string_equal(paro_path_join(&arena, "a/", "b"), "a/b");
    assert_string_equal(paro_path_join(&arena, "/", "b"), "/b");
    assert_string_equal(paro_path_base("a/b/c"), "c");
    assert_string_equal(paro_path_base("c"), "c");
    assert_string_equal(paro_path_base("a/"), "");
    paro_arena_release(&arena);

    char *dir = test_dir_new();
    char *file = test_path(dir, "f"), *link = test_path(dir, "dangling");
    test_file_write(dir, "f", "", 0);
    assert_int_equal(symlink("/no/such/place", link), 0);
    assert_true(paro_path_exists(dir) && paro_path_is_dir(dir));
    assert_true(paro_path_exists(file) && !paro_path_is_dir(file));
    assert_true(paro_path_exists(link) && !paro_path_is_dir(link));
    assert_false(paro_path_exists("/no/such/place"));
    free(file), free(link);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mapping),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_write_replaces),
        cmocka_unit_test(test_write_without_a_folder_in_the_path),
        cmocka_unit_test(test_failed_writes_leave_the_old_file),
        cmocka_unit_test(test_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
