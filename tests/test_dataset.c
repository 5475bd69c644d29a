/* SPDX-License-Identifier: MIT
 *
 * calib/dataset.c and calib/dataset_texts.c: what is drawn, from where, and what cannot be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/buffer.h"
#include "calib/dataset.h"
#include "runtime/model.h"
#include "tests/support.h"

static paro_model *model;
static paro_tokenizer *tokenizer;
static char *dir;
static char *text; /* tests/goldens/text.txt */
static size_t n_bytes;
static int32_t *text_ids;
static size_t n_text_ids;

static int open_all(void **state)
{
    (void)state;
    paro_error err;
    assert_ok(paro_model_open(&err, "models/demo", NULL, &model));
    assert_ok(paro_tokenizer_open(&err, "models/demo", &tokenizer));
    assert_ok(paro_file_read(&err, "tests/goldens/text.txt", 1 << 20, &text, &n_bytes));
    assert_ok(paro_tokenizer_encode(&err, tokenizer, text, n_bytes, NULL, &text_ids, &n_text_ids));
    dir = test_dir_new();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    test_dir_remove(dir);
    free(text_ids);
    free(text);
    paro_tokenizer_free(tokenizer);
    paro_model_free(model);
    return 0;
}

/* A text of n tokens, every one of `word` (which is one token); its path. */
static char *write_words(const char *name, const char *word, size_t n)
{
    paro_buffer words = {0};
    for (size_t i = 0; i < n; i++)
        assert_true(paro_buffer_append_text(&words, word));
    test_file_write(dir, name, words.data, words.n_bytes);
    paro_buffer_free(&words);
    return test_path(dir, name);
}

static int32_t only_id(const char *word)
{
    paro_error err;
    int32_t *ids;
    size_t n;
    assert_ok(paro_tokenizer_encode(&err, tokenizer, word, strlen(word), NULL, &ids, &n));
    assert_int_equal(n, 1);
    const int32_t id = ids[0];
    free(ids);
    return id;
}

static const int32_t *sample(const paro_dataset *set, size_t n)
{
    return set->ids + n * set->n_tokens;
}

/* Which consecutive sample of the golden text this is; fails where it is none. */
static size_t place_in_text(const paro_dataset *set, size_t n)
{
    for (size_t at = 0; at + set->n_tokens <= n_text_ids; at += set->n_tokens)
        if (memcmp(text_ids + at, sample(set, n), set->n_tokens * sizeof(int32_t)) == 0)
            return at / set->n_tokens;
    fail_msg("sample %zu is not in the text", n);
    return 0;
}

static const paro_text_source golden = {.path = "tests/goldens/text.txt"};

/* All samples of a text, each once: none of validation among those of training. */
static void test_held_out(void **state)
{
    (void)state;
    paro_error err;
    const size_t n_all = n_text_ids / 32;
    paro_dataset_options options = {
        .sources = &golden, .n_sources = 1, .n_validation = 10, .n_tokens = 32, .seed = 3};
    options.n_train = n_all - options.n_validation;
    paro_dataset set = {0};
    bool *seen = calloc(n_all, sizeof *seen);
    assert_non_null(seen);
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &set));
    assert_int_equal(set.n_train, n_all - 10);
    assert_int_equal(set.n_validation, 10);
    assert_int_equal(set.n_tokens, 32);
    size_t n_in_order = 0;
    for (size_t i = 0; i < n_all; i++) {
        const size_t place = place_in_text(&set, i);
        assert_false(seen[place]);
        seen[place] = true;
        n_in_order += place == i;
    }
    assert_true(n_in_order < n_all / 4);
    free(seen);
    paro_dataset_release(&set);
    paro_dataset_release(&set);
    paro_dataset_release(NULL);
}

/* The same seed, the same samples; another seed, others. Validation does not follow n_train. */
static void test_seed(void **state)
{
    (void)state;
    paro_error err;
    paro_dataset_options options = {.sources = &golden,
                                    .n_sources = 1,
                                    .n_train = 8,
                                    .n_validation = 4,
                                    .n_tokens = 64,
                                    .seed = 7};
    paro_dataset first = {0}, again = {0}, fewer = {0}, other = {0};
    const size_t n_row = 64 * sizeof(int32_t);
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &first));
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &again));
    options.n_train = 5;
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &fewer));
    options.n_train = 8;
    options.seed = 8;
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &other));
    assert_memory_equal(first.ids, again.ids, 12 * n_row);
    assert_string_equal(first.sha256, again.sha256);
    assert_int_equal(strlen(first.sha256), 64);
    assert_memory_equal(sample(&first, 8), sample(&fewer, 5), 4 * n_row);
    assert_true(memcmp(first.ids, other.ids, 12 * n_row) != 0);
    assert_string_not_equal(first.sha256, other.sha256);
    assert_string_not_equal(first.sha256, fewer.sha256);
    paro_dataset_release(&first);
    paro_dataset_release(&again);
    paro_dataset_release(&fewer);
    paro_dataset_release(&other);
}

