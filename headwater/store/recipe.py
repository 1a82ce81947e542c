"""Recipe: how a blob is rebuilt from stored objects. Versioned; the blob's bytes never change, its recipe may.

No recipe (NULL in the row): the blob is one object of its own. Version 1, in the column `recipe`: a list of terms, each
a run of chunks of one xorb. Version 2, in the column `sealed`: a list of segments, each a run of an encoded tensor's
bytes or a literal. `docs/spec/store.md` has both byte by byte.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from headwater.ground.errors import Corrupt
from headwater.ground.names import Sha256
from headwater.store.hashes import XetHash, from_text, to_text

VERSION = 1
SEALED_VERSION = 2
_TERM = np.dtype([("xorb", "V32"), ("chunks", "<u4", 2), ("raw", "<u4", 2)])

LITERAL, TENSOR = 0, 1
KEY_BYTES = 32
SEAL_BYTES = 16  # of BLAKE3: against a damaged database, not against an adversary
LITERALS_BYTES_MAX = 64 << 20  # of one recipe: headers of a hundred thousand members; larger ones lie in packs
SEGMENTS_MAX = 1 << 20
_HEAD = Struct("<BII")  # version, number of segments, size of the literals
_SEGMENT = np.dtype([("kind", "u1"), ("zero", "u1", 7), ("length", "<u8"), ("start", "<u8"), ("key", "V32")])


@dataclass(frozen=True, slots=True)
class Term:
    """Chunks [chunk_start, chunk_stop) of a xorb: its decoded bytes [raw_start, raw_stop)."""

    xorb: XetHash
    chunk_start: int
    chunk_stop: int
    raw_start: int
    raw_stop: int

    @property
    def size(self) -> int:
        return self.raw_stop - self.raw_start


def encode(terms: list[Term]) -> bytes:
    rows = np.empty(len(terms), _TERM)
    for row, term in zip(rows, terms, strict=True):
        row["xorb"] = np.void(from_text(term.xorb))
        row["chunks"] = (term.chunk_start, term.chunk_stop)
        row["raw"] = (term.raw_start, term.raw_stop)
    return bytes([VERSION]) + rows.tobytes()


def decode(data: bytes) -> list[Term]:
    if not data or data[0] != VERSION or (len(data) - 1) % _TERM.itemsize:
        raise Corrupt(
            f"a recipe of version {data[:1].hex()} and {len(data)} bytes can't be read; see `headwater verify`"
        )
    return [
        Term(to_text(row["xorb"].tobytes()), *(int(n) for n in row["chunks"]), *(int(n) for n in row["raw"]))
        for row in np.frombuffer(data, _TERM, offset=1)
    ]


def size(terms: list[Term]) -> int:
    return sum(term.size for term in terms)


# --- version 2 ---


@dataclass(frozen=True, slots=True)
class Segment:
    """`length` bytes of a file: from byte `start` of the tensor `key` on; or, without a key, the `literal` itself."""

    length: int
    key: bytes = b""
    start: int = 0
    literal: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class Sealed:
    """A recipe of version 2. `ends[i]` is where segment i ends in the file."""

    rows: npt.NDArray[np.void]
    ends: npt.NDArray[np.uint64]
    literals: bytes

    @property
    def size(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def segments(self, start: int, stop: int) -> Iterator[Segment]:
        """What makes up the bytes [start, stop) of the file, in order, cut to them."""
        first = int(np.searchsorted(self.ends, start, side="right"))
        at = int(self.ends[first - 1]) if first else 0
        for row in self.rows[first:]:
            if at >= stop:
                return
            length, begin = int(row["length"]), int(row["start"])
            low, high = max(start, at) - at, min(stop, at + length) - at
            at += length
            if low >= high:
                continue
            if row["kind"] == TENSOR:
                yield Segment(high - low, row["key"].tobytes(), begin + low)
            else:
                yield Segment(high - low, literal=self.literals[begin + low : begin + high])

    @property
    def keys(self) -> set[bytes]:
        return {row["key"].tobytes() for row in self.rows if row["kind"] == TENSOR}


def encode_sealed(segments: Sequence[Segment], sha256: Sha256) -> bytes:
    """The recipe of the file with that SHA-256, which is part of its checksum: a recipe fits no other row."""
    rows = np.zeros(len(segments), _SEGMENT)
    literals = bytearray()
    for row, segment in zip(rows, segments, strict=True):
        row["length"] = segment.length
        if segment.key:
            row["kind"], row["start"], row["key"] = TENSOR, segment.start, np.void(segment.key)
        else:
            row["kind"], row["start"] = LITERAL, len(literals)
            literals += segment.literal
    assert len(literals) <= LITERALS_BYTES_MAX, len(literals)
    assert len(segments) <= SEGMENTS_MAX, len(segments)
    body = _HEAD.pack(SEALED_VERSION, len(rows), len(literals)) + rows.tobytes() + zlib.compress(bytes(literals), 9)
    return body + _seal(body, sha256)


def decode_sealed(data: bytes, sha256: Sha256) -> Sealed:
    """Corrupt for whatever `encode_sealed` did not write for that file."""
    if len(data) < _HEAD.size + SEAL_BYTES or data[0] != SEALED_VERSION:
        raise _unreadable(sha256, f"version {data[:1].hex()}, {len(data)} bytes")
    body = data[:-SEAL_BYTES]
    if _seal(body, sha256) != data[-SEAL_BYTES:]:
        raise _unreadable(sha256, "its checksum does not match")
    _version, count, literal_bytes = _HEAD.unpack_from(body)
    stop = _HEAD.size + count * _SEGMENT.itemsize
    if count > SEGMENTS_MAX or literal_bytes > LITERALS_BYTES_MAX or stop > len(body):
        raise _unreadable(sha256, f"{count} segments and {literal_bytes} bytes of literals")
    rows = np.frombuffer(body, _SEGMENT, count, _HEAD.size)
    try:
        literals = zlib.decompressobj().decompress(body[stop:], literal_bytes + 1)
    except zlib.error as error:
        raise _unreadable(sha256, f"its literals: {error}") from None
    if len(literals) != literal_bytes:
        raise _unreadable(sha256, "its literals have another size")
    ends = np.cumsum(rows["length"], dtype=np.uint64)
    return Sealed(rows, ends, literals)


def _seal(body: bytes, sha256: Sha256) -> bytes:
    return blake3(bytes.fromhex(sha256) + body).digest(SEAL_BYTES)


def _unreadable(sha256: Sha256, why: str) -> Corrupt:
    return Corrupt(f"The sealed recipe of {sha256} can't be read ({why}); see `headwater verify`")
