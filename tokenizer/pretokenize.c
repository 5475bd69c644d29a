/* SPDX-License-Identifier: MIT
 *
 * Cutting text into words with PCRE2; the only file that includes its header.
 *
 * Every step cuts one piece of text into smaller ones and hands each, as soon as it is known, to
 * the next step; what the last step makes are the words. A step sees only its piece: a pattern
 * cannot look beyond it. Nothing is ever stored but one piece a step, so memory does not grow with
 * the text.
 *
 * Time: a match is first tried with FIRST_LIMIT steps. Only where that is not enough it is tried
 * again with more, and those are taken from a budget for the whole run that is proportional to the
 * text. Long runs of spaces fit easily; patterns whose cost explodes end with PARO_STATUS_LIMIT.
 */
#include "tokenizer/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "tokenizer/regex.h"

enum {
    FIRST_LIMIT = 256,
    LIMIT_FACTOR = 16,
    BUDGET_PER_BYTE = 1024,
    BUDGET_MIN = 8 << 20,
    HEAP_LIMIT_KIB = 256 << 10,
    JIT_STACK_BYTES = 32 << 10,
    JIT_STACK_MAX_BYTES = 1 << 20
};

typedef struct stage {
    bool prefix_space;
    bool invert;
    paro_split_behavior behavior;
    pcre2_code *code; /* NULL for prefix_space */
    bool jit;
    char *where;
} stage;

struct paro_pretokenizer {
    size_t n_stages;
    stage stages[PARO_MAX_STAGES];
};

struct paro_pretokenizer_run {
    const paro_pretokenizer *pretokenizer;
    pcre2_match_context *context;
    pcre2_match_data *data;
    pcre2_jit_stack *jit_stack;
    uint64_t budget;
    paro_buffer prefixed; /* text with the space in front of it; one step at most needs it */
    paro_word_fn *word;
    void *word_context;
};

static paro_status compile(paro_error *err, const paro_split_spec *spec, stage *out)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    paro_buffer pattern = {0};
    paro_status status;
    int error;
    PCRE2_SIZE at;
    size_t jit_bytes = 0;

    if (context == NULL)
        return paro_fail_memory(err, 0, "a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    if (spec->literal)
        status = paro_regex_quote(err, spec->pattern, spec->n_bytes, &pattern);
    else
        status = paro_regex_rewrite(err, spec->where, spec->pattern, spec->n_bytes, &pattern);
    if (status != PARO_STATUS_OK)
        goto done;

    out->code = pcre2_compile(
        (PCRE2_SPTR)(pattern.data == NULL ? "" : pattern.data), pattern.n_bytes,
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &at, context);
    if (out->code == NULL) {
        char reason[128];

        if (error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAP_FAILED) {
            status = paro_fail_memory(err, pattern.n_bytes, "a pattern");
            goto done;
        }
        pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof(reason));
        status = paro_fail(err, PARO_STATUS_FORMAT, "%s: pattern \"%.256s\": %s", spec->where,
                           spec->pattern, reason);
        goto done;
    }
    /* Where there is no JIT compiler, or it refuses, the interpreter gives the same results. */
    if (pcre2_jit_compile(out->code, PCRE2_JIT_COMPLETE) == 0 &&
        pcre2_pattern_info(out->code, PCRE2_INFO_JITSIZE, &jit_bytes) == 0)
        out->jit = jit_bytes > 0;
done:
    paro_buffer_free(&pattern);
    pcre2_compile_context_free(context);
    return status;
}

paro_status paro_pretokenizer_new(paro_error *err, const paro_split_spec *splits, size_t n_splits,
                                  paro_pretokenizer **out)
{
    paro_pretokenizer *pretokenizer = calloc(1, sizeof(*pretokenizer));
    paro_status status = PARO_STATUS_OK;

    if (pretokenizer == NULL)
        return paro_fail_memory(err, sizeof(*pretokenizer), "a pre-tokenizer");
    for (size_t i = 0; i < n_splits && status == PARO_STATUS_OK; i++) {
        stage *s = &pretokenizer->stages[pretokenizer->n_stages++];

        s->prefix_space = splits[i].prefix_space;
        s->invert = splits[i].invert;
        s->behavior = splits[i].behavior;
        s->where = strdup(splits[i].where);
        if (s->where == NULL)
            status = paro_fail_memory(err, strlen(splits[i].where), "a pre-tokenizer");
        else if (!s->prefix_space)
            status = compile(err, &splits[i], s);
    }
    if (status == PARO_STATUS_OK)
        *out = pretokenizer;
    else
        paro_pretokenizer_free(pretokenizer);
    return status;
}

