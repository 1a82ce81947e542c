"""Store: bytes by SHA-256. Takes them in, verified; gives them out, exactly; knows no repo and no actor."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import CTE, ColumnElement, Connection, Row, Select, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from headwater.ground import events
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import Corrupt, DigestMismatch, EntryMissing, HeadwaterError, Invalid, TooMuch
from headwater.ground.events import event
from headwater.ground.log import log
from headwater.ground.names import Sha256
from headwater.store import hashes, recipe, tables
from headwater.store.encoded import BLOCK_CACHE_BYTES, Damaged, Known, Tensors
from headwater.store.hashes import XetHash
from headwater.store.objects import (
    PACKS,
    FileRun,
    LocalObjects,
    Made,
    Part,
    Piece,
    blob_key,
    read_pieces,
    read_runs,
    xorb_key,
)
from headwater.store.packs import Packs, Place
from headwater.store.xorb import XorbIndex, index_of

LOCKS = 64  # landing and deleting one object exclude each other; a stripe is enough
ROWS_CACHED = 8192  # blob rows never change while they are cached: sealing and sweeping forget them
GATHER_BYTES = 256 << 10  # chunks and headers are smaller, and each piece costs a visit to a worker thread
HEAT_KEPT = 4096  # sealed files whose reads are counted between two looks at what is hot
SEGMENTS_FIRST = 2  # a file's header leaves before its other segments are looked at
SEGMENTS_AT_ONCE = 256  # whose tensors are looked up together
DECODERS_MAX = 4  # threads: each takes 20 MB while it decodes a block and its parents, and readers may be many
RECIPES_CACHED = 32  # of sealed files; 20 KiB for a usual model's, 60 MiB for one of a million segments

_ROWS = select(
    tables.blob.c.sha256,
    tables.blob.c.size,
    tables.blob.c.recipe,
    tables.blob.c.xet_hash,
    tables.blob.c.state,
    tables.blob.c.raw,
    tables.blob.c.created_ms,
    tables.blob.c.sealed.is_not(None).label("is_sealed"),  # the value itself may be large
)
_BY_SHA = _ROWS.where(tables.blob.c.sha256 == bindparam("sha256"))
UNSEALED: dict[str, object] = {"sealed": None, "raw": "here", "seal_ms": None, "seal_note": None}
"""The columns of a blob that has raw bytes and no sealed copy."""


@dataclass(frozen=True, slots=True)
class Blob:
    sha256: Sha256
    size: int
    terms: tuple[recipe.Term, ...] | None
    """The xorbs that it came in. None: it did not come through Xet, and its raw bytes are one object of their own."""
    xet_hash: XetHash
    """The name for Xet clients: the true one if it came through Xet, else its SHA-256 (a pseudo-hash)."""
    damaged: bool = False
    sealed: bool = False
    """There is a sealed copy in packs."""
    raw_here: bool = True
    """Its raw bytes lie in an object, or in xorbs, whether it is sealed or not."""
    sent_ms: int = 0
    """When its bytes were last uploaded."""


class _Lost(Exception):
    """Raw bytes are not where they should be: `why`; `xorb` is the one that fails, if it is one."""

    def __init__(self, why: str, xorb: XetHash | None = None) -> None:
        super().__init__(why)
        self.why, self.xorb = why, xorb


class Spoilt(Corrupt):
    """The sealed copy of a file is damaged in a tensor, which is marked by now. `files`: all that needed it."""

    def __init__(self, blob: Blob, error: Damaged, files: Sequence[str]) -> None:
        super().__init__(_damaged(blob).text)
        self.key, self.why, self.files = error.key, error.why, tuple(files)


class _Unsealed(Corrupt):
    """What was remembered of a file is not so any more: it has no sealed copy."""


class Stripes:
    """A lock per key, out of a fixed number."""

    def __init__(self) -> None:
        self._locks = [threading.RLock() for _ in range(LOCKS)]

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        with self._locks[int(key[:8], 16) % LOCKS]:
            yield


class BlobSink:
    """One upload: hashed while it is written; too long, too short or otherwise hashed is refused and leaves nothing."""

    def __init__(self, store: Store, sha256: Sha256, size: int) -> None:
        self._store, self._sha256, self._size = store, sha256, size
        self._part = store.objects.begin()
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        if self._part.size + len(data) > self._size:
            self._part.drop()
            raise DigestMismatch("size", str(self._size), f"more than {self._size} bytes")
        self._hash.update(data)
        self._part.write(data)

    def land(self) -> Blob:
        with self._part as part:
            if part.size != self._size:
                raise DigestMismatch("size", str(self._size), f"{part.size} bytes")
            if self._hash.hexdigest() != self._sha256:
                raise DigestMismatch("sha256", self._sha256, self._hash.hexdigest())
            return self._store.keep(part, self._sha256, self._size)

    def abort(self) -> None:
        self._part.drop()


class Store:
    def __init__(
        self, db: Database, root: Path, clock: Clock, file_max: int, block_cache_bytes: int = BLOCK_CACHE_BYTES
    ) -> None:
        self.db = db
        self.clock = clock
        self.objects = LocalObjects(root)
        self.packs = Packs(root / PACKS)
        self.tensors = Tensors(db, self.packs, block_cache_bytes, lost=self._first_lost)
        self.stripes = Stripes()
        self._decoders = ThreadPoolExecutor(DECODERS_MAX, thread_name_prefix="decode")
        self._file_max = file_max
        self._rows: OrderedDict[str, Blob] = OrderedDict()
        self._rows_lock = threading.Lock()
        self._forgotten = 0  # how often: a row read before is not remembered after
        self._followed: int | None = None  # the event up to which damage found by other processes is known
        self._forget_xorb: Callable[[str], None] = lambda _name: None
        self._recipes: OrderedDict[str, tuple[int, recipe.Sealed]] = OrderedDict()
        self._heat: dict[Sha256, int] = {}

    # --- in ---

    def sink(self, sha256: Sha256, size: int) -> BlobSink:
        """For a body that arrives piece by piece. TooMuch before a byte is taken."""
        self.check_size(size)
        return BlobSink(self, sha256, size)

    def check_size(self, size: int) -> None:
        if size < 0:
            raise Invalid(f"size: {size} is below 0")
        if size > self._file_max:
            raise TooMuch(f"A file of {size} bytes is larger than {self._file_max} (setting lfs_file_max)")

    def ingest(self, pieces: Iterable[bytes], sha256: Sha256, size: int) -> Blob:
        sink = self.sink(sha256, size)
        try:
            for piece in pieces:
                sink.write(piece)
            return sink.land()
        except BaseException:
            sink.abort()
            raise

    def keep(self, part: Part, sha256: Sha256, size: int) -> Blob:
        """A verified part becomes a blob. The row follows the bytes, so a crash between leaves an unnamed object."""
        now = self.clock.now_ms()
        with self.stripes.hold(sha256):
            whole = self._is_whole(sha256)
            if not whole:
                self.objects.land(part, blob_key(sha256))
            # seen again: the sweep's grace period starts anew
            again: dict[str, object] = {"created_ms": now}
            if not whole:
                again |= {"recipe": None, "state": "whole", **UNSEALED}
            row = insert(tables.blob).values(sha256=sha256, size=size, recipe=None, created_ms=now)
            with self.db.write_soft() as connection:
                connection.execute(row.on_conflict_do_update(index_elements=["sha256"], set_=again))
                if not whole:
                    # healed: the xorbs and tensors of its earlier recipes are no longer needed for it
                    for named in (tables.blob_xorb, tables.blob_tensor):
                        connection.execute(delete(named).where(named.c.sha256 == sha256))
            self.forget(sha256)
            return self.blob(sha256)

    def _is_whole(self, sha256: Sha256) -> bool:
        """Whether there is nothing to heal, as far as the row and the object's size tell. Under the blob's stripe."""
        self.forget(sha256)  # what is remembered may be older than a sweep
        present = self.find(sha256)
        if present is None or present.damaged:
            return False
        raw = present.terms is not None or self.objects.size(blob_key(sha256)) == present.size
        return raw or present.sealed

    # --- out ---

    def find(self, sha256: Sha256) -> Blob | None:
        with self._rows_lock:
            known = self._rows.get(sha256)
            if known is not None:
                self._rows.move_to_end(sha256)
                return known
            age = self._forgotten
        with self.db.read() as connection:
            row = connection.execute(_BY_SHA, {"sha256": sha256}).first()
        if row is None:
            return None
        blob = _as_blob(row)
        with self._rows_lock:
            # one that is damaged may be healed by any process at any time
            if age == self._forgotten and not blob.damaged:
                self._rows[sha256] = blob
            if len(self._rows) > ROWS_CACHED:
                self._rows.popitem(last=False)
        return blob

    def blob(self, sha256: Sha256) -> Blob:
        found = self.find(sha256)
        if found is None:
            raise EntryMissing(sha256, text=f"No stored file has the SHA-256 {sha256}")
        return found

    def by_xet_hash(self, xet_hash: XetHash) -> list[Blob]:
        """Blobs that Xet clients know by this hash (the true one, or a SHA-256 as a pseudo-hash)."""
        with self.db.read() as connection:
            found = (
                connection.execute(select(tables.blob.c.sha256).where(tables.blob.c.xet_hash == xet_hash))
                .scalars()
                .all()
            )
        blobs = [self.blob(Sha256(sha256)) for sha256 in found]
        plain = self.find(Sha256(xet_hash))
        return [*blobs, plain] if plain is not None and plain.xet_hash == xet_hash and plain not in blobs else blobs

    def runs(self, blob: Blob, start: int, stop: int) -> list[Piece]:
        """Where the bytes [start, stop) lie, or how they are made.

        Corrupt (and flagged) when an object is missing or has another size and there is no sealed copy.
        """
        if blob.damaged:
            raise _damaged(blob)
        if not blob.raw_here:
            return self._made(blob, start, stop)
        with contextlib.suppress(_Lost):
            return self._raw_runs(blob, start, stop)
        # Since its row was read it may have been sealed, deleted, or sent again another way, by any process.
        self.forget(blob.sha256)
        now = self.blob(blob.sha256)
        if now.damaged:
            raise _damaged(now)
        if now.sealed:
            return self._made(now, start, stop)
        try:
            return self._raw_runs(now, start, stop)
        except _Lost as error:
            if error.xorb is not None:
                self.flag_xorb(error.xorb, error.why)
            else:
                self.flag(now.sha256, error.why, sent_ms=now.sent_ms)
            raise _damaged(now) from None

    def _raw_runs(self, blob: Blob, start: int, stop: int) -> list[Piece]:
        if blob.terms is None:
            got = self.objects.size(blob_key(blob.sha256))
            if got != blob.size:
                raise _Lost(f"its object has {got} bytes, expected {blob.size}")
            if blob.sealed:
                self._warm(blob.sha256, stop - start)
            return [FileRun(self.objects.path(blob_key(blob.sha256)), start, stop)] if start < stop else []
        found: list[Piece] = []
        at = 0
        for term in blob.terms:
            low, high = max(start, at), min(stop, at + term.size)
            if low < high:
                first = term.raw_start + low - at
                for piece in self._xorb_pieces(term.xorb, first, first + high - low, term.raw_stop):
                    last = found[-1] if found else None
                    if (
                        isinstance(piece, FileRun)
                        and isinstance(last, FileRun)
                        and (last.path, last.stop) == (piece.path, piece.start)
                    ):
                        found[-1] = FileRun(piece.path, last.start, piece.stop)
                    else:
                        found.append(piece)
            at += term.size
        return found

    def xorb_pieces(self, name: XetHash, start: int, stop: int) -> list[Piece]:
        """Where the plain bytes [start, stop) of a xorb lie, or how they are made."""
        try:
            return self._xorb_pieces(name, start, stop, stop)
        except _Lost:
            # whoever opens it is told by the disk what is wrong
            return [FileRun(self.objects.path(xorb_key(name)), start, stop)]

    def _xorb_pieces(self, name: XetHash, start: int, stop: int, reach: int) -> list[Piece]:
        """The object of the xorb, if it reaches as far as `reach`; else sealed files that were built from it."""
        key = xorb_key(name)
        got = self.objects.size(key)
        if got is not None and got >= reach:
            return [FileRun(self.objects.path(key), start, stop)]
        pieces: list[Piece] = []
        with self.db.read() as connection:
            places = self.placements(name, connection)
        while start < stop:
            place = next((place for place in places if place[0] <= start < place[1]), None)
            if place is None:
                raise _Lost(f"{key} has {got} bytes, expected {reach} or more", name)
            low, high, blob, at = place
            most = min(high, stop)
            pieces += self._made(blob, at + start - low, at + most - low)
            start = most
        return pieces

    def placements(self, name: XetHash, connection: Connection) -> list[tuple[int, int, Blob, int]]:
        """Bytes of a xorb that sealed files hold: (start, stop, file, offset in the file)."""
        built = _ROWS.join(tables.blob_xorb, tables.blob_xorb.c.sha256 == tables.blob.c.sha256).where(
            tables.blob_xorb.c.xorb == name, tables.blob.c.sealed.is_not(None), tables.blob.c.state == "whole"
        )
        places: list[tuple[int, int, Blob, int]] = []
        for row in connection.execute(built):
            blob = _as_blob(row)
            at = 0
            for term in blob.terms or ():
                if term.xorb == name:
                    places.append((term.raw_start, term.raw_stop, blob, at))
                at += term.size
        return places

    def _made(self, blob: Blob, start: int, stop: int) -> list[Piece]:
        self._warm(blob.sha256, stop - start)
        make = partial(self._unsealed, blob, start, stop)
        return [Made(stop - start, lambda: _gathered(make(), self._decoders))] if start < stop else []

    def _warm(self, sha256: Sha256, size_bytes: int) -> None:
        with self._rows_lock:
            if sha256 in self._heat or len(self._heat) < HEAT_KEPT:
                self._heat[sha256] = self._heat.get(sha256, 0) + size_bytes

    def take_heat(self) -> dict[Sha256, int]:
        """How many bytes of which sealed files were asked for since the last call, in this process."""
        with self._rows_lock:
            heat, self._heat = self._heat, {}
        return heat

    def sealed_bytes(self, blob: Blob) -> Iterator[bytes]:
        """The whole sealed copy, whatever other copy there is and whatever mark it bears: for whoever checks it."""
        return self._sealed_bytes(blob, 0, blob.size)

    def _unsealed(self, blob: Blob, start: int, stop: int) -> Iterator[bytes]:
        """The bytes [start, stop) out of the sealed copy; out of the raw ones, if it turns out that there is none any
        more, or that it is damaged and these are still there."""
        try:
            for piece in self._sealed_bytes(blob, start, stop):
                yield piece
                start += len(piece)
        except _Unsealed:
            pass
        except Corrupt:
            if self.blob(blob.sha256).sealed:
                raise
        else:
            return
        yield from self._sent_again(blob.sha256, start, stop)

    def _sealed_bytes(self, blob: Blob, start: int, stop: int) -> Iterator[bytes]:
        """The bytes [start, stop) out of the sealed copy. Corrupt, and flagged, where it is damaged."""
        try:
            for piece in self._pieces(blob, start, stop):
                yield piece
                start += len(piece)
        except Damaged:
            # what is remembered may be of before it was stored anew: a tensor elsewhere, or on other parents
            self.tensors.forget()
        else:
            return
        try:
            yield from self._pieces(blob, start, stop)
        except Damaged as error:
            raise Spoilt(blob, error, self.flag_tensor(error.key, error.why)) from error

    def _sent_again(self, sha256: Sha256, start: int, stop: int) -> Iterator[bytes]:
        """Of a file that was swept since its row was read, and perhaps sent again, by whatever process."""
        now = self.blob(sha256)
        if now.damaged:
            raise _damaged(now)
        if now.sealed:
            yield from self._pieces(now, start, stop)
            return
        try:
            raw = self._raw_runs(now, start, stop)
        except _Lost as error:
            raise _Unsealed(f"The file {sha256} changes all the time ({error.why}); ask for it again") from error
        if any(isinstance(piece, Made) for piece in raw):  # they would be made by the very threads that wait here
            raise _Unsealed(f"The file {sha256} changes all the time; ask for it again")
        yield from read_pieces(raw)

    def _pieces(self, blob: Blob, start: int, stop: int) -> Iterator[bytes]:
        segments = self.sealed_recipe(blob).segments(start, stop)
        sizes = itertools.chain([SEGMENTS_FIRST], itertools.repeat(SEGMENTS_AT_ONCE))
        while batch := list(itertools.islice(segments, next(sizes))):
            self.tensors.look_up({segment.key for segment in batch if segment.key})
            for segment in batch:
                if segment.key:
                    yield from self.tensors.pieces(segment.key, segment.start, segment.start + segment.length)
                else:
                    yield segment.literal

    def sealed_recipe(self, blob: Blob) -> recipe.Sealed:
        """How a sealed file is rebuilt. Corrupt, and flagged, when the row makes no sense."""
        version = self.db.version()
        with self._rows_lock:
            known = self._recipes.get(blob.sha256)
            if known is not None and known[0] == version:
                return known[1]
        with self.db.read() as connection:
            data = connection.execute(select(tables.blob.c.sealed).where(tables.blob.c.sha256 == blob.sha256)).scalar()
        if data is None:
            self.forget(blob.sha256)
            raise _Unsealed(f"The file {blob.sha256} is not sealed any more; ask for it again")
        try:
            found = recipe.decode_sealed(data, blob.sha256)
            if found.size != blob.size:
                raise Corrupt(f"its sealed recipe makes {found.size} bytes, expected {blob.size}")
        except Corrupt as error:
            self.lose_sealed(blob.sha256, error.text)
            raise
        with self._rows_lock:
            self._recipes[blob.sha256] = version, found
            self._recipes.move_to_end(blob.sha256)
            if len(self._recipes) > RECIPES_CACHED:
                self._recipes.popitem(last=False)
        return found

    def read(self, sha256: Sha256, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in steps: for readers inside the hub; `runs` is for sending files."""
        blob = self.blob(sha256)
        return read_pieces(self.runs(blob, start, blob.size if stop is None else min(stop, blob.size)))

    # --- damage ---

    def flag(self, sha256: Sha256, why: str, xorb: XetHash | None = None, sent_ms: int | None = None) -> None:
        """Marks a blob damaged: it is not served again before it was uploaded again. One event.

        `sent_ms`: only if no bytes were uploaded since then.
        """
        still = [] if sent_ms is None else [tables.blob.c.created_ms == sent_ms]
        self._flag(sha256, why, xorb, *still)

    def _flag(self, sha256: Sha256, why: str, xorb: XetHash | None, *still: ColumnElement[bool]) -> None:
        whole = update(tables.blob).where(tables.blob.c.sha256 == sha256, tables.blob.c.state == "whole", *still)
        with self.db.write() as connection:
            changed = connection.execute(whole.values(state="damaged"))
            if changed.rowcount:
                log.error("blob damaged", sha256=sha256, why=why)
                events.append(connection, "blob.damaged", self.clock.now_ms(), sha256=sha256, why=why, xorb=xorb)
        self.forget(sha256)

    def flag_xorb(self, name: XetHash, why: str) -> None:
        """Marks a xorb damaged, and every blob that stands on it; clients are asked to send it again.

        A blob that is sealed does not: it loses its raw copy.
        """
        built = (
            select(tables.blob.c.sha256)
            .join_from(tables.blob, tables.blob_xorb, tables.blob_xorb.c.sha256 == tables.blob.c.sha256)
            .where(tables.blob_xorb.c.xorb == name, tables.blob.c.state == "whole", tables.blob.c.recipe.is_not(None))
        )
        with self.db.write() as connection:
            connection.execute(
                update(tables.xorb)
                .where(tables.xorb.c.hash == name, tables.xorb.c.state.in_(("here", "virtual")))
                .values(state="damaged")
            )
            blobs = connection.execute(built).scalars().all()
        self._forget_xorb(name)
        for sha256 in blobs:
            self.lose_raw(Sha256(sha256), why, xorb=name)

    def lose_raw(self, sha256: Sha256, why: str, xorb: XetHash | None = None) -> None:
        """The raw bytes of a blob are not whole: a sealed one does without them from now on, any other is damaged."""
        with self.db.write() as connection:
            sealed = connection.execute(
                update(tables.blob)
                .where(tables.blob.c.sha256 == sha256, tables.blob.c.sealed.is_not(None))
                .values(raw="leaving")
            ).rowcount
        self.forget(sha256)
        if sealed:
            log.warning("raw copy lost; the sealed one serves", sha256=sha256, why=why)
        else:
            self.flag(sha256, why, xorb)

    def lose_sealed(self, sha256: Sha256, why: str) -> None:
        """The sealed copy of a blob is not whole: one whose raw bytes are there does without it; any other is damaged,
        and so are the xorbs that nothing else has the bytes of."""
        with self.db.write() as connection:
            here = _unseal(connection, sha256, tables.blob.c.raw == "here")
        self.forget(sha256)
        if here or self.go_back(sha256):
            log.warning("sealed copy lost; the raw one serves", sha256=sha256, why=why)
            return
        # else another reader has found it, and has gone back, meanwhile
        self._flag(sha256, why, None, tables.blob.c.sealed.is_not(None), tables.blob.c.raw != "here")
        now = self.find(sha256)
        if now is None or not now.damaged:
            return
        made = (
            select(tables.xorb.c.hash, tables.xorb.c.raw_bytes)
            .join(tables.blob_xorb, tables.blob_xorb.c.xorb == tables.xorb.c.hash)
            .where(tables.blob_xorb.c.sha256 == sha256, tables.xorb.c.state == "virtual")
        )
        with self.db.read() as connection:
            rows = connection.execute(made).all()
            lost = [XetHash(row.hash) for row in rows if not self.covers(connection, XetHash(row.hash), row.raw_bytes)]
        for name in lost:
            if not self.mend_xorb(name):
                self.flag_xorb(name, why)

    def go_back(self, sha256: Sha256) -> bool:
        """A sealed blob becomes what it was before it was sealed, if its raw bytes are not used any more and still lie,
        all of them and right, in objects. They are read and hashed first.

        Who deletes such an object does it in the transaction that tells of it: what a transaction finds, stays.
        """
        self.forget(sha256)
        blob = self.find(sha256)
        if blob is None or not blob.sealed or blob.raw_here:
            return False
        try:
            runs = self._object_runs(blob)
            if runs is None or wrong_bytes(blob, read_runs(runs)) is not None:
                return False
        except HeadwaterError:
            return False
        mine = select(tables.blob_xorb.c.xorb).where(tables.blob_xorb.c.sha256 == sha256)
        with self.db.write() as connection:
            readable = tables.xorb.c.state.in_(("here", "virtual"))
            lost = select(tables.xorb.c.hash).where(tables.xorb.c.hash.in_(mine), ~readable).limit(1)
            if self._object_runs(blob) is None or connection.execute(lost).first() is not None:
                return False
            if not _unseal(connection, sha256, tables.blob.c.created_ms == blob.sent_ms):
                return False
            connection.execute(update(tables.blob).where(tables.blob.c.sha256 == sha256).values(state="whole"))
            again = update(tables.xorb).where(tables.xorb.c.hash.in_(mine), tables.xorb.c.state == "virtual")
            connection.execute(again.values(state="here"))
        self.forget(sha256)
        return True

    def _object_runs(self, blob: Blob) -> list[FileRun] | None:
        """Where the raw bytes of a blob lie, whether they are used or not; None if an object is gone or too short."""
        if blob.terms is None:
            key = blob_key(blob.sha256)
            return [FileRun(self.objects.path(key), 0, blob.size)] if self.objects.size(key) == blob.size else None
        if any((self.objects.size(xorb_key(term.xorb)) or 0) < term.raw_stop for term in blob.terms):
            return None
        return [FileRun(self.objects.path(xorb_key(term.xorb)), term.raw_start, term.raw_stop) for term in blob.terms]

    def flag_tensor(self, key: bytes, why: str) -> list[str]:
        """Marks a stored tensor damaged, and every file that needs it, be it as the parent of its own tensors.

        The names of those files; one whose raw bytes are here does without its sealed copy.
        """
        with self.db.write() as connection:
            connection.execute(
                update(tables.tensor)
                .where(tables.tensor.c.key == key, tables.tensor.c.state == "whole")
                .values(state="damaged")
            )
            blobs = list(connection.execute(files_on(key)).scalars())
            unmarked = select(tables.blob.c.sha256).where(tables.blob.c.state == "whole")
            unmarked = unmarked.where(tables.blob.c.sha256.in_(files_on(key).order_by(None)))
            told = list(connection.execute(unmarked).scalars())
        self.tensors.forget(key)
        for sha256 in told:
            self.lose_sealed(Sha256(sha256), f"tensor {key.hex()}: {why}")
        return blobs

    def lose_copy(self, known: Known, lost: Place, why: str) -> bool:
        """One of a tensor's two copies is not whole, and the other is: it does without `lost` until upkeep writes a
        second one again. False when its rows say something else by now. One event."""
        second = known.second
        if second is None:
            return False
        with self.db.write() as connection:
            if not _is_as_known(connection, known, "whole"):
                return False
            _stays(connection, known, second if lost == known.place else known.place)
            name, now = known.key.hex(), self.clock.now_ms()
            events.append(connection, "copy.damaged", now, tensor=name, pack=lost.pack, why=why)
        self.tensors.forget(known.key)
        log.warning("one copy of a tensor lost; the other one serves", tensor=name, pack=lost.pack, why=why)
        return True

    def mend_tensor(self, key: bytes) -> str | None:
        """Takes the mark off a tensor that proves right after all, where it lies or in its second copy: all of it is
        read and gives its key. What is wrong with it still; the files that need it are another matter."""
        known = self.tensors.find_damaged(key)
        if known is None:
            return None  # swept, or stored anew
        right: list[Place] = []
        wrong: list[str] = []
        for copy in known.copies:
            try:
                self.tensors.prove_all(copy)
                right.append(copy.place)
            except Damaged as error:
                wrong.append(error.why if error.key == key else f"its parent {error.key.hex()}: {error.why}")
        if not right:
            return "; ".join(wrong)
        with self.db.write() as connection:
            if not _is_as_known(connection, known, "damaged"):
                return None
            whole = update(tables.tensor).where(tables.tensor.c.id == known.id)
            connection.execute(whole.values(state="whole"))
            if wrong:
                _stays(connection, known, right[0])
        self.tensors.forget(key)
        log.info("a tensor is whole after all", tensor=key.hex())
        return None

    def _first_lost(self, known: Known, why: str) -> None:
        """For a reader, who has got his bytes out of the second copy already: nothing that goes wrong here is his."""
        try:
            self.lose_first(known, why)
        except HeadwaterError as error:
            log.error("tensor not healed", tensor=known.key.hex(), why=error.text)

    def lose_first(self, known: Known, why: str) -> None:
        """The second copy of a tensor takes the place of the first; Corrupt if it is not right either."""
        self.tensors.prove(known.copies[-1])
        self.lose_copy(known, known.place, why)

    def flag_object(self, path: Path, why: str) -> None:
        """Marks what lies in this file of the store damaged. Not what was deleted meanwhile, and maybe sent again."""
        kind, *parts = path.relative_to(self.objects.root).parts
        if kind == "blobs":
            sha256 = Sha256("".join(parts))
            self.forget(sha256)
            now = self.find(sha256)
            if now is None or now.terms is not None or not now.raw_here:
                return
            if why == errno.errorcode[errno.ENOENT] and self.objects.size(blob_key(sha256)) == now.size:
                return
            self.lose_raw(sha256, why)
        else:
            self.flag_xorb(XetHash("".join(parts)), why)

    def mend(self, sha256: Sha256) -> None:
        """Takes the mark off a blob whose bytes were hashed again and are right; what was lost with it can be made of
        it again."""
        lost = (
            select(tables.xorb.c.hash, tables.xorb.c.raw_bytes)
            .join(tables.blob_xorb, tables.blob_xorb.c.xorb == tables.xorb.c.hash)
            .where(tables.blob_xorb.c.sha256 == sha256, tables.xorb.c.state == "damaged")
        )
        with self.db.write() as connection:
            connection.execute(update(tables.blob).where(tables.blob.c.sha256 == sha256).values(state="whole"))
            for row in connection.execute(lost).all():
                # an object that is there is a bad one, and would be read
                is_gone = self.objects.size(xorb_key(XetHash(row.hash))) is None
                if is_gone and self.covers(connection, XetHash(row.hash), row.raw_bytes):
                    made = update(tables.xorb).where(tables.xorb.c.hash == row.hash)
                    connection.execute(made.values(state="virtual"))
        self.forget(sha256)

    def mend_xorb(self, name: XetHash) -> bool:
        """Whether the object of a xorb that was given up or marked is there and right; then it is used again."""
        with self.db.read() as connection:
            row = connection.execute(select(tables.xorb).where(tables.xorb.c.hash == name)).first()
        index = None if row is None else index_of(name, row.raw_bytes, row.hashes, row.lengths)
        if row is None or index is None:
            return False
        try:
            if self.wrong_xorb(index) is not None:
                return False
        except HeadwaterError:
            return False
        with self.db.write() as connection:
            if self.objects.size(xorb_key(name)) != index.raw_bytes:
                return False
            given_up = tables.xorb.c.state.in_(("virtual", "damaged"))
            again = update(tables.xorb).where(tables.xorb.c.hash == name, given_up)
            changed = connection.execute(again.values(state="here")).rowcount
        self._forget_xorb(name)
        return bool(changed)

    def wrong_xorb(self, index: XorbIndex) -> str | None:
        """What is wrong with the object of a xorb, all of which is read, and with its row."""
        key = xorb_key(index.hash)
        size = self.objects.size(key)
        if size != index.raw_bytes:
            return f"has {size} bytes on the disk, expected {index.raw_bytes}"
        if hashes.to_text(hashes.merkle_root(index.hashes, index.lengths)) != index.hash:
            return "its row's chunk hashes do not make its name"
        path, at = self.objects.path(key), 0
        for number, length in enumerate(index.lengths.tolist()):
            data = b"".join(read_runs([FileRun(path, at, at + length)]))
            at += length
            if hashes.chunk_hash(data) != index.hashes[hashes.HASH_BYTES * number : hashes.HASH_BYTES * (number + 1)]:
                return f"chunk {number} of {len(index.lengths)} does not match its hash"
        return None

    def covers(self, connection: Connection, name: XetHash, raw_bytes: int) -> bool:
        """Whether every byte of a xorb is in a sealed file that is whole, as far as anybody knows."""
        at = 0
        is_right: dict[str, bool] = {}
        places = self.placements(name, connection)
        for start, stop, sha256 in sorted((start, stop, blob.sha256) for start, stop, blob, _at in places):
            if sha256 not in is_right:
                is_right[sha256] = not stands_on_damage(connection, sha256)
            if not is_right[sha256]:
                continue
            if start > at:
                return False
            at = max(at, stop)
        return at >= raw_bytes

    def forget_xorb(self, name: str) -> None:
        self._forget_xorb(name)

    def when_a_xorb_is_damaged(self, forget: Callable[[str], None]) -> None:
        """`forget(name)` is called whenever a xorb was found damaged, here or by another process."""
        self._forget_xorb = forget

    def follow(self) -> None:
        """Forgets what other processes found damaged meanwhile: `headwater verify` beside a serving hub."""
        with self.db.read() as connection:
            last, after = events.last_id(connection), self._followed
            asked = select(event.c.data).where(event.c.id > (after or 0), event.c.kind == "blob.damaged")
            # at the first call nothing is remembered that could be wrong
            found = [] if after in (None, last) else connection.execute(asked).scalars().all()
        self._followed = last
        for data in found:
            told = msgspec.json.decode(data)
            self.forget(told["sha256"])
            if told["xorb"] is not None:
                self._forget_xorb(told["xorb"])

    def forget(self, sha256: str) -> None:
        with self._rows_lock:
            self._rows.pop(sha256, None)
            self._recipes.pop(sha256, None)
            self._forgotten += 1


