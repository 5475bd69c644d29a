/* SPDX-License-Identifier: MIT
 *
 * The packed layouts of INT4 weights on the host: what pack_w4 is judged by.
 */
#include "families/w4_layout.h"

#include <stdio.h>
#include <string.h>

#include "base/pack.h"

const char *const paro_w4_layout_names[] = {"mma16", "awq", NULL};

enum {
    LANES = 32,
    LANE_WORDS = 4,
    BLOCK_WORDS = LANES * LANE_WORDS,
    PAIRS = PARO_W4_TILE / 2 /* rows g and g + 8 */
};

void paro_w4_shape_of(const paro_problem *problem, paro_w4_shape *out)
{
    memset(out, 0, sizeof *out);
    out->n = (uint32_t)paro_problem_get(problem, "n");
    out->k = (uint32_t)paro_problem_get(problem, "k");
    out->group = (uint32_t)paro_problem_get(problem, "group");
    out->n_parts = problem->n_parts;
    memcpy(out->parts, problem->parts, sizeof out->parts);
}

paro_status paro_w4_complete_parts(paro_error *err, const char *family, uint32_t n,
                                   paro_problem *problem, size_t key)
{
    if (problem->n_parts == 0) {
        problem->parts[0] = n;
        problem->n_parts = 1;
        problem->values[key] = 1;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < problem->n_parts; i++) {
        sum += problem->parts[i];
        if (problem->parts[i] % PARO_CODES_PER_WORD != 0)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "%s: parts: expected multiples of %d (checkpoints pack so many rows "
                             "in a word), found %u",
                             family, PARO_CODES_PER_WORD, problem->parts[i]);
    }
    if (sum != n)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: parts: expected a sum of n=%u, found %llu", family, n,
                         (unsigned long long)sum);
    return PARO_STATUS_OK;
}

const char *paro_w4_parts_list(const paro_problem *problem, char out[PARO_W4_LIST_BYTES])
{
    size_t used = 0;
    for (uint32_t i = 0; i < problem->n_parts; i++)
        used += (size_t)snprintf(out + used, PARO_W4_LIST_BYTES - used, "%s%u", i == 0 ? "{" : ", ",
                                 problem->parts[i]);
    snprintf(out + used, PARO_W4_LIST_BYTES - used, "}");
    return out;
}

static uint32_t ceil_div(uint32_t a, uint32_t b)
{
    return (uint32_t)(((uint64_t)a + b - 1) / b);
}

static uint32_t n_blocks(const paro_w4_shape *shape)
{
    return ceil_div(shape->k, PARO_W4_BLOCK);
}

/* Padded: those of mma16. */
static uint32_t n_tile_groups(const paro_w4_shape *shape)
{
    return ceil_div(n_blocks(shape) * PARO_W4_BLOCK, shape->group);
}

uint64_t paro_w4_tiles_before(const paro_w4_shape *shape, uint32_t part)
{
    uint64_t n_tiles = 0;
    for (uint32_t i = 0; i < part && i < shape->n_parts; i++)
        n_tiles += ceil_div(shape->parts[i], PARO_W4_TILE);
    return n_tiles;
}

void paro_w4_sizes_of(const paro_w4_shape *shape, paro_w4_layout layout, paro_w4_sizes *out)
{
    if (layout == PARO_W4_LAYOUT_AWQ) {
        uint64_t n_groups = shape->k / shape->group;
        out->n_codes = (uint64_t)shape->k * (shape->n / PARO_CODES_PER_WORD);
        out->n_zeros = n_groups * (shape->n / PARO_CODES_PER_WORD);
        out->zeros_dtype = PARO_DTYPE_U32;
        out->n_scales = n_groups * shape->n;
        return;
    }
    uint64_t n_tiles = paro_w4_tiles_before(shape, shape->n_parts);
    out->n_codes = n_tiles * n_blocks(shape) * BLOCK_WORDS;
    out->n_zeros = n_tiles * n_tile_groups(shape) * PAIRS;
    out->zeros_dtype = PARO_DTYPE_U8;
    out->n_scales = n_tiles * n_tile_groups(shape) * PARO_W4_TILE;
}

/* Where a row is: its tile, and its number in it. */
typedef struct place {
    uint64_t tile;
    uint32_t row;
} place;

static place place_of(const paro_w4_shape *shape, uint32_t row)
{
    uint32_t part = 0;
    while (part + 1 < shape->n_parts && row >= shape->parts[part])
        row -= shape->parts[part++];
    return (place){.tile = paro_w4_tiles_before(shape, part) + row / PARO_W4_TILE,
                   .row = row % PARO_W4_TILE};
}

/* Of a tile's block: the word with columns 4q .. 4q + 3 of a row. They stand in it at the bits
 * below (and 4 more for rows 8 to 15). */
static uint32_t word_of(uint32_t row, uint32_t q)
{
    return (row % 8 * 4 + q % 8 / 2) * LANE_WORDS + 2 * (q / 8) + q % 2;
}
static const unsigned char column_bits[4] = {0, 16, 8, 24};

/* Nibble in which the awq order has row r of eight. */
static uint32_t awq_bit_of(uint32_t row)
{
    return 4 * (row % 8 / 2 + 4 * (row % 2));
}