/* The hash is of the bytes that dataset.h says. */
static void test_hash(void **state)
{
    (void)state;
    paro_error err;
    const paro_dataset_options options = {.n_train = 1, .n_validation = 1, .n_tokens = 2};
    static const unsigned char bytes[] = {1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0,    0,   0, 0,
                                          0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1,    0,   0, 0,
                                          2, 1, 0, 0, 3, 0, 0, 0, 4, 0, 0xBC, 0x7A};
    static const int32_t ids[] = {1, 258, 3, 0x7ABC0004};
    char expected[PARO_SHA256_HEX_BYTES];
    paro_dataset set = {0};
    int32_t *own = malloc(sizeof ids);
    assert_non_null(own);
    memcpy(own, ids, sizeof ids);
    assert_ok(paro_dataset_finish(&err, &options, own, &set));
    paro_sha256_hex(bytes, sizeof bytes, expected);
    assert_string_equal(set.sha256, expected);
    paro_dataset_release(&set);
}

static size_t count_of(const paro_dataset *set, size_t first, size_t n, int32_t id)
{
    size_t found = 0;
    for (size_t i = first; i < first + n; i++) {
        for (size_t k = 1; k < set->n_tokens; k++)
            assert_int_equal(sample(set, i)[k], sample(set, i)[0]);
        found += sample(set, i)[0] == id;
    }
    return found;
}

/* Sources by their weights; a weight of 0 is 1; what is left over goes to the largest fraction. */
static void test_weights(void **state)
{
    (void)state;
    paro_error err;
    char *a = write_words("a.txt", " the", 1000), *b = write_words("b.txt", " and", 1000),
         *c = write_words("c.txt", " of", 1000);
    const int32_t ids[] = {only_id(" the"), only_id(" and"), only_id(" of")};
    static const struct {
        double weights[3];
        size_t n_train, n_validation;
        size_t train[3], validation[3];
    } rows[] = {
        {{1, 2, 1}, 40, 8, {10, 20, 10}, {2, 4, 2}},
        {{0, 2, 0}, 40, 8, {10, 20, 10}, {2, 4, 2}},
        {{1, 1, 1}, 10, 1, {4, 3, 3}, {1, 0, 0}},
        {{1, 1, 8}, 5, 0, {1, 0, 4}, {0, 0, 0}},
        {{1e-9, 1e-9, 1}, 50, 0, {0, 0, 50}, {0, 0, 0}},
        {{0.1, 0.2, 0.3}, 60, 6, {10, 20, 30}, {1, 2, 3}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const paro_text_source sources[] = {{.path = a, .weight = rows[i].weights[0]},
                                            {.path = b, .weight = rows[i].weights[1]},
                                            {.path = c, .weight = rows[i].weights[2]}};
        const paro_dataset_options options = {.sources = sources,
                                              .n_sources = 3,
                                              .n_train = rows[i].n_train,
                                              .n_validation = rows[i].n_validation,
                                              .n_tokens = 10,
                                              .seed = i};
        paro_dataset set = {0};
        assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &set));
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(count_of(&set, 0, set.n_train, ids[k]), rows[i].train[k]);
            assert_int_equal(count_of(&set, set.n_train, set.n_validation, ids[k]),
                             rows[i].validation[k]);
        }
        paro_dataset_release(&set);
    }
    free(a);
    free(b);
    free(c);
}

/* Validation sources give all of validation and nothing of training. */
static void test_validation_sources(void **state)
{
    (void)state;
    paro_error err;
    char *a = write_words("a.txt", " the", 300), *b = write_words("b.txt", " and", 300),
         *c = write_words("c.txt", " of", 300);
    const paro_text_source sources[] = {
        {.path = a, .validation = true, .weight = 2}, {.path = b}, {.path = c, .validation = true}};
    const paro_dataset_options options = {
        .sources = sources, .n_sources = 3, .n_train = 20, .n_validation = 9, .n_tokens = 10};
    paro_dataset set = {0};
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &set));
    assert_int_equal(count_of(&set, 0, 20, only_id(" and")), 20);
    assert_int_equal(count_of(&set, 20, 9, only_id(" the")), 6);
    assert_int_equal(count_of(&set, 20, 9, only_id(" of")), 3);
    paro_dataset_release(&set);
    free(a);
    free(b);
    free(c);
}

/* Texts of JSON lines are joined; a file that does not end in .jsonl is text, whatever the field.
 */
