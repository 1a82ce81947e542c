"""Step: one named part of a query. What plans, root walks and the series detector are made of; knows none of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One named part of a query; later parts may use it by its name."""

    name: str
    sql: str
