"""Tables that others published, kept as they are, errors included: top lists of a year, growth by task, catalogues."""

# ruff: noqa: S608 - the SQL put together here is this package's own
from __future__ import annotations

from headwater.observatory.families import quoted
from headwater.observatory.imports.fields import Expr, Fields, Value, name_sql
from headwater.observatory.imports.importer import Importer, has
from headwater.observatory.imports.job import ROW, Job

_DATASET_TASKS = ("nlp", "cv", "audio", "multimodal", "rl", "tabular", "other", "all_total")
_FILTERS = {"count": "all", "count_filter_likes": "likes", "count_filter_downloads": "downloads"}


def _fill_published(job: Job) -> None:
    fields = job.fields
    author = fields.column("author", "derived_author")
    name = fields.column("name")
    model_id = fields.column("id") or (Expr(f"{author.sql} || '/' || {name.sql}") if author and name else name)
    values = {
        "list": Value(quoted(job.options.name)),
        "id": fields.model_id(model_id),
        "downloads": fields.whole("downloads"),
        "downloads_30d": fields.whole("downloads_30d"),
        "downloads_all": fields.whole("downloads_all_time", "downloads_all"),
        "likes": fields.whole("likes"),
        "pct_of_total": fields.real("pct_of_total", top=100.0),
        "country": fields.text("country"),
        "org": fields.text("org"),
        "author": fields.text(author),
        "modality": fields.text("modality", "task"),
        "created_at": fields.moment("created_at"),
    }
    job.fill("published", values, shown="null::varchar")


def _fill_model_growth(job: Job) -> None:
    columns = [name for name in _FILTERS if job.fields.column(name)]
    parts = " union all ".join(
        f"select {ROW}, task, year, month, {name_sql(name)} as repos, {quoted(_FILTERS[name])} as counted "
        f"from {job.relation}"
        for name in columns
    )
    job.engine.run(f"create or replace view unrolled as {parts}")
    fields = job.fields_of("unrolled")
    month = Expr("try(make_date(try_cast(year as bigint), try_cast(month as bigint), 1))", "DATE")
    _fill_growth(job, fields, "model", fields.day(month, needed=True), Value("counted"))


def _fill_dataset_growth(job: Job) -> None:
    columns = [name for name in _DATASET_TASKS if job.fields.column(name)]
    parts = " union all ".join(
        f"select {ROW}, month, {quoted(name)} as task, {name_sql(name)} as repos from {job.relation}"
        for name in columns
    )
    job.engine.run(f"create or replace view unrolled as {parts}")
    fields = job.fields_of("unrolled")
    _fill_growth(job, fields, "dataset", fields.day("month", needed=True), Value("'all'"))


def _fill_growth(job: Job, fields: Fields, kind: str, month: Value, counted: Value) -> None:
    values = {
        "month": month,
        "kind": Value(quoted(kind)),
        "task": fields.text("task", needed=True),
        "repos": fields.whole("repos"),
        "filter": counted,
    }
    job.fill("growth", values, relation="unrolled", shown="cast(task as varchar)")


def _fill_notable(job: Job) -> None:
    fields = job.fields
    texts = ("country", "category", "published", "domain", "accessibility", "base_model")
    values = {
        "list": Value(quoted(job.options.name)),
        "model": fields.text("model", needed=True),
        "organisation": fields.text("organization", "organisation"),
        **{name: fields.text(name) for name in texts},
        "parameters": fields.real("parameters"),
        "training_compute_flop": fields.real("training_compute_flop", top=1e40),
        "finetune_compute_flop": fields.real("finetune_compute_flop", top=1e40),
    }
    job.fill("notable", values, shown="cast(model as varchar)")


PUBLISHED = Importer(
    kind="published", note="somebody's published table of models", fill=_fill_published, dated_by=("date",),
    knows=lambda columns: (
        has("id", "pct_of_total", "country")(columns) or has("name", "author", "downloads_all_time")(columns)
    ),
)  # fmt: skip
MODEL_GROWTH = Importer(
    kind="growth-models", note="new models per month and task", knows=has("task", "year", "month", "count"),
    fill=_fill_model_growth,
)  # fmt: skip
DATASET_GROWTH = Importer(
    kind="growth-datasets", note="new data sets per month and task", knows=has("month", "nlp", "all_total"),
    fill=_fill_dataset_growth, dated_by=("month",),
)  # fmt: skip
NOTABLE = Importer(
    kind="notable", note="hand-made catalogues of models (Epoch AI)", fill=_fill_notable, dated_by=("published",),
    knows=has("model", "accessibility", "training_compute_flop"),
)  # fmt: skip
