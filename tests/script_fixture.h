/* SPDX-License-Identifier: MIT
 *
 * Scripts run, what they print, and what stops them, for tests. Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_SCRIPT_FIXTURE_H
#define PARO_TESTS_SCRIPT_FIXTURE_H

#include <paro/script.h>

#include "tests/support.h"

/* What a script printed. */
typedef struct output {
    char text[8192];
    size_t n_bytes;
    size_t n_room; /* for more the function fails */
} output;

static inline bool keep(void *context, const char *text, size_t n_bytes)
{
    output *out = context;
    if (n_bytes >= out->n_room - out->n_bytes)
        return false;
    memcpy(out->text + out->n_bytes, text, n_bytes);
    out->n_bytes += n_bytes;
    out->text[out->n_bytes] = '\0';
    return true;
}

static inline paro_script *new_script(output *out, const paro_script_options *options)
{
    paro_error err;
    paro_script *script = NULL;
    paro_script_options o = options != NULL ? *options : (paro_script_options){0};
    *out = (output){.n_room = sizeof out->text};
    o.print = keep;
    o.print_context = out;
    assert_ok(paro_script_new(&err, &o, &script));
    return script;
}

static inline paro_status run(paro_error *err, paro_script *script, const char *text)
{
    return paro_script_run_text(err, script, "test.lua", text, strlen(text));
}

/* Runs a text in a new script; what it prints is exactly this. */
static inline void prints(const char *text, const paro_script_options *options,
                          const char *expected)
{
    paro_error err;
    output out;
    paro_script *script = new_script(&out, options);
    assert_ok(run(&err, script, text));
    assert_string_equal(out.text, expected);
    paro_script_free(script);
}

static inline void fails(const char *text, const char *words)
{
    paro_error err;
    output out;
    paro_script *script = new_script(&out, NULL);
    assert_fails(run(&err, script, text), PARO_STATUS_RECIPE, words);
    paro_script_free(script);
}

/* Some 400 tokens of text in `dir`. */
static inline char *write_text(const char *dir)
{
    static const char sentence[] = "The river runs past the old town, and the road follows it. ";
    char *text = calloc(30, sizeof sentence);
    assert_non_null(text);
    for (int i = 0; i < 30; i++)
        strcat(text, sentence);
    test_file_write(dir, "text.txt", text, strlen(text));
    free(text);
    return test_path(dir, "text.txt");
}

/* A text's path in the variable `text`, and a calibrating recipe in `recipe`. */
#define PRELUDE                                                                                    \
    "text = arg[1] "                                                                               \
    "data = {samples = 2, validation = 1, tokens = 16} "                                           \
    "recipe = {bits = 3, group_size = 64, krot = 2, data = data, block = function(b) "             \
    "  b:pairs{kind = 'random', seed = 3} "                                                        \
    "  b:optimise{angles = 0.05, epochs = 1, batch = 2} end} "

/* Runs a text, after the prelude, with the path of a text file as its argument. */
static inline paro_status run_with_text(paro_error *err, const char *dir, const char *text,
                                        paro_script_options options, output *out)
{
    char *path = write_text(dir), *whole = NULL;
    const char *const arguments[] = {path, dir};
    options.arguments = arguments;
    options.n_arguments = 2;
    paro_script *script = new_script(out, &options);
    assert_true(asprintf(&whole, "%s%s", PRELUDE, text) > 0);
    paro_status status = run(err, script, whole);
    paro_script_free(script);
    free(whole);
    free(path);
    return status;
}

static inline void prints_with_text(const char *text, paro_script_options options,
                                    const char *expected)
{
    paro_error err;
    output out;
    char *dir = test_dir_new();
    assert_ok(run_with_text(&err, dir, text, options, &out));
    assert_string_equal(out.text, expected);
    test_dir_remove(dir);
}

static inline void fails_with_text(const char *text, paro_status expected, const char *words)
{
    paro_error err;
    output out;
    char *dir = test_dir_new();
    assert_fails(run_with_text(&err, dir, text, (paro_script_options){0}, &out), expected, words);
    test_dir_remove(dir);
}

#define OPEN "local m = paro.open('models/demo') "

typedef struct stopper {
    unsigned n_reports;
    unsigned limit;
} stopper;

static inline bool stop_after(void *context, const char *stage, uint64_t done, uint64_t total)
{
    stopper *s = context;
    (void)stage;
    (void)done;
    (void)total;
    return ++s->n_reports < s->limit;
}

#endif
