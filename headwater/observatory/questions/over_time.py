"""A source's snapshots as one population over time: what several of them tell together.

A snapshot of a listing counts each model once, on its date; two of them are a history. `past` says which older
snapshots a question needs beside its population, and none for a question about one moment. `counts`, `ranks` and
`listings` are then relations over all of them. A model is known by the Hub's stable key, so that one that got another
name goes on under its newest. Refuses to know what is asked of a history.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose goes in as quoted literals
from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from headwater.observatory.choices import Choices
from headwater.observatory.families import quoted
from headwater.observatory.questions.plan import Question, Scope, has, keyed
from headwater.observatory.schema import COUNT, LISTING, NAMED, RANK
from headwater.observatory.world import Snapshot, older

HISTORIES = frozenset({"count", "listing", "rename"})
"""Tables that a question needs for their course over time."""
PAST_MODELS_MAX = 24_000_000  # rows of older listings that a question may read: eight whole Hubs of three million
PARTS = {
    "listing": "catalogue", "rank": "list", "release": "variant", "growth": "filter", "support": "kind",
    "published": "list", "notable": "list",
}  # fmt: skip
"""The column by which the choice `part` takes some of a table."""
_TIMES = {"count": "counted_at", "rank": "day"}
_COUNTED = ("downloads_30d", "downloads_all", "likes", "trending", "removed")


def past(asked: Question, choices: Choices, one: Snapshot, every: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """The older snapshots of the same source that this question of `one` reads too, oldest first."""
    needed = {need.partition(".")[0] for needs in asked.needs for need in needs.split("|")}
    window = choices.window_days if "window" in asked.honours else None
    day = choices.day if needed & {"models", "model"} else None
    if not (needed & HISTORIES or window or day):
        return ()
    told = ("listing",) if "listing" in needed else ("count", "rank", "model")
    line = [before for before in older(one, every) if any(before.manifest.rows.get(table) for table in told)]
    if "listing" in needed:
        return tuple(line)
    listed = [before for before in line if _only_listed(before)]
    if window:
        listed = _around(listed, *window)
    elif day and not needed & HISTORIES:
        listed = [before for before in listed if before.at.date() <= day][-1:] or listed[-1:]
    every_name = [before for before in line if "rename" in needed and not _only_listed(before)]
    # A hub's own snapshots each have all days again: of many only those with days that no newer one has.
    kept = [before for table in _TIMES for before, _ in _told_until((*line, one), table, _TIMES[table])]
    wanted = {before.id for before in (*_thinned(listed), *every_name, *kept)}
    return tuple(before for before in line if before.id in wanted)


def _only_listed(one: Snapshot) -> bool:
    """Whether its models are its counts: it has no others."""
    return not has(one, "count")


def _around(listed: Sequence[Snapshot], start: date, stop: date) -> list[Snapshot]:
    """The last at the start or before it, and all until the stop."""
    first = [one for one in listed if one.at.date() <= start][-1:]
    return [*first, *(one for one in listed if start < one.at.date() <= stop)]


def _thinned(listed: Sequence[Snapshot]) -> Sequence[Snapshot]:
    """As many as may be read, evenly spread, always with the first and the last."""
    rows = sum(one.manifest.rows.get("model", 0) for one in listed)
    if rows <= PAST_MODELS_MAX or len(listed) <= 2:
        return listed
    count = max(2, len(listed) * PAST_MODELS_MAX // rows)
    return [listed[place * (len(listed) - 1) // (count - 1)] for place in range(count)]


def line(scope: Scope) -> tuple[Snapshot, ...]:
    """The population's snapshot with the older ones, oldest first."""
    return (*scope.past, scope.snapshot)


def only_listed(scope: Scope) -> bool:
    """Whether the counts over time are those of several listings."""
    return bool(scope.past) and not any(has(one, "count") or has(one, "event_day") for one in line(scope))


def listed_on(scope: Scope, day: date) -> Snapshot | None:
    """The last listing of the day or before it."""
    return next((one for one in reversed(line(scope)) if one.at.date() <= day), None) if only_listed(scope) else None


def windowed_by_key(scope: Scope) -> bool:
    """Whether these listings all know stable keys: joined by them, no model must be looked for under older names."""
    return only_listed(scope) and all(keyed(one) for one in line(scope))


def spanning(scope: Scope) -> bool:
    """Whether of counts by listings alone there are two until the window's end, one of them within it."""
    if not scope.choices.window_days or not only_listed(scope):
        return True
    start, stop = scope.choices.window_days
    days = [one.at.date() for one in line(scope) if has(one, "model.downloads_all") and one.at.date() <= stop]
    return len(days) > 1 and days[-1] > start


