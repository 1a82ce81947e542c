"""fsck: every object has the size its row says, and what is read answers its own hash.

What is found damaged is flagged: it is not served any more, and healed when somebody uploads it again.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, func, literal, select, true

from headwater.ground.errors import EntryMissing, HeadwaterError
from headwater.ground.names import Sha256
from headwater.store import hashes, tables
from headwater.store.blobs import Store
from headwater.store.hashes import XetHash
from headwater.store.objects import FileRun, read_runs, xorb_key
from headwater.store.xets import Xets
from headwater.store.xorb import XorbIndex

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
            connection.execute(select(func.count()).select_from(table).where(where)).scalar_one()
            for table, where in ((tables.blob, true()), (tables.xorb, tables.xorb.c.state == "here"))
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
    try:
        index = xets.index(name)
        wrong = "its row can't be read" if index is None else _wrong(store, index, read=read)
    except HeadwaterError as error:
        wrong = error.text
    # else it was swept meanwhile
    if wrong is not None and _is_there(store, tables.xorb.c.hash == name, tables.xorb.c.state == "here"):
        store.flag_xorb(name, wrong)
        yield Finding("xorb", name, wrong)


def _is_there(store: Store, *where: ColumnElement[bool]) -> bool:
    with store.db.read() as connection:
        return connection.execute(select(literal(1)).where(*where)).first() is not None


def _wrong(store: Store, index: XorbIndex, *, read: bool) -> str | None:
    size = store.objects.size(xorb_key(index.hash))
    if size != index.raw_bytes:
        return f"has {size} bytes on the disk, expected {index.raw_bytes}"
    if hashes.to_text(hashes.merkle_root(index.hashes, index.lengths)) != index.hash:
        return "its row's chunk hashes do not make its name"
    if not read:
        return None
    path, at = store.objects.path(xorb_key(index.hash)), 0
    for number, length in enumerate(index.lengths.tolist()):
        data = b"".join(read_runs([FileRun(path, at, at + length)]))
        at += length
        if hashes.chunk_hash(data) != index.hashes[hashes.HASH_BYTES * number : hashes.HASH_BYTES * (number + 1)]:
            return f"chunk {number} of {len(index.lengths)} does not match its hash"
    return None


def _blob(store: Store, sha256: Sha256, *, read: bool) -> Iterator[Finding]:
    store.forget(sha256)  # another process may have healed it
    try:
        blob = store.blob(sha256)
        # One that was found damaged is read whatever the percentage: its bytes may have come back.
        whole = replace(blob, damaged=False)
        digest, size = hashlib.sha256(), 0
        runs = store.runs(whole, 0, whole.size)  # asks for size and presence, even if nothing is read
        for data in read_runs(runs) if read or blob.damaged else ():
            digest.update(data)
            size += len(data)
    except EntryMissing:
        return  # swept meanwhile
    except HeadwaterError as error:
        if _is_there(store, tables.blob.c.sha256 == sha256):
            yield Finding("blob", sha256, error.text)
        return
    if not read and not blob.damaged:
        return
    if digest.hexdigest() != sha256 or size != blob.size:
        wrong = f"its {size} bytes hash to {digest.hexdigest()}, expected {blob.size} bytes"
        store.flag(sha256, wrong)
        yield Finding("blob", sha256, wrong)
    elif blob.damaged:
        store.mend(sha256)
