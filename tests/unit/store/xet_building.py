"""Xorbs and shards as a client would write them, from the store's hashes alone; any detail can be made wrong."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from headwater.ground.names import Sha256
from headwater.store import hashes, shard
from headwater.store.hashes import XetHash
from headwater.store.xorb import XorbIndex

_END = b"\xff" * 32 + bytes(16)
_HEAD = shard.HEADER_TAG + struct.pack("<QQ", 2, 0)
_VERIFIED, _WITH_SHA256 = 1 << 31, 1 << 30


def noise(name: object, size_bytes: int) -> bytes:
    """The same bytes for the same name."""
    return hashlib.shake_128(str(name).encode()).digest(size_bytes)


def sha256_of(data: bytes) -> Sha256:
    return Sha256(hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Xorb:
    chunks: tuple[bytes, ...]

    @cached_property
    def index(self) -> XorbIndex:
        raw = b"".join(map(hashes.chunk_hash, self.chunks))
        lengths = np.array([len(chunk) for chunk in self.chunks], np.uint32)
        return XorbIndex(hashes.to_text(hashes.merkle_root(raw, lengths)), raw, lengths, len(self.plain))

    @property
    def name(self) -> XetHash:
        return self.index.hash

    @cached_property
    def plain(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def wire(self) -> bytes:
        """The container as sent, uncompressed."""
        return b"".join(
            b"\0" + len(chunk).to_bytes(3, "little") + b"\0" + len(chunk).to_bytes(3, "little") + chunk
            for chunk in self.chunks
        )

    def chunk_name(self, number: int) -> XetHash:
        return hashes.to_text(self.index.hashes[32 * number : 32 * number + 32])


def a_xorb(name: object, *sizes: int) -> Xorb:
    return Xorb(tuple(noise(f"{name}:{number}", size) for number, size in enumerate(sizes)))


@dataclass(frozen=True)
class File:
    """Spans of chunks [start, stop) of xorbs; right in every detail that is not given."""

    spans: tuple[tuple[Xorb, int, int], ...]
    sha256: str = ""
    proven: bool = True
    hashed: bool = True

    @property
    def data(self) -> bytes:
        return b"".join(b"".join(xorb.chunks[start:stop]) for xorb, start, stop in self.spans)

    @property
    def real_sha256(self) -> Sha256:
        return sha256_of(self.data)

    @property
    def raw_hashes(self) -> list[bytes]:
        return [xorb.index.hashes[32 * start : 32 * stop] for xorb, start, stop in self.spans]

    @property
    def xet_hash(self) -> XetHash:
        sizes = [len(chunk) for xorb, start, stop in self.spans for chunk in xorb.chunks[start:stop]]
        return hashes.to_text(hashes.file_hash(b"".join(self.raw_hashes), np.array(sizes, np.uint32)))

    @property
    def records(self) -> bytes:
        flags = (_VERIFIED if self.proven else 0) | (_WITH_SHA256 if self.hashed else 0)
        out = _record(hashes.from_text(self.xet_hash), flags, len(self.spans))
        for xorb, start, stop in self.spans:
            size = sum(map(len, xorb.chunks[start:stop]))
            out += _record(hashes.from_text(xorb.name), 0, size, start, stop)
        if self.proven:
            out += b"".join(_record(hashes.range_hash(raw)) for raw in self.raw_hashes)
        if self.hashed:
            out += _record(hashes.from_text(self.sha256 or self.real_sha256))
        return out


def a_file(*spans: tuple[Xorb, int, int], **details: object) -> File:
    return File(spans, **details)  # type: ignore[arg-type]


def all_of(*xorbs: Xorb) -> File:
    """The file that is these xorbs, one after the other."""
    return a_file(*((xorb, 0, len(xorb.chunks)) for xorb in xorbs))


def a_shard(*files: File) -> bytes:
    return _HEAD + b"".join(file.records for file in files) + _END + _END


def _record(name: bytes, *numbers: int) -> bytes:
    return name + struct.pack("<4I", *numbers, *[0] * (4 - len(numbers)))


def unpacked(container: bytes) -> list[bytes]:
    """The chunks of a container as the hub serves it: all uncompressed, none cut."""
    chunks, at = [], 0
    while at < len(container):
        size = int.from_bytes(container[at + 1 : at + 4], "little")
        assert container[at : at + 8] == b"\0" + size.to_bytes(3, "little") + b"\0" + size.to_bytes(3, "little")
        chunks.append(container[at + 8 : at + 8 + size])
        at += 8 + size
    assert at == len(container)
    return chunks


def flip(path: Path, at: int = 0) -> None:
    """One bit of a stored file."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
