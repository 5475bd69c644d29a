/* SPDX-License-Identifier: MIT
 *
 * Problems as text and as numbers; buckets of m. The grammar is in problem.h.
 */
#include "families/problem.h"

#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "families/family.h"

/* What is being read; `text` is the whole problem, for messages. */
typedef struct reader {
    const char *text;
    const paro_family *family;
    const paro_problem_key *key;
    const char *value; /* of the key, not terminated */
    size_t n_value;
} reader;

enum { NAMES_BYTES = 256 };

static const char *family_name(const void *context, size_t i)
{
    (void)context;
    return paro_family_get(i)->name;
}

static const char *key_name(const void *context, size_t i)
{
    return ((const paro_problem_key *)context)[i].name;
}

static const char *choice_name(const void *context, size_t i)
{
    return ((const char *const *)context)[i];
}

static size_t count_keys(const paro_family *family)
{
    size_t n = 0;
    while (family->keys[n].name != NULL)
        n++;
    return n;
}

/* A zero-terminated copy, cut to what messages and comparisons need. */
static void copy_word(char *out, size_t capacity, const char *word, size_t n)
{
    size_t kept = n < capacity ? n : capacity - 1;
    memcpy(out, word, kept);
    out[kept] = '\0';
}

static paro_status fail_value(paro_error *err, const reader *r, const char *expected)
{
    return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                     "problem \"%s\": %s (%s): expected %s, found \"%.*s\"", r->text, r->key->name,
                     r->key->help, expected, (int)r->n_value, r->value);
}

/* A decimal number in [min, max] and nothing else. */
static bool read_integer(const char *text, size_t n, int64_t min, int64_t max, int64_t *out)
{
    int64_t value = 0;
    if (n == 0 || n > 18) /* 18 digits always fit */
        return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (text[i] - '0');
    }
    if (value < min || value > max)
        return false;
    *out = value;
    return true;
}

static paro_status read_parts(paro_error *err, const reader *r, paro_problem *problem)
{
    char expected[128];
    snprintf(expected, sizeof expected, "1 to %d integers of %lld to %lld with \"+\" between them",
             PARO_PROBLEM_MAX_PARTS, (long long)r->key->min, (long long)r->key->max);
    const char *at = r->value, *end = r->value + r->n_value;
    problem->n_parts = 0;
    for (;;) {
        const char *plus = memchr(at, '+', (size_t)(end - at));
        size_t n = (size_t)((plus == NULL ? end : plus) - at);
        int64_t part = 0;
        if (problem->n_parts == PARO_PROBLEM_MAX_PARTS ||
            !read_integer(at, n, r->key->min, r->key->max, &part))
            return fail_value(err, r, expected);
        problem->parts[problem->n_parts++] = (uint32_t)part;
        if (plus == NULL)
            return PARO_STATUS_OK;
        at = plus + 1;
    }
}

static paro_status read_choice(paro_error *err, const reader *r, int64_t *out)
{
    size_t n = 0;
    for (; r->key->choices[n] != NULL; n++)
        if (strlen(r->key->choices[n]) == r->n_value &&
            memcmp(r->key->choices[n], r->value, r->n_value) == 0) {
            *out = (int64_t)n;
            return PARO_STATUS_OK;
        }
    char word[64], names[NAMES_BYTES], expected[NAMES_BYTES + 32];
    copy_word(word, sizeof word, r->value, r->n_value);
    paro_nearest(names, sizeof names, word, n, choice_name, r->key->choices);
    snprintf(expected, sizeof expected, n <= 3 ? "one of %s" : "a name such as %s", names);
    return fail_value(err, r, expected);
}

static paro_status read_value(paro_error *err, const reader *r, size_t at, paro_problem *problem)
{
    switch (r->key->kind) {
    case PARO_KEY_PARTS:
        return read_parts(err, r, problem);
    case PARO_KEY_CHOICE:
        return read_choice(err, r, &problem->values[at]);
    case PARO_KEY_INTEGER:
        break;
    }
    if (read_integer(r->value, r->n_value, r->key->min, r->key->max, &problem->values[at]))
        return PARO_STATUS_OK;
    char expected[64];
    snprintf(expected, sizeof expected, "an integer of %lld to %lld", (long long)r->key->min,
             (long long)r->key->max);
    return fail_value(err, r, expected);
}

/* One "key=value" of n bytes; seen: bit i for key i. */
static paro_status read_pair(paro_error *err, reader *r, const char *pair, size_t n, uint32_t *seen,
                             paro_problem *problem)
{
    const char *equals = memchr(pair, '=', n);
    if (equals == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "problem \"%s\": expected key=value, found \"%.*s\"", r->text, (int)n,
                         pair);
    size_t n_name = (size_t)(equals - pair), n_keys = count_keys(r->family), at = 0;
    while (at < n_keys && (strlen(r->family->keys[at].name) != n_name ||
                           memcmp(r->family->keys[at].name, pair, n_name) != 0))
        at++;
    if (at == n_keys) {
        char word[64], names[NAMES_BYTES];
        copy_word(word, sizeof word, pair, n_name);
        paro_nearest(names, sizeof names, word, n_keys, key_name, r->family->keys);
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "problem \"%s\": %s has no key \"%s\" (nearest: %s)", r->text,
                         r->family->name, word, names);
    }
    if ((*seen >> at & 1) != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "problem \"%s\": expected every key once, found %s twice", r->text,
                         r->family->keys[at].name);
    *seen |= 1U << at;
    r->key = &r->family->keys[at];
    r->value = equals + 1;
    r->n_value = n - n_name - 1;
    return read_value(err, r, at, problem);
}

