"""Entries: tensors are encoded and written to packs; then, in the caller's transaction, they get their names.

Refuses to know files, and where the raw bytes come from. Until `name` nothing refers to what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from headwater import codec
from headwater.codec import Form, Limits, Parent
from headwater.ground.db import batches
from headwater.ground.errors import Conflict
from headwater.store import tables
from headwater.store.blobs import Store
from headwater.store.encoded import Damaged, Known, Tensors, shape_text
from headwater.store.packs import Index, check_of, encode_index
from headwater.store.writing import Writing

CACHE_BYTES = 12 << 20  # blocks of parents, and of what these stand on: of a stream each is read once or twice
LOOK_BYTES_MAX = 128 << 10  # of one read: it looks at a parent, in a place that others will look at too
LOOKS_BYTES_MAX = 4 << 20  # of one parent's; all that is looked at is about 1 MiB
PARENTS_MAX = 4  # that the codec is offered for one tensor

Why = tuple[bytes, str]
"""The key of a possible parent, and for people the reason why it may be one."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What sealing may cost: of one tensor, `cpu_s` and `memory_bytes`. A file must shrink by the share `margin`."""

    cpu_s: float = 600.0
    memory_bytes: int = 64 << 20
    depth_max: int = 3
    margin: float = 0.03


class Entries:
    """What was written and is not named yet: `pending`, which `known` reads as if it were named."""

    def __init__(self, store: Store, bounds: Bounds, writing: Writing) -> None:
        self._store, self._bounds, self._writing = store, bounds, writing
        self.pending: dict[bytes, Known] = {}
        self.known = Tensors(store.db, store.packs, CACHE_BYTES, self.pending)
        self._rows: list[dict[str, Any]] = []
        self._parents: dict[bytes, tuple[bytes, ...]] = {}
        self.healed: list[bytes] = []
        """Keys of tensors that were damaged, once they are named."""
        self.stored_bytes = 0
        self.derived = 0

    def parents(self, key: bytes, kin: Sequence[Why], allows: Callable[[bytes], bool]) -> list[Why]:
        """Those of `kin` that are not too deep; in place of one that is, what it stands on itself (a key frame), as far
        as that is allowed to be a parent.

        None for a tensor that is here and damaged: what stands on it must not become its parent.
        """
        found: list[Why] = []
        if self._has_row(key):
            return found
        for parent, why in kin:
            known = self.known.find(parent)
            if known is None:
                continue
            if known.depth < self._bounds.depth_max:
                found.append((parent, why))
                continue
            for root in self.known.index(parent).parents:
                above = self.known.find(root)
                if above is None or above.depth >= self._bounds.depth_max or above.form != known.form:
                    continue
                if allows(root):
                    found.append((root, f"{why}, through its own parent"))
        return [(parent, why) for parent, why in dict(found).items() if parent != key][:PARENTS_MAX]

    def write(self, key: bytes, form: Form, size: int, read: Callable[[int, int], bytes], kin: Sequence[Why]) -> Known:
        """Encodes a tensor, with those of `kin` that the codec finds of use, and writes it."""
        try:
            parents = [_remembering(self.known.parent(parent)) for parent, _why in kin]
            encoded = codec.encode(form, size, read, parents, self._limits())
        except Damaged as error:
            self._store.flag_tensor(error.key, error.why)
            kin, parents = [], []
            encoded = codec.encode(form, size, read, [], self._limits())
        used = [kin[number] for number in encoded.parents]
        decoder = codec.Decoder(encoded.head, form, size, [parents[number] for number in encoded.parents])
        step = decoder.block_bytes
        depth = max((self._depth(parent) + 1 for parent, _why in used), default=0)
        checks: list[bytes] = []
        numbers = count()

        def blocks() -> Iterator[bytes]:
            for block in encoded.blocks:
                at = next(numbers) * step
                checks.append(check_of(read(at, min(at + step, size))))
                yield block

        def index(stored: tuple[int, ...]) -> bytes:
            named = tuple(parent for parent, _why in used)
            return encode_index(
                Index(key, size, form.dtype, form.shape, depth, named, encoded.head, step, stored, tuple(checks))
            )

        place = self._writing.pack().append(blocks(), index)
        self.pending[key] = Known(key, form, size, place, depth)
        self._parents[key] = tuple(parent for parent, _why in used)
        self.stored_bytes += place.length
        self.derived += bool(used)
        self._rows.append(
            {
                "key": key, "size": size, "dtype": form.dtype, "shape": shape_text(form), "pack": place.pack,
                "start": place.start, "length": place.length, "index_bytes": place.index_bytes, "depth": depth,
                "kind": encoded.chosen, "why": "; ".join(dict.fromkeys(why for _parent, why in used)),
                "alone_bytes": encoded.alone_bytes,
            }
        )  # fmt: skip
        return self.pending[key]

    def take_back(self, key: bytes) -> None:
        """The last one that was written is not wanted."""
        known = self.pending.pop(key)
        assert self._rows[-1]["key"] == key
        self._rows.pop()
        self.derived -= bool(self._parents.pop(key))
        self.stored_bytes -= known.place.length
        self._writing.cut(known.place)

    def name(self, connection: Connection, same: set[bytes]) -> dict[bytes, int]:
        """Rows for what was written; the ids of it and of `same`, tensors that were found stored.

        A row that is there already gets the new place: a tensor that was damaged, or is stored anew. Conflict when one
        of `same` has gone meanwhile.
        """
        self._writing.record(connection)
        now = self._store.clock.now_ms()
        fresh = {row["key"]: row for row in self._rows}
        known = _rows_of(connection, fresh)
        for key in known:
            # what was damaged is healed: the files that stand on it read the new copy
            if known[key].state == "damaged":
                self.healed.append(key)
            connection.execute(
                update(tables.tensor).where(tables.tensor.c.key == key).values(**fresh[key], state="whole")
            )
            # what it stood on, and a second copy of what it was before; upkeep writes one of what it is now
            for named in (tables.tensor_parent, tables.tensor_copy):
                connection.execute(delete(named).where(named.c.tensor == known[key].id))
        made = [{**row, "created_ms": now} for key, row in fresh.items() if key not in known]
        if made:
            connection.execute(insert(tables.tensor), made)
        links = {(key, parent) for key, parents in self._parents.items() for parent in parents}
        ids = _ids(connection, {*fresh, *same, *(parent for _key, parent in links)})
        if links:
            stands = [{"tensor": ids[key], "parent": ids[parent]} for key, parent in sorted(links)]
            connection.execute(insert(tables.tensor_parent), stands)
        return ids

    def _has_row(self, key: bytes) -> bool:
        with self._store.db.read() as connection:
            return connection.execute(select(tables.tensor.c.id).where(tables.tensor.c.key == key)).first() is not None

    def _depth(self, key: bytes) -> int:
        known = self.known.find(key)
        return 0 if known is None else known.depth

    def _limits(self) -> Limits:
        return Limits(self._bounds.cpu_s, self._bounds.memory_bytes, self._bounds.depth_max)


