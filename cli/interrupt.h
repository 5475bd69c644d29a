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

/* For a prompt that goes on: as if Ctrl-C had not come. False where SIGTERM did, which stays. */
bool paro_interrupt_reset(void);

/* Waits until `fd` can be read, or is at its end; false once SIGINT or SIGTERM came, before or
 * meanwhile. */
bool paro_interrupt_wait(int fd);

#endif
