"""Seal: the raw bytes of a file become encoded tensors and chunks in packs, proven to give back the same bytes.

The order is: read the raw bytes, split them, write what is not stored yet to packs, flush, read the whole file back
by the way that readers take and compare its SHA-256, and only then, in one transaction, name the new tensors and the
recipe. Until that transaction nothing refers to what was written; after it both copies are valid, and the raw one goes
when its grace is over (`evict.py`). A file that would not become smaller stays as it is.

Refuses to know who is related to whom (it is told), repos, and how tensors are coded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

from sqlalchemy import insert, select, update

from headwater import codec
from headwater.codec import Form
from headwater.ground.errors import Conflict, Corrupt, EntryMissing, HeadwaterError
from headwater.ground.faults import checkpoint
from headwater.ground.log import log
from headwater.ground.names import Sha256
from headwater.store import chunking, recipe, tables
from headwater.store.blobs import UNSEALED, Blob, Store, files_on
from headwater.store.encoded import Damaged, Tensors
from headwater.store.entries import CACHE_BYTES, Bounds, Entries
from headwater.store.kin import Kin, May, Relative, no_other, reader_of, tensors_of
from headwater.store.objects import read_pieces
from headwater.store.recipe import SEGMENTS_MAX, Segment
from headwater.store.splitting import Beside, Named
from headwater.store.writing import Writing

ATTEMPTS_MAX = 16  # of one file, each after damage that nobody knew of was found
LITERAL_BYTES_MAX = 4096  # what lies between tensors and is shorter is part of the recipe
TENSOR_BYTES_MIN = 512  # a shorter tensor is a literal: its entry's index alone would be a third of it
FINE_BYTES = 256 << 20  # of what is no tensor: 4,096 chunks, each with a row; of more, chunks are joined to pieces
JOINED_MOST = 4  # times as many chunks as are joined on average: no piece is longer
STEP = 1 << 20
BYTES = "BYTES"
LITERALS_BYTES_MAX = recipe.LITERALS_BYTES_MAX

__all__ = ["Bounds", "Relative", "Report", "Sealer", "Stopped"]


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a file. `stored_bytes` is what was written for it; `same` of its tensors were stored already."""

    sha256: Sha256
    size: int
    sealed: bool
    note: str = ""
    stored_bytes: int = 0
    tensors: int = 0
    same: int = 0
    derived: int = 0
    unused: tuple[str, ...] = ()
    """Relatives that were offered and could not be parents, and why."""


class Stopped(HeadwaterError):
    """Sealing was told to stop: nothing was kept of the file under way."""


