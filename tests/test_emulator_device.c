/* SPDX-License-Identifier: MIT
 *
 * The emulator as a device of gpu.h: modules, limits of an arch, graphs, what is missing; and,
 * under AddressSanitizer, access beyond a buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <sys/wait.h>

#include "tests/kernel_source.h"

static paro_status load_text(paro_error *err, paro_gpu *gpu, const char *text,
                             paro_gpu_module **out)
{
    return paro_gpu_module_load(err, gpu,
                                &(paro_gpu_image){.data = text, .n_bytes = strlen(text) + 1}, out);
}

static void a_module_tells_of_its_kernels(void **state)
{
    const fixture *f = *state;
    paro_error err;
    static const char text[] =
        "/* __global__ void no(int) */ // __global__ void neither()\n"
        "const char *text = \"__global__ void nor_this(\"; const int n = 1'000, c = '\"';\n"
        "constexpr int THREADS = 128;\n"
        "extern \"C\" __global__ void __launch_bounds__(THREADS / 2, (1 + 1))\n"
        "    one(const float *__restrict__ x, unsigned n, float *y) { y[0] = x[n]; }\n"
        "extern \"C\" __global__ void two() {}\n";
    paro_gpu_module *module = NULL;
    paro_gpu_function *one = NULL, *two = NULL;
    assert_ok(load_text(&err, f->gpu, text, &module));
    assert_ok(paro_gpu_module_function(&err, module, "one", &one));
    assert_ok(paro_gpu_module_function(&err, module, "two", &two));
    assert_fails(paro_gpu_module_function(&err, module, "no", &two), PARO_STATUS_NOT_FOUND,
                 "kernel no: not among the 2 kernels");
    size_t sizes[4] = {9, 9, 9, 9}, n_params;
    assert_ok(paro_gpu_function_params(&err, one, sizes, 2, &n_params));
    assert_int_equal(n_params, 3);
    assert_int_equal(sizes[0], 8);
    assert_int_equal(sizes[1], 4);
    assert_int_equal(sizes[2], 9);
    assert_ok(paro_gpu_function_params(&err, two, sizes, 4, &n_params));
    assert_int_equal(n_params, 0);
    paro_gpu_function_info info;
    paro_gpu_function_get_info(one, &info);
    assert_int_equal(info.max_threads, 64);
    paro_gpu_function_get_info(two, &info);
    assert_int_equal(info.max_threads, 1024);
    assert_int_equal(paro_gpu_occupancy(one, 32, 0), 0);
    paro_gpu_module_free(module);
}

static void a_bad_source_is_told(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_gpu_module *module = NULL;
    assert_fails(load_text(&err, f->gpu,
                           "#line 7 \"rotate.cu\"\nextern \"C\" __global__ void k() { x = 1; }\n",
                           &module),
                 PARO_STATUS_FORMAT, "rotate.cu:7:");
    assert_fails(load_text(&err, f->gpu, "__global__", &module), PARO_STATUS_FORMAT, "error");
    assert_fails(load_text(&err, f->gpu, "extern \"C\" void f(); void g() { f(); }", &module),
                 PARO_STATUS_UNSUPPORTED, "cannot be loaded");
    assert_null(module);
}

static size_t count_files(const char *folder, const char *suffix)
{
    size_t n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const size_t n_name = strlen(entry->d_name), n_suffix = strlen(suffix);
        n += entry->d_name[0] != '.' && n_name >= n_suffix &&
             strcmp(entry->d_name + n_name - n_suffix, suffix) == 0;
    }
    (void)closedir(dir);
    return n;
}

static void compiled_kernels_are_kept(void **state)
{
    const fixture *f = *state;
    paro_error err;
    const size_t n_before = count_files(f->folder, ".so");
    for (int round = 0; round < 2; round++) {
        paro_gpu_module *module = NULL;
        assert_ok(load_text(&err, f->gpu, "extern \"C\" __global__ void kept() {}", &module));
        paro_gpu_module_free(module);
        assert_int_equal(count_files(f->folder, ".so"), n_before + 1);
    }
    assert_int_equal(count_files(f->folder, ""), n_before + 1); /* no source, log or part left */
}

