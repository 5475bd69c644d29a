/* SPDX-License-Identifier: MIT
 *
 * runtime/kernels.c and kernel_code.c: problems answered once, from the cache, a compiler or not at
 * all; arguments by name. The device is the emulator, or one that runs nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "codegen/codegen.h"
#include "runtime/kernels.h"
#include "tests/emulated.h"
#include "tests/fake_gpu.h"

/* ---- helpers -----------------------------------------------------------------------------------
 */

static paro_problem problem_of(const char *text)
{
    paro_error err;
    paro_problem problem;
    assert_ok(paro_problem_parse(&err, text, &problem));
    return problem;
}

static const char swiglu[] = "swiglu:n=64,m=4,dtype=f16";

static paro_kernels *new_kernels(paro_gpu *gpu, const paro_kernels_options *options)
{
    paro_error err;
    paro_kernels *kernels = NULL;
    assert_ok(paro_kernels_new(&err, gpu, options, &kernels));
    return kernels;
}

/* A cache at `path` with code for a problem's config on a target; the code's bytes are `code`. */
static void fill_cache(const char *path, const char *text, const char *config_text,
                       const char *arch_name, const char *target, const char *code, bool is_winner,
                       const paro_device_info *device)
{
    paro_error err;
    paro_cache *cache = NULL;
    paro_problem problem = problem_of(text);
    paro_kernel_config config;
    paro_buffer source = {0};
    const paro_arch *arch = paro_arch_find(arch_name);
    char canonical[PARO_PROBLEM_TEXT_BYTES], chosen[PARO_KERNEL_CONFIG_TEXT_BYTES];
    char class[PARO_DEVICE_CLASS_BYTES];
    problem.family->default_config(&problem, arch, &config);
    if (config_text != NULL)
        assert_ok(paro_kernel_config_parse(&err, problem.family, config_text, &config));
    paro_problem_print(&problem, canonical);
    paro_kernel_config_print(problem.family, &config, chosen);
    assert_ok(paro_cache_open(&err, &(paro_cache_options){.path = path}, &cache));
    assert_ok(paro_render(&err, &(paro_variant){&problem, &config, arch}, &source));
    paro_cache_kernel row = {.family = problem.family->name,
                             .arch = target,
                             .nvrtc = "13.0",
                             .signature = "",
                             .resources = "",
                             .binary = code,
                             .n_bytes = strlen(code) + 1,
                             .is_ptx = strncmp(target, "compute_", 8) == 0};
    paro_sha256_hex(source.data, source.n_bytes, row.source_hash);
    paro_kernel_key(source.data, target, row.nvrtc, row.key);
    assert_ok(paro_cache_put_kernel(&err, cache, &row));
    if (is_winner) {
        paro_cache_winner winner = {.problem = canonical,
                                    .device_class = class,
                                    .layout = "",
                                    .config = chosen,
                                    .median_us = 5,
                                    .default_us = 6,
                                    .n_samples = 9,
                                    .clock = "cupti",
                                    .device = device->name,
                                    .driver = "1",
                                    .strategy = "exhaustive"};
        paro_device_class(device, class);
        memcpy(winner.kernel, row.key, sizeof winner.kernel);
        assert_ok(paro_template_hash(&err, problem.family, winner.template_hash));
        assert_ok(paro_cache_put_winner(&err, cache, &winner));
    }
    paro_buffer_free(&source);
    paro_cache_free(cache);
}

/* ---- the emulator ------------------------------------------------------------------------------
 */

static paro_gpu_ptr upload_f16(paro_gpu *gpu, size_t n, float first, float step)
{
    paro_error err;
    paro_gpu_ptr ptr = 0;
    uint16_t *bits = malloc(n * sizeof *bits);
    assert_non_null(bits);
    for (size_t i = 0; i < n; i++)
        bits[i] = paro_f16_from_f32(first + step * (float)i);
    assert_ok(paro_gpu_alloc(&err, gpu, n * sizeof *bits, &ptr));
    assert_ok(paro_gpu_upload(&err, gpu, ptr, bits, n * sizeof *bits));
    free(bits);
    return ptr;
}

