#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tokenizer/unicode_supplement.h: the general categories of code points that Unicode 14 (what
PCRE2 10.42 knows) leaves unassigned and the Oniguruma inside `tokenizers` knows, and which are Han.

    python3 scripts/make_unicode_supplement.py > tokenizer/unicode_supplement.h
    clang-format -i tokenizer/unicode_supplement.h

Needs a Python whose unicodedata is Unicode 14 (3.11) and the `tokenizers` package (0.23.3 was used)."""

import sys
import unicodedata

from tokenizers import Regex, pre_tokenizers

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cf").split()


def members(pattern, characters):
    """The characters that `pattern` matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    found = set()
    for start in range(0, len(characters), 512):
        block = "".join(characters[start : start + 512])
        kept = set("".join(piece for piece, _ in split.pre_tokenize_str(block)))
        found |= set(block) - kept
    return found


def main():
    assert unicodedata.unidata_version == "14.0.0", "needs the tables of Unicode 14"
    unassigned = [
        chr(c)
        for c in range(0x110000)
        if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) == "Cn"
    ]
    category = {}
    for name in CATEGORIES:
        for character in members(r"\p{%s}" % name, unassigned):
            category[ord(character)] = name
    han = {ord(c) for c in members(r"\p{Han}", unassigned)}
    alphabetic = {ord(c) for c in members(r"\p{Alphabetic}", unassigned)}

    rows = []
    for code in sorted(category):
        key = (category[code], code in han, code in alphabetic)
        if rows and rows[-1][1] == code - 1 and rows[-1][2] == key:
            rows[-1][1] = code
        else:
            rows.append([code, code, key])

    out = sys.stdout
    out.write(
        "/* SPDX-License-Identifier: MIT\n"
        " *\n"
        " * Code points that Unicode gained after version 14. Made by\n"
        " * scripts/make_unicode_supplement.py; not to be edited.\n"
        " */\n"
        "#ifndef PARO_TOKENIZER_UNICODE_SUPPLEMENT_H\n"
        "#define PARO_TOKENIZER_UNICODE_SUPPLEMENT_H\n\n"
        "#include <stdbool.h>\n"
        "#include <stdint.h>\n\n"
        "typedef struct unicode_range {\n"
        "    uint32_t first;\n"
        "    uint32_t last;\n"
        "    char category[3];\n"
        "    bool is_han;\n"
        "    bool is_alphabetic;\n"
        "} unicode_range;\n\n"
        "static const unicode_range unicode_supplement[] = {\n"
    )
    for first, last, (name, is_han, is_alphabetic) in rows:
        out.write(
            '    {0x%05X, 0x%05X, "%s", %s, %s},\n'
            % (first, last, name, str(is_han).lower(), str(is_alphabetic).lower())
        )
    out.write("};\n\n#endif\n")


main()
