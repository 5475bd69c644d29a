/* SPDX-License-Identifier: MIT
 *
 * runtime/gpu_model.c, gpu_weights.c and device.c: which kernels a model asks for, what reaches the
 * device, and what happens where the device fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/device.h"
#include "runtime/session.h"
#include "runtime/shape.h"
#include "tests/fake_gpu.h"
#include "tests/gpu_fixture.h"

/* ---- problems ----------------------------------------------------------------------------------
 */

enum { MAX_ASKED = 512 };

typedef struct asked {
    paro_problem problems[MAX_ASKED];
    size_t n;
} asked;

static bool has(const paro_problem *problems, size_t n, const paro_problem *problem)
{
    for (size_t i = 0; i < n; i++)
        if (paro_problem_equal(&problems[i], problem))
            return true;
    return false;
}

static void record(void *context, const paro_problem *problem)
{
    asked *a = context;
    if (has(a->problems, a->n, problem))
        return;
    assert_true(a->n < MAX_ASKED);
    a->problems[a->n++] = *problem;
}

static void assert_has(const paro_problem *problems, size_t n, const paro_problem *problem,
                       const char *where)
{
    char text[PARO_PROBLEM_TEXT_BYTES];
    paro_problem_print(problem, text);
    if (!has(problems, n, problem))
        fail_msg("%s is not among %s", text, where);
}

/* What the runtime asks for is what paro_model_problems lists, no more and no less; but of the
 * layouts a weight can be packed into it chooses one. */
static void check_problems(paro_model *model, const uint32_t *buckets, size_t n_buckets)
{
    paro_error err;
    static asked a;
    static fake_gpu fake;
    paro_arena arena = {0};
    paro_model_shape shape;
    paro_problem *listed = NULL;
    size_t n_listed = 0, n_packing = 0;
    a.n = 0;
    fake_gpu_init(&fake, PARO_GPU_KIND_EMULATED, 90);
    const paro_kernels_options options = {.asked = record, .asked_context = &a};
    assert_ok(paro_gpu_model_new(&err, model, &fake.gpu, &options, &model->device));
    for (size_t i = 0; i < n_buckets; i++) {
        const paro_gpu_bucket *bucket = NULL;
        assert_ok(paro_gpu_model_bucket(&err, model->device, buckets[i], &bucket));
        assert_int_equal(bucket->m, buckets[i]);
    }
    assert_ok(paro_shape_of_model(&err, model, PARO_KERNEL_DTYPE_F16, &arena, &shape));
    assert_ok(paro_model_problems(&err, &shape, buckets, n_buckets, &listed, &n_listed));
    for (size_t i = 0; i < a.n; i++)
        assert_has(listed, n_listed, &a.problems[i], "paro_model_problems");
    for (size_t i = 0; i < n_listed; i++) {
        if (strcmp(listed[i].family->name, "pack_w4") == 0)
            n_packing++;
        else
            assert_has(a.problems, a.n, &listed[i], "those the runtime asked for");
    }
    assert_int_equal(a.n, n_listed - n_packing / 2);
    free(listed);
    paro_arena_release(&arena);
    paro_gpu_model_free(model->device);
    model->device = NULL;
    assert_true(fake.is_freed);
    assert_int_equal(fake.n_allocated, 0);
    assert_int_equal(fake.n_unloaded, fake.n_images);
}

static void test_problems(void **state)
{
    (void)state;
    static const uint32_t buckets[] = {1, 2, 512};
    static const struct {
        paro_format format;
        const char *set;
    } rows[] = {{PARO_FORMAT_AWQ, "group_size=64"},
                {PARO_FORMAT_PAROQUANT, "group_size=128"},
                {PARO_FORMAT_PAROQUANT, "keep=*.layers.{0.*v,2.*up}_proj"}};
    paro_model *model = open_model(demo);
    check_problems(model, buckets, 1);
    check_problems(model, buckets, 3);
    paro_model_free(model);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *dir = test_dir_new(), *out = test_path(dir, "out");
        write_to(demo, out, rows[i].format, &rows[i].set, 1);
        model = open_model(out);
        check_problems(model, buckets, 2);
        paro_model_free(model);
        free(out);
        test_dir_remove(dir);
    }
}

