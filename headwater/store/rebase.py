"""Rebase: tensors of a sealed file are stored anew, on other parents or alone; the file's recipe stays as it is.

For two reasons: what a tensor stands on must not be its parent any more (somebody may read the one and not the other,
or the other is to be destroyed), or a better parent came later. A tensor never comes to stand on what stands on it,
and never so that anything becomes deeper than the limit. Each is decoded and compared before it takes the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sqlalchemy import Connection, delete, func, literal, select

from headwater.codec import Hasher
from headwater.ground.errors import Conflict, Corrupt, HeadwaterError
from headwater.ground.faults import checkpoint
from headwater.ground.log import log
from headwater.ground.names import Sha256
from headwater.store import tables
from headwater.store.encoded import CHAIN_MAX, Known
from headwater.store.entries import PARENTS_MAX, Entries, Why
from headwater.store.kin import Kin, May, Relative, no_other, tensors_of
from headwater.store.seal import Report, Sealer, Stopped
from headwater.store.splitting import Beside
from headwater.store.writing import Writing

GAIN = 0.9  # a tensor moves to a better parent if it takes less than this share of what it takes now


class Rebaser(Sealer):
    """Stores files anew, one after the other; one that is not sealed yet is sealed."""

    _moving: set[bytes]
    """What is moved, and all above it: nothing of it becomes a parent meanwhile."""

    def rebase(
        self,
        sha256: Sha256,
        name: str,
        relatives: Sequence[Relative] = (),
        may: May = no_other,
        beside: Sequence[Beside] = (),
    ) -> Report:
        """Only tensors of these relatives, and others that `may` says yes to, are parents of the file's afterwards."""
        self._store.forget(sha256)
        blob = self._store.blob(sha256)
        if not blob.sealed and not blob.damaged:
            return self.seal(sha256, name, relatives, may, beside)
        with self._store.packs.alone(self._wait_s):
            recipe = self._store.sealed_recipe(blob)
            unused: list[str] = []
            kin = Kin(self._store, relatives, unused, may)
            offered: dict[bytes, list[Why]] = {}
            for tensor in tensors_of(self._store, blob, name, beside):
                for piece in recipe.segments(tensor.start, tensor.stop):
                    if piece.key and piece.start == 0:
                        offered.setdefault(piece.key, []).extend(kin.of(tensor.name))
            own = recipe.keys
            moved = self._stored_anew(sha256, sorted(own), offered, lambda key: key in own or kin.allows(key))
        return Report(sha256, blob.size, True, "", sum(known.place.length for known in moved), len(recipe.keys),
                      derived=len(moved), unused=tuple(unused))  # fmt: skip

    def free(self, keys: Iterable[bytes]) -> list[bytes]:
        """No tensor but these stands on any of these afterwards; the keys of those that were stored anew."""
        banned = set(keys)
        with self._store.packs.alone(self._wait_s):
            children = sorted(self._children(banned) - banned)
            return [known.key for known in self._stored_anew(None, children, {}, lambda key: key not in banned)]

    def _stored_anew(
        self,
        sha256: Sha256 | None,
        keys: Sequence[bytes],
        offered: dict[bytes, list[Why]],
        may_stay: Callable[[bytes], bool],
    ) -> list[Known]:
        """Each of `keys` whose parents may not stay, or that is `offered` a better one."""
        writing = Writing(self._store)
        entries = Entries(self._store, self._bounds, writing)
        moved: list[Known] = []
        self._moving = set()
        try:
            for number, key in enumerate(keys):
                if not self._going():
                    raise Stopped("Sealing was told to stop")
                known = entries.known.find(key)
                if known is not None:
                    new = self._anew(entries, known, offered.get(key, []), may_stay, self._is_shared(key, sha256))
                    moved += [new] if new else []
                self._progress(number + 1, len(keys))
            writing.flush()
            checkpoint("rebase.packed")
            for known in moved:
                self._prove_moved(entries, known)
            with self._store.db.write() as connection:
                entries.name(connection, set())
                for known in moved:
                    _deepen(connection, known.key)
                    # of what it was before; upkeep writes one of what it is now
                    same = select(tables.tensor.c.id).where(tables.tensor.c.key == known.key)
                    connection.execute(delete(tables.tensor_copy).where(tables.tensor_copy.c.tensor.in_(same)))
            checkpoint("rebase.switched")
        except BaseException:
            writing.back()
            raise
        finally:
            writing.close()
        self._store.tensors.forget()
        return moved

    def _anew(
        self, entries: Entries, known: Known, offered: Sequence[Why], may_stay: Callable[[bytes], bool], shared: bool
    ) -> Known | None:
        try:
            return self._one(entries, known, offered, may_stay, shared)
        except HeadwaterError:
            raise
        except Exception as error:  # noqa: BLE001 - a mistake of the codec's costs space, and not the other tensors
            log.error("tensor not encoded", dtype=known.form.dtype, shape=known.form.shape, exc_info=error)
            return self._one(entries, known, [], may_stay, shared)

    def _one(
        self, entries: Entries, known: Known, offered: Sequence[Why], may_stay: Callable[[bytes], bool], shared: bool
    ) -> Known | None:
        """The tensor as it is stored now, if it is better or has to be."""
        parents = self._store.tensors.index(known.key).parents
        must = not all(may_stay(parent) for parent in parents)
        # what other files share is not moved to a better parent, which their readers might not be allowed
        kin = [] if shared else self._fit(known.key, offered, entries)
        if not must and (shared or not kin or {parent for parent, _why in kin} <= set(parents)):
            return None
        read = partial(self._store.tensors.read, known.key)
        new = entries.write(known.key, known.form, known.size, read, kin)
        if must or new.place.length < GAIN * known.place.length:
            self._moving |= {known.key, *self._heights(known.key)}
            return new
        entries.take_back(known.key)
        return None

    def _fit(self, key: bytes, offered: Sequence[Why], entries: Entries) -> list[Why]:
        """Those that do not stand on this tensor, and leave what stands on it above the depth limit."""
        below = self._heights(key)
        height = max(below.values(), default=0)
        found: dict[bytes, str] = {}
        for parent, why in offered:
            known = entries.known.find(parent)
            if known is None or parent == key or parent in below or parent in self._moving:
                continue
            if known.depth + 1 + height <= self._bounds.depth_max:
                found.setdefault(parent, why)
        return list(found.items())[:PARENTS_MAX]

    def _heights(self, key: bytes) -> dict[bytes, int]:
        """What stands on a tensor, directly or not, and by how many levels at most."""
        with self._store.db.read() as connection:
            return _descendants(connection, key)

    def _children(self, keys: set[bytes]) -> set[bytes]:
        parent, child = tables.tensor.alias(), tables.tensor.alias()
        link = tables.tensor_parent
        with self._store.db.read() as connection:
            return {
                found
                for key in keys
                for found in connection.execute(
                    select(child.c.key)
                    .join(link, link.c.tensor == child.c.id)
                    .join(parent, parent.c.id == link.c.parent)
                    .where(parent.c.key == key)
                ).scalars()
            }

    def _is_shared(self, key: bytes, sha256: Sha256 | None) -> bool:
        asked = (
            select(tables.blob_tensor.c.sha256)
            .join(tables.tensor, tables.tensor.c.id == tables.blob_tensor.c.tensor)
            .where(tables.tensor.c.key == key, tables.blob_tensor.c.sha256 != (sha256 or ""))
        )
        with self._store.db.read() as connection:
            return connection.execute(asked.limit(1)).first() is not None

    def _prove_moved(self, entries: Entries, known: Known) -> None:
        hasher = Hasher(known.form)
        for piece in entries.known.pieces(known.key, 0, known.size):
            hasher.update(piece)
        if hasher.key() != known.key:
            raise Corrupt(f"The tensor {known.key.hex()} does not come back as it was; it stays as it is")


