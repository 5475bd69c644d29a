/* SPDX-License-Identifier: MIT
 *
 * Cases: one set of arguments in host memory, and the judgement of what a kernel made of it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "families/family.h"

/* An element may be this many tolerances away from what is expected (relative to the argument's
 * root mean square plus its own size): the norm alone would not see one wrong element of a million.
 */
static const double element_tolerances = 64;

static bool is_buffer(const paro_case *c, size_t arg)
{
    return c->problem->family->args[arg].role != PARO_ARG_SCALAR && c->info[arg].n > 0;
}

static bool is_result(const paro_case *c, size_t arg)
{
    paro_arg_role role = c->problem->family->args[arg].role;
    return (role == PARO_ARG_OUTPUT || role == PARO_ARG_INOUT) && c->info[arg].n > 0;
}

static size_t data_bytes(const paro_case *c, size_t arg)
{
    return (size_t)c->info[arg].n * paro_dtype_bytes(c->info[arg].dtype);
}

void paro_case_guard(size_t arg, unsigned char out[PARO_CASE_GUARD_BYTES])
{
    /* 0xFF above a byte of 0x81 to 0xFE: NaN as f16, bf16 and f32. */
    for (size_t i = 0; i < PARO_CASE_GUARD_BYTES; i += 2) {
        out[i] = (unsigned char)(0x81 + (5 * arg + i / 2) % 0x7E);
        out[i + 1] = 0xFF;
    }
}

paro_status paro_case_new(paro_error *err, const paro_problem *problem,
                          const paro_kernel_config *config, uint64_t seed, paro_pool *pool,
                          paro_case *out)
{
    const paro_family *family = problem->family;
    paro_status status = PARO_STATUS_OK;
    paro_case c = {.problem = problem, .config = config};
    for (size_t arg = 0; arg < paro_family_n_args(family); arg++) {
        family->arg_info(problem, config, arg, &c.info[arg]);
        if (!is_buffer(&c, arg))
            continue;
        size_t n_most = (SIZE_MAX / 2 - PARO_CASE_GUARD_BYTES) / sizeof(double);
        size_t n_bytes = c.info[arg].n > n_most ? SIZE_MAX : data_bytes(&c, arg);
        if (n_bytes != SIZE_MAX)
            c.data[arg] = malloc(n_bytes + PARO_CASE_GUARD_BYTES);
        if (c.data[arg] == NULL) {
            status = paro_fail_memory(err, n_bytes, family->args[arg].name);
            goto done;
        }
        memset(c.data[arg], PARO_CASE_POISON, n_bytes);
        paro_case_guard(arg, (unsigned char *)c.data[arg] + n_bytes);
    }
    family->fill(&c, seed, pool);
    *out = c;
    memset(&c, 0, sizeof c);

done:
    paro_case_release(&c);
    return status;
}

void paro_case_release(paro_case *c)
{
    if (c == NULL)
        return;
    for (size_t arg = 0; arg < PARO_MAX_ARGS; arg++)
        free(c->data[arg]);
    memset(c, 0, sizeof *c);
}

double paro_element_get(const void *data, paro_dtype dtype, uint64_t i)
{
    switch (dtype) {
    case PARO_DTYPE_F64:
        return ((const double *)data)[i];
    case PARO_DTYPE_F32:
        return (double)((const float *)data)[i];
    case PARO_DTYPE_F16:
        return (double)paro_f32_from_f16(((const uint16_t *)data)[i]);
    case PARO_DTYPE_BF16:
        return (double)paro_f32_from_bf16(((const uint16_t *)data)[i]);
    case PARO_DTYPE_I64:
        return (double)((const int64_t *)data)[i];
    case PARO_DTYPE_U64:
        return (double)((const uint64_t *)data)[i];
    case PARO_DTYPE_I32:
        return (double)((const int32_t *)data)[i];
    case PARO_DTYPE_U32:
        return (double)((const uint32_t *)data)[i];
    case PARO_DTYPE_I16:
        return (double)((const int16_t *)data)[i];
    case PARO_DTYPE_U16:
        return (double)((const uint16_t *)data)[i];
    case PARO_DTYPE_I8:
        return (double)((const int8_t *)data)[i];
    case PARO_DTYPE_U8:
    case PARO_DTYPE_BOOL:
        return (double)((const uint8_t *)data)[i];
    case PARO_DTYPE_F8_E4M3:
    case PARO_DTYPE_F8_E5M2:
    case PARO_DTYPE_COUNT:
        break;
    }
    return (double)NAN;
}