/* ---- a device that fails -----------------------------------------------------------------------
 */

/* Every call that can fail does so once: no memory stays, and the reason is told. */
static void test_load_fails(void **state)
{
    (void)state;
    paro_error err;
    static fake_gpu fake;
    static const char *const set[] = {"group_size=64"};
    char *dir = test_dir_new(), *out = test_path(dir, "out");
    write_to(demo, out, PARO_FORMAT_PAROQUANT, set, 1);
    paro_model *model = open_model(out);
    size_t n_failed = 0;
    /* Later calls are like earlier ones: layer after layer. */
    for (size_t at = 1;; at = at < 60 ? at + 1 : at + 17) {
        fake_gpu_init(&fake, PARO_GPU_KIND_EMULATED, 90);
        fake.fail_at = at;
        fake.failure = PARO_STATUS_OUT_OF_MEMORY;
        if (paro_gpu_model_new(&err, model, &fake.gpu, NULL, &model->device) == PARO_STATUS_OK)
            break;
        assert_non_null(strstr(err.message, "on demand"));
        assert_int_equal(err.status, PARO_STATUS_OUT_OF_MEMORY);
        assert_null(model->device);
        assert_true(fake.is_freed);
        assert_int_equal(fake.n_allocated, 0);
        assert_int_equal(fake.n_unloaded, fake.n_images);
        n_failed++;
    }
    assert_true(n_failed > 60);
    paro_model_free(model);
    assert_int_equal(fake.n_allocated, 0);
    free(out);
    test_dir_remove(dir);
}

/* The same for reading: the session stays as it was, and reads once the device does. */
static void test_session_fails(void **state)
{
    (void)state;
    enum { VOCAB = 2048 };
    static const int32_t tokens[] = {1, 2, 3, 4, 5, 6};
    static float logits[VOCAB];
    static fake_gpu fake;
    paro_error err;
    paro_model *model = open_model(demo);
    fake_gpu_init(&fake, PARO_GPU_KIND_EMULATED, 90);
    assert_ok(paro_gpu_model_new(&err, model, &fake.gpu, NULL, &model->device));
    const size_t n_before = fake.n_allocated;
    size_t n_failed = 0;
    for (size_t at = 1;; at++) {
        paro_session *session = NULL;
        fake.n_calls = 0;
        fake.fail_at = at;
        int32_t id = 0;
        paro_status status = paro_session_new(&err, model, NULL, &session);
        uint32_t n_read = 0;
        static const size_t steps[] = {3, 1, 1};
        for (size_t i = 0; i < 3 && status == PARO_STATUS_OK; i++) {
            session->first_capacity = 4;
            status = i < 2 ? paro_session_append(&err, session, tokens, steps[i], logits)
                           : paro_session_append_best(&err, session, tokens, steps[i], &id);
            n_read += status == PARO_STATUS_OK ? (uint32_t)steps[i] : 0;
        }
        if (session != NULL)
            assert_int_equal(paro_session_length(session), n_read);
        if (status != PARO_STATUS_OK) {
            assert_non_null(strstr(err.message, "on demand"));
            n_failed++;
        }
        if (session != NULL && status != PARO_STATUS_OK)
            assert_ok(paro_session_append(&err, session, tokens, 1, logits));
        paro_session_free(session);
        assert_int_equal(fake.n_allocated, n_before);
        if (status == PARO_STATUS_OK)
            break;
    }
    assert_true(n_failed > 100);
    paro_model_free(model);
}

