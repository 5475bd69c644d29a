/* SPDX-License-Identifier: MIT
 *
 * Making, checking and applying the tables of rotations.
 */
#include "families/rotation_tables.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/rng.h"
#include "families/random.h"

bool paro_rotation_group_fits(uint32_t k, uint32_t group)
{
    return group >= PARO_ROTATION_MIN_GROUP && group <= PARO_ROTATION_MAX_GROUP &&
           (group & (group - 1)) == 0 && k > 0 && k % group == 0;
}

static paro_status check_sizes(paro_error *err, const char *where, uint32_t k, uint32_t group,
                               uint32_t krot)
{
    if (!paro_rotation_group_fits(k, group))
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: expected rotation groups of 32, 64, 128 or 256 channels that divide "
                         "the input, found groups of %u of %u channels",
                         where, group, k);
    if (krot > PARO_ROTATION_MAX_ROUNDS)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: expected at most %d rotation rounds, found %u", where,
                         PARO_ROTATION_MAX_ROUNDS, krot);
    return PARO_STATUS_OK;
}

static float read_float(const void *data, paro_dtype dtype, size_t i)
{
    float value;
    paro_f32_from_array(&value, (const char *)data + i * paro_dtype_bytes(dtype), dtype, 1);
    return value;
}

/* The pairs of one group in one round; `used` [group] is marked. at: the group's first channel. */
static paro_status read_group(paro_error *err, const char *where, const paro_rotation_source *s,
                              uint32_t round, uint32_t at, bool *used, uint8_t *pairs)
{
    const int16_t *from = s->pairs + (size_t)round * s->k + at;
    uint8_t *to = pairs + (size_t)round * s->k + at;
    memset(used, 0, s->group * sizeof *used);
    for (uint32_t c = 0; c < s->group; c++) {
        if (from[c] < 0 || from[c] >= (int32_t)s->group)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: pairs: round %u, channel slot %u: expected a channel of 0 to %u, "
                             "found %d",
                             where, round, at + c, s->group - 1, from[c]);
        to[c] = (uint8_t)from[c];
    }
    for (uint32_t c = 0; c < s->group; c += 2) {
        if (to[c] == to[c + 1])
            continue;
        for (uint32_t side = 0; side < 2; side++) {
            if (used[to[c + side]])
                return paro_fail(err, PARO_STATUS_FORMAT,
                                 "%s: pairs: round %u, group %u: expected disjoint pairs, found "
                                 "channel %u in two",
                                 where, round, at / s->group, to[c + side]);
            used[to[c + side]] = true;
        }
    }
    return PARO_STATUS_OK;
}

/* Empty slots get channels that no pair has: of those there are twice as many as slots, the rest
 * stand nowhere. */
static void fill_empty(uint32_t group, const bool *used, uint8_t *pairs)
{
    uint32_t next = 0;
    for (uint32_t c = 0; c < group; c += 2) {
        if (pairs[c] != pairs[c + 1])
            continue;
        while (used[next])
            next++;
        pairs[c] = pairs[c + 1] = (uint8_t)next++;
    }
}

paro_status paro_rotation_tables_make(paro_error *err, const char *where,
                                      const paro_rotation_source *source, uint8_t *pairs,
                                      float *cossin, float *channel_scales)
{
    const paro_rotation_source *s = source;
    bool used[PARO_ROTATION_MAX_GROUP];
    paro_status status = check_sizes(err, where, s->k, s->group, s->krot);
    if (status != PARO_STATUS_OK)
        return status;
    for (uint32_t round = 0; round < s->krot; round++) {
        for (uint32_t at = 0; at < s->k; at += s->group) {
            status = read_group(err, where, s, round, at, used, pairs);
            if (status != PARO_STATUS_OK)
                return status;
            fill_empty(s->group, used, pairs + (size_t)round * s->k + at);
        }
        for (uint32_t t = 0; t < s->k / 2; t++) {
            size_t slot = (size_t)round * (s->k / 2) + t;
            double angle = (double)read_float(s->theta, s->theta_dtype, slot);
            if (!isfinite(angle))
                return paro_fail(err, PARO_STATUS_FORMAT,
                                 "%s: theta: round %u, pair %u: expected a finite angle, found %g",
                                 where, round, t, angle);
            bool empty = pairs[2 * slot] == pairs[2 * slot + 1];
            cossin[2 * slot] = empty ? 1 : (float)cos(angle);
            cossin[2 * slot + 1] = empty ? 0 : (float)sin(angle);
        }
    }
    for (uint32_t c = 0; c < s->k; c++) {
        float scale =
            s->channel_scales == NULL ? 1 : read_float(s->channel_scales, s->scales_dtype, c);
        if (!isfinite(scale))
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: channel_scales: channel %u: expected a finite number, found %g",
                             where, c, (double)scale);
        channel_scales[c] = scale;
    }
    return PARO_STATUS_OK;
}

