"""Uploads in parts: each part lies under its number until all are there; then they are joined, hashed and land.

A part that was sent again replaces the earlier one. An upload that is not completed is collected by the sweep.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import delete, insert, select

from headwater.ground.errors import DigestMismatch, EntryMissing, HeadwaterError, Invalid
from headwater.ground.names import Sha256
from headwater.store import tables
from headwater.store.blobs import Blob, Store
from headwater.store.objects import READ_STEP, Part, meaning


class PartSink:
    """One part: its size is known beforehand. `under_way` raises EntryMissing when its upload is no more."""

    def __init__(self, part: Part, target: Path, size: int, under_way: Callable[[], object]) -> None:
        self._part, self._target, self._size, self._under_way = part, target, size, under_way
        self._hash = hashlib.sha256()

    @property
    def etag(self) -> str:
        """The SHA-256 of what was written."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        if self._part.size + len(data) > self._size:
            self._part.drop()
            raise DigestMismatch("size of the part", str(self._size), f"more than {self._size} bytes")
        self._hash.update(data)
        self._part.write(data)

    def land(self) -> None:
        """EntryMissing when the upload was finished meanwhile, by another client of the same file."""
        with self._part as part:
            if part.size != self._size:
                raise DigestMismatch("size of the part", str(self._size), f"{part.size} bytes")
            try:
                part.land(self._target)
            except HeadwaterError:
                self._under_way()
                raise

    def abort(self) -> None:
        self._part.drop()


class Uploads:
    def __init__(self, store: Store, root: Path) -> None:
        self._store = store
        self._root = root

    def begin(self, scope: str, sha256: Sha256, size: int, part_size: int) -> str:
        """The id of an upload of that file: the same one again while it is under way, so that it can be resumed.

        `scope` is whose it is (a repo, say): nobody completes what others have sent (T17), nor writes over it.
        """
        with self._store.db.write() as connection:
            known = connection.execute(
                select(tables.upload.c.id).where(
                    tables.upload.c.scope == scope,
                    tables.upload.c.sha256 == sha256,
                    tables.upload.c.size == size,
                    tables.upload.c.part_size == part_size,
                )
            ).scalar()
            if known is not None:
                return str(known)
            upload = self._store.clock.token(16)
            connection.execute(
                insert(tables.upload).values(
                    id=upload,
                    scope=scope,
                    sha256=sha256,
                    size=size,
                    part_size=part_size,
                    created_ms=self._store.clock.now_ms(),
                )
            )
        return upload

    def _row(self, upload: str) -> tuple[Sha256, int, int]:
        with self._store.db.read() as connection:
            row = connection.execute(select(tables.upload).where(tables.upload.c.id == upload)).first()
        if row is None:
            raise EntryMissing(upload, text="This upload is finished or has expired; begin it again")
        return Sha256(row.sha256), row.size, row.part_size

    def part(self, upload: str, number: int) -> PartSink:
        """A sink for part `number`, which counts from 1."""
        _sha256, size, part_size = self._row(upload)
        last = -(-size // part_size)
        if not 1 <= number <= last:
            raise Invalid(f"part: {number} is not one of 1 to {last}")
        expected = part_size if number < last else size - part_size * (last - 1)
        try:
            (self._root / upload).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise meaning(error, "writing") from error
        target = self._root / upload / f"{number:05d}"
        return PartSink(self._store.objects.begin(), target, expected, lambda: self._row(upload))

    def complete(self, upload: str, etags: dict[int, str]) -> Blob:
        """Joins the parts. Invalid when one is missing or is not the one that the client names.

        They stay until `drop`. EntryMissing when another client of the same file dropped them meanwhile.
        """
        sha256, size, part_size = self._row(upload)
        last = -(-size // part_size)
        folder = self._root / upload
        missing = [number for number in range(1, last + 1) if not (folder / f"{number:05d}").exists()]
        if missing:
            self._row(upload)
            raise Invalid(f"parts {missing[:20]} of {last} were not uploaded; send them and complete again")
        sink = self._store.sink(sha256, size)
        try:
            for number in range(1, last + 1):
                part_hash = hashlib.sha256()
                with (folder / f"{number:05d}").open("rb", buffering=0) as file:
                    while data := file.read(READ_STEP):
                        part_hash.update(data)
                        sink.write(data)
                if number in etags and etags[number] != part_hash.hexdigest():
                    raise DigestMismatch(f"part {number}", etags[number], part_hash.hexdigest())
            blob = sink.land()
        except OSError as error:
            sink.abort()
            self._row(upload)
            raise meaning(error, "joining the parts") from error
        except BaseException:
            sink.abort()
            raise
        return blob

    def drop(self, upload: str) -> None:
        """Once somebody holds the file, or nobody goes on with it."""
        with self._store.db.write_soft() as connection:
            connection.execute(delete(tables.upload).where(tables.upload.c.id == upload))
        shutil.rmtree(self._root / upload, ignore_errors=True)

    def expire(self, before_ms: int) -> int:
        """Drops uploads that were begun before that time, how many; and what a crash left of dropped ones."""
        with self._store.db.read() as connection:
            old = (
                connection.execute(select(tables.upload.c.id).where(tables.upload.c.created_ms < before_ms))
                .scalars()
                .all()
            )
        for upload in old:
            self.drop(upload)
        for folder in self._root.iterdir() if self._root.exists() else ():
            with self._store.db.read() as connection:
                known = connection.execute(select(tables.upload.c.id).where(tables.upload.c.id == folder.name)).first()
            if known is None:
                shutil.rmtree(folder, ignore_errors=True)
        return len(old)
