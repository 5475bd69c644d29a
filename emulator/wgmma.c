/* SPDX-License-Identifier: MIT
 *
 * wgmma: products that run beside the threads. Sums are poisoned (NaN) at the issue; tiles are read
 * and sums appear when a warp waits for them, no earlier. A warp computes its own 16 rows.
 */
#include <stdlib.h>
#include <string.h>

#include "emulator/run.h"

enum { TILE_K = 64, TILE_ALIGNMENT = 1024, MAX_N = 256 };

void paro_emu_products_release(paro_emu_products *products)
{
    free(products->data);
    free(products->sums);
    *products = (paro_emu_products){0};
}

/* Where element k of a row lies: as lib/wgmma.cuh has it. */
static uint32_t index_of(uint32_t row, uint32_t k)
{
    return row * TILE_K + ((k / 8 ^ row % 8) * 8 | k % 8);
}

static void check_tile(paro_emu_thread *thread, const char *which, const void *tile,
                       uint32_t n_rows)
{
    const size_t n_bytes = (size_t)n_rows * TILE_K * sizeof(uint16_t);
    if (!paro_emu_is_shared(thread->block, tile, n_bytes) || (uintptr_t)tile % TILE_ALIGNMENT != 0)
        paro_emu_fail(thread, PARO_STATUS_FORMAT,
                      "wgmma: tile %s must be %zu bytes of the block's shared memory at a multiple "
                      "of %d, found offset %td of %u",
                      which, n_bytes, TILE_ALIGNMENT,
                      (const char *)tile - (const char *)thread->block->self.shared,
                      thread->block->self.shared_bytes);
}

/* The sums under way for d: its own, or a free place that takes d's present values. */
static uint32_t sum_of(paro_emu_thread *thread, float *d, uint32_t n)
{
    paro_emu_products *products = &thread->products;
    size_t i = 0, vacant = products->n_sums;
    for (; i < products->n_sums; i++) {
        if (products->sums[i].d == d && products->sums[i].n == n)
            return (uint32_t)i;
        if (products->sums[i].d == NULL)
            vacant = i;
    }
    if (vacant == products->n_sums) {
        paro_emu_sum *sums = realloc(products->sums, (products->n_sums + 1) * sizeof *sums);
        if (sums == NULL)
            paro_emu_fail(thread, PARO_STATUS_OUT_OF_MEMORY, "out of memory for a product");
        products->sums = sums;
        products->n_sums++;
    }
    paro_emu_sum *sum = &products->sums[vacant];
    sum->d = d;
    sum->n = n;
    sum->n_products = 0;
    memcpy(sum->values, d, n / 2 * sizeof *d);
    memset(d, 0xFF, n / 2 * sizeof *d);
    return (uint32_t)vacant;
}

void paro_emu_wgmma(const emulator_thread *self, int is_bf16, uint32_t n, float *d,
                    const uint32_t *a, const void *a_tile, const void *b_tile, uint32_t k16)
{
    paro_emu_thread *thread = paro_emu_of(self);
    paro_emu_products *products = &thread->products;
    const paro_arch *arch = thread->run->launch->arch;
    if ((arch->features & PARO_ARCH_WGMMA) == 0)
        paro_emu_fail(thread, PARO_STATUS_FORMAT, "wgmma: %s has none", arch->name);
    if (thread->block->self.n_threads % 128 != 0)
        paro_emu_fail(thread, PARO_STATUS_FORMAT, "wgmma: blocks of %u threads, not of warpgroups",
                      thread->block->self.n_threads);
    if (k16 >= TILE_K / 16)
        paro_emu_fail(thread, PARO_STATUS_FORMAT, "wgmma: k16 is %u of a tile's 4", k16);
    check_tile(thread, "b", b_tile, n);
    if (a_tile != NULL)
        check_tile(thread, "a", a_tile, 64);
    if (products->n == products->capacity) {
        const size_t capacity = products->capacity == 0 ? 8 : 2 * products->capacity;
        paro_emu_product *data = realloc(products->data, capacity * sizeof *data);
        if (data == NULL)
            paro_emu_fail(thread, PARO_STATUS_OUT_OF_MEMORY, "out of memory for a product");
        products->data = data;
        products->capacity = capacity;
    }
    paro_emu_product product = {.sum = sum_of(thread, d, n),
                                .group = products->n_groups,
                                .n = n,
                                .is_bf16 = is_bf16 != 0,
                                .a_tile = a_tile,
                                .b_tile = b_tile,
                                .k16 = k16};
    if (a != NULL)
        memcpy(product.a, a, sizeof product.a);
    products->sums[product.sum].n_products++;
    products->data[products->n++] = product;
}

