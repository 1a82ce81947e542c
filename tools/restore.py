# ruff: noqa: ANN001, ANN201, ANN204, B019, PTH123, T201
"""Files out of a Headwater data folder without Headwater: `restore.py DATA` lists, `restore.py DATA SHA256 FILE`.

docs/spec/store.md and docs/spec/codec.md, read aloud: what lies where and which bytes make a file are in here, and
beside it what the bytes of a block say (coders.py), what dtypes are made of (words.py), and what follows from parents
(predictors.py). It needs numpy and zstandard, restores all that Headwater stores, and takes a thousand times longer
than the hub. It believes what it reads; what it wrote is compared with the SHA-256 at the end.
"""

import functools
import hashlib
import pathlib
import sqlite3
import struct
import sys
import zlib

from coders import decode
from predictors import predicted
from words import Form, Parts, join, layout_of, split

PIECE_BYTES = 2 << 20


class Store:
    def __init__(self, data):
        self.root = pathlib.Path(data) / "store"
        self.db = sqlite3.connect(f"file:{pathlib.Path(data) / 'headwater.sqlite'}?mode=ro", uri=True)

    def pieces(self, sha256):
        """A file, front to back: an object of its own, or what its sealed recipe says, or its recipe of xorbs."""
        asked = "SELECT size, recipe, sealed FROM blob WHERE sha256 = ?"
        size, recipe, sealed = self.db.execute(asked, (sha256,)).fetchone()
        path = self.root / "blobs" / sha256[:2] / sha256[2:]
        if path.exists():
            with path.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        elif sealed is not None:
            yield from self.sealed(sealed, 0, size)
        else:
            for xorb, start, stop in terms(recipe):
                yield from self.xorb(xorb, start, stop)

    def sealed(self, recipe, start, stop):
        """Bytes [start, stop) of a file, by its recipe of version 2."""
        parts, at = Parts(recipe), 0
        version, count, _literal_bytes = parts.numbers("BII")
        assert version == 2, "a sealed recipe of a later version"
        rows = [parts.numbers("B7xQQ32s") for _ in range(count)]
        literals = zlib.decompress(parts.rest()[:-16])
        for is_tensor, length, begin, key in rows:
            shift = begin - at
            for low in range(max(start, at), min(stop, at + length), PIECE_BYTES):
                high = min(low + PIECE_BYTES, stop, at + length)
                read = self.tensor(key).read if is_tensor else lambda first, last: literals[first:last]
                yield read(low + shift, high + shift)
            at += length

    def xorb(self, name, start, stop):
        """Bytes of a xorb: of its object, or out of the sealed files that were built from it."""
        path = self.root / "xorbs" / name[:2] / name[2:]
        if path.exists():
            yield path.read_bytes()[start:stop]
            return
        asked = "SELECT recipe, sealed FROM blob JOIN blob_xorb USING (sha256) WHERE xorb = ? AND sealed IS NOT NULL"
        places = []  # bytes [low, high) of the xorb are a sealed file's, from `at` on
        for recipe, sealed in self.db.execute(asked, (name,)).fetchall():
            at = 0
            for xorb, low, high in terms(recipe):
                places += [(low, high, sealed, at)] if xorb == name else []
                at += high - low
        while start < stop:
            low, high, sealed, at = next(place for place in places if place[0] <= start < place[1])
            most = min(high, stop)
            yield from self.sealed(sealed, at + start - low, at + most - low)
            start = most

    @functools.lru_cache(256)
    def tensor(self, key):
        return Tensor(self, key)

    def places(self, key):
        """Where the entry of a tensor lies; some lie in two packs, byte for byte the same."""
        asked = """SELECT pack, start, length, index_bytes FROM tensor WHERE key = :key UNION ALL
        SELECT copy.pack, copy.start, length, index_bytes FROM tensor_copy AS copy JOIN tensor ON id = tensor
        WHERE key = :key"""
        return self.db.execute(asked, {"key": key}).fetchall()


def terms(recipe):
    """Of a recipe of version 1: the xorbs' names in Xet's text form, and which bytes of each."""
    assert recipe[0] == 1, "a recipe of a later version"
    for at in range(1, len(recipe), 48):
        *name, _first, _last, start, stop = struct.unpack("<4Q4I", recipe[at : at + 48])
        yield "".join(f"{word:016x}" for word in name), start, stop


class Tensor:
    """An entry of a pack."""

    def __init__(self, store, key):
        for pack, start, length, size in store.places(key):
            self.path, self.start = store.root / "packs" / f"{pack:08x}", start
            if self.path.exists() and self.indexed(self.bytes(length - size, length), key):
                break
        else:
            raise SystemExit(f"the tensor {key.hex()} is not where the database says")
        self.parents = [store.tensor(parent) for parent in self.keys]

    def bytes(self, start, stop):
        with self.path.open("rb") as file:
            file.seek(self.start + start)
            return file.read(stop - start)

    def indexed(self, data, key):
        """Reads the entry's own index; False if it is another tensor's."""
        index = Parts(data)
        fixed = index.numbers("4sHHQQIIIBBH32s")
        magic, _depth, parents, size, _length, head, blocks, self.step, dtype, dims, _zero, own = fixed
        self.keys = [index.take(32) for _ in range(parents)]
        shape = index.numbers(f"{dims}Q")
        self.form, self.head = Form(index.take(dtype).decode(), shape), index.take(head)
        self.stored = [index.numbers("I16x")[0] for _ in range(blocks)]
        self.size, self.layout = size, layout_of(self.form.dtype)
        elements = functools.reduce(int.__mul__, shape, 1)
        if elements * self.layout.unit_bytes != size * self.layout.unit_elements:
            self.layout = layout_of("BYTES")
        return magic == b"HWT\1" and own == key

    def planes(self, start, stop):
        """Elements, as one array of words for each plane."""
        size, elements = self.layout.unit_bytes, self.layout.unit_elements
        return split(self.read(start // elements * size, -(-stop // elements) * size), self.layout)

    def read(self, start, stop):
        first, last = start // self.step, -(-stop // self.step)
        raw = b"".join(self.block(number) for number in range(first, last))
        return raw[start - first * self.step : stop - first * self.step]

    @functools.lru_cache(64)
    def block(self, number):
        begin = sum(self.stored[:number])
        block = Parts(self.bytes(begin, begin + self.stored[number])[8:])  # behind the codec's own checksum
        if block.number("B") == 0:
            return block.rest()
        units = range(number * self.step, min((number + 1) * self.step, self.size), self.layout.unit_bytes)
        start = number * self.step // self.layout.unit_bytes * self.layout.unit_elements
        stop = start + len(units) * self.layout.unit_elements
        version, predictor, params = self.head[0], self.head[9], self.head[11:]
        assert version == 1, "a head of a later version"
        bases = functools.cache(lambda: predicted(predictor, params, self.form, self.parents, start, stop))
        planes = [
            decode(block.part(), plane, plane.words * len(units), lambda at=at: bases()[at])
            for at, plane in enumerate(self.layout.planes)
        ]
        return join(planes, self.layout)


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
    if len(sys.argv) not in (2, 4):
        raise SystemExit("restore.py DATA: what is there. restore.py DATA SHA256 TARGET: that file, as it was sent")
    main(*sys.argv[1:])
