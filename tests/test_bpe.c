/* SPDX-License-Identifier: MIT
 *
 * Merging: known words, and against the plainest way there is to do it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/support.h"
#include "tokenizer/bpe.h"

enum { MAX_TOKENS = 64, MAX_WORD = 300 };

/* A vocabulary of "a" to "d" and what random merges make of them. */
typedef struct toy {
    paro_token_bytes tokens[MAX_TOKENS];
    char bytes[MAX_TOKENS][64];
    size_t n_tokens;
    paro_merge merges[4 * MAX_TOKENS];
    size_t n_merges;
} toy;

static uint32_t find_token(const toy *t, const char *bytes, size_t n)
{
    for (uint32_t id = 0; id < t->n_tokens; id++) {
        if (t->tokens[id].n_bytes == n && memcmp(t->bytes[id], bytes, n) == 0)
            return id;
    }
    return UINT32_MAX;
}

static void make_toy(toy *t, paro_rng *rng)
{
    t->n_merges = 0;
    for (t->n_tokens = 0; t->n_tokens < 4; t->n_tokens++) {
        t->bytes[t->n_tokens][0] = (char)('a' + t->n_tokens);
        t->tokens[t->n_tokens] =
            (paro_token_bytes){.bytes = t->bytes[t->n_tokens], .n_bytes = 1, .spelled = true};
    }
    for (int tries = 0; tries < 120 && t->n_tokens < MAX_TOKENS; tries++) {
        uint32_t left = (uint32_t)paro_rng_below(rng, t->n_tokens);
        uint32_t right = (uint32_t)paro_rng_below(rng, t->n_tokens);
        char joined[64];
        size_t n = t->tokens[left].n_bytes + t->tokens[right].n_bytes;
        uint32_t result;

        if (n > 12)
            continue;
        memcpy(joined, t->bytes[left], t->tokens[left].n_bytes);
        memcpy(joined + t->tokens[left].n_bytes, t->bytes[right], t->tokens[right].n_bytes);
        result = find_token(t, joined, n);
        if (result == UINT32_MAX) {
            result = (uint32_t)t->n_tokens++;
            memcpy(t->bytes[result], joined, n);
            t->tokens[result] = (paro_token_bytes){
                .bytes = t->bytes[result], .n_bytes = (uint32_t)n, .spelled = true};
        }
        t->merges[t->n_merges++] = (paro_merge){left, right, result};
    }
}

/* The merge of lowest rank (of equal pairs the last counts), leftmost first, until there is none.
 */
static size_t merge_plainly(const toy *t, const char *word, size_t n, uint32_t *ids)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)(word[i] - 'a');
    for (;;) {
        size_t best = SIZE_MAX;
        size_t at = 0;

        for (size_t i = 0; i + 1 < n; i++) {
            size_t rank = t->n_merges;

            while (rank > 0 &&
                   (t->merges[rank - 1].left != ids[i] || t->merges[rank - 1].right != ids[i + 1]))
                rank--;
            if (rank > 0 && rank - 1 < best) {
                best = rank - 1;
                at = i;
            }
        }
        if (best == SIZE_MAX)
            return n;
        ids[at] = t->merges[best].result;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof(*ids));
        n--;
    }
}

static void expect(paro_bpe_run *run, const uint32_t *expected, size_t n_expected)
{
    paro_error err;
    int32_t *ids = NULL;
    size_t n = 0;

    assert_ok(paro_bpe_take(&err, run, &ids, &n));
    assert_non_null(ids);
    assert_int_equal(n, n_expected);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids[i], expected[i]);
    free(ids);
}

static void test_against_plain(void **state)
{
    paro_error err;
    paro_rng rng;

    (void)state;
    paro_rng_seed(&rng, 3);
    for (int round = 0; round < 100; round++) {
        toy t;
        paro_bpe *bpe = NULL;
        paro_bpe_run *run = NULL;
        uint32_t expected[40 * MAX_WORD];
        size_t n_expected = 0;

        make_toy(&t, &rng);
        assert_ok(paro_bpe_new(&err,
                               &(paro_bpe_options){.tokens = t.tokens,
                                                   .n_tokens = t.n_tokens,
                                                   .merges = t.merges,
                                                   .n_merges = t.n_merges,
                                                   .unk_id = -1},
                               &bpe));
        assert_ok(paro_bpe_begin(&err, bpe, &run));
        for (int k = 0; k < 40; k++) { /* one run: short words come back from its cache */
            char word[MAX_WORD];
            size_t n = 1 + (size_t)paro_rng_below(&rng, k % 4 == 0 ? MAX_WORD : 5);

            for (size_t i = 0; i < n; i++)
                word[i] = (char)('a' + paro_rng_below(&rng, 4));
            n_expected += merge_plainly(&t, word, n, expected + n_expected);
            assert_ok(paro_bpe_encode(&err, run, word, n));
        }
        expect(run, expected, n_expected);
        paro_bpe_end(run);
        paro_bpe_free(bpe);
    }
}

