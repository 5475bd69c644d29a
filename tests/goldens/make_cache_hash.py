#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The hashes of row 5 of tests/test_cache_rows.h, from the description in cache/rows.h alone.

Prints them for schemas 1 and 2 as tests/test_cache_files.c has them.
"""
import hashlib
import struct


def hexa(what, i):
    return hashlib.sha256(f"{what} {i}".encode()).hexdigest()


def encode(value):
    if isinstance(value, bytes):
        return b"b" + struct.pack("<Q", len(value)) + value
    if isinstance(value, str):
        return b"t" + struct.pack("<Q", len(value.encode())) + value.encode()
    if isinstance(value, float):
        return b"r" + struct.pack("<d", value)
    return b"i" + struct.pack("<q", value)


def row_hash(version, table, columns):
    data = b"paro cache row\0" + encode(version) + encode(table)
    for since, value in columns:
        if since <= version:
            data += encode(value)
    return hashlib.sha256(data).hexdigest()


I = 5
PROBLEM = f"linear_w4:n={64 + I},k=4096,m=1,dtype=f16"
CLASS = "cc90-sm132-l2_60-smem228-bw49"
CONFIG = "tile=64,warps=4"
TABLES = {
    "winners": [
        (1, PROBLEM), (1, CLASS), (1, hexa("template", 0)), (1, "awq"), (1, CONFIG),
        (1, hexa("kernel", I)), (1, 10 + I / 8), (1, 0.25), (1, 12.5 + I), (1, 100 + I),
        (1, 1980), (1, "cupti"), (1, "NVIDIA H200"), (1, "580.65"), (1, "halving"),
        (2, 40), (2, I % 3), (1, 1790000000 + I)],
    "kernels": [
        (1, hexa("kernel", I)), (1, hexa("source", I // 2)), (1, "linear_w4"), (1, "sm_90"),
        (1, "12.9"), (1, 0), (1, f'["kernel_{I}"]'), (1, "{}"),
        (1, bytes((b * 7 + I) % 256 for b in range(100 + I * 37)))],
    "timings": [
        (1, PROBLEM), (1, CLASS), (1, CONFIG), (1, hexa("template", 0)), (1, "timed"), (1, ""),
        (1, 10 + I / 8), (1, 0.125), (1, 9.5), (1, 20), (1, 1980), (1, "cupti"),
        (2, 1e-4 * I), (1, 1790000000 + I)],
}
for schema in (1, 2):
    for name, values in TABLES.items():
        print(schema, name, row_hash(schema, name, values))
