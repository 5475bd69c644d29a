/* SPDX-License-Identifier: MIT
 *
 * base/safetensors.c: what a good file holds, and every way a header can lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#include "base/buffer.h"
#include "base/safetensors.h"
#include "tests/support.h"

static char *dir; /* made anew for every test */

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

/* A file of a header that claims `n_claimed` bytes, the header and n_data bytes 0, 1, 2, … */
static void write_raw(const char *name, uint64_t n_claimed, const char *header, size_t n_header,
                      size_t n_data)
{
    unsigned char *bytes = malloc(8 + n_header + n_data);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(n_claimed >> 8 * i);
    memcpy(bytes + 8, header, n_header);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n_header + i] = (unsigned char)i;
    test_file_write(dir, name, bytes, 8 + n_header + n_data);
    free(bytes);
}

static void write_tensors(const char *name, const char *header, size_t n_data)
{
    write_raw(name, strlen(header), header, strlen(header), n_data);
}

static paro_status open_in_dir(paro_error *err, const char *name, paro_tensor_set **out)
{
    char *path = test_path(dir, name);
    paro_status status = paro_tensor_set_open(err, path, out);
    free(path);
    return status;
}

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end \
    "]}"

static void test_good_file(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *set = NULL;
    write_tensors("f",
                  "{" T("z.last", "I32", "[2,1]", 0, 8) "," T("a", "F16", "[3]", 8, 14) "," T(
                      "scalar", "F32", "[]", 14,
                      18) "," T("none", "BF16", "[4,0,2]", 18,
                                18) ","
                                    "\"__metadata__\":{\"format\":\"pt\",\"about\":\"Grüße\"}}   ",
                  18);
    assert_ok(open_in_dir(&err, "f", &set));
    assert_int_equal(paro_tensor_set_count(set), 4);
    static const char *const names[] = {"a", "none", "scalar", "z.last"};
    for (size_t i = 0; i < 4; i++) {
        const paro_tensor *t = paro_tensor_set_get(set, i);
        assert_string_equal(t->name, names[i]);
        assert_ptr_equal(paro_tensor_set_find(set, names[i]), t);
        assert_int_equal(strcmp(paro_path_base(t->file), "f"), 0);
    }
    const paro_tensor *a = paro_tensor_set_find(set, "a");
    assert_int_equal(a->dtype, PARO_DTYPE_F16);
    assert_int_equal(a->rank, 1);
    assert_int_equal(a->shape[0], 3);
    assert_int_equal(a->n_values, 3);
    assert_int_equal(a->n_bytes, 6);
    assert_memory_equal(a->data, "\x08\x09\x0a\x0b\x0c\x0d", 6);
    const paro_tensor *scalar = paro_tensor_set_find(set, "scalar");
    assert_int_equal(scalar->rank, 0);
    assert_int_equal(scalar->n_values, 1);
    const paro_tensor *none = paro_tensor_set_find(set, "none");
    assert_int_equal(none->n_values, 0);
    assert_non_null(none->data);
    assert_null(paro_tensor_set_find(set, "b"));
    assert_null(paro_tensor_set_find(set, ""));
    assert_null(paro_tensor_set_find(set, "__metadata__"));

    const char *value = NULL;
    assert_string_equal(paro_tensor_set_metadata(set, 0, &value), "about");
    assert_string_equal(value, "Grüße");
    assert_string_equal(paro_tensor_set_metadata(set, 1, &value), "format");
    assert_string_equal(value, "pt");
    assert_null(paro_tensor_set_metadata(set, 2, &value));
    paro_tensor_set_free(set);
    paro_tensor_set_free(NULL);
}

static void test_empty_sets(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *set = NULL;
    write_tensors("f", "{}", 0);
    assert_ok(open_in_dir(&err, "f", &set));
    assert_int_equal(paro_tensor_set_count(set), 0);
    paro_tensor_set_free(set);
}