def said(scope: Scope) -> tuple[str, ...]:
    """What a reader must know of an answer that several snapshots gave together."""
    found = []
    if scope.past:
        days = [one.at.date().isoformat() for one in line(scope)]
        shown = ", ".join(days if len(days) <= 6 else [*days[:2], "...", *days[-2:]])
        found.append(f"{scope.snapshot.line}: {len(days)} snapshots over time ({shown}).")
    if scope.choices.window_days and not scope.has("event_day"):
        found.append(
            "Downloads in the window are the difference of two cumulative counts, the last before it begins and the "
            "last before it ends. A model created within it counts from 0; one that is older, or of unknown age, and "
            "was not counted before, from its first count within it. A count that fell counts as 0."
        )
    return tuple(found)


def counts(scope: Scope, ids: str = "") -> str:
    """A SELECT of COUNT's columns over the whole line, under the newest id of each model.

    ids: only these models, by an id that they have or had: what may stand in an SQL `in (...)`.
    """
    chosen = f"id in ({ids})"
    columns = ", ".join(f'"{name}"' for name in COUNT.names)
    if not scope.past:
        return f"select {columns} from count where {_of((scope.snapshot,))}{f' and {chosen}' if ids else ''}"
    parts = [*_kept_counts(scope), *listed_counts(scope)]
    rows = " union all by name ".join(parts)
    renamed = _renamed(scope, ids)
    if not renamed:
        return f"select {columns} from ({rows}) told{f' where {chosen}' if ids else ''}"
    others = ", ".join(f'told."{name}"' for name in COUNT.names if name != "id")
    only = f" where told.id in (select old_id from other_id) or told.{chosen}" if ids else ""
    return (
        f"with {renamed} select coalesce(o.id, told.id) as id, {others} from ({rows}) told left join other_id o "
        f"on o.snapshot = told.snapshot and o.old_id = told.id{only}"
    )


def _kept_counts(scope: Scope) -> list[str]:
    """Counts that snapshots keep. What several cover is told by the newest that does."""
    parts = []
    columns = ", ".join(f'"{name}"' for name in COUNT.names)
    for one, until in _told_until(line(scope), "count", "counted_at"):
        bound = f" and counted_at < timestamp {quoted(str(until))}" if until else ""
        parts.append(f"select snapshot, {columns} from count where {_of((one,))}{bound}")
    return parts


def listed_counts(scope: Scope, name: str = "id") -> list[str]:
    """What listings say of their models on their date; `name`: id or key."""
    listed = [one for one in line(scope) if _only_listed(one) and one.manifest.rows.get("model")]
    columns = ", ".join(_COUNTED)
    return [
        f"select snapshot, {name}, timestamp {quoted(str(one.at))} as counted_at, {columns}, false as change_only "
        f"from model where {_of((one,))}"
        for one in listed
    ]


def ranks(scope: Scope) -> str:
    """A SELECT of RANK's columns over the whole line: each day as the newest snapshot has it that covers it."""
    columns = ", ".join(f'"{name}"' for name in RANK.names)
    parts = []
    for one, until in _told_until(line(scope), "rank", "day"):
        bound = f" and day < date {quoted(str(until))}" if until else ""
        parts.append(f"select {columns} from rank where {_of((one,))}{bound}")
    return " union all ".join(parts) or f"select {columns} from rank where false"


def listings(scope: Scope) -> str:
    """A SELECT of LISTING's columns over the whole line: first and last sight, and prices, over all snapshots.

    Listed at the end is what the newest snapshot of a catalogue lists.
    """
    told = [one for one in line(scope) if has(one, "listing")]
    columns = ", ".join(f'"{name}"' for name in LISTING.names)
    if len(told) < 2:
        return f"select {columns} from listing where {_of(told or (scope.snapshot,))}"
    names = {
        "first_seen": "min(first_seen)",
        "last_seen": "max(last_seen)",
        "listed_at_end": "coalesce(bool_or(listed_at_end) filter (place = newest), false)",
        **{
            f"usd_per_mtok_{way}_first": f"arg_min(coalesce(usd_per_mtok_{way}_first, usd_per_mtok_{way}_last), place)"
            for way in ("in", "out")
        },
    }
    keys = ("catalogue", "provider", "key")
    shown = ", ".join(
        f"{names.get(name, f'arg_max({name}, place)')} as {name}" for name in LISTING.names if name not in keys
    )
    placed = f"select *, {_place(told)} as place from listing where {_of(told)}"
    dated = f"select *, max(place) over (partition by catalogue) as newest from ({placed}) placed"
    return f"select catalogue, provider, key, {shown} from ({dated}) dated group by catalogue, provider, key"


