"""Pruned tensors: the parent's words, some of them set to zero by a rule on their absolute values.

Three rules: what does not exceed one threshold, what does not exceed its row's threshold, and all but the N largest of
each M neighbours in a row. It knows nothing of scores that depend on data (Wanda, SparseGPT): their masks do not follow
from the weights.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from headwater.codec.form import Form
from headwater.codec.layout import Words
from headwater.codec.predict.contract import Grid, Need, Params, Planes, grid_of, pack
from headwater.codec.predict.source import Search, Source
from headwater.codec.predict.words import FLOATS, Float, magnitudes

TENSOR, ROWS, NEIGHBOURS = 0, 1, 2
PLUS, KEPT = 0, 1  # the sign of a zero: always +, or that of the weight (a product with 0)

THRESHOLDS_MAX = 1 << 20  # rows; the largest vocabulary seen has 262,144
GROUP_MAX = 32
GROUPS = ((2, 4), (1, 4), (4, 8), (1, 2), (8, 16), (2, 8))
ZEROS_SHARE_MIN = 0.02  # with fewer new zeros, the ordinary residual is as good
ALIKE_SHARE_MIN = 0.98  # of the words that are not zero; fewer: the weights were trained further
READ_ELEMENTS = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """The parent's words, or zero where the rule says so. `thresholds` are magnitudes as words, one, or one a row.

    Parameters: u8 rule (0 tensor, 1 rows, 2 neighbours), u8 sign of zeros (0: +, 1: the weight's), u8 kept and u8 group
    of neighbours (else 0), and but for neighbours the thresholds as `pack` writes them.
    The same on every machine because only integers are compared: a float's bits without the sign are in the order of
    the absolute values.
    """

    kind: Float
    grid: Grid
    rule: int
    sign: int
    thresholds: Words
    group: tuple[int, int]

    id: ClassVar[int] = 7
    name: ClassVar[str] = "mask"

    def params(self) -> bytes:
        head = struct.pack("<BBBB", self.rule, self.sign, *self.group)
        if self.rule == NEIGHBOURS:
            return head
        return head + pack(self.thresholds.astype(self.kind.word).tobytes())

    def needs(self, start: int, stop: int) -> list[Need]:
        first, last = self._groups(start, stop)
        return [(0, first, last)]

    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]:
        first, last = self._groups(start, stop)
        words = parents[0][0]
        sizes = magnitudes(words, self.kind)
        if self.rule == NEIGHBOURS:
            gone = _smallest(sizes, *self.group)
        elif self.rule == TENSOR:
            gone = sizes <= self.thresholds[0]
        else:
            gone = sizes <= self.thresholds[np.arange(first, last, dtype=np.int64) // self.grid.columns]
        zeros = words & words.dtype.type(self.kind.sign if self.sign == KEPT else 0)
        return [np.where(gone, zeros, words)[start - first : stop - first]]

    def _groups(self, start: int, stop: int) -> tuple[int, int]:
        """Whole groups of neighbours; a row is a whole number of them."""
        if self.rule != NEIGHBOURS:
            return start, stop
        size = self.group[1]
        return start // size * size, -(-stop // size) * size


def _smallest(sizes: Words, kept: int, group: int) -> NDArray[np.bool_]:
    """Which words are not among the `kept` largest of their group; of equal ones the first are kept."""
    table = sizes.reshape(-1, group)
    # How many of the group come before each: larger ones, and equal ones further left.
    before = np.zeros(table.shape, np.uint8)
    for other in range(group):
        column = table[:, other : other + 1]
        before[:, : other + 1] += column > table[:, : other + 1]
        before[:, other + 1 :] += column >= table[:, other + 1 :]
    found: NDArray[np.bool_] = (before >= kept).reshape(-1)
    return found


# ---------------------------------------------------------------- fitting
def offers(search: Search, target: Source, parent: Source) -> Iterator[Mask]:
    """Masks that may have made the target, cheapest parameters first."""
    kind, grid = target.kind, target.grid
    if kind is None or target.form.dtype != parent.form.dtype or parent.elements != grid.elements:
        return
    words = search.sample[0]
    base = np.concatenate([parent.words(*range_) for range_ in search.ranges]) if search.ranges else words
    zero = (magnitudes(words, kind) == 0) & (magnitudes(base, kind) != 0)
    share = np.count_nonzero(zero) / max(words.size, 1)
    changed = np.count_nonzero(words[~zero] != base[~zero])
    if share < ZEROS_SHARE_MIN or changed > (1 - ALIKE_SHARE_MIN) * np.count_nonzero(~zero):
        return
    sign = KEPT if np.mean((words[zero] ^ base[zero]) >= kind.sign) < np.mean(words[zero] >= kind.sign) else PLUS
    for kept, group in GROUPS:
        even = grid.columns % group == 0 and all(start % group == 0 == stop % group for start, stop in search.ranges)
        if even and abs(share - 1 + kept / group) < ZEROS_SHARE_MIN:
            mask = Mask(kind, grid, NEIGHBOURS, sign, np.empty(0, kind.word), (kept, group))
            if np.mean(_smallest(magnitudes(base, kind), kept, group) != (magnitudes(words, kind) == 0)) < 0.05:
                yield mask
                return
    limits = _zeroed(search, target, parent, kind)
    if limits is not None:
        yield Mask(kind, grid, TENSOR, sign, limits.max(keepdims=True), (0, 0))
        if 1 < grid.rows <= THRESHOLDS_MAX:
            yield Mask(kind, grid, ROWS, sign, limits, (0, 0))


def _zeroed(search: Search, target: Source, parent: Source, kind: Float) -> Words | None:
    """For each row the largest magnitude that became zero; one for all rows where there are very many."""
    grid = target.grid
    limits = np.zeros(grid.rows if grid.rows <= THRESHOLDS_MAX else 1, kind.word)
    for start in range(0, grid.elements, READ_ELEMENTS):
        if search.left_s() <= 0:
            return None
        stop = min(start + READ_ELEMENTS, grid.elements)
        sizes = magnitudes(parent.words(start, stop), kind)
        gone = np.flatnonzero(magnitudes(target.words(start, stop), kind) == 0)
        rows = (start + gone) // grid.columns if len(limits) > 1 else np.zeros(len(gone), np.int64)
        np.maximum.at(limits, rows, sizes[gone])
    return limits


def from_params(params: Params, form: Form, parents: Sequence[Form]) -> Mask:
    kind = FLOATS.get(form.dtype)
    grid = grid_of(form)
    rule, sign, kept, group = (int(field) for field in params.take("BBBB"))
    if kind is None or len(parents) != 1 or parents[0].dtype != form.dtype:
        raise params.refused(f"{form} is no pruned {parents}")
    if grid_of(parents[0]).elements != grid.elements or rule > NEIGHBOURS or sign > KEPT:
        raise params.refused(f"rule {rule}, sign {sign} from {parents}")
    thresholds = np.empty(0, kind.word)
    if rule == NEIGHBOURS:
        if not 0 < kept < group <= GROUP_MAX or grid.columns % group:
            raise params.refused(f"{kept} of {group} in rows of {grid.columns}")
    else:
        count = 1 if rule == TENSOR else grid.rows
        if count > THRESHOLDS_MAX:
            raise params.refused(f"{count} thresholds")
        thresholds = np.frombuffer(params.packed(count * kind.word.itemsize), kind.word)
    params.end()
    return Mask(kind, grid, rule, sign, thresholds, (kept, group))
