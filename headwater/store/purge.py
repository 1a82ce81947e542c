"""Purge: files that must not be readable again are destroyed, and nothing of them stays behind: not as a parent, not as
a second copy, not in what packs hold and nobody names any more.

For a process that owns the data folder alone. What other files hold as their own bytes stays theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from headwater.ground.db import batches
from headwater.ground.errors import Conflict, Corrupt, Unavailable
from headwater.ground.names import Sha256
from headwater.store import sweep, tables
from headwater.store.blobs import Store, files_on
from headwater.store.packs import PACK_MAGIC
from headwater.store.rebase import Rebaser
from headwater.store.xets import Xets

FOREVER_MS = 1 << 62
NAMED_MAX = 20  # files in an error


@dataclass(frozen=True, slots=True)
class Purged:
    files: int
    anew: int
    freed_bytes: int


def purge(
    store: Store,
    xets: Xets,
    rebaser: Rebaser,
    files: Sequence[Sha256],
    moved: Callable[[Collection[Sha256]], None] = lambda _dependants: None,
) -> Purged:
    """Conflict when a repo still holds one of them, or another file is made from its bytes, or is damaged and needs it.

    `moved` is told which others stood on them, and are stored without parents now, as soon as that is so: for some
    there may be other relatives. Of one that is not here any more, what packs may still hold is destroyed.
    """
    keys = _only_theirs(store, files)
    are_known = all(store.find(sha256) is not None for sha256 in files)
    with store.db.read() as connection:
        built = select(tables.blob_xorb.c.xorb).where(tables.blob_xorb.c.sha256.in_(list(files))).distinct()
        unused = list(connection.execute(built).scalars())
    anew = rebaser.free(keys)
    moved(sorted(_files_of(store, anew) - set(files)))
    _refuse_if_needed(store, keys, files)
    swept = sweep.blobs(store, files, FOREVER_MS)
    left = [sha256 for sha256 in files if store.find(sha256) is not None]
    if left:
        raise Conflict(
            f"{len(left)} of these files are still held or needed, first {left[0]}; delete their repos first"
        )
    xorbs = sweep.xorbs(xets, unused, FOREVER_MS)
    sweep.tensors(store)
    remains = _with_remains(store, keys if are_known else None)
    emptied = sweep.packs(store, shred=remains)
    if remains and not emptied.packs:
        raise Unavailable("Another process is writing packs just now; run it again to destroy what is left in them.")
    return Purged(swept.blobs, len(anew), swept.freed_bytes + xorbs.freed_bytes + emptied.freed_bytes)


def _only_theirs(store: Store, files: Sequence[Sha256]) -> set[bytes]:
    """Tensors that no other file has as its own."""
    names = list(files)
    other = tables.blob_tensor.alias()
    asked = (
        select(tables.tensor.c.key)
        .join(tables.blob_tensor, tables.blob_tensor.c.tensor == tables.tensor.c.id)
        .where(
            tables.blob_tensor.c.sha256.in_(names),
            ~select(other.c.sha256).where(other.c.tensor == tables.tensor.c.id, other.c.sha256.not_in(names)).exists(),
        )
    )
    with store.db.read() as connection:
        return set(connection.execute(asked).scalars())


def _refuse_if_needed(store: Store, keys: Iterable[bytes], files: Collection[Sha256]) -> None:
    """Of others that stand on them, only damaged ones are left: those can't be stored anew."""
    with store.db.read() as connection:
        found = {Sha256(name) for key in keys for name in connection.execute(files_on(key)).scalars()}
    if needing := sorted(found - set(files)):
        raise Conflict(
            f"{len(needing)} damaged files are stored on what is to be destroyed, and can't be stored anew; upload "
            f"them again or delete them, then run it again: {', '.join(needing[:NAMED_MAX])}"
        )


def _files_of(store: Store, keys: Iterable[bytes]) -> set[Sha256]:
    """The files that have one of these tensors as their own."""
    found: set[Sha256] = set()
    uses = tables.blob_tensor
    asked = select(uses.c.sha256).join_from(uses, tables.tensor, tables.tensor.c.id == uses.c.tensor).distinct()
    with store.db.read() as connection:
        for batch in batches(keys):
            rows = connection.execute(asked.where(tables.tensor.c.key.in_(batch)))
            found.update(Sha256(one) for one in rows.scalars())
    return found


def _with_remains(store: Store, keys: set[bytes] | None) -> frozenset[int]:
    """The packs in which one of these tensors may lie between the entries that are named, or behind them; any, if None.

    An entry that was moved, or stored anew, stays where it was until its pack is emptied.
    """
    found = set()
    for number in store.packs.ids():
        try:
            for start, stop in _gaps(store, number):
                remains = store.packs.remains(number, start, stop)
                if remains is None or keys is None or remains & keys:
                    found.add(number)
        except Corrupt:
            found.add(number)  # nobody can tell
    return frozenset(found)


def _gaps(store: Store, number: int) -> Iterator[tuple[int, int]]:
    """What lies in a pack and is of no entry that is named: (start, stop)."""
    tensor, copy = tables.tensor, tables.tensor_copy
    firsts = select(tensor.c.start, tensor.c.length).where(tensor.c.pack == number)
    seconds = select(copy.c.start, tensor.c.length).join(copy, copy.c.tensor == tensor.c.id)
    with store.db.read() as connection:
        named = [*connection.execute(firsts), *connection.execute(seconds.where(copy.c.pack == number))]
    at = len(PACK_MAGIC)
    for start, length in sorted((row[0], row[1]) for row in named):
        if start > at:
            yield at, start
        at = start + length
    size = store.packs.size(number) or 0
    if size > at:
        yield at, size