static void pack_row_mma16(const paro_w4_shape *shape, uint32_t row, const uint8_t *codes,
                           const uint8_t *zeros, const uint16_t *scales, uint32_t *packed_codes,
                           uint8_t *packed_zeros, uint16_t *packed_scales)
{
    place at = place_of(shape, row);
    uint32_t *tile = packed_codes + at.tile * n_blocks(shape) * BLOCK_WORDS;
    for (uint32_t i = 0; i < shape->k; i += 4) {
        uint32_t word = 0;
        for (uint32_t c = 0; c < 4; c++)
            word |= (uint32_t)(codes[i + c] & 15) << column_bits[c];
        tile[(uint64_t)(i / PARO_W4_BLOCK) * BLOCK_WORDS +
             word_of(at.row, i % PARO_W4_BLOCK / 4)] |= word << (at.row / 8 * 4);
    }
    uint64_t first = at.tile * n_tile_groups(shape);
    for (uint32_t i = 0; i < shape->k / shape->group; i++) {
        uint64_t pair = (first + i) * PAIRS + at.row % 8;
        packed_zeros[pair] |= (uint8_t)((zeros[i] & 15) << (at.row / 8 * 4));
        packed_scales[2 * pair + at.row / 8] = scales[i];
    }
}

static void pack_row_awq(const paro_w4_shape *shape, uint32_t row, const uint8_t *codes,
                         const uint8_t *zeros, const uint16_t *scales, uint32_t *packed_codes,
                         uint32_t *packed_zeros, uint16_t *packed_scales)
{
    uint64_t n_words = shape->n / PARO_CODES_PER_WORD, word = row / PARO_CODES_PER_WORD;
    for (uint32_t i = 0; i < shape->k; i++)
        packed_codes[i * n_words + word] |= (uint32_t)(codes[i] & 15) << awq_bit_of(row);
    for (uint32_t i = 0; i < shape->k / shape->group; i++) {
        packed_zeros[i * n_words + word] |= (uint32_t)(zeros[i] & 15) << awq_bit_of(row);
        packed_scales[(uint64_t)i * shape->n + row] = scales[i];
    }
}

void paro_w4_pack_row(const paro_w4_shape *shape, paro_w4_layout layout, uint32_t row,
                      const uint8_t *codes, const uint8_t *zeros, const uint16_t *scales,
                      uint32_t *packed_codes, void *packed_zeros, uint16_t *packed_scales)
{
    if (layout == PARO_W4_LAYOUT_MMA16)
        pack_row_mma16(shape, row, codes, zeros, scales, packed_codes, packed_zeros, packed_scales);
    else
        pack_row_awq(shape, row, codes, zeros, scales, packed_codes, packed_zeros, packed_scales);
}

void paro_w4_pack(const paro_w4_shape *shape, paro_w4_layout layout, const uint8_t *codes,
                  const uint8_t *zeros, const uint16_t *scales, uint32_t *packed_codes,
                  void *packed_zeros, uint16_t *packed_scales)
{
    paro_w4_sizes sizes;
    paro_w4_sizes_of(shape, layout, &sizes);
    memset(packed_codes, 0, sizes.n_codes * sizeof *packed_codes);
    memset(packed_zeros, 0, sizes.n_zeros * paro_dtype_bytes(sizes.zeros_dtype));
    memset(packed_scales, 0, sizes.n_scales * sizeof *packed_scales);
    uint64_t n_groups = shape->k / shape->group;
    for (uint32_t row = 0; row < shape->n; row++)
        paro_w4_pack_row(shape, layout, row, codes + (uint64_t)row * shape->k,
                         zeros + row * n_groups, scales + row * n_groups, packed_codes,
                         packed_zeros, packed_scales);
}

void paro_w4_unpack_row(const paro_w4_shape *shape, paro_w4_layout layout,
                        const uint32_t *packed_codes, const void *packed_zeros,
                        const uint16_t *packed_scales, uint32_t row, uint8_t *codes, uint8_t *zeros,
                        uint16_t *scales)
{
    uint32_t n_groups = shape->k / shape->group;
    if (layout == PARO_W4_LAYOUT_AWQ) {
        uint64_t n_words = shape->n / PARO_CODES_PER_WORD, word = row / PARO_CODES_PER_WORD;
        const uint32_t *zero_words = packed_zeros;
        uint32_t bit = awq_bit_of(row);
        for (uint32_t i = 0; i < shape->k; i++)
            codes[i] = packed_codes[i * n_words + word] >> bit & 15;
        for (uint32_t i = 0; i < n_groups; i++) {
            zeros[i] = zero_words[i * n_words + word] >> bit & 15;
            scales[i] = packed_scales[(uint64_t)i * shape->n + row];
        }
        return;
    }
    place at = place_of(shape, row);
    const uint8_t *zero_bytes = packed_zeros;
    const uint32_t *tile = packed_codes + at.tile * n_blocks(shape) * BLOCK_WORDS;
    for (uint32_t i = 0; i < shape->k; i += 4) {
        uint32_t word = tile[(uint64_t)(i / PARO_W4_BLOCK) * BLOCK_WORDS +
                             word_of(at.row, i % PARO_W4_BLOCK / 4)] >>
                        (at.row / 8 * 4);
        for (uint32_t c = 0; c < 4; c++)
            codes[i + c] = word >> column_bits[c] & 15;
    }
    uint64_t first = at.tile * n_tile_groups(shape);
    for (uint32_t i = 0; i < n_groups; i++) {
        uint64_t pair = (first + i) * PAIRS + at.row % 8;
        zeros[i] = zero_bytes[pair] >> (at.row / 8 * 4) & 15;
        scales[i] = packed_scales[2 * pair + at.row / 8];
    }
}
