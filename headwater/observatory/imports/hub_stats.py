"""Models under the Hub's own names of fields: hub-stats Parquet files, their weekly copies, and staged API answers.

Columns as published by cfahlgren1/hub-stats (June 2026) and hfmlsoc/hub_weekly_snapshots; older eras lack some. Nested
columns come as STRUCTs or as JSON text, both are read. Names of parts inside are the API's (ModelInfo).
"""

# ruff: noqa: S608 - the SQL put together here is this package's own; column names are quoted
from __future__ import annotations

from headwater.observatory.families import quoted
from headwater.observatory.imports.fields import Expr, Fault, Fields, Value, bad_json, json_sql, list_sql
from headwater.observatory.imports.importer import Importer, has
from headwater.observatory.imports.job import ROW, Job
from headwater.observatory.imports.models import (
    bases_of_tags,
    formats_sql,
    from_tags,
    quantization_sql,
    write_models,
)
from headwater.observatory.schema import BYTES_MAX

_CARD_PARTS = ("license", "license_name", "language", "base_model")


def _fill(job: Job) -> None:
    fields = job.fields
    if fields.column("cardData") is not None:
        job.relation = _with_card(job, fields)
        fields = job.fields
    tags_column = fields.column("tags")
    tags = list_sql(tags_column) if tags_column else "null::varchar[]"
    stored = fields.column("usedStorage", "storage_bytes")
    values = {
        "id": fields.model_id("id", "modelId"),
        "created_at": fields.moment("createdAt"),
        "modified_at": fields.moment("lastModified"),
        "downloads_30d": fields.whole("downloads"),
        "downloads_all": fields.whole("downloadsAllTime"),
        "likes": fields.whole("likes"),
        "trending": fields.real("trendingScore"),
        "pipeline_tag": fields.text("pipeline_tag"),
        "library": fields.text("library_name"),
        "license": fields.text(Expr(f"({from_tags(tags, 'license:').sql})[1]"), _card(fields, 0)),
        "license_name": fields.text(_card(fields, 1)),
        "tags": fields.texts(tags_column),
        "languages": fields.texts(_card(fields, 2)),
        "datasets": fields.texts(from_tags(tags, "dataset:")),
        "arxiv": fields.texts(from_tags(tags, "arxiv:")),
        "parameters": fields.whole(fields.part("safetensors", "total"), fields.part("gguf", "total")),
        "storage_bytes": fields.whole(stored, top=BYTES_MAX),
        "architecture": fields.text(_architecture(fields), fields.part("gguf", "architecture")),
        "model_type": fields.text(fields.part("config", "model_type"), fields.part("gguf", "architecture")),
        "context_length": fields.whole(fields.part("gguf", "context_length")),
        "quantization": fields.text(
            fields.part("config", "quantization_config", "quant_method"), quantization_sql(tags)
        ),
        "formats": fields.texts(formats_sql(tags)),
        "gated": Value(_gated(fields)),
        "private": fields.truth("private"),
    }
    values["tags"] = Value(values["tags"].sql, (*values["tags"].faults, *_json_faults(fields)))
    write_models(job, values, _bases(fields, tags))
    served = fields.column("inferenceProviderMapping")
    if served is not None and served.type in ("VARCHAR", "JSON"):
        _fill_listings(job, fields, served)


def _fill_listings(job: Job, fields: Fields, served: Expr) -> None:
    """Who serves a model, as the hub says it on the snapshot's day."""
    shape = '[{"provider":"VARCHAR","providerId":"VARCHAR","status":"VARCHAR","task":"VARCHAR"}]'
    model_id = fields.model_id("id", "modelId").sql
    job.engine.run(
        f"create or replace view served as select {ROW}, id, p.provider, p.task as mode, p.status "
        f"from (select {ROW}, {model_id} as id, unnest(try(from_json({json_sql(served)}, '{shape}'))) as p "
        f"from {job.relation}) where id is not null"
    )
    listed = job.fields_of("served")
    day = Value(f"date {quoted(job.newest.date().isoformat())}")
    values = {
        "catalogue": Value("'hub'"),
        "provider": listed.text("provider", needed=True),
        "key": Value("id"),
        "first_seen": day,
        "last_seen": day,
        "listed_at_end": Value("status = 'live'"),
        "open_weights": Value("true"),
        "mode": listed.text("mode"),
    }
    job.fill("listing", values, relation="served", shown="id")


