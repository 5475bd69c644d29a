/* SPDX-License-Identifier: MIT
 *
 * Copies that run beside the threads. Their destination is poisoned (0xFF: NaN) at the issue; the
 * data are read and land when somebody waits for them, no earlier.
 *
 * A barrier's 64 bits, from the lowest: 20 count of arrivals of a phase, 20 arrivals that the
 * present phase still waits for, 22 bytes that it still waits for (plus 2^21), the phase's parity,
 * and a zero, so that poison is no barrier.
 */
#include <stdlib.h>
#include <string.h>

#include "emulator/run.h"

enum { ASYNC_BYTES = 16, POISON = 0xFF };

static void push(paro_emu_thread *thread, paro_emu_copies *copies, paro_emu_copy copy)
{
    if (copies->n == copies->capacity) {
        const size_t capacity = copies->capacity == 0 ? 8 : 2 * copies->capacity;
        paro_emu_copy *data = realloc(copies->data, capacity * sizeof *data);
        if (data == NULL)
            paro_emu_fail(thread, PARO_STATUS_OUT_OF_MEMORY, "out of memory for a copy");
        copies->data = data;
        copies->capacity = capacity;
    }
    copies->data[copies->n++] = copy;
}

void paro_emu_copies_release(paro_emu_copies *copies)
{
    free(copies->data);
    *copies = (paro_emu_copies){0};
}

static void land(const paro_emu_copy *copy)
{
    if (copy->from != NULL)
        memcpy(copy->to, copy->from, copy->n_bytes);
    else
        memset(copy->to, 0, copy->n_bytes);
}

static void check_place(paro_emu_thread *thread, const char *what, const void *shared,
                        const void *global, size_t n_bytes)
{
    if (((uintptr_t)shared | (uintptr_t)global) % 16 != 0)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "%s: addresses must be multiples of 16, found offset %td in shared memory "
                      "and %p",
                      what, (const char *)shared - (const char *)thread->block->self.shared,
                      global);
    if (!paro_emu_is_shared(thread->block, shared, n_bytes))
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "%s: %zu bytes at offset %td of shared memory, which has %u", what, n_bytes,
                      (const char *)shared - (const char *)thread->block->self.shared,
                      thread->block->self.shared_bytes);
}

/* ---- cp.async ----------------------------------------------------------------------------------
 */

void paro_emu_copy_async16(const emulator_thread *self, void *shared, const void *global,
                           bool is_valid)
{
    paro_emu_thread *thread = paro_emu_of(self);
    const paro_emu_copy copy = {.to = shared,
                                .from = is_valid ? global : NULL,
                                .n_bytes = ASYNC_BYTES,
                                .group = thread->n_groups};
    check_place(thread, "copy_async16", shared, copy.from, ASYNC_BYTES);
    if ((thread->run->launch->arch->features & PARO_ARCH_COPY_ASYNC) == 0) {
        land(&copy);
        return;
    }
    memset(shared, POISON, ASYNC_BYTES);
    push(thread, &thread->copies, copy);
}

void paro_emu_copy_async_commit(const emulator_thread *self)
{
    paro_emu_of(self)->n_groups++;
}

void paro_emu_copy_async_wait(const emulator_thread *self, uint32_t n_groups)
{
    paro_emu_thread *thread = paro_emu_of(self);
    paro_emu_copies *copies = &thread->copies;
    size_t n = 0;
    for (; n < copies->n && (uint64_t)copies->data[n].group + n_groups < thread->n_groups; n++)
        land(&copies->data[n]);
    if (n == 0)
        return;
    copies->n -= n;
    memmove(copies->data, copies->data + n, copies->n * sizeof *copies->data);
}

/* ---- bulk copies and their barriers ------------------------------------------------------------
 */

enum { COUNT_BITS = 20, BYTES_BITS = 22, BYTES_BIAS = 1 << 21 };

typedef struct phase {
    uint32_t count;
    uint32_t n_pending;
    int32_t n_bytes;
    uint32_t parity;
} phase;

static phase phase_of(paro_emu_thread *thread, const char *what, const uint64_t *barrier)
{
    if ((thread->run->launch->arch->features & PARO_ARCH_BULK) == 0)
        paro_emu_fail(thread, PARO_STATUS_FORMAT, "%s: %s has no bulk copies", what,
                      thread->run->launch->arch->name);
    if (!paro_emu_is_shared(thread->block, barrier, sizeof *barrier) ||
        (uintptr_t)barrier % sizeof *barrier != 0)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "%s: the barrier must be 8 aligned bytes of the block's shared memory", what);
    if (*barrier >> 63 != 0)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "%s: the barrier at offset %td of shared memory has had no barrier_init",
                      what, (const char *)barrier - (const char *)thread->block->self.shared);
    const uint64_t bits = *barrier;
    return (phase){.count = (uint32_t)(bits & ((1U << COUNT_BITS) - 1)),
                   .n_pending = (uint32_t)(bits >> COUNT_BITS & ((1U << COUNT_BITS) - 1)),
                   .n_bytes =
                       (int32_t)(bits >> 2 * COUNT_BITS & ((1U << BYTES_BITS) - 1)) - BYTES_BIAS,
                   .parity = (uint32_t)(bits >> 62 & 1)};
}

