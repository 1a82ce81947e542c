"""A tensor of floats stored in another float type: saved as fp32 and as bf16, a bf16 base of an fp32 fine-tune."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headwater.codec.form import Form, Undecodable
from headwater.codec.layout import Words
from headwater.codec.predict.contract import Need, Params, Planes, grid_of
from headwater.codec.predict.words import (
    FLOATS,
    Float,
    Singles,
    nearest,
    nearest_of_singles,
    reals,
    toward_zero,
)

NEAREST, TOWARD_ZERO = 0, 1


@dataclass(frozen=True, slots=True)
class Cast:
    """Every word is the parent's value in another type: the nearest, ties to even, or cut off.

    Parameters: u8 rounding (0 nearest, 1 toward zero).
    The same on every machine because IEEE 754 fixes each conversion; see `words`.
    """

    target: Float
    parent: Float
    rounding: int

    id: ClassVar[int] = 2
    name: ClassVar[str] = "cast"

    def params(self) -> bytes:
        return bytes([self.rounding])

    def needs(self, start: int, stop: int) -> list[Need]:
        return [(0, start, stop)]

    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]:
        words = parents[0][0]
        if self.parent.name == "BF16" and self.target.name == "F32":
            return [words.astype("<u4") << np.uint32(16)]  # so that a NaN keeps its payload
        if self.parent.name == "F64":
            wide = reals(words, self.parent)
            if self.rounding == NEAREST:
                return [nearest(wide, self.target)]
            with np.errstate(all="ignore"):
                return [toward_zero(wide.astype(np.float32), self.target)]
        values = singles(words, self.parent)
        return [(nearest_of_singles if self.rounding == NEAREST else toward_zero)(values, self.target)]


def singles(words: Words, kind: Float) -> Singles:
    """The values of words of at most 32 bits as float32, exactly."""
    with np.errstate(all="ignore"):
        match kind.name:
            case "F32":
                return words.view("<f4")
            case "BF16":
                return (words.astype(np.uint32) << np.uint32(16)).view(np.float32)
            case "F16":
                return words.view("<f2").astype(np.float32)
            case _:
                return reals(words, kind).astype(np.float32)


def offers(form: Form, parent: Form) -> Iterator[Cast]:
    """The casts that may have made a tensor of this form from one of that."""
    target, source = FLOATS.get(form.dtype), FLOATS.get(parent.dtype)
    if target is None or source is None or target == source or grid_of(form).elements != grid_of(parent).elements:
        return
    yield Cast(target, source, NEAREST)
    if target.name == "BF16" and source.mantissa_bits > target.mantissa_bits:
        yield Cast(target, source, TOWARD_ZERO)


def from_params(params: Params, form: Form, parents: Sequence[Form]) -> Cast:
    rounding = params.integer("B")
    params.end()
    for cast in offers(form, parents[0]) if len(parents) == 1 else ():
        if cast.rounding == rounding:
            return cast
    raise Undecodable(f"cast: no rounding {rounding} from {parents} to {form}")
