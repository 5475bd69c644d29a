/* SPDX-License-Identifier: MIT
 *
 * How long work reports: log lines and progress, through callbacks the caller owns.
 */
#ifndef PARO_OBSERVER_H
#define PARO_OBSERVER_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum paro_log_level {
    PARO_LOG_LEVEL_DEBUG,
    PARO_LOG_LEVEL_INFO,
    PARO_LOG_LEVEL_WARNING
} paro_log_level;

/* Any member may be NULL. Callbacks run on the thread that called paro, one at a time.
 * The observer must outlive the call (or the object) it was given to. */
typedef struct paro_observer {
    void *context; /* handed to every callback, never looked at */

    /* One line of text without its newline; valid during the call only. */
    void (*log)(void *context, paro_log_level level, const char *message);

    /* `stage` names the work ("quantize", "eval wiki.txt"); done <= total, both in the stage's own
     * unit; 0 and 0 where nobody knows how long it takes. Returning false asks to stop: the call
     * that reports then returns PARO_STATUS_CANCELLED and leaves nothing half-done. */
    bool (*progress)(void *context, const char *stage, uint64_t done, uint64_t total);
} paro_observer;

#ifdef __cplusplus
}
#endif
#endif
