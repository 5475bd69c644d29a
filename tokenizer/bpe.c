/* SPDX-License-Identifier: MIT
 *
 * Byte-pair encoding: of all pairs of neighbours that may merge, the one of lowest rank does, the
 * leftmost first, until none may.
 *
 * The candidates stand in a heap, so a word of n bytes takes n log n time however long it is. A
 * candidate may be out of date when it comes up: it counts only if its pair still becomes what
 * it said. Words met before in the same text are copied from where their ids stand.
 *
 * Invariants of a run: 1. symbols [0, n_symbols) are the word's, linked by prev and next in order,
 * those that were merged away marked REMOVED and not linked; 2. the heap is ordered by rank, then
 * position; 3. every used cache entry names bytes in `keys` and ids below n_ids that will not
 * change any more.
 */
#include "tokenizer/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/hash.h"

enum {
    FIRST_IDS = 64,
    FIRST_SLOTS = 256,
    MAX_SLOTS = 1 << 17,
    MAX_CACHED_BYTES = 64 /* longer words rarely come back */
};

static const uint32_t REMOVED = UINT32_MAX;
static const uint32_t NONE = UINT32_MAX;

typedef struct pair_slot {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: empty */
    uint32_t rank;
    uint32_t result;
} pair_slot;

struct paro_bpe {
    pair_slot *pairs;
    size_t n_pair_slots;   /* a power of two */
    int64_t byte_ids[256]; /* -1: no token */
    int64_t unk_id;
    bool fuse_unk;
    bool ignore_merges;
    paro_map words; /* of tokens by their bytes; for ignore_merges only */
};

typedef struct symbol {
    uint32_t id;
    uint32_t prev;
    uint32_t next;
} symbol;

typedef struct candidate {
    uint32_t rank;
    uint32_t at; /* the left symbol */
    uint32_t result;
} candidate;

typedef struct cache_slot {
    size_t first_id; /* in ids */
    uint32_t n_ids;
    uint32_t key; /* in keys */
    uint32_t hash;
    uint32_t n_bytes; /* 0: empty */
} cache_slot;

struct paro_bpe_run {
    const paro_bpe *bpe;
    int32_t *ids;
    size_t n_ids;
    size_t id_capacity;
    symbol *symbols;
    size_t n_symbols;
    candidate *heap; /* room for 3 a symbol: one a pair at first, at most two more a merge */
    size_t n_heap;
    size_t symbol_capacity;
    cache_slot *slots;
    size_t n_slots; /* 0 or a power of two */
    size_t n_used;
    paro_buffer keys;
};

