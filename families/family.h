/* SPDX-License-Identifier: MIT
 *
 * A kernel family: one template, one C file, one line of the table in family.c. The file answers
 * the questions of paro_family in their order; adding a family touches nothing else.
 *
 * Words: a param is a knob with its values; a config has one value for each param of the family; a
 * variant is problem + config + arch: exactly one source. A variant is a plan of one to three
 * launches.
 */
#ifndef PARO_FAMILIES_FAMILY_H
#define PARO_FAMILIES_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/thread.h"
#include "families/arch.h"
#include "families/device.h"
#include "families/problem.h"

enum {
    PARO_MAX_PARAMS = 16,
    PARO_MAX_PARAM_VALUES = 16,
    PARO_MAX_ARGS = 24,
    PARO_MAX_LAUNCHES = 3,
    PARO_KERNEL_CONFIG_TEXT_BYTES = 256
};

/* A knob; a family's table ends with a row whose name is NULL. */
typedef struct paro_param {
    const char *name;
    int32_t values[PARO_MAX_PARAM_VALUES]; /* of a choice: indexes into `choices` */
    size_t n_values;
    const char *const *choices; /* names of values 0, 1, …; NULL for numbers */
    const char *help;
} paro_param;

typedef struct paro_kernel_config {
    int32_t values[PARO_MAX_PARAMS]; /* by param, in the order of the family's table */
} paro_kernel_config;

/* An argument of a family. A kernel's parameter of the same name receives it; kernels of one plan
 * share them. */
typedef enum paro_arg_role {
    PARO_ARG_INPUT,   /* device buffer, read */
    PARO_ARG_WEIGHT,  /* the same; stays for the life of a model */
    PARO_ARG_OUTPUT,  /* device buffer, every element is written */
    PARO_ARG_INOUT,   /* device buffer, read and written (a residual stream, a KV cache) */
    PARO_ARG_SCRATCH, /* device buffer, contents of no interest before or after */
    PARO_ARG_SCALAR   /* by value: dtype U32 or F32 */
} paro_arg_role;

/* The table of arguments ends with a row whose name is NULL; families name the indexes by an enum
 * in their header. */
typedef struct paro_arg {
    const char *name;
    paro_arg_role role;
    const char *help; /* shape and meaning, "[m, k] activations" */
} paro_arg;

/* What one argument is for a problem and config. */
typedef struct paro_arg_info {
    paro_dtype dtype; /* element type in memory */
    uint64_t n;       /* elements; 0: absent, the kernel receives a null pointer. Scalars: 1 */
} paro_arg_info;

/* One launch; blocks are one-dimensional. `args` are indexes of the family's arguments in the order
 * of the kernel's parameters. */
typedef struct paro_launch {
    const char *kernel; /* the __global__ function, extern "C" */
    uint32_t grid[3];
    uint32_t n_threads;
    uint32_t cluster; /* blocks of a cluster along x; 0 or 1: none */
    uint32_t shared_bytes;
    uint8_t args[PARO_MAX_ARGS];
    size_t n_args;
} paro_launch;

typedef struct paro_launch_plan {
    paro_launch launches[PARO_MAX_LAUNCHES];
    size_t n_launches;
} paro_launch_plan;

typedef union paro_scalar {
    uint32_t u32;
    float f32;
} paro_scalar;

/* One full set of arguments in host memory, as the kernels see it on the device. */
typedef struct paro_case {
    const paro_problem *problem; /* with the m that is run, which may be below the bucket */
    const paro_kernel_config *config;
    paro_arg_info info[PARO_MAX_ARGS];
    void *data[PARO_MAX_ARGS]; /* [n] of dtype; NULL for scalars and absent ones */
    paro_scalar scalars[PARO_MAX_ARGS];
} paro_case;

typedef struct paro_cost {
    double bytes;      /* that must move through device memory: inputs once, outputs once */
    double operations; /* multiply and add are two */
} paro_cost;

/* Receives the value of a hole of the template: C++ text. */
typedef struct paro_holes paro_holes;
void paro_hole_integer(paro_holes *holes, const char *name, int64_t value);
void paro_hole_text(paro_holes *holes, const char *name, const char *format, ...) PARO_PRINTF(3, 4);

struct paro_family {
    const char *name;
    const char *summary;       /* one line */
    const char *template_name; /* "rotate.cu" in templates/ */
    const paro_problem_key *keys;
    const paro_param *params;
    const paro_arg *args;

    /* 1. Which problems. Fills in defaults that depend on other keys (parts) and checks what one
     * key alone cannot tell: PARO_STATUS_INVALID_ARGUMENT. */
    paro_status (*complete)(paro_error *err, paro_problem *problem);

    /* 2. The space: NULL where the config may run on the arch, else why not, in a few words. What
     * passes compiles without spills and launches within the arch's limits. */
    const char *(*constraint)(const paro_problem *problem, const paro_kernel_config *config,
                              const paro_arch *arch);

    /* 3. The default: passes the constraint on every arch, for every problem of the family that the
     * arch has a path for. */
    void (*default_config)(const paro_problem *problem, const paro_arch *arch,
                           paro_kernel_config *out);

