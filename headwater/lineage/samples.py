"""Samples: some elements of a tensor as the words of its file, and the numbers that they stand for.

Knows element types and nothing else. Three kinds: floats (sign, exponent, mantissa), codes (small integers in the order
of their values, with scales or without), and bytes, for whatever has no number that could be compared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headwater.lineage.blocks import BLOCK_TYPES

Words: TypeAlias = NDArray[Any]  # of one of the unsigned types
Floats: TypeAlias = NDArray[Any]  # 32-bit
Canonical: TypeAlias = NDArray[np.uint16]
Kind = Literal["float", "code", "bytes"]


@dataclass(frozen=True, slots=True)
class Form:
    """How elements of a dtype lie in a file: `unit_bytes` hold `unit_elements`. A word has `bits`, `mantissa` of them.

    `valued`: codes whose blocks have scales, so that there are numbers to keep beside the words.
    """

    dtype: str
    kind: Kind
    bits: int
    mantissa: int = 0
    unit_elements: int = 1
    unit_bytes: int = 1
    valued: bool = False

    @property
    def word(self) -> np.dtype[Any]:
        return np.dtype(f"<u{-(-self.bits // 8)}")

    @property
    def size_bits(self) -> float:
        """Of one element in the file, its share of the scales included."""
        return 8 * self.unit_bytes / self.unit_elements

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """The byte range of the units that elements [start, stop) lie in."""
        return (
            start // self.unit_elements * self.unit_bytes,
            -(-stop // self.unit_elements) * self.unit_bytes,
        )

    def decode(self, piece: bytes, start: int, count: int) -> tuple[Words, Floats | None]:
        """Elements [start, start + count) out of the bytes of `span`."""
        if self.valued:
            blocks = np.frombuffer(piece, np.uint8).reshape(-1, self.unit_bytes)
            with np.errstate(all="ignore"):  # scales may be infinite or NaN
                codes, values = BLOCK_TYPES[self.dtype].codes(blocks)
            at = start % self.unit_elements
            return codes.reshape(-1)[at : at + count], values.reshape(-1)[at : at + count]
        words = np.frombuffer(piece, self.word)
        return (words ^ self.word.type(128) if self.dtype == "I8" else words), None


_FLOATS = {"F64": (64, 52), "F32": (32, 23), "F16": (16, 10), "BF16": (16, 7), "F8_E4M3": (8, 3), "F8_E5M2": (8, 2)}


@functools.lru_cache(maxsize=256)
def form_of(dtype: str) -> Form:
    """Of any name of a dtype: one that is not known here is sampled as bytes."""
    if dtype in _FLOATS:
        bits, mantissa = _FLOATS[dtype]
        return Form(dtype, "float", bits, mantissa, unit_bytes=bits // 8)
    if dtype in BLOCK_TYPES:
        block = BLOCK_TYPES[dtype]
        return Form(dtype, "code", block.bits, unit_elements=block.elements, unit_bytes=block.size_bytes, valued=True)
    return Form(dtype, "code" if dtype in ("I8", "U8") else "bytes", 8)


@dataclass(frozen=True, slots=True)
class Samples:
    """`words[i]` is the i-th sampled element; `values` are their numbers where words alone do not tell them."""

    form: Form
    words: Words
    values: Floats | None = None

    def take(self, index: Any) -> Samples:
        return Samples(self.form, self.words[index], None if self.values is None else self.values[index])

    def numbers(self) -> Floats:
        """As 32-bit floats; a code without scales, and a byte, is a number itself."""
        return self.values if self.values is not None else numbers(self.form, self.words)

    def canonical(self) -> Canonical:
        """As BF16 words, in which samples of any two dtypes can be compared."""
        return cast_to(_BF16, self.numbers()).astype(np.uint16)


def joined(form: Form, pieces: Sequence[tuple[Words, Floats | None]]) -> Samples:
    words = np.concatenate([words for words, _ in pieces])
    valued = [values for _, values in pieces if values is not None]
    return Samples(form, words, np.concatenate(valued) if valued else None)


def cast_to(form: Form, values: Floats) -> Words:
    """Numbers as words of a float form, rounded to nearest where that is cheap, which an estimate can't tell."""
    assert form.kind == "float", form
    with np.errstate(all="ignore"):
        match form.dtype:
            case "F64":
                return values.astype("<f8").view("<u8")
            case "F32":
                return np.ascontiguousarray(values, "<f4").view("<u4")
            case "F16":
                return values.astype("<f2").view("<u2")
            case "BF16":
                whole = np.ascontiguousarray(values, "<f4").view("<u4").astype(np.uint64)
                return ((whole + 0x7FFF + ((whole >> 16) & 1)) >> 16).astype("<u2")
            case "F8_E5M2":
                half = values.astype("<f2").view("<u2").astype(np.uint32)
                return ((half + 0x7F + ((half >> 8) & 1)) >> 8).astype(np.uint8)
            case _:
                return _to_e4m3(values)


@functools.cache
def _e4m3() -> Floats:
    """What the 256 words stand for: bias 7, no infinities, NaN where all but the sign is set."""
    word = np.arange(256)
    exponent, mantissa = (word >> 3) & 15, word & 7
    size = np.where(exponent, (8 + mantissa) * 2.0 ** (exponent - 10.0), mantissa * 2.0**-9)
    size[(word & 127) == 127] = np.nan
    return np.where(word & 128, -size, size).astype(np.float32)


def _to_e4m3(values: Floats) -> Words:
    table = _e4m3()[:127]
    middles = (table[1:] + table[:-1]) / 2
    size = np.searchsorted(middles, np.abs(np.nan_to_num(values)))
    words: Words = (size | np.where(np.signbit(values), 128, 0)).astype(np.uint8)
    return words


_NUMBERS: dict[str, Callable[[Words], NDArray[Any]]] = {
    "F64": lambda words: words.view("<f8"),
    "F32": lambda words: words.view("<f4"),
    "F16": lambda words: words.view("<f2"),
    "BF16": lambda words: (words.astype("<u4") << 16).view("<f4"),
    "F8_E5M2": lambda words: (words.astype("<u2") << 8).view("<f2"),
    "F8_E4M3": lambda words: _e4m3()[words],
    "I8": lambda words: words.astype(np.float32) - 128,
}


def numbers(form: Form, words: Words) -> Floats:
    with np.errstate(all="ignore"):
        found: Floats = _NUMBERS.get(form.dtype, _as_they_are)(words).astype(np.float32)
    return found


def _as_they_are(words: Words) -> Words:
    return words


_BF16 = form_of("BF16")