/* Headers that lie. Every message names the file, and the tensor where one is to blame. */
static void test_lies(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t n_data;
        const char *words;
    } cases[] = {
        {"[]", 0, "expected a JSON object"},
        {"\"x\"", 0, "f: "},
        {"{", 0, "not valid JSON"},
        {"{} x", 0, "not valid JSON"},
        {"\0{}", 0, "not valid JSON"},
        {"{" T("a", "U8", "[1]", 0, 1) "," T("a", "U8", "[1]", 1, 2) "}", 2, "duplicate"},
        {"{" T("a", "F17", "[1]", 0, 1) "}", 1, "a: dtype: expected one such as \"F16\""},
        {"{" T("a", "f32", "[1]", 0, 4) "}", 4, "found f32"},
        {"{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "a: dtype"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "a: dtype"},
        {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "a: shape"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "a: data_offsets"},
        {"{\"a\":7}", 0, "a: expected an object, found an integer"},
        {"{\"a\":null}", 0, "a: expected an object"},
        {"{" T("", "U8", "[1]", 0, 1) "}", 1, "without a name"},
        {"{" T("a", "U8", "{}", 0, 1) "}", 1, "a: shape"},
        {"{" T("a", "U8", "[1.0]", 0, 1) "}", 1, "a: shape[0]: expected an integer"},
        {"{" T("a", "U8", "[1,\"1\"]", 0, 1) "}", 1, "a: shape[1]"},
        {"{" T("a", "U8", "[-1]", 0, 1) "}", 1, "a: shape[0]"},
        {"{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, "at most 8"},
        {"{" T("a", "U8", "[99999999999999999999]", 0, 1) "}", 1, "too big integer"},
        {"{" T("a", "U8", "[4294967296,4294967296]", 0, 0) "}", 0, "a: "},
        {"{" T("a", "F64", "[2305843009213693952]", 0, 0) "}", 0, "a: "},
        {"{" T("a", "F32", "[4611686018427387904,2]", 0, 0) "}", 0, "a: "},
        {"{" T("a", "U8", "[4294967296,4294967296,0]", 0, 1) "}", 1, "a: "},
        {"{" T("a", "F32", "[2500000000]", 0, 10000000000) "}", 8, "a: data ends at byte"},
        {"{" T("a", "U8", "[3]", 0, 3) "}", 2, "a: data ends at byte 3"},
        {"{" T("a", "U8", "[3]", 0, 2) "}", 2, "a: U8 [3] does not take the 2 bytes"},
        {"{" T("a", "F32", "[1]", 0, 3) "}", 3, "does not take"},
        {"{" T("a", "U8", "[1]", 1, 0) "}", 1, "a: data_offsets: expected [begin, end]"},
        {"{" T("a", "U8", "[1]", -1, 0) "}", 1, "a: data_offsets"},
        {"{" T("a", "U8", "[1]", 9223372036854775807, 9223372036854775808) "}", 1, "too big"},
        {"{" T("a", "U8", "[1]", 9223372036854775806, 9223372036854775807) "}", 1, "a: data ends"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "a: data_offsets"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "a: data_offsets"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0.0,1]}}", 1, "a: data_offsets"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":{}}}", 1, "a: data_offsets"},
        {"{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 1, 3) "}", 3,
         "b: begins at byte 1 of the data, expected 2 (it overlaps"},
        {"{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 0, 2) "}", 2, "overlaps"},
        {"{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 3, 5) "}", 5,
         "b: begins at byte 3 of the data, expected 2 (it leaves a gap)"},
        {"{" T("a", "U8", "[2]", 1, 3) "}", 3, "a: begins at byte 1"},
        {"{" T("a", "U8", "[2]", 0, 2) "}", 3, "the tensors end at byte 2"},
        {"{}", 1, "the tensors end at byte 0"},
        {"{\"__metadata__\":[]}", 0, "__metadata__: expected an object"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__: k: expected a string, found an integer"},
        {"{\"__metadata__\":{\"k\":{}}}", 0, "__metadata__: k"},
    };
    char *path = test_path(dir, "f");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        paro_error err;
        paro_tensor_set *set = NULL;
        size_t n = cases[i].header[0] == 0 ? 3 : strlen(cases[i].header);
        write_raw("f", n, cases[i].header, n, cases[i].n_data);
        assert_fails(open_in_dir(&err, "f", &set), PARO_STATUS_FORMAT, cases[i].words);
        assert_non_null(strstr(err.message, path));
        assert_null(set);
    }
    free(path);
}

