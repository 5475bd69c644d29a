/* SPDX-License-Identifier: MIT
 *
 * A cluster's threads from start to end: whose turn it is, barriers of blocks and clusters, and
 * what is said when no thread can go on.
 */
#include "emulator/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/hash.h"

enum { SHARED_ALIGNMENT = 1024, ALL_LANES = -1 };

/* ---- turns -------------------------------------------------------------------------------------
 */

static uint32_t draw(paro_emu_run *run) /* xorshift64* (Marsaglia 2003, Vigna 2016) */
{
    uint64_t x = run->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    run->random = x;
    return (uint32_t)(x * UINT64_C(0x2545F4914F6CDD1D) >> 32);
}

static void enqueue(paro_emu_run *run, paro_emu_warp *warp)
{
    if (warp->is_queued || warp == run->current)
        return;
    warp->is_queued = true;
    run->queue[run->n_queued++] = warp;
}

static void next_warp(paro_emu_run *run)
{
    paro_emu_warp *last = run->current;
    run->current = NULL;
    if (last != NULL && last->ready != 0)
        enqueue(run, last);
    if (run->n_queued == 0)
        return;
    const uint32_t random = draw(run);
    const size_t i = (size_t)((uint64_t)random * run->n_queued >> 32);
    paro_emu_warp *warp = run->queue[i];
    run->queue[i] = run->queue[--run->n_queued];
    warp->is_queued = false;
    warp->order = random % PARO_EMU_WARP;
    warp->is_backwards = (random >> 5 & 1) != 0;
    run->current = warp;
    run->n_turns = 1 + (random >> 6) % run->stride;
}

/* Whose turn it is; NULL where no thread is ready. */
static paro_emu_thread *next_thread(paro_emu_run *run)
{
    paro_emu_warp *warp = run->current;
    if (warp == NULL || warp->ready == 0 || (run->n_turns == 0 && run->n_queued > 0)) {
        next_warp(run);
        warp = run->current;
        if (warp == NULL)
            return NULL;
    }
    if (run->n_turns > 0)
        run->n_turns--;
    const uint32_t r = warp->order;
    const uint32_t turned = warp->ready >> r | warp->ready << (-r & 31);
    const uint32_t at =
        warp->is_backwards ? 31 - (uint32_t)__builtin_clz(turned) : (uint32_t)__builtin_ctz(turned);
    const uint32_t lane = (at + r) & 31;
    warp->ready &= ~(UINT32_C(1) << lane);
    return &run->threads[(size_t)(warp - run->warps) * PARO_EMU_WARP + lane];
}

static void yield(paro_emu_thread *thread, bool ends)
{
    paro_emu_run *run = thread->run;
    paro_emu_thread *next = next_thread(run);
    if (next == thread)
        return;
    if (next != NULL)
        *run->self_at = &next->self;
    paro_fibre_switch(&thread->fibre, next != NULL ? &next->fibre : &run->main, ends);
}

void paro_emu_wait_for(paro_emu_thread *thread, paro_emu_wait wait)
{
    thread->wait = wait;
    yield(thread, false);
    thread->wait = PARO_EMU_RUNS;
}

static void wake_lanes(paro_emu_run *run, paro_emu_warp *warp, uint32_t lanes)
{
    warp->ready |= lanes;
    if (warp->ready != 0)
        enqueue(run, warp);
}

void paro_emu_wake(paro_emu_thread *thread)
{
    wake_lanes(thread->run, thread->warp, UINT32_C(1) << thread->lane);
}

/* All of the block but the running thread. */
static void wake_block(paro_emu_block *block, const paro_emu_thread *running)
{
    paro_emu_run *run = running->run;
    paro_emu_warp *warp =
        &run->warps[(size_t)(block - run->blocks) * (block->self.n_threads / PARO_EMU_WARP)];
    for (uint32_t i = 0; i < block->self.n_threads / PARO_EMU_WARP; i++, warp++)
        wake_lanes(run, warp,
                   (uint32_t)ALL_LANES &
                       ~(warp == running->warp ? UINT32_C(1) << running->lane : 0));
}