void paro_emu_wgmma_commit(const emulator_thread *self)
{
    paro_emu_of(self)->products.n_groups++;
}

/* The warp's product `i` of every lane, into the lanes' sums. */
static void multiply(paro_emu_thread *lanes, size_t i)
{
    const paro_emu_product *first = &lanes[0].products.data[i];
    const uint32_t n = first->n, first_row = lanes[0].self.thread / PARO_EMU_WARP % 4 * 16;
    uint16_t a16[16][16], b16[16];
    float a[16][16], b[16], d[16][MAX_N];
    for (uint32_t lane = 0; lane < PARO_EMU_WARP; lane++) {
        const paro_emu_product *own = &lanes[lane].products.data[i];
        const uint32_t g = lane / 4, t = lane % 4;
        if (own->n != n || own->b_tile != first->b_tile || own->a_tile != first->a_tile ||
            own->k16 != first->k16 || own->is_bf16 != first->is_bf16)
            paro_emu_fail(&lanes[lane], PARO_STATUS_FORMAT,
                          "wgmma: the lanes of a warp differ in what they multiply");
        for (uint32_t j = 0; j < 4; j++) {
            a16[g + j % 2 * 8][2 * t + j / 2 * 8] = (uint16_t)own->a[j];
            a16[g + j % 2 * 8][2 * t + j / 2 * 8 + 1] = (uint16_t)(own->a[j] >> 16);
        }
        const float *values = lanes[lane].products.sums[own->sum].values;
        for (uint32_t j = 0; j < n / 8; j++) {
            memcpy(&d[g][8 * j + 2 * t], &values[4 * j], 8);
            memcpy(&d[g + 8][8 * j + 2 * t], &values[4 * j + 2], 8);
        }
    }
    const uint16_t *a_tile = first->a_tile, *b_tile = first->b_tile;
    for (uint32_t j = 0; a_tile != NULL && j < 256; j++)
        a16[j / 16][j % 16] = a_tile[index_of(first_row + j / 16, 16 * first->k16 + j % 16)];
    paro_emu_f32_of_16(&a[0][0], &a16[0][0], 256, first->is_bf16);
    for (uint32_t column = 0; column < n; column++) {
        for (uint32_t k = 0; k < 16; k++)
            b16[k] = b_tile[index_of(column, 16 * first->k16 + k)];
        paro_emu_f32_of_16(b, b16, 16, first->is_bf16);
        for (uint32_t row = 0; row < 16; row++)
            for (uint32_t k = 0; k < 16; k++)
                d[row][column] += a[row][k] * b[k];
    }
    for (uint32_t lane = 0; lane < PARO_EMU_WARP; lane++) {
        const uint32_t g = lane / 4, t = lane % 4;
        float *values = lanes[lane].products.sums[lanes[lane].products.data[i].sum].values;
        for (uint32_t j = 0; j < n / 8; j++) {
            memcpy(&values[4 * j], &d[g][8 * j + 2 * t], 8);
            memcpy(&values[4 * j + 2], &d[g + 8][8 * j + 2 * t], 8);
        }
    }
}

/* The lane's first n products are done: sums with nothing under way go where they belong. */
static void land(paro_emu_products *products, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        paro_emu_sum *sum = &products->sums[products->data[i].sum];
        if (--sum->n_products == 0) {
            memcpy(sum->d, sum->values, sum->n / 2 * sizeof *sum->d);
            sum->d = NULL;
        }
    }
    products->n -= n;
    if (n > 0)
        memmove(products->data, products->data + n, products->n * sizeof *products->data);
}

void paro_emu_wgmma_wait(const emulator_thread *self, uint32_t n_groups)
{
    paro_emu_thread *thread = paro_emu_of(self);
    if (!paro_emu_meet(thread, PARO_EMU_WGMMA))
        return;
    paro_emu_thread *lanes = thread - thread->lane;
    const paro_emu_products *first = &lanes[0].products;
    size_t n = 0;
    while (n < first->n && (uint64_t)first->data[n].group + n_groups < first->n_groups)
        n++;
    for (uint32_t lane = 1; lane < PARO_EMU_WARP; lane++)
        if (lanes[lane].products.n != first->n || lanes[lane].products.n_groups != first->n_groups)
            paro_emu_fail(&lanes[lane], PARO_STATUS_FORMAT,
                          "wgmma: the lanes of a warp have issued different products");
    for (size_t i = 0; i < n; i++)
        multiply(lanes, i);
    for (uint32_t lane = 0; lane < PARO_EMU_WARP; lane++)
        land(&lanes[lane].products, n);
    paro_emu_part(thread);
}