static paro_status fill_defaults(paro_error *err, const char *text, uint32_t seen,
                                 paro_problem *problem)
{
    const paro_problem_key *keys = problem->family->keys;
    for (size_t i = 0; keys[i].name != NULL; i++) {
        if ((seen >> i & 1) != 0)
            continue;
        if (!keys[i].has_default)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "problem \"%s\": key %s (%s) is missing: add %s=…", text, keys[i].name,
                             keys[i].help, keys[i].name);
        if (keys[i].kind != PARO_KEY_PARTS)
            problem->values[i] = keys[i].fallback;
    }
    return PARO_STATUS_OK;
}

paro_status paro_problem_parse(paro_error *err, const char *text, paro_problem *out)
{
    char name[64], names[NAMES_BYTES];
    const char *colon = strchr(text, ':');
    copy_word(name, sizeof name, text, colon == NULL ? strlen(text) : (size_t)(colon - text));
    reader r = {.text = text, .family = paro_family_find(name)};
    if (r.family == NULL) {
        size_t n = 0;
        while (paro_family_get(n) != NULL)
            n++;
        paro_nearest(names, sizeof names, name, n, family_name, NULL);
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "problem \"%s\": there is no family \"%s\" (nearest: %s); expected "
                         "family:key=value,…",
                         text, name, names);
    }
    if (colon == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "problem \"%s\": expected %s:key=value,…, found no \":\"", text, name);

    paro_problem problem = {.family = r.family};
    uint32_t seen = 0;
    paro_status status = PARO_STATUS_OK;
    for (const char *at = colon + 1; status == PARO_STATUS_OK;) {
        size_t n = strcspn(at, ",");
        status = read_pair(err, &r, at, n, &seen, &problem);
        if (at[n] == '\0')
            break;
        at += n + 1;
    }
    if (status == PARO_STATUS_OK)
        status = fill_defaults(err, text, seen, &problem);
    if (status == PARO_STATUS_OK)
        status = paro_problem_complete(err, &problem);
    if (status == PARO_STATUS_OK)
        *out = problem;
    return status;
}

paro_status paro_problem_complete(paro_error *err, paro_problem *problem)
{
    const paro_problem_key *keys = problem->family->keys;
    paro_problem done = *problem;
    paro_status status = done.family->complete(err, &done);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; keys[i].name != NULL; i++)
        if (keys[i].kind == PARO_KEY_PARTS)
            done.values[i] = done.n_parts;
    *problem = done;
    return PARO_STATUS_OK;
}

/* Appends to out at *n; what would not fit is left out (PARO_PROBLEM_TEXT_BYTES holds them all). */
static void put(char *out, size_t *n, const char *text)
{
    size_t n_text = strlen(text);
    if (n_text >= PARO_PROBLEM_TEXT_BYTES - *n)
        return;
    memcpy(out + *n, text, n_text + 1);
    *n += n_text;
}

void paro_problem_print(const paro_problem *problem, char out[PARO_PROBLEM_TEXT_BYTES])
{
    const paro_problem_key *keys = problem->family->keys;
    size_t n = 0;
    put(out, &n, problem->family->name);
    for (size_t i = 0; keys[i].name != NULL; i++) {
        char number[32];
        put(out, &n, i == 0 ? ":" : ",");
        put(out, &n, keys[i].name);
        put(out, &n, "=");
        if (keys[i].kind == PARO_KEY_CHOICE) {
            put(out, &n, keys[i].choices[problem->values[i]]);
        } else if (keys[i].kind == PARO_KEY_INTEGER) {
            snprintf(number, sizeof number, "%lld", (long long)problem->values[i]);
            put(out, &n, number);
        } else {
            for (uint32_t p = 0; p < problem->n_parts; p++) {
                snprintf(number, sizeof number, p == 0 ? "%u" : "+%u", problem->parts[p]);
                put(out, &n, number);
            }
        }
    }
}

bool paro_problem_equal(const paro_problem *a, const paro_problem *b)
{
    if (a->family != b->family || a->n_parts != b->n_parts)
        return false;
    for (size_t i = 0; a->family->keys[i].name != NULL; i++)
        if (a->values[i] != b->values[i])
            return false;
    for (uint32_t p = 0; p < a->n_parts; p++)
        if (a->parts[p] != b->parts[p])
            return false;
    return true;
}

/* The index of a key; the number of keys where there is none. */
static size_t find_key(const paro_family *family, const char *key)
{
    size_t i = 0;
    while (family->keys[i].name != NULL && strcmp(family->keys[i].name, key) != 0)
        i++;
    return i;
}

int64_t paro_problem_get(const paro_problem *problem, const char *key)
{
    size_t i = find_key(problem->family, key);
    return problem->family->keys[i].name == NULL ? -1 : problem->values[i];
}

paro_problem paro_problem_with_m(const paro_problem *problem, uint32_t m)
{
    paro_problem copy = *problem;
    size_t i = find_key(problem->family, "m");
    if (problem->family->keys[i].name != NULL)
        copy.values[i] = m;
    return copy;
}

static const uint32_t buckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, PARO_BUCKET_MAX};

uint32_t paro_bucket_get(size_t n)
{
    return n < sizeof buckets / sizeof buckets[0] ? buckets[n] : 0;
}

uint32_t paro_bucket_for(uint32_t m)
{
    size_t n = 0;
    while (paro_bucket_get(n) != 0 && paro_bucket_get(n) < m)
        n++;
    return paro_bucket_get(n);
}
