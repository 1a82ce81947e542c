"""The parent as it is: for fine-tunes, revisions, and the same quantization of a base. It knows no values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from headwater.codec.form import Form, Undecodable
from headwater.codec.layout import Words
from headwater.codec.predict.contract import Need, Params, Planes, grid_of


@dataclass(frozen=True, slots=True)
class Identity:
    """Every word is the parent's word at the same place. Shapes may differ, the number of elements may not.

    Parameters: none. The same on every machine because nothing is computed.
    """

    id: ClassVar[int] = 1
    name: ClassVar[str] = "identity"

    def params(self) -> bytes:
        return b""

    def needs(self, start: int, stop: int) -> list[Need]:
        return [(0, start, stop)]

    def predict(self, start: int, stop: int, parents: Sequence[Planes]) -> list[Words]:
        return list(parents[0])


def fits(form: Form, parent: Form) -> bool:
    return form.dtype == parent.dtype and grid_of(form).elements == grid_of(parent).elements


def from_params(params: Params, form: Form, parents: Sequence[Form]) -> Identity:
    params.end()
    if len(parents) != 1 or not fits(form, parents[0]):
        raise Undecodable(f"identity: a tensor of {form} has not the words of {parents}")
    return Identity()
