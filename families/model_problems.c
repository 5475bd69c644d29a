/* SPDX-License-Identifier: MIT
 *
 * From a model's shape to the problems of its kernels.
 */
#include "families/model_problems.h"

#include <stdlib.h>
#include <string.h>

#include "families/family.h"

/* A problem in the making. */
typedef struct draft {
    paro_problem problem;
    const char *unknown; /* a key its family lacks, */
    const char *word;    /* or a word that this key does not take */
} draft;

static paro_status begin(paro_error *err, const char *family, draft *d)
{
    *d = (draft){.problem.family = paro_family_find(family)};
    if (d->problem.family == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "a model's problems: expected a family \"%s\", found none", family);
    const paro_problem_key *keys = d->problem.family->keys;
    for (size_t i = 0; keys[i].name != NULL; i++)
        if (keys[i].has_default)
            d->problem.values[i] = keys[i].fallback;
    return PARO_STATUS_OK;
}

static void set(draft *d, const char *key, int64_t value)
{
    const paro_problem_key *keys = d->problem.family->keys;
    size_t i = 0;
    while (keys[i].name != NULL && strcmp(keys[i].name, key) != 0)
        i++;
    if (keys[i].name == NULL)
        d->unknown = key;
    else
        d->problem.values[i] = value;
}

static void set_word(draft *d, const char *key, const char *word)
{
    const paro_problem_key *keys = d->problem.family->keys;
    for (size_t i = 0; keys[i].name != NULL; i++)
        if (strcmp(keys[i].name, key) == 0 && keys[i].kind == PARO_KEY_CHOICE)
            for (size_t at = 0; keys[i].choices[at] != NULL; at++)
                if (strcmp(keys[i].choices[at], word) == 0) {
                    d->problem.values[i] = (int64_t)at;
                    return;
                }
    d->unknown = key;
    d->word = word;
}

/* What a shape says is not trusted: it may come from a stranger's config.json. */
static paro_status finish(paro_error *err, draft *d, paro_problem *out)
{
    const paro_problem_key *keys = d->problem.family->keys;
    if (d->unknown != NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "a model's problems: there are no kernels of %s with %s%s%s",
                         d->problem.family->name, d->unknown, d->word != NULL ? "=" : "",
                         d->word != NULL ? d->word : "");
    for (size_t i = 0; keys[i].name != NULL; i++) {
        int64_t value = d->problem.values[i];
        if (keys[i].kind == PARO_KEY_INTEGER && (value < keys[i].min || value > keys[i].max))
            return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                             "a model's problems: %s: %s (%s): expected %lld to %lld, found %lld",
                             d->problem.family->name, keys[i].name, keys[i].help,
                             (long long)keys[i].min, (long long)keys[i].max, (long long)value);
    }
    paro_status status = paro_problem_complete(err, &d->problem);
    if (status == PARO_STATUS_OK)
        *out = d->problem;
    return status;
}

enum { MAX_MERGED = 3 };

/* Linears side by side: one, or several that paro_layer_merges_… lets merge. */
typedef struct linears {
    const paro_linear_shape *part[MAX_MERGED];
    uint32_t n;
} linears;

static bool merges(const paro_linear_shape *a, const paro_linear_shape *b)
{
    return a->quantised == b->quantised && a->k == b->k && a->bias == b->bias &&
           (!a->quantised || (a->group_size == b->group_size && a->krot == b->krot));
}

bool paro_layer_merges_qkv(const paro_layer_shape *layer)
{
    return merges(&layer->q, &layer->k) && merges(&layer->q, &layer->v);
}

bool paro_layer_merges_gate_up(const paro_layer_shape *layer)
{
    return merges(&layer->gate, &layer->up);
}

/* The linears of a step; n is 0 where the layer has no such step. */
static linears step_linears(const paro_model_shape *shape, const paro_layer_shape *layer,
                            paro_step step)
{
    linears found = {{NULL}, 0};
    switch (step) {
    case PARO_STEP_QKV:
        if (paro_layer_merges_qkv(layer))
            found = (linears){{&layer->q, &layer->k, &layer->v}, 3};
        break;
    case PARO_STEP_Q:
    case PARO_STEP_K:
    case PARO_STEP_V:
        if (!paro_layer_merges_qkv(layer))
            found = (linears){{step == PARO_STEP_Q   ? &layer->q
                               : step == PARO_STEP_K ? &layer->k
                                                     : &layer->v},
                              1};
        break;
    case PARO_STEP_O:
        found = (linears){{&layer->o}, 1};
        break;
    case PARO_STEP_GATE_UP:
        if (paro_layer_merges_gate_up(layer))
            found = (linears){{&layer->gate, &layer->up}, 2};
        break;
    case PARO_STEP_GATE:
    case PARO_STEP_UP:
        if (!paro_layer_merges_gate_up(layer))
            found = (linears){{step == PARO_STEP_GATE ? &layer->gate : &layer->up}, 1};
        break;
    case PARO_STEP_DOWN:
        found = (linears){{&layer->down}, 1};
        break;
    case PARO_STEP_HEAD:
        found = (linears){{&shape->head}, 1};
        break;
    default:
        break;
    }
    return found;
}

