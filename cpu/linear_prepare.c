/* SPDX-License-Identifier: MIT
 *
 * A linear's promises, checked when it is first used, and its tables of turns.
 *
 * A `.scales` value of zero would make a group dead and an infinite one make it NaN; neither is
 * written by a sound quantiser, which stores a small scale for a group of zeros. Both are refused.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pack.h"
#include "cpu/linear_tables.h"

void paro_linear_tables_free(paro_linear_tables *tables)
{
    if (!tables)
        return;
    free(tables->channel_scales);
    free(tables->turns);
    free(tables);
}

static paro_status missing(paro_error *err, const paro_linear *linear, const char *member)
{
    const paro_tensor *other = linear->qweight ? linear->qweight : linear->scales;
    return paro_fail(err, PARO_STATUS_FORMAT, "%s%s%s.%s: expected this tensor, found none",
                     other ? other->file : "", other ? ": " : "", linear->name, member);
}

static paro_status check_weight_dtype(paro_error *err, const paro_tensor *tensor)
{
    if (paro_dtype_is_weight(tensor->dtype))
        return PARO_STATUS_OK;
    return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s: expected F32, F16 or BF16, found %s",
                     tensor->file, tensor->name, paro_dtype_name(tensor->dtype));
}

static paro_status check_matrix(paro_error *err, const paro_linear *linear, const char *member,
                                const paro_tensor *tensor, paro_dtype dtype, uint64_t n_rows,
                                uint64_t n_columns)
{
    if (!tensor)
        return missing(err, linear, member);
    const uint64_t shape[2] = {n_rows, n_columns};
    return paro_tensor_expect(err, tensor, dtype, 2, shape);
}

static paro_status check_dense(paro_error *err, const paro_linear *linear)
{
    if (!linear->weight)
        return missing(err, linear, "weight");
    paro_status status = check_weight_dtype(err, linear->weight);
    if (status != PARO_STATUS_OK)
        return status;
    return check_matrix(err, linear, "weight", linear->weight, linear->weight->dtype, linear->n_out,
                        linear->n_in);
}

static paro_status check_bias(paro_error *err, const paro_linear *linear)
{
    if (!linear->bias)
        return PARO_STATUS_OK;
    paro_status status = check_weight_dtype(err, linear->bias);
    if (status != PARO_STATUS_OK)
        return status;
    const uint64_t shape[1] = {linear->n_out};
    return paro_tensor_expect(err, linear->bias, linear->bias->dtype, 1, shape);
}

static paro_status check_w4_shapes(paro_error *err, const paro_linear *linear)
{
    uint64_t n_in = linear->n_in, n_out = linear->n_out, group_size = linear->group_size;
    if (group_size == 0 || n_in % group_size != 0)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: expected a group size that divides its %u inputs, found %u "
                         "(quantization_config.group_size)",
                         linear->name, linear->n_in, linear->group_size);
    if (n_out % PARO_CODES_PER_WORD != 0)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: expected a multiple of %d outputs (codes are packed along them), "
                         "found %u",
                         linear->name, PARO_CODES_PER_WORD, linear->n_out);
    if (linear->krot > 0 && group_size % 2 != 0)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: expected an even group size (channels turn in pairs), found %u",
                         linear->name, linear->group_size);
    if (linear->krot > 0 && !linear->theta)
        return missing(err, linear, "theta");
    if (linear->krot > 0 && !linear->pairs)
        return missing(err, linear, "pairs");
    if (linear->krot > 0 && !linear->channel_scales)
        return missing(err, linear, "channel_scales");

    uint64_t n_groups = n_in / group_size, n_words = n_out / PARO_CODES_PER_WORD;
    paro_status status =
        check_matrix(err, linear, "qweight", linear->qweight, PARO_DTYPE_I32, n_in, n_words);
    if (status == PARO_STATUS_OK)
        status =
            check_matrix(err, linear, "qzeros", linear->qzeros, PARO_DTYPE_I32, n_groups, n_words);
    if (status == PARO_STATUS_OK)
        status =
            check_matrix(err, linear, "scales", linear->scales, PARO_DTYPE_F16, n_groups, n_out);
    if (status == PARO_STATUS_OK && linear->theta)
        status = check_matrix(err, linear, "theta", linear->theta, PARO_DTYPE_F16, linear->krot,
                              n_in / 2);
    if (status == PARO_STATUS_OK && linear->pairs)
        status =
            check_matrix(err, linear, "pairs", linear->pairs, PARO_DTYPE_I16, linear->krot, n_in);
    if (status == PARO_STATUS_OK && linear->channel_scales)
        status = check_matrix(err, linear, "channel_scales", linear->channel_scales, PARO_DTYPE_F16,
                              1, n_in);
    return status;
}

static uint16_t u16_at(const void *data, size_t n)
{
    uint16_t value;
    memcpy(&value, (const unsigned char *)data + 2 * n, sizeof value);
    return value;
}

/* Finite and not zero, from the bits of an F16. */
static bool is_scale(uint16_t bits)
{
    unsigned magnitude = bits & 0x7FFF;
    return magnitude != 0 && magnitude < 0x7C00;
}

