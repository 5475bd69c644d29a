/* SPDX-License-Identifier: MIT
 *
 * Finding added tokens: a trie of their bytes, entered at every position whose byte begins one.
 *
 * Invariants: 1. node 0 is the root; 2. the children of a node are a list linked by `sibling`, in
 * no particular order, no byte twice; 3. a node's `token` is the text that ends there, or NONE.
 */
#include "tokenizer/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tokenizer/normalize.h"

enum { ROOT = 0 };

static const uint32_t NONE = UINT32_MAX;

typedef struct node {
    uint32_t child;
    uint32_t sibling;
    uint32_t token;
    unsigned char byte;
} node;

struct paro_token_matcher {
    paro_token_entry *tokens;
    size_t n_tokens;
    node *nodes;
    size_t n_nodes;
    bool begins[256]; /* whether a text begins with this byte */
};

static uint32_t find_child(const paro_token_matcher *matcher, uint32_t parent, unsigned char byte)
{
    uint32_t at = matcher->nodes[parent].child;

    while (at != NONE && matcher->nodes[at].byte != byte)
        at = matcher->nodes[at].sibling;
    return at;
}

static void add_token(paro_token_matcher *matcher, uint32_t token)
{
    const paro_token_entry *added = &matcher->tokens[token];
    uint32_t at = ROOT;

    matcher->begins[(unsigned char)added->text[0]] = true;
    for (size_t i = 0; i < added->n_bytes; i++) {
        unsigned char byte = (unsigned char)added->text[i];
        uint32_t next = find_child(matcher, at, byte);

        if (next == NONE) {
            next = (uint32_t)matcher->n_nodes++;
            matcher->nodes[next] = (node){
                .child = NONE, .sibling = matcher->nodes[at].child, .token = NONE, .byte = byte};
            matcher->nodes[at].child = next;
        }
        at = next;
    }
    if (matcher->nodes[at].token == NONE)
        matcher->nodes[at].token = token;
}

paro_status paro_token_matcher_new(paro_error *err, const paro_token_entry *tokens, size_t n_tokens,
                                   paro_token_matcher **out)
{
    paro_token_matcher *matcher = calloc(1, sizeof(*matcher));
    size_t n_nodes = 1;

    for (size_t i = 0; i < n_tokens; i++)
        n_nodes += tokens[i].n_bytes;
    if (n_nodes >= NONE) {
        free(matcher);
        return paro_fail(err, PARO_STATUS_LIMIT, "added tokens of %zu bytes together", n_nodes);
    }
    if (matcher != NULL) {
        matcher->tokens = malloc((n_tokens + 1) * sizeof(*tokens));
        matcher->nodes = malloc(n_nodes * sizeof(*matcher->nodes));
    }
    if (matcher == NULL || matcher->tokens == NULL || matcher->nodes == NULL) {
        paro_token_matcher_free(matcher);
        return paro_fail_memory(err, n_nodes * sizeof(node), "the added tokens");
    }
    if (n_tokens > 0)
        memcpy(matcher->tokens, tokens, n_tokens * sizeof(*tokens));
    matcher->n_tokens = n_tokens;
    matcher->n_nodes = 1;
    matcher->nodes[ROOT] = (node){.child = NONE, .sibling = NONE, .token = NONE};
    for (size_t i = 0; i < n_tokens; i++)
        add_token(matcher, (uint32_t)i);
    for (size_t i = 0; i < n_tokens; i++)
        matcher->tokens[i].text = NULL;
    *out = matcher;
    return PARO_STATUS_OK;
}

void paro_token_matcher_free(paro_token_matcher *matcher)
{
    if (matcher == NULL)
        return;
    free(matcher->tokens);
    free(matcher->nodes);
    free(matcher);
}

/* The next match at or after `from`: its token and [*start, *end). NULL where there is none. */
static const paro_token_entry *find(const paro_token_matcher *matcher, const char *text,
                                    size_t n_bytes, size_t from, size_t *start, size_t *end)
{
    for (size_t at = from; at < n_bytes; at++) {
        uint32_t found = NONE;
        uint32_t n = ROOT;

        if (!matcher->begins[(unsigned char)text[at]])
            continue;
        for (size_t i = at; i < n_bytes; i++) {
            n = find_child(matcher, n, (unsigned char)text[i]);
            if (n == NONE)
                break;
            if (matcher->nodes[n].token != NONE) {
                found = matcher->nodes[n].token;
                *end = i + 1;
            }
        }
        if (found != NONE) {
            *start = at;
            return &matcher->tokens[found];
        }
    }
    return NULL;
}

/* The start of the character that ends at `end`. */
static size_t before(const char *text, size_t end)
{
    size_t start = end - 1;

    while (start > 0 && ((unsigned char)text[start] & 0xC0) == 0x80)
        start--;
    return start;
}

static bool is_alone(const char *text, size_t n_bytes, size_t start, size_t end)
{
    if (start > 0) {
        size_t first = before(text, start);

        if (paro_is_word(paro_utf8_code_point(text + first, start - first)))
            return false;
    }
    if (end < n_bytes) {
        size_t length;

        (void)paro_utf8_next(text + end, n_bytes - end, &length);
        if (paro_is_word(paro_utf8_code_point(text + end, length)))
            return false;
    }
    return true;
}

static size_t strip_left(const char *text, size_t start)
{
    while (start > 0) {
        size_t first = before(text, start);

        if (!paro_is_white_space(paro_utf8_code_point(text + first, start - first)))
            break;
        start = first;
    }
    return start;
}

static size_t strip_right(const char *text, size_t n_bytes, size_t end)
{
    while (end < n_bytes) {
        size_t length;

        (void)paro_utf8_next(text + end, n_bytes - end, &length);
        if (!paro_is_white_space(paro_utf8_code_point(text + end, length)))
            break;
        end += length;
    }
    return end;
}

/* The order of the checks, and what a token does whose stripped space reaches into the next one,
 * are those of `tokenizers`: the search goes on after the token itself, and what follows is handed
 * over from where the last piece ended. */
paro_status paro_token_matcher_split(paro_error *err, const paro_token_matcher *matcher,
                                     const char *text, size_t n_bytes, bool plain,
                                     paro_piece_fn *piece, void *context)
{
    size_t done = 0; /* end of the last piece */
    size_t from = 0;
    const paro_token_entry *token;
    size_t start;
    size_t end;
    paro_status status = PARO_STATUS_OK;

    while ((token = find(matcher, text, n_bytes, from, &start, &end)) != NULL) {
        from = end;
        if (plain && token->special)
            continue;
        if (token->single_word && !is_alone(text, n_bytes, start, end))
            continue;
        if (token->lstrip) {
            start = strip_left(text, start);
            if (start < done)
                start = done;
        }
        if (token->rstrip)
            end = strip_right(text, n_bytes, end);
        if (done < start)
            status = piece(err, context, text + done, start - done, -1);
        if (status == PARO_STATUS_OK)
            status = piece(err, context, text + start, end - start, token->id);
        if (status != PARO_STATUS_OK)
            return status;
        done = end;
    }
    if (done != n_bytes)
        status = piece(err, context, text + done, n_bytes - done, -1);
    return status;
}
