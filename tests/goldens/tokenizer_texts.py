# SPDX-License-Identifier: MIT
"""Texts to compare tokenizers on, made up here from nothing but a seed: words of ten scripts, code,
numbers, emoji, marks, controls, odd spaces, long runs, broken UTF-8. All are bytes."""

import random

SCRIPTS = {
    "latin": [(0x61, 0x7A), (0xC0, 0xFF), (0x100, 0x17F), (0x1E00, 0x1EFF)],
    "greek": [(0x391, 0x3A1), (0x3A3, 0x3CE), (0x1F00, 0x1F15)],
    "cyrillic": [(0x400, 0x45F), (0x48A, 0x4FF)],
    "arabic": [(0x621, 0x64A), (0x64B, 0x652), (0x660, 0x669), (0x671, 0x6D3)],
    "hebrew": [(0x5D0, 0x5EA), (0x5B0, 0x5BD)],
    "devanagari": [(0x901, 0x939), (0x93E, 0x94D), (0x958, 0x96F)],
    "bengali": [(0x985, 0x98C), (0x995, 0x9A8), (0x9BE, 0x9CC), (0x9E6, 0x9EF)],
    "tamil": [(0xB85, 0xB8A), (0xB95, 0xB9A), (0xBBE, 0xBCD)],
    "thai": [(0xE01, 0xE3A), (0xE40, 0xE5B)],
    "hangul": [(0xAC00, 0xD7A3), (0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2)],
    "kana": [(0x3041, 0x3096), (0x30A1, 0x30FA), (0xFF66, 0xFF9F)],
    "han": [(0x4E00, 0x9FA5), (0x3400, 0x4DB5), (0x20000, 0x2A6D6), (0xF900, 0xFA2D)],
}
MARKS = [(0x300, 0x36F), (0x483, 0x487), (0x1AB0, 0x1ABD), (0x20D0, 0x20F0), (0xFE20, 0xFE2F)]
EMOJI = [(0x1F300, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F900, 0x1F9FF), (0x2600, 0x27BF)]
SYMBOLS = [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0xA1, 0xBF), (0x2010, 0x2027)]
SYMBOLS += [(0x2190, 0x22FF), (0x2460, 0x24FF), (0x3001, 0x3011), (0xFF01, 0xFF20), (0x20A0, 0x20BF)]
NUMBERS = [(0x30, 0x39), (0xB2, 0xB3), (0xB9, 0xB9), (0xBC, 0xBE), (0x2150, 0x2188), (0xFF10, 0xFF19)]
NUMBERS += [(0x1D7CE, 0x1D7FF), (0x966, 0x96F), (0x660, 0x669)]
SPACES = [0x20, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x1F, 0x85, 0xA0, 0x1680, 0x180E]
SPACES += list(range(0x2000, 0x200E)) + [0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF]
ENGLISH = (
    "the of and to in is you that it he was for on are as with his they I at be this have from or one "
    "had by word but not what all were we when your can said there use an each which she do how their "
    "if will up other about out many then them these so some her would make like him into time has "
    "look two more write go see number no way could people my than first water been call who oil its "
    "now find long down day did get come made may part over new sound take only little work know place "
    "rotation channel quantise weight tensor scale group calibration perplexity checkpoint Brno naïve "
    "café coöperate façade Zürich smörgåsbord jalapeño"
).split()
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'\u017f", "\u2019s", "'x"]
CODE = (
    "int size_t const char * ( ) { } [ ] ; , . -> == != <= >= && || ++ -- += return if else for while "
    "static struct def class import self None True lambda // /* */ # $ @ % ^ ~ ` \\ \\n \" ' 0x1F 1e-9 "
    "3.14159 0b101 i32 u8 fn let mut impl match => :: <T> &str &mut //! <div> </div> &amp; SELECT FROM"
).split()
BROKEN = [b"\x80", b"\xff", b"\xc3", b"\xc0\xaf", b"\xe2\x82", b"\xe2\x28\xa1", b"\xed\xa0\x80", b"\xf0\x9f\x98"]
BROKEN += [b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xfe\xfe", b"\xf8\x88\x80\x80\x80", b"\xe0\x9f\xbf"]
SPECIAL = ["<|begin|>", "<|end|>", "<|pad", "<mask>", "[TOOL]", "<think>", "\u00e9clair", "e\u0301clair"]


def pick(rng, ranges):
    first, last = rng.choice(ranges)
    return chr(rng.randint(first, last))


def word(rng, ranges, longest=9):
    return "".join(pick(rng, ranges) for _ in range(rng.randint(1, longest)))


def english(rng, n):
    out = []
    for _ in range(n):
        w = rng.choice(ENGLISH)
        style = rng.random()
        if style < 0.1:
            w = w.capitalize()
        elif style < 0.13:
            w = w.upper()
        elif style < 0.2:
            w += rng.choice(CONTRACTIONS)
        elif style < 0.24:
            w = str(rng.randint(0, 10 ** rng.randint(1, 12)))
        out.append(w + rng.choice([" "] * 12 + [", ", ". ", ".\n", "? ", "  ", " \u2014 ", "\n\n"]))
    return "".join(out)


def code(rng, n):
    out = []
    for _ in range(n):
        out.append(rng.choice(CODE + ENGLISH))
        out.append(rng.choice(["", "", " ", " ", "\n" + " " * 4 * rng.randint(0, 4), "\n\t\t", ";\r\n"]))
    return "".join(out)


def script(rng, name, n):
    separators = [" "] * 6 + ["", "\u3000", "\u060c ", "\u0964 ", ", ", "\n"]
    return "".join(word(rng, SCRIPTS[name]) + rng.choice(separators) for _ in range(n))


def emoji(rng, n):
    out = []
    for _ in range(n):
        out.append(pick(rng, EMOJI))
        extra = rng.random()
        if extra < 0.2:
            out.append(chr(0x1F3FB + rng.randint(0, 4)))
        elif extra < 0.4:
            out.append("\u200d" + pick(rng, EMOJI) + "\ufe0f")
        elif extra < 0.5:
            out.append("".join(chr(0x1F1E6 + rng.randint(0, 25)) for _ in range(2)))
        elif extra < 0.6:
            out.append(rng.choice("0123456789#*") + "\ufe0f\u20e3")
        out.append(rng.choice(["", "", " ", "!", "\n"]))
    return "".join(out)


def marks(rng, n):
    out = []
    for _ in range(n):
        base = rng.choice("aeiounAEO \u0915\u05d0\u1100") if rng.random() < 0.9 else ""
        out.append(base + "".join(pick(rng, MARKS) for _ in range(rng.randint(0, 5))))
    return "".join(out)


def spaces(rng, n):
    out = []
    for _ in range(n):
        run = rng.randint(1, 5) if rng.random() < 0.9 else rng.randint(1, 40)
        same = rng.choice(SPACES)
        out.append("".join(chr(same if rng.random() < 0.5 else rng.choice(SPACES)) for _ in range(run)))
        out.append(rng.choice(["", "a", "word", "1", "'s", ".", "\u00e9"]))
    return "".join(out)


def runs(rng, n):
    out = []
    for _ in range(n):
        what = rng.choice([" ", "\n", "a", "=", "-", "0", "ab", "\t", "\r\n", "\u4e2d", "é", "!?", "\u0301"])
        out.append(what * rng.randint(1, 300))
        out.append(rng.choice(["", "x", " y", "\n"]))
    return "".join(out)


def numbers(rng, n):
    return "".join(word(rng, NUMBERS, 7) + rng.choice(["", " ", ".", ",", "x", "-"]) for _ in range(n))


def symbols(rng, n):
    return "".join(word(rng, SYMBOLS, 4) + rng.choice(["", " ", "a", "\n"]) for _ in range(n))


def controls(rng, n):
    return "".join(chr(rng.randint(0, 0x9F)) + rng.choice(["", "", "a", " "]) for _ in range(n))


def anything(rng, n):
    """Any code point, assigned or not, but surrogates."""
    out = []
    while len(out) < n:
        c = rng.randint(0, 0xFFFF) if rng.random() < 0.6 else rng.randint(0x10000, 0x3FFFF)
        if not 0xD800 <= c < 0xE000:
            out.append(chr(c))
    return "".join(out)


def specials(rng, n):
    out = []
    for _ in range(n):
        out.append(rng.choice(SPECIAL))
        out.append(rng.choice(["", " ", "  ", "\t", "\u3000", "a", "_", ".", "\n", rng.choice(ENGLISH)]))
    return "".join(out)


def broken(rng, n):
    out = []
    for _ in range(n):
        out.append(rng.choice(BROKEN))
        out.append(rng.choice([b"", b"a", b" word", "é".encode(), "😀".encode(), b"\n"]))
    data = bytearray(b"".join(out) + english(rng, n).encode() + script(rng, "kana", 3).encode())
    for _ in range(n // 2):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


KINDS = {
    "english": english,
    "code": code,
    "emoji": emoji,
    "marks": marks,
    "spaces": spaces,
    "runs": runs,
    "numbers": numbers,
    "symbols": symbols,
    "controls": controls,
    "specials": specials,
    "broken": broken,
}
for _name in SCRIPTS:
    KINDS[_name] = lambda rng, n, _name=_name: script(rng, _name, n)


def texts(seed, n_bytes, size=40, kinds=None):
    """(kind, bytes) pairs, about n_bytes of them in all, the kinds taking turns."""
    rng = random.Random(seed)
    total = 0
    turn = 0
    names = sorted(kinds or KINDS)
    while total < n_bytes:
        name = names[turn % len(names)]
        made = KINDS[name](rng, rng.randint(1, max(1, size // 10 if name == "runs" else size)))
        data = made if isinstance(made, bytes) else made.encode()
        yield name, data
        total += len(data)
        turn += 1