static void test_lies_about_the_header_length(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *set = NULL;
    for (size_t n = 0; n < 8; n++) { /* shorter than the length itself */
        test_file_write(dir, "f", "\2\0\0\0\0\0\0\0", n);
        assert_fails(open_in_dir(&err, "f", &set), PARO_STATUS_FORMAT, "/f: ");
    }
    static const uint64_t claims[] = {
        3,           4096,           100000000,      100000001,  INT64_MAX,
        UINT64_MAX,  UINT64_MAX - 7, UINT64_MAX - 8, UINT32_MAX, (uint64_t)1 << 32,
        10000000000U};
    for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++) {
        write_raw("f", claims[i], "{}", 2, 0);
        char number[32];
        snprintf(number, sizeof number, "claims %" PRIu64, claims[i]);
        assert_fails(open_in_dir(&err, "f", &set), PARO_STATUS_FORMAT, number);
    }
    write_raw("f", 0, "", 0, 0); /* no header is not {} */
    assert_fails(open_in_dir(&err, "f", &set), PARO_STATUS_FORMAT, "not valid JSON");
    assert_null(set);
}

/* A good file cut at every byte, and with every byte of its head changed, opens or gives an error.
 */
static void test_damaged_files(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *set = NULL;
    static const char header[] =
        "{" T("a", "F16", "[2,2]", 0, 8) "," T("b", "U8", "[3]", 8, 11) "}";
    enum { N = 8 + sizeof header - 1 + 11 };
    unsigned char good[N] = {sizeof header - 1};
    memcpy(good + 8, header, sizeof header - 1);
    for (size_t n = 0; n < N; n++) {
        test_file_write(dir, "f", good, n);
        assert_fails(open_in_dir(&err, "f", &set), PARO_STATUS_FORMAT, "/f: ");
    }
    int n_refused = 0;
    for (size_t at = 0; at < 8 + sizeof header - 1; at++) {
        static const unsigned char values[] = {0, '9', '"', '}', 0xFF};
        for (size_t v = 0; v < sizeof values; v++) {
            unsigned char changed[N];
            memcpy(changed, good, N);
            changed[at] = values[v];
            test_file_write(dir, "f", changed, N);
            if (open_in_dir(&err, "f", &set) == PARO_STATUS_OK) {
                for (size_t i = 0; i < paro_tensor_set_count(set); i++) {
                    const paro_tensor *t = paro_tensor_set_get(set, i);
                    volatile unsigned char last = 0;
                    if (t->n_bytes > 0)
                        last = ((const unsigned char *)t->data)[t->n_bytes - 1];
                    (void)last;
                }
                paro_tensor_set_free(set);
            } else {
                n_refused++;
            }
        }
    }
    assert_in_range(n_refused, 400, 5 * (8 + sizeof header - 1));
}

static void test_deep_nesting(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *set = NULL;
    size_t n = 1000000;
    char *header = malloc(n);
    assert_non_null(header);
    memset(header, '[', n);
    memcpy(header, "{\"a\":", 5);
    write_raw("f", n, header, n, 0);
    assert_fails(open_in_dir(&err, "f", &set), PARO_STATUS_FORMAT, "nested more than");
    free(header);
}

