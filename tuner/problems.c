/* SPDX-License-Identifier: MIT
 *
 * Lists of problems, and the families' tables, for users (include/paro/kernel.h).
 */
#include "tuner/problems.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "families/model_problems.h"
#include "runtime/shape.h"

/* ---- families ---- */

bool paro_family_describe(size_t n, paro_family_info *out)
{
    const paro_family *family = paro_family_get(n);
    if (family == NULL)
        return false;
    size_t n_keys = 0;
    while (family->keys[n_keys].name != NULL)
        n_keys++;
    *out = (paro_family_info){.name = family->name,
                              .summary = family->summary,
                              .n_keys = n_keys,
                              .n_params = paro_family_n_params(family),
                              .n_args = paro_family_n_args(family)};
    return true;
}

/* Appends words with '|' between them. */
static void append_word(char *text, size_t capacity, const char *word)
{
    const size_t n = strlen(text);
    if (n < capacity)
        snprintf(text + n, capacity - n, "%s%s", n > 0 ? "|" : "", word);
}

bool paro_family_key(size_t n, size_t i, paro_family_row *out)
{
    paro_family_info info;
    if (!paro_family_describe(n, &info) || i >= info.n_keys)
        return false;
    const paro_problem_key *key = &paro_family_get(n)->keys[i];
    paro_family_row row = {.name = key->name, .help = key->help};
    if (key->kind == PARO_KEY_CHOICE)
        for (size_t k = 0; key->choices[k] != NULL; k++)
            append_word(row.values, sizeof row.values, key->choices[k]);
    else
        snprintf(row.values, sizeof row.values, "%lld..%lld%s", (long long)key->min,
                 (long long)key->max, key->kind == PARO_KEY_PARTS ? "+..." : "");
    if (key->has_default && key->kind == PARO_KEY_CHOICE)
        snprintf(row.fallback, sizeof row.fallback, "%s", key->choices[key->fallback]);
    else if (key->has_default && key->kind == PARO_KEY_INTEGER)
        snprintf(row.fallback, sizeof row.fallback, "%lld", (long long)key->fallback);
    else if (key->has_default)
        snprintf(row.fallback, sizeof row.fallback, "one part");
    *out = row;
    return true;
}

bool paro_family_param(size_t n, size_t i, paro_family_row *out)
{
    paro_family_info info;
    if (!paro_family_describe(n, &info) || i >= info.n_params)
        return false;
    const paro_param *param = &paro_family_get(n)->params[i];
    paro_family_row row = {.name = param->name, .help = param->help};
    for (size_t k = 0; k < param->n_values; k++) {
        char number[16];
        snprintf(number, sizeof number, "%d", (int)param->values[k]);
        append_word(row.values, sizeof row.values,
                    param->choices != NULL ? param->choices[param->values[k]] : number);
    }
    *out = row;
    return true;
}

bool paro_family_arg(size_t n, size_t i, paro_family_row *out)
{
    static const char *const roles[] = {"input",      "weight",  "output",
                                        "in and out", "scratch", "scalar"};
    paro_family_info info;
    if (!paro_family_describe(n, &info) || i >= info.n_args)
        return false;
    const paro_arg *arg = &paro_family_get(n)->args[i];
    paro_family_row row = {.name = arg->name, .help = arg->help};
    snprintf(row.values, sizeof row.values, "%s", roles[arg->role]);
    *out = row;
    return true;
}

const char *paro_arch_name(size_t n)
{
    const paro_arch *arch = paro_arch_get(n);
    return arch != NULL ? arch->name : NULL;
}

/* ---- problems ---- */

struct paro_problems {
    paro_problem *problems;
    char (*texts)[PARO_PROBLEM_TEXT_BYTES]; /* canonical, for users */
    size_t n;
    size_t capacity;
};

paro_status paro_problems_new(paro_error *err, paro_problems **out)
{
    paro_problems *problems = calloc(1, sizeof *problems);
    if (problems == NULL)
        return paro_fail_memory(err, sizeof *problems, "a list of problems");
    *out = problems;
    return PARO_STATUS_OK;
}

void paro_problems_free(paro_problems *problems)
{
    if (problems == NULL)
        return;
    free(problems->problems);
    free(problems->texts);
    free(problems);
}

size_t paro_problems_count(const paro_problems *problems)
{
    return problems->n;
}

const char *paro_problems_get(const paro_problems *problems, size_t n)
{
    return problems->texts[n];
}

const paro_problem *paro_problems_array(const paro_problems *problems)
{
    return problems->problems;
}

static paro_status append(paro_error *err, paro_problems *problems, const paro_problem *problem)
{
    for (size_t i = 0; i < problems->n; i++)
        if (paro_problem_equal(&problems->problems[i], problem))
            return PARO_STATUS_OK;
    if (problems->n == problems->capacity) {
        const size_t capacity = problems->capacity == 0 ? 64 : 2 * problems->capacity;
        paro_problem *grown = realloc(problems->problems, capacity * sizeof *grown);
        if (grown != NULL)
            problems->problems = grown;
        void *texts = realloc(problems->texts, capacity * sizeof *problems->texts);
        if (texts != NULL)
            problems->texts = texts;
        if (grown == NULL || texts == NULL)
            return paro_fail_memory(err, capacity * sizeof *grown, "a list of problems");
        problems->capacity = capacity;
    }
    problems->problems[problems->n] = *problem;
    paro_problem_print(problem, problems->texts[problems->n]);
    problems->n++;
    return PARO_STATUS_OK;
}

paro_status paro_problems_add(paro_error *err, paro_problems *problems, const char *text)
{
    paro_problem problem;
    paro_status status = paro_problem_parse(err, text, &problem);
    return status == PARO_STATUS_OK ? append(err, problems, &problem) : status;
}

paro_status paro_problems_add_model(paro_error *err, paro_problems *problems, const char *dir,
                                    const uint32_t *buckets, size_t n_buckets)
{
    paro_arena arena = {0};
    paro_model_shape shape;
    paro_problem *found = NULL;
    size_t n = 0;
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < n_buckets; i++)
        if (paro_bucket_for(buckets[i]) != buckets[i])
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "bucket: expected one of 1, 2, 4, ... %d, found %u", PARO_BUCKET_MAX,
                             buckets[i]);
    status = paro_shape_load(err, dir, &arena, &shape);
    if (status == PARO_STATUS_OK)
        status =
            paro_model_problems(err, &shape, n_buckets > 0 ? buckets : NULL, n_buckets, &found, &n);
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++)
        status = append(err, problems, &found[i]);
    free(found);
    paro_arena_release(&arena);
    return status;
}
