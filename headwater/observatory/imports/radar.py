"""Models as HF//RADAR publishes them (schema 1), as Parquet or staged from its one JSON file per model."""

from __future__ import annotations

from headwater.observatory.imports.fields import Value, list_sql
from headwater.observatory.imports.importer import Importer
from headwater.observatory.imports.job import Job
from headwater.observatory.imports.models import (
    bases_of_lists,
    bases_of_tags,
    from_tags,
    quantization_sql,
    write_models,
)
from headwater.observatory.schema import BYTES_MAX


def _fill(job: Job) -> None:
    fields = job.fields
    tags_column = fields.column("tags")
    tags = list_sql(tags_column) if tags_column else "null::varchar[]"
    gated = fields.truth("gated").sql
    values = {
        "id": fields.model_id("id"),
        "created_at": fields.moment("created_at"),
        "modified_at": fields.moment("last_modified", "updated_at"),
        "downloads_30d": fields.whole("downloads_30d"),
        "downloads_all": fields.whole("downloads_all"),
        "likes": fields.whole("likes"),
        "trending": fields.real("trending_score"),
        "pipeline_tag": fields.text("pipeline_tag"),
        "library": fields.text("library"),
        "license": fields.text("license"),
        "license_name": fields.text("license_name"),
        "tags": fields.texts(tags_column),
        "languages": fields.texts("languages"),
        "datasets": fields.texts(fields.column("datasets") or from_tags(tags, "dataset:")),
        "arxiv": fields.texts(fields.column("arxiv") or from_tags(tags, "arxiv:")),
        "parameters": fields.whole("parameters"),
        "storage_bytes": fields.whole("storage_bytes", top=BYTES_MAX),
        "quantization": fields.text(quantization_sql(tags)),
        "formats": fields.texts("formats"),
        "gated": Value(f"case {gated} when true then 'yes' when false then 'no' end"),
        "removed": fields.truth("removed"),
        "removed_at": fields.moment("removed_at"),
        "first_seen": fields.moment("first_seen_in_radar"),
    }
    bases, relations = fields.column("base_models"), fields.column("base_relations")
    declared = bases_of_lists(list_sql(bases), list_sql(relations)) if bases and relations else bases_of_tags(tags)
    write_models(job, values, declared)


IMPORTER = Importer(
    kind="radar",
    note="models of HF//RADAR, Parquet or a folder of JSON files",
    knows=lambda columns: (
        {"id", "downloads_30d", "created_at", "parameters"} <= columns.keys() and "date" not in columns
    ),
    fill=_fill,
    dated_by=("first_seen_in_radar", "last_modified", "updated_at", "created_at"),
)
