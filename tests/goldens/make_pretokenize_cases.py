#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/goldens/pretokenize_cases.h: what the `tokenizers` package (0.23.3 was used) makes of
small texts with Split.

    python3 tests/goldens/make_pretokenize_cases.py > tests/goldens/pretokenize_cases.h
    clang-format -i tests/goldens/pretokenize_cases.h"""

from tokenizers import Regex, pre_tokenizers

BEHAVIORS = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]


def quoted(text):
    out = ""
    for byte in text.encode():
        if chr(byte) in "\\\"?":
            out += "\\" + chr(byte)
        else:
            out += chr(byte) if 32 <= byte < 127 else "\\%03o" % byte
    return '"%s"' % out


def case(pattern, behavior, inverted, text, literal=False):
    split = pre_tokenizers.Split(pattern if literal else Regex(pattern), behavior, inverted)
    pieces = "|".join(piece for piece, _ in split.pre_tokenize_str(text))
    print(
        "{%s, PARO_SPLIT_BEHAVIOR_%s, %s, %s, %s, %s},"
        % (
            quoted(pattern),
            behavior.upper(),
            str(inverted).lower(),
            str(literal).lower(),
            quoted(text),
            quoted(pieces),
        )
    )


print(
    """/* SPDX-License-Identifier: MIT
 *
 * Small texts and the pieces they are cut into. Made by make_pretokenize_cases.py.
 */
#include "tokenizer/tokenizer_spec.h"

static const struct {
    const char *pattern;
    paro_split_behavior behavior;
    bool invert;
    bool literal;
    const char *text;
    const char *pieces; /* with | between them */
} cases[] = {"""
)
for behavior in BEHAVIORS:
    for inverted in (False, True):
        case("-", behavior, inverted, "the-final--countdown-")
        case("-", behavior, inverted, "--a--")
        case("x*", behavior, inverted, "axxb")
case(r"\s+", "isolated", False, "a\u0085b\u180ec\u001cd\u3000\u00a0e\u200bf")
case(r"\w+", "isolated", False, "a_b\u0301\u00b2\u2160\u200d\u24b6-c9\u0663")
case(r"\W", "removed", False, "a_b-c d")
case(r"\d", "isolated", False, "a1\u0663\u00b2b")
case(r"\D+", "removed", False, "a1\u0663\u00b2b")
case(r"\h+", "isolated", False, "xafg 9Z")
case(r"\H", "removed", False, "xafg 9Z")
case(r"\v", "isolated", False, "a\x0bb\nc")
case(r"\bb", "isolated", False, "ab b \u00e9b -b")
case(r"\Bb", "isolated", False, "ab b \u00e9b -b")
case(r"^a|a$", "isolated", False, "aa\naba\na\n")
case(r".+", "isolated", False, "a\rb\nc")
case(r"(?m:.+)b", "isolated", False, "a\nb\nc")
case(r"(?i:'ll|\u00e9)", "isolated", False, "I'LL \u00c9\u00e9 'l\u029f")
case(r"(?i)'s|K", "isolated", False, "'\u017f's \u212ak")
case(r"a{,2}b", "isolated", False, "aaaab b")
case(r"a{2}", "isolated", False, "aaaaa")
case(r"a{2,}?b", "isolated", False, "aaaab")
case(r"{a}", "isolated", False, "x{a}y")
case(r"[a-c[xy]\-\]]+", "isolated", False, "zabxy-]z")
case(r"[^\s\p{L}]+", "isolated", False, "ab12 ..c")
case(r"[\w.]+", "isolated", False, "a.b-c")
case(r"[^\S\n]+", "isolated", False, "a \n b")
case(r"[[:space:][:digit:]]+", "isolated", False, "a 1b")
case(r"\p{Greek}+", "isolated", False, "a\u03b1\u03b2\u0342\u1dbf")
case(r"\p{Han}", "isolated", False, "a\u4e2d\u3005\u3007\u30fc")
case(r"\p{^L}+|\P{^Lu}", "isolated", False, "ab12C")
case(r"\p{Letter}+\p{Nd}", "isolated", False, "ab12C3")
case(r"(?<=a)b|(?<!a)case(?=d)(?!de)", "isolated", False, "abcabdccd cde")
case(r"(?>a+)b|(x)(y)", "isolated", False, "aabxyx")
case(r"a++b?+|c*+", "isolated", False, "aabcc")
case(r"\x41|\x{4e2d}|\u00e9", "isolated", False, "xA\u4e2d\u00e9")
case(r"\Aa|b\z|\Gc", "isolated", False, "accb")
case(r"[\h]+", "isolated", False, "xafg")
case("a.b*", "isolated", False, "xa.b*a.by", True)
case("", "isolated", False, "ab", True)
case("\u00e9[", "removed", False, "a\u00e9[b", True)
case(r"\p{L}", "isolated", False, "\u1c89\ua7cb\U00031350\u0378")
case(r"", "isolated", False, "h\u00e9")
print("};")