static void test_lacking_bucket(void **state)
{
    (void)state;
    paro_error err;
    static fake_gpu fake;
    static float logits[2048];
    static const int32_t tokens[5] = {1, 2, 3, 4, 5};
    const paro_gpu_bucket *bucket = NULL;
    paro_model *model = open_model(demo);
    paro_session *session = NULL;
    fake_gpu_init(&fake, PARO_GPU_KIND_EMULATED, 90);
    assert_ok(paro_gpu_model_new(&err, model, &fake.gpu, NULL, &model->device));
    /* No code for eight: four are read at a time, and nothing is asked for again. */
    fake.n_calls = 0;
    fake.fail_at = 1;
    fake.failure = PARO_STATUS_UNSUPPORTED;
    assert_ok(paro_gpu_model_bucket(&err, model->device, 5, &bucket));
    assert_int_equal(bucket->m, 4);
    const size_t n_calls = fake.n_calls;
    assert_ok(paro_gpu_model_bucket(&err, model->device, 8, &bucket));
    assert_int_equal(bucket->m, 4);
    assert_int_equal(fake.n_calls, n_calls);
    assert_ok(paro_session_new(&err, model, NULL, &session));
    assert_ok(paro_session_append(&err, session, tokens, 5, logits));
    assert_int_equal(paro_session_length(session), 5);
    paro_session_free(session);
    paro_model_free(model);
}

/* ---- weights -----------------------------------------------------------------------------------
 */

/* What a checkpoint promises is checked before it reaches a device. */
static void test_damaged(void **state)
{
    (void)state;
    paro_error err;
    static fake_gpu fake;
    static const char *const set[] = {"group_size=64"};
    char *dir = test_dir_new(), *out = test_path(dir, "out");
    write_to(demo, out, PARO_FORMAT_AWQ, set, 1);
    paro_model *whole = open_model(out), *model = NULL;
    const paro_tensor *scales = whole->blocks[2].linears[PARO_SLOT_UP].scales;
    paro_tensor_set *under = NULL, *changed = NULL;
    assert_ok(paro_tensor_set_open(&err, out, &under));
    assert_ok(paro_tensor_set_new(&err, under, &changed));
    uint16_t *bits = malloc(scales->n_bytes);
    assert_non_null(bits);
    memcpy(bits, scales->data, scales->n_bytes);
    bits[7] = 0x7c00; /* infinity */
    replace_tensor(changed, scales, bits);
    assert_ok(paro_model_new(&err, out, &whole->config, changed, NULL, &model));
    fake_gpu_init(&fake, PARO_GPU_KIND_EMULATED, 90);
    assert_fails(paro_gpu_model_new(&err, model, &fake.gpu, NULL, &model->device),
                 PARO_STATUS_FORMAT, "model.layers.2.mlp.up_proj.scales");
    assert_int_equal(fake.n_allocated, 0);
    paro_model_free(model);
    paro_tensor_set_free(under);
    paro_model_free(whole);
    free(out);
    test_dir_remove(dir);
}

typedef struct line {
    char text[1024];
    int n;
} line;

static void keep_line(void *context, paro_log_level level, const char *message)
{
    line *l = context;
    if (level == PARO_LOG_LEVEL_DEBUG && strstr(message, "runs on the CPU") == NULL)
        return;
    snprintf(l->text, sizeof l->text, "%s", message);
    l->n++;
}

/* A weight that f16 cannot hold: bf16, and the log says which. */
static void test_range(void **state)
{
    (void)state;
    paro_error err;
    static fake_gpu fake;
    line l = {"", 0};
    const paro_observer observer = {.context = &l, .log = keep_line};
    char *dir = test_dir_new();
    char *bad = demo_with(dir, "model.layers.1.mlp.gate_proj.weight", 99, 1e6f);
    paro_model *model = open_model(bad);
    fake_gpu_init(&fake, PARO_GPU_KIND_EMULATED, 90);
    assert_ok(paro_gpu_model_new(&err, model, &fake.gpu,
                                 &(paro_kernels_options){.observer = &observer}, &model->device));
    assert_int_equal(model->device->shape.dtype, PARO_KERNEL_DTYPE_BF16);
    assert_non_null(strstr(l.text, "model.layers.1.mlp.gate_proj.weight"));
    assert_non_null(strstr(l.text, "bf16"));
    paro_model_free(model);
    free(bad);
    test_dir_remove(dir);
}

