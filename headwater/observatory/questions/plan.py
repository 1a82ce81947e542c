"""What a question is, and what it makes of a scope: steps of SQL, one SELECT, and the shares to be checked.

Knows no question. A question is a value: its name, its exact definition, what it needs, which choices it honours and
a function from Scope to Plan. ask.py runs plans; the documentation is made from the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.ground.errors import Invalid
from headwater.observatory.choices import Attribution, Choices
from headwater.observatory.schema import NAMED
from headwater.observatory.steps import Step
from headwater.observatory.world import Snapshot

ATTRIBUTIONS: tuple[str, ...] = get_args(Attribution)
UNMAPPED = "??"
"""The group of what the registry does not know."""
CLASSES = (UNMAPPED, "USER", "INT")
"""Groups that are no country: none of them leads or follows."""

# Of one kind of model that any listing has; kept in the order in which they are shown.
POPULATION = ("population", "day", "head", "window", "age_days_max", "as_of", "modality", "exclude", "account",
              "country", "family", "id", "licence", "since", "until", "downloads_min", "likes_min", "parameters_b_min",
              "parameters_b_max", "known", "part")  # fmt: skip
UNWEIGHED = tuple(name for name in POPULATION if name != "window")
"""POPULATION of a question that counts no downloads."""
OF_LISTINGS = ("day", "known", "part")
"""What a question does not honour that needs what only a listing says: lists of days and counts never say it."""
EDGES = ("population", "relation", "exclude", "account", "country", "family", "id", "licence", "modality",
         "age_days_max", "as_of", "since", "until", "downloads_min", "likes_min", "parameters_b_min",
         "parameters_b_max")  # fmt: skip
"""Choices that a question over models, or over edges, honours because the population does (population.py)."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share whose evidence is asked for: weights per group and author.

    `units` is a step with one row per (group, author, ...), and these columns: `group`, `author`, `weight`; `most` is
    the largest weight of one model in the row and `most_id` its id.
    """

    of: str
    units: str
    group: str
    weight: str
    most: str
    most_id: str
    rows: str
    classes: tuple[str, ...] = CLASSES
    unknown: str = UNMAPPED
    """The group of what is not known: its share is what the coverage lacks. Said only where it is one of `classes`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`select` reads the steps; `order` and `top` apply unless the choices say otherwise."""

    steps: tuple[Step, ...]
    select: str
    order: str
    top: int | None = None
    shares: tuple[Share, ...] = ()
    caveats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        assert len(names) == len(set(names)), f"two steps of one name: {sorted(names)}"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a question is asked about: one snapshot with its choices, and what else may be known."""

    choices: Choices
    snapshot: Snapshot
    known: tuple[Snapshot, ...]
    look: Callable[[str], pa.Table]
    """Runs a small SELECT beforehand: for bounds that the SQL must name. A table without rows or columns where choices
    are only weighed (heeded.py)."""
    past: tuple[Snapshot, ...] = ()
    """Older snapshots of the same source, for a question about time (over_time.py)."""

    @property
    def as_of(self) -> datetime:
        """The moment from which ages are counted: a list of a day is as old as that day's last moment."""
        if self.choices.as_of:
            return self.choices.as_of
        if self.choices.day:
            return datetime.combine(self.choices.day, time()) + timedelta(days=1)
        return self.snapshot.at

    def has(self, need: str) -> bool:
        return has(self.snapshot, need) or told_together((*self.past, self.snapshot), need)

    def without(self, *names: str) -> Scope:
        """The same scope with these choices as if they had not been made."""
        plain = Choices()
        changed = msgspec.structs.replace(self.choices, **{name: getattr(plain, name) for name in names})
        return replace(self, choices=changed)

    def by(self, allowed: Sequence[str]) -> str:
        """The `by` chosen, or the first that the question can do."""
        chosen = self.choices.by or allowed[0]
        if chosen not in allowed:
            raise Invalid(f"by: {chosen[:40]!r} is not one of {', '.join(allowed)}")
        return chosen


@dataclass(frozen=True, slots=True)
class Question:
    """`needs`: tables and columns (`edge`, `model.created_at`, `models.likes`) without which there is no answer;
    `wants`: those without which some columns are empty. `columns`: what each column of the answer means."""

    name: str
    group: str
    title: str
    definition: str
    source: str
    needs: tuple[str, ...]
    honours: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    build: Callable[[Scope], Plan]
    wants: tuple[str, ...] = ()
    suits: tuple[str, ...] = ()
    chart: str = "bar"
    by: tuple[str, ...] = ()
    attributions: tuple[str, ...] = ATTRIBUTIONS
    """Those that it can do, of `attribution`; the first where none is chosen."""
    paged: bool = False
    """Shown by the web pages: answers in less than a second from what is cached."""

    @property
    def choices(self) -> tuple[str, ...]:
        """Every choice that it honours, in the order of Choices."""
        return tuple(name for name in Choices.__struct_fields__ if name in (*self.honours, "sort", "top"))


def has(snapshot: Snapshot, need: str) -> bool:
    """Whether a snapshot has a table (`edge`) or a column with any value (`model.created_at`).

    `models` is any table that names models with counts: model, rank, count or event_day.
    """
    table, _, column = need.partition(".")
    if table == "models":
        return any(_has_one(snapshot, kind, column) for kind in ("model", "rank", "count", "event_day"))
    return _has_one(snapshot, table, column)


def told_together(line: Sequence[Snapshot], need: str) -> bool:
    """Whether snapshots of one source have together what each may lack: two listings are counts over time."""
    table, _, column = need.partition(".")
    if table == "rename":
        return sum(keyed(one) for one in line) > 1
    if table not in ("count", "listing"):
        return False
    if any(_has_one(one, table, column) for one in line):
        return True
    listed = (one for one in line if not _has_one(one, "count", ""))
    return table == "count" and sum(_has_one(one, "model", column or "downloads_30d") for one in listed) > 1


def keyed(snapshot: Snapshot) -> bool:
    """Whether models have the Hub's stable keys, so that one with another name is known again."""
    path = snapshot.table_path("model")
    return path is not None and bool(snapshot.manifest.rows.get("model")) and _keyed(path)


@lru_cache(maxsize=2_000)  # snapshots never change
def _keyed(path: Path) -> bool:
    with pq.ParquetFile(path) as file:
        meta = file.metadata
        at = file.schema_arrow.get_field_index("key")
        found = [meta.row_group(group).column(at).statistics for group in range(meta.num_row_groups)]
    named = [one is not None and one.has_min_max and one.min.startswith(NAMED) and one.max.startswith(NAMED)
             for one in found]  # fmt: skip
    return not all(named)


def _has_one(snapshot: Snapshot, table: str, column: str) -> bool:
    if not snapshot.manifest.rows.get(table):
        return False
    return not column or ((path := snapshot.table_path(table)) is not None and column in filled(path))


@lru_cache(maxsize=2_000)  # snapshots never change; one entry is a few hundred bytes
def filled(path: Path) -> frozenset[str]:
    """The columns of a Parquet file that are not NULL in every row, by the file's own statistics."""
    with pq.ParquetFile(path) as file:
        meta = file.metadata
        found: set[str] = set()
        for group in range(meta.num_row_groups):
            for at in range(meta.num_columns):
                column = meta.row_group(group).column(at)
                stats = column.statistics
                if stats is None or not stats.has_null_count or stats.null_count < column.num_values:
                    found.add(column.path_in_schema.split(".", 1)[0])
        return frozenset(found)
