/* SPDX-License-Identifier: MIT
 *
 * Unicode with utf8proc; the only file that includes its header.
 *
 * utf8proc decomposes and composes characters; the canonical ordering of marks is done here,
 * because utf8proc's own takes quadratic time on long runs of them. Text is worked on in stretches:
 * a character that never changes nor joins what is before it begins a new one, and stretches that
 * consist of nothing else are copied.
 */
#include "tokenizer/normalize.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"

enum {
    MAX_CLASS = 256,   /* canonical combining classes are 0..254 */
    FIRST_MARK = 0x300 /* NFC leaves everything below it alone */
};

typedef struct stretch {
    utf8proc_int32_t *points;
    size_t n;
    size_t capacity;
    utf8proc_int32_t *sorted; /* as long as points */
} stretch;

static bool composes(paro_normal_form form)
{
    return form == PARO_NORMAL_FORM_NFC || form == PARO_NORMAL_FORM_NFKC;
}

static int options_of(paro_normal_form form)
{
    int options = UTF8PROC_STABLE;

    if (form == PARO_NORMAL_FORM_NFKC || form == PARO_NORMAL_FORM_NFKD)
        options |= UTF8PROC_COMPAT;
    return options | UTF8PROC_DECOMPOSE;
}

/* Whether a code point is a starter, is its own normal form and does not join what is before it. */
static bool is_plain(paro_normal_form form, uint32_t point)
{
    return point < (form == PARO_NORMAL_FORM_NFC ? FIRST_MARK : 0x80);
}

static bool reserve(stretch *s, size_t n_more)
{
    size_t capacity = s->capacity == 0 ? 256 : s->capacity;
    void *grown;

    if (s->capacity - s->n >= n_more)
        return true;
    while (capacity - s->n < n_more) {
        if (capacity > SIZE_MAX / 2 / sizeof(*s->points))
            return false;
        capacity *= 2;
    }
    grown = realloc(s->points, capacity * sizeof(*s->points));
    if (grown == NULL)
        return false;
    s->points = grown;
    grown = realloc(s->sorted, capacity * sizeof(*s->sorted));
    if (grown == NULL)
        return false;
    s->sorted = grown;
    s->capacity = capacity;
    return true;
}

static bool decompose(stretch *s, paro_normal_form form, utf8proc_int32_t point)
{
    int last_boundclass = 0;

    for (;;) {
        utf8proc_ssize_t n =
            utf8proc_decompose_char(point, s->points + s->n, (utf8proc_ssize_t)(s->capacity - s->n),
                                    (utf8proc_option_t)options_of(form), &last_boundclass);

        if (n < 0)
            return false;
        if ((size_t)n <= s->capacity - s->n) {
            s->n += (size_t)n;
            return true;
        }
        if (!reserve(s, (size_t)n))
            return false;
    }
}

/* Sorts points [first, end), all of which have a combining class, by class, equal ones in order. */
static void sort_marks(stretch *s, size_t first, size_t end)
{
    size_t place[MAX_CLASS] = {0};
    size_t total = first;

    if (end - first < 2)
        return;
    for (size_t i = first; i < end; i++)
        place[(uint8_t)utf8proc_get_property(s->points[i])->combining_class]++;
    for (size_t class = 0; class < MAX_CLASS; class ++) {
        size_t n = place[class];

        place[class] = total;
        total += n;
    }
    for (size_t i = first; i < end; i++) {
        uint8_t class = (uint8_t)utf8proc_get_property(s->points[i])->combining_class;

        s->sorted[place[class]++] = s->points[i];
    }
    memcpy(s->points + first, s->sorted + first, (end - first) * sizeof(*s->points));
}

static void order_marks(stretch *s)
{
    size_t first = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (utf8proc_get_property(s->points[i])->combining_class == 0) {
            sort_marks(s, first, i);
            first = i + 1;
        }
    }
    sort_marks(s, first, s->n);
}

