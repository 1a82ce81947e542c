# ruff: noqa: ANN001, ANN201, ANN204, B019, PTH123, T201
"""Files out of a Headwater data folder without Headwater: `restore.py DATA` lists, `restore.py DATA SHA256 FILE`.

The short way to read docs/spec/store.md. Needs numpy and zstandard; a thousand times slower than the hub. What it
writes is compared with the SHA-256 at the end. It reads blobs, xorbs, and sealed files whose tensors are alone or on a
parent as it is (predictor 1). Tensors of other predictors, and quantized blocks of several fields, it tells and leaves.
"""

import functools
import hashlib
import pathlib
import sqlite3
import struct
import sys
import zlib

import numpy as np
import zstandard

FLOATS = {
    "F64": (8, 52, 11),
    "F32": (4, 23, 8),
    "F16": (2, 10, 5),
    "BF16": (2, 7, 8),
    "F8_E4M3": (1, 3, 4),
    "F8_E5M2": (1, 2, 5),
}  # bytes, mantissa bits, exponent bits
INTEGERS = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "BYTES": 1}
BLOCK_BYTES = 2 << 20


class Parts:
    """Pieces of a block, front to back."""

    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize(form)))[0]

    def part(self):
        return self.take(self.number("I"))

    def rest(self):
        return self.data[self.at :]


def unzip(frame):
    return zstandard.ZstdDecompressor().decompressobj().decompress(frame)


def unsqueeze(data):
    return unzip(data[1:]) if data[0] else data[1:]


def tokens(key, parts):
    """rANS in contexts (codec/rans.py): four states in turn, 2048 slots, 32 bits at a time."""
    table, stream = Parts(unsqueeze(parts.part())), np.frombuffer(parts.part(), "<u4").tolist()
    rows, columns = table.number("B") + 1, table.number("B") + 1
    starts = [*table.take(rows), 256]
    low, high = (np.frombuffer(table.take(rows * columns), np.uint8).astype(int) for _ in range(2))
    slots = []  # of each context: (token, frequency, first slot) of each slot
    for frequencies in (low | high << 8).reshape(rows, columns).tolist():
        row, first = [], 0
        for token, frequency in enumerate(frequencies):
            row += [(token, frequency, first)] * frequency
            first += frequency
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


def alone(count, width, exponent, parts):
    turned = np.empty((count, width), np.uint8)
    for at in reversed(range(width)):
        kind = parts.number("B")
        plane = tokens(np.zeros(count, np.uint8), parts) if kind == 2 else parts.part()
        turned[:, at] = np.frombuffer(unzip(plane) if kind == 1 else plane, np.uint8)
    words, bits = turned.view(f"<u{width}").reshape(-1), width * 8
    turn = 0 if not exponent or bits == 8 else 1 + max(exponent - 8, 0)
    kind = words.dtype.type
    return (words >> kind(turn)) | (words << kind(bits - turn)) if turn else words


