/* SPDX-License-Identifier: MIT
 *
 * The packed layouts of ParoQuant and AWQ (GEMM) checkpoints.
 *
 * Eight 4-bit codes along `out` stand in one 32-bit word. Nibble n (bits 4n .. 4n + 3) of word c of
 * a row holds column 8c + paro_awq_order[n]. (The ParoQuant reference implementation, v0.1.16;
 * AutoAWQ's GEMM layout.)
 */
#ifndef PARO_BASE_PACK_H
#define PARO_BASE_PACK_H

#include <stddef.h>
#include <stdint.h>

enum { PARO_CODES_PER_WORD = 8 };

/* {0, 2, 4, 6, 1, 3, 5, 7}: the column (of eight) in nibble n. */
extern const unsigned char paro_awq_order[PARO_CODES_PER_WORD];

/* codes [n] (0..15 each, n a multiple of 8) to words [n / 8], and back. Words are little-endian in
 * memory whatever the machine; both may be unaligned. */
void paro_pack_row(void *words, const uint8_t *codes, size_t n);
void paro_unpack_row(uint8_t *codes, const void *words, size_t n);

/* qweight [n_in, n_out / 8] from codes [n_out, n_in] (as quantisation makes them), and back. */
void paro_pack_qweight(void *qweight, const uint8_t *codes, size_t n_out, size_t n_in);
void paro_unpack_qweight(uint8_t *codes, const void *qweight, size_t n_out, size_t n_in);

/* qzeros [n_groups, n_out / 8] from zeros [n_out, n_groups], scales F16 [n_groups, n_out] from fp32
 * scales [n_out, n_groups], and back. */
void paro_pack_qzeros(void *qzeros, const uint8_t *zeros, size_t n_out, size_t n_groups);
void paro_unpack_qzeros(uint8_t *zeros, const void *qzeros, size_t n_out, size_t n_groups);
void paro_pack_scales(void *scales_f16, const float *scales, size_t n_out, size_t n_groups);
void paro_unpack_scales(float *scales, const void *scales_f16, size_t n_out, size_t n_groups);

#endif
