/* SPDX-License-Identifier: MIT
 *
 * Talking to an observer.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void paro_log(const paro_observer *observer, paro_log_level level, const char *format, ...)
{
    if (observer == NULL || observer->log == NULL)
        return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    paro_text_make_printable(line, sizeof line);
    observer->log(observer->context, level, line);
}

paro_status paro_report(paro_error *err, const paro_observer *observer, const char *stage,
                        uint64_t done, uint64_t total)
{
    if (observer == NULL || observer->progress == NULL ||
        observer->progress(observer->context, stage, done, total))
        return PARO_STATUS_OK;
    return paro_fail(err, PARO_STATUS_CANCELLED, "%s: stopped on request", stage);
}
