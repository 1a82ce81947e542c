# ruff: noqa: ANN001, ANN201
"""What the bytes of one plane of one block say: its words, alone or given the predicted ones.

Part of restore.py, after docs/spec/codec.md. A coder's number comes first. Most coders end in tokens, which are bytes
under rANS; each is coded in a context, which a byte that the reader knows already, its key, tells.
"""

import numpy as np
from words import Parts, unzip


def decode(data, plane, count, predicted):
    """`count` words of a plane of a block. `predicted()` gives the words that a predictor made of the parents."""
    parts, width = Parts(data), max(plane.bits // 8, 1)
    coder = parts.number("B")
    if coder in (0, 1):
        return np.frombuffer(unzip(parts.rest()) if coder else parts.rest(), f"<u{width}")
    if coder == 2:
        return alone(count, width, plane, parts)
    base = predicted()
    mantissa = plane.bits - 1 - plane.exponent
    key = np.zeros(count, np.uint8)
    if plane.exponent:
        key = (base >> mantissa & min((1 << plane.exponent) - 1, 255)).astype(np.uint8)
    elif width == 1:
        key = base
    if coder == 3:
        return delta(base, key, plane, parts)
    if coder == 4:
        return conditional(base, key, plane, parts)
    if coder == 5:
        return base
    assert coder == 6, f"a coder of a later version: {coder}"
    columns, skip, first = parts.numbers("IIi")
    scale = np.frombuffer(unsqueeze(parts.part()), np.uint8)[(np.arange(count) + skip) // columns].astype(int)
    rows = np.clip(first + scale - 2 * np.maximum(key.astype(int), 1) + 128, 1, 255)
    return delta(base, np.where(scale == 255, 0, rows).astype(np.uint8), plane, parts)


def unsqueeze(data):
    return unzip(data[1:]) if data[0] else data[1:]


def tokens(key, parts):
    """rANS in contexts: four states in turn, 2048 slots, 32 bits at a time."""
    table, stream = Parts(unsqueeze(parts.part())), np.frombuffer(parts.part(), "<u4").tolist()
    rows, columns = table.number("B") + 1, table.number("B") + 1
    starts = [*table.take(rows), 256]
    low, high = (np.frombuffer(table.take(rows * columns), np.uint8).astype(int) for _ in range(2))
    slots = []  # of each context: (token, frequency, first slot) of each slot
    for frequencies in (low | high << 8).reshape(rows, columns).tolist():
        row = []
        for token, frequency in enumerate(frequencies):
            row += [(token, frequency, len(row))] * frequency
        slots.append(row)
    context = [row for row, start in enumerate(starts[:-1]) for _ in range(start, starts[row + 1])]
    states, at, out = [stream[2 * i] << 32 | stream[2 * i + 1] for i in range(4)], 8, bytearray()
    for i, one in enumerate(key.tolist()):
        x = states[i & 3]
        token, frequency, first = slots[context[one]][x & 2047]
        x = frequency * (x >> 11) + (x & 2047) - first
        if x < 1 << 31:
            x, at = x << 32 | stream[at], at + 1
        states[i & 3] = x
        out.append(token)
    return np.frombuffer(bytes(out), np.uint8)


def alone(count, width, plane, parts):
    """Bytes apart, the highest first, of words that were rotated so that exponents fill a byte."""
    turned = np.empty((count, width), np.uint8)
    for at in reversed(range(width)):
        kind = parts.number("B")
        found = tokens(np.zeros(count, np.uint8), parts) if kind == 2 else parts.part()
        turned[:, at] = np.frombuffer(unzip(found) if kind == 1 else found, np.uint8)
    found = turned.view(f"<u{width}").reshape(-1)
    turn = 1 + max(plane.exponent - 8, 0) if plane.exponent and width > 1 else 0
    return (found >> turn) | (found << (plane.bits - turn)) if turn else found


def delta(base, key, plane, parts):
    """The difference to the predicted word, modulo the width: a token, and from 128 on low bits of its own."""
    width, found = base.itemsize, tokens(key, parts).astype(np.int64)
    values = found.astype(np.uint64)
    bits = int.from_bytes(parts.take((parts.number("Q") + 7) // 8), "little")
    keep, at = (1 if width == 8 else 2), 0
    for i in np.flatnonzero(found >= 128).tolist() if width > 1 else ():
        token = int(found[i])
        low = (token - 128 >> keep) + 7 - keep
        values[i] = (1 << keep | token & (1 << keep) - 1) << low | bits >> at & (1 << low) - 1
        at += low
    half = (values >> np.uint64(1)).astype(base.dtype)
    change = np.where((values & np.uint64(1)).astype(bool), ~half, half)
    if not plane.exponent:
        return base + change
    top = base.dtype.type(1 << plane.bits - 1)
    moved = np.where(base & top, ~base, base | top) + change  # floats in the order of their values
    return np.where(moved & top, moved & ~top, ~moved)


def conditional(base, key, plane, parts):
    """The word itself: exponent, sign and the mantissa's top in contexts of the predicted ones, the rest packed."""
    if plane.bits <= 8:
        return tokens(base, parts)
    low_bits, sign = plane.bits - 1 - plane.exponent - 4, plane.bits - 1
    exponent = tokens(key, parts)
    step = exponent.astype(int) - key
    flip = tokens((np.clip(step, -7, 7) + 7 << 4 | key & 15).astype(np.uint8), parts)
    near = np.clip(step, -1, 2) + 1 << 5 | flip << 4
    top = tokens((near | (base >> low_bits & 15)).astype(np.uint8), parts)
    bits = np.unpackbits(np.frombuffer(parts.part(), np.uint8), bitorder="little", count=len(base) * low_bits)
    found = bits.reshape(-1, low_bits) @ (1 << np.arange(low_bits)) | top.astype(int) << low_bits
    found |= exponent.astype(int) << low_bits + 4 | (flip ^ (base >> sign).astype(np.uint8)).astype(int) << sign
    return found.astype(base.dtype)
