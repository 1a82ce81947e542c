"""Evict: raw bytes of sealed files go when their grace is over; those of hot files stay, or come back.

In two steps, so that nobody who was told of a file finds it gone: a raw copy is *leaving* from one look to the next,
when readers take the sealed copy already and the object is still there; then it is deleted. A xorb whose bytes are
all in sealed files becomes *virtual*: its hashes and lengths stay, its bytes are made from those files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, or_, select, update

from headwater.ground.errors import Corrupt, HeadwaterError
from headwater.ground.faults import checkpoint
from headwater.ground.log import log
from headwater.ground.names import Sha256
from headwater.store import tables
from headwater.store.blobs import Blob, Store, stands_on_damage, wrong_bytes
from headwater.store.hashes import XetHash
from headwater.store.objects import Part, blob_key, read_pieces, xorb_key
from headwater.store.xets import READABLE, Xets

PAGE = 500


@dataclass(frozen=True, slots=True)
class Evicted:
    """Raw copies that began to leave, were deleted, came back; xorbs that became virtual; bytes freed by deleting."""

    leaving: int = 0
    gone: int = 0
    warmed: int = 0
    virtual: int = 0
    freed_bytes: int = 0


def evict(
    store: Store, xets: Xets, before_ms: int, keep_ms: int, cache_bytes: int, heat: Mapping[Sha256, int]
) -> Evicted:
    """`before_ms`: files sealed since then keep their raw bytes; `keep_ms`: xorbs offered since then are remembered by
    clients. Files that were read (`heat`, in bytes) keep or get back their raw bytes, up to `cache_bytes` in all."""
    gone, freed = _delete(store)
    hot = _hot(store, cache_bytes, heat)
    leaving = 0
    for sha256 in _due(store, before_ms):
        if sha256 not in hot:
            leaving += _leave(store, sha256)
    virtual = sum(_virtual(xets, name, keep_ms) for name in _unneeded_xorbs(store))
    warmed = sum(_warm(store, sha256) for sha256 in hot)
    return Evicted(leaving, gone, warmed, virtual, freed)


def _delete(store: Store) -> tuple[int, int]:
    """Objects that were leaving at the last look. Not of a file whose sealed copy is known to be damaged, or stands on
    what is: its raw bytes may be the last right ones.

    Each goes in the transaction that tells of it: a row that says otherwise has its object (`Store.go_back`).
    """
    count = freed = 0
    leaving = select(tables.blob.c.sha256).where(
        tables.blob.c.raw == "leaving", tables.blob.c.sealed.is_not(None), tables.blob.c.state == "whole"
    )
    for name in _names(store, leaving, tables.blob.c.sha256):
        with store.stripes.hold(name), store.db.write_soft() as connection:
            gone = update(tables.blob).where(
                tables.blob.c.sha256 == name,
                tables.blob.c.raw == "leaving",
                tables.blob.c.sealed.is_not(None),
                tables.blob.c.state == "whole",
            )
            if stands_on_damage(connection, name) or not connection.execute(gone.values(raw="gone")).rowcount:
                continue
            freed += store.objects.size(blob_key(name)) or 0
            store.objects.delete(blob_key(name))
            checkpoint("evict.deleted")
            count += 1
        store.forget(name)
    virtual = select(tables.xorb.c.hash).where(tables.xorb.c.state == "virtual")
    for name in _names(store, virtual, tables.xorb.c.hash):
        key = xorb_key(XetHash(name))
        if store.objects.size(key) is None:
            continue
        with store.stripes.hold(name), store.db.write_soft() as connection:
            row = connection.execute(
                select(tables.xorb.c.raw_bytes).where(tables.xorb.c.hash == name, tables.xorb.c.state == "virtual")
            ).first()
            if row is not None and store.covers(connection, XetHash(name), row.raw_bytes):
                freed += store.objects.size(key) or 0
                store.objects.delete(key)
    return count, freed


def _due(store: Store, before_ms: int) -> Iterator[Sha256]:
    sealed = select(tables.blob.c.sha256).where(
        tables.blob.c.sealed.is_not(None),
        tables.blob.c.raw == "here",
        tables.blob.c.state == "whole",
        tables.blob.c.seal_ms < before_ms,
    )
    return (Sha256(name) for name in _names(store, sealed, tables.blob.c.sha256))


def _leave(store: Store, sha256: Sha256) -> int:
    """Readers take the sealed copy from here on. Durable: the object is deleted by who believes this."""
    with store.stripes.hold(sha256):
        with store.db.write() as connection:
            leaving = update(tables.blob).where(
                tables.blob.c.sha256 == sha256,
                tables.blob.c.sealed.is_not(None),
                tables.blob.c.raw == "here",
                tables.blob.c.state == "whole",
            )
            count = connection.execute(leaving.values(raw="leaving")).rowcount
        store.forget(sha256)
    checkpoint("evict.leaving")
    return count


def _hot(store: Store, cache_bytes: int, heat: Mapping[Sha256, int]) -> list[Sha256]:
    """The files that were read most, each at least once over, as many as fit."""
    found: list[Sha256] = []
    left = cache_bytes
    for sha256, read_bytes in sorted(heat.items(), key=lambda one: -one[1]):
        blob = store.find(sha256)
        if blob is None or not blob.sealed or blob.damaged or read_bytes < blob.size:
            continue
        room = _room(store, blob)
        if room is not None and room <= left:
            left -= room
            found.append(sha256)
    return found


def _room(store: Store, blob: Blob) -> int | None:
    """Bytes of the objects that its raw bytes are in; None if they can't come back."""
    if blob.terms is None:
        return blob.size
    with store.db.read() as connection:
        rows = connection.execute(_xorbs_of(blob.sha256)).all()
    return None if any(row.state not in READABLE for row in rows) else sum(row.raw_bytes for row in rows)


