/* SPDX-License-Identifier: MIT
 *
 * What the 32 lanes of a warp do together. Each brings words to the warp's slots; the last to
 * arrive computes for all.
 */
#include <string.h>

#include "emulator/run.h"

void paro_emu_warp_barrier(const emulator_thread *self)
{
    paro_emu_thread *thread = paro_emu_of(self);
    if (paro_emu_meet(thread, PARO_EMU_WARP_BARRIER))
        paro_emu_part(thread);
}

uint32_t paro_emu_shuffle(const emulator_thread *self, uint32_t v, uint32_t lane)
{
    paro_emu_thread *thread = paro_emu_of(self);
    uint32_t(*slots)[PARO_EMU_SLOTS] = thread->warp->slots[thread->warp->set];
    slots[thread->lane][0] = v;
    if (paro_emu_meet(thread, PARO_EMU_SHUFFLE))
        paro_emu_part(thread);
    return slots[lane % PARO_EMU_WARP][0];
}

uint32_t paro_emu_ballot(const emulator_thread *self, bool predicate)
{
    paro_emu_thread *thread = paro_emu_of(self);
    uint32_t(*slots)[PARO_EMU_SLOTS] = thread->warp->slots[thread->warp->set];
    slots[thread->lane][0] = predicate;
    if (paro_emu_meet(thread, PARO_EMU_BALLOT)) {
        uint32_t bits = 0;
        for (uint32_t i = 0; i < PARO_EMU_WARP; i++)
            bits |= slots[i][0] << i;
        slots[0][1] = bits;
        paro_emu_part(thread);
    }
    return slots[0][1];
}

/* ---- mma.m16n8k16 ------------------------------------------------------------------------------
 */

void paro_emu_f32_of_16(float *out, const uint16_t *in, size_t n, bool is_bf16)
{
    if (is_bf16) {
        for (size_t i = 0; i < n; i++) {
            const uint32_t bits = (uint32_t)in[i] << 16;
            memcpy(&out[i], &bits, sizeof bits);
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        /* Exponent and mantissa in fp32's places are 2^-112 times the value, or infinity and NaN.
         */
        const uint32_t magnitude = (in[i] & 0x7FFFU) << 13;
        float scaled;
        memcpy(&scaled, &magnitude, sizeof scaled);
        scaled *= 0x1p112F;
        uint32_t bits;
        memcpy(&bits, &scaled, sizeof bits);
        bits |= (magnitude >= 0x0F800000U ? 0x7F800000U : 0) | (in[i] & 0x8000U) << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

/* Slots of a lane: 0-3 A, 4-5 B, 6-9 D (lib/mma.cuh has which element is where). */
static void multiply(uint32_t (*slots)[PARO_EMU_SLOTS], bool is_bf16)
{
    uint16_t a16[16][16], b16[16][8];
    float a[16][16], b[16][8], d[16][8];
    for (uint32_t lane = 0; lane < PARO_EMU_WARP; lane++) {
        const uint32_t g = lane / 4, t = lane % 4;
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t row = g + (i & 1) * 8, k = 2 * t + (i >> 1) * 8;
            a16[row][k] = (uint16_t)slots[lane][i];
            a16[row][k + 1] = (uint16_t)(slots[lane][i] >> 16);
        }
        for (uint32_t i = 0; i < 2; i++) {
            b16[2 * t + 8 * i][g] = (uint16_t)slots[lane][4 + i];
            b16[2 * t + 8 * i + 1][g] = (uint16_t)(slots[lane][4 + i] >> 16);
        }
        memcpy(&d[g][2 * t], &slots[lane][6], 8);
        memcpy(&d[g + 8][2 * t], &slots[lane][8], 8);
    }
    paro_emu_f32_of_16(&a[0][0], &a16[0][0], 256, is_bf16);
    paro_emu_f32_of_16(&b[0][0], &b16[0][0], 128, is_bf16);
    for (uint32_t i = 0; i < 16; i++)
        for (uint32_t k = 0; k < 16; k++)
            for (uint32_t j = 0; j < 8; j++)
                d[i][j] += a[i][k] * b[k][j];
    for (uint32_t lane = 0; lane < PARO_EMU_WARP; lane++) {
        const uint32_t g = lane / 4, t = lane % 4;
        memcpy(&slots[lane][6], &d[g][2 * t], 8);
        memcpy(&slots[lane][8], &d[g + 8][2 * t], 8);
    }
}

void paro_emu_mma_16x8x16(const emulator_thread *self, int is_bf16, float *d, const uint32_t *a,
                          const uint32_t *b)
{
    paro_emu_thread *thread = paro_emu_of(self);
    const paro_arch *arch = thread->run->launch->arch;
    if ((arch->features & (is_bf16 ? PARO_ARCH_MMA_BF16 : PARO_ARCH_MMA_F16)) == 0)
        paro_emu_fail(thread, PARO_STATUS_FORMAT, "mma_16x8x16: %s has none for %s", arch->name,
                      is_bf16 ? "bf16" : "f16");
    uint32_t(*slots)[PARO_EMU_SLOTS] = thread->warp->slots[thread->warp->set];
    uint32_t *mine = slots[thread->lane];
    memcpy(&mine[0], a, 16);
    memcpy(&mine[4], b, 8);
    memcpy(&mine[6], d, 16);
    if (paro_emu_meet(thread, is_bf16 ? PARO_EMU_MMA_BF16 : PARO_EMU_MMA_F16)) {
        multiply(slots, is_bf16 != 0);
        paro_emu_part(thread);
    }
    memcpy(d, &mine[6], 16);
}
