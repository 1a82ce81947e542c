"""Splitting: where the tensors of a file lie, as far as its format tells. What a parser proposes is never trusted.

A format that is not known, or a file that breaks its rules, has no tensors: it is kept by chunks. Whether the parts
make up the file is proven by reading it back (`seal.py`), so a wrong proposal costs space and never bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from headwater.ground.errors import Corrupt, EntryMissing
from headwater.ground.names import Sha256
from headwater.tensors import Malformed, Tensor, segments
from headwater.tensors.segments import Sibling

Named = Tensor
"""A tensor's name, dtype, shape, and where its bytes lie in the file."""

ReadFile = Callable[[Sha256, int, int], Iterable[bytes]]
"""`read(sha256, start, stop)`: the bytes [start, stop) of a stored file, in pieces: `Store.read`."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A stored file beside another one in its repo, that may say what this holds. `name` is its path there."""

    name: str
    sha256: Sha256
    size: int


def split(
    name: str, size: int, read: Callable[[int, int], bytes], siblings: Sequence[Sibling] = ()
) -> tuple[Named, ...]:
    """The tensors of a file of `size` bytes. `name` is its file name; `read(start, stop)` gives its bytes."""
    return tuple(
        Tensor(one.name, one.dtype, one.shape, one.start, one.stop)
        for one in segments.propose(name, size, read, siblings)
        if one.kind == "tensor"
    )


def siblings(beside: Iterable[Beside], read: ReadFile) -> list[Sibling]:
    """The same for the parsers. One that is damaged or gone by the time it is read says nothing."""
    return [Sibling(one.name, one.size, partial(_read, read, one.sha256)) for one in beside]


def _read(read: ReadFile, sha256: Sha256, start: int, stop: int) -> bytes:
    try:
        return b"".join(read(sha256, start, stop))
    except (Corrupt, EntryMissing) as error:
        raise Malformed(error.text) from error