/* Many entries must not cost the square of their number. */
static void test_many_entries_are_quick(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *set = NULL;
    enum { N = 100000 };
    paro_buffer header = {0};
    assert_true(paro_buffer_append_text(&header, "{\"__metadata__\":{\"k\":\"v\""));
    for (int i = 0; i < N; i++)
        assert_true(paro_buffer_printf(&header, ",\"key%d\":\"v\"", i));
    assert_true(paro_buffer_append_text(&header, "}"));
    for (int i = 0; i < N; i++)
        assert_true(paro_buffer_printf(
            &header, ",\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i, i,
            i + 1));
    assert_true(paro_buffer_append_text(&header, "}"));
    write_raw("f", header.n_bytes, header.data, header.n_bytes, N);
    paro_buffer_free(&header);
    clock_t start = clock();
    assert_ok(open_in_dir(&err, "f", &set));
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    assert_int_equal(paro_tensor_set_count(set), N);
    paro_tensor_set_free(set);
    print_message("%d tensors and %d metadata keys: %.2f s\n", N, N, seconds);
    assert_true(seconds < (TEST_SANITIZED ? 60 : 10));
}

/* 10 GB of data, sparse: opened without being read. */
static void test_huge_sparse_file(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *set = NULL;
    const char *header = "{" T("a", "F32", "[2500000000]", 0, 10000000000) "}";
    write_tensors("f", header, 0);
    char *path = test_path(dir, "f");
    if (truncate(path, (off_t)(8 + strlen(header) + 10000000000)) == 0) {
        assert_ok(open_in_dir(&err, "f", &set));
        assert_int_equal(paro_tensor_set_find(set, "a")->n_values, 2500000000);
        paro_tensor_set_free(set);
    } else {
        printf("SKIP test_huge_sparse_file: no room for sparse files of 10 GB in %s\n", dir);
        fflush(stdout);
        free(path);
        skip();
    }
    free(path);
}

static void test_not_files(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *set = NULL;
    assert_fails(open_in_dir(&err, "nothing", &set), PARO_STATUS_NOT_FOUND, "/nothing");
    assert_fails(paro_tensor_set_open(&err, dir, &set), PARO_STATUS_NOT_FOUND,
                 "neither model.safetensors nor");
    assert_fails(paro_tensor_set_open(&err, "/dev/null", &set), PARO_STATUS_INVALID_ARGUMENT,
                 "/dev/null");
    assert_null(set);
}

static const char *const index_name = "model.safetensors.index.json";

static void write_index(const char *text)
{
    test_file_write(dir, index_name, text, strlen(text));
}

static void test_shards(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *set = NULL;
    write_tensors("s1", "{\"__metadata__\":{\"format\":\"pt\"}," T("b", "U8", "[1]", 0, 1) "}", 1);
    write_tensors("s2",
                  "{\"__metadata__\":{\"format\":\"pt\"}," T("a", "U8", "[2]", 0,
                                                             2) "," T("c", "U8", "[1]", 2, 3) "}",
                  3);
    write_index("{\"metadata\":{\"total_size\":4},\"weight_map\":{\"a\":\"s2\",\"b\":\"s1\",\"c\":"
                "\"s2\"}}");
    assert_ok(paro_tensor_set_open(&err, dir, &set));
    assert_int_equal(paro_tensor_set_count(set), 3);
    assert_string_equal(paro_path_base(paro_tensor_set_find(set, "a")->file), "s2");
    assert_string_equal(paro_path_base(paro_tensor_set_find(set, "b")->file), "s1");
    assert_string_equal(paro_tensor_set_get(set, 1)->name, "b");
    const char *value;
    assert_string_equal(paro_tensor_set_metadata(set, 0, &value), "format");
    assert_null(paro_tensor_set_metadata(set, 1, &value));
    paro_tensor_set_free(set);
    /* Shards are not looked at where there is one file of everything, as in transformers. */
    write_tensors("model.safetensors", "{" T("whole", "U8", "[1]", 0, 1) "}", 1);
    set = NULL;
    assert_ok(paro_tensor_set_open(&err, dir, &set));
    assert_int_equal(paro_tensor_set_count(set), 1);
    assert_non_null(paro_tensor_set_find(set, "whole"));
    paro_tensor_set_free(set);
}

