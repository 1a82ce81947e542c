"""Mark and sweep, online: bytes that nobody holds go after a grace period; what is doubtful stays.

Who holds what is known above the store, which hands in candidates; the database itself refuses to delete the row of a
blob that is held after all. Landing and deleting an object exclude each other, so an upload of the same bytes
meanwhile either keeps the object or writes it anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.exc import IntegrityError

from headwater.ground.names import Sha256
from headwater.store import tables
from headwater.store.blobs import Store
from headwater.store.hashes import XetHash
from headwater.store.objects import blob_key, xorb_key
from headwater.store.xets import Xets

_HEX64 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Swept:
    blobs: int = 0
    xorbs: int = 0
    objects: int = 0
    freed_bytes: int = 0


def blobs(store: Store, unheld: Iterable[Sha256], before_ms: int) -> Swept:
    """Blobs that nobody holds and nobody uploaded (again) since `before_ms`."""
    count, freed = 0, 0
    for sha256 in unheld:
        with store.stripes.hold(sha256):
            try:
                with store.db.write() as connection:
                    row = connection.execute(
                        select(tables.blob.c.recipe, tables.blob.c.created_ms).where(tables.blob.c.sha256 == sha256)
                    ).first()
                    if row is None or row.created_ms >= before_ms:
                        continue
                    connection.execute(delete(tables.blob_xorb).where(tables.blob_xorb.c.sha256 == sha256))
                    connection.execute(delete(tables.blob).where(tables.blob.c.sha256 == sha256))
            except IntegrityError:
                continue  # held since the candidates were listed
            store.forget(sha256)
            if row.recipe is None:
                freed += store.objects.size(blob_key(sha256)) or 0
                store.objects.delete(blob_key(sha256))
            count += 1
    return Swept(blobs=count, freed_bytes=freed)


def unnamed(store: Store, before_ms: int) -> Swept:
    """Objects written before `before_ms` that no row names: what a crash left between an object and its row.

    For the process that owns the data folder alone. Walks all objects.
    """
    whole = (tables.blob.c.sha256, tables.blob.c.recipe.is_(None))
    here = (tables.xorb.c.hash, tables.xorb.c.state != "gone")
    count, freed = 0, 0
    for kind, (name, named) in (("blobs", whole), ("xorbs", here)):
        for key in store.objects.keys(kind):
            found = "".join(key.split("/")[1:])
            written_ms = store.objects.written_ms(key)
            if written_ms is None or written_ms >= before_ms or not _HEX64.match(found):
                continue
            if _is_named(store, name, named, found):
                continue
            # Landing and writing the row are one step under this lock: no row now means that none will come.
            with store.stripes.hold(found):
                if not _is_named(store, name, named, found):
                    freed += store.objects.size(key) or 0
                    store.objects.delete(key)
                    count += 1
    return Swept(objects=count, freed_bytes=freed)


def _is_named(store: Store, name: ColumnElement[str], named: ColumnElement[bool], found: str) -> bool:
    with store.db.read() as connection:
        return connection.execute(select(name).where(name == found, named)).first() is not None


def xorbs(xets: Xets, unheld: Iterable[str], before_ms: int) -> Swept:
    """Xorbs of no blob, that nobody uploaded or was told of since `before_ms`. Their row stays as a tombstone."""
    store, count, freed = xets.store, 0, 0
    for name in unheld:
        with store.stripes.hold(name):
            with store.db.write() as connection:
                used = connection.execute(
                    select(tables.blob_xorb.c.sha256).where(tables.blob_xorb.c.xorb == name).limit(1)
                ).first()
                row = connection.execute(select(tables.xorb.c.offered_ms).where(tables.xorb.c.hash == name)).first()
                if used or row is None or row.offered_ms >= before_ms:
                    continue
                connection.execute(delete(tables.dedup).where(tables.dedup.c.xorb == name))
                connection.execute(tables.xorb.update().where(tables.xorb.c.hash == name).values(state="gone"))
            xets.forget(name)
            freed += store.objects.size(xorb_key(XetHash(name))) or 0
            store.objects.delete(xorb_key(XetHash(name)))
            count += 1
    return Swept(xorbs=count, freed_bytes=freed)
