"""A parent plus a matrix of low rank: merged adapters (LoRA), ablated directions. This module predicts.

`lowrank_fit` finds the factors. It knows no adapter: only the merged weights are seen.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headwater.codec.form import Form
from headwater.codec.layout import Words
from headwater.codec.predict.contract import Grid, Need, Params, Planes, grid_of
from headwater.codec.predict.factors import Integers, factors_packed, factors_unpacked
from headwater.codec.predict.lowrank_fit import fitted
from headwater.codec.predict.source import Search, Source
from headwater.codec.predict.words import FLOATS, Float, Reals, nearest, reals

RANK_MAX = 128
ENTRIES_MAX = 1 << 23  # of both factors; rank 16 of a vocabulary of 262,144 with 8,192 columns has half of it
SCALE_MAX = 200  # the power of two that the product is divided by: no float32 needs more
EXACT_MAX = 1 << 53  # integers up to here are float64s

_BITS_FIRST = 11  # of the largest entry; about the best for 16-bit types
_BITS_MAX = 22


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """parent + left.T @ right / 2**scale, rounded to the type. `left` is rank x rows, `right` rank x columns.

    Parameters: u16 rank, i16 scale, and rank x (rows + columns) integers as `factors` packs them.
    The same on every machine, whatever order its matrix product adds in: all entries are integers and rank x the
    largest entries is below 2**53, so every partial sum is an integer that float64 holds exactly. The division is by
    a power of two; the sum with the parent and its rounding are single operations that IEEE 754 fixes.
    """

    target: Float
    parent: Float
    grid: Grid
    scale: int
    left: Integers
    right: Integers
    packed: bytes

    id: ClassVar[int] = 9
    name: ClassVar[str] = "lowrank"

    def params(self) -> bytes:
        return struct.pack("<Hh", len(self.left), self.scale) + self.packed

    def needs(self, start: int, stop: int) -> list[Need]:
        return [(0, start, stop)]

    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]:
        values = reals(parents[0][0], self.parent)
        with np.errstate(all="ignore"):
            moved = values + self._product(start, stop) * 2.0**-self.scale
        return [nearest(moved, self.target)]

    def _product(self, start: int, stop: int) -> Reals:
        """The elements of the integer matrix. A row is computed whole only where more than one is asked for."""
        columns = self.grid.columns
        first, last = start // columns, -(-stop // columns)
        if last - first > 2:
            left = self.left[:, first:last].T.astype(np.float64)
            found: Reals = (left @ self.right.astype(np.float64)).reshape(-1)
            return found[start - first * columns : stop - first * columns]
        pieces = []
        for row in range(first, last):
            low, high = max(start - row * columns, 0), min(stop - row * columns, columns)
            pieces.append(self.left[:, row].astype(np.float64) @ self.right[:, low:high].astype(np.float64))
        return np.concatenate(pieces) if pieces else np.empty(0)


def _exact(left: Integers, right: Integers) -> bool:
    """Whether every partial sum of the product is an integer that float64 holds."""
    largest = [max(int(side.max()), -int(side.min())) if side.size else 0 for side in (left, right)]
    return len(left) * largest[0] * largest[1] < EXACT_MAX


def from_params(params: Params, form: Form, parents: Sequence[Form]) -> LowRank:
    target = FLOATS.get(form.dtype)
    parent = FLOATS.get(parents[0].dtype) if len(parents) == 1 else None
    grid = grid_of(form)
    rank, scale = (int(field) for field in params.take("Hh"))
    if target is None or parent is None or grid_of(parents[0]).elements != grid.elements:
        raise params.refused(f"{form} has not the values of {parents}")
    if not 0 < rank <= min(RANK_MAX, grid.rows, grid.columns) or rank * (grid.rows + grid.columns) > ENTRIES_MAX:
        raise params.refused(f"rank {rank} of {grid.rows} x {grid.columns}")
    if abs(scale) > SCALE_MAX:
        raise params.refused(f"scale {scale}")
    packed = params.rest()
    inner = Params(packed, "lowrank")
    factors = factors_unpacked(inner, rank, grid.rows + grid.columns)
    inner.end()
    left, right = factors[:, : grid.rows], factors[:, grid.rows :]
    if not _exact(left, right):
        raise params.refused("the product is not exact")
    return LowRank(target, parent, grid, scale, left, right, packed)


# ---------------------------------------------------------------- fitting
def offers(search: Search, target: Source, parent: Source) -> Iterator[LowRank]:
    """The best low-rank predictor, if the update has a structure that pays for its factors."""
    kind, parent_kind = target.kind, parent.kind
    if kind is None or parent_kind is None or parent.elements != target.elements or kind.bits not in (16, 32):
        return
    if (found := fitted(search, target, parent, ENTRIES_MAX)) is None:
        return
    left, right = found
    largest = max(np.abs(left).max(), np.abs(right).max())
    if not np.isfinite(largest) or largest == 0:
        return
    best: tuple[float, LowRank] | None = None
    first = _BITS_FIRST - int(np.ceil(np.log2(largest)))
    for scale in range(first - 2, first + _BITS_MAX - _BITS_FIRST):  # as long as more bits for the entries pay
        rounded = [np.rint(np.ldexp(side, scale)).astype(np.int32) for side in (left, right)]
        if 2 * abs(scale) > SCALE_MAX or not _exact(rounded[0], rounded[1]):
            break
        packed = factors_packed(np.concatenate(rounded, axis=1))
        predictor = LowRank(kind, parent_kind, target.grid, 2 * scale, rounded[0], rounded[1], packed)
        bits = search.bits(predictor, [parent])
        if best is not None and bits >= best[0]:
            break
        best = (bits, predictor)
    if best is not None:
        yield best[1]
