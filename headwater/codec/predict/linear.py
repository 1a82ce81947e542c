"""Sums of parents with constant coefficients: soups, linear merges, task arithmetic, spherical interpolation.

Merges are computed in few ways, and each rounds differently: as a sum of products, or as a base plus scaled
differences, in float32 or in the type itself. The way is a parameter like the coefficients. It knows nothing of merges
that drop or elect single weights (TIES, DARE).

Sources: "Model soups" (Wortsman and others, 2022); "Editing models with task arithmetic" (Ilharco and others, 2023);
"Animating rotation with quaternion curves" (Shoemake, 1985) for the two coefficients of spherical interpolation.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from headwater.codec.form import Form
from headwater.codec.layout import Words
from headwater.codec.predict.contract import Need, Params, Planes, grid_of
from headwater.codec.predict.source import Search, Source
from headwater.codec.predict.words import FLOATS, Float, Reals, nearest, reals, rounding_cells

SUM, AROUND, MEAN = 0, 1, 2  # c0 p0 + c1 p1 + ...; p0 + c1 (p1 - p0) + ...; (p0 + p1 + ...) / their number
DOUBLE, SINGLE, OWN = 0, 1, 2  # what each operation is rounded to

PARENTS_MAX = 8  # merges of more are not seen; every parent costs its own decoding
FIT_ELEMENTS_MAX = 1 << 15
FIT_ROUNDS = 16
CELL_MIN = 1e-60  # of what a difference is divided by
TRIFLE = 0.02  # a coefficient that moves words by less than this part of their rounding cell is nothing
MISSED_SHARE_MAX = 0.5  # of the sample; with more, the target is no sum of these parents
VALUE_MAX = 1e12  # no weight is larger, and what is would drown all others in squares
# People choose coefficients like 1/3, 0.35 or 1/64.
DENOMINATORS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 20, 32, 64, 100, 1000)
TURN_STEPS = (100, 1000)  # of the share of the way from one parent to the other


@dataclass(frozen=True, slots=True)
class Linear:
    """A sum over parents. `coefficients` has one for each; that of a base is not used, nor any for a mean.

    Parameters: u8 way, u8 steps, and a float64 for each parent.
    The same on every machine because every product, difference and sum is one float64 operation on whole arrays, in the
    order of the parents, rounded (to float32, to the type) before the next, as IEEE 754 fixes.
    """

    target: Float
    parents: tuple[Float, ...]
    way: int
    steps: int
    coefficients: tuple[float, ...]

    id: ClassVar[int] = 8
    name: ClassVar[str] = "linear"

    def params(self) -> bytes:
        return struct.pack(f"<BB{len(self.coefficients)}d", self.way, self.steps, *self.coefficients)

    def needs(self, start: int, stop: int) -> list[Need]:
        return [(number, start, stop) for number in range(len(self.parents))]

    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]:
        values = [reals(planes[0], kind) for planes, kind in zip(parents, self.parents, strict=True)]
        with np.errstate(all="ignore"):
            return [nearest(self._summed(values), self.target)]

    def _summed(self, values: Sequence[Reals]) -> Reals:
        if self.way == AROUND:
            total = values[0]
            for value, coefficient in zip(values[1:], self.coefficients[1:], strict=True):
                away = self._step(value - values[0])
                total = self._step(total + self._step(away * coefficient))
            return total
        if self.way == MEAN:
            total = values[0]
            for value in values[1:]:
                total = self._step(total + value)
            return self._step(total / len(values))
        total = self._step(values[0] * self.coefficients[0])
        for value, coefficient in zip(values[1:], self.coefficients[1:], strict=True):
            total = self._step(total + self._step(value * coefficient))
        return total

    def _step(self, values: Reals) -> Reals:
        if self.steps == DOUBLE:
            return values
        if self.steps == SINGLE:
            return values.astype(np.float32).astype(np.float64)
        return reals(nearest(values, self.target), self.target)


def from_params(params: Params, form: Form, parents: Sequence[Form]) -> Linear:
    target = FLOATS.get(form.dtype)
    kinds = tuple(FLOATS[parent.dtype] for parent in parents if parent.dtype in FLOATS)
    way, steps = (int(field) for field in params.take("BB"))
    if target is None or not 1 <= len(kinds) <= PARENTS_MAX or len(kinds) != len(parents):
        raise params.refused(f"{form} is no sum of {len(parents)} parents {parents[:2]}")
    if any(grid_of(parent).elements != grid_of(form).elements for parent in parents) or way > MEAN or steps > OWN:
        raise params.refused(f"way {way}, steps {steps} from {parents}")
    coefficients = tuple(float(field) for field in params.take(f"{len(kinds)}d"))
    params.end()
    if not all(map(math.isfinite, coefficients)):
        raise params.refused("a coefficient is not finite")
    return Linear(target, kinds, way, steps, coefficients)


# ---------------------------------------------------------------- fitting
def offers(search: Search, parents: Sequence[Source]) -> Iterator[tuple[Linear, tuple[int, ...]]]:
    """Sums that may have made the target, with the positions of the parents that they are of."""
    target = search.target
    same = [number for number, parent in enumerate(parents) if parent.kind and parent.elements == target.elements]
    if target.kind is None or not len(same) >= 2 or not search.ranges:
        return
    fit = _Fit(search, parents, same[:PARENTS_MAX])
    found = fit.coefficients()
    if found is None:
        return
    numbers, coefficients = found
    best = fit.best(numbers, coefficients)
    if len(numbers) == 2 and abs(sum(coefficients) - 1) > 1e-6:
        turned = _turned(search, [parents[number] for number in numbers], coefficients)
        best = min(
            [
                best,
                *(fit.tried(numbers, Linear(target.kind, fit.kinds(numbers), SUM, DOUBLE, pair)) for pair in turned),
            ],
            key=_missed,
        )
    if best[0] <= MISSED_SHARE_MAX:
        yield best[1], best[2]


Trial = tuple[float, Linear, tuple[int, ...]]
"""The share of the sample that is missed, the sum, its parents."""


def _missed(trial: Trial) -> float:
    return trial[0]


class _Fit:
    """Coefficients by least squares on a sample, sharpened by what rounding tells: each word is a cell of values."""

    def __init__(self, search: Search, parents: Sequence[Source], numbers: Sequence[int]) -> None:
        self.kind = search.target.kind
        self.parents = parents
        step = max(1, sum(stop - start for start, stop in search.ranges) // FIT_ELEMENTS_MAX)
        self.words = search.sample[0][::step]
        columns = {n: np.concatenate([parents[n].words(*range_) for range_ in search.ranges])[::step] for n in numbers}
        self.columns = columns
        assert self.kind is not None
        self.low, self.high = rounding_cells(self.words, self.kind)
        self.values = {n: reals(words, self._kind(n)) for n, words in columns.items()}
        sound = (np.abs(self.low) < VALUE_MAX) & (np.abs(self.high) < VALUE_MAX)
        for values in self.values.values():
            sound &= np.abs(values) < VALUE_MAX  # also false for NaN
        self.sound = np.flatnonzero(sound)

    def _kind(self, number: int) -> Float:
        kind = self.parents[number].kind
        assert kind is not None
        return kind

    def kinds(self, numbers: Sequence[int]) -> tuple[Float, ...]:
        return tuple(self._kind(number) for number in numbers)

    def coefficients(self) -> tuple[list[int], list[float]] | None:
        """The parents that take part, and their coefficients: what does not move words is left out, one by one."""
        numbers = list(self.values)
        if len(self.sound) < 4 * len(numbers):
            return None
        while len(numbers) >= 2:
            try:
                found, weights = self._solved(numbers)
            except np.linalg.LinAlgError:  # parents of such values that no solution is found
                return None
            if not np.isfinite(found).all():
                return None
            least = int(np.argmin(weights))
            if weights[least] > TRIFLE:
                return numbers, found
            numbers.pop(least)
        return None

    def _solved(self, numbers: list[int]) -> tuple[list[float], Reals]:
        """Coefficients of these parents, and by how many cells a word would move without each.

        The unknowns are those of the differences from the first parent and of the first parent itself: the parents of
        a merge are nearly equal, so their own coefficients would be ill determined.
        """
        low, high = self.low[self.sound], self.high[self.sound]
        first = self.values[numbers[0]][self.sound]
        # In units of a rounding cell. Cells near zero are tiny; they must not outweigh all others.
        scale = np.maximum(high - low, np.percentile(high - low, 5))
        scale = np.maximum(scale, CELL_MIN)
        others = [self.values[n][self.sound] - first for n in numbers[1:]]
        matrix = np.stack([*others, first]) / scale
        square = matrix @ matrix.T
        square[np.diag_indices_from(square)] *= 1 + 1e-12
        aim = (low + high) / 2
        solution: Reals = np.zeros(len(numbers))
        for _ in range(FIT_ROUNDS):
            solution = np.linalg.lstsq(square, matrix @ ((aim - first) / scale), rcond=1e-14)[0].astype(np.float64)
            guess = first + (solution @ matrix) * scale
            aim = np.clip(guess, low, high)
            aim += 0.7 * (aim - guess)
        own = 1 + solution[-1] - solution[:-1].sum()
        moved = np.sqrt((np.vstack([first / scale, matrix[:-1]]) ** 2).mean(axis=1))
        coefficients = np.array([own, *solution[:-1]])
        weights = np.abs(coefficients) * moved
        # What the first parent's own coefficient is worth is told by the others' distance from it.
        weights[0] = abs(own) * moved[1:].max()
        return [float(c) for c in coefficients], weights

    def best(self, numbers: list[int], coefficients: list[float]) -> Trial:
        """The way and the round coefficients that miss the fewest words."""
        assert self.kind is not None
        kinds = self.kinds(numbers)
        plain = Linear(self.kind, kinds, SUM, DOUBLE, tuple(coefficients))
        best = self.tried(numbers, plain)
        for denominator in DENOMINATORS:
            round_ = tuple(round(c * denominator) / denominator for c in coefficients)
            trial = self.tried(numbers, replace(plain, coefficients=round_))
            if trial[0] < best[0] or (trial[0] == best[0] and best[1] is plain):
                best = trial
        trials = [best]
        for place in range(len(numbers)):
            # Around each parent as the base, which then comes first.
            order = [place, *(other for other in range(len(numbers)) if other != place)]
            turned = Linear(
                self.kind, tuple(kinds[i] for i in order), AROUND, DOUBLE, _picked(best[1].coefficients, order)
            )
            ways = self._ways(turned, (SUM, AROUND, MEAN) if place == 0 else (AROUND,))
            trials.extend(self.tried([numbers[i] for i in order], linear) for linear in ways)
        return min(trials, key=_missed)

    def _ways(self, linear: Linear, ways: Sequence[int]) -> Iterator[Linear]:
        """The same sum as programs compute it, with coefficients as they are or in the type of the operations."""
        for way in ways:
            for steps in (DOUBLE, SINGLE, OWN):
                found = replace(linear, way=way, steps=steps)
                yield found
                kind = {SINGLE: FLOATS["F32"], OWN: self.kind}.get(steps)
                if kind is not None:
                    short = reals(nearest(np.array(linear.coefficients), kind), kind)
                    yield replace(found, coefficients=tuple(float(c) for c in short))

    def tried(self, numbers: Sequence[int], linear: Linear) -> Trial:
        guess = linear.predict(0, len(self.words), [[self.columns[n]] for n in numbers])[0]
        return float(np.mean(guess != self.words)), linear, tuple(numbers)


def _picked(coefficients: Sequence[float], order: Sequence[int]) -> tuple[float, ...]:
    return tuple(coefficients[place] for place in order)


def _turned(search: Search, parents: Sequence[Source], coefficients: Sequence[float]) -> list[tuple[float, float]]:
    """Coefficients of spherical interpolation near those found: the angle is that between the whole tensors."""
    products = np.zeros(3)
    first, second = parents
    for start in range(0, first.elements, FIT_ELEMENTS_MAX * 16):
        if search.left_s() <= 0:
            return []
        stop = min(start + FIT_ELEMENTS_MAX * 16, first.elements)
        a, b = (np.nan_to_num(each.values(start, stop)) for each in (first, second))
        with np.errstate(all="ignore"):
            products += a @ a, a @ b, b @ b
    with np.errstate(all="ignore"):
        cosine = float(products[1] / np.sqrt(products[0]) / np.sqrt(products[2]))
    if not abs(cosine) < 1:
        return []
    angle = math.acos(cosine)
    # c0 = sin((1 - t) angle) / sin(angle), c1 = sin(t angle) / sin(angle)
    share = math.asin(max(-1.0, min(1.0, coefficients[1] * math.sin(angle)))) / angle
    parts = [*(round(share * steps) / steps for steps in TURN_STEPS), share]
    return [
        (math.sin((1 - part) * angle) / math.sin(angle), math.sin(part * angle) / math.sin(angle)) for part in parts
    ]
