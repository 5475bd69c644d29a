/* SPDX-License-Identifier: MIT
 *
 * base/staging.c: folders that appear whole or not at all, also where the writer is killed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/file.h"
#include "tests/support.h"

/* The names in a folder, sorted, each followed by a space. */
static char *listing(const char *path)
{
    struct dirent **names = NULL;
    int n = scandir(path, &names, NULL, alphasort);
    assert_true(n >= 0);
    char *text = calloc(1, 4096);
    assert_non_null(text);
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0)
            strcat(strcat(text, names[i]->d_name), " ");
        free(names[i]);
    }
    free(names);
    return text;
}

static void assert_listing(const char *path, const char *expected)
{
    char *found = listing(path);
    assert_string_equal(found, expected);
    free(found);
}

typedef struct fixture {
    char *dir;
    char *target; /* dir/out */
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = test_dir_new();
    f->target = test_path(f->dir, "out");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    test_dir_remove(f->dir);
    free(f->target);
    free(f);
    return 0;
}

static void begin(const fixture *f, bool overwrite, const char *name, paro_staging *staging)
{
    paro_error err;
    assert_ok(paro_staging_begin(&err, f->target, overwrite, staging));
    test_file_write(staging->temporary, name, "x", 1);
}

/* In a child: begins, writes `n_files`, then either waits to be killed or commits. */
static pid_t start_writer(const fixture *f, int n_files, bool commit, int *ready)
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        paro_error err;
        paro_staging staging;
        if (paro_staging_begin(&err, f->target, false, &staging) != PARO_STATUS_OK)
            _exit(9);
        for (int i = 0; i < n_files; i++) {
            char name[32];
            snprintf(name, sizeof name, "f%02d", i);
            char *path = test_path(staging.temporary, name);
            FILE *file = fopen(path, "w");
            if (file == NULL || fputs("text", file) == EOF || fclose(file) != 0)
                _exit(8);
            free(path);
        }
        if (write(pipe_fds[1], "!", 1) != 1)
            _exit(7);
        if (!commit)
            for (;;)
                pause();
        _exit(paro_staging_commit(&err, &staging) == PARO_STATUS_OK ? 0 : 6);
    }
    close(pipe_fds[1]);
    *ready = pipe_fds[0];
    return pid;
}

static void test_commit(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_staging staging;
    begin(f, false, "weights", &staging);
    char *sub = test_path(staging.temporary, "sub");
    assert_int_equal(mkdir(sub, 0700), 0);
    free(sub);
    assert_false(paro_path_exists(f->target));
    assert_listing(f->dir, "out.paro-lock out.paro-partial ");
    assert_ok(paro_staging_commit(&err, &staging));
    assert_listing(f->dir, "out ");
    assert_listing(f->target, "sub weights ");
    paro_staging_abort(&staging); /* committed: nothing to do */
    assert_listing(f->target, "sub weights ");
}

static void test_abort(void **state)
{
    const fixture *f = *state;
    paro_staging staging;
    begin(f, false, "weights", &staging);
    paro_staging_abort(&staging);
    assert_listing(f->dir, "");
    paro_staging_abort(&staging);
    paro_staging zeroed = {0};
    paro_staging_abort(&zeroed);
    paro_staging_abort(NULL);
}

static void test_existing_targets(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_staging staging;
    assert_int_equal(mkdir(f->target, 0700), 0);
    test_file_write(f->target, "old", "x", 1);
    assert_fails(paro_staging_begin(&err, f->target, false, &staging), PARO_STATUS_EXISTS,
                 f->target);
    assert_listing(f->dir, "out ");

    begin(f, true, "new", &staging);
    assert_listing(f->target, "old "); /* until the end */
    assert_ok(paro_staging_commit(&err, &staging));
    assert_listing(f->dir, "out ");
    assert_listing(f->target, "new ");

    begin(f, true, "newer", &staging);
    paro_staging_abort(&staging);
    assert_listing(f->target, "new ");
}

static void test_targets_that_cannot_be(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_staging staging;
    test_file_write(f->dir, "out", "a file", 6);
    assert_fails(paro_staging_begin(&err, f->target, true, &staging), PARO_STATUS_EXISTS,
                 "not a folder");
    static const char *const nonsense[] = {"", "/", "//", ".", "./", "..", "../", "a/..", "a/."};
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++)
        assert_fails(paro_staging_begin(&err, nonsense[i], true, &staging),
                     PARO_STATUS_INVALID_ARGUMENT, "name of a folder");
    char *below_file = test_path(f->target, "x");
    assert_fails(paro_staging_begin(&err, below_file, false, &staging), PARO_STATUS_IO, "out");
    free(below_file);
}

