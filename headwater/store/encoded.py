"""Encoded: the raw bytes of tensors that lie in packs, any range of them, a block at a time, each block checked.

Nothing leaves here that does not match the checksum which was taken when the tensor was decoded and compared at its
sealing. What lies somewhere else by now, or fails and is kept twice, is read from there. Refuses to know files, repos,
and how blocks are coded: the codec decodes, from this tensor's blocks and its parents', which are read by the same way.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Row, select

from headwater.ground.db import Database
from headwater.ground.errors import Corrupt
from headwater.ground.log import log
from headwater.store import tables
from headwater.store.packs import CHECK_BYTES, Index, Packs, Place

if TYPE_CHECKING:
    # loaded at the first sealed byte that is asked for: a hub that seals nothing does without
    from headwater.codec import Decoder, Form, Parent

ROWS_CACHED = 4096  # rows of tensors: about 300 bytes each
OPENED_CACHED = 48  # decoders with their tables: up to a few hundred KiB each
CHAIN_MAX = 64  # levels of parents that are followed: far above any depth limit, against damaged rows
BLOCK_CACHE_BYTES = 64 << 20  # if nobody says otherwise

_T = TypeVar("_T")

_STORED = select(
    tables.tensor,
    tables.tensor_copy.c.pack.label("second_pack"),
    tables.tensor_copy.c.start.label("second_start"),
).join(tables.tensor_copy, tables.tensor_copy.c.tensor == tables.tensor.c.id, isouter=True)
KNOWN = _STORED.where(tables.tensor.c.state == "whole")
"""The rows that `known_of` takes."""


class Damaged(Corrupt):
    """The tensor `key` can't be given back whole: its entry or its pack is damaged or gone."""

    def __init__(self, key: bytes, why: str) -> None:
        super().__init__(f"The stored tensor {key.hex()} is damaged ({why}); upload its file again to heal it")
        self.key = key
        self.why = why


@dataclass(frozen=True, slots=True)
class Known:
    """A tensor that is stored. `id` is that of its row; 0 for one that is being written.

    `second`: where a second copy of its entry lies, the same bytes in another pack.
    """

    key: bytes
    form: Form
    size: int
    place: Place
    depth: int
    id: int = 0
    second: Place | None = None

    @property
    def copies(self) -> tuple[Known, ...]:
        """Itself without its second copy, and its second copy."""
        first = replace(self, second=None)
        return (first,) if self.second is None else (first, replace(first, place=self.second))


def form_of(dtype: str, shape: str) -> Form:
    from headwater.codec import Form  # noqa: PLC0415 - see above

    return Form(dtype, tuple(int(n) for n in shape.split(",")) if shape else ())


def shape_text(form: Form) -> str:
    return ",".join(str(n) for n in form.shape)


class _Opened:
    """A tensor whose decoder is ready. The decoder is for one thread at a time."""

    def __init__(self, known: Known, index: Index, decoder: Decoder) -> None:
        self.known, self.index, self.decoder = known, index, decoder
        self.starts = [0, *accumulate(index.stored)]
        self.lock = threading.Lock()


