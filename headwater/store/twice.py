"""Twice: the tensors that many others stand on are kept twice, in two packs, so that no single damage takes a family.

A second copy is the first one's entry, byte for byte. It is written in the background, proven by decoding it, flushed,
and only then named; it goes when few stand on the tensor any more. Who reads turns to it by himself (`encoded.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, func, insert, literal, select

from headwater.ground.db import batches
from headwater.ground.errors import Corrupt, Unavailable
from headwater.ground.faults import checkpoint
from headwater.ground.log import log
from headwater.store import tables
from headwater.store.blobs import Store, standing_on
from headwater.store.encoded import KNOWN, Damaged, Known, known_of
from headwater.store.packs import Place
from headwater.store.writing import Writing

ROUND_BYTES_MAX = 4 << 30  # written at one call: decoding it is half a minute of a core, beside whoever is served
BATCH_BYTES = 256 << 20  # between two of these others may write packs
KEPT_SHARE = 0.5  # of the tensors that a copy was made for: a family that grows and shrinks by a few keeps it
PAGE = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """Second copies that were written, and that went; bytes of the written ones."""

    written: int = 0
    dropped: int = 0
    written_bytes: int = 0


def keep(store: Store, least: int, bytes_max: int = ROUND_BYTES_MAX) -> Kept:
    """Second copies of the tensors that at least `least` others stand on, directly or not; of none if it is 0.

    Up to about `bytes_max`: what is left is written at the next call, as is what another writer of packs or a full
    disk prevents.
    """
    wanted, unwanted = _looked_over(store, least)
    dropped = _drop(store, unwanted)
    written = written_bytes = 0
    try:
        for batch in _batches(store, wanted, bytes_max):
            with store.packs.alone():
                made = _write(store, batch)
            written += len(made)
            written_bytes += sum(place.length for place in made)
    except Unavailable as error:
        log.info("second copies wait", why=error.text)
    return Kept(written, dropped, written_bytes)


def _looked_over(store: Store, least: int) -> tuple[list[int], list[int]]:
    """The tensors that should have a second copy and have none, and those that have one and should not."""
    kept = set(_kept(store))
    if not least:
        return [], sorted(kept)
    wanted: list[int] = []
    needed: set[int] = set()
    for tensor, count in _standing(store):
        if count >= least and tensor not in kept:
            wanted.append(tensor)
        if count >= KEPT_SHARE * least:
            needed.add(tensor)
    return wanted, sorted(kept - needed)


def _kept(store: Store) -> list[int]:
    with store.db.read() as connection:
        return list(connection.execute(select(tables.tensor_copy.c.tensor)).scalars())


def _standing(store: Store) -> Iterator[tuple[int, int]]:
    """How many others stand on a tensor, at any depth: of all on which any does, a page at a time."""
    link = tables.tensor_parent
    after = 0
    while True:
        parents = select(link.c.parent).where(link.c.parent > after).distinct().order_by(link.c.parent).limit(PAGE)
        with store.db.read() as connection:
            page = list(connection.execute(parents).scalars())
            below = standing_on(page)
            counted = select(below.c.root, func.count() - 1).group_by(below.c.root).order_by(below.c.root)
            counts = [(int(row[0]), int(row[1])) for row in connection.execute(counted)]
        yield from counts
        if len(page) < PAGE:
            return
        after = page[-1]


def _drop(store: Store, tensors: Sequence[int]) -> int:
    """The rows; what they named is emptied with its pack. Only where the first copy is proven to be right."""
    count = 0
    for batch in batches(tensors):
        with store.db.read() as connection:
            rows = [known_of(row) for row in connection.execute(KNOWN.where(tables.tensor.c.id.in_(batch)))]
        right = [known.id for known in rows if known.second is not None and _first_is_right(store, known)]
        with store.db.write() as connection:
            count += connection.execute(
                delete(tables.tensor_copy).where(tables.tensor_copy.c.tensor.in_(right))
            ).rowcount
    return count


def _first_is_right(store: Store, known: Known) -> bool:
    """False, too, if the second one took its place."""
    try:
        store.tensors.prove(known.copies[0])
    except Damaged as error:
        if error.key == known.key:
            with contextlib.suppress(Damaged):  # else each may have what the other one lacks
                store.lose_first(known, error.why)
        return False
    return True


def _batches(store: Store, tensors: Sequence[int], bytes_max: int) -> Iterator[list[int]]:
    """Of about BATCH_BYTES each, in the order of their rows: parents come before what stands on them."""
    batch: list[int] = []
    size = total = 0
    for page in batches(tensors):
        asked = select(tables.tensor.c.id, tables.tensor.c.length).where(tables.tensor.c.id.in_(page))
        with store.db.read() as connection:
            rows = connection.execute(asked.order_by(tables.tensor.c.id)).all()
        for row in rows:
            if total >= bytes_max:
                break
            batch.append(row.id)
            size, total = size + row.length, total + row.length
            if size >= BATCH_BYTES or len(batch) == PAGE:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _write(store: Store, tensors: Sequence[int]) -> list[Place]:
    """Copies, proven and on the disk before they are named. For whoever holds `Packs.alone`."""
    with store.db.read() as connection:
        asked = KNOWN.where(tables.tensor.c.id.in_(tensors), tables.tensor_copy.c.tensor.is_(None))
        rows = [known_of(row) for row in connection.execute(asked.order_by(tables.tensor.c.id))]
    writing = Writing(store)
    try:
        made = [(known, place) for known in rows if (place := _copied(store, writing, known)) is not None]
        if not made:
            return []
        writing.flush()
        checkpoint("twice.written")
        with store.db.write() as connection:
            writing.record(connection)
            named = [place for known, place in made if _name(connection, known, place)]
        checkpoint("twice.named")
    except BaseException:
        writing.back()
        raise
    finally:
        writing.close()
    return named


def _copied(store: Store, writing: Writing, known: Known) -> Place | None:
    """Where the copy lies; None if it is not right, for which the tensor itself is marked if the fault is its own."""
    pack = writing.pack(but=known.place.pack)
    begin = pack.size
    place = replace(known.place, pack=pack.number, start=begin)
    try:
        pack.copy(store.packs, known.place.pack, known.place.start, known.place.start + known.place.length)
        store.tensors.prove(replace(known, place=place))
    except Corrupt as error:
        pack.back(begin)
        log.error("tensor not copied", tensor=known.key.hex(), why=error.text)
        try:
            store.tensors.prove(known)
        except Damaged as damage:
            store.flag_tensor(damage.key, damage.why)
        return None
    return place


def _name(connection: Connection, known: Known, place: Place) -> bool:
    """False if the tensor was swept or marked meanwhile."""
    tensor = tables.tensor.c
    still = select(tensor.id, literal(place.pack), literal(place.start)).where(
        tensor.id == known.id,
        tensor.pack == known.place.pack,
        tensor.start == known.place.start,
        tensor.state == "whole",
    )
    return connection.execute(insert(tables.tensor_copy).from_select(["tensor", "pack", "start"], still)).rowcount == 1
