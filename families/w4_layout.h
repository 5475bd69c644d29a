/* SPDX-License-Identifier: MIT
 *
 * The packed layouts of INT4 weights that kernels read. A weight has n rows (outputs) in parts that
 * follow one another (q, k, v), k columns, and groups of `group` columns with a scale and a zero
 * point for each row; w = (code - zero) * scale.
 *
 * awq: the checkpoint's own (base/pack.h), parts side by side along n.
 *     codes  u32 [k][n / 8]         nibble i of word c is row 8c + paro_awq_order[i]
 *     zeros  u32 [k / group][n / 8] the same
 *     scales f16 [k / group][n]
 *
 * mma16: in the order in which the lanes of a warp hold operand A of mma.m16n8k16. A part's rows
 * are padded to tiles of 16, k to blocks of 64 (and k / group with it, for groups of 32); what is
 * padding has code, zero and scale 0. Tiles of parts follow one another.
 *     codes  u32 [tiles][k / 64][32 lanes][4 words]
 *     zeros  u8  [tiles][k / group][8]     byte g: row g in the low nibble, row g + 8 in the high
 *     scales f16 [tiles][k / group][8][2]  the same two rows
 * Lane 4g + t has rows g and g + 8. Word j of its four has 8 codes; nibble i + 4e (e = 0, 1) is
 *     row    g + 8 (i & 1)
 *     column 32 (j / 2) + 8t + 4 (j & 1) + 2 (i / 2) + e   of the block of 64
 * so that (word >> 4i) & 0x000f000f is register i of the fragment. In the product's view, k is
 * permuted inside 32 columns, for A and B alike: a lane's columns of two words are 8 neighbours,
 * and it reads the activations of two fragments as 16 bytes.
 */
#ifndef PARO_FAMILIES_W4_LAYOUT_H
#define PARO_FAMILIES_W4_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "families/problem.h"

typedef enum paro_w4_layout { PARO_W4_LAYOUT_MMA16, PARO_W4_LAYOUT_AWQ } paro_w4_layout;

/* {"mma16", "awq", NULL} */
extern const char *const paro_w4_layout_names[];

enum { PARO_W4_TILE = 16, PARO_W4_BLOCK = 64 };

/* k is a multiple of group, group of 32, every part of 8. */
typedef struct paro_w4_shape {
    uint32_t n, k, group;
    uint32_t parts[PARO_PROBLEM_MAX_PARTS];
    uint32_t n_parts;
} paro_w4_shape;

/* From the keys n, k, group and parts of a problem. */
void paro_w4_shape_of(const paro_problem *problem, paro_w4_shape *out);

/* For families: parts given, multiples of 8 that sum to n, or n's one part filled in.
 * INVALID_ARGUMENT; `key` is that of the parts. */
paro_status paro_w4_complete_parts(paro_error *err, const char *family, uint32_t n,
                                   paro_problem *problem, size_t key);

/* "{4096, 1024}"; returns out. */
enum { PARO_W4_LIST_BYTES = 16 * PARO_PROBLEM_MAX_PARTS };
const char *paro_w4_parts_list(const paro_problem *problem, char out[PARO_W4_LIST_BYTES]);

/* Elements of the three tensors; codes are U32, scales F16. */
typedef struct paro_w4_sizes {
    uint64_t n_codes;
    uint64_t n_zeros;
    paro_dtype zeros_dtype; /* U8 (mma16) or U32 (awq) */
    uint64_t n_scales;
} paro_w4_sizes;
void paro_w4_sizes_of(const paro_w4_shape *shape, paro_w4_layout layout, paro_w4_sizes *out);

/* Row tiles of mma16: all parts' (part = n_parts), or those before part. */
uint64_t paro_w4_tiles_before(const paro_w4_shape *shape, uint32_t part);

/* From one byte for each code [n][k] and zero [n][k / group], scales as f16 bits [n][k / group];
 * all of the three outputs is written. */
void paro_w4_pack(const paro_w4_shape *shape, paro_w4_layout layout, const uint8_t *codes,
                  const uint8_t *zeros, const uint16_t *scales, uint32_t *packed_codes,
                  void *packed_zeros, uint16_t *packed_scales);

/* One row of it, into tensors that were zeros at first. Threads may work on different tiles of a
 * part at a time. */
void paro_w4_pack_row(const paro_w4_shape *shape, paro_w4_layout layout, uint32_t row,
                      const uint8_t *codes, const uint8_t *zeros, const uint16_t *scales,
                      uint32_t *packed_codes, void *packed_zeros, uint16_t *packed_scales);

/* One row of a packed weight: codes [k], zeros and scales [k / group]. */
void paro_w4_unpack_row(const paro_w4_shape *shape, paro_w4_layout layout,
                        const uint32_t *packed_codes, const void *packed_zeros,
                        const uint16_t *packed_scales, uint32_t row, uint8_t *codes, uint8_t *zeros,
                        uint16_t *scales);

#endif
