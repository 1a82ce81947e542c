"""Mark and sweep, online: bytes that nobody holds go after a grace period; what is doubtful stays.

Blobs go first, then xorbs, then the tensors that no file uses and no other tensor stands on, then packs: an empty one
is deleted, one that is half empty is written anew.

Who holds what is known above the store, which hands in candidates; the database itself refuses to delete the row of a
blob that is held after all. Landing and deleting an object exclude each other, so an upload of the same bytes
meanwhile either keeps the object or writes it anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, Update, and_, delete, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from headwater.ground.errors import Corrupt, Unavailable
from headwater.ground.faults import checkpoint
from headwater.ground.log import log
from headwater.ground.names import Sha256
from headwater.store import tables
from headwater.store.blobs import Store
from headwater.store.hashes import XetHash
from headwater.store.objects import blob_key, xorb_key
from headwater.store.writing import Writing
from headwater.store.xets import Xets

LIVE_SHARE_MIN = 0.5  # of a pack: below it the space is worth copying the rest
PAGE = 500

_HEX64 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Swept:
    blobs: int = 0
    xorbs: int = 0
    objects: int = 0
    tensors: int = 0
    packs: int = 0
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
                    virtual = _made_xorbs(connection, sha256)
                    if _are_needed(connection, sha256, virtual):
                        continue  # other files are made out of this one's bytes until they are sealed themselves
                    connection.execute(delete(tables.dedup).where(tables.dedup.c.xorb.in_(virtual)))
                    connection.execute(tables.xorb.update().where(tables.xorb.c.hash.in_(virtual)).values(state="gone"))
                    connection.execute(delete(tables.blob_xorb).where(tables.blob_xorb.c.sha256 == sha256))
                    connection.execute(delete(tables.blob_tensor).where(tables.blob_tensor.c.sha256 == sha256))
                    connection.execute(delete(tables.blob).where(tables.blob.c.sha256 == sha256))
            except IntegrityError:
                continue  # held since the candidates were listed
            store.forget(sha256)
            for name in virtual:
                store.forget_xorb(name)
            if row.recipe is None:
                freed += store.objects.size(blob_key(sha256)) or 0
                store.objects.delete(blob_key(sha256))
            count += 1
    return Swept(blobs=count, freed_bytes=freed)


def _made_xorbs(connection: Connection, sha256: Sha256) -> list[str]:
    """The virtual xorbs of a file: their bytes are made from it."""
    asked = (
        select(tables.xorb.c.hash)
        .join(tables.blob_xorb, tables.blob_xorb.c.xorb == tables.xorb.c.hash)
        .where(tables.blob_xorb.c.sha256 == sha256, tables.xorb.c.state == "virtual")
    )
    return list(connection.execute(asked).scalars())


def _are_needed(connection: Connection, sha256: Sha256, xorbs: list[str]) -> bool:
    """Whether another file has its raw bytes in these xorbs, or may be healed by them."""
    asked = (
        select(tables.blob_xorb.c.xorb)
        .join(tables.blob, tables.blob.c.sha256 == tables.blob_xorb.c.sha256)
        .where(
            tables.blob_xorb.c.xorb.in_(xorbs),
            tables.blob.c.sha256 != sha256,
            or_(tables.blob.c.raw == "here", tables.blob.c.state == "damaged"),
        )
        .limit(1)
    )
    return connection.execute(asked).first() is not None


def tensors(store: Store) -> Swept:
    """Tensors that no file uses and that no other tensor stands on; then what those stood on, and so on.

    One that is found again while a file is being sealed makes that sealing fail, and it is tried again.
    """
    count = 0
    unused = (
        select(tables.tensor.c.id)
        .where(
            ~exists().where(tables.blob_tensor.c.tensor == tables.tensor.c.id),
            ~exists().where(tables.tensor_parent.c.parent == tables.tensor.c.id),
        )
        .limit(PAGE)
    )
    while True:
        with store.db.write() as connection:
            ids = list(connection.execute(unused).scalars())
            connection.execute(delete(tables.tensor_parent).where(tables.tensor_parent.c.tensor.in_(ids)))
            connection.execute(delete(tables.tensor_copy).where(tables.tensor_copy.c.tensor.in_(ids)))
            connection.execute(delete(tables.tensor).where(tables.tensor.c.id.in_(ids)))
        checkpoint("sweep.tensors")
        count += len(ids)
        if not ids:
            break
    if count:
        store.tensors.forget()
    return Swept(tensors=count)


def packs(store: Store, *, shred: frozenset[int] = frozenset()) -> Swept:
    """Packs without a live entry go; those that are half empty, and those to `shred`, are written anew first. What
    is left of packs in the folder is shredded, too, where anything is.

    Nothing happens while somebody else writes packs. Readers that were told of the old place look again.
    """
    count = freed = 0
    try:
        with store.packs.alone():
            for number in _numbers(store):
                size, live = _filled(store, number)
                freed += store.packs.cut(number, size)
                if not size and number not in shred:
                    continue  # it was just begun
                if live and live >= size * LIVE_SHARE_MIN and number not in shred:
                    continue
                try:
                    if live:
                        _move(store, number, shred | {number})
                except Corrupt as error:
                    if number in shred:
                        raise
                    log.error("pack not emptied", pack=number, why=error.text)
                    continue
                if not _delete_row(store, number):
                    continue
                checkpoint("sweep.packs")
                freed += max(size - live, 0)
                if number in shred:
                    store.packs.shred(number)
                count += 1
            with store.db.read() as connection:
                named = set(connection.execute(select(tables.pack.c.id)).scalars())
            for number in store.packs.ids():
                if number not in named:  # emptied just now, or before a crash
                    store.packs.shred(number) if shred else store.packs.delete(number)
    except Unavailable:
        return Swept()
    return Swept(packs=count, freed_bytes=freed)


def _numbers(store: Store) -> list[int]:
    with store.db.read() as connection:
        return list(connection.execute(select(tables.pack.c.id).order_by(tables.pack.c.id)).scalars())


def _filled(store: Store, number: int) -> tuple[int, int]:
    """The size of a pack, and how many bytes of it are of entries that are named."""
    with store.db.read() as connection:
        size = connection.execute(select(tables.pack.c.size_bytes).where(tables.pack.c.id == number)).scalar()
        return size or 0, _live_bytes(connection, number)


def _live_bytes(connection: Connection, number: int) -> int:
    tensor, copy = tables.tensor, tables.tensor_copy
    live = select(func.coalesce(func.sum(tensor.c.length), 0))
    seconds = live.join(copy, copy.c.tensor == tensor.c.id).where(copy.c.pack == number)
    firsts = connection.execute(live.where(tensor.c.pack == number)).scalar_one()
    return int(firsts) + int(connection.execute(seconds).scalar_one())


def _delete_row(store: Store, number: int) -> bool:
    """False if something in the pack is named after all: a second copy that a reader has just put in the place of a
    damaged first one (`Store.lose_copy`)."""
    with store.db.write() as connection:
        if _live_bytes(connection, number):
            return False
        connection.execute(delete(tables.pack).where(tables.pack.c.id == number))
    return True


@dataclass(frozen=True, slots=True)
class _Entry:
    """A live entry of a pack. `other_pack`: where the tensor's other copy lies; `named`: its row, to be changed if it
    still says so."""

    start: int
    length: int
    other_pack: int
    named: Update


def _entries(store: Store, number: int) -> list[_Entry]:
    tensor, copy = tables.tensor, tables.tensor_copy
    firsts = select(tensor.c.id, tensor.c.start, tensor.c.length, copy.c.pack)
    firsts = firsts.join(copy, copy.c.tensor == tensor.c.id, isouter=True).where(tensor.c.pack == number)
    seconds = select(tensor.c.id, copy.c.start, tensor.c.length, tensor.c.pack)
    seconds = seconds.join(copy, copy.c.tensor == tensor.c.id).where(copy.c.pack == number)
    with store.db.read() as connection:
        return [
            _Entry(start, length, other or 0, _as_read(table, number, start).where(key == id_))
            for asked, table, key in ((firsts, tensor, tensor.c.id), (seconds, copy, copy.c.tensor))
            for id_, start, length, other in connection.execute(asked)
        ]


def _as_read(table: Table, number: int, start: int) -> Update:
    return update(table).where(table.c.pack == number, table.c.start == start)


def _move(store: Store, number: int, never: frozenset[int]) -> None:
    """Copies the live entries of a pack to others, none of `never`: on the disk first, then they are named at once.

    Two copies of an entry never come to lie in one pack.
    """
    entries = _entries(store, number)
    writing = Writing(store, never)
    try:
        moved = []
        for entry in sorted(entries, key=lambda one: one.start):
            pack = writing.pack(entry.other_pack)
            start = pack.copy(store.packs, number, entry.start, entry.start + entry.length)
            moved.append(entry.named.values(pack=pack.number, start=start))
        writing.flush()
        checkpoint("sweep.moved")
        with store.db.write() as connection:
            writing.record(connection)
            for named in moved:
                connection.execute(named)
    except BaseException:
        writing.back()
        raise
    finally:
        writing.close()
    store.tensors.forget()


def unnamed(store: Store, before_ms: int) -> Swept:
    """Objects written before `before_ms` that no row names: what a crash left between an object and its row.

    For the process that owns the data folder alone. Walks all objects.
    """
    # an object of a damaged file may be what heals it, wherever it came from
    is_read = or_(tables.blob.c.raw != "gone", tables.blob.c.state == "damaged")
    whole = (tables.blob.c.sha256, and_(tables.blob.c.recipe.is_(None), is_read))
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