def files_on(key: bytes) -> Select[Any]:
    """The names of the sealed files that need a tensor: their own, or what one of their own stands on."""
    standing = select(tables.tensor.c.id).where(tables.tensor.c.key == key).cte("standing", recursive=True)
    child = tables.tensor_parent.alias()
    standing = standing.union(select(child.c.tensor).join(standing, child.c.parent == standing.c.id))
    return (
        select(tables.blob_tensor.c.sha256)
        .where(tables.blob_tensor.c.tensor.in_(select(standing.c.id)))
        .distinct()
        .order_by(tables.blob_tensor.c.sha256)
    )


def _damaged_below() -> Select[Any]:
    below = select(tables.blob_tensor.c.tensor.label("id")).where(tables.blob_tensor.c.sha256 == bindparam("sha256"))
    needed = below.cte("needed", recursive=True)
    link = tables.tensor_parent
    needed = needed.union(select(link.c.parent).join(needed, link.c.tensor == needed.c.id))
    damaged = select(tables.tensor.c.id).where(
        tables.tensor.c.id.in_(select(needed.c.id)), tables.tensor.c.state == "damaged"
    )
    return damaged.limit(1)


_DAMAGED_BELOW = _damaged_below()


def stands_on_damage(connection: Connection, sha256: str) -> bool:
    """Whether a tensor is marked damaged that a sealed file needs: between that mark and the file's own, a process may
    have ended."""
    return connection.execute(_DAMAGED_BELOW, {"sha256": sha256}).first() is not None