void paro_pretokenizer_free(paro_pretokenizer *pretokenizer)
{
    if (pretokenizer == NULL)
        return;
    for (size_t i = 0; i < pretokenizer->n_stages; i++) {
        pcre2_code_free(pretokenizer->stages[i].code);
        free(pretokenizer->stages[i].where);
    }
    free(pretokenizer);
}

paro_status paro_pretokenizer_begin(paro_error *err, const paro_pretokenizer *pretokenizer,
                                    size_t n_bytes, paro_pretokenizer_run **out)
{
    paro_pretokenizer_run *run = calloc(1, sizeof(*run));

    if (run == NULL)
        goto fail;
    run->pretokenizer = pretokenizer;
    run->budget = BUDGET_MIN + (uint64_t)n_bytes * BUDGET_PER_BYTE;
    run->context = pcre2_match_context_create(NULL);
    run->data = pcre2_match_data_create(1, NULL);
    run->jit_stack = pcre2_jit_stack_create(JIT_STACK_BYTES, JIT_STACK_MAX_BYTES, NULL);
    /* Without JIT support in PCRE2 there is no stack for it either. */
    if (run->context == NULL || run->data == NULL)
        goto fail;
    pcre2_set_heap_limit(run->context, HEAP_LIMIT_KIB);
    pcre2_set_match_limit(run->context, FIRST_LIMIT);
    if (run->jit_stack != NULL)
        pcre2_jit_stack_assign(run->context, NULL, run->jit_stack);
    *out = run;
    return PARO_STATUS_OK;
fail:
    paro_pretokenizer_end(run);
    return paro_fail_memory(err, sizeof(*run), "a pre-tokenizer run");
}

void paro_pretokenizer_end(paro_pretokenizer_run *run)
{
    if (run == NULL)
        return;
    pcre2_match_data_free(run->data);
    pcre2_match_context_free(run->context);
    pcre2_jit_stack_free(run->jit_stack);
    paro_buffer_free(&run->prefixed);
    free(run);
}

