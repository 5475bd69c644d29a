/* SPDX-License-Identifier: MIT
 *
 * Ctrl-C and SIGTERM: the first asks to stop, the second ends the process at once.
 */
#ifndef PARO_CLI_INTERRUPT_H
#define PARO_CLI_INTERRUPT_H

#include <stdbool.h>

/* Installs the handlers. SIGPIPE is ignored: writing to a closed pipe is an error like another. A
 * signal that the parent process had ignored (nohup) stays ignored. */
void paro_interrupt_install(void);

/* True once SIGINT or SIGTERM came. */
bool paro_interrupt_wanted(void);

/* For a prompt that goes on: as if none had come. */
void paro_interrupt_reset(void);

#endif
