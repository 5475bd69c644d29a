/* SPDX-License-Identifier: MIT
 *
 * Random small problems and configs of every family in the table. Include after <cmocka.h>. A new
 * family needs a row here only for keys that none of these names.
 */
#ifndef PARO_TESTS_KERNEL_PROBLEMS_H
#define PARO_TESTS_KERNEL_PROBLEMS_H

#include <stdint.h>
#include <string.h>

#include "base/rng.h"
#include "families/family.h"

enum { TEST_MAX_DRAWS = 16 };

/* What is drawn for a key of a family (NULL: of any). A key without a row has few values: all are
 * drawn. */
typedef struct test_key_range {
    const char *family;
    const char *key;
    size_t n;
    int64_t values[TEST_MAX_DRAWS];
} test_key_range;

static const test_key_range test_key_ranges[] = {
    {"rotate", "h", 12, {32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024}},
    {"norm", "h", 10, {1, 2, 7, 8, 64, 96, 128, 250, 576, 1024}},
    {"embed", "h", 10, {1, 2, 7, 8, 64, 96, 128, 250, 576, 1024}},
    {"swiglu", "n", 10, {1, 2, 7, 8, 64, 96, 128, 250, 576, 1024}},
    {"linear_16", "n", 12, {1, 2, 8, 16, 17, 24, 32, 48, 64, 72, 96, 128}},
    {"linear_16", "k", 10, {1, 8, 16, 24, 32, 64, 72, 96, 128, 256}},
    {"norm_grad", "h", 10, {1, 2, 7, 8, 64, 96, 128, 250, 576, 1024}},
    {"swiglu_grad", "n", 10, {1, 2, 7, 8, 64, 96, 128, 250, 576, 1024}},
    {"adamw", "n", 8, {1, 2, 7, 64, 250, 1001, 4096, 10000}},
    {"adamw", "steps", 3, {1, 2, 1000}},
    {"smooth_l1", "n", 8, {1, 2, 7, 64, 250, 1001, 4096, 10000}},
    /* With more bits u - q^ is so small beside u that fp32 cannot be held to the fp64 reference. */
    {"fake_quant_grad", "bits", 4, {2, 3, 4, 5}},
    {NULL, "n", 10, {8, 16, 24, 32, 48, 64, 80, 96, 128, 160}},
    {NULL, "k", 10, {32, 64, 96, 128, 192, 256, 320, 384, 512, 640}},
    {NULL, "h", 8, {32, 64, 96, 128, 192, 256, 384, 512}},
    {NULL, "m", 12, {1, 1, 2, 3, 4, 7, 8, 15, 16, 17, 24, 33}},
    {NULL, "group", 4, {32, 64, 128, 256}},
    {NULL, "krot", 8, {0, 0, 1, 2, 3, 8, 8, 16}},
    {NULL, "outputs", 3, {1, 2, 3}},
    {NULL, "vocab", 8, {1, 2, 31, 32, 64, 100, 257, 1000}},
    {NULL, "heads", 6, {1, 2, 3, 4, 6, 8}},
    {NULL, "kv_heads", 4, {1, 2, 3, 4}},
    {NULL, "head_dim", 8, {6, 16, 32, 50, 64, 80, 96, 128}},
    {"attention_train", "tokens", 6, {1, 7, 16, 33, 40, 64}},
    {"attention_train", "heads", 4, {1, 2, 3, 4}},
    {"attention_grad", "tokens", 5, {7, 16, 17, 33, 40}},
    {"attention_grad", "heads", 4, {1, 2, 3, 4}},
    {"attention_grad", "samples", 2, {1, 2}},
    {NULL, "samples", 3, {1, 2, 3}},
    {NULL, "tokens", 8, {1, 2, 7, 16, 17, 33, 64, 70}},
    {NULL, "ctx", 6, {16, 33, 64, 96, 128, 200}},
    {NULL, "bytes", 5, {16, 32, 4096, 65552, 300000}},
};

static inline const test_key_range *test_range_of(const paro_family *family, const char *key)
{
    for (size_t i = 0; i < sizeof test_key_ranges / sizeof test_key_ranges[0]; i++) {
        const test_key_range *range = &test_key_ranges[i];
        if (strcmp(range->key, key) == 0 &&
            (range->family == NULL || strcmp(range->family, family->name) == 0))
            return range;
    }
    return NULL;
}

static inline int64_t test_draw_key(paro_rng *rng, const paro_family *family,
                                    const paro_problem_key *key)
{
    size_t n = 0;
    if (key->kind == PARO_KEY_CHOICE) {
        while (key->choices[n] != NULL)
            n++;
        return (int64_t)paro_rng_below(rng, n);
    }
    const test_key_range *range = test_range_of(family, key->name);
    if (range != NULL)
        return range->values[paro_rng_below(rng, range->n)];
    if (key->max - key->min > 32)
        fail_msg("family %s: key %s needs a row in tests/kernel_problems.h", family->name,
                 key->name);
    return key->min + (int64_t)paro_rng_below(rng, (uint64_t)(key->max - key->min + 1));
}

/* A valid problem of the family, by drawing until one is. */
static inline paro_problem test_draw_problem(paro_rng *rng, const paro_family *family)
{
    paro_error err = {.status = PARO_STATUS_OK};
    for (int attempt = 0; attempt < 20000; attempt++) {
        paro_problem problem = {.family = family};
        bool in_range = true;
        for (size_t i = 0; family->keys[i].name != NULL; i++) {
            const paro_problem_key *key = &family->keys[i];
            if (key->kind == PARO_KEY_PARTS) {
                /* One part is as good as none; several make up n. */
                uint32_t n_parts = (uint32_t)paro_rng_below(rng, 4);
                for (uint32_t p = 0; p < n_parts; p++)
                    problem.parts[p] = 8 * (1 + (uint32_t)paro_rng_below(rng, 8));
                problem.n_parts = n_parts;
                continue;
            }
            problem.values[i] = test_draw_key(rng, family, key);
            in_range &= key->kind == PARO_KEY_CHOICE ||
                        (problem.values[i] >= key->min && problem.values[i] <= key->max);
        }
        for (size_t i = 0; problem.n_parts > 0 && family->keys[i].name != NULL; i++)
            if (strcmp(family->keys[i].name, "n") == 0) {
                problem.values[i] = 0;
                for (uint32_t p = 0; p < problem.n_parts; p++)
                    problem.values[i] += problem.parts[p];
            }
        if (in_range && paro_problem_complete(&err, &problem) == PARO_STATUS_OK)
            return problem;
    }
    fail_msg("family %s: no draw of tests/kernel_problems.h is a problem; the last: %s",
             family->name, err.message);
    return (paro_problem){.family = family};
}

/* One of the space, each as likely; false where it is empty. */
typedef struct test_config_draw {
    paro_rng *rng;
    uint64_t n_seen;
    paro_kernel_config chosen;
} test_config_draw;

static inline bool test_config_seen(void *context, const paro_kernel_config *config)
{
    test_config_draw *draw = context;
    if (paro_rng_below(draw->rng, ++draw->n_seen) == 0)
        draw->chosen = *config;
    return true;
}

static inline bool test_draw_config(paro_rng *rng, const paro_problem *problem,
                                    const paro_arch *arch, paro_kernel_config *out)
{
    test_config_draw draw = {.rng = rng};
    paro_space_enumerate(problem, arch, test_config_seen, &draw);
    if (draw.n_seen > 0)
        *out = draw.chosen;
    return draw.n_seen > 0;
}

#endif
