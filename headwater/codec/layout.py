"""How the bytes of a tensor fall apart into fields that are alike, and how they join again, bit for bit.

A block of Q4_K holds two floats, twelve bytes of packed scales and 256 codes of four bits: coded together each spoils
the statistics of the others. A `Layout` cuts raw bytes into planes, each one array of one kind of word, and puts them
together again. Both are exact for every bit pattern, because every bit of a unit is in exactly one plane. Refuses to
know what the values mean, who their parents are, and how a plane is coded.

Sources: the safetensors library's `Dtype`; the block structs and dequantization loops of `ggml-common.h` and
`ggml-quants.c` (llama.cpp, 2026) for where each element's bits lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headwater.tensors.dtypes import GGML_TYPES, SAFETENSORS_BITS

Words: TypeAlias = NDArray[np.unsignedinteger]
Bytes: TypeAlias = NDArray[np.uint8]

BYTES = "BYTES"
"""The dtype of what has no type: single bytes."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One field of a unit: `words` words per unit, each in the smallest unsigned integer that holds `bits`.

    `exponent_bits` > 0 says that a word is a float (sign, exponent, mantissa, from the top). `symbols` is 2**bits where
    that is small enough for a table of statistics (at most 256), else 0. Codes narrower than a byte have one word (u1)
    each, in the order of the elements that they belong to: code number i is that of the unit's element number i.
    """

    bits: int
    exponent_bits: int
    mantissa_bits: int
    symbols: int
    words: int
    name: str

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """What `split` gives: u1, u2, u4 or u8, little-endian."""
        return np.dtype(f"<u{max(self.bits // 8, 1)}")


@dataclass(frozen=True, slots=True)
class _Field:
    """Words as they lie: bytes [start, stop) of a unit."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Bits [low, low + bits) of every code, packed into bytes [start, stop) of a unit.

    GGML packs so that vector instructions unpack: the bytes come in groups of `lanes`; the lowest `bits` of a group's
    bytes belong to the group's first `lanes` elements, the next higher bits to the next `lanes`, and so on. `lanes` is
    a multiple of eight, or one where single bits lie in the order of their elements.
    """

    start: int
    stop: int
    lanes: int
    bits: int
    low: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The planes of one dtype. A unit is the smallest piece that makes sense alone: an element or a quant block.

    `unit_elements` elements take `unit_bytes` bytes.
    """

    dtype: str
    unit_bytes: int
    unit_elements: int
    planes: tuple[Plane, ...]
    _places: tuple[_Field | tuple[_Part, ...], ...]

    def split(self, raw: bytes | bytearray | memoryview) -> list[Words]:
        """Whole units to one array per plane, of `units * plane.words` words. Arrays may be read-only views of it."""
        assert len(raw) % self.unit_bytes == 0, (self.dtype, len(raw))
        flat = np.frombuffer(raw, np.uint8) if len(raw) else np.empty(0, np.uint8)
        if len(self.planes) == 1:
            return [flat.view(self.planes[0].dtype)]
        units = flat.reshape(-1, self.unit_bytes)
        return [self._taken(units, number) for number in range(len(self.planes))]

    def join(self, arrays: Sequence[Words]) -> bytes:
        """The inverse of `split`. Bits of a word above `plane.bits` are dropped, so any words make some raw bytes."""
        assert len(arrays) == len(self.planes), (self.dtype, len(arrays))
        if len(self.planes) == 1:
            return np.ascontiguousarray(arrays[0], self.planes[0].dtype).tobytes()
        units = np.zeros((len(arrays[0]) // self.planes[0].words, self.unit_bytes), np.uint8)
        for number, words in enumerate(arrays):
            assert len(words) == len(units) * self.planes[number].words, (self.dtype, number, len(words))
            self._put(units, number, words)
        return units.tobytes()

    def _taken(self, units: Bytes, number: int) -> Words:
        plane, place = self.planes[number], self._places[number]
        if isinstance(place, _Field):
            return np.ascontiguousarray(units[:, place.start : place.stop]).reshape(-1).view(plane.dtype)
        codes = np.empty((len(units), plane.words), np.uint8)
        for part in place:  # the first has the lowest bits of every code
            packed = np.ascontiguousarray(units[:, part.start : part.stop])
            if part.lanes == 1:
                codes |= np.unpackbits(packed, axis=1, bitorder="little") << part.low
                continue
            words, spread = _eight_at_once(packed, codes, part)
            mask = _in_every_byte((1 << part.bits) - 1)
            for step in range(8 // part.bits):
                # Shifted as a whole first: the scattered rows of `spread` are short, and each costs the same again.
                bits = (words >> (step * part.bits)) & mask
                if part.low:
                    spread[:, step] |= bits << part.low
                else:
                    spread[:, step] = bits
        return codes.reshape(-1)

    def _put(self, units: Bytes, number: int, words: Words) -> None:
        plane, place = self.planes[number], self._places[number]
        if isinstance(place, _Field):
            field = np.ascontiguousarray(words, plane.dtype).view(np.uint8)
            units[:, place.start : place.stop] = field.reshape(len(units), place.stop - place.start)
            return
        codes = np.ascontiguousarray(words, np.uint8).reshape(len(units), plane.words)
        for part in place:
            if part.lanes == 1:
                units[:, part.start : part.stop] = np.packbits((codes >> part.low) & 1, axis=1, bitorder="little")
                continue
            packed = np.zeros((len(units), part.stop - part.start), np.uint8)
            joined, spread = _eight_at_once(packed, codes, part)
            mask = _in_every_byte((1 << part.bits) - 1)
            for step in range(8 // part.bits):
                bits = np.ascontiguousarray(spread[:, step])
                joined |= ((bits >> part.low) & mask) << (step * part.bits)
            units[:, part.start : part.stop] = packed


def layout_of(dtype: str) -> Layout:
    """The layout of a dtype by safetensors' or GGML's name; of any other name: bytes."""
    if dtype in _KNOWN:
        return _known(dtype)
    return Layout(dtype, 1, 1, (_bytes(1),), (_Field(0, 1),))


def _eight_at_once(packed: Bytes, codes: Bytes, part: _Part) -> tuple[Words, Words]:
    """Views of eight bytes a word: the packed bytes as (group, lanes), the codes as (group, step, lanes).

    A shift of such a word moves bits from byte to byte, but only into places that the mask then clears.
    """
    groups = len(packed) * (part.stop - part.start) // part.lanes
    words = packed.reshape(-1).view("<u8").reshape(groups, part.lanes // 8)
    return words, codes.reshape(-1).view("<u8").reshape(groups, 8 // part.bits, part.lanes // 8)


def _in_every_byte(mask: int) -> np.uint64:
    return np.uint64(mask * 0x0101_0101_0101_0101)


def _float(bits: int, exponent_bits: int, name: str = "values", words: int = 1) -> Plane:
    return Plane(bits, exponent_bits, bits - 1 - exponent_bits, 256 if bits == 8 else 0, words, name)


def _bytes(words: int, name: str = "bytes") -> Plane:
    return Plane(8, 0, 0, 256, words, name)


def _codes(bits: int, words: int) -> Plane:
    return Plane(bits, 0, 0, 1 << bits, words, "codes")


# One plane, by name: the word, and how many of them and how many elements are a unit.
_PLAIN: dict[str, tuple[Plane, int]] = {
    "F64": (_float(64, 11), 1),
    "F32": (_float(32, 8), 1),
    "F16": (_float(16, 5), 1),
    "BF16": (_float(16, 8), 1),
    "C64": (_float(32, 8, words=2), 1),
    "F8_E4M3": (_float(8, 4), 1),
    "F8_E4M3FNUZ": (_float(8, 4), 1),
    "F8_E5M2": (_float(8, 5), 1),
    "F8_E5M2FNUZ": (_float(8, 5), 1),
    # Two elements to a byte, or four to three: single codes do not align with what packs them, bytes do.
    "F4": (_bytes(1), 2),
    "F6_E2M3": (_bytes(3), 4),
    "F6_E3M2": (_bytes(3), 4),
}
_SCALE = _float(16, 5, "scale")
_MIN = _float(16, 5, "min")

# By GGML's name: the planes, and where in the block each lies.
_BLOCKS: dict[str, tuple[tuple[Plane, _Field | tuple[_Part, ...]], ...]] = {
    "Q4_0": ((_SCALE, _Field(0, 2)), (_codes(4, 32), (_Part(2, 18, 16, 4, 0),))),
    "Q4_1": ((_SCALE, _Field(0, 2)), (_MIN, _Field(2, 4)), (_codes(4, 32), (_Part(4, 20, 16, 4, 0),))),
    "Q5_0": ((_SCALE, _Field(0, 2)), (_codes(5, 32), (_Part(6, 22, 16, 4, 0), _Part(2, 6, 1, 1, 4)))),
    "Q5_1": (
        (_SCALE, _Field(0, 2)),
        (_MIN, _Field(2, 4)),
        (_codes(5, 32), (_Part(8, 24, 16, 4, 0), _Part(4, 8, 1, 1, 4))),
    ),
    "Q8_0": ((_SCALE, _Field(0, 2)), (_codes(8, 32), _Field(2, 34))),
    "Q2_K": (
        (_SCALE, _Field(80, 82)),
        (_MIN, _Field(82, 84)),
        (_bytes(16, "scales"), _Field(0, 16)),
        (_codes(2, 256), (_Part(16, 80, 32, 2, 0),)),
    ),
    "Q3_K": (
        (_SCALE, _Field(108, 110)),
        (_bytes(12, "scales"), _Field(96, 108)),
        (_codes(3, 256), (_Part(32, 96, 32, 2, 0), _Part(0, 32, 32, 1, 2))),
    ),
    "Q4_K": (
        (_SCALE, _Field(0, 2)),
        (_MIN, _Field(2, 4)),
        (_bytes(12, "scales"), _Field(4, 16)),
        (_codes(4, 256), (_Part(16, 144, 32, 4, 0),)),
    ),
    "Q5_K": (
        (_SCALE, _Field(0, 2)),
        (_MIN, _Field(2, 4)),
        (_bytes(12, "scales"), _Field(4, 16)),
        (_codes(5, 256), (_Part(48, 176, 32, 4, 0), _Part(16, 48, 32, 1, 4))),
    ),
    "Q6_K": (
        (_SCALE, _Field(208, 210)),
        (_bytes(16, "scales"), _Field(192, 208)),
        (_codes(6, 256), (_Part(0, 128, 64, 4, 0), _Part(128, 192, 32, 2, 4))),
    ),
    "IQ4_NL": ((_SCALE, _Field(0, 2)), (_codes(4, 32), (_Part(2, 18, 16, 4, 0),))),
    "MXFP4": ((_bytes(1, "scale"), _Field(0, 1)), (_codes(4, 32), (_Part(1, 17, 16, 4, 0),))),
}
_GGML = {kind.name: kind for kind in GGML_TYPES.values()}
_KNOWN = SAFETENSORS_BITS.keys() | _GGML.keys()


@cache
def _known(dtype: str) -> Layout:
    if dtype in _BLOCKS:
        planes, places = zip(*_BLOCKS[dtype], strict=True)
        return Layout(dtype, _GGML[dtype].block_bytes, _GGML[dtype].block_elements, planes, places)
    if dtype in _PLAIN:
        plane, elements = _PLAIN[dtype]
    elif dtype in SAFETENSORS_BITS:
        bits = SAFETENSORS_BITS[dtype]
        plane, elements = Plane(bits, 0, 0, 256 if bits == 8 else 0, 1, "values"), 1
    else:  # a quant block whose fields are not told apart
        plane, elements = _bytes(_GGML[dtype].block_bytes), _GGML[dtype].block_elements
    unit_bytes = plane.bits // 8 * plane.words
    return Layout(dtype, unit_bytes, elements, (plane,), (_Field(0, unit_bytes),))