def delta(base, key, exponent, parts):
    width, found = base.itemsize, tokens(key, parts).astype(np.int64)
    values = found.astype(np.uint64)
    bits = int.from_bytes(parts.take((parts.number("Q") + 7) // 8), "little")
    keep, at = (1 if width == 8 else 2), 0
    for i in np.flatnonzero(found >= 128).tolist() if width > 1 else ():
        token = int(found[i])
        low = ((token - 128) >> keep) + 7 - keep
        lead = 1 << keep | token & ((1 << keep) - 1)
        values[i] = lead << low | bits >> at & ((1 << low) - 1)
        at += low
    top = base.dtype.type(1 << (width * 8 - 1))
    half = (values >> np.uint64(1)).astype(base.dtype)
    change = np.where((values & np.uint64(1)).astype(bool), ~half, half)
    if not exponent:
        return base + change
    moved = np.where(base & top, ~base, base | top) + change
    return np.where(moved & top, moved & ~top, ~moved)


def decode(data, count, width, mantissa, exponent, predicted):
    parts = Parts(data)
    coder = parts.number("B")
    if coder in (0, 1):
        return np.frombuffer(unzip(parts.rest()) if coder else parts.rest(), f"<u{width}")
    if coder == 2:
        return alone(count, width, exponent, parts)
    base = predicted()
    if coder == 5:
        return base
    key = np.zeros(count, np.uint8)
    if exponent:
        key = (base >> base.dtype.type(mantissa) & base.dtype.type(min((1 << exponent) - 1, 255))).astype(np.uint8)
    elif width == 1:
        key = base
    if coder == 3:
        return delta(base, key, exponent, parts)
    if coder == 4 and width == 1:
        return tokens(base, parts)
    if coder == 6:
        columns, skip, first = struct.unpack("<IIi", parts.take(12))
        scale = np.frombuffer(unsqueeze(parts.part()), np.uint8)[(np.arange(count) + skip) // columns].astype(int)
        rows = np.clip(first + scale - 2 * np.maximum(key.astype(int), 1) + 128, 1, 255)
        return delta(base, np.where(scale == 255, 0, rows).astype(np.uint8), exponent, parts)
    raise SystemExit(f"coder {coder} is left to the hub")


class Store:
    def __init__(self, data):
        self.root = pathlib.Path(data) / "store"
        self.db = sqlite3.connect(f"file:{pathlib.Path(data) / 'headwater.sqlite'}?mode=ro", uri=True)

    def index(self, key):
        """An entry's own words, and where its blocks begin in which pack."""
        asked = "SELECT pack, start, length, index_bytes FROM tensor WHERE key = ?"
        pack, start, length, size = self.db.execute(asked, (key,)).fetchone()
        path = self.root / "packs" / f"{pack:08x}"
        with path.open("rb") as file:
            file.seek(start + length - size)
            index = Parts(file.read(size))
        fixed = struct.unpack("<4sHHQQIIIBBH32s", index.take(72))
        _, _, parents, raw, _, head, blocks, step, dtype, dims, _, own = fixed
        assert own == key, "the database names another entry"
        keys = [index.take(32) for _ in range(parents)]
        index.take(8 * dims)
        name, head = index.take(dtype).decode(), index.take(head)
        stored = [struct.unpack("<I16s", index.take(20))[0] for _ in range(blocks)]
        return path, start, raw, name, keys, head, step, stored

    @functools.lru_cache(64)
    def block(self, key, number):
        path, start, raw, name, parents, head, step, stored = self.index(key)
        with path.open("rb") as file:
            file.seek(start + sum(stored[:number]))
            block = Parts(file.read(stored[number]))
        block.take(8)  # the codec's own checksum
        if block.number("B") == 0:
            return block.rest()
        low, high = number * step, min((number + 1) * step, raw)
        if head[9] > 1 or name not in {**FLOATS, **INTEGERS}:
            raise SystemExit(f"{name} with predictor {head[9]} is left to the hub")
        width, mantissa, exponent = FLOATS.get(name) or (INTEGERS[name], 0, 0)
        predicted = lambda: np.frombuffer(self.read(parents[0], low, high), f"<u{width}")  # noqa: E731
        words = decode(block.part(), (high - low) // width, width, mantissa, exponent, predicted)
        return words.astype(f"<u{width}").tobytes()

    def read(self, key, start, stop):
        step, out = self.index(key)[6], b""
        for number in range(start // step, -(-stop // step)):
            out += self.block(key, number)[max(start - number * step, 0) : stop - number * step]
        return out

    def pieces(self, sha256):
        asked = "SELECT recipe, sealed, raw FROM blob WHERE sha256 = ?"
        recipe, sealed, raw = self.db.execute(asked, (sha256,)).fetchone()
        if sealed is not None and raw != "here":
            yield from self.sealed(Parts(sealed))
        elif recipe is None:
            yield (self.root / "blobs" / sha256[:2] / sha256[2:]).read_bytes()
        for at in range(1, len(recipe or b"") if sealed is None or raw == "here" else 0, 48):
            words = struct.unpack("<4Q4I", recipe[at : at + 48])
            name = "".join(f"{word:016x}" for word in words[:4])
            yield (self.root / "xorbs" / name[:2] / name[2:]).read_bytes()[words[6] : words[7]]

    def sealed(self, recipe):
        _version, count, _size = struct.unpack("<BII", recipe.take(9))
        rows = [struct.unpack("<B7xQQ32s", recipe.take(56)) for _ in range(count)]
        literals = zlib.decompress(recipe.rest()[:-16])
        for kind, length, start, key in rows:
            for at in range(start, start + length, BLOCK_BYTES):
                stop = min(at + BLOCK_BYTES, start + length)
                yield self.read(key, at, stop) if kind else literals[at:stop]


def main(data, sha256=None, target=None):
    store = Store(data)
    if sha256 is None:
        for row in store.db.execute("SELECT sha256, size FROM blob ORDER BY sha256"):
            print(*row)
        return
    digest = hashlib.sha256()
    with open(target, "wb") as out:
        for piece in store.pieces(sha256):
            digest.update(piece)
            out.write(piece)
    if digest.hexdigest() != sha256:
        raise SystemExit(f"{target} is not right: its SHA-256 is {digest.hexdigest()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