static bool is_float(paro_dtype dtype)
{
    return dtype == PARO_DTYPE_F16 || dtype == PARO_DTYPE_BF16 || dtype == PARO_DTYPE_F32 ||
           dtype == PARO_DTYPE_F64;
}

/* Of the argument's own dtype, but not below that of the problem's operands. */
static double tolerance_of(const paro_case *c, size_t arg)
{
    paro_kernel_dtype own = c->info[arg].dtype == PARO_DTYPE_F16    ? PARO_KERNEL_DTYPE_F16
                            : c->info[arg].dtype == PARO_DTYPE_BF16 ? PARO_KERNEL_DTYPE_BF16
                                                                    : PARO_KERNEL_DTYPE_F32;
    double tolerance = paro_numerics_tolerance(own);
    int64_t operands = paro_problem_get(c->problem, "dtype");
    if (operands >= 0)
        tolerance = fmax(tolerance, paro_numerics_tolerance((paro_kernel_dtype)operands));
    return tolerance;
}

static paro_status fail_element(paro_error *err, const paro_case *c, size_t arg, uint64_t i,
                                double expected, double found, const char *what)
{
    return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s[%llu]: expected %.9g, found %.9g%s",
                     c->problem->family->name, c->problem->family->args[arg].name,
                     (unsigned long long)i, expected, found, what);
}

/* Bytes behind the end were not written; nor was a buffer that is only read. */
static paro_status check_untouched(paro_error *err, const paro_case *c, size_t arg,
                                   const void *result)
{
    const paro_arg *row = &c->problem->family->args[arg];
    const unsigned char *bytes = result;
    unsigned char guard[PARO_CASE_GUARD_BYTES];
    size_t n_bytes = data_bytes(c, arg);
    paro_case_guard(arg, guard);
    for (size_t i = 0; i < PARO_CASE_GUARD_BYTES; i++)
        if (bytes[n_bytes + i] != guard[i])
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: expected %zu bytes, found byte %zu behind its end written",
                             c->problem->family->name, row->name, n_bytes, i);
    if ((row->role == PARO_ARG_INPUT || row->role == PARO_ARG_WEIGHT) &&
        memcmp(result, c->data[arg], n_bytes) != 0)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: %s: expected an input as it was, found it "
                         "written",
                         c->problem->family->name, row->name);
    return PARO_STATUS_OK;
}

static paro_status check_integers(paro_error *err, const paro_case *c, size_t arg,
                                  const void *result, const double *expected)
{
    for (uint64_t i = 0; i < c->info[arg].n; i++) {
        double found = paro_element_get(result, c->info[arg].dtype, i);
        if (found != expected[i])
            return fail_element(err, c, arg, i, expected[i], found, "");
    }
    return PARO_STATUS_OK;
}

enum { CHUNK = 1024 };

/* Elements first .. first + n as floats in fp32 (of F64 rounded); n <= CHUNK. */
static const float *chunk_of(const void *data, paro_dtype dtype, uint64_t first, size_t n,
                             float values[CHUNK])
{
    if (dtype == PARO_DTYPE_F32)
        return (const float *)data + first;
    if (dtype == PARO_DTYPE_F64) {
        for (size_t i = 0; i < n; i++)
            values[i] = (float)((const double *)data)[first + i];
    } else {
        paro_f32_from_array(values, (const uint16_t *)data + first, dtype, n);
    }
    return values;
}

/* Sums of squares, and the largest difference; false where a result is not finite. */
typedef struct sums {
    double square, difference, most;
} sums;

static bool sum_floats(const void *result, paro_dtype dtype, uint64_t n, const double *expected,
                       sums *out)
{
    float values[CHUNK];
    sums s = {0, 0, 0};
    for (uint64_t first = 0; first < n; first += CHUNK) {
        const size_t n_chunk = n - first < CHUNK ? (size_t)(n - first) : CHUNK;
        const float *found = chunk_of(result, dtype, first, n_chunk, values);
        const double *right = expected + first;
        double square = 0, difference = 0;
        for (size_t i = 0; i < n_chunk; i++) {
            double away = (double)found[i] - right[i];
            square += right[i] * right[i];
            difference += away * away;
            s.most = fabs(away) > s.most ? fabs(away) : s.most;
        }
        s.square += square;
        s.difference += difference;
    }
    *out = s;
    return isfinite(s.difference);
}

