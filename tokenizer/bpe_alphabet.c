/* SPDX-License-Identifier: MIT
 *
 * See bpe_alphabet.h.
 */
#include "tokenizer/bpe_alphabet.h"

#include "base/utf8.h"

/* Bytes 00..20 are U+0100..0120, 7F..A0 are U+0121..0142, AD is U+0143. */
static uint32_t character_of(unsigned char byte)
{
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0)
        return 0x121u + (byte - 0x7Fu);
    if (byte == 0xAD)
        return 0x143;
    return byte;
}

static bool byte_of(uint32_t character, unsigned char *byte)
{
    if (character < 0x100) {
        *byte = (unsigned char)character;
        return character_of(*byte) == character;
    }
    if (character <= 0x120)
        *byte = (unsigned char)(character - 0x100);
    else if (character <= 0x142)
        *byte = (unsigned char)(character - 0x121 + 0x7F);
    else if (character == 0x143)
        *byte = 0xAD;
    else
        return false;
    return true;
}

size_t paro_bpe_spell(unsigned char byte, char out[2])
{
    uint32_t character = character_of(byte);

    if (character < 0x80) {
        out[0] = (char)character;
        return 1;
    }
    out[0] = (char)(0xC0 | character >> 6);
    out[1] = (char)(0x80 | (character & 0x3F));
    return 2;
}

bool paro_bpe_unspell(const char *text, size_t n_bytes, char *out, size_t *n_out)
{
    size_t n = 0;

    for (size_t at = 0; at < n_bytes;) {
        unsigned char byte;
        size_t length;

        if (paro_utf8_next(text + at, n_bytes - at, &length) != PARO_UTF8_KIND_CHARACTER ||
            !byte_of(paro_utf8_code_point(text + at, length), &byte))
            return false;
        out[n++] = (char)byte;
        at += length;
    }
    *n_out = n;
    return true;
}
