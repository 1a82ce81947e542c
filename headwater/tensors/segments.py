"""Which parts of a file are tensors: the file cut into segments that cover it exactly, whatever the file is.

This only proposes. A file that breaks its format's rules is one segment of bytes and a reason, and the store proves
every proposal by reassembling the file. Formats are told by their first bytes; a name only breaks a tie, or says which
rules were broken. Files inside of files (stored members of zip and tar) are looked into as well, so that the same
weights are found wherever they lie. Refuses to know the values, the codec and the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from headwater.tensors import (
    TENSORS_MAX,
    Malformed,
    Read,
    Tensor,
    archives,
    gguf,
    npy,
    onnx,
    pytorch,
    safetensors,
    zips,
)
from headwater.tensors.reading import exactly, inside

BYTES = "BYTES"
"""The dtype of what has no type: single bytes."""

TENSOR_BYTES_MIN = 1_024  # below, what says where a tensor is costs more than what is saved
INNER_BYTES_MIN = 65_536  # an unknown member of this size is a segment of its own: whole copies of it are found
DEPTH_MAX = 3  # archives in archives: a package that holds a zip that holds a checkpoint
WALKS_MAX = 16  # graphs and pickles in one file: walking each may take two seconds where all else is quick
SIBLINGS_MAX = 16  # graphs beside a file of weights that are asked whether it is theirs
HEAD_BYTES = 512

Kind: TypeAlias = Literal["tensor", "bytes"]


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes [start, stop) of a file: a tensor, or bytes that no tensor has.

    A tensor's `dtype` is safetensors' or GGML's name, or `BYTES` for one without a type (then `shape` is its size);
    `shape` has the outermost dimension first. Bytes have dtype `BYTES`, their size as shape, and no name.
    """

    start: int
    stop: int
    kind: Kind
    dtype: str
    shape: tuple[int, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Sibling:
    """A file beside the one that is cut up; it may say what that one holds. `name` is its path in the repo."""

    name: str
    size: int
    read: Read


@dataclass(frozen=True, slots=True)
class Proposal:
    """`format` is the file's own ("" where none is known); `reason` says why there are no tensors, or no types."""

    format: str
    segments: tuple[Segment, ...]
    reason: str | None


def propose(name: str, size: int, read: Read, siblings: Sequence[Sibling] = ()) -> list[Segment]:
    """Segments that cover [0, size) in order, without gaps and overlaps; at most `TENSORS_MAX` are tensors.

    Never raises `Malformed`: such a file is one segment of bytes (see `examine` for the reason).
    """
    return list(examine(name, size, read, siblings).segments)


def examine(name: str, size: int, read: Read, siblings: Sequence[Sibling] = ()) -> Proposal:
    """The same with the format and, where there is one, the reason for less than one would expect."""
    kind = ""
    try:
        kind = detect(name, size, read)
        if kind:
            tensors, reason = _FORMATS[kind](_File(name, size, read, 0, _Walks()))
        else:
            tensors, reason = _described(name, size, siblings)
            kind = "onnx data" if tensors else ""
        return Proposal(kind, _cover(tensors, size), reason)
    except Malformed as error:
        return Proposal(kind, _cover((), size), error.text)


def detect(name: str, size: int, read: Read) -> str:
    """The format by the file's first bytes, else by its name; "" for none that has tensors. Raises `Malformed`."""
    head = exactly(read, 0, min(size, HEAD_BYTES), "file")
    for kind, begins in _BEGINNINGS.items():
        if begins(head):
            return kind
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - safetensors.LENGTH_BYTES:
        return "safetensors"
    lower = name.lower()
    if lower.endswith(".onnx") or onnx.looks_like_onnx(head):
        return "onnx"
    return next((kind for kind in ("safetensors", "gguf", "npy", "npz") if lower.endswith("." + kind)), "")


_BEGINNINGS: dict[str, Callable[[bytes], bool]] = {
    "gguf": lambda head: head.startswith(gguf.MAGIC),
    "npy": lambda head: head.startswith(npy.MAGIC),
    "zip": archives.looks_like_zip,
    "tar": archives.looks_like_tar,
    "pytorch": pytorch.looks_old,
}


@dataclass(slots=True)
class _Walks:
    """How many slow walks were begun in the whole file, in all archives inside of it together."""

    begun: int = 0

    def begin(self) -> None:
        self.begun += 1
        if self.begun > WALKS_MAX:
            raise Malformed(f"over {WALKS_MAX} graphs and pickles are in one file")


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    size: int
    read: Read
    depth: int
    walks: _Walks


_Found: TypeAlias = tuple[Sequence[Tensor], str | None]


def _safetensors(file: _File) -> _Found:
    return safetensors.read_header(file.read, file.size).tensors, None


def _gguf(file: _File) -> _Found:
    tensors = gguf.read_header(file.read, file.size).tensors
    # A little-endian version is followed by two zero bytes, a big-endian one is preceded by them.
    if tensors and exactly(file.read, 4, 6, "gguf") == b"\0\0":
        return [_untyped(t.name, t.start, t.stop) for t in tensors], "gguf: big-endian numbers have no type here"
    return tensors, None


def _npy(file: _File) -> _Found:
    found = npy.read_header(file.read, file.size, file.name.rpartition("/")[2].removesuffix(".npy"))
    if found.tensor is None:
        return (), "npy: its elements have no type here (objects, records, text or big-endian numbers)"
    return (found.tensor,), None


def _onnx(file: _File) -> _Found:
    file.walks.begin()
    return onnx.read_tensors(file.read, file.size).tensors, None


def _zip(file: _File) -> _Found:
    directory = zips.read_directory(file.read, file.size)
    if pytorch.is_pytorch(directory):
        file.walks.begin()
        found = pytorch.read_tensors(file.read, directory)
        return found.tensors, found.misunderstood
    return _inner(file, archives.in_zip(file.read, directory, TENSOR_BYTES_MIN))


def _old_pytorch(file: _File) -> _Found:
    file.walks.begin()
    return pytorch.read_old(file.read, file.size).tensors, None


def _tar(file: _File) -> _Found:
    return _inner(file, archives.in_tar(file.read, file.size, TENSOR_BYTES_MIN))


def _inner(file: _File, members: Iterable[archives.Inner]) -> _Found:
    """The tensors of the files inside; what is in none of a known format is one itself, if it is long enough."""
    tensors: list[Tensor] = []
    reason: str | None = None
    for member in members:
        size = member.stop - member.start
        found: Sequence[Tensor] = ()
        inner = _File(member.name, size, inside(file.read, member.start, member.stop), file.depth + 1, file.walks)
        try:
            kind = detect(inner.name, size, inner.read)
            if kind and (inner.depth < DEPTH_MAX or kind not in {"zip", "tar", "npz"}):
                found, why = _FORMATS[kind](inner)
                reason = reason or why
        except Malformed as error:
            reason = reason or f"{member.name[:200]}: {error.text}"
        if found:
            tensors += (
                Tensor(t.name, t.dtype, t.shape, member.start + t.start, member.start + t.stop)
                for t in found
                if t.stop - t.start >= TENSOR_BYTES_MIN
            )
        elif size >= INNER_BYTES_MIN:
            tensors.append(_untyped(member.name, member.start, member.stop))
        if len(tensors) > TENSORS_MAX:
            raise Malformed(f"{len(tensors)} tensors in an archive are over the limit of {TENSORS_MAX}")
    return tensors, reason


_FORMATS: dict[str, Callable[[_File], _Found]] = {
    "safetensors": _safetensors,
    "gguf": _gguf,
    "npy": _npy,
    "onnx": _onnx,
    "zip": _zip,
    "npz": _zip,
    "tar": _tar,
    "pytorch": _old_pytorch,
}


def _untyped(name: str, start: int, stop: int) -> Tensor:
    return Tensor(name, BYTES, (stop - start,), start, stop)


def _described(name: str, size: int, siblings: Sequence[Sibling]) -> _Found:
    """Tensors of a file that itself says nothing: an ONNX graph beside it may name it as the place of its weights."""
    reason: str | None = None
    graphs = [sibling for sibling in siblings if sibling.name.lower().endswith(".onnx") and sibling.name != name]
    for graph in graphs[:SIBLINGS_MAX]:
        folder = graph.name.rpartition("/")[0]
        try:
            external = onnx.read_tensors(graph.read, graph.size).external
        except Malformed as error:
            reason = reason or f"{graph.name[:200]}: {error.text}"
            continue
        for location, tensors in external.items():
            if name == (f"{folder}/{location}" if folder else location):
                beyond = next((tensor for tensor in tensors if tensor.stop > size), None)
                if beyond is None:
                    return tensors, None
                reason = f"onnx: tensor {beyond.name[:200]!r} ends beyond the file ({beyond.stop} > {size})"
    return (), reason


def _cover(tensors: Iterable[Tensor], size: int) -> tuple[Segment, ...]:
    """Tensors that are long enough, and all between them as bytes. Raises `Malformed` where tensors overlap.

    Two names for the very same bytes (tied weights) are one tensor; the first name counts.
    """
    segments: list[Segment] = []
    reached, before = 0, ""
    last: tuple[int, int] | None = None
    for tensor in sorted(tensors, key=lambda t: (t.start, t.stop)):
        if tensor.stop - tensor.start < TENSOR_BYTES_MIN or (tensor.start, tensor.stop) == last:
            continue
        if not reached <= tensor.start <= tensor.stop <= size:
            raise Malformed(
                f"tensor {tensor.name[:200]!r} at [{tensor.start}, {tensor.stop}) lies on {before[:200]!r} or "
                f"beyond the file's end at {size}"
            )
        if reached < tensor.start:
            segments.append(_bytes(reached, tensor.start))
        segments.append(Segment(tensor.start, tensor.stop, "tensor", tensor.dtype, tensor.shape, tensor.name))
        reached, before, last = tensor.stop, tensor.name, (tensor.start, tensor.stop)
    if len(segments) > 2 * TENSORS_MAX:
        raise Malformed(f"over {TENSORS_MAX} tensors in a file")
    if reached < size:
        segments.append(_bytes(reached, size))
    return tuple(segments)


def _bytes(start: int, stop: int) -> Segment:
    return Segment(start, stop, "bytes", BYTES, (stop - start,), "")