static paro_status check_floats(paro_error *err, const paro_case *c, size_t arg, const void *result,
                                const double *expected, double *error)
{
    const paro_dtype dtype = c->info[arg].dtype;
    const uint64_t n = c->info[arg].n;
    sums s;
    if (!sum_floats(result, dtype, n, expected, &s))
        for (uint64_t i = 0; i < n; i++) {
            double found = paro_element_get(result, dtype, i);
            if (!isfinite(found))
                return fail_element(err, c, arg, i, expected[i], found, " (not finite)");
        }
    double tolerance = tolerance_of(c, arg), mean = sqrt(s.square / (double)n), worst = -1;
    double relative = s.difference == 0 ? 0 : sqrt(s.difference) / sqrt(s.square);
    uint64_t at = 0;
    if (relative <= tolerance && s.most <= element_tolerances * tolerance * mean) {
        *error = fmax(*error, relative);
        return PARO_STATUS_OK;
    }
    for (uint64_t i = 0; i < n; i++) {
        double away = fabs(paro_element_get(result, dtype, i) - expected[i]);
        double share = away == 0 ? 0 : away / (mean + fabs(expected[i]));
        if (share > worst) {
            worst = share;
            at = i;
        }
    }
    if (!(relative <= tolerance) || !(worst <= element_tolerances * tolerance))
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: %s: expected a relative L2 error of at most %.3g, found %.3g; worst "
                         "at [%llu]: expected %.9g, found %.9g",
                         c->problem->family->name, c->problem->family->args[arg].name, tolerance,
                         relative, (unsigned long long)at, expected[at],
                         paro_element_get(result, dtype, at));
    *error = fmax(*error, relative);
    return PARO_STATUS_OK;
}

paro_status paro_case_expect(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *expected[PARO_MAX_ARGS])
{
    double *made[PARO_MAX_ARGS] = {NULL};
    paro_status status = PARO_STATUS_OK;
    for (size_t arg = 0; arg < paro_family_n_args(c->problem->family); arg++) {
        if (!is_result(c, arg))
            continue;
        size_t n_bytes = (size_t)c->info[arg].n * sizeof(double);
        made[arg] = malloc(n_bytes);
        if (made[arg] == NULL) {
            status = paro_fail_memory(err, n_bytes, "the reference");
            goto done;
        }
    }
    status = c->problem->family->reference(err, c, pool, made);
    if (status != PARO_STATUS_OK)
        goto done;
    for (size_t arg = 0; arg < PARO_MAX_ARGS; arg++) {
        expected[arg] = made[arg];
        made[arg] = NULL;
    }
done:
    paro_case_expect_release(made);
    return status;
}

void paro_case_expect_release(double *expected[PARO_MAX_ARGS])
{
    for (size_t arg = 0; arg < PARO_MAX_ARGS; arg++) {
        free(expected[arg]);
        expected[arg] = NULL;
    }
}

paro_status paro_case_compare(paro_error *err, const paro_case *c, double *const *expected,
                              void *const *results, double *error)
{
    const size_t n_args = paro_family_n_args(c->problem->family);
    double worst = 0;
    paro_status status = PARO_STATUS_OK;
    for (size_t arg = 0; arg < n_args && status == PARO_STATUS_OK; arg++)
        if (is_buffer(c, arg) && results[arg] != NULL)
            status = check_untouched(err, c, arg, results[arg]);
    for (size_t arg = 0; arg < n_args && status == PARO_STATUS_OK; arg++) {
        if (!is_result(c, arg))
            continue;
        status = is_float(c->info[arg].dtype)
                     ? check_floats(err, c, arg, results[arg], expected[arg], &worst)
                     : check_integers(err, c, arg, results[arg], expected[arg]);
    }
    if (status == PARO_STATUS_OK)
        *error = worst;
    return status;
}

paro_status paro_case_check(paro_error *err, const paro_case *c, void *const *results,
                            paro_pool *pool, double *error)
{
    double *expected[PARO_MAX_ARGS] = {NULL};
    paro_status status = paro_case_expect(err, c, pool, expected);
    if (status == PARO_STATUS_OK)
        status = paro_case_compare(err, c, expected, results, error);
    paro_case_expect_release(expected);
    return status;
}
