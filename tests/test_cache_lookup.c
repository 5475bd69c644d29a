/* SPDX-License-Identifier: MIT
 *
 * Lookups: the grades and their order, kernels that run on the device, what a row must be to be
 * used, layouts; and the time that finding all winners of a model takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <time.h>

#include "cache/cache.h"
#include "cache/near.h"
#include "cache/select.h"
#include "tests/support.h"
#include "tests/test_cache_rows.h"

typedef struct world {
    char *dir, *path;
    paro_cache *cache;
    paro_arena arena;
    const paro_arch *arch;
    paro_device_info device;
    char device_class[PARO_DEVICE_CLASS_BYTES];
    char template_hash[PARO_SHA256_HEX_BYTES];
} world;

static int set_up(void **state)
{
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->dir = test_dir_new();
    w->path = test_path(w->dir, "cache.db");
    w->cache = test_cache_open(w->path, false);
    w->arch = paro_arch_find("sm_86");
    paro_device_typical(w->arch, &w->device);
    paro_device_class(&w->device, w->device_class);
    test_hex("template", 0, w->template_hash);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    world *w = *state;
    paro_cache_free(w->cache);
    paro_arena_release(&w->arena);
    free(w->path);
    test_dir_remove(w->dir);
    free(w);
    return 0;
}

static paro_problem problem_of(const char *text)
{
    paro_error err;
    paro_problem problem;
    assert_ok(paro_problem_parse(&err, text, &problem));
    return problem;
}

static const char rotate[] = "rotate:h=4096,m=16,group=128,krot=8,dtype=f16";

/* A winner with this config; its kernel (target, "" for none) is named after both and the class. */
static void put_problem(world *w, const paro_problem *problem, const char *device_class,
                        const char *layout, const char *config, double median_us,
                        const char *target)
{
    paro_error err;
    test_row row;
    char name[1024];
    char canonical[PARO_PROBLEM_TEXT_BYTES];
    paro_problem_print(problem, canonical);
    test_row_make(&row, 0);
    snprintf(name, sizeof name, "%s %s %s %s", canonical, device_class, layout, config);
    paro_sha256_hex(name, strlen(name), row.winner.kernel);
    memcpy(row.kernel.key, row.winner.kernel, sizeof row.kernel.key);
    row.winner.problem = canonical;
    row.winner.device_class = device_class;
    row.winner.layout = layout;
    row.winner.config = config;
    row.winner.median_us = median_us;
    row.winner.n_samples = median_us > 0 ? 10 : 0;
    row.kernel.arch = target;
    memcpy(row.winner.template_hash, w->template_hash, sizeof w->template_hash);
    assert_ok(paro_cache_put_winner(&err, w->cache, &row.winner));
    if (target[0] != 0)
        assert_ok(paro_cache_put_kernel(&err, w->cache, &row.kernel));
}

static void put(world *w, const char *problem, const char *device_class, const char *layout,
                const char *config, double median_us, const char *target)
{
    paro_problem p = problem_of(problem);
    put_problem(w, &p, device_class, layout, config, median_us, target);
}

static paro_lookup look_problem(world *w, const paro_problem *p, const char *layout)
{
    paro_error err;
    paro_lookup found;
    assert_ok(paro_cache_lookup(&err, w->cache, p, w->arch, &w->device, w->template_hash, layout,
                                &w->arena, &found));
    assert_null(p->family->constraint(p, &found.config, w->arch));
    assert_int_equal(found.has_kernel, found.key[0] != 0);
    return found;
}

static paro_lookup look(world *w, const char *problem, const char *layout)
{
    paro_problem p = problem_of(problem);
    return look_problem(w, &p, layout);
}