static size_t pair_home(uint64_t pair, size_t n_slots)
{
    return (size_t)(pair * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (n_slots - 1);
}

static const pair_slot *find_pair(const paro_bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t i = pair_home(pair, bpe->n_pair_slots);

    while (bpe->pairs[i].pair != pair) {
        if (bpe->pairs[i].pair == UINT64_MAX)
            return NULL;
        i = (i + 1) & (bpe->n_pair_slots - 1);
    }
    return &bpe->pairs[i];
}

static paro_status build_pairs(paro_error *err, const paro_bpe_options *options, paro_bpe *bpe)
{
    size_t n_slots = 16;

    if (options->n_merges > UINT32_MAX / 4)
        return paro_fail(err, PARO_STATUS_LIMIT, "%zu merges, at most %u are handled",
                         options->n_merges, UINT32_MAX / 4);
    while (n_slots < options->n_merges * 2)
        n_slots *= 2;
    bpe->pairs = malloc(n_slots * sizeof(*bpe->pairs));
    if (bpe->pairs == NULL)
        return paro_fail_memory(err, n_slots * sizeof(*bpe->pairs), "the merges");
    memset(bpe->pairs, 0xFF, n_slots * sizeof(*bpe->pairs));
    bpe->n_pair_slots = n_slots;
    for (size_t rank = 0; rank < options->n_merges; rank++) {
        const paro_merge *merge = &options->merges[rank];
        uint64_t pair = (uint64_t)merge->left << 32 | merge->right;
        size_t i = pair_home(pair, n_slots);

        while (bpe->pairs[i].pair != UINT64_MAX && bpe->pairs[i].pair != pair)
            i = (i + 1) & (n_slots - 1);
        bpe->pairs[i] = (pair_slot){.pair = pair, .rank = (uint32_t)rank, .result = merge->result};
    }
    return PARO_STATUS_OK;
}

paro_status paro_bpe_new(paro_error *err, const paro_bpe_options *options, paro_bpe **out)
{
    paro_bpe *bpe = calloc(1, sizeof(*bpe));
    paro_status status;

    if (bpe == NULL)
        return paro_fail_memory(err, sizeof(*bpe), "the merges");
    status = build_pairs(err, options, bpe);
    bpe->unk_id = options->unk_id;
    bpe->fuse_unk = options->fuse_unk;
    bpe->ignore_merges = options->ignore_merges;
    for (size_t i = 0; i < 256; i++)
        bpe->byte_ids[i] = -1;
    if (options->ignore_merges && !paro_map_reserve(&bpe->words, options->n_tokens))
        status = paro_fail_memory(err, options->n_tokens, "the vocabulary");
    for (size_t id = 0; id < options->n_tokens && status == PARO_STATUS_OK; id++) {
        const paro_token_bytes *token = &options->tokens[id];

        if (token->bytes == NULL || !token->spelled)
            continue;
        if (token->n_bytes == 1)
            bpe->byte_ids[(unsigned char)token->bytes[0]] = (int64_t)id;
        if (options->ignore_merges &&
            !paro_map_put(&bpe->words, token->bytes, token->n_bytes, (uint32_t)id, NULL))
            status = paro_fail_memory(err, options->n_tokens, "the vocabulary");
    }
    if (status == PARO_STATUS_OK)
        *out = bpe;
    else
        paro_bpe_free(bpe);
    return status;
}

void paro_bpe_free(paro_bpe *bpe)
{
    if (bpe == NULL)
        return;
    free(bpe->pairs);
    paro_map_free(&bpe->words);
    free(bpe);
}

paro_status paro_bpe_begin(paro_error *err, const paro_bpe *bpe, paro_bpe_run **out)
{
    paro_bpe_run *run = calloc(1, sizeof(*run));

    if (run == NULL)
        return paro_fail_memory(err, sizeof(*run), "a run of BPE");
    run->bpe = bpe;
    *out = run;
    return PARO_STATUS_OK;
}

void paro_bpe_end(paro_bpe_run *run)
{
    if (run == NULL)
        return;
    free(run->ids);
    free(run->symbols);
    free(run->heap);
    free(run->slots);
    paro_buffer_free(&run->keys);
    free(run);
}

static paro_status reserve_ids(paro_error *err, paro_bpe_run *run, size_t n_more)
{
    size_t capacity = run->id_capacity == 0 ? FIRST_IDS : run->id_capacity;
    int32_t *grown;

    if (run->id_capacity - run->n_ids >= n_more && run->ids != NULL)
        return PARO_STATUS_OK;
    while (capacity - run->n_ids < n_more) {
        if (capacity > SIZE_MAX / 2 / sizeof(*run->ids))
            return paro_fail_memory(err, SIZE_MAX, "token ids");
        capacity *= 2;
    }
    grown = realloc(run->ids, capacity * sizeof(*run->ids));
    if (grown == NULL)
        return paro_fail_memory(err, capacity * sizeof(*run->ids), "token ids");
    run->ids = grown;
    run->id_capacity = capacity;
    return PARO_STATUS_OK;
}

paro_status paro_bpe_append(paro_error *err, paro_bpe_run *run, uint32_t id)
{
    paro_status status = reserve_ids(err, run, 1);

    if (status == PARO_STATUS_OK)
        run->ids[run->n_ids++] = (int32_t)id;
    return status;
}

paro_status paro_bpe_take(paro_error *err, paro_bpe_run *run, int32_t **ids, size_t *n_ids)
{
    paro_status status = reserve_ids(err, run, 0);

    if (status != PARO_STATUS_OK)
        return status;
    *ids = run->ids;
    *n_ids = run->n_ids;
    run->ids = NULL;
    run->n_ids = 0;
    run->id_capacity = 0;
    return PARO_STATUS_OK;
}

static paro_status reserve_symbols(paro_error *err, paro_bpe_run *run, size_t n)
{
    size_t capacity = run->symbol_capacity == 0 ? 64 : run->symbol_capacity;
    void *grown;

    if (n <= run->symbol_capacity)
        return PARO_STATUS_OK;
    if (n > UINT32_MAX / 4)
        return paro_fail(err, PARO_STATUS_LIMIT,
                         "a word of %zu bytes without a place to cut it; at "
                         "most %u are handled",
                         n, UINT32_MAX / 4);
    while (capacity < n)
        capacity *= 2;
    grown = realloc(run->symbols, capacity * sizeof(*run->symbols));
    if (grown == NULL)
        return paro_fail_memory(err, capacity * sizeof(*run->symbols), "a word");
    run->symbols = grown;
    grown = realloc(run->heap, 3 * capacity * sizeof(*run->heap));
    if (grown == NULL)
        return paro_fail_memory(err, 3 * capacity * sizeof(*run->heap), "a word");
    run->heap = grown;
    run->symbol_capacity = capacity;
    return PARO_STATUS_OK;
}

static bool comes_first(const candidate *a, const candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(paro_bpe_run *run, candidate added)
{
    candidate *heap = run->heap;
    size_t i = run->n_heap++;

    while (i > 0 && comes_first(&added, &heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = added;
}

static candidate heap_pop(paro_bpe_run *run)
{
    candidate *heap = run->heap;
    candidate top = heap[0];
    candidate moved = heap[--run->n_heap];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= run->n_heap)
            break;
        if (child + 1 < run->n_heap && comes_first(&heap[child + 1], &heap[child]))
            child++;
        if (!comes_first(&heap[child], &moved))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
    return top;
}

/* Makes symbol `at` and the next one a candidate if they may merge. */
static void consider(paro_bpe_run *run, uint32_t at)
{
    const symbol *left = &run->symbols[at];
    const pair_slot *slot;

    if (left->next == NONE)
        return;
    slot = find_pair(run->bpe, left->id, run->symbols[left->next].id);
    if (slot != NULL)
        heap_push(run, (candidate){.rank = slot->rank, .at = at, .result = slot->result});
}

static void merge_all(paro_bpe_run *run)
{
    symbol *symbols = run->symbols;

    run->n_heap = 0;
    for (size_t i = 0; i < run->n_symbols; i++)
        consider(run, (uint32_t)i);
    while (run->n_heap > 0) {
        candidate best = heap_pop(run);
        symbol *left = &symbols[best.at];
        const pair_slot *slot;
        symbol *right;

        if (left->id == REMOVED || left->next == NONE)
            continue;
        right = &symbols[left->next];
        slot = find_pair(run->bpe, left->id, right->id);
        if (slot == NULL || slot->result != best.result)
            continue;
        left->id = best.result;
        left->next = right->next;
        right->id = REMOVED;
        if (left->next != NONE)
            symbols[left->next].prev = best.at;
        if (left->prev != NONE)
            consider(run, left->prev);
        consider(run, best.at);
    }
}

static void add_symbol(paro_bpe_run *run, int64_t id)
{
    run->symbols[run->n_symbols++].id = (uint32_t)id;
}

/* The word's bytes as symbols; a byte without a token as the unknown token or not at all. */
static void fill_symbols(paro_bpe_run *run, const char *word, size_t n_bytes)
{
    const paro_bpe *bpe = run->bpe;
    bool last_unknown = false;

    run->n_symbols = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        int64_t id = bpe->byte_ids[(unsigned char)word[i]];

        if (id >= 0)
            add_symbol(run, id);
        else if (bpe->unk_id >= 0 && !(last_unknown && bpe->fuse_unk))
            add_symbol(run, bpe->unk_id);
        last_unknown = id < 0;
    }
    for (size_t i = 0; i < run->n_symbols; i++) {
        run->symbols[i].prev = i == 0 ? NONE : (uint32_t)(i - 1);
        run->symbols[i].next = i + 1 == run->n_symbols ? NONE : (uint32_t)(i + 1);
    }
}

static paro_status encode_new(paro_error *err, paro_bpe_run *run, const char *word, size_t n_bytes)
{
    paro_status status;
    uint32_t id;

    if (run->bpe->ignore_merges && paro_map_get(&run->bpe->words, word, n_bytes, &id))
        return paro_bpe_append(err, run, id);
    status = reserve_symbols(err, run, n_bytes);
    if (status != PARO_STATUS_OK)
        return status;
    fill_symbols(run, word, n_bytes);
    merge_all(run);
    status = reserve_ids(err, run, run->n_symbols);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; i < run->n_symbols; i++) {
        if (run->symbols[i].id != REMOVED)
            run->ids[run->n_ids++] = (int32_t)run->symbols[i].id;
    }
    return PARO_STATUS_OK;
}

static cache_slot *cache_find(const paro_bpe_run *run, uint32_t hash, const char *word,
                              size_t n_bytes)
{
    size_t i = hash & (run->n_slots - 1);

    while (run->slots[i].n_bytes != 0 &&
           (run->slots[i].hash != hash || run->slots[i].n_bytes != n_bytes ||
            memcmp(run->keys.data + run->slots[i].key, word, n_bytes) != 0))
        i = (i + 1) & (run->n_slots - 1);
    return &run->slots[i];
}

/* Makes room for one more entry: a larger table, or an empty one where it is as large as it gets.
 */
static paro_status cache_reserve(paro_error *err, paro_bpe_run *run)
{
    size_t n_slots = run->n_slots == 0 ? FIRST_SLOTS : 4 * run->n_slots;
    cache_slot *old = run->slots;
    cache_slot *slots;

    if (2 * run->n_used < run->n_slots)
        return PARO_STATUS_OK;
    if (run->n_slots == MAX_SLOTS) {
        memset(run->slots, 0, run->n_slots * sizeof(*run->slots));
        run->n_used = 0;
        paro_buffer_clear(&run->keys);
        return PARO_STATUS_OK;
    }
    if (n_slots > MAX_SLOTS)
        n_slots = MAX_SLOTS;
    slots = calloc(n_slots, sizeof(*slots));
    if (slots == NULL)
        return paro_fail_memory(err, n_slots * sizeof(*slots), "a table of words");
    for (size_t i = 0; i < run->n_slots; i++) {
        size_t to = old[i].hash & (n_slots - 1);

        if (old[i].n_bytes == 0)
            continue;
        while (slots[to].n_bytes != 0)
            to = (to + 1) & (n_slots - 1);
        slots[to] = old[i];
    }
    free(old);
    run->slots = slots;
    run->n_slots = n_slots;
    return PARO_STATUS_OK;
}

paro_status paro_bpe_encode(paro_error *err, paro_bpe_run *run, const char *word, size_t n_bytes)
{
    paro_status status;
    cache_slot *slot;
    uint32_t hash;
    size_t first = run->n_ids;

    if (n_bytes == 0)
        return PARO_STATUS_OK;
    if (n_bytes > MAX_CACHED_BYTES)
        return encode_new(err, run, word, n_bytes);
    if ((status = cache_reserve(err, run)) != PARO_STATUS_OK)
        return status;
    hash = (uint32_t)paro_hash_bytes(word, n_bytes);
    slot = cache_find(run, hash, word, n_bytes);
    if (slot->n_bytes != 0) {
        if ((status = reserve_ids(err, run, slot->n_ids)) != PARO_STATUS_OK)
            return status;
        for (size_t i = 0; i < slot->n_ids; i++)
            run->ids[run->n_ids++] = run->ids[slot->first_id + i];
        return PARO_STATUS_OK;
    }
    if ((status = encode_new(err, run, word, n_bytes)) != PARO_STATUS_OK)
        return status;
    if (!paro_buffer_append(&run->keys, word, n_bytes))
        return paro_fail_memory(err, n_bytes, "a table of words");
    *slot = (cache_slot){.first_id = first,
                         .n_ids = (uint32_t)(run->n_ids - first),
                         .key = (uint32_t)(run->keys.n_bytes - n_bytes),
                         .hash = hash,
                         .n_bytes = (uint32_t)n_bytes};
    run->n_used++;
    return PARO_STATUS_OK;
}
