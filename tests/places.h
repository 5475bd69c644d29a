/* SPDX-License-Identifier: MIT
 *
 * A kernel of tests/kernels on GPU 0 and on an emulator of its arch, or on two emulators with
 * different schedules. Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_PLACES_H
#define PARO_TESTS_PLACES_H

#include "codegen/codegen.h"
#include "tests/kernel_source.h"

/* ---- where kernels run -------------------------------------------------------------------------
 */

typedef struct side {
    paro_gpu *gpu; /* NULL: not there */
    paro_gpu_stream *stream;
    paro_nvrtc *nvrtc; /* NULL: the emulator */
    const paro_arch *arch;
    uint64_t seed;
    paro_error missing; /* why it is not there */
} side;

/* What is checked, and what by: an emulator of the same arch. */
typedef struct place {
    side device, reference;
} place;

static place on_gpu, on_emulator;
static fixture *places_fixture;

static inline void side_emulated(const fixture *f, const paro_arch *arch, uint64_t seed, side *out)
{
    paro_error err;
    *out = (side){.gpu = open_device(f, arch->name), .arch = arch, .seed = seed};
    assert_ok(paro_gpu_stream_new(&err, out->gpu, &out->stream));
}

static inline void side_close(side *s)
{
    paro_gpu_stream_free(s->stream);
    paro_gpu_free(s->gpu);
    paro_nvrtc_free(s->nvrtc);
}

static inline int set_up_places(void **state)
{
    paro_error err;
    void *made = NULL;
    (void)set_up(&made);
    const fixture *f = places_fixture = made;
    (void)state; /* stays NULL: each test has its own place as its state */
    const paro_arch *sm_90 = paro_arch_find("sm_90");
    side_emulated(f, sm_90, 2, &on_emulator.device);
    side_emulated(f, sm_90, 1, &on_emulator.reference);
    side *s = &on_gpu.device;
    bool exact;
    if (paro_nvrtc_new(&s->missing, getenv("PARO_NVRTC"), &s->nvrtc) != PARO_STATUS_OK ||
        paro_gpu_open_cuda(&s->missing, 0, &s->gpu) != PARO_STATUS_OK)
        return 0;
    s->arch = paro_arch_for_capability(paro_gpu_info(s->gpu)->capability, &exact);
    assert_non_null(s->arch);
    assert_ok(paro_gpu_stream_new(&err, s->gpu, &s->stream));
    side_emulated(f, s->arch, 1, &on_gpu.reference);
    return 0;
}

static inline int tear_down_places(void **state)
{
    side_close(&on_gpu.device);
    side_close(&on_gpu.reference);
    side_close(&on_emulator.device);
    side_close(&on_emulator.reference);
    (void)state;
    return tear_down(&(void *){places_fixture});
}

/* Skips, and says so, where there is no GPU or it lacks the features. */
static inline const place *place_of(void **state, const char *test, uint32_t features)
{
    const place *p = *state;
    const char *why = NULL;
    if (p->device.gpu == NULL)
        why = p->device.missing.message;
    else if ((p->device.arch->features & features) != features)
        why = p->device.arch->name;
    if (why != NULL) {
        printf("SKIP test_lib_gpu %s: needs a GPU%s and NVRTC: %s\n", test,
               features != 0 ? " that has what is tested" : "", why);
        fflush(stdout);
        skip();
    }
    return p;
}

/* ---- one launch on both sides ------------------------------------------------------------------
 */

enum { MAX_BUFFERS = 5, MAX_SCALARS = 2 };

/* A pointer parameter: what it holds at first (NULL: bytes 0xFF), and what it holds on either side
 * after the launch (malloc'd). */
typedef struct operand {
    size_t n_bytes;
    const void *from;
    void *found, *expected;
} operand;

typedef struct call {
    const char *source, *kernel;
    const char *dtype; /* for the hole, or NULL */
    uint32_t grid[3], n_threads, cluster, shared_bytes;
    size_t n_operands;
    operand operands[MAX_BUFFERS];
    size_t n_scalars;
    uint32_t scalars[MAX_SCALARS]; /* the parameters after the pointers */
} call;

static inline paro_gpu_module *module_on(const side *s, const call *c)
{
    const char *hole = c->dtype != NULL ? "dtype" : NULL;
    if (s->nvrtc == NULL)
        return load(s->gpu, c->source, hole, c->dtype);
    paro_error err;
    paro_buffer source = {0};
    paro_binary binary = {0};
    paro_gpu_module *module = NULL;
    kernel_source(c->source, hole, c->dtype, &source);
    const char *target = paro_target_of(source.data, s->arch);
    assert_int_equal(strcmp(c->source, "wgmma") == 0, strcmp(target, s->arch->name) != 0);
    assert_ok(paro_nvrtc_compile(&err, s->nvrtc, source.data, target, &binary));
    const paro_gpu_image image = {binary.data, binary.n_bytes, binary.is_ptx};
    assert_ok(paro_gpu_module_load(&err, s->gpu, &image, &module));
    paro_binary_release(&binary);
    paro_buffer_free(&source);
    return module;
}

static inline void run_on(const side *s, call *c, bool is_reference)
{
    paro_error err;
    paro_gpu_ptr pointers[MAX_BUFFERS] = {0};
    void *args[MAX_BUFFERS + MAX_SCALARS];
    paro_gpu_module *module = module_on(s, c);
    for (size_t i = 0; i < c->n_operands; i++) {
        const operand *o = &c->operands[i];
        assert_ok(paro_gpu_alloc(&err, s->gpu, o->n_bytes, &pointers[i]));
        if (o->from != NULL)
            assert_ok(paro_gpu_upload(&err, s->gpu, pointers[i], o->from, o->n_bytes));
        else
            assert_ok(paro_gpu_fill(&err, s->gpu, s->stream, pointers[i], 0xFF, o->n_bytes));
        args[i] = &pointers[i];
    }
    for (size_t i = 0; i < c->n_scalars; i++)
        args[c->n_operands + i] = &c->scalars[i];
    if (s->nvrtc == NULL)
        paro_emulator_set_seed(s->gpu, s->seed);
    paro_gpu_launch launch = launch_of(module, c->kernel, c->grid[0], c->n_threads, c->shared_bytes,
                                       args, c->n_operands + c->n_scalars);
    launch.grid[1] = c->grid[1] + (c->grid[1] == 0);
    launch.grid[2] = c->grid[2] + (c->grid[2] == 0);
    launch.cluster = c->cluster;
    assert_ok(paro_gpu_launch_kernel(&err, s->stream, &launch));
    assert_ok(paro_gpu_stream_wait(&err, s->stream));
    for (size_t i = 0; i < c->n_operands; i++) {
        operand *o = &c->operands[i];
        void *host = malloc(o->n_bytes);
        assert_non_null(host);
        assert_ok(paro_gpu_download(&err, s->gpu, host, pointers[i], o->n_bytes));
        *(is_reference ? &o->expected : &o->found) = host;
        paro_gpu_release(s->gpu, pointers[i]);
    }
    paro_gpu_module_free(module);
}

static inline void run(const place *p, call *c)
{
    run_on(&p->device, c, false);
    run_on(&p->reference, c, true);
}

static inline void call_end(call *c)
{
    for (size_t i = 0; i < c->n_operands; i++) {
        free(c->operands[i].found);
        free(c->operands[i].expected);
        c->operands[i].found = c->operands[i].expected = NULL;
    }
}

static inline void assert_same_bytes(const call *c, size_t i)
{
    assert_memory_equal(c->operands[i].found, c->operands[i].expected, c->operands[i].n_bytes);
}

#endif