static bool append_normal(paro_normal_form form, const char *text, size_t n_bytes, stretch *s,
                          paro_buffer *buffer)
{
    utf8proc_ssize_t n;

    s->n = 0;
    for (size_t at = 0; at < n_bytes;) {
        size_t length;

        (void)paro_utf8_next(text + at, n_bytes - at, &length);
        if (!decompose(s, form, (utf8proc_int32_t)paro_utf8_code_point(text + at, length)))
            return false;
        at += length;
    }
    order_marks(s);
    n = (utf8proc_ssize_t)s->n;
    if (composes(form))
        n = utf8proc_normalize_utf32(s->points, n,
                                     (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        if (!paro_utf8_append(buffer, (uint32_t)s->points[i]))
            return false;
    }
    return true;
}

/* Where the next character that is not plain stands, from `at` on (n_bytes: nowhere); *before is
 * the start of the character before it, or where it stands itself if there is none. */
static size_t find_first(paro_normal_form form, const char *text, size_t n_bytes, size_t at,
                         size_t *before)
{
    *before = at;
    while (at < n_bytes) {
        size_t length;

        (void)paro_utf8_next(text + at, n_bytes - at, &length);
        if (!is_plain(form, paro_utf8_code_point(text + at, length)))
            return at;
        *before = at;
        at += length;
    }
    return n_bytes;
}

static size_t find_plain(paro_normal_form form, const char *text, size_t n_bytes, size_t at)
{
    while (at < n_bytes) {
        size_t length;

        (void)paro_utf8_next(text + at, n_bytes - at, &length);
        if (is_plain(form, paro_utf8_code_point(text + at, length)))
            break;
        at += length;
    }
    return at;
}

paro_status paro_normalize(paro_error *err, paro_normal_form form, const char *text, size_t n_bytes,
                           paro_buffer *buffer, const char **out, size_t *n_out)
{
    stretch s = {0};
    size_t at = 0;
    size_t before;
    size_t next = find_first(form, text, n_bytes, 0, &before);
    bool ok;

    if (next == n_bytes) {
        *out = text;
        *n_out = n_bytes;
        return PARO_STATUS_OK;
    }
    paro_buffer_clear(buffer);
    ok = reserve(&s, 1) && paro_buffer_reserve(buffer, n_bytes);
    while (ok && at < n_bytes) {
        size_t end = next < n_bytes ? find_plain(form, text, n_bytes, next) : n_bytes;

        if (next == n_bytes)
            before = n_bytes;
        ok = paro_buffer_append(buffer, text + at, before - at) &&
             append_normal(form, text + before, end - before, &s, buffer);
        at = end;
        next = find_first(form, text, n_bytes, at, &before);
    }
    free(s.points);
    free(s.sorted);
    if (!ok)
        return paro_fail_memory(err, n_bytes, "the normal form of a text");
    *out = buffer->data;
    *n_out = buffer->n_bytes;
    return PARO_STATUS_OK;
}

bool paro_is_white_space(uint32_t point)
{
    static const uint16_t others[] = {0x20,   0x85,   0xA0,   0x1680, 0x2028,
                                      0x2029, 0x202F, 0x205F, 0x3000};

    if ((point >= 0x09 && point <= 0x0D) || (point >= 0x2000 && point <= 0x200A))
        return true;
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        if (point == others[i])
            return true;
    }
    return false;
}

bool paro_is_word(uint32_t point)
{
    switch (utf8proc_category((utf8proc_int32_t)point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    case UTF8PROC_CATEGORY_SO: /* letters in circles and squares are Alphabetic */
        return (point >= 0x24B6 && point <= 0x24E9) || (point >= 0x1F130 && point <= 0x1F149) ||
               (point >= 0x1F150 && point <= 0x1F169) || (point >= 0x1F170 && point <= 0x1F189);
    default:
        return point == 0x200C || point == 0x200D;
    }
}
