/* SPDX-License-Identifier: MIT
 *
 * Every family on every architecture: sources are read by libclang and agree with their plans, and
 * compile without spills into kernels that can be launched. Defaults, and other configs of the
 * space.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/cubin.h"
#include "base/thread.h"
#include "codegen/codegen.h"
#include "tests/support.h"

#include "tests/nvrtc_fixture.h"

/* Problems: of each family first the usual one, then corners of its keys. */
static const char *const problems[] = {
    "rotate:h=4096,m=1,group=128,krot=8,dtype=f16,outputs=3",
    "rotate:h=288,m=32,group=32,krot=16,dtype=bf16",
    "rotate:h=512,m=4,group=256,krot=1,dtype=f32,inverse=1",
    "rotate:h=64,m=512,group=64,krot=0,dtype=f16,inverse=1",
    "linear_w4:n=6144,k=4096,m=1,group=128,krot=8,dtype=f16,parts=4096+1024+1024",
    "linear_w4:n=24,k=96,m=16,group=32,krot=0,dtype=bf16,bias=1",
    "linear_w4:n=4096,k=14336,m=512,group=128,krot=8,dtype=f16",
    "linear_w4:n=1024,k=512,m=4,group=256,krot=16,dtype=bf16,parts=512+512,bias=1",
    "pack_w4:n=6144,k=4096,group=128,parts=4096+1024+1024,layout=mma16",
    "pack_w4:n=24,k=96,group=32,layout=awq",
    "linear_16:n=128256,k=4096,m=1,dtype=f16,out=f32",
    "linear_16:n=1024,k=4096,m=64,dtype=bf16,out=bf16,bias=1",
    "norm:h=4096,m=1,dtype=f16,add=1",
    "norm:h=33,m=8,dtype=bf16,add=0",
    "norm:h=4096,m=32,dtype=f32,add=1",
    "rope:heads=32,kv_heads=8,head_dim=128,m=1,dtype=f16",
    "rope:heads=3,kv_heads=1,head_dim=6,m=8,dtype=bf16,qk_norm=1",
    "attention:heads=32,kv_heads=8,head_dim=128,m=1,dtype=f16,ctx=2048",
    "attention:heads=3,kv_heads=1,head_dim=96,m=64,dtype=bf16,ctx=256",
    "attention:heads=4,kv_heads=4,head_dim=256,m=4,dtype=f32,ctx=64",
    "swiglu:n=14336,m=1,dtype=f16",
    "swiglu:n=7,m=8,dtype=bf16",
    "embed:vocab=128256,h=4096,m=1,dtype=f16",
    "embed:vocab=10,h=33,m=8,dtype=bf16",
    "sample:vocab=128256,m=1",
    "sample:vocab=7,m=8",
    "read:bytes=1048576",
    "fake_quant:n=4096,k=4096,group=128,krot=8,learned=0,dtype=f16",
    "fake_quant:n=33,k=512,group=256,krot=16,bits=8,learned=1,dtype=f32",
    "fake_quant:n=7,k=96,group=32,krot=0,bits=2,learned=1,dtype=bf16",
    "fake_quant_grad:n=4096,k=4096,group=128,krot=8,learned=0,dtype=f32,angles=1,scales=1",
    "fake_quant_grad:n=4096,k=4096,group=128,krot=8,learned=1,dtype=f16,weight=1,quantizer=1",
    ("fake_quant_grad:n=33,k=512,group=256,krot=16,bits=8,learned=1,dtype=bf16,angles=1,scales=1,"
     "weight=1,quantizer=1,reference_zero=1"),
    "adamw:n=58720256,dtype=f16,steps=1280",
    "adamw:n=1001,advance=1",
    "smooth_l1:n=134217728,dtype=f16,target=f16",
    "smooth_l1:n=4099,dtype=f32,target=bf16,gradient=0",
    "norm_grad:h=4096,m=32768,dtype=f16,add=1,copy=1",
    "norm_grad:h=5003,m=8,dtype=bf16,add=0",
    "swiglu_grad:n=14336,m=32768,dtype=f16,forward=1",
    "swiglu_grad:n=7,m=8,dtype=f32",
    "rope_grad:heads=32,kv_heads=8,head_dim=128,samples=16,tokens=2048,dtype=f16",
    "rope_grad:heads=3,kv_heads=1,head_dim=250,samples=2,tokens=3,dtype=f32,qk_norm=1",
    "attention_train:heads=32,kv_heads=8,head_dim=128,samples=16,tokens=2048,dtype=f16",
    "attention_train:heads=4,kv_heads=4,head_dim=256,samples=1,tokens=33,dtype=f16",
    "attention_grad:heads=32,kv_heads=8,head_dim=128,samples=16,tokens=2048,dtype=f16",
    "attention_grad:heads=4,kv_heads=4,head_dim=256,samples=1,tokens=33,dtype=f16",
};
enum {
    N_PROBLEMS = sizeof problems / sizeof problems[0],
    N_ARCHS = 12,
    MAX_JOBS = N_PROBLEMS * N_ARCHS * 2
};

