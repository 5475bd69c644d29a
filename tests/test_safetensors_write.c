/* SPDX-License-Identifier: MIT
 *
 * base/safetensors_write.c: what was written is read back; the same input gives the same bytes; no
 * failed write goes unnoticed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/rng.h"
#include "base/safetensors.h"
#include "base/safetensors_write.h"
#include "tests/support.h"

static char *dir;

static int set_up(void **state)
{
    (void)state;
    dir = test_dir_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_dir_remove(dir);
    return 0;
}

typedef struct sample {
    const char *name;
    paro_dtype dtype;
    uint32_t rank;
    uint64_t shape[3];
} sample;

static const sample samples[] = {
    {"model.embed.weight", PARO_DTYPE_F16, 2, {16, 8}},
    {"b", PARO_DTYPE_BF16, 1, {100}},
    {"scalar", PARO_DTYPE_F64, 0, {0}},
    {"empty", PARO_DTYPE_I32, 2, {0, 5}},
    {"quote\"back\\slash", PARO_DTYPE_U8, 1, {7}},
    {"größe.世界", PARO_DTYPE_I32, 3, {2, 3, 4}},
    {"a", PARO_DTYPE_F32, 2, {3, 5}},
};
enum { N_SAMPLES = sizeof samples / sizeof samples[0] };

static size_t sample_bytes(const sample *s)
{
    size_t n = paro_dtype_bytes(s->dtype);
    for (uint32_t i = 0; i < s->rank; i++)
        n *= s->shape[i];
    return n;
}

/* The data of the n-th sample: always the same. */
static unsigned char *sample_data(size_t n)
{
    paro_rng rng;
    paro_rng_seed(&rng, n);
    size_t size = sample_bytes(&samples[n]);
    unsigned char *data = malloc(size + 1);
    assert_non_null(data);
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)paro_rng_u64(&rng);
    return data;
}

/* Writes all samples; the first failure is returned. */
static paro_status write_samples(paro_error *err, const char *to, uint64_t max_shard_bytes,
                                 uint64_t *n_bytes, uint32_t *n_shards)
{
    paro_shard_writer *writer = NULL;
    paro_status status = paro_shard_writer_new(err, to, max_shard_bytes, &writer);
    if (status == PARO_STATUS_OK)
        status = paro_shard_writer_metadata(err, writer, "paro.recipe", "return {}\n-- \"Grüße\"");
    for (size_t i = 0; i < N_SAMPLES && status == PARO_STATUS_OK; i++)
        status = paro_shard_writer_declare(err, writer, samples[i].name, samples[i].dtype,
                                           samples[i].rank, samples[i].shape);
    for (size_t i = 0; i < N_SAMPLES && status == PARO_STATUS_OK; i++) {
        unsigned char *data = sample_data(i);
        status =
            paro_shard_writer_write(err, writer, samples[i].name, data, sample_bytes(&samples[i]));
        free(data);
    }
    if (status == PARO_STATUS_OK)
        status = paro_shard_writer_finish(err, writer, n_bytes, n_shards);
    paro_shard_writer_free(writer);
    return status;
}

static void assert_reads_back(const char *from)
{
    paro_error err;
    paro_tensor_set *set = NULL;
    assert_ok(paro_tensor_set_open(&err, from, &set));
    assert_int_equal(paro_tensor_set_count(set), N_SAMPLES);
    for (size_t i = 0; i < N_SAMPLES; i++) {
        const paro_tensor *t = paro_tensor_set_find(set, samples[i].name);
        assert_non_null(t);
        assert_ok(paro_tensor_expect(&err, t, samples[i].dtype, samples[i].rank, samples[i].shape));
        unsigned char *data = sample_data(i);
        assert_memory_equal(t->data, data, t->n_bytes);
        free(data);
    }
    const char *value;
    assert_string_equal(paro_tensor_set_metadata(set, 0, &value), "format");
    assert_string_equal(value, "pt");
    assert_string_equal(paro_tensor_set_metadata(set, 1, &value), "paro.recipe");
    assert_string_equal(value, "return {}\n-- \"Grüße\"");
    paro_tensor_set_free(set);
}

