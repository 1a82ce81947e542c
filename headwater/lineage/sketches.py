"""Sketches: the table of what was looked at, kept and given back; and the scan over it that the search is.

Whose a file is and who may see it is `readers`' business: nothing here is filtered by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, delete, insert, select

from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.names import Sha256
from headwater.lineage import search
from headwater.lineage import sketch as sketching
from headwater.lineage.align import Probed, probed
from headwater.lineage.sketch import Sketch
from headwater.lineage.tables import sketch, sketch_data, sketch_shape
from headwater.store.tables import blob

BATCH = 500  # names in one statement
SCANNED_AT_ONCE = 1024  # files: 2 MB of rows
SCANNED_MAX = 200_000  # the newest of one family of shapes: three seconds; larger families are found by their cards


@dataclass(frozen=True, slots=True)
class Known:
    """A file that was looked at: `id` is its place in the order of arrival; `tensors` 0 if it has none to speak of."""

    id: int
    sha256: Sha256
    tensors: int


@dataclass(frozen=True, slots=True)
class Near:
    """A file that the search found: `saved` in bits of the compared elements, `bits` their mean difference."""

    id: int
    sha256: Sha256
    saved: float
    bits: float


_BY_SHA = select(sketch.c.id, sketch.c.sha256, sketch.c.tensors).where(sketch.c.sha256 == bindparam("of_sha"))
_BY_SHAS = select(sketch.c.id, sketch.c.sha256, sketch.c.tensors).where(
    sketch.c.sha256.in_(bindparam("of_shas", expanding=True)), sketch.c.tensors > 0
)
_DATA = (
    select(sketch_data.c.data)
    .join_from(sketch_data, sketch, sketch.c.id == sketch_data.c.sketch_id)
    .where(sketch.c.sha256 == bindparam("of_sha"))
)
_SHARING_A_SHAPE = (
    select(sketch.c.id, sketch.c.sha256, sketch.c.probes)
    .where(
        sketch.c.id.in_(
            select(sketch_shape.c.sketch_id).where(sketch_shape.c.shape.in_(bindparam("of_shapes", expanding=True)))
        ),
        sketch.c.id < bindparam("stop"),
    )
    .order_by(sketch.c.id.desc())
    .limit(SCANNED_MAX)
)
_ROWS = select(sketch.c.id, sketch.c.sha256, sketch.c.probes).where(
    sketch.c.sha256.in_(bindparam("of_shas", expanding=True)), sketch.c.tensors > 0
)
NEVER = 1 << 62  # after every arrival


class Sketches:
    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def put(self, sha256: Sha256, made: Sketch | None) -> Known | None:
        """Keeps a file's sketch; None says that it was looked at and has none. Kept already: the older one stays.

        None comes back when the blob itself is gone meanwhile.
        """
        tensors = 0 if made is None else len(made.tensors)
        probes = search.choose(probed(made)) if made is not None else None
        row = {
            "sha256": sha256,
            "tensors": tensors,
            "probes": probes.rows.tobytes() if probes else b"",
            "made_ms": self._clock.now_ms(),
        }
        data = sketching.encode(made) if made is not None else b""
        with self._db.write_soft() as connection:
            if connection.execute(select(blob.c.sha256).where(blob.c.sha256 == sha256)).first() is None:
                return None
            known = _known(connection, sha256)
            if known is not None:
                return known
            made_id = connection.execute(insert(sketch).values(row).returning(sketch.c.id)).scalar_one()
            if made is not None and probes is not None:
                connection.execute(insert(sketch_data), {"sketch_id": made_id, "data": data})
                shapes = [{"shape": key, "sketch_id": made_id} for key in probes.shapes]
                if shapes:
                    connection.execute(insert(sketch_shape), shapes)
        return Known(made_id, sha256, tensors)

    def forget(self, sha256: Sha256) -> None:
        """To be looked at anew: it arrives again, last."""
        with self._db.write_soft() as connection:
            connection.execute(delete(sketch).where(sketch.c.sha256 == sha256))

    def known(self, sha256: Sha256) -> Known | None:
        with self._db.read() as connection:
            return _known(connection, sha256)

    def of(self, sha256: Sha256) -> Probed | None:
        """The sketch of a tensor file. Corrupt if what is stored can't be read."""
        with self._db.read() as connection:
            data = connection.execute(_DATA, {"of_sha": sha256}).scalar()
        return None if data is None else probed(sketching.decode(data))

    def arrivals(self, names: Sequence[Sha256]) -> dict[Sha256, Known]:
        """Those of these files that have a sketch."""
        found: dict[Sha256, Known] = {}
        with self._db.read() as connection:
            for at in range(0, len(names), BATCH):
                for row in connection.execute(_BY_SHAS, {"of_shas": names[at : at + BATCH]}):
                    found[Sha256(row.sha256)] = Known(row.id, Sha256(row.sha256), row.tensors)
        return found

    def near(self, target: Probed, stop: int = NEVER) -> list[Near]:
        """The files that arrived before `stop`, share a large shape, and are nearer than chance; nearest first."""
        chosen = search.choose(target)
        asked = {"of_shapes": list(chosen.shapes), "stop": stop}
        with self._db.read() as connection:
            rows = connection.execute(_SHARING_A_SHAPE, asked)
            return _ranked(chosen, rows.partitions(SCANNED_AT_ONCE))

    def nearest_of(self, target: Probed, names: Sequence[Sha256]) -> list[Near]:
        """These files, as far as they are nearer than chance; nearest first."""
        chosen = search.choose(target)
        with self._db.read() as connection:
            batches = (names[at : at + BATCH] for at in range(0, len(names), BATCH))
            return _ranked(chosen, (connection.execute(_ROWS, {"of_shas": batch}).all() for batch in batches))


def _known(connection: Connection, sha256: Sha256) -> Known | None:
    row = connection.execute(_BY_SHA, {"of_sha": sha256}).first()
    return None if row is None else Known(row.id, Sha256(row.sha256), row.tensors)


def _ranked(chosen: search.Probes, batches: Iterator[Sequence[Any]]) -> list[Near]:
    found: list[Near] = []
    for batch in batches:
        told = search.nearness_of(chosen.rows, [row.probes for row in batch])
        found += (
            Near(batch[i].id, Sha256(batch[i].sha256), float(told.saved[i]), float(told.bits[i]))
            for i in np.flatnonzero(told.related).tolist()
        )
    return sorted(found, key=lambda near: (-near.saved, near.id))
