"""Finds the factors of a low-rank update of which only the rounded result is seen.

Each word says only in which interval its update lies: half a step of the type on either side. So two projections
alternate: of the factors' product onto the intervals (a little beyond, which is faster), and of that onto matrices of
low rank (one step of alternating least squares). Small weights have narrow intervals and say most: up to a rank where
that gets dear, squares are weighed by the intervals' widths. The state between two rounds is the factors alone, so that
a pass reads the tensor in tiles of rows, and memory does not grow with it.

Whether at all: most updates are of full rank, and the search is the dearest there is. A few rows are looked at first,
without rounds: adapters and abliterations leave half or less of what the parent alone leaves, training 82 % or more.
Which rank: factors are fitted to half of some sample rows, and tried on the other half, where what they seem to explain
is no accident. Nothing here has to be the same on another machine: the factors are parameters.

Source of the idea: alternating projections onto convex sets (Bregman, 1965), over-relaxed (Gubin, Polyak, Raik, 1967).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headwater.codec.layout import Words
from headwater.codec.predict.source import Search, Source, residual_bits
from headwater.codec.predict.words import Float, Reals, magnitudes, nearest, reals

Matrix: TypeAlias = NDArray[np.floating]

RANKS = (1, 2, 4, 8, 16, 32, 64)
ELEMENTS_MIN = 1 << 12  # below, factors cost what they save
ELEMENTS_MAX = 1 << 28  # above, the passes take minutes
COLUMNS_MAX = 1 << 17  # a sample of fewer than sixteen rows would say nothing of a rank
SAMPLE_ROWS = 256
GLANCE_ROWS = 128
GLANCE_SHARE = 0.7  # of what the parent alone leaves; merged adapters 0.47 to 0.62, training 0.82 to 1 (matrices of L0)
GLANCE_BITS = 0.3  # per element that the parent alone leaves; below, there is too little to save
TALL = 8  # times as many rows as columns: a vocabulary, whose rows move each for itself, and which adapters leave alone
SAMPLE_ELEMENTS_MAX = 1 << 21
TILE_ELEMENTS = 1 << 18
ROUNDS = 12
ROUNDS_OF_LARGE = 6  # where many rows and columns determine the factors sooner, and rounds take seconds
LARGE_ELEMENTS = 1 << 22
INNER_ROUNDS = 1
SAMPLE_ROUNDS = 12
RELAXED = 1.9
PAYS_SHARE = 0.92  # of what the parent alone leaves
ENTRY_BITS = 11.0  # of one entry of a factor, as it is stored
WEIGHED_RANK_MAX = 16  # rank**2 / 2 products for each element; above, a round takes more than three without weights
WEIGHT_MAX = 1024.0  # of a square: a thirtieth of the usual width
VALUE_MAX = 1e12  # no weight is larger, and what is would drown all others in squares
_CACHED_BYTES_PER_ELEMENT = 12


@dataclass(frozen=True, slots=True)
class _Tile:
    """Rows from `first` on: the middle of each element's interval, half its width, and what its square weighs."""

    first: int
    middle: Matrix
    half: Matrix
    weight: Matrix

    def nearer(self, product: Matrix) -> Matrix:
        """The product moved onto the intervals, and somewhat beyond."""
        error = product - self.middle
        inside = np.clip(error, -self.half, self.half)
        inside -= error
        inside *= inside.dtype.type(RELAXED)
        inside += product
        return inside


