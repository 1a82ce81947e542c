"""Large model files made by code: bfloat16 weights in the shapes of real decoders, and a usual fine-tune of each.

Only their sizes, shapes and statistics matter: the values are a pool of normal numbers, scaled anew for every stretch,
so that gigabytes are made in seconds and no two tensors are equal. Seeds are fixed.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GB = 10**9
POOL_VALUES = 1 << 24
STEP_VALUES = 1 << 20
SCALE = 0.02  # of weights; decoders of today are initialised about so
DRIFT = 3.2e-5  # of a usual fine-tune: a fifth of a step of most weights
VOCABULARY_MAX = 128_256  # rows of the embedding: with 4,096 columns one tensor of 1.05 GB


@dataclass(frozen=True, slots=True)
class Made:
    path: Path
    sha256: str
    size: int


def shapes(size_bytes: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """An embedding of at most half of it, and as many layers as fit; wider ones in larger files."""
    columns = 4096 if size_bytes >= 4 * GB else 2048 if size_bytes >= GB else 512
    vocabulary = min(VOCABULARY_MAX, size_bytes // (4 * columns))
    yield "model.embed_tokens.weight", (vocabulary, columns)
    left = size_bytes - 2 * vocabulary * columns
    wide, few = 7 * columns // 2, columns // 4
    layer = {
        "input_layernorm": (columns,), "self_attn.q_proj": (columns, columns), "self_attn.k_proj": (few, columns),
        "self_attn.v_proj": (few, columns), "self_attn.o_proj": (columns, columns),
        "post_attention_layernorm": (columns,), "mlp.gate_proj": (wide, columns), "mlp.up_proj": (wide, columns),
        "mlp.down_proj": (columns, wide),
    }  # fmt: skip
    number = 0
    while True:
        for name, shape in layer.items():
            left -= 2 * int(np.prod(shape))
            if left < 0:
                return
            yield f"model.layers.{number}.{name}.weight", shape
        number += 1


def make(path: Path, size_bytes: int, seed: int, drift: float = 0.0) -> Made:
    """A safetensors file of about this size. With `drift` the fine-tune of the file with the same seed."""
    chance = np.random.default_rng(seed)
    pool = chance.standard_normal(POOL_VALUES, np.float32)
    noise = np.random.default_rng(seed + 1).standard_normal(POOL_VALUES, np.float32)
    listed = list(shapes(size_bytes))
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in (_header(listed), *_values(listed, pool, noise, drift)):
            file.write(piece)
            digest.update(piece)
        size = file.tell()
    return Made(path, digest.hexdigest(), size)


def _header(listed: list[tuple[str, tuple[int, ...]]]) -> bytes:
    at, told = 0, {}
    for name, shape in listed:
        stop = at + 2 * int(np.prod(shape))
        told[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, stop]}
        at = stop
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _values(
    listed: list[tuple[str, tuple[int, ...]]], pool: np.ndarray, noise: np.ndarray, drift: float
) -> Iterator[bytes]:
    chance = np.random.default_rng(7)
    for _name, shape in listed:
        left = int(np.prod(shape))
        while left:
            count = min(left, STEP_VALUES)
            first, other = (int(one) for one in chance.integers(0, POOL_VALUES - count, 2))
            values = pool[first : first + count] * np.float32(SCALE * chance.uniform(0.5, 2))
            if drift:
                values = _bf16(values).astype(np.uint32) << 16
                values = values.view(np.float32) + noise[other : other + count] * np.float32(drift)
            yield _bf16(values).tobytes()
            left -= count


def _bf16(values: np.ndarray) -> np.ndarray:
    """Rounded to the nearest, ties to even."""
    words = values.view(np.uint32)
    return ((words + 0x7FFF + ((words >> 16) & 1)) >> 16).astype(np.uint16)
