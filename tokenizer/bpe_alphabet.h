/* SPDX-License-Identifier: MIT
 *
 * The 256 characters by which byte-level BPE spells bytes (GPT-2): a byte that is a printable
 * Latin-1 character stands for itself; the n-th of the others is U+0100 + n.
 */
#ifndef PARO_TOKENIZER_BPE_ALPHABET_H
#define PARO_TOKENIZER_BPE_ALPHABET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The spelling of a byte as UTF-8 (1 or 2 bytes, no zero); returns its length. */
size_t paro_bpe_spell(unsigned char byte, char out[2]);

/* The bytes that `text` (UTF-8) spells, in `out` (room for n_bytes); *n_out of them. False, with
 * nothing promised of `out`, where a character is not of the alphabet. */
bool paro_bpe_unspell(const char *text, size_t n_bytes, char *out, size_t *n_out);

#endif
