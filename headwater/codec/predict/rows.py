"""Another predictor seen through its rows: a parent with fewer rows or more, or with the rows of each head reordered.

Vocabularies grow and are trimmed at the end, so rows keep their numbers. llama.cpp's converter reorders the rows of the
query and key weights of Llama-like models, because it rotates neighbouring pairs where Hugging Face rotates halves.
It knows no values: the predictor inside does.

Source: `LlamaModel.permute` in llama.cpp's converter: (heads, 2, half, columns) to (heads, half, 2, columns).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from headwater.codec.form import Form, Undecodable
from headwater.codec.layout import Layout, Words
from headwater.codec.predict.contract import Need, Params, Planes, Predictor, first_grid_of, layout_for

HEAD_ELEMENTS_MAX = 1 << 22  # of one head: 256 rows of 16,384; a range that starts in a head needs the whole head
HEAD_ROWS = (128, 64, 96, 80, 256, 32, 192, 160, 112, 48)  # head sizes that models have, the usual ones first
TO_PAIRS, TO_HALVES = 0, 1

Inner = Callable[[int, Params, Form, Sequence[Form]], Predictor]
"""Builds the predictor inside from its number and parameters."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `reach` elements are the inner predictor's, of those beyond nothing is known.

    Parameters: u8 number of the inner predictor, and its parameters. The same on every machine if that is.
    """

    inner: Predictor
    reach: int
    layout: Layout

    id: ClassVar[int] = 3

    @property
    def name(self) -> str:
        return "prefix" if self.inner.name == "identity" else f"prefix {self.inner.name}"

    def params(self) -> bytes:
        return bytes([self.inner.id]) + self.inner.params()

    def needs(self, start: int, stop: int) -> list[Need]:
        return self.inner.needs(start, min(stop, self.reach)) if start < self.reach else []

    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]:
        known = self.inner.predict(start, min(stop, self.reach), parents) if start < self.reach else None
        units = -(-(stop - start) // self.layout.unit_elements)
        found = []
        for number, plane in enumerate(self.layout.planes):
            words = np.zeros(units * plane.words, plane.dtype)
            if known is not None:
                words[: len(known[number])] = known[number]
            found.append(words)
        return found


@dataclass(frozen=True, slots=True)
class Reordered:
    """Rows within each head of `head_rows` rows go from halves to pairs or back; else as the inner predictor says.

    Parameters: u8 order (0 halves to pairs, 1 back), u32 rows of a head, u8 number of the inner predictor, and its
    parameters. The same on every machine if that is: rows are only moved.
    """

    inner: Predictor
    head_rows: int
    order: int
    columns: int
    layout: Layout

    id: ClassVar[int] = 4

    @property
    def name(self) -> str:
        return "reordered" if self.inner.name == "identity" else f"reordered {self.inner.name}"

    def params(self) -> bytes:
        return struct.pack("<BIB", self.order, self.head_rows, self.inner.id) + self.inner.params()

    def needs(self, start: int, stop: int) -> list[Need]:
        first, last = self._heads(start, stop)
        return self.inner.needs(first, last)

    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]:
        first, last = self._heads(start, stop)
        unit = self.layout.unit_elements
        found = []
        for words, plane in zip(self.inner.predict(first, last, parents), self.layout.planes, strict=True):
            heads = words.reshape(-1, self.head_rows, self.columns // unit * plane.words)
            moved = np.ascontiguousarray(heads[:, sources_of(self.head_rows, self.order)]).reshape(-1)
            begin = (start - first) // unit * plane.words
            found.append(moved[begin : begin + (stop - start) // unit * plane.words])
        return found

    def _heads(self, start: int, stop: int) -> tuple[int, int]:
        """The elements of the heads that a range touches."""
        head = self.head_rows * self.columns
        return start // head * head, -(-stop // head) * head


def sources_of(head_rows: int, order: int) -> NDArray[np.intp]:
    """For each row of a head, which row of the parent's head it was."""
    rows = np.arange(head_rows)
    return rows.reshape(2, -1).T.reshape(-1) if order == TO_PAIRS else rows.reshape(-1, 2).T.reshape(-1)


def common(form: Form, parent: Form) -> tuple[Form, Form] | None:
    """The forms of the rows that both have, if they differ in the number of rows only."""
    if not form.shape or not parent.shape or form.shape[1:] != parent.shape[1:] or form.shape[0] == parent.shape[0]:
        return None
    shape = (min(form.shape[0], parent.shape[0]), *form.shape[1:])
    grid = first_grid_of(form)
    if grid.columns == 0 or any(grid.columns % layout_for(each).unit_elements for each in (form, parent)):
        return None
    return Form(form.dtype, shape), Form(parent.dtype, shape)


def prefix_of(inner: Predictor, form: Form, rows: int) -> Prefix:
    return Prefix(inner, rows * first_grid_of(form).columns, layout_for(form))


def orders(form: Form) -> Iterator[tuple[int, int]]:
    """(rows of a head, order) that may have been applied to a weight of this form."""
    if not 1 <= len(form.shape) <= 2:
        return
    for head_rows in HEAD_ROWS:
        if _reorderable(form, head_rows):
            yield head_rows, TO_PAIRS
            yield head_rows, TO_HALVES


def reordered(inner: Predictor, form: Form, head_rows: int, order: int) -> Reordered:
    return Reordered(inner, head_rows, order, first_grid_of(form).columns, layout_for(form))


def prefix_from_params(params: Params, form: Form, parents: Sequence[Form], inner: Inner) -> Prefix:
    forms = common(form, parents[0]) if len(parents) == 1 else None
    if forms is None:
        raise Undecodable(f"prefix: {form} and {parents} do not differ in rows alone")
    built = inner(params.integer("B"), params, forms[0], forms[1:])
    return prefix_of(built, form, forms[0].shape[0])


def reordered_from_params(params: Params, form: Form, parents: Sequence[Form], inner: Inner) -> Reordered:
    order, head_rows, number = (int(field) for field in params.take("BIB"))
    if order not in (TO_PAIRS, TO_HALVES) or not _reorderable(form, head_rows):
        raise Undecodable(f"reordered: order {order} of heads of {head_rows} rows in {form}")
    return reordered(inner(number, params, form, parents), form, head_rows, order)


def _reorderable(form: Form, head_rows: int) -> bool:
    grid, unit = first_grid_of(form), layout_for(form).unit_elements
    if grid.columns == 0 or grid.columns % unit or head_rows < 4 or head_rows % 2:
        return False
    return grid.rows % head_rows == 0 and grid.rows > 0 and head_rows * grid.columns <= HEAD_ELEMENTS_MAX
