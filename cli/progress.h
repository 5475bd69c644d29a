/* SPDX-License-Identifier: MIT
 *
 * Progress of long work: one redrawn line on a terminal, plain lines now and then in a log.
 */
#ifndef PARO_CLI_PROGRESS_H
#define PARO_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum paro_progress_mode {
    PARO_PROGRESS_MODE_OFF,
    PARO_PROGRESS_MODE_TERMINAL, /* a line that is drawn over itself, ten times a second at most */
    PARO_PROGRESS_MODE_LOG       /* whole lines, no control characters: see progress.c for when */
} paro_progress_mode;

typedef struct paro_progress {
    /* Set by the caller before the first report. */
    FILE *stream;
    paro_progress_mode mode;
    unsigned width;                    /* of the terminal; 0: ask the stream's terminal each time */
    uint64_t (*now_us)(void *context); /* a clock that never goes back; NULL: the system's */
    void *clock_context;

    /* Owned by progress.c; all zero before the first report. */
    char stage[128];
    uint64_t begin_us, begin_done;
    uint64_t last_us, last_done;
    unsigned last_percent;
    unsigned n_lines; /* of this stage, in a log */
    bool on_line;     /* the terminal's cursor is behind a progress line */
} paro_progress;

/* `done` of `total` units of `stage`; another stage, or less done than before, begins anew. */
void paro_progress_report(paro_progress *progress, const char *stage, uint64_t done,
                          uint64_t total);

/* Removes the line from a terminal, before anything else is printed and at the end. */
void paro_progress_clear(paro_progress *progress);

#endif
