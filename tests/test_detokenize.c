/* SPDX-License-Identifier: MIT
 *
 * Ids to text, at once and as a stream.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/tokenizer.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "tests/support.h"

static paro_tokenizer *open_golden(const char *name)
{
    char path[128];
    paro_error err;
    paro_tokenizer *tokenizer = NULL;

    snprintf(path, sizeof(path), "tests/goldens/tokenizer/%s.json", name);
    assert_ok(paro_tokenizer_open(&err, path, &tokenizer));
    return tokenizer;
}

/* The pieces of a stream put together are the text of all ids, and each is whole characters. Random
 * ids are mostly parts of characters. */
static void test_stream_equals_decode(void **state)
{
    static const char *const names[] = {"gpt2", "llama3", "qwen2", "odd"};
    paro_error err;
    paro_rng rng;

    (void)state;
    paro_rng_seed(&rng, 7);
    for (int round = 0; round < 400; round++) {
        paro_tokenizer *tokenizer = round % 100 == 0 ? open_golden(names[round / 100]) : NULL;
        static paro_tokenizer *current;
        static paro_decode_stream *stream;
        bool skip = round % 200 >= 100;
        int32_t ids[64];
        size_t n_ids = (size_t)paro_rng_below(&rng, 64);
        paro_buffer joined = {0};
        char *text = NULL;
        size_t n_text = 0;
        const char *piece = NULL;
        size_t n = 0;

        if (tokenizer != NULL) {
            paro_decode_stream_free(stream);
            paro_tokenizer_free(current);
            current = tokenizer;
            assert_ok(paro_decode_stream_new(&err, current, skip, &stream));
        }
        assert_true(paro_buffer_reserve(&joined, 0));
        for (size_t i = 0; i < n_ids; i++)
            ids[i] = (int32_t)paro_rng_below(&rng, paro_tokenizer_vocab(current));
        assert_ok(paro_tokenizer_decode(&err, current, ids, n_ids, skip, &text, &n_text));
        assert_int_equal(text[n_text], 0);
        assert_int_equal(paro_utf8_valid_prefix(text, n_text), n_text);
        for (size_t i = 0; i < n_ids; i++) {
            assert_ok(paro_decode_stream_push(&err, stream, ids[i], &piece, &n));
            assert_int_equal(piece[n], 0);
            assert_int_equal(paro_utf8_valid_prefix(piece, n), n);
            assert_true(paro_buffer_append(&joined, piece, n));
        }
        assert_ok(paro_decode_stream_finish(&err, stream, &piece, &n));
        assert_true(paro_buffer_append(&joined, piece, n));
        assert_int_equal(joined.n_bytes, n_text);
        assert_memory_equal(joined.data, text, n_text);
        free(text);
        paro_buffer_free(&joined);
        if (round == 399) {
            paro_decode_stream_free(stream);
            paro_tokenizer_free(current);
        }
    }
}

/* An emoji comes when its last byte does; what never gets whole comes as U+FFFD. */
static void test_held_back(void **state)
{
    paro_tokenizer *tokenizer = open_golden("smollm2");
    paro_error err;
    paro_decode_stream *stream = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    const char *piece = NULL;
    size_t n = 9;
    bool came = false;

    (void)state;
    assert_ok(paro_tokenizer_encode(&err, tokenizer, "\xF0\x9F\xA6\x93", 4, NULL, &ids, &n_ids));
    assert_true(n_ids > 1);
    assert_ok(paro_decode_stream_new(&err, tokenizer, false, &stream));
    assert_ok(paro_decode_stream_finish(&err, stream, &piece, &n));
    assert_int_equal(n, 0);
    for (size_t i = 0; i < n_ids; i++) {
        assert_ok(paro_decode_stream_push(&err, stream, ids[i], &piece, &n));
        assert_false(came);
        came = n > 0;
        assert_true(!came || strcmp(piece, "\xF0\x9F\xA6\x93") == 0);
    }
    assert_true(came);
    assert_ok(paro_decode_stream_push(&err, stream, ids[0], &piece, &n));
    assert_int_equal(n, 0);
    assert_ok(paro_decode_stream_finish(&err, stream, &piece, &n));
    assert_string_equal(piece, "\xEF\xBF\xBD");
    /* As new: the rest of the emoji is nothing by itself. */
    assert_ok(paro_decode_stream_push(&err, stream, ids[n_ids - 1], &piece, &n));
    assert_string_equal(piece, "\xEF\xBF\xBD");
    free(ids);
    paro_decode_stream_free(stream);
    paro_tokenizer_free(tokenizer);
}

static void test_special(void **state)
{
    const int32_t ids[] = {0, 40, 1};
    paro_tokenizer *tokenizer = open_golden("gpt2");
    paro_error err;
    char *text = NULL;
    size_t n = 0;

    (void)state;
    assert_ok(paro_tokenizer_decode(&err, tokenizer, ids, 3, false, &text, &n));
    assert_int_equal(strncmp(text, "<|begin|>", 9), 0);
    assert_string_equal(text + n - 7, "<|end|>");
    free(text);
    assert_ok(paro_tokenizer_decode(&err, tokenizer, ids, 3, true, &text, &n));
    assert_int_equal(n, 1);
    free(text);
    assert_ok(paro_tokenizer_decode(&err, tokenizer, NULL, 0, true, &text, &n));
    assert_non_null(text);
    assert_int_equal(n, 0);
    free(text);
    paro_tokenizer_free(tokenizer);
}

static void test_unknown_ids(void **state)
{
    paro_tokenizer *tokenizer = open_golden("gpt2");
    const int32_t wrong[] = {-1, (int32_t)paro_tokenizer_vocab(tokenizer), INT32_MAX, INT32_MIN};
    paro_error err;
    paro_decode_stream *stream = NULL;

    (void)state;
    assert_ok(paro_decode_stream_new(&err, tokenizer, false, &stream));
    for (size_t i = 0; i < 4; i++) {
        const int32_t ids[] = {5, wrong[i]};
        char *text = NULL;
        const char *piece = NULL;
        size_t n = 7;

        assert_fails(paro_tokenizer_decode(&err, tokenizer, ids, 2, false, &text, &n),
                     PARO_STATUS_INVALID_ARGUMENT, "is not in the vocabulary (ids below 400)");
        assert_null(text);
        assert_fails(paro_decode_stream_push(&err, stream, wrong[i], &piece, &n),
                     PARO_STATUS_INVALID_ARGUMENT, "is not in the vocabulary");
        assert_null(piece);
        assert_int_equal(n, 7);
    }
    paro_decode_stream_free(stream);
    paro_decode_stream_free(NULL);
    paro_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_equals_decode),
        cmocka_unit_test(test_held_back),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_unknown_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