static void test_one_file(void **state)
{
    (void)state;
    paro_error err;
    uint64_t n_bytes = 0;
    uint32_t n_shards = 0;
    assert_ok(write_samples(&err, dir, 0, &n_bytes, &n_shards));
    size_t expected = 0;
    for (size_t i = 0; i < N_SAMPLES; i++)
        expected += sample_bytes(&samples[i]);
    assert_int_equal(n_bytes, expected);
    assert_int_equal(n_shards, 1);
    char *index = test_path(dir, "model.safetensors.index.json");
    assert_false(paro_path_exists(index));
    free(index);
    assert_reads_back(dir);

    /* The data begins at a multiple of 8, as other readers like it. */
    char *path = test_path(dir, "model.safetensors"), *bytes = NULL;
    size_t n;
    assert_ok(paro_file_read(&err, path, 1 << 20, &bytes, &n));
    assert_int_equal((unsigned char)bytes[0] % 8, 0);
    free(bytes), free(path);
}

static void test_shards(void **state)
{
    (void)state;
    paro_error err;
    /* 1 puts every tensor that has bytes into a file of its own; sizes are 256 200 8 0 7 96 60. */
    static const struct {
        uint64_t max_bytes;
        uint32_t n_shards;
    } cases[] = {{1, 6}, {256, 3}, {456, 2}, {627, 1}, {626, 2}, {300, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *sub = test_path(dir, "sub");
        assert_int_equal(mkdir(sub, 0700), 0);
        uint32_t n_shards = 0;
        assert_ok(write_samples(&err, sub, cases[i].max_bytes, NULL, &n_shards));
        assert_int_equal(n_shards, cases[i].n_shards);
        assert_reads_back(sub);
        test_dir_remove(sub);
    }
}

static void test_same_input_same_bytes(void **state)
{
    (void)state;
    paro_error err;
    static const char *const files[] = {"model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json"};
    char *subs[2] = {test_path(dir, "one"), test_path(dir, "two")};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(mkdir(subs[k], 0700), 0);
        assert_ok(write_samples(&err, subs[k], 456, NULL, NULL));
    }
    for (size_t i = 0; i < 3; i++) {
        char *bytes[2];
        size_t n[2];
        for (int k = 0; k < 2; k++) {
            char *path = test_path(subs[k], files[i]);
            assert_ok(paro_file_read(&err, path, 1 << 20, &bytes[k], &n[k]));
            free(path);
        }
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
        free(bytes[0]), free(bytes[1]);
    }
    free(subs[0]), free(subs[1]);
}

static void test_nothing_declared(void **state)
{
    (void)state;
    paro_error err;
    paro_shard_writer *writer = NULL;
    uint64_t n_bytes = 1;
    assert_ok(paro_shard_writer_new(&err, dir, 0, &writer));
    assert_ok(paro_shard_writer_finish(&err, writer, &n_bytes, NULL));
    assert_int_equal(n_bytes, 0);
    paro_shard_writer_free(writer);
    paro_tensor_set *set = NULL;
    assert_ok(paro_tensor_set_open(&err, dir, &set));
    assert_int_equal(paro_tensor_set_count(set), 0);
    paro_tensor_set_free(set);
}

