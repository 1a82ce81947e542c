"""Codes of GGML's block quantizations of a stored float tensor, given the blocks' scales.

How scales are chosen is a search over candidates, often weighed by an importance matrix that is not in the file. But
once they are chosen, every quantizer ends alike: each code is the nearest to value / scale. So the scales are stored
with the predictor, squeezed, and the codes, nine tenths of the bytes, follow from the parent. It knows no importance
matrix and no search; `ggml` computes scales too, for the types where a formula gives them.

Source: the last loop of each quantizer, and the packings of scales, in `ggml-quants.c` (llama.cpp, 2026).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from headwater.codec.form import Form, Undecodable
from headwater.codec.layout import Words
from headwater.codec.predict import rows
from headwater.codec.predict.cast import singles
from headwater.codec.predict.contract import Need, Params, Planes, grid_of, layout_for, pack
from headwater.codec.predict.identity import Identity
from headwater.codec.predict.source import Range, Search, Source
from headwater.codec.predict.words import FLOATS, Float, Singles

SCALES_BYTES_MAX = 16 << 20  # of all blocks, unsqueezed: readers hold them; a tensor of 250 M elements in Q4_K
READ_UNITS = 1 << 15
MISSED_SHARE_MAX = 0.4  # of a stretch's codes; with more, this is no quantization of that tensor
NO_ORDER = 255

Symbols: TypeAlias = Words


@dataclass(frozen=True, slots=True)
class _Grade:
    """Codes `low` to `high` are stored from 0 on. `group` elements share a scale; `packing` is that of the scales."""

    low: int
    high: int
    group: int
    packing: str = ""


_GRADES = {
    "Q4_0": _Grade(-8, 7, 32),
    "Q4_1": _Grade(0, 15, 32),
    "Q5_0": _Grade(-16, 15, 32),
    "Q5_1": _Grade(0, 31, 32),
    "Q8_0": _Grade(-128, 127, 32),
    "Q2_K": _Grade(0, 3, 16, "nibbles"),
    "Q3_K": _Grade(-4, 3, 16, "sixteen"),
    "Q4_K": _Grade(0, 15, 32, "eight pairs"),
    "Q5_K": _Grade(0, 31, 32, "eight pairs"),
    "Q6_K": _Grade(-32, 31, 16, "bytes"),
    "IQ4_NL": _Grade(0, 15, 32),
}
# The sixteen values of IQ4_NL's codes.
_UNEVEN = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Graded:
    """The stored scales, and the codes nearest to the parent's values in them. `scales` are all planes but the codes.

    Parameters: u8 order (255: none), u32 rows of a head, and each array of symbols as `pack` writes it (`_fields`).

    The same on every machine because each step is one float32 operation on whole arrays that IEEE 754 fixes; values
    that are not finite count as 0.
    """

    dtype: str
    parent: Float
    elements: int
    scales: tuple[Words, ...]
    order: rows.Reordered | None
    packed: bytes

    id: ClassVar[int] = 10
    name: ClassVar[str] = "graded"

    def params(self) -> bytes:
        order, head_rows = (self.order.order, self.order.head_rows) if self.order else (NO_ORDER, 0)
        return struct.pack("<BI", order, head_rows) + self.packed

    def needs(self, start: int, stop: int) -> list[Need]:
        return self.order.needs(start, stop) if self.order else [(0, start, stop)]

    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]:
        words = self.order.predict(start, stop, parents)[0] if self.order else parents[0][0]
        planes = layout_for(Form(self.dtype, ())).planes
        found = []
        for plane, scale in zip(planes, self.scales, strict=False):
            found.append(scale[start // self.elements * plane.words : stop // self.elements * plane.words])
        return [*found, _codes(self.dtype, found, singles(words, self.parent))]


def _codes(dtype: str, scales: Sequence[Words], values: Singles) -> Words:
    """The nearest codes of whole blocks."""
    grade = _GRADES[dtype]
    values = np.where(np.isfinite(values), values, np.float32(0)).reshape(len(scales[0]), -1, grade.group)
    with np.errstate(all="ignore"):
        steps, lows = _steps(grade, scales)
        if lows is not None:
            values = values + lows[:, :, None]
        places = values / steps[:, :, None]
        places = np.where(np.isfinite(places), places, np.float32(0))
        if dtype == "IQ4_NL":
            return np.searchsorted((_UNEVEN[1:] + _UNEVEN[:-1]) / 2, places.reshape(-1), "right").astype(np.uint8)
        codes = np.clip(np.rint(places), grade.low, grade.high).astype(np.int16)
    # Q8_0 alone stores negative codes as they are.
    stored: Words = (codes if dtype == "Q8_0" else codes - np.int16(grade.low)).astype(np.uint8).reshape(-1)
    return stored


def _steps(grade: _Grade, scales: Sequence[Words]) -> tuple[Singles, Singles | None]:
    """For each group of each block the distance of neighbouring codes, and what is added to values before."""
    floats = [plane.view("<f2").astype(np.float32)[:, None] for plane in scales if plane.dtype.itemsize == 2]
    if not grade.packing:
        return floats[0], -floats[1] if len(floats) > 1 else None
    blocks = len(scales[0])
    small = [field.reshape(blocks, -1) for field in _unpacked(grade.packing, scales[-1])]
    match grade.packing:
        case "bytes":
            return floats[0] * small[0].view(np.int8).astype(np.float32), None
        case "sixteen":
            return floats[0] * (small[0].astype(np.float32) - np.float32(32)), None
        case _:
            return floats[0] * small[0].astype(np.float32), floats[1] * small[1].astype(np.float32)


# ---------------------------------------------------------------- scales as symbols that squeeze well
def _fields(grade: _Grade, scales: Sequence[Words]) -> list[Symbols]:
    """Planes of scales as arrays of like symbols: the bytes of floats apart, small numbers one to a byte."""
    fields = []
    for plane in scales:
        if plane.dtype.itemsize == 2:
            fields += [plane.astype(np.uint8), (plane >> 8).astype(np.uint8)]
        else:
            fields += _unpacked(grade.packing, plane)
    return fields


def _scales(params: Params, form: Form, grade: _Grade, units: int) -> tuple[Words, ...]:
    """The planes that `_fields` took apart, out of parameters."""
    found: list[Words] = []
    for plane in layout_for(form).planes[:-1]:
        if plane.bits == 16:
            low, high = (np.frombuffer(params.packed(units), np.uint8) for _ in range(2))
            found.append(low.astype("<u2") | (high.astype("<u2") << np.uint16(8)))
        else:
            sizes = {"bytes": [16], "sixteen": [16], "nibbles": [16, 16], "eight pairs": [8, 8]}[grade.packing]
            fields = [np.frombuffer(params.packed(units * size), np.uint8) for size in sizes]
            found.append(_packed(grade.packing, fields))
    return tuple(found)


def _unpacked(packing: str, plane: Words) -> list[Symbols]:
    packed = plane.astype(np.uint8)
    match packing:
        case "nibbles":
            return [packed & np.uint8(15), packed >> np.uint8(4)]
        case "sixteen":
            low, high = packed.reshape(-1, 12)[:, :8], packed.reshape(-1, 12)[:, 8:]
            lows = np.concatenate([low & 15, low >> 4], axis=1)
            highs = np.concatenate([(high >> shift) & 3 for shift in (0, 2, 4, 6)], axis=1)
            return [(lows | (highs << 4)).reshape(-1)]
        case "eight pairs":
            first, second, rest = (packed.reshape(-1, 3, 4)[:, part] for part in range(3))
            scales = np.concatenate([first & 63, (rest & 15) | ((first >> 2) & 48)], axis=1)
            lows = np.concatenate([second & 63, (rest >> 4) | ((second >> 2) & 48)], axis=1)
            return [scales.reshape(-1), lows.reshape(-1)]
        case _:
            return [packed]


def _packed(packing: str, fields: Sequence[Symbols]) -> Symbols:
    """The inverse of `_unpacked`; bits that a symbol cannot have are dropped."""
    match packing:
        case "nibbles":
            return (fields[0] & np.uint8(15)) | (fields[1] << np.uint8(4))
        case "sixteen":
            whole = fields[0].reshape(-1, 16)
            lows = (whole[:, :8] & 15) | (whole[:, 8:] << 4)
            pairs = (whole >> 4) & 3
            highs = pairs[:, :4] | (pairs[:, 4:8] << 2) | (pairs[:, 8:12] << 4) | (pairs[:, 12:] << 6)
            return np.concatenate([lows, highs], axis=1).reshape(-1)
        case "eight pairs":
            scales, lows = (field.reshape(-1, 8) & 63 for field in fields)
            first = scales[:, :4] | ((scales[:, 4:] >> 4) << 6)
            second = lows[:, :4] | ((lows[:, 4:] >> 4) << 6)
            rest = (scales[:, 4:] & 15) | ((lows[:, 4:] & 15) << 4)
            return np.concatenate([first, second, rest], axis=1).reshape(-1)
        case _:
            return fields[0]


# ---------------------------------------------------------------- fitting
def offers(search: Search, target: Source, parent: Source) -> Iterator[Graded]:
    """The codes of this parent, in the order of rows that fits a stretch best, if they fit."""
    form, kind = target.form, parent.kind
    if not _belongs(form, parent.form) or kind is None or not search.ranges:
        return
    unit = target.layout.unit_elements
    planes = target.layout.planes[:-1]
    stored = sum(plane.bits // 8 * plane.words for plane in planes)
    if stored * (target.elements // unit) > SCALES_BYTES_MAX:
        return
    alike = Form(parent.form.dtype, form.shape)
    orders = [None, *(rows.reordered(Identity(), alike, *order) for order in rows.orders(alike))]
    stretch = search.ranges[len(search.ranges) // 2]
    wanted = target.planes(*stretch)
    tried: list[tuple[float, rows.Reordered | None]] = []
    for order in orders:
        tried.append((_missed(form.dtype, wanted, stretch, parent, order), order))
        if tried[-1][0] < MISSED_SHARE_MAX / 10:
            break
    missed, order = min(tried, key=lambda trial: trial[0])
    if missed > MISSED_SHARE_MAX or search.left_s() <= 0:
        return
    starts = range(0, target.elements, READ_UNITS * unit)
    pieces = [target.planes(at, min(at + READ_UNITS * unit, target.elements))[:-1] for at in starts]
    scales = tuple(np.concatenate(list(same)) for same in zip(*pieces, strict=True))
    packed = b"".join(pack(field.tobytes()) for field in _fields(_GRADES[form.dtype], scales))
    yield Graded(form.dtype, kind, unit, scales, order, packed)


def _missed(dtype: str, wanted: Planes, stretch: Range, parent: Source, order: rows.Reordered | None) -> float:
    """The share of a stretch's codes that are not the nearest to the parent's values."""
    assert parent.kind is not None
    if order is None:
        words = parent.words(*stretch)
    else:
        words = order.predict(*stretch, [parent.planes(first, last) for _, first, last in order.needs(*stretch)])[0]
    return float(np.mean(_codes(dtype, wanted[:-1], singles(words, parent.kind)) != wanted[-1]))


def _belongs(form: Form, parent: Form) -> bool:
    source, grid = FLOATS.get(parent.dtype), grid_of(form)
    if form.dtype not in _GRADES or source is None or source.bits > 32 or not grid.elements:
        return False
    return grid.elements == grid_of(parent).elements and grid.elements % layout_for(form).unit_elements == 0


def from_params(params: Params, form: Form, parents: Sequence[Form]) -> Graded:
    if len(parents) != 1 or not _belongs(form, parents[0]):
        raise Undecodable(f"graded: {form} has no codes of {parents[:2]}")
    number, head_rows = (int(field) for field in params.take("BI"))
    order: rows.Reordered | None = None
    if number != NO_ORDER:
        alike = Form(parents[0].dtype, form.shape)
        if (head_rows, number) not in rows.orders(alike):
            raise params.refused(f"order {number} of heads of {head_rows} rows in {form}")
        order = rows.reordered(Identity(), alike, head_rows, number)
    layout = layout_for(form)
    units = grid_of(form).elements // layout.unit_elements
    if units * sum(plane.bits // 8 * plane.words for plane in layout.planes[:-1]) > SCALES_BYTES_MAX:
        raise params.refused(f"{units} blocks")
    packed = params.rest()
    inner = Params(packed, "graded")
    scales = _scales(inner, form, _GRADES[form.dtype], units)
    inner.end()
    return Graded(form.dtype, FLOATS[parents[0].dtype], layout.unit_elements, scales, order, packed)