/* ---- meetings of a warp ------------------------------------------------------------------------
 */

static const char *wait_name(paro_emu_wait wait)
{
    switch (wait) {
    case PARO_EMU_RUNS:
        return "could run";
    case PARO_EMU_ENDED:
        return "have ended";
    case PARO_EMU_BLOCK:
        return "wait at block_barrier";
    case PARO_EMU_NAMED:
        return "wait at named_barrier";
    case PARO_EMU_CLUSTER:
        return "wait at cluster_barrier";
    case PARO_EMU_BULK:
        return "wait at barrier_wait";
    case PARO_EMU_SHUFFLE:
        return "wait at shuffle";
    case PARO_EMU_BALLOT:
        return "wait at ballot";
    case PARO_EMU_WARP_BARRIER:
        return "wait at warp_barrier";
    case PARO_EMU_MMA_F16:
    case PARO_EMU_MMA_BF16:
        return "wait at mma_16x8x16";
    case PARO_EMU_WGMMA:
        return "wait at wgmma_wait";
    }
    return "";
}

bool paro_emu_meet(paro_emu_thread *thread, paro_emu_wait meeting)
{
    paro_emu_warp *warp = thread->warp;
    if (warp->meeting != meeting) {
        if (warp->meeting != PARO_EMU_RUNS)
            paro_emu_fail(thread, PARO_STATUS_FORMAT,
                          "the lanes of a warp part: here one %s where others %s",
                          wait_name(meeting), wait_name(warp->meeting));
        warp->meeting = meeting;
    }
    if (++warp->n_met == PARO_EMU_WARP)
        return true;
    paro_emu_wait_for(thread, meeting);
    return false;
}

void paro_emu_part(paro_emu_thread *thread)
{
    paro_emu_warp *warp = thread->warp;
    warp->n_met = 0;
    warp->meeting = PARO_EMU_RUNS;
    warp->set ^= 1;
    warp->ready = ~(UINT32_C(1) << thread->lane);
}

/* ---- barriers ----------------------------------------------------------------------------------
 */

static void block_barrier(const emulator_thread *self)
{
    paro_emu_thread *thread = paro_emu_of(self);
    paro_emu_block *block = thread->block;
    if (++block->n_waiting < block->self.n_threads) {
        paro_emu_wait_for(thread, PARO_EMU_BLOCK);
        return;
    }
    block->n_waiting = 0;
    wake_block(block, thread);
}

static void cluster_barrier(const emulator_thread *self)
{
    paro_emu_thread *thread = paro_emu_of(self);
    paro_emu_run *run = thread->run;
    if ((run->launch->arch->features & PARO_ARCH_CLUSTER) == 0)
        paro_emu_fail(thread, PARO_STATUS_FORMAT, "cluster_barrier: %s has no clusters",
                      run->launch->arch->name);
    if (++run->n_at_cluster < run->n_threads) {
        paro_emu_wait_for(thread, PARO_EMU_CLUSTER);
        return;
    }
    run->n_at_cluster = 0;
    for (size_t i = 0; i < run->n_blocks; i++)
        wake_block(&run->blocks[i], thread);
}

static void named_barrier(const emulator_thread *self, uint32_t id, uint32_t n_threads)
{
    paro_emu_thread *thread = paro_emu_of(self);
    paro_emu_block *block = thread->block;
    if (id == 0 || id >= PARO_EMU_N_NAMED || n_threads == 0 || n_threads % PARO_EMU_WARP != 0 ||
        n_threads > block->self.n_threads)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "named_barrier(%u, %u): expected an id of 1 to 15 and whole warps of the "
                      "block's %u threads",
                      id, n_threads, block->self.n_threads);
    if (block->named[id].n_threads == 0)
        block->named[id].n_threads = n_threads;
    if (block->named[id].n_threads != n_threads)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "named_barrier(%u, %u): others wait there for %u threads", id, n_threads,
                      block->named[id].n_threads);
    if (++block->named[id].n_waiting < n_threads) {
        thread->wait_id = id;
        paro_emu_wait_for(thread, PARO_EMU_NAMED);
        return;
    }
    block->named[id].n_threads = 0;
    block->named[id].n_waiting = 0;
    paro_emu_thread *other = thread - thread->self.thread;
    for (uint32_t i = 0; i < block->self.n_threads; i++, other++)
        if (other->wait == PARO_EMU_NAMED && other->wait_id == id)
            paro_emu_wake(other);
}

