"""fsck: every object has the size its row says, and what is read answers its own hash."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import func, select

from headwater.ground.errors import HeadwaterError
from headwater.ground.names import Sha256
from headwater.store import hashes, tables
from headwater.store.blobs import Store
from headwater.store.hashes import XetHash
from headwater.store.objects import FileRun, read_runs, xorb_key
from headwater.store.xets import Xets

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: `what` it is, its `name`, and `text` for a person."""

    what: str
    name: str
    text: str


def check(
    store: Store, xets: Xets, read_percent: float, chance: random.Random, progress: Callable[[int], None]
) -> Iterator[Finding]:
    """All findings. `read_percent` of the objects are read and hashed as well; `progress(n)` after each object."""
    for name in _names(store, tables.xorb.c.hash, tables.xorb.c.state == "here"):
        yield from _xorb(store, xets, XetHash(name), read=chance.random() * 100 < read_percent)
        progress(1)
    for name in _names(store, tables.blob.c.sha256, tables.blob.c.sha256.is_not(None)):
        yield from _blob(store, Sha256(name), read=chance.random() * 100 < read_percent)
        progress(1)


def count(store: Store) -> int:
    with store.db.read() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (tables.blob, tables.xorb)
        )


def _names(store: Store, column: object, where: object) -> Iterator[str]:
    after = ""
    while True:
        with store.db.read() as connection:
            page = (
                connection.execute(
                    select(column).where(where, column > after).order_by(column).limit(BATCH)  # type: ignore[operator,call-overload]
                )
                .scalars()
                .all()
            )
        yield from page
        if len(page) < BATCH:
            return
        after = page[-1]


def _xorb(store: Store, xets: Xets, name: XetHash, *, read: bool) -> Iterator[Finding]:
    index = xets.index(name)
    if index is None:
        return
    size = store.objects.size(xorb_key(name))
    if size != index.raw_bytes:
        yield Finding("xorb", name, f"has {size} bytes on the disk, expected {index.raw_bytes}")
        return
    if hashes.to_text(hashes.merkle_root(index.hashes, index.lengths)) != name:
        yield Finding("xorb", name, "its row's chunk hashes do not make its name")
        return
    if not read:
        return
    path, at = store.objects.path(xorb_key(name)), 0
    for number, length in enumerate(index.lengths.tolist()):
        data = b"".join(read_runs([FileRun(path, at, at + length)]))
        at += length
        if hashes.chunk_hash(data) != index.hashes[32 * number : 32 * number + 32]:
            yield Finding("xorb", name, f"chunk {number} of {len(index.lengths)} does not match its hash")
            return


def _blob(store: Store, sha256: Sha256, *, read: bool) -> Iterator[Finding]:
    try:
        blob = store.blob(sha256)
        if blob.damaged:
            yield Finding("blob", sha256, "was found damaged before; upload it again to heal it")
            return
        digest, size = hashlib.sha256(), 0
        runs = store.runs(blob, 0, blob.size)
        if not read:
            return
        for data in read_runs(runs):
            digest.update(data)
            size += len(data)
    except HeadwaterError as error:
        yield Finding("blob", sha256, error.text)
        return
    if digest.hexdigest() != sha256 or size != blob.size:
        yield Finding("blob", sha256, f"its {size} bytes hash to {digest.hexdigest()}")