static void set_parts(draft *d, const linears *l)
{
    uint64_t n = 0;
    for (uint32_t p = 0; p < l->n; p++) {
        n += l->part[p]->n;
        d->problem.parts[p] = l->part[p]->n;
    }
    d->problem.n_parts = l->n;
    set(d, "n", (int64_t)n);
    set(d, "k", l->part[0]->k);
    set(d, "group", l->part[0]->group_size);
}

/* Logits are fp32; all other linears give what the next kernel reads. */
static paro_status linear_problem(paro_error *err, const paro_model_shape *shape, const linears *l,
                                  bool logits, uint32_t m, paro_problem *out)
{
    draft d;
    paro_status status = begin(err, l->part[0]->quantised ? "linear_w4" : "linear_16", &d);
    if (status != PARO_STATUS_OK)
        return status;
    if (l->part[0]->quantised) {
        set_parts(&d, l);
        set(&d, "krot", l->part[0]->krot);
    } else {
        uint64_t n = 0;
        for (uint32_t p = 0; p < l->n; p++)
            n += l->part[p]->n;
        set(&d, "n", (int64_t)n);
        set(&d, "k", l->part[0]->k);
        set_word(&d, "out", logits ? "f32" : paro_problem_dtypes[shape->dtype]);
    }
    set(&d, "m", m);
    set_word(&d, "dtype", paro_problem_dtypes[shape->dtype]);
    set(&d, "bias", l->part[0]->bias);
    return finish(err, &d, out);
}

/* The steps that are not linears. */
static paro_status other_problem(paro_error *err, const paro_model_shape *shape, paro_step step,
                                 uint32_t m, paro_problem *out)
{
    static const char *const families[PARO_STEP_COUNT] = {
        [PARO_STEP_EMBED] = "embed",         [PARO_STEP_NORM] = "norm",
        [PARO_STEP_NORM_FIRST] = "norm",     [PARO_STEP_ROPE] = "rope",
        [PARO_STEP_ATTENTION] = "attention", [PARO_STEP_SWIGLU] = "swiglu",
        [PARO_STEP_SAMPLE] = "sample",
    };
    draft d;
    paro_status status = begin(err, families[step], &d);
    if (status != PARO_STATUS_OK)
        return status;
    set(&d, "m", m);
    if (step != PARO_STEP_SAMPLE)
        set_word(&d, "dtype", paro_problem_dtypes[shape->dtype]);
    if (step == PARO_STEP_EMBED || step == PARO_STEP_SAMPLE)
        set(&d, "vocab", shape->vocab);
    if (step == PARO_STEP_EMBED || step == PARO_STEP_NORM || step == PARO_STEP_NORM_FIRST)
        set(&d, "h", shape->hidden);
    if (step == PARO_STEP_NORM || step == PARO_STEP_NORM_FIRST)
        set(&d, "add", step == PARO_STEP_NORM);
    if (step == PARO_STEP_SWIGLU)
        set(&d, "n", shape->intermediate);
    if (step == PARO_STEP_ROPE || step == PARO_STEP_ATTENTION) {
        set(&d, "heads", shape->n_heads);
        set(&d, "kv_heads", shape->n_kv_heads);
        set(&d, "head_dim", shape->head_dim);
    }
    if (step == PARO_STEP_ROPE)
        set(&d, "qk_norm", shape->qk_norm);
    if (step == PARO_STEP_ATTENTION)
        set(&d, "ctx", PARO_MODEL_CONTEXT);
    return finish(err, &d, out);
}

/* *there: whether the layer has the step. */
static paro_status step_problem(paro_error *err, const paro_model_shape *shape, size_t layer,
                                paro_step step, uint32_t m, bool *there, paro_problem *out)
{
    const bool is_linear = (step >= PARO_STEP_QKV && step <= PARO_STEP_V) || step == PARO_STEP_O ||
                           (step >= PARO_STEP_GATE_UP && step <= PARO_STEP_UP) ||
                           step == PARO_STEP_DOWN || step == PARO_STEP_HEAD;
    *there = step >= 0 && step < PARO_STEP_COUNT && (layer == 0 || step != PARO_STEP_NORM_FIRST);
    if (!*there || !is_linear)
        return *there ? other_problem(err, shape, step, m, out) : PARO_STATUS_OK;
    if (layer >= shape->n_layers && step != PARO_STEP_HEAD) {
        *there = false;
        return PARO_STATUS_OK;
    }
    linears l = step_linears(shape, step == PARO_STEP_HEAD ? NULL : &shape->layers[layer], step);
    *there = l.n > 0;
    return *there ? linear_problem(err, shape, &l, step == PARO_STEP_HEAD, m, out) : PARO_STATUS_OK;
}