static void test_index_lies(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        paro_status status;
        const char *words;
    } cases[] = {
        {"", PARO_STATUS_FORMAT, "index.json: not valid JSON"},
        {"[]", PARO_STATUS_FORMAT, "expected a JSON object"},
        {"{}", PARO_STATUS_FORMAT, "weight_map: missing"},
        {"{\"weight_map\":[]}", PARO_STATUS_FORMAT, "weight_map: expected an object"},
        {"{\"weight_map\":{\"a\":1}}", PARO_STATUS_FORMAT, "a: expected the name of a file"},
        {"{\"weight_map\":{\"a\":\"\"}}", PARO_STATUS_FORMAT, "a: expected the name of a file"},
        {"{\"weight_map\":{\"a\":\"../s1\"}}", PARO_STATUS_FORMAT,
         "a: expected the name of a file"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", PARO_STATUS_FORMAT, "in this folder"},
        {"{\"weight_map\":{\"a\":\"sub/s1\"}}", PARO_STATUS_FORMAT, "in this folder"},
        {"{\"weight_map\":{\"a\":\"..\"}}", PARO_STATUS_FORMAT, "in this folder"},
        {"{\"weight_map\":{\"a\":\".\"}}", PARO_STATUS_FORMAT, "in this folder"},
        {"{\"weight_map\":{\"a\":\"s9\"}}", PARO_STATUS_NOT_FOUND, "s9"},
        {"{\"weight_map\":{\"a\":\"sub\"}}", PARO_STATUS_INVALID_ARGUMENT, "sub"},
        {"{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\",\"q\":\"s1\"}}", PARO_STATUS_FORMAT,
         "q: not in s1"},
        {"{\"weight_map\":{\"a\":\"s1\",\"b\":\"s3\",\"d\":\"s3\"}}", PARO_STATUS_FORMAT,
         "b: not in s3"},
        {"{\"weight_map\":{\"a\":\"s1\"}}", PARO_STATUS_FORMAT, "b is not in the index"},
        {"{\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\"}}", PARO_STATUS_FORMAT, "is also in"},
        {"{\"weight_map\":{\"a\":\"s1\",\"a\":\"s1\"}}", PARO_STATUS_FORMAT, "duplicate"},
        {"{\"weight_map\":{\"a\":\"bad\"}}", PARO_STATUS_FORMAT, "bad: "},
    };
    write_tensors("s1", "{" T("a", "U8", "[1]", 0, 1) "," T("b", "U8", "[1]", 1, 2) "}", 2);
    write_tensors("s2", "{" T("b", "U8", "[1]", 0, 1) "}", 1);
    write_tensors("s3", "{" T("d", "U8", "[1]", 0, 1) "}", 1);
    write_tensors("bad", "{" T("d", "U8", "[1]", 0, 1) "}", 0);
    char *sub = test_path(dir, "sub");
    assert_int_equal(mkdir(sub, 0700), 0);
    free(sub);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        paro_error err;
        paro_tensor_set *set = NULL;
        write_index(cases[i].text);
        assert_fails(paro_tensor_set_open(&err, dir, &set), cases[i].status, cases[i].words);
        assert_non_null(strstr(err.message, dir));
        assert_null(set);
    }
}

static void *copy_of(const void *data, size_t n)
{
    void *copy = malloc(n);
    assert_non_null(copy);
    memcpy(copy, data, n);
    return copy;
}