static paro_status check_scales(paro_error *err, const paro_linear *linear)
{
    const paro_tensor *scales = linear->scales;
    size_t n_out = linear->n_out;
    size_t n_groups = linear->n_in / linear->group_size;
    for (size_t group = 0; group < n_groups; group++) {
        const unsigned char *row = (const unsigned char *)scales->data + 2 * group * n_out;
        unsigned n_bad = 0; /* no early exit: this loop vectorises */
        for (size_t column = 0; column < n_out; column++)
            n_bad += !is_scale(u16_at(row, column));
        for (size_t column = 0; n_bad && column < n_out; column++)
            if (!is_scale(u16_at(row, column)))
                return paro_fail(err, PARO_STATUS_FORMAT,
                                 "%s: %s: group %zu, column %zu: expected a finite scale other "
                                 "than zero, found %g",
                                 scales->file, scales->name, group, column,
                                 (double)paro_f32_from_f16(u16_at(row, column)));
    }
    return PARO_STATUS_OK;
}

static paro_status prepare_channel_scales(paro_error *err, const paro_linear *linear,
                                          paro_linear_tables *tables)
{
    const paro_tensor *scales = linear->channel_scales;
    if (!scales)
        return PARO_STATUS_OK;
    size_t n_in = linear->n_in;
    tables->channel_scales = malloc(n_in * sizeof(float));
    if (!tables->channel_scales)
        return paro_fail_memory(err, n_in * sizeof(float), "channel scales");
    for (size_t channel = 0; channel < n_in; channel++) {
        uint16_t bits = u16_at(scales->data, channel);
        float scale = paro_f32_from_f16(bits);
        if (!is_scale(bits))
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: channel %zu: expected a finite scale other than zero, "
                             "found %g",
                             scales->file, scales->name, channel, (double)scale);
        tables->channel_scales[channel] = scale;
    }
    return PARO_STATUS_OK;
}

/* The turns of one round in one group. taken [group_size] is scratch. */
static paro_status prepare_round(paro_error *err, const paro_linear *linear, size_t round,
                                 size_t group, size_t *taken, paro_turn *turns)
{
    const paro_tensor *pairs = linear->pairs, *theta = linear->theta;
    size_t group_size = linear->group_size, n_pairs = group_size / 2;
    size_t first = round * linear->n_in + group * group_size; /* of pairs; half that of theta */
    size_t base = group * group_size;                         /* channel of the layer */
    memset(taken, 0, group_size * sizeof *taken);
    for (size_t pair = 0; pair < n_pairs; pair++) {
        float angle = paro_f32_from_f16(u16_at(theta->data, first / 2 + pair));
        int channels[2];
        for (int side = 0; side < 2; side++) {
            channels[side] = (int16_t)u16_at(pairs->data, first + 2 * pair + (size_t)side);
            if (channels[side] < 0 || (size_t)channels[side] >= group_size)
                return paro_fail(err, PARO_STATUS_FORMAT,
                                 "%s: %s: round %zu, group %zu, pair %zu: expected a channel in "
                                 "0 .. %zu, found channel %d",
                                 pairs->file, pairs->name, round, group, pair, group_size - 1,
                                 channels[side]);
        }
        size_t i = (size_t)channels[0], j = (size_t)channels[1];
        if (!isfinite(angle))
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: round %zu, channels %zu and %zu (group %zu, pair %zu): "
                             "expected a finite angle, found %g",
                             theta->file, theta->name, round, base + i, base + j, group, pair,
                             (double)angle);
        if (i == j && angle != 0)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: round %zu, channel %zu (group %zu, pair %zu): expected two "
                             "channels, found the same twice with angle %g (an empty pair has 0)",
                             pairs->file, pairs->name, round, base + i, group, pair, (double)angle);
        for (int side = 0; side < (i == j ? 1 : 2); side++) {
            size_t channel = (size_t)channels[side];
            if (taken[channel])
                return paro_fail(err, PARO_STATUS_FORMAT,
                                 "%s: %s: round %zu, channel %zu: expected it in one pair of the "
                                 "round, found it in pairs %zu and %zu of group %zu",
                                 pairs->file, pairs->name, round, base + channel,
                                 taken[channel] - 1, pair, group);
            taken[channel] = pair + 1;
        }
        turns[pair] = (paro_turn){.cosine = (float)cos((double)angle),
                                  .sine = (float)sin((double)angle),
                                  .i = (uint16_t)i,
                                  .j = (uint16_t)j};
    }
    return PARO_STATUS_OK;
}

