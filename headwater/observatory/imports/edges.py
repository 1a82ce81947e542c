"""Lists of lineage edges: a base and what was made from it, with or without the relation."""

# ruff: noqa: S608 - the SQL put together here is this package's own
from __future__ import annotations

from collections.abc import Mapping

from headwater.observatory.imports.fields import scalar_sql
from headwater.observatory.imports.importer import Importer
from headwater.observatory.imports.job import ROW, Job
from headwater.observatory.imports.models import write_edges

_NAMES = (("base", "derivative"), ("base", "child"), ("parent", "child"), ("base_model", "model"), ("source", "target"))


def _pair(columns: Mapping[str, str]) -> tuple[str, str] | None:
    return next((pair for pair in _NAMES if set(pair) <= columns.keys()), None)


def _fill(job: Job) -> None:
    fields = job.fields
    pair = _pair({name.lower(): kind for name, kind in fields.columns.items()})
    assert pair is not None
    base = fields.column(pair[0])
    assert base is not None
    child = fields.model_id(pair[1])
    relation = fields.column("relation", "relation_type", "type")
    word = f"lower(cast({scalar_sql(relation)} as varchar))" if relation else "null::varchar"
    job.account("edge", {"child": child}, job.relation, "true", scalar_sql(base))
    job.engine.run(
        f"create or replace temp table edge_raw as select {child.sql} as child, 'name:' || ({child.sql}) as child_key, "
        f"null::timestamp as declared_at, {ROW}, cast({scalar_sql(base)} as varchar) as base, "
        f"null::varchar as base_key, "
        f"{word} as relation, "
        f"row_number() over (partition by {child.sql} order by {ROW}) as position "
        f"from {job.relation} where ({child.sql}) is not null"
    )
    write_edges(job)


IMPORTER = Importer(
    kind="edges", note="lineage edge lists", knows=lambda columns: _pair(columns) is not None and len(columns) <= 8,
    fill=_fill, dated_by=("date", "snapshot_at"),
)  # fmt: skip
