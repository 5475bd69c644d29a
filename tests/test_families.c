/* SPDX-License-Identifier: MIT
 *
 * Every family of the table on the emulator: random problems, random configs of their spaces,
 * random data and schedules of warps, all tokens of a bucket and fewer, against the reference.
 *
 *     test_families [FAMILY [N_VARIANTS [SEED]]]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/hash.h"
#include "codegen/codegen.h"
#include "emulator/emulator.h"
#include "tests/kernel_problems.h"
#include "tests/support.h"
#include "tuner/trial.h"

enum { RUNS = 3, MAX_FAMILIES = 32 };

/* The oldest; the first with asynchronous copies; one with all; the newest with little shared
 * memory. */
static const char *const arch_names[] = {"sm_75", "sm_80", "sm_90", "sm_120"};
enum { N_ARCHS = sizeof arch_names / sizeof arch_names[0] };

static paro_gpu *gpus[N_ARCHS];
static uint64_t n_variants = 16, first_seed = 1;

static int open_emulators(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ARCHS; i++) {
        paro_error err;
        const paro_emulator_options options = {
            .arch = paro_arch_find(arch_names[i]),
            .sanitize = TEST_KERNEL_SANITIZE,
        };
        paro_status status = paro_gpu_open_emulator(&err, &options, &gpus[i]);
        if (status != PARO_STATUS_UNSUPPORTED) /* else the tests are skipped */
            assert_ok(status);
    }
    return 0;
}

static int close_emulators(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ARCHS; i++)
        paro_gpu_free(gpus[i]);
    return 0;
}

/* What failed, so that it can be run again. */
static void fail_variant(const paro_variant *v, uint32_t m, uint64_t seed, const paro_error *err)
{
    char problem[PARO_PROBLEM_TEXT_BYTES], config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_problem_print(v->problem, problem);
    paro_kernel_config_print(v->problem->family, v->config, config);
    fail_msg("%s with %s on %s, m %u, seed %llu: %s", problem, config, v->arch->name, m,
             (unsigned long long)seed, err->message);
}

static void run_variant(paro_rng *rng, const paro_variant *v, paro_gpu *gpu)
{
    paro_error err = {.status = PARO_STATUS_OK};
    paro_buffer source = {0};
    int64_t bucket = paro_problem_get(v->problem, "m");
    if (paro_render(&err, v, &source) != PARO_STATUS_OK)
        fail_variant(v, 0, 0, &err);
    const paro_gpu_image image = {source.data, source.n_bytes, false};
    for (int run = 0; run < RUNS; run++) {
        const uint64_t seed = paro_rng_u64(rng);
        const uint32_t m =
            run == 0 || bucket < 1 ? 0 : 1 + (uint32_t)paro_rng_below(rng, (uint64_t)bucket);
        double error = -1;
        paro_emulator_set_seed(gpu, seed);
        if (paro_trial_run_once(&err, gpu, v->problem, m, v->config, &image, seed, NULL, &error) !=
            PARO_STATUS_OK)
            fail_variant(v, m, seed, &err);
    }
    paro_buffer_free(&source);
}

static void test_family(void **state)
{
    const paro_family *family = *state;
    paro_rng rng;
    uint64_t n_run = 0;
    if (gpus[0] == NULL) {
        printf("SKIP test_families %s: needs a C++ compiler\n", family->name);
        fflush(stdout);
        skip();
    }
    paro_rng_seed(&rng, first_seed + paro_hash_bytes(family->name, strlen(family->name)));
    for (uint64_t i = 0; i < n_variants; i++) {
        const size_t a = i % N_ARCHS;
        const paro_arch *arch = paro_arch_find(arch_names[a]);
        paro_problem problem = test_draw_problem(&rng, family);
        paro_kernel_config config = {{0}};
        if (!test_draw_config(&rng, &problem, arch, &config))
            continue; /* no path there */
        if (i < N_ARCHS) {
            memset(&config, 0, sizeof config);
            family->default_config(&problem, arch, &config);
        }
        const paro_variant variant = {&problem, &config, arch};
        run_variant(&rng, &variant, gpus[a]);
        n_run++;
    }
    assert_true(n_run >= (n_variants + 1) / 2);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[MAX_FAMILIES];
    size_t n = 0;
    memset(tests, 0, sizeof tests);
    if (argc > 2)
        n_variants = strtoull(argv[2], NULL, 10);
    if (argc > 3)
        first_seed = strtoull(argv[3], NULL, 10);
    for (size_t f = 0; paro_family_get(f) != NULL && n < MAX_FAMILIES; f++) {
        const paro_family *family = paro_family_get(f);
        if (argc > 1 && strcmp(argv[1], family->name) != 0)
            continue;
        union { /* the state is not written through */
            const void *in;
            void *out;
        } family_state = {.in = family};
        tests[n++] = (struct CMUnitTest){
            .name = family->name, .test_func = test_family, .initial_state = family_state.out};
    }
    return _cmocka_run_group_tests("families", tests, n, open_emulators, close_emulators);
}
