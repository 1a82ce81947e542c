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
from headwater.store.blobs import UNSEALED, Blob, Store
from headwater.store.hashes import XetHash
from headwater.store.objects import Piece, Unreadable, blob_key, read_pieces, xorb_key
from headwater.store.recipe import Term
from headwater.store.turns import Turns
from headwater.store.xorb import (
    CHUNK_RAW_BYTES_MAX,
    Lengths,
    XorbIndex,
    XorbReader,
    index_of,
    raw_offsets,
    serialise,
    serialised_offsets,
)

PIECE_BYTES = 64 << 20  # of a blob, per pseudo-xorb: Xet's own largest xorb
FEED_BYTES = 128 << 10  # bounds what one step may unpack to (32 MiB) however well a hostile chunk is packed
INDEXES_CACHED = 128  # at most 36 bytes for each of 8192 chunks: 38 MiB if all were full of the smallest chunks
DEDUP_MODULUS = 1024  # a chunk whose hash is 0 modulo this may be asked for by clients (xet-core)
DEDUP_XORBS_MAX = 256  # in one answer: 16 GiB of siblings
DEDUP_CHUNKS_MAX = 256 << 10  # in one answer, 48 bytes each: what so many xorbs have that are full of usual chunks
DEDUP_LOOKED_AT_MAX = 1024  # xorbs with the chunk, most of which may be strangers'
DEDUP_HITS_MAX = 8  # of these that the caller may use
DEDUP_FILES_MAX = 16  # whose xorbs are looked at
CHECKS_MAX = 32  # shards under way at once: half of the threads that the front has for bodies that wait
CHECKS_BYTES = 128 << 20  # of shards in memory at once: one of the largest, which takes 400 MB while it is read
FETCHES_BYTES = 4 << 20  # of steps of all fetches together; what a step takes on its way is about four times that
FETCH_STEP_MIN, FETCH_STEP_MAX = 64 << 10, 1 << 20
FETCH_READ_STEP = 256 << 10  # in one go of a file: a step is put together from these
READABLE = ("here", "virtual")  # states of a xorb: its bytes lie in its object, or sealed files that it made have them
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
        self.checks = Turns(CHECKS_MAX, CHECKS_BYTES)
        """Whoever calls `register` takes one of these turns before it holds the shard in memory."""
        self._fetches = 0  # under way
        self._forgotten = 0  # how often: an index read before is not remembered after
        store.when_a_xorb_is_damaged(self.forget)

    # --- xorbs ---

    def sink(self, name: XetHash) -> XorbSink:
        hashes.from_text(name)
        return XorbSink(self, name)

    def keep(self, part: objects.Part, index: XorbIndex) -> bool:
        key, now = xorb_key(index.hash), self.store.clock.now_ms()
        with self.store.stripes.hold(index.hash):
            self.forget(index.hash)  # what is remembered may be older than a sweep
            new = self.index(index.hash) is None or self.store.objects.size(key) != index.raw_bytes
            if new:
                self.store.objects.land(part, key)
            with self.store.db.write_soft() as connection:
                told = {
                    "raw_bytes": index.raw_bytes,
                    "hashes": index.hashes,
                    "lengths": index.lengths.astype("<u4").tobytes(),
                    "offered_ms": now,
                    "state": "here",
                }
                row = insert(tables.xorb).values(hash=index.hash, **told)
                connection.execute(row.on_conflict_do_update(index_elements=["hash"], set_=told))
        return new

    def index(self, name: XetHash) -> XorbIndex | None:
        """What is known of a xorb whose bytes are here, or can be made."""
        with self._lock:
            known = self._indexes.get(name)
            if known is not None:
                self._indexes.move_to_end(name)
                return known
            age = self._forgotten
        with self.store.db.read() as connection:
            row = connection.execute(
                select(tables.xorb).where(tables.xorb.c.hash == name, tables.xorb.c.state.in_(READABLE))
            ).first()
        # A row that makes no sense is none: `headwater verify` names it, and the xorb can be sent again.
        found = None if row is None else index_of(name, row.raw_bytes, row.hashes, row.lengths)
        if found is None:
            return None
        with self._lock:
            if age == self._forgotten:
                self._indexes[name] = found
            if len(self._indexes) > INDEXES_CACHED:
                self._indexes.popitem(last=False)
        return found

    def forget(self, name: str) -> None:
        with self._lock:
            self._indexes.pop(name, None)
            self._forgotten += 1

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
        if present is not None and not present.damaged and present.xet_hash == file.hash and self._touch(sha256):
            return present
        terms = list(self._terms(file))
        self._verify(sha256, terms, progress)
        with self.store.stripes.hold(sha256):
            # Verifying took its time: what is stored may be another thing by now.
            self.store.forget(sha256)
            self._write(file, sha256, terms, self.store.find(sha256))
            self.store.forget(sha256)
            return self.store.blob(sha256)

    def _terms(self, file: shard.ShardFile) -> Iterator[Term]:
        for term in file.each_term():
            index = self.index(term.xorb)
            if index is None:
                raise shard.missing(term.xorb)  # it was here when the shard was checked
            offsets = raw_offsets(index.lengths)
            start, stop = int(offsets[term.chunk_start]), int(offsets[term.chunk_stop])
            yield Term(term.xorb, term.chunk_start, term.chunk_stop, start, stop)

    def _verify(self, sha256: Sha256, terms: list[Term], progress: Callable[[int], None]) -> None:
        digest, seen = hashlib.sha256(), 0
        pieces: list[tuple[XetHash, Piece]] = []
        for term in terms:
            try:
                found = self.store.xorb_pieces(term.xorb, term.raw_start, term.raw_stop)
            except Corrupt as error:
                raise self._lost(term.xorb, error.text) from error
            pieces += [(term.xorb, piece) for piece in found]
        for name, piece in pieces:
            try:
                for data in read_pieces([piece]):
                    digest.update(data)
                    seen += len(data)
                    progress(seen)
            except Unreadable as error:
                raise self._lost(XetHash(objects.name_of(error.path)), error.why) from error
            except Corrupt as error:
                raise self._lost(name, error.text) from error
        if digest.hexdigest() != sha256:
            raise DigestMismatch("sha256", sha256, digest.hexdigest())

    def _lost(self, name: XetHash, why: str) -> Invalid:
        """A xorb that can't be read is one to be sent again: it was swept meanwhile, or it is damaged, and flagged."""
        with self.store.stripes.hold(name):
            self.forget(name)
            if self.index(name) is not None:
                self.store.flag_xorb(name, why)
        return shard.missing(name)

    def _write(self, file: shard.ShardFile, sha256: Sha256, terms: list[Term], present: Blob | None) -> None:
        now = self.store.clock.now_ms()
        names = sorted({term.xorb for term in terms})
        # A whole blob keeps the way it is stored; then these xorbs are not needed for it, and go in their time.
        keeps = present is not None and not present.damaged
        told: dict[str, object] = {"created_ms": now}
        if not keeps:
            told |= {"recipe": recipe.encode(terms), "xet_hash": file.hash, "state": "whole", **UNSEALED}
        row = insert(tables.blob).values(sha256=sha256, size=recipe.size(terms), **told)
        chunks = list(self._eligible(terms[0], names)) if terms else []
        # The soft kind: nothing is acknowledged before somebody holds the blob, durably.
        with self.store.db.write_soft() as connection:
            for name in names:
                # In the transaction that builds on it: a sweep comes before and is seen here, or after and sees this.
                here = tables.xorb.update().where(tables.xorb.c.hash == name, tables.xorb.c.state.in_(READABLE))
                if connection.execute(here.values(offered_ms=now)).rowcount == 0:
                    raise shard.missing(name)
            connection.execute(row.on_conflict_do_update(index_elements=["sha256"], set_=told))
            if not keeps:
                for named in (tables.blob_xorb, tables.blob_tensor):
                    connection.execute(named.delete().where(named.c.sha256 == sha256))
                for name in names:
                    connection.execute(insert(tables.blob_xorb).values(sha256=sha256, xorb=name))
            if chunks:
                connection.execute(insert(tables.dedup).on_conflict_do_nothing(), chunks)
        if not keeps:
            # what is left of an object that was damaged, or that a crash left unnamed
            self.store.objects.delete(blob_key(sha256))

    def _eligible(self, first: Term, names: list[XetHash]) -> Iterator[dict[str, object]]:
        """Rows of `dedup`: chunks that clients may ask for, by their hash, and the first of a file."""
        for name in names:
            index = self.index(name)
            if index is None:
                raise shard.missing(name)
            words = np.frombuffer(index.hashes, "<u8").reshape(-1, 4)[:, 3]
            chosen = set(np.flatnonzero(words % DEDUP_MODULUS == 0).tolist())
            if first.xorb == name:
                chosen.add(first.chunk_start)
            for number in sorted(chosen):
                chunk = index.hashes[number * hashes.HASH_BYTES : (number + 1) * hashes.HASH_BYTES]
                yield {"chunk": chunk, "xorb": name}

    def _touch(self, sha256: Sha256) -> bool:
        """The sweep's grace period starts anew; False if the blob is gone."""
        touched = tables.blob.update().where(tables.blob.c.sha256 == sha256)
        with self.store.db.write_soft() as connection:
            return connection.execute(touched.values(created_ms=self.store.clock.now_ms())).rowcount > 0

    # --- out ---

    def layout(self, blob: Blob, start: int, stop: int) -> Layout:
        """The parts that hold the bytes [start, stop) of a blob, in order."""
        found: list[Part] = []
        skip = 0
        for source, name, low_byte, high_byte in self._sources(blob, start, stop):
            lengths = self.lengths(source)
            offsets = raw_offsets(lengths)
            low = int(np.searchsorted(offsets, low_byte, side="right")) - 1
            high = int(np.searchsorted(offsets, high_byte, side="left"))
            if not found:
                skip = low_byte - int(offsets[low])
            shown = serialised_offsets(lengths)
            found.append(
                Part(source, name, low, high, int(offsets[high] - offsets[low]), int(shown[low]), int(shown[high]))
            )
        return Layout(skip, found)

    def _sources(self, blob: Blob, start: int, stop: int) -> Iterator[tuple[Source, XetHash, int, int]]:
        """Where the bytes [start, stop) lie: (source, xorb name, first byte in it, byte after the last), decoded.

        Only those that are asked for: a file of 500 GB has 7,500, and clients ask for a part of it at a time.
        """
        at = 0
        terms = blob.terms if blob.raw_here else self._still(blob.terms, start, stop)
        for term in terms or ():
            if at < stop and at + term.size > start:
                low, high = max(start, at) - at, min(stop, at + term.size) - at
                yield Source("xorb", term.xorb), term.xorb, term.raw_start + low, term.raw_start + high
            at += term.size
        if terms is not None:
            return
        stop = min(stop, blob.size)
        for number in range(start // PIECE_BYTES, -(-stop // PIECE_BYTES)):
            at = number * PIECE_BYTES
            name = hashes.to_text(hashlib.sha256(PSEUDO_SALT + f"{blob.sha256}:{number}".encode()).digest())
            yield Source("piece", blob.sha256, number), name, max(start - at, 0), min(stop - at, PIECE_BYTES)

    def _still(self, terms: tuple[Term, ...] | None, start: int, stop: int) -> tuple[Term, ...] | None:
        """The terms of a sealed file, if all that hold its bytes [start, stop) can still be shown; else it has none."""
        at = 0
        for term in terms or ():
            if at < stop and at + term.size > start and self.index(term.xorb) is None:
                return None
            at += term.size
        return terms

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
        """The bytes [start, stop) of a source in Xet's container, its chunks uncompressed.

        In smaller pieces the more of them are sent at once: one client asks for up to 64, each for 64 MiB.
        """
        lengths = self.lengths(source)

        def read(low: int, high: int) -> Iterator[bytes]:
            return read_pieces(self._runs(source, low, high), FETCH_READ_STEP)

        return self._counted(serialise(lengths, read, start, stop, self._fetch_step))

    def _fetch_step(self) -> int:
        return min(max(FETCHES_BYTES // max(self._fetches, 1), FETCH_STEP_MIN), FETCH_STEP_MAX)

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        with self._lock:
            self._fetches += 1
        try:
            yield from pieces
        finally:
            with self._lock:
                self._fetches -= 1

    def _runs(self, source: Source, start: int, stop: int) -> list[Piece]:
        if source.kind == "xorb":
            return self.store.xorb_pieces(XetHash(source.name), start, stop)
        base = source.number * PIECE_BYTES
        return self.store.runs(self.store.blob(Sha256(source.name)), base + start, base + stop)

    def dedup(
        self, chunk: XetHash, usable: Callable[[Sequence[XetHash]], set[XetHash]], key: bytes, expiry_s: int
    ) -> bytes | None:
        """A shard that tells in which xorbs a chunk and its neighbours lie: xorbs of the files that hold it.

        With the matching xorb alone, a fresh client sent 85 MB of a 200 MB copy; with its siblings 0.5 MB (xet.md 4.5).
        `usable` gives those of some xorbs that the caller may build on.
        """
        raw = hashes.from_text(chunk)
        hits = self._with_chunk(raw, usable)
        found: dict[XetHash, XorbIndex] = {}
        chunks = 0
        for name in self._nearest(hits, usable):
            index = None if name in found else self.index(name)
            if index is not None and chunks + len(index.lengths) <= DEDUP_CHUNKS_MAX:
                found[name] = index
                chunks += len(index.lengths)
            if len(found) == DEDUP_XORBS_MAX:
                break
        if not any(raw in _split(found[name].hashes) for name in hits if name in found):
            return None
        self.offered(list(found))
        return shard.build_dedup(list(found.values()), key, expiry_s, self.store.clock.now_ms() // 1000)

    def _with_chunk(self, raw: bytes, usable: Callable[[Sequence[XetHash]], set[XetHash]]) -> list[XetHash]:
        """A few of the xorbs that a chunk lies in. The head of a popular model is in thousands."""
        asked = (
            select(tables.xorb.c.hash)
            .join(tables.dedup, tables.dedup.c.xorb == tables.xorb.c.hash)
            .where(tables.dedup.c.chunk == raw, tables.xorb.c.state.in_(READABLE))
            .order_by(tables.xorb.c.offered_ms.desc(), tables.xorb.c.hash)
            .limit(DEDUP_LOOKED_AT_MAX)
        )
        with self.store.db.read() as connection:
            names = [XetHash(name) for name in connection.execute(asked).scalars()]
        may = usable(names)
        return [name for name in names if name in may][:DEDUP_HITS_MAX]

    def _nearest(
        self, hits: Sequence[XetHash], usable: Callable[[Sequence[XetHash]], set[XetHash]]
    ) -> Iterator[XetHash]:
        """These xorbs; then those that files go on with after them, and those that come before, from near to far.

        A large file has more than one answer holds, and the client that asked reads on from here.
        """
        yield from hits
        asked = (
            select(tables.blob.c.sha256)
            .join(tables.blob_xorb, tables.blob_xorb.c.sha256 == tables.blob.c.sha256)
            .where(tables.blob_xorb.c.xorb.in_(hits))
            .distinct()
            .order_by(tables.blob.c.created_ms.desc(), tables.blob.c.sha256)
            .limit(DEDUP_FILES_MAX)
        )
        with self.store.db.read() as connection:
            files = [Sha256(name) for name in connection.execute(asked).scalars()]
        for sha256 in files:
            blob = self.store.find(sha256)
            names = list(dict.fromkeys(term.xorb for term in (blob and blob.terms) or ()))
            at = next((number for number, name in enumerate(names) if name in hits), len(names))
            before = names[max(0, at - DEDUP_XORBS_MAX) : at]
            near = [*names[at : at + DEDUP_XORBS_MAX], *reversed(before)][:DEDUP_XORBS_MAX]
            may = usable(near)
            yield from (name for name in near if name in may)

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