static void assert_found(const paro_lookup *found, paro_grade grade, const char *config,
                         bool has_kernel, const char *words)
{
    char text[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_kernel_config_print(paro_family_find("rotate"), &found->config, text);
    if (found->grade != grade || strcmp(text, config) != 0 || found->has_kernel != has_kernel ||
        strstr(found->why, words) == NULL)
        fail_msg("expected %s, %s, %d, \"%s\"; found %s, %s, %d, \"%s\"", paro_grade_name(grade),
                 config, has_kernel, words, paro_grade_name(found->grade), text, found->has_kernel,
                 found->why);
}

/* ---- what is near ------------------------------------------------------------------------------
 */

static void test_targets(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        uint32_t capability;
        int rank;
    } cases[] = {{"sm_90", 90, 0},
                 {"sm_90a", 90, 0},
                 {"sm_80", 86, 6},
                 {"sm_86", 80, -1},
                 {"sm_86", 87, -1},
                 {"sm_87", 87, 0},
                 {"sm_87", 89, -1},
                 {"compute_86", 87, 1001},
                 {"sm_90a", 91, -1},
                 {"sm_75", 80, -1},
                 {"sm_120", 121, 1},
                 {"sm_12", 120, -1},
                 {"compute_90", 90, 1000},
                 {"compute_80", 121, 1041},
                 {"compute_90", 89, -1},
                 {"compute_90a", 90, -1},
                 {"sm_90x", 90, -1},
                 {"sm_", 90, -1},
                 {"sm_-1", 90, -1},
                 {"sm_99999999999999999999", 90, -1},
                 {"", 90, -1},
                 {"cc90-sm132", 90, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (paro_cache_target_rank(cases[i].target, cases[i].capability) != cases[i].rank)
            fail_msg("%s on %u", cases[i].target, cases[i].capability);
}

static void test_distances(void **state)
{
    (void)state;
    paro_problem base = problem_of(rotate);
    static const struct {
        const char *text;
        double distance;
    } cases[] = {{"rotate:h=4096,m=16,group=128,krot=8,dtype=f16", 0},
                 {"rotate:h=4096,m=8,group=128,krot=8,dtype=f16", 1},
                 {"rotate:h=4096,m=64,group=128,krot=8,dtype=f16", 2},
                 {"rotate:h=4096,m=128,group=128,krot=8,dtype=f16", INFINITY},
                 {"rotate:h=5120,m=16,group=128,krot=8,dtype=f16", 1.2877},
                 {"rotate:h=8192,m=16,group=128,krot=8,dtype=f16", INFINITY},
                 {"rotate:h=4096,m=16,group=64,krot=8,dtype=f16", INFINITY},
                 {"rotate:h=4096,m=16,group=128,krot=7,dtype=f16", INFINITY},
                 {"rotate:h=4096,m=16,group=128,krot=8,dtype=bf16", INFINITY},
                 {"rotate:h=4096,m=16,group=128,krot=8,dtype=f16,outputs=2", INFINITY},
                 {"swiglu:n=4096,m=16,dtype=f16", INFINITY}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        paro_problem other = problem_of(cases[i].text);
        double d = paro_cache_problem_distance(&base, &other);
        double back = paro_cache_problem_distance(&other, &base);
        assert_true(d == back || fabs(d - back) < 1e-12);
        if (isinf(cases[i].distance) ? !isinf(d) : fabs(d - cases[i].distance) > 1e-3)
            fail_msg("%s: %g", cases[i].text, d);
    }
    const char *a = "cc90-sm132-l2_60-smem228-bw49";
    assert_true(paro_cache_class_distance(a, a) == 0);
    assert_true(paro_cache_class_distance(a, "cc90-sm132-l2_60-smem228-bw45") == 1);
    assert_true(isinf(paro_cache_class_distance(a, "cc89-sm132-l2_60-smem228-bw49")));
    assert_true(isinf(paro_cache_class_distance(a, "sm_90")));
    assert_true(isinf(paro_cache_class_distance(a, "cc90-sm132-l2_60-smem228-bw49x")));
    assert_true(isfinite(paro_cache_class_distance(a, "cc90-sm0-l2_0-smem0-bw0")));
}

/* ---- grades ------------------------------------------------------------------------------------
 */

static void test_grades_in_order(void **state)
{
    world *w = *state;
    paro_lookup found = look(w, rotate, NULL);
    assert_found(&found, PARO_GRADE_DEFAULT, "tokens=2,warps=4", false, "the family's default");
    assert_true(found.median_us == 0);

    put(w, rotate, "sm_80", "", "tokens=2,warps=4", 0, "sm_80");
    found = look(w, rotate, NULL);
    assert_found(&found, PARO_GRADE_DEFAULT, "tokens=2,warps=4", true, "compiled");
    char of_sm_80[PARO_SHA256_HEX_BYTES];
    memcpy(of_sm_80, found.key, sizeof of_sm_80);
    put(w, rotate, "compute_75", "", "tokens=2,warps=4", 0, "compute_75"); /* PTX is for the last */
    found = look(w, rotate, NULL);
    assert_string_equal(found.key, of_sm_80);
    put(w, rotate, "sm_86", "", "tokens=2,warps=4", 0, "sm_86");
    found = look(w, rotate, NULL);
    assert_string_not_equal(found.key, of_sm_80);

    put(w, rotate, "cc86-sm46-l2_4-smem100-bw35", "", "tokens=1,warps=2", 7, "sm_86");
    put(w, rotate, "cc86-sm84-l2_6-smem100-bw40", "", "tokens=4,warps=2", 8, "sm_86"); /* nearer */
    put(w, rotate, "cc80-sm82-l2_6-smem100-bw39", "", "tokens=1,warps=1", 1, "sm_80");
    found = look(w, rotate, NULL);
    assert_found(&found, PARO_GRADE_NEAR_DEVICE, "tokens=4,warps=2", true,
                 "on cc86-sm84-l2_6-smem100-bw40: 8 us");
    assert_true(found.median_us == 8);

    put(w, "rotate:h=4096,m=64,group=128,krot=8,dtype=f16", w->device_class, "", "tokens=8,warps=8",
        3, "sm_86");
    found = look(w, rotate, NULL);
    assert_found(&found, PARO_GRADE_NEAR_PROBLEM, "tokens=8,warps=8", false,
                 "the nearest problem there, rotate:h=4096,m=64");
    put(w, "rotate:h=4096,m=8,group=128,krot=8,dtype=f16", w->device_class, "", "tokens=1,warps=1",
        2, "sm_86");
    put(w, "rotate:h=4096,m=32,group=128,krot=8,dtype=f16", w->device_class, "", "tokens=2,warps=4",
        2.5, "sm_86");
    found = look(w, rotate, NULL); /* as near as m=8, and the larger; compiled as a default */
    assert_found(&found, PARO_GRADE_NEAR_PROBLEM, "tokens=2,warps=4", true, "m=32");

    put(w, rotate, w->device_class, "", "tokens=2,warps=1", 2.25, "");
    found = look(w, rotate, NULL);
    assert_found(&found, PARO_GRADE_EXACT, "tokens=2,warps=1", false,
                 "tuned for this problem on cc86");
    put(w, rotate, w->device_class, "", "tokens=2,warps=2", 2.25, "sm_86");
    found = look(w, rotate, NULL);
    assert_found(&found, PARO_GRADE_EXACT, "tokens=2,warps=2", true, "2.25 us (10 samples, cupti)");
    assert_true(found.median_us == 2.25);
    test_hex("template", 1, w->template_hash); /* rows of other templates are not used */
    found = look(w, rotate, NULL);
    assert_found(&found, PARO_GRADE_DEFAULT, "tokens=2,warps=4", false, "the family's default");
}

/* What is no config, does not pass, or is not timed, is passed over; the answer says so. */
static void test_rows_that_are_not_used(void **state)
{
    world *w = *state;
    put(w, rotate, w->device_class, "", "tokens=3,warps=2", 1, "sm_86");
    paro_lookup found = look(w, rotate, NULL);
    assert_found(&found, PARO_GRADE_DEFAULT, "tokens=2,warps=4", false,
                 "is not used: no config of the family's (tokens=3,warps=2)");
    const char *small = "rotate:h=128,m=1,group=128,krot=8,dtype=f16";
    put(w, small, w->device_class, "", "tokens=8,warps=8", 1, "sm_86");
    found = look(w, small, NULL);
    assert_int_equal(found.grade, PARO_GRADE_DEFAULT);
    assert_non_null(strstr(found.why, "is not used: half of the tokens would be none"));
    put(w, rotate, w->device_class, "strange", "tokens=1,warps=2", 1, "sm_86");
    found = look(w, rotate, NULL);
    assert_int_equal(found.grade, PARO_GRADE_DEFAULT);
    put(w, rotate, w->device_class, "", "tokens=1,warps=2", 0, "sm_86");
    found = look(w, rotate, NULL);
    assert_found(&found, PARO_GRADE_DEFAULT, "tokens=2,warps=4", false, "the family's default");
}

/* A kernel that does not run on the device, or is not there, is as none. */
static void test_kernels_must_run_here(void **state)
{
    world *w = *state;
    static const char *const targets[] = {"sm_89", "sm_90", "sm_75", "sm_80a", "compute_89", "x"};
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        put(w, rotate, w->device_class, "", "tokens=1,warps=2", 1 + (double)i, targets[i]);
        paro_lookup found = look(w, rotate, NULL);
        assert_found(&found, PARO_GRADE_EXACT, "tokens=1,warps=2", false, "not compiled yet");
    }
    put(w, rotate, w->device_class, "", "tokens=1,warps=2", 1, "compute_86");
    paro_lookup found = look(w, rotate, NULL);
    assert_found(&found, PARO_GRADE_EXACT, "tokens=1,warps=2", true, "compiled");
    paro_error err;
    paro_cache_kernel kernel;
    assert_ok(paro_cache_get_kernel(&err, w->cache, found.key, &w->arena, &kernel));
    assert_string_equal(kernel.arch, "compute_86");
    /* one there, but damaged, is found missing when it is read */
    paro_cache_free(w->cache);
    test_sql(w->path, "UPDATE kernels SET arch='sm_86'");
    w->cache = test_cache_open(w->path, true);
    found = look(w, rotate, NULL);
    assert_true(found.has_kernel);
    assert_fails(paro_cache_get_kernel(&err, w->cache, found.key, &w->arena, &kernel),
                 PARO_STATUS_NOT_FOUND, "no kernel");
}

static void test_only_compiled(void **state)
{
    world *w = *state;
    paro_error err;
    paro_problem p = problem_of(rotate);
    paro_lookup_request request = {&p, w->template_hash, NULL, true};
    paro_lookup found;
    assert_fails(
        paro_cache_lookup_all(&err, w->cache, &request, 1, w->arch, &w->device, &w->arena, &found),
        PARO_STATUS_NOT_FOUND, "no kernel for rotate:h=4096");
    put(w, rotate, "sm_80", "", "tokens=1,warps=1", 0, "sm_80"); /* not today's default */
    assert_ok(
        paro_cache_lookup_all(&err, w->cache, &request, 1, w->arch, &w->device, &w->arena, &found));
    assert_found(&found, PARO_GRADE_DEFAULT, "tokens=1,warps=1", true, "all there is");
    put(w, rotate, w->device_class, "", "tokens=1,warps=2", 2, ""); /* tuned, its kernel is gone */
    assert_ok(
        paro_cache_lookup_all(&err, w->cache, &request, 1, w->arch, &w->device, &w->arena, &found));
    assert_found(&found, PARO_GRADE_DEFAULT, "tokens=1,warps=1", true, "all there is");
    put(w, rotate, w->device_class, "", "tokens=1,warps=2", 2, "sm_86");
    assert_ok(
        paro_cache_lookup_all(&err, w->cache, &request, 1, w->arch, &w->device, &w->arena, &found));
    assert_found(&found, PARO_GRADE_EXACT, "tokens=1,warps=2", true, "tuned");
}

/* ---- layouts -----------------------------------------------------------------------------------
 */

/* rotate, as if its configs read three layouts: the default's is "wide"; "thin" is one param away,
 * "odd" two. */
static const char *layout_by_warps(const paro_problem *problem, const paro_kernel_config *config)
{
    (void)problem;
    if (config->values[1] >= 4)
        return "wide";
    return config->values[0] == 8 && config->values[1] == 1 ? "odd" : "thin";
}

static paro_family with_layouts;

static paro_problem problem_with_layouts(unsigned m)
{
    with_layouts = *paro_family_find("rotate");
    with_layouts.name = "with_layouts";
    with_layouts.layout = layout_by_warps;
    paro_problem p = problem_of(rotate);
    p = paro_problem_with_m(&p, m);
    p.family = &with_layouts;
    return p;
}

static void put_layout(world *w, unsigned m, const char *device_class, const char *layout,
                       double median_us)
{
    paro_problem p = problem_with_layouts(m);
    paro_kernel_config config;
    char text[PARO_KERNEL_CONFIG_TEXT_BYTES];
    assert_true(paro_cache_default_config(&p, w->arch, layout, &config));
    assert_string_equal(layout_by_warps(&p, &config), layout);
    assert_null(p.family->constraint(&p, &config, w->arch));
    paro_kernel_config_print(p.family, &config, text);
    put_problem(w, &p, device_class, layout, text, median_us, "sm_86");
}

static const char *choose(world *w)
{
    paro_error err;
    paro_problem problems[3];
    for (unsigned i = 0; i < 3; i++)
        problems[i] = problem_with_layouts(16U << i);
    const char *layout = NULL;
    assert_ok(paro_cache_choose_layout(&err, w->cache, problems, 3, w->arch, &w->device,
                                       w->template_hash, &w->arena, &layout));
    return layout;
}

static void test_layouts(void **state)
{
    world *w = *state;
    assert_string_equal(choose(w), "wide"); /* the default's */
    put_layout(w, 16, "cc86-sm84-l2_6-smem100-bw40", "thin", 3);
    assert_string_equal(choose(w), "thin"); /* of a near device, where there is nothing else */
    put_layout(w, 16, w->device_class, "wide", 10);
    put_layout(w, 32, w->device_class, "wide", 10);
    assert_string_equal(choose(w), "wide");
    put_layout(w, 16, w->device_class, "thin", 2); /* faster there, but not known for m=32 */
    assert_string_equal(choose(w), "wide");
    put_layout(w, 32, w->device_class, "thin", 17); /* 19 against 20 */
    assert_string_equal(choose(w), "thin");
    put_layout(w, 32, w->device_class, "thin", 19); /* 21 against 20 */
    assert_string_equal(choose(w), "wide");
    put_layout(w, 32, w->device_class, "thin", 18); /* a tie: the default's */
    assert_string_equal(choose(w), "wide");
    put_layout(w, 32, w->device_class, "odd", 1); /* for one problem only */
    assert_string_equal(choose(w), "wide");
    put_layout(w, 16, w->device_class, "odd", 1);
    assert_string_equal(choose(w), "odd");

    /* lookups of one weight agree on it, whatever is faster for one problem */
    static const char *const layouts[] = {"wide", "thin", "odd"};
    for (unsigned i = 0; i < 3; i++)
        for (int l = 0; l < 3; l++) {
            paro_problem p = problem_with_layouts(16U << i);
            paro_lookup found = look_problem(w, &p, layouts[l]);
            assert_string_equal(layout_by_warps(&p, &found.config), layouts[l]);
            assert_int_equal(found.grade, i < 2 ? PARO_GRADE_EXACT : PARO_GRADE_DEFAULT);
        }
    paro_problem p = problem_with_layouts(16);
    paro_lookup found = look_problem(w, &p, NULL);
    assert_true(found.median_us == 1);
    found = look_problem(w, &p, "wide");
    assert_true(found.median_us == 10);

    paro_error err;
    assert_fails(paro_cache_lookup(&err, w->cache, &p, w->arch, &w->device, w->template_hash,
                                   "none", &w->arena, &found),
                 PARO_STATUS_UNSUPPORTED, "with the layout none");
    const char *layout = NULL;
    p = problem_of(rotate);
    assert_ok(paro_cache_choose_layout(&err, w->cache, &p, 1, w->arch, &w->device, w->template_hash,
                                       &w->arena, &layout));
    assert_string_equal(layout, "");
    found = look(w, rotate, "");
    assert_int_equal(found.grade, PARO_GRADE_DEFAULT);
}

/* ---- time --------------------------------------------------------------------------------------
 */

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Finding all winners warm, the database opened included: the bar is 10 ms on an idle machine. */
static void test_time(void **state)
{
    world *w = *state;
    if (TEST_SANITIZED) {
        printf("SKIP test_time: it measures, and this build has a sanitizer\n");
        skip();
    }
    enum { N = 150, RUNS = 5 };
    static const unsigned hidden[] = {1024, 2048, 3072, 4096, 5120};
    static paro_problem problems[N];
    static paro_lookup_request requests[N];
    static paro_lookup found[N];
    paro_error err;
    assert_ok(paro_cache_begin(&err, w->cache));
    for (unsigned i = 0; i < N; i++) {
        char text[128];
        snprintf(text, sizeof text, "rotate:h=%u,m=%u,group=128,krot=%u,dtype=f16", hidden[i % 5],
                 1U << (i / 5 % 10), i / 50);
        problems[i] = problem_of(text);
        requests[i] = (paro_lookup_request){&problems[i], w->template_hash, NULL, false};
        put(w, text, w->device_class, "", "tokens=1,warps=1", 5, "sm_86");
    }
    assert_ok(paro_cache_commit(&err, w->cache));
    for (int cold = 0; cold < 2; cold++) { /* then another template: nothing is known */
        double best = INFINITY;
        for (int run = 0; run < RUNS; run++) {
            paro_arena arena = {0};
            double start = now_ms();
            paro_cache *cache = test_cache_open(w->path, true);
            assert_ok(paro_cache_lookup_all(&err, cache, requests, N, w->arch, &w->device, &arena,
                                            found));
            paro_cache_free(cache);
            double took = now_ms() - start;
            best = took < best ? took : best;
            paro_arena_release(&arena);
        }
        print_message("%d %s: %.2f ms, opening included\n", N, cold ? "misses" : "winners", best);
        assert_int_equal(found[0].grade, cold ? PARO_GRADE_DEFAULT : PARO_GRADE_EXACT);
        assert_true(best < 50);
        test_hex("template", 1, w->template_hash);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_distances),
        cmocka_unit_test_setup_teardown(test_grades_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rows_that_are_not_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kernels_must_run_here, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_compiled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_layouts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_time, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