static int match_once(paro_pretokenizer_run *run, const stage *s, const char *text, size_t n_bytes,
                      size_t from)
{
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;

    if (s->jit)
        rc = pcre2_jit_match(s->code, (PCRE2_SPTR)text, n_bytes, from, PCRE2_NO_UTF_CHECK,
                             run->data, run->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(s->code, (PCRE2_SPTR)text, n_bytes, from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, run->data, run->context);
    return rc;
}

/* Tries again with more and more steps, as long as the budget has them. */
static int match_patiently(paro_pretokenizer_run *run, const stage *s, const char *text,
                           size_t n_bytes, size_t from)
{
    uint64_t limit = FIRST_LIMIT;
    int rc = PCRE2_ERROR_MATCHLIMIT;

    while (rc == PCRE2_ERROR_MATCHLIMIT && limit < UINT32_MAX) {
        limit *= LIMIT_FACTOR;
        if (limit > UINT32_MAX)
            limit = UINT32_MAX;
        if (limit > run->budget)
            break;
        run->budget -= limit;
        pcre2_set_match_limit(run->context, (uint32_t)limit);
        rc = match_once(run, s, text, n_bytes, from);
    }
    pcre2_set_match_limit(run->context, FIRST_LIMIT);
    return rc;
}

/* Finds the next match at or after `from`; *found false where there is none. */
static paro_status find(paro_error *err, paro_pretokenizer_run *run, const stage *s,
                        const char *text, size_t n_bytes, size_t from, bool *found, size_t *start,
                        size_t *end)
{
    const PCRE2_SIZE *ovector = pcre2_get_ovector_pointer(run->data);
    int rc = match_once(run, s, text, n_bytes, from);

    if (rc == PCRE2_ERROR_MATCHLIMIT)
        rc = match_patiently(run, s, text, n_bytes, from);
    *found = rc >= 0;
    if (rc >= 0) {
        *start = ovector[0];
        *end = ovector[1];
        return PARO_STATUS_OK;
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return PARO_STATUS_OK;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return paro_fail_memory(err, n_bytes, "matching a pattern");
    return paro_fail(
        err, PARO_STATUS_LIMIT,
        "%s: the pattern takes too many steps on this text (at byte %zu of a piece of %zu; "
        "PCRE2 error %d)",
        s->where, from, n_bytes, rc);
}

static paro_status run_stage(paro_error *err, paro_pretokenizer_run *run, size_t n,
                             const char *text, size_t n_bytes);

/* The piece that a step is putting together. */
typedef struct joiner {
    size_t start;
    size_t end;
    bool any;        /* there is such a piece */
    bool last_match; /* of the stretch seen last */
} joiner;

static paro_status emit(paro_error *err, paro_pretokenizer_run *run, size_t n, const char *text,
                        size_t start, size_t end)
{
    return start == end ? PARO_STATUS_OK : run_stage(err, run, n + 1, text + start, end - start);
}

/* Takes the next stretch of text, which is a match or lies between matches. Stretches come in
 * order, without gaps; empty matches are stretches too. */
static paro_status join(paro_error *err, paro_pretokenizer_run *run, size_t n, const char *text,
                        size_t start, size_t end, bool is_match, joiner *joined)
{
    bool extend = false;
    paro_status status = PARO_STATUS_OK;

    switch (run->pretokenizer->stages[n].behavior) {
    case PARO_SPLIT_BEHAVIOR_ISOLATED:
        return emit(err, run, n, text, start, end);
    case PARO_SPLIT_BEHAVIOR_REMOVED:
        return is_match ? PARO_STATUS_OK : emit(err, run, n, text, start, end);
    case PARO_SPLIT_BEHAVIOR_MERGED_WITH_PREVIOUS:
        extend = is_match && !joined->last_match;
        break;
    case PARO_SPLIT_BEHAVIOR_MERGED_WITH_NEXT:
        extend = !is_match && joined->last_match;
        break;
    case PARO_SPLIT_BEHAVIOR_CONTIGUOUS:
        extend = is_match == joined->last_match;
        break;
    }
    if (!extend || !joined->any) {
        if (joined->any)
            status = emit(err, run, n, text, joined->start, joined->end);
        joined->start = start;
        joined->any = true;
    }
    joined->end = end;
    joined->last_match = is_match;
    return status;
}

/* Cuts by the matches of the step's pattern. As in Oniguruma's Rust binding, an empty match right
 * after a match does not count. */
static paro_status run_split(paro_error *err, paro_pretokenizer_run *run, size_t n,
                             const char *text, size_t n_bytes)
{
    const stage *s = &run->pretokenizer->stages[n];
    joiner joined = {0};
    size_t from = 0; /* where the next search begins */
    size_t last = 0; /* the end of the last match */
    bool matched = false;
    paro_status status = PARO_STATUS_OK;

    while (status == PARO_STATUS_OK && from <= n_bytes) {
        size_t start;
        size_t end;
        bool found;

        status = find(err, run, s, text, n_bytes, from, &found, &start, &end);
        if (status != PARO_STATUS_OK || !found)
            break;
        if (start == end && matched && end == last) {
            size_t length = 1;

            if (from < n_bytes)
                (void)paro_utf8_next(text + from, n_bytes - from, &length);
            from += length;
            continue;
        }
        if (last != start)
            status = join(err, run, n, text, last, start, s->invert, &joined);
        if (status == PARO_STATUS_OK)
            status = join(err, run, n, text, start, end, !s->invert, &joined);
        matched = true;
        last = end;
        from = end;
    }
    if (status == PARO_STATUS_OK && last != n_bytes)
        status = join(err, run, n, text, last, n_bytes, s->invert, &joined);
    if (status == PARO_STATUS_OK && joined.any)
        status = emit(err, run, n, text, joined.start, joined.end);
    return status;
}

static paro_status run_prefix_space(paro_error *err, paro_pretokenizer_run *run, size_t n,
                                    const char *text, size_t n_bytes)
{
    if (text[0] == ' ')
        return run_stage(err, run, n + 1, text, n_bytes);
    paro_buffer_clear(&run->prefixed);
    if (!paro_buffer_append(&run->prefixed, " ", 1) ||
        !paro_buffer_append(&run->prefixed, text, n_bytes))
        return paro_fail_memory(err, n_bytes, "text with a space in front");
    return run_stage(err, run, n + 1, run->prefixed.data, run->prefixed.n_bytes);
}

/* Hands a piece (not empty) to step n, or out as a word after the last. */
static paro_status run_stage(paro_error *err, paro_pretokenizer_run *run, size_t n,
                             const char *text, size_t n_bytes)
{
    if (n == run->pretokenizer->n_stages)
        return run->word(err, run->word_context, text, n_bytes);
    if (run->pretokenizer->stages[n].prefix_space)
        return run_prefix_space(err, run, n, text, n_bytes);
    return run_split(err, run, n, text, n_bytes);
}

paro_status paro_pretokenizer_split(paro_error *err, paro_pretokenizer_run *run, const char *text,
                                    size_t n_bytes, paro_word_fn *word, void *context)
{
    run->word = word;
    run->word_context = context;
    return n_bytes == 0 ? PARO_STATUS_OK : run_stage(err, run, 0, text, n_bytes);
}
