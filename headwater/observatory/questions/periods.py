"""Periods of time as texts that sort in the order of time: what a grain means."""

from __future__ import annotations

from headwater.observatory.choices import Grain
from headwater.observatory.families import quoted
from headwater.observatory.questions.plan import Scope

PERIODS: dict[Grain, str] = {
    "day": "strftime({0}, '%Y-%m-%d')",
    "week": "strftime(date_trunc('week', {0}), '%Y-%m-%d')",
    "month": "strftime({0}, '%Y-%m')",
    "quarter": "strftime({0}, '%Y') || '-Q' || quarter({0})",
    "half": "strftime({0}, '%Y') || case when month({0}) <= 6 then '-H1' else '-H2' end",
    "year": "strftime({0}, '%Y')",
}
"""A week is named by its Monday, a half by H1 or H2."""


def period(scope: Scope, column: str, default: Grain = "month") -> str:
    """The period of a column by the grain chosen; a snapshot's own date for the grain `snapshot`."""
    grain = scope.choices.grain or default
    return PERIODS[grain].format(column) if grain in PERIODS else quoted(scope.snapshot.at.date().isoformat())
