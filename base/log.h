/* SPDX-License-Identifier: MIT
 *
 * Talking to an observer (include/paro/observer.h) that may be NULL or half filled in.
 */
#ifndef PARO_BASE_LOG_H
#define PARO_BASE_LOG_H

#include <paro/observer.h>

#include "base/error.h"

/* One line, formatted and made printable like an error message; cut at 1 KiB. */
void paro_log(const paro_observer *observer, paro_log_level level, const char *format, ...)
    PARO_PRINTF(3, 4);

/* PARO_STATUS_OK, or PARO_STATUS_CANCELLED (with a message naming the stage) when the observer asks
 * to stop. */
paro_status paro_report(paro_error *err, const paro_observer *observer, const char *stage,
                        uint64_t done, uint64_t total);

#endif
