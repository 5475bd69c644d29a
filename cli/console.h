/* SPDX-License-Identifier: MIT
 *
 * What a command says on standard error (errors, hints, log lines, progress), and exit codes.
 */
#ifndef PARO_CLI_CONSOLE_H
#define PARO_CLI_CONSOLE_H

#include <stdbool.h>

#include <paro/paro.h>

#include "cli/progress.h"
#include "cli/report.h"

typedef enum paro_exit {
    PARO_EXIT_DONE = 0,
    PARO_EXIT_FAILED = 1,
    PARO_EXIT_USAGE = 2,
    PARO_EXIT_PARTLY = 3, /* some of what was asked for is done, some failed */
    PARO_EXIT_INTERRUPTED = 130
} paro_exit;

/* All that paro takes from the environment, read in main.c. The paths live as long as the process.
 */
typedef struct paro_environment {
    bool no_color;     /* NO_COLOR is set and not empty */
    bool dumb;         /* TERM is "dumb" */
    unsigned columns;  /* COLUMNS; 0: not set */
    const char *cache; /* the user's kernel cache: PARO_CACHE, else XDG_CACHE_HOME/paro/cache.db,
                          else HOME/.cache/paro/cache.db; NULL: none of them is set */
    const char *system_cache; /* share/paro/cache.db where paro is installed; NULL: there is none */
    const char *device;       /* PARO_DEVICE: where models run, as --device; NULL: not set */
    const char *nvrtc;        /* PARO_NVRTC: NVRTC's library; NULL: not set */
    const char *program;      /* this program's own path, for worker processes; NULL: unknown */
} paro_environment;

typedef struct paro_console {
    int n_threads; /* for models; 0: one per available core */
    bool quiet;
    bool verbose;
    bool colour;     /* of "error" and "hint" */
    int write_error; /* errno of a failed write to standard output; 0: there was none */
    paro_progress progress;
    paro_observer observer; /* logs and draws progress here; stops the work after Ctrl-C */
    paro_environment environment;
} paro_console;

/* The console must not move afterwards: its observer points to it. */
void paro_console_init(paro_console *console, const paro_environment *environment);

/* "paro: error: …", "paro: warning: …", "paro: hint: …", and lines that --quiet leaves out. One
 * line each. */
void paro_console_error(paro_console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void paro_console_warn(paro_console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void paro_console_hint(paro_console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void paro_console_info(paro_console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Reports why a call of the library failed; PARO_EXIT_INTERRUPTED where it was cancelled, else
 * PARO_EXIT_FAILED. */
paro_exit paro_console_fail(paro_console *console, const paro_error *err);

/* Says that the user stopped the work; returns PARO_EXIT_INTERRUPTED. */
paro_exit paro_console_interrupted(paro_console *console);

/* Prints a report to standard output and frees it (NULL: memory ran out before). `code`, or
 * PARO_EXIT_FAILED after an error of its own. */
paro_exit paro_console_report(paro_console *console, paro_report *report, paro_exit code);

/* Before data goes to standard output: takes the progress line away. */
void paro_console_pause(paro_console *console);

#endif
