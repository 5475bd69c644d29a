/* SPDX-License-Identifier: MIT
 *
 * Problems: what a kernel is to compute, as text and as numbers.
 *
 *     problem  = family ":" pair *("," pair)
 *     pair     = key "=" value
 *     value    = integer | word | integer *("+" integer)
 *
 * for example
 *
 *     linear_w4:n=6144,k=4096,m=1,group=128,krot=8,dtype=f16,parts=4096+1024+1024,zero=u4,bias=0
 *
 * Keys come in any order; an unknown key, one twice, and one missing that has no default are
 * errors. The canonical text has all keys, in the order of the family's table. `m` (tokens) is the
 * upper bound of a bucket: a kernel made for it takes 1 to m tokens.
 */
#ifndef PARO_FAMILIES_PROBLEM_H
#define PARO_FAMILIES_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

enum {
    PARO_PROBLEM_MAX_KEYS = 16,
    PARO_PROBLEM_MAX_PARTS = 8,
    PARO_PROBLEM_TEXT_BYTES = 512 /* of any canonical text, its zero included */
};

typedef struct paro_family paro_family;

typedef enum paro_key_kind {
    PARO_KEY_INTEGER,
    PARO_KEY_CHOICE, /* a word of `choices`; its index is the value */
    PARO_KEY_PARTS   /* positive integers; the value is their number. At most one key of a family */
} paro_key_kind;

/* One row of a family's table; the table ends with a row whose name is NULL. */
typedef struct paro_problem_key {
    const char *name;
    paro_key_kind kind;
    int64_t min, max;           /* INTEGER; of PARTS: each part's */
    const char *const *choices; /* CHOICE: NULL-terminated */
    bool has_default;
    int64_t fallback; /* where has_default; PARTS: the family fills in (see complete) */
    const char *help; /* one line, with the unit */
} paro_problem_key;

typedef struct paro_problem {
    const paro_family *family;
    int64_t values[PARO_PROBLEM_MAX_KEYS]; /* by key, in the order of the family's table */
    uint32_t parts[PARO_PROBLEM_MAX_PARTS];
    uint32_t n_parts; /* 0 for families without */
} paro_problem;

/* dtype keys everywhere: choices {"f16", "bf16", "f32"}. */
extern const char *const paro_problem_dtypes[];
typedef enum paro_kernel_dtype {
    PARO_KERNEL_DTYPE_F16,
    PARO_KERNEL_DTYPE_BF16,
    PARO_KERNEL_DTYPE_F32
} paro_kernel_dtype;
paro_dtype paro_kernel_dtype_storage(paro_kernel_dtype dtype); /* PARO_DTYPE_F16, … */

/* PARO_STATUS_INVALID_ARGUMENT with what was expected; includes the family's own checks. */
paro_status paro_problem_parse(paro_error *err, const char *text, paro_problem *out);

/* What parse does last, for problems whose values (and parts, if given) were set by hand: the
 * family's checks, and what it fills in. */
paro_status paro_problem_complete(paro_error *err, paro_problem *problem);

/* The canonical text. Equal problems have equal texts. */
void paro_problem_print(const paro_problem *problem, char out[PARO_PROBLEM_TEXT_BYTES]);

bool paro_problem_equal(const paro_problem *a, const paro_problem *b);

/* The value of a key by name; -1 where the family has no such key. */
int64_t paro_problem_get(const paro_problem *problem, const char *key);

/* A copy with another m; families without m are copied as they are. */
paro_problem paro_problem_with_m(const paro_problem *problem, uint32_t m);

/* Buckets of m: 1, 2, 4, 8, 16, 32, 64, 128, 256, 512. The n-th, 0 past the last; and the smallest
 * that holds m (0 where m is beyond the last). */
uint32_t paro_bucket_get(size_t n);
uint32_t paro_bucket_for(uint32_t m);
enum { PARO_BUCKET_MAX = 512 };

/* Relative L2 error allowed against the fp64 reference: f32 1e-5, f16 2e-3, bf16 1.5e-2. Operands
 * f16 (or bf16), sums fp32, the residual stream fp32. The one place of this policy: numerics.c. */
double paro_numerics_tolerance(paro_kernel_dtype dtype);

#endif
