/* SPDX-License-Identifier: MIT
 *
 * The packed layouts of ParoQuant and AWQ (GEMM) checkpoints.
 */
#include "base/pack.h"

#include <string.h>

#include "base/dtype.h"

const unsigned char paro_awq_order[PARO_CODES_PER_WORD] = {0, 2, 4, 6, 1, 3, 5, 7};

/* Word `code of column 8c + order[n] at bits 4n`, as four little-endian bytes. */
static void pack_word(unsigned char *bytes, const uint8_t *codes, size_t stride)
{
    for (size_t n = 0; n < PARO_CODES_PER_WORD; n += 2) {
        unsigned low = codes[paro_awq_order[n] * stride] & 15U;
        unsigned high = codes[paro_awq_order[n + 1] * stride] & 15U;
        bytes[n / 2] = (unsigned char)(low | high << 4);
    }
}

static void unpack_word(uint8_t *codes, size_t stride, const unsigned char *bytes)
{
    for (size_t n = 0; n < PARO_CODES_PER_WORD; n++)
        codes[paro_awq_order[n] * stride] = (uint8_t)(bytes[n / 2] >> (n % 2 * 4) & 15);
}

void paro_pack_row(void *words, const uint8_t *codes, size_t n)
{
    unsigned char *bytes = words;
    for (size_t i = 0; i < n; i += PARO_CODES_PER_WORD)
        pack_word(bytes + i / 2, codes + i, 1);
}

void paro_unpack_row(uint8_t *codes, const void *words, size_t n)
{
    const unsigned char *bytes = words;
    for (size_t i = 0; i < n; i += PARO_CODES_PER_WORD)
        unpack_word(codes + i, 1, bytes + i / 2);
}

/* A matrix of codes [n_out, n_columns] packed along n_out, transposed: [n_columns, n_out / 8]. */
static void pack_transposed(unsigned char *bytes, const uint8_t *codes, size_t n_out,
                            size_t n_columns)
{
    for (size_t column = 0; column < n_columns; column++)
        for (size_t out = 0; out < n_out; out += PARO_CODES_PER_WORD)
            pack_word(bytes + (column * n_out + out) / 2, codes + out * n_columns + column,
                      n_columns);
}

static void unpack_transposed(uint8_t *codes, const unsigned char *bytes, size_t n_out,
                              size_t n_columns)
{
    for (size_t column = 0; column < n_columns; column++)
        for (size_t out = 0; out < n_out; out += PARO_CODES_PER_WORD)
            unpack_word(codes + out * n_columns + column, n_columns,
                        bytes + (column * n_out + out) / 2);
}

void paro_pack_qweight(void *qweight, const uint8_t *codes, size_t n_out, size_t n_in)
{
    pack_transposed(qweight, codes, n_out, n_in);
}

void paro_unpack_qweight(uint8_t *codes, const void *qweight, size_t n_out, size_t n_in)
{
    unpack_transposed(codes, qweight, n_out, n_in);
}

void paro_pack_qzeros(void *qzeros, const uint8_t *zeros, size_t n_out, size_t n_groups)
{
    pack_transposed(qzeros, zeros, n_out, n_groups);
}

void paro_unpack_qzeros(uint8_t *zeros, const void *qzeros, size_t n_out, size_t n_groups)
{
    unpack_transposed(zeros, qzeros, n_out, n_groups);
}

void paro_pack_scales(void *scales_f16, const float *scales, size_t n_out, size_t n_groups)
{
    unsigned char *bytes = scales_f16;
    for (size_t group = 0; group < n_groups; group++) {
        for (size_t out = 0; out < n_out; out++) {
            uint16_t bits = paro_f16_from_f32(scales[out * n_groups + group]);
            memcpy(bytes + 2 * (group * n_out + out), &bits, sizeof bits);
        }
    }
}

void paro_unpack_scales(float *scales, const void *scales_f16, size_t n_out, size_t n_groups)
{
    const unsigned char *bytes = scales_f16;
    for (size_t group = 0; group < n_groups; group++) {
        for (size_t out = 0; out < n_out; out++) {
            uint16_t bits;
            memcpy(&bits, bytes + 2 * (group * n_out + out), sizeof bits);
            scales[out * n_groups + group] = paro_f32_from_f16(bits);
        }
    }
}
