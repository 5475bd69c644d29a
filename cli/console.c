/* SPDX-License-Identifier: MIT
 *
 * What a command says on standard error: errors, hints, log lines, progress.
 */
#include "cli/console.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/text.h"

/* One line: a coloured word, then the message made safe. */
static void say(paro_console *console, const char *word, const char *colour, const char *format,
                va_list values)
{
    char *text = NULL, *clean = NULL;

    paro_progress_clear(&console->progress);
    if (vasprintf(&text, format, values) >= 0) {
        clean = paro_text_clean(text, 0);
        free(text);
    }
    if (console->colour && *word)
        fprintf(stderr, "paro: \x1b[%sm%s:\x1b[0m ", colour, word);
    else
        fprintf(stderr, *word ? "paro: %s: " : "%s", word);
    fprintf(stderr, "%s\n", clean ? clean : "(out of memory for the message)");
    free(clean);
}

void paro_console_error(paro_console *console, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    say(console, "error", "1;31", format, values);
    va_end(values);
}

void paro_console_hint(paro_console *console, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    say(console, "hint", "1;36", format, values);
    va_end(values);
}

void paro_console_warn(paro_console *console, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    say(console, "warning", "1;33", format, values);
    va_end(values);
}

void paro_console_info(paro_console *console, const char *format, ...)
{
    va_list values;

    if (console->quiet)
        return;
    va_start(values, format);
    say(console, "", "", format, values);
    va_end(values);
}

static void observe_log(void *context, paro_log_level level, const char *message)
{
    paro_console *console = context;

    if (level == PARO_LOG_LEVEL_WARNING)
        paro_console_warn(console, "%s", message);
    else if (level == PARO_LOG_LEVEL_INFO || console->verbose)
        paro_console_info(console, "%s", message);
}

static bool observe_progress(void *context, const char *stage, uint64_t done, uint64_t total)
{
    paro_console *console = context;

    paro_progress_report(&console->progress, stage, done, total);
    return !paro_interrupt_wanted();
}

void paro_console_init(paro_console *console, const paro_environment *environment)
{
    bool terminal = isatty(STDERR_FILENO) && !environment->dumb;

    *console = (paro_console){
        .colour = terminal && !environment->no_color,
        .progress = {.stream = stderr,
                     .mode = terminal ? PARO_PROGRESS_MODE_TERMINAL : PARO_PROGRESS_MODE_LOG,
                     .width = environment->columns},
        .observer = {.context = console, .log = observe_log, .progress = observe_progress},
        .environment = *environment};
}

paro_exit paro_console_interrupted(paro_console *console)
{
    paro_console_error(console, "interrupted");
    return PARO_EXIT_INTERRUPTED;
}

paro_exit paro_console_fail(paro_console *console, const paro_error *err)
{
    if (err->status == PARO_STATUS_CANCELLED)
        return paro_console_interrupted(console);
    paro_console_error(console, "%s", err->message);
    return PARO_EXIT_FAILED;
}

void paro_console_pause(paro_console *console)
{
    paro_progress_clear(&console->progress);
}

paro_exit paro_console_report(paro_console *console, paro_report *report, paro_exit code)
{
    paro_console_pause(console);
    if (!paro_report_print(report, stdout)) {
        paro_console_error(console, "out of memory for the report");
        code = PARO_EXIT_FAILED;
    }
    paro_report_free(report);
    return code;
}
