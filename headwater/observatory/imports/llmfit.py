"""Models that run locally, with their shapes, as llmfit's embedded table has them. `created_at` is its release date."""

from __future__ import annotations

from headwater.observatory.imports.fields import Expr
from headwater.observatory.imports.importer import Importer, has
from headwater.observatory.imports.job import Job
from headwater.observatory.imports.models import write_models


def _fill(job: Job) -> None:
    fields = job.fields
    gguf = fields.column("gguf_repos")
    values = {
        "id": fields.model_id("id"),
        "created_at": fields.moment("release_date"),
        "downloads_30d": fields.whole("downloads_30d"),
        "likes": fields.whole("likes"),
        "pipeline_tag": fields.text("pipeline_tag"),
        "license": fields.text("license"),
        "parameters": fields.whole("parameters"),
        "architecture": fields.text("architecture"),
        "model_type": fields.text("architecture"),
        "layers": fields.whole("layers"),
        "hidden_size": fields.whole("hidden_size"),
        "vocab_size": fields.whole("vocab_size"),
        "experts": fields.whole("num_experts"),
        "context_length": fields.whole("context_length"),
        "formats": fields.texts(
            Expr(f"case when len({gguf.sql}) > 0 then ['gguf'] end", "VARCHAR[]") if gguf else None
        ),
    }
    write_models(job, values, None)


IMPORTER = Importer(
    kind="llmfit", note="llmfit's table of models with their shapes", knows=has("id", "release_date", "context_length"),
    fill=_fill, dated_by=(),
)  # fmt: skip
