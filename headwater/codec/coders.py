"""The coders: the words of one plane of one block, given the predicted ones or nothing, as bytes and back.

raw, zstd   what they say.
alone       the words fall apart into bytes, exponent first, and each byte's plane is coded by rANS, zstd or not at all.
delta       the difference to the predicted word, in contexts of the predicted exponent. The spacing of floats depends
            on their exponent alone and the step of an optimiser does not, so the exponent tells how wide the
            difference is (measured: rows, columns, neighbours, signs and mantissas add 1.5 % of what is left at most).
rows        delta, and each row tells its own scale too: for embeddings whose rows were touched unequally or not at all.
conditional the word itself in contexts of the predicted one: for weights that are only loosely related.
exact       nothing: the prediction is right.

They know no predictor, no parent and no tensor. What a coder writes begins with its number, so each plane of each
block says how it is coded. Everything is exact modulo the width of the word, so NaNs, infinities, subnormals and -0
are words like any other.

What follows the number (little-endian; a part is a u32 length and so many bytes; bits are packed low first; e and m are
the plane's exponent and mantissa bits):

raw          the words
zstd         a zstd frame of the words
alone        words are rotated left (by 1 if e > 0, and by e - 8 more if e > 8; words of 8 bits are not), and each of
             their bytes, the highest first, is a u8 kind and: 0 a part with the bytes, 1 a part with a zstd frame of
             them, 2 tokens of key 0
tokens       a part with a table (`rans.Tables`), a part with the stream
delta        tokens of which each has the key (word >> m) & min(2^e - 1, 255) for floats, the word itself where it has 8
             bits or less, else 0, all of the predicted word; u64 count of low bits; the low bits. v is the difference,
             0, -1, 1, -2 being 0, 1, 2, 3, of words that in floats are inverted if negative, else have their top bit
             set. It is its own token below 128 (in words of 8 bits: 256). Above, with n bits and the k highest behind
             the leading one (k = 2; 1 in words of 64 bits), its token is 128 + ((n - 8) << k) + these k, and n - 1 - k
             low bits follow
rows         u32 columns, u32 column of the first word, i32 f, a part with the `squeezed` class c of each row; then as
             delta, with the key f + c - 2 max(key, 1) + 128, at least 1 and at most 255; 0 where c is 255
conditional  words of 8 bits or less are tokens, their key the predicted word. Of others: tokens of exponents with the
             predicted one as key; tokens of sign flips, key (step + 7) << 4 | predicted exponent & 15, step being the
             exponent's from the predicted one within 7; tokens of the mantissa's top 4 bits, key (step + 1) << 5 |
             flip << 4 | the predicted ones, step being from -1 to 2; a part with the mantissas' other bits, packed
exact        nothing
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from headwater.codec import rans
from headwater.codec.form import Undecodable
from headwater.codec.layout import Plane, Words, layout_of
from headwater.codec.scratch import Scratch, lent
from headwater.codec.streams import Parts, part, squeezed, unsqueezed, unzipped, zipped

U8 = NDArray[np.uint8]
Predicted = Callable[[], Words]


class Coder(IntEnum):
    """Numbers in stored bytes: never reused."""

    RAW = 0
    ZSTD = 1
    ALONE = 2
    DELTA = 3
    CONDITIONAL = 4
    EXACT = 5
    ROWS = 6


Grid = tuple[int, int]
"""Columns of the tensor, and in which column the first word is."""

_PLANE_RAW, _PLANE_ZSTD, _PLANE_RANS = range(3)
_RAW_BITS_MIN = 7.9  # a byte's entropy above which rANS saves less than it costs the reader
_PROBE_BYTES = 1 << 16  # of a plane, on which zstd is tried before it is given all of it
_PROBE_GAIN = 0.95  # zstd must be this much smaller than rANS
_ESCAPE_ALPHABET = {1: 256, 2: 164, 4: 228, 8: 242}
"""Tokens that differences of words of so many bytes have: 128 whole, then a leading bit and 2 (of 8 bytes: 1) more."""
_STILL = 255  # the class of rows without a difference
_MIDDLE = 128  # the key where differences are as wide as the spacing
_FIRST_MAX = 1 << 13  # half octaves; a double has 4,200
_CELLS = 4096  # tokens that are made words at once: with the words and hot slots, what the nearest cache holds
_MANTISSA_TOP = 4  # mantissa bits that follow the prediction in weakly related weights


def encode_words(coder: Coder, plane: Plane, target: Words, predicted: Words | None, grid: Grid = (1, 0)) -> bytes:
    """`target` with this coder. DELTA, ROWS and CONDITIONAL want `predicted`, of the same length and dtype."""
    with lent() as scratch:
        return bytes([coder]) + _encoded(coder, (plane, target, predicted), grid, scratch)


def _encoded(coder: Coder, what: tuple[Plane, Words, Words | None], grid: Grid, scratch: Scratch) -> bytes:
    plane, target, predicted = what
    if coder in {Coder.RAW, Coder.ZSTD}:
        return target.tobytes() if coder is Coder.RAW else zipped(target.tobytes())
    if coder is Coder.ALONE:
        return _alone(plane, target, scratch)
    if predicted is None or coder is Coder.EXACT:
        return b""
    if coder is Coder.DELTA:
        return _delta(plane, target, predicted, _delta_key(plane, predicted, scratch), scratch)
    if coder is Coder.ROWS:
        return _rows(plane, target, predicted, grid, scratch)
    return _conditional(plane, target, predicted, scratch)


def decode_words(
    plane: Plane, count: int, data: bytes | memoryview, predicted: Predicted, scratch: Scratch | None = None
) -> Words:
    """The `count` words that `encode_words` was given; `predicted` is asked only if they are coded by a prediction.

    They may lie in `scratch`, in `data` or be the prediction itself.
    """
    scratch = scratch or Scratch(0)
    parts = Parts(data)
    try:
        coder = Coder(parts.byte())
    except ValueError as error:
        raise Undecodable("codec: a coder of a later version") from error
    rest = parts.bytes(len(data) - 1)
    if coder is Coder.RAW:
        return _words(rest, plane, count)
    if coder is Coder.ZSTD:
        return _words(unzipped(rest, count * plane.dtype.itemsize), plane, count)
    if coder is Coder.ALONE:
        return _alone_back(plane, count, Parts(rest), scratch)
    base = predicted()
    assert base.size == count, (base.size, count)
    return _by_prediction(coder, plane, base, Parts(rest), scratch)


def warm() -> str:
    """Loads the loops for words of all widths now instead of at the first use. Gives their module's name.

    That takes 0.5 s of one core and 125 MB, most of it numba itself; the first time on a machine, 9 s to compile them.
    """
    for dtype in ("F8_E4M3", "BF16", "F32", "I64"):
        plane = layout_of(dtype).planes[0]
        base = np.arange(40).astype(plane.dtype)
        for coder in Coder:
            if suits(coder, plane):
                decode_words(plane, base.size, encode_words(coder, plane, base[::-1], base), _told(base))
    return rans.engine().__name__


def _told(words: Words) -> Predicted:
    return lambda: words


def coder_of(data: bytes) -> Coder:
    """Which coder wrote this."""
    return Coder(data[0])


def suits(coder: Coder, plane: Plane) -> bool:
    """Whether a coder that predicts can say anything on such words."""
    if coder is Coder.CONDITIONAL:
        return plane.bits <= 8 or 0 < plane.exponent_bits <= 8
    return coder is not Coder.ROWS or 0 < plane.exponent_bits <= 8


def _by_prediction(coder: Coder, plane: Plane, base: Words, parts: Parts, scratch: Scratch) -> Words:
    if coder is Coder.EXACT:
        parts.end()
        return base
    if coder is Coder.DELTA:
        return _delta_back(plane, base, parts, _Rows(max(base.size, 1), 0, *_ONE_CLASS), scratch)
    if coder is Coder.ROWS:
        return _delta_back(plane, base, parts, _rows_told(plane, base.size, parts), scratch)
    return _conditional_back(plane, base, parts, scratch)


# --- tokens ---------------------------------------------------------------------------------------------------------


def _tokens(key: U8, token: U8, scratch: Scratch) -> bytes:
    counts = np.zeros((rans.KEYS, rans.TOKENS), np.uint32)
    rans.engine().count(rans.fixed(key), rans.fixed(token), counts.reshape(-1))
    tables = rans.fit(counts)
    return part(tables.pack()) + part(rans.encode(key, token, tables, scratch))


def _tokens_back(cells: U8, alphabet: int, parts: Parts, scratch: Scratch) -> None:
    """Makes tokens of the keys in `cells`."""
    tables = rans.unpack(parts.part(), alphabet)
    rans.decode(cells, parts.part(), tables, scratch)


def _field(words: Words, shift: int, mask: int, scratch: Scratch) -> U8:
    field = scratch.array(words.size, np.uint8)
    rans.engine().keys(rans.fixed(words), shift, mask, field)
    return field


def _words(data: bytes | memoryview, plane: Plane, count: int) -> Words:
    if len(data) != count * plane.dtype.itemsize:
        raise Undecodable(f"codec: {len(data)} bytes where {count} words of {plane.bits} bits were to be")
    return np.frombuffer(data, plane.dtype)


# --- alone ----------------------------------------------------------------------------------------------------------


def _turn(plane: Plane) -> int:
    """By how much a word is rotated to the left so that its exponent's low bits fill the top byte."""
    if not plane.exponent_bits or plane.bits == 8:
        return 0
    return 1 + max(plane.exponent_bits - 8, 0)


