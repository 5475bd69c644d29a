/* SPDX-License-Identifier: MIT
 *
 * Fibres: stacks that one thread of the host switches between. A fibre stays on the host thread
 * that started it.
 */
#ifndef PARO_EMULATOR_FIBRE_H
#define PARO_EMULATOR_FIBRE_H

#include <stdbool.h>
#include <stddef.h>

typedef void paro_fibre_fn(void *context);

typedef struct paro_fibre {
    void *sp;          /* while it does not run */
    const void *stack; /* lowest address, for AddressSanitizer; of the thread's own stack: filled in
                          by the first switch away from it */
    size_t n_bytes;
    void *fake_stack;        /* AddressSanitizer's */
    struct paro_fibre *from; /* who switched here last */
    paro_fibre_fn *fn;       /* does not return: its last act is a switch */
    void *context;
    bool is_new;
} paro_fibre;

/* Stacks of one size, in one mapping; each but the first page of a stack can be written. */
typedef struct paro_stacks {
    char *data;
    size_t n;
} paro_stacks;

/* False when out of memory; no fibre may be alive. */
bool paro_stacks_reserve(paro_stacks *stacks, size_t n);
void paro_stacks_free(paro_stacks *stacks);

/* Stack i is made ready to run fn(context). */
void paro_fibre_prepare(paro_fibre *fibre, const paro_stacks *stacks, size_t i, paro_fibre_fn *fn,
                        void *context);

/* From the running one (for the thread's own stack: any zeroed struct) to another. `ends`: never to
 * be switched back to. */
void paro_fibre_switch(paro_fibre *from, paro_fibre *to, bool ends);

/* After fibres were left for good in the midst of their work. */
void paro_stacks_forget(const paro_stacks *stacks);

#endif