paro_status paro_rotation_tables_check(paro_error *err, const char *where,
                                       const paro_rotation_tables *tables)
{
    const paro_rotation_tables *t = tables;
    paro_status status = check_sizes(err, where, t->k, t->group, t->krot);
    if (status != PARO_STATUS_OK)
        return status;
    for (uint32_t round = 0; round < t->krot; round++)
        for (uint32_t slot = 0; slot < t->k / 2; slot++) {
            uint32_t in_group = 2 * slot % t->group;
            const uint8_t *group = t->pairs + (size_t)round * t->k + (2 * slot - in_group);
            const float *turn = t->cossin + (size_t)round * t->k + 2 * slot;
            double cosine = (double)turn[0], sine = (double)turn[1];
            uint8_t i = group[in_group], j = group[in_group + 1];
            if (i >= t->group || j >= t->group)
                return paro_fail(err, PARO_STATUS_FORMAT,
                                 "%s: round %u, slot %u: expected channels below %u, found %u and "
                                 "%u",
                                 where, round, slot, t->group, i, j);
            for (uint32_t c = 0; c < in_group; c++)
                if (group[c] == i || group[c] == j)
                    return paro_fail(
                        err, PARO_STATUS_FORMAT,
                        "%s: round %u, slot %u: expected disjoint slots, found channel "
                        "%u in two",
                        where, round, slot, group[c]);
            if (!(fabs(cosine * cosine + sine * sine - 1) < 1e-6) ||
                (i == j && (cosine != 1 || sine != 0)))
                return paro_fail(err, PARO_STATUS_FORMAT,
                                 "%s: round %u, slot %u: expected a turn that keeps lengths, found "
                                 "cosine %g and sine %g",
                                 where, round, slot, cosine, sine);
        }
    for (uint32_t c = 0; c < t->k; c++)
        if (!isfinite(t->channel_scales[c]))
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: channel %u: expected a finite scale, found %g", where, c,
                             (double)t->channel_scales[c]);
    return PARO_STATUS_OK;
}

void paro_rotation_tables_random(uint64_t seed, uint32_t k, uint32_t group, uint32_t krot,
                                 uint8_t *pairs, float *cossin, float *channel_scales)
{
    const double two_pi = 6.283185307179586;
    for (uint32_t b = 0; b < k / group; b++) {
        paro_rng rng;
        paro_rng_seed(&rng, paro_random_seed(seed, b));
        /* One group in four has empty slots. */
        bool sparse = paro_rng_below(&rng, 4) == 0;
        for (uint32_t round = 0; round < krot; round++) {
            uint8_t *slots = pairs + (size_t)round * k + (size_t)b * group;
            float *turns = cossin + (size_t)round * k + (size_t)b * group;
            for (uint32_t c = 0; c < group; c++) {
                uint32_t other = (uint32_t)paro_rng_below(&rng, c + 1);
                slots[c] = slots[other];
                slots[other] = (uint8_t)c;
            }
            for (uint32_t c = 0; c < group; c += 2) {
                double angle = two_pi * (paro_rng_f64(&rng) - 0.5);
                bool empty = sparse && paro_rng_below(&rng, 3) == 0;
                if (empty)
                    slots[c + 1] = slots[c];
                turns[c] = empty ? 1 : (float)cos(angle);
                turns[c + 1] = empty ? 0 : (float)sin(angle);
            }
        }
        for (uint32_t c = 0; c < group; c++)
            channel_scales[b * group + c] = (float)exp2(2 * paro_rng_f64(&rng) - 1);
    }
}

/* Every slot of a round; sign -1 undoes it. */
static void turn_round(const paro_rotation_tables *t, uint32_t round, double sign, double *x)
{
    const uint8_t *pairs = t->pairs + (size_t)round * t->k;
    const float *cossin = t->cossin + (size_t)round * t->k;
    for (uint32_t c = 0; c < t->k; c += 2) {
        double *group = x + c / t->group * t->group;
        double cosine = (double)cossin[c], sine = sign * (double)cossin[c + 1];
        double a = group[pairs[c]], b = group[pairs[c + 1]];
        if (pairs[c] == pairs[c + 1])
            continue;
        group[pairs[c]] = a * cosine + b * sine;
        group[pairs[c + 1]] = b * cosine - a * sine;
    }
}

void paro_rotation_tables_rotate(const paro_rotation_tables *tables, double *x)
{
    for (uint32_t c = 0; c < tables->k; c++)
        x[c] *= (double)tables->channel_scales[c];
    for (uint32_t round = 0; round < tables->krot; round++)
        turn_round(tables, round, 1, x);
}

void paro_rotation_tables_unrotate(const paro_rotation_tables *tables, double *x)
{
    for (uint32_t round = tables->krot; round-- > 0;)
        turn_round(tables, round, -1, x);
    for (uint32_t c = 0; c < tables->k; c++)
        x[c] /= (double)tables->channel_scales[c];
}
