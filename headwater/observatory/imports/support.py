"""When runtimes, libraries and apps learnt an architecture or a provider: first commits."""

from __future__ import annotations

from headwater.observatory.imports.importer import Importer, has
from headwater.observatory.imports.job import Job


def _fill(job: Job) -> None:
    fields = job.fields
    values = {
        "kind": fields.text("kind", needed=True),
        "source": fields.text("source"),
        "name": fields.text("name", needed=True),
        "label": fields.text("label"),
        "first_seen": fields.day("first_seen"),
        "commit": fields.text("commit"),
        "source_until": fields.day("source_until"),
    }
    job.fill("support", values, shown="cast(name as varchar)")


IMPORTER = Importer(
    kind="support", note="support by runtimes, libraries and apps", knows=has("kind", "name", "first_seen"), fill=_fill,
    dated_by=("source_until", "first_seen"),
)  # fmt: skip