def _rotated(words: Words, left: int) -> Words:
    bits = words.itemsize * 8
    if left % bits == 0:
        return words
    kind = words.dtype.type
    return (words << kind(left)) | (words >> kind(bits - left))


def _alone(plane: Plane, target: Words, scratch: Scratch) -> bytes:
    width = target.itemsize
    turned = np.ascontiguousarray(_rotated(target, _turn(plane))).view(np.uint8).reshape(-1, width)
    return b"".join(_byte_plane(np.ascontiguousarray(turned[:, at]), scratch) for at in reversed(range(width)))


def _byte_plane(plane: U8, scratch: Scratch) -> bytes:
    histogram = np.bincount(plane, minlength=256)
    share = histogram[histogram > 0] / max(plane.size, 1)
    bits = float(-(share * np.log2(share)).sum())
    probe = plane[:_PROBE_BYTES]
    if plane.size and len(zipped(probe.tobytes())) < _PROBE_GAIN * probe.size * bits / 8:
        return bytes([_PLANE_ZSTD]) + part(zipped(plane.tobytes()))
    coded = _tokens(scratch.zeros(plane.size, np.uint8), plane, scratch) if bits < _RAW_BITS_MIN else b""
    if not coded or len(coded) >= plane.size:
        return bytes([_PLANE_RAW]) + part(plane.tobytes())
    return bytes([_PLANE_RANS]) + coded


