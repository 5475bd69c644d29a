/* SPDX-License-Identifier: MIT
 *
 * Fake quantisation group by group in fp64: random cases, and what kernels should make of them.
 */
#include "families/fake_quant_case.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "families/family.h"
#include "families/random.h"
#include "families/rotation_tables.h"

enum { MAX_GROUP = PARO_ROTATION_MAX_GROUP };

static const double step_min = (double)1e-5F; /* PARO_STEP_MIN */

/* d, as F16 holds it. */
static double step_of(double step)
{
    return (double)paro_f32_through_f16((float)fmax(step, step_min));
}

typedef struct work {
    const paro_fake_quant_case *c;
    const paro_fake_quant_case_gradients *out;
    double *w_hat;
    uint64_t seed;
} work;

static double top_of(const paro_fake_quant_case *c)
{
    return (double)((1U << c->bits) - 1);
}

/* Slot `slot` of a group in a round; false where it is empty. */
typedef struct turn {
    uint8_t i, j;
    size_t at; /* of theta */
    double cosine, sine;
} turn;

static bool turn_get(const paro_fake_quant_case *c, size_t group, size_t round, size_t slot,
                     turn *out)
{
    const size_t at = round * (c->k / 2) + group * (c->group / 2) + slot;
    const double angle = (double)c->theta[at];
    *out = (turn){c->pairs[2 * at], c->pairs[2 * at + 1], at, cos(angle), sin(angle)};
    return out->i != out->j;
}

static void turn_back(const turn *t, double *x)
{
    const double a = x[t->i], b = x[t->j];
    x[t->i] = a * t->cosine - b * t->sine;
    x[t->j] = b * t->cosine + a * t->sine;
}

static void rotate(const paro_fake_quant_case *c, size_t group, double *x)
{
    turn t;
    for (size_t round = 0; round < c->krot; round++)
        for (size_t slot = 0; slot < c->group / 2; slot++)
            if (turn_get(c, group, round, slot, &t)) {
                t.sine = -t.sine;
                turn_back(&t, x);
            }
}

static void unrotate(const paro_fake_quant_case *c, size_t group, double *x)
{
    turn t;
    for (size_t round = c->krot; round-- > 0;)
        for (size_t slot = 0; slot < c->group / 2; slot++)
            if (turn_get(c, group, round, slot, &t))
                turn_back(&t, x);
}

/* ---- random contents ---- */

/* -0.4 .. 0.4: what u / d is away from an integer. */
static double draw_off(paro_rng *rng)
{
    return 0.8 * (paro_rng_f64(rng) - 0.5);
}

/* Ratios within a few steps of both sides of the clamp. */
static void draw_learned(const paro_fake_quant_case *c, paro_rng *rng, size_t at, double *u)
{
    const double top = top_of(c);
    double zero = (double)paro_rng_below(rng, 8) - 2;
    if (paro_rng_below(rng, 2) == 0)
        zero = top - zero;
    c->zero[at] = (float)(zero + draw_off(rng));
    c->step[at] = (float)(0.01 * exp2(2 * paro_rng_f64(rng)));
    if (paro_rng_below(rng, 16) == 0)
        c->step[at] *= -1; /* counts as the bound */
    const double step = step_of((double)c->step[at]);
    zero = fmin(fmax(zero, 0), top);
    const double end = zero < top / 2 ? -zero : top - zero; /* of the ratios that are kept */
    for (size_t i = 0; i < c->group; i++)
        u[i] = step * (end + (double)paro_rng_below(rng, 7) - 3 + draw_off(rng));
}

/* Two extremes, and all others well between them; their distance makes a step that is away from
 * the middle of two that F16 holds. */
static void draw_range(const paro_fake_quant_case *c, paro_rng *rng, double *u)
{
    enum { AT_BOUND = 2, NOT_NEGATIVE, NOT_POSITIVE, ZEROS, KINDS = 32 };
    const double top = top_of(c);
    const uint64_t kind = paro_rng_below(rng, KINDS);
    const double step = step_of(kind <= AT_BOUND ? 0 : 0.01 * exp2(2 * paro_rng_f64(rng)));
    double low = -0.1 - 0.25 * paro_rng_f64(rng) - (double)paro_rng_below(rng, (uint64_t)top);
    if (kind == NOT_NEGATIVE)
        low = 0;
    else if (kind == NOT_POSITIVE)
        low = -top;
    else if (kind <= AT_BOUND)
        low = -1.2;
    const double high = kind <= AT_BOUND ? 1.2 : low + top; /* both in steps */
    const size_t low_at = (size_t)paro_rng_below(rng, c->group);
    const size_t high_at = (low_at + 1 + (size_t)paro_rng_below(rng, c->group - 1)) % c->group;
    for (size_t i = 0; i < c->group; i++) {
        double ratio = (double)paro_rng_below(rng, 13) - 6 + draw_off(rng);
        if (ratio < low + 0.1 || ratio > high - 0.1)
            ratio = 0.2 * (low + high) / top;
        if (i == low_at && low < 0)
            ratio = low;
        if (i == high_at && high > 0)
            ratio = high;
        u[i] = kind == ZEROS ? 0 : step * ratio;
    }
}

