"""Counts over time. In a change-only source the last value of an id holds until its next row.

That cannot be read off the columns; it is read off the rows: where no model ever has the same counts twice in a row,
repetitions were left out.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own
from __future__ import annotations

from collections.abc import Mapping

from headwater.observatory.imports.fields import Fields, Value
from headwater.observatory.imports.importer import Importer, has
from headwater.observatory.imports.job import Job

_COUNTS = ("downloads_30d", "downloads", "downloads_all", "downloadsalltime", "likes")  # in lower case
PAIRS_MIN = 100  # neighbouring rows of one model; fewer don't tell a rule from an accident


def _fill(job: Job) -> None:
    fields = job.fields
    change_only = _only_changes(job, fields)
    job.notes.append("change-only: the last value holds" if change_only else "every row is a count of its own day")
    values = {
        "id": fields.model_id("id"),
        "counted_at": fields.moment("snapshot_at", "date", "day", "at", needed=True),
        "downloads_30d": fields.whole("downloads_30d", "downloads"),
        "downloads_all": fields.whole("downloads_all", "downloadsAllTime"),
        "likes": fields.whole("likes"),
        "trending": fields.real("trending_score"),
        "removed": fields.truth("removed"),
        "change_only": Value(str(change_only).lower()),
    }
    job.fill("count", values, shown="cast(id as varchar)")
    if fields.column("trending_rank") is not None:
        ranks = {
            "list": Value("'trending'"),
            "day": Value(f"cast({values['counted_at'].sql} as date)", (), needed=True),
            "id": Value(values["id"].sql, (), needed=True),
            "rank": fields.whole("trending_rank", top=10**6),
            "downloads_30d": Value(values["downloads_30d"].sql),
            "likes": Value(values["likes"].sql),
        }
        job.fill("rank", ranks, where="trending_rank is not null")


def _only_changes(job: Job, fields: Fields) -> bool:
    when = fields.column("snapshot_at", "date", "day", "at")
    kept = [
        expr.sql
        for name in ("downloads_30d", "downloads", "likes", "trending_score", "removed")
        if (expr := fields.column(name))
    ]
    if when is None or not kept:
        return False
    state = f"hash({', '.join(kept)})"
    pairs, same = job.engine.rows(
        "select count(*), count(*) filter (state = before) from (select state, lag(state) over "
        f"(partition by id order by moment) as before from (select id, {when.sql} as moment, {state} as state "
        f"from {job.relation})) where before is not null"
    )[0]
    return bool(pairs >= PAIRS_MIN and same == 0)


def _knows(columns: Mapping[str, str]) -> bool:
    dated = any(name in columns for name in ("snapshot_at", "date", "day", "at"))
    counted = any(name in columns for name in _COUNTS)
    return dated and counted and has("id", no=("rank", "pipeline_tag", "created_at"))(columns)


IMPORTER = Importer(
    kind="history", note="counts over time, complete or change-only", knows=_knows, fill=_fill,
    dated_by=("snapshot_at", "date", "day", "at"),
)  # fmt: skip
