"""Codes of a stored float tensor divided by a scale: int8 by row or tensor, uint8 with a zero point, fp8 with scales.

The scale lies in another tensor of the file, or was rounded, clipped or searched for by a rule that nobody wrote down.
So it is recovered from the codes: value / scale lies in the cell of its code, each element bounds the scale from below
and above, and what lies within (almost) all bounds is as good as the true one. Scales are constant in cells of
`cell_rows` x `cell_columns` elements: the tensor, a row, a column, groups of a row (as AWQ has), squares (as DeepSeek's
fp8). It knows no file and no name of a scale.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headwater.codec.form import Form
from headwater.codec.layout import Words
from headwater.codec.predict.contract import Grid, Need, Params, Planes, grid_of, pack
from headwater.codec.predict.source import STRETCHES, Search, Source
from headwater.codec.predict.words import FLOATS, Float, Reals, nearest, reals, rounding_cells

SCALES_MAX = 1 << 22  # 16 MiB of float32: one for each 128 elements of half a gigabyte
TILE_ELEMENTS = 1 << 18  # of the tile on which the shape of the cells is found
BAND_ELEMENTS = 1 << 19  # of what is read at once: four megabytes of float64, some ten times over
GROUPS = (32, 64, 128, 256)
SQUARE = 128
VALUE_MAX = 1e30  # no weight is larger, and squares of what is may be infinite
MISS_BITS = 6.0  # what one code that is missed costs, about
WORSE_SHARE_MAX = 0.25  # of codes missed on the tile; with more, this is no quantization of that tensor

Scales: TypeAlias = NDArray[np.float32]
Zeros: TypeAlias = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Codes:
    """What the words of a type are: integers `low` to `high`, or a small float."""

    low: int
    high: int
    kind: Float | None


CODES = {
    "I8": Codes(-128, 127, None),
    "U8": Codes(0, 255, None),
    "F8_E4M3": Codes(0, 448, FLOATS["F8_E4M3"]),
    "F8_E5M2": Codes(0, 57344, FLOATS["F8_E5M2"]),
}


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """round(value / scale) + zero, held within the codes; `scales` and `zeros` have one entry for each cell.

    Parameters: u64 rows and u64 columns of a cell, u8 whether zeros follow; the scales as float32, all first bytes,
    then all second ones ..., and the zeros as i16, each as `pack` writes it.

    The same on every machine because the quotient is one float64 division, then rounded to float32, then to the code,
    and IEEE 754 fixes each step.
    """

    codes: Codes
    parent: Float
    grid: Grid
    cell_rows: int
    cell_columns: int
    scales: Scales
    zeros: Zeros
    packed: bytes

    id: ClassVar[int] = 6
    name: ClassVar[str] = "scaled"

    def params(self) -> bytes:
        return struct.pack("<QQB", self.cell_rows, self.cell_columns, bool(self.zeros.any())) + self.packed

    def needs(self, start: int, stop: int) -> list[Need]:
        return [(0, start, stop)]

    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]:
        values = reals(parents[0][0], self.parent)
        if len(self.scales) == 1:
            return [_coded(values, self.scales.astype(np.float64), self.zeros, self.codes)]
        cells = self._cells(start, stop)
        return [_coded(values, self.scales[cells].astype(np.float64), self.zeros[cells], self.codes)]

    def _cells(self, start: int, stop: int) -> NDArray[np.int32]:
        """Which cell each element of a range is in."""
        columns = self.grid.columns
        across = -(-columns // self.cell_columns)
        first, last = start // columns, -(-stop // columns)
        downs = (np.arange(first, last, dtype=np.int64) // self.cell_rows * across).astype(np.int32)
        if last - first <= 2:  # so that a row that is much longer than the range is not numbered as a whole
            pieces = [
                down + self._across(max(start - row * columns, 0), min(stop - row * columns, columns))
                for row, down in zip(range(first, last), downs, strict=True)
            ]
            return np.concatenate(pieces) if pieces else downs
        cells = (downs[:, None] + self._across(0, columns)).reshape(-1)
        return cells[start - first * columns : stop - first * columns]

    def _across(self, start: int, stop: int) -> NDArray[np.int32]:
        return (np.arange(start, stop, dtype=np.int64) // self.cell_columns).astype(np.int32)


def _coded(values: Reals, scales: Reals, zeros: Zeros, codes: Codes) -> Words:
    with np.errstate(all="ignore"):
        quotient = (values / scales).astype(np.float32)
        if codes.kind is not None:
            held = np.clip(quotient, np.float32(-codes.high), np.float32(codes.high))
            return nearest(held.astype(np.float64), codes.kind)
        # A NaN has no integer; the cast of one is the processor's choice.
        moved = np.where(np.isnan(quotient), np.float32(0), np.rint(quotient)) + zeros
    return np.clip(moved, codes.low, codes.high).astype(np.int16).astype(np.uint8)


# ---------------------------------------------------------------- fitting
def fit(search: Search, target: Source, parent: Source) -> Scaled | None:
    """The scales that explain the target's codes, or None if none do."""
    codes = CODES.get(target.form.dtype)
    grid = target.grid
    if codes is None or parent.kind is None or parent.elements != grid.elements or not grid.elements:
        return None
    rows = min(max(1, TILE_ELEMENTS // grid.columns), grid.rows)
    if rows * grid.columns > BAND_ELEMENTS:
        return None  # a row does not fit; such tensors have no scale for each row
    first = (grid.rows - rows) // 2 // SQUARE * SQUARE
    tile = _Band(target, parent, codes, [(first, first + rows)])
    best: tuple[float, int, int, bool] | None = None
    for cell_rows, cell_columns in _shapes(grid):
        for free in (False, True) if codes.kind is None else (False,):
            found = tile.recovered(cell_rows, cell_columns, free)
            missed = tile.missed(*found, cell_rows, cell_columns)
            cells = -(-grid.rows // cell_rows) * -(-grid.columns // cell_columns)
            cost = missed * MISS_BITS + cells * (48 if free else 32) / grid.elements
            if missed <= WORSE_SHARE_MAX and cells <= SCALES_MAX and (best is None or cost < best[0]):
                best = (cost, cell_rows, cell_columns, free)
    return None if best is None else _fitted(search, target, parent, codes, best[1:])


def _shapes(grid: Grid) -> Iterator[tuple[int, int]]:
    yield grid.rows, grid.columns
    if grid.rows > 1:
        yield 1, grid.columns
        yield grid.rows, 1
    for group in GROUPS:
        if grid.columns > group:
            yield 1, group
    if grid.rows > 1 and grid.columns > 1 and SQUARE * grid.columns <= 2 * BAND_ELEMENTS:
        yield SQUARE, SQUARE


def _fitted(search: Search, target: Source, parent: Source, codes: Codes, how: tuple[int, int, bool]) -> Scaled | None:
    """All scales, band by band; scales of all rows come from rows spread over the tensor."""
    assert parent.kind is not None
    cell_rows, cell_columns, free = how
    grid = target.grid
    height = max(1, BAND_ELEMENTS // grid.columns)
    scales, zeros = [], []
    for ranges in _bands(grid.rows, cell_rows, height):
        if search.left_s() <= 0:
            return None
        band = _Band(target, parent, codes, ranges)
        found = band.recovered(cell_rows, cell_columns, free)
        scales.append(found[0].reshape(-1))
        zeros.append(found[1].reshape(-1))
    whole, centre = np.concatenate(scales), np.concatenate(zeros)
    # The bytes of floats apart, so that those of exponents lie together.
    packed = pack(np.ascontiguousarray(whole.astype("<f4").view(np.uint8).reshape(-1, 4).T).tobytes())
    if centre.any():
        packed += pack(centre.astype("<i2").tobytes())
    return Scaled(codes, parent.kind, grid, cell_rows, cell_columns, whole, centre, packed)


def _bands(rows: int, cell_rows: int, height: int) -> Iterator[list[tuple[int, int]]]:
    """Ranges of rows to be looked at together."""
    if cell_rows < rows:
        height = max(height // cell_rows, 1) * cell_rows
        for first in range(0, rows, height):
            yield [(first, min(first + height, rows))]
    elif height >= rows:
        yield [(0, rows)]
    else:
        some = max(1, height // STRETCHES)
        pieces = height // some
        yield [
            (i * (rows - some) // max(pieces - 1, 1), i * (rows - some) // max(pieces - 1, 1) + some)
            for i in range(pieces)
        ]


class _Band:
    """Some rows of the target and the parent, in memory."""

    def __init__(self, target: Source, parent: Source, codes: Codes, ranges: Sequence[tuple[int, int]]) -> None:
        columns = target.grid.columns
        self.codes = codes
        pieces = [(first * columns, last * columns) for first, last in ranges]
        self.words = np.concatenate([target.words(*piece) for piece in pieces]).reshape(-1, columns)
        self.values = np.concatenate([parent.values(*piece) for piece in pieces]).reshape(-1, columns)
        self.values[~(np.abs(self.values) < VALUE_MAX)] = 0.0  # NaN too
        self.integers = self.words.view(np.int8) if codes.low < 0 else self.words

    def recovered(self, cell_rows: int, cell_columns: int, free: bool) -> tuple[Scales, Zeros]:
        """Scale and zero of each cell of these rows, as a matrix of cells."""
        values = self._cells(self.values, cell_rows, cell_columns)
        if self.codes.kind is not None:
            low, high = rounding_cells(self.words & np.uint8(0x7F), self.codes.kind)
            zeros = np.zeros(values.shape[:2], np.int16)
            low, high = (self._cells(bound, cell_rows, cell_columns) for bound in (low, high))
        else:
            whole = self._cells(self.integers.astype(np.float64), cell_rows, cell_columns)
            zeros = _zeros(values, whole, self.codes) if free else np.zeros(values.shape[:2], np.int16)
            size = np.abs(whole - zeros[:, :, None])
            low, high = size - 0.5, size + 0.5
            high[(whole <= self.codes.low) | (whole >= self.codes.high)] = np.inf
            opposite = (size >= 1) & (np.signbit(values) != (whole < zeros[:, :, None]))
            low[opposite], high[opposite] = 0.0, np.inf
        return _between(np.abs(values), low, high), zeros

    def missed(self, scales: Scales, zeros: Zeros, cell_rows: int, cell_columns: int) -> float:
        """The share of these codes that the scales do not give."""
        rows, columns = self.words.shape
        down = np.arange(rows) // min(cell_rows, rows)
        across = np.arange(columns) // cell_columns
        wide = scales[down][:, across].astype(np.float64)
        guess = _coded(self.values, wide, zeros[down][:, across], self.codes)
        return float(np.count_nonzero(guess != self.words)) / guess.size

    def _cells(self, matrix: Reals, cell_rows: int, cell_columns: int) -> Reals:
        """(rows, columns) to (cells down, cells across, elements of a cell). Ragged edges repeat their last element."""
        rows, columns = matrix.shape
        tall, wide = min(cell_rows, rows), min(cell_columns, columns)
        down, across = -(-rows // tall), -(-columns // wide)
        if (down * tall, across * wide) != matrix.shape:
            matrix = np.pad(matrix, ((0, down * tall - rows), (0, across * wide - columns)), mode="edge")
        return matrix.reshape(down, tall, across, wide).swapaxes(1, 2).reshape(down, across, tall * wide)


def _zeros(values: Reals, whole: Reals, codes: Codes) -> Zeros:
    """The code of 0 by a straight line through each cell's codes, those at the ends of the range left out."""
    inside = (whole > codes.low) & (whole < codes.high)
    count = np.maximum(inside.sum(axis=2), 1)
    mean_value = (values * inside).sum(axis=2) / count
    mean_code = (whole * inside).sum(axis=2) / count
    away = (values - mean_value[:, :, None]) * inside
    spread = (away * away).sum(axis=2)
    slope = np.divide((away * whole).sum(axis=2), spread, out=np.zeros_like(spread), where=spread > 0)
    found: Zeros = np.clip(np.rint(mean_code - slope * mean_value), codes.low, codes.high).astype(np.int16)
    return found


def _between(sizes: Reals, low: Reals, high: Reals) -> Scales:
    """For each cell a scale with size / scale in [low, high], for all elements or for most."""
    with np.errstate(all="ignore"):
        least = np.where(np.isinf(high), 0.0, sizes / high)
        most = np.where(low > 0, sizes / low, np.inf)
    floor, ceiling = least.max(axis=2), most.min(axis=2)
    if (floor > ceiling).any():
        # Some element contradicts others. The fewest that must be left out at either end to leave room between.
        floors, ceilings = np.sort(least, axis=2)[:, :, ::-1], np.sort(most, axis=2)
        first = np.argmax(floors <= ceilings, axis=2)[:, :, None]
        floor = np.take_along_axis(floors, first, axis=2)[:, :, 0]
        ceiling = np.take_along_axis(ceilings, first, axis=2)[:, :, 0]
    middle = np.where(np.isinf(ceiling), floor, (floor + ceiling) / 2)
    middle = np.clip(np.where(middle > 0, middle, 1.0), 1e-37, 1e37)
    # Scales are mostly stored as short floats: one that lies within the bounds is likely the true one. On a bound it is
    # not: there an element lies halfway between two codes, and would go to the other.
    found = middle.astype(np.float32)
    for kind in (FLOATS["F16"], FLOATS["BF16"]):
        short = reals(nearest(middle, kind), kind)
        found = np.where((short > floor) & (short < ceiling) & (short > 0), short, found).astype(np.float32)
    return found


def from_params(params: Params, form: Form, parents: Sequence[Form]) -> Scaled:
    codes = CODES.get(form.dtype)
    kind = FLOATS.get(parents[0].dtype) if len(parents) == 1 else None
    grid = grid_of(form)
    cell_rows, cell_columns, free = (int(field) for field in params.take("QQB"))
    if codes is None or kind is None or grid_of(parents[0]).elements != grid.elements or not grid.elements:
        raise params.refused(f"no codes of {form} from {parents}")
    if not 0 < cell_rows <= grid.rows or not 0 < cell_columns <= grid.columns:
        raise params.refused(f"cells of {cell_rows} x {cell_columns} in {form}")
    cells = -(-grid.rows // cell_rows) * -(-grid.columns // cell_columns)
    if cells > SCALES_MAX:
        raise params.refused(f"{cells} scales")
    packed = params.rest()
    inner = Params(packed, "scaled")
    parts = np.frombuffer(inner.packed(cells * 4), np.uint8).reshape(4, cells)
    scales = np.ascontiguousarray(parts.T).view("<f4").reshape(-1)
    zeros = np.frombuffer(inner.packed(cells * 2), "<i2") if free else np.zeros(cells, np.int16)
    inner.end()
    if not np.all(np.isfinite(scales) & (scales > 0)):
        raise params.refused("a scale is not a positive number")
    return Scaled(codes, kind, grid, cell_rows, cell_columns, scales, zeros, packed)
