/* SPDX-License-Identifier: MIT
 *
 * Ctrl-C and SIGTERM: the first asks to stop, the second ends the process at once.
 */
#include "cli/interrupt.h"

#include <signal.h>

/* A signal handler can reach nothing but a global. */
static volatile sig_atomic_t wanted;

static void handle(int number)
{
    (void)number;
    wanted = 1;
}

void paro_interrupt_install(void)
{
    const int stop[] = {SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESETHAND}, before;

    sigemptyset(&action.sa_mask);
    for (int i = 0; i < 2; i++)
        if (sigaction(stop[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(stop[i], &action, NULL); /* no SA_RESTART: a waiting read returns */
    signal(SIGPIPE, SIG_IGN);
}

bool paro_interrupt_wanted(void)
{
    return wanted != 0;
}

void paro_interrupt_reset(void)
{
    wanted = 0;
    paro_interrupt_install();
}
