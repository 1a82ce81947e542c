"""Xets: files that arrive and leave as Xet's chunks. Xorbs land verified; a shard makes blobs of them.

A xorb at rest is the plain bytes of its chunks. Every blob can be laid out as xorbs for a Xet client: one that came
through Xet by its own terms, any other by pseudo-xorbs: 64 MiB pieces in chunks of 128 KiB (design xet.md, 6.2).
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from headwater.ground.errors import Corrupt, DigestMismatch, Invalid
from headwater.ground.names import Sha256
from headwater.store import hashes, objects, recipe, shard, tables
from headwater.store.blobs import Blob, Store
from headwater.store.hashes import XetHash
from headwater.store.objects import FileRun, read_runs, xorb_key
from headwater.store.recipe import Term
from headwater.store.xorb import (
    CHUNK_RAW_BYTES_MAX,
    Lengths,
    XorbIndex,
    XorbReader,
    raw_offsets,
    serialise,
    serialised_offsets,
)

PIECE_BYTES = 64 << 20  # of a blob, per pseudo-xorb: Xet's own largest xorb
FEED_BYTES = 128 << 10  # bounds what one step may unpack to (32 MiB) however well a hostile chunk is packed
INDEXES_CACHED = 128  # at most 36 bytes for each of 8192 chunks: 38 MiB if all were full of the smallest chunks
DEDUP_MODULUS = 1024  # a chunk whose hash is 0 modulo this may be asked for by clients (xet-core)
DEDUP_XORBS_MAX = 256  # in one answer: 16 GiB of siblings, about 10 MB
PSEUDO_SALT = b"headwater pseudo-xorb 1:"

SourceKind = Literal["xorb", "piece"]


@dataclass(frozen=True, slots=True)
class Source:
    """What a fetch reads: a stored xorb by its hash, or piece `number` of a blob by its SHA-256."""

    kind: SourceKind
    name: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Chunks [chunk_start, chunk_stop) of a source that together unpack to `size` bytes and, uncompressed in Xet's
    container, are its bytes [start, stop)."""

    source: Source
    xorb: XetHash
    chunk_start: int
    chunk_stop: int
    size: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Layout:
    skip: int
    """Bytes of the first part that come before what was asked for."""
    parts: list[Part]


class XorbSink:
    """One xorb on its way in: checked chunk by chunk, kept as plain bytes."""

    def __init__(self, xets: Xets, name: XetHash) -> None:
        self._xets, self._name = xets, name
        self._reader = XorbReader()
        self._part = xets.store.objects.begin()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), FEED_BYTES):
            chunks = self._reader.feed(view[start : start + FEED_BYTES])
            if chunks:
                self._part.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def land(self) -> bool:
        """True if the xorb was not here before."""
        with self._part as part:
            index = self._reader.finish()
            if index.hash != self._name:
                raise DigestMismatch("xorb", self._name, index.hash)
            return self._xets.keep(part, index)

    def abort(self) -> None:
        self._part.drop()


