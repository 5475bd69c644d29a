/* SPDX-License-Identifier: MIT
 *
 * Text to ids: against what `tokenizers` makes of the same texts (tests/goldens/tokenizer/, written
 * by make_tokenizer_goldens.py), and what must hold for any text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <paro/tokenizer.h>

#include "base/file.h"
#include "base/rng.h"
#include "base/thread.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer.h"

static const char *const names[] = {"gpt2", "llama3", "qwen2", "smollm2", "o200k", "odd"};

enum { N_NAMES = sizeof(names) / sizeof(*names) };

static paro_tokenizer *open_golden(const char *name)
{
    char path[128];
    paro_error err;
    paro_tokenizer *tokenizer = NULL;

    snprintf(path, sizeof(path), "tests/goldens/tokenizer/%s.json", name);
    if (paro_tokenizer_open(&err, path, &tokenizer) != PARO_STATUS_OK)
        fail_msg("%s", err.message);
    return tokenizer;
}

static paro_tokenizer *parse(const char *text)
{
    paro_error err;
    paro_tokenizer *tokenizer = NULL;

    if (paro_tokenizer_parse(&err, "t.json", text, strlen(text), &tokenizer) != PARO_STATUS_OK)
        fail_msg("%s", err.message);
    return tokenizer;
}

static int32_t *encode(const paro_tokenizer *tokenizer, const char *text, size_t n_bytes,
                       const paro_encode_options *options, size_t *n_ids)
{
    paro_error err;
    int32_t *ids = NULL;

    if (paro_tokenizer_encode(&err, tokenizer, text, n_bytes, options, &ids, n_ids) !=
        PARO_STATUS_OK)
        fail_msg("%s", err.message);
    assert_non_null(ids);
    return ids;
}

static char *decode(const paro_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, bool skip,
                    size_t *n_bytes)
{
    paro_error err;
    char *text = NULL;

    if (paro_tokenizer_decode(&err, tokenizer, ids, n_ids, skip, &text, n_bytes) != PARO_STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(text[*n_bytes], 0);
    return text;
}

/* Reads the line at *at, which then is the start of the next; false at the end. */
static bool next_line(char **at, char **line)
{
    char *end = strchr(*at, '\n');

    if (end == NULL)
        return false;
    *end = '\0';
    *line = *at;
    *at = end + 1;
    return true;
}

static size_t parse_ids(const char *text, int32_t *ids, size_t capacity)
{
    size_t n = 0;
    char *end;

    for (;;) {
        long id = strtol(text, &end, 16);

        if (end == text)
            return n;
        assert_true(n < capacity);
        ids[n++] = (int32_t)id;
        text = end;
    }
}

static void expect_ids(const char *name, size_t line, const int32_t *expected, size_t n_expected,
                       const int32_t *found, size_t n_found)
{
    for (size_t i = 0; i < n_expected && i < n_found; i++) {
        if (expected[i] != found[i])
            fail_msg("%s.txt:%zu: id %zu is %d, expected %d", name, line, i, found[i], expected[i]);
    }
    if (n_expected != n_found)
        fail_msg("%s.txt:%zu: %zu ids, expected %zu", name, line, n_found, n_expected);
}

