"""fsck: every object has the size its row says, and what is read answers its own hash.

What is found damaged is flagged: it is not served any more, and healed when somebody uploads it again. A tensor that
is kept twice does without the copy that is damaged. What was flagged before is read again, and loses its mark if it is
right after all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, func, literal, select, true

from headwater.ground.errors import EntryMissing, HeadwaterError
from headwater.ground.names import Sha256
from headwater.store import hashes, tables
from headwater.store.blobs import Blob, Spoilt, Store, files_on, wrong_bytes
from headwater.store.encoded import Damaged, Known
from headwater.store.hashes import XetHash
from headwater.store.objects import read_pieces, xorb_key
from headwater.store.xets import Xets
from headwater.store.xorb import XorbIndex

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: `what` it is, its `name`, `text` for a person; the `files` that stand on a tensor."""

    what: str
    name: str
    text: str
    files: tuple[str, ...] = ()


def check(
    store: Store, xets: Xets, read_percent: float, chance: random.Random, progress: Callable[[int], None]
) -> Iterator[Finding]:
    """All findings. `read_percent` of the objects are read and hashed as well; `progress(n)` after each object."""
    marked = _marked_tensors(store)
    for name in _names(store, tables.xorb.c.hash, tables.xorb.c.state == "damaged"):
        store.mend_xorb(XetHash(name))  # its files are told of below
        progress(1)
    for name in _names(store, tables.xorb.c.hash, tables.xorb.c.state == "here"):
        yield from _xorb(store, xets, XetHash(name), read=chance.random() * 100 < read_percent)
        progress(1)
    for key in _names(store, tables.tensor.c.key, tables.tensor.c.state == "whole", first=b""):
        yield from _tensor(store, key, read=chance.random() * 100 < read_percent)
        progress(1)
    for key in marked:
        yield from _marked_tensor(store, key)
        progress(1)
    for name in _names(store, tables.blob.c.sha256, tables.blob.c.sha256.is_not(None)):
        yield from _blob(store, Sha256(name), read=chance.random() * 100 < read_percent)
        progress(1)


def count(store: Store) -> int:
    with store.db.read() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table).where(where)).scalar_one()
            for table, where in (
                (tables.blob, true()),
                (tables.xorb, tables.xorb.c.state.in_(("here", "damaged"))),
                (tables.tensor, true()),
            )
        )