class Sealer:
    """Seals files one after the other. `going` is asked between tensors whether to go on."""

    def __init__(
        self,
        store: Store,
        bounds: Bounds | None = None,
        going: Callable[[], bool] = lambda: True,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
        wait_s: float = 0.0,
    ) -> None:
        self._wait_s = wait_s  # for another process that writes packs
        self._store = store
        self._bounds = bounds or Bounds()
        self._going = going
        self._progress = progress

    def seal(
        self,
        sha256: Sha256,
        name: str,
        relatives: Sequence[Relative] = (),
        may: May = no_other,
        beside: Sequence[Beside] = (),
    ) -> Report:
        """One file. `may` is asked for what relatives stand on, `beside` for what the file holds.

        Unavailable while another process seals; Corrupt when the raw bytes are not right; Stopped.
        """
        with self._store.packs.alone(self._wait_s):
            self._store.forget(sha256)
            blob = self._store.blob(sha256)
            if blob.sealed or blob.damaged or not blob.raw_here:
                return Report(sha256, blob.size, blob.sealed, "it is sealed" if blob.sealed else "it is damaged")
            tensors: Sequence[Named] = tensors_of(self._store, blob, name, beside)
            for _attempt in range(ATTEMPTS_MAX):
                try:
                    return self._sealed(blob, tensors, relatives, may)
                except _Missing:
                    continue  # what was damaged is marked by now, and will be written
                except _NotProven as error:
                    log.error("sealed copy not right", sha256=sha256, why=error.text)
                    self._raw_is_right(blob)
                    tensors, relatives = (), ()
        raise Conflict(f"What {sha256} shares with other files changes faster than it can be sealed")

    def _sealed(self, blob: Blob, tensors: Sequence[Named], relatives: Sequence[Relative], may: May) -> Report:
        writing = Writing(self._store)
        unused: list[str] = []
        try:
            kin = Kin(self._store, relatives, unused, may)
            entries = Entries(self._store, self._bounds, writing)
            walk = _Walk(self._store, blob, entries, kin)
            for part in _parts(blob.size, tensors):
                if not self._going():
                    raise Stopped("Sealing was told to stop")
                walk.take(part)
                self._progress(part.stop, blob.size)
            data = recipe.encode_sealed(walk.segments, blob.sha256) if not walk.refused else b""
            cost = entries.stored_bytes + len(data)
            if walk.refused or cost > blob.size * (1 - self._bounds.margin):
                writing.back()
                note = walk.refused or f"it would take {cost} of {blob.size} bytes"
                self._keep_raw(blob.sha256, note)
                return Report(blob.sha256, blob.size, False, note, tensors=walk.tensors, unused=tuple(unused))
            writing.flush()
            checkpoint("seal.packed")
            entries.known.forget()  # its blocks make room for those that the proof reads
            self._prove(blob, data, entries)
            checkpoint("seal.proven")
            healed = self._switch(blob, data, walk, entries)
            checkpoint("seal.switched")
            for key in healed:
                self._mend(key)
        except BaseException:
            writing.back()
            raise
        finally:
            writing.close()
        return Report(
            blob.sha256, blob.size, True, "", cost, walk.tensors, len(walk.same), entries.derived, tuple(unused)
        )

    def _prove(self, blob: Blob, data: bytes, entries: Entries) -> None:
        """The whole file is read as readers will read it, and hashed (T31)."""
        reading = Tensors(self._store.db, self._store.packs, CACHE_BYTES, entries.pending)
        found = recipe.decode_sealed(data, blob.sha256)
        digest = hashlib.sha256()
        missing = 0
        for segment in found.segments(0, found.size):
            try:
                for piece in self._pieces(reading, segment):
                    digest.update(piece)
            except Damaged as error:
                if error.key in entries.pending:
                    raise _NotProven(error.text) from error
                # found stored, and not whole after all, or swept since
                self._store.flag_tensor(error.key, error.why)
                if error.key != segment.key:
                    # else it would be found again, and again be no good
                    self._store.flag_tensor(segment.key, "what it stands on is damaged")
                missing += 1
        if missing:
            raise _Missing(f"{missing} tensors that {blob.sha256} shares with others are damaged")
        if digest.hexdigest() != blob.sha256 or found.size != blob.size:
            raise _NotProven(f"it gives {found.size} bytes with the SHA-256 {digest.hexdigest()}")

    def _pieces(self, reading: Tensors, segment: Segment) -> Iterator[bytes]:
        if not segment.key:
            yield segment.literal
            return
        for piece in reading.pieces(segment.key, segment.start, segment.start + segment.length):
            yield piece
            if not self._going():
                raise Stopped("Sealing was told to stop")

    def _switch(self, blob: Blob, data: bytes, walk: _Walk, entries: Entries) -> list[bytes]:
        """One transaction: the new tensors have names, and the file has its sealed copy. Those that were healed."""
        now = self._store.clock.now_ms()
        with self._store.stripes.hold(blob.sha256), self._store.db.write() as connection:
            named = connection.execute(
                update(tables.blob)
                .where(
                    tables.blob.c.sha256 == blob.sha256,
                    tables.blob.c.sealed.is_(None),
                    tables.blob.c.state == "whole",
                    tables.blob.c.raw == "here",
                )
                .values(**{**UNSEALED, "sealed": data, "seal_ms": now})
            )
            if named.rowcount != 1:
                there = select(tables.blob.c.sha256).where(tables.blob.c.sha256 == blob.sha256)
                if connection.execute(there).first() is None:
                    raise EntryMissing(blob.sha256, text=f"The file {blob.sha256} was swept while it was sealed")
                raise Conflict(f"The file {blob.sha256} changed while it was sealed")
            ids = entries.name(connection, walk.same)
            uses = {segment.key for segment in walk.segments if segment.key}
            if uses:
                rows = [{"sha256": blob.sha256, "tensor": ids[key]} for key in sorted(uses)]
                connection.execute(insert(tables.blob_tensor), rows)
        self._store.forget(blob.sha256)
        return entries.healed

    def _mend(self, key: bytes) -> None:
        """Files that a damaged tensor had spoilt lose their mark if they come back right."""
        self._store.tensors.forget(key)
        with self._store.db.read() as connection:
            names = list(connection.execute(files_on(key)).scalars())
        for name in names:
            self._store.forget(name)
            blob = self._store.blob(Sha256(name))
            if not blob.damaged:
                continue
            digest = hashlib.sha256()
            try:
                for piece in self._store.sealed_bytes(blob):
                    digest.update(piece)
            except Corrupt as error:
                log.warning("still damaged", sha256=name, why=error.text)
                continue
            if digest.hexdigest() == name:
                self._store.mend(blob.sha256)

    def _keep_raw(self, sha256: Sha256, note: str) -> None:
        with self._store.db.write_soft() as connection:
            connection.execute(
                update(tables.blob)
                .where(tables.blob.c.sha256 == sha256, tables.blob.c.sealed.is_(None))
                .values(seal_ms=self._store.clock.now_ms(), seal_note=note)
            )

    def _raw_is_right(self, blob: Blob) -> None:
        """Corrupt, and flagged, when it was the raw bytes that were wrong."""
        digest = hashlib.sha256()
        for data in read_pieces(self._store.runs(blob, 0, blob.size)):
            digest.update(data)
        if digest.hexdigest() != blob.sha256:
            self._store.flag(blob.sha256, f"its bytes hash to {digest.hexdigest()}")
            raise Corrupt(f"The stored file {blob.sha256} is damaged; upload it again to heal it")