static paro_status prepare_turns(paro_error *err, const paro_linear *linear,
                                 paro_linear_tables *tables)
{
    if (linear->krot == 0)
        return PARO_STATUS_OK;
    size_t n_pairs = linear->group_size / 2, n_groups = linear->n_in / linear->group_size;
    /* theta has as many values and is in memory: this cannot overflow by more than its factor. */
    size_t n_turns = (size_t)linear->theta->n_values;
    if (n_turns > SIZE_MAX / sizeof(paro_turn))
        return paro_fail_memory(err, SIZE_MAX, "turns");
    size_t *taken = calloc(linear->group_size, sizeof *taken);
    tables->turns = malloc(n_turns * sizeof(paro_turn));
    paro_status status = PARO_STATUS_OK;
    if (!taken || !tables->turns)
        status = paro_fail_memory(err, n_turns * sizeof(paro_turn), "turns");
    for (size_t round = 0; round < linear->krot && status == PARO_STATUS_OK; round++)
        for (size_t group = 0; group < n_groups && status == PARO_STATUS_OK; group++)
            status = prepare_round(err, linear, round, group, taken,
                                   tables->turns + (group * linear->krot + round) * n_pairs);
    free(taken);
    return status;
}

static paro_status prepare_w4(paro_error *err, const paro_linear *linear,
                              paro_linear_tables *tables)
{
    paro_status status = check_w4_shapes(err, linear);
    if (status == PARO_STATUS_OK)
        status = check_scales(err, linear);
    if (status == PARO_STATUS_OK)
        status = prepare_channel_scales(err, linear, tables);
    if (status == PARO_STATUS_OK)
        status = prepare_turns(err, linear, tables);
    if (status == PARO_STATUS_OK)
        tables->w4 = (paro_w4){.qweight = linear->qweight->data,
                               .qzeros = linear->qzeros->data,
                               .scales = linear->scales->data,
                               .n_in = linear->n_in,
                               .n_out = linear->n_out,
                               .group_size = linear->group_size};
    return status;
}

paro_status paro_linear_prepare(paro_error *err, paro_linear *linear)
{
    if (atomic_load_explicit(&linear->tables, memory_order_acquire))
        return PARO_STATUS_OK;
    if (linear->n_in == 0 || linear->n_out == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected at least one input and one output, found %u and %u",
                         linear->name, linear->n_in, linear->n_out);
    paro_linear_tables *tables = calloc(1, sizeof *tables);
    if (!tables)
        return paro_fail_memory(err, sizeof *tables, "a linear's tables");
    paro_status status = check_bias(err, linear);
    if (status == PARO_STATUS_OK)
        status = linear->kind == PARO_LINEAR_KIND_DENSE ? check_dense(err, linear)
                                                        : prepare_w4(err, linear, tables);
    if (status != PARO_STATUS_OK)
        goto done;

    /* Where two threads prepared at once, one's tables stay and the other's go: they are equal. */
    paro_linear_tables *none = NULL;
    if (atomic_compare_exchange_strong_explicit(&linear->tables, &none, tables,
                                                memory_order_acq_rel, memory_order_acquire))
        tables = NULL;
done:
    paro_linear_tables_free(tables);
    return status;
}

void paro_linear_release(paro_linear *linear)
{
    if (linear)
        paro_linear_tables_free(
            atomic_exchange_explicit(&linear->tables, NULL, memory_order_acq_rel));
}