static void test_parents_and_slashes(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_staging staging;
    char *deep = test_path(f->dir, "a//b/c///");
    char *made = test_path(f->dir, "a/b/c");
    assert_ok(paro_staging_begin(&err, deep, false, &staging));
    assert_ok(paro_staging_commit(&err, &staging));
    assert_true(paro_path_is_dir(made));
    assert_listing(made, "");
    free(deep), free(made);
}

static void test_relative_target(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_staging staging;
    char *here = getcwd(NULL, 0);
    assert_non_null(here);
    assert_int_equal(chdir(f->dir), 0);
    paro_status begun = paro_staging_begin(&err, "rel", false, &staging);
    paro_status done = begun == PARO_STATUS_OK ? paro_staging_commit(&err, &staging) : begun;
    assert_int_equal(chdir(here), 0);
    free(here);
    assert_int_equal(done, PARO_STATUS_OK);
    assert_listing(f->dir, "rel ");
}

static void test_two_writers(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_staging first, second;
    begin(f, false, "first", &first);
    assert_fails(paro_staging_begin(&err, f->target, false, &second), PARO_STATUS_EXISTS,
                 "another process");
    assert_ok(paro_staging_commit(&err, &first));
    assert_listing(f->target, "first ");
    begin(f, true, "second", &second);
    assert_ok(paro_staging_commit(&err, &second));
    assert_listing(f->target, "second ");
}

/* Someone else made the target in the meantime: it is theirs. */
static void test_target_that_appears_meanwhile(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_staging staging;
    begin(f, false, "mine", &staging);
    assert_int_equal(mkdir(f->target, 0700), 0);
    test_file_write(f->target, "theirs", "x", 1);
    memset(&err, 0, sizeof err);
    assert_int_not_equal(paro_staging_commit(&err, &staging), PARO_STATUS_OK);
    assert_non_null(strstr(err.message, f->target));
    assert_listing(f->target, "theirs ");
    paro_staging_abort(&staging);
    assert_listing(f->dir, "out ");
}

/* A link to a folder stands for it: the folder is replaced where it is, the link stays. */
static void test_target_is_a_link(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_staging staging;
    char *disk = test_path(f->dir, "disk"), *real = test_path(disk, "ck");
    assert_int_equal(mkdir(disk, 0700), 0);
    assert_fails(symlink(real, f->target) == 0 ? paro_staging_begin(&err, f->target, true, &staging)
                                               : PARO_STATUS_OK,
                 PARO_STATUS_NOT_FOUND, "follow the link");
    assert_int_equal(mkdir(real, 0700), 0);
    test_file_write(real, "old", "x", 1);
    for (int i = 0; i < 2; i++) {
        begin(f, true, i == 0 ? "new" : "newer", &staging);
        assert_ok(paro_staging_commit(&err, &staging));
        assert_listing(disk, "ck ");
        assert_listing(f->target, i == 0 ? "new " : "newer ");
    }
    assert_listing(f->dir, "disk out ");
    free(disk), free(real);
}

/* Whatever a dead run can have left: a partial folder, a link under its name, a target put aside.
 */
static void test_leftovers(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_staging staging;
    char *partial = test_path(f->dir, "out.paro-partial");
    char *aside = test_path(f->dir, "out.paro-old");

    assert_int_equal(symlink("/nowhere", partial), 0);
    test_file_write(f->dir, "out.paro-lock", "", 0);
    assert_int_equal(mkdir(aside, 0700), 0);
    test_file_write(aside, "old", "x", 1);
    /* The target is away, the old one aside: it goes back, and is in the way again. */
    assert_fails(paro_staging_begin(&err, f->target, false, &staging), PARO_STATUS_EXISTS,
                 "exists already");
    assert_listing(f->dir, "out ");
    assert_listing(f->target, "old ");

    assert_int_equal(mkdir(partial, 0700), 0);
    test_file_write(partial, "half", "x", 1);
    assert_int_equal(mkdir(aside, 0700), 0);
    test_file_write(aside, "older", "x", 1);
    begin(f, true, "new", &staging);
    assert_listing(f->dir, "out out.paro-lock out.paro-partial ");
    assert_ok(paro_staging_commit(&err, &staging));
    assert_listing(f->dir, "out ");
    assert_listing(f->target, "new ");
    free(partial), free(aside);
}

