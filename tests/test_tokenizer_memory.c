/* SPDX-License-Identifier: MIT
 *
 * Tokenizers when memory runs out: the first allocation fails, then the second, and so on; every
 * time the answer is the right one or PARO_STATUS_OUT_OF_MEMORY, and outputs are untouched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "tests/support.h"
#include "tokenizer/tokenizer.h"

#if !TEST_SANITIZED

/* The program's own malloc, calloc, realloc and free, in front of glibc's. */
void *__libc_malloc(size_t n_bytes);
void *__libc_calloc(size_t n, size_t n_bytes);
void *__libc_realloc(void *old, size_t n_bytes);
void __libc_free(void *old);

static long n_left = -1; /* allocations until one fails; negative: none does */
static long n_live;      /* allocated and not freed */
static bool failed;

static bool fails(void)
{
    if (n_left < 0)
        return false;
    if (n_left-- > 0)
        return false;
    failed = true;
    return true;
}

static void *counted(void *added)
{
    n_live += added != NULL;
    return added;
}

void *malloc(size_t n_bytes)
{
    return fails() ? NULL : counted(__libc_malloc(n_bytes));
}

void *calloc(size_t n, size_t n_bytes)
{
    return fails() ? NULL : counted(__libc_calloc(n, n_bytes));
}

void *realloc(void *old, size_t n_bytes)
{
    if (fails())
        return NULL;
    return old == NULL ? counted(__libc_malloc(n_bytes)) : __libc_realloc(old, n_bytes);
}

void free(void *old)
{
    n_live -= old != NULL;
    __libc_free(old);
}

static const char text[] =
    "It's 12 caf\xC3\xA9s,\n\n  e\xCC\x81 <think> \xF0\x9F\xA6\x93\xFF<|end|>";

static void expect_status(paro_status status, const paro_error *err)
{
    if (status == PARO_STATUS_OK)
        return;
    if (!failed || status != PARO_STATUS_OUT_OF_MEMORY || err->status != status)
        fail_msg("%s", err->message);
}

static void fail_opening(const char *json, size_t n_json)
{
    failed = true;
    for (long n = 0; failed; n++) {
        paro_error err;
        paro_tokenizer *tokenizer = NULL;
        paro_status status;
        long n_before = n_live;

        failed = false;
        n_left = n;
        status = paro_tokenizer_parse(&err, "t.json", json, n_json, &tokenizer);
        n_left = -1;
        expect_status(status, &err);
        assert_true((tokenizer != NULL) == (status == PARO_STATUS_OK));
        paro_tokenizer_free(tokenizer);
        assert_int_equal(n_live, n_before);
    }
}

static void fail_using(const paro_tokenizer *tokenizer)
{
    const paro_encode_options options = {.add_special_tokens = true};
    paro_error err;
    int32_t *expected = NULL;
    size_t n_expected = 0;

    assert_ok(paro_tokenizer_encode(&err, tokenizer, text, sizeof(text) - 1, &options, &expected,
                                    &n_expected));
    failed = true;
    for (long n = 0; failed; n++) {
        int32_t *ids = NULL;
        size_t n_ids = 0;
        char *back = NULL;
        size_t n_back = 0;
        paro_decode_stream *stream = NULL;
        paro_status status;
        long n_before = n_live;

        failed = false;
        n_left = n;
        status =
            paro_tokenizer_encode(&err, tokenizer, text, sizeof(text) - 1, &options, &ids, &n_ids);
        n_left = failed ? -1 : n_left;
        expect_status(status, &err);
        assert_true((ids != NULL) == (status == PARO_STATUS_OK));
        if (status == PARO_STATUS_OK) {
            assert_int_equal(n_ids, n_expected);
            assert_memory_equal(ids, expected, n_ids * sizeof(*ids));
        }
        free(ids);
        status =
            paro_tokenizer_decode(&err, tokenizer, expected, n_expected, false, &back, &n_back);
        expect_status(status, &err);
        assert_true((back != NULL) == (status == PARO_STATUS_OK));
        free(back);
        status = paro_decode_stream_new(&err, tokenizer, false, &stream);
        expect_status(status, &err);
        for (size_t i = 0; i < n_expected && status == PARO_STATUS_OK; i++) {
            const char *piece;
            size_t n_piece;

            status = paro_decode_stream_push(&err, stream, expected[i], &piece, &n_piece);
            expect_status(status, &err);
        }
        n_left = -1;
        paro_decode_stream_free(stream);
        assert_int_equal(n_live, n_before);
    }
    free(expected);
}

static void test_out_of_memory(void **state)
{
    static const char *const names[] = {"llama3", "odd"};

    (void)state;
    /* jansson 2.14 goes on with half a string where its own buffer cannot grow: it is spared. */
    json_set_alloc_funcs(__libc_malloc, __libc_free);
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        char *json = NULL;
        size_t n_json = 0;
        paro_error err;
        paro_tokenizer *tokenizer = NULL;

        snprintf(path, sizeof(path), "tests/goldens/tokenizer/%s.json", names[i]);
        assert_ok(paro_file_read(&err, path, 1 << 20, &json, &n_json));
        fail_opening(json, n_json);
        assert_ok(paro_tokenizer_parse(&err, path, json, n_json, &tokenizer));
        fail_using(tokenizer);
        paro_tokenizer_free(tokenizer);
        free(json);
    }
}

#else

static void test_out_of_memory(void **state)
{
    (void)state;
    puts("SKIP test_tokenizer_memory: the sanitizer has its own malloc");
    skip();
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