def wrong_bytes(blob: Blob, pieces: Iterable[bytes]) -> str | None:
    """What is wrong with the bytes of a blob."""
    digest, size = hashlib.sha256(), 0
    for data in pieces:
        digest.update(data)
        size += len(data)
    if digest.hexdigest() == blob.sha256 and size == blob.size:
        return None
    return f"its {size} bytes hash to {digest.hexdigest()}, expected {blob.size} bytes"


def _unseal(connection: Connection, sha256: Sha256, *still: ColumnElement[bool]) -> bool:
    """A sealed blob has its raw bytes alone, if it is `still` so."""
    sealed = update(tables.blob).where(tables.blob.c.sha256 == sha256, tables.blob.c.sealed.is_not(None), *still)
    if connection.execute(sealed.values(**UNSEALED)).rowcount == 0:
        return False
    connection.execute(delete(tables.blob_tensor).where(tables.blob_tensor.c.sha256 == sha256))
    return True


def _is_as_known(connection: Connection, known: Known, state: str) -> bool:
    """Whether a tensor, and its second copy if it had one, lie where it was known to."""
    tensor, copy = tables.tensor, tables.tensor_copy
    asked = select(tensor.c.id).where(
        tensor.c.id == known.id,
        tensor.c.state == state,
        tensor.c.pack == known.place.pack,
        tensor.c.start == known.place.start,
    )
    if known.second is not None:
        asked = asked.join(copy, copy.c.tensor == tensor.c.id)
        asked = asked.where(copy.c.pack == known.second.pack, copy.c.start == known.second.start)
    return connection.execute(asked).first() is not None


