/* SPDX-License-Identifier: MIT
 *
 * Which table of tile kernels this machine runs, and the turns of a linear.
 */
#include "calib/weight_tile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_kernels.h"

const paro_tile_kernels *paro_tile_kernels_find(const char *name)
{
    if (paro_cpu_kernels_find(name) == NULL)
        return NULL;
    const paro_tile_kernels *tables[] = {paro_tile_kernels_avx512(), paro_tile_kernels_avx2(),
                                         paro_tile_kernels_generic()};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (tables[i] != NULL && strcmp(tables[i]->name, name) == 0)
            return tables[i];
    return NULL;
}

const paro_tile_kernels *paro_tile_kernels_best(void)
{
    return paro_tile_kernels_find(paro_cpu_kernels_best()->name);
}

typedef struct turns_task {
    const paro_train_linear *linear;
    const paro_tile_turns *out;
} turns_task;

static void make_turns(void *context, size_t group, int worker)
{
    (void)worker;
    const turns_task *task = context;
    const paro_train_linear *linear = task->linear;
    size_t n_in = linear->n_in, group_size = linear->group_size;
    paro_tile_turn *turns = task->out->turns + group * task->out->capacity;
    size_t n = 0;
    for (size_t round = 0; round < linear->krot; round++) {
        size_t first = (round * n_in + group * group_size) / 2;
        for (size_t slot = first; slot < first + group_size / 2; slot++) {
            const int16_t *pair = linear->pairs + 2 * slot;
            if (pair[0] == pair[1])
                continue;
            double angle = (double)linear->theta[slot];
            turns[n++] = (paro_tile_turn){.cosine = (float)cos(angle),
                                          .sine = (float)sin(angle),
                                          .i = (uint32_t)pair[0],
                                          .j = (uint32_t)pair[1],
                                          .slot = slot};
        }
    }
    task->out->n[group] = n;
}

paro_status paro_tile_turns_new(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                                paro_tile_turns *out)
{
    size_t n_groups = linear->n_in / linear->group_size;
    size_t n_slots = (size_t)linear->krot * (linear->n_in / 2);
    paro_tile_turns turns = {.capacity = (size_t)linear->krot * (linear->group_size / 2)};
    turns.n = calloc(n_groups, sizeof *turns.n);
    turns.turns = calloc(n_slots + 1, sizeof *turns.turns);
    if (turns.n == NULL || turns.turns == NULL) {
        paro_tile_turns_release(&turns);
        return paro_fail_memory(err, (n_slots + 1) * sizeof *turns.turns, "turns");
    }
    turns_task task = {linear, &turns};
    if (linear->krot > 0)
        paro_pool_run(pool, n_groups, make_turns, &task);
    *out = turns;
    return PARO_STATUS_OK;
}

void paro_tile_turns_release(paro_tile_turns *turns)
{
    if (turns == NULL)
        return;
    free(turns->n);
    free(turns->turns);
    turns->n = NULL;
    turns->turns = NULL;
}
