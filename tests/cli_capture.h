/* SPDX-License-Identifier: MIT
 *
 * What tests of the CLI share: what was printed to a stream, as a string.
 */
#ifndef PARO_TESTS_CLI_CAPTURE_H
#define PARO_TESTS_CLI_CAPTURE_H

#include <stdio.h>
#include <stdlib.h>

typedef struct capture {
    FILE *stream;
    char *text; /* valid after capture_text */
    size_t n_bytes;
} capture;

static inline capture *capture_new(void)
{
    capture *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->stream = open_memstream(&c->text, &c->n_bytes);
    assert_non_null(c->stream);
    return c;
}

static inline const char *capture_text(capture *c)
{
    assert_int_equal(fflush(c->stream), 0);
    return c->text;
}

static inline void capture_free(capture *c)
{
    fclose(c->stream);
    free(c->text);
    free(c);
}

#endif