static bool stop_at_two(void *context, const char *stage, uint64_t done, uint64_t total)
{
    assert_string_equal(stage, "load");
    assert_int_equal(total, 4);
    *(uint64_t *)context = done;
    return done < 2;
}

static void test_cancelled(void **state)
{
    (void)state;
    paro_error err;
    static fake_gpu fake;
    uint64_t done = 0;
    const paro_observer observer = {.context = &done, .progress = stop_at_two};
    paro_model *model = open_model(demo);
    fake_gpu_init(&fake, PARO_GPU_KIND_EMULATED, 90);
    assert_fails(paro_gpu_model_new(&err, model, &fake.gpu,
                                    &(paro_kernels_options){.observer = &observer}, &model->device),
                 PARO_STATUS_CANCELLED, "load");
    assert_int_equal(done, 2);
    assert_int_equal(fake.n_allocated, 0);
    paro_model_free(model);
}

/* ---- devices by name ---------------------------------------------------------------------------
 */

static void test_names(void **state)
{
    (void)state;
    paro_error err;
    static const struct {
        const char *text;
        paro_device_kind kind;
        int ordinal;
    } good[] = {{NULL, PARO_DEVICE_KIND_CPU, 0},
                {"cpu", PARO_DEVICE_KIND_CPU, 0},
                {"cuda", PARO_DEVICE_KIND_CUDA, 0},
                {"cuda:0", PARO_DEVICE_KIND_CUDA, 0},
                {"cuda:12", PARO_DEVICE_KIND_CUDA, 12},
                {"auto", PARO_DEVICE_KIND_AUTO, 0},
                {"emulator", PARO_DEVICE_KIND_EMULATOR, 0},
                {"emulator:/tmp", PARO_DEVICE_KIND_EMULATOR, 0}};
    static const char *const bad[] = {"",        "gpu",     "CPU",        "cuda:",    "cuda:x",
                                      "cuda:1x", "cuda:-1", "cuda:12345", "emulator:"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        paro_device_choice choice;
        assert_ok(paro_device_parse(&err, good[i].text, &choice));
        assert_int_equal(choice.kind, good[i].kind);
        assert_int_equal(choice.ordinal, good[i].ordinal);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        paro_device_choice choice;
        assert_fails(paro_device_parse(&err, bad[i], &choice), PARO_STATUS_INVALID_ARGUMENT,
                     "expected auto, cpu, cuda, cuda:N or emulator");
    }
    paro_model *model = NULL;
    assert_fails(paro_model_open(&err, demo, &(paro_model_options){.device = "tpu"}, &model),
                 PARO_STATUS_INVALID_ARGUMENT, "found 'tpu'");
}

/* On a machine without a device: asking for one fails, auto takes the CPU and says why. */
static void test_without_device(void **state)
{
    (void)state;
    paro_error err;
    line l = {"", 0};
    paro_model *model = NULL;
    paro_model_info info;
    const paro_observer observer = {.context = &l, .log = keep_line};
    if (paro_gpu_count() > 0) {
        printf("SKIP test_gpu_model test_without_device: there is a GPU\n");
        fflush(stdout);
        skip();
    }
    assert_int_not_equal(
        paro_model_open(&err, demo, &(paro_model_options){.device = "cuda:0"}, &model),
        PARO_STATUS_OK);
    assert_null(model);
    assert_ok(paro_model_open(
        &err, demo, &(paro_model_options){.device = "auto", .observer = &observer}, &model));
    assert_int_equal(l.n, 1);
    assert_non_null(strstr(l.text, "models/demo runs on the CPU: "));
    paro_model_get_info(model, &info);
    assert_string_equal(info.device, "CPU");
    paro_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_problems),       cmocka_unit_test(test_load_fails),
        cmocka_unit_test(test_session_fails),  cmocka_unit_test(test_lacking_bucket),
        cmocka_unit_test(test_damaged),        cmocka_unit_test(test_range),
        cmocka_unit_test(test_cancelled),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_without_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
