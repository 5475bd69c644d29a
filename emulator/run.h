/* SPDX-License-Identifier: MIT
 *
 * One cluster of blocks at work: its threads as fibres, their warps, what they wait for.
 *
 * Invariants: 1. all blocks of a cluster are alive together, on one thread of the host; 2. a thread
 * that can go on has its bit in its warp's `ready`, unless it is the running one; 3. a warp with
 * ready threads is in `queue` (`is_queued`), unless it is the current one; 4. nothing of a launch
 * is left in a worker but memory for the next.
 */
#ifndef PARO_EMULATOR_RUN_H
#define PARO_EMULATOR_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "emulator/fibre.h"
#include "families/arch.h"

/* ---- shared with host.hpp: the same members in the same order ----------------------------------
 */

typedef struct emulator_block {
    uint32_t n_threads;
    uint32_t index[3];
    uint32_t grid[3];
    uint32_t cluster_rank;
    uint32_t cluster_size;
    uint32_t shared_bytes;
    void *shared;
} emulator_block;

typedef struct emulator_calls emulator_calls;
typedef struct emulator_thread {
    uint32_t thread;
    const emulator_block *block;
    const emulator_calls *calls;
} emulator_thread;

struct emulator_calls {
    void (*block_barrier)(const emulator_thread *self);
    void (*warp_barrier)(const emulator_thread *self);
    void (*named_barrier)(const emulator_thread *self, uint32_t id, uint32_t n_threads);
    void (*cluster_barrier)(const emulator_thread *self);
    uint32_t (*shuffle)(const emulator_thread *self, uint32_t v, uint32_t lane);
    uint32_t (*ballot)(const emulator_thread *self, bool predicate);
    void (*mma_16x8x16)(const emulator_thread *self, int is_bf16, float *d, const uint32_t *a,
                        const uint32_t *b);
    void (*copy_async16)(const emulator_thread *self, void *shared, const void *global,
                         bool is_valid);
    void (*copy_async_commit)(const emulator_thread *self);
    void (*copy_async_wait)(const emulator_thread *self, uint32_t n_groups);
    void (*barrier_init)(const emulator_thread *self, uint64_t *barrier, uint32_t count);
    void (*barrier_arrive)(const emulator_thread *self, uint64_t *barrier, uint32_t n_bytes);
    void (*barrier_wait)(const emulator_thread *self, uint64_t *barrier, uint32_t parity);
    void (*bulk_load)(const emulator_thread *self, void *shared, const void *global,
                      uint32_t n_bytes, uint64_t *barrier);
    void *(*cluster_shared)(const emulator_thread *self, void *mine, uint32_t rank);
    void (*wgmma)(const emulator_thread *self, int is_bf16, uint32_t n, float *d, const uint32_t *a,
                  const void *a_tile, const void *b_tile, uint32_t k16);
    void (*wgmma_commit)(const emulator_thread *self);
    void (*wgmma_wait)(const emulator_thread *self, uint32_t n_groups);
};

extern const emulator_calls paro_emu_calls;

/* ---- threads -----------------------------------------------------------------------------------
 */

enum { PARO_EMU_WARP = 32, PARO_EMU_MAX_THREADS = 1024, PARO_EMU_N_NAMED = 16 };

/* What a thread waits for. The ones of a warp (from SHUFFLE on) are met by all 32 lanes. */
typedef enum paro_emu_wait {
    PARO_EMU_RUNS,
    PARO_EMU_ENDED,
    PARO_EMU_BLOCK,
    PARO_EMU_NAMED,
    PARO_EMU_CLUSTER,
    PARO_EMU_BULK,
    PARO_EMU_SHUFFLE,
    PARO_EMU_BALLOT,
    PARO_EMU_WARP_BARRIER,
    PARO_EMU_MMA_F16,
    PARO_EMU_MMA_BF16,
    PARO_EMU_WGMMA
} paro_emu_wait;

typedef struct paro_emu_copy {
    void *to;
    const void *from; /* NULL: zeros */
    size_t n_bytes;
    uint32_t group;    /* of cp.async */
    uint64_t *barrier; /* of a bulk copy */
} paro_emu_copy;

typedef struct paro_emu_copies {
    paro_emu_copy *data;
    size_t n;
    size_t capacity;
} paro_emu_copies;

/* wgmma: a lane's part of a product that is under way, and sums that products are to go to. */
typedef struct paro_emu_product {
    uint32_t sum; /* index of paro_emu_sum */
    uint32_t group;
    uint32_t n;
    bool is_bf16;
    uint32_t a[4];
    const void *a_tile; /* or NULL: a */
    const void *b_tile;
    uint32_t k16;
} paro_emu_product;

typedef struct paro_emu_sum {
    float *d; /* poisoned until the wait; NULL: free */
    uint32_t n;
    uint32_t n_products; /* under way */
    float values[128];
} paro_emu_sum;

typedef struct paro_emu_products {
    paro_emu_product *data;
    size_t n;
    size_t capacity;
    paro_emu_sum *sums;
    size_t n_sums;
    uint32_t n_groups; /* committed */
} paro_emu_products;

/* Words a lane brings to a meeting of its warp, and takes from it. */
enum { PARO_EMU_SLOTS = 12 };

typedef struct paro_emu_warp {
    uint32_t ready;    /* by lane */
    uint32_t order;    /* lanes run in turn from this one on … */
    bool is_backwards; /* … upwards or downwards */
    bool is_queued;
    uint32_t n_met;        /* lanes at the present meeting */
    paro_emu_wait meeting; /* which it is; RUNS: none */
    /* A lane is at most one meeting ahead of another: two sets suffice. */
    uint32_t set;
    uint32_t slots[2][PARO_EMU_WARP][PARO_EMU_SLOTS];
} paro_emu_warp;

