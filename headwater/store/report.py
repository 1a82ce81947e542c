"""Report: what the store holds and what it costs, of all and of one file tensor by tensor.

Sizes of what is shared are told once, for whoever owns the hub: a caller who shows them to others has to leave out what
those may not know of. Refuses to know repos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, func, select

from headwater.ground.names import Sha256
from headwater.store import tables
from headwater.store.blobs import Store
from headwater.store.kin import tensors_of
from headwater.store.splitting import Beside


@dataclass(frozen=True, slots=True)
class Kind:
    """All tensors that are stored in one way."""

    kind: str
    tensors: int
    raw_bytes: int
    stored_bytes: int
    alone_bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """`raw_bytes` is what all files would take as they are; `disk_bytes` what objects and packs take.

    Of the packs, `live_bytes` are of entries that are named, `copies_bytes` of these of the second ones of `copies`
    tensors.

    `undecided` files were not looked at yet, `kept` ones would not shrink. `raw_copies_bytes` are raw bytes of sealed
    files that are still here. A xorb's object counts in full, whatever of it files use.
    """

    files: int
    raw_bytes: int
    sealed: int
    sealed_raw_bytes: int
    kept: int
    undecided: int
    damaged: int
    tensors: int
    packs: int
    packs_bytes: int
    live_bytes: int
    raw_copies_bytes: int
    disk_bytes: int
    kinds: tuple[Kind, ...]
    copies: int = 0
    copies_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Explained:
    """One tensor of a sealed file. `parents` are its parents' keys; `others` how many other files share it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    raw_bytes: int
    stored_bytes: int
    alone_bytes: int
    kind: str
    why: str
    depth: int
    key: str
    parents: tuple[str, ...]
    others: int


@dataclass(frozen=True, slots=True)
class Costs:
    """One file. `own_bytes` is stored for it alone, `shared_bytes` for it and others; chunks and literals included."""

    sha256: Sha256
    size: int
    state: str
    note: str
    own_bytes: int
    shared_bytes: int
    other_bytes: int
    """Of the file, what is in no tensor."""
    tensors: tuple[Explained, ...]


def stats(store: Store) -> Stats:
    blob, xorb, tensor, pack = tables.blob, tables.xorb, tables.tensor, tables.pack
    with store.db.read() as connection:
        files = connection.execute(
            select(
                func.count(),
                func.coalesce(func.sum(blob.c.size), 0),
                _count(blob.c.sealed.is_not(None)),
                _sum(blob.c.size, blob.c.sealed.is_not(None)),
                _count(blob.c.sealed.is_(None) & blob.c.seal_ms.is_not(None)),
                _count(blob.c.sealed.is_(None) & blob.c.seal_ms.is_(None)),
                _count(blob.c.state == "damaged"),
                _sum(blob.c.size, blob.c.sealed.is_not(None) & (blob.c.raw == "here")),
                _sum(blob.c.size, blob.c.recipe.is_(None) & (blob.c.raw != "gone")),
            )
        ).one()
        xorbs = connection.execute(select(func.coalesce(func.sum(xorb.c.raw_bytes), 0)).where(xorb.c.state == "here"))
        packs = connection.execute(
            select(func.count(), func.coalesce(func.sum(pack.c.size_bytes), 0)).where(pack.c.size_bytes > 0)
        ).one()
        kinds = [
            Kind(row[0], int(row[1]), int(row[2]), int(row[3]), int(row[4]))
            for row in connection.execute(
                select(
                    tensor.c.kind,
                    func.count(),
                    func.sum(tensor.c.size),
                    func.sum(tensor.c.length),
                    func.sum(tensor.c.alone_bytes),
                )
                .group_by(tensor.c.kind)
                .order_by(func.sum(tensor.c.length).desc())
            )
        ]
        copies = connection.execute(
            select(func.count(), func.coalesce(func.sum(tensor.c.length), 0)).join_from(
                tables.tensor_copy, tensor, tensor.c.id == tables.tensor_copy.c.tensor
            )
        ).one()
        disk = int(files[8]) + int(xorbs.scalar_one()) + int(packs[1])
    numbers = [int(number) for number in files]
    return Stats(
        files=numbers[0],
        raw_bytes=numbers[1],
        sealed=numbers[2],
        sealed_raw_bytes=numbers[3],
        kept=numbers[4],
        undecided=numbers[5],
        damaged=numbers[6],
        tensors=sum(kind.tensors for kind in kinds),
        packs=int(packs[0]),
        packs_bytes=int(packs[1]),
        live_bytes=sum(kind.stored_bytes for kind in kinds) + int(copies[1]),
        raw_copies_bytes=numbers[7],
        disk_bytes=disk,
        kinds=tuple(kinds),
        copies=int(copies[0]),
        copies_bytes=int(copies[1]),
    )