def _xorbs_of(sha256: str) -> Select[Any]:
    built = select(tables.blob_xorb.c.xorb).where(tables.blob_xorb.c.sha256 == sha256)
    return select(tables.xorb.c.hash, tables.xorb.c.state, tables.xorb.c.raw_bytes).where(tables.xorb.c.hash.in_(built))


def _warm(store: Store, sha256: Sha256) -> int:
    """The raw bytes of a sealed file come back: as an object, or as the xorbs that it is made of."""
    store.forget(sha256)
    blob = store.find(sha256)
    if blob is None or blob.raw_here or not blob.sealed or blob.damaged:
        return 0
    try:
        if blob.terms is None:
            _write_raw(store, blob)
        else:
            _write_xorbs(store, blob)
    except HeadwaterError as error:
        log.warning("a hot file stays sealed", sha256=sha256, why=error.text)
        return 0
    return 1


def _write_xorbs(store: Store, blob: Blob) -> None:
    """Corrupt if one can't be made: what was written of the others goes at the next look."""
    with store.db.read() as connection:
        rows = connection.execute(_xorbs_of(blob.sha256)).all()
    for row in rows:
        name = XetHash(row.hash)
        if row.state == "here":
            continue
        if store.objects.size(xorb_key(name)) is None:
            with store.objects.begin() as part:
                for piece in read_pieces(store.xorb_pieces(name, 0, row.raw_bytes)):
                    part.write(piece)
                with store.stripes.hold(name):
                    store.objects.land(part, xorb_key(name))
        if not store.mend_xorb(name):
            raise Corrupt(f"The xorb {name} can't be made of sealed files")
    with store.stripes.hold(blob.sha256):
        with store.db.write_soft() as connection:
            if any(row.state != "here" for row in connection.execute(_xorbs_of(blob.sha256))):
                raise Corrupt("one of its xorbs went meanwhile")
            here = update(tables.blob).where(
                tables.blob.c.sha256 == blob.sha256, tables.blob.c.sealed.is_not(None), tables.blob.c.raw != "here"
            )
            connection.execute(here.values(raw="here"))
        store.forget(blob.sha256)


def _write_raw(store: Store, blob: Blob) -> None:
    with store.objects.begin() as part:
        wrong = wrong_bytes(blob, _written(part, store.sealed_bytes(blob)))
        if wrong is not None:
            raise Corrupt(wrong)
        with store.stripes.hold(blob.sha256):
            store.objects.land(part, blob_key(blob.sha256))
            with store.db.write_soft() as connection:
                here = update(tables.blob).where(
                    tables.blob.c.sha256 == blob.sha256, tables.blob.c.sealed.is_not(None), tables.blob.c.raw != "here"
                )
                connection.execute(here.values(raw="here"))
            store.forget(blob.sha256)


def _written(part: Part, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        part.write(piece)
        yield piece


def _unneeded_xorbs(store: Store) -> Iterator[XetHash]:
    """Xorbs whose files are all sealed, and read by their sealed copies."""
    asked = select(tables.xorb.c.hash).where(
        tables.xorb.c.state == "here",
        exists().where(tables.blob_xorb.c.xorb == tables.xorb.c.hash),
        ~_raw_user(),
    )
    return (XetHash(name) for name in _names(store, asked, tables.xorb.c.hash))


def _raw_user() -> ColumnElement[bool]:
    """Whether a file needs the bytes of a xorb itself, or may be healed by them."""
    return exists().where(
        tables.blob_xorb.c.xorb == tables.xorb.c.hash,
        tables.blob.c.sha256 == tables.blob_xorb.c.sha256,
        or_(tables.blob.c.raw == "here", tables.blob.c.state == "damaged"),
    )


def _virtual(xets: Xets, name: XetHash, keep_ms: int) -> int:
    """1 if the xorb's bytes can be made from sealed files now; else it stays, or goes if no client remembers it."""
    store = xets.store
    with store.stripes.hold(name):
        with store.db.write() as connection:
            row = connection.execute(select(tables.xorb).where(tables.xorb.c.hash == name)).first()
            if row is None or row.state != "here" or _is_used_raw(connection, name):
                return 0
            covered = store.covers(connection, name, row.raw_bytes)
            if not covered and (row.offered_ms >= keep_ms or _may_be_needed(connection, name)):
                return 0
            if not covered:
                connection.execute(tables.dedup.delete().where(tables.dedup.c.xorb == name))
            # its object goes at the next look; one that is not covered as any that no row names
            changed = update(tables.xorb).where(tables.xorb.c.hash == name)
            connection.execute(changed.values(state="virtual" if covered else "gone"))
        xets.forget(name)
        if not covered:
            store.objects.delete(xorb_key(name))
    checkpoint("evict.virtual")
    return int(covered)


def _is_used_raw(connection: Connection, name: str) -> bool:
    asked = select(tables.xorb.c.hash).where(tables.xorb.c.hash == name, _raw_user())
    return connection.execute(asked).first() is not None


def _may_be_needed(connection: Connection, name: str) -> bool:
    """Whether a file that is built on a xorb stands on a damaged tensor, and does not know it yet."""
    built = select(tables.blob_xorb.c.sha256).where(tables.blob_xorb.c.xorb == name)
    return any(stands_on_damage(connection, sha256) for sha256 in connection.execute(built).scalars().all())


def _names(store: Store, asked: Select[Any], key: ColumnElement[str]) -> Iterator[str]:
    """Names in order, a page at a time, so that no view of the database is held open."""
    after = ""
    while True:
        with store.db.read() as connection:
            page = list(connection.execute(asked.where(key > after).order_by(key).limit(PAGE)).scalars())
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1]