    /* 4. Holes of the template. Compile-time constants come from the bucket's problem. */
    void (*holes)(const paro_problem *problem, const paro_kernel_config *config,
                  const paro_arch *arch, paro_holes *holes);

    /* 5. The launches, for a problem whose m is what is run now (1 .. the bucket's). */
    void (*plan)(const paro_problem *problem, const paro_kernel_config *config,
                 paro_launch_plan *out);

    /* 6. The arguments. Scratch is large enough for the problem's m. */
    void (*arg_info)(const paro_problem *problem, const paro_kernel_config *config, size_t arg,
                     paro_arg_info *out);

    /* 7. Valid random contents of every input (and inout) of a case whose buffers are allocated,
     * and its scalars; the same seed gives the same data whatever the pool's number of threads.
     * Where the work depends on the data (attention: on how many keys there are), an even seed
     * draws the most that the problem allows, an odd one any: what is timed has an even one. */
    void (*fill)(paro_case *c, uint64_t seed, paro_pool *pool);

    /* 8. The host reference in fp64: expected[arg] [n] for every output and inout argument
     * (allocated by the caller, others NULL), from the case's inputs. Numbers stored narrower are
     * taken as stored; nothing is rounded in between. */
    paro_status (*reference)(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *const *expected);

    /* 9. What must move and be computed: for shares of the roofline. */
    void (*cost)(const paro_problem *problem, paro_cost *out);

    /* 10. A cheap estimate in microseconds, to order and prune candidates. */
    double (*estimate_us)(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_device_info *device);

    /* 11. The packed weight layout the config reads ("mma16", "awq"); NULL for families (the member
     * itself) whose arguments have one layout only. */
    const char *(*layout)(const paro_problem *problem, const paro_kernel_config *config);
};

/* The table: the n-th family, NULL past the last; by name. */
const paro_family *paro_family_get(size_t n);
const paro_family *paro_family_find(const char *name);

/* Number of rows of the family's tables. */
size_t paro_family_n_params(const paro_family *family);
size_t paro_family_n_args(const paro_family *family);

/* "tile_n=64,warps=4": all params in order. Parsing takes any order; params left out keep the value
 * that `config` has. */
void paro_kernel_config_print(const paro_family *family, const paro_kernel_config *config,
                              char out[PARO_KERNEL_CONFIG_TEXT_BYTES]);
paro_status paro_kernel_config_parse(paro_error *err, const paro_family *family, const char *text,
                                     paro_kernel_config *config);

/* The space: calls fn for every config whose constraint passes, in the tables' order (the last
 * param fastest), until it returns false. */
typedef bool paro_space_fn(void *context, const paro_kernel_config *config);
void paro_space_enumerate(const paro_problem *problem, const paro_arch *arch, paro_space_fn *fn,
                          void *context);
uint64_t paro_space_raw(const paro_family *family); /* product of the params' numbers of values */

/* Cases: allocated, filled, and given poison (0xFF bytes: NaN) in outputs and scratch; every buffer
 * has a guard behind its end. `m` of c's problem as in paro_case. */
enum { PARO_CASE_POISON = 0xFF, PARO_CASE_GUARD_BYTES = 256 };
paro_status paro_case_new(paro_error *err, const paro_problem *problem,
                          const paro_kernel_config *config, uint64_t seed, paro_pool *pool,
                          paro_case *out);
void paro_case_release(paro_case *c);

/* The guard behind argument `arg`: NaN in every dtype of floats, so that reading it is seen; of
 * other bits than poison, than other arguments' guards, and from place to place, so that writing
 * there what was read behind another end is seen too. */
void paro_case_guard(size_t arg, unsigned char out[PARO_CASE_GUARD_BYTES]);

/* Element i of an array as a double (exact but for integers of 64 bits); NaN for types of 8 bits
 * that are floats. */
double paro_element_get(const void *data, paro_dtype dtype, uint64_t i);

/* Compares the outputs in `results` (by argument, as in a case: each of its size and its guard;
 * those of outputs and inouts must be there, others may be NULL: inputs that are there must be
 * unchanged, every guard that is there untouched) with the reference of case c. *error is the
 * largest relative L2 error of any float argument; integers must be equal. PARO_STATUS_FORMAT names
 * argument, index, expected and found where the error is beyond the tolerance or a value is not
 * finite (poison left behind). */
paro_status paro_case_check(paro_error *err, const paro_case *c, void *const *results,
                            paro_pool *pool, double *error);

/* The two halves of it, for who judges many results by one reference: expected[arg] [n] is malloc'd
 * for every output and inout (others NULL); release frees and clears. */
paro_status paro_case_expect(paro_error *err, const paro_case *c, paro_pool *pool,
                             double *expected[PARO_MAX_ARGS]);
void paro_case_expect_release(double *expected[PARO_MAX_ARGS]);
paro_status paro_case_compare(paro_error *err, const paro_case *c, double *const *expected,
                              void *const *results, double *error);

#endif
