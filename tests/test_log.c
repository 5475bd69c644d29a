/* SPDX-License-Identifier: MIT
 *
 * base/log.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "tests/support.h"

typedef struct heard {
    int n_lines;
    paro_log_level level;
    char line[2048];
    char stage[64];
    uint64_t done, total;
    bool answer;
} heard;

static void hear_log(void *context, paro_log_level level, const char *message)
{
    heard *h = context;
    h->n_lines++;
    h->level = level;
    snprintf(h->line, sizeof h->line, "%s", message);
}

static bool hear_progress(void *context, const char *stage, uint64_t done, uint64_t total)
{
    heard *h = context;
    snprintf(h->stage, sizeof h->stage, "%s", stage);
    h->done = done;
    h->total = total;
    return h->answer;
}

static void test_nobody_listens(void **state)
{
    (void)state;
    paro_error err;
    paro_observer nothing = {0};
    paro_log(NULL, PARO_LOG_LEVEL_INFO, "x");
    paro_log(&nothing, PARO_LOG_LEVEL_INFO, "x");
    assert_ok(paro_report(&err, NULL, "s", 1, 2));
    assert_ok(paro_report(&err, &nothing, "s", 1, 2));
}

static void test_log_lines(void **state)
{
    (void)state;
    heard h = {0};
    paro_observer observer = {.context = &h, .log = hear_log};
    paro_log(&observer, PARO_LOG_LEVEL_WARNING, "%s has %d", "tensor", 3);
    assert_int_equal(h.n_lines, 1);
    assert_int_equal(h.level, PARO_LOG_LEVEL_WARNING);
    assert_string_equal(h.line, "tensor has 3");

    /* A name out of a file may hold anything: still one line that no terminal obeys. */
    paro_log(&observer, PARO_LOG_LEVEL_INFO, "%s", "a\nb\x1b[2Jc\xff");
    assert_string_equal(h.line, "a?b?[2Jc?");

    char text[3001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    paro_log(&observer, PARO_LOG_LEVEL_DEBUG, "%s", text);
    assert_int_equal(strlen(h.line), 1023);
    assert_int_equal(h.n_lines, 3);
}

static void test_progress_and_cancelling(void **state)
{
    (void)state;
    paro_error err;
    heard h = {.answer = true};
    paro_observer observer = {.context = &h, .progress = hear_progress};
    assert_ok(paro_report(&err, &observer, "quantize", 5, 9));
    assert_string_equal(h.stage, "quantize");
    assert_int_equal(h.done, 5);
    assert_int_equal(h.total, 9);
    h.answer = false;
    assert_fails(paro_report(&err, &observer, "quantize", 6, 9), PARO_STATUS_CANCELLED, "quantize");
    assert_int_equal(paro_report(NULL, &observer, "quantize", 6, 9), PARO_STATUS_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_log_lines),
        cmocka_unit_test(test_progress_and_cancelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
