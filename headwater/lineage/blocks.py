"""GGML's quantization blocks, a few at a time: the codes of their elements, and the values that these stand for.

For samples only: it refuses to know files, rows and whole tensors. Source: the block structs of `ggml-common.h` and
`dequantize_row_*` of `ggml-quants.c` (llama.cpp, 2026). Types that are not here are sampled as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[Any]  # unsigned bytes
Floats: TypeAlias = NDArray[Any]  # 32-bit


@dataclass(frozen=True, slots=True)
class BlockType:
    """`codes(blocks)`: (blocks, block_bytes) -> codes (blocks, elements) as unsigned bytes, and their values.

    `bits` is the width of a code; what a block has beyond the codes are its scales.
    """

    elements: int
    size_bytes: int
    bits: int
    codes: Callable[[Bytes], tuple[Bytes, Floats]]


def _half(blocks: Bytes, at: int) -> Floats:
    """The 16-bit float at this byte of each block, as a column."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """(n, k) bytes -> (n, 2 k) codes: all low halves, then all high ones."""
    return np.concatenate((packed & 15, packed >> 4), axis=1)


def _fifth_bits(packed: Bytes) -> Bytes:
    """(n, 4) bytes -> (n, 32): bit i of the little-endian word, moved to where a code's fifth bit is."""
    return np.left_shift(np.unpackbits(packed, axis=1, bitorder="little"), np.uint8(4))


def _q4_0(blocks: Bytes) -> tuple[Bytes, Floats]:
    codes = _nibbles(blocks[:, 2:18])
    return codes, _half(blocks, 0) * (codes.astype(np.float32) - 8)


def _q4_1(blocks: Bytes) -> tuple[Bytes, Floats]:
    codes = _nibbles(blocks[:, 4:20])
    return codes, _half(blocks, 0) * codes + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> tuple[Bytes, Floats]:
    codes = _nibbles(blocks[:, 6:22]) | _fifth_bits(blocks[:, 2:6])
    return codes, _half(blocks, 0) * (codes.astype(np.float32) - 16)


def _q5_1(blocks: Bytes) -> tuple[Bytes, Floats]:
    codes = _nibbles(blocks[:, 8:24]) | _fifth_bits(blocks[:, 4:8])
    return codes, _half(blocks, 0) * codes + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> tuple[Bytes, Floats]:
    codes = blocks[:, 2:34] ^ 128  # in the order of their values
    return codes, _half(blocks, 0) * (codes.astype(np.float32) - 128)


def _scales_and_mins(packed: Bytes) -> tuple[Floats, Floats]:
    """The 8 six-bit scales and 8 six-bit minima that K-quants pack into 12 bytes."""
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate((low & 63, (high & 15) | (low >> 6 << 4)), axis=1)
    mins = np.concatenate((middle & 63, (high >> 4) | (middle >> 6 << 4)), axis=1)
    return scales.astype(np.float32), mins.astype(np.float32)


def _k_values(blocks: Bytes, codes: Bytes) -> Floats:
    """Codes (n, 256) in 8 groups of 32, each with a scale and a minimum of its own."""
    scales, mins = _scales_and_mins(blocks[:, 4:16])
    grouped = codes.reshape(-1, 8, 32).astype(np.float32)
    values: Floats = (_half(blocks, 0) * scales)[:, :, None] * grouped - (_half(blocks, 2) * mins)[:, :, None]
    return values.reshape(-1, 256)


def _k_nibbles(packed: Bytes) -> Bytes:
    """(n, 128) -> (n, 256): each 32 bytes hold two groups, the first in their low halves."""
    quarters = packed.reshape(-1, 4, 32)
    codes: Bytes = np.stack((quarters & 15, quarters >> 4), axis=2).reshape(-1, 256)
    return codes


def _q4_k(blocks: Bytes) -> tuple[Bytes, Floats]:
    codes = _k_nibbles(blocks[:, 16:144])
    return codes, _k_values(blocks, codes)


def _q5_k(blocks: Bytes) -> tuple[Bytes, Floats]:
    # bit g of byte i is the fifth bit of element i of group g
    fifth = np.unpackbits(blocks[:, 16:48].reshape(-1, 32, 1), axis=2, bitorder="little").transpose(0, 2, 1)
    codes = _k_nibbles(blocks[:, 48:176]) | np.left_shift(fifth.reshape(-1, 256), np.uint8(4))
    return codes, _k_values(blocks, codes)


def _q6_k(blocks: Bytes) -> tuple[Bytes, Floats]:
    low = blocks[:, 0:128].reshape(-1, 2, 2, 32)  # half, which of two runs of 32, element
    high = blocks[:, 128:192].reshape(-1, 2, 32)
    lows = np.concatenate((low & 15, low >> 4), axis=2)
    highs = np.stack([(high >> shift) & 3 for shift in (0, 2, 4, 6)], axis=2)
    codes = (lows | np.left_shift(highs, np.uint8(4))).reshape(-1, 256)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    signed = codes.astype(np.float32).reshape(-1, 16, 16) - 32
    values = (_half(blocks, 208) * scales)[:, :, None] * signed
    return codes, values.reshape(-1, 256)


BLOCK_TYPES: dict[str, BlockType] = {
    "Q4_0": BlockType(32, 18, 4, _q4_0),
    "Q4_1": BlockType(32, 20, 4, _q4_1),
    "Q5_0": BlockType(32, 22, 5, _q5_0),
    "Q5_1": BlockType(32, 24, 5, _q5_1),
    "Q8_0": BlockType(32, 34, 8, _q8_0),
    "Q4_K": BlockType(256, 144, 4, _q4_k),
    "Q5_K": BlockType(256, 176, 5, _q5_k),
    "Q6_K": BlockType(256, 210, 6, _q6_k),
}