static void test_put_and_hide(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor_set *below = NULL, *above = NULL;
    write_tensors("f",
                  "{" T("a", "U8", "[1]", 0, 1) "," T("b", "U8", "[1]", 1,
                                                      2) "," T("c", "U8", "[1]", 2, 3) "}",
                  3);
    assert_ok(open_in_dir(&err, "f", &below));
    assert_ok(paro_tensor_set_new(&err, below, &above));
    assert_ptr_equal(paro_tensor_set_find(above, "a"), paro_tensor_set_find(below, "a"));
    assert_int_equal(paro_tensor_set_count(above), 0);

    char name[8] = "b";
    paro_tensor tensor = {.name = name, .dtype = PARO_DTYPE_F32, .rank = 1, .shape = {2}};
    const float values[2] = {1, 2};
    assert_ok(paro_tensor_set_put(&err, above, &tensor, copy_of(values, sizeof values)));
    name[0] = '?'; /* it was copied */
    const paro_tensor *b = paro_tensor_set_find(above, "b");
    assert_int_equal(b->n_bytes, 8);
    assert_int_equal(b->n_values, 2);
    assert_string_equal(b->file, "(memory)");
    assert_memory_equal(b->data, values, 8);
    assert_int_equal(paro_tensor_set_find(below, "b")->n_bytes, 1);

    assert_ok(paro_tensor_set_hide(&err, above, "a"));
    assert_null(paro_tensor_set_find(above, "a"));
    assert_non_null(paro_tensor_set_find(below, "a"));
    assert_non_null(paro_tensor_set_find(above, "c"));

    /* The set takes the data also when it fails. */
    tensor.name = "b";
    assert_fails(paro_tensor_set_put(&err, above, &tensor, copy_of(values, 8)), PARO_STATUS_FORMAT,
                 "b");
    tensor.name = "huge";
    tensor.shape[0] = UINT64_MAX;
    assert_fails(paro_tensor_set_put(&err, above, &tensor, copy_of(values, 8)),
                 PARO_STATUS_INVALID_ARGUMENT, "huge");
    assert_null(paro_tensor_set_find(above, "huge"));

    /* In order of name, however they came. */
    static const char *const names[] = {"q", "d", "z", "e"};
    for (size_t i = 0; i < 4; i++) {
        paro_tensor t = {.name = names[i], .dtype = PARO_DTYPE_U8, .rank = 1, .shape = {1}};
        assert_ok(paro_tensor_set_put(&err, above, &t, copy_of("x", 1)));
    }
    for (size_t i = 1; i < paro_tensor_set_count(above); i++)
        assert_true(strcmp(paro_tensor_set_get(above, i - 1)->name,
                           paro_tensor_set_get(above, i)->name) < 0);
    paro_tensor_set_free(above);
    paro_tensor_set_free(below);
}

static void test_expect_and_shape_text(void **state)
{
    (void)state;
    paro_error err;
    paro_tensor t = {.name = "w", .file = "f", .dtype = PARO_DTYPE_F16, .rank = 2, .shape = {3, 4}};
    assert_ok(paro_tensor_expect(&err, &t, PARO_DTYPE_F16, 2, (const uint64_t[]){3, 4}));
    assert_fails(paro_tensor_expect(&err, &t, PARO_DTYPE_F16, 2, (const uint64_t[]){4, 3}),
                 PARO_STATUS_FORMAT, "f: w: expected F16 [4, 3], found F16 [3, 4]");
    assert_fails(paro_tensor_expect(&err, &t, PARO_DTYPE_BF16, 2, (const uint64_t[]){3, 4}),
                 PARO_STATUS_FORMAT, "expected BF16 [3, 4]");
    assert_fails(paro_tensor_expect(&err, &t, PARO_DTYPE_F16, 1, (const uint64_t[]){3}),
                 PARO_STATUS_FORMAT, "expected F16 [3], found F16 [3, 4]");

    char text[PARO_SHAPE_TEXT_BYTES];
    assert_string_equal(paro_shape_text(text, NULL, 0), "[]");
    uint64_t most[PARO_MAX_RANK];
    for (int i = 0; i < PARO_MAX_RANK; i++)
        most[i] = UINT64_MAX;
    paro_shape_text(text, most, PARO_MAX_RANK);
    assert_int_equal(strlen(text), 2 + 8 * 20 + 7 * 2);
    assert_int_equal(text[strlen(text) - 1], ']');
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_good_file),
        TEST(test_empty_sets),
        TEST(test_lies),
        TEST(test_lies_about_the_header_length),
        TEST(test_damaged_files),
        TEST(test_deep_nesting),
        TEST(test_many_entries_are_quick),
        TEST(test_huge_sparse_file),
        TEST(test_not_files),
        TEST(test_shards),
        TEST(test_index_lies),
        TEST(test_put_and_hide),
        TEST(test_expect_and_shape_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