/* ---- clusters ----------------------------------------------------------------------------------
 */

bool paro_emu_is_shared(const paro_emu_block *block, const void *p, size_t n_bytes)
{
    const uintptr_t base = (uintptr_t)block->self.shared, at = (uintptr_t)p;
    return at >= base && at - base <= block->self.shared_bytes &&
           block->self.shared_bytes - (at - base) >= n_bytes;
}

static void *cluster_shared(const emulator_thread *self, void *mine, uint32_t rank)
{
    paro_emu_thread *thread = paro_emu_of(self);
    paro_emu_run *run = thread->run;
    if (rank >= run->n_blocks)
        paro_emu_fail(thread, PARO_STATUS_FORMAT, "cluster_shared: rank %u of %zu blocks", rank,
                      run->n_blocks);
    if (!paro_emu_is_shared(thread->block, mine, 0))
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "cluster_shared: the address is not in this block's shared memory");
    if (run->blocks[rank].n_ended == run->blocks[rank].self.n_threads)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "cluster_shared: block %u of the cluster has ended: meet once more at "
                      "cluster_barrier before the end",
                      rank);
    return (char *)run->blocks[rank].self.shared +
           ((char *)mine - (char *)thread->block->self.shared);
}

const emulator_calls paro_emu_calls = {
    .block_barrier = block_barrier,
    .warp_barrier = paro_emu_warp_barrier,
    .named_barrier = named_barrier,
    .cluster_barrier = cluster_barrier,
    .shuffle = paro_emu_shuffle,
    .ballot = paro_emu_ballot,
    .mma_16x8x16 = paro_emu_mma_16x8x16,
    .copy_async16 = paro_emu_copy_async16,
    .copy_async_commit = paro_emu_copy_async_commit,
    .copy_async_wait = paro_emu_copy_async_wait,
    .barrier_init = paro_emu_barrier_init,
    .barrier_arrive = paro_emu_barrier_arrive,
    .barrier_wait = paro_emu_barrier_wait,
    .bulk_load = paro_emu_bulk_load,
    .cluster_shared = cluster_shared,
    .wgmma = paro_emu_wgmma,
    .wgmma_commit = paro_emu_wgmma_commit,
    .wgmma_wait = paro_emu_wgmma_wait,
};

/* ---- what went wrong ---------------------------------------------------------------------------
 */

_Noreturn void paro_emu_fail(paro_emu_thread *thread, paro_status status, const char *format, ...)
{
    paro_emu_run *run = thread->run;
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const uint32_t *at = thread->block->self.index;
    (void)paro_fail(run->err, status, "kernel %s, block (%u, %u, %u), thread %u: %s",
                    run->launch->kernel, at[0], at[1], at[2], thread->self.thread, text);
    run->has_failed = true;
    for (;;)
        paro_fibre_switch(&thread->fibre, &run->main, false);
}