/* Fewer tokens than the bucket's; and what is wrong with the arguments. */
static void test_launch(void **state)
{
    (void)state;
    enum { N = 64, M = 3 };
    paro_error err;
    paro_gpu *gpu = emulated_gpu(NULL, "sm_90");
    paro_kernels *kernels = new_kernels(gpu, NULL);
    paro_kernel_request request = {.problem = problem_of(swiglu)};
    paro_gpu_stream *stream = NULL;
    assert_ok(paro_kernels_load(&err, kernels, &request, 1));
    assert_int_equal(request.kernel->grade, PARO_GRADE_DEFAULT);
    assert_ok(paro_gpu_stream_new(&err, gpu, &stream));
    const paro_gpu_ptr x = upload_f16(gpu, M * 2 * N, -2, 0.01f), y = upload_f16(gpu, M * N, 9, 0);
    const paro_kernel_value values[] = {{"gate_up", {.ptr = x}}, {"y", {.ptr = y}}};
    assert_ok(paro_kernel_launch(&err, request.kernel, stream, M, 0, values, 2));
    assert_ok(paro_gpu_stream_wait(&err, stream));
    uint16_t found[M * N];
    assert_ok(paro_gpu_download(&err, gpu, found, y, sizeof found));
    for (size_t i = 0; i < M * N; i++) {
        const size_t row = i / N, at = row * 2 * N + i % N;
        const float gate = paro_f32_from_f16(paro_f16_from_f32(-2 + 0.01f * (float)at));
        const float up = paro_f32_from_f16(paro_f16_from_f32(-2 + 0.01f * (float)(at + N)));
        const double expected = (double)gate / (1 + exp(-(double)gate)) * (double)up;
        assert_true(fabs((double)paro_f32_from_f16(found[i]) - expected) < 2e-3);
    }
    assert_fails(paro_kernel_launch(&err, request.kernel, stream, M, 0, values, 1),
                 PARO_STATUS_INVALID_ARGUMENT, "swiglu: argument y is missing");
    const paro_kernel_value odd[] = {values[0], values[1], {"bias", {.ptr = y}}};
    assert_fails(paro_kernel_launch(&err, request.kernel, stream, M, 0, odd, 3),
                 PARO_STATUS_INVALID_ARGUMENT, "swiglu: has no argument bias");
    const paro_kernel_value none[] = {values[0], {"y", {.ptr = 0}}};
    assert_fails(paro_kernel_launch(&err, request.kernel, stream, M, 0, none, 2),
                 PARO_STATUS_INVALID_ARGUMENT, "swiglu: argument y is no address");
    paro_gpu_release(gpu, x);
    paro_gpu_release(gpu, y);
    paro_gpu_stream_free(stream);
    paro_kernels_free(kernels);
    paro_gpu_free(gpu);
}

static void count(void *context, const paro_problem *problem)
{
    (void)problem;
    ++*(size_t *)context;
}

/* A problem is answered once, the same for ever; buckets whose source is the same share code. */
static void test_shared(void **state)
{
    (void)state;
    paro_error err;
    size_t n_asked = 0;
    fake_gpu k;
    fake_gpu_init(&k, PARO_GPU_KIND_CUDA, 90);
    char *dir = test_dir_new(), *path = test_path(dir, "cache.db");
    fill_cache(path, swiglu, NULL, "sm_90", "sm_90", "cubin of swiglu", false, NULL);
    paro_kernels *kernels = new_kernels(&k.gpu, &(paro_kernels_options){.cache_path = path,
                                                                        .no_nvrtc = true,
                                                                        .asked = count,
                                                                        .asked_context = &n_asked});
    paro_kernel_request requests[] = {{.problem = problem_of(swiglu)},
                                      {.problem = problem_of(swiglu)},
                                      {.problem = problem_of("swiglu:n=64,m=8,dtype=f16")}};
    assert_ok(paro_kernels_load(&err, kernels, requests, 3));
    assert_ptr_equal(requests[0].kernel, requests[1].kernel);
    assert_ptr_not_equal(requests[0].kernel, requests[2].kernel);
    assert_int_equal(requests[2].kernel->problem.values[1], 8);
    const paro_kernel *first = requests[0].kernel;
    assert_ok(paro_kernels_load(&err, kernels, requests, 1));
    assert_ptr_equal(requests[0].kernel, first);
    assert_int_equal(n_asked, 4);
    assert_int_equal(k.n_images, 1);
    paro_kernels_info info;
    paro_kernels_get_info(kernels, &info);
    assert_int_equal(info.n_modules, 1);
    assert_int_equal(info.n_compiled, 0);
    assert_int_equal(info.n_by_grade[PARO_GRADE_DEFAULT], 2);
    paro_kernels_free(kernels);
    assert_int_equal(k.n_unloaded, 1);
    free(path);
    test_dir_remove(dir);
}

