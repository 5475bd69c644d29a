/* SPDX-License-Identifier: MIT
 *
 * The tokenizer behind a pipe, for scripts/compare_tokenizer.py.
 *
 *     bench_tokenizer PATH            answers requests on stdin
 *     bench_tokenizer PATH TEXT…      prints the speed on these files
 *
 * A request is 4 bytes of length, 1 byte of flags and the data, all little-endian: a text (flag 1:
 * add special tokens, 2: plain text), or, with flag 4, int32 ids to decode (flag 8: skip special
 * tokens). The answer is 4 bytes of length and the ids, or the text. Decoding is done at once and
 * as a stream; the program fails where the two differ or a piece is not whole characters.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <paro/paro.h>

#include "base/clock.h"

static void fail(const char *message)
{
    fprintf(stderr, "bench_tokenizer: %s\n", message);
    exit(1);
}

static void *must(void *pointer)
{
    if (pointer == NULL)
        fail("out of memory");
    return pointer;
}

static void answer(const void *data, size_t n_bytes)
{
    uint32_t n = (uint32_t)n_bytes;

    fwrite(&n, sizeof(n), 1, stdout);
    fwrite(data, 1, n_bytes, stdout);
    fflush(stdout);
}

/* No piece ends inside a character: the next byte, where there is one, begins another. */
static void check_stream(const paro_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                         bool skip, const char *text, size_t n_bytes)
{
    paro_error err;
    paro_decode_stream *stream;
    size_t at = 0;

    if (paro_decode_stream_new(&err, tokenizer, skip, &stream) != PARO_STATUS_OK)
        fail(err.message);
    for (size_t i = 0; i <= n_ids; i++) {
        const char *piece;
        size_t n;
        paro_status status = i < n_ids ? paro_decode_stream_push(&err, stream, ids[i], &piece, &n)
                                       : paro_decode_stream_finish(&err, stream, &piece, &n);

        if (status != PARO_STATUS_OK)
            fail(err.message);
        if (n > n_bytes - at || memcmp(piece, text + at, n) != 0)
            fail("the stream gives another text");
        at += n;
        if (at < n_bytes && ((unsigned char)text[at] & 0xC0) == 0x80)
            fail("the stream gives half a character");
    }
    if (at != n_bytes)
        fail("the stream gives less text");
    paro_decode_stream_free(stream);
}

static void serve(const paro_tokenizer *tokenizer)
{
    paro_error err;
    uint32_t n;
    unsigned char flags;

    while (fread(&n, sizeof(n), 1, stdin) == 1) {
        char *data = must(malloc((size_t)n + 1));

        if (fread(&flags, 1, 1, stdin) != 1 || fread(data, 1, n, stdin) != n)
            fail("a request was cut off");
        if (flags & 4) {
            char *text;
            size_t n_bytes;
            const int32_t *ids = (const int32_t *)(const void *)data;

            if (paro_tokenizer_decode(&err, tokenizer, ids, n / 4, (flags & 8) != 0, &text,
                                      &n_bytes) != PARO_STATUS_OK)
                fail(err.message);
            check_stream(tokenizer, ids, n / 4, (flags & 8) != 0, text, n_bytes);
            answer(text, n_bytes);
            free(text);
        } else {
            paro_encode_options options = {.add_special_tokens = (flags & 1) != 0,
                                           .plain_text = (flags & 2) != 0};
            int32_t *ids;
            size_t n_ids;

            if (paro_tokenizer_encode(&err, tokenizer, data, n, &options, &ids, &n_ids) !=
                PARO_STATUS_OK)
                fail(err.message);
            answer(ids, n_ids * sizeof(*ids));
            free(ids);
        }
        free(data);
    }
}

static void measure(const paro_tokenizer *tokenizer, const char *path)
{
    enum { ROUNDS = 7 };
    paro_error err;
    double encode = 1e9;
    double decode = 1e9;
    size_t n_ids = 0;
    FILE *file = fopen(path, "rb");
    char *text = must(malloc(64u << 20));
    size_t n_bytes;

    if (file == NULL)
        fail(path);
    n_bytes = fread(text, 1, 64u << 20, file);
    fclose(file);
    for (int round = 0; round < ROUNDS; round++) {
        int32_t *ids;
        char *back;
        size_t n_back;
        double start = paro_clock_seconds();

        if (paro_tokenizer_encode(&err, tokenizer, text, n_bytes, NULL, &ids, &n_ids) !=
            PARO_STATUS_OK)
            fail(err.message);
        if (paro_clock_seconds() - start < encode)
            encode = paro_clock_seconds() - start;
        start = paro_clock_seconds();
        if (paro_tokenizer_decode(&err, tokenizer, ids, n_ids, false, &back, &n_back) !=
            PARO_STATUS_OK)
            fail(err.message);
        if (paro_clock_seconds() - start < decode)
            decode = paro_clock_seconds() - start;
        free(back);
        free(ids);
    }
    printf("%s: %zu bytes, %zu ids, encode %.1f MB/s, decode %.1f MB/s (best of %d)\n", path,
           n_bytes, n_ids, (double)n_bytes / encode / 1e6, (double)n_bytes / decode / 1e6, ROUNDS);
    free(text);
}

int main(int argc, char **argv)
{
    paro_error err;
    paro_tokenizer *tokenizer;
    double start = paro_clock_seconds();

    if (argc < 2)
        fail("expected the path of a tokenizer.json or its folder");
    if (paro_tokenizer_open(&err, argv[1], &tokenizer) != PARO_STATUS_OK)
        fail(err.message);
    if (argc == 2) {
        serve(tokenizer);
    } else {
        printf("%s: opened in %.3f s, %u ids\n", argv[1], paro_clock_seconds() - start,
               (unsigned)paro_tokenizer_vocab(tokenizer));
        for (int i = 2; i < argc; i++)
            measure(tokenizer, argv[i]);
    }
    paro_tokenizer_free(tokenizer);
    return 0;
}
