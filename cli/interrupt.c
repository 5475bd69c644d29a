/* SPDX-License-Identifier: MIT
 *
 * Ctrl-C and SIGTERM: the first asks to stop, the second ends the process at once.
 */
#include "cli/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>

/* A signal handler can reach nothing but a global. */
static volatile sig_atomic_t wanted;

static void handle(int number)
{
    wanted = number;
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

bool paro_interrupt_reset(void)
{
    if (wanted == SIGTERM)
        return false;
    wanted = 0;
    paro_interrupt_install();
    return true;
}

bool paro_interrupt_wait(int fd)
{
    struct pollfd in = {.fd = fd, .events = POLLIN};
    sigset_t stop, before;
    int n = 0;

    /* A signal between looking and waiting would be slept through: they are let in by ppoll. */
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, &before);
    while (!wanted && n <= 0) {
        n = ppoll(&in, 1, NULL, &before);
        if (n < 0 && errno != EINTR)
            break; /* reading will say why */
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return !wanted;
}
