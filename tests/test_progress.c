/* SPDX-License-Identifier: MIT
 *
 * cli/progress.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cli/progress.h"
#include "cli/text.h"
#include "tests/cli_capture.h"

/* A progress with a clock that the test turns. */
typedef struct fixture {
    paro_progress progress;
    uint64_t now_us;
    capture *out;
} fixture;

static uint64_t read_clock(void *context)
{
    return ((fixture *)context)->now_us;
}

static void begin(fixture *f, paro_progress_mode mode, unsigned width)
{
    *f = (fixture){.now_us = 1000000, .out = capture_new()};
    f->progress = (paro_progress){.stream = f->out->stream,
                                  .mode = mode,
                                  .width = width,
                                  .now_us = read_clock,
                                  .clock_context = f};
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

static void test_terminal_redraws_ten_times_a_second(void **state)
{
    (void)state;
    fixture f;
    begin(&f, PARO_PROGRESS_MODE_TERMINAL, 80);
    for (int i = 0; i < 1000; i++) { /* one second in steps of a millisecond */
        paro_progress_report(&f.progress, "quantize", (uint64_t)i, 2000);
        f.now_us += 1000;
    }
    const char *text = capture_text(f.out);
    size_t n = count(text, "\r");
    assert_in_range(n, 9, 11);
    assert_int_equal(count(text, "\x1b[K"), n);
    assert_int_equal(count(text, "\n"), 0);
    assert_true(f.progress.on_line);
    assert_non_null(
        strstr(text, "quantize  [#########...........]  45 %  1.00k/s  ETA 0:01\x1b[K"));
    capture_free(f.out);
}

static void test_terminal_line_is_removed_at_the_end(void **state)
{
    (void)state;
    fixture f;
    begin(&f, PARO_PROGRESS_MODE_TERMINAL, 80);
    paro_progress_clear(&f.progress);
    assert_string_equal(capture_text(f.out), "");
    paro_progress_report(&f.progress, "load", 1, 3);
    paro_progress_report(&f.progress, "load", 3, 3);
    const char *text = capture_text(f.out);
    assert_false(f.progress.on_line);
    assert_string_equal(text + strlen(text) - 4, "\r\x1b[K");
    size_t n = strlen(text);
    paro_progress_clear(&f.progress);
    paro_progress_report(&f.progress, "load", 3, 3);
    assert_int_equal(strlen(capture_text(f.out)), n);
    capture_free(f.out);
}

static void test_terminal_line_fits_any_width(void **state)
{
    (void)state;
    for (unsigned width = 1; width < 120; width++) {
        fixture f;
        begin(&f, PARO_PROGRESS_MODE_TERMINAL, width);
        const char *stage = "eval 漢字漢字漢字/a-rather-long-name-of-a-text-file\x1b[2J.txt";
        paro_progress_report(&f.progress, stage, 0, 100000);
        f.now_us += 3000000;
        paro_progress_report(&f.progress, stage, 4321, 100000);
        const char *last = strrchr(capture_text(f.out), '\r') + 1;
        char *line = strndup(last, (size_t)(strstr(last, "\x1b[K") - last));
        assert_non_null(line);
        assert_null(strchr(line, '\x1b'));
        assert_true(paro_text_columns(line) <= (width > 2 ? width - 1 : 1));
        const char *left = strstr(line, "  ETA "); /* whole, or not at all */
        if (left)
            assert_string_equal(left, "  ETA 1:06");
        else
            assert_true(width < 27 && strpbrk(line, "/E") == NULL);
        free(line);
        capture_free(f.out);
    }
}

static void test_log_prints_plain_lines_now_and_then(void **state)
{
    (void)state;
    fixture f;
    begin(&f, PARO_PROGRESS_MODE_LOG, 80);
    for (uint64_t i = 0; i <= 1000; i++) { /* 100 s */
        paro_progress_report(&f.progress, "eval a.txt", i, 1000);
        f.now_us += 100000;
    }
    const char *text = capture_text(f.out);
    assert_int_equal(count(text, "\n"), 10);
    assert_null(strpbrk(text, "\r\x1b"));
    assert_non_null(strstr(text, "eval a.txt: 10 %  10/s  ETA 1:30\n"));
    assert_non_null(strstr(text, "eval a.txt: 100 %  1.00k in 100.0 s\n"));
    capture_free(f.out);
}

static void test_log_of_slow_work_has_a_line_every_ten_seconds(void **state)
{
    (void)state;
    fixture f;
    begin(&f, PARO_PROGRESS_MODE_LOG, 80);
    for (uint64_t i = 0; i < 60; i++) {
        paro_progress_report(&f.progress, "slow", i, 100000);
        f.now_us += 1000000;
    }
    assert_int_equal(count(capture_text(f.out), "\n"), 5);
    capture_free(f.out);
}

static void test_log_of_quick_work_is_empty(void **state)
{
    (void)state;
    fixture f;
    begin(&f, PARO_PROGRESS_MODE_LOG, 80);
    for (uint64_t i = 0; i <= 100; i++) {
        paro_progress_report(&f.progress, "quick", i, 100);
        f.now_us += 5000;
    }
    assert_string_equal(capture_text(f.out), "");
    capture_free(f.out);
}

static void test_a_new_stage_begins_anew(void **state)
{
    (void)state;
    fixture f;
    begin(&f, PARO_PROGRESS_MODE_LOG, 80);
    paro_progress_report(&f.progress, "one", 0, 10);
    f.now_us += 20000000;
    paro_progress_report(&f.progress, "one", 10, 10);
    paro_progress_report(&f.progress, "two", 0, 10);
    f.now_us += 2000000;
    paro_progress_report(&f.progress, "two", 10, 10);
    paro_progress_report(&f.progress, "two", 0, 10); /* the same again */
    f.now_us += 3000000;
    paro_progress_report(&f.progress, "two", 10, 10);
    assert_string_equal(capture_text(f.out), "one: 100 %  10 in 20.0 s\n"
                                             "two: 100 %  10 in 2.0 s\n"
                                             "two: 100 %  10 in 3.0 s\n");
    capture_free(f.out);
}

static void test_strange_reports_do_no_harm(void **state)
{
    (void)state;
    for (int mode = PARO_PROGRESS_MODE_OFF; mode <= PARO_PROGRESS_MODE_LOG; mode++) {
        fixture f;
        char stage[1000];
        memset(stage, 'x', sizeof stage - 1);
        stage[sizeof stage - 1] = '\0';
        begin(&f, (paro_progress_mode)mode, 80);
        paro_progress_report(&f.progress, "none", 0, 0);
        paro_progress_report(&f.progress, "more than all", 11, 10);
        paro_progress_report(&f.progress, "huge", UINT64_MAX / 2, UINT64_MAX);
        f.now_us += 11000000;
        paro_progress_report(&f.progress, "huge", UINT64_MAX / 2 + 1, UINT64_MAX);
        paro_progress_report(&f.progress, stage, 1, 2);
        f.now_us += 11000000;
        paro_progress_report(&f.progress, stage, 1, 2);
        const char *text = capture_text(f.out);
        if (mode == PARO_PROGRESS_MODE_OFF)
            assert_string_equal(text, "");
        else
            assert_non_null(strstr(text, "huge"));
        capture_free(f.out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal_redraws_ten_times_a_second),
        cmocka_unit_test(test_terminal_line_is_removed_at_the_end),
        cmocka_unit_test(test_terminal_line_fits_any_width),
        cmocka_unit_test(test_log_prints_plain_lines_now_and_then),
        cmocka_unit_test(test_log_of_slow_work_has_a_line_every_ten_seconds),
        cmocka_unit_test(test_log_of_quick_work_is_empty),
        cmocka_unit_test(test_a_new_stage_begins_anew),
        cmocka_unit_test(test_strange_reports_do_no_harm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