class Tensors:
    """Reads tensors by key. `pending` are those that are written and not yet named by the database.

    `lost(tensor, why)` is called when a first copy failed and the second gave what was asked for, once for each.
    """

    def __init__(
        self,
        db: Database,
        packs: Packs,
        cache_bytes: int = BLOCK_CACHE_BYTES,
        pending: Mapping[bytes, Known] | None = None,
        lost: Callable[[Known, str], None] = lambda _known, _why: None,
    ) -> None:
        self._db, self._packs = db, packs
        self._cache_bytes = cache_bytes
        self._pending = pending or {}
        self._lost = lost
        self._noted: OrderedDict[Place, None] = OrderedDict()
        self._lock = threading.Lock()
        self._rows: OrderedDict[bytes, Known] = OrderedDict()
        self._opened: OrderedDict[tuple[bytes, Place], _Opened] = OrderedDict()
        self._blocks: OrderedDict[tuple[bytes, Place, int], bytes] = OrderedDict()
        self._blocks_bytes = 0

    def find(self, key: bytes) -> Known | None:
        """A tensor that is here and not known to be damaged."""
        if (pending := self._pending.get(key)) is not None:
            return pending
        with self._lock:
            known = self._rows.get(key)
            if known is not None:
                self._rows.move_to_end(key)
                return known
        with self._db.read() as connection:
            row = connection.execute(KNOWN.where(tables.tensor.c.key == key)).first()
        if row is None:
            return None
        known = known_of(row)
        self._keep([known])
        return known

    def find_damaged(self, key: bytes) -> Known | None:
        """A tensor that is here and marked damaged."""
        with self._db.read() as connection:
            row = connection.execute(
                _STORED.where(tables.tensor.c.key == key, tables.tensor.c.state == "damaged")
            ).first()
        return None if row is None else known_of(row)

    def look_up(self, keys: Collection[bytes]) -> None:
        """Reads the rows of many tensors at once, so that each `find` that follows costs nothing."""
        with self._lock:
            unknown = [key for key in keys if key not in self._rows and key not in self._pending]
        if len(unknown) < 2:
            return
        asked = KNOWN.where(tables.tensor.c.key.in_(unknown))
        with self._db.read() as connection:
            self._keep([known_of(row) for row in connection.execute(asked)])

    def _keep(self, found: Iterable[Known]) -> None:
        with self._lock:
            for known in found:
                self._rows[known.key] = known
            while len(self._rows) > ROWS_CACHED:
                self._rows.popitem(last=False)

    def pieces(self, key: bytes, start: int, stop: int) -> Iterator[bytes]:
        """The raw bytes [start, stop), a block at a time. Damaged when they can't be given."""
        opened = self._open(key)
        size = opened.index.block_bytes
        while start < stop:
            number = start // size
            try:
                block = self._block(opened, number)
            except Damaged as error:
                opened, block = self._elsewhere(opened.known, error, partial(self._block_at, number=number))
            low = start - number * size
            high = min(stop - number * size, len(block))
            if low >= high:
                raise Damaged(key, f"it has no byte {start}")
            yield block if high - low == len(block) else block[low:high]
            start += high - low

    def read(self, key: bytes, start: int, stop: int) -> bytes:
        pieces = list(self.pieces(key, start, stop))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def parent(self, key: bytes) -> Parent:
        """What the codec is told of a tensor that others may stand on."""
        from headwater.codec import Parent  # noqa: PLC0415 - see above

        known = self._found(key)
        return Parent(known.form, known.size, partial(self.read, key))

    def index(self, key: bytes) -> Index:
        """What its entry says of itself; read and checked anew."""
        return self._indexed(self._found(key))[1]

    def index_of(self, known: Known) -> Index:
        """What the entry at just this place says of itself; read and checked anew."""
        try:
            index = self._packs.index(known.place)
        except FileNotFoundError:
            raise _pack_gone(known) from None
        except Corrupt as error:
            raise Damaged(known.key, error.text) from error
        form = (known.form.dtype, known.form.shape)
        if (index.key, index.size, (index.dtype, index.shape)) != (known.key, known.size, form):
            raise Damaged(known.key, "its place holds another tensor")
        return index

    def prove(self, known: Known) -> None:
        """Reads all of the entry at just this place, whatever is remembered of it. Damaged if it, or a parent, is."""
        for _block in self._proven(known):
            pass

    def prove_all(self, known: Known) -> None:
        """As `prove`; and the whole gives the tensor's key."""
        from headwater.codec import Hasher  # noqa: PLC0415 - see above

        hasher = Hasher(known.form)
        for block in self._proven(known):
            hasher.update(block)
        if hasher.key() != known.key:
            raise Damaged(known.key, "its bytes do not give its key")

    def _proven(self, known: Known) -> Iterator[bytes]:
        opened = self._decoder_of(known, self.index_of(known), 0)
        for number in range(len(opened.index.stored)):
            yield self._decoded(opened, number)

    def forget(self, key: bytes | None = None) -> None:
        """What is remembered of a tensor, or of all: another process has written or damaged some."""
        with self._lock:
            if key is None:
                self._rows.clear()
                self._opened.clear()
                self._blocks.clear()
                self._blocks_bytes = 0
                return
            self._rows.pop(key, None)
            for opened in [at for at in self._opened if at[0] == key]:
                del self._opened[opened]
            for block in [at for at in self._blocks if at[0] == key]:
                self._blocks_bytes -= len(self._blocks.pop(block))

    def _found(self, key: bytes) -> Known:
        known = self.find(key)
        if known is None:
            raise Damaged(key, "it is not here, or it is known to be damaged")
        return known

    def _elsewhere(self, known: Known, error: Damaged, get: Callable[[Known], _T]) -> _T:
        """`get` of where the tensor's row says that it lies by now, or of its second copy; `error` if neither gives it.

        What a parent could not give was tried everywhere already.
        """
        if error.key != known.key:
            raise error
        self.forget(known.key)
        now = self.find(known.key)
        if now is None:
            raise error
        if now.place != known.place:
            try:
                return get(now)
            except Damaged as again:
                if again.key != now.key:
                    raise
                error = again
        if now.second is None:
            raise error
        got = get(replace(now, place=now.second, second=None))
        self._note(now, error.why)
        return got

    def _note(self, known: Known, why: str) -> None:
        with self._lock:
            if known.place in self._noted:
                return
            self._noted[known.place] = None
            if len(self._noted) > ROWS_CACHED:
                self._noted.popitem(last=False)
        log.error("first copy of a tensor damaged", tensor=known.key.hex(), pack=known.place.pack, why=why)
        self._lost(known, why)

    def _open(self, key: bytes, level: int = 0) -> _Opened:
        known = self._found(key)
        at = (key, known.place)
        with self._lock:
            opened = self._opened.get(at)
            if opened is not None:
                self._opened.move_to_end(at)
                return opened
        if level > CHAIN_MAX:
            raise Damaged(key, "its parents never end")
        return self._decoder_of(*self._indexed(known), level)

    def _indexed(self, known: Known) -> tuple[Known, Index]:
        """The tensor with the place where its index is right, and that index."""
        try:
            return known, self.index_of(known)
        except Damaged as error:
            return self._elsewhere(known, error, lambda other: (other, self.index_of(other)))

    def _decoder_of(self, known: Known, index: Index, level: int) -> _Opened:
        from headwater import codec  # noqa: PLC0415 - see above

        key = known.key
        for parent in index.parents:
            self._open(parent, level + 1)  # a chain without an end, or with one missing, is told here
        parents = [self.parent(parent) for parent in index.parents]
        try:
            decoder = codec.Decoder(index.head, known.form, known.size, parents)
        except Damaged:
            raise
        except Corrupt as error:
            raise Damaged(key, error.text) from error
        if decoder.blocks != len(index.stored) or (decoder.blocks and decoder.block_bytes != index.block_bytes):
            raise Damaged(key, "its head and its index do not agree")
        opened = _Opened(known, index, decoder)
        with self._lock:
            self._opened[key, known.place] = opened
            if len(self._opened) > OPENED_CACHED:
                self._opened.popitem(last=False)
        return opened

    def _block_at(self, known: Known, number: int) -> tuple[_Opened, bytes]:
        opened = self._decoder_of(known, self.index_of(known), 0)
        return opened, self._block(opened, number)

    def _block(self, opened: _Opened, number: int) -> bytes:
        """Raw bytes of a block, checked."""
        at = (opened.known.key, opened.known.place, number)
        with self._lock:
            block = self._blocks.get(at)
            if block is not None:
                self._blocks.move_to_end(at)
                return block
        block = self._decoded(opened, number)
        self._remember(at, block)
        return block

    def _decoded(self, opened: _Opened, number: int) -> bytes:
        """Raw bytes of a block, as they lie on the disk, checked."""
        known, index = opened.known, opened.index
        if not 0 <= number < len(index.stored):
            raise Damaged(known.key, f"it has no block {number}")
        start = known.place.start + opened.starts[number]
        try:
            stored = self._packs.read(known.place.pack, start, start + index.stored[number])
        except FileNotFoundError:
            raise _pack_gone(known) from None
        except Corrupt as error:
            raise Damaged(known.key, error.text) from error
        try:
            with opened.lock:
                block, digest = opened.decoder.hashed(number, stored)
        except Damaged:
            raise  # of a parent
        except Corrupt as error:
            raise Damaged(known.key, f"block {number}: {error.text}") from error
        if digest[:CHECK_BYTES] != index.checks[number]:
            raise Damaged(known.key, f"block {number} does not match its checksum")
        return block

    def _remember(self, at: tuple[bytes, Place, int], block: bytes) -> None:
        if len(block) > self._cache_bytes:
            return
        with self._lock:
            if at not in self._blocks:
                self._blocks[at] = block
                self._blocks_bytes += len(block)
            while self._blocks_bytes > self._cache_bytes:
                self._blocks_bytes -= len(self._blocks.popitem(last=False)[1])


def _pack_gone(known: Known) -> Damaged:
    return Damaged(known.key, f"the pack {known.place.pack:08x} is gone")


def known_of(row: Row[Any]) -> Known:
    """The tensor of a row of `KNOWN`."""
    place = Place(row.pack, row.start, row.length, row.index_bytes)
    second = None if row.second_pack is None else replace(place, pack=row.second_pack, start=row.second_start)
    return Known(row.key, form_of(row.dtype, row.shape), row.size, place, row.depth, row.id, second)