static void what_is_missing_is_told(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_gpu *gpu = NULL;
    paro_emulator_options options = {.compiler = "no-such-compiler-here"};
    assert_fails(paro_gpu_open_emulator(&err, &options, &gpu), PARO_STATUS_UNSUPPORTED,
                 "looked for no-such-compiler-here on the PATH");
    options = (paro_emulator_options){.folder = "no/such/folder"};
    assert_fails(paro_gpu_open_emulator(&err, &options, &gpu), PARO_STATUS_NOT_FOUND,
                 "no/such/folder: not a folder");
    options = (paro_emulator_options){.folder = f->folder, .sanitize = "address"};
    if (!TEST_ADDRESS)
        assert_fails(paro_gpu_open_emulator(&err, &options, &gpu), PARO_STATUS_UNSUPPORTED,
                     "need a program built with AddressSanitizer");
    assert_null(gpu);
    paro_gpu_event *event = NULL;
    assert_fails(paro_gpu_event_new(&err, f->gpu, &event), PARO_STATUS_UNSUPPORTED, "no clock");
}

static void a_device_of_its_own_folder(void **state)
{
    (void)state;
    paro_error err;
    paro_gpu *gpu = NULL;
    assert_ok(paro_gpu_open_emulator(&err, NULL, &gpu));
    assert_int_equal(paro_gpu_get_kind(gpu), PARO_GPU_KIND_EMULATED);
    assert_int_equal(paro_gpu_info(gpu)->capability, 90);
    assert_string_equal(paro_gpu_info(gpu)->name, "emulated sm_90");
    assert_string_equal(paro_gpu_driver_version(gpu), "emulator");
    assert_false(paro_gpu_is_lost(gpu));
    paro_gpu_module *module = NULL;
    assert_ok(load_text(&err, gpu, "extern \"C\" __global__ void k() {}", &module));
    paro_gpu_module_free(module);
    paro_gpu_free(gpu);
}

static void limits_of_an_arch_hold(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_gpu *gpu = open_device(f, "sm_75");
    paro_gpu_stream *stream = NULL;
    assert_ok(paro_gpu_stream_new(&err, gpu, &stream));
    paro_gpu_module *module = NULL;
    assert_ok(load_text(
        &err, gpu, "extern \"C\" __global__ void __launch_bounds__(64) k(unsigned n) {}", &module));
    uint32_t n = 0;
    void *args[] = {&n};
    const paro_gpu_launch right = launch_of(module, "k", 4, 64, 65536, args, 1);
    assert_ok(paro_gpu_launch_kernel(&err, stream, &right));
    paro_gpu_launch launch = right;
    launch.shared_bytes++;
    assert_fails(paro_gpu_launch_kernel(&err, stream, &launch), PARO_STATUS_INVALID_ARGUMENT,
                 "65537 bytes of shared memory, sm_75 has 65536");
    for (uint32_t n_threads = 0; n_threads < 200; n_threads += 48) {
        launch = right;
        launch.n_threads = n_threads;
        assert_fails(paro_gpu_launch_kernel(&err, stream, &launch), PARO_STATUS_INVALID_ARGUMENT,
                     "expected a multiple of 32 up to 64");
    }
    launch = right;
    launch.cluster = 2;
    assert_fails(paro_gpu_launch_kernel(&err, stream, &launch), PARO_STATUS_INVALID_ARGUMENT,
                 "clusters of 2 blocks, sm_75 has none");
    launch = right;
    launch.n_args = 0;
    assert_fails(paro_gpu_launch_kernel(&err, stream, &launch), PARO_STATUS_INVALID_ARGUMENT,
                 "0 arguments, it has 1");
    launch = right;
    launch.grid[1] = 0;
    assert_fails(paro_gpu_launch_kernel(&err, stream, &launch), PARO_STATUS_INVALID_ARGUMENT,
                 "a grid of 4 x 0 x 1 blocks");
    paro_gpu_module_free(module);
    paro_gpu_stream_free(stream);

    module = NULL;
    assert_ok(load_text(&err, f->gpu, "extern \"C\" __global__ void k() {}", &module));
    launch = launch_of(module, "k", 6, 32, 0, NULL, 0);
    launch.cluster = 4;
    assert_fails(paro_gpu_launch_kernel(&err, f->stream, &launch), PARO_STATUS_INVALID_ARGUMENT,
                 "clusters of 4 blocks in a grid 6 wide");
    paro_gpu_module_free(module);
    paro_gpu_free(gpu);
}