def _stays(connection: Connection, known: Known, place: Place) -> None:
    """Of a tensor's two copies only that at `place` stays."""
    connection.execute(delete(tables.tensor_copy).where(tables.tensor_copy.c.tensor == known.id))
    first = update(tables.tensor).where(tables.tensor.c.id == known.id)
    connection.execute(first.values(pack=place.pack, start=place.start))


def standing_on(roots: Sequence[int]) -> CTE:
    """(root, id): each of these tensors with itself and with all that stand on it, at any depth."""
    below = (
        select(tables.tensor.c.id.label("root"), tables.tensor.c.id.label("id"))
        .where(tables.tensor.c.id.in_(roots))
        .cte("below", recursive=True)
    )
    link = tables.tensor_parent.alias()
    return below.union(select(below.c.root, link.c.tensor).join(below, link.c.parent == below.c.id))


def _gathered(pieces: Iterator[bytes], decoders: Executor) -> Iterator[bytes]:
    """The same bytes in pieces that are worth sending, made by the threads of `decoders`.

    But the first piece goes alone: a file's header is part of its recipe, or a small chunk, and leaves at once, while
    the first block of a tensor, and of its parents, takes milliseconds.
    """
    held: list[bytes] = []
    size = 0
    first = True
    while (piece := decoders.submit(next, pieces, None).result()) is not None:
        held.append(piece)
        size += len(piece)
        if size >= GATHER_BYTES or first:
            first = False
            yield held[0] if len(held) == 1 else b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _as_blob(row: Row[Any]) -> Blob:
    damaged, terms = row.state == "damaged", None
    if row.recipe is not None:
        try:
            terms = tuple(recipe.decode(row.recipe))
        except Corrupt as error:
            log.error("recipe damaged", sha256=row.sha256, why=error.text)
            damaged = True
    return Blob(
        Sha256(row.sha256),
        row.size,
        terms,
        XetHash(row.xet_hash or row.sha256),
        damaged,
        bool(row.is_sealed),
        row.raw == "here",
        row.created_ms,
    )


def _damaged(blob: Blob) -> Corrupt:
    return Corrupt(f"The stored file {blob.sha256} is damaged; upload it again to heal it")