/* a, b, c, ab, abc (which no merge makes), and words of it under different options. */
static void encode_abc(const paro_bpe_options *extra, const char *word, const uint32_t *expected,
                       size_t n_expected)
{
    static const paro_token_bytes tokens[] = {
        {.bytes = "a", .n_bytes = 1, .spelled = true},
        {.bytes = "b", .n_bytes = 1, .spelled = true},
        {.bytes = "c", .n_bytes = 1, .spelled = true},
        {.bytes = "ab", .n_bytes = 2, .spelled = true},
        {.bytes = "abc", .n_bytes = 3, .spelled = true},
        {.bytes = "z", .n_bytes = 1},
        {.bytes = NULL},
    };
    static const paro_merge merges[] = {{0, 1, 3}};
    paro_bpe_options options = *extra;
    paro_error err;
    paro_bpe *bpe = NULL;
    paro_bpe_run *run = NULL;

    options.tokens = tokens;
    options.n_tokens = sizeof(tokens) / sizeof(*tokens);
    options.merges = merges;
    options.n_merges = 1;
    assert_ok(paro_bpe_new(&err, &options, &bpe));
    assert_ok(paro_bpe_begin(&err, bpe, &run));
    assert_ok(paro_bpe_encode(&err, run, word, strlen(word)));
    expect(run, expected, n_expected);
    paro_bpe_end(run);
    paro_bpe_free(bpe);
}

static void test_options(void **state)
{
    (void)state;
    encode_abc(&(paro_bpe_options){.unk_id = -1}, "abc", (uint32_t[]){3, 2}, 2);
    encode_abc(&(paro_bpe_options){.unk_id = -1, .ignore_merges = true}, "abc", (uint32_t[]){4}, 1);
    encode_abc(&(paro_bpe_options){.unk_id = -1, .ignore_merges = true}, "abca",
               (uint32_t[]){3, 2, 0}, 3);
    /* A byte without a token, and "z", which is a token that is not spelled as bytes. */
    encode_abc(&(paro_bpe_options){.unk_id = -1}, "azzb", (uint32_t[]){3}, 1);
    encode_abc(&(paro_bpe_options){.unk_id = 2}, "axzb", (uint32_t[]){0, 2, 2, 1}, 4);
    encode_abc(&(paro_bpe_options){.unk_id = 2, .fuse_unk = true}, "axzbx",
               (uint32_t[]){0, 2, 1, 2}, 4);
    encode_abc(&(paro_bpe_options){.unk_id = -1}, "", NULL, 0);
}

/* More different words than the cache holds. */
static void test_many_words(void **state)
{
    enum { N_WORDS = 200000 };
    static const paro_token_bytes tokens[] = {
        {.bytes = "0", .n_bytes = 1, .spelled = true},
        {.bytes = "1", .n_bytes = 1, .spelled = true},
    };
    paro_error err;
    paro_bpe *bpe = NULL;
    paro_bpe_run *run = NULL;
    int32_t *ids = NULL;
    size_t n = 0;

    (void)state;
    assert_ok(paro_bpe_new(&err, &(paro_bpe_options){.tokens = tokens, .n_tokens = 2, .unk_id = -1},
                           &bpe));
    assert_ok(paro_bpe_begin(&err, bpe, &run));
    for (unsigned word = 0; word < N_WORDS; word++) {
        char text[18];

        for (int bit = 0; bit < 18; bit++)
            text[bit] = (char)('0' + (word >> bit & 1));
        assert_ok(paro_bpe_encode(&err, run, text, sizeof(text)));
    }
    assert_ok(paro_bpe_take(&err, run, &ids, &n));
    assert_int_equal(n, 18 * N_WORDS);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] != (int32_t)(i / 18 >> i % 18 & 1))
            fail_msg("id %zu of word %zu", i % 18, i / 18);
    }
    free(ids);
    paro_bpe_end(run);
    paro_bpe_free(bpe);
    paro_bpe_free(NULL);
    paro_bpe_end(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_plain),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_many_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
