/* SPDX-License-Identifier: MIT
 *
 * Cutting text into words: against `tokenizers`, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "tests/goldens/pretokenize_cases.h"
#include "tests/support.h"
#include "tokenizer/pretokenize.h"

static paro_status write_word(paro_error *err, void *context, const char *word, size_t n_bytes)
{
    paro_buffer *out = context;

    (void)err;
    assert_true(n_bytes > 0);
    assert_true(out->n_bytes == 0 || paro_buffer_append_text(out, "|"));
    assert_true(paro_buffer_append(out, word, n_bytes));
    return PARO_STATUS_OK;
}

static void expect_words(const paro_split_spec *splits, size_t n_splits, const char *text,
                         const char *expected)
{
    paro_error err;
    paro_pretokenizer *pretokenizer = NULL;
    paro_pretokenizer_run *run = NULL;
    paro_buffer out = {0};

    assert_true(paro_buffer_reserve(&out, 0));
    assert_ok(paro_pretokenizer_new(&err, splits, n_splits, &pretokenizer));
    assert_ok(paro_pretokenizer_begin(&err, pretokenizer, strlen(text), &run));
    assert_ok(paro_pretokenizer_split(&err, run, text, strlen(text), write_word, &out));
    if (strcmp(out.data, expected) != 0)
        fail_msg("%s: expected %s, found %s",
                 n_splits > 0 && splits[0].pattern != NULL ? splits[0].pattern : "", expected,
                 out.data);
    paro_buffer_free(&out);
    paro_pretokenizer_end(run);
    paro_pretokenizer_free(pretokenizer);
}

static void test_against_tokenizers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const paro_split_spec split = {.pattern = cases[i].pattern,
                                       .n_bytes = strlen(cases[i].pattern),
                                       .behavior = cases[i].behavior,
                                       .invert = cases[i].invert,
                                       .literal = cases[i].literal,
                                       .where = "t"};

        expect_words(&split, 1, cases[i].text, cases[i].pieces);
    }
}

static void test_steps(void **state)
{
    const paro_split_spec splits[] = {
        {.pattern = "-", .n_bytes = 1, .literal = true, .where = "a"},
        {.prefix_space = true, .where = "b"},
        {.pattern = " ?[a-z]", .n_bytes = 7, .where = "c"},
    };

    (void)state;
    expect_words(splits, 0, "a-b", "a-b");
    expect_words(splits, 1, "ab-c d", "ab|-|c d");
    expect_words(splits, 2, "ab-c d- e", " ab| -| c d| -| e");
    expect_words(splits, 3, "ab-c d- e", " a|b| -| c| d| -| e");
    expect_words(splits, 3, "", "");
}

static void test_refused(void **state)
{
    static const struct {
        const char *pattern;
        paro_status status;
        const char *words;
    } wrong[] = {
        {"a(b", PARO_STATUS_FORMAT, "parenthesis"},
        {"a)b", PARO_STATUS_FORMAT, "parenthesis"},
        {"[a", PARO_STATUS_FORMAT, "expected \"]\""},
        {"a\\", PARO_STATUS_FORMAT, "expected a character"},
        {"*a", PARO_STATUS_FORMAT, "pattern \"*a\""},
        {"\\p{Klingon}", PARO_STATUS_FORMAT, "unknown property"},
        {"[z-a]", PARO_STATUS_FORMAT, "range"},
        {"a{2,3}+", PARO_STATUS_UNSUPPORTED, "a repeated repetition"},
        {"a{2}?", PARO_STATUS_UNSUPPORTED, "a repeated repetition"},
        {"a{100000}", PARO_STATUS_UNSUPPORTED, "this many repetitions"},
        {"(a)\\1", PARO_STATUS_UNSUPPORTED, "this escape at byte 3"},
        {"\\K", PARO_STATUS_UNSUPPORTED, "this escape"},
        {"\\X", PARO_STATUS_UNSUPPORTED, "this escape"},
        {"\\pL", PARO_STATUS_UNSUPPORTED, "without braces"},
        {"\\p{L!}", PARO_STATUS_UNSUPPORTED, "a property's name"},
        {"\\x{1234567}", PARO_STATUS_UNSUPPORTED, "this code point"},
        {"\\x80", PARO_STATUS_UNSUPPORTED, "this code point"},
        {"\\u12", PARO_STATUS_UNSUPPORTED, "this code point"},
        {"\\x{d800}", PARO_STATUS_FORMAT, "code point"},
        {"[a&&b]", PARO_STATUS_UNSUPPORTED, "an intersection of sets"},
        {"[a[^b]]", PARO_STATUS_UNSUPPORTED, "a negated set in a set"},
        {"[[:punct:]]", PARO_STATUS_UNSUPPORTED, "this named set"},
        {"[\\W]", PARO_STATUS_UNSUPPORTED, "this escape in a set"},
        {"[]", PARO_STATUS_UNSUPPORTED, "an empty set"},
        {"[[[[[[[[[[a]]]]]]]]]]", PARO_STATUS_UNSUPPORTED, "nested this deep"},
        {"a(?i)b", PARO_STATUS_UNSUPPORTED, "group or option"},
        {"(?x)b", PARO_STATUS_UNSUPPORTED, "group or option"},
        {"(?<n>b)", PARO_STATUS_UNSUPPORTED, "group or option"},
        {"(*UTF)b", PARO_STATUS_UNSUPPORTED, "this kind of group"},
        {"(?R)", PARO_STATUS_UNSUPPORTED, "group or option"},
        {"(?", PARO_STATUS_UNSUPPORTED, "group or option"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        const paro_split_spec split = {
            .pattern = wrong[i].pattern, .n_bytes = strlen(wrong[i].pattern), .where = "the place"};
        paro_error err;
        paro_pretokenizer *pretokenizer = NULL;

        assert_fails(paro_pretokenizer_new(&err, &split, 1, &pretokenizer), wrong[i].status,
                     wrong[i].words);
        assert_non_null(strstr(err.message, "the place"));
        assert_null(pretokenizer);
    }
    paro_pretokenizer_free(NULL);
    paro_pretokenizer_end(NULL);
}

static void test_too_long(void **state)
{
    char pattern[40000];
    const paro_split_spec split = {.pattern = pattern, .n_bytes = sizeof(pattern), .where = "t"};
    paro_error err;
    paro_pretokenizer *pretokenizer = NULL;

    (void)state;
    memset(pattern, 'a', sizeof(pattern));
    assert_fails(paro_pretokenizer_new(&err, &split, 1, &pretokenizer), PARO_STATUS_LIMIT,
                 "40000 bytes");
}

/* Long runs need many steps and get them; what explodes does not. */
static void test_steps_of_matching(void **state)
{
    enum { N_BYTES = 1 << 20 };
    static const char pattern[] = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+|(?:a|b)+";
    static const char explosive[] = "(?:(?:a|b|ab)+)+[cd]";
    paro_split_spec split = {.pattern = pattern, .n_bytes = sizeof(pattern) - 1, .where = "place"};
    paro_error err;
    paro_pretokenizer *pretokenizer = NULL;
    paro_pretokenizer_run *run = NULL;
    char *text = malloc(N_BYTES);
    paro_buffer out = {0};

    (void)state;
    assert_non_null(text);
    memset(text, ' ', N_BYTES / 2);
    memset(text + N_BYTES / 2, 'a', N_BYTES / 2);
    assert_ok(paro_pretokenizer_new(&err, &split, 1, &pretokenizer));
    assert_ok(paro_pretokenizer_begin(&err, pretokenizer, N_BYTES, &run));
    assert_ok(paro_pretokenizer_split(&err, run, text, N_BYTES, write_word, &out));
    assert_int_equal(out.n_bytes, N_BYTES + 2); /* spaces, the last space, letters */
    paro_pretokenizer_end(run);
    paro_pretokenizer_free(pretokenizer);

    split.pattern = explosive;
    split.n_bytes = sizeof(explosive) - 1;
    for (size_t i = 0; i < 200; i++)
        text[i] = i % 2 == 0 ? 'a' : 'b';
    assert_ok(paro_pretokenizer_new(&err, &split, 1, &pretokenizer));
    assert_ok(paro_pretokenizer_begin(&err, pretokenizer, 200, &run));
    assert_fails(paro_pretokenizer_split(&err, run, text, 200, write_word, &out), PARO_STATUS_LIMIT,
                 "place: the pattern takes too many steps");
    paro_pretokenizer_end(run);
    paro_pretokenizer_free(pretokenizer);
    paro_buffer_free(&out);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_tokenizers),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_steps_of_matching),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