def _descendants(connection: Connection, key: bytes) -> dict[bytes, int]:
    link = tables.tensor_parent.alias()
    below = (
        select(tables.tensor_parent.c.tensor.label("id"), literal(1).label("level"))
        .join(tables.tensor, tables.tensor.c.id == tables.tensor_parent.c.parent)
        .where(tables.tensor.c.key == key)
        .cte("below", recursive=True)
    )
    below = below.union(
        select(link.c.tensor, below.c.level + 1)
        .join(below, link.c.parent == below.c.id)
        .where(below.c.level < CHAIN_MAX)
    )
    asked = (
        select(tables.tensor.c.key, func.max(below.c.level))
        .join(below, below.c.id == tables.tensor.c.id)
        .group_by(tables.tensor.c.key)
    )
    return {row[0]: int(row[1]) for row in connection.execute(asked)}


def _deepen(connection: Connection, key: bytes) -> None:
    """The depth of what stands on a tensor follows it; Conflict where that would be a circle."""
    below = _descendants(connection, key)
    if key in below or max(below.values(), default=0) >= CHAIN_MAX:
        raise Conflict(f"The tensor {key.hex()} would stand on itself")
    parent, link = tables.tensor.alias(), tables.tensor_parent
    for child, _level in sorted(below.items(), key=lambda one: one[1]):
        deepest = (
            select(func.max(parent.c.depth) + 1)
            .join(link, link.c.parent == parent.c.id)
            .where(link.c.tensor == tables.tensor.c.id)
            .correlate(tables.tensor)
            .scalar_subquery()
        )
        connection.execute(tables.tensor.update().where(tables.tensor.c.key == child).values(depth=deepest))
