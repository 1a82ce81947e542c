"""Step: one named part of a query. What plans, root walks and the series detector are made of; knows none of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One named part of a query; later parts may use it by its name."""

    name: str
    sql: str
    lasting: bool = False
    """Takes long and is wanted by many questions: kept on the disk, for as long as what it reads stays as it is."""


def reads(sql: str, name: str) -> int:
    """How often a SELECT reads a relation; its name may also be an alias or a column's."""
    return len(re.findall(rf"\b(?:from|join)\s+{name}\b", sql)) if name in sql else 0


def whole(steps: Sequence[Step]) -> dict[str, str]:
    """For each step the SQL of all that it is made of and its own: where two are the same, so are their rows."""
    made_of: dict[str, set[str]] = {}
    for step in steps:
        read = [name for name in made_of if reads(step.sql, name)]
        made_of[step.name] = {step.name}.union(*(made_of[name] for name in read))
    return {
        last: "\n".join(f"{step.name}: {step.sql}" for step in steps if step.name in names)
        for last, names in made_of.items()
    }


def digest(text: str) -> str:
    """A name for a text, for tables and files."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
