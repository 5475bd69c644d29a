/* SPDX-License-Identifier: MIT
 *
 * UTF-8: see utf8.h.
 *
 * A character's first byte fixes its length and the range of its second byte (Unicode, table 3-7):
 *
 *     00..7F | C2..DF 80..BF | E0 A0..BF | E1..EC 80..BF | ED 80..9F | EE..EF 80..BF
 *            | F0 90..BF | F1..F3 80..BF | F4 80..8F; third and fourth bytes are 80..BF.
 *
 * A maximal wrong part is the longest start of such a sequence, or one byte where there is none.
 */
#include "base/utf8.h"

#include <string.h>

static bool is_continuation(unsigned char byte)
{
    return (byte & 0xC0) == 0x80;
}

static size_t sequence_length(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xDF)
        return 2;
    if (first >= 0xE0 && first <= 0xEF) {
        if (first == 0xE0)
            *low = 0xA0;
        if (first == 0xED)
            *high = 0x9F;
        return 3;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        if (first == 0xF0)
            *low = 0x90;
        if (first == 0xF4)
            *high = 0x8F;
        return 4;
    }
    return 0;
}

paro_utf8_kind paro_utf8_next(const char *text, size_t n_bytes, size_t *length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned char low;
    unsigned char high;
    size_t n = sequence_length(bytes[0], &low, &high);

    *length = 1;
    if (n == 0)
        return PARO_UTF8_KIND_WRONG;
    for (size_t i = 1; i < n; i++) {
        if (i == n_bytes)
            return PARO_UTF8_KIND_CUT;
        if (i == 1 ? bytes[i] < low || bytes[i] > high : !is_continuation(bytes[i]))
            return PARO_UTF8_KIND_WRONG;
        *length = i + 1;
    }
    return PARO_UTF8_KIND_CHARACTER;
}

uint32_t paro_utf8_code_point(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    static const unsigned char first_mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code_point = bytes[0] & first_mask[length];

    for (size_t i = 1; i < length; i++)
        code_point = code_point << 6 | (bytes[i] & 0x3F);
    return code_point;
}

size_t paro_utf8_valid_prefix(const char *text, size_t n_bytes)
{
    size_t at = 0;

    while (at < n_bytes) {
        uint64_t word;
        size_t length;

        if (n_bytes - at >= sizeof(word)) {
            memcpy(&word, text + at, sizeof(word));
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof(word);
                continue;
            }
        }
        if (paro_utf8_next(text + at, n_bytes - at, &length) != PARO_UTF8_KIND_CHARACTER)
            break;
        at += length;
    }
    return at;
}

bool paro_utf8_append_valid(paro_buffer *buffer, const char *text, size_t n_bytes)
{
    while (n_bytes > 0) {
        size_t valid = paro_utf8_valid_prefix(text, n_bytes);

        if (valid > 0 && !paro_buffer_append(buffer, text, valid))
            return false;
        text += valid;
        n_bytes -= valid;
        if (n_bytes > 0) {
            size_t wrong;

            (void)paro_utf8_next(text, n_bytes, &wrong);
            if (!paro_buffer_append(buffer, "\xEF\xBF\xBD", 3))
                return false;
            text += wrong;
            n_bytes -= wrong;
        }
    }
    return true;
}

bool paro_utf8_append(paro_buffer *buffer, uint32_t code_point)
{
    char bytes[4];
    size_t n;

    if (code_point < 0x80) {
        bytes[0] = (char)code_point;
        n = 1;
    } else if (code_point < 0x800) {
        bytes[0] = (char)(0xC0 | code_point >> 6);
        bytes[1] = (char)(0x80 | (code_point & 0x3F));
        n = 2;
    } else if (code_point < 0x10000) {
        bytes[0] = (char)(0xE0 | code_point >> 12);
        bytes[1] = (char)(0x80 | (code_point >> 6 & 0x3F));
        bytes[2] = (char)(0x80 | (code_point & 0x3F));
        n = 3;
    } else {
        bytes[0] = (char)(0xF0 | code_point >> 18);
        bytes[1] = (char)(0x80 | (code_point >> 12 & 0x3F));
        bytes[2] = (char)(0x80 | (code_point >> 6 & 0x3F));
        bytes[3] = (char)(0x80 | (code_point & 0x3F));
        n = 4;
    }
    return paro_buffer_append(buffer, bytes, n);
}