static void test_json_lines(void **state)
{
    (void)state;
    paro_error err;
    static const char lines[] = "{\"body\": \" the and\"}\n\n{\"body\": \" of\"}\n";
    const int32_t ids[] = {only_id(" the"), only_id(" and"), only_id(" of")};
    test_file_write(dir, "lines.jsonl", lines, sizeof lines - 1);
    char *path = test_path(dir, "lines.jsonl");
    paro_text_source source = {.path = path, .field = "body"};
    const paro_dataset_options options = {
        .sources = &source, .n_sources = 1, .n_train = 1, .n_tokens = 3};
    paro_dataset set = {0};
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &set));
    assert_memory_equal(set.ids, ids, sizeof ids);
    source.field = NULL;
    paro_dataset untouched = set;
    assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_FORMAT, "lines.jsonl:1: text: missing");
    assert_memory_equal(&set, &untouched, sizeof set);
    paro_dataset_release(&set);
    free(path);
    test_file_write(dir, "lines.json", lines, sizeof lines - 1);
    source = (paro_text_source){.path = path = test_path(dir, "lines.json"), .field = "body"};
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &set));
    assert_int_not_equal(set.ids[0], ids[0]);
    paro_dataset_release(&set);
    free(path);
}

typedef struct watcher {
    char stage[128], log[512];
    paro_log_level level;
    int n_reports, stop_after;
    uint64_t done, total;
} watcher;

static bool watch(void *context, const char *stage, uint64_t done, uint64_t total)
{
    watcher *w = context;
    snprintf(w->stage, sizeof w->stage, "%s", stage);
    assert_true(done >= w->done && done <= total);
    w->done = done;
    w->total = total;
    return ++w->n_reports != w->stop_after;
}

static void keep_log(void *context, paro_log_level level, const char *message)
{
    watcher *w = context;
    w->level = level;
    snprintf(w->log, sizeof w->log, "%s", message);
}

static void test_observer(void **state)
{
    (void)state;
    paro_error err;
    watcher w = {.stop_after = 1};
    const paro_observer observer = {.context = &w, .log = keep_log, .progress = watch};
    paro_text_source source = golden;
    const paro_dataset_options options = {
        .sources = &source, .n_sources = 1, .n_train = 4, .n_tokens = 4, .observer = &observer};
    paro_dataset set = {.n_train = 77};
    assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_CANCELLED, "read text.txt: stopped on request");
    assert_int_equal(set.n_train, 77);
    w = (watcher){0};
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &set));
    assert_string_equal(w.stage, "read text.txt");
    assert_int_equal(w.done, n_bytes);
    assert_int_equal(w.total, n_bytes);
    assert_string_equal(w.log, "");
    paro_dataset_release(&set);

    static const char latin[] = "the caf\xE9 of Montr\xE9"
                                "al, and all that is in it, and so on";
    test_file_write(dir, "latin.txt", latin, sizeof latin - 1);
    char *path = test_path(dir, "latin.txt");
    source.path = path;
    w = (watcher){0};
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &set));
    assert_int_equal(w.level, PARO_LOG_LEVEL_WARNING);
    assert_non_null(strstr(w.log, "latin.txt: not UTF-8 at byte 7"));
    paro_dataset_release(&set);
    free(path);
}

/* Of a large text only as much is read as is enough. */
static void test_large(void **state)
{
    (void)state;
    enum { N_MIB = 24 };
    paro_error err;
    watcher w = {0};
    const paro_observer observer = {.context = &w, .log = keep_log, .progress = watch};
    char *path = test_path(dir, "large.txt");
    paro_buffer mib = {0};
    while (mib.n_bytes < 1 << 20)
        assert_true(paro_buffer_append_text(&mib, "\n"));
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < N_MIB; i++)
        assert_int_equal(fwrite(mib.data, 1, 1 << 20, file), 1 << 20);
    assert_int_equal(fclose(file), 0);
    const paro_text_source source = {.path = path};
    const paro_dataset_options options = {
        .sources = &source, .n_sources = 1, .n_train = 100, .n_tokens = 100, .observer = &observer};
    paro_dataset set = {0};
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &set));
    assert_int_equal(w.level, PARO_LOG_LEVEL_INFO);
    assert_non_null(strstr(w.log, "large.txt: samples come from the first"));
    assert_true(w.done < w.total);
    paro_dataset_release(&set);
    paro_buffer_free(&mib);
    unlink(path);
    free(path);
}