/* "threads 0-31 wait at block_barrier, 32-63 have ended" of the first block with a thread left. */
static paro_status fail_deadlock(paro_error *err, const paro_emu_run *run)
{
    const paro_emu_block *block = run->blocks;
    while (block->n_ended == block->self.n_threads)
        block++;
    const paro_emu_thread *threads =
        &run->threads[(size_t)(block - run->blocks) * block->self.n_threads];
    const uint32_t n = block->self.n_threads;
    paro_buffer text = {0};
    uint32_t n_groups = 0;
    for (uint32_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && threads[end].wait == threads[i].wait &&
                          threads[end].wait_id == threads[i].wait_id;
             end++)
            ;
        if (++n_groups > 8) {
            (void)paro_buffer_append_text(&text, ", …");
            break;
        }
        (void)paro_buffer_printf(&text, i == 0 ? "threads %u" : ", %u", i);
        if (end > i + 1)
            (void)paro_buffer_printf(&text, "-%u", end - 1);
        (void)paro_buffer_printf(&text, " %s", wait_name(threads[i].wait));
        if (threads[i].wait == PARO_EMU_NAMED)
            (void)paro_buffer_printf(&text, " %u", threads[i].wait_id);
    }
    const uint32_t *at = block->self.index;
    paro_status status = paro_fail(
        err, PARO_STATUS_FORMAT, "kernel %s, block (%u, %u, %u): threads wait for ever: %s",
        run->launch->kernel, at[0], at[1], at[2], text.data != NULL ? text.data : "");
    paro_buffer_free(&text);
    return status;
}

/* ---- from beginning to end ---------------------------------------------------------------------
 */

static void thread_main(void *context)
{
    paro_emu_thread *thread = context;
    paro_emu_run *run = thread->run;
    run->launch->fn(run->launch->args);
    thread->wait = PARO_EMU_ENDED;
    thread->wait_id = 0;
    thread->block->n_ended++;
    run->n_ended++;
    yield(thread, true);
}

static bool reserve(paro_emu_run *run, size_t n_threads, size_t n_blocks)
{
    if (!paro_stacks_reserve(&run->stacks, n_threads))
        return false;
    if (n_threads > run->capacity) {
        paro_emu_thread *threads = calloc(n_threads, sizeof *threads);
        paro_emu_warp *warps = calloc(n_threads / PARO_EMU_WARP, sizeof *warps);
        paro_emu_warp **queue = calloc(n_threads / PARO_EMU_WARP, sizeof(paro_emu_warp *));
        if (threads == NULL || warps == NULL || queue == NULL) {
            free(threads);
            free(warps);
            free((void *)queue);
            return false;
        }
        if (run->capacity > 0)
            memcpy(threads, run->threads,
                   run->capacity * sizeof *threads); /* keeps copies' memory */
        free(run->threads);
        free(run->warps);
        free((void *)run->queue);
        run->threads = threads;
        run->warps = warps;
        run->queue = queue;
        run->capacity = n_threads;
    }
    if (n_blocks > run->block_capacity) {
        paro_emu_block *blocks = calloc(n_blocks, sizeof *blocks);
        if (blocks == NULL)
            return false;
        free(run->blocks);
        run->blocks = blocks;
        run->block_capacity = n_blocks;
    }
    return true;
}

void paro_emu_run_release(paro_emu_run *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < run->capacity; i++) {
        paro_emu_copies_release(&run->threads[i].copies);
        paro_emu_products_release(&run->threads[i].products);
    }
    paro_emu_copies_release(&run->bulk);
    free(run->threads);
    free(run->warps);
    free((void *)run->queue);
    free(run->blocks);
    paro_stacks_free(&run->stacks);
    *run = (paro_emu_run){0};
}