def _names(store: Store, column: ColumnElement[Any], where: ColumnElement[bool], first: Any = "") -> Iterator[Any]:
    after = first
    while True:
        with store.db.read() as connection:
            page = (
                connection.execute(select(column).where(where, column > after).order_by(column).limit(BATCH))
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


def _tensor(store: Store, key: bytes, *, read: bool) -> Iterator[Finding]:
    """Whether its entry is there and says what its row says; of one that is kept twice, each of the two.

    The bytes of one that is kept once are read as those of the files that have it; those of two copies are read here.
    """
    store.tensors.forget(key)  # another process may have stored it anew
    known = store.tensors.find(key)
    if known is None:
        return
    copies = known.copies
    faults = [_fault(store, copy, read=read and len(copies) > 1) for copy in copies]
    if not any(faults):
        return
    if None in faults:
        good = faults.index(None)
        faults[good] = _fault(store, copies[good], read=True)  # before it is the only one
    store.tensors.forget(key)
    if store.tensors.find(key) != known:
        return  # moved or swept meanwhile
    wrong = "; ".join(filter(None, faults))
    if None in faults:
        lost = copies[1 - faults.index(None)]
        if store.lose_copy(known, lost.place, wrong):
            yield _of_tensor(key, f"one of two copies: {wrong}", _needing(store, key))
    elif len(copies) > 1 and _can_be_read(store, known):
        yield _of_tensor(
            key, f"both copies, and what is wrong in one is right in the other: {wrong}", _needing(store, key)
        )
    else:
        yield _of_tensor(key, wrong, store.flag_tensor(key, wrong))


def _marked_tensors(store: Store) -> list[bytes]:
    """Those that are marked damaged; parents come before what stands on them."""
    marked = select(tables.tensor.c.key).where(tables.tensor.c.state == "damaged")
    with store.db.read() as connection:
        return list(connection.execute(marked.order_by(tables.tensor.c.depth, tables.tensor.c.key)).scalars())


def _marked_tensor(store: Store, key: bytes) -> Iterator[Finding]:
    """One that is right after all loses its mark; its files lose theirs when they are read."""
    wrong = store.mend_tensor(key)
    files = _needing(store, key) if wrong is not None else []
    if files:  # else it goes with the next sweep
        yield _of_tensor(key, f"still damaged: {wrong}", files)


def _of_tensor(key: bytes, text: str, files: Sequence[str]) -> Finding:
    return Finding("tensor", key.hex(), f"{text}; {len(files)} files stand on it", tuple(files))


def _needing(store: Store, key: bytes) -> list[str]:
    with store.db.read() as connection:
        return list(connection.execute(files_on(key)).scalars())


def _can_be_read(store: Store, known: Known) -> bool:
    try:
        for _piece in store.tensors.pieces(known.key, 0, known.size):
            pass
    except Damaged:
        return False
    return True


def _fault(store: Store, copy: Known, *, read: bool) -> str | None:
    """What is wrong with an entry, or with a parent that it needs."""
    try:
        index = store.tensors.index_of(copy)
        missing = [parent.hex() for parent in index.parents if not _is_known(store, parent)]
        if missing:
            return f"its parent {missing[0]} is gone"
        if read:
            store.tensors.prove(copy)
    except Damaged as error:
        # a parent is told of by itself
        return error.why if error.key == copy.key else None
    return None


def _is_known(store: Store, key: bytes) -> bool:
    """Whether a tensor is here; one that is marked is told of by itself."""
    return store.tensors.find(key) is not None or _is_there(store, tables.tensor.c.key == key)


def _is_there(store: Store, *where: ColumnElement[bool]) -> bool:
    with store.db.read() as connection:
        return connection.execute(select(literal(1)).where(*where)).first() is not None


def _wrong(store: Store, index: XorbIndex, *, read: bool) -> str | None:
    if read:
        return store.wrong_xorb(index)
    size = store.objects.size(xorb_key(index.hash))
    if size != index.raw_bytes:
        return f"has {size} bytes on the disk, expected {index.raw_bytes}"
    if hashes.to_text(hashes.merkle_root(index.hashes, index.lengths)) != index.hash:
        return "its row's chunk hashes do not make its name"
    return None


def _blob(store: Store, sha256: Sha256, *, read: bool) -> Iterator[Finding]:
    store.forget(sha256)  # another process may have healed it
    try:
        blob = store.blob(sha256)
        if blob.damaged:
            yield from _marked_blob(store, blob)
            return
        runs = store.runs(blob, 0, blob.size)  # asks for size and presence, even if nothing is read
        wrong = wrong_bytes(blob, read_pieces(runs) if blob.raw_here else store.sealed_bytes(blob)) if read else None
        if wrong is None and blob.sealed and blob.raw_here and read:
            yield from _sealed_copy(store, blob)
    except EntryMissing:
        return  # swept meanwhile
    except Spoilt as error:
        yield _of_tensor(error.key, error.why, error.files)
        now = store.find(sha256)
        if now is not None and now.damaged:
            yield Finding("blob", sha256, error.text)
        return
    except HeadwaterError as error:
        if _is_there(store, tables.blob.c.sha256 == sha256):
            yield Finding("blob", sha256, error.text)
        return
    if wrong is not None:
        store.lose_raw(sha256, wrong) if blob.raw_here else store.lose_sealed(sha256, wrong)
        yield Finding("blob", sha256, wrong)


def _marked_blob(store: Store, blob: Blob) -> Iterator[Finding]:
    """One that was found damaged is read whatever the percentage: its bytes may have come back."""
    whole = replace(blob, damaged=False)
    try:
        wrong = wrong_bytes(whole, read_pieces(store.runs(whole, 0, whole.size)))
    except EntryMissing:
        return
    except HeadwaterError as error:
        wrong = error.text
    if wrong is None:
        store.mend(blob.sha256)
    elif not store.go_back(blob.sha256) and _is_there(store, tables.blob.c.sha256 == blob.sha256):
        yield Finding("blob", blob.sha256, wrong)


def _sealed_copy(store: Store, blob: Blob) -> Iterator[Finding]:
    """The other copy of a file whose raw bytes are here."""
    wrong = wrong_bytes(blob, store.sealed_bytes(blob))
    if wrong is not None:
        store.lose_sealed(blob.sha256, wrong)
        yield Finding("blob", blob.sha256, f"the sealed copy: {wrong}")
