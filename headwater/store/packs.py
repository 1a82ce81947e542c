"""Packs: append-only files of encoded tensors. An entry is the tensor's blocks, followed by an index that is checked.

A pack is written by one process at a time (a lock in the folder), only at its end, and flushed before the database
names what was written. What lies behind the last entry that the database names is nobody's: the next writer cuts it
off. Refuses to know the database, how blocks are coded, and what files tensors belong to. Layout: docs/spec/store.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from struct import Struct
from typing import IO

import numpy as np
from blake3 import blake3

from headwater.ground.errors import Corrupt, Unavailable
from headwater.ground.faults import checkpoint
from headwater.store.objects import meaning, sync_folder

PACK_BYTES_MAX = 1 << 30  # a pack takes no further entry beyond this: what is copied, backed up and emptied at a time
PACK_MAGIC = b"HEADWATER PACK\x00\x01"
ENTRY_MAGIC = b"HWT\x01"
CHECK_BYTES = 16  # of BLAKE3, for each block's raw bytes and for each index: against the disk
KEY_BYTES = 32
INDEX_BYTES_MAX = 64 << 20  # of an entry: a tensor of a terabyte has half a million blocks
COPY_STEP = 8 << 20
WRITE_BACK_BYTES = 64 << 20  # flushed while writing, so that the last flush does not stall the disk for others
NO_PARENT = bytes(KEY_BYTES)

_FIXED = Struct("<4sHHQQIIIBBH32s")
_BLOCK = np.dtype([("stored", "<u4"), ("check", f"V{CHECK_BYTES}")])


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry lies: bytes [start, start + length) of a pack, of which the last `index_bytes` are its index."""

    pack: int
    start: int
    length: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class Index:
    """What an entry says of itself. Block i decodes to the raw bytes from i * block_bytes on."""

    key: bytes
    size: int
    dtype: str
    shape: tuple[int, ...]
    depth: int
    parents: tuple[bytes, ...]
    head: bytes
    block_bytes: int
    stored: tuple[int, ...]
    checks: tuple[bytes, ...]


def check_of(raw: bytes | memoryview) -> bytes:
    """The checksum of a block's raw bytes."""
    return blake3(raw).digest(CHECK_BYTES)


def encode_index(index: Index) -> bytes:
    dtype = index.dtype.encode("ascii")
    length = sum(index.stored)
    rows = np.empty(len(index.stored), _BLOCK)
    rows["stored"] = index.stored
    rows["check"] = np.frombuffer(b"".join(index.checks), f"V{CHECK_BYTES}")
    variable = b"".join(
        [
            *index.parents,
            np.array(index.shape, "<u8").tobytes(),
            dtype,
            index.head,
            rows.tobytes(),
        ]
    )
    total = length + _FIXED.size + len(variable) + CHECK_BYTES
    fixed = _FIXED.pack(
        ENTRY_MAGIC, index.depth, len(index.parents), index.size, total, len(index.head), len(index.stored),
        index.block_bytes, len(dtype), len(index.shape), 0, index.key,
    )  # fmt: skip
    return fixed + variable + check_of(fixed + variable)


def decode_index(data: bytes, length: int) -> Index:
    """The index of an entry of that length. Corrupt when it is damaged or another entry's."""
    if len(data) < _FIXED.size + CHECK_BYTES or check_of(data[:-CHECK_BYTES]) != data[-CHECK_BYTES:]:
        raise Corrupt("the index of a pack's entry does not match its checksum")
    (magic, depth, parents, size, total, head, blocks, block_bytes, dtype, dims, _zero, key) = _FIXED.unpack_from(data)
    sizes = (_FIXED.size, parents * KEY_BYTES, dims * 8, dtype, head, blocks * _BLOCK.itemsize, CHECK_BYTES)
    if magic != ENTRY_MAGIC or total != length or sum(sizes) != len(data):
        raise Corrupt("the index of a pack's entry can't be read")
    ends = np.cumsum(sizes).tolist()
    parts = [data[start:stop] for start, stop in pairwise(ends)]
    rows = np.frombuffer(parts[4], _BLOCK)
    stored = tuple(rows["stored"].tolist())
    if sum(stored) + len(data) != length or (blocks and not (blocks - 1) * block_bytes < size <= blocks * block_bytes):
        raise Corrupt("the index of a pack's entry does not fit its size")
    return Index(
        key,
        size,
        parts[2].decode("ascii", "replace"),
        tuple(np.frombuffer(parts[1], "<u8").tolist()),
        depth,
        tuple(parts[0][i : i + KEY_BYTES] for i in range(0, len(parts[0]), KEY_BYTES)),
        parts[3],
        block_bytes,
        stored,
        tuple(row.tobytes() for row in rows["check"]),
    )


