"""Lists by day: the head of the Hub, trending models, top thirties.

The tables model and edge are the list as it stood on the snapshot's day; rank and count have every day up to it.
"""

from __future__ import annotations

from collections.abc import Mapping

from headwater.observatory.families import quoted
from headwater.observatory.imports.fields import Value, list_sql
from headwater.observatory.imports.importer import Importer
from headwater.observatory.imports.job import Job
from headwater.observatory.imports.models import bases_of_lists, write_models

_LIST_NAMES = {"rank": "trending", "": "head"}


def _fill(job: Job) -> None:
    fields = job.fields
    day = fields.day("date", needed=True)
    model_id = fields.model_id("id")
    until = quoted(job.newest.date().isoformat())
    meant = f"coalesce(try_cast(date as date) <= date {until}, true)"
    counts = {
        "downloads_30d": fields.whole("downloads_30d"),
        "likes": fields.whole("likes"),
        "trending": fields.real("trending_score"),
    }
    shape = {"pipeline_tag": fields.text("pipeline_tag"), "library": fields.text("library")}
    list_name = fields.column("list")
    fallback = quoted(_LIST_NAMES["rank" if fields.column("rank") else ""])
    rank = {
        "list": fields.text(list_name) if list_name else Value(fallback),
        "day": day,
        "rank": fields.whole("rank", top=10**6),
        "id": model_id,
        "created_at": fields.moment("created_at"),
        **counts,
        **shape,
    }
    job.fill("rank", rank, where=meant, shown="cast(id as varchar)")
    # The same counts again: what is wrong with them is in the account already.
    counted = {name: Value(value.sql) for name, value in {**counts, "id": model_id}.items()}
    counted |= {"counted_at": Value(f"cast({day.sql} as timestamp)"), "change_only": Value("false")}
    job.fill("count", counted, where=f"({meant}) and ({day.sql}) is not null and ({model_id.sql}) is not null")
    if fields.column("created_at") is None:
        job.notes.append("no table model: the list names no more than ids and counts")
        return
    model = {
        **{name: Value(value.sql) for name, value in {**counts, **shape}.items()},
        "id": Value(model_id.sql, model_id.faults, needed=True),
        "created_at": Value(rank["created_at"].sql),
        "license": fields.text("license"),
    }
    bases, relations = fields.column("base_models"), fields.column("base_relations")
    declared = bases_of_lists(list_sql(bases), list_sql(relations)) if bases and relations else None
    write_models(job, model, declared, where=f"try_cast(date as date) = date {until}")


def _knows(columns: Mapping[str, str]) -> bool:
    return {"date", "id"} <= columns.keys() and bool({"rank", "pipeline_tag"} & columns.keys())


IMPORTER = Importer(
    kind="top-lists",
    note="lists by day: head of the Hub, trending, top thirties",
    knows=_knows,
    fill=_fill,
    dated_by=("date",),
)
