"""Store: bytes by SHA-256. Takes them in, verified; gives them out, exactly; knows no repo and no actor."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from headwater.ground import events
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.errors import Corrupt, DigestMismatch, EntryMissing, Invalid, TooMuch
from headwater.ground.events import event
from headwater.ground.log import log
from headwater.ground.names import Sha256
from headwater.store import recipe, tables
from headwater.store.hashes import XetHash
from headwater.store.objects import FileRun, LocalObjects, Part, blob_key, read_runs, xorb_key

LOCKS = 64  # landing and deleting one object exclude each other; a stripe is enough
ROWS_CACHED = 8192  # blob rows never change while they are cached: sealing and sweeping forget them

_BY_SHA = select(tables.blob).where(tables.blob.c.sha256 == bindparam("sha256"))


@dataclass(frozen=True, slots=True)
class Blob:
    sha256: Sha256
    size: int
    terms: tuple[recipe.Term, ...] | None
    """None: one object of its own."""
    xet_hash: XetHash
    """The name for Xet clients: the true one if it came through Xet, else its SHA-256 (a pseudo-hash)."""
    damaged: bool = False


class Stripes:
    """A lock per key, out of a fixed number."""

    def __init__(self) -> None:
        self._locks = [threading.RLock() for _ in range(LOCKS)]

    @contextmanager
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
    def __init__(self, db: Database, root: Path, clock: Clock, file_max: int) -> None:
        self.db = db
        self.clock = clock
        self.objects = LocalObjects(root)
        self.stripes = Stripes()
        self._file_max = file_max
        self._rows: OrderedDict[str, Blob] = OrderedDict()
        self._rows_lock = threading.Lock()
        self._forgotten = 0  # how often: a row read before is not remembered after
        self._followed: int | None = None  # the event up to which damage found by other processes is known
        self._forget_xorb: Callable[[str], None] = lambda _name: None

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
            again = {"created_ms": now} if whole else {"created_ms": now, "recipe": None, "state": "whole"}
            row = insert(tables.blob).values(sha256=sha256, size=size, recipe=None, created_ms=now)
            with self.db.write_soft() as connection:
                connection.execute(row.on_conflict_do_update(index_elements=["sha256"], set_=again))
                if not whole:
                    # healed: the xorbs of its earlier recipe are no longer needed for it
                    connection.execute(delete(tables.blob_xorb).where(tables.blob_xorb.c.sha256 == sha256))
            self.forget(sha256)
            return self.blob(sha256)

    def _is_whole(self, sha256: Sha256) -> bool:
        """Whether there is nothing to heal, as far as the row and the object's size tell. Under the blob's stripe."""
        self.forget(sha256)  # what is remembered may be older than a sweep
        present = self.find(sha256)
        if present is None or present.damaged:
            return False
        return present.terms is not None or self.objects.size(blob_key(sha256)) == present.size

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
            if age == self._forgotten:
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

    def runs(self, blob: Blob, start: int, stop: int) -> list[FileRun]:
        """Where the bytes [start, stop) lie. Corrupt (and flagged) when an object is missing or has another size."""
        if blob.damaged:
            raise _damaged(blob)
        if blob.terms is None:
            got = self.objects.size(blob_key(blob.sha256))
            if got != blob.size:
                self.flag(blob.sha256, f"its object has {got} bytes, expected {blob.size}")
                raise _damaged(blob)
            return [FileRun(self.objects.path(blob_key(blob.sha256)), start, stop)] if start < stop else []
        found: list[FileRun] = []
        at = 0
        for term in blob.terms:
            low, high = max(start, at), min(stop, at + term.size)
            if low < high:
                key = xorb_key(term.xorb)
                got = self.objects.size(key)
                if got is None or got < term.raw_stop:
                    self.flag_xorb(term.xorb, f"{key} has {got} bytes, expected {term.raw_stop} or more")
                    raise _damaged(blob)
                path, first = self.objects.path(key), term.raw_start + low - at
                last = found[-1] if found else None
                if last is not None and last.path == path and last.stop == first:
                    found[-1] = FileRun(path, last.start, first + high - low)
                else:
                    found.append(FileRun(path, first, first + high - low))
            at += term.size
        return found

    def read(self, sha256: Sha256, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in steps: for readers inside the hub; `runs` is for sending files."""
        blob = self.blob(sha256)
        return read_runs(self.runs(blob, start, blob.size if stop is None else min(stop, blob.size)))

    # --- damage ---

    def flag(self, sha256: Sha256, why: str, xorb: XetHash | None = None) -> None:
        """Marks a blob damaged: it is not served again before it was uploaded again. One event."""
        log.error("blob damaged", sha256=sha256, why=why)
        with self.db.write() as connection:
            changed = connection.execute(
                update(tables.blob)
                .where(tables.blob.c.sha256 == sha256, tables.blob.c.state == "whole")
                .values(state="damaged")
            )
            if changed.rowcount:
                events.append(connection, "blob.damaged", self.clock.now_ms(), sha256=sha256, why=why, xorb=xorb)
        self.forget(sha256)

    def flag_xorb(self, name: XetHash, why: str) -> None:
        """Marks a xorb damaged, and every blob that is built on it; clients are asked to send it again."""
        built = (
            select(tables.blob.c.sha256)
            .join_from(tables.blob, tables.blob_xorb, tables.blob_xorb.c.sha256 == tables.blob.c.sha256)
            .where(tables.blob_xorb.c.xorb == name, tables.blob.c.state == "whole", tables.blob.c.recipe.is_not(None))
        )
        with self.db.write() as connection:
            connection.execute(
                update(tables.xorb)
                .where(tables.xorb.c.hash == name, tables.xorb.c.state == "here")
                .values(state="damaged")
            )
            blobs = connection.execute(built).scalars().all()
        self._forget_xorb(name)
        for sha256 in blobs:
            self.flag(Sha256(sha256), why, xorb=name)

    def flag_object(self, path: Path, why: str) -> None:
        """Marks what lies in this file of the store damaged."""
        kind, *parts = path.relative_to(self.objects.root).parts
        if kind == "blobs":
            self.flag(Sha256("".join(parts)), why)
        else:
            self.flag_xorb(XetHash("".join(parts)), why)

    def mend(self, sha256: Sha256) -> None:
        """Takes the mark off a blob whose bytes were hashed again and are right."""
        with self.db.write() as connection:
            connection.execute(update(tables.blob).where(tables.blob.c.sha256 == sha256).values(state="whole"))
        self.forget(sha256)

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
            self._forgotten += 1


def _as_blob(row: Row[Any]) -> Blob:
    damaged, terms = row.state == "damaged", None
    if row.recipe is not None:
        try:
            terms = tuple(recipe.decode(row.recipe))
        except Corrupt as error:
            log.error("recipe damaged", sha256=row.sha256, why=error.text)
            damaged = True
    return Blob(Sha256(row.sha256), row.size, terms, XetHash(row.xet_hash or row.sha256), damaged)


def _damaged(blob: Blob) -> Corrupt:
    return Corrupt(f"The stored file {blob.sha256} is damaged; upload it again to heal it")
