"""Purge: files that must not be readable again are destroyed, and nothing of them stays behind as a parent.

For a process that owns the data folder alone. What other files hold as their own bytes stays theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from headwater.ground.errors import Conflict
from headwater.ground.names import Sha256
from headwater.store import sweep, tables
from headwater.store.blobs import Store
from headwater.store.rebase import Rebaser
from headwater.store.xets import Xets

FOREVER_MS = 1 << 62


@dataclass(frozen=True, slots=True)
class Purged:
    files: int
    anew: int
    freed_bytes: int


def purge(store: Store, xets: Xets, rebaser: Rebaser, files: Sequence[Sha256]) -> Purged:
    """Conflict when a repo still holds one of them, or another file is made from its bytes."""
    keys, packs = _only_theirs(store, files)
    with store.db.read() as connection:
        built = select(tables.blob_xorb.c.xorb).where(tables.blob_xorb.c.sha256.in_(list(files))).distinct()
        unused = list(connection.execute(built).scalars())
    anew = rebaser.free(keys)
    swept = sweep.blobs(store, files, FOREVER_MS)
    left = [sha256 for sha256 in files if store.find(sha256) is not None]
    if left:
        raise Conflict(
            f"{len(left)} of these files are still held or needed, first {left[0]}; delete their repos first"
        )
    xorbs = sweep.xorbs(xets, unused, FOREVER_MS)
    sweep.tensors(store)
    emptied = sweep.packs(store, shred=packs)
    return Purged(swept.blobs, anew, swept.freed_bytes + xorbs.freed_bytes + emptied.freed_bytes)


def _only_theirs(store: Store, files: Sequence[Sha256]) -> tuple[set[bytes], frozenset[int]]:
    """Tensors that no other file has as its own, and the packs that they lie in."""
    names = list(files)
    other = tables.blob_tensor.alias()
    asked = (
        select(tables.tensor.c.key, tables.tensor.c.pack)
        .join(tables.blob_tensor, tables.blob_tensor.c.tensor == tables.tensor.c.id)
        .where(
            tables.blob_tensor.c.sha256.in_(names),
            ~select(other.c.sha256).where(other.c.tensor == tables.tensor.c.id, other.c.sha256.not_in(names)).exists(),
        )
    )
    with store.db.read() as connection:
        rows = connection.execute(asked).all()
    return {row.key for row in rows}, frozenset(row.pack for row in rows)
