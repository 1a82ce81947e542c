"""GGML's simple block quantizations of a stored float tensor, computed again: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1.

A block is 32 elements of a row with one scale (and one minimum), chosen by a closed formula, so the quantized file
follows from the tensor that it was made of. Where it was made of another one (of fp32 weights that were released as
bf16, or weighed by an importance matrix), most codes still follow. It knows nothing of the K-quants, whose scales are
searched for.

Source of the arithmetic: the reference quantizers of `ggml-quants.c` (llama.cpp, 2026), all in float32; where a
compiler may contract a product and a sum (Q4 and Q5), both outcomes are offered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headwater.codec.form import Form, Undecodable
from headwater.codec.layout import Words
from headwater.codec.predict.cast import singles
from headwater.codec.predict.contract import Need, Params, Planes, grid_of
from headwater.codec.predict.words import FLOATS, Float, Singles

BLOCK_ELEMENTS = 32
SEPARATE, CONTRACTED = 0, 1

_ONE_SIDED = {"Q4_0": 4, "Q5_0": 5}  # bits of a code; the scale is signed: it maps the extreme to the lowest code
_WITH_MINIMUM = {"Q4_1": 4, "Q5_1": 5}


@dataclass(frozen=True, slots=True)
class Requantized:
    """Scales and codes of the parent's blocks.

    Parameters: u8 sums (0: product and sum are rounded each, 1: together).
    The same on every machine because each step is one float32 (or, contracted, float64) operation that IEEE 754 fixes,
    on whole arrays, so that no compiler joins two; values that are not finite count as 0.
    """

    dtype: str
    parent: Float
    sums: int

    id: ClassVar[int] = 5
    name: ClassVar[str] = "requant"

    def params(self) -> bytes:
        return bytes([self.sums])

    def needs(self, start: int, stop: int) -> list[Need]:
        return [(0, start, stop)]

    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]:
        values = singles(parents[0][0], self.parent)
        values = np.where(np.isfinite(values), values, np.float32(0)).reshape(-1, BLOCK_ELEMENTS)
        with np.errstate(all="ignore"):
            if self.dtype == "Q8_0":
                return _q8(values)
            if self.dtype in _ONE_SIDED:
                return self._one_sided(values, _ONE_SIDED[self.dtype])
            return self._with_minimum(values, _WITH_MINIMUM[self.dtype])

    def _one_sided(self, values: Singles, bits: int) -> list[Words]:
        half = 1 << (bits - 1)
        places = np.argmax(np.abs(values), axis=1)[:, None]
        scale = np.take_along_axis(values, places, axis=1) / np.float32(-half)
        codes = self._rounded(values, _inverse(scale), half + 0.5, 2 * half - 1)
        return [_halves(scale), codes]

    def _with_minimum(self, values: Singles, bits: int) -> list[Words]:
        low = values.min(axis=1, keepdims=True)
        scale = (values.max(axis=1, keepdims=True) - low) / np.float32((1 << bits) - 1)
        codes = self._rounded(values - low, _inverse(scale), 0.5, (1 << bits) - 1)
        return [_halves(scale), _halves(low), codes]

    def _rounded(self, values: Singles, factor: Singles, offset: float, top: int) -> Words:
        if self.sums == CONTRACTED:
            moved = (values.astype(np.float64) * factor.astype(np.float64) + offset).astype(np.float32)
        else:
            moved = values * factor + np.float32(offset)
        return _codes(np.trunc(moved), 0, top)


def _q8(values: Singles) -> list[Words]:
    scale = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
    moved = values * _inverse(scale)
    # Halves go away from zero. Adding a half and cutting would err just below it, where the sum itself rounds.
    whole = np.trunc(moved)
    whole += np.where(np.abs(moved - whole) >= np.float32(0.5), np.copysign(np.float32(1), moved), np.float32(0))
    return [_halves(scale), _codes(whole, -128, 127)]


def _inverse(scale: Singles) -> Singles:
    return np.where(scale == 0, np.float32(0), np.float32(1) / scale)


def _halves(values: Singles) -> Words:
    return np.ascontiguousarray(values.reshape(-1).astype("<f2")).view("<u2")


def _codes(values: Singles, low: int, high: int) -> Words:
    """As integers. The range is held before the cast, since out of range its result is the processor's choice."""
    held = np.clip(np.where(np.isnan(values), np.float32(0), values), low, high)
    return held.astype(np.int16).astype(np.uint8).reshape(-1)


def offers(form: Form, parent: Form) -> Iterator[Requantized]:
    source = FLOATS.get(parent.dtype)
    grid = grid_of(form)
    if source is None or source.bits > 32 or grid.elements != grid_of(parent).elements:
        return
    if grid.columns == 0 or grid.columns % BLOCK_ELEMENTS:
        return
    if form.dtype == "Q8_0":
        yield Requantized(form.dtype, source, SEPARATE)
    elif form.dtype in _ONE_SIDED or form.dtype in _WITH_MINIMUM:
        yield Requantized(form.dtype, source, SEPARATE)
        yield Requantized(form.dtype, source, CONTRACTED)


def from_params(params: Params, form: Form, parents: Sequence[Form]) -> Requantized:
    sums = params.integer("B")
    params.end()
    for found in offers(form, parents[0]) if len(parents) == 1 else ():
        if found.sums == sums:
            return found
    raise Undecodable(f"requant: no way {sums} from {parents} to {form}")