static void test_too_little(void **state)
{
    (void)state;
    paro_error err;
    char *a = write_words("a.txt", " the", 95), *b = write_words("b.txt", " and", 1000),
         *c = write_words("c.txt", " of", 29);
    test_file_write(dir, "empty.txt", "", 0);
    char *empty = test_path(dir, "empty.txt");
    paro_text_source sources[] = {
        {.path = a}, {.path = b, .weight = 9}, {.path = c, .validation = true}};
    paro_dataset_options options = {
        .sources = sources, .n_sources = 3, .n_train = 90, .n_validation = 2, .n_tokens = 10};
    paro_dataset set = {0};
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &set));
    paro_dataset_release(&set);
    options.n_train = 100;
    options.n_validation = 3;
    assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_INVALID_ARGUMENT, "too few tokens for 100 + 3 samples of 10");
    assert_non_null(strstr(err.message, "a.txt: 100 needed, 95 found; "));
    assert_non_null(strstr(err.message, "b.txt: 900 needed, 1000 found; "));
    assert_non_null(strstr(err.message, "c.txt: 30 needed, 29 found)"));
    options.n_sources = 1;
    sources[0].path = empty;
    assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_INVALID_ARGUMENT, "empty.txt: 1030 needed, 0 found");
    sources[0].path = "missing.txt";
    assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_NOT_FOUND, "missing.txt");
    sources[0].path = dir;
    assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_INVALID_ARGUMENT, "expected a regular file, found a folder");
    assert_null(set.ids);
    free(a);
    free(b);
    free(c);
    free(empty);
}

static void test_refused(void **state)
{
    (void)state;
    paro_error err;
    paro_dataset set = {0};
    static const struct {
        paro_dataset_options options;
        const char *words;
    } rows[] = {
        {{.n_train = 1, .n_tokens = 0}, "tokens of a sample: expected 1 to 1024"},
        {{.n_train = 1, .n_tokens = 1025}, "max_position_embeddings), found 1025"},
        {{.n_train = 0, .n_tokens = 8}, "expected at least 1 to train on, found 0"},
        {{.n_train = SIZE_MAX, .n_tokens = 8}, "of 8 tokens, found 18446744073709551615 + 0"},
        {{.n_train = SIZE_MAX / 1024, .n_validation = SIZE_MAX, .n_tokens = 8},
         "samples: expected"},
        {{.n_train = 1, .n_tokens = 8}, "expected at least one text to train on, found none"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &rows[i].options, &set),
                     PARO_STATUS_INVALID_ARGUMENT, rows[i].words);

    char *a = write_words("a.txt", " the", 100), *lines = test_path(dir, "two.jsonl"),
         *link_path = test_path(dir, "link.txt");
    static const char two[] = "{\"a\": \" the and\", \"b\": \" of\"}\n";
    test_file_write(dir, "two.jsonl", two, sizeof two - 1);
    assert_int_equal(symlink(a, link_path), 0);
    paro_text_source sources[] = {{.path = a}, {.path = link_path, .validation = true}};
    paro_dataset_options options = {
        .sources = sources, .n_sources = 2, .n_train = 1, .n_validation = 1, .n_tokens = 1};
    assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_INVALID_ARGUMENT, "link.txt: given twice (also as ");
    sources[0].validation = true;
    assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_INVALID_ARGUMENT, "given twice");
    options.n_sources = 1;
    assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &options, &set),
                 PARO_STATUS_INVALID_ARGUMENT, "found texts for validation only");
    static const double wrong[] = {-1, (double)INFINITY, (double)NAN};
    for (size_t i = 0; i < 3; i++) {
        sources[0] = (paro_text_source){.path = a, .weight = wrong[i]};
        assert_fails(paro_dataset_from_texts(&err, model, tokenizer, &options, &set),
                     PARO_STATUS_INVALID_ARGUMENT, "a.txt: weight: expected a number above 0");
    }
    /* One file's two members are two texts. */
    sources[0] = (paro_text_source){.path = lines, .field = "a"};
    sources[1] = (paro_text_source){.path = lines, .field = "b", .validation = true};
    options.n_sources = 2;
    assert_ok(paro_dataset_from_texts(&err, model, tokenizer, &options, &set));
    assert_int_equal(set.ids[1], only_id(" of"));
    paro_dataset_release(&set);
    free(a);
    free(lines);
    free(link_path);
}

/* A tokenizer of more tokens than the model has rows. */
static void test_other_tokenizer(void **state)
{
    (void)state;
    paro_error err;
    paro_dataset set = {0};
    paro_model small = *model;
    small.config.vocab = 300;
    const paro_dataset_options options = {
        .sources = &golden, .n_sources = 1, .n_train = 1, .n_tokens = 8};
    assert_fails(paro_dataset_from_texts(&err, &small, tokenizer, &options, &set),
                 PARO_STATUS_INVALID_ARGUMENT,
                 "but the model's vocabulary is 300: the tokenizer is another model's");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_held_out),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_validation_sources),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_observer),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_too_little),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_other_tokenizer),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