def _count(what: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((what, 1), else_=0)), 0)


def _sum(column: ColumnElement[int], what: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((what, column), else_=0)), 0)


def explain(store: Store, sha256: Sha256, name: str, beside: Sequence[Beside] = ()) -> Costs:
    """One file, tensor by tensor. `name` is its file name, which tells its format, as `beside` may."""
    blob = store.blob(sha256)
    if not blob.sealed:
        with store.db.read() as connection:
            note = connection.execute(select(tables.blob.c.seal_note).where(tables.blob.c.sha256 == sha256)).scalar()
        return Costs(sha256, blob.size, "raw", note or "not looked at yet", blob.size, 0, blob.size, ())
    recipe = store.sealed_recipe(blob)
    rows = _rows(store, sha256)
    found: list[Explained] = []
    typed = 0
    for tensor in tensors_of(store, blob, name, beside):
        for segment in recipe.segments(tensor.start, tensor.stop):
            if segment.key in rows and segment.start == 0:
                found.append(_explained(tensor.name, rows[segment.key]))
                typed += segment.length
    own = sum(row.length for row in rows.values() if row.others == 0)
    shared = sum(row.length for row in rows.values() if row.others)
    state = "damaged" if blob.damaged else "sealed, raw bytes kept for now" if blob.raw_here else "sealed"
    return Costs(sha256, blob.size, state, "", own, shared, blob.size - typed, tuple(found))


@dataclass(frozen=True, slots=True)
class _Row:
    key: bytes
    dtype: str
    shape: str
    size: int
    length: int
    alone_bytes: int
    kind: str
    why: str
    depth: int
    parents: tuple[str, ...]
    others: int


def _rows(store: Store, sha256: Sha256) -> dict[bytes, _Row]:
    tensor, uses, link = tables.tensor, tables.blob_tensor, tables.tensor_parent
    other = uses.alias()
    others = (
        select(func.count())
        .where(other.c.tensor == tensor.c.id, other.c.sha256 != sha256)
        .correlate(tensor)
        .scalar_subquery()
    )
    parent = tensor.alias()
    with store.db.read() as connection:
        parents: dict[int, list[str]] = {}
        asked = (
            select(link.c.tensor, parent.c.key)
            .join(parent, parent.c.id == link.c.parent)
            .join(uses, uses.c.tensor == link.c.tensor)
            .where(uses.c.sha256 == sha256)
        )
        for row in connection.execute(asked):
            parents.setdefault(row[0], []).append(row[1].hex())
        mine = select(tensor, others.label("others")).join(uses, uses.c.tensor == tensor.c.id)
        return {
            row.key: _Row(
                row.key, row.dtype, row.shape, row.size, row.length, row.alone_bytes, row.kind, row.why, row.depth,
                tuple(parents.get(row.id, ())), int(row.others),
            )
            for row in connection.execute(mine.where(uses.c.sha256 == sha256))
        }  # fmt: skip


def _explained(name: str, row: _Row) -> Explained:
    shape = tuple(int(n) for n in row.shape.split(",")) if row.shape else ()
    return Explained(
        name, row.dtype, shape, row.size, row.length, row.alone_bytes, row.kind, row.why, row.depth, row.key.hex(),
        row.parents, row.others,
    )  # fmt: skip