static void fill_group(void *context, size_t group, int worker)
{
    const work *w = context;
    const paro_fake_quant_case *c = w->c;
    const size_t first = group * c->group, n_groups = c->k / c->group;
    paro_rng rng;
    (void)worker;
    paro_rng_seed(&rng, paro_random_seed(w->seed, 1 + group));
    for (size_t row = 0; row < c->n; row++) {
        double u[MAX_GROUP];
        if (c->step != NULL)
            draw_learned(c, &rng, row * n_groups + group, u);
        else
            draw_range(c, &rng, u);
        unrotate(c, group, u);
        for (size_t i = 0; i < c->group; i++)
            c->w[row * c->k + first + i] = (float)(u[i] / (double)c->channel_scales[first + i]);
    }
}

void paro_fake_quant_case_fill(const paro_fake_quant_case *c, uint64_t seed, paro_pool *pool)
{
    work w = {.c = c, .seed = seed};
    for (size_t group = 0; group < c->k / c->group; group++) {
        /* Tables for one group at a time: what is drawn has cosines, not angles. */
        uint8_t pairs[PARO_ROTATION_MAX_ROUNDS * MAX_GROUP];
        float cossin[PARO_ROTATION_MAX_ROUNDS * MAX_GROUP];
        paro_rotation_tables_random(paro_random_seed(seed, (uint64_t)1 << 32 | group), c->group,
                                    c->group, c->krot, pairs, cossin,
                                    c->channel_scales + group * c->group);
        for (size_t round = 0; round < c->krot; round++) {
            const size_t at = round * c->k + group * c->group;
            memcpy(c->pairs + at, pairs + round * c->group, c->group);
            for (size_t i = 0; i < c->group; i += 2) {
                const float *turned = cossin + round * c->group + i;
                c->theta[(at + i) / 2] = atan2f(turned[1], turned[0]);
            }
        }
    }
    paro_pool_run(pool, c->k / c->group, fill_group, &w);
}

/* ---- references ---- */

/* A row's group: values in the rotated frame and how they are quantised. */
typedef struct row {
    double u[MAX_GROUP], q[MAX_GROUP], du[MAX_GROUP], dq[MAX_GROUP];
    double low, high, step, zero;
    size_t low_at, high_at; /* MAX_GROUP: the 0 */
} row;

static void load_row(const paro_fake_quant_case *c, size_t group, size_t index, row *r)
{
    const size_t first = group * c->group, at = index * (c->k / c->group) + group;
    const double top = top_of(c);
    for (size_t i = 0; i < c->group; i++)
        r->u[i] = (double)c->w[index * c->k + first + i] * (double)c->channel_scales[first + i];
    rotate(c, group, r->u);
    r->low = r->high = 0;
    r->low_at = r->high_at = MAX_GROUP;
    for (size_t i = 0; i < c->group; i++) {
        if (r->u[i] < r->low) {
            r->low = r->u[i];
            r->low_at = i;
        }
        if (r->u[i] > r->high) {
            r->high = r->u[i];
            r->high_at = i;
        }
    }
    r->step = step_of(c->step != NULL ? (double)c->step[at] : (r->high - r->low) / top);
    r->zero =
        c->step != NULL ? fmin(fmax(rint((double)c->zero[at]), 0), top) : rint(-r->low / r->step);
    for (size_t i = 0; i < c->group; i++) {
        const double code = fmin(fmax(rint(r->u[i] / r->step) + r->zero, 0), top);
        r->q[i] = (code - r->zero) * r->step;
    }
}