static void check_goldens(const char *name)
{
    enum { CAPACITY = 1 << 16 };
    char path[128];
    char *data = NULL;
    char *at;
    char *around = NULL;
    char *hex = NULL;
    char *ids_line = NULL;
    char *plain_line = NULL;
    size_t n_data;
    size_t line = 2;
    int32_t *expected = malloc(CAPACITY * sizeof(*expected));
    char *text = malloc(CAPACITY);
    paro_tokenizer *tokenizer = open_golden(name);

    assert_non_null(expected);
    assert_non_null(text);
    snprintf(path, sizeof(path), "tests/goldens/tokenizer/%s.txt", name);
    assert_int_equal(paro_file_read(NULL, path, 1 << 20, &data, &n_data), PARO_STATUS_OK);
    at = data;
    assert_true(next_line(&at, &around));
    while (next_line(&at, &hex)) {
        size_t n_bytes = strlen(hex) / 2;
        size_t n_expected;
        size_t n_ids;
        int32_t *ids;
        const paro_encode_options special = {.add_special_tokens = true};
        const paro_encode_options plain = {.plain_text = true};

        assert_true(next_line(&at, &ids_line) && next_line(&at, &plain_line));
        for (size_t i = 0; i < n_bytes; i++) {
            const char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};

            text[i] = (char)strtol(digits, NULL, 16);
        }
        n_expected = parse_ids(ids_line, expected, CAPACITY);
        ids = encode(tokenizer, text, n_bytes, NULL, &n_ids);
        expect_ids(name, line, expected, n_expected, ids, n_ids);
        free(ids);

        n_expected = parse_ids(around, expected, CAPACITY);
        n_expected += parse_ids(ids_line, expected + n_expected, CAPACITY - n_expected);
        n_expected +=
            parse_ids(strchr(around, '|') + 1, expected + n_expected, CAPACITY - n_expected);
        ids = encode(tokenizer, text, n_bytes, &special, &n_ids);
        expect_ids(name, line, expected, n_expected, ids, n_ids);
        free(ids);

        n_expected = parse_ids(*plain_line == '=' ? ids_line : plain_line, expected, CAPACITY);
        ids = encode(tokenizer, text, n_bytes, &plain, &n_ids);
        expect_ids(name, line, expected, n_expected, ids, n_ids);
        free(ids);
        line += 3;
    }
    assert_true(line > 50);
    free(expected);
    free(text);
    free(data);
    paro_tokenizer_free(tokenizer);
}

static void matches_tokenizers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++)
        check_goldens(names[i]);
}

/* Text of random code points, mostly low ones. */
static size_t random_text(paro_rng *rng, char *text, size_t capacity)
{
    paro_buffer buffer = {0};
    size_t n_points = (size_t)paro_rng_below(rng, capacity / 8);
    size_t n;

    for (size_t i = 0; i < n_points; i++) {
        static const uint32_t tops[] = {0x80, 0x80, 0x80, 0x250, 0x3000, 0xD800, 0x20000, 0x110000};
        uint32_t point = (uint32_t)paro_rng_below(rng, tops[paro_rng_below(rng, 8)]);

        if (point >= 0xD800 && point < 0xE000)
            point = ' ';
        assert_true(paro_utf8_append(&buffer, point));
    }
    n = buffer.n_bytes;
    if (n > 0)
        memcpy(text, buffer.data, n);
    paro_buffer_free(&buffer);
    return n;
}

/* decode(encode(text)) is the text, for tokenizers that neither normalise nor add spaces. */
static void round_trips(void **state)
{
    static const char *const lossless[] = {"gpt2", "llama3", "smollm2", "o200k"};
    const paro_encode_options plain = {.plain_text = true};
    paro_rng rng;
    char text[4096];

    (void)state;
    paro_rng_seed(&rng, 1);
    for (size_t k = 0; k < 4; k++) {
        paro_tokenizer *tokenizer = open_golden(lossless[k]);

        for (size_t round = 0; round < 300; round++) {
            size_t n_bytes = random_text(&rng, text, sizeof(text));
            size_t n_ids;
            size_t n_back;
            int32_t *ids = encode(tokenizer, text, n_bytes, &plain, &n_ids);
            char *back = decode(tokenizer, ids, n_ids, true, &n_back);

            assert_int_equal(n_back, n_bytes);
            assert_memory_equal(back, text, n_bytes);
            for (size_t i = 0; i < n_ids; i++)
                assert_true(ids[i] >= 0 && (uint32_t)ids[i] < paro_tokenizer_vocab(tokenizer));
            free(back);
            free(ids);
        }
        paro_tokenizer_free(tokenizer);
    }
}

