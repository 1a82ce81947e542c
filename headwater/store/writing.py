"""Writing: new entries at the end of packs, all of which can be taken back until the database names them.

For whoever holds `Packs.alone`. Refuses to know what is written.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from headwater.store import tables
from headwater.store.blobs import Store
from headwater.store.packs import PACK_BYTES_MAX, Pack, Place

NEWEST = 2  # packs that may have room: an entry's two copies lie in two


class Writing:
    """The packs that are written to; never any of `never`. `flush`, then `record`, or `back`; `close` at the end."""

    def __init__(self, store: Store, never: frozenset[int] = frozenset()) -> None:
        self._store = store
        self._never = never
        self._packs: list[tuple[Pack, int]] = []

    def pack(self, but: int = 0) -> Pack:
        """One with room, other than the one with the number `but`."""
        for pack, _used in reversed(self._packs):
            if pack.size < PACK_BYTES_MAX and pack.number != but:
                return pack
        number, used = self._with_room({but, *self._never, *(pack.number for pack, _used in self._packs)})
        pack = Pack(self._store.packs, number, used)
        self._packs.append((pack, used))
        return pack

    def _with_room(self, never: set[int]) -> tuple[int, int]:
        """Number and size of one of the newest packs, or of a new one."""
        newest = select(tables.pack.c.id, tables.pack.c.size_bytes).order_by(tables.pack.c.id.desc())
        with self._store.db.read() as connection:
            rows = connection.execute(newest.limit(len(self._packs) + NEWEST)).all()
        for row in rows:
            # one that was cut short is damaged: it is not written to
            whole = (self._store.packs.size(row.id) or 0) >= row.size_bytes
            if whole and row.id not in never and row.size_bytes < PACK_BYTES_MAX:
                return row.id, row.size_bytes
        with self._store.db.write() as connection:
            made = insert(tables.pack).values(size_bytes=0, created_ms=self._store.clock.now_ms())
            return int(connection.execute(made.returning(tables.pack.c.id)).scalar_one()), 0

    def cut(self, place: Place) -> None:
        """Takes back the entry that was written last."""
        next(pack for pack, _used in self._packs if pack.number == place.pack).back(place.start)

    def flush(self) -> None:
        for pack, _used in self._packs:
            pack.flush()

    def record(self, connection: Connection) -> None:
        for number, (pack, _used) in enumerate(self._packs):
            sized = update(tables.pack).where(tables.pack.c.id == pack.number).values(size_bytes=pack.size)
            connection.execute(sized)
            self._packs[number] = (pack, pack.size)  # from here on nothing is taken back

    def back(self) -> None:
        with self._store.db.read() as connection:
            for pack, used in self._packs:
                named = connection.execute(
                    select(tables.pack.c.size_bytes).where(tables.pack.c.id == pack.number)
                ).scalar()
                if pack.size > max(used, named or 0):
                    pack.back(max(used, named or 0))

    def close(self) -> None:
        for pack, _used in self._packs:
            pack.close()
