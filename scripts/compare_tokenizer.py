#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares paro's tokenizer with the `tokenizers` package, token by token.

    cmake --build build && python3 scripts/compare_tokenizer.py build [--bytes N] [--shared DIR]

Needs the `tokenizers` package. Builds bench/bench_tokenizer.c. Compares, for the tokenizers that
tests/goldens/tokenizer_configs.py trains, their variants, and those of DIR/models: ids without and
with special tokens, ids of plain text (encode_special_tokens), decoded text with and without
special tokens, on made-up texts and (but for variants) on DIR/texts. Broken UTF-8 is given to
`tokenizers` as Python decodes it with errors="replace"."""

import argparse
import os
import random
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "goldens"))

from tokenizers import Tokenizer  # noqa: E402

import tokenizer_configs  # noqa: E402
import tokenizer_texts  # noqa: E402

def build_driver(build):
    subprocess.check_call(
        ["cmake", "--build", build, "--target", "bench_tokenizer"], stdout=subprocess.DEVNULL
    )
    return os.path.join(build, "bench_tokenizer")


class Driver:
    def __init__(self, driver, path):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([driver, path], stdin=pipe, stdout=pipe)

    def ask(self, flags, data):
        self.process.stdin.write(struct.pack("<IB", len(data), flags) + data)
        self.process.stdin.flush()
        head = self.process.stdout.read(4)
        if len(head) < 4:
            raise SystemExit("the driver died: see its message above")
        return self.process.stdout.read(struct.unpack("<I", head)[0])

    def ids(self, flags, data):
        answer = self.ask(flags, data)
        return list(struct.unpack("<%di" % (len(answer) // 4), answer))

    def text(self, flags, ids):
        return self.ask(4 | flags, struct.pack("<%di" % len(ids), *ids)).decode("utf-8")

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def compare(name, oracle, driver, path, texts):
    """Returns (characters, tokens, differences); prints the first few of the last."""
    us = Driver(driver, path)
    characters = tokens = wrong = 0
    rng = random.Random(5)
    known = [i for i in range(oracle.get_vocab_size()) if oracle.id_to_token(i) is not None]

    def report(what, kind, data, expected, found):
        nonlocal wrong
        wrong += 1
        if wrong <= 5:
            at = next((i for i, (a, b) in enumerate(zip(expected, found)) if a != b), -1)
            print("  %s: %s of %s differs at %d" % (name, what, kind, at))
            print("    text     %r" % data[:160])
            print("    expected %r" % (expected[max(0, at - 4) : at + 8],))
            print("    found    %r" % (found[max(0, at - 4) : at + 8],))

    for kind, data in texts:
        text = data.decode("utf-8", "replace")
        oracle.encode_special_tokens = False
        plain = oracle.encode(text, add_special_tokens=False).ids
        checks = [
            ("ids", plain, us.ids(0, data)),
            ("ids with specials", oracle.encode(text).ids, us.ids(1, data)),
        ]
        oracle.encode_special_tokens = True
        plain_text = oracle.encode(text, add_special_tokens=False).ids
        checks.append(("ids of plain text", plain_text, us.ids(2, data)))
        some = [rng.choice(known) for _ in range(rng.randint(0, 40))]
        for ids in (plain, plain[:: rng.randint(2, 5)], some):
            for skip in (False, True):
                expected = oracle.decode(ids, skip_special_tokens=skip)
                checks.append(("text", expected, us.text(8 if skip else 0, ids)))
        for what, expected, found in checks:
            if expected != found:
                report(what, kind, data, expected, found)
        characters += len(text)
        tokens += len(plain)
    if us.close() != 0:
        raise SystemExit("the driver failed")
    return characters, tokens, wrong


def shared_texts(folder):
    names = ["wikitext2_test.txt", "books_test.txt", "docs_test.txt", "code_test.txt"]
    for name in names:
        path = os.path.join(folder, "texts", name)
        if os.path.exists(path):
            with open(path, "rb") as file:
                data = file.read()
            for start in range(0, len(data), 20000):  # cuts characters: broken UTF-8 too
                yield name, data[start : start + 20000]


def compare_code_points(name, oracle, driver, path):
    """Every code point that has a meaning, between letters and before a mark; prints the different."""
    us = Driver(driver, path)
    oracle.encode_special_tokens = False

    def same(text):
        return oracle.encode(text, add_special_tokens=False).ids == us.ids(0, text.encode())

    ranges = [(0, 0xD800), (0xE000, 0x33480), (0xE0000, 0xE0200)]
    points = [c for first, end in ranges for c in range(first, end)]
    wrong = set()
    for start in range(0, len(points), 64):
        block = points[start : start + 64]
        for context in (lambda c: "a%sa 1" % chr(c), lambda c: chr(c) * 2 + "\u0301"):
            if not same("\n".join(context(c) for c in block)):
                wrong.update(c for c in block if not same(context(c)))
    us.close()
    shown = " ".join("U+%04X" % c for c in sorted(wrong)[:8])
    print("%-28s %9d code points; %d differences %s" % (name, len(points), len(wrong), shown))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("build")
    parser.add_argument("--bytes", type=int, default=2_200_000, help="of made-up text a tokenizer")
    parser.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    parser.add_argument("--only", help="names of tokenizers, with commas")
    parser.add_argument("--code-points", action="store_true", help="one by one, and nothing else")
    args = parser.parse_args()
    total_wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        driver = build_driver(args.build)
        jobs = []
        for name, make in tokenizer_configs.MAKERS.items():
            made = make(vocab=3000, n_bytes=1_000_000)
            path = os.path.join(folder, name + ".json")
            made.save(path)
            jobs.append((name, path, args.bytes))
            if name == "llama3":
                for i, (what, text) in enumerate(tokenizer_configs.variants(made.to_str())):
                    path = os.path.join(folder, "%s-%d.json" % (name, i))
                    with open(path, "w", encoding="utf-8") as file:
                        file.write(text)
                    jobs.append(("%s, %s" % (name, what), path, args.bytes // 5))
        for name in ("llama", "demo"):
            path = os.path.join(args.shared, "models", name, "tokenizer.json")
            if os.path.exists(path):
                jobs.append(("shared " + name, path, args.bytes))
        for name, path, n_bytes in jobs:
            if args.only and name not in args.only.split(","):
                continue
            oracle = Tokenizer.from_file(path)
            if args.code_points:
                compare_code_points(name, oracle, driver, path)
                continue
            made_up = compare(name, oracle, driver, path, tokenizer_texts.texts(7, n_bytes))
            shared = (0, 0, 0)
            if n_bytes == args.bytes:
                shared = compare(name, oracle, driver, path, shared_texts(args.shared))
            print(
                "%-28s %9d characters made up, %9d shared; %9d tokens; %d differences"
                % (name, made_up[0], shared[0], made_up[1] + shared[1], made_up[2] + shared[2]),
                flush=True,
            )
            total_wrong += made_up[2] + shared[2]
    return 1 if total_wrong else 0


sys.exit(main())