def _with_card(job: Job, fields: Fields) -> str:
    """The card is parsed once for all that is read from it."""
    card = fields.column("cardData")
    assert card is not None
    paths = ", ".join(f"'$.{part}'" for part in _CARD_PARTS)
    text = card if card.type in ("VARCHAR", "JSON") else Expr(f"cast(to_json({card.sql}) as varchar)")
    parts = f"try(json_extract_string({json_sql(text)}, [{paths}])) as card_parts"
    job.engine.run(f"create or replace view with_card as select *, {parts} from {job.relation}")
    return "with_card"


def _card(fields: Fields, index: int) -> Expr | None:
    """A part of the card; where it is a list, the first of it, but for languages."""
    if fields.column("card_parts") is None:
        return None
    part = f"card_parts[{index + 1}]"
    if _CARD_PARTS[index] in ("language", "base_model"):
        return Expr(part)
    return Expr(f"case when starts_with({part}, '[') then try(from_json({part}, '[\"VARCHAR\"]'))[1] else {part} end")


def _json_faults(fields: Fields) -> tuple[Fault, ...]:
    """Nested columns that are JSON text and can't be parsed."""
    found = (fields.column(name) for name in ("cardData", "config", "safetensors", "gguf", "baseModels"))
    return tuple(bad_json(expr) for expr in found if expr is not None and expr.type in ("VARCHAR", "JSON"))


def _architecture(fields: Fields) -> Expr | None:
    found = fields.part("config", "architectures")
    return Expr(f"({list_sql(found)})[1]") if found else None


def _gated(fields: Fields) -> str:
    """The API says false, `auto` or `manual`; some copies say true."""
    column = fields.column("gated")
    if column is None:
        return "null"
    raw = f"lower(cast({column.sql} as varchar))"
    plain = f"case {raw} when 'true' then 'yes' when 'false' then 'no' end"
    return f"case when {raw} in ('auto', 'manual') then {raw} else {plain} end"


def _bases(fields: Fields, tags: str) -> str:
    """As the Hub resolved them where it did, which knows the bases' keys; else as tags, else the card's words."""
    column = fields.column("baseModels")
    if column is not None and column.type.startswith("STRUCT"):
        whole = column.sql
    elif column is not None:
        shape = '{"relation":"VARCHAR","models":[{"_id":"VARCHAR","id":"VARCHAR"}]}'
        whole = f"try(from_json({json_sql(column)}, '{shape}'))"
    else:
        words = list_sql(Expr("card_parts[4]")) if fields.column("card_parts") else "null::varchar[]"
        carded = (
            f"list_transform({words}, lambda t: {{'base': t, 'base_key': null::varchar, 'relation': null::varchar}})"
        )
        tagged = bases_of_tags(tags)
        return f"case when len({tagged}) > 0 then {tagged} else {carded} end"
    parts = f"{{'base': m.id, 'base_key': m._id, 'relation': ({whole}).relation}}"
    return f"list_transform(({whole}).models, lambda m: {parts})"


IMPORTER = Importer(
    kind="hub-stats",
    note="models under the Hub's own names of fields: hub-stats, its weekly copies, answers of the list API",
    knows=lambda columns: (
        has("id", "createdat")(columns)
        or has("id", "downloadsalltime", no=("snapshot_at", "date", "day", "at"))(columns)  # with a day: a history
    ),
    fill=_fill,
    dated_by=("lastModified", "createdAt"),
)