typedef struct job {
    paro_problem problem;
    paro_kernel_config config;
    const paro_arch *arch;
    const paro_nvrtc *nvrtc;
    paro_build build;
    char source_hash[PARO_SHA256_HEX_BYTES];
    char key[PARO_SHA256_HEX_BYTES];
    const struct job *same; /* one before with the same source and target */
    paro_status status;
    paro_error err;
} job;

typedef struct jobs {
    job *list;
    size_t n;
} jobs;

/* A config of the space drawn by reservoir. */
typedef struct draw {
    paro_rng rng;
    uint32_t n_seen;
    paro_kernel_config config;
} draw;

static bool draw_config(void *context, const paro_kernel_config *config)
{
    draw *d = context;
    d->n_seen++;
    if (paro_rng_below(&d->rng, d->n_seen) == 0)
        d->config = *config;
    return true;
}

static void add_job(jobs *all, const paro_problem *problem, const paro_arch *arch,
                    const paro_kernel_config *config, const paro_nvrtc *nvrtc)
{
    assert_true(all->n < MAX_JOBS);
    all->list[all->n++] =
        (job){.problem = *problem, .config = *config, .arch = arch, .nvrtc = nvrtc};
}

/* Every family has problems above. */
static void test_table(void **state)
{
    (void)state;
    paro_error err;
    const paro_family *family;
    for (size_t f = 0; (family = paro_family_get(f)) != NULL; f++) {
        size_t n = strlen(family->name);
        bool found = false;
        for (size_t i = 0; i < N_PROBLEMS; i++)
            found = found || (strncmp(problems[i], family->name, n) == 0 && problems[i][n] == ':');
        if (!found)
            fail_msg("%s: no problem in tests/test_kernels_compile.c", family->name);
    }
    for (size_t i = 0; i < N_PROBLEMS; i++) {
        paro_problem problem;
        assert_ok(paro_problem_parse(&err, problems[i], &problem));
    }
}

/* The usual problem is compiled for all; of the others sm_75, sm_90, and one in turn: that is where
 * another config than the default is compiled too. */
static bool takes_arch(size_t i, size_t a, bool *in_turn)
{
    size_t n_family = strcspn(problems[i], ":");
    bool is_first = i == 0 || strncmp(problems[i], problems[i - 1], n_family + 1) != 0;
    uint32_t capability = paro_arch_get(a)->capability;
    *in_turn = i % N_ARCHS == a;
    return is_first || *in_turn || capability == 75 || capability == 90;
}

static void make_jobs(jobs *all, const paro_nvrtc *nvrtc)
{
    paro_error err;
    const paro_arch *arch;
    draw d = {0};
    paro_rng_seed(&d.rng, 7);
    for (size_t i = 0; i < N_PROBLEMS; i++) {
        paro_problem problem;
        assert_ok(paro_problem_parse(&err, problems[i], &problem));
        for (size_t a = 0; (arch = paro_arch_get(a)) != NULL; a++) {
            bool in_turn;
            if (!paro_nvrtc_supports(nvrtc, arch) || !takes_arch(i, a, &in_turn))
                continue;
            paro_kernel_config config = {{0}};
            problem.family->default_config(&problem, arch, &config);
            const char *why = problem.family->constraint(&problem, &config, arch);
            if (why != NULL)
                fail_msg("%s: the default on %s: %s", problems[i], arch->name, why);
            add_job(all, &problem, arch, &config, nvrtc);
            d.n_seen = 0;
            if (in_turn)
                paro_space_enumerate(&problem, arch, draw_config, &d);
            if (d.n_seen > 1)
                add_job(all, &problem, arch, &d.config, nvrtc);
        }
    }
}