static void forward_group(void *context, size_t group, int worker)
{
    const work *w = context;
    const paro_fake_quant_case *c = w->c;
    const size_t first = group * c->group;
    (void)worker;
    for (size_t index = 0; index < c->n; index++) {
        row r;
        load_row(c, group, index, &r);
        unrotate(c, group, r.q);
        for (size_t i = 0; i < c->group; i++)
            w->w_hat[index * c->k + first + i] = r.q[i] / (double)c->channel_scales[first + i];
    }
}

void paro_fake_quant_case_forward(const paro_fake_quant_case *c, paro_pool *pool, double *w_hat)
{
    work w = {.c = c, .w_hat = w_hat};
    paro_pool_run(pool, c->k / c->group, forward_group, &w);
}

/* du of a row whose u, q and dq are there; the gradients of its d and z. */
static void quantise_back(const paro_fake_quant_case *c, row *r, double *d_step, double *d_zero)
{
    const double top = top_of(c);
    *d_step = *d_zero = 0;
    for (size_t i = 0; i < c->group; i++) {
        const double code = rint(r->u[i] / r->step) + r->zero;
        const bool inside = c->clamp_passes || (code >= 0 && code <= top);
        r->du[i] = inside ? r->dq[i] : 0;
        *d_step += r->dq[i] * (r->q[i] - (inside ? r->u[i] : 0)) / r->step;
        *d_zero -= inside ? 0 : r->dq[i] * r->step;
    }
    if (c->step != NULL)
        return;
    const bool is_bound = (r->high - r->low) / top < step_min;
    const double d_range = *d_step + *d_zero * r->low / (r->step * r->step);
    const double d_high = is_bound ? 0 : d_range / top;
    if (r->low_at < MAX_GROUP)
        r->du[r->low_at] += -*d_zero / r->step - d_high;
    if (r->high_at < MAX_GROUP)
        r->du[r->high_at] += d_high;
}

/* All rounds undone in all four; the angles' gradients added to theta. */
static void unwind(const paro_fake_quant_case *c, size_t group, row *r, double *theta)
{
    turn t;
    for (size_t round = c->krot; round-- > 0;)
        for (size_t slot = 0; slot < c->group / 2; slot++) {
            if (!turn_get(c, group, round, slot, &t))
                continue;
            if (theta != NULL)
                theta[t.at] += (r->du[t.i] * r->u[t.j] - r->du[t.j] * r->u[t.i]) -
                               (r->dq[t.i] * r->q[t.j] - r->dq[t.j] * r->q[t.i]);
            turn_back(&t, r->u);
            turn_back(&t, r->q);
            turn_back(&t, r->du);
            turn_back(&t, r->dq);
        }
}

static void backward_group(void *context, size_t group, int worker)
{
    const work *w = context;
    const paro_fake_quant_case *c = w->c;
    const paro_fake_quant_case_gradients *out = w->out;
    const size_t first = group * c->group;
    double scale_sums[MAX_GROUP] = {0};
    (void)worker;
    for (size_t round = 0; round < c->krot && out->theta != NULL; round++)
        memset(out->theta + round * (c->k / 2) + first / 2, 0, c->group / 2 * sizeof(double));
    for (size_t index = 0; index < c->n; index++) {
        row r;
        double d_step, d_zero;
        const size_t at = index * (c->k / c->group) + group;
        load_row(c, group, index, &r);
        for (size_t i = 0; i < c->group; i++)
            r.dq[i] = paro_element_get(c->d_w_hat, c->d_w_hat_dtype, index * c->k + first + i) /
                      (double)c->channel_scales[first + i];
        rotate(c, group, r.dq);
        quantise_back(c, &r, &d_step, &d_zero);
        if (out->step != NULL)
            out->step[at] = d_step;
        if (out->zero != NULL)
            out->zero[at] = d_zero;
        unwind(c, group, &r, out->theta);
        for (size_t i = 0; i < c->group; i++) {
            scale_sums[i] += r.du[i] * r.u[i] - r.dq[i] * r.q[i];
            if (out->w != NULL)
                out->w[index * c->k + first + i] = r.du[i] * (double)c->channel_scales[first + i];
        }
    }
    for (size_t i = 0; i < c->group && out->channel_scales != NULL; i++)
        out->channel_scales[first + i] = scale_sums[i] / (double)c->channel_scales[first + i];
}

void paro_fake_quant_case_backward(const paro_fake_quant_case *c, paro_pool *pool,
                                   const paro_fake_quant_case_gradients *out)
{
    work w = {.c = c, .out = out};
    paro_pool_run(pool, c->k / c->group, backward_group, &w);
}