/* Ends the phase where nothing is left to wait for, and wakes those who waited. */
static void store(uint64_t *barrier, phase p)
{
    if (p.n_pending == 0 && p.n_bytes == 0) {
        p.n_pending = p.count;
        p.parity ^= 1;
    }
    *barrier = p.count | (uint64_t)p.n_pending << COUNT_BITS |
               (uint64_t)(uint32_t)(p.n_bytes + BYTES_BIAS) << 2 * COUNT_BITS |
               (uint64_t)p.parity << 62;
}

static void wake_waiting(paro_emu_thread *thread, const uint64_t *barrier)
{
    paro_emu_run *run = thread->run;
    for (size_t i = 0; run->n_at_bulk > 0 && i < run->n_threads; i++)
        if (run->threads[i].wait == PARO_EMU_BULK && run->threads[i].wait_at == barrier)
            paro_emu_wake(&run->threads[i]);
}

void paro_emu_barrier_init(const emulator_thread *self, uint64_t *barrier, uint32_t count)
{
    paro_emu_thread *thread = paro_emu_of(self);
    if (count == 0 || count >= 1U << COUNT_BITS)
        paro_emu_fail(thread, PARO_STATUS_FORMAT, "barrier_init: a count of %u", count);
    if (paro_emu_is_shared(thread->block, barrier, sizeof *barrier))
        *barrier = 0;
    (void)phase_of(thread, "barrier_init", barrier);
    store(barrier, (phase){.count = count, .n_pending = count});
}

void paro_emu_barrier_arrive(const emulator_thread *self, uint64_t *barrier, uint32_t n_bytes)
{
    paro_emu_thread *thread = paro_emu_of(self);
    phase p = phase_of(thread, n_bytes > 0 ? "barrier_expect" : "barrier_arrive", barrier);
    if (p.n_pending == 0)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "barrier_arrive: more arrivals in a phase than the barrier's count of %u",
                      p.count);
    if (n_bytes >= BYTES_BIAS / 2 || p.n_bytes + (int32_t)n_bytes >= BYTES_BIAS / 2)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "barrier_expect: %u bytes, a phase counts less than 2^20", n_bytes);
    p.n_bytes += (int32_t)n_bytes;
    p.n_pending--;
    store(barrier, p);
    wake_waiting(thread, barrier);
}

void paro_emu_bulk_load(const emulator_thread *self, void *shared, const void *global,
                        uint32_t n_bytes, uint64_t *barrier)
{
    paro_emu_thread *thread = paro_emu_of(self);
    (void)phase_of(thread, "bulk_load", barrier);
    if (n_bytes == 0 || n_bytes % 16 != 0 || n_bytes >= BYTES_BIAS / 2)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "bulk_load: %u bytes, expected a multiple of 16 below 2^20", n_bytes);
    check_place(thread, "bulk_load", shared, global, n_bytes);
    memset(shared, POISON, n_bytes);
    push(thread, &thread->run->bulk,
         (paro_emu_copy){.to = shared, .from = global, .n_bytes = n_bytes, .barrier = barrier});
    wake_waiting(thread, barrier);
}

static void land_all_of(paro_emu_thread *thread, uint64_t *barrier)
{
    paro_emu_copies *bulk = &thread->run->bulk;
    size_t n_kept = 0;
    uint32_t n_bytes = 0;
    for (size_t i = 0; i < bulk->n; i++) {
        if (bulk->data[i].barrier != barrier) {
            bulk->data[n_kept++] = bulk->data[i];
            continue;
        }
        land(&bulk->data[i]);
        n_bytes += (uint32_t)bulk->data[i].n_bytes;
    }
    bulk->n = n_kept;
    if (n_bytes == 0)
        return;
    phase p = phase_of(thread, "barrier_wait", barrier);
    if (p.n_bytes - (int32_t)n_bytes <= -BYTES_BIAS / 2)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "barrier_wait: 2^20 bytes landed that no barrier_expect announced");
    p.n_bytes -= (int32_t)n_bytes;
    store(barrier, p);
    wake_waiting(thread, barrier);
}

void paro_emu_barrier_wait(const emulator_thread *self, uint64_t *barrier, uint32_t parity)
{
    paro_emu_thread *thread = paro_emu_of(self);
    if (parity > 1)
        paro_emu_fail(thread, PARO_STATUS_FORMAT, "barrier_wait: a parity of %u", parity);
    for (;;) {
        if (phase_of(thread, "barrier_wait", barrier).parity != parity)
            return;
        land_all_of(thread, barrier);
        if (phase_of(thread, "barrier_wait", barrier).parity != parity)
            return;
        thread->wait_at = barrier;
        thread->run->n_at_bulk++;
        paro_emu_wait_for(thread, PARO_EMU_BULK);
        thread->run->n_at_bulk--;
    }
}
