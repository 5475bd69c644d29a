/* SPDX-License-Identifier: MIT
 *
 * Rotations as kernels read them: tables made from a checkpoint's angles, pairs and channel scales,
 * for one part (a linear, or one part of merged linears):
 *
 *     pairs          u8  [krot][k / 2][2]  two channels within their group
 *     cossin         f32 [krot][k / 2][2]  cosine and sine of the pair's angle
 *     channel_scales f32 [k]               multiply the activation, before the rounds
 *
 * Slot t of a round belongs to group 2t / group. In one round no channel of a group stands in two
 * slots; an empty slot has the same channel twice, cosine 1 and sine 0. So kernels need no test for
 * empty slots, and the slots of a round may be worked on in any order.
 */
#ifndef PARO_FAMILIES_ROTATION_TABLES_H
#define PARO_FAMILIES_ROTATION_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

/* A rotation as a checkpoint has it (see base/reference.h). */
typedef struct paro_rotation_source {
    uint32_t k, group, krot;
    const int16_t *pairs;       /* [krot, k]; may be NULL where krot is 0 */
    const void *theta;          /* [krot, k / 2], radians */
    paro_dtype theta_dtype;     /* F16, BF16 or F32 */
    const void *channel_scales; /* [k]; NULL: ones */
    paro_dtype scales_dtype;
} paro_rotation_source;

/* One part's tables. */
typedef struct paro_rotation_tables {
    uint32_t k, group, krot;
    const uint8_t *pairs;
    const float *cossin;
    const float *channel_scales;
} paro_rotation_tables;

/* Group sizes that kernels know: 32, 64, 128, 256; and rounds, 0 to 16. */
enum { PARO_ROTATION_MIN_GROUP = 32, PARO_ROTATION_MAX_GROUP = 256, PARO_ROTATION_MAX_ROUNDS = 16 };
bool paro_rotation_group_fits(uint32_t k, uint32_t group);

/* Fills pairs, cossin and channel_scales, which the caller allocated (undefined on failure).
 * Empty slots are given the channels that no pair has. PARO_STATUS_FORMAT where `where` (a
 * linear's name, for the message) has a pair outside its group, a channel in two pairs of a round,
 * or an angle or scale that is not finite; UNSUPPORTED for other groups or more rounds. */
paro_status paro_rotation_tables_make(paro_error *err, const char *where,
                                      const paro_rotation_source *source, uint8_t *pairs,
                                      float *cossin, float *channel_scales);

/* Whether tables keep the rules above, and every turn keeps lengths. PARO_STATUS_FORMAT. */
paro_status paro_rotation_tables_check(paro_error *err, const char *where,
                                       const paro_rotation_tables *tables);

/* Random valid tables: all channels paired in some groups, some unpaired in others, slots in random
 * order. channel_scales are between 1/2 and 2. */
void paro_rotation_tables_random(uint64_t seed, uint32_t k, uint32_t group, uint32_t krot,
                                 uint8_t *pairs, float *cossin, float *channel_scales);

/* x [k] in place: x <- R(x * channel_scales), and x <- R^-1(x) / channel_scales; numbers of the
 * tables as they stand there. */
void paro_rotation_tables_rotate(const paro_rotation_tables *tables, double *x);
void paro_rotation_tables_unrotate(const paro_rotation_tables *tables, double *x);

#endif