static void describe(const job *j, char out[1024])
{
    char problem[PARO_PROBLEM_TEXT_BYTES], config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_problem_print(&j->problem, problem);
    paro_kernel_config_print(j->problem.family, &j->config, config);
    snprintf(out, 1024, "%s %s %s", problem, config, j->arch->name);
}

static void build_one(void *context, size_t i, int worker)
{
    job *j = (job *)context + i;
    (void)worker;
    if (j->same != NULL)
        return;
    paro_variant variant = {&j->problem, &j->config, j->arch};
    j->status = paro_build_variant(&j->err, &variant, NULL, j->nvrtc, NULL, NULL, &j->build);
}

/* Why the kernel cannot run as it is launched, or should not. */
static bool kernel_is_bad(const paro_arch *arch, const paro_launch *launch,
                          const paro_kernel_resources *kernel, char why[256])
{
    uint32_t n_registers = (kernel->n_registers + 7) / 8 * 8 * launch->n_threads;
    int n = 0;
    if (kernel->spill_store_bytes + kernel->spill_load_bytes > 0)
        n = snprintf(why, 256, "spills %u and %u bytes", (unsigned)kernel->spill_store_bytes,
                     (unsigned)kernel->spill_load_bytes);
    else if (kernel->static_shared_bytes > 1024) /* which sm_90 and later reserve */
        n = snprintf(why, 256, "%u bytes of static shared memory",
                     (unsigned)kernel->static_shared_bytes);
    else if (kernel->n_registers == 0 || kernel->n_instructions == 0)
        n = snprintf(why, 256, "nothing is known of it");
    else if (n_registers > arch->sm_registers || launch->n_threads > 1024 ||
             launch->n_threads % 32 != 0 || launch->shared_bytes > arch->max_shared_bytes)
        n = snprintf(why, 256, "no place for %u threads of %u registers, %u bytes",
                     (unsigned)launch->n_threads, (unsigned)kernel->n_registers,
                     (unsigned)launch->shared_bytes);
    return n > 0;
}

/* A cubin's own list of a kernel's parameters is the plan's: it is what a launch is checked by. */
static bool params_are_bad(const job *j, const paro_launch *launch, char why[256])
{
    paro_error err;
    const paro_binary *binary = j->same != NULL ? &j->same->build.binary : &j->build.binary;
    size_t sizes[PARO_MAX_ARGS] = {0}, n = 0;
    assert_false(binary->is_ptx);
    if (paro_cubin_params(&err, binary->data, binary->n_bytes, launch->kernel, sizes, PARO_MAX_ARGS,
                          &n) != PARO_STATUS_OK) {
        snprintf(why, 256, "%.250s", err.message);
        return true;
    }
    int n_why = 0;
    if (n != launch->n_args)
        n_why = snprintf(why, 256, "%zu parameters, %zu in the plan", n, launch->n_args);
    for (size_t i = 0; i < n && n_why == 0; i++) {
        const paro_arg *arg = &j->problem.family->args[launch->args[i]];
        size_t expected = arg->role == PARO_ARG_SCALAR ? 4 : 8;
        if (sizes[i] != expected)
            n_why = snprintf(why, 256, "%s: %zu bytes, not %zu", arg->name, sizes[i], expected);
    }
    return n_why > 0;
}

/* What the plan launches is in the binary, without spills and within the architecture's limits.
 * Returns the number of launches that are not, each printed. */
