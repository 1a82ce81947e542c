"""Objects: what lies under the store. Whole files by key in a local folder; written once, never changed.

A key is `blobs/<2 hex>/<62 hex>` or `xorbs/...`. Landing an object is: all bytes in `incoming/`, fdatasync, rename,
fsync of the folder: after that it survives power loss, before that nothing is visible. Refuses to know what the bytes
mean. Another implementation (S3) has to offer the same verbs: begin, path or read, size, delete, keys.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from headwater.ground.errors import Corrupt, HeadwaterError, Unavailable
from headwater.ground.faults import checkpoint

KINDS = ("blobs", "xorbs")
PACKS = "packs"  # encoded tensors, `packs.py`
READ_STEP = 1 << 20
WRITE_BACK_STEP = 256 << 20  # flushed while writing, so that the last fsync of a large upload does not stall


@dataclass(frozen=True, slots=True)
class FileRun:
    """The bytes [start, stop) of a file that does not change."""

    path: Path
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Made:
    """`size` bytes that are made while they are read: of a sealed file. Iterating again makes them again."""

    size: int
    make: Callable[[], Iterator[bytes]]

    def __iter__(self) -> Iterator[bytes]:
        return self.make()

    def __len__(self) -> int:
        return self.size


Piece = FileRun | Made
"""A part of a blob: where it lies, or how it is made."""


def meaning(error: OSError, doing: str) -> HeadwaterError:
    """What a failing disk means to a client. Nothing was stored."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("The hub's disk is full; nothing was stored. Try again when space was freed.", status=507)
    if error.errno == errno.EROFS:
        return Unavailable("The hub's disk is read-only; nothing was stored.", retry_after_s=60)
    return Unavailable(f"The hub's disk failed while {doing} ({errno.errorcode.get(error.errno or 0, '?')}).")


class Unreadable(Corrupt):
    """The disk does not give the bytes of an object: it is gone, too short, or its sectors fail."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"The disk does not give the stored file {name_of(path)} ({why}); upload it again to heal it")
        self.path = path
        self.why = why


def unreadable(path: Path, error: OSError) -> HeadwaterError:
    """What a failed read means: the file's fault, or that of a hub that has too much to do."""
    name = errno.errorcode.get(error.errno or 0, "?")
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return Unavailable(f"The hub is too busy to read ({name}). Try again in a moment.")
    return Unreadable(path, name)


class Part:
    """Bytes on their way in. Leaves nothing behind unless `land` was reached."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._flushed = 0
        try:
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            raise meaning(error, "writing") from error

    def write(self, data: bytes | memoryview) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            self.size += len(data)
            if self.size - self._flushed >= WRITE_BACK_STEP:
                os.fdatasync(self._file.fileno())
                self._flushed = self.size
        except OSError as error:
            self.drop()
            raise meaning(error, "writing") from error

    def land(self, target: Path) -> None:
        """The bytes become the object `target`, durably; an object already there stays (it has the same bytes)."""
        try:
            os.fdatasync(self._file.fileno())
            self._file.close()
            checkpoint("object-written")
            self.path.replace(target)
            sync_folder(target.parent)
            checkpoint("object-landed")
        except OSError as error:
            self.drop()
            raise meaning(error, "writing") from error

    def drop(self) -> None:
        """Nothing of it stays; on a disk that refuses even that, until the next start."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder survive power loss."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class LocalObjects:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"

    def prepare(self) -> None:
        """Makes the folders; clears what a crash left half-written. Called once, under the data folder's lock."""
        shutil.rmtree(self.incoming, ignore_errors=True)
        self.incoming.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            folder = self.root / kind
            folder.mkdir(exist_ok=True)
            present = {child.name for child in folder.iterdir()}
            for name in (f"{number:02x}" for number in range(256)):
                if name not in present:
                    (folder / name).mkdir()
            # An object is synced into its folder: the folder must not be what a power cut takes away.
            sync_folder(folder)
        (self.root / PACKS).mkdir(exist_ok=True)
        sync_folder(self.root)
        sync_folder(self.root.parent)

    def begin(self) -> Part:
        return Part(self.incoming / secrets.token_hex(16))

    def path(self, key: str) -> Path:
        return self.root / key

    def land(self, part: Part, key: str) -> None:
        part.land(self.path(key))

    def size(self, key: str) -> int | None:
        """Bytes of an object; None when it is not there."""
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Corrupt(f"The disk does not give {key}: {error.strerror}") from error

    def written_ms(self, key: str) -> int | None:
        """When an object was written, by the machine's clock; None when it is not there."""
        try:
            return int(self.path(key).stat().st_mtime * 1000)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Corrupt(f"The disk does not give {key}: {error.strerror}") from error

    def delete(self, key: str) -> None:
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError as error:
            raise meaning(error, "deleting") from error

    def keys(self, kind: str) -> Iterator[str]:
        """All keys of a kind, sorted."""
        for folder in sorted((self.root / kind).iterdir()):
            for file in sorted(folder.iterdir()):
                yield f"{kind}/{folder.name}/{file.name}"


def blob_key(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256[2:]}"


def xorb_key(xorb: str) -> str:
    return f"xorbs/{xorb[:2]}/{xorb[2:]}"


def name_of(path: Path) -> str:
    """The hash by which an object is named, of its file."""
    return f"{path.parent.name}{path.name}"


def read_pieces(pieces: Sequence[Piece], step: int = READ_STEP) -> Iterator[bytes]:
    """The bytes of pieces, in order. Corrupt as `read_runs` and whoever makes them say."""
    for piece in pieces:
        if isinstance(piece, FileRun):
            yield from read_runs([piece], step)
        else:
            yield from piece


def read_runs(runs: list[FileRun], step: int = READ_STEP) -> Iterator[bytes]:
    """The bytes of runs, in order. Corrupt when a file is shorter than its run or the disk refuses."""
    for run in runs:
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(run.path.open("rb", buffering=0))
                file.seek(run.start)
                at = run.start
                while at < run.stop:
                    data = file.read(min(step, run.stop - at))
                    if not data:
                        raise Unreadable(run.path, f"it ends before byte {run.stop}")
                    at += len(data)
                    yield data
            except OSError as error:
                raise unreadable(run.path, error) from error