/* Two problems with one source, the first of which fails after its code was loaded: neither is
 * answered, and what is asked for later does not stand on code that has gone. */
static void test_shared_fails(void **state)
{
    (void)state;
    paro_error err;
    static fake_gpu k;
    fake_gpu_init(&k, PARO_GPU_KIND_EMULATED, 90);
    paro_kernels *kernels = new_kernels(&k.gpu, NULL);
    paro_kernel_request requests[] = {{.problem = problem_of(swiglu)},
                                      {.problem = problem_of("swiglu:n=64,m=8,dtype=f16")}};
    k.fail_at = 2; /* 1: the module; 2: its function */
    k.failure = PARO_STATUS_OUT_OF_MEMORY;
    assert_fails(paro_kernels_load(&err, kernels, requests, 2), PARO_STATUS_OUT_OF_MEMORY,
                 "on demand");
    assert_int_equal(k.n_images, 1);
    assert_int_equal(k.n_unloaded, 1);
    assert_ok(paro_kernels_load(&err, kernels, &requests[1], 1));
    assert_int_equal(k.n_images, 2);
    assert_int_equal(k.n_unloaded, 1);
    paro_kernels_free(kernels);
    assert_int_equal(k.n_unloaded, 2);
}

/* A request for any layout beside one for a layout that there is not: not answered by the first. */
static void test_layouts(void **state)
{
    (void)state;
    paro_error err;
    static fake_gpu k;
    fake_gpu_init(&k, PARO_GPU_KIND_EMULATED, 90);
    paro_kernels *kernels = new_kernels(&k.gpu, NULL);
    const paro_problem problem = problem_of("linear_w4:n=64,k=128,m=1,group=64,krot=0,dtype=f16");
    paro_kernel_request requests[] = {{.problem = problem},
                                      {.problem = problem, .layout = "strange"}};
    assert_fails(paro_kernels_load(&err, kernels, requests, 2), PARO_STATUS_UNSUPPORTED,
                 "no kernel of layout strange");
    assert_null(requests[1].kernel);
    paro_kernels_free(kernels);
}

/* ---- the cache, without a compiler -------------------------------------------------------------
 */

static void test_nothing(void **state)
{
    (void)state;
    paro_error err;
    fake_gpu k;
    fake_gpu_init(&k, PARO_GPU_KIND_CUDA, 90);
    char *dir = test_dir_new(), *path = test_path(dir, "cache.db");
    paro_kernel_request request = {.problem = problem_of(swiglu)};
    paro_kernels *kernels =
        new_kernels(&k.gpu, &(paro_kernels_options){.cache_path = path, .no_nvrtc = true});
    assert_fails(paro_kernels_load(&err, kernels, &request, 1), PARO_STATUS_UNSUPPORTED, swiglu);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, "sm_90"));
    assert_non_null(strstr(err.message, "paro tune"));
    assert_null(request.kernel);
    paro_kernels_free(kernels);
    /* A library that is not there. */
    kernels = new_kernels(&k.gpu, &(paro_kernels_options){.nvrtc_library = path});
    assert_fails(paro_kernels_load(&err, kernels, &request, 1), PARO_STATUS_UNSUPPORTED, path);
    paro_kernels_free(kernels);
    free(path);
    test_dir_remove(dir);
}

/* A winner's config and code; beside it, a default's code is there for another problem only. */
/* Overwrites the only place in a file where `from` stands. */
static void damage(const char *path, const char *from)
{
    paro_error err;
    char *data = NULL;
    size_t n_bytes = 0, at = 0;
    assert_ok(paro_file_read(&err, path, 1 << 24, &data, &n_bytes));
    const size_t n = strlen(from);
    while (at + n <= n_bytes && memcmp(data + at, from, n) != 0)
        at++;
    assert_true(at + n <= n_bytes);
    data[at] ^= 1;
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
    free(data);
}