/* Many writers at once over what a dead run left: each that succeeds publishes a whole folder. */
static void test_concurrent_writers(void **state)
{
    const fixture *f = *state;
    enum { WRITERS = 6, ROUNDS = 15 };
    paro_error err;
    int n_done = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char *partial = test_path(f->dir, "out.paro-partial");
        pid_t writers[WRITERS];
        int ready[WRITERS];
        assert_int_equal(mkdir(partial, 0700), 0);
        test_file_write(partial, "left", "x", 1);
        free(partial);
        for (int i = 0; i < WRITERS; i++)
            writers[i] = start_writer(f, 10, true, &ready[i]);
        for (int i = 0; i < WRITERS; i++) {
            int how;
            assert_int_equal(waitpid(writers[i], &how, 0), writers[i]);
            assert_true(WIFEXITED(how));
            /* 9: could not begin (another was writing, or had finished); nothing else may fail. */
            assert_true(WEXITSTATUS(how) == 0 || WEXITSTATUS(how) == 9);
            n_done += WEXITSTATUS(how) == 0;
            close(ready[i]);
        }
        assert_listing(f->target, "f00 f01 f02 f03 f04 f05 f06 f07 f08 f09 ");
        assert_listing(f->dir, "out ");
        assert_ok(paro_remove_tree(&err, f->target));
    }
    assert_int_equal(n_done, ROUNDS);
}

static void test_links_are_not_followed(void **state)
{
    const fixture *f = *state;
    paro_error err;
    char *precious = test_path(f->dir, "precious"), *tree = test_path(f->dir, "tree");
    char *link = test_path(tree, "link");
    assert_int_equal(mkdir(precious, 0700), 0);
    test_file_write(precious, "kept", "x", 1);
    assert_int_equal(mkdir(tree, 0700), 0);
    assert_int_equal(symlink(precious, link), 0);
    assert_ok(paro_remove_tree(&err, tree));
    assert_false(paro_path_exists(tree));
    assert_listing(precious, "kept ");
    assert_fails(paro_remove_tree(&err, tree), PARO_STATUS_NOT_FOUND, tree);
    free(precious), free(tree), free(link);
}

static void test_killed_while_writing(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_staging staging;
    int ready;
    pid_t pid = start_writer(f, 3, false, &ready);
    char c;
    assert_int_equal(read(ready, &c, 1), 1);
    close(ready);
    assert_fails(paro_staging_begin(&err, f->target, false, &staging), PARO_STATUS_EXISTS,
                 "another process");
    assert_int_equal(kill(pid, SIGKILL), 0);
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how));
    assert_false(paro_path_exists(f->target));

    /* The next run finds what the dead one left, and completes. */
    begin(f, false, "weights", &staging);
    assert_ok(paro_staging_commit(&err, &staging));
    assert_listing(f->dir, "out ");
    assert_listing(f->target, "weights ");
}

/* Killed at many moments of the commit: OUT is not there, or it is whole. */
static void test_killed_while_committing(void **state)
{
    const fixture *f = *state;
    paro_error err;
    int n_nothing = 0, n_whole = 0;
    for (int i = 0; i < 60; i++) {
        int ready;
        pid_t pid = start_writer(f, 10, true, &ready);
        char c;
        assert_int_equal(read(ready, &c, 1), 1);
        close(ready);
        usleep((useconds_t)(i * i * 2));
        kill(pid, SIGKILL);
        int how;
        assert_int_equal(waitpid(pid, &how, 0), pid);
        assert_true(WIFSIGNALED(how) || WEXITSTATUS(how) == 0);
        if (paro_path_exists(f->target)) {
            char *found = listing(f->target);
            assert_non_null(strstr(found, "f00 f01 f02 f03 f04 f05 f06 f07 f08 f09 "));
            free(found);
            n_whole++;
            assert_ok(paro_remove_tree(&err, f->target));
        } else {
            n_nothing++;
        }
        paro_staging staging;
        begin(f, false, "again", &staging);
        assert_ok(paro_staging_commit(&err, &staging));
        assert_listing(f->target, "again ");
        assert_listing(f->dir, "out ");
        assert_ok(paro_remove_tree(&err, f->target));
    }
    print_message("killed in 60 commits: %d times nothing, %d times a whole folder\n", n_nothing,
                  n_whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_abort, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_existing_targets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_targets_that_cannot_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_parents_and_slashes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_relative_target, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_writers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_target_that_appears_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_target_is_a_link, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_leftovers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_concurrent_writers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_are_not_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_while_writing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_while_committing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
