"""Mark and sweep, online: bytes that nobody holds go after a grace period; what is doubtful stays.

Who holds what is known above the store, which hands in candidates; the database itself refuses to delete the row of a
blob that is held after all. Landing and deleting an object exclude each other, so an upload of the same bytes
meanwhile either keeps the object or writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from headwater.ground.names import Sha256
from headwater.store import tables
from headwater.store.blobs import Store
from headwater.store.hashes import XetHash
from headwater.store.objects import blob_key, xorb_key
from headwater.store.xets import Xets


@dataclass(frozen=True, slots=True)
class Swept:
    blobs: int = 0
    xorbs: int = 0
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