class _Missing(Corrupt):
    """What was found stored is not; it is marked now, and will be written."""


class _NotProven(Corrupt):
    """What was written does not give the file back."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Bytes [start, stop) of a file: a tensor, or (None) what lies between."""

    start: int
    stop: int
    tensor: Named | None = None


def _parts(size: int, tensors: Sequence[Named]) -> Iterator[_Part]:
    """All of a file, in order. Tensors that lie on top of others, or are too small, are left to what lies between."""
    at = 0
    for tensor in sorted(tensors, key=lambda one: (one.start, -one.stop)):
        if tensor.start < at or tensor.stop > size or tensor.stop - tensor.start < TENSOR_BYTES_MIN:
            continue
        if tensor.start > at:
            yield _Part(at, tensor.start)
        yield _Part(tensor.start, tensor.stop, tensor)
        at = tensor.stop
    if at < size:
        yield _Part(at, size)


class _Walk:
    """Takes the parts of a file in order and writes what is not stored yet."""

    def __init__(self, store: Store, blob: Blob, entries: Entries, kin: Kin) -> None:
        self._entries, self._kin = entries, kin
        self._read = reader_of(store, blob)
        self._chunked_bytes = self._literal_bytes = 0
        self.segments: list[Segment] = []
        self.same: set[bytes] = set()
        self.tensors = 0
        self.refused = ""

    def take(self, part: _Part) -> None:
        if self.refused:
            return
        if part.tensor is not None:
            self._tensor(part, part.tensor)
        elif part.stop - part.start <= LITERAL_BYTES_MAX:
            self._literal(self._read(part.start, part.stop))
        else:
            self._chunks(part)
        if len(self.segments) > SEGMENTS_MAX or self._literal_bytes > LITERALS_BYTES_MAX:
            self.refused = f"it has more than {SEGMENTS_MAX} parts"

    def _literal(self, data: bytes) -> None:
        self._literal_bytes += len(data)
        self.segments.append(Segment(len(data), literal=data))

    def _chunks(self, part: _Part) -> None:
        """What is no tensor: cut where its own bytes say, so that equal stretches are found wherever they lie."""
        self._chunked_bytes += part.stop - part.start
        joined = 1 << ((self._chunked_bytes - 1) // FINE_BYTES).bit_length()
        steps = (self._read(at, min(at + STEP, part.stop)) for at in range(part.start, part.stop, STEP))
        at = part.start
        for size in _sizes(chunking.chunks(steps), joined):
            self._piece(at, at + size)
            at += size

    def _piece(self, start: int, stop: int) -> None:
        size = stop - start
        if size < TENSOR_BYTES_MIN:
            self._literal(self._read(start, stop))
        elif size <= STEP:
            self._store_as(Form(BYTES, (size,)), size, _within(self._read(start, stop)), "")
        else:
            self._store_as(Form(BYTES, (size,)), size, lambda a, b: self._read(start + a, min(start + b, stop)), "")

    def _tensor(self, part: _Part, tensor: Named) -> None:
        size = part.stop - part.start
        form = Form(tensor.dtype, tensor.shape)

        def read(start: int, stop: int) -> bytes:
            return self._read(part.start + start, part.start + min(stop, size))

        self.tensors += 1
        try:
            self._store_as(form, size, read, tensor.name)
        except HeadwaterError:
            raise
        except Exception as error:  # noqa: BLE001 - a mistake of the codec's costs space, and not the sealing of a file
            log.error("tensor not encoded", name=tensor.name, dtype=form.dtype, shape=form.shape, exc_info=error)
            self._store_as(Form(BYTES, (size,)), size, read, "")

    def _store_as(self, form: Form, size: int, read: Callable[[int, int], bytes], name: str) -> None:
        hasher = codec.Hasher(form)
        for at in range(0, size, STEP):
            hasher.update(read(at, min(at + STEP, size)))
        key = hasher.key()
        if not self._is_stored(key):
            self._entries.write(key, form, size, read, self._entries.parents(key, self._kin.of(name), self._kin.allows))
        self._segment(key, size)

    def _segment(self, key: bytes, size: int) -> None:
        self.segments.append(Segment(size, key))

    def _is_stored(self, key: bytes) -> bool:
        if key in self._entries.pending:
            return True
        if self._entries.known.find(key) is None:
            return False
        self.same.add(key)
        return True


def _sizes(chunks: Iterable[bytes], joined: int) -> Iterator[int]:
    """Sizes of pieces of about `joined` chunks (a power of two); a piece ends behind a chunk whose bytes say so."""
    size = count = 0
    for chunk in chunks:
        size, count = size + len(chunk), count + 1
        if crc32(chunk) % joined == 0 or count == JOINED_MOST * joined:
            yield size
            size = count = 0
    if size:
        yield size


def _within(data: bytes) -> Callable[[int, int], bytes]:
    return lambda start, stop: data[start:stop]