static bool prepare_block(paro_emu_run *run, uint32_t rank, const uint32_t index[3])
{
    const paro_emu_launch *launch = run->launch;
    paro_emu_block *block = &run->blocks[rank];
    *block = (paro_emu_block){.self = {.n_threads = launch->n_threads,
                                       .index = {index[0] + rank, index[1], index[2]},
                                       .cluster_rank = rank,
                                       .cluster_size = launch->cluster,
                                       .shared_bytes = launch->shared_bytes}};
    memcpy(block->self.grid, launch->grid, sizeof block->self.grid);
    if (launch->shared_bytes > 0) {
        if (posix_memalign(&block->self.shared, SHARED_ALIGNMENT, launch->shared_bytes) != 0) {
            block->self.shared = NULL;
            return false;
        }
        memset(block->self.shared, 0xFF, launch->shared_bytes);
    }
    for (uint32_t i = 0; i < launch->n_threads; i++) {
        const size_t at = (size_t)rank * launch->n_threads + i;
        paro_emu_thread *thread = &run->threads[at];
        paro_emu_copies copies = thread->copies;
        paro_emu_products products = thread->products;
        copies.n = 0;
        products.n = 0;
        products.n_groups = 0;
        for (size_t j = 0; j < products.n_sums; j++)
            products.sums[j].d = NULL;
        paro_emu_warp *warp = &run->warps[at / PARO_EMU_WARP];
        *thread = (paro_emu_thread){
            .self = {.thread = i, .block = &block->self, .calls = &paro_emu_calls},
            .run = run,
            .block = block,
            .warp = warp,
            .lane = i % PARO_EMU_WARP,
            .copies = copies,
            .products = products};
        if (thread->lane == 0) {
            warp->is_queued = false;
            warp->n_met = 0;
            warp->meeting = PARO_EMU_RUNS;
            warp->set = 0;
            warp->ready = (uint32_t)ALL_LANES;
            enqueue(run, warp);
        }
        paro_fibre_prepare(&thread->fibre, &run->stacks, at, thread_main, thread);
    }
    return true;
}

static void start(paro_emu_run *run, const paro_emu_launch *launch, paro_error *err, uint64_t index)
{
    run->err = err;
    run->has_failed = false;
    run->launch = launch;
    run->self_at = launch->self_at();
    run->random = paro_hash_mix(launch->seed ^ paro_hash_mix(index)) | 1;
    run->stride = 16U << draw(run) % 10;
    run->n_turns = 0;
    run->n_threads = (size_t)launch->n_threads * launch->cluster;
    run->n_blocks = launch->cluster;
    run->n_queued = run->n_ended = run->n_at_cluster = run->n_at_bulk = 0;
    run->current = NULL;
    run->bulk.n = 0;
    run->main = (paro_fibre){0};
}

paro_status paro_emu_run_cluster(paro_error *err, paro_emu_run *run, const paro_emu_launch *launch,
                                 uint64_t index)
{
    paro_status status = PARO_STATUS_OK;
    const uint32_t n_x = launch->grid[0] / launch->cluster;
    const uint32_t first[3] = {(uint32_t)(index % n_x) * launch->cluster,
                               (uint32_t)(index / n_x % launch->grid[1]),
                               (uint32_t)(index / n_x / launch->grid[1])};
    if (!reserve(run, (size_t)launch->n_threads * launch->cluster, launch->cluster))
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "kernel %s: out of memory for %zu threads",
                         launch->kernel, (size_t)launch->n_threads * launch->cluster);
    start(run, launch, err, index);
    memset(run->blocks, 0, launch->cluster * sizeof *run->blocks);
    for (uint32_t rank = 0; rank < launch->cluster; rank++)
        if (!prepare_block(run, rank, first)) {
            status = paro_fail(err, PARO_STATUS_OUT_OF_MEMORY,
                               "kernel %s: out of memory for %u bytes of shared memory",
                               launch->kernel, launch->shared_bytes);
            goto done;
        }

    paro_emu_thread *thread = next_thread(run);
    *run->self_at = &thread->self;
    paro_fibre_switch(&run->main, &thread->fibre, false);
    *run->self_at = NULL;

    if (run->has_failed)
        status = err != NULL ? err->status : PARO_STATUS_FORMAT;
    else if (run->n_ended < run->n_threads)
        status = fail_deadlock(err, run);
    else if (run->bulk.n > 0)
        status = paro_fail(err, PARO_STATUS_FORMAT,
                           "kernel %s, block (%u, %u, %u): %zu bulk copies are under way when the "
                           "cluster ends: wait for their barrier",
                           launch->kernel, first[0], first[1], first[2], run->bulk.n);
    if (run->n_ended < run->n_threads)
        paro_stacks_forget(&run->stacks);
done:
    for (uint32_t rank = 0; rank < launch->cluster; rank++)
        free(run->blocks[rank].self.shared);
    return status;
}
