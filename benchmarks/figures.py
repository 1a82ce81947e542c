"""Figures: what a benchmark found, the bar it should reach, and the peer beside it. Knows no process and no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


class Skipped(Exception):
    """A row that can't be measured here; its text says what is missing."""


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: float
    unit: str
    bar: float | None = None
    """None: shown for comparison, nothing is asked of it."""
    at_least: bool = False
    """The bar is the least that is good enough, not the most."""
    peer: str = ""
    peer_value: float | None = None
    """In the same unit, measured in the same run."""
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        held = self.value >= self.bar if self.at_least else self.value <= self.bar
        return "held" if held else "MISSED"

    @property
    def ratio(self) -> float | None:
        return self.value / self.peer_value if self.peer_value else None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict, "ratio": self.ratio}


def table(figures: Sequence[Figure]) -> str:
    rows = [("what", "figure", "bar", "", "peer, in the same run", "note")]
    for one in figures:
        bar = "" if one.bar is None else f"{'>=' if one.at_least else '<='} {_number(one.bar)}"
        peer = "" if one.peer_value is None else f"{one.peer} {_number(one.peer_value)} (x {one.ratio or 0:.2f})"
        rows.append((one.what, f"{_number(one.value)} {one.unit}", bar, one.verdict, peer, one.note))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"