def _alone_back(plane: Plane, count: int, parts: Parts, scratch: Scratch) -> Words:
    width = plane.dtype.itemsize
    turned = scratch.array(count * width, np.uint8).reshape(count, width)
    for at in reversed(range(width)):
        turned[:, at] = _byte_plane_back(count, parts, scratch)
    parts.end()
    words: Words = turned.view(plane.dtype).reshape(-1)
    return _rotated(words, width * 8 - _turn(plane))


def _byte_plane_back(count: int, parts: Parts, scratch: Scratch) -> U8:
    kind = parts.byte()
    if kind == _PLANE_RANS:
        cells = scratch.zeros(count, np.uint8)
        _tokens_back(cells, rans.TOKENS, parts, scratch)
        return cells
    data: bytes | memoryview = parts.part()
    if kind == _PLANE_ZSTD:
        data = unzipped(data, count)
    elif kind != _PLANE_RAW:
        raise Undecodable(f"codec: a plane of kind {kind}")
    if len(data) != count:
        raise Undecodable(f"codec: a plane of {len(data)} bytes instead of {count}")
    return np.frombuffer(data, np.uint8)


# --- delta ----------------------------------------------------------------------------------------------------------


def _delta_field(plane: Plane) -> tuple[int, int]:
    """Shift and mask of what is a predicted word's key."""
    if plane.exponent_bits:
        return plane.mantissa_bits, min((1 << plane.exponent_bits) - 1, 255)
    return 0, 255 if plane.bits <= 8 else 0


def _delta_key(plane: Plane, predicted: Words, scratch: Scratch) -> U8:
    return _field(predicted, *_delta_field(plane), scratch)