/* Without a compiler, a winner whose kernel is damaged gives way to what is sound. */
static void test_damaged_winner(void **state)
{
    (void)state;
    paro_error err;
    static const char wide[] = "swiglu:n=4096,m=4,dtype=f16";
    static fake_gpu k;
    fake_gpu_init(&k, PARO_GPU_KIND_CUDA, 90);
    char *dir = test_dir_new(), *path = test_path(dir, "cache.db");
    paro_device_info other = k.gpu.info;
    other.n_sms -= 20;
    fill_cache(path, wide, "threads=128", "sm_90", "sm_90", "cubin that breaks", true, &k.gpu.info);
    fill_cache(path, wide, "threads=256", "sm_90", "sm_90", "cubin of another", true, &other);
    for (int is_damaged = 0; is_damaged < 2; is_damaged++) {
        if (is_damaged)
            damage(path, "cubin that breaks");
        fake_gpu_init(&k, PARO_GPU_KIND_CUDA, 90);
        paro_kernels *kernels =
            new_kernels(&k.gpu, &(paro_kernels_options){.cache_path = path, .no_nvrtc = true});
        paro_kernel_request request = {.problem = problem_of(wide)};
        assert_ok(paro_kernels_load(&err, kernels, &request, 1));
        assert_string_equal(k.images[0], is_damaged ? "cubin of another" : "cubin that breaks");
        assert_int_equal(request.kernel->grade,
                         is_damaged ? PARO_GRADE_NEAR_DEVICE : PARO_GRADE_EXACT);
        paro_kernels_free(kernels);
    }
    free(path);
    test_dir_remove(dir);
}

/* A file that is no cache does not take the other one with it. */
static void test_one_bad_file(void **state)
{
    (void)state;
    paro_error err;
    char *dir = test_dir_new(), *good = test_path(dir, "good.db"), *bad = test_path(dir, "bad.db");
    fill_cache(good, swiglu, NULL, "sm_90", "sm_90", "cubin of swiglu", false, NULL);
    test_file_write(dir, "bad.db", "no database, whatever its name says", 35);
    for (int i = 0; i < 3; i++) { /* a bad user's file, a bad system's, a folder */
        static fake_gpu k;
        fake_gpu_init(&k, PARO_GPU_KIND_CUDA, 90);
        const char *files[2] = {i == 0 ? bad : i == 1 ? good : dir, i == 1 ? bad : good};
        paro_kernels *kernels = new_kernels(
            &k.gpu, &(paro_kernels_options){
                        .cache_path = files[0], .system_cache_path = files[1], .no_nvrtc = true});
        paro_kernel_request request = {.problem = problem_of(swiglu)};
        assert_ok(paro_kernels_load(&err, kernels, &request, 1));
        assert_int_equal(k.n_images, 1);
        paro_kernels_free(kernels);
    }
    free(good);
    free(bad);
    test_dir_remove(dir);
}

static void test_winner(void **state)
{
    (void)state;
    paro_error err;
    fake_gpu k;
    fake_gpu_init(&k, PARO_GPU_KIND_CUDA, 90);
    char *dir = test_dir_new(), *path = test_path(dir, "cache.db");
    char chosen[PARO_KERNEL_CONFIG_TEXT_BYTES];
    static const char wide[] = "swiglu:n=8192,m=4,dtype=f16";
    fill_cache(path, wide, "threads=512", "sm_90", "sm_90", "winner", true, &k.gpu.info);
    paro_kernel_request request = {.problem = problem_of(wide)};
    paro_kernels *kernels =
        new_kernels(&k.gpu, &(paro_kernels_options){.cache_path = path, .no_nvrtc = true});
    assert_ok(paro_kernels_load(&err, kernels, &request, 1));
    assert_int_equal(request.kernel->grade, PARO_GRADE_EXACT);
    paro_kernel_config_print(request.problem.family, &request.kernel->config, chosen);
    assert_non_null(strstr(chosen, "threads=512"));
    assert_int_equal(k.n_images, 1);
    assert_string_equal(k.images[0], "winner");
    paro_kernels_free(kernels);
    free(path);
    test_dir_remove(dir);
}

