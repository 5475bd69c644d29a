/* SPDX-License-Identifier: MIT
 *
 * Progress of long work: one redrawn line on a terminal, plain lines now and then in a log.
 *
 * 1. on_line is true exactly while the last thing printed to a terminal is a progress line
 *    without its newline.
 * 2. On a terminal a line is drawn for the first report of a stage, then when 0.1 s went by since
 *    the last one.
 * 3. In a log a line is printed when 10 s went by since the last line (or the stage's beginning),
 *    or when another tenth of the work is done and 1 s went by; and one at the stage's end if
 *    there was one before, or the stage took 1 s.
 */
#include "cli/progress.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/text.h"

enum { SECOND_US = 1000000, REDRAW_US = 100000, BAR_COLUMNS = 20, MIN_STAGE_COLUMNS = 8 };

static uint64_t now_us(const paro_progress *progress)
{
    struct timespec t;

    if (progress->now_us)
        return progress->now_us(progress->clock_context);
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_US + (uint64_t)t.tv_nsec / 1000;
}

static unsigned terminal_columns(const paro_progress *progress)
{
    struct winsize size;

    if (progress->width)
        return progress->width;
    if (ioctl(fileno(progress->stream), TIOCGWINSZ, &size) == 0 && size.ws_col)
        return size.ws_col;
    return 80;
}

/* What a line says of the speed, from all of it to nothing. */
typedef enum speed_detail { SPEED_ALL, SPEED_TIME_LEFT, SPEED_NONE } speed_detail;

/* "  12.3k/s  ETA 0:07", or "" while nothing can be said. */
static void describe_speed(const paro_progress *progress, uint64_t now, uint64_t done,
                           uint64_t total, speed_detail detail, char *out, size_t n_out)
{
    double seconds = (double)(now - progress->begin_us) / SECOND_US;
    double n = (double)(done - progress->begin_done);
    char rate[PARO_TEXT_NUMBER_BYTES], left[PARO_TEXT_NUMBER_BYTES];

    out[0] = '\0';
    if (seconds < 0.05 || n <= 0 || detail == SPEED_NONE)
        return;
    paro_text_count(rate, n / seconds);
    paro_text_duration(left, (double)(total - done) * seconds / n);
    if (done >= total)
        snprintf(out, n_out, "  %s/s", rate);
    else if (detail == SPEED_TIME_LEFT)
        snprintf(out, n_out, "  ETA %s", left);
    else
        snprintf(out, n_out, "  %s/s  ETA %s", rate, left);
}

static void draw(paro_progress *progress, uint64_t now, unsigned percent, uint64_t done,
                 uint64_t total)
{
    char speed[96], bar[BAR_COLUMNS + 4] = "", line[sizeof progress->stage + 192];
    unsigned columns = terminal_columns(progress);

    if (columns >= 60) {
        unsigned n_full = percent * BAR_COLUMNS / 100;
        bar[0] = '[';
        memset(bar + 1, '#', n_full);
        memset(bar + 1 + n_full, '.', BAR_COLUMNS - n_full);
        memcpy(bar + 1 + BAR_COLUMNS, "] ", 3);
    }
    /* Where the terminal is narrow the stage gives way down to a few columns, then the rate, then
     * the time left. The last column stays free: some terminals begin a new line when it is
     * written. */
    unsigned n_rest = 0;
    for (int detail = SPEED_ALL; detail <= SPEED_NONE; detail++) {
        describe_speed(progress, now, done, total, (speed_detail)detail, speed, sizeof speed);
        n_rest = paro_text_columns(bar) + paro_text_columns(speed) + 7;
        if (columns > n_rest + MIN_STAGE_COLUMNS)
            break;
    }
    unsigned n_stage =
        columns > n_rest + MIN_STAGE_COLUMNS ? columns - n_rest - 1 : MIN_STAGE_COLUMNS;
    char *stage = paro_text_clean(progress->stage, n_stage);
    if (!stage)
        return;
    snprintf(line, sizeof line, "%s  %s%3u %%%s", stage, bar, percent, speed);
    free(stage);
    char *clean = paro_text_clean(line, columns > 2 ? columns - 1 : 1);
    if (!clean)
        return;
    fprintf(progress->stream, "\r%s\x1b[K", clean);
    fflush(progress->stream);
    free(clean);
    progress->on_line = true;
    progress->last_us = now;
}

static void print_line(paro_progress *progress, uint64_t now, unsigned percent, uint64_t done,
                       uint64_t total)
{
    char text[96];

    if (done == total) {
        char n[PARO_TEXT_NUMBER_BYTES];
        snprintf(text, sizeof text, "  %s in %.1f s", paro_text_count(n, (double)done),
                 (double)(now - progress->begin_us) / SECOND_US);
    } else {
        describe_speed(progress, now, done, total, SPEED_ALL, text, sizeof text);
    }
    char *stage = paro_text_clean(progress->stage, 0);
    if (!stage)
        return;
    fprintf(progress->stream, "%s: %u %%%s\n", stage, percent, text);
    fflush(progress->stream);
    free(stage);
    progress->n_lines++;
    progress->last_us = now;
    progress->last_percent = percent;
}

static void report_log(paro_progress *progress, uint64_t now, unsigned percent, uint64_t done,
                       uint64_t total)
{
    uint64_t quiet_us = now - progress->last_us;

    if (done == total) {
        if (progress->n_lines > 0 || now - progress->begin_us >= SECOND_US)
            print_line(progress, now, percent, done, total);
    } else if (quiet_us >= 10 * (uint64_t)SECOND_US ||
               (quiet_us >= SECOND_US && percent / 10 > progress->last_percent / 10)) {
        print_line(progress, now, percent, done, total);
    }
}

void paro_progress_report(paro_progress *progress, const char *stage, uint64_t done, uint64_t total)
{
    if (progress->mode == PARO_PROGRESS_MODE_OFF)
        return;
    uint64_t now = now_us(progress);
    bool same = strncmp(progress->stage, stage, sizeof progress->stage - 1) == 0;
    bool begins = !same || done < progress->last_done || progress->begin_us == 0;

    if (done > total)
        done = total;
    if (same && !begins && done == progress->last_done && done == total)
        return; /* the end was reported already */
    unsigned percent = total ? (unsigned)((double)done / (double)total * 100) : 100;
    if (begins) {
        snprintf(progress->stage, sizeof progress->stage, "%s", stage);
        progress->begin_us = progress->last_us = now;
        progress->begin_done = done;
        progress->last_percent = percent;
        progress->n_lines = 0;
    }
    progress->last_done = done;
    if (progress->mode == PARO_PROGRESS_MODE_LOG)
        report_log(progress, now, percent, done, total);
    else if (done == total)
        paro_progress_clear(progress);
    else if (begins || now - progress->last_us >= REDRAW_US)
        draw(progress, now, percent, done, total);
}

void paro_progress_clear(paro_progress *progress)
{
    if (!progress->on_line)
        return;
    fputs("\r\x1b[K", progress->stream);
    fflush(progress->stream);
    progress->on_line = false;
}