static size_t check_launches(const job *j)
{
    size_t n_bad = 0;
    char what[1024], why[256];
    paro_launch_plan plan = {0};
    const paro_resources *resources =
        j->same != NULL ? &j->same->build.resources : &j->build.resources;
    describe(j, what);
    j->problem.family->plan(&j->problem, &j->config, &plan);
    assert_in_range(plan.n_launches, 1, PARO_MAX_LAUNCHES);
    for (size_t i = 0; i < plan.n_launches; i++) {
        const paro_kernel_resources *kernel = NULL;
        for (size_t k = 0; k < resources->n_kernels; k++) {
            if (strcmp(resources->kernels[k].name, plan.launches[i].kernel) == 0)
                kernel = &resources->kernels[k];
        }
        if (kernel == NULL)
            fail_msg("%s: no kernel %s in the binary", what, plan.launches[i].kernel);
        if (kernel_is_bad(j->arch, &plan.launches[i], kernel, why) ||
            params_are_bad(j, &plan.launches[i], why)) {
            printf("%s: %s: %s\n", what, kernel->name, why);
            n_bad++;
        }
    }
    return n_bad;
}

static void render_all(jobs *all)
{
    paro_error err;
    paro_buffer source = {0};
    for (size_t i = 0; i < all->n; i++) {
        job *j = &all->list[i];
        paro_variant variant = {&j->problem, &j->config, j->arch};
        paro_buffer_clear(&source);
        assert_ok(paro_render(&err, &variant, &source));
        paro_sha256_hex(source.data, source.n_bytes, j->source_hash);
        paro_kernel_key(source.data, paro_target_of(source.data, j->arch), "", j->key);
        for (size_t k = 0; k < i && j->same == NULL; k++) {
            if (strcmp(all->list[k].key, j->key) == 0)
                j->same = &all->list[k];
        }
    }
    paro_buffer_free(&source);
}

static void test_compile(void **state)
{
    (void)state;
    paro_error err;
    paro_nvrtc *nvrtc = test_nvrtc("test_kernels_compile compile");
    paro_pool *pool = NULL;
    jobs all = {calloc(MAX_JOBS, sizeof *all.list), 0};
    assert_non_null(all.list);
    assert_ok(paro_pool_new(&err, 0, &pool));
    make_jobs(&all, nvrtc);
    render_all(&all);
    paro_pool_run(pool, all.n, build_one, all.list);
    size_t n_built = 0, n_bad = 0;
    for (size_t i = 0; i < all.n; i++) {
        char what[1024];
        describe(&all.list[i], what);
        if (all.list[i].status != PARO_STATUS_OK)
            fail_msg("%s: %s", what, all.list[i].err.message);
        n_bad += check_launches(&all.list[i]);
        n_built += all.list[i].same == NULL;
    }
    printf("%zu variants, %zu binaries\n", all.n, n_built);
    assert_int_equal(n_bad, 0);
    for (size_t i = 0; i < all.n; i++)
        paro_build_release(&all.list[i].build);
    free(all.list);
    paro_pool_free(pool);
    paro_nvrtc_free(nvrtc);
}

/* Each different source through libclang; the signature agrees with every plan. */
static void test_signatures(void **state)
{
    (void)state;
    paro_error err;
    paro_checker *checker = NULL;
    if (paro_checker_new(&err, &checker) == PARO_STATUS_UNSUPPORTED) {
        printf("SKIP test_kernels_compile signatures: needs libclang\n");
        fflush(stdout);
        skip();
    }
    const char *const archs[] = {"sm_75", "sm_90"};
    for (size_t i = 0; i < 2 * N_PROBLEMS; i++) {
        paro_problem problem;
        paro_build build = {0};
        paro_kernel_config config = {{0}};
        const paro_arch *arch = paro_arch_find(archs[i % 2]);
        assert_ok(paro_problem_parse(&err, problems[i / 2], &problem));
        problem.family->default_config(&problem, arch, &config);
        paro_variant variant = {&problem, &config, arch};
        assert_ok(paro_build_variant(&err, &variant, checker, NULL, NULL, NULL, &build));
        assert_true(build.has_signature);
        paro_build_release(&build);
    }
    paro_checker_free(checker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_compile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
