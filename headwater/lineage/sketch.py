"""Sketch: a small sample of a tensor file, by which its relatives are found and what a parent would save is estimated.

Of every large tensor some runs of neighbouring elements are kept as they are in the file. Where the runs lie follows
from the tensor's shape alone, so that two models of one family are sampled at the same places; rows are chosen so that
a tensor with a few more rows (an extended vocabulary) is sampled at almost the same ones. Tensors whose rows llama.cpp
reorders are sampled in the order that they had before. A sketch refuses to know where its file is and whose it is.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.ground.errors import Corrupt
from headwater.lineage.names import layer_and_kind
from headwater.lineage.samples import Samples, form_of, joined
from headwater.tensors import TENSORS_MAX, Read, Tensor
from headwater.tensors.dtypes import elements

VERSION = 1
SEED = b"headwater sketch 1 "  # another seed or rule of places is another version
RUN = 64  # neighbouring elements: two quantization blocks of 32, one read
RUNS_MAX = 32  # of one tensor: 2,048 elements, enough for an estimate within a tenth of a bit
RUNS_MIN = 4  # what the search needs
RUNS_IN_FILE_MAX = 8192  # reads of one file, and 1 MB of 16-bit words
SAMPLED_MAX = RUNS_IN_FILE_MAX // RUNS_MIN  # tensors; the largest ones
ELEMENTS_MIN = 1024  # smaller tensors say little and cost little
FLAT_ELEMENTS_MIN = 4096  # of a tensor of one dimension: norms and biases are left out, flattened weights are not
ROW_BITS = 24  # rows beyond 2^24 are not sampled
HEAD_BYTES = 5
DIMENSIONS_MAX = 64
ENCODED_BYTES_MAX = 96 << 20  # names of 100,000 tensors, and the words

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TensorSketch:
    """`samples` is None where the tensor is too small, or one of too many. `size_bytes` is what it takes in its file.

    `heads`: its rows are in llama.cpp's order for that many heads; 0: in their own order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    heads: int = 0
    samples: Samples | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns, as it is sampled: of what can't be taken apart into elements, rows of bytes."""
        rows, columns = _grid(self.shape)
        return (rows, self.size_bytes // rows) if form_of(self.dtype).kind == "bytes" and rows else (rows, columns)

    def places(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of the runs."""
        rows, columns = self.grid
        return _places(rows, columns) if rows and columns else ()


@dataclass(frozen=True, slots=True)
class Sketch:
    tensors: tuple[TensorSketch, ...]

    @property
    def size_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)


def _grid(shape: Sequence[int]) -> tuple[int, int]:
    """A shape as rows and columns, at least RUN of these: the last dimension, and as many before it as that takes.

    What has no such rows is one long row, cut into pieces of RUN.
    """
    columns, first = 1, len(shape)
    while first and columns < RUN:
        first -= 1
        columns *= shape[first]
    if first:
        return elements(tuple(shape[:first])), columns
    return max(1, columns // RUN), min(RUN, columns)


@functools.cache
def _chances() -> tuple[Index, Index]:
    """For each run: candidates for its row below every power of two, widest first, and a number for its column."""
    raw = hashlib.shake_256(SEED).digest(4 * RUNS_MAX * (ROW_BITS + 2))
    numbers = np.frombuffer(raw, "<u4").astype(np.int64).reshape(RUNS_MAX, ROW_BITS + 2)
    spans = np.int64(1) << np.arange(ROW_BITS, -1, -1, dtype=np.int64)
    return numbers[:, 1:] % spans, numbers[:, 0]


@functools.lru_cache(maxsize=4096)
def _places(rows: int, columns: int) -> tuple[tuple[int, int], ...]:
    """(row, column) where runs begin, up to RUNS_MAX, each once.

    A run's row is the first of its candidates that the tensor has, widest span first: a tensor with some more rows
    has almost the same ones.
    """
    candidates, chances = _chances()
    fits = candidates < rows  # the last candidate is row 0, which every tensor has
    row = candidates[np.arange(RUNS_MAX), fits.argmax(axis=1)]
    column = chances % -(-columns // RUN) * RUN
    return tuple(dict.fromkeys(zip(row.tolist(), column.tolist(), strict=True)))


def stored_row(row: int, rows: int, heads: int) -> int:
    """Where llama.cpp's converter puts a row of a query or key matrix: the halves of each head, interleaved.

    Source: `permute` of `convert_hf_to_gguf.py`, which swaps (head, half, row) to (head, row, half).
    """
    if not heads or rows % (2 * heads):
        return row
    half_rows = rows // heads // 2
    head, within = divmod(row, 2 * half_rows)
    half, at = divmod(within, half_rows)
    return head * 2 * half_rows + 2 * at + half


@dataclass(frozen=True, slots=True)
class Heads:
    """How many query and key heads a GGUF file has whose architecture llama.cpp reorders; zeros for any other."""

    query: int = 0
    key: int = 0

    def of(self, tensor: Tensor) -> int:
        kind = layer_and_kind(tensor.name)[1]
        heads = {"attn_q": self.query, "attn_k": self.key}.get(kind, 0)
        if not heads or len(tensor.shape) != 2 or tensor.shape[0] % (2 * heads) or tensor.shape[1] < RUN:
            return 0
        return heads


AS_THEY_ARE = Heads()


def make(read: Read, tensors: Iterable[Tensor], heads: Heads = AS_THEY_ARE) -> Sketch:
    """Reads at most RUNS_IN_FILE_MAX small ranges of a file, whose tensors a parser has checked to lie inside it."""
    found = [tensor for tensor in tensors if elements(tensor.shape)]  # the others may have any shape at all
    assert len(found) <= TENSORS_MAX, len(found)
    large = [i for i, tensor in enumerate(found) if _is_large(tensor.shape)]
    large.sort(key=lambda i: -elements(found[i].shape))
    sampled = set(large[:SAMPLED_MAX])
    runs = min(RUNS_MAX, RUNS_IN_FILE_MAX // max(1, len(sampled)))
    return Sketch(
        tuple(_sketched(read, tensor, heads.of(tensor), runs if i in sampled else 0) for i, tensor in enumerate(found))
    )


def _is_large(shape: tuple[int, ...]) -> bool:
    return elements(shape) >= (ELEMENTS_MIN if len(shape) > 1 else FLAT_ELEMENTS_MIN)


def _sketched(read: Read, tensor: Tensor, heads: int, runs: int) -> TensorSketch:
    made = TensorSketch(tensor.name, tensor.dtype, tensor.shape, tensor.stop - tensor.start, heads)
    return replace(made, samples=_read(read, tensor, made, runs)) if runs else made


def _read(read: Read, tensor: Tensor, made: TensorSketch, runs: int) -> Samples | None:
    form = form_of(tensor.dtype)
    rows, columns = made.grid
    pieces = []
    for row, column in made.places()[:runs]:
        start = stored_row(row, rows, made.heads) * columns + column
        count = min(RUN, columns - column)
        first, last = form.span(start, start + count)
        if tensor.start + last > tensor.stop:
            return None  # rows are not whole blocks
        piece = read(tensor.start + first, tensor.start + last)
        if len(piece) != last - first:
            return None  # the file is shorter than its header says
        pieces.append(form.decode(piece, start, count))
    return joined(form, pieces) if pieces else None


def offsets(tensor: TensorSketch) -> dict[tuple[int, int], tuple[int, int]]:
    """Where each place's run lies among the samples: place -> [start, stop)."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    at = 0
    columns = tensor.grid[1]
    total = _length(tensor)
    for row, column in tensor.places():
        if at >= total:
            break
        stop = at + min(RUN, columns - column)
        found[row, column] = (at, stop)
        at = stop
    return found


def common(one: TensorSketch, other: TensorSketch) -> tuple[Samples, Samples] | None:
    """The samples that both have of the same places; None if there are too few. Rows may differ, columns not."""
    if one.samples is None or other.samples is None or one.grid[1] != other.grid[1]:
        return None
    if one.grid == other.grid:
        count = min(len(one.samples.words), len(other.samples.words))
        return one.samples.take(slice(count)), other.samples.take(slice(count))
    here, there = offsets(one), offsets(other)
    shared = [place for place in here if place in there]
    if len(shared) < RUNS_MIN:
        return None
    return (
        one.samples.take(np.concatenate([np.arange(*here[place]) for place in shared])),
        other.samples.take(np.concatenate([np.arange(*there[place]) for place in shared])),
    )


def _length(tensor: TensorSketch) -> int:
    return 0 if tensor.samples is None else len(tensor.samples.words)


class _Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    name: str
    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
    heads: Annotated[int, msgspec.Meta(ge=0, le=1 << 16)]
    samples: Annotated[int, msgspec.Meta(ge=0, le=RUN * RUNS_MAX)]


_PACK = msgspec.msgpack.Encoder()
_UNPACK = msgspec.msgpack.Decoder(list[_Row])


def encode(sketch: Sketch) -> bytes:
    """Version (1 byte), length of the table (u32), the table (MessagePack), then each tensor's words and values."""
    table = _PACK.encode([_Row(t.name, t.dtype, t.shape, t.size_bytes, t.heads, _length(t)) for t in sketch.tensors])
    parts = [bytes([VERSION]), struct.pack("<I", len(table)), table]
    for tensor in sketch.tensors:
        if tensor.samples is not None:
            parts.append(tensor.samples.words.tobytes())
            if tensor.samples.values is not None:
                parts.append(tensor.samples.values.astype("<f4").tobytes())
    return b"".join(parts)


def decode(data: bytes) -> Sketch:
    """Corrupt, and nothing else, for anything that `encode` has not made. Memory: the data and its table of names."""
    if len(data) > ENCODED_BYTES_MAX or len(data) < HEAD_BYTES or data[0] != VERSION:
        raise Corrupt(f"a sketch of version {data[:1].hex()} and {len(data)} bytes can't be read")
    (length,) = struct.unpack_from("<I", data, 1)
    try:
        rows = _UNPACK.decode(memoryview(data)[HEAD_BYTES : HEAD_BYTES + length])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"a sketch's table can't be read: {error}") from None
    if len(rows) > TENSORS_MAX or sum(row.samples > 0 for row in rows) > SAMPLED_MAX:
        raise Corrupt(f"a sketch of {len(rows)} tensors is over the limit")
    tensors = []
    at = HEAD_BYTES + length
    for row in rows:
        tensor = TensorSketch(row.name, row.dtype, row.shape, row.size_bytes, row.heads)
        if row.samples:
            samples, at = _samples(data, at, row)
            tensor = replace(tensor, samples=samples)
        tensors.append(tensor)
    if at != len(data):
        raise Corrupt(f"a sketch of {len(data)} bytes should have {at}")
    return Sketch(tuple(tensors))


def _samples(data: bytes, at: int, row: _Row) -> tuple[Samples, int]:
    if not _is_large(row.shape) or elements(row.shape) > 1 << 62 or len(row.shape) > DIMENSIONS_MAX:
        raise Corrupt(f"a sketch has {row.samples} samples of a tensor of shape {list(row.shape[:8])}")
    form = form_of(row.dtype)
    middle = at + row.samples * form.word.itemsize
    stop = middle + (4 * row.samples if form.valued else 0)
    if stop > len(data):
        raise Corrupt(f"a sketch of {len(data)} bytes should have {stop} or more")
    words = np.frombuffer(data, form.word, row.samples, at)
    if int(words.max()) >> form.bits:
        raise Corrupt(f"a sketch has a word of more than {form.bits} bits")
    return Samples(form, words, np.frombuffer(data, "<f4", row.samples, middle) if form.valued else None), stop
