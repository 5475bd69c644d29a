#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/goldens/perplexity.json: figures of models/demo on tests/goldens/text.txt, computed by an
independent NumPy forward pass in fp64 over the stored weights. Run from the project's root, with numpy and
tokenizers installed; CI uses the result, not this script.

For 16 bits, and for round-to-nearest 4 and 3 bits in groups of 128 (scales rounded to F16): perplexity over
windows of 512 tokens as include/paro/eval.h defines it, and for the latter the mean KL divergence from
16 bits and the share of positions with the same likeliest token."""
import json
import struct

import numpy as np
from tokenizers import Tokenizer

DIR, WINDOW, GROUP = "models/demo", 512, 128


def read_safetensors(path):
    data = open(path, "rb").read()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F16"
        values = np.frombuffer(data[8 + n + begin : 8 + n + end], np.float16)
        tensors[name] = values.reshape(entry["shape"]).astype(np.float64)
    return tensors


def round_to_nearest(w, bits):
    """Asymmetric, per row and group, in fp32 as base/reference.h says."""
    w = w.astype(np.float32).reshape(w.shape[0], -1, GROUP)
    top = np.float32(2**bits - 1)
    low, high = w.min(-1, keepdims=True), w.max(-1, keepdims=True)
    scale = np.maximum((high - low) / top, np.float32(1e-5)).astype(np.float16).astype(np.float32)
    zero = np.clip(-np.rint(low / scale), 0, top)
    codes = np.clip(np.rint(w / scale) + zero, 0, top)
    return ((codes - zero) * scale).reshape(w.shape[0], -1).astype(np.float64)


def norm(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def forward(config, t, ids):
    n, heads, kv_heads, dim = len(ids), config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    eps = config["rms_norm_eps"]
    angle = np.arange(n)[:, None] * config["rope_theta"] ** (-2 * np.arange(dim // 2) / dim)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

    def rope(v):
        a, b = v[..., : dim // 2], v[..., dim // 2 :]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    x = t["model.embed_tokens.weight"][ids]
    mask = np.triu(np.full((n, n), -np.inf), 1)
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        h = norm(x, t[p + "input_layernorm.weight"], eps)
        q = rope((h @ t[p + "self_attn.q_proj.weight"].T).reshape(n, heads, dim))
        k = rope((h @ t[p + "self_attn.k_proj.weight"].T).reshape(n, kv_heads, dim))
        v = (h @ t[p + "self_attn.v_proj.weight"].T).reshape(n, kv_heads, dim)
        k, v = np.repeat(k, heads // kv_heads, 1), np.repeat(v, heads // kv_heads, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(dim) + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        x = x + np.einsum("hqk,khd->qhd", scores, v).reshape(n, -1) @ t[p + "self_attn.o_proj.weight"].T
        h = norm(x, t[p + "post_attention_layernorm.weight"], eps)
        gate = h @ t[p + "mlp.gate_proj.weight"].T
        gate = gate / (1 + np.exp(-gate)) * (h @ t[p + "mlp.up_proj.weight"].T)
        x = x + gate @ t[p + "mlp.down_proj.weight"].T
    logits = norm(x, t["model.norm.weight"], eps) @ t["lm_head.weight"].T
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def main():
    config = json.load(open(f"{DIR}/config.json"))
    weights = read_safetensors(f"{DIR}/model.safetensors")
    tokenizer = Tokenizer.from_file(f"{DIR}/tokenizer.json")
    ids = tokenizer.encode(open("tests/goldens/text.txt", encoding="utf-8").read(), add_special_tokens=False).ids
    windows = [ids[i : i + WINDOW] for i in range(0, len(ids) - WINDOW + 1, WINDOW)]
    result, reference = {"n_windows": len(windows)}, None
    for bits in (16, 4, 3):
        t = {k: round_to_nearest(v, bits) if bits < 16 and "_proj." in k else v for k, v in weights.items()}
        rows = np.concatenate([forward(config, t, w)[:-1] for w in windows])
        next_ids = np.concatenate([w[1:] for w in windows])
        entry = {"perplexity": float(np.exp(-rows[np.arange(len(rows)), next_ids].mean()))}
        if reference is None:
            reference = rows
        else:
            entry["kl_mean"] = float((np.exp(reference) * (reference - rows)).sum(-1).mean())
            entry["same_top"] = float((reference.argmax(-1) == rows.argmax(-1)).mean())
        result[str(bits)] = entry
    json.dump(result, open("tests/goldens/perplexity.json", "w"), indent=1)
    print(result)


main()
