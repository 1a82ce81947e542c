"""Words of float types to float64 and back, by rules that give the same words on every machine.

Widening is exact: every value of every type here is a float64. Narrowing goes to float32 first, as the programs do that
merge models (PyTorch computes in float32, then casts), then to the type, each step by the nearest value, ties to even:
IEEE 754 fixes the result of both. What it leaves open is which NaN comes out, so every NaN becomes one word per type.
It knows no tensor and no parent.

Sources: IEEE 754-2019, sections 4.3.1 and 5.4.2; "FP8 Formats for Deep Learning" (Micikevicius and others, 2022), table
1, for E4M3 (no infinity, one NaN per sign) and E5M2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headwater.codec.layout import Words

Reals: TypeAlias = NDArray[np.float64]
Singles: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Float:
    """One float type: from the top a sign, an exponent, a mantissa. `nan` is the word that every NaN becomes."""

    name: str
    bits: int
    exponent_bits: int
    mantissa_bits: int
    nan: int

    @property
    def word(self) -> np.dtype[np.unsignedinteger]:
        return np.dtype(f"<u{self.bits // 8}")

    @property
    def sign(self) -> int:
        return 1 << (self.bits - 1)

    @property
    def bias(self) -> int:
        return (1 << (self.exponent_bits - 1)) - 1


FLOATS: dict[str, Float] = {
    kind.name: kind
    for kind in (
        Float("BF16", 16, 8, 7, 0x7FC0),
        Float("F16", 16, 5, 10, 0x7E00),
        Float("F32", 32, 8, 23, 0x7FC0_0000),
        Float("F64", 64, 11, 52, 0x7FF8_0000_0000_0000),
        Float("F8_E4M3", 8, 4, 3, 0x7F),
        Float("F8_E5M2", 8, 5, 2, 0x7F),
    )
}
"""The types whose values are known, by safetensors' name; GGML has the same names for those that it has."""


def reals(words: Words, kind: Float) -> Reals:
    """The values of words, exactly. A NaN's payload may be lost."""
    # An infinity or a NaN is a value like any other here; converting it must not warn.
    with np.errstate(all="ignore"):
        match kind.name:
            case "BF16":
                return (words.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
            case "F16" | "F32" | "F64":
                return words.view(f"<f{kind.bits // 8}").astype(np.float64)
            case _:
                return _values_of_bytes(kind)[words]


def nearest(values: Reals, kind: Float) -> Words:
    """The words nearest to values, by way of float32 but for F64."""
    if kind.name == "F64":
        return _with_one_nan(values.view("<u8"), values, kind)
    with np.errstate(all="ignore"):
        return nearest_of_singles(values.astype(np.float32), kind)


def nearest_of_singles(values: Singles, kind: Float) -> Words:
    """As `nearest`, of float32."""
    with np.errstate(all="ignore"):
        match kind.name:
            case "BF16":
                bits = values.view(np.uint32)
                words: Words = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16).astype("<u2")
            case "F16":
                words = values.astype("<f2").view("<u2")
            case "F32":
                words = values.view("<u4")
            case "F64":
                words = values.astype("<f8").view("<u8")
            case _:
                words = _nearest_bytes(values, kind)
    return _with_one_nan(words, values, kind)


def toward_zero(values: Singles, kind: Float) -> Words:
    """Float32 with the low bits of the mantissa cut off, as the quickest casts to BF16 do."""
    assert kind.name == "BF16", kind.name
    return _with_one_nan((values.view(np.uint32) >> 16).astype("<u2"), values, kind)


def magnitudes(words: Words, kind: Float) -> Words:
    """Words without their sign: ordered as the absolute values are, infinity and NaN last."""
    return words & words.dtype.type(kind.sign - 1)


def rounding_cells(words: Words, kind: Float) -> tuple[Reals, Reals]:
    """The lowest and highest value that rounds to each word. Infinite and NaN words give cells without bounds."""
    limit = words.dtype.type(kind.sign - 1)
    magnitude = words & limit
    top = words.dtype.type(_largest(kind))
    one = words.dtype.type(1)
    value = reals(magnitude, kind)
    with np.errstate(all="ignore"):
        above = reals(np.minimum(magnitude, top - one) + one, kind)
        below = np.where(magnitude > 0, reals(np.maximum(magnitude, one) - one, kind), -reals(magnitude + one, kind))
        high = np.where(magnitude >= top, np.inf, (value + above) / 2)
        low = (value + below) / 2
        negative = words > limit
        low, high = np.where(negative, -high, low), np.where(negative, -low, high)
    unknown = magnitude > top
    return np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)


def _largest(kind: Float) -> int:
    """The word of the largest finite value."""
    if kind.name == "F8_E4M3":
        return 0x7E
    return (((1 << kind.exponent_bits) - 1) << kind.mantissa_bits) - 1


def _with_one_nan(words: Words, values: Reals | Singles, kind: Float) -> Words:
    unknown = np.isnan(values)
    return np.where(unknown, words.dtype.type(kind.nan), words) if unknown.any() else words


def _nearest_bytes(values: Singles, kind: Float) -> Words:
    """By integers on the bits of a float32. What is too large becomes infinite (E5M2) or NaN (E4M3), as in PyTorch."""
    shift, half = np.uint32(23 - kind.mantissa_bits), np.uint32(1 << (22 - kind.mantissa_bits))
    bits = values.view(np.uint32)
    size = bits & np.uint32(0x7FFF_FFFF)
    rounded = (size + (half - np.uint32(1)) + ((size >> shift) & np.uint32(1))) >> shift
    normal = rounded - np.uint32((127 - kind.bias) << kind.mantissa_bits)
    # Below the smallest normal value all steps are alike. Adding a power of two whose own step is that one lets the
    # float adder do the rounding.
    step = 1 - kind.bias - kind.mantissa_bits
    magic = np.float32(2.0 ** (23 + step))
    small = (size.view(np.float32) + magic).view(np.uint32) - magic.view(np.uint32)
    word = np.where(size < np.uint32((127 - kind.bias + 1) << 23), small, normal)
    over = 0x7F if kind.name == "F8_E4M3" else 0x7C
    word = np.where((word > np.uint32(over)) | (size >= np.uint32(0x7F80_0000)), np.uint32(over), word)
    signed: Words = (word | ((bits >> 24) & np.uint32(0x80))).astype(np.uint8)
    return signed


@cache
def _values_of_bytes(kind: Float) -> Reals:
    found = np.empty(256, np.float64)
    for word in range(256):
        magnitude = word & 0x7F
        exponent, mantissa = magnitude >> kind.mantissa_bits, magnitude & ((1 << kind.mantissa_bits) - 1)
        scale = 2.0 ** (max(exponent, 1) - kind.bias - kind.mantissa_bits)
        value = (mantissa + ((1 << kind.mantissa_bits) if exponent else 0)) * scale
        if magnitude > _largest(kind):
            value = np.inf if kind.name == "F8_E5M2" and magnitude == 0x7C else np.nan
        found[word] = -value if word > 0x7F else value
    found.flags.writeable = False
    return found