def _renamed(scope: Scope, ids: str) -> str:
    """CTEs up to `other_id`: (snapshot, old_id, id) of the models that had another id there than they have now; of
    `ids`, every id that they ever had. Empty where no two snapshots know stable keys."""
    known = [one for one in line(scope) if keyed(one)]
    if len(known) < 2:
        return ""
    stable = f"{_of(known)} and not starts_with(key, '{NAMED}')"
    if ids:
        changed = f"select distinct key from model where {stable} and id in ({ids})"
    else:  # numbers first, which are small; what falls together by chance is told apart below
        changed = f"select hash(key) as key from model where {stable} group by 1 having min(hash(id)) <> max(hash(id))"
    key = "key" if ids else "hash(key)"
    placed = (
        f"select snapshot, id as old_id, arg_max(id, {_place(known)}) over (partition by key) as id from model "
        f"where {stable} and {key} in (select key from changed_key)"
    )
    only = "" if ids else " where old_id <> id"
    return f"changed_key as ({changed}), other_id as (select * from ({placed}) placed{only})"


def renames(scope: Scope) -> str:
    """A SELECT of (key, old_id, new_id, seen_at): who had another id in the snapshot before."""
    known = [one for one in line(scope) if keyed(one)]
    stable = f"{_of(known)} and not starts_with(key, '{NAMED}')"
    changed = f"select hash(key) as key from model where {stable} group by 1 having min(hash(id)) <> max(hash(id))"
    times = " ".join(f"when {quoted(one.id)} then timestamp {quoted(str(one.at))}" for one in known)
    return (
        "select key, old_id, new_id, seen_at from (select key, id as new_id, seen_at, "
        f"lag(id) over (partition by key order by seen_at) as old_id from (select key, id, case snapshot {times} end "
        f"as seen_at from model where {stable} and hash(key) in ({changed})) seen) following where old_id <> new_id"
    )


def lacks_part(scope: Scope, table: str) -> bool:
    """Whether the table has no row of any `part` chosen, in the whole line."""
    column = PARTS.get(table)
    wanted = scope.choices.part
    if not wanted or column is None:
        return False
    files = [path for one in line(scope) if has(one, table) and (path := one.table_path(table)) is not None]
    return bool(files) and not any(part in _values(path, column) for part in wanted for path in files)


@lru_cache(maxsize=500)  # snapshots never change; catalogues, lists and variants are some dozen words
def _values(path: Path, column: str) -> frozenset[str]:
    found = pc.unique(pq.read_table(path, columns=[column]).column(0)).to_pylist()
    return frozenset(value for value in found if value is not None)


def _told_until(some: Sequence[Snapshot], table: str, column: str) -> list[tuple[Snapshot, Any]]:
    """Snapshots that keep a table of times, newest first, each with the time from which a newer one tells it."""
    told: list[tuple[Snapshot, Any]] = []
    until: Any = None
    for one in reversed(some):
        path = one.table_path(table)
        if path is None or not has(one, table):
            continue
        first = _first(path, column)
        if until is None or (first is not None and first < until):
            told.append((one, until))
            until = first if first is not None else until
    return told


@lru_cache(maxsize=2_000)  # snapshots never change
def _first(path: Path, column: str) -> Any:
    """The least value of a column, by the file's own statistics; None if they do not say."""
    with pq.ParquetFile(path) as file:
        meta = file.metadata
        at = file.schema_arrow.get_field_index(column)
        found = [meta.row_group(group).column(at).statistics for group in range(meta.num_row_groups)]
    return min((one.min for one in found if one is not None and one.has_min_max), default=None)


def _of(some: Sequence[Snapshot]) -> str:
    if len(some) == 1:
        return f"snapshot = {quoted(some[0].id)}"
    return f"snapshot in ({_texts([one.id for one in some])})"


def _place(some: Sequence[Snapshot]) -> str:
    """The place of a row's snapshot in the order of time."""
    return f"case snapshot {' '.join(f'when {quoted(one.id)} then {place}' for place, one in enumerate(some))} end"


def _texts(items: Sequence[str]) -> str:
    return ", ".join(quoted(item) for item in items)