/* Bytes that are not UTF-8 give the ids of the text that has U+FFFD in their place. */
static void broken_text_is_replaced(void **state)
{
    paro_rng rng;

    (void)state;
    paro_rng_seed(&rng, 2);
    for (size_t k = 0; k < N_NAMES; k++) {
        paro_tokenizer *tokenizer = open_golden(names[k]);

        for (size_t round = 0; round < 100; round++) {
            char text[200];
            size_t n_bytes = (size_t)paro_rng_below(&rng, sizeof(text));
            paro_buffer valid = {0};
            size_t n_ids;
            size_t n_valid;
            int32_t *ids;
            int32_t *ids_valid;

            for (size_t i = 0; i < n_bytes; i++)
                text[i] = (char)paro_rng_below(&rng, 256);
            assert_true(paro_utf8_append_valid(&valid, text, n_bytes));
            ids = encode(tokenizer, text, n_bytes, NULL, &n_ids);
            ids_valid = encode(tokenizer, valid.data == NULL ? "" : valid.data, valid.n_bytes, NULL,
                               &n_valid);
            assert_int_equal(n_ids, n_valid);
            assert_memory_equal(ids, ids_valid, n_ids * sizeof(*ids));
            free(ids);
            free(ids_valid);
            paro_buffer_free(&valid);
        }
        paro_tokenizer_free(tokenizer);
    }
}

static void empty_text(void **state)
{
    const paro_encode_options special = {.add_special_tokens = true};
    paro_tokenizer *tokenizer = open_golden("o200k");
    size_t n_ids = 9;
    int32_t *ids;

    (void)state;
    ids = encode(tokenizer, "", 0, NULL, &n_ids);
    assert_int_equal(n_ids, 0);
    free(ids);
    ids = encode(tokenizer, NULL, 0, &special, &n_ids);
    assert_int_equal(n_ids, 2);
    assert_int_equal(ids[0], paro_tokenizer_bos(tokenizer));
    free(ids);
    paro_tokenizer_free(tokenizer);
    tokenizer = open_golden("gpt2");
    assert_int_equal(paro_tokenizer_bos(tokenizer), -1);
    paro_tokenizer_free(tokenizer);
}

/* A word without a place to cut it takes n log n time, not n squared: a megabyte in well under the
 * minutes that would take. */
static void long_words(void **state)
{
    enum { N_BYTES = 1 << 20 };
    static const char *const units[] = {"a", "ab", " ", "\n", "the", "=-"};
    paro_tokenizer *tokenizer = open_golden("llama3");
    char *text = malloc(N_BYTES);

    (void)state;
    assert_non_null(text);
    for (size_t k = 0; k < sizeof(units) / sizeof(*units); k++) {
        size_t n_unit = strlen(units[k]);
        size_t n_ids;
        size_t n_back;
        int32_t *ids;
        char *back;

        for (size_t i = 0; i < N_BYTES; i++)
            text[i] = units[k][i % n_unit];
        ids = encode(tokenizer, text, N_BYTES, NULL, &n_ids);
        back = decode(tokenizer, ids, n_ids, false, &n_back);
        assert_int_equal(n_back, N_BYTES);
        assert_memory_equal(back, text, N_BYTES);
        free(back);
        free(ids);
    }
    free(text);
    paro_tokenizer_free(tokenizer);
}

static void special_tokens_as_text(void **state)
{
    const paro_encode_options plain = {.plain_text = true};
    static const char text[] = "a<|end|>b";
    paro_tokenizer *tokenizer = open_golden("llama3");
    size_t n_ids;
    size_t n_back;
    int32_t *ids = encode(tokenizer, text, strlen(text), NULL, &n_ids);
    char *back = decode(tokenizer, ids, n_ids, true, &n_back);

    (void)state;
    assert_int_equal(n_ids, 3);
    assert_string_equal(back, "ab");
    free(back);
    free(ids);
    ids = encode(tokenizer, text, strlen(text), &plain, &n_ids);
    back = decode(tokenizer, ids, n_ids, true, &n_back);
    assert_true(n_ids > 3);
    assert_string_equal(back, text);
    free(back);
    free(ids);
    paro_tokenizer_free(tokenizer);
}

