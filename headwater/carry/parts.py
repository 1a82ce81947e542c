"""The parts of a bundle: one stream of bytes, cut into files that fit on what they are carried on.

Writing hashes while it writes; reading trusts nothing: no link is followed, no size believed, each part and each file
is hashed. Refuses to know what the bytes are.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from headwater.carry.manifest import (
    MANIFEST_BYTES_MAX,
    NAME,
    PARTS_MAX,
    File,
    Manifest,
    Part,
    decode,
    part_name,
)
from headwater.ground.errors import Conflict, Corrupt, DigestMismatch, Invalid, TooMuch
from headwater.ground.names import Sha256
from headwater.repos.objects import disk_errors, fsync_folder

FOLDER = "parts"
STEP = 1 << 20

Progress = Callable[[int, int], None]
"""`show(done, total)` in bytes."""


class PartsWriter:
    """Files, one after another, into `folder/parts`. Nothing of it is a bundle before `finish`."""

    def __init__(self, folder: Path, part_size: int, wrote: Callable[[int], None]) -> None:
        self._folder, self._part_size, self._wrote = folder, part_size, wrote
        self.parts: list[Part] = []
        self.files: dict[Sha256, File] = {}
        self._at = 0  # in the stream
        self._part: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        with disk_errors():
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise Conflict(f"{folder} is not empty; name an empty or a new folder")
            (folder / FOLDER).mkdir()

    def add(self, sha256: Sha256, pieces: Callable[[], Iterable[bytes]]) -> None:
        """A file, unless it is there already. Corrupt if its bytes are others."""
        if sha256 in self.files:
            return
        start, digest = self._at, hashlib.sha256()
        for piece in pieces():
            digest.update(piece)
            self._write(piece)
        if digest.hexdigest() != sha256:
            raise Corrupt(
                f"The stored file {sha256} is damaged: it hashes to {digest.hexdigest()}; run `headwater verify`"
            )
        number, offset = divmod(start, self._part_size)
        self.files[sha256] = File(sha256, self._at - start, number + 1, offset)

    def finish(self, encode: Callable[[], bytes]) -> bytes:
        """The manifest, which is what makes the folder a bundle: on the disk after everything that it names."""
        self.close()
        text = encode()
        with disk_errors():
            fsync_folder(self._folder / FOLDER)
            half = self._folder / f".{NAME}.half"
            with half.open("xb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            half.rename(self._folder / NAME)
            fsync_folder(self._folder)
        return text

    def close(self) -> None:
        if self._part is None:
            return
        part, self._part = self._part, None
        with part, disk_errors():
            part.flush()
            os.fsync(part.fileno())
        size = self._at - len(self.parts) * self._part_size
        self.parts.append(Part(len(self.parts) + 1, self._hash.hexdigest(), size))

    def _write(self, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            if self._part is None:
                self._begin()
            room = (len(self.parts) + 1) * self._part_size - self._at
            step = left[:room]
            assert self._part is not None
            with disk_errors():
                self._part.write(step)
            self._hash.update(step)
            self._at += len(step)
            left = left[len(step) :]
            if len(step) == room:
                self.close()
        self._wrote(len(piece))

    def _begin(self) -> None:
        if len(self.parts) >= PARTS_MAX:
            raise TooMuch(f"A bundle has at most {PARTS_MAX} parts; choose a larger --part-size")
        self._hash = hashlib.sha256()
        with disk_errors():
            self._part = (self._folder / FOLDER / part_name(len(self.parts) + 1)).open("xb")


class PartsReader:
    """The bundle in a folder, as far as it can be believed: `manifest` is in order, every part is there at its size."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.text = _manifest_text(folder)
        self.sha256 = hashlib.sha256(self.text).hexdigest()
        self.manifest: Manifest = decode(self.text)
        self._look_at_parts()
        self._files = {Sha256(file.sha256): file for file in self.manifest.files}

    def read(self, sha256: Sha256) -> Iterator[bytes]:
        """The bytes of a file, not yet hashed."""
        file = self._files[sha256]
        number, offset, left = file.part, file.offset, file.size
        while left:
            with self._open(number) as part:
                part.seek(offset)
                while left and (data := _read(part, min(STEP, left), number)):
                    left -= len(data)
                    yield data
                at_end = part.tell() == self.manifest.parts[number - 1].size
            if left and not at_end:
                raise Invalid(f"part {part_name(number)} ends too early")
            number, offset = number + 1, 0

    def verify(self, wanted: Mapping[Sha256, Callable[[bytes], object]], progress: Progress) -> None:
        """Hashes every part and every file. The bytes of those in `wanted` are handed on as they are read.

        DigestMismatch names the part and the file. What was handed on of a file is only good when this returns.
        """
        total, done = self.manifest.size, 0
        files = _Files(self.manifest.files, wanted)
        for part in self.manifest.parts:
            digest = hashlib.sha256()
            with self._open(part.number) as opened:
                while data := _read(opened, STEP, part.number):
                    digest.update(data)
                    files.take(data)
                    done += len(data)
                    progress(done, total)
            if digest.hexdigest() != part.sha256:
                raise DigestMismatch(self._what(part, digest.hexdigest(), files), part.sha256, digest.hexdigest())
            files.judge()
        files.judge()

    def _what(self, part: Part, got: str, files: _Files) -> str:
        """The part that is wrong, with what can be said of why."""
        other = next((one.number for one in self.manifest.parts if one.sha256 == got), None)
        if other is not None:
            return f"part {part_name(part.number)} (it is part {part_name(other)} of this bundle, in the wrong place)"
        touched = files.wrong or files.unfinished
        return f"part {part_name(part.number)}" + (f" (in it: file {touched})" if touched else "")

    @contextmanager
    def _open(self, number: int) -> Iterator[IO[bytes]]:
        with _opened(self._folder / FOLDER / part_name(number), f"part {part_name(number)}") as file:
            expected = self.manifest.parts[number - 1].size
            size = os.fstat(file.fileno()).st_size
            if size != expected:
                raise Invalid(f"part {part_name(number)} has {size} bytes, expected {expected}")
            yield file

    def _look_at_parts(self) -> None:
        """Exactly the parts that the manifest names, as plain files of the right sizes."""
        expected = {part_name(part.number): part.size for part in self.manifest.parts}
        found = {}
        for item in _items(self._folder / FOLDER):
            if item.name not in expected:
                raise Invalid(f"{FOLDER}/{item.name[:100]} is not part of this bundle; take it away")
            if item.is_symlink() or not item.is_file(follow_symlinks=False):
                raise Invalid(f"part {item.name} is no plain file; bundles hold no links")
            found[item.name] = item.stat(follow_symlinks=False).st_size
        for name, size in expected.items():
            if name not in found:
                raise Invalid(f"part {name} is missing; the bundle has {len(expected)} parts")
            if found[name] != size:
                raise Invalid(f"part {name} has {found[name]} bytes, expected {size}; copy it again")