static void test_misuse(void **state)
{
    (void)state;
    paro_error err;
    paro_shard_writer *writer = NULL;
    const uint64_t four[1] = {4}, huge[2] = {UINT64_C(1) << 62, 4},
                   flat[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const paro_status bad = PARO_STATUS_INVALID_ARGUMENT;
    assert_ok(paro_shard_writer_new(&err, dir, 0, &writer));
    assert_ok(paro_shard_writer_declare(&err, writer, "a", PARO_DTYPE_U8, 1, four));
    assert_ok(paro_shard_writer_declare(&err, writer, "deep", PARO_DTYPE_U8, 8, flat));
    assert_fails(paro_shard_writer_declare(&err, writer, "a", PARO_DTYPE_U8, 1, four), bad,
                 "a: declared twice");
    assert_fails(paro_shard_writer_declare(&err, writer, "", PARO_DTYPE_U8, 1, four), bad, "name");
    assert_fails(paro_shard_writer_declare(&err, writer, "__metadata__", PARO_DTYPE_U8, 1, four),
                 bad, "__metadata__");
    assert_fails(paro_shard_writer_declare(&err, writer, "b\xff", PARO_DTYPE_U8, 1, four), bad,
                 "UTF-8");
    assert_fails(paro_shard_writer_declare(&err, writer, "b", PARO_DTYPE_U8, 9, four), bad, "b: ");
    assert_fails(paro_shard_writer_declare(&err, writer, "b", PARO_DTYPE_COUNT, 1, four), bad,
                 "b: expected a dtype");
    assert_fails(paro_shard_writer_declare(&err, writer, "b", PARO_DTYPE_U8, 2, huge), bad,
                 "b: too large");
    assert_fails(paro_shard_writer_metadata(&err, writer, "k", "\xc3("), bad, "UTF-8");
    assert_fails(paro_shard_writer_metadata(&err, writer, "\xff", "v"), bad, "UTF-8");

    /* A declaration that failed was not one. */
    assert_ok(paro_shard_writer_declare(&err, writer, "b", PARO_DTYPE_U8, 1, four));
    assert_fails(paro_shard_writer_finish(&err, writer, NULL, NULL), bad, "a: was declared");
    assert_fails(paro_shard_writer_write(&err, writer, "deep", "1", 1), bad, "expected a");
    assert_fails(paro_shard_writer_write(&err, writer, "a", "123", 3), bad, "of 4 bytes");
    assert_fails(paro_shard_writer_declare(&err, writer, "c", PARO_DTYPE_U8, 1, four), bad,
                 "after the first data");
    assert_fails(paro_shard_writer_metadata(&err, writer, "k", "v"), bad, "after");
    assert_ok(paro_shard_writer_write(&err, writer, "a", "1234", 4));
    assert_fails(paro_shard_writer_write(&err, writer, "a", "1234", 4), bad, "expected deep");
    assert_ok(paro_shard_writer_write(&err, writer, "deep", "1", 1));
    assert_fails(paro_shard_writer_finish(&err, writer, NULL, NULL), bad, "b: was declared");
    assert_ok(paro_shard_writer_write(&err, writer, "b", "1234", 4));
    assert_fails(paro_shard_writer_write(&err, writer, "b", "1234", 4), bad, "no more tensors");
    assert_ok(paro_shard_writer_finish(&err, writer, NULL, NULL));
    paro_shard_writer_free(writer);
    paro_shard_writer_free(NULL);
}

static void test_existing_files_are_not_touched(void **state)
{
    (void)state;
    paro_error err;
    test_file_write(dir, "model.safetensors", "precious", 8);
    memset(&err, 0, sizeof err);
    assert_int_equal(write_samples(&err, dir, 0, NULL, NULL), PARO_STATUS_IO);
    assert_non_null(strstr(err.message, "model.safetensors"));
    char *path = test_path(dir, "model.safetensors"), *bytes = NULL;
    size_t n;
    assert_ok(paro_file_read(&err, path, 100, &bytes, &n));
    assert_string_equal(bytes, "precious");
    free(bytes), free(path);
    assert_fails(write_samples(&err, "/no/such/folder", 0, NULL, NULL), PARO_STATUS_NOT_FOUND,
                 "/no/such/folder/model.safetensors");
}

/* The disk is full after n bytes of a file, for every n that matters: never a success, and after
 * the failure nothing succeeds. */
static void test_full_disk(void **state)
{
    (void)state;
    paro_error err;
    struct rlimit was, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    signal(SIGXFSZ, SIG_IGN);
    char *file = test_path(dir, "model.safetensors");
    assert_ok(write_samples(&err, dir, 0, NULL, NULL));
    struct stat info;
    assert_int_equal(stat(file, &info), 0);
    assert_int_equal(unlink(file), 0);
    for (rlim_t n = 0; n < (rlim_t)info.st_size; n += n < 16 ? 1 : 61) {
        limit = was;
        limit.rlim_cur = n;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        memset(&err, 0, sizeof err);
        paro_status status = write_samples(&err, dir, 0, NULL, NULL);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
        assert_int_equal(status, PARO_STATUS_IO);
        assert_non_null(strstr(err.message, "model.safetensors: cannot write"));
        assert_int_equal(unlink(file), 0);
    }

    const uint64_t shape[1] = {1 << 16};
    unsigned char *data = calloc(1, 1 << 16);
    paro_shard_writer *writer = NULL;
    assert_non_null(data);
    assert_ok(paro_shard_writer_new(&err, dir, 0, &writer));
    assert_ok(paro_shard_writer_declare(&err, writer, "a", PARO_DTYPE_U8, 1, shape));
    limit = was;
    limit.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    paro_status status = paro_shard_writer_write(&err, writer, "a", data, 1 << 16);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(status, PARO_STATUS_IO);
    /* There is room now; but half of the tensor is in the file already. */
    assert_fails(paro_shard_writer_write(&err, writer, "a", data, 1 << 16),
                 PARO_STATUS_INVALID_ARGUMENT, "failed before");
    assert_fails(paro_shard_writer_finish(&err, writer, NULL, NULL), PARO_STATUS_INVALID_ARGUMENT,
                 "failed before");
    paro_shard_writer_free(writer);
    free(data), free(file);
    signal(SIGXFSZ, SIG_DFL);
}

/* A checkpoint that someone else wrote, copied tensor by tensor. */
static void test_copying_a_real_checkpoint(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *from = NULL, *to = NULL;
    paro_shard_writer *writer = NULL;
    char *path = test_shared_path("test_copying_a_real_checkpoint", "models/llama-PARO");
    assert_ok(paro_tensor_set_open(&err, path, &from));
    assert_ok(paro_shard_writer_new(&err, dir, 10000000, &writer));
    for (size_t i = 0; i < paro_tensor_set_count(from); i++) {
        const paro_tensor *t = paro_tensor_set_get(from, i);
        assert_ok(paro_shard_writer_declare(&err, writer, t->name, t->dtype, t->rank, t->shape));
    }
    for (size_t i = 0; i < paro_tensor_set_count(from); i++) {
        const paro_tensor *t = paro_tensor_set_get(from, i);
        assert_ok(paro_shard_writer_write(&err, writer, t->name, t->data, t->n_bytes));
    }
    uint32_t n_shards;
    assert_ok(paro_shard_writer_finish(&err, writer, NULL, &n_shards));
    assert_true(n_shards > 1);
    paro_shard_writer_free(writer);
    assert_ok(paro_tensor_set_open(&err, dir, &to));
    assert_int_equal(paro_tensor_set_count(to), paro_tensor_set_count(from));
    for (size_t i = 0; i < paro_tensor_set_count(from); i++) {
        const paro_tensor *a = paro_tensor_set_get(from, i);
        const paro_tensor *b = paro_tensor_set_find(to, a->name);
        assert_non_null(b);
        assert_ok(paro_tensor_expect(&err, b, a->dtype, a->rank, a->shape));
        assert_memory_equal(a->data, b->data, a->n_bytes);
    }
    paro_tensor_set_free(from);
    paro_tensor_set_free(to);
    free(path);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_one_file),
        TEST(test_shards),
        TEST(test_same_input_same_bytes),
        TEST(test_nothing_declared),
        TEST(test_misuse),
        TEST(test_existing_files_are_not_touched),
        TEST(test_full_disk),
        TEST(test_copying_a_real_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