typedef struct paro_emu_block {
    emulator_block self;
    uint32_t n_waiting; /* at block_barrier */
    uint32_t n_ended;
    struct {
        uint32_t n_threads; /* of the barrier now being met; 0: none */
        uint32_t n_waiting;
    } named[PARO_EMU_N_NAMED];
} paro_emu_block;

typedef struct paro_emu_run paro_emu_run;
typedef struct paro_emu_thread {
    emulator_thread self; /* first */
    paro_emu_run *run;
    paro_emu_block *block;
    paro_emu_warp *warp;
    uint32_t lane;
    paro_emu_wait wait;
    uint32_t wait_id;           /* NAMED */
    const void *wait_at;        /* BULK: the barrier */
    uint32_t n_groups;          /* cp.async: committed */
    paro_emu_copies copies;     /* cp.async: under way, in order of issue */
    paro_emu_products products; /* wgmma: under way */
    paro_fibre fibre;
} paro_emu_thread;

/* A worker's memory, and the cluster it has at work. */
struct paro_emu_run {
    paro_error *err;
    bool has_failed;
    uint64_t random;
    uint32_t stride;  /* lanes that run before another warp gets a turn: below this */
    uint32_t n_turns; /* left until then */
    const emulator_thread **self_at; /* the module's, of this thread of the host */
    const struct paro_emu_launch *launch;
    paro_fibre main;
    paro_stacks stacks;
    size_t capacity; /* of threads; warps, queue a 32nd */
    size_t block_capacity;
    paro_emu_thread *threads;
    paro_emu_warp *warps;
    paro_emu_warp **queue;
    paro_emu_block *blocks;
    size_t n_threads;
    size_t n_blocks;
    size_t n_queued;
    size_t n_ended;
    size_t n_at_cluster;
    size_t n_at_bulk; /* threads that wait for a bulk barrier */
    paro_emu_warp *current;
    paro_emu_copies bulk; /* under way */
};

typedef struct paro_emu_launch {
    const char *kernel;
    void (*fn)(void *const *args);
    const emulator_thread **(*self_at)(void);
    void *const *args;
    uint32_t grid[3];
    uint32_t n_threads;
    uint32_t cluster; /* at least 1 */
    uint32_t shared_bytes;
    uint64_t seed;
    const paro_arch *arch;
} paro_emu_launch;

/* Cluster `index` of the grid, from beginning to end. What the kernel does wrong is
 * PARO_STATUS_FORMAT with kernel, block, threads. */
paro_status paro_emu_run_cluster(paro_error *err, paro_emu_run *run, const paro_emu_launch *launch,
                                 uint64_t index);
void paro_emu_run_release(paro_emu_run *run);

/* ---- for collective.c and copies.c -------------------------------------------------------------
 */

static inline paro_emu_thread *paro_emu_of(const emulator_thread *self)
{
    return (paro_emu_thread *)(uintptr_t)self;
}

/* Another thread's turn; returns when the thread has been made ready. */
void paro_emu_wait_for(paro_emu_thread *thread, paro_emu_wait wait);

/* The thread may go on. */
void paro_emu_wake(paro_emu_thread *thread);

/* Arrives at the warp's next meeting. True for the last to arrive: it does the work of all and then
 * calls paro_emu_part; for others, returns after that. */
bool paro_emu_meet(paro_emu_thread *thread, paro_emu_wait meeting);
void paro_emu_part(paro_emu_thread *thread);

/* Ends the cluster with an error that names kernel, block and thread. Does not return. */
_Noreturn void paro_emu_fail(paro_emu_thread *thread, paro_status status, const char *format, ...)
    PARO_PRINTF(3, 4);

/* True where [p, p + n_bytes) is of the block's shared memory. */
bool paro_emu_is_shared(const paro_emu_block *block, const void *p, size_t n_bytes);

void paro_emu_copies_release(paro_emu_copies *copies);
void paro_emu_products_release(paro_emu_products *products);

void paro_emu_copy_async16(const emulator_thread *self, void *shared, const void *global,
                           bool is_valid);
void paro_emu_copy_async_commit(const emulator_thread *self);
void paro_emu_copy_async_wait(const emulator_thread *self, uint32_t n_groups);
void paro_emu_barrier_init(const emulator_thread *self, uint64_t *barrier, uint32_t count);
void paro_emu_barrier_arrive(const emulator_thread *self, uint64_t *barrier, uint32_t n_bytes);
void paro_emu_barrier_wait(const emulator_thread *self, uint64_t *barrier, uint32_t parity);
void paro_emu_bulk_load(const emulator_thread *self, void *shared, const void *global,
                        uint32_t n_bytes, uint64_t *barrier);

void paro_emu_warp_barrier(const emulator_thread *self);
uint32_t paro_emu_shuffle(const emulator_thread *self, uint32_t v, uint32_t lane);
uint32_t paro_emu_ballot(const emulator_thread *self, bool predicate);
void paro_emu_mma_16x8x16(const emulator_thread *self, int is_bf16, float *d, const uint32_t *a,
                          const uint32_t *b);
/* n halves or bfloat16 to fp32. */
void paro_emu_f32_of_16(float *out, const uint16_t *in, size_t n, bool is_bf16);

void paro_emu_wgmma(const emulator_thread *self, int is_bf16, uint32_t n, float *d,
                    const uint32_t *a, const void *a_tile, const void *b_tile, uint32_t k16);
void paro_emu_wgmma_commit(const emulator_thread *self);
void paro_emu_wgmma_wait(const emulator_thread *self, uint32_t n_groups);

#endif