def _remembering(parent: Parent) -> Parent:
    """The same, but what is read of it in small pieces is remembered: each costs the decoding of a whole block."""
    looks: dict[tuple[int, int], bytes] = {}
    left = LOOKS_BYTES_MAX

    def read(start: int, stop: int) -> bytes:
        nonlocal left
        data = looks.get((start, stop))
        if data is None:
            data = parent.read(start, stop)
            if len(data) <= min(LOOK_BYTES_MAX, left):
                looks[start, stop] = data
                left -= len(data)
        return data

    return Parent(parent.form, parent.size, read)


@dataclass(frozen=True, slots=True)
class _Known:
    id: int
    state: str


def _rows_of(connection: Connection, keys: Iterable[bytes]) -> dict[bytes, _Known]:
    """id and state of those of these tensors that have a row."""
    found: dict[bytes, _Known] = {}
    for batch in batches(keys):
        asked = select(tables.tensor.c.key, tables.tensor.c.id, tables.tensor.c.state).where(
            tables.tensor.c.key.in_(batch)
        )
        for row in connection.execute(asked):
            found[row.key] = _Known(row.id, row.state)
    return found


def _ids(connection: Connection, keys: set[bytes]) -> dict[bytes, int]:
    """Conflict when one of them is not here, or not whole."""
    found = {key: row.id for key, row in _rows_of(connection, keys).items() if row.state == "whole"}
    if len(found) < len(keys):
        missing = min(keys - found.keys())
        raise Conflict(f"The tensor {missing.hex()} went while a file was sealed on it; it will be tried again")
    return found
