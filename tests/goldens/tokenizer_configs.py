# SPDX-License-Identifier: MIT
"""Small byte-level BPE tokenizers in the manner of well-known ones, trained on made-up text. Needs the
`tokenizers` package."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

import tokenizer_texts

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
SPECIALS = ["<|begin|>", "<|end|>"]


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern, behavior, invert)


def byte_level(prefix=False, regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def corpus(seed, n_bytes):
    for _, data in tokenizer_texts.texts(seed, n_bytes):
        yield data.decode("utf-8", "replace")


def train(pre_tokenizer, normalizer=None, vocab=700, n_bytes=200_000, seed=1, specials=SPECIALS):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed, n_bytes), trainer)
    return tokenizer


def template(tokenizer, single):
    ids = [(t, tokenizer.token_to_id(t)) for t in SPECIALS]
    return processors.TemplateProcessing(single=single, pair=single + " $B:1", special_tokens=ids)


def gpt2(**kw):
    return train(byte_level(regex=True), **kw)


def llama3(**kw):
    tokenizer = train(pre_tokenizers.Sequence([split(Regex(LLAMA3)), byte_level()]), **kw)
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), template(tokenizer, "<|begin|> $A")]
    )
    return tokenizer


def qwen2(**kw):
    tokenizer = train(
        pre_tokenizers.Sequence([split(Regex(QWEN2)), byte_level()]), normalizers.NFC(), **kw
    )
    tokenizer.add_tokens([AddedToken("<think>", normalized=False, special=False)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def smollm2(**kw):
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(regex=True)])
    return train(pre, **kw)


def o200k(**kw):
    tokenizer = train(pre_tokenizers.Sequence([split(Regex(O200K)), byte_level()]), **kw)
    tokenizer.post_processor = template(tokenizer, "<|begin|> $A <|end|>")
    return tokenizer


def odd(**kw):
    """What real tokenizers rarely do together."""
    pre = pre_tokenizers.Sequence(
        [
            split("word", "merged_with_previous"),
            split(Regex(r"\w+|[^\w\s]+"), "contiguous", invert=True),
            pre_tokenizers.Digits(individual_digits=False),
            split(Regex(r"[\u3000-\u303F\n]+"), "merged_with_next"),
            split("\t", "removed"),
            byte_level(prefix=True, regex=True),
        ]
    )
    tokenizer = train(pre, normalizers.Sequence([normalizers.NFD(), normalizers.NFKC()]), **kw)
    tokenizer.add_tokens(
        [
            AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False, special=True),
            AddedToken("[TOOL]", single_word=True, normalized=False),
            AddedToken("\u00e9clair", normalized=True),
            AddedToken("<think>", rstrip=True, normalized=True),
            AddedToken("\u2460 two", normalized=True, single_word=True, lstrip=True),
        ]
    )
    return tokenizer


MAKERS = {f.__name__: f for f in (gpt2, llama3, qwen2, smollm2, o200k, odd)}


def variants(tokenizer_json):
    """The same tokenizer with the file's older spelling of merges, and with options of its model."""
    data = json.loads(tokenizer_json)
    data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    yield "string merges", json.dumps(data, ensure_ascii=False)
    data["model"]["ignore_merges"] = True
    data["model"]["merges"] = data["model"]["merges"][::2][:100]
    keep = [m for m in data["model"]["merges"]]
    data["model"]["merges"] = keep
    yield "ignore_merges", json.dumps(data, ensure_ascii=False)
    data["model"]["ignore_merges"] = False
    for byte_token in "aeĠé":
        data["model"]["vocab"].pop(byte_token, None)
    data["model"]["merges"] = [
        m
        for m in data["model"]["merges"]
        if all(part in data["model"]["vocab"] for part in m.split(" ") + [m.replace(" ", "")])
    ]
    yield "missing bytes", json.dumps(data, ensure_ascii=False)
    data["model"]["unk_token"] = "t"
    yield "unknown token", json.dumps(data, ensure_ascii=False)
    data["model"]["fuse_unk"] = True
    yield "fused unknown token", json.dumps(data, ensure_ascii=False)