class Xets:
    def __init__(self, store: Store) -> None:
        self.store = store
        self._indexes: OrderedDict[str, XorbIndex] = OrderedDict()
        self._lock = threading.Lock()

    # --- xorbs ---

    def sink(self, name: XetHash) -> XorbSink:
        hashes.from_text(name)
        return XorbSink(self, name)

    def keep(self, part: objects.Part, index: XorbIndex) -> bool:
        key, now = xorb_key(index.hash), self.store.clock.now_ms()
        with self.store.stripes.hold(index.hash):
            new = self.index(index.hash) is None or self.store.objects.size(key) != index.raw_bytes
            if new:
                self.store.objects.land(part, key)
            with self.store.db.write_soft() as connection:
                row = insert(tables.xorb).values(
                    hash=index.hash,
                    raw_bytes=index.raw_bytes,
                    hashes=index.hashes,
                    lengths=index.lengths.astype("<u4").tobytes(),
                    offered_ms=now,
                )
                connection.execute(
                    row.on_conflict_do_update(index_elements=["hash"], set_={"offered_ms": now, "state": "here"})
                )
        return new

    def index(self, name: XetHash) -> XorbIndex | None:
        """What is known of a xorb whose bytes are here."""
        with self._lock:
            known = self._indexes.get(name)
            if known is not None:
                self._indexes.move_to_end(name)
                return known
        with self.store.db.read() as connection:
            row = connection.execute(
                select(tables.xorb).where(tables.xorb.c.hash == name, tables.xorb.c.state == "here")
            ).first()
        if row is None:
            return None
        found = XorbIndex(name, row.hashes, np.frombuffer(row.lengths, "<u4"), row.raw_bytes)
        with self._lock:
            self._indexes[name] = found
            if len(self._indexes) > INDEXES_CACHED:
                self._indexes.popitem(last=False)
        return found

    def forget(self, name: str) -> None:
        with self._lock:
            self._indexes.pop(name, None)

    # --- shards ---

    def register(
        self, data: bytes, may_use: Callable[[XetHash], bool], progress: Callable[[int, int], None]
    ) -> list[Blob]:
        """Makes blobs of a shard's files. Each is checked (xet.md, 2.6) and its bytes hashed before it exists.

        `may_use` says whether the uploader may build on a xorb: one that he may not see is as missing as one that is
        not here. `progress(verified, total)` is called in bytes.
        """
        parsed = shard.parse(data)
        total = sum(file.raw_bytes for file in parsed.files)
        done = 0
        for file in parsed.files:
            self.store.check_size(file.raw_bytes)
        blobs: list[Blob] = []
        for file in parsed.files:
            shard.check(file, lambda name: self.index(name) if may_use(name) else None)
            blobs.append(self._blob(file, partial(_further, progress, done, total)))
            done += file.raw_bytes
            progress(done, total)
        return blobs

    def _blob(self, file: shard.ShardFile, progress: Callable[[int], None]) -> Blob:
        sha256 = Sha256(file.sha256 or "")
        present = self.store.find(sha256)
        if present is not None and not present.damaged and present.xet_hash == file.hash:
            self._touch(sha256)
            return present
        terms = list(self._terms(file))
        self._verify(sha256, terms, progress)
        with self.store.stripes.hold(sha256):
            self._write(file, sha256, terms, heal=present is not None and present.damaged)
            self.store.forget(sha256)
            return self.store.blob(sha256)

    def _terms(self, file: shard.ShardFile) -> Iterator[Term]:
        for term in file.each_term():
            index = self.index(term.xorb)
            assert index is not None, term.xorb  # shard.check found it
            offsets = raw_offsets(index.lengths)
            start, stop = int(offsets[term.chunk_start]), int(offsets[term.chunk_stop])
            yield Term(term.xorb, term.chunk_start, term.chunk_stop, start, stop)

    def _verify(self, sha256: Sha256, terms: list[Term], progress: Callable[[int], None]) -> None:
        digest, seen = hashlib.sha256(), 0
        runs = [FileRun(self.store.objects.path(xorb_key(term.xorb)), term.raw_start, term.raw_stop) for term in terms]
        for data in read_runs(runs):
            digest.update(data)
            seen += len(data)
            progress(seen)
        if digest.hexdigest() != sha256:
            raise DigestMismatch("sha256", sha256, digest.hexdigest())

    def _write(self, file: shard.ShardFile, sha256: Sha256, terms: list[Term], *, heal: bool) -> None:
        now = self.store.clock.now_ms()
        names = sorted({term.xorb for term in terms})
        encoded = recipe.encode(terms)
        row = insert(tables.blob).values(
            sha256=sha256, size=recipe.size(terms), recipe=encoded, xet_hash=file.hash, created_ms=now
        )
        # A whole blob keeps the way it is stored; it only learns its true Xet hash when its bytes lie in xorbs.
        again: dict[str, object] = {"created_ms": now}
        if heal:
            again |= {"recipe": encoded, "xet_hash": file.hash, "state": "whole"}
        with self.store.db.write() as connection:
            connection.execute(row.on_conflict_do_update(index_elements=["sha256"], set_=again))
            for name in names:
                connection.execute(insert(tables.blob_xorb).values(sha256=sha256, xorb=name).on_conflict_do_nothing())
            first = terms[0] if terms else None
            for name in names:
                index = self.index(name)
                assert index is not None, name
                starts = [first.chunk_start] if first is not None and first.xorb == name else []
                for chunk in _eligible(index, starts):
                    connection.execute(insert(tables.dedup).values(chunk=chunk, xorb=name).on_conflict_do_nothing())

    def _touch(self, sha256: Sha256) -> None:
        with self.store.db.write_soft() as connection:
            connection.execute(
                tables.blob.update().where(tables.blob.c.sha256 == sha256).values(created_ms=self.store.clock.now_ms())
            )

    # --- out ---

    def layout(self, blob: Blob, start: int, stop: int) -> Layout:
        """The parts that hold the bytes [start, stop) of a blob, in order."""
        found: list[Part] = []
        skip, at = 0, 0
        for source, name, first, last in self._sources(blob, start, stop):
            lengths = self.lengths(source)
            offsets = raw_offsets(lengths)
            size = int(offsets[last] - offsets[first])
            if at + size > start and at < stop:
                low = int(np.searchsorted(offsets, int(offsets[first]) + max(0, start - at), side="right")) - 1
                high = int(np.searchsorted(offsets, int(offsets[first]) + min(size, stop - at), side="left"))
                if not found:
                    skip = start - at - int(offsets[low] - offsets[first]) if start > at else 0
                shown = serialised_offsets(lengths)
                found.append(
                    Part(source, name, low, high, int(offsets[high] - offsets[low]), int(shown[low]), int(shown[high]))
                )
            at += size
        return Layout(skip, found)

    def _sources(self, blob: Blob, start: int, stop: int) -> Iterator[tuple[Source, XetHash, int, int]]:
        """(source, xorb name, first chunk, chunk after the last) for a whole blob."""
        if blob.terms is not None:
            for term in blob.terms:
                yield Source("xorb", term.xorb), term.xorb, term.chunk_start, term.chunk_stop
            return
        for number in range(-(-blob.size // PIECE_BYTES)):
            source = Source("piece", blob.sha256, number)
            name = hashes.to_text(hashlib.sha256(PSEUDO_SALT + f"{blob.sha256}:{number}".encode()).digest())
            yield source, name, 0, len(self.lengths(source))

    def lengths(self, source: Source) -> Lengths:
        """Lengths of a source's chunks. Corrupt when a xorb that a blob names is gone."""
        if source.kind == "xorb":
            index = self.index(XetHash(source.name))
            if index is None:
                raise Corrupt(f"The xorb {source.name} is gone; see `headwater verify`")
            return index.lengths
        size = min(PIECE_BYTES, self.store.blob(Sha256(source.name)).size - source.number * PIECE_BYTES)
        if size <= 0:
            raise Invalid(f"{source.name} has no piece {source.number}")
        whole, rest = divmod(size, CHUNK_RAW_BYTES_MAX)
        return np.array([CHUNK_RAW_BYTES_MAX] * whole + ([rest] if rest else []), np.uint32)

    def fetch(self, source: Source, start: int, stop: int) -> Iterator[bytes]:
        """The bytes [start, stop) of a source in Xet's container, its chunks uncompressed."""
        lengths = self.lengths(source)
        return serialise(lengths, lambda low, high: read_runs(self._runs(source, low, high)), start, stop)

    def _runs(self, source: Source, start: int, stop: int) -> list[FileRun]:
        if source.kind == "xorb":
            return [FileRun(self.store.objects.path(xorb_key(source.name)), start, stop)]
        base = source.number * PIECE_BYTES
        return self.store.runs(self.store.blob(Sha256(source.name)), base + start, base + stop)

    def dedup(self, chunk: XetHash, may_use: Callable[[XetHash], bool], key: bytes, expiry_s: int) -> bytes | None:
        """A shard that tells in which xorbs a chunk and its neighbours lie: all xorbs of the files that hold it.

        With the matching xorb alone, a fresh client sent 85 MB of a 200 MB copy; with its siblings 0.5 MB (xet.md 4.5).
        """
        raw = hashes.from_text(chunk)
        siblings = (
            select(tables.dedup.c.xorb)
            .where(tables.dedup.c.chunk == raw)
            .union(
                select(tables.blob_xorb.c.xorb).where(
                    tables.blob_xorb.c.sha256.in_(
                        select(tables.blob_xorb.c.sha256)
                        .join(tables.dedup, tables.dedup.c.xorb == tables.blob_xorb.c.xorb)
                        .where(tables.dedup.c.chunk == raw)
                    )
                )
            )
            .limit(DEDUP_XORBS_MAX)
        )
        with self.store.db.read() as connection:
            names = [XetHash(name) for name in connection.execute(siblings).scalars()]
        found = [index for name in names if may_use(name) and (index := self.index(name)) is not None]
        if not any(raw in _split(index.hashes) for index in found):
            return None
        self.offered([index.hash for index in found])
        return shard.build_dedup(found, key, expiry_s, self.store.clock.now_ms() // 1000)

    def offered(self, names: Sequence[XetHash]) -> None:
        """Clients were told of these xorbs: they must stay for as long as clients remember."""
        with self.store.db.write_soft() as connection:
            connection.execute(
                tables.xorb.update().where(tables.xorb.c.hash.in_(names)).values(offered_ms=self.store.clock.now_ms())
            )


def _further(progress: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _split(raw: bytes) -> set[bytes]:
    return {raw[i : i + hashes.HASH_BYTES] for i in range(0, len(raw), hashes.HASH_BYTES)}


def _eligible(index: XorbIndex, starts: list[int]) -> Iterator[bytes]:
    """Chunks that clients may ask for: by their hash, and the first of a file."""
    words = np.frombuffer(index.hashes, "<u8").reshape(-1, 4)[:, 3]
    chosen = {*np.flatnonzero(words % DEDUP_MODULUS == 0).tolist(), *starts}
    for number in sorted(chosen):
        yield index.hashes[number * hashes.HASH_BYTES : (number + 1) * hashes.HASH_BYTES]