bool paro_model_problem(const paro_model_shape *shape, size_t layer, paro_step step, uint32_t m,
                        paro_problem *out)
{
    bool there = false;
    return step_problem(NULL, shape, layer, step, m, &there, out) == PARO_STATUS_OK && there;
}

paro_status paro_pack_problem(paro_error *err, const paro_problem *linear, const char *layout,
                              paro_problem *out)
{
    draft d;
    paro_status status = begin(err, "pack_w4", &d);
    if (status != PARO_STATUS_OK)
        return status;
    memcpy(d.problem.parts, linear->parts, sizeof d.problem.parts);
    d.problem.n_parts = linear->n_parts;
    set(&d, "n", paro_problem_get(linear, "n"));
    set(&d, "k", paro_problem_get(linear, "k"));
    set(&d, "group", paro_problem_get(linear, "group"));
    set_word(&d, "layout", layout);
    return finish(err, &d, out);
}

typedef struct list {
    paro_problem *problems;
    size_t n, capacity;
} list;

/* Appends what is not there yet. */
static paro_status add(paro_error *err, list *l, const paro_problem *problem)
{
    for (size_t i = 0; i < l->n; i++)
        if (paro_problem_equal(&l->problems[i], problem))
            return PARO_STATUS_OK;
    if (l->n == l->capacity) {
        size_t capacity = l->capacity == 0 ? 64 : 2 * l->capacity;
        paro_problem *more = realloc(l->problems, capacity * sizeof *more);
        if (more == NULL)
            return paro_fail_memory(err, capacity * sizeof *more, "a model's problems");
        l->problems = more;
        l->capacity = capacity;
    }
    l->problems[l->n++] = *problem;
    return PARO_STATUS_OK;
}

static bool same_linear(const paro_linear_shape *a, const paro_linear_shape *b)
{
    return a->n == b->n && merges(a, b);
}

static bool same_layer(const paro_layer_shape *a, const paro_layer_shape *b)
{
    return same_linear(&a->q, &b->q) && same_linear(&a->k, &b->k) && same_linear(&a->v, &b->v) &&
           same_linear(&a->o, &b->o) && same_linear(&a->gate, &b->gate) &&
           same_linear(&a->up, &b->up) && same_linear(&a->down, &b->down);
}

/* Whether a layer is like one before it, and adds nothing. */
static bool is_repeated(const paro_model_shape *shape, size_t layer)
{
    for (size_t i = layer; i-- > 0;)
        if (same_layer(&shape->layers[i], &shape->layers[layer]))
            return true;
    return false;
}

/* The problems of one layer for one m; and, before each linear's, how its weight is packed. */
static paro_status add_layer(paro_error *err, const paro_model_shape *shape, size_t layer,
                             uint32_t m, list *l)
{
    static const char *const layouts[] = {"mma16", "awq"};
    paro_status status = PARO_STATUS_OK;
    for (int step = 0; step < PARO_STEP_COUNT && status == PARO_STATUS_OK; step++) {
        bool there = false;
        paro_problem problem, pack;
        status = step_problem(err, shape, layer, (paro_step)step, m, &there, &problem);
        if (status != PARO_STATUS_OK || !there)
            continue;
        if (strcmp(problem.family->name, "linear_w4") == 0)
            for (size_t i = 0; i < 2 && status == PARO_STATUS_OK; i++) {
                status = paro_pack_problem(err, &problem, layouts[i], &pack);
                if (status == PARO_STATUS_OK)
                    status = add(err, l, &pack);
            }
        if (status == PARO_STATUS_OK)
            status = add(err, l, &problem);
    }
    return status;
}

paro_status paro_model_problems(paro_error *err, const paro_model_shape *shape,
                                const uint32_t *buckets, size_t n_buckets, paro_problem **out,
                                size_t *n_out)
{
    list l = {NULL, 0, 0};
    paro_status status = PARO_STATUS_OK;
    for (size_t layer = 0; layer < shape->n_layers && status == PARO_STATUS_OK; layer++) {
        if (is_repeated(shape, layer))
            continue;
        for (size_t b = 0; status == PARO_STATUS_OK; b++) {
            uint32_t m = buckets == NULL ? paro_bucket_get(b) : b < n_buckets ? buckets[b] : 0;
            if (m == 0)
                break;
            status = add_layer(err, shape, layer, m, &l);
        }
    }
    if (status != PARO_STATUS_OK) {
        free(l.problems);
        return status;
    }
    *out = l.problems;
    *n_out = l.n;
    return PARO_STATUS_OK;
}