class _Files:
    """Follows the stream of the parts, file by file. `wrong` and `unfinished` name files, for messages."""

    def __init__(self, files: Iterable[File], wanted: Mapping[Sha256, Callable[[bytes], object]]) -> None:
        self._left = iter(files)
        self._wanted = wanted
        self.wrong = ""
        self._got = ""
        self._next()
        self._finish()

    @property
    def unfinished(self) -> str:
        return self._file.sha256 if self._file is not None else ""

    def take(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._file is not None:
            step = view[: self._missing]
            self._digest.update(step)
            wanted = self._wanted.get(Sha256(self._file.sha256))
            if wanted is not None:
                wanted(bytes(step))
            self._missing -= len(step)
            view = view[len(step) :]
            self._finish()

    def judge(self) -> None:
        if self.wrong:
            raise DigestMismatch(f"file {self.wrong}", self.wrong, self._got)

    def _finish(self) -> None:
        while self._file is not None and not self._missing:
            got = self._digest.hexdigest()
            if got != self._file.sha256 and not self.wrong:
                self.wrong, self._got = self._file.sha256, got
            self._next()

    def _next(self) -> None:
        self._file = next(self._left, None)
        self._missing = self._file.size if self._file is not None else 0
        self._digest = hashlib.sha256()


def _manifest_text(folder: Path) -> bytes:
    for item in _items(folder):
        if item.is_symlink():
            raise Invalid(f"{item.name[:100]} is a link; bundles hold none")
    if not (folder / NAME).exists():
        raise Invalid(f"{folder} holds no finished bundle ({NAME} is missing)")
    with _opened(folder / NAME, NAME) as file:
        text = file.read(MANIFEST_BYTES_MAX + 1)
    if len(text) > MANIFEST_BYTES_MAX:
        raise TooMuch(f"{NAME} has more than {MANIFEST_BYTES_MAX} bytes")
    return text


def _items(folder: Path) -> list[os.DirEntry[str]]:
    try:
        if folder.is_symlink():
            raise Invalid(f"{folder} is a link; name the folder itself")
        return sorted(os.scandir(folder), key=lambda item: item.name)
    except (FileNotFoundError, NotADirectoryError):
        raise Invalid(f"{folder} is no folder of a bundle") from None


@contextmanager
def _opened(path: Path, what: str) -> Iterator[IO[bytes]]:
    """A plain file, never through a link; a pipe must not keep us waiting for ever."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else str(error.strerror)
        raise Invalid(f"{what} can't be read: {why}") from None
    with os.fdopen(handle, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Invalid(f"{what} is no plain file")
        yield file


def _read(part: IO[bytes], size: int, number: int) -> bytes:
    try:
        return part.read(size)
    except OSError as error:
        raise Invalid(f"part {part_name(number)} can't be read: {error.strerror}; copy it again") from None
