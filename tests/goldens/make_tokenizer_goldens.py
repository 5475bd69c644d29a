#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/goldens/tokenizer/: small tokenizers and what the `tokenizers` package makes of made-up
texts with them. For people who change what is tested; tests and CI only read what it wrote.

    python3 tests/goldens/make_tokenizer_goldens.py

Needs the `tokenizers` package (0.23.3 was used). NAME.json is a tokenizer. NAME.txt has three lines a
text: the text's bytes in hexadecimal digits; its ids; the ids of plain text (encode_special_tokens), or
"=" where they are the same. Ids are hexadecimal with spaces between them. What the post-processor adds
is in the first line, once: ids before, "|", ids after."""

import os

import tokenizer_configs
import tokenizer_texts

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer")
N_BYTES = 5000


def ids_text(ids):
    return " ".join("%x" % i for i in ids)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for number, (name, make) in enumerate(tokenizer_configs.MAKERS.items()):
        tokenizer = make(vocab=400, n_bytes=100_000)
        tokenizer.save(os.path.join(FOLDER, name + ".json"), pretty=False)
        empty = tokenizer.encode("").ids
        around = tokenizer.encode("x").ids
        at = around.index(tokenizer.encode("x", add_special_tokens=False).ids[0])
        lines = ["%s|%s" % (ids_text(empty[:at]), ids_text(empty[at:]))]
        for _, data in tokenizer_texts.texts(100 + number, N_BYTES, size=14):
            text = data.decode("utf-8", "replace")
            tokenizer.encode_special_tokens = False
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            tokenizer.encode_special_tokens = True
            plain = tokenizer.encode(text, add_special_tokens=False).ids
            lines += [data.hex(), ids_text(ids), "=" if plain == ids else ids_text(plain)]
        with open(os.path.join(FOLDER, name + ".txt"), "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")


main()
