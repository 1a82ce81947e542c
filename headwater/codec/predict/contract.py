"""What a predictor is, and how its parameters are read. It knows no family of predictors.

A predictor guesses the words of a tensor out of its parents' words. A guess is never trusted: the coder stores what it
got wrong, so a predictor can cost space but never a bit. What it must be is the same everywhere: the same parameters
and parents give the same words on every machine, for any way of cutting the tensor into ranges.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

import zstandard

from headwater.codec.form import Form, Undecodable
from headwater.codec.layout import Layout, Words, layout_of
from headwater.tensors.dtypes import elements as elements_of

Planes: TypeAlias = Sequence[Words]
"""One range of a tensor as `layout_of(dtype).split` gives it: one array per plane. May be read-only."""

Need: TypeAlias = tuple[int, int, int]
"""(parent, start, stop): elements [start, stop) of that parent, whole units of the parent's layout."""

PARAMS_BYTES_MAX = 64 << 20
"""Of one predictor; a low-rank one of the largest matrices seen (151,936 x 8,192, rank 64) has 15 MB."""


class Predictor(Protocol):
    """Guesses elements [start, stop) of one tensor; both are multiples of `unit_elements` of its layout.

    Parents are numbered in the order in which `from_params` is given their forms. `needs` may be empty: nothing is
    known of these elements, and `predict` gives zeros. `predict` is given one `Planes` for each need, in order, and
    gives one array per plane of the tensor's layout, in that plane's dtype.
    """

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    def params(self) -> bytes: ...
    def needs(self, start: int, stop: int) -> list[Need]: ...
    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A predictor that may pay. `parents` are indices into the parents that `candidates` was given, and the predictor's
    own numbers 0, 1, ... are positions in `parents`.

    `bits` is an estimate from a sample of what the whole tensor takes with it, parameters included; `alone_bits` of
    what it takes without any parent.
    """

    predictor: Predictor
    parents: tuple[int, ...]
    bits: float
    alone_bits: float


@dataclass(frozen=True, slots=True)
class Grid:
    """A form seen as a matrix: `rows` of `columns` elements each, the last dimension being the columns."""

    MATRIX_ELEMENTS_MAX: ClassVar[int] = 1 << 48  # products of two sizes stay below 2**63

    rows: int
    columns: int

    @property
    def elements(self) -> int:
        return self.rows * self.columns


def grid_of(form: Form) -> Grid:
    """Rows are the product of all dimensions but the last. Scalars and vectors are one row."""
    total = elements_of(form.shape)
    if total < 0 or total > Grid.MATRIX_ELEMENTS_MAX:
        raise Undecodable(f"a tensor of shape {form.shape} is larger than any that is predicted")
    columns = form.shape[-1] if form.shape else 1
    return Grid(total // columns if columns else 0, columns)


def first_grid_of(form: Form) -> Grid:
    """Rows are the first dimension: what grows when a vocabulary does, and what llama.cpp reorders."""
    total = grid_of(form).elements
    rows = form.shape[0] if form.shape else 1
    return Grid(rows, total // rows if rows else 0)


def layout_for(form: Form) -> Layout:
    return layout_of(form.dtype)


class Params:
    """Reads a predictor's parameters front to back. Whatever is not there is `Undecodable`, never another error."""

    def __init__(self, data: bytes, family: str) -> None:
        if len(data) > PARAMS_BYTES_MAX:
            raise Undecodable(f"{family}: {len(data)} bytes of parameters")
        self._data, self._at, self._family = data, 0, family

    def take(self, layout: str) -> tuple[int | float, ...]:
        """The next fields by a `struct` format without byte order; little-endian."""
        piece = self.take_bytes(struct.calcsize("<" + layout))
        return struct.unpack("<" + layout, piece)

    def integer(self, layout: str) -> int:
        (value,) = self.take(layout)
        return int(value)

    def take_bytes(self, count: int) -> bytes:
        if count < 0 or count > len(self._data) - self._at:
            raise self.refused("the parameters are cut short")
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def rest(self) -> bytes:
        return self.take_bytes(len(self._data) - self._at)

    def packed(self, size_bytes: int) -> bytes:
        """Bytes that `pack` wrote, which must be `size_bytes` of them; no more than that is ever unpacked."""
        piece = self.take_bytes(self.integer("I"))
        if not 0 <= size_bytes <= PARAMS_BYTES_MAX:
            raise self.refused(f"{size_bytes} packed bytes")
        try:
            frame = zstandard.get_frame_parameters(piece)
            if frame.content_size != size_bytes:
                raise self.refused("a packed field has another size")
            found = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(piece, max_output_size=size_bytes)
        except zstandard.ZstdError as error:
            raise self.refused("a packed field is damaged") from error
        if len(found) != size_bytes:
            raise self.refused("a packed field has another size")
        return found

    def end(self) -> None:
        if self._at != len(self._data):
            raise self.refused("the parameters have a tail")

    def refused(self, text: str) -> Undecodable:
        return Undecodable(f"{self._family}: {text}")


def pack(data: bytes) -> bytes:
    """Bytes squeezed: u32 length, then a zstd frame that tells its size. What `Params.packed` reads."""
    squeezed = zstandard.ZstdCompressor(level=9).compress(data)
    return struct.pack("<I", len(squeezed)) + squeezed