class _Rows:
    """The update in tiles: read anew in each pass, or kept where that fits into the budget."""

    def __init__(self, search: Search, target: Source, parent: Source) -> None:
        assert target.kind is not None
        self.target, self.parent, self.kind = target, parent, target.kind
        self.columns, self.rows = target.grid.columns, target.grid.rows
        # Float32 has 16 bits more than what it is to tell apart here, but not for float32 itself.
        self.type = np.float32 if self.kind.bits == 16 else np.float64
        self._halves = _half_steps(self.kind)
        self._weights = self._weighed(search)
        share = 2 * _CACHED_BYTES_PER_ELEMENT if self.kind.bits == 32 else _CACHED_BYTES_PER_ELEMENT
        self._kept: list[_Tile] | None = [] if 2 * target.elements * share <= search.limits.memory_bytes else None

    def tiles(self) -> Iterator[_Tile]:
        height = max(1, TILE_ELEMENTS // self.columns)
        if self._kept:
            yield from self._kept
            return
        for first in range(0, self.rows, height):
            tile = self.tile([(first, min(first + height, self.rows))])
            if self._kept is not None:
                self._kept.append(tile)
            yield tile

    def tile(self, ranges: Sequence[tuple[int, int]]) -> _Tile:
        words = self.joined(self.target, ranges)
        base = self.values(ranges)
        exponents = magnitudes(words, self.kind) >> words.dtype.type(self.kind.mantissa_bits)
        half, weight = self._halves[exponents], self._weights[exponents]
        with np.errstate(all="ignore"):
            middle = reals(words, self.kind) - base
        unknown = ~(np.abs(middle) < VALUE_MAX)  # NaN too
        middle[unknown] = 0.0
        half[unknown], weight[unknown] = 1e30, 0.0
        return _Tile(ranges[0][0], *(self._matrix(each) for each in (middle, half, weight)))

    def _matrix(self, flat: Reals) -> Matrix:
        return flat.reshape(-1, self.columns).astype(self.type)

    def _weighed(self, search: Search) -> Reals:
        """For each exponent what a square weighs: 1 for the usual interval, more for narrower ones, to a limit."""
        words = search.sample[0]
        exponents = magnitudes(words, self.kind) >> words.dtype.type(self.kind.mantissa_bits)
        usual = self._halves[int(np.median(exponents))]
        weights: Reals = np.minimum((usual / self._halves) ** 2, WEIGHT_MAX)
        return weights

    def joined(self, source: Source, ranges: Sequence[tuple[int, int]]) -> Words:
        found = [source.words(first * self.columns, last * self.columns) for first, last in ranges]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def values(self, ranges: Sequence[tuple[int, int]]) -> Reals:
        assert self.parent.kind is not None
        return reals(self.joined(self.parent, ranges), self.parent.kind)


def _half_steps(kind: Float) -> Reals:
    """For each exponent of a type half the distance between neighbours. Of no finite value: no bound."""
    exponents = np.arange(1 << kind.exponent_bits)
    steps: Reals = np.ldexp(0.5, np.maximum(exponents, 1) - kind.bias - kind.mantissa_bits)
    steps[-1] = 1e30
    return steps


def fitted(search: Search, target: Source, parent: Source, entries_max: int) -> tuple[Reals, Reals] | None:
    """Factors (rank x rows, rank x columns) whose product is the update, their entries alike in size. Or None."""
    grid = target.grid
    if not ELEMENTS_MIN <= grid.elements <= ELEMENTS_MAX or grid.columns > COLUMNS_MAX:
        return None
    if grid.rows > TALL * grid.columns:
        return None
    rows = _Rows(search, target, parent)
    try:
        with np.errstate(all="ignore"):  # any values may be in a tensor; what comes of them is tried on the sample
            return _alternated(search, rows, entries_max)
    except np.linalg.LinAlgError:  # such values that no solution is found
        return None


def _alternated(search: Search, rows: _Rows, entries_max: int) -> tuple[Reals, Reals] | None:
    start = _started(search, rows, entries_max)
    if start is None:
        return None
    right = start
    left: Matrix = np.zeros((len(right), rows.rows), rows.type)
    for number in range(ROUNDS_OF_LARGE if rows.target.elements > LARGE_ELEMENTS else ROUNDS):
        before_s = time.thread_time()
        left, right = _round(rows, left, right, first=number == 0)
        # The last rounds gain least: they are what a small budget goes without.
        if search.left_s() < 2 * (time.thread_time() - before_s):
            break
    return _balanced(left, right)


def _round(rows: _Rows, left: Matrix, right: Matrix, *, first: bool) -> tuple[Matrix, Matrix]:
    """One pass over all rows: better left factors row by row, then the right factors that are best for these.

    `right` has orthonormal rows, so that without weights the left factors of a row are its products with them.
    """
    squares = _Squares(right, rows.columns)
    fresh = np.empty_like(left)
    for tile in rows.tiles():
        stop = tile.first + len(tile.middle)
        moved = tile.middle if first else tile.nearer(left[:, tile.first : stop].T @ right)
        side = squares.left(tile, moved)
        for _ in range(INNER_ROUNDS):
            moved = tile.nearer(side @ right)
            side = squares.left(tile, moved)
        fresh[:, tile.first : stop] = side.T
        squares.add(tile, side, moved)
    turned, triangle = np.linalg.qr(squares.right().T)
    return (triangle @ fresh).astype(rows.type), np.ascontiguousarray(turned.T).astype(rows.type)


class _Squares:
    """The least-squares problems of one round: one for each row, whose answers make one for each column.

    With weights every row and column has a matrix of its own, rank x rank and symmetric: all of them come from one
    product of the weights with the products of all pairs of factors.
    """

    def __init__(self, right: Matrix, columns: int) -> None:
        self._right = right
        rank = len(right)
        self._weighed = rank <= WEIGHED_RANK_MAX
        self._pairs = np.triu_indices(rank)
        self._mixed = np.zeros((rank, columns))
        if self._weighed:
            self._products = np.ascontiguousarray((right[self._pairs[0]] * right[self._pairs[1]]).T)
            self._squares = np.zeros((len(self._pairs[0]), columns), right.dtype)
        else:
            self._square = np.zeros((rank, rank))

    def left(self, tile: _Tile, moved: Matrix) -> Matrix:
        """The best left factors of a tile's rows."""
        if not self._weighed:
            return moved @ self._right.T
        return self._answers(tile.weight @ self._products, (tile.weight * moved) @ self._right.T).astype(moved.dtype)

    def add(self, tile: _Tile, side: Matrix, moved: Matrix) -> None:
        """What a tile's rows say of the right factors."""
        if not self._weighed:
            self._square += side.T @ side
            self._mixed += side.T @ moved
            return
        self._squares += (side[:, self._pairs[0]] * side[:, self._pairs[1]]).T @ tile.weight
        self._mixed += side.T @ (tile.weight * moved)

    def right(self) -> Matrix:
        if not self._weighed:
            return np.linalg.lstsq(self._square, self._mixed, rcond=1e-10)[0]
        return self._answers(self._squares.T, self._mixed.T).T

    def _answers(self, squares: Matrix, mixed: Matrix) -> Matrix:
        """Solves one small system for each row of `squares` (its upper triangle) and of `mixed`."""
        rank = mixed.shape[1]
        full = np.zeros((len(mixed), rank, rank))
        full[:, self._pairs[0], self._pairs[1]] = squares
        full[:, self._pairs[1], self._pairs[0]] = squares
        # A trifle on the diagonal: rows of nothing but unknown values have the answer 0 and not none.
        trace = np.trace(full, axis1=1, axis2=2)[:, None]
        full[:, np.arange(rank), np.arange(rank)] += 1e-6 * trace / rank + 1e-30
        answers: Matrix = np.linalg.solve(full, mixed.astype(np.float64)[:, :, None])[:, :, 0]
        return answers


def _balanced(left: Matrix, right: Matrix) -> tuple[Reals, Reals]:
    """The same product with orthogonal factors, each side taking the root of a factor's weight.

    Then one step of rounding is best for all entries of both sides: what an entry's error does to the product depends
    on the other side's size alone.
    """
    turned, triangle = np.linalg.qr(left.T.astype(np.float64))
    inner, weights, outer = np.linalg.svd(triangle @ right.astype(np.float64), full_matrices=False)
    roots = np.sqrt(weights)[:, None]
    return roots * (turned @ inner).T, roots * outer


# ---------------------------------------------------------------- which rank
def _started(search: Search, rows: _Rows, entries_max: int) -> Matrix | None:
    """Right factors of the rank that promises most on sample rows, or None if none pays."""
    some = min(SAMPLE_ROWS, rows.rows, SAMPLE_ELEMENTS_MAX // rows.columns)
    if some < 8 or not _at_a_glance(rows, _spread(rows.rows, min(some, GLANCE_ROWS))):
        return None
    groups = _spread(rows.rows, some)
    rank = _promising(search, rows, groups, entries_max)
    if not rank:
        return None
    whole = rows.tile(groups)
    return _sharpened(whole, _leading(whole.middle, rank))


class _Trial:
    """Some rows, every other one to fit factors to (`fitting`), those between to try them on (`trying`)."""

    def __init__(self, rows: _Rows, groups: Sequence[tuple[int, int]]) -> None:
        whole = rows.tile(groups)
        self.fitting, self.trying = _halved(whole, 0), _halved(whole, 1)
        self._rows = rows
        self._words = rows.joined(rows.target, groups).reshape(-1, rows.columns)[1::2]
        self._base = rows.values(groups).reshape(-1, rows.columns)[1::2]

    def bits(self, product: Matrix) -> float:
        """Per element, with this product as the update."""
        with np.errstate(all="ignore"):
            guess = nearest(self._base + product, self._rows.kind)
        plane = self._rows.target.layout.planes[0]
        return residual_bits(self._words.reshape(-1), guess.reshape(-1), plane) / self._words.size

    def bits_before(self) -> float:
        return self.bits(np.zeros_like(self.trying.middle))


def _at_a_glance(rows: _Rows, groups: Sequence[tuple[int, int]]) -> bool:
    """Whether the leading vectors of some rows explain much of others, as they are."""
    trial = _Trial(rows, groups)
    before = trial.bits_before()
    if before < GLANCE_BITS:
        return False
    vectors = _leading(trial.fitting.middle, min(max(RANKS), len(trial.fitting.middle) // 2))
    ranks = {rank for rank in (1, 16, len(vectors)) if rank <= len(vectors)}
    sides = (vectors[:rank] for rank in sorted(ranks))
    return any(trial.bits(trial.trying.middle @ side.T @ side) < GLANCE_SHARE * before for side in sides)


def _promising(search: Search, rows: _Rows, groups: Sequence[tuple[int, int]], entries_max: int) -> int:
    """The rank that promises most, 0 if none does."""
    trial = _Trial(rows, groups)
    fitting, trying = trial.fitting, trial.trying

    def bits(product: Matrix) -> float:
        return trial.bits(product) * rows.target.elements

    best, best_rank = PAYS_SHARE * bits(np.zeros_like(trying.middle)), 0
    vectors = _leading(fitting.middle, min(max(RANKS), len(fitting.middle) // 2))
    for rank in RANKS:
        entries = rank * (rows.rows + rows.columns)
        if rank > len(vectors) or rank > rows.columns // 2 or entries > entries_max or search.left_s() <= 0:
            break
        if ENTRY_BITS * entries > best:
            break
        right = _sharpened(fitting, vectors[:rank])
        cost = bits(_solved(trying, right) @ right) + ENTRY_BITS * entries
        if cost < best:
            best, best_rank = cost, rank
    return best_rank


def _spread(rows: int, some: int) -> list[tuple[int, int]]:
    """Ranges of rows, `some` in all, spread evenly."""
    groups = min(16, some)
    height = some // groups
    starts = [number * (rows - height) // max(groups - 1, 1) for number in range(groups)]
    return sorted({(start, start + height) for start in starts})


def _halved(tile: _Tile, odd: int) -> _Tile:
    return _Tile(0, *(np.ascontiguousarray(each[odd::2]) for each in (tile.middle, tile.half, tile.weight)))


def _leading(middle: Matrix, rank: int) -> Matrix:
    """The leading right singular vectors of some rows: by the square matrix of the rows' products, which is small."""
    square = middle.astype(np.float64) @ middle.T.astype(np.float64)
    _, vectors = np.linalg.eigh(square)
    turned, _ = np.linalg.qr(middle.T @ vectors[:, ::-1][:, :rank])
    return np.ascontiguousarray(turned.T).astype(middle.dtype)


def _sharpened(tile: _Tile, right: Matrix) -> Matrix:
    """Right factors after some rounds on these rows."""
    product = tile.middle @ right.T @ right
    for _ in range(SAMPLE_ROUNDS):
        moved = tile.nearer(product)
        turned, _ = np.linalg.qr(moved @ right.T)
        mixed = turned.T @ moved
        product = turned @ mixed
        right = np.ascontiguousarray(np.linalg.qr(mixed.T)[0].T)
    return right.astype(tile.middle.dtype)


def _solved(tile: _Tile, right: Matrix) -> Matrix:
    """Left factors for these rows, the right ones being given."""
    left = tile.middle @ right.T
    for _ in range(SAMPLE_ROUNDS):
        left = tile.nearer(left @ right) @ right.T
    return left
