"""The rooms of the store with the few steps that most of its tests are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, update
from xet_building import File, Xorb, a_shard, sha256_of

from headwater.ground import events
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database
from headwater.ground.names import Sha256
from headwater.store import Blob, Store, Uploads, XetHash, Xets, tables
from headwater.store.objects import blob_key, xorb_key

FILE_MAX = 10**12


@dataclass
class Cas:
    root: Path
    db: Database
    clock: FixedClock
    store: Store
    xets: Xets
    uploads: Uploads

    def put(self, data: bytes, sha256: Sha256 | None = None, size: int | None = None) -> Blob:
        return self.store.ingest([data], sha256 or sha256_of(data), len(data) if size is None else size)

    def land(self, *xorbs: Xorb) -> list[bool]:
        landed = []
        for xorb in xorbs:
            sink = self.xets.sink(xorb.name)
            sink.write(xorb.wire)
            landed.append(sink.land())
        return landed

    def register(self, *files: File, may_use: Callable[[XetHash], bool] = lambda _name: True) -> list[Blob]:
        return self.xets.register(a_shard(*files), may_use, lambda _done, _total: None)

    def read(self, sha256: Sha256, start: int = 0, stop: int | None = None) -> bytes:
        return b"".join(self.store.read(sha256, start, stop))

    def path(self, sha256: Sha256) -> Path:
        return self.store.objects.path(blob_key(sha256))

    def xorb_path(self, xorb: Xorb) -> Path:
        return self.store.objects.path(xorb_key(xorb.name))

    @property
    def incoming(self) -> list[str]:
        """What lies half-written; nothing, between two uploads."""
        return [path.name for path in self.store.objects.incoming.iterdir()]

    @property
    def objects(self) -> list[str]:
        return [*self.store.objects.keys("blobs"), *self.store.objects.keys("xorbs")]

    def state(self, sha256: Sha256) -> str | None:
        with self.db.read() as connection:
            return connection.execute(select(tables.blob.c.state).where(tables.blob.c.sha256 == sha256)).scalar()

    def xorb_state(self, xorb: Xorb) -> str | None:
        with self.db.read() as connection:
            return connection.execute(select(tables.xorb.c.state).where(tables.xorb.c.hash == xorb.name)).scalar()

    def happened(self) -> list[events.Event]:
        with self.db.read() as connection:
            return events.since(connection, 0)

    def beside(self) -> Cas:
        """Another process on the same data: it shares database and disk, and no memory."""
        db = Database(self.db.path)
        store = Store(db, self.store.objects.root, self.clock, FILE_MAX)
        return Cas(self.root, db, self.clock, store, Xets(store), Uploads(store, self.root / "uploads"))

    def change(self, sha256: Sha256, **values: object) -> None:
        """What no code of ours does to a row."""
        with self.db.write_soft() as connection:
            connection.execute(update(tables.blob).where(tables.blob.c.sha256 == sha256).values(**values))
        self.store.forget(sha256)
