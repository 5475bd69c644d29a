/* SPDX-License-Identifier: MIT
 *
 * Text for people: widths on a terminal, safe copies, numbers with units, nearest names.
 */
#include "cli/text.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct range {
    uint32_t first, last;
} range;

/* Blocks of combining marks and other characters without a width of their own. */
static const range zero_width[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd},  {0x0610, 0x061a}, {0x064b, 0x065f},
    {0x06d6, 0x06dc}, {0x0900, 0x0902}, {0x093c, 0x093c},  {0x0941, 0x0948}, {0x094d, 0x094d},
    {0x0e31, 0x0e31}, {0x0e34, 0x0e3a}, {0x0e47, 0x0e4e},  {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff},
    {0x200b, 0x200f}, {0x2060, 0x2064}, {0x20d0, 0x20ff},  {0x3099, 0x309a}, {0xfe00, 0xfe0f},
    {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xe0100, 0xe01ef}};

/* Blocks that terminals draw two columns wide. */
static const range double_width[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x23e9, 0x23ec},   {0x2e80, 0x303e},
    {0x3041, 0x33ff},   {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xa000, 0xa4cf},
    {0xa960, 0xa97f},   {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},
    {0xff01, 0xff60},   {0xffe0, 0xffe6},   {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff},
    {0x1f900, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd}};

/* Characters that are not printed as they are. */
static const range unsafe[] = {
    {0x0000, 0x001f}, {0x007f, 0x009f}, {0x2028, 0x202e}, {0x2066, 0x2069}};

#define IN_RANGES(ranges, value) in_ranges(ranges, sizeof(ranges) / sizeof((ranges)[0]), value)

static bool in_ranges(const range *ranges, size_t n_ranges, uint32_t value)
{
    for (size_t i = 0; i < n_ranges; i++)
        if (value >= ranges[i].first && value <= ranges[i].last)
            return true;
    return false;
}

size_t paro_text_decode(const char *text, uint32_t *out)
{
    const unsigned char *p = (const unsigned char *)text;
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
    uint32_t value = n == 1 ? p[0] : n == 4 ? p[0] & 0x07u : n == 3 ? p[0] & 0x0fu : p[0] & 0x1fu;

    *out = 0xfffd;
    if (n == 0 || p[0] > 0xf4)
        return 1;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 1;
        value = value << 6 | (p[i] & 0x3fu);
    }
    if (value < smallest[n] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 1;
    *out = value;
    return n;
}

static unsigned character_columns(uint32_t value)
{
    if (IN_RANGES(zero_width, value))
        return 0;
    return IN_RANGES(double_width, value) ? 2 : 1;
}

unsigned paro_text_columns(const char *text)
{
    unsigned n = 0;
    while (*text) {
        uint32_t value;
        text += paro_text_decode(text, &value);
        n += character_columns(value);
    }
    return n;
}

char *paro_text_clean(const char *text, unsigned max_columns)
{
    /* A byte grows to the three of U+FFFD at most; three more for the mark of a cut. */
    size_t n_bytes = strlen(text);
    if (n_bytes > (SIZE_MAX - 4) / 3)
        return NULL;
    char *copy = malloc(n_bytes * 3 + 4);
    size_t n = 0, cut_at = 0;
    unsigned columns = 0;

    if (!copy)
        return NULL;
    while (*text) {
        uint32_t value;
        size_t n_read = paro_text_decode(text, &value);
        if (value == '\n' || value == '\r' || value == '\t')
            value = ' ';
        else if (IN_RANGES(unsafe, value))
            value = 0xfffd;
        columns += character_columns(value);
        if (max_columns && columns > max_columns) {
            memcpy(copy + cut_at, "…", 3);
            n = cut_at + 3;
            break;
        }
        if (value == ' ') {
            copy[n++] = ' ';
        } else if (value == 0xfffd) {
            memcpy(copy + n, "\xef\xbf\xbd", 3);
            n += 3;
        } else {
            memcpy(copy + n, text, n_read);
            n += n_read;
        }
        if (max_columns && columns < max_columns)
            cut_at = n;
        text += n_read;
    }
    copy[n] = '\0';
    return copy;
}

/* Three significant digits of value, which is below 1000 but for rounding. */
static void print_scaled(char out[PARO_TEXT_NUMBER_BYTES], double value, const char *unit)
{
    int n_decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    snprintf(out, PARO_TEXT_NUMBER_BYTES, "%.*f%s", n_decimals, value, unit);
}

const char *paro_text_size(char out[PARO_TEXT_NUMBER_BYTES], uint64_t n_bytes)
{
    static const char *const units[] = {" B", " kB", " MB", " GB", " TB", " PB", " EB"};
    double value = (double)n_bytes;
    size_t i = 0;

    if (n_bytes < 1000) {
        snprintf(out, PARO_TEXT_NUMBER_BYTES, "%u B", (unsigned)n_bytes);
        return out;
    }
    for (; value >= 999.5 && i + 1 < sizeof units / sizeof units[0]; i++)
        value /= 1000;
    print_scaled(out, value, units[i]);
    return out;
}

const char *paro_text_count(char out[PARO_TEXT_NUMBER_BYTES], double value)
{
    static const char *const units[] = {"", "k", "M", "G", "T"};
    size_t i = 0;

    for (; value >= 999.5 && i + 1 < sizeof units / sizeof units[0]; i++)
        value /= 1000;
    if (i == 0 && value == floor(value))
        snprintf(out, PARO_TEXT_NUMBER_BYTES, "%.0f", value);
    else
        print_scaled(out, value, units[i]);
    return out;
}

const char *paro_text_duration(char out[PARO_TEXT_NUMBER_BYTES], double seconds)
{
    const double most = 359999999; /* 99,999 hours */
    uint64_t s = seconds > 0 ? (uint64_t)(seconds < most ? seconds + 0.5 : most) : 0;

    if (s < 3600)
        snprintf(out, PARO_TEXT_NUMBER_BYTES, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
    else
        snprintf(out, PARO_TEXT_NUMBER_BYTES, "%u:%02u:%02u", (unsigned)(s / 3600),
                 (unsigned)(s / 60 % 60), (unsigned)(s % 60));
    return out;
}

enum { MAX_NAME = 32 };

/* Insertions, deletions, replacements and swaps of neighbours that make b of a. */
static size_t edit_distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t d[MAX_NAME + 1][MAX_NAME + 1];

    for (size_t i = 0; i <= n_a; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= n_b; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n_a; i++)
        for (size_t j = 1; j <= n_b; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n_a][n_b];
}

const char *paro_text_nearest(const char *name, const char *const *names)
{
    const char *nearest = NULL;
    size_t n_name = strlen(name), best = SIZE_MAX;

    if (n_name == 0 || n_name > MAX_NAME)
        return NULL;
    for (; *names; names++) {
        size_t n = strlen(*names), least = n < n_name ? n : n_name, longest = n + n_name - least;
        if (n == 0 || n > MAX_NAME)
            continue;
        bool begins = least >= 3 && strncmp(name, *names, least) == 0;
        size_t distance = edit_distance(name, n_name, *names, n);
        if ((begins || distance * 3 <= longest) && distance < best) {
            best = distance;
            nearest = *names;
        }
    }
    return nearest;
}