def _extent(fixed: bytes) -> tuple[int, int]:
    """The sizes of an index that begins so, and of the whole entry; 0 for one that is cut off."""
    if len(fixed) < _FIXED.size:
        return 0, 0
    (_magic, _depth, parents, _size, total, head, blocks, _step, dtype, dims, _zero, _key) = _FIXED.unpack(fixed)
    rows = blocks * _BLOCK.itemsize
    return _FIXED.size + parents * KEY_BYTES + dims * 8 + dtype + head + rows + CHECK_BYTES, total


class Packs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, pack: int) -> Path:
        return self.folder / f"{pack:08x}"

    def read(self, pack: int, start: int, stop: int) -> bytes:
        """FileNotFoundError when there is no such pack (any more); Corrupt when it is too short or can't be read."""
        try:
            handle = os.open(self.path(pack), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Corrupt(f"The pack {pack:08x} can't be opened: {error.strerror}") from error
        try:
            data = os.pread(handle, stop - start, start)
        except OSError as error:
            raise Corrupt(f"The pack {pack:08x} can't be read: {error.strerror}") from error
        finally:
            os.close(handle)
        if len(data) != stop - start:
            raise Corrupt(f"The pack {pack:08x} ends before byte {stop}")
        return data

    def index(self, place: Place) -> Index:
        stop = place.start + place.length
        if not 0 < place.index_bytes <= min(place.length, INDEX_BYTES_MAX):
            raise Corrupt(f"An entry of the pack {place.pack:08x} has an index of {place.index_bytes} bytes")
        return decode_index(self.read(place.pack, stop - place.index_bytes, stop), place.length)

    def remains(self, pack: int, start: int, stop: int) -> set[bytes] | None:
        """The keys of the entries in [start, stop), one after the other; None if a byte there is of none that is whole.

        For what nobody names any more. Of a pack whose end that is; Corrupt when it can't be read.
        """
        keys: set[bytes] = set()
        at = start
        for found in self._magics(pack, start, stop):
            if found < at:
                continue  # in the index before
            size, length = _extent(self.read(pack, found, min(found + _FIXED.size, stop)))
            if found + size - length != at or not 0 < size <= min(stop - found, INDEX_BYTES_MAX):
                continue  # bytes of a block that look like a beginning
            try:
                index = decode_index(self.read(pack, found, found + size), length)
            except Corrupt:
                continue
            keys.add(index.key)
            at = found + size
        return keys if at == stop else None

    def _magics(self, pack: int, start: int, stop: int) -> Iterator[int]:
        """Where an index might begin."""
        for low in range(start, stop, COPY_STEP):
            data = self.read(pack, low, min(low + COPY_STEP + len(ENTRY_MAGIC) - 1, stop))
            found = data.find(ENTRY_MAGIC)
            while found >= 0:
                yield low + found
                found = data.find(ENTRY_MAGIC, found + 1)

    @contextmanager
    def alone(self, wait_s: float = 0.0) -> Iterator[None]:
        """The right to write packs, for one process and one thread at a time. Unavailable when another has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / "packs-lock").open("ab") as lock:
            end_s = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= end_s:
                        raise Unavailable("Another process is writing packs just now; try again later.") from None
                    time.sleep(0.05)
            yield

    def size(self, pack: int) -> int | None:
        try:
            return self.path(pack).stat().st_size
        except FileNotFoundError:
            return None

    def cut(self, pack: int, size_bytes: int) -> int:
        """Takes what lies behind a pack's last named entry, for whoever is `alone`: a crash left it. Bytes freed."""
        left = (self.size(pack) or 0) - size_bytes
        if left <= 0:
            return 0
        try:
            os.truncate(self.path(pack), size_bytes)
        except OSError as error:
            raise meaning(error, "cutting a pack") from error
        return left

    def delete(self, pack: int) -> None:
        try:
            self.path(pack).unlink(missing_ok=True)
        except OSError as error:
            raise meaning(error, "deleting") from error

    def shred(self, pack: int) -> None:
        """Overwritten before it goes. What the file system or the drive keeps elsewhere is out of our reach."""
        try:
            with self.path(pack).open("r+b", buffering=0) as file:
                left = os.fstat(file.fileno()).st_size
                while left:
                    left -= file.write(bytes(min(left, 1 << 20)))
                os.fsync(file.fileno())
        except FileNotFoundError:
            return
        except OSError as error:
            raise meaning(error, "shredding") from error
        self.delete(pack)

    def ids(self) -> Iterator[int]:
        """Packs that lie in the folder, whether the database names them or not."""
        for file in sorted(self.folder.iterdir()) if self.folder.exists() else ():
            if len(file.name) == 8 and all(c in "0123456789abcdef" for c in file.name):
                yield int(file.name, 16)


class Pack:
    """A pack that is being written, from `used_bytes` on. For whoever holds `Packs.alone`."""

    def __init__(self, packs: Packs, number: int, used_bytes: int) -> None:
        self.number = number
        self.size = used_bytes
        self._folder = packs.folder
        self._flushed = used_bytes
        self._new = used_bytes == 0
        try:
            packs.folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = packs.path(number).open("ab", buffering=0)
        except OSError as error:
            raise meaning(error, "writing a pack") from error
        try:
            self._file.truncate(used_bytes)  # what a crash left is nobody's
            if self._new:
                self._write(PACK_MAGIC)
        except OSError as error:
            self._file.close()
            raise meaning(error, "writing a pack") from error

    def append(self, blocks: Iterable[bytes], make_index: Callable[[tuple[int, ...]], bytes]) -> Place:
        """Writes an entry; it is not on the disk before `flush`."""
        start = self.size
        try:
            stored = []
            for block in blocks:
                self._write(block)
                stored.append(len(block))
            checkpoint("pack.blocks")
            index = make_index(tuple(stored))
            self._write(index)
        except BaseException as error:
            with contextlib.suppress(Unavailable):
                self.back(start)
            if isinstance(error, OSError):
                raise meaning(error, "writing a pack") from error
            raise
        return Place(self.number, start, self.size - start, len(index))

    def copy(self, packs: Packs, source: int, start: int, stop: int) -> int:
        """Appends bytes [start, stop) of another pack; where they begin in this one."""
        begin = self.size
        try:
            for at in range(start, stop, COPY_STEP):
                self._write(packs.read(source, at, min(at + COPY_STEP, stop)))
        except FileNotFoundError as error:
            raise Corrupt(f"The pack {source:08x} is gone") from error
        except OSError as error:
            raise meaning(error, "writing a pack") from error
        return begin

    def flush(self) -> None:
        try:
            os.fdatasync(self._file.fileno())
            if self._new:
                sync_folder(self._folder)
                self._new = False
        except OSError as error:
            raise meaning(error, "writing a pack") from error

    def back(self, size_bytes: int) -> None:
        """Forgets what was written since the pack had this size: nothing names it yet."""
        try:
            self._file.truncate(size_bytes)
        except OSError as error:
            raise meaning(error, "writing a pack") from error
        self.size = self._flushed = size_bytes

    def close(self) -> None:
        self._file.close()

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(data)
        if self.size - self._flushed >= WRITE_BACK_BYTES:
            os.fdatasync(self._file.fileno())
            self._flushed = self.size