/* A pattern whose cost explodes is an error, not a wait. */
static void catastrophic_pattern(void **state)
{
    static const char json[] =
        "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", "
        "\"pattern\": {\"Regex\": \"(?:(?:a|b|ab)+)+[cd]\"}, \"behavior\": \"Isolated\"}, "
        "{\"type\": "
        "\"ByteLevel\", \"add_prefix_space\": false}]}, \"decoder\": {\"type\": \"ByteLevel\"}, "
        "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": []}}";
    paro_tokenizer *tokenizer = parse(json);
    paro_error err;
    char text[4000];
    int32_t *ids = NULL;
    size_t n_ids = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 2 == 0 ? 'a' : 'b';
    assert_int_equal(paro_tokenizer_encode(&err, tokenizer, text, sizeof(text), NULL, &ids, &n_ids),
                     PARO_STATUS_LIMIT);
    assert_non_null(strstr(err.message, "pretokenizers[0]"));
    assert_null(ids);
    assert_int_equal(n_ids, 7);
    paro_tokenizer_free(tokenizer);
}

typedef struct shared_work {
    const paro_tokenizer *tokenizer;
    const char *text;
    size_t n_bytes;
    const int32_t *expected;
    size_t n_expected;
    bool same[64];
} shared_work;

static void encode_shared(void *context, size_t i, int worker)
{
    shared_work *work = context;
    int32_t *ids = NULL;
    size_t n_ids = 0;

    (void)worker;
    work->same[i] = paro_tokenizer_encode(NULL, work->tokenizer, work->text, work->n_bytes, NULL,
                                          &ids, &n_ids) == PARO_STATUS_OK &&
                    n_ids == work->n_expected &&
                    memcmp(ids, work->expected, n_ids * sizeof(*ids)) == 0;
    free(ids);
}

/* One tokenizer, several threads. */
static void shared_by_threads(void **state)
{
    char text[4096];
    paro_error err;
    paro_rng rng;
    paro_pool *pool = NULL;
    paro_tokenizer *tokenizer = open_golden("odd");
    shared_work work = {.tokenizer = tokenizer, .text = text};
    int32_t *expected;

    (void)state;
    paro_rng_seed(&rng, 4);
    work.n_bytes = random_text(&rng, text, sizeof(text));
    expected = encode(work.tokenizer, text, work.n_bytes, NULL, &work.n_expected);
    work.expected = expected;
    if (paro_pool_new(&err, 4, &pool) != PARO_STATUS_OK)
        fail_msg("%s", err.message);
    paro_pool_run(pool, 64, encode_shared, &work);
    for (size_t i = 0; i < 64; i++)
        assert_true(work.same[i]);
    paro_pool_free(pool);
    free(expected);
    paro_tokenizer_free(tokenizer);
}

static void open_failures(void **state)
{
    paro_error err;
    paro_tokenizer *tokenizer = NULL;

    (void)state;
    assert_int_equal(paro_tokenizer_open(&err, "tests/goldens/none.json", &tokenizer),
                     PARO_STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "tests/goldens/none.json"));
    assert_int_equal(paro_tokenizer_open(&err, "tests/goldens", &tokenizer), PARO_STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "tests/goldens/tokenizer.json"));
    assert_int_equal(paro_tokenizer_open(NULL, "tests/goldens/tokenizer/gpt2.txt", &tokenizer),
                     PARO_STATUS_FORMAT);
    assert_null(tokenizer);
    paro_tokenizer_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_tokenizers),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(broken_text_is_replaced),
        cmocka_unit_test(empty_text),
        cmocka_unit_test(long_words),
        cmocka_unit_test(special_tokens_as_text),
        cmocka_unit_test(catastrophic_pattern),
        cmocka_unit_test(shared_by_threads),
        cmocka_unit_test(open_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