/* Code that was compiled for another target is none; PTX of an older one is, where a device is
 * newer than all. */
static void test_targets(void **state)
{
    (void)state;
    paro_error err;
    static const struct {
        uint32_t capability;
        const char *arch, *target;
        bool found;
    } rows[] = {{90, "sm_90", "sm_90", true},        {90, "sm_90", "sm_80", false},
                {90, "sm_90", "compute_80", true},   {90, "sm_90", "compute_120", false},
                {86, "sm_86", "sm_80", true},        {80, "sm_80", "sm_86", false},
                {87, "sm_87", "sm_86", false},       {121, "sm_121", "sm_120", true},
                {87, "sm_87", "sm_87", true},        {139, "sm_121", "sm_121", false},
                {139, "sm_121", "compute_121", true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fake_gpu k;
        fake_gpu_init(&k, PARO_GPU_KIND_CUDA, rows[i].capability);
        char *dir = test_dir_new(), *path = test_path(dir, "cache.db");
        fill_cache(path, swiglu, NULL, rows[i].arch, rows[i].target, "code", false, NULL);
        paro_kernel_request request = {.problem = problem_of(swiglu)};
        paro_kernels *kernels =
            new_kernels(&k.gpu, &(paro_kernels_options){.cache_path = path, .no_nvrtc = true});
        if (rows[i].found)
            assert_ok(paro_kernels_load(&err, kernels, &request, 1));
        else
            assert_fails(paro_kernels_load(&err, kernels, &request, 1), PARO_STATUS_UNSUPPORTED,
                         "found no kernel");
        assert_int_equal(k.n_images, rows[i].found);
        paro_kernels_free(kernels);
        free(path);
        test_dir_remove(dir);
    }
}

/* Of one source's kernels for several targets the best: a cubin of the nearest lower minor version,
 * then PTX of the newest arch. */
static void test_best_target(void **state)
{
    (void)state;
    static const struct {
        const char *targets[3];
        const char *code;
    } rows[] = {{{"compute_75", "compute_86", "compute_80"}, "compute_86"},
                {{"compute_89", "sm_80", "sm_86"}, "sm_86"},
                {{"compute_89", "sm_75", "sm_80"}, "sm_80"},
                {{"sm_87", "compute_75", "sm_90"}, "compute_75"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        paro_error err;
        fake_gpu k;
        fake_gpu_init(&k, PARO_GPU_KIND_CUDA, 89);
        char *dir = test_dir_new(), *path = test_path(dir, "cache.db");
        for (size_t t = 0; t < 3; t++)
            fill_cache(path, swiglu, NULL, "sm_89", rows[i].targets[t], rows[i].targets[t], false,
                       NULL);
        paro_kernel_request request = {.problem = problem_of(swiglu)};
        paro_kernels *kernels =
            new_kernels(&k.gpu, &(paro_kernels_options){.cache_path = path, .no_nvrtc = true});
        assert_ok(paro_kernels_load(&err, kernels, &request, 1));
        assert_int_equal(k.n_images, 1);
        assert_memory_equal(k.images[0], rows[i].code, strlen(rows[i].code));
        paro_kernels_free(kernels);
        free(path);
        test_dir_remove(dir);
    }
}

/* What NVRTC compiles is kept: the next table needs no compiler. */
static void test_compiled(void **state)
{
    (void)state;
    paro_error err;
    fake_gpu k;
    paro_nvrtc *nvrtc = NULL;
    paro_kernels_info info;
    fake_gpu_init(&k, PARO_GPU_KIND_CUDA, 90);
    if (paro_nvrtc_new(&err, getenv("PARO_NVRTC"), &nvrtc) != PARO_STATUS_OK) {
        printf("SKIP test_kernels_table test_compiled: needs NVRTC: %s\n", err.message);
        fflush(stdout);
        skip();
    }
    paro_nvrtc_free(nvrtc);
    char *dir = test_dir_new(), *path = test_path(dir, "cache.db");
    paro_kernel_request requests[] = {{.problem = problem_of(swiglu)},
                                      {.problem = problem_of("swiglu:n=64,m=2,dtype=f16")}};
    for (int again = 0; again < 2; again++) {
        paro_kernels *kernels =
            new_kernels(&k.gpu, &(paro_kernels_options){.cache_path = path,
                                                        .nvrtc_library = getenv("PARO_NVRTC"),
                                                        .no_nvrtc = again == 1});
        assert_ok(paro_kernels_load(&err, kernels, requests, 2));
        paro_kernels_get_info(kernels, &info);
        assert_int_equal(info.n_compiled, 1 - again); /* both have the same source */
        assert_int_equal(info.n_modules, 1);
        assert_int_equal(k.n_images, again + 1);
        assert_memory_equal(k.images[again],
                            "\x7f"
                            "ELF",
                            4);
        paro_kernels_free(kernels);
    }
    /* Each problem has its row, as a default of the arch. */
    paro_cache *cache = NULL;
    paro_arena arena = {0};
    char hash[PARO_SHA256_HEX_BYTES], text[PARO_PROBLEM_TEXT_BYTES];
    assert_ok(paro_cache_open(&err, &(paro_cache_options){.path = path}, &cache));
    assert_ok(paro_template_hash(&err, requests[0].problem.family, hash));
    for (size_t i = 0; i < 2; i++) {
        paro_cache_winner winner;
        paro_problem_print(&requests[i].problem, text);
        assert_ok(paro_cache_get_winner(&err, cache, text, "sm_90", hash, NULL, &arena, &winner));
        assert_true(winner.median_us == 0);
    }
    paro_arena_release(&arena);
    paro_cache_free(cache);
    free(path);
    test_dir_remove(dir);
}

/* A kernel whose parameters are not the plan's is not launched, whatever the cache says. */
static void test_wrong_kernel(void **state)
{
    (void)state;
    paro_error err;
    fake_gpu k;
    fake_gpu_init(&k, PARO_GPU_KIND_CUDA, 90);
    k.n_params = 9;
    char *dir = test_dir_new(), *path = test_path(dir, "cache.db");
    fill_cache(path, swiglu, NULL, "sm_90", "sm_90", "code", false, NULL);
    paro_kernel_request request = {.problem = problem_of(swiglu)};
    paro_kernels *kernels =
        new_kernels(&k.gpu, &(paro_kernels_options){.cache_path = path, .no_nvrtc = true});
    assert_fails(paro_kernels_load(&err, kernels, &request, 1), PARO_STATUS_FORMAT, "found 9");
    assert_int_equal(k.n_unloaded, 1);
    paro_kernels_free(kernels);
    free(path);
    test_dir_remove(dir);
}

/* A device older than every arch; a layout that nothing has. */
static void test_unsupported(void **state)
{
    (void)state;
    paro_error err;
    fake_gpu old, k;
    fake_gpu_init(&old, PARO_GPU_KIND_CUDA, 60);
    fake_gpu_init(&k, PARO_GPU_KIND_CUDA, 90);
    paro_kernels *kernels = NULL;
    assert_fails(paro_kernels_new(&err, &old.gpu, NULL, &kernels), PARO_STATUS_UNSUPPORTED,
                 "compute capability 7.5 and newer, this one has 6.0");
    kernels = new_kernels(&k.gpu, NULL);
    paro_kernel_request request = {
        .problem = problem_of("linear_w4:n=64,k=64,m=1,group=32,krot=0,dtype=f16"),
        .layout = "nothing"};
    assert_fails(paro_kernels_load(&err, kernels, &request, 1), PARO_STATUS_UNSUPPORTED,
                 "layout nothing");
    const char *layout = NULL;
    assert_ok(paro_kernels_layout(&err, kernels, &request.problem, 1, &layout));
    assert_string_equal(layout, "mma16");
    paro_kernels_free(kernels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_launch),       cmocka_unit_test(test_shared),
        cmocka_unit_test(test_shared_fails), cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_one_bad_file), cmocka_unit_test(test_damaged_winner),
        cmocka_unit_test(test_nothing),      cmocka_unit_test(test_winner),
        cmocka_unit_test(test_targets),      cmocka_unit_test(test_best_target),
        cmocka_unit_test(test_wrong_kernel), cmocka_unit_test(test_compiled),
        cmocka_unit_test(test_unsupported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
