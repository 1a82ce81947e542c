"""The loops of `kernels` once more, in numpy and plain Python: same names, same arguments, same bytes.

It is the oracle of the tests, and what runs where numba is missing; rANS is a thousand times slower here. What the
arguments mean is told in `kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[Any]

_ESCAPES_AT_ONCE = 1 << 16  # keeps the array with one byte for each raw bit small
_PACK_AT_ONCE = 1 << 16  # words: their unpacked bits take up to 64 bytes each
_LOW = 1 << 31
_MASK64 = (1 << 64) - 1


def keys(words: Words, shift: int, mask: int, out: Words) -> None:
    wide = words.astype(np.uint64)
    out[:] = (wide >> np.uint64(shift)) & np.uint64(mask)


def remap_rows(key: Words, luts: Words, classes: Words, skip: int, columns: int, out: Words) -> None:
    row = (np.arange(key.size, dtype=np.int64) + skip) // columns
    out[:] = luts[classes[row].astype(np.int64) * 256 + key]


def row_scales(target: Words, predicted: Words, steps: Words, shift: int, stops: Words, out: Words) -> None:
    x, y = _in_order(target, ordered=True), _in_order(predicted, ordered=True)
    size = np.minimum(np.where(x > y, x - y, y - x).astype(np.uint64), np.uint64(2 << shift))
    magnitude = predicted & predicted.dtype.type((1 << (predicted.itemsize * 8 - 1)) - 1)
    change = size.astype(np.float64) * steps[magnitude.astype(np.uint64) >> np.uint64(shift)]
    ends = stops.astype(np.int64)
    lengths = ends - np.concatenate([[0], ends[:-1]])
    total = np.bincount(np.repeat(np.arange(out.size), lengths), change, minlength=out.size)
    out[:] = total / np.maximum(lengths, 1)


def count(key: Words, token: Words, counts: Words) -> None:
    counts += np.bincount(key.astype(np.int64) * 256 + token, minlength=counts.size).astype(np.uint32)


def tokenise(target: Words, predicted: Words, ordered: bool, token: Words, eights: Words, raw: Words) -> int:
    value = _folded(_in_order(target, ordered) - _in_order(predicted, ordered)).astype(np.uint64)
    if target.itemsize == 1:
        token[: target.size] = value
        return 0
    keep = 1 if target.itemsize == 8 else 2
    token[: target.size] = np.minimum(value, np.uint64(128))
    where = np.nonzero(value >= 128)[0]
    total = 0
    pieces: list[Words] = []
    for start in range(0, where.size, _ESCAPES_AT_ONCE):
        at = where[start : start + _ESCAPES_AT_ONCE]
        v = value[at]
        length = _bit_length(v)
        k = length - 1 - keep
        tail = (v >> k.astype(np.uint64)) & np.uint64((1 << keep) - 1)
        token[at] = 128 + ((length - 8) << keep) + tail.astype(np.int64)
        first = np.cumsum(k) - k
        bit = np.arange(int(k.sum())) - np.repeat(first, k)
        pieces.append(((np.repeat(v, k) >> bit.astype(np.uint64)) & np.uint64(1)).astype(np.uint8))
        total += int(k.sum())
    bits = np.concatenate([*pieces, np.zeros(64 - total % 64, np.uint8)])
    packed = np.packbits(bits, bitorder="little").view(np.uint64)
    raw[: packed.size] = packed
    return total


def encode_tokens(key: Words, token: Words, steps: Words, out: Words) -> int:
    step_of: list[int] = steps[key.astype(np.int64) * 256 + token].tolist()
    states = [_LOW] * 4
    words: list[int] = []
    for i in range(len(step_of) - 1, -1, -1):
        f, first = step_of[i] & 0xFFFF, step_of[i] >> 16
        x = states[i & 3]
        if x >= f << 52:
            words.append(x & 0xFFFFFFFF)
            x >>= 32
        states[i & 3] = (x // f << 11) + x % f + first
    for x in reversed(states):
        words += [x & 0xFFFFFFFF, x >> 32]
    begin = out.size - len(words)
    out[begin:] = words[::-1]
    return begin


def decode_tokens(starts: Words, slots: Words, words: Words, state: Words, cells: Words) -> bool:
    base: list[int] = starts[cells].tolist()
    table: list[int] = slots.tolist()
    stream: list[int] = words.tolist()
    end = len(stream) - 4
    states = [stream[2 * lane] << 32 | stream[2 * lane + 1] for lane in range(4)]
    p = 8
    found = bytearray(len(base))
    for i, row in enumerate(base):
        x = states[i & 3]
        slot = table[row | x & 2047]
        found[i] = slot & 255
        x = (slot >> 20) * (x >> 11) + (slot >> 8 & 4095) & _MASK64
        if x < _LOW:
            if p >= end:
                return False
            x = x << 32 | stream[p]
            p += 1
        states[i & 3] = x
    cells[:] = np.frombuffer(found, np.uint8)
    return p == end and all(x == _LOW for x in states)


Contexts = tuple[int, int, bool, int, int, Words, Words]


def undelta(
    predicted: Words, contexts: Contexts, stream: tuple[Words, Words, Words], room: tuple[Words, ...], out: Words
) -> int:
    shift, mask, ordered, columns, skip, classes, starts = contexts
    slots, words, raw = stream
    field = np.empty(out.size, np.int64)
    keys(predicted, shift, mask, field)
    row = (np.arange(out.size, dtype=np.int64) + skip) // columns
    # One key for each context, so that the tokens can be decoded as if there were no rows.
    own, token = np.unique(starts[classes[row].astype(np.int64) * 256 + field], return_inverse=True)
    token = token.astype(np.uint8)
    if not decode_tokens(own, slots, words, room[0], token):
        return -1
    out[:] = _changed(predicted, token.astype(predicted.dtype), ordered)
    return _patched(predicted, token, ordered, raw, out) if out.itemsize > 1 else 0


def _patched(predicted: Words, token: Words, ordered: bool, raw: Words, out: Words) -> int:
    """Does the words with an escape again. Gives the bits that were taken, -1 if there are too few."""
    keep = 1 if predicted.itemsize == 8 else 2
    at = np.nonzero(token >= 128)[0]
    t = token[at].astype(np.int64)
    k = ((t - 128) >> keep) + 7 - keep
    stop = np.cumsum(k)
    if at.size and int(stop[-1]) > 64 * (raw.size - 1):
        return -1
    first = stop - k
    p, s = first >> 6, (first & 63).astype(np.uint64)
    low = (raw[p] >> s) | ((raw[p + 1] << np.uint64(1)) << (np.uint64(63) - s))
    k64 = k.astype(np.uint64)
    lead = (np.int64(1 << keep) | (t & ((1 << keep) - 1))).astype(np.uint64)
    value = (lead << k64) | (low & ((np.uint64(1) << k64) - np.uint64(1)))
    out[at] = _changed(predicted[at], value.astype(predicted.dtype), ordered)
    return int(stop[-1]) if at.size else 0


def fill_slots(frequencies: Words, alphabet: int, slots: Words) -> None:
    f = frequencies.astype(np.int64)
    token = np.repeat(np.arange(f.size) % alphabet, f)
    first = np.repeat(np.cumsum(f) - f, f)
    slots[:] = token | (np.arange(slots.size) - first) << 8 | np.repeat(f, f) << 20


def pack_bits(words: Words, bits: int, out: Words) -> None:
    at = 0
    flat = out.view(np.uint8)
    for start in range(0, words.size, _PACK_AT_ONCE):
        some = np.ascontiguousarray(words[start : start + _PACK_AT_ONCE])
        each = np.unpackbits(some.view(np.uint8).reshape(-1, some.itemsize), axis=1, count=bits, bitorder="little")
        packed = np.packbits(each, bitorder="little")
        flat[at : at + packed.size] = packed
        at += packed.size
    flat[at:] = 0


def unpack_bits(raw: Words, bits: int, out: Words) -> None:
    flat = raw.view(np.uint8)
    for start in range(0, out.size, _PACK_AT_ONCE):
        some = min(_PACK_AT_ONCE, out.size - start)
        at = start * bits // 8  # whole: _PACK_AT_ONCE is a multiple of 8
        each = np.zeros((some, out.itemsize * 8), np.uint8)
        piece = flat[at : at + (some * bits + 7) // 8]
        each[:, :bits] = np.unpackbits(piece, count=some * bits, bitorder="little").reshape(some, bits)
        out[start : start + some] = np.packbits(each, axis=1, bitorder="little").view(out.dtype).reshape(-1)


def _in_order(words: Words, ordered: bool) -> Words:
    """Floats as unsigned integers in the order of their values; -0 is just below +0."""
    if not ordered:
        return words
    top = words.dtype.type(1 << (words.itemsize * 8 - 1))
    return np.where(words & top, ~words, words | top)


def _from_order(words: Words, ordered: bool) -> Words:
    if not ordered:
        return words
    top = words.dtype.type(1 << (words.itemsize * 8 - 1))
    return np.where(words & top, words & ~top, ~words)


def _folded(difference: Words) -> Words:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..., modulo the width of the word."""
    one = difference.dtype.type(1)
    negative = (difference >> difference.dtype.type(difference.itemsize * 8 - 1)).astype(bool)
    doubled = difference << one
    folded: Words = np.where(negative, ~doubled, doubled)
    return folded


def _changed(predicted: Words, folded: Words, ordered: bool) -> Words:
    one = folded.dtype.type(1)
    half = folded >> one
    difference: Words = np.where((folded & one).astype(bool), ~half, half)
    moved: Words = _in_order(predicted, ordered) + difference
    return _from_order(moved, ordered)


def _bit_length(value: Words) -> NDArray[np.int64]:
    length = np.zeros(value.size, np.int64)
    rest = value.copy()
    for step in (32, 16, 8, 4, 2, 1):
        wide = rest >> np.uint64(step) != 0
        length[wide] += step
        rest = np.where(wide, rest >> np.uint64(step), rest)
    length += rest != 0
    return length
