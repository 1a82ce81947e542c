"""What the door must know of a kind of source; each file of this folder makes one or more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headwater.observatory.imports.job import Job


@dataclass(frozen=True, slots=True)
class Importer:
    """`knows`: by its columns (name in lower case -> type). `dated_by`: columns whose newest time dates the data."""

    kind: str
    note: str
    knows: Callable[[Mapping[str, str]], bool]
    fill: Callable[[Job], None]
    dated_by: tuple[str, ...] = ()


def has(*names: str, no: tuple[str, ...] = ()) -> Callable[[Mapping[str, str]], bool]:
    """Whether all of these columns are there, and none of `no`."""

    def knows(columns: Mapping[str, str]) -> bool:
        return all(name in columns for name in names) and not any(name in columns for name in no)

    return knows
