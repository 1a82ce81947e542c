"""Early dumps of the whole Hub: few columns, no dates of creation, no declared bases (the tags did not exist)."""

from __future__ import annotations

from headwater.observatory.imports.fields import Expr
from headwater.observatory.imports.importer import Importer, has
from headwater.observatory.imports.job import Job
from headwater.observatory.imports.models import write_models


def _fill(job: Job) -> None:
    fields = job.fields
    architectures = fields.column("architectures")
    values = {
        "id": fields.model_id("id"),
        "modified_at": fields.moment("last_modified"),
        "downloads_30d": fields.whole("downloads_30d"),
        "likes": fields.whole("likes"),
        "pipeline_tag": fields.text("pipeline_tag"),
        "library": fields.text("library"),
        "license": fields.text("license"),
        "tags": fields.texts("tags"),
        "datasets": fields.texts("datasets"),
        "arxiv": fields.texts("arxiv"),
        "architecture": fields.text(Expr(f"{architectures.sql}[1]") if architectures else None),
        "model_type": fields.text("model_type"),
        "formats": fields.texts("formats"),
    }
    write_models(job, values, None)


IMPORTER = Importer(
    kind="hub-2022",
    note="early dumps of the whole Hub",
    knows=has("id", "downloads_30d", "pipeline_tag", no=("date", "created_at", "release_date")),
    fill=_fill,
    dated_by=("last_modified",),
)