/* A primitive an arch does not have. */
static void features_of_an_arch_hold(void **state)
{
    const fixture *f = *state;
    paro_error err;
    static const struct {
        const char *arch, *source, *kernel, *words;
        uint32_t n_threads, shared_bytes;
        size_t n_args;
    } rows[] = {
        {"sm_80", "cluster", "all_sum", "sm_80 has no clusters", 32, 256, 3},
        {"sm_80", "bulk", "ring", "sm_80 has no bulk copies", 160, 4096, 3},
        {"sm_100", "wgmma", "products", "wgmma: sm_100 has none", 128, 16384, 5},
        {"sm_75", "mma", "product", "sm_75 has none for bf16", 32, 0, 3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        paro_gpu *gpu = open_device(f, rows[i].arch);
        paro_gpu_stream *stream = NULL;
        assert_ok(paro_gpu_stream_new(&err, gpu, &stream));
        const bool is_mma = strcmp(rows[i].source, "mma") == 0;
        paro_gpu_module *module =
            load(gpu, rows[i].source, is_mma ? "dtype" : NULL, is_mma ? "bf16" : NULL);
        paro_gpu_ptr data;
        (void)buffer_of(gpu, 65536, &data);
        uint64_t last = data;
        void *args[] = {&data, &data, &data, &data, &last};
        paro_gpu_launch launch = launch_of(module, rows[i].kernel, 1, rows[i].n_threads,
                                           rows[i].shared_bytes, args, rows[i].n_args);
        assert_fails(paro_gpu_launch_kernel(&err, stream, &launch), PARO_STATUS_FORMAT,
                     rows[i].words);
        paro_gpu_release(gpu, data);
        paro_gpu_module_free(module);
        paro_gpu_stream_free(stream);
        paro_gpu_free(gpu);
    }
}

static const char add_text[] = "extern \"C\" __global__ void add(unsigned *x, unsigned n)\n"
                               "{ if (emulator_self->thread == 0) *x += n; }\n";

static void graphs_run_what_was_recorded(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_gpu_module *module = NULL;
    assert_ok(load_text(&err, f->gpu, add_text, &module));
    paro_gpu_ptr x, y;
    uint32_t *x_host = buffer_of(f->gpu, 4, &x), *y_host = buffer_of(f->gpu, 4, &y), n = 5;
    void *args[] = {&x, &n};
    paro_gpu_launch launch = launch_of(module, "add", 1, 32, 0, args, 2);
    paro_gpu_graph *graph = NULL;
    *x_host = *y_host = 1;
    assert_ok(paro_gpu_graph_begin(&err, f->stream));
    assert_fails(paro_gpu_graph_begin(&err, f->stream), PARO_STATUS_INVALID_ARGUMENT,
                 "records one already");
    assert_ok(paro_gpu_fill(&err, f->gpu, f->stream, x, 0, 4));
    for (; n < 7; n++) /* the arguments' values at the time of the call */
        assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
    assert_ok(paro_gpu_copy(&err, f->gpu, f->stream, y, x, 4));
    assert_ok(paro_gpu_graph_end(&err, f->stream, &graph));
    assert_int_equal(*x_host, 1);
    for (int round = 0; round < 2; round++) {
        *y_host = 0;
        assert_ok(paro_gpu_graph_launch(&err, f->stream, graph));
        assert_int_equal(*y_host, 11);
    }
    paro_gpu_graph_free(graph);

    launch.n_threads = 33;
    graph = NULL;
    assert_ok(paro_gpu_graph_begin(&err, f->stream));
    assert_fails(paro_gpu_launch_kernel(&err, f->stream, &launch), PARO_STATUS_INVALID_ARGUMENT,
                 "33 threads");
    assert_fails(paro_gpu_graph_end(&err, f->stream, &graph), PARO_STATUS_INVALID_ARGUMENT,
                 "while it was recorded failed");
    assert_ok(paro_gpu_graph_begin(&err, f->stream));
    assert_fails(paro_gpu_upload_async(&err, f->gpu, f->stream, x, &n, 4),
                 PARO_STATUS_INVALID_ARGUMENT, "while a graph is recorded");
    assert_fails(paro_gpu_graph_end(&err, f->stream, &graph), PARO_STATUS_INVALID_ARGUMENT,
                 "failed");
    assert_fails(paro_gpu_graph_end(&err, f->stream, &graph), PARO_STATUS_INVALID_ARGUMENT,
                 "records none");
    assert_null(graph);
    assert_ok(paro_gpu_stream_wait(&err, f->stream));
    paro_gpu_release(f->gpu, x);
    paro_gpu_release(f->gpu, y);
    paro_gpu_module_free(module);
}

/* The kernel in a process of its own; whether AddressSanitizer ended it. */
static bool dies_of_access(const fixture *f, const char *kernel, uint32_t at)
{
    paro_error err;
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* no pool: its threads stayed with the parent */
        const paro_emulator_options options = {
            .folder = f->folder, .sanitize = "address", .arch = paro_arch_find("sm_90")};
        paro_gpu *gpu = NULL;
        paro_gpu_stream *stream = NULL;
        paro_gpu_ptr out;
        if (freopen("/dev/null", "w", stderr) == NULL ||
            paro_gpu_open_emulator(&err, &options, &gpu) != PARO_STATUS_OK ||
            paro_gpu_stream_new(&err, gpu, &stream) != PARO_STATUS_OK ||
            paro_gpu_alloc(&err, gpu, 4 * 64, &out) != PARO_STATUS_OK)
            _exit(2);
        paro_gpu_module *module = load(gpu, "broken", NULL, NULL);
        void *args[] = {&out, &at};
        paro_gpu_launch launch = launch_of(module, kernel, 1, 64, 4 * 64, args, 2);
        _exit(paro_gpu_launch_kernel(&err, stream, &launch) == PARO_STATUS_OK ? 0 : 2);
    }
    int result;
    assert_int_equal(waitpid(pid, &result, 0), pid);
    assert_false(WIFEXITED(result) && WEXITSTATUS(result) == 2);
    return !WIFEXITED(result) || WEXITSTATUS(result) != 0;
}

static void access_beyond_a_buffer_is_seen(void **state)
{
    const fixture *f = *state;
    if (!TEST_ADDRESS) {
        print_message("access_beyond_a_buffer_is_seen: only under AddressSanitizer\n");
        return;
    }
    assert_false(dies_of_access(f, "beyond_shared", 63));
    assert_true(dies_of_access(f, "beyond_shared", 64));
    assert_false(dies_of_access(f, "beyond_global", 63));
    assert_true(dies_of_access(f, "beyond_global", 64));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_tells_of_its_kernels),
        cmocka_unit_test(a_bad_source_is_told),
        cmocka_unit_test(compiled_kernels_are_kept),
        cmocka_unit_test(what_is_missing_is_told),
        cmocka_unit_test(a_device_of_its_own_folder),
        cmocka_unit_test(limits_of_an_arch_hold),
        cmocka_unit_test(features_of_an_arch_hold),
        cmocka_unit_test(graphs_run_what_was_recorded),
        cmocka_unit_test(access_beyond_a_buffer_is_seen),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