def _delta(plane: Plane, target: Words, predicted: Words, key: U8, scratch: Scratch) -> bytes:
    padded = scratch.array((target.size + 7) // 8 * 8, np.uint8)
    padded[target.size :] = 0
    raw = scratch.array(target.size * target.itemsize // 8 + 2, np.uint64)
    ordered = plane.exponent_bits > 0
    bits = rans.engine().tokenise(
        rans.fixed(target), rans.fixed(predicted), ordered, padded, rans.fixed(padded.view(np.uint64)), raw
    )
    low = raw.view(np.uint8)[: (bits + 7) // 8].tobytes()
    return _tokens(key, padded[: target.size], scratch) + struct.pack("<Q", bits) + low


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of `columns` words, of which the first lacks `skip`, the class of each, and the keys of a class's fields.

    `keys` has a row of 256 for each class.
    """

    columns: int
    skip: int
    classes: U8
    keys: U8


_ONE_CLASS = (np.zeros(1, np.uint8), np.arange(rans.KEYS, dtype=np.uint8).reshape(1, -1))


def _delta_back(plane: Plane, predicted: Words, parts: Parts, rows: _Rows, scratch: Scratch) -> Words:
    count, width = predicted.size, predicted.itemsize
    tables = rans.unpack(parts.part(), _ESCAPE_ALPHABET[width])
    slots, words = rans.prepared(parts.part(), tables, scratch)
    (bits,) = struct.unpack("<Q", parts.bytes(8))
    if bits > count * 64:
        raise Undecodable(f"codec: {bits} bits beside {count} tokens")
    low = parts.bytes((bits + 7) // 8)
    parts.end()
    raw = scratch.array(bits // 64 + 2, np.uint64)
    raw[-2:] = 0
    raw.view(np.uint8)[: len(low)] = np.frombuffer(low, np.uint8)
    starts = tables.first_slots()[rows.keys].reshape(-1)
    cells = scratch.zeros(_CELLS, np.uint8)
    room = scratch.array(rans.STATE_NUMBERS, np.uint64), cells, rans.fixed(cells.view(np.uint64))
    grid = rows.columns, rows.skip, rans.fixed(rows.classes), rans.fixed(starts)
    contexts = (*_delta_field(plane), plane.exponent_bits > 0, *grid)
    out = scratch.array(count, predicted.dtype)
    taken = rans.engine().undelta(rans.fixed(predicted), contexts, (slots, words, rans.fixed(raw)), room, out)
    if taken != bits:
        raise Undecodable("codec: a damaged stream of tokens, or their low bits do not match")
    return out


# --- rows -----------------------------------------------------------------------------------------------------------


def _rows(plane: Plane, target: Words, predicted: Words, grid: Grid, scratch: Scratch) -> bytes:
    columns, skip = grid
    scales = np.zeros((target.size + skip + columns - 1) // columns, np.float64)
    stops = np.minimum(np.arange(1, scales.size + 1) * columns - skip, target.size).astype(np.uint64)
    spacing = np.exp2(np.maximum(np.arange(256), 1))  # subnormals have that of the lowest exponent
    words = rans.fixed(target), rans.fixed(predicted)
    rans.engine().row_scales(*words, rans.fixed(spacing), plane.mantissa_bits, rans.fixed(stops), scales)
    with np.errstate(divide="ignore"):
        steps = np.rint(2 * np.log2(scales))
    moved = steps[scales > 0]
    first = int(np.clip(moved.min(), -_FIRST_MAX, _FIRST_MAX)) if moved.size else 0
    classes = np.where(scales > 0, np.clip(steps - first, 0, _STILL - 1), _STILL).astype(np.uint8)
    key = scratch.array(target.size, np.uint8)
    dense, keys = _row_keys(first, classes)
    field = _delta_key(plane, predicted, scratch)
    rans.engine().remap_rows(rans.fixed(field), rans.fixed(keys.reshape(-1)), rans.fixed(dense), skip, columns, key)
    told = struct.pack("<IIi", columns, skip, first) + part(squeezed(classes.tobytes()))
    return told + _delta(plane, target, predicted, key, scratch)


def _rows_told(plane: Plane, count: int, parts: Parts) -> _Rows:
    """What `_rows` tells before the difference of `count` words."""
    columns, skip, first = struct.unpack("<IIi", parts.bytes(12))
    if not suits(Coder.ROWS, plane) or not skip < columns or abs(first) > _FIRST_MAX:
        raise Undecodable("codec: rows that are none")
    rows = (count + skip + columns - 1) // columns
    classes = np.frombuffer(unsqueezed(parts.part(), rows), np.uint8)
    if classes.size != rows:
        raise Undecodable(f"codec: {classes.size} scales of {rows} rows")
    return _Rows(columns, skip, *_row_keys(first, classes))


def _row_keys(first: int, classes: U8) -> tuple[U8, U8]:
    """The classes that are there, numbered anew, and the keys of each, one for every exponent.

    A key is how wide the difference probably is, in half octaves of the word's spacing; 0 in rows that did not change.
    """
    there = np.bincount(classes, minlength=256) > 0
    numbers = (np.cumsum(there) - 1).astype(np.uint8)
    used = np.flatnonzero(there)
    exponent = np.maximum(np.arange(256), 1)
    keys = np.clip(first + used[:, None] - 2 * exponent + _MIDDLE, 1, 255).astype(np.uint8)
    keys[used == _STILL] = 0
    return numbers[classes], keys


# --- conditional ----------------------------------------------------------------------------------------------------


def _conditional(plane: Plane, target: Words, predicted: Words, scratch: Scratch) -> bytes:
    if plane.bits <= 8:
        return _tokens(_field(predicted, 0, 255, scratch), _field(target, 0, 255, scratch), scratch)
    exponent, sign, top, low_bits = _fields(plane, target, scratch)
    base = _fields(plane, predicted, scratch)
    return (
        _tokens(base[0], exponent, scratch)
        + _tokens(_sign_key(exponent, base[0]), sign ^ base[1], scratch)
        + _tokens(_top_key(exponent, base[0], sign ^ base[1], base[2]), top, scratch)
        + part(_packed(target, low_bits))
    )


def _conditional_back(plane: Plane, predicted: Words, parts: Parts, scratch: Scratch) -> Words:
    if plane.bits <= 8:
        codes = _field(predicted, 0, 255, scratch)
        _tokens_back(codes, rans.TOKENS, parts, scratch)
        parts.end()
        return codes
    if not suits(Coder.CONDITIONAL, plane):
        raise Undecodable("codec: a coder that does not suit these words")
    base_exponent, base_sign, base_top, low_bits = _fields(plane, predicted, scratch)
    first = base_exponent.copy()
    _tokens_back(first, 1 << plane.exponent_bits, parts, scratch)
    flip = _sign_key(first, base_exponent)
    _tokens_back(flip, 2, parts, scratch)
    top = _top_key(first, base_exponent, flip, base_top)
    _tokens_back(top, 1 << _MANTISSA_TOP, parts, scratch)
    low = _unpacked(parts.part(), low_bits, predicted.size, plane.dtype)
    parts.end()
    kind = plane.dtype.type
    words: Words = low | top.astype(plane.dtype) << kind(low_bits)
    words |= first.astype(plane.dtype) << kind(plane.mantissa_bits)
    words |= (flip ^ base_sign).astype(plane.dtype) << kind(plane.bits - 1)
    return words


def _fields(plane: Plane, words: Words, scratch: Scratch) -> tuple[U8, U8, U8, int]:
    """Exponent, sign, the mantissa's top bits, and how many bits that leaves. Only for more than 8 bits."""
    low_bits = plane.mantissa_bits - _MANTISSA_TOP
    return (
        _field(words, plane.mantissa_bits, (1 << plane.exponent_bits) - 1, scratch),
        _field(words, plane.bits - 1, 1, scratch),
        _field(words, low_bits, (1 << _MANTISSA_TOP) - 1, scratch),
        low_bits,
    )


def _sign_key(exponent: U8, base: U8) -> U8:
    """A sign turns where the predicted value is small, which its exponent and the step from it tell."""
    step = (np.clip(exponent.astype(np.int16) - base, -7, 7) + 7).astype(np.uint8)
    key: U8 = step << np.uint8(4) | base & np.uint8(15)
    return key


def _top_key(exponent: U8, base: U8, flip: U8, base_top: U8) -> U8:
    """The mantissa follows the predicted one where sign and exponent do."""
    step = (np.clip(exponent.astype(np.int16) - base, -1, 2) + 1).astype(np.uint8)
    key: U8 = step << np.uint8(5) | flip << np.uint8(4) | base_top
    return key


def _packed(words: Words, bits: int) -> bytes:
    """The low `bits` of each, one after the other."""
    out = np.empty(words.size * bits // 64 + 1, np.uint64)
    rans.engine().pack_bits(rans.fixed(words), bits, out)
    return out.view(np.uint8)[: (words.size * bits + 7) // 8].tobytes()


def _unpacked(data: memoryview, bits: int, count: int, dtype: np.dtype[np.unsignedinteger]) -> Words:
    if len(data) != (count * bits + 7) // 8:
        raise Undecodable(f"codec: {len(data)} bytes of low bits for {count} words")
    raw = np.zeros(count * bits // 64 + 2, np.uint64)
    raw.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
    words = np.empty(count, dtype)
    rans.engine().unpack_bits(rans.fixed(raw), bits, words)
    return words
